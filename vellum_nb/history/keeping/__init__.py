"""What is written, deleted, and moved to archives."""
