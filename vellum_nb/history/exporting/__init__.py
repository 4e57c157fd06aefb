"""Runs as files, and files as frames again."""
