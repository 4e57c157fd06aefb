"""The queries: rows in the order and number asked for, fetched whole, never a live cursor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

from vellum_nb.history.reading.query import (
    ALL,
    NEWEST_FIRST,
    Filters,
    Selection,
    select,
)
from vellum_nb.history.rows.frames import PLAIN, ROOMS
from vellum_nb.history.rows.rows import FRAMED, PAYLOADS, SCALARS
from vellum_nb.history.store import large
from vellum_nb.history.store.store import Reader, Row, Snapshot, Store

__all__ = [
    "COLUMNS",
    "JOINED",
    "SHOWN",
    "WHOLE",
    "are_at_least",
    "bulk",
    "count",
    "count_selected",
    "heads",
    "longest_number",
    "query",
    "row",
    "rows",
    "rows_of",
    "stream",
    "windows",
]

WHOLE = (*SCALARS, *PAYLOADS)
SHOWN = (*SCALARS, *FRAMED)
COLUMNS = ", ".join(f"{'r' if name in SCALARS else 'p'}.{name}" for name in (*WHOLE, "large"))
_BULK = ", ".join(
    [*(f"r.{name}" for name in PLAIN), "p.metadata"]
    + [f"coalesce(p.{name}, '{{}}') || '\n' AS {name}" for name in ROOMS.values()]
    + ["p.large"]
)
JOINED = "FROM runs r JOIN payloads p ON p.seq = r.seq"
_LONG = frozenset({"error_message", "note", "tags"})
_LARGE_ROWS = 8
_PLACE = "(r.timestamp, r.seq)"
_ALL = f"SELECT {COLUMNS} {JOINED}"


def row(store: Store, run_id: str) -> Row | None:
    """Return the row of one run, if there is one."""
    found = store.read(f"{_ALL} WHERE r.id = ?", (run_id,))
    return large.restored(store.read, found, WHOLE)[0] if found else None


def rows(store: Store, filters: Filters) -> list[Row]:
    """Return the rows that `filters` name, newest first."""
    return rows_of(store, select(filters, store), WHOLE)


def heads(store: Store, limit: int) -> list[Row]:
    """Return the newest rows for a list that shows no payloads: large values stay cut short."""
    return [row[:-1] for row in _cut(store, select({"limit": limit}, store), WHOLE)]


def rows_of(reader: Reader, chosen: Selection, names: Sequence[str]) -> list[Row]:
    """Return the columns `names` of the rows that are `chosen`, newest first."""
    return large.restored(reader.read, _cut(reader, chosen, names), names)


def _cut(reader: Reader, chosen: Selection, names: Sequence[str]) -> list[Row]:
    """Return the same with large values cut short, and where these are."""
    columns = ", ".join(f"{'r' if name in SCALARS else 'p'}.{name}" for name in (*names, "large"))
    return reader.read(*query(chosen, f"{columns} {JOINED}"))


def stream(snapshot: Snapshot, chosen: Selection, names: Sequence[str]) -> Iterator[list[Row]]:
    """Yield the columns `names` of the rows that are `chosen`, newest first, a batch at a time."""
    of_runs = set(names) <= set(SCALARS)
    columns = [f"{'r' if name in SCALARS else 'p'}.{name}" for name in names]
    columns += ["r.seq"] if of_runs else ["p.large", "r.seq"]
    source = "FROM runs r" if of_runs else JOINED
    which, bound = _which(chosen)
    heavy = [at for at, name in enumerate(names) if name not in SCALARS or name in _LONG]
    found = snapshot.batches(", ".join(columns), source, which, bound, heavy=heavy)
    for batch in found:
        if of_runs or all(row[-2] is None for row in batch):
            yield [row[: len(names)] for row in batch]
            continue
        for start in range(0, len(batch), _LARGE_ROWS):
            some = [row[:-1] for row in batch[start : start + _LARGE_ROWS]]
            yield large.restored(snapshot.read, some, names)


def query(chosen: Selection, what: str) -> tuple[str, tuple[object, ...]]:
    """Return a query for `what` of the rows that are `chosen`, newest first."""
    which, bound = _which(chosen)
    return f"SELECT {what} {which}", bound


def _which(chosen: Selection) -> tuple[str, tuple[object, ...]]:
    which = f"WHERE {chosen.where} ORDER BY {NEWEST_FIRST} LIMIT ?"
    return which, (*chosen.bound, chosen.limit)


def bulk(store: Store, chosen: Selection, *, searched: bool) -> tuple[str, tuple[Any, ...]]:
    """Return the query that `Store.bulk` wants, and what it binds.

    What is `searched` for only our own connections may know: they look which runs it is.
    """
    if searched:
        picked = [seq for (seq,) in store.read(*query(chosen, "r.seq FROM runs r"))]
        where, listed = store.dialect.one_of("r.seq"), store.dialect.listed(picked)
        chosen = Selection(where, (listed,), chosen.limit)
    return query(chosen, f"{_BULK} {JOINED}")


def are_at_least(reader: Reader, chosen: Selection, number: int) -> bool:
    """Return whether there are so many rows; counts no further."""
    if chosen.limit < number:
        return False
    sql = f"SELECT count(*) FROM (SELECT 1 FROM runs r WHERE {chosen.where} LIMIT ?) AS few"
    return bool(reader.read(sql, (*chosen.bound, number))[0][0] == number)


def windows(store: Store, chosen: Selection, rows: int) -> Iterator[Selection]:
    """Yield selections of at most `rows` rows that follow each other, newest first.

    Each ends at a row that is looked up before it, and the next one begins behind that row: what
    is recorded meanwhile is newer, and moves nothing.
    """
    left, rest = chosen.limit, chosen
    while left > 0:
        size = min(rows, left)
        sql, bound = query(replace(rest, limit=1), "r.timestamp, r.seq FROM runs r")
        ends = store.read(f"{sql} OFFSET ?", (*bound, size - 1))
        if not ends:
            if store.read(sql, bound):
                yield replace(rest, limit=size)
            return
        yield _narrowed(rest, f"{_PLACE} >= (?, ?)", ends[0], size)
        rest = _narrowed(chosen, f"{_PLACE} < (?, ?)", ends[0], size)
        left -= size


def _narrowed(chosen: Selection, term: str, place: Row, limit: int) -> Selection:
    return Selection(f"{chosen.where} AND {term}", (*chosen.bound, *place), limit)


def count(store: Store, filters: Filters) -> int:
    """Return the number of rows that `filters` name."""
    return count_selected(store, select(filters, store))


def count_selected(reader: Reader, chosen: Selection) -> int:
    """Return the number of rows that are `chosen`."""
    if chosen.limit == ALL:
        # PostgreSQL shares out the work of no OR
        parts = chosen.parts or ((chosen.where, chosen.bound),)
        sql = "SELECT count(*) FROM runs r WHERE "
        return sum(int(reader.read(f"{sql}{where}", bound)[0][0]) for where, bound in parts)
    sql = f"SELECT count(*) FROM (SELECT 1 FROM runs r WHERE {chosen.where} LIMIT ?) AS few"
    return int(reader.read(sql, (*chosen.bound, chosen.limit))[0][0])


def longest_number(store: Store) -> int:
    """Return the number of the newest row: there were never more; quick, however many there are."""
    return int(store.read("SELECT max(seq) FROM runs")[0][0] or 0)
