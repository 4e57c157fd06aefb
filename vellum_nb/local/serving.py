"""The thread that serves: its socket, its connections with their time limits, its end."""

from __future__ import annotations

import asyncio
import functools
import socket
import threading
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import uvicorn
from uvicorn.protocols.http.h11_impl import H11Protocol

from vellum_nb.errors import VellumNBError
from vellum_nb.local.deployments.registry import Registry
from vellum_nb.local.engine.executions import Executions, Limits
from vellum_nb.local.faults import FaultBox
from vellum_nb.local.ledger.ledger import Ledger
from vellum_nb.local.prompts.models import Models
from vellum_nb.local.routes.app import create_app
from vellum_nb.local.routes.common import State
from vellum_nb.local.routes.middleware import FaultInjection

_GRACE = 2  # seconds for answers that are on their way when the server stops
_STOP = 10.0
_UNREAD = 6  # times the time limit of a request: how long an answer may wait for its reader


class Serving:
    """Serves a registry from `start` to `stop`; another `stop` ends what was interrupted."""

    def __init__(
        self,
        registry: Registry,
        ledger: Ledger,
        *,
        port: int,
        api_key: str,
        limits: Limits,
        grace: float,
        body_limit: int,
        request_timeout: float,
        models: Models,
        faults: FaultBox,
    ) -> None:
        ledger.hold()
        ledger.reject_running("The server ended while it ran")
        self._grace = grace
        self._socket = _listen(port)
        self.port: int = self._socket.getsockname()[1]
        self._executions = executions = Executions(
            ledger,
            registry,
            limits,
            url=f"http://127.0.0.1:{self.port}",
            api_key=api_key,
            usage=models.usage_of,
        )
        state = State(registry, executions, ledger, datetime.now(UTC), models)
        transports: _Transports = {}
        try:
            app = create_app(
                state, api_key=api_key, body_limit=body_limit, timeout=_UNREAD * request_timeout
            )
        except BaseException:
            self._socket.close()
            raise
        connection = functools.partial(_Connection, transports=transports, timeout=request_timeout)
        faulty = FaultInjection(app, faults, transports.__getitem__)
        self._server = _Server(_config(faulty, connection), app.stop_reading)
        self._thread = threading.Thread(target=self._serve, name="vellum_nb-server", daemon=True)
        self._is_begun = self._is_ending = False

    def start(self) -> None:
        """Begin; it answers when this returns."""
        self._is_begun = True
        self._thread.start()
        self._server.ready.wait()
        if not self._server.started:
            self._thread.join()
            msg = "The local server did not start; the log of this process says why"
            raise VellumNBError(msg)

    @property
    def is_answering(self) -> bool:
        """Whether it was started, and not stopped."""
        return self._server.started and self._thread.is_alive() and not self._is_ending

    def stop(self) -> None:
        """Let end what soon ends, reject the rest, close all connections, end the thread."""
        self._is_ending = True
        self._server.finish(self._executions, self._grace)
        if self._thread.ident is not None:
            self._thread.join(self._grace + _STOP)
        if not self._is_begun:  # else the thread does
            self._socket.close()
        self._executions.join(1.0)

    def _serve(self) -> None:
        try:
            self._server.run(sockets=[self._socket])
        finally:
            self._socket.close()
            self._server.ready.set()


_Transports = dict[tuple[str, int], asyncio.Transport]


class _Connection(H11Protocol):
    """A connection that is closed when its request's head or its reader does not come.

    Overrides asyncio's protocol methods only; `cycle`, uvicorn's request that is being answered,
    is not documented: `tests/local/test_limits.py` fails when it changes.

    Parameters
    ----------
    transports : dict
        All connections by the client's address, kept up to date here.
    timeout : float
        Seconds in which the whole head of a request must have come. An answer may wait six times
        as long for a client that does not read it.
    """

    def __init__(self, *args: Any, transports: _Transports, timeout: float, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._transports = transports
        self._timeout = timeout
        self._head: asyncio.TimerHandle | None = None
        self._unread: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._peer = transport.get_extra_info("peername")
        self._transports[self._peer] = transport
        self._watch_head()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._watch_head()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._unread is None:
            self._unread = self.loop.call_later(_UNREAD * self._timeout, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._unread is not None:
            self._unread.cancel()
            self._unread = None

    def connection_lost(self, exc: Exception | None) -> None:
        self._transports.pop(self._peer, None)
        for timer in (self._head, self._unread):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def _watch_head(self) -> None:
        cycle: Any = self.cycle  # None before the first request
        if cycle is None or cycle.response_complete:
            if self._head is None:
                self._head = self.loop.call_later(self._timeout, self.transport.abort)
        elif self._head is not None:
            self._head.cancel()
            self._head = None


class _Server(uvicorn.Server):
    """uvicorn with an event for when it listens, and an end that waits for the engine's."""

    def __init__(self, config: uvicorn.Config, on_stop: Callable[[], None]) -> None:
        super().__init__(config)
        self._on_stop = on_stop
        self.ready = threading.Event()
        self._stopped = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._loop = asyncio.get_running_loop()
        self.ready.set()

    async def main_loop(self) -> None:
        """Serve until `finish`; uvicorn would look ten times a second whether it is time."""
        while not await self.on_tick(0):  # 0 has it renew the Date of its answers
            with suppress(TimeoutError):
                await asyncio.wait_for(self._stopped.wait(), 1.0)

    def finish(self, executions: Executions, grace: float) -> None:
        """Stop serving, from another thread."""
        if self._loop is None:
            self.should_exit = True
            return
        with suppress(RuntimeError):  # it has ended
            self._loop.call_soon_threadsafe(self._begin_to_end, executions, grace)

    def _begin_to_end(self, executions: Executions, grace: float) -> None:
        self._ending = asyncio.ensure_future(self._end(executions, grace))

    async def _end(self, executions: Executions, grace: float) -> None:
        self._on_stop()
        try:
            await executions.close("The local server was stopped", grace=grace)
        finally:
            self.should_exit = True
            self._stopped.set()


def _listen(port: int) -> socket.socket:
    """Return a listening socket; naming the protocol lets asyncio set TCP_NODELAY."""
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(("127.0.0.1", port))
    except (OSError, OverflowError) as exc:
        sock.close()
        msg = f"Port {port} of this machine cannot be had ({exc}); port=0 takes a free one"
        raise VellumNBError(msg) from exc
    return sock


def _config(app: object, connection: object) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]  # uvicorn's name for an ASGI application is narrower
        loop="asyncio",
        http=connection,  # type: ignore[arg-type]  # uvicorn calls it
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE,
    )
