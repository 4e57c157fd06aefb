"""Another history, opened to be read: its file is not changed, and may be of an older version."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from vellum_nb.errors import HistoryError
from vellum_nb.history.sqlite.files import explained
from vellum_nb.history.sqlite.migrations import SCHEMA_VERSION, migrate, unfit
from vellum_nb.history.sqlite.waiting import patiently
from vellum_nb.history.store.large import Read

__all__ = ["looked_at", "reading"]

T = TypeVar("T")


@contextmanager
def reading(path: Path) -> Iterator[Read]:
    """Open the history at `path` for the block; yield what runs a query and returns all rows.

    A file of an older version is copied, and the copy is brought up to date.
    """
    if not os.path.isfile(path):  # noqa: PTH113  (raises nothing, however long a name is)
        msg = f"There is no history {path}; name the file of another history, such as its runs.db"
        raise HistoryError(msg)
    try:
        if looked_at(path, partial(_version, path)) == SCHEMA_VERSION:
            yield _reader(path)
        else:
            with TemporaryDirectory() as folder:
                copy = Path(folder) / "copy.db"
                looked_at(path, partial(_copy, copy))
                yield _reader(copy)
    except sqlite3.Error as exc:
        raise explained(exc, path) from exc


def looked_at(path: Path, look: Callable[[sqlite3.Connection], T]) -> T:
    """Return what `look` finds in the history at `path`; neither it nor its folder changes.

    Without a log nobody has it open; then SQLite need not put its own files beside it, which it
    could not do on a read-only disk, and would leave behind. Where another process writes to it
    meanwhile, `look` is called once more, with a connection that feels the others.
    """
    before = _state(path)
    if before is not None:
        try:
            with closing(_connect(path, "mode=ro&immutable=1")) as connection:
                found = look(connection)
        except (sqlite3.Error, HistoryError):
            if _state(path) == before:
                raise
        else:
            if _state(path) == before:
                return found
    with closing(_connect(path, "mode=ro")) as connection:
        return look(connection)


def _state(path: Path) -> tuple[int, int] | None:
    """Return what changes when the file is written to; None where it may be written to just now."""
    if path.with_name(f"{path.name}-wal").exists():
        return None
    found = path.stat()
    return found.st_size, found.st_mtime_ns


def _connect(path: Path, how: str) -> sqlite3.Connection:
    return sqlite3.connect(f"{path.absolute().as_uri()}?{how}", uri=True, isolation_level=None)


def _version(path: Path, connection: sqlite3.Connection) -> int:
    problem = patiently(lambda: unfit(connection), path)
    if problem:
        msg = f"The history {path} cannot be read: {problem}"
        raise HistoryError(msg)
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def _copy(made: Path, connection: sqlite3.Connection) -> None:
    with closing(sqlite3.connect(made, isolation_level=None)) as copy:
        connection.backup(copy)
        copy.execute("BEGIN IMMEDIATE")
        migrate(copy)
        copy.execute("COMMIT")


def _reader(path: Path) -> Read:
    def read(sql: str, parameters: Sequence[object] = ()) -> list[tuple[Any, ...]]:
        def look(connection: sqlite3.Connection) -> list[tuple[Any, ...]]:
            return patiently(lambda: connection.execute(sql, parameters).fetchall(), path)

        return looked_at(path, look)

    return read
