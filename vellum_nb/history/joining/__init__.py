"""What others recorded comes in."""
