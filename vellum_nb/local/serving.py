"""The thread that serves: its socket, its connections, its end."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any

import uvicorn
from starlette.types import Message, Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol

from vellum_nb.errors import VellumNBError
from vellum_nb.local.deployments.registry import Registry
from vellum_nb.local.engine.events import RunContext
from vellum_nb.local.engine.executions import Executions, Limits
from vellum_nb.local.faults import FaultBox
from vellum_nb.local.ledger import Ledger
from vellum_nb.local.prompts import Models
from vellum_nb.local.routes.app import Faulty, Guard, create_app
from vellum_nb.local.routes.common import State

_GRACE = 2  # seconds for answers that are on their way when the server stops
_STOP = 10.0
_KEPT_ALIVE = 7  # seconds: clients that use httpx, as Vellum's, open a new connection after 5
_UNREAD = 6  # times the time limit of a head: how long a body, or an answer's reader, may take


class Serving:
    """Serves a registry from `start` to `stop`; another `stop` ends what was interrupted."""

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
        own: dict[str, Any] = {"url": f"http://127.0.0.1:{self.port}", "api_key": api_key}
        new_context = partial(RunContext, timeout=limits.timeout, usage=models.usage_of, **own)
        self.executions = executions = Executions(ledger, limits, new_context)
        app = create_app(State(registry, executions, ledger, datetime.now(UTC), models))
        unread = _UNREAD * limits.request_timeout
        self._guard = Guard(app, api_key.encode(), limits.body_limit, unread)
        self._server = _Server(Faulty(self._guard, faults, limits.request_timeout))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread = threading.Thread(
            target=lambda: asyncio.run(self._run()), name="vellum_nb-server", daemon=True
        )
        self._is_ending = False

    def start(self) -> None:
        """Begin; it answers when this returns."""
        self._thread.start()
        while not self._server.started:
            if not self._thread.is_alive():
                msg = "The local server did not start; the log of this process says why"
                raise VellumNBError(msg)
            time.sleep(0.001)

    @property
    def is_answering(self) -> bool:
        """Whether it was started, and not stopped."""
        return self._server.started and self._thread.is_alive() and not self._is_ending

    def stop(self) -> None:
        """Let end what soon ends, reject the rest, close all connections, end the thread."""
        self._is_ending = True
        if self._loop is not None:
            with suppress(RuntimeError):  # it has ended
                self._loop.call_soon_threadsafe(lambda: asyncio.ensure_future(self._end()))
        if self._thread.ident is not None:
            self._thread.join(self._grace + _STOP)
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
    """uvicorn that ends at once: its undocumented `main_loop` looks for it every 0.1 s only."""

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
            timeout_keep_alive=_KEPT_ALIVE,
            timeout_graceful_shutdown=_GRACE,
        )
        super().__init__(config)
        self.ended = asyncio.Event()

    async def main_loop(self) -> None:
        await self.ended.wait()
        await asyncio.sleep(0.02)  # for connections that are just accepted: they are closed, too


def _listen(port: int) -> socket.socket:
    """Return a listening socket; naming the protocol lets asyncio set TCP_NODELAY."""
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
    """A connection that is closed when it waits too long for its client.

    The class is not documented: `tests/local/test_limits.py` fails when it changes.
    """

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
        """Wait for a request, and until then for the last answer to be read."""
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
                self.wait(max(_KEPT_ALIVE + 1, self.faulty.timeout))

        self.wait(None)
        await self.faulty({**scope, "transport": self.transport}, receive, timed)
