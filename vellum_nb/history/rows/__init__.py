"""A run as rows, and rows as frames."""
