"""The first runs of an order in PostgreSQL, for which all payloads must be read.

The best of the newest runs are found first. Of equal runs the newest come first, so what else is
among the first has to be better than the last of these: that needs no look at the other columns of
a run where all are meant, and PostgreSQL shares the work out.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from functools import partial
from typing import NamedTuple

from vellum_nb.errors import HistoryError
from vellum_nb.history.reading.query import NEWEST_FIRST
from vellum_nb.history.reading.reads import JOINED
from vellum_nb.history.store.store import Condition, Reader, Snapshot, Store

__all__ = ["Order", "best"]

_NEWEST = 20_000
_AT_ONCE = 1_000_000
_TELL_S = 0.2
_SPARE = 1_000  # runs that may be equal to the last one wanted


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


def best(
    store: Store,
    order: Order,
    chosen: Condition,
    heard: Callable[[int, Callable[[], list[int]]], None],
) -> list[int] | None:
    """Return the first of the chosen runs; None where no newest can be told from others.

    `heard` is told how many were read, and how to get the first of those; what it raises ends it.
    """
    with ExitStack() as stack:
        try:
            state = stack.enter_context(store.snapshot())
        except HistoryError:  # the server has no connection left
            return None
        return _best(state, order, chosen, heard)


def _best(
    state: Snapshot,
    order: Order,
    chosen: Condition,
    heard: Callable[[int, Callable[[], list[int]]], None],
) -> list[int] | None:
    where, bound = chosen
    sql = f"SELECT r.timestamp FROM runs r WHERE {where} ORDER BY {NEWEST_FIRST} LIMIT 1 OFFSET ?"
    before = state.read(sql, (*bound, _NEWEST))
    if not before:
        return None
    heard(0, list)
    newest = f"{where} AND r.timestamp > ?", (*bound, *before[0])
    found = _first(state, order, newest)
    if len(found) < order.wanted:
        return None
    least, last = found[-1], state.read("SELECT coalesce(max(seq), 0) FROM payloads")[0][0]
    with ThreadPoolExecutor(1) as aside:
        for after in range(0, last, _AT_ONCE):
            part = (after, after + _AT_ONCE)
            coming = aside.submit(_better, state, order, chosen, least, part)
            _wait(state, coming, partial(heard, max(_NEWEST, after), found.copy))
            among = state.dialect.listed({*found, *coming.result()})
            found = _first(state, order, (state.dialect.one_of("r.seq"), (among,)))
    return found


def _wait(state: Snapshot, coming: Future[list[int]], tell: Callable[[], None]) -> None:
    """Tell how far it is until it is done; what that raises ends it."""
    try:
        tell()
        while not wait([coming], _TELL_S).done:
            tell()
    except BaseException:
        while not wait([coming], _TELL_S / 4).done:  # it may not have begun
            state.cancel()
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
    sql = (
        f"SELECT p.seq, {order.key} FROM payloads p WHERE {where} ORDER BY {order.key} {order.way} "
    )
    bound = (*order.bound, *part, *order.bound, order.wanted + _SPARE)
    rows = state.read(f"{sql} NULLS LAST LIMIT ?", bound)
    if len(rows) == order.wanted + _SPARE and rows[-1][1] == rows[order.wanted - 1][1]:
        least = state.read(
            f"SELECT {order.key} FROM payloads p WHERE seq = ?", (*order.bound, than)
        )
        if order.is_better(rows[-1][1], least[0][0]):  # which of the equal ones are the newest?
            return _first(state, order, both)
    return [row[0] for row in rows]
