"""Inputs and outputs of many runs, read from the history when they are asked for.

A comparison of very many runs keeps what it counts by, not what was said: the texts of some are
remembered here, the others are read again.
"""

from __future__ import annotations

import json
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Literal

from vellum_nb.errors import HistoryError
from vellum_nb.history.rows.rows import FRAMED
from vellum_nb.history.store.store import Row
from vellum_nb.models import Run

__all__ = ["REMEMBERED", "GoneError", "Payloads", "Read"]

REMEMBERED = 8_000_000  # characters of payloads
_decode = json.JSONDecoder().decode

Read = Callable[[Sequence[int]], Mapping[int, Row]]
Part = Literal["inputs", "outputs", "output_types"]
_AT: dict[Part, int] = {"inputs": 0, "outputs": 1, "output_types": 2}


class GoneError(HistoryError):
    """A run is not in the history any more: it was deleted, or moved to an archive."""


class Rows:
    """Reads rows, each by its number in the history; `read` returns some by their numbers."""

    def __init__(self, read: Read) -> None:
        self._read = read
        self._lock = threading.RLock()
        self._rows: OrderedDict[int, Row] = OrderedDict()
        self._size = 0

    def row(self, number: int) -> Row:
        """Return one row.

        Raises
        ------
        GoneError
            The run is not in the history any more.
        """
        found = self._rows.get(number)
        if found is None:
            found = self._fetched([number]).get(number)
        if found is None:
            msg = (
                "a run of this comparison is not in the history any more, so its inputs and "
                "outputs cannot be shown; compare again"
            )
            raise GoneError(msg)
        return found

    def hold(self, rows: Mapping[int, Row]) -> None:
        """Remember rows that were read already, as long as there is room."""
        with self._lock:
            for number, row in rows.items():
                if number not in self._rows:
                    self._size += _size(row)
                    self._rows[number] = row
            while self._size > REMEMBERED and len(self._rows) > len(rows):
                self._size -= _size(self._rows.popitem(last=False)[1])

    def fetch(self, numbers: Iterable[int]) -> None:
        """Read rows that are going to be asked for, at once; a hundred or so."""
        wanted = [number for number in numbers if number not in self._rows]
        if wanted:
            self._fetched(wanted)

    def _fetched(self, numbers: Sequence[int]) -> Mapping[int, Row]:
        found = self._read(numbers)
        self.hold(found)
        return found


class Payloads:
    """What was said in runs; `said` reads it alone, `whole` all that a frame shows.

    `trace` reads the nodes of a run.
    """

    def __init__(self, said: Read, whole: Read, trace: Callable[[Run], Any]) -> None:
        self.said, self.whole, self.trace = Rows(said), Rows(whole), trace
        self._last: tuple[Row, Part | None, Any] = ((), None, None)

    def text(self, number: int, part: Part) -> str:
        """Return a part as JSON text."""
        return str(self.said.row(number)[_AT[part]] or "{}")

    def parsed(self, number: int, part: Part) -> Any:
        """Return a part as a value; not to be changed."""
        row = self.said.row(number)
        last, known, value = self._last
        if last is not row or known != part:
            value = _decode(row[_AT[part]] or "{}")
            self._last = row, part, value
        return value


def _size(row: Row) -> int:
    return sum(map(len, filter(None, row[-len(FRAMED) :])))
