"""One state of a history in SQLite: a read transaction, which no writer feels.

What is written meanwhile stays in the write-ahead log until the transaction has ended.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

from vellum_nb.history.sqlite.waiting import patiently
from vellum_nb.history.store.store import Dialect, Row

__all__ = ["SqliteSnapshot", "in_batches"]

_AT_ONCE = 256
_ROWS = 2000
_CHARACTERS = 400_000  # more no longer fits the processor's cache


class SqliteSnapshot:
    """A connection within a read transaction.

    Parameters
    ----------
    connection : sqlite3.Connection
        Without a transaction, and for nothing else.
    lock : RLock
        Held while it is read: who closes it takes it first.
    dialect : Dialect
        The SQL that it understands.
    path : Path or ":memory:"
        The file.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        lock: AbstractContextManager[object],
        dialect: Dialect,
        path: Path | str,
    ) -> None:
        self.dialect = dialect
        self.path = path
        self._connection = connection
        self._lock = lock
        self._is_cancelled = False
        connection.execute("BEGIN")
        self.read("SELECT count(*) FROM sqlite_master")  # the state is that of the first read

    def read(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        """Return all rows of a query."""
        with self._lock:
            if self._is_cancelled:
                msg = "interrupted"
                raise sqlite3.OperationalError(msg)
            read = self._connection.execute
            return patiently(lambda: read(sql, parameters).fetchall(), self.path)

    def cancel(self) -> None:
        """End the query that is under way, from another thread; it raises there, as do others."""
        self._is_cancelled = True
        self._connection.interrupt()

    def batches(
        self,
        columns: str,
        source: str,
        which: str,
        bound: Sequence[object],
        *,
        heavy: Sequence[int],
    ) -> Iterator[list[Row]]:
        """Yield `columns` of the rows that `which` tells, few where `heavy` hold much text.

        Some at a time are read in the order in which the file has them. Newest first is backwards:
        no system reads ahead that way, and each page that is not in memory is a wait for the disk.
        """
        order = self._connection.execute(f"SELECT r.seq FROM runs r {which}", bound)
        sql = f"SELECT {columns} {source} WHERE {self.dialect.one_of('r.seq')} ORDER BY r.seq"

        def next_rows(number: int) -> list[Row]:
            while some := [seq for (seq,) in order.fetchmany(number)]:
                found = {row[-1]: row for row in self.read(sql, (self.dialect.listed(some),))}
                if found:  # of a damaged history payloads may be gone
                    return [found[seq] for seq in some if seq in found]
            return []

        return in_batches(next_rows, heavy)


def in_batches(next_rows: Callable[[int], list[Row]], heavy: Sequence[int]) -> Iterator[list[Row]]:
    """Yield lists of rows: fewer than 2,000 where these hold 400,000 characters in `heavy`.

    `next_rows` gives at most as many as it is told, and none at the end.
    """
    batch: list[Row] = []
    size = 0
    number = 1
    while rows := next_rows(number):
        batch += rows
        characters = sum([len(row[at]) for row in rows for at in heavy if row[at]])
        size += characters
        number = min(_AT_ONCE, 1 + _CHARACTERS * len(rows) // (characters + 1))
        if size >= _CHARACTERS or len(batch) >= _ROWS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
