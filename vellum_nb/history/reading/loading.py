"""Runs to frames: many through ADBC and Arrow, few and all others as rows; the frame is the same.

The extra ``fast`` brings ADBC and Arrow. Where it is missing, or cannot read the runs, they come
as rows, which also says in our words what is wrong with the database.
"""

from __future__ import annotations

import warnings
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from importlib.util import find_spec
from typing import TYPE_CHECKING

from vellum_nb.errors import HistoryError
from vellum_nb.history.reading import reads
from vellum_nb.history.reading.query import Filters, Selection, select
from vellum_nb.history.rows.frames import frame_of_rows
from vellum_nb.history.store.store import Batches, Store

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ahead", "load", "load_in_bulk", "scan"]

MANY = 10_000
"""Runs from which on another process is worth its start."""
_AHEAD = 3


def load(store: Store, filters: Filters) -> pd.DataFrame:
    """Return the frame of the runs that `filters` name, newest first."""
    return _frame(store, select(filters, store), searched=bool(filters.get("search")))


def scan(store: Store, filters: Filters, rows: int) -> Iterator[pd.DataFrame]:
    """Yield the same runs in frames of at most `rows` rows."""
    given: object = rows
    if not isinstance(given, int) or given < 1:
        msg = f"chunk_rows={rows!r} holds no run; give a number from 1"
        raise HistoryError(msg)
    chosen, searched = select(filters, store), bool(filters.get("search"))
    for window in reads.windows(store, chosen, rows):
        yield _frame(store, window, searched=searched)


def load_in_bulk(
    store: Store,
    chosen: Selection,
    *,
    searched: bool,
    followed: Callable[[Batches], Batches] | None = None,
) -> pd.DataFrame | None:
    """Return the frame through Arrow, or None where that cannot be.

    `followed` yields the batches that it is given, and more that are to be in the frame.
    """
    if not all(find_spec(name) for name in store.bulk_needs):
        return None
    from vellum_nb.history.reading.arrow_frames import frame_of_batches
    from vellum_nb.history.sqlite.bulk import BulkError, whole

    sql, bound = reads.bulk(store, chosen, searched=searched)

    def batches() -> Batches:
        found = whole(store.read, ahead(store.bulk(sql, bound)))
        return found if followed is None else followed(found)

    try:
        return frame_of_batches(batches)
    except BulkError as exc:
        told = f"The runs cannot be read in bulk, so they come as rows, which takes longer: {exc}"
        warnings.warn(told, RuntimeWarning, stacklevel=2)
        return None


def ahead(batches: Batches) -> Batches:
    """Yield the same batches; a thread reads the next ones while one is worked on."""
    with ThreadPoolExecutor(1) as aside:
        coming = deque(aside.submit(next, batches, None) for _ in range(_AHEAD))
        try:
            while batch := coming.popleft().result():
                coming.append(aside.submit(next, batches, None))
                yield batch
        finally:
            aside.shutdown(cancel_futures=True)
            batches.close()


def _frame(store: Store, chosen: Selection, *, searched: bool) -> pd.DataFrame:
    if reads.are_at_least(store, chosen, MANY):
        frame = load_in_bulk(store, chosen, searched=searched)
        if frame is not None:
            return frame
    return frame_of_rows(reads.rows_of(store, chosen, reads.SHOWN))
