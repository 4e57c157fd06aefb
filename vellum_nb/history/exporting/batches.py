"""Some rows of an export, and the cells that a frame shows of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from vellum_nb.history.rows.cells import cell, cells
from vellum_nb.history.rows.rows import clean, from_micros
from vellum_nb.history.store.store import Row

__all__ = ["Batch", "Column"]

_PLAIN = frozenset({str, bool, int, type(None)})
_ESCAPE = "\\u"
_decode = json.JSONDecoder().raw_decode  # what json.loads calls, at half the price


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its name in the frame, where its values are, and their kind.

    `payload` is empty for a column that every frame has; `kind` is one of `frames.KINDS`, or
    ``bool``, or ``mixed``.
    """

    name: str
    kind: str
    payload: str = ""
    key: str = ""


class Batch:
    """Some rows, column by column; JSON is parsed once.

    Parameters
    ----------
    rows : sequence of tuple
        As the database has them, newest first.
    names : sequence of str
        What stands in a row.
    """

    def __init__(self, rows: Sequence[Row], names: Sequence[str]) -> None:
        self._rows = len(rows)
        self._found = dict(zip(names, zip(*rows, strict=True), strict=True))
        self._objects: dict[str, list[dict[str, Any]]] = {}
        self._cells: dict[tuple[str, str], list[Any]] = {}

    def __len__(self) -> int:
        return self._rows

    def known(self, name: str) -> Sequence[Any]:
        """Return a column as the database has it."""
        return self._found[name]

    def objects(self, payload: str) -> Sequence[Mapping[str, Any]]:
        """Return the JSON objects of a payload, {} where there is none."""
        if payload not in self._objects:
            self._objects[payload] = _objects(self._found[payload])
        return self._objects[payload]

    def cells_of(self, payload: str, key: str) -> list[Any]:
        """Return the cells that a frame shows of one name of a payload."""
        place = payload, key
        if place not in self._cells:
            values = [each.get(key) for each in self.objects(payload)]
            plain = _PLAIN.issuperset(map(type, values))
            self._cells[place] = values if plain else [cell(value) for value in values]
        return self._cells[place]

    def cells(self, columns: Sequence[Column], *, raw: bool = False) -> list[Sequence[Any]]:
        """Return one list of cells for each of `columns`.

        `raw` gives structured values and times as JSON has them, in place of cells.
        """
        return [self._raw(column) if raw else self._shown(column) for column in columns]

    def _shown(self, column: Column) -> Sequence[Any]:
        if column.payload:
            return self.cells_of(column.payload, column.key)
        values = self._found[column.name]
        if column.name == "metadata":
            return cells(values)
        return [value or 0 for value in values] if column.kind == "int" else values

    def _raw(self, column: Column) -> Sequence[Any]:
        if column.payload:
            return [each.get(column.key) for each in self.objects(column.payload)]
        values = self._found[column.name]
        if column.name in {"metadata", "tags"}:
            return [None if text is None else json.loads(text) for text in values]
        if column.kind == "time":
            return [None if count is None else from_micros(count).isoformat() for count in values]
        return self._shown(column)


def _objects(texts: Sequence[str | None]) -> list[dict[str, Any]]:
    given = [text for text in texts if text]
    decoded = list(map(_decode, given))
    if sum([end for _, end in decoded]) != sum(map(len, given)):
        decoded = [(json.loads(text), 0) for text in given]  # says where one goes on
    objects = [values for values, _ in decoded]
    if _ESCAPE in "".join(given):  # nothing else can bring half a surrogate pair
        objects = [
            {k: clean(v) if isinstance(v, str) else v for k, v in each.items()} for each in objects
        ]
    if len(given) == len(texts):
        return objects
    rest = iter(objects)
    return [next(rest) if text else {} for text in texts]
