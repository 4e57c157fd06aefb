"""Runs, light rows and frames: chosen, ordered, read."""
