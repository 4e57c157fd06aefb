"""Where a history is: a file, memory, or a URL without its password; and how to open it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from vellum_nb.errors import HistoryError
from vellum_nb.history.sqlite_store import SqliteStore
from vellum_nb.history.store import DatabaseUrl, Store
from vellum_nb.sqlite import MEMORY

_ANY_URL = re.compile(  # a drive has one letter; a mistyped URL may have a password, too
    r"\s*(?:[a-z][a-z0-9+.-]+:/|postgres(?:ql)?(?::|//))", re.IGNORECASE
)


def parse_location(path: Any) -> Any:
    """Return a URL as `DatabaseUrl`, whose password no traceback shows; anything else as it is."""
    if isinstance(path, str | Path) and _ANY_URL.match(str(path)):
        return DatabaseUrl(str(path).strip())
    return path


def open_backend(path: Any, *, read_only: bool = False) -> Store:
    """Open the history at `path`, else that of ``VELLUM_NB_HISTORY``, else the user's own.

    With `read_only` it must exist, and is neither changed nor migrated.
    """
    location = parse_location(os.environ.get("VELLUM_NB_HISTORY") or None if path is None else path)
    if not isinstance(location, DatabaseUrl):
        place = existing_file(location) if read_only else file_location(location)
        return SqliteStore(place, read_only=read_only)
    if not location.is_valid:
        msg = (
            "The URL of the history cannot be parsed: it begins with postgresql:// (a file is "
            "named by its path), and special characters of a password are percent-encoded in it "
            "(/ as %2F, @ as %40, # as %23, ? as %3F); PGPASSWORD or ~/.pgpass hold it better"
        )
        raise HistoryError(msg)
    try:
        from vellum_nb.history.postgres_store import PostgresStore
    except ImportError as exc:
        msg = f"The history {location} needs psycopg: pip install 'vellum-nb[postgres]' ({exc})"
        raise HistoryError(msg) from exc
    return PostgresStore(location)


def existing_file(path: Any) -> Path:
    """Return the file of a history that must exist."""
    location = parse_location(os.environ.get("VELLUM_NB_HISTORY") or None if path is None else path)
    if isinstance(location, DatabaseUrl):
        msg = f"The history {location} is not a file; PostgreSQL has tools of its own for it"
        raise HistoryError(msg)
    found = file_location(location)
    if not isinstance(found, Path) or not os.path.isfile(found):  # noqa: PTH113  (never raises)
        msg = f"There is no history {found!s:.300}; name its file, such as runs.db"
        raise HistoryError(msg)
    return found


def file_location(path: object) -> Path | str:
    """Return the file that `path` names, or `MEMORY`; None is the user's own history."""
    if path is None:
        from platformdirs import user_data_path

        return user_data_path("vellum_nb", appauthor=False) / "runs.db"
    if not isinstance(path, str | os.PathLike) or not str(path) or "\0" in str(path):
        msg = f"{path!r:.100} is not a history; name a file, such as 'runs.db', or ':memory:'"
        raise HistoryError(msg)
    if str(path) == MEMORY:
        return MEMORY
    try:
        return Path(path).expanduser().absolute()
    except RuntimeError as exc:  # no home directory
        msg = f"The history {path!s:.100} cannot be used: {exc}"
        raise HistoryError(msg) from exc
