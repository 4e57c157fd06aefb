"""SQL and locations shared by both databases; parameters are named (``:name``)."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import chain
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from vellum_nb.errors import HistoryError

_SCHEMES = ("postgresql://", "postgres://")
_SECRET = ("password", "sslpassword")
_ROWS_PER_INSERT = (8, 4, 1)  # few different statements, which are prepared once
Row: TypeAlias = tuple[Any, ...]
Parameters: TypeAlias = Mapping[str, Any]


def insert(table: str, names: Iterable[str]) -> str:
    """Return an INSERT of one row with parameters `names`."""
    listed = list(names)
    values = ", ".join(f":{name}" for name in listed)
    return f"INSERT INTO {table} ({', '.join(listed)}) VALUES ({values})"


def insert_rows(
    table: str, names: Sequence[str], rows: Sequence[Parameters], suffix: str = ""
) -> Iterator[tuple[str, Parameters]]:
    """Yield statements that each insert several of `rows`, with parameters."""
    start = 0
    while start < len(rows):
        size = next(size for size in _ROWS_PER_INSERT if start + size <= len(rows))
        sql, numbered = _insert_several(table, tuple(names), size)
        values = (map(row.get, names) for row in rows[start : start + size])
        yield sql + suffix, dict(zip(numbered, chain.from_iterable(values), strict=True))
        start += size


@lru_cache(maxsize=64)
def _insert_several(table: str, names: tuple[str, ...], size: int) -> tuple[str, list[str]]:
    numbered = [[f"{name}_{number}" for name in names] for number in range(size)]
    rows = (f"({', '.join(f':{name}' for name in row)})" for row in numbered)
    sql = f"INSERT INTO {table} ({', '.join(names)}) VALUES {', '.join(rows)}"
    return sql, list(chain.from_iterable(numbered))


class DatabaseUrl:
    """URL of a PostgreSQL database, with a `repr` without the password."""

    __slots__ = ("_secrets", "is_valid", "public")

    def __init__(self, url: str) -> None:
        self._secrets: dict[str, str] = {}
        self.public = "postgresql://…"
        self.is_valid = False
        """Whether the URL could be parsed."""
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
        """Return the secret parameters of libpq; do not store them in a variable."""
        return dict(self._secrets)

    def masked(self, text: str) -> str:
        """Replace the password in `text`."""
        for secret in self._secrets.values():
            text = text.replace(secret, "[secret]") if secret else text
        return text

    def __repr__(self) -> str:
        return self.public

    def __reduce__(self) -> tuple[Any, ...]:
        return DatabaseUrl, (self.public,)


def not_a_file(url: DatabaseUrl) -> HistoryError:
    """Return the error for a database URL instead of a file."""
    msg = f"{url} is a database, not a file; name a file (PostgreSQL has tools of its own for it)"
    return HistoryError(msg)
