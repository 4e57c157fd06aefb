"""What stands before the routes: who may ask, and how much may be sent."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from urllib.parse import urlsplit

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vellum_nb.local.refusals import Refused
from vellum_nb.local.routes.replies import failure

__all__ = ["Guard"]

_HOSTS = frozenset({"127.0.0.1", "localhost"})
_OPEN = frozenset({"/docs", "/openapi.json"})
_SIGNED = "/files/"  # each address there has a token of its own
_DRAINED = 8  # times the limit: read and thrown away, so that the client hears the answer


class Guard:
    """Lets requests through that name this machine, come from no foreign page, and have the key.

    Any web page can reach a port of this machine: a foreign ``Host`` or ``Origin`` is refused.
    """

    def __init__(self, app: ASGIApp, *, api_key: str, limit: int) -> None:
        self._app = app
        self._api_key = api_key.encode()
        self._limit = limit

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        try:
            self._check(scope)
            body = await self._body(receive)
        except Refused as exc:
            answer = failure(exc.status_code, exc.detail)
            answer.headers["Connection"] = "close"
            await answer(scope, receive, send)
            return
        if body is not None:
            await self._app(scope, _replay(body, receive), send)

    def _check(self, scope: Scope) -> None:
        headers = dict(reversed(scope["headers"]))
        host = headers.get(b"host", b"").decode("latin-1")
        if _hostname(host) not in _HOSTS:
            raise Refused(403, f"The host {host!r:.80} is not this machine")
        origin = headers.get(b"origin")
        if origin is not None and origin.decode("latin-1") != f"http://{host}":
            raise Refused(403, "Requests from other web pages are refused")
        if scope["path"] not in _OPEN and not scope["path"].startswith(_SIGNED):
            self._check_key(headers)

    def _check_key(self, headers: Mapping[bytes, bytes]) -> None:
        given = headers.get(b"x-api-key", headers.get(b"x_api_key", b""))
        if not given:
            raise Refused(403, "Authentication credentials were not provided.")
        if not hmac.compare_digest(given, self._api_key):
            raise Refused(403, "The API key is wrong; the server shows its own when it starts.")

    async def _body(self, receive: Receive) -> bytes | None:
        """Return the body, or None when the client hung up before its end."""
        parts: list[bytes] = []
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            part = message.get("body", b"")
            size += len(part)
            if size <= self._limit:
                parts.append(part)
            if not message.get("more_body", False) or size > self._limit * _DRAINED:
                break
        if size > self._limit:
            raise Refused(413, f"The body has more than {self._limit:,} bytes")
        return b"".join(parts)


def _hostname(host: str) -> str:
    try:
        return urlsplit(f"//{host}").hostname or ""
    except ValueError:
        return ""


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives `body` once, and then what the connection says."""
    waiting = [body]

    async def replayed() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return replayed
