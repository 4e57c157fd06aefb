"""Which table a record that was found in a damaged file can only be of, told by its shape."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any

from vellum_nb.history.sqlite.migrations import migrate

__all__ = ["Shape", "shapes"]

_MOST = 1 << 63


@dataclass(frozen=True, slots=True)
class Shape:
    """A table as it is now; earlier versions had the same columns, only fewer.

    Attributes
    ----------
    columns : tuple of str
        In their order.
    kinds : tuple of str
        The type of each; NUMBER for the row's own number.
    needed : tuple of bool
        Whether each must have a value.
    least : int
        How many columns its first version had.
    rowid : bool
        Whether its rows have numbers; else they lie in the tree of their primary key.
    """

    name: str
    columns: tuple[str, ...]
    kinds: tuple[str, ...]
    needed: tuple[bool, ...]
    least: int
    rowid: bool

    def fits(self, rowid: int | None, values: Sequence[Any]) -> bool:
        """Whether these may be the values of a row."""
        if (rowid is not None) != self.rowid or not self.least <= len(values) <= len(self.columns):
            return False
        return all(map(_is, values, self.kinds, self.needed))

    def row(self, rowid: int | None, values: Sequence[Any]) -> dict[str, Any]:
        """Return the row by its columns."""
        found = dict(zip(self.columns, values, strict=False))
        if self.rowid and self.kinds[0] == "NUMBER":
            found[self.columns[0]] = rowid
        return found


def _is(value: Any, kind: str, needed: bool) -> bool:  # noqa: FBT001  (called by `map`)
    if value is None:
        return kind == "NUMBER" or not needed
    if kind == "TEXT":
        return isinstance(value, str)
    if kind == "INTEGER":
        return isinstance(value, int) and -_MOST <= value < _MOST
    return kind == "REAL" and isinstance(value, int | float)


def shapes() -> dict[str, Shape]:
    """Return the shape of every table of a history, by its name."""
    with closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        migrate(db)
        tables = db.execute("SELECT name, wr FROM pragma_table_list WHERE schema = 'main'")
        return {
            name: _shape(db, name, rowid=not without)
            for name, without in tables.fetchall()
            if not name.startswith("sqlite_")
        }


def _shape(db: sqlite3.Connection, name: str, *, rowid: bool) -> Shape:
    sql = 'SELECT name, type, "notnull", dflt_value, pk FROM pragma_table_info(?)'
    found = db.execute(sql, (name,)).fetchall()
    kinds = [kind for _, kind, *_ in found]
    if rowid and sum(bool(pk) for *_, pk in found) == 1:
        kinds[0] = "NUMBER"  # SQLite keeps it as the row's own number, and NULL in the record
    added = _added(db, name)
    return Shape(
        name,
        tuple(column for column, *_ in found),
        tuple(kinds),
        tuple(bool(needed or (pk and not rowid)) for _, _, needed, _, pk in found),
        len(found) - added,
        rowid,
    )


def _added(db: sqlite3.Connection, name: str) -> int:
    """Return how many columns came with later versions: SQLite puts them into the last line."""
    sql = db.execute("SELECT sql FROM sqlite_master WHERE name = ?", (name,)).fetchone()[0]
    return len(re.findall(r", \w+ [A-Z]+", sql)) if "\n" in sql else 0
