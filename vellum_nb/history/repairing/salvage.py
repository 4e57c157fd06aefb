"""Takes every row that can still be read out of a damaged file, past SQLite, into a new one.

Tables are read along their trees as far as these go; then come the pages that no tree leads to any
more, row by row, each into the one table that it can be of. Pages that SQLite has set free are left
out, since what they hold was deleted.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from vellum_nb.history.repairing.btrees import Cell, Tree, cells, free_pages, kind_of, roots, walk
from vellum_nb.history.repairing.pages import Pages
from vellum_nb.history.repairing.proof import is_json
from vellum_nb.history.repairing.shapes import Shape, shapes

__all__ = ["Salvage"]

_ROWS = frozenset({2, 10, 13})
_SETTINGS = {"last deletion": int, "deleted of archive ": list}
"""How those begin that are of no index, which stays behind."""
_JSON: dict[str, dict[str, type]] = {
    "sweeps": {"release_tags": list, "releases": dict, "options": dict, "holder": dict},
    "sweep_cases": {"inputs": dict, "expected": dict, "labels": dict, "large": list},
}


@dataclass(slots=True)
class _Entry:
    """A line of the list of tables and indexes that the file has."""

    kind: str
    name: str
    table: str
    root: int


@dataclass(slots=True)
class Salvage:
    """What is taken from `pages` to `target`, which has the tables of a history.

    Attributes
    ----------
    ids : dict
        The runs that the file has had, as their indexes say: number to id, None where only the
        number is known.
    sure : bool
        Whether an index says of every run that it was there.
    """

    pages: Pages
    target: sqlite3.Connection
    ids: dict[int, str | None] = field(default_factory=dict)
    sure: bool = False
    _seen: set[int] = field(default_factory=set)
    _shapes: dict[str, Shape] = field(default_factory=shapes)

    def take(self) -> None:
        """Take everything, in the caller's transaction."""
        entries = [_Entry(*each) for each in roots(self.pages)]
        self._seen.update(walk(self.pages, 1).reached)
        trees = {each.name: walk(self.pages, each.root) for each in entries}
        for entry in entries:
            self._seen.update(trees[entry.name].reached)
            if entry.kind == "index" and entry.table == "runs":
                self._list_runs(entry.name, trees[entry.name])
        for entry in entries:
            shape = self._shapes.get(entry.name)
            if entry.kind == "table" and shape is not None:
                self._take_table(shape, trees[entry.name])
        self._take_orphans()
        if not self.sure:  # a page that is free now, and nothing tells so, may have held them
            deleted = "SELECT 1 FROM deleted_runs d WHERE d.seq = runs.seq AND d.id = runs.id"
            self.target.execute(f"DELETE FROM runs WHERE EXISTS ({deleted})")

    def _list_runs(self, name: str, tree: Tree) -> None:
        """Note which runs there were: each entry of an index ends with the number of its row."""
        bad: list[int] = []
        for number in tree.pages:
            for cell in cells(self.pages, number, bad=bad):
                seq = cell.values[-1] if cell.values else None
                if cell.rowid is None and isinstance(seq, int):
                    named = name == "sqlite_autoindex_runs_1" and isinstance(cell.values[0], str)
                    self.ids[seq] = cell.values[0] if named else self.ids.get(seq)
        if name == "sqlite_autoindex_runs_1":
            self.sure = tree.whole and not bad

    def _take_table(self, shape: Shape, tree: Tree) -> None:
        for number in tree.pages:
            for cell in cells(self.pages, number):
                if shape.fits(cell.rowid, cell.values):
                    self._put(shape, cell)

    def _take_orphans(self) -> None:
        free = free_pages(self.pages)
        for number in self.pages:
            page = self.pages.read(number)
            if number in self._seen or number in free or page is None:
                continue
            if kind_of(number, page) in _ROWS:
                for cell in cells(self.pages, number):
                    self._take_orphan(cell)

    def _take_orphan(self, cell: Cell) -> None:
        found = [each for each in self._shapes.values() if each.fits(cell.rowid, cell.values)]
        if len(found) != 1:
            return
        in_index = cell.rowid in self.ids
        if found[0].name in {"runs", "payloads"} and self.sure and not in_index:
            return  # an older copy of a page, with a row that was deleted since
        self._put(found[0], cell)

    def _put(self, shape: Shape, cell: Cell) -> None:
        """Insert the row, if it is sound, where there is none of this number or key."""
        row = shape.row(cell.rowid, cell.values)
        if _is_sound(shape.name, row):
            names = ", ".join(row)
            marks = ", ".join("?" * len(row))
            sql = f"INSERT OR IGNORE INTO {shape.name} ({names}) VALUES ({marks})"
            values: list[Any] = list(row.values())
            self.target.execute(sql, values)


def _is_sound(table: str, row: Mapping[str, Any]) -> bool:
    kinds = _JSON.get(table, {})
    if table == "settings":
        found = [kind for start, kind in _SETTINGS.items() if row["name"].startswith(start)]
        return bool(found) and is_json(row["value"], found[0])
    return all(is_json(row.get(name), kind) for name, kind in kinds.items())
