"""The queries: rows in the order and number asked for, fetched whole, never a live cursor."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

from vellum_nb.history import large
from vellum_nb.history.frames import PLAIN, ROOMS
from vellum_nb.history.query import NEWEST_FIRST, Filters, PageFilters, Selection, order, select
from vellum_nb.history.rows import FRAMED, PAYLOADS, SCALARS
from vellum_nb.history.store import Reader, Row, Snapshot, Store

__all__ = [
    "COLUMNS",
    "WHOLE",
    "are_at_least",
    "bulk",
    "count",
    "count_selected",
    "framed",
    "heads",
    "page",
    "row",
    "rows",
    "stream",
]

WHOLE = (*SCALARS, *PAYLOADS)
_FRAMED = (*SCALARS, *FRAMED)
COLUMNS = ", ".join(f"{'r' if name in SCALARS else 'p'}.{name}" for name in (*WHOLE, "large"))
_LEAN = ", ".join(f"{'r' if name in SCALARS else 'p'}.{name}" for name in (*_FRAMED, "large"))
_BULK = ", ".join(
    [*(f"r.{name}" for name in PLAIN), "p.metadata"]
    + [f"coalesce(p.{name}, '{{}}') || '\n' AS {name}" for name in ROOMS.values()]
    + ["p.large"]
)
_JOINED = "FROM runs r JOIN payloads p ON p.seq = r.seq"
_BATCH_ROWS = 2000
_BATCH_CHARACTERS = 400_000  # more no longer fits the processor's cache
_LARGE_ROWS = 8
_ALL = f"SELECT {COLUMNS} {_JOINED}"


def row(store: Store, run_id: str) -> Row | None:
    """Return the row of one run, if there is one."""
    found = store.read(f"{_ALL} WHERE r.id = ?", (run_id,))
    return large.restored(store.read, found, WHOLE)[0] if found else None


def rows(store: Store, filters: Filters) -> list[Row]:
    """Return the rows that `filters` name, newest first."""
    return large.restored(store.read, _rows(store, filters, COLUMNS), WHOLE)


def heads(store: Store, limit: int) -> list[Row]:
    """Return the newest rows for a list that shows no payloads: large values stay cut short."""
    return [row[:-1] for row in _rows(store, {"limit": limit}, COLUMNS)]


def framed(store: Store, filters: Filters) -> list[Row]:
    """Return the same rows without what a frame does not show."""
    return large.restored(store.read, _rows(store, filters, _LEAN), _FRAMED)


def stream(snapshot: Snapshot, chosen: Selection, names: Sequence[str]) -> Iterator[list[Row]]:
    """Yield the columns `names` of the rows that are `chosen`, newest first, a batch at a time."""
    of_runs = set(names) <= set(SCALARS)
    columns = [f"{'r' if name in SCALARS else 'p'}.{name}" for name in names]
    source = "FROM runs r" if of_runs else _JOINED
    sql = ", ".join(columns if of_runs else [*columns, "p.large"])
    sql = f"SELECT {sql} {source} WHERE {chosen.where} ORDER BY {NEWEST_FIRST} LIMIT ?"
    found = snapshot.batches(
        sql, (*chosen.bound, chosen.limit), rows=_BATCH_ROWS, characters=_BATCH_CHARACTERS
    )
    return found if of_runs else _restored(snapshot, found, names)


def _restored(
    snapshot: Snapshot, batches: Iterator[list[Row]], names: Sequence[str]
) -> Iterator[list[Row]]:
    """Yield the same rows with their large values, of which few are there at once."""
    for batch in batches:
        if all(row[-1] is None for row in batch):
            yield [row[:-1] for row in batch]
            continue
        for start in range(0, len(batch), _LARGE_ROWS):
            yield large.restored(snapshot.read, batch[start : start + _LARGE_ROWS], names)


def _rows(store: Store, filters: Filters, columns: str) -> list[Row]:
    chosen = select(filters, store)
    sql = f"SELECT {columns} {_JOINED} WHERE {chosen.where} ORDER BY {NEWEST_FIRST} LIMIT ?"
    return store.read(sql, (*chosen.bound, chosen.limit))


def bulk(store: Store, filters: Filters) -> tuple[str, tuple[Any, ...]]:
    """Return the query that `Store.bulk` wants, and what it binds.

    What only our own connections can search is searched here.
    """
    chosen = select(filters, store)
    where, bound = chosen.where, chosen.bound
    if filters.get("search"):
        sql = f"SELECT r.seq FROM runs r WHERE {where} ORDER BY {NEWEST_FIRST} LIMIT ?"
        picked = [seq for (seq,) in store.read(sql, (*bound, chosen.limit))]
        where, bound = store.dialect.one_of("r.seq"), (store.dialect.listed(picked),)
    sql = f"SELECT {_BULK} {_JOINED} WHERE {where} ORDER BY {NEWEST_FIRST} LIMIT ?"
    return sql, (*bound, chosen.limit)


def are_at_least(store: Store, filters: Filters, number: int) -> bool:
    """Return whether there are so many rows; counts no further."""
    chosen = select(filters, store)
    if chosen.limit < number:
        return False
    sql = f"SELECT count(*) FROM (SELECT 1 FROM runs r WHERE {chosen.where} LIMIT ?) few"
    return bool(store.read(sql, (*chosen.bound, number))[0][0] == number)


def count(store: Store, filters: Filters) -> int:
    """Return the number of rows that `filters` name."""
    return count_selected(store, select(filters, store))


def count_selected(reader: Reader, chosen: Selection) -> int:
    """Return the number of rows that are `chosen`."""
    sql = f"SELECT count(*) FROM runs r WHERE {chosen.where}"
    found: int = reader.read(sql, chosen.bound)[0][0]
    return min(found, chosen.limit)


def page(
    store: Store,
    filters: PageFilters,
    *,
    offset: int,
    limit: int,
    order_by: str,
    descending: bool,
) -> list[Row]:
    """Return `limit` rows from `offset` on.

    First which, then their payloads: rows that are only skipped are never read whole.
    """
    chosen = select({**filters, "limit": limit}, store)
    terms, bound, needs_payloads = order(order_by, store.dialect, descending=descending)
    source = "runs r JOIN payloads p ON p.seq = r.seq" if needs_payloads else "runs r"
    sql = f"SELECT r.seq FROM {source} WHERE {chosen.where} ORDER BY {terms} LIMIT ? OFFSET ?"
    parameters = (*chosen.bound, *bound, chosen.limit, max(0, offset))
    picked = [seq for (seq,) in store.read(sql, parameters)]
    sql = f"SELECT r.seq, {COLUMNS} {_JOINED} WHERE {store.dialect.one_of('r.seq')}"
    found = {seq: rest for seq, *rest in store.read(sql, (store.dialect.listed(picked),))}
    ordered = [tuple(found[seq]) for seq in picked if seq in found]
    return large.restored(store.read, ordered, WHOLE)
