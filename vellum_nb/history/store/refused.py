"""Writes that a server refused for their values: what they are, and what became of them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Refused", "Retried"]

_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Refused:
    """A write that is kept in a file, as the server refused it.

    Attributes
    ----------
    write : str
        What was to be done: ``begin``, ``finish``, ``update``, ``record``…
    runs : tuple of str
        The ids of its runs.
    problem : str
        Why it was refused.
    path : Path
        The file.
    """

    write: str
    runs: tuple[str, ...]
    problem: str
    path: Path

    def __str__(self) -> str:
        return f"{self.write} {', '.join(self.runs)}: {self.problem}"


@dataclass(frozen=True, slots=True, repr=False)
class Retried:
    """What `History.retry_refused` did.

    Attributes
    ----------
    made : int
        How many writes were made.
    refused : tuple of Refused
        Those that were refused once more, each with the reason of now; they stay kept.
    """

    made: int
    refused: tuple[Refused, ...] = ()

    def __repr__(self) -> str:
        text = f"{self.made:,} write{'' if self.made == 1 else 's'} made"
        if self.refused:
            named = "; ".join(map(str, self.refused[:_SHOWN]))
            more = len(self.refused) - _SHOWN
            text += f", {len(self.refused):,} refused once more: {named}"
            text += f"; and {more:,} more" if more > 0 else ""
        return f"<Retried: {text}>"
