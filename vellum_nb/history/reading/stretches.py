"""The first runs of an order for which all rows must be read: the best of each stretch.

A file is read by two connections at once, either from one end to the other of its half, as systems
read ahead. They sort only what may still be among the first, by what either found before.
PostgreSQL shares out such work by itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import cycle, zip_longest
from pathlib import Path
from typing import NamedTuple, TypeAlias

from vellum_nb.history.reading import outdoing, sorting
from vellum_nb.history.reading.query import PageFilters, order, select
from vellum_nb.history.reading.reads import JOINED, longest_number
from vellum_nb.history.rows.frames import ROOMS
from vellum_nb.history.rows.rows import clean
from vellum_nb.history.sqlite.sqlite import member, shortened
from vellum_nb.history.store.store import Reader, Store

__all__ = ["Heard", "best"]

_MOST = 1_000  # rows that are chosen so
_STRETCH = 100_000  # PostgreSQL would not share out the work of much fewer

Heard: TypeAlias = Callable[[int, int, Callable[[], list[int]]], None]
"""Hears how many runs were read of how many, and how to get the first of those that were."""

_Stretch = tuple[int, str, tuple[object, ...]]  # its size, which runs it has, and what that binds


def best(
    store: Store, filters: PageFilters, way: tuple[str, bool], wanted: int, heard: Heard
) -> list[int] | None:
    """Return the first runs of an order, None where another way to them is better.

    `way` is the column, and whether the largest come first. What `heard` raises ends it.
    """
    order_by, descending = way
    terms, bound, needs_payloads = order(
        order_by, store.dialect, descending=descending, letters=sorting.TEXT
    )
    is_long = wanted <= _MOST and longest_number(store) > _STRETCH
    is_slow = needs_payloads or (order_by != "timestamp" and isinstance(store.path, Path))
    if not is_long or not is_slow or sorting.ready(store, order_by):
        return None
    outdone = _outdone(store, filters, way, wanted, heard)
    if outdone is not None:
        return outdone
    tables = "rp" if needs_payloads else "r"
    source = JOINED if needs_payloads else "FROM runs r"
    sql = f"SELECT r.seq {source} WHERE {{}} ORDER BY {terms} LIMIT ?"
    stretches = _stretches(store, filters, tables)
    return _best(store, stretches, _Query(sql, bound, wanted), _bar(store, way), heard)


def _outdone(
    store: Store, filters: PageFilters, way: tuple[str, bool], wanted: int, heard: Heard
) -> list[int] | None:
    """Return them where PostgreSQL can find them among the newest, and by what is better."""
    room, _, name = clean(way[0]).partition(".")
    is_server = store.dialect.name == "postgresql"
    if not is_server or room not in ROOMS or filters.get("search"):
        return None
    key, bound = store.dialect.member_key(f"p.{ROOMS[room]}", name, sorting.TEXT)
    by = outdoing.Order(key, bound, way[1], wanted)
    total, chosen = longest_number(store), select({**filters, "limit": None}, store)

    def told(done: int, first: Callable[[], list[int]]) -> None:
        heard(done, total, first)

    return outdoing.best(store, by, (chosen.where, chosen.bound), told)


class _Query(NamedTuple):
    sql: str
    """With a place for the condition."""
    bound: tuple[object, ...]
    wanted: int


def _best(
    store: Store, stretches: Sequence[_Stretch], query: _Query, bar: _Bar | None, heard: Heard
) -> list[int]:
    sql, bound, wanted = query
    total = sum(size for size, _, _ in stretches)
    found, done = list[int](), 0

    def ask(reader: Reader, stretch: _Stretch) -> list[int]:
        _, where, which = stretch
        beside, more = bar.term() if bar else ("TRUE", ())
        rows = reader.read(sql.format(f"{where} AND {beside}"), (*which, *more, *bound, wanted))
        if bar and len(rows) == wanted:
            bar.raise_to(reader, rows[-1][0])
        return [seq for (seq,) in rows]

    def first() -> list[int]:
        listed = store.dialect.listed(found)
        one_of = sql.format(store.dialect.one_of("r.seq"))
        found[:] = [seq for (seq,) in store.read(one_of, (listed, *bound, wanted))]
        return [*found]

    with closing(_answers(store, stretches, ask)) as answers:
        for size, _, _ in stretches:
            heard(done, total, first)
            found += next(answers)
            done += size
    return first()


class _Bar:
    """What a value must reach: so many runs as are wanted reach it already.

    Whole values are compared with it, as cutting one short takes as long as sorting it. Texts are
    bytes here, as not all of them can be decoded.
    """

    def __init__(self, column: str, name: str, *, descending: bool) -> None:
        self._value, self._path = member(column, name)
        self._descending = descending
        self._least: float | bytes | None = None

    def term(self) -> tuple[str, tuple[object, ...]]:
        """Return a condition, and what it binds; it may hold for runs that are not good enough."""
        least = self._least
        if least is None:
            return "TRUE", ()
        # without the plus numbers would be compared as texts: 5 > '10 apples'
        reached = "+CAST(? AS TEXT)" if isinstance(least, bytes) else "?"
        if not self._descending and isinstance(least, bytes):
            least += b"\xff"  # no letter begins so: all texts that begin alike come before it
        way = ">=" if self._descending else "<="
        return f"{self._value} {way} {reached}", (self._path, least)

    def raise_to(self, reader: Reader, seq: int) -> None:
        """Take the value of a run for it, unless it is higher already or the run has none."""
        key = shortened(self._value, sorting.TEXT)
        sql = f"CASE typeof({key}) WHEN 'text' THEN CAST({key} AS BLOB) ELSE {key} END"
        paths = (self._path,) * sql.count("?")
        ((found,),) = reader.read(f"SELECT {sql} FROM payloads p WHERE p.seq = ?", (*paths, seq))
        known = [each for each in (self._least, found) if each is not None]
        known.sort(key=lambda each: (isinstance(each, bytes), each), reverse=self._descending)
        self._least = known[0] if known else None


def _bar(store: Store, way: tuple[str, bool]) -> _Bar | None:
    """Return the bar of a file where it is sorted by a member of its payloads."""
    room, _, name = clean(way[0]).partition(".")
    if room not in ROOMS or not isinstance(store.path, Path):
        return None
    return _Bar(f"p.{ROOMS[room]}", name, descending=way[1])


def _stretches(store: Store, filters: PageFilters, tables: str) -> list[_Stretch]:
    """Return the stretches of either half in turns, each half in the order of the file."""
    chosen = select({**filters, "limit": None}, store)
    stretches: list[_Stretch]
    if chosen.where == "TRUE":
        # PostgreSQL needs to be told of each table
        within = " AND ".join(f"{table}.seq > ? AND {table}.seq <= ?" for table in tables)
        newest, times = longest_number(store), len(tables)
        ends = [(after, min(after + _STRETCH, newest)) for after in range(0, newest, _STRETCH)]
        stretches = [(upto - after, within, (after, upto) * times) for after, upto in ends]
    else:  # looked up once, by whatever index there is
        sql = f"SELECT r.seq FROM runs r WHERE {chosen.where} ORDER BY r.seq"
        hits = [seq for (seq,) in store.read(sql, chosen.bound)]
        parts = [hits[at : at + _STRETCH] for at in range(0, len(hits), _STRETCH)]
        one_of, listed = store.dialect.one_of("r.seq"), store.dialect.listed
        stretches = [(len(part), one_of, (listed(part),)) for part in parts]
    half = (len(stretches) + 1) // 2
    pairs = zip_longest(stretches[:half], stretches[half:])
    return [stretch for pair in pairs for stretch in pair if stretch is not None]


def _answers(
    store: Store,
    stretches: Sequence[_Stretch],
    ask: Callable[[Reader, _Stretch], list[int]],
) -> Generator[list[int], None, None]:
    """Yield the best of each stretch; of a file two at a time."""
    if not isinstance(store.path, Path):
        yield from (ask(store, stretch) for stretch in stretches)
        return
    with store.snapshot() as one, store.snapshot() as other:
        sides = (one, ThreadPoolExecutor(1)), (other, ThreadPoolExecutor(1))
        coming = deque(
            aside.submit(ask, snapshot, stretch)
            for stretch, (snapshot, aside) in zip(stretches, cycle(sides), strict=False)
        )
        try:
            while coming:
                yield coming.popleft().result()
        finally:
            for snapshot, aside in sides:
                snapshot.cancel()
                aside.shutdown(cancel_futures=True)
