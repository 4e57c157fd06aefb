"""Another history, opened to be read: its file is not changed, and may be of an older version."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from vellum_nb.errors import HistoryError
from vellum_nb.history.sqlite.files import explained
from vellum_nb.history.sqlite.migrations import SCHEMA_VERSION, migrate, unfit
from vellum_nb.history.sqlite.waiting import patiently
from vellum_nb.history.store.large import Read

__all__ = ["read_only", "reading"]


@contextmanager
def reading(path: Path) -> Iterator[Read]:
    """Open the history at `path` for the block; yield what runs a query and returns all rows.

    A file of an older version is copied, and the copy is brought up to date.
    """
    if not path.is_file():
        msg = f"There is no history {path}; name the file of another history, such as its runs.db"
        raise HistoryError(msg)
    try:
        with closing(read_only(path)) as connection:
            problem = patiently(lambda: unfit(connection), path)
            if problem:
                msg = f"The history {path} cannot be read: {problem}"
                raise HistoryError(msg)
            if connection.execute("PRAGMA user_version").fetchone()[0] == SCHEMA_VERSION:
                yield _reader(connection, path)
            else:
                with TemporaryDirectory() as folder, closing(_copy(connection, folder)) as copy:
                    yield _reader(copy, path)
    except sqlite3.Error as exc:
        raise explained(exc, path) from exc


def read_only(path: Path) -> sqlite3.Connection:
    """Connect to the history at `path`, so that neither it nor its folder changes."""
    # Without a log nobody has it open; then SQLite need not put its own files beside it, which it
    # could not do on a read-only disk, and would leave behind.
    log = path.with_name(f"{path.name}-wal")
    how = "mode=ro" if log.exists() else "mode=ro&immutable=1"
    return sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, isolation_level=None)


def _copy(connection: sqlite3.Connection, folder: str) -> sqlite3.Connection:
    copy = sqlite3.connect(Path(folder) / "copy.db", isolation_level=None)
    try:
        connection.backup(copy)
        copy.execute("BEGIN IMMEDIATE")
        migrate(copy)
        copy.execute("COMMIT")
    except BaseException:
        copy.close()
        raise
    return copy


def _reader(connection: sqlite3.Connection, path: Path) -> Read:
    def read(sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        return patiently(lambda: connection.execute(sql, parameters).fetchall(), path)

    return read
