"""The layer of the server that makes the faults, outside of everything else."""

from __future__ import annotations

import asyncio
import socket
import struct
from contextlib import suppress
from typing import Any

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vellum_nb.local.faults import Fault, FaultBox
from vellum_nb.local.routes.replies import failure

__all__ = ["FaultInjection"]

_PIECE = 16
_ABRUPT = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset


class FaultInjection:
    """Lets requests through to `app`, and spoils those that the box says."""

    def __init__(self, app: ASGIApp, box: FaultBox) -> None:
        self._app = app
        self._box = box

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        fault = self._box.draw(scope["path"]) if scope["type"] == "http" else None
        if fault is None:
            await self._app(scope, receive, send)
            return
        await asyncio.sleep(fault.faults.latency_s)
        if fault.name.startswith("rate_"):
            await _status(fault)(scope, receive, send)
        elif fault.name == "reset_before":
            _reset(send)
            await _gone(receive)
        else:
            spoiled = _Spoiled(send, fault)
            await self._app(scope, receive, spoiled)
            if spoiled.over:
                await _gone(receive)


def _status(fault: Fault) -> ASGIApp:
    status = int(fault.name.removeprefix("rate_"))
    answer = failure(status, f"Fault injection: this server answers {status} on purpose")
    answer.headers["Connection"] = "close"  # the body of the request was not read
    if status in {429, 503}:
        answer.headers["Retry-After"] = f"{fault.faults.retry_after_s:g}"
    return answer


class _Spoiled:
    """A `send` that cuts the answer off, or lets it drip."""

    def __init__(self, send: Send, fault: Fault) -> None:
        self._send = send
        self._fault = fault
        self._streams = False
        self.over = False

    async def __call__(self, message: Message) -> None:
        if self.over:
            return
        if message["type"] == "http.response.start":
            await self._started(message)
            return
        body, more = message.get("body", b""), message.get("more_body", False)
        if self._cuts and body:
            await self._send({**message, "body": body[: len(body) // 2], "more_body": True})
            self._end(_close)
        elif self._fault.faults.drip_s and body:
            await self._drip(body, more=more)
        else:
            await self._send(message)

    @property
    def _cuts(self) -> bool:
        return self._fault.name == ("truncated_stream" if self._streams else "truncated_body")

    async def _started(self, message: Message) -> None:
        if self._fault.name == "reset_after":
            self._end(_reset)
            return
        names = {name.lower() for name, _ in message.get("headers", ())}
        self._streams = b"content-length" not in names
        await self._send(message)

    async def _drip(self, body: bytes, *, more: bool) -> None:
        for start in range(0, len(body), _PIECE):
            await asyncio.sleep(self._fault.faults.drip_s)
            last = start + _PIECE >= len(body)
            piece = body[start : start + _PIECE]
            await self._send(
                {"type": "http.response.body", "body": piece, "more_body": more or not last}
            )

    def _end(self, how: Any) -> None:
        self.over = True
        how(self._send)


async def _gone(receive: Receive) -> None:
    """Wait until the connection is closed: uvicorn complains of answers that end before."""
    while (await receive())["type"] != "http.disconnect":
        pass


def _transport(send: Send) -> asyncio.Transport:
    """Return the connection behind uvicorn's `send`, for which ASGI has no word."""
    transport: asyncio.Transport = send.__self__.transport  # type: ignore[attr-defined]
    return transport


def _close(send: Send) -> None:
    """Send what was written, then hang up."""
    _transport(send).close()


def _reset(send: Send) -> None:
    """Hang up with a reset, as a crashed server does."""
    transport = _transport(send)
    sock: socket.socket | None = transport.get_extra_info("socket")
    with suppress(OSError):
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABRUPT)
    transport.abort()
