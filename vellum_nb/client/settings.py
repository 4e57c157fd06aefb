"""Settings of a client, and their validation."""

from __future__ import annotations

import os
import warnings
from dataclasses import dataclass
from getpass import getpass
from ipaddress import ip_address
from numbers import Real
from socket import inet_aton
from typing import Any, TypeAlias
from urllib.parse import urlsplit

from pydantic import SecretStr

from vellum_nb.errors import InputError, VellumNBError
from vellum_nb.models.checks import check_integer, check_text, refuse

Timeout: TypeAlias = float | tuple[float | None, float | None] | None

DEFAULT_TIMEOUT: Timeout = (10.0, 120.0)
MAX_REPLY_BYTES = 256_000_000
BASE_URL = "https://api.vellum.ai"
PREDICT_URL = "https://predict.vellum.ai"
_MAX_TIMEOUT_S = 1e9  # sockets refuse a little more
_WARNED_HOSTS: set[str] = set()


@dataclass(frozen=True, slots=True)
class ClientSettings:
    """All settings of a client. Another process can create the same client from them.

    Only its pickle, which is sent to a worker, contains the key in clear.
    """

    base_url: str
    predict_url: str
    key: SecretStr
    timeout: tuple[float | None, float | None]
    api_version: str
    max_connections: int
    max_tries: int
    max_reply_bytes: int | None

    def __post_init__(self) -> None:
        check_text("api_version", self.api_version)
        if not self.api_version.isascii() or not self.api_version.isprintable():
            refuse("api_version", self.api_version, "a date such as '2025-07-30'")
        check_integer("max_connections", self.max_connections, least=1)
        check_integer("max_tries", self.max_tries, least=1)
        check_integer("max_reply_bytes", self.max_reply_bytes, least=1, optional=True)


def find_key(api_key: str | None) -> SecretStr:
    """Return the API key: the argument, then ``VELLUM_API_KEY``; ``"ask"`` prompts for it."""
    check_text("api_key", api_key, optional=True)
    if api_key == "ask":
        key, source = getpass("Vellum API key: "), "that was typed"
    elif api_key:
        key, source = api_key, "in api_key"
    else:
        key, source = os.environ.get("VELLUM_API_KEY", ""), "in VELLUM_API_KEY"
    if not key:
        msg = (
            "No API key was given: pass api_key=..., set the environment variable VELLUM_API_KEY, "
            'or enter it with api_key="ask".'
        )
        raise VellumNBError(msg)
    for place, letter in enumerate(key, start=1):
        if not "!" <= letter <= "~":
            name = {"\n": "a line break", "\r": "a line break", " ": "a space", "\t": "a tab"}
            msg = (
                f"The API key {source} cannot be sent: character {place} of {len(key)} is "
                f"{name.get(letter, 'not a plain ASCII character')}. Copy the key again, without "
                "anything around it."
            )
            raise VellumNBError(msg)
    return SecretStr(key)


def find_urls(base_url: str | None, predict_url: str | None) -> tuple[str, str]:
    """Return the addresses of the API and of its predict host, without trailing slashes.

    The environment (``VELLUM_API_URL``, ``VELLUM_PREDICT_API_URL``) is ignored if `base_url` is
    given: a key for one server must not be sent to another.
    """
    check_text("base_url", base_url, optional=True)
    check_text("predict_url", predict_url, optional=True)
    if base_url is None:
        base_url = os.environ.get("VELLUM_API_URL") or None
        predict_url = predict_url or os.environ.get("VELLUM_PREDICT_API_URL") or None
    base = _checked_url(base_url or BASE_URL)
    fallback = PREDICT_URL if base == BASE_URL else base
    return base, _checked_url(predict_url or fallback)


def is_loopback(url: str) -> bool:
    """Return whether `url` is an address of this machine."""
    host = (urlsplit(url).hostname or "").rstrip(".")
    if host == "localhost" or host.endswith(".localhost"):
        return True
    try:
        address = ip_address(host if ":" in host else inet_aton(host))  # also 127.1
    except (ValueError, OSError):
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


def warn_of_plain_http(*urls: str) -> None:
    """Refuse to send the key in clear to Vellum; warn once per host for other machines."""
    for url in urls:
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")
        if parts.scheme != "http" or is_loopback(url) or host in _WARNED_HOSTS:
            continue
        if host == "vellum.ai" or host.endswith(".vellum.ai"):
            msg = f"The address {url} would send the API key unencrypted. Use https:// for {host}."
            raise VellumNBError(msg)
        _WARNED_HOSTS.add(host)
        msg = (
            f"The API key and all inputs go to {host} unencrypted, because its address begins with "
            "http://: anyone on the network can read the key and use it. Use https://."
        )
        warnings.warn(msg, UserWarning, stacklevel=3)


def checked_timeout(timeout: Timeout) -> tuple[float | None, float | None]:
    """Return `timeout` as seconds to connect and seconds to wait for data."""
    pair = timeout if isinstance(timeout, tuple) and len(timeout) == 2 else (timeout, timeout)  # noqa: PLR2004
    timeouts: tuple[Any, Any] = pair
    for seconds in timeouts:
        is_number = isinstance(seconds, Real) and not isinstance(seconds, bool)
        if seconds is not None and not (is_number and 0 < seconds <= _MAX_TIMEOUT_S):
            msg = f"A timeout of {seconds!r} is not possible; give seconds above 0, or None."
            raise InputError(msg)
    return pair


def _checked_url(url: str) -> str:
    try:  # urlsplit drops line breaks and accepts invalid ports
        parts = urlsplit(url if url.isprintable() and " " not in url else "")
        is_url = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
    except ValueError:
        is_url = False
    if not is_url:
        visible = url.rpartition("@")[2]  # the part before it can contain a password
        msg = f"The address {visible!r} is not an http:// or https:// URL with a host."
        raise VellumNBError(msg)
    if parts.username or parts.password or parts.query or parts.fragment:
        msg = (
            f"The address of {parts.hostname} must have no user name, password, query or fragment."
        )
        raise VellumNBError(msg)
    return url.rstrip("/")
