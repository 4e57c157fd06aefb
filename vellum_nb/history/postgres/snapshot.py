"""One state of a history in PostgreSQL: a transaction that reads only what was there at its begin.

Rows of long answers wait on the server, behind a cursor, and come in stretches.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

import psycopg

from vellum_nb.history.postgres.sql import Speaker, without_broken
from vellum_nb.history.sqlite.snapshot import in_batches
from vellum_nb.history.store.store import Dialect, Row

__all__ = ["PostgresSnapshot"]

_AT_ONCE = 200


class PostgresSnapshot:
    """A connection within a read transaction; who opened it closes it.

    Parameters
    ----------
    connection : Speaker
        Without a transaction, and for nothing else.
    dialect : Dialect
        The SQL that it understands.
    """

    def __init__(self, connection: Speaker, dialect: Dialect) -> None:
        self.dialect = dialect
        self._connection = connection
        connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
        self.read("SELECT 1")  # the state is that of the first read

    def read(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Return all rows of a query."""
        slower = without_broken(sql)
        if slower == sql:
            return self._connection.execute(sql, parameters).fetchall()
        self._connection.execute("SAVEPOINT vnb_sorted")
        try:
            rows = self._connection.execute(sql, parameters).fetchall()
        except psycopg.DataError:
            self._connection.execute("ROLLBACK TO SAVEPOINT vnb_sorted")
            rows = self._connection.execute(slower, parameters).fetchall()
        self._connection.execute("RELEASE SAVEPOINT vnb_sorted")
        return rows

    def cancel(self) -> None:
        """End the query that is under way, from another thread; it raises there."""
        with suppress(psycopg.Error):
            self._connection.raw.cancel()

    def batches(
        self, columns: str, source: str, which: str, bound: Sequence[Any], *, heavy: Sequence[int]
    ) -> Iterator[list[Row]]:
        """Yield `columns` of the rows that `which` tells, few where `heavy` hold much text."""
        found = self._connection.stream(
            f"SELECT {columns} {source} {which}", bound, at_once=_AT_ONCE
        )
        return in_batches(lambda number: list(islice(found, number)), heavy)
