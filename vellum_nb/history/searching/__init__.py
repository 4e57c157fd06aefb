"""Words: which runs they are found in."""
