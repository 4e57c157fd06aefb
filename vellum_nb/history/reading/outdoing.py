"""The first runs of an order in PostgreSQL, for which all payloads must be read.

The best of the newest runs are found first. Of equal runs the newest come first, so what else is
among the first has to be better than the last of these: that needs no look at the other columns of
a run where all are meant, and PostgreSQL shares the work out.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from functools import partial
from typing import NamedTuple, TypeAlias

from vellum_nb.history.reading.query import NEWEST_FIRST
from vellum_nb.history.reading.reads import JOINED
from vellum_nb.history.store.store import Condition, OutOfReachError, Reader, Snapshot, Store

__all__ = ["Heard", "Order", "best"]

_NEWEST = 20_000
_AT_ONCE = 1_000_000
_TELL_S = 0.2
_SPARE = 1_000  # runs that may be equal to the last one wanted

Heard: TypeAlias = Callable[[int, Callable[[], list[int]]], None]
"""Hears how many runs were read, and how to get the first of those; what it raises ends it."""


class Order(NamedTuple):
    """How many of the first runs are wanted, by what they are sorted; missing values come last."""

    key: str
    bound: tuple[object, ...]
    descending: bool
    wanted: int

    @property
    def way(self) -> str:
        """Return how SQL says it."""
        return "DESC" if self.descending else "ASC"

    @property
    def terms(self) -> str:
        """Return the whole of it: of equal runs the newest come first."""
        return f"{self.key} {self.way} NULLS LAST, {NEWEST_FIRST}"

    def is_better(self, value: str | None, than: str | None) -> bool:
        """Return whether one value comes before another one."""
        if value is None or than is None:
            return value is not None
        return value > than if self.descending else value < than


def best(store: Store, order: Order, chosen: Condition, heard: Heard) -> list[int] | None:
    """Return the first of the chosen runs; None where no newest can be told from others.

    Nothing is held while `heard` asks for rows: behind a pooler each query takes a session only
    for itself, so that sorts at the same time do not wait for each other.
    """
    where, bound = chosen
    sql = f"SELECT r.timestamp FROM runs r WHERE {where} ORDER BY {NEWEST_FIRST} LIMIT 1 OFFSET ?"
    before = store.read(sql, (*bound, _NEWEST))
    if not before:
        return None
    heard(0, list)
    newest = f"{where} AND r.timestamp > ?", (*bound, *before[0])
    found = _first(store, order, newest)
    if len(found) < order.wanted:
        return None
    least, last = found[-1], store.read("SELECT coalesce(max(seq), 0) FROM payloads")[0][0]
    query = _Query(store, order, chosen, least)
    with ThreadPoolExecutor(1) as aside:
        for after in range(0, last, _AT_ONCE):
            coming = aside.submit(query.better, (after, after + _AT_ONCE))
            _wait(query, coming, partial(heard, max(_NEWEST, after), found.copy))
            try:
                among = store.dialect.listed({*found, *coming.result()})
            except OutOfReachError:  # the server has no connection left
                return None
            found = _first(store, order, (store.dialect.one_of("r.seq"), (among,)))
    return found


class _Query:
    """What is better than the run `least`, asked on a connection of its own."""

    def __init__(self, store: Store, order: Order, chosen: Condition, least: int) -> None:
        self._store, self._wanted = store, (order, chosen, least)
        self._state: Snapshot | None = None

    def better(self, part: tuple[int, int]) -> list[int]:
        """Return the best of a part."""
        with self._store.snapshot() as self._state:
            return _better(self._state, *self._wanted, part)

    def cancel(self) -> None:
        """End it, from another thread, if it has begun."""
        if self._state is not None:
            self._state.cancel()


def _wait(query: _Query, coming: Future[list[int]], tell: Callable[[], None]) -> None:
    """Tell how far it is until it is done; what that raises ends it."""
    try:
        tell()
        while not wait([coming], _TELL_S).done:
            tell()
    except BaseException:
        while not wait([coming], _TELL_S / 4).done:  # it may not have begun
            query.cancel()
        raise


def _first(state: Reader, order: Order, chosen: Condition) -> list[int]:
    where, bound = chosen
    sql = f"SELECT r.seq {JOINED} WHERE {where} ORDER BY {order.terms} LIMIT ?"
    return [seq for (seq,) in state.read(sql, (*bound, *order.bound, order.wanted))]


def _better(
    state: Reader, order: Order, chosen: Condition, than: int, part: tuple[int, int]
) -> list[int]:
    """Return the first runs of a part that are better than another one, and others, in no order."""
    where = "p.seq > ? AND p.seq <= ?"
    both = f"{chosen[0]} AND {where}", (*chosen[1], *part)
    if chosen[0] != "TRUE":
        return _first(state, order, both)
    # by its place: the same key once more would be another one, sorted beside whole payloads
    sql = f"SELECT p.seq, {order.key} FROM payloads p WHERE {where} ORDER BY 2 {order.way}"
    bound = (*order.bound, *part, order.wanted + _SPARE)
    rows = state.read(f"{sql} NULLS LAST LIMIT ?", bound)
    if len(rows) == order.wanted + _SPARE and rows[-1][1] == rows[order.wanted - 1][1]:
        least = state.read(
            f"SELECT {order.key} FROM payloads p WHERE seq = ?", (*order.bound, than)
        )
        # which of the equal ones are the newest? The last one may be gone meanwhile
        if not least or order.is_better(rows[-1][1], least[0][0]):
            return _first(state, order, both)
    return [row[0] for row in rows]
