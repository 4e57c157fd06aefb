"""Histories in PostgreSQL: connections, transactions, and conversion of SQL and values.

PostgreSQL text cannot contain NUL: code point 0 is stored as 1 1, and 1 as 1 2, which preserves the
order. NaN is stored as NULL and -0.0 as 0.0, as in SQLite. The password is passed to libpq and is
not stored in a variable. Connection errors are raised without a cause, as its frames contain the
password.
"""

from __future__ import annotations

import random
import re
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import lru_cache, partial
from typing import Any, ClassVar, TypeAlias, TypeVar

import psycopg
from psycopg.abc import Buffer
from psycopg.pq import TransactionStatus
from psycopg.types.numeric import FloatDumper
from psycopg.types.string import StrDumperUnknown, TextLoader

from vellum_nb.errors import HistoryError, OutOfReachError
from vellum_nb.history.schema import MIGRATIONS, TABLES
from vellum_nb.history.store import DatabaseUrl, Parameters, Row
from vellum_nb.sqlite import Converting, Link, survive_forks

T = TypeVar("T")
_Link: TypeAlias = "Link[psycopg.Connection[Any]]"

_LOCK_TIMEOUT_S = 30
_IDLE_TIMEOUT_S = 20  # a process that was cut off loses its locks before others stop waiting
_SETTINGS = (
    f"SET lock_timeout = '{_LOCK_TIMEOUT_S}s'; "
    f"SET idle_in_transaction_session_timeout = '{_IDLE_TIMEOUT_S}s'; "
    "SET extra_float_digits = 3; SET client_min_messages = warning; "
    "SELECT set_config('search_path', quote_ident(current_schema()), false)"  # ignore other schemas
)
_READ_ONLY = (
    "; SET default_transaction_read_only = on"
    "; SET plan_cache_mode = force_custom_plan"  # a generic plan is slow for most searches
)
_FSYNC = "; SET synchronous_commit = on"
_LONG_READ = "; SET idle_in_transaction_session_timeout = 0"
_POOLED = f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT_S}s'"
_CONNECT_DEFAULTS = {
    "client_encoding": "utf8",  # overrides PGCLIENTENCODING
    "connect_timeout": 10,
    "keepalives_idle": 30,
    "tcp_user_timeout": 30_000,
}
_TRIES = 3
_RETRIED = frozenset({"40001", "40P01"})  # serialization failure, deadlock
_PERMANENT_ERRORS = frozenset({"", "0A", "21", "22", "23", "54", "P0"})
"""Classes of errors caused by the statement or its values; a retry fails again."""
_ADVICE = {
    "25006": "the server accepts no writes (it is a standby, or read-only); connect to the primary",
    "3F000": "the schema does not exist; make it, or leave it out of the URL",
    "42501": "the user may not do that; grant the rights on its schema and tables",
    "42P01": "one of its tables does not exist; restore it from the server's backup",
    "53100": "the server's disk is full; free some space and try again",
    "54000": "an id or the name of a deployment is too long for an index; shorten it",
    "55P03": f"another program has locked it for more than {_LOCK_TIMEOUT_S} s; end that program",
    "57014": "the server ended the statement; if it took too long, raise the user's "
    "statement_timeout, or add ?options=-cstatement_timeout%3D0 to the URL",
}
_PARAMETERS = re.compile(r"'[^']*'|::|:([a-z_]\w*)|(%)")


@lru_cache(maxsize=1024)
def _translated(sql: str) -> str:
    return _PARAMETERS.sub(
        lambda match: f"%({match[1]})s" if match[1] else match[0].replace("%", "%%"), sql
    )


class PostgresDialect:
    """SQL specific to PostgreSQL."""

    name = "postgresql"
    now = "CAST(extract(epoch FROM clock_timestamp()) * 1000000 AS BIGINT)"

    def one_of(self, column: str, name: str) -> str:
        """Return a condition on membership in an array parameter."""
        return f"{column} = ANY(:{name})"

    def listed(self, values: Iterable[str | int]) -> list[str | int]:
        """Return the value of an array parameter."""
        return list(values)

    def member(self, column: str, name: str) -> str:
        """Return a sort key for a member of a JSON object; numbers sort before texts."""
        number = (
            "CASE jsonb_typeof(m) WHEN 'number' THEN CAST(m #>> '{}' AS DOUBLE PRECISION) "
            "WHEN 'boolean' THEN CASE WHEN m = 'true' THEN 1 ELSE 0 END END"
        )
        text = "CASE WHEN jsonb_typeof(m) NOT IN ('number', 'boolean') THEN m #>> '{}' END"
        row = f'ROW({number}, ({text}) COLLATE "C")'
        return (
            f"(SELECT CASE WHEN jsonb_typeof(m) <> 'null' THEN {row} END "
            f"FROM vnb_member({column}, :{name}) AS m)"
        )


_DIALECT = PostgresDialect()


class PostgresTransaction:
    """An open transaction."""

    dialect: ClassVar[PostgresDialect] = _DIALECT

    def __init__(self, connection: psycopg.Connection[Any]) -> None:
        self._connection = connection

    def read(self, sql: str, parameters: Parameters | None = None) -> list[Row]:
        """Return all rows of a statement."""
        return self._connection.execute(_translated(sql), parameters or {}).fetchall()

    def execute(self, sql: str, parameters: Parameters | None = None) -> int:
        """Execute a statement; return the number of changed rows."""
        return self._connection.execute(_translated(sql), parameters or {}).rowcount

    def execute_many(self, sql: str, rows: Iterable[Parameters]) -> None:
        """Execute a statement once per row of parameters."""
        listed = list(rows)
        if listed:
            self._connection.cursor().executemany(_translated(sql), listed)

    def serialize(self, name: str) -> None:
        """Wait for other transactions that called this method with the same name."""
        sql = "SELECT pg_advisory_xact_lock(1986949736, hashtext(current_schema() || :name))"
        self.read(sql, {"name": name})


class PostgresSnapshot(PostgresTransaction):
    """A consistent read on a separate connection."""

    def stream(
        self, sql: str, parameters: Parameters | None = None, *, rows: int = 1000
    ) -> Iterator[list[Row]]:
        """Yield the rows of a query in batches, from a server-side cursor."""
        with self._connection.cursor(name=f"vnb_{uuid.uuid4().hex}") as cursor:
            cursor.execute(_translated(sql), parameters or {})
            while batch := cursor.fetchmany(rows):
                yield batch

    def cancel(self) -> None:
        """Cancel the running query from another thread."""
        with suppress(psycopg.Error):
            self._connection.cancel()


class PostgresStore:
    """An open history in PostgreSQL, with the methods of `SqliteStore`."""

    dialect: ClassVar[PostgresDialect] = _DIALECT

    def __init__(self, url: DatabaseUrl, *, fsync: bool = False) -> None:
        self.path = url.public
        self.closed = False
        self._url = url
        self._is_committing = False
        self._writer = self._link(_SETTINGS + _FSYNC if fsync else _SETTINGS)
        self._reader = self._link(_SETTINGS + _READ_ONLY)
        self.write(_prepare)
        survive_forks(self)

    def read(self, sql: str, parameters: Parameters | None = None) -> list[Row]:
        """Return all rows of a query. A lost connection is reopened."""
        with self._reader.lock, self._errors(self._reader):
            try:
                return PostgresTransaction(self._reader.open()).read(sql, parameters)
            except psycopg.Error:
                if not _is_lost(self._reader):
                    raise
            return PostgresTransaction(self._reader.open()).read(sql, parameters)

    def write(self, change: Callable[[Any], T]) -> T:
        """Call `change` in one transaction, commit, and return the result.

        The call is repeated if the connection was lost before the commit, or after a deadlock.
        """
        link = self._writer
        with link.lock:
            if link.in_write:
                msg = f"A write to the history {self.path} began within another write"
                raise HistoryError(msg)
            with self._errors(link):
                for remaining in reversed(range(_TRIES)):
                    self._is_committing = False
                    try:
                        return self._write_once(link, change)
                    except psycopg.Error as exc:
                        is_lost = _is_lost(link) and not self._is_committing
                        if not remaining or not (is_lost or exc.sqlstate in _RETRIED):
                            raise
                    time.sleep(random.uniform(0.05, 0.2))  # noqa: S311  (not a secret)
        raise AssertionError

    def _write_once(self, link: _Link, change: Callable[[Any], T]) -> T:
        connection = link.open()
        try:
            link.in_write = True
            connection.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
            if connection.prepare_threshold is None:  # behind a pooler
                connection.execute(_POOLED)
            result = change(PostgresTransaction(connection))
            self._is_committing = True  # the commit may succeed even if the connection is lost
            connection.execute("COMMIT")
        finally:
            link.in_write = False
            _roll_back(connection)
        return result

    @contextmanager
    def snapshot(self) -> Iterator[PostgresSnapshot]:
        """Provide a consistent read on a separate connection; writers do not wait for it."""
        link = self._link(_SETTINGS + _READ_ONLY + _LONG_READ)
        try:
            with self._errors(link):
                connection = link.open()
                connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
                connection.execute("SELECT 1")  # the first query determines the snapshot
                yield PostgresSnapshot(connection)
        finally:
            link.close()

    @property
    def identity(self) -> object:
        """Key shared by all stores on the same database."""
        return self.path

    def size(self) -> int:
        """Return the size of tables and indexes in bytes."""
        sql = (
            "SELECT CAST(coalesce(sum(pg_total_relation_size(c.oid)), 0) AS BIGINT) "
            "FROM pg_class c WHERE c.relkind = 'r' "
            "AND c.relnamespace = current_schema()::regnamespace AND c.relname = ANY(:tables)"
        )
        return int(self.read(sql, {"tables": list(TABLES)})[0][0])

    def vacuum(self) -> None:
        """Return unused space to the server's disk; requires ownership of the tables."""
        with self._writer.lock, self._errors(self._writer):
            self._writer.open().execute(f"VACUUM (FULL) {', '.join(TABLES)}")

    def close(self) -> None:
        """Close the connections after running statements; a second call has no effect."""
        self.closed = True
        self._reader.close()
        self._writer.close()

    def __del__(self) -> None:
        if hasattr(self, "_reader"):
            self.close()

    def links(self) -> list[_Link]:
        """Return the connections to lock during a fork."""
        return [self._writer, self._reader]

    def before_fork(self) -> None:
        """Keep connections open: the child process does not use them."""

    def after_fork(self) -> None:
        """Discard inherited connections; closing them would end the sessions of the parent."""
        for link in self.links():
            link.renew()

    def _link(self, settings: str) -> _Link:
        return Link(lambda: _connect(self._url, settings), lambda connection: connection.closed)

    def _errors(self, link: _Link) -> Converting:
        if self.closed:
            msg = f"The history {self.path} was closed; open it again with History(...)"
            raise HistoryError(msg)
        return Converting(partial(self._explained, link))

    def _explained(self, link: _Link, exc: Exception) -> HistoryError | None:
        if not isinstance(exc, psycopg.Error):
            return None
        text = self._url.masked(" ".join(str(exc).split()))
        if _is_lost(link):
            msg = f"The connection to the history {self.path} was lost; try again ({text})"
            return OutOfReachError(msg)
        state = exc.sqlstate or ""
        kind = HistoryError if state[:2] in _PERMANENT_ERRORS else OutOfReachError
        advice = _ADVICE.get(state, "PostgreSQL refused the statement")
        return kind(f"The history {self.path} cannot be used: {advice} ({text})")


def _is_lost(link: _Link) -> bool:
    return link.connection is None or link.connection.closed


def _roll_back(connection: psycopg.Connection[Any]) -> None:
    """Roll back an open transaction; close the connection if that fails."""
    try:
        if connection.info.transaction_status != TransactionStatus.IDLE:
            connection.execute("ROLLBACK")
    except psycopg.Error:
        connection.close()


def _connect(url: DatabaseUrl, settings: str) -> psycopg.Connection[Any]:
    """Open a connection; `settings` are SQL.

    Behind a pooler that assigns sessions to transactions (PgBouncer), settings and prepared
    statements would affect other clients, so neither is used.
    """
    raw = _attempt(url, settings)
    if isinstance(raw, psycopg.Error | OSError):
        problem = url.masked(" ".join(f"{raw}".split()))
        del raw  # `pgconn` contains the password
        advice = (
            "check that its server runs, and that host, database and user are right; a password "
            "is looked for in the URL, PGPASSWORD and ~/.pgpass"
        )
        if "too many" in problem or "connection slots" in problem:
            advice = "its server has no connection left; end another program, or raise the limit"
        msg = f"The history {url} cannot be reached: {advice} ({problem})"
        raise OutOfReachError(msg)
    if isinstance(raw, BaseException):
        raise raw
    for kind, dumper in ((str, _Text), (float, _Float)):
        raw.adapters.register_dumper(kind, dumper)
    for name in ("text", "varchar", "name"):
        raw.adapters.register_loader(name, _Loader)
    return raw


def _attempt(url: DatabaseUrl, settings: str) -> psycopg.Connection[Any] | BaseException:
    """Return a connection, or the exception without traceback, which contains the password."""
    defaults: dict[str, Any] = {
        name: value for name, value in _CONNECT_DEFAULTS.items() if f"{name}=" not in url.public
    }
    try:
        raw = psycopg.connect(url.public, autocommit=True, **defaults, **url.secrets())
        ((backend,),) = raw.execute("SELECT pg_backend_pid()").fetchall()
        if backend == raw.info.backend_pid:
            raw.execute(settings)
        else:
            raw.prepare_threshold = None
    except BaseException as exc:  # noqa: BLE001 - the caller raises it
        exc.__context__ = exc.__cause__ = None
        return exc.with_traceback(None)
    return raw


def _prepare(transaction: PostgresTransaction) -> None:
    """Create or migrate the tables, in one process at a time."""
    transaction.serialize("schema")
    sql = "SELECT to_regclass(quote_ident(current_schema()) || '.vnb_version') IS NOT NULL"
    version = 0
    if transaction.read(sql)[0][0]:
        version = int(transaction.read("SELECT max(version) FROM vnb_version")[0][0])
    sql = (
        "SELECT string_agg(tablename, ', ') FROM pg_tables "
        "WHERE schemaname = current_schema() AND tablename = ANY(:tables)"
    )
    ((existing_tables,),) = transaction.read(sql, {"tables": list(TABLES)})
    ((encoding,),) = transaction.read("SHOW server_encoding")
    reason = ""
    if encoding != "UTF8":
        reason = (
            f"its database is encoded as {encoding}, which cannot hold every text; make one with "
            "ENCODING 'UTF8' TEMPLATE template0"
        )
    elif version > len(MIGRATIONS):
        reason = f"it was written by a newer vellum_nb (version {version}); upgrade to read it"
    elif version == 0 and existing_tables:
        reason = (
            f"its schema already has tables of these names ({existing_tables}), of another program "
            "or of a version before the first release; use another schema or database"
        )
    if reason:
        msg = f"The history cannot be used: {reason}"
        raise HistoryError(msg)
    if version < len(MIGRATIONS):
        for migrate in MIGRATIONS[version:]:
            migrate(transaction)
        transaction.execute("CREATE TABLE IF NOT EXISTS vnb_version (version BIGINT NOT NULL)")
        transaction.execute("DELETE FROM vnb_version")
        transaction.execute("INSERT INTO vnb_version VALUES (:n)", {"n": len(MIGRATIONS)})


class _Text(StrDumperUnknown):
    def dump(self, obj: str) -> Buffer | None:
        if "\0" in obj or "\x01" in obj:
            obj = obj.replace("\x01", "\x01\x02").replace("\0", "\x01\x01")
        return super().dump(obj)


class _Float(FloatDumper):
    def dump(self, obj: float) -> Buffer | None:
        return None if obj != obj else super().dump(obj + 0.0)  # noqa: PLR0124  (NaN is not itself)


class _Loader(TextLoader):
    def load(self, data: Buffer) -> str | bytes:
        text = super().load(data)
        if not isinstance(text, str) or "\x01" not in text:
            return text
        return text.replace("\x01\x01", "\0").replace("\x01\x02", "\x01")
