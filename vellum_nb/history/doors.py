"""Which store a history is opened with, by what the user wrote."""

from __future__ import annotations

import os
from pathlib import Path

from vellum_nb.errors import HistoryError
from vellum_nb.history.sqlite.files import locate
from vellum_nb.history.sqlite.sqlite import SqliteStore
from vellum_nb.history.store.places import DatabaseUrl, guarded
from vellum_nb.history.store.store import Store

__all__ = ["open_store"]


def open_store(path: str | Path | DatabaseUrl | None) -> Store:
    """Open the history at `path`, else that of ``VELLUM_NB_HISTORY``, else the user's own."""
    path = guarded(os.environ.get("VELLUM_NB_HISTORY") if path is None else path)
    if isinstance(path, DatabaseUrl):
        return _on_server(path)
    return SqliteStore(locate(path))


def _on_server(url: DatabaseUrl) -> Store:
    if not url.is_clear:
        msg = (
            "The URL of the history cannot be read: it begins with postgresql:// (a file is named "
            "by its path), and a password is written percent-encoded in it (/ as %2F, @ as %40, "
            "# as %23, ? as %3F), or better left to PGPASSWORD or ~/.pgpass"
        )
        raise HistoryError(msg)
    try:
        from vellum_nb.history.postgres.postgres import PostgresStore
    except ImportError as exc:
        msg = f"The history {url} needs psycopg: pip install 'vellum-nb[postgres]' ({exc})"
        raise HistoryError(msg) from exc
    return PostgresStore(url)
