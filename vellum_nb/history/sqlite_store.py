"""A history in an SQLite file or in memory."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable
from pathlib import Path
from typing import ClassVar

from vellum_nb.errors import HistoryError
from vellum_nb.history.schema import APPLICATION_ID, MIGRATIONS, refuse_old
from vellum_nb.sqlite import FileFormat, Snapshot, SqliteFile, Transaction

FORMAT = FileFormat("history", APPLICATION_ID, MIGRATIONS, HistoryError, refuse_old)


_JSON5 = ", 2" if sqlite3.sqlite_version_info >= (3, 45) else ""  # takes NaN and infinities


class SqliteDialect:
    """The SQL that only SQLite understands."""

    name = "sqlite"
    now = "CAST((julianday('now') - 2440587.5) * 86400000 AS INTEGER) * 1000"

    def one_of(self, column: str, name: str) -> str:
        """Return a term for one of many values, which are bound as one JSON list."""
        return f"{column} IN (SELECT value FROM json_each(:{name}))"

    def listed(self, values: Iterable[str | int]) -> str:
        """Return the JSON list."""
        return json.dumps(list(values))

    def member(self, column: str, name: str) -> str:
        """Return a member of a JSON object; a JSON path cannot express every name."""
        value = f"(SELECT value FROM json_each({column}) WHERE key = :{name})"
        return f"CASE WHEN json_valid({column}{_JSON5}) THEN {value} END"


_DIALECT = SqliteDialect()


class _Transaction(Transaction):
    dialect: ClassVar[SqliteDialect] = _DIALECT

    def serialize(self, name: str) -> None:
        """Do nothing: SQLite has one writer at a time."""


class _Snapshot(Snapshot):
    dialect: ClassVar[SqliteDialect] = _DIALECT


class SqliteStore(SqliteFile):
    """An open history in SQLite; see `SqliteFile`."""

    dialect: ClassVar[SqliteDialect] = _DIALECT
    transaction_class: ClassVar[type[Transaction]] = _Transaction
    snapshot_class: ClassVar[type[Snapshot]] = _Snapshot

    def __init__(
        self, path: Path | str, file_format: FileFormat = FORMAT, *, read_only: bool = False
    ) -> None:
        super().__init__(path, file_format, read_only=read_only)
