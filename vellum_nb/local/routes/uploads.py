"""Addresses that open uploaded files for a while."""

from __future__ import annotations

import hmac
from datetime import UTC, datetime

from vellum_nb.local.ledger.ledger import Ledger

__all__ = ["expiry", "is_signed", "signature"]

_DEFAULT_EXPIRY = 604_800
_LONGEST_EXPIRY = 2_592_000


def expiry(seconds: str | None) -> int:
    """Return for how long an address opens a file; what is no such time is the default.

    Examples
    --------
    >>> expiry("60"), expiry("soon"), expiry("0")
    (60, 604800, 604800)
    """
    try:
        number = int(seconds or "")
    except ValueError:
        return _DEFAULT_EXPIRY
    return number if 0 < number <= _LONGEST_EXPIRY else _DEFAULT_EXPIRY


def signature(ledger: Ledger, id_: str, expires: int) -> str:
    """Return the token that opens the file `id_` until `expires` (seconds since 1970)."""
    secret = ledger.secret("uploads")
    return hmac.new(secret, f"{id_}\n{expires}".encode(), "sha256").hexdigest()


def is_signed(ledger: Ledger, id_: str, expires: int, token: str) -> bool:
    """Return whether `token` opens the file `id_` now."""
    right = signature(ledger, id_, expires).encode()
    return hmac.compare_digest(right, token.encode("utf-8", "replace")) and (
        expires > datetime.now(UTC).timestamp()
    )
