"""One state of a history in SQLite: a read transaction, which no writer feels.

What is written meanwhile stays in the write-ahead log until the transaction has ended.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from vellum_nb.history.sqlite.waiting import patiently
from vellum_nb.history.store.store import Dialect, Row

__all__ = ["SqliteSnapshot", "in_batches"]

_ROWS = 2000
_CHARACTERS = 400_000  # more no longer fits the processor's cache


class SqliteSnapshot:
    """A connection within a read transaction.

    Parameters
    ----------
    connection : sqlite3.Connection
        Without a transaction, and for nothing else.
    dialect : Dialect
        The SQL that it understands.
    path : Path or ":memory:"
        The file.
    """

    def __init__(self, connection: sqlite3.Connection, dialect: Dialect, path: Path | str) -> None:
        self.dialect = dialect
        self.path = path
        self._connection = connection
        connection.execute("BEGIN")
        self.read("SELECT count(*) FROM sqlite_master")  # the state is that of the first read

    def read(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        """Return all rows of a query."""
        return patiently(lambda: self._connection.execute(sql, parameters).fetchall(), self.path)

    def batches(
        self, sql: str, parameters: Sequence[object], *, heavy: Sequence[int]
    ) -> Iterator[list[Row]]:
        """Yield the rows of a query, few where columns `heavy` hold much text."""
        return in_batches(self._connection.execute(sql, parameters), heavy)


def in_batches(found: Iterable[Row], heavy: Sequence[int]) -> Iterator[list[Row]]:
    """Yield lists of rows: fewer than 2,000 where these hold 400,000 characters in `heavy`."""
    batch: list[Row] = []
    size = 0
    for row in found:
        batch.append(row)
        size += sum([len(row[at]) for at in heavy if row[at]])
        if size >= _CHARACTERS or len(batch) >= _ROWS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
