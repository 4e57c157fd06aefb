"""Serving of the routes: thread, connections, access control, limits, faults."""

from __future__ import annotations

import asyncio
import hmac
import os
import re
import socket
import struct
import threading
import time
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cache, partial
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response, Security
from fastapi.exceptions import RequestValidationError
from fastapi.security import APIKeyHeader
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from vellum_nb.errors import VellumNBError
from vellum_nb.local.deployments.registry import Registry
from vellum_nb.local.engine.events import RunContext
from vellum_nb.local.engine.executions import RETRY_AFTER, Executions, Limits
from vellum_nb.local.faults import FaultBox
from vellum_nb.local.ledger import Ledger
from vellum_nb.local.prompts import Models
from vellum_nb.local.refusals import Refused
from vellum_nb.local.routes import code, deployments, execute, executions, files
from vellum_nb.local.routes.common import JSON, State

_GRACE_S = 2  # to finish answers when the server stops
_STOP_TIMEOUT_S = 10.0
_KEEP_ALIVE_S = 7  # httpx, which Vellum's client uses, closes idle connections after 5
_UNREAD = 6  # times the time limit of a head: limit to send a body or read an answer
_HOST = re.compile(
    r"(127\.0\.0\.1|localhost|host\.docker\.internal)(:\d{1,5})?", re.ASCII | re.IGNORECASE
)
# Addresses of files contain a token, and workflow servers do not have the key.
_OPEN = ("/openapi.json", "/files/", "/vembda-public/")
_DRAINED = 8  # times the limit: bytes read and discarded before the answer is sent
_HELD = 16  # times the limit: bytes of unfinished bodies, of all clients together
_PIECE = 16
_ABRUPT = struct.pack("ii", 1, 0)  # SO_LINGER: close with a reset
_MOST_PROBLEMS = 5


class Serving:
    """Serves a registry from `start` to `stop`. After an interrupted `stop`, call it again."""

    def __init__(
        self,
        registry: Registry,
        ledger: Ledger,
        models: Models,
        faults: FaultBox,
        limits: Limits,
        *,
        port: int,
        api_key: str,
    ) -> None:
        ledger.hold()
        ledger.reject_running("The server ended while it ran")
        self._grace = limits.grace
        self._socket = _listen(port)
        self.port: int = self._socket.getsockname()[1]
        address: dict[str, Any] = {"url": f"http://127.0.0.1:{self.port}", "api_key": api_key}
        new_context = partial(RunContext, timeout=limits.timeout, usage=models.usage_of, **address)
        self.executions = Executions(ledger, limits, new_context)
        app = create_app(State(registry, self.executions, ledger, datetime.now(UTC), models))
        unread = _UNREAD * limits.request_timeout
        self._guard = Guard(app, api_key.encode(), limits.body_limit, unread)
        self._server = _Server(Faulty(self._guard, faults, limits.request_timeout))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._run()), name="vellum_nb-server", daemon=True
        )
        self._is_ending = False

    def start(self) -> None:
        """Start the thread and wait until it accepts requests."""
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                msg = "The local server did not start; the log of this process says why"
                raise VellumNBError(msg)
            time.sleep(0.001)

    @property
    def is_answering(self) -> bool:
        """Whether it was started and not stopped."""
        return self._server.started and self._thread.is_alive() and not self._is_ending

    def stop(self) -> None:
        """Wait briefly for runs, reject the others, close the connections, end the thread."""
        self._is_ending = True
        if self._loop is not None:
            with suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(lambda: asyncio.ensure_future(self._end()))
        if self._thread.ident is not None:
            self._thread.join(self._grace + _STOP_TIMEOUT_S)
        self._socket.close()

    async def _run(self) -> None:
        self._loop = asyncio.get_running_loop()
        if not self._is_ending:
            await self._server.serve(sockets=[self._socket])

    async def _end(self) -> None:
        self._guard.stop_reading()
        try:
            await self.executions.close("The local server was stopped")
        finally:
            self._server.should_exit = True
            self._server.ended.set()


class _Server(uvicorn.Server):
    """uvicorn that stops at once; its own undocumented `main_loop` polls every 0.1 s."""

    def __init__(self, app: Faulty) -> None:
        config = uvicorn.Config(
            app,
            loop="asyncio",
            http=_Connection,
            interface="asgi3",
            ws="none",
            lifespan="off",
            log_config=None,
            log_level="error",
            access_log=False,
            server_header=False,
            date_header=False,
            proxy_headers=False,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=_GRACE_S,
        )
        super().__init__(config)
        self.ended = asyncio.Event()

    async def main_loop(self) -> None:
        await self.ended.wait()
        await asyncio.sleep(0.02)  # to also close connections accepted at this moment

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Shut down, and abort connections that are open after the grace period."""
        await super().shutdown(sockets)
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        await asyncio.sleep(0)  # the transports close their sockets


def _listen(port: int) -> socket.socket:
    """Return a bound socket; the explicit protocol lets asyncio set TCP_NODELAY."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", port))
    except (OSError, OverflowError) as exc:
        sock.close()
        msg = f"Port {port} is not available ({exc}); port=0 chooses a free one"
        raise VellumNBError(msg) from exc
    return sock


class _Connection(H11Protocol):
    """Connection with a timeout for slow clients; a test checks its undocumented base class."""

    faulty: Faulty
    timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self.faulty, self.app = self.app, self.serve
        self.wait(self.faulty.timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        self.wait(None)
        super().connection_lost(exc)

    def wait(self, seconds: float | None) -> None:
        """Start the timer for the next request, or for the client to read the last answer."""
        if self.timer is not None:
            self.timer.cancel()
        if seconds is not None:
            if self.transport.get_write_buffer_size():
                seconds = _UNREAD * self.faulty.timeout
            self.timer = self.loop.call_later(seconds, self.transport.abort)

    async def serve(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""

        async def timed(message: Message) -> None:
            try:
                async with asyncio.timeout(_UNREAD * self.faulty.timeout):
                    await send(message)
            except TimeoutError:
                self.transport.abort()
            if message["type"] == "http.response.body" and not message.get("more_body", False):
                self.wait(max(_KEEP_ALIVE_S + 1, self.faulty.timeout))

        self.wait(None)
        await self.faulty({**scope, "transport": self.transport}, receive, timed)


# The application, and its middleware


def create_app(state: State) -> ASGIApp:
    """Return the application that serves `state`."""
    shared = _shared_app()

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        await shared({**scope, "state": {"served": state}}, receive, send)

    return app


@cache
def _shared_app() -> FastAPI:
    """Return the application of all servers of this process; building its routes takes long."""
    app = FastAPI(
        title="vellum_nb local server",
        version="2025-07-30",
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        strict_content_type=False,
        separate_input_output_schemas=False,  # unset fields are omitted in answers
        # Only for the OpenAPI document: the guard checks the key before it reads the body.
        dependencies=[Security(APIKeyHeader(name="X-API-KEY", auto_error=False))],
    )
    for room in (execute, deployments, code, executions, files):
        app.include_router(room.router)
    for kind in (Refused, HTTPException, RequestValidationError, Exception):
        app.add_exception_handler(kind, _failure)
    return app


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_shared_app.cache_clear)  # a thread may hold its lock


async def _failure(request: Request, exc: Exception) -> Response:
    """Convert an exception to a status, headers and a detail."""
    status = 500
    headers: dict[str, str] = {}
    detail = f"The local server failed: {type(exc).__name__}. Please report this."
    if isinstance(exc, Refused):
        status, detail, headers = exc.status_code, exc.detail, exc.headers
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
    """Access control and limits.

    Any web page can reach a port of this machine: a foreign ``Host`` or ``Origin`` is refused.
    """

    _app: ASGIApp
    _api_key: bytes
    _limit: int  # bytes of a body
    _timeout: float  # seconds for a body
    _held: int = 0
    _reading: set[asyncio.Timeout] = field(default_factory=set)

    def stop_reading(self) -> None:
        """Abort reading of bodies, to stop the server."""
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
            await _early_failure(exc)(scope, receive, send)
            return

        async def replayed() -> Message:
            """Return the body, then the next messages of the connection."""
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
        sent_key = headers.get(b"x-api-key", headers.get(b"x_api_key", b""))
        if scope["path"].startswith(_OPEN) or hmac.compare_digest(sent_key, self._api_key):
            return
        if not sent_key:
            raise Refused(403, "Authentication credentials were not provided.")
        raise Refused(403, "The API key is wrong; the server shows its own when it starts.")

    async def _body(self, receive: Receive) -> Message:
        """Return the whole body, or the message of a disconnect."""
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
                        msg = "Too many large bodies arrive at once; try again later"
                        raise Refused(429, msg, retry_after=RETRY_AFTER)
        except TimeoutError:
            raise Refused(408, f"The body did not arrive within {self._timeout:g} s") from None
        finally:
            self._reading.discard(limit)
            self._held -= sum(map(len, parts))
        if size > self._limit:
            raise Refused(413, f"The body has more than {self._limit:,} bytes")
        return {"type": "http.request", "body": b"".join(parts), "more_body": False}


@dataclass(eq=False)
class Faulty:
    """Middleware that injects faults.

    `timeout` is the time limit in seconds for the head of a request.
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
        spoiled = _FaultySend(send, fault, faults.drip_s, scope["transport"])
        await asyncio.sleep(faults.latency_s)
        if fault.startswith("rate_"):
            status = int(fault.removeprefix("rate_"))
            why = f"Fault injection: this server answers {status} on purpose"
            retry_after = faults.retry_after_s if status in {429, 503} else None
            refusal = Refused(status, why, retry_after=retry_after)
            await _early_failure(refusal)(scope, receive, send)
        elif fault == "reset_before":
            spoiled.reset()
        else:
            await self._app(scope, receive, spoiled)
        while spoiled.over and (await receive())["type"] != "http.disconnect":
            pass  # until the connection is closed: uvicorn logs an error of answers without an end


@dataclass(eq=False)
class _FaultySend:
    """ASGI `send` that cuts the response off, resets the connection, or sends it slowly."""

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
                more_follows = more or start + size < len(body)
                await self._send(
                    {**message, "body": body[start : start + size], "more_body": more_follows}
                )

    def reset(self) -> None:
        """Hang up with a reset, as a crashed server does."""
        self.over = True
        sock: socket.socket = self._transport.get_extra_info("socket")
        with suppress(OSError):
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _ABRUPT)
        self._transport.abort()


def _early_failure(exc: Refused) -> JSON:
    """Return a failure that is sent before the body was read."""
    return JSON({"detail": exc.detail}, exc.status_code, {"Connection": "close", **exc.headers})
