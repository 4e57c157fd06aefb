"""A history in PostgreSQL: its two connections, and what a transaction is.

As in a file, one writer at a time: each write takes the lock of the history first, so that what it
reads stays true until it commits, and rows are numbered in the order in which they become visible.
The password is handed to libpq and held by nothing else; errors of connecting come without their
cause, whose frames hold it.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import psycopg
from psycopg.pq import TransactionStatus

from vellum_nb.errors import HistoryError
from vellum_nb.history.postgres.journal import FileJournal
from vellum_nb.history.postgres.schema import TABLES, migrate, unfit
from vellum_nb.history.postgres.snapshot import PostgresSnapshot
from vellum_nb.history.postgres.sql import PostgresDialect, Speaker, adapt
from vellum_nb.history.store.places import DatabaseUrl
from vellum_nb.history.store.store import OutOfReachError, Row

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = ["PostgresStore"]

_PATIENCE_S = 30
_BEGIN = (
    "BEGIN; "
    "SELECT pg_advisory_xact_lock(1986949736, hashtext(current_schema()))"  # "vnbh"
)
_SETTINGS = (
    f"SET lock_timeout = '{_PATIENCE_S}s'; SET idle_in_transaction_session_timeout = '60s'; "
    "SET extra_float_digits = 3; SET client_min_messages = warning; "
    "SELECT set_config('search_path', quote_ident(current_schema()), false)"  # no other's tables
)
_READ_ONLY = "; SET default_transaction_read_only = on"
_AT_LEISURE = "; SET idle_in_transaction_session_timeout = 0"
_MANNERS = {"connect_timeout": 10, "keepalives_idle": 30, "tcp_user_timeout": 30_000}
_ADVICE = {
    "42501": "the user may not do that; ask for the rights on its schema and tables",
    "3F000": "the schema is not there; make it, or leave it out of the URL",
    "55P03": f"another program has kept it locked for more than {_PATIENCE_S} s; end that program",
    "53100": "the server's disk is full; free some space and try again",
    "25006": "the server takes no writes (it is a standby, or read-only); name the other one",
}
_PASSING = frozenset({"25006", "40P01", "53100", "53200", "55P03"})
"""What may be over soon: writes that can wait are kept until then."""


class _Link:
    """A connection that is opened on first use, and the lock that it is used under."""

    def __init__(self, opener: Callable[[], Speaker]) -> None:
        self.lock = threading.RLock()
        self._opener = opener
        self.opened: Speaker | None = None

    @property
    def connection(self) -> Speaker:
        if self.opened is None or self.opened.raw.closed:
            self.opened = None
            self.opened = self._opener()
        return self.opened

    def close(self) -> None:
        with self.lock:
            if self.opened is not None:
                self.opened.raw.close()
                self.opened = None


class PostgresStore:
    """An open history in PostgreSQL.

    Parameters
    ----------
    url : DatabaseUrl
        The database.

    Raises
    ------
    HistoryError
        The database cannot be used.
    """

    dialect: ClassVar[PostgresDialect] = PostgresDialect()
    bulk_needs: ClassVar[Sequence[str]] = ("adbc_driver_postgresql", "pyarrow")

    def __init__(self, url: DatabaseUrl) -> None:
        self.url = url
        self.path: Path | str = url.shown
        self.closed = False
        self._make_links()
        self.journal = FileJournal(url.shown)
        with self._using(self._writer):
            pass
        _STORES.add(self)
        self.journal.bring_in_left(self)

    def write(self) -> AbstractContextManager[Speaker]:
        """Hold the write lock for the block, and commit at its end; an error undoes it all."""
        self.journal.bring_in(self, now=True)
        return self.transaction()

    @contextmanager
    def transaction(self) -> Iterator[Speaker]:
        """Do what `write` does, whether or not other writes wait."""
        with self._using(self._writer) as link:
            connection = self._twice(link, lambda connection: connection.execute(_BEGIN))
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                _roll_back(connection)
                raise

    def read(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Return all rows of a query."""
        self.journal.bring_in(self, now=True)
        found: list[list[Row]] = []
        with self._using(self._reader) as link:
            self._twice(link, lambda c: found.append(c.execute(sql, parameters).fetchall()))
        return found[-1]

    @contextmanager
    def snapshot(self) -> Iterator[PostgresSnapshot]:
        """Hold one state of the history, on a connection of its own; no writer waits for it."""
        self.journal.bring_in(self, now=True)
        settings = _SETTINGS + _READ_ONLY + _AT_LEISURE
        with self._using(_Link(lambda: _connect(self.url, settings))) as link:
            try:
                yield PostgresSnapshot(link.connection, self.dialect)
            finally:
                link.close()

    def size(self) -> int:
        """Return the bytes of its tables and indexes."""
        found: int = self.read(
            "SELECT CAST(coalesce(sum(pg_total_relation_size(c.oid)), 0) AS BIGINT) "
            "FROM pg_class c WHERE c.relkind = 'r' "
            "AND c.relnamespace = current_schema()::regnamespace AND c.relname = ANY(?)",
            (sorted(TABLES),),
        )[0][0]
        return found

    def compact(self) -> None:
        """Give the space that nothing takes any more back to the server's disk."""
        tables = (
            "SELECT tablename FROM pg_tables "
            "WHERE schemaname = current_schema() AND tablename = ANY(?)"
        )
        names = ", ".join(name for (name,) in self.read(tables, (sorted(TABLES),)))
        with self._using(self._writer) as link:
            self._twice(link, lambda connection: connection.execute(f"VACUUM (FULL) {names}"))

    def bulk(
        self, sql: str, parameters: Sequence[Any] = ()
    ) -> Iterator[tuple[pa.RecordBatch, pa.RecordBatch]]:
        """Yield what the query of `reads.bulk` finds, on a connection of its own."""
        from vellum_nb.history.postgres import bulk

        self.journal.bring_in(self, now=True)
        with self._using(self._reader) as link:
            text = link.connection.literal(sql, parameters)
        return bulk.read(self.url, text)

    def close(self) -> None:
        """Close the connections; does nothing the second time. Waits for what is under way."""
        if not self.closed and hasattr(self, "journal"):
            self.journal.close(self)
        self.closed = True
        self._reader.close()
        self._writer.close()

    def __del__(self) -> None:
        with suppress(HistoryError):
            self.close()  # a notebook cell that is run again drops its history without a word

    def _make_links(self) -> None:
        self._writer = _Link(lambda: _open_writer(self.url))
        self._reader = _Link(lambda: _connect(self.url, _SETTINGS + _READ_ONLY))

    @contextmanager
    def _using(self, link: _Link) -> Iterator[_Link]:
        with link.lock:
            if self.closed:
                msg = f"The history {self.path} was closed; open it again with History(...)"
                raise HistoryError(msg)
            connection = link.connection
            try:
                yield link
            except psycopg.Error as exc:
                last = link.opened or connection  # there may be a new one since
                raise _explained(exc, self.url.shown, is_lost=last.raw.closed) from exc

    def _twice(self, link: _Link, call: Callable[[Speaker], object]) -> Speaker:
        """Call with the connection, and with a new one where that was cut off meanwhile."""
        connection = link.connection
        try:
            call(connection)
        except BaseException as exc:  # an interrupt, too, may leave a transaction open
            if not (isinstance(exc, psycopg.Error) and connection.raw.closed):
                _roll_back(connection)
                raise
            connection = link.connection
            call(connection)
        return connection

    def _after_fork(self) -> None:
        # Closing a connection that came through a fork would end the parent's as well.
        _INHERITED.append((self._writer, self._reader))
        self._make_links()
        self.journal.forget()


def _open_writer(url: DatabaseUrl) -> Speaker:
    connection = _connect(url, _SETTINGS)
    try:
        connection.execute(_BEGIN)
        problem = unfit(connection)
        if problem is None:
            migrate(connection)
            connection.execute("COMMIT")
    except psycopg.Error as exc:
        is_lost = connection.raw.closed
        connection.raw.close()
        raise _explained(exc, url.shown, is_lost=is_lost) from exc
    if problem is not None:
        connection.raw.close()
        msg = f"The history {url} cannot be used: {problem}"
        raise HistoryError(msg)
    return connection


def _connect(url: DatabaseUrl, settings: str) -> Speaker:
    problem = ""
    manners: dict[str, Any] = {
        name: value for name, value in _MANNERS.items() if f"{name}=" not in url.shown
    }
    try:
        raw = psycopg.connect(url.shown, autocommit=True, **manners, **url.secrets())
        raw.execute(settings)
    except psycopg.Error as exc:
        problem = url.cleared(" ".join(str(exc).split()))
    if problem:
        msg = (
            f"The history {url} cannot be reached: see that its server runs, and that host, "
            "database and user are right; a password is looked for in the URL, PGPASSWORD and "
            f"~/.pgpass ({problem})"
        )
        raise OutOfReachError(msg)
    adapt(raw)
    return Speaker(raw)


def _roll_back(connection: Speaker) -> None:
    try:
        if connection.raw.info.transaction_status != TransactionStatus.IDLE:
            connection.execute("ROLLBACK")
    except psycopg.Error:
        connection.raw.close()


def _explained(exc: psycopg.Error, path: str, *, is_lost: bool) -> HistoryError:
    """Return the error that tells the user what `exc` means and what to do."""
    text = " ".join(str(exc).split())
    if is_lost:
        return OutOfReachError(f"The connection to the history {path} was lost ({text})")
    advice = _ADVICE.get(exc.sqlstate or "", "PostgreSQL refused it")
    kind = OutOfReachError if exc.sqlstate in _PASSING else HistoryError
    return kind(f"The history {path} cannot be used: {advice} ({text})")


_STORES: weakref.WeakSet[PostgresStore] = weakref.WeakSet()
_INHERITED: list[tuple[_Link, _Link]] = []


def _renew_after_fork() -> None:
    for store in list(_STORES):
        store._after_fork()  # noqa: SLF001  (of this module)


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_after_fork)
