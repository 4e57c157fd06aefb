"""Damaged histories: what is broken, and what can be saved."""
