"""Which store a history is opened with, by what the user wrote."""

from __future__ import annotations

from pathlib import Path

from vellum_nb.history.files import locate
from vellum_nb.history.sqlite import SqliteStore
from vellum_nb.history.store import Store

__all__ = ["open_store"]


def open_store(path: str | Path | None) -> Store:
    """Open the history at `path`, else that of ``VELLUM_NB_HISTORY``, else the user's own."""
    return SqliteStore(locate(path))
