"""Runs of source in a process of their own: enforced limits, and a crash that stays there."""
