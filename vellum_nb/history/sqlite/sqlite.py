"""A history in SQLite: who may use its connections when, and what a transaction is.

One connection writes and one reads, each behind its own lock, so that reading a large frame does
not hold up a run that wants to be recorded. Both may be used and closed from any thread. Every
write is one transaction, begun ``IMMEDIATE`` and committed before `write` returns.

After a fork the child opens connections of its own; a history in memory cannot follow.
"""

from __future__ import annotations

import json
import os
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

from vellum_nb.errors import HistoryError
from vellum_nb.history.sqlite.files import explained, open_database, open_reader
from vellum_nb.history.sqlite.links import HeldLink, Link
from vellum_nb.history.sqlite.snapshot import SqliteSnapshot
from vellum_nb.history.sqlite.waiting import patiently
from vellum_nb.history.store.forks import renew_in_forks
from vellum_nb.history.store.interrupts import Interrupts
from vellum_nb.history.store.store import Batches, Row

__all__ = ["SqliteStore", "member", "shortened"]


class SqliteDialect:
    """The SQL that only SQLite understands."""

    name = "sqlite"

    def one_of(self, column: str) -> str:
        """Return a term for one of many values; they are bound as one JSON list."""
        return f"{column} IN (SELECT value FROM json_each(?))"

    def listed(self, values: Iterable[str | int]) -> str:
        """Return the JSON list."""
        return json.dumps(list(values))

    def member_key(
        self, column: str, name: str, letters: int | None
    ) -> tuple[str, tuple[object, ...]]:
        """Return what a member of a JSON object is sorted by; a path cannot say every name."""
        value, bound = member(column, name)
        key = value if letters is None else shortened(value, letters)
        return key, (bound,) * key.count("?")


def member(column: str, name: str) -> tuple[str, str]:
    """Return SQL for a member of a JSON object, and what it binds; a path cannot say every name."""
    if not {'"', "\\", "\0"}.isdisjoint(name):
        return f"(SELECT value FROM json_each({column}) WHERE key = ?)", name
    return f"json_extract({column}, ?)", f'$."{name}"'


def shortened(value: str, letters: int) -> str:
    """Return SQL for a value of which, where it is a text, only the first letters are compared."""
    return f"CASE WHEN typeof({value}) = 'text' THEN substr({value}, 1, {letters}) ELSE {value} END"


class _Transaction:
    """A write: the lock of the writer and ``BEGIN IMMEDIATE``, then ``COMMIT`` or nothing at all.

    No generator, as its steps are a good part of what recording a run costs. An interrupt may
    come until it has begun, and when it has ended.
    """

    __slots__ = ("_connection", "_interrupts", "_link", "_store")

    def __init__(self, store: SqliteStore) -> None:
        self._store = store
        self._link = store._writer  # noqa: SLF001  (of this module)
        self._connection: sqlite3.Connection | None = None
        self._interrupts = Interrupts()

    def __enter__(self) -> sqlite3.Connection:
        link = self._link
        try:
            link.lock.acquire()
            if link.transaction is not None:  # of this thread: broken off before it could end
                link.transaction.__exit__(None, KeyboardInterrupt(), None)
            link.transaction = self
            connection = self._connection = self._store._usable(link)  # noqa: SLF001
            patiently(partial(connection.execute, "BEGIN IMMEDIATE"), self._store.path)
            self._interrupts.put_off()
        except BaseException as exc:
            self.__exit__(None, exc, None)
            raise
        return connection

    def __exit__(self, _: object, exc: BaseException | None, __: object) -> None:
        connection = self._connection
        try:
            if connection is not None:
                try:
                    if exc is None:
                        patiently(partial(connection.execute, "COMMIT"), self._store.path)
                finally:
                    if connection.in_transaction:
                        connection.rollback()
        except sqlite3.Error as failed:
            raise explained(failed, self._store.path) from failed
        finally:
            if self._link.transaction is self:
                self._link.transaction = None
            try:  # noqa: SIM105  (one more call, and an interrupt could come before it)
                self._link.lock.release()
            except RuntimeError:  # interrupted while it waited for the lock
                pass
            self._interrupts.let_through()
        if isinstance(exc, sqlite3.Error):
            raise explained(exc, self._store.path) from exc


class SqliteStore:
    """An open history file.

    Parameters
    ----------
    path : Path or ":memory:"
        The file; made if there is none.

    Raises
    ------
    HistoryError
        The file cannot be used; it was left as it is.
    """

    dialect: ClassVar[SqliteDialect] = SqliteDialect()
    journal: ClassVar[None] = None

    def __init__(self, path: Path | str) -> None:
        self.path = path
        self.closed = False
        self._lost_in_fork = False
        self._make_links()
        self._file: tuple[int, int] | None = None
        with self._told(), self._writer.lock:
            self._writer.connection.execute("SELECT 1")
        self._file = self._file_now()
        renew_in_forks(self)

    def write(self) -> _Transaction:
        """Hold the write lock for the block, and commit at its end; an error undoes it all."""
        return _Transaction(self)

    def read(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        """Return all rows of a query."""
        with self._told(), self._reader.lock:
            connection = self._usable(self._reader)
            return patiently(lambda: connection.execute(sql, parameters).fetchall(), self.path)

    @contextmanager
    def snapshot(self) -> Iterator[SqliteSnapshot]:
        """Hold one state of the history, on a connection of its own; no writer waits for it."""
        with self._told():
            with self._reader.lock:
                link = Link(partial(self._second, self._usable(self._reader)))
                snapshot = SqliteSnapshot(link.connection, link.lock, self.dialect, self.path)
            try:
                yield snapshot
            finally:
                snapshot.cancel()  # in another thread, where one did not wait for it
                link.close()

    def _second(self, connection: sqlite3.Connection) -> sqlite3.Connection:
        if isinstance(self.path, Path):
            return open_reader(self.path)
        copy = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
        connection.backup(copy)
        return copy

    def size(self) -> int:
        """Return the bytes of the history, without what waits in SQLite's log."""
        pages, of_bytes = self.read("SELECT * FROM pragma_page_count, pragma_page_size")[0]
        return int(pages * of_bytes)

    def compact(self) -> None:
        """Give the space that nothing takes any more back to the disk."""
        with self._told(), self._writer.lock:
            connection = self._usable(self._writer)
            patiently(lambda: connection.execute("VACUUM"), self.path)
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    @property
    def bulk_needs(self) -> Sequence[str]:
        """ADBC and Arrow; nothing helps a history in memory."""
        in_file = isinstance(self.path, Path)
        return ("adbc_driver_sqlite", "pyarrow") if in_file else ("none for :memory:",)

    def bulk(self, sql: str, parameters: Sequence[Any] = ()) -> Batches:
        """Yield what the query of `reads.bulk` finds, read by a process of its own."""
        from vellum_nb.history.sqlite import bulk

        newest = self.read("SELECT coalesce(max(seq), 0) FROM runs")[0][0]
        size = self.size() // (newest + 1)
        yield from bulk.read(Path(self.path), sql, parameters, size=size)
        self.read("SELECT 1")  # raises if the file is another one by now

    def close(self) -> None:
        """Close the file; does nothing the second time. Waits for what is under way."""
        self.closed = True
        self._reader.close()
        self._writer.close()

    def __del__(self) -> None:
        self.close()  # a notebook cell that is run again drops its history without a word

    def _make_links(self) -> None:
        path = self.path
        self._writer: Link
        if isinstance(path, Path):
            self._writer, self._reader = HeldLink(path), Link(lambda: open_reader(path))
        else:
            self._writer = self._reader = Link(lambda: open_database(path))

    def _usable(self, link: Link) -> sqlite3.Connection:
        """Return the connection of `link`, whose lock is held; refuse what would be lost."""
        if self.closed or self._lost_in_fork or self._file_now() != self._file:
            raise self._unusable()
        return link.connection

    def _unusable(self) -> HistoryError:
        if self.closed:
            return HistoryError(
                f"The history {self.path} was closed; open it again with History(...)"
            )
        if self._lost_in_fork:
            return HistoryError(
                "A history in memory stays with its process; give a forked one a file"
            )
        return HistoryError(
            f"The history {self.path} was deleted, moved or replaced since it was opened; "
            "put it back, or open it again. Nothing was read or written"
        )

    def _file_now(self) -> tuple[int, int] | None:
        """Return what tells the file from another one that takes its place."""
        if not isinstance(self.path, Path):
            return None
        try:
            found = os.stat(self.path)  # noqa: PTH116 - at each write, and quicker
        except OSError:
            return None
        return found.st_dev, found.st_ino

    @contextmanager
    def _told(self) -> Iterator[None]:
        try:
            yield
        except sqlite3.Error as exc:
            raise explained(exc, self.path) from exc

    def after_fork(self) -> object:
        """Start anew; return what SQLite forbids both to use and to close in this process."""
        inherited = self._writer, self._reader
        if isinstance(self._writer, HeldLink):
            self._writer.after_fork()
        self._lost_in_fork = not isinstance(self.path, Path)
        self._make_links()
        return inherited
