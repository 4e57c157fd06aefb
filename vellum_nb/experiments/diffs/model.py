"""What a difference is made of."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Any, Final, Literal

from vellum_nb.experiments.diffs.words import Op

__all__ = ["MISSING", "Change", "Missing", "Path"]

Path = tuple[str | int, ...]


class Missing(Enum):
    """The type of `MISSING`."""

    MISSING = "missing"

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing.MISSING
"""Stands for a value that is not there at all; null is there."""


@dataclass(frozen=True, slots=True)
class Change:
    """One thing in which two values differ.

    Attributes
    ----------
    kind : {"insert", "delete", "change", "move"}
        A `move` is an item of a list that stands elsewhere; what changed inside it is told apart.
    path : tuple
        Keys and places that lead there in the new value; for a deletion the last one is the old.
    was : tuple
        The same in the old value; for an insertion the last one is the new.
    old, new : object
        The values; `MISSING` where there is none.
    delta : float or None
        By how much a number grew.
    ops : tuple of Op
        The pieces of a text that changed, in reading order.
    """

    kind: Literal["insert", "delete", "change", "move"]
    path: Path
    was: Path
    old: Any
    new: Any
    delta: float | None = None
    ops: tuple[Op, ...] = ()
