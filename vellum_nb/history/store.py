"""SQL and locations shared by both databases; parameters are named (``:name``)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, TypeAlias
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from vellum_nb.errors import HistoryError

_SCHEMES = ("postgresql://", "postgres://")
LEASE_S = 60.0
"""Seconds until a lease expires if it is not renewed."""
_SECRET = ("password", "sslpassword")
Row: TypeAlias = tuple[Any, ...]
Parameters: TypeAlias = Mapping[str, Any]


def insert(table: str, names: Iterable[str]) -> str:
    """Return an INSERT of one row with parameters `names`."""
    listed = list(names)
    values = ", ".join(f":{name}" for name in listed)
    return f"INSERT INTO {table} ({', '.join(listed)}) VALUES ({values})"


def assigned(names: Iterable[str]) -> str:
    """Return the assignments of an UPDATE with parameters `names`."""
    return ", ".join(f"{name} = :{name}" for name in names)


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
