"""A history in PostgreSQL: its two connections, and what a transaction is.

As in a file, one writer at a time: each write takes the lock of the history first, so that what it
reads stays true until it commits, and rows are numbered in the order in which they become visible.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

import psycopg

from vellum_nb.errors import HistoryError
from vellum_nb.history.postgres.connecting import (
    AT_LEISURE,
    READ_ONLY,
    RESTART_S,
    SETTINGS,
    Link,
    connect,
    roll_back,
)
from vellum_nb.history.postgres.journal import FileJournal
from vellum_nb.history.postgres.refusals import explained
from vellum_nb.history.postgres.schema import TABLES, migrate, unfit
from vellum_nb.history.postgres.snapshot import PostgresSnapshot
from vellum_nb.history.postgres.sql import PostgresDialect, Speaker, without_broken
from vellum_nb.history.store.forks import renew_in_forks
from vellum_nb.history.store.interrupts import Interrupts
from vellum_nb.history.store.places import DatabaseUrl
from vellum_nb.history.store.store import Batches, Row

__all__ = ["PostgresStore"]

_BEGIN = "BEGIN ISOLATION LEVEL READ COMMITTED; "  # whatever the server prefers: first the lock
_LOCK = "SELECT pg_advisory_xact_lock(1986949736, hashtext(current_schema()))"  # "vnbh"


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
        with self._writer.lock, self._told(self._writer):
            pass
        renew_in_forks(self)
        self.journal.bring_in_left(self)

    def write(self) -> AbstractContextManager[Speaker]:
        """Hold the write lock for the block, and commit at its end; an error undoes it all."""
        self.journal.bring_in(self, now=True)
        return self.transaction()

    @contextmanager
    def transaction(self) -> Iterator[Speaker]:
        """Do what `write` does, whether or not other writes wait."""
        interrupts = Interrupts()

        def begin(connection: Speaker) -> None:
            _begin(connection)
            interrupts.put_off()

        try:
            with self._writer.lock, self._told(self._writer):
                connection = self._writer.twice(begin)
                try:
                    yield connection
                    connection.execute("COMMIT")
                except BaseException:
                    roll_back(connection)
                    raise
        finally:
            interrupts.let_through()

    def read(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """Return all rows of a query."""
        self.journal.bring_in(self, now=True)
        with self._reader.lock, self._told(self._reader):
            try:
                return _rows(self._reader, sql, parameters)
            except psycopg.DataError:
                slower = without_broken(sql)
                if slower == sql:
                    raise
                return _rows(self._reader, slower, parameters)

    @contextmanager
    def snapshot(self) -> Iterator[PostgresSnapshot]:
        """Hold one state of the history, on a connection of its own; no writer waits for it."""
        self.journal.bring_in(self, now=True)
        link = Link(lambda: connect(self.url, SETTINGS + READ_ONLY + AT_LEISURE))
        try:
            with self._told(link):
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
        told: list[str | None] = []

        def hear(notice: psycopg.errors.Diagnostic) -> None:
            told.append(notice.message_primary)  # it can be read only now

        def vacuum(connection: Speaker) -> None:
            connection.raw.add_notice_handler(hear)
            try:
                connection.execute(f"VACUUM (FULL) {names}")
            finally:
                connection.raw.remove_notice_handler(hear)

        with self._writer.lock, self._told(self._writer):
            self._writer.twice(vacuum)
        if told:
            msg = (
                f"The server did not give back all the space of the history {self.path}: that is "
                f"for the owner of its tables ({told[0]})"
            )
            warnings.warn(msg, UserWarning, stacklevel=5)

    def bulk(self, sql: str, parameters: Sequence[Any] = ()) -> Batches:
        """Yield what the query of `reads.bulk` finds, on a connection of its own."""
        from vellum_nb.history.postgres import bulk

        self.journal.bring_in(self, now=True)
        with self._reader.lock, self._told(self._reader):
            text = self._reader.connection.literal(sql, parameters)
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
        self._writer = Link(lambda: _open_writer(self.url))
        self._reader = Link(lambda: connect(self.url, SETTINGS + READ_ONLY), RESTART_S)

    @contextmanager
    def _told(self, link: Link) -> Iterator[None]:
        """Open `link`, whose lock is held, and say in our words what goes wrong with it.

        The lock is not taken here: an interrupt at the entry of `__exit__` would leave it taken.
        """
        if self.closed:
            msg = f"The history {self.path} was closed; open it again with History(...)"
            raise HistoryError(msg)
        connection = link.connection
        try:
            yield
        except psycopg.Error as exc:
            last = link.opened or connection  # there may be a new one since
            raise explained(exc, self.url.shown, is_lost=last.raw.closed) from exc

    def after_fork(self) -> object:
        """Start anew; return the links, whose closing would end the parent's as well."""
        inherited = self._writer, self._reader
        self._make_links()
        self.journal.forget()
        return inherited


def _open_writer(url: DatabaseUrl) -> Speaker:
    """Open the connection that writes, with the tables as this version has them."""
    opening = Link(lambda: connect(url, SETTINGS))
    problems: list[str | None] = []
    try:
        connection = opening.twice(lambda connection: problems.append(_prepared(connection)))
    except psycopg.Error as exc:
        last = opening.opened
        is_lost = last is None or last.raw.closed
        opening.close()
        raise explained(exc, url.shown, is_lost=is_lost) from exc
    if problems[-1] is not None:
        opening.close()
        msg = f"The history {url} cannot be used: {problems[-1]}"
        raise HistoryError(msg)
    return connection


def _rows(link: Link, sql: str, parameters: Sequence[Any]) -> list[Row]:
    found: list[list[Row]] = []
    link.twice(lambda connection: found.append(connection.execute(sql, parameters).fetchall()))
    return found[-1]


def _begin(connection: Speaker) -> None:
    # psycopg counts those that are interrupted, and would prepare what cannot be: two statements.
    connection.raw.execute(f"{_BEGIN}{connection.at_begin}{_LOCK}", prepare=False)


def _prepared(connection: Speaker) -> str | None:
    _begin(connection)
    problem = unfit(connection)
    if problem is None:
        migrate(connection)
        connection.execute("COMMIT")
    return problem
