"""What every store has, and what is done to files."""
