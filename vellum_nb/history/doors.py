"""Which store a history is opened with, by what the user wrote."""

from __future__ import annotations

import os
from contextlib import AbstractContextManager
from pathlib import Path

from vellum_nb.errors import HistoryError
from vellum_nb.history.sqlite import copies
from vellum_nb.history.sqlite.files import locate
from vellum_nb.history.sqlite.sqlite import SqliteStore
from vellum_nb.history.store.large import Read
from vellum_nb.history.store.places import DatabaseUrl, guarded
from vellum_nb.history.store.store import Store

__all__ = ["open_store", "reading"]


def open_store(path: str | Path | DatabaseUrl | None) -> Store:
    """Open the history at `path`, else that of ``VELLUM_NB_HISTORY``, else the user's own."""
    path = guarded(os.environ.get("VELLUM_NB_HISTORY") if path is None else path)
    if not isinstance(path, DatabaseUrl):
        return SqliteStore(locate(path))
    _check(path)
    from vellum_nb.history.postgres.postgres import PostgresStore

    return PostgresStore(path)


def reading(place: Path | DatabaseUrl) -> AbstractContextManager[Read]:
    """Open a history for the block, to be read only; it may be of an older version."""
    if not isinstance(place, DatabaseUrl):
        return copies.reading(place)
    _check(place)
    from vellum_nb.history.postgres.copies import reading

    return reading(place)


def _check(url: DatabaseUrl) -> None:
    if not url.is_clear:
        msg = (
            "The URL of the history cannot be read: it begins with postgresql:// (a file is named "
            "by its path), and a password is written percent-encoded in it (/ as %2F, @ as %40, "
            "# as %23, ? as %3F), or better left to PGPASSWORD or ~/.pgpass"
        )
        raise HistoryError(msg)
    try:
        import psycopg  # noqa: F401  (whether it is there)
    except ImportError as exc:
        msg = f"The history {url} needs psycopg: pip install 'vellum-nb[postgres]' ({exc})"
        raise HistoryError(msg) from exc
