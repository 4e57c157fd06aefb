"""The first runs of an order for which all rows must be read: the best of each stretch.

A file is read by two connections at once, either from one end to the other of its half, as systems
read ahead. PostgreSQL shares out such work by itself.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import cycle, zip_longest
from pathlib import Path
from typing import TypeAlias

from vellum_nb.history.reading import sorting
from vellum_nb.history.reading.query import PageFilters, order, select
from vellum_nb.history.reading.reads import JOINED, longest_number
from vellum_nb.history.store.store import Row, Store

__all__ = ["Heard", "best"]

_MOST = 1_000  # rows that are chosen so
_STRETCH = 100_000  # PostgreSQL would not share out the work of much fewer

Heard: TypeAlias = Callable[[int, int, Callable[[], list[int]]], None]
"""Hears how many runs were read of how many, and how to get the first of those that were."""

_Question = tuple[str, tuple[object, ...]]
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
    source = JOINED if needs_payloads else "FROM runs r"
    sql = f"SELECT r.seq {source} WHERE {{}} ORDER BY {terms} LIMIT ?"
    stretches = _stretches(store, filters, "rp" if needs_payloads else "r")
    questions = [(sql.format(where), (*which, *bound, wanted)) for _, where, which in stretches]
    total = sum(size for size, _, _ in stretches)
    found, done = list[int](), 0

    def first() -> list[int]:
        listed = store.dialect.listed(found)
        one_of = sql.format(store.dialect.one_of("r.seq"))
        found[:] = [seq for (seq,) in store.read(one_of, (listed, *bound, wanted))]
        return [*found]

    with closing(_answers(store, questions)) as answers:
        for size, _, _ in stretches:
            heard(done, total, first)
            found += [seq for (seq,) in next(answers)]
            done += size
    return first()


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


def _answers(store: Store, questions: Sequence[_Question]) -> Generator[list[Row], None, None]:
    """Yield what each question finds; of a file two at a time."""
    if not isinstance(store.path, Path):
        yield from (store.read(*question) for question in questions)
        return
    with store.snapshot() as one, store.snapshot() as other:
        sides = (one, ThreadPoolExecutor(1)), (other, ThreadPoolExecutor(1))
        coming = deque(
            aside.submit(snapshot.read, *question)
            for question, (snapshot, aside) in zip(questions, cycle(sides), strict=False)
        )
        try:
            while coming:
                yield coming.popleft().result()
        finally:
            for _, aside in sides:
                aside.shutdown(cancel_futures=True)
