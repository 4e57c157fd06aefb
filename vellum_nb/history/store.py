"""What the history needs of a database: reads, snapshots, writes, and the SQL that differs.

All other SQL of this package is one text for SQLite and PostgreSQL, with named parameters
(``:name``).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol, TypeAlias, TypeVar
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from vellum_nb.errors import HistoryError

_SCHEMES = ("postgresql://", "postgres://")
_SECRET = ("password", "sslpassword")
T = TypeVar("T")
Row: TypeAlias = tuple[Any, ...]
Parameters: TypeAlias = Mapping[str, Any]


class OutOfReachError(HistoryError):
    """The server cannot be reached; the write under way may have been made."""


class Dialect(Protocol):
    """The SQL that is not the same in both databases."""

    @property
    def name(self) -> str:
        """``sqlite`` or ``postgresql``."""

    @property
    def now(self) -> str:
        """A term: microseconds since 1970 by the database's clock."""

    def one_of(self, column: str, name: str) -> str:
        """Return a term that is true where `column` is in the list bound as `name`."""

    def listed(self, values: Iterable[str | int]) -> Any:
        """Return what to bind for `one_of`."""

    def member(self, column: str, name: str) -> str:
        """Return a term to sort by: the member, whose name is bound as `name`, of a JSON object."""


class Reader(Protocol):
    """Anything that answers a query."""

    @property
    def dialect(self) -> Dialect:
        """The SQL of this database."""

    def read(self, sql: str, parameters: Parameters = ..., /) -> list[Row]:
        """Return all rows of a query."""


class Transaction(Reader, Protocol):
    """A write under way."""

    def execute(self, sql: str, parameters: Parameters = ..., /) -> int:
        """Execute a statement; return how many rows it changed."""

    def execute_many(self, sql: str, rows: Iterable[Parameters], /) -> None:
        """Execute a statement once for each of `rows`."""

    def serialize(self, name: str, /) -> None:
        """Wait until no other transaction that called this with the same name is under way."""


class Snapshot(Reader, Protocol):
    """One state of the history for several reads; for one thread."""

    def stream(
        self, sql: str, parameters: Parameters = ..., /, *, rows: int = ...
    ) -> Iterator[list[Row]]:
        """Yield the rows of a query in lists of at most `rows`."""

    def cancel(self) -> None:
        """End the query under way, from another thread; it raises there."""


class Store(Reader, Protocol):
    """An open history: a file, memory, or a database on a server."""

    @property
    def path(self) -> Path | str:
        """The file, ``:memory:``, or the URL without its password."""

    @property
    def closed(self) -> bool:
        """Whether it was closed."""

    def write(self, change: Callable[[Any], T]) -> T:
        """Call `change` with a `Transaction`, commit, and return what it returned."""

    def snapshot(self) -> AbstractContextManager[Snapshot]:
        """Hold one state of the history for the block; no writer waits for it."""

    def size(self) -> int:
        """Return its bytes."""

    def vacuum(self) -> None:
        """Give unused space back to the disk."""

    def close(self) -> None:
        """Close it; does nothing the second time."""


def insert(table: str, names: Iterable[str]) -> str:
    """Return an INSERT of one row, whose values are bound by `names`."""
    listed = list(names)
    values = ", ".join(f":{name}" for name in listed)
    return f"INSERT INTO {table} ({', '.join(listed)}) VALUES ({values})"


class DatabaseUrl:
    """The URL of a PostgreSQL database.

    Parameters
    ----------
    url : str
        As libpq takes it. Without a password libpq looks into ``PGPASSWORD`` and ``~/.pgpass``.

    Examples
    --------
    >>> DatabaseUrl("postgresql://ada:secret@db.example/team")
    postgresql://ada@db.example/team
    """

    __slots__ = ("_secrets", "is_valid", "public")

    def __init__(self, url: str) -> None:
        self._secrets: dict[str, str] = {}
        self.public = "postgresql://…"
        self.is_valid = False
        """Whether it could be parsed; what could not may have its password anywhere."""
        try:
            parts = urlsplit(url)
        except ValueError:
            return
        if "@" in parts.path + parts.query + parts.fragment or parts.fragment:
            return
        if not url.lower().startswith(_SCHEMES):
            return
        self.is_valid = True
        user, at, hosts = parts.netloc.rpartition("@")
        user, colon, password = user.partition(":")
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        self._secrets |= {name: options.pop(name) for name in _SECRET if name in options}
        if colon:
            self._secrets["password"] = unquote(password)
        query = urlencode(options, quote_via=quote)
        self.public = f"postgresql://{user}{at}{hosts}{parts.path}{'?' * bool(query)}{query}"

    def secrets(self) -> dict[str, Any]:
        """Return what libpq needs beside `public`; do not store it in a variable."""
        return dict(self._secrets)

    def masked(self, text: str) -> str:
        """Return `text` without the password, should it contain it."""
        for secret in self._secrets.values():
            text = text.replace(secret, "[secret]") if secret else text
        return text

    def __repr__(self) -> str:
        return self.public

    def __reduce__(self) -> tuple[Any, ...]:
        return DatabaseUrl, (self.public,)
