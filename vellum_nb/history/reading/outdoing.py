"""The first runs of an order in PostgreSQL, for which all payloads must be read.

The best of the newest runs are found first. Of equal runs the newest come first, so what else is
among the first has to be better than the last of these: that needs no look at the other columns of
a run, and PostgreSQL shares the work out.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from vellum_nb.history.reading.query import NEWEST_FIRST
from vellum_nb.history.reading.reads import JOINED
from vellum_nb.history.store.store import Reader, Row, Store

__all__ = ["Key", "best"]

_AT_ONCE = 1_000_000
_SPARE = 1_000  # runs that may be equal to the last one wanted


class Key(NamedTuple):
    """What runs are sorted by, missing values last."""

    sql: str
    bound: tuple[object, ...]
    descending: bool

    @property
    def way(self) -> str:
        """Return how SQL says it."""
        return "DESC" if self.descending else "ASC"

    @property
    def order(self) -> str:
        """Return the whole order, which the newest of equal runs begin."""
        return f"{self.sql} {self.way} NULLS LAST, {NEWEST_FIRST}"

    def is_better(self, value: str | None, than: str | None) -> bool:
        """Return whether one value comes before another one."""
        if value is None or than is None:
            return value is not None
        return value > than if self.descending else value < than


def best(
    store: Store,
    key: Key,
    wanted: int,
    newest: int,
    heard: Callable[[int, Callable[[], list[int]]], None],
) -> list[int] | None:
    """Return the first `wanted` runs; None where the `newest` cannot be told from the others.

    `heard` is told how many were read, and how to get the first of those; what it raises ends it.
    """
    with store.snapshot() as state:
        sql = "SELECT timestamp FROM runs ORDER BY timestamp DESC, seq DESC LIMIT 1 OFFSET ?"
        before = state.read(sql, (newest,))
        if not before:
            return None
        heard(0, list)
        found = _best_of_newest(state, key, wanted, before[0])
        if len(found) < wanted:
            return None
        good = [seq for seq, _ in found]
        heard(newest, lambda: good)
        better = _better(state, key, wanted, found[-1][1])
        sql = f"SELECT r.seq {JOINED} WHERE {state.dialect.one_of('r.seq')} ORDER BY {key.order}"
        among = state.dialect.listed({*good, *better})
        return [seq for (seq,) in state.read(f"{sql} LIMIT ?", (among, *key.bound, wanted))]


def _best_of_newest(state: Reader, key: Key, wanted: int, before: Row) -> list[Row]:
    sql = f"SELECT r.seq, {key.sql} {JOINED} WHERE r.timestamp > ? ORDER BY {key.order} LIMIT ?"
    return state.read(sql, (*key.bound, *before, *key.bound, wanted))


def _better(state: Reader, key: Key, wanted: int, than: str | None) -> list[int]:
    """Return the first runs that are better than a value, and others, in no order."""
    found: list[int] = []
    last = state.read("SELECT coalesce(max(seq), 0) FROM payloads")[0][0]
    for after in range(0, last, _AT_ONCE):
        which = after, after + _AT_ONCE
        sql = f"SELECT p.seq, {key.sql} FROM payloads p WHERE p.seq > ? AND p.seq <= ? "
        sql += f"ORDER BY {key.sql} {key.way} NULLS LAST LIMIT ?"
        rows = state.read(sql, (*key.bound, *which, *key.bound, wanted + _SPARE))
        is_cut = len(rows) == wanted + _SPARE and rows[-1][1] == rows[wanted - 1][1]
        if is_cut and key.is_better(
            rows[-1][1], than
        ):  # the newest of these, whatever their number
            sql = f"SELECT r.seq {JOINED} WHERE p.seq > ? AND p.seq <= ? ORDER BY {key.order} "
            rows = state.read(f"{sql} LIMIT ?", (*which, *key.bound, wanted))
        found += [row[0] for row in rows]
    return found
