"""The thread that serves: its socket, its event loop, its end."""

from __future__ import annotations

import asyncio
import socket
import threading
from contextlib import suppress
from datetime import UTC, datetime

import uvicorn

from vellum_nb.errors import VellumNBError
from vellum_nb.local.deployments.registry import Registry
from vellum_nb.local.engine.executions import Executions, Limits
from vellum_nb.local.faults import FaultBox
from vellum_nb.local.ledger.ledger import Ledger
from vellum_nb.local.prompts import Models
from vellum_nb.local.routes.app import create_app
from vellum_nb.local.routes.fault_injection import FaultInjection
from vellum_nb.local.routes.state import State

__all__ = ["Serving"]

_GRACE = 2  # seconds for answers that are on their way when the server stops
_STOP = 10.0


class Serving:
    """Serves a registry from `start` to `stop`; what was interrupted is ended by another `stop`."""

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
            usage=models.usage.of,
        )
        state = State(registry, executions, ledger, datetime.now(UTC), models)
        try:
            app = create_app(state, api_key=api_key, body_limit=body_limit)
        except BaseException:
            self._socket.close()
            raise
        self._server = _Server(_config(FaultInjection(app, faults)))
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
        """Whether it was started, and not told to stop."""
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


class _Server(uvicorn.Server):
    """uvicorn, telling when it listens, and ending when it is told to."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.ready = threading.Event()
        self._told = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        self._loop = asyncio.get_running_loop()
        self.ready.set()

    async def main_loop(self) -> None:
        """Serve until `finish`; uvicorn would look ten times a second whether it is time."""
        while not await self.on_tick(0):  # 0 has it renew the Date of its answers
            with suppress(TimeoutError):
                await asyncio.wait_for(self._told.wait(), 1.0)

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
        try:
            await executions.close("The local server was stopped", grace=grace)
        finally:
            self.should_exit = True
            self._told.set()


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


def _config(app: object) -> uvicorn.Config:
    return uvicorn.Config(
        app,  # type: ignore[arg-type]  # uvicorn's name for an ASGI application is narrower
        loop="asyncio",
        http="h11",
        ws="none",
        lifespan="off",
        log_config=None,
        log_level="error",
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE,
    )
