"""Our SQL as psycopg takes it, and our values as PostgreSQL keeps them.

PostgreSQL's texts hold no NUL: code point 0 is written as 1 1, and 1 as 1 2, which keeps their
order. NaN is kept as NULL and -0.0 as 0.0, as SQLite keeps them.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import psycopg
from psycopg.abc import Buffer
from psycopg.adapt import Dumper
from psycopg.types.numeric import FloatDumper
from psycopg.types.string import StrDumperUnknown, TextLoader

from vellum_nb.history.postgres.schema import NUMBERED

__all__ = ["PostgresDialect", "Speaker", "adapt", "plain", "without_broken"]

_MARKS = re.compile(r"'[^']*'|::|:([a-z_]+)|(\?)|(%)")
_KEY = re.compile(r"\b(vnb_key(?:_start)?)\(")
_AS_IT_IS = re.compile(r"[\w .()/-]+", re.ASCII)  # JSON escapes none of these
_INSERT = re.compile(r"\s*INSERT INTO (\w+)")


@lru_cache(maxsize=1024)
def _translated(sql: str) -> tuple[str, bool]:
    """Return `sql` with psycopg's placeholders, and whether it returns the number of a new row."""
    text = _MARKS.sub(_mark, sql)
    found = _INSERT.match(text)
    column = NUMBERED.get(found[1]) if found else None
    if column is None or " RETURNING " in text:
        return text, False
    return f"{text} RETURNING {column}", True


def _mark(found: re.Match[str]) -> str:
    if found[1]:
        return f"%({found[1]})s"
    return "%s" if found[2] else found[0].replace("%", "%%")


class _Done:
    """What became of a statement, with the number of a row as sqlite3 gives it."""

    __slots__ = ("_cursor", "_pipeline", "lastrowid")

    def __init__(
        self,
        cursor: psycopg.Cursor[Any],
        pipeline: psycopg.Pipeline | None,
        lastrowid: int | None,
    ) -> None:
        self._cursor = cursor
        self._pipeline = pipeline
        self.lastrowid = lastrowid

    @property
    def rowcount(self) -> int:
        if self._pipeline is not None and self._cursor.rowcount < 0:
            self._pipeline.sync()
        return self._cursor.rowcount

    def fetchone(self) -> Any:
        return self._cursor.fetchone()

    def fetchall(self) -> list[Any]:
        return self._cursor.fetchall()


class Speaker:
    """A connection of psycopg that takes our SQL.

    Parameters
    ----------
    raw : psycopg.Connection
        The connection.
    at_begin : str
        SQL that each transaction which writes begins with.
    """

    __slots__ = ("_pipeline", "at_begin", "raw")

    def __init__(self, raw: psycopg.Connection[Any], at_begin: str = "") -> None:
        self.raw = raw
        self.at_begin = at_begin
        self._pipeline: psycopg.Pipeline | None = None

    @contextmanager
    def together(self) -> Iterator[None]:
        """Send the statements of the block without a wait for answers that nobody looks at.

        An error may then be that of an earlier statement. A pooler may not let that be.
        """
        if self.at_begin or not psycopg.Pipeline.is_supported():
            yield
            return
        with self.raw.pipeline() as pipeline:
            self._pipeline = pipeline
            try:
                yield
            finally:
                self._pipeline = None

    def execute(self, sql: str, parameters: Sequence[Any] | Mapping[str, Any] = (), /) -> _Done:
        """Execute a statement."""
        text, numbered = _translated(sql)
        cursor = self.raw.cursor()
        cursor.execute(text, parameters if "%" in text else None)
        found = cursor.fetchone() if numbered else None
        return _Done(cursor, self._pipeline, found[0] if found else None)

    def stream(self, sql: str, parameters: Sequence[Any], *, at_once: int) -> Iterator[Any]:
        """Yield the rows of a query, which wait on the server; needs a transaction."""
        text, _ = _translated(sql)
        with self.raw.cursor(name=f"vnb_{uuid.uuid4().hex}") as cursor:
            cursor.itersize = at_once
            yield from cursor.execute(text, parameters)

    def literal(self, sql: str, parameters: Sequence[Any]) -> str:
        """Return a query with its values in it, for who cannot bind them."""
        text, _ = _translated(sql)
        return psycopg.ClientCursor(self.raw).mogrify(text, parameters)

    def executemany(self, sql: str, parameters: Iterable[Sequence[Any]], /) -> None:
        """Execute a statement once for each of `parameters`."""
        text, _ = _translated(sql)
        rows = list(parameters)
        if rows:
            self.raw.cursor().executemany(text.partition(" RETURNING ")[0], rows)


class PostgresDialect:
    """The SQL that only PostgreSQL understands."""

    name = "postgresql"

    def one_of(self, column: str) -> str:
        """Return a term for one of many values; they are bound as one array."""
        return f"{column} = ANY(?)"

    def listed(self, values: Iterable[str | int]) -> list[str | int]:
        """Return the array."""
        return list(values)

    def member_key(
        self, column: str, name: str, letters: int | None
    ) -> tuple[str, tuple[object, ...]]:
        """Return what a member of a JSON object is sorted by: numbers, then texts."""
        if letters is None:
            return f'vnb_key({column}, ?) COLLATE "C"', (name,)
        mark = f'"{name}":' if _AS_IT_IS.fullmatch(name) else ""
        return f'vnb_key_start({column}, ?, ?, {letters}) COLLATE "C"', (name, mark)


def without_broken(sql: str) -> str:
    """Return `sql` so that rows whose JSON is broken are sorted last; PostgreSQL then takes longer.

    What sorts by no member of a JSON object stays as it is.
    """
    return _KEY.sub(r"\1_or_null(", sql)


def plain(text: str) -> str:
    """Return what `_escaped` was given; for readers that go round psycopg."""
    if "\x01" not in text:
        return text
    return text.replace("\x01\x01", "\0").replace("\x01\x02", "\x01")


def _escaped(text: str) -> str:
    if "\0" in text or "\x01" in text:
        return text.replace("\x01", "\x01\x02").replace("\0", "\x01\x01")
    return text


class _Text(StrDumperUnknown):
    def dump(self, obj: str) -> Buffer | None:
        return super().dump(_escaped(obj))


class _Bool(Dumper):
    oid = psycopg.adapters.types["int8"].oid

    def dump(self, obj: bool) -> Buffer | None:  # noqa: FBT001  (psycopg's signature)
        return b"1" if obj else b"0"


class _Float(FloatDumper):
    def dump(self, obj: float) -> Buffer | None:
        return None if obj != obj else super().dump(obj + 0.0)  # noqa: PLR0124  (NaN is not itself)


class _Loader(TextLoader):
    def load(self, data: Buffer) -> str | bytes:
        found = super().load(data)
        return plain(found) if isinstance(found, str) else found


def adapt(connection: psycopg.Connection[Any]) -> None:
    """Make `connection` keep and return our values."""
    for kind, dumper in ((str, _Text), (bool, _Bool), (float, _Float)):
        connection.adapters.register_dumper(kind, dumper)
    for name in ("text", "varchar", "name"):
        connection.adapters.register_loader(name, _Loader)
