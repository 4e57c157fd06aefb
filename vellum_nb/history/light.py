"""Light rows of very many runs: what a comparison counts by; what was said is read when shown."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from vellum_nb.history import large
from vellum_nb.history.payloads import Payloads
from vellum_nb.history.query import NEWEST_FIRST, Filters, select
from vellum_nb.history.records import Record, records_of
from vellum_nb.history.rows import FRAMED, LIGHT, SCALARS
from vellum_nb.history.store import Row, Store
from vellum_nb.models import Run

__all__ = ["light_records"]

_SAID = ("inputs", "outputs", "output_types")
_PAYLOADS, _BOTH = "payloads p", "runs r JOIN payloads p ON p.seq = r.seq"


def light_records(store: Store, filters: Filters, trace: Callable[[Run], Any]) -> list[Record]:
    """Return the records of the runs that `filters` name, newest first."""
    chosen = select(filters, store)
    sql = f"SELECT r.seq FROM runs r WHERE {chosen.where} ORDER BY {NEWEST_FIRST} LIMIT ?"
    numbers = [seq for (seq,) in store.read(sql, (*chosen.bound, chosen.limit))]
    said = partial(_by_number, store, _SAID, _PAYLOADS)
    whole = partial(_by_number, store, (*SCALARS, *FRAMED), _BOTH)
    payloads = Payloads(said, whole, trace)
    return records_of(numbers, partial(_by_number, store, LIGHT, _BOTH), payloads)


def _by_number(
    store: Store, names: Sequence[str], source: str, wanted: Sequence[int]
) -> dict[int, Row]:
    """Return columns of rows, by the numbers of the rows; those that are gone are left out."""
    columns = [f"{'r' if name in SCALARS else 'p'}.{name}" for name in (*names, "large")]
    sql = f"SELECT {', '.join(columns)}, p.seq FROM {source} WHERE {store.dialect.one_of('p.seq')}"
    found = store.read(sql, (store.dialect.listed(wanted),))
    whole = large.restored(store.read, [row[:-1] for row in found], names)
    return {row[-1]: full for row, full in zip(found, whole, strict=True)}
