"""The connection of a run's nodes to the local server, instead of Vellum's cloud."""

from __future__ import annotations

import functools
import socket
import ssl
import threading
from contextlib import suppress
from functools import cached_property
from typing import TYPE_CHECKING, Any
from uuid import UUID

import httpx
from vellum import Vellum
from vellum.client.environment import VellumEnvironment
from vellum.workflows.context import ExecutionContext
from vellum.workflows.events.types import WorkflowDeploymentParentContext
from vellum.workflows.state.context import WorkflowContext

if TYPE_CHECKING:
    from vellum_nb.local.engine.events import RunContext

_NOWHERE = "http://127.0.0.1:9"  # a run without a server must not end up in the cloud
_LAST_READS_S = 5.0  # they end at once, as their sockets are shut


class LocalContext(WorkflowContext):
    """Context of the nodes of one run, whose Vellum client calls the local server.

    The client is made when a node asks for it. Call `cut` to end what it waits for, `close` at the
    end of the run.
    """

    def __init__(self, context: RunContext) -> None:
        parent: Any = None
        if context.parent is not None:
            fields = {"external_id": None, "metadata": None, **context.parent}
            parent = WorkflowDeploymentParentContext.model_validate(fields)
        spans = ExecutionContext(trace_id=UUID(context.trace_id), parent_context=parent)
        super().__init__(execution_context=spans)
        self._run = context
        self._lock = threading.Condition()
        self._http: httpx.Client | None = None
        self._sockets: list[socket.socket] = []
        self._busy = 0
        self._is_cut = False

    @cached_property
    def vellum_client(self) -> Vellum:
        """The client that nodes use."""
        url = self._run.url or _NOWHERE
        hooks: Any = {"request": [lambda request: request.extensions.update(trace=self._traced)]}
        self._http = httpx.Client(
            timeout=self._run.timeout, trust_env=False, verify=_tls(), event_hooks=hooks
        )
        return Vellum(
            api_key=self._run.api_key,
            environment=VellumEnvironment(default=url, predict=url, documents=url),
            httpx_client=self._http,
        )

    def cut(self) -> None:
        """End every request that a node waits for, or begins; from any thread."""
        with self._lock:
            self._is_cut = True
            for connected in self._sockets:
                _shut(connected)

    def close(self) -> None:
        """Close the connections.

        A number of a socket that is closed while another thread waits for it is given to the next
        one: that thread would wait on, and hold the connection open.
        """
        with self._lock:
            self._lock.wait_for(lambda: not self._busy, _LAST_READS_S if self._is_cut else 0)
        if self._http is not None:
            self._http.close()

    def _traced(self, event: str, info: dict[str, Any]) -> None:
        """Count who is at work on a request, and note its socket, so that it can be cut."""
        with self._lock:
            self._busy += 1 if event.endswith(".started") else -1
            self._lock.notify_all()
            if event == "connection.connect_tcp.complete":
                connected: socket.socket = info["return_value"].get_extra_info("socket")
                self._sockets.append(connected)
                if self._is_cut:
                    _shut(connected)


def _shut(connected: socket.socket) -> None:
    with suppress(OSError):
        connected.shutdown(socket.SHUT_RDWR)


@functools.cache
def _tls() -> ssl.SSLContext:
    """Return one context for all: each new one would read the certificates of the system."""
    return ssl.create_default_context()
