"""Where a history on a server lies: its URL, whose password nothing ever shows."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

__all__ = ["DatabaseUrl", "guarded"]

_SCHEMES = ("postgresql://", "postgres://")
_ANY_URL = re.compile(  # a drive has one letter; a mistyped URL may have a password, too
    r"\s*(?:[a-z][a-z0-9+.-]+:/|postgres(?:ql)?(?::|//))", re.IGNORECASE
)
_SECRET = ("password", "sslpassword")


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

    __slots__ = ("_secrets", "is_clear", "shown")

    def __init__(self, url: str) -> None:
        self._secrets: dict[str, str] = {}
        self.shown = "postgresql://…"
        self.is_clear = False
        """Whether it could be read. Where it could not, it is refused by who sees only this."""
        try:
            parts = urlsplit(url)
        except ValueError:
            return
        if "@" in parts.path + parts.query + parts.fragment or parts.fragment:
            return
        if not url.lower().startswith(_SCHEMES):
            return
        self.is_clear = True
        user, at, hosts = parts.netloc.rpartition("@")
        user, colon, password = user.partition(":")
        options = dict(parse_qsl(parts.query, keep_blank_values=True))
        self._secrets |= {name: options.pop(name) for name in _SECRET if name in options}
        if colon:
            self._secrets["password"] = unquote(password)
        query = urlencode(options, quote_via=quote)
        self.shown = f"postgresql://{user}{at}{hosts}{parts.path}{'?' * bool(query)}{query}"

    def secrets(self) -> dict[str, Any]:
        """Return what libpq is to be given beside `shown`; hold it in no variable."""
        return dict(self._secrets)

    def whole(self) -> str:
        """Return the URL with its password, for a driver that takes nothing else."""
        joint = "&" if "?" in self.shown else "?"
        return self.shown + (joint + urlencode(self._secrets, quote_via=quote)) * bool(
            self._secrets
        )

    def cleared(self, text: str) -> str:
        """Return `text` without the password, should it be in it."""
        for secret in self._secrets.values():
            text = text.replace(secret, "[secret]") if secret else text
        return text

    def __repr__(self) -> str:
        return self.shown

    def __reduce__(self) -> tuple[Any, ...]:
        return DatabaseUrl, (self.shown,)


def guarded(path: Any) -> Any:
    """Return the URL of a database without its password in sight; anything else as it is.

    One that we do not know is one, too: it may have a password.
    """
    if isinstance(path, str | Path) and _ANY_URL.match(str(path)):
        return DatabaseUrl(str(path).strip())
    return path
