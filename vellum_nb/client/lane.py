"""Many requests at once from one thread, over connections that wait together in one selector.

A thread for each request is simpler, and good for some dozens: beyond, the threads spend their time
waiting for Python's lock. Nothing is judged here, followed or sent twice: an answer is handed back
as it came, a failure with whether anything was sent. Connections are opened by threads, with the
same addresses, certificates and timeouts as all others.
"""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import suppress
from typing import NamedTuple

from urllib3.connection import HTTPConnection

from vellum_nb.client.exchange import Answer, Failure, Request, cancelled, failed
from vellum_nb.client.reply_parser import MisreadError
from vellum_nb.client.transport import Call
from vellum_nb.client.wires import Flight, Wire
from vellum_nb.models import Cancellation

__all__ = ["Landed", "Lane"]

_READ, _BOTH = selectors.EVENT_READ, selectors.EVENT_READ | selectors.EVENT_WRITE
_TOGETHER = 8
"""How many are handed back at once, or a quarter of what has come where that is more. What is taken
together goes on together, and comes back together: all at once would leave the server idle while
they are worked on."""


class Landed(NamedTuple):
    """What came of a request, and the seconds that it took."""

    key: str
    request: Request
    result: Answer | Failure
    seconds: float


class Lane:
    """Sends requests, and hands back what came of them. All from one thread, but `wake`.

    Parameters
    ----------
    head : callable
        Returns the first lines of a request, up to its body.
    connect : callable
        Returns an open connection for a URL.
    read : float or None
        Seconds to wait for data.
    crew : Executor
        Where connections are opened.
    cancel : Cancellation
        Ends all that is under way.

    Attributes
    ----------
    misread : bool
        Whether there was an answer that could not be read here; a call may be less strict.
    """

    def __init__(
        self,
        head: Callable[[Request], bytes],
        connect: Callable[[str], HTTPConnection],
        *,
        read: float | None,
        crew: Executor,
        cancel: Cancellation,
    ) -> None:
        self._head, self._connect = head, connect
        self._read, self._crew, self._cancel = read, crew, cancel
        self._flights: dict[str, Flight] = {}
        self._idle: list[Wire] = []
        self._ready: deque[Wire] = deque()
        self._landed: list[Landed] = []
        self._opened: deque[tuple[Flight, HTTPConnection | Failure]] = deque()
        self._lock = threading.Lock()
        self._closed = self._rung = self.misread = False
        self._now = self._next_look = time.perf_counter()
        self._selector = selectors.DefaultSelector()
        self._bell, self._button = socket.socketpair()
        self._bell.settimeout(0)
        self._selector.register(self._bell, _READ)

    def send(self, key: str, request: Request) -> None:
        """Send `request` over an idle connection, or as soon as there is a new one."""
        flight = Flight(key, request, self._head(request) + (request.data or b""))
        self._flights[key] = flight
        while self._idle:
            wire = self._idle.pop()
            if wire.connection.is_connected:
                self._carry(wire, flight)
                return
            self._close(wire)
        self._crew.submit(self._open, flight)

    def wait(self, timeout: float) -> list[Landed]:
        """Wait for something to end, or for `wake`; return the first few that ended."""
        self._take_opened()
        if not self._ready:
            self._select(0.0 if self._landed else self._patience(timeout))
        few = max(_TOGETHER, len(self._ready) // 4)
        while self._ready and len(self._landed) < few:
            self._hear(self._ready.popleft())
        if self._cancel.cancelled:
            self._cut()
        elif not self._ready and self._read is not None and self._now >= self._next_look:
            self._time_out(self._read)
        landed, self._landed = self._landed, []
        return landed

    def wake(self) -> None:
        """End a `wait`, from any thread."""
        with self._lock:
            if not self._rung and not self._closed:
                self._button.send(b"!")
                self._rung = True  # last: an interrupt between the two does no harm

    def close(self) -> None:
        """Close all connections; does nothing the second time."""
        with self._lock:
            if self._closed:
                return
            self._closed = True
        for _, found in self._opened:
            if not isinstance(found, Failure):
                found.close()
        for key in list(self._selector.get_map().values()):
            if isinstance(key.data, Wire):
                self._close(key.data)
        self._selector.close()
        self._bell.close()
        self._button.close()

    def _open(self, flight: Flight) -> None:
        """Open a connection for `flight`; in a thread of the crew."""
        call, found = Call(), None
        try:
            with self._cancel.calling(call.cut), call:
                found = self._connect(flight.request.url)
        except Exception as exc:  # noqa: BLE001  (it is told as what became of the request)
            told: HTTPConnection | Failure = failed(
                flight.request, exc, sent=False, read=self._read
            )
        else:
            told = found
        with self._lock:
            if not self._closed:
                self._opened.append((flight, told))
                found = None
        if found is not None:
            found.close()
        self.wake()

    def _take_opened(self) -> None:
        while self._opened:
            flight, found = self._opened.popleft()
            if self._cancel.cancelled:
                self._land(flight, cancelled(flight.request, sent=False))
                if not isinstance(found, Failure):
                    found.close()
            elif isinstance(found, Failure):
                self._land(flight, found)
            else:
                found.sock.settimeout(0)
                wire = Wire(found)
                self._selector.register(wire.sock, _READ, wire)
                self._carry(wire, flight)

    def _patience(self, timeout: float) -> float:
        if self._read is None or not self._flights:
            return timeout
        return min(timeout, max(0.0, self._next_look - time.perf_counter()))

    def _select(self, timeout: float) -> None:
        for key, _ in self._selector.select(timeout):
            if key.data is not None:
                self._ready.append(key.data)
                continue
            with self._lock:
                self._rung = False
                self._bell.recv(64)
        self._now = time.perf_counter()

    def _carry(self, wire: Wire, flight: Flight) -> None:
        wire.flight, flight.wire = flight, wire
        flight.heard = time.perf_counter()
        wire.parser.renew()
        try:
            wire.write()
        except OSError as exc:
            self._fail(flight, exc)
        else:
            self._watch(wire, flight)

    def _watch(self, wire: Wire, flight: Flight) -> None:
        """Be told when `wire` can take the rest of a request, as long as there is one."""
        if bool(flight.left) != wire.is_writing:
            wire.is_writing = bool(flight.left)
            self._selector.modify(wire.sock, _BOTH if wire.is_writing else _READ, wire)

    def _hear(self, wire: Wire) -> None:
        """Take what came over `wire`, which is closed when nobody asked for it."""
        flight = wire.flight
        if flight is None:
            self._close(wire)
            return
        flight.heard = self._now
        try:
            ended = wire.go_on()
        except OSError as exc:
            self._fail(flight, exc)
            return
        self._watch(wire, flight)
        if ended:
            self._answer(wire, flight)

    def _answer(self, wire: Wire, flight: Flight) -> None:
        try:
            answer: Answer | Failure = wire.parser.answer()
        except Exception as exc:  # noqa: BLE001  (a body that cannot be decoded, in any way)
            answer = failed(flight.request, exc, sent=True, read=self._read)
        if wire.parser.keeps_alive and not flight.left:
            self._idle.append(wire)
            wire.flight = None
        else:
            self._close(wire)
        self._land(flight, answer)

    def _fail(self, flight: Flight, exc: Exception) -> None:
        self.misread = self.misread or isinstance(exc, MisreadError)
        if flight.wire is not None:
            self._close(flight.wire)
        self._land(flight, failed(flight.request, exc, sent=True, read=self._read))

    def _land(self, flight: Flight, result: Answer | Failure) -> None:
        del self._flights[flight.key]
        seconds = max(self._now, flight.heard) - flight.began
        self._landed.append(Landed(flight.key, flight.request, result, seconds))

    def _time_out(self, read: float) -> None:
        """End what has heard nothing for too long. Called when all that came has been read."""
        sent = [each for each in self._flights.values() if each.wire is not None]
        for flight in sent:
            if self._now - flight.heard >= read:
                self._fail(flight, TimeoutError("nothing came"))
        self._next_look = min((each.heard for each in sent), default=self._now) + read
        self._next_look = max(self._next_look, self._now + 0.01)

    def _cut(self) -> None:
        for flight in list(self._flights.values()):
            if flight.wire is not None:  # the others are cut in the threads that open for them
                self._close(flight.wire)
                self._land(flight, cancelled(flight.request, sent=True))

    def _close(self, wire: Wire) -> None:
        if not wire.closed:
            wire.closed, wire.flight = True, None
            with suppress(ValueError):
                self._idle.remove(wire)
            self._selector.unregister(wire.sock)
            wire.connection.close()
