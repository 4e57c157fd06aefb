"""The first runs of an order in PostgreSQL, for which all payloads must be read.

The best of the newest runs are found first. Of equal runs the newest come first, so what else is
among the first has to be better than the last of these: that needs no look at the other columns of
a run, and PostgreSQL shares the work out.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import NamedTuple

from vellum_nb.history.reading.query import NEWEST_FIRST
from vellum_nb.history.reading.reads import JOINED
from vellum_nb.history.store.store import Reader, Row, Store

__all__ = ["Key", "best"]

_AT_ONCE = 1_000_000
_TELL_S = 0.2
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
        good = _best_of_newest(state, key, wanted, before[0])
        if len(good) < wanted:
            return None
        found = [seq for seq, _ in good]
        last = state.read("SELECT coalesce(max(seq), 0) FROM payloads")[0][0]
        with ThreadPoolExecutor(1) as aside:
            for after in range(0, last, _AT_ONCE):
                part = (after, after + _AT_ONCE)
                coming = aside.submit(_better, state, key, wanted, good[-1][1], part)
                heard(max(newest, after), found.copy)
                while not wait([coming], _TELL_S).done:
                    heard(max(newest, after), found.copy)
                found = _first(state, key, wanted, [*found, *coming.result()])
        return found


def _first(state: Reader, key: Key, wanted: int, among: Sequence[int]) -> list[int]:
    sql = (
        f"SELECT r.seq {JOINED} WHERE {state.dialect.one_of('r.seq')} ORDER BY {key.order} LIMIT ?"
    )
    return _numbers(state, sql, (state.dialect.listed(set(among)), *key.bound, wanted))


def _best_of_newest(state: Reader, key: Key, wanted: int, before: Row) -> list[Row]:
    sql = f"SELECT r.seq, {key.sql} {JOINED} WHERE r.timestamp > ? ORDER BY {key.order} LIMIT ?"
    return state.read(sql, (*key.bound, *before, *key.bound, wanted))


def _better(
    state: Reader, key: Key, wanted: int, than: str | None, which: tuple[int, int]
) -> list[int]:
    """Return the first runs of a part that are better than a value, and others, in no order."""
    where = "WHERE p.seq > ? AND p.seq <= ?"
    sql = f"SELECT p.seq, {key.sql} FROM payloads p {where} ORDER BY {key.sql} {key.way} "
    bound = (*key.bound, *which, *key.bound, wanted + _SPARE)
    rows = state.read(f"{sql} NULLS LAST LIMIT ?", bound)
    is_cut = len(rows) == wanted + _SPARE and rows[-1][1] == rows[wanted - 1][1]
    if is_cut and key.is_better(rows[-1][1], than):  # which of the equal ones are the newest?
        sql = f"SELECT r.seq {JOINED} {where} ORDER BY {key.order} LIMIT ?"
        return _numbers(state, sql, (*which, *key.bound, wanted))
    return [row[0] for row in rows]


def _numbers(state: Reader, sql: str, bound: tuple[object, ...]) -> list[int]:
    return [seq for (seq,) in state.read(sql, bound)]
