"""The columns of an export, known before its first line is written: their order and their kinds.

What a whole frame finds out from all of its values, is found out here from one batch of rows
after the other.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from vellum_nb.errors import HistoryError
from vellum_nb.history.exporting.batches import Batch, Column
from vellum_nb.history.rows.frames import EXACT, INT64, KINDS, RARE, ROOMS
from vellum_nb.history.rows.rows import clean

__all__ = ["Findings", "chosen_names"]

_HEAD = "latency_s"  # inputs and outputs stand behind it


@dataclass(slots=True)
class _Values:
    """What is known of the values of one name."""

    types: set[type] = field(default_factory=set)
    integers: int = 0
    low: int = 0
    high: int = 0

    def meet(self, values: Sequence[Any]) -> None:
        types = set(map(type, values))
        self.types |= types - {type(None)}
        if int in types:
            whole = [value for value in values if type(value) is int]
            self.integers += len(whole)
            self.low, self.high = min(self.low, *whole), max(self.high, *whole)

    def kind(self, rows: int) -> str:
        """Return the kind that `frames.column` finds for all of them."""
        if self.types <= {str}:
            return "text"
        if self.types == {bool}:
            return "bool"
        if self.types == {int} and self._within(INT64):
            return "int" if self.integers == rows else "count"
        if self.types <= {int, float} and float in self.types and self._within(EXACT):
            return "float"
        return "mixed"

    def _within(self, limits: range) -> bool:
        return self.low in limits and self.high in limits


class _Room:
    """The names of one payload, in the order in which the oldest runs brought them."""

    def __init__(self) -> None:
        self.names: list[str] = []
        self._values: dict[str, _Values] = {}
        self._last: tuple[str, ...] = ()

    def meet(self, batch: Batch, payload: str) -> None:
        objects = batch.objects(payload)
        for each in objects:  # newest first, so that the names of each come before those known
            names = tuple(each)
            if names != self._last:
                self._last = names
                self.names = [*names, *(name for name in self.names if name not in each)]
        for name in self.names:
            values = self._values.setdefault(name, _Values())
            values.meet(batch.cells_of(payload, name))

    def columns(self, prefix: str, payload: str, rows: int) -> list[Column]:
        keys = {clean(f"{prefix}.{name}"): name for name in self.names}
        return [
            Column(name, self._values[key].kind(rows), payload, key) for name, key in keys.items()
        ]


class Findings:
    """What was found in the rows that are exported, newest first.

    Parameters
    ----------
    payloads : sequence of str
        Which payloads are looked into; those of `ROOMS`.
    """

    def __init__(self, payloads: Sequence[str]) -> None:
        self.payloads = payloads
        self.rows = 0
        self.tags: set[str] = set()
        self._has_author = False
        self._rooms = {payload: _Room() for payload in payloads}

    def meet(self, batch: Batch) -> None:
        """Look at more rows, which hold release tag, author and `payloads`."""
        self.rows += len(batch)
        self.tags.update(batch.known("release_tag"))
        self._has_author = self._has_author or any(batch.known("author"))
        for payload in self.payloads:
            self._rooms[payload].meet(batch, payload)

    def columns(self, chosen: Sequence[str] | None) -> list[Column]:
        """Return the columns of the frame, or those that are `chosen`.

        Raises
        ------
        HistoryError
            No run that is exported has a column that is chosen.
        """
        known: dict[str, Column] = {}
        for name, kind in KINDS.items():
            if name not in RARE or self._has_author or name in (chosen or ()):
                known[name] = Column(name, kind)
            if name == _HEAD:
                for prefix, payload in ROOMS.items():
                    found = self._found(prefix, payload)
                    known |= {column.name: column for column in found}
        missing = [name for name in chosen or () if name not in known]
        if missing:
            _refuse(missing[0], [name for name in known if name not in KINDS])
        return [known[name] for name in (known if chosen is None else chosen)]

    def _found(self, prefix: str, payload: str) -> list[Column]:
        if payload not in self._rooms:
            return []
        return self._rooms[payload].columns(prefix, payload, self.rows)


def chosen_names(columns: str | Sequence[str] | None) -> list[str] | None:
    """Return the names that a caller gave as `columns=`; refuse those that can be no column.

    Raises
    ------
    HistoryError
        There is no such column, one is named twice, or none is named.
    """
    if columns is None:
        return None
    given: object = columns
    if not isinstance(given, Iterable):
        msg = f"columns={columns!r} are no names; give a list of names, or leave it out for all"
        raise HistoryError(msg)
    names = [columns] if isinstance(columns, str) else list(columns)
    for name in names:
        room, dot, _ = str(name).partition(".")
        if name not in KINDS and not (room in ROOMS and dot):
            known = ", ".join((*KINDS, *(f"{room}.<name>" for room in ROOMS)))
            msg = f"columns: there is no column {name!r}; there are: {known}"
            raise HistoryError(msg)
    repeated = sorted({name for name in names if names.count(name) > 1})
    if repeated or not names:
        problem = f"{', '.join(repeated)} is named twice" if repeated else "none is named"
        msg = f"columns={names}: {problem}; name each column once, or leave it out for all"
        raise HistoryError(msg)
    return names


def _refuse(name: str, brought: Sequence[str]) -> None:
    there_are = f"their runs bring {', '.join(brought)}" if brought else "they bring none"
    msg = f"columns: no run that is exported has {name!r}; {there_are}"
    raise HistoryError(msg)
