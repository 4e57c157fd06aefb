"""One state of a history in SQLite: a read transaction, which no writer feels.

What is written meanwhile stays in the write-ahead log until the transaction has ended.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator, Sequence

from vellum_nb.history.files import patiently
from vellum_nb.history.store import Dialect, Row

__all__ = ["SqliteSnapshot", "in_batches"]


class SqliteSnapshot:
    """A connection within a read transaction.

    Parameters
    ----------
    connection : sqlite3.Connection
        Without a transaction, and for nothing else.
    dialect : Dialect
        The SQL that it understands.
    """

    def __init__(self, connection: sqlite3.Connection, dialect: Dialect) -> None:
        self.dialect = dialect
        self._connection = connection
        connection.execute("BEGIN")
        self.read("SELECT count(*) FROM sqlite_master")  # the state is that of the first read

    def read(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        """Return all rows of a query."""
        return patiently(lambda: self._connection.execute(sql, parameters).fetchall())

    def batches(
        self, sql: str, parameters: Sequence[object], *, rows: int, characters: int
    ) -> Iterator[list[Row]]:
        """Yield the rows of a query, so many at once at most, fewer where they are large."""
        return in_batches(self._connection.execute(sql, parameters), rows, characters)


def in_batches(found: Iterable[Row], rows: int, characters: int) -> Iterator[list[Row]]:
    """Yield lists of `rows` rows, or of as many as hold about `characters` characters of text."""
    batch: list[Row] = []
    size = 0
    for row in found:
        batch.append(row)
        size += sum([len(value) for value in row if type(value) is str])
        if len(batch) >= rows or size >= characters:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
