"""Another history on a server, opened to be read: nothing in it changes, whatever its version."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import psycopg

from vellum_nb.errors import HistoryError
from vellum_nb.history.postgres.connecting import (
    AT_LEISURE,
    READ_ONLY,
    RESTART_S,
    SETTINGS,
    Link,
    connect,
)
from vellum_nb.history.postgres.refusals import explained
from vellum_nb.history.postgres.schema import DERIVED, TABLES, VERSION, migrate, unfit, version_of
from vellum_nb.history.postgres.sql import Speaker
from vellum_nb.history.store.large import Read
from vellum_nb.history.store.places import DatabaseUrl
from vellum_nb.history.store.store import Row

__all__ = ["reading"]


@contextmanager
def reading(url: DatabaseUrl) -> Iterator[Read]:
    """Open the history at `url` for the block; yield what runs a query and returns all rows.

    Tables of an older version are copied to temporary ones, and those are brought up to date.
    """
    link = Link(lambda: connect(url, SETTINGS + READ_ONLY), RESTART_S)
    copy = Link(lambda: connect(url, SETTINGS + AT_LEISURE))
    try:
        version = _checked(link.connection, url)
        if version < VERSION:
            link.close()
            _copy(copy.connection)
        yield _reader(link if version == VERSION else copy)
    except psycopg.Error as exc:
        is_lost = any(each.opened is not None and each.opened.raw.closed for each in (link, copy))
        raise explained(exc, url.shown, is_lost=is_lost) from exc
    finally:
        link.close()
        copy.close()


def _checked(connection: Speaker, url: DatabaseUrl) -> int:
    version = version_of(connection)
    problem = unfit(connection) or ("there is no history in it" if version == 0 else None)
    if problem:
        msg = f"The history {url} cannot be read: {problem}"
        raise HistoryError(msg)
    return version


def _copy(connection: Speaker) -> None:
    connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ READ WRITE")
    sql = "SELECT tablename FROM pg_tables WHERE schemaname = current_schema()"
    for (table,) in connection.execute(sql).fetchall():
        if table in TABLES - DERIVED:
            made = f"CREATE TEMP TABLE copied (LIKE {table} INCLUDING ALL) ON COMMIT DROP"
            connection.execute(made)
            connection.execute(f"INSERT INTO copied SELECT * FROM {table}")
            connection.execute(f"ALTER TABLE copied RENAME TO {table}")
    connection.execute("SET LOCAL search_path = pg_temp")
    migrate(connection)


def _reader(link: Link) -> Read:
    def read(sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        found: list[list[Row]] = []
        link.twice(lambda connection: found.append(connection.execute(sql, parameters).fetchall()))
        return found[-1]

    return read
