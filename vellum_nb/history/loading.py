"""Runs to frames: many through ADBC and Arrow, few and all others as rows; the frame is the same.

The extra ``fast`` brings ADBC and Arrow. Where it is missing, or cannot read the runs, they come
as rows, which also says in our words what is wrong with the database.
"""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from vellum_nb.history import reads
from vellum_nb.history.frames import frame_of_rows
from vellum_nb.history.query import Filters
from vellum_nb.history.store import Store

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["load", "load_in_bulk"]

MANY = 10_000
"""Runs from which on another process is worth its start."""


def load(store: Store, filters: Filters) -> pd.DataFrame:
    """Return the frame of the runs that `filters` name, newest first."""
    frame = load_in_bulk(store, filters) if reads.are_at_least(store, filters, MANY) else None
    return frame_of_rows(reads.framed(store, filters)) if frame is None else frame


def load_in_bulk(store: Store, filters: Filters) -> pd.DataFrame | None:
    """Return the same frame through Arrow, or None where that cannot be."""
    if not all(find_spec(name) for name in store.bulk_needs):
        return None
    from vellum_nb.history.arrow_frames import frame_of_batches
    from vellum_nb.history.bulk import BulkError, whole

    sql, bound = reads.bulk(store, filters)
    try:
        return frame_of_batches(lambda: whole(store.read, store.bulk(sql, bound)))
    except BulkError:
        return None
