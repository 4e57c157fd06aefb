"""Where a client gets its key, its addresses and its timeout from."""

from __future__ import annotations

import os
from dataclasses import dataclass
from getpass import getpass
from typing import TypeAlias
from urllib.parse import SplitResult, urlsplit

from pydantic import SecretStr

from vellum_nb.errors import VellumNBError

__all__ = [
    "DEFAULT_TIMEOUT",
    "ClientSettings",
    "Timeout",
    "checked_timeout",
    "find_key",
    "find_urls",
]

Timeout: TypeAlias = float | tuple[float | None, float | None] | None

DEFAULT_TIMEOUT: Timeout = (10.0, 120.0)
BASE_URL = "https://api.vellum.ai"
PREDICT_URL = "https://predict.vellum.ai"


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """All that a client is made from; another process can make the same one.

    Only a pickle of it holds the key in clear, which is how it travels to a worker.
    """

    base_url: str
    predict_url: str
    key: SecretStr
    timeout: tuple[float | None, float | None]
    api_version: str
    max_connections: int
    max_tries: int


def find_key(api_key: str | None) -> SecretStr:
    """Return the API key: the argument, then ``VELLUM_API_KEY``; ``"ask"`` has it typed unseen."""
    if api_key == "ask":
        key, source = getpass("Vellum API key: "), "that was typed"
    elif api_key:
        key, source = api_key, "in api_key"
    else:
        key, source = os.environ.get("VELLUM_API_KEY", ""), "in VELLUM_API_KEY"
    if not key:
        msg = (
            "There is no API key: pass api_key=..., set the environment variable VELLUM_API_KEY, "
            'or type it unseen with api_key="ask".'
        )
        raise VellumNBError(msg)
    for place, letter in enumerate(key, start=1):
        if not "!" <= letter <= "~":
            msg = (
                f"The API key {source} cannot be sent: character {place} of {len(key)} is "
                f"{_named(letter)}. Copy the key again, without anything around it."
            )
            raise VellumNBError(msg)
    return SecretStr(key)


def find_urls(base_url: str | None, predict_url: str | None) -> tuple[str, str]:
    """Return the addresses of the API and of its predict host, without a slash at the end.

    The environment (``VELLUM_API_URL``, ``VELLUM_PREDICT_API_URL``) counts only when no `base_url`
    is given, so that a key meant for one server never goes to another.
    """
    if base_url is None:
        base_url = os.environ.get("VELLUM_API_URL") or None
        predict_url = predict_url or os.environ.get("VELLUM_PREDICT_API_URL") or None
    base = _checked_url(base_url or BASE_URL)
    fallback = PREDICT_URL if base == BASE_URL else base
    return base, _checked_url(predict_url or fallback)


def checked_timeout(timeout: Timeout) -> tuple[float | None, float | None]:
    """Return `timeout` as seconds to connect and seconds to wait for data; None is for ever."""
    connect, read = timeout if isinstance(timeout, tuple) else (timeout, timeout)
    given: tuple[object, object] = (connect, read)
    for seconds in given:
        if seconds is not None and not (isinstance(seconds, int | float) and seconds > 0):
            msg = f"A timeout of {seconds!r} cannot be kept; give seconds above 0, or None."
            raise VellumNBError(msg)
    return connect, read


def _named(letter: str) -> str:
    names = {"\n": "a line break", "\r": "a line break", " ": "a space", "\t": "a tab"}
    return names.get(letter, "not a plain ASCII character")


def _has_good_port(parts: SplitResult) -> bool:
    try:
        return parts.port != 0
    except ValueError:
        return False


def _split(url: str) -> SplitResult:
    """Return the parts of `url`; none where it is no URL, or has signs that would be dropped."""
    try:
        return urlsplit(url if url.isprintable() and " " not in url else "")
    except ValueError:
        return urlsplit("")


def _checked_url(url: str) -> str:
    parts = _split(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname or not _has_good_port(parts):
        shown = url.rpartition("@")[2]  # what stands before it may be a password
        msg = f"The address {shown!r} is no http:// or https:// URL with a host."
        raise VellumNBError(msg)
    if parts.username or parts.password or parts.query or parts.fragment:
        msg = (
            f"The address of {parts.hostname} must have no user name, password, query or fragment."
        )
        raise VellumNBError(msg)
    return url.rstrip("/")
