"""The plans of sweeps and of blind ratings, and what came of them."""
