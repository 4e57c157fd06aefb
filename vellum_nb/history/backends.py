"""Locations and backends of histories: SQLite in a file or in memory, or PostgreSQL."""

from __future__ import annotations

import json
import os
import re
import sqlite3
import time
from collections.abc import Iterable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, TypeAlias

from vellum_nb.clock import boot_id, uptime_ns
from vellum_nb.errors import HistoryError
from vellum_nb.history.schema import APPLICATION_ID, MIGRATIONS, SEARCH_INDEX, refuse_old
from vellum_nb.history.store import LEASE_S, DatabaseUrl, insert, not_a_file
from vellum_nb.sqlite import MEMORY, FileFormat, SqliteFile
from vellum_nb.sqlite import Snapshot as FileSnapshot
from vellum_nb.sqlite import Transaction as FileTransaction

if TYPE_CHECKING:
    from vellum_nb.history.postgres_store import (
        PostgresDialect,
        PostgresSnapshot,
        PostgresStore,
        PostgresTransaction,
    )

Dialect: TypeAlias = "SqliteDialect | PostgresDialect"
Transaction: TypeAlias = "SqliteTransaction | PostgresTransaction"
Snapshot: TypeAlias = "SqliteSnapshot | PostgresSnapshot"
Store: TypeAlias = "SqliteStore | PostgresStore"
Reader: TypeAlias = "Store | Transaction | Snapshot"
"""Object with the method `read`."""

_ANY_URL = re.compile(  # includes mistyped URLs, which can contain a password
    r"\s*(?:[a-z][a-z0-9+.-]+:/|(?:file:)?postgres(?:ql)?(?::|//)|(?:.*\s)?password\s*=)",
    re.IGNORECASE,
)
FORMAT = FileFormat(
    "history", APPLICATION_ID, MIGRATIONS, HistoryError, refuse_old, derived=SEARCH_INDEX
)
_LEASE_US = int(LEASE_S * 1e6)
_TIMES = range(-(2**60), 2**60)  # microseconds, without overflow if years are added
_JSON5 = ", 2" if sqlite3.sqlite_version_info >= (3, 45) else ""  # accepts NaN and infinity


class SqliteDialect:
    """SQL specific to SQLite."""

    name = "sqlite"
    now = "(vnb_boot() + vnb_uptime() / 1000)"

    def one_of(self, column: str, name: str) -> str:
        """Return a condition on membership in a JSON list parameter."""
        return f"{column} IN (SELECT value FROM json_each(:{name}))"

    def listed(self, values: Iterable[str | int]) -> str:
        """Return the value of a JSON list parameter."""
        return json.dumps(list(values))

    def member(self, column: str, name: str) -> str:
        """Return a member of a JSON object by name, including names not valid in a JSON path."""
        value = f"(SELECT value FROM json_each({column}) WHERE key = :{name})"
        return f"CASE WHEN json_valid({column}{_JSON5}) THEN {value} END"


_DIALECT = SqliteDialect()


class SqliteTransaction(FileTransaction):
    """An open write transaction."""

    dialect: ClassVar[SqliteDialect] = _DIALECT

    def serialize(self, name: str) -> None:
        """Return immediately: SQLite serializes writers."""


class SqliteSnapshot(FileSnapshot):
    """A consistent read."""

    dialect: ClassVar[SqliteDialect] = _DIALECT


class SqliteStore(SqliteFile):
    """An open history in SQLite; see `SqliteFile`.

    Its clock, in microseconds since the epoch, advances with the uptime of the machine and is
    independent of changes of the wall clock. All processes share the boot time. The SQL functions
    call no Python code, because SQLite would turn Ctrl-C in Python code into an error.
    """

    dialect: ClassVar[SqliteDialect] = _DIALECT
    transaction_class: ClassVar[type[FileTransaction]] = SqliteTransaction
    snapshot_class: ClassVar[type[FileSnapshot]] = SqliteSnapshot

    def __init__(
        self,
        path: Path | str,
        file_format: FileFormat = FORMAT,
        *,
        read_only: bool = False,
        fsync: bool = False,
    ) -> None:
        boot = boot_id()
        self._boot_time = [0 if boot is None else _boot_time()]
        super().__init__(path, file_format, read_only=read_only, fsync=fsync)
        if boot is not None and isinstance(path, Path):
            stored = _stored_boot_time(self, boot)
            if stored is None and not read_only:
                stored = self.write(partial(_store_boot_time, boot))
            self._boot_time[0] = self._boot_time[0] if stored is None else stored

    def prepare_connection(self, connection: sqlite3.Connection) -> None:
        """Define the SQL functions for `SqliteDialect.now`."""
        clock = time.time_ns if boot_id() is None else uptime_ns
        connection.create_function("vnb_boot", 0, partial(self._boot_time.__getitem__, 0))
        connection.create_function("vnb_uptime", 0, clock)


def _store_boot_time(boot: str, transaction: Any) -> int:
    """Return the boot time by the clock of the history, set by the first process."""
    boot_time = _stored_boot_time(transaction, boot)
    if boot_time is None:
        boot_time = _next_boot_time(transaction)
        row = {"name": "clock", "value": json.dumps([boot, boot_time])}
        transaction.execute("DELETE FROM settings WHERE name = 'clock'")
        transaction.execute(insert("settings", row), row)
    return boot_time


def _boot_time() -> int:
    """Return the boot time in microseconds, by the wall clock."""
    return (time.time_ns() - uptime_ns()) // 1000


def _next_boot_time(transaction: Any) -> int:
    """Return a boot time with which the clock continues from the newest stored time.

    The newest time is the last renewal of a lease or start of a doubt. The wall clock can be wrong
    after a boot, and time while the machine is off does not count.
    """
    sql = (
        f"SELECT max(value) FROM (SELECT max(expires_at) - {_LEASE_US} AS value FROM leases "
        "UNION ALL SELECT max(doubt_since) FROM runs WHERE doubt IS NOT NULL)"
    )
    ((newest,),) = transaction.read(sql)
    is_usable = isinstance(newest, int) and newest in _TIMES  # otherwise missing or damaged
    return newest - uptime_ns() // 1000 if is_usable else _boot_time()


def _stored_boot_time(reader: Any, boot: str) -> int | None:
    for (text,) in reader.read("SELECT value FROM settings WHERE name = 'clock'"):
        with suppress(ValueError, TypeError, OverflowError, RecursionError):
            stored_boot, boot_time = json.loads(text)
            if stored_boot == boot and int(boot_time) in _TIMES:
                return int(boot_time)
    return None


def parse_location(path: Any) -> Any:
    """Convert a URL to `DatabaseUrl`, which hides the password; return other values unchanged."""
    if isinstance(path, str | Path) and _ANY_URL.match(str(path)):
        return DatabaseUrl(str(path).strip())
    return path


def open_backend(path: Any, *, read_only: bool = False, fsync: bool = False) -> Store:
    """Open the history at `path`. With `read_only`, it must exist and is not changed."""
    location = parse_location(os.environ.get("VELLUM_NB_HISTORY") or None if path is None else path)
    if not isinstance(location, DatabaseUrl):
        place = existing_file(location) if read_only else file_location(location)
        return SqliteStore(place, read_only=read_only, fsync=fsync)
    if not location.is_valid:
        msg = (
            "The URL of the history cannot be parsed: it begins with postgresql:// (a file is "
            "named by its path), and special characters of a password are percent-encoded in it "
            "(/ as %2F, @ as %40, # as %23, ? as %3F); better use PGPASSWORD or ~/.pgpass"
        )
        raise HistoryError(msg)
    try:
        from vellum_nb.history.postgres_store import PostgresStore
    except ImportError as exc:
        msg = f"The history {location} needs psycopg: pip install 'vellum-nb[postgres]' ({exc})"
        raise HistoryError(msg) from exc
    return PostgresStore(location, fsync=fsync)


def existing_file(path: Any) -> Path:
    """Return the path of an existing history; raise a `HistoryError` if it is missing."""
    location = parse_location(os.environ.get("VELLUM_NB_HISTORY") or None if path is None else path)
    file = file_location(location)
    if not isinstance(file, Path) or not os.path.isfile(file):  # noqa: PTH113  (never raises)
        msg = f"There is no history {file!s:.300}; check the path of the file"
        raise HistoryError(msg)
    return file


def file_location(path: object) -> Path | str:
    """Return the file at `path`, by default the history of the user, or `MEMORY`."""
    if isinstance(path, DatabaseUrl):
        raise not_a_file(path)
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
