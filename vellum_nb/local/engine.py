"""Runs code: each run in a thread of its own, so many at once, in turn, each with a time limit."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable

from vellum_nb.local.code import Execution
from vellum_nb.local.live import Live
from vellum_nb.local.records import Record
from vellum_nb.local.refusals import Refused

__all__ = ["Engine", "Flight"]

_RETRY_AFTER = 1


class Engine:
    """Lets flights go: `concurrency` at once, `queue` more wait for their turn.

    It is used on one event loop; only `join` may be called from other threads.

    Parameters
    ----------
    timeout : float or None
        Seconds after which a run is rejected with ``WORKFLOW_TIMEOUT``; None is never. The thread
        of a plain callable goes on to its end, as Python cannot stop it.
    concurrency, queue : int
        How many go at once, and how many more are let in.
    """

    def __init__(self, *, timeout: float | None, concurrency: int = 64, queue: int = 256) -> None:
        self.timeout = timeout
        self._concurrency = concurrency
        self._most = concurrency + queue
        self._flights: set[Flight] = set()
        self._line: deque[Flight] = deque()
        self._closed = False
        self._threads: set[threading.Thread] = set()

    def check(self) -> bool:
        """Return whether a flight that came now could go at once.

        Raises
        ------
        VellumNBError
            When the server is stopping, or the queue is full.
        """
        if self._closed:
            raise Refused(503, "The local server is stopping")
        if len(self._flights) >= self._most:
            msg = f"{self._most} executions run or wait already; try again later"
            raise Refused(429, msg, retry_after=_RETRY_AFTER)
        return len(self._flights) < self._concurrency

    async def launch(self, flight: Flight) -> None:
        """Let a flight go when its turn comes; return when it is on board.

        Raises
        ------
        VellumNBError
            What the flight's `board` raised; nothing runs then.
        """
        at_once = self.check()
        self._flights.add(flight)
        flight.live.done.add_done_callback(lambda _: self._landed(flight))
        if at_once:
            self._let(flight)
        else:
            self._line.append(flight)
        thread = threading.Thread(
            target=self._fly, args=(flight,), name="vellum_nb-run", daemon=True
        )
        self._threads.add(thread)
        thread.start()
        try:
            await asyncio.shield(flight.boarded)
        except BaseException:
            self._landed(flight)
            raise

    async def close(self, message: str, *, grace: float) -> None:
        """Let runs end within `grace` seconds, and reject the others."""
        self._closed = True
        waiting = {flight.live.done for flight in self._flights}
        if waiting:
            await asyncio.wait(waiting, timeout=grace)
        for flight in list(self._flights):
            if not flight.live.reject("WORKFLOW_CANCELLED", message):
                flight.refuse(Refused(503, "The local server is stopping"))

    def join(self, seconds: float) -> None:
        """Wait at most `seconds` in all for the threads of runs."""
        until = time.monotonic() + seconds
        for thread in self._threads - {threading.current_thread()}:
            thread.join(max(0.0, until - time.monotonic()))

    def _let(self, flight: Flight) -> None:
        flight.go(self.timeout)

    def _landed(self, flight: Flight) -> None:
        if flight not in self._flights:
            return
        self._flights.discard(flight)
        flight.land()
        if flight in self._line:
            self._line.remove(flight)
        elif self._line:
            self._let(self._line.popleft())

    def _fly(self, flight: Flight) -> None:
        try:
            flight.run()
        finally:
            self._threads.discard(threading.current_thread())


class Flight:
    """One run on its way, in a thread of its own.

    Parameters
    ----------
    live : Live
        Where it tells what happens.
    board : callable
        Called in the thread at once: checks all that can be refused, and returns the run.
    update : callable
        Called when a run that had to wait begins.
    """

    def __init__(
        self, live: Live, *, board: Callable[[], Execution], update: Callable[[Record], None]
    ) -> None:
        self.live = live
        self._loop = asyncio.get_running_loop()
        self.boarded: asyncio.Future[None] = self._loop.create_future()
        self._board = board
        self._update = update
        self._turn = threading.Event()
        self._execution: Execution | None = None
        self._stopped = False
        self._limit: float | None = None
        self._clock: asyncio.TimerHandle | None = None
        live.stop = self.stop

    def go(self, limit: float | None) -> None:
        """Let it run, for at most `limit` seconds."""
        self._limit = limit
        self._turn.set()
        if self.boarded.done():
            self._start_clock()

    def land(self) -> None:
        """Stop its clock."""
        if self._clock is not None:
            self._clock.cancel()

    def refuse(self, why: BaseException | None) -> None:
        """Tell the one who waits that it is on board, or why not; on the event loop."""
        if self.boarded.done():
            return
        if why is not None:
            self.boarded.set_exception(why)
            self.boarded.exception()
            return
        self.boarded.set_result(None)
        if self._turn.is_set():
            self._start_clock()

    def stop(self) -> None:
        """End the code where that can be done; from any thread."""
        self._stopped = True
        self._turn.set()
        if self._execution is not None:
            self._execution.cancel()

    def run(self) -> None:
        """Board, wait for its turn, run; in its thread."""
        try:
            execution = self._board()
        except BaseException as exc:  # noqa: BLE001 - it is raised again where it is waited for
            self._call(exc)
            return
        self._execution = execution
        self._call(None)
        self._turn.wait()
        if self._stopped:
            return
        if self.live.record.status == "PENDING":
            self.live.turn(self._update)
        self._tell(execution)

    def _tell(self, execution: Execution) -> None:
        try:
            for event in execution.events():
                self.live.tell(event)
        except BaseException as exc:  # noqa: BLE001 - whatever happens here rejects this run alone
            why = f"The code of the run failed: {type(exc).__name__}: {exc}"
        else:
            why = "The code ended without an outcome"
        self.live.reject("INTERNAL_ERROR", why)  # not heard when it has ended

    def _call(self, why: BaseException | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self.refuse, why)
        except RuntimeError:
            return  # the loop is closed: the server stopped, and nobody waits

    def _start_clock(self) -> None:
        if self._limit is None or self.live.done.done():
            return
        message = f"The run took longer than {self._limit:g} seconds"
        self._clock = self._loop.call_later(
            self._limit, self.live.reject, "WORKFLOW_TIMEOUT", message
        )
