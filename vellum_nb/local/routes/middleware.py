"""What stands before the routes: access, limits of bodies, and faults made on purpose."""

from __future__ import annotations

import asyncio
import hmac
import re
import socket
import struct
from collections.abc import Callable, Mapping
from contextlib import suppress

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vellum_nb.local.faults import FaultBox, Faults
from vellum_nb.local.refusals import Refused
from vellum_nb.local.routes.common import failure

_HOST = re.compile(
    r"(127\.0\.0\.1|localhost|host\.docker\.internal)(:\d{1,5})?", re.ASCII | re.IGNORECASE
)
_OPEN = frozenset({"/openapi.json"})
# Each address of a file has a token of its own, and a workflow server has no key to ask with.
_OPEN_PREFIXES = ("/files/", "/vembda-public/")
_DRAINED = 8  # times the limit: read and discarded, so that the client receives the answer
_HELD = 16  # times the limit: bytes of unfinished bodies, of all clients together
_PIECE = 16
_ABRUPT = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset


class Guard:
    """Access control and limits: this machine's names only, no foreign page, the key.

    Any web page can reach a port of this machine: a foreign ``Host`` or ``Origin`` is refused.
    """

    def __init__(self, app: ASGIApp, *, api_key: str, limit: int, timeout: float) -> None:
        self._app = app
        self._api_key = api_key.encode()
        self._limit = limit
        self._timeout = timeout
        self._held = 0
        self._reading: set[asyncio.Timeout] = set()

    def stop_reading(self) -> None:
        """Give up the bodies that have not come: the server stops."""
        now = asyncio.get_running_loop().time()
        for limit in self._reading:
            limit.reschedule(now)

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
        if b"content-length" in headers and b"transfer-encoding" in headers:
            raise Refused(400, "A request has Content-Length or Transfer-Encoding, not both")
        host = headers.get(b"host", b"").decode("latin-1")
        if _HOST.fullmatch(host) is None:
            raise Refused(403, f"The host {host!r:.80} is not this machine")
        origin = headers.get(b"origin")
        if origin is not None and origin.decode("latin-1") != f"http://{host}":
            raise Refused(403, "Requests from other web pages are refused")
        if scope["path"] not in _OPEN and not scope["path"].startswith(_OPEN_PREFIXES):
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
        limit = asyncio.timeout(self._timeout)
        try:
            async with limit:
                self._reading.add(limit)
                return await self._read(receive, parts)
        except TimeoutError:
            raise Refused(408, f"The body did not come within {self._timeout:g} s") from None
        finally:
            self._reading.discard(limit)
            self._held -= sum(map(len, parts))

    async def _read(self, receive: Receive, parts: list[bytes]) -> bytes | None:
        size = 0
        while True:
            message = await receive()
            if message["type"] == "http.disconnect":
                return None
            part = message.get("body", b"")
            size += len(part)
            if size <= self._limit:
                parts.append(part)
                self._held += len(part)
            if self._held > self._limit * _HELD:
                raise Refused(503, "Too many large bodies come at once; try again later")
            if not message.get("more_body", False) or size > self._limit * _DRAINED:
                break
        if size > self._limit:
            raise Refused(413, f"The body has more than {self._limit:,} bytes")
        return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Return a `receive` that gives `body` once, and then what the connection gives."""
    waiting = [body]

    async def replayed() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return replayed


class FaultInjection:
    """Faults made on purpose, outside of everything else."""

    def __init__(
        self,
        app: ASGIApp,
        box: FaultBox,
        transport_of: Callable[[tuple[str, int]], asyncio.Transport],  # ASGI has no name for it
    ) -> None:
        self._app = app
        self._box = box
        self._transport_of = transport_of

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        drawn = self._box.draw(scope["path"]) if scope["type"] == "http" else None
        if drawn is None:
            await self._app(scope, receive, send)
            return
        fault, faults = drawn
        await asyncio.sleep(faults.latency_s)
        if fault.startswith("rate_"):
            await _status(fault, faults)(scope, receive, send)
            return
        transport = self._transport_of(scope["client"])
        if fault == "reset_before":
            _reset(transport)
            await _disconnected(receive)
            return
        spoiled = _SpoiledSend(send, fault, faults.drip_s, transport)
        await self._app(scope, receive, spoiled)
        if spoiled.over:
            await _disconnected(receive)


def _status(fault: str, faults: Faults) -> ASGIApp:
    status = int(fault.removeprefix("rate_"))
    answer = failure(status, f"Fault injection: this server answers {status} on purpose")
    answer.headers["Connection"] = "close"  # the body of the request was not read
    if status in {429, 503}:
        answer.headers["Retry-After"] = f"{faults.retry_after_s:g}"
    return answer


class _SpoiledSend:
    """A `send` that cuts the answer off, or lets it drip."""

    def __init__(self, send: Send, fault: str, drip_s: float, transport: asyncio.Transport) -> None:
        self._send = send
        self._fault = fault
        self._drip_s = drip_s
        self._transport = transport
        self._streams = False
        self.over = False

    async def __call__(self, message: Message) -> None:
        if self.over:
            return
        if message["type"] == "http.response.start":
            await self._started(message)
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        cuts = self._fault == ("truncated_stream" if self._streams else "truncated_body")
        if cuts and body:
            await self._send({**message, "body": body[: len(body) // 2], "more_body": True})
            self.over = True
            self._transport.close()
        elif self._drip_s and body:
            await self._drip(body, more=more)
        else:
            await self._send(message)

    async def _started(self, message: Message) -> None:
        if self._fault == "reset_after":
            self.over = True
            _reset(self._transport)
            return
        names = {name.lower() for name, _ in message.get("headers", ())}
        self._streams = b"content-length" not in names
        await self._send(message)

    async def _drip(self, body: bytes, *, more: bool) -> None:
        for start in range(0, len(body), _PIECE):
            await asyncio.sleep(self._drip_s)
            last = start + _PIECE >= len(body)
            piece = body[start : start + _PIECE]
            await self._send(
                {"type": "http.response.body", "body": piece, "more_body": more or not last}
            )


async def _disconnected(receive: Receive) -> None:
    """Wait until the connection is closed: uvicorn logs an error of answers that end before."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _reset(transport: asyncio.Transport) -> None:
    """Hang up with a reset, as a crashed server does."""
    sock: socket.socket | None = transport.get_extra_info("socket")
    with suppress(OSError):
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABRUPT)
    transport.abort()
