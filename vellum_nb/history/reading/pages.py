"""Stretches of a history in any order: first which runs, then what is in them.

Rows that are only skipped are never read whole. Common words are found among the newest runs, so
that no index is asked.
"""

from __future__ import annotations

from array import array
from collections.abc import Callable, Sequence

from vellum_nb.history.reading import sorting, stretches
from vellum_nb.history.reading.query import ALL, Filters, PageFilters, order, select, words
from vellum_nb.history.reading.reads import COLUMNS, JOINED, WHOLE, query
from vellum_nb.history.rows.rows import clean
from vellum_nb.history.searching.search import compared
from vellum_nb.history.store import large
from vellum_nb.history.store.store import Row, Store

__all__ = ["at", "ordered", "page"]

_NEAR = 100  # rows that common words are looked for

_Way = tuple[str, bool]  # the column, and whether the largest come first


def page(
    store: Store,
    filters: PageFilters,
    *,
    offset: int,
    limit: int,
    order_by: str,
    descending: bool,
    whole: bool = True,
    told: Callable[[int, int, Callable[[], list[Row]]], None] | None = None,
) -> list[Row]:
    """Return `limit` rows from `offset` on; unless `whole` large values stay cut short.

    `told` hears how many runs were read of how many where payloads must be, and how to get the
    rows that are the first so far.
    """
    start, way = min(max(0, offset), ALL), (order_by, descending)
    wanted = start + limit

    def rows(found: Sequence[int]) -> list[Row]:
        return at(store, found[start:wanted], whole=whole)

    def heard(done: int, total: int, found: Callable[[], list[int]]) -> None:
        if told is not None:
            told(done, total, lambda: rows(found()))

    found = _among_the_newest(store, filters, way, wanted) if limit > 0 else None
    if found is None and limit > 0:
        found = stretches.best(store, filters, way, wanted, heard)
    if found is not None:
        return rows(found)
    sql, bound = _ordered(store, {**filters, "limit": limit}, way)
    return at(store, _numbers(store, f"{sql} OFFSET ?", (*bound, start)), whole=whole)


def ordered(
    store: Store,
    filters: PageFilters,
    *,
    order_by: str,
    descending: bool,
    first: int | None = None,
    told: stretches.Heard = lambda *_: None,
) -> array[int]:
    """Return which runs `filters` name, in an order: all, or the `first` of them.

    `told` hears of these as in `page`.
    """
    way = (order_by, descending)
    found = None if first is None else stretches.best(store, filters, way, first, told)
    if found is None:
        found = _numbers(store, *_ordered(store, {**filters, "limit": first}, way))
    return array("q", found)


def at(store: Store, seqs: Sequence[int], *, whole: bool = True) -> list[Row]:
    """Return these rows, in this order; those that are gone are left out."""
    sql = f"SELECT r.seq, {COLUMNS} {JOINED} WHERE {store.dialect.one_of('r.seq')}"
    found = {seq: rest for seq, *rest in store.read(sql, (store.dialect.listed(seqs),))}
    rows = [tuple(found[seq]) for seq in seqs if seq in found]
    return large.restored(store.read, rows, WHOLE) if whole else [row[:-1] for row in rows]


def _numbers(store: Store, sql: str, bound: Sequence[object]) -> list[int]:
    return [seq for (seq,) in store.read(sql, bound)]


def _among_the_newest(
    store: Store, filters: PageFilters, way: _Way, wanted: int
) -> list[int] | None:
    """Return the first runs of a search by comparing the newest, None where these do not do."""
    search = filters.get("search")
    if search is None or not words(search) or way != ("timestamp", True) or wanted > _NEAR:
        return None
    newest = select({**filters, "search": None, "limit": 2 * wanted}, store)
    looked = _numbers(store, *query(newest, "r.seq FROM runs r"))
    hits = set(compared(store, words(search), looked))
    found = [seq for seq in looked if seq in hits]
    return found if len(found) >= wanted or len(looked) < newest.limit else None


def _ordered(store: Store, filters: Filters, way: _Way) -> tuple[str, tuple[object, ...]]:
    order_by, descending = way
    chosen = select(filters, store, newest_first=False)
    terms, bound, needs_payloads = order(order_by, store.dialect, descending=descending)
    source = JOINED if needs_payloads else "FROM runs r"
    before: tuple[object, ...] = ()
    if sorting.ready(store, order_by):
        source, before = sorting.JOIN, (clean(order_by),)
        terms, bound = sorting.terms(descending=descending), ()
    sql = f"SELECT r.seq {source} WHERE {chosen.where} ORDER BY {terms}"
    if chosen.limit == ALL:  # SQLite sorts faster where nobody mentions a limit
        return sql, (*before, *chosen.bound, *bound)
    return f"{sql} LIMIT ?", (*before, *chosen.bound, *bound, chosen.limit)
