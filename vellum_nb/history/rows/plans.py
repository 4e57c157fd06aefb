"""The columns of plans: of sweeps, of blind ratings, and of what belongs to them."""

from __future__ import annotations

__all__ = ["BLIND", "CASE", "PAIR", "RATING", "REUSED", "SAID", "SWEEP"]

SWEEP = (
    "id",
    "deployment",
    "environment",
    "release_tags",
    "repeats",
    "cases",
    "signature",
    "created",
    "round",
    "ended",
    "why",
    "releases",
    "options",
)
CASE = ("position", "case_id", "inputs", "expected", "labels", "large")
REUSED = ("position", "release_tag", "repeat", "run")
BLIND = (
    "id",
    "deployment",
    "first",
    "second",
    "seed",
    "question",
    "signature",
    "created",
    "ended",
)
PAIR = ("position", "number", "case_id", "first", "second", "same")
SAID = ("position", "choice", "a_first", "note", "rated")
RATING = (*SAID, "undone", "sent")
