"""Executing: what code is, what it tells, how many run at once."""
