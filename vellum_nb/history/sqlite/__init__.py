"""A history in an SQLite file."""
