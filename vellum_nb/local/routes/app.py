"""The ASGI application: the routes, failures in one shape; before them access, limits, faults."""

from __future__ import annotations

import asyncio
import hmac
import re
import socket
import struct
from contextlib import suppress
from dataclasses import dataclass, field

from fastapi import FastAPI, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.security import APIKeyHeader
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from vellum_nb.local.faults import FaultBox
from vellum_nb.local.refusals import Refused
from vellum_nb.local.routes import code, deployments, execute, executions, files
from vellum_nb.local.routes.common import JSON, State

_HOST = re.compile(
    r"(127\.0\.0\.1|localhost|host\.docker\.internal)(:\d{1,5})?", re.ASCII | re.IGNORECASE
)
# Each address of a file has a token of its own, and a workflow server has no key to ask with.
_OPEN = ("/openapi.json", "/files/", "/vembda-public/")
_DRAINED = 8  # times the limit: read and discarded, so that the client receives the answer
_HELD = 16  # times the limit: bytes of unfinished bodies, of all clients together
_PIECE = 16
_ABRUPT = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset
_MOST_PROBLEMS = 5


def create_app(state: State) -> FastAPI:
    """Return the application that serves `state`."""
    app = FastAPI(
        title="vellum_nb local server",
        version="2025-07-30",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        strict_content_type=False,
        separate_input_output_schemas=False,  # answers leave out what is not set
        # The guard checks the key before anything is read; this is for the OpenAPI document.
        dependencies=[Security(APIKeyHeader(name="X-API-KEY", auto_error=False))],
    )
    app.state.served = state
    for room in (execute, deployments, code, executions, files):
        app.include_router(room.router)
    for kind in (Refused, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, _failure)
    return app


async def _failure(request: Request, exc: Exception) -> Response:
    """Return any failure as its status, its headers and a detail."""
    status = 500
    headers: dict[str, str] = {}
    detail = f"The local server failed: {type(exc).__name__}. Please report this."
    if isinstance(exc, Refused):
        status, detail = exc.status_code, exc.detail
        headers = {"Retry-After": str(exc.retry_after)} if exc.retry_after else {}
    elif isinstance(exc, HTTPException):
        where = f"{request.method} {request.url.path}"
        details = {404: f"There is no {where}", 405: f"{where} is not allowed"}
        status, headers = exc.status_code, dict(exc.headers or {})
        detail = details.get(status, str(exc.detail))
    elif isinstance(exc, RequestValidationError):
        errors = exc.errors()[:_MOST_PROBLEMS]
        status = 400
        detail = "; ".join(f"{_place(error['loc'])}: {error['msg']}" for error in errors)
    return JSON({"detail": detail}, status, headers)


def _place(loc: tuple[int | str, ...]) -> str:
    """Return the place of a problem, such as ``inputs[0].name``."""
    text = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in loc[1:])
    return text.removeprefix(".") or str(loc[0])


@dataclass(eq=False, repr=False)
class Guard:
    """Access control and limits: this machine's names only, no foreign page, the key.

    Any web page can reach a port of this machine: a foreign ``Host`` or ``Origin`` is refused.
    """

    _app: ASGIApp
    _api_key: bytes
    _limit: int  # bytes of a body
    _timeout: float  # seconds for a body
    _held: int = 0
    _reading: set[asyncio.Timeout] = field(default_factory=set)

    def stop_reading(self) -> None:
        """Give up the bodies that have not come: the server stops."""
        for limit in self._reading:
            limit.reschedule(0)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        if scope["type"] != "http":
            return
        try:
            self._check(scope)
            waiting = [await self._body(receive)]
        except Refused as exc:
            await _early_failure(exc.status_code, exc.detail)(scope, receive, send)
            return

        async def replayed() -> Message:
            """Return the body once, and then what the connection gives."""
            return waiting.pop() if waiting else await receive()

        if waiting[0]["type"] == "http.request":
            await self._app(scope, replayed, send)

    def _check(self, scope: Scope) -> None:
        headers: dict[bytes, bytes] = dict(reversed(scope["headers"]))
        if b"content-length" in headers and b"transfer-encoding" in headers:
            raise Refused(400, "A request has Content-Length or Transfer-Encoding, not both")
        host = headers.get(b"host", b"").decode("latin-1")
        if _HOST.fullmatch(host) is None:
            raise Refused(403, f"The host {host!r:.80} is not this machine")
        origin = headers.get(b"origin")
        if origin is not None and origin.decode("latin-1") != f"http://{host}":
            raise Refused(403, "Requests from other web pages are refused")
        given = headers.get(b"x-api-key", headers.get(b"x_api_key", b""))
        if scope["path"].startswith(_OPEN) or hmac.compare_digest(given, self._api_key):
            return
        if not given:
            raise Refused(403, "Authentication credentials were not provided.")
        raise Refused(403, "The API key is wrong; the server shows its own when it starts.")

    async def _body(self, receive: Receive) -> Message:
        """Return the whole body, or that the client hung up."""
        parts: list[bytes] = []
        size, more = 0, True
        limit = asyncio.timeout(self._timeout)
        self._reading.add(limit)
        try:
            async with limit:
                while more and size <= self._limit * _DRAINED:
                    message = await receive()
                    if message["type"] == "http.disconnect":
                        return message
                    part, more = message.get("body", b""), message.get("more_body", False)
                    size += len(part)
                    if size <= self._limit:
                        parts.append(part)
                        self._held += len(part)
                    if self._held > self._limit * _HELD:
                        raise Refused(503, "Too many large bodies come at once; try again later")
        except TimeoutError:
            raise Refused(408, f"The body did not come within {self._timeout:g} s") from None
        finally:
            self._reading.discard(limit)
            self._held -= sum(map(len, parts))
        if size > self._limit:
            raise Refused(413, f"The body has more than {self._limit:,} bytes")
        return {"type": "http.request", "body": b"".join(parts), "more_body": False}


@dataclass(eq=False)
class Faulty:
    """An application some of whose answers are spoiled on purpose.

    `timeout`: seconds in which the whole head of a request must have come.
    """

    _app: ASGIApp
    _box: FaultBox
    timeout: float

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request; its scope has the `transport` of its connection."""
        drawn = self._box.draw(scope["path"]) if scope["type"] == "http" else None
        if drawn is None:
            await self._app(scope, receive, send)
            return
        fault, faults = drawn
        spoiled = _SpoiledSend(send, fault, faults.drip_s, scope["transport"])
        await asyncio.sleep(faults.latency_s)
        if fault.startswith("rate_"):
            status = int(fault.removeprefix("rate_"))
            answer = _early_failure(
                status, f"Fault injection: this server answers {status} on purpose"
            )
            if status in {429, 503}:
                answer.headers["Retry-After"] = f"{faults.retry_after_s:g}"
            await answer(scope, receive, send)
        elif fault == "reset_before":
            spoiled.reset()
        else:
            await self._app(scope, receive, spoiled)
        while spoiled.over and (await receive())["type"] != "http.disconnect":
            pass  # until the connection is closed: uvicorn logs an error of answers without an end


@dataclass(eq=False)
class _SpoiledSend:
    """A `send` that cuts the answer off, or lets it drip."""

    _send: Send
    _fault: str
    _drip_s: float
    _transport: asyncio.Transport
    _cuts: bool = False
    over: bool = False

    async def __call__(self, message: Message) -> None:
        body, more = message.get("body", b""), message.get("more_body", False)
        if self.over:
            return
        if message["type"] == "http.response.start":
            streams = b"content-length" not in dict(message.get("headers", ()))
            self._cuts = self._fault == ("truncated_stream" if streams else "truncated_body")
            if self._fault == "reset_after":
                self.reset()
            else:
                await self._send(message)
        elif self._cuts and body:
            await self._send({**message, "body": body[: len(body) // 2], "more_body": True})
            self.over = True
            self._transport.close()
        else:
            size = _PIECE if self._drip_s else max(1, len(body))
            for start in range(0, len(body) or 1, size):
                await asyncio.sleep(self._drip_s)
                rest = more or start + size < len(body)
                await self._send({**message, "body": body[start : start + size], "more_body": rest})

    def reset(self) -> None:
        """Hang up with a reset, as a crashed server does."""
        self.over = True
        sock: socket.socket = self._transport.get_extra_info("socket")
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABRUPT)
        self._transport.abort()


def _early_failure(status_code: int, detail: str) -> JSON:
    """Return a failure that is sent before the body was read."""
    return JSON({"detail": detail}, status_code, {"Connection": "close"})
