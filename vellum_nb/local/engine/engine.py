"""Runs code: each run in a thread of its own, so many at once, in turn, each with a time limit."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable

from vellum_nb.local.engine.code import Execution
from vellum_nb.local.engine.live import Live
from vellum_nb.local.engine.words import in_words
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
        self._queue = queue
        self._going = 0
        self._flights: set[Flight] = set()
        self._line: deque[Flight] = deque()
        self._closed = False
        self._threads: set[threading.Thread] = set()

    def check(self, *, inner: bool = False) -> bool:
        """Return whether a flight that came now could go at once.

        An inner one always can: what it is a part of waits for it, and has had its turn.

        Raises
        ------
        VellumNBError
            When the server is stopping, or the queue is full.
        """
        if self._closed:
            raise Refused(503, "The local server is stopping")
        if inner or self._going < self._concurrency:
            return True
        if len(self._line) < self._queue:
            return False
        most = self._concurrency + self._queue
        msg = f"{most} executions run or wait already; try again later"
        raise Refused(429, msg, retry_after=_RETRY_AFTER)

    def launch(self, flight: Flight) -> None:
        """Let a flight go when its turn comes.

        Raises
        ------
        VellumNBError
            As `check` does, or when there is no thread to be had; it does not go then.
        """
        at_once = self.check(inner=flight.inner)
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
        try:
            thread.start()
        except RuntimeError as exc:
            self._threads.discard(thread)
            self._landed(flight)
            msg = "This machine starts no more threads now; try again later"
            raise Refused(503, msg, retry_after=_RETRY_AFTER) from exc

    async def close(self, message: str, *, grace: float) -> None:
        """Let runs end within `grace` seconds, and reject the others."""
        self._closed = True
        waiting = {flight.live.done for flight in self._flights}
        if waiting:
            await asyncio.wait(waiting, timeout=grace)
        for flight in list(self._flights):
            flight.live.reject("WORKFLOW_CANCELLED", message)

    def join(self, seconds: float) -> None:
        """Wait at most `seconds` in all for the threads of runs."""
        until = time.monotonic() + seconds
        for thread in self._threads - {threading.current_thread()}:
            thread.join(max(0.0, until - time.monotonic()))

    def _landed(self, flight: Flight) -> None:
        if flight not in self._flights:
            return
        self._flights.discard(flight)
        flight.land()
        if flight in self._line:
            self._line.remove(flight)
        elif not flight.inner:
            self._going -= 1
            if self._line:
                self._let(self._line.popleft())

    def _let(self, flight: Flight) -> None:
        self._going += not flight.inner
        flight.go(self.timeout)

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
    inner : bool
        Whether it is a part of another one that is on its way.
    """

    def __init__(self, live: Live, board: Callable[[], Execution], *, inner: bool = False) -> None:
        self.live = live
        self.inner = inner
        self._board = board
        self._turn = threading.Event()
        self._execution: Execution | None = None
        self._stopped = False
        self._clock: asyncio.TimerHandle | None = None
        live.stop = self.stop

    def go(self, limit: float | None) -> None:
        """Let it run, for at most `limit` seconds; on the event loop."""
        if limit is not None:
            why = "WORKFLOW_TIMEOUT", f"The run took longer than {limit:g} seconds"
            loop = asyncio.get_running_loop()
            self._clock = loop.call_later(limit, self.live.reject, *why)
        self._turn.set()

    def land(self) -> None:
        """Stop its clock, and let go of it; on the event loop."""
        if self._clock is not None:
            self._clock.cancel()
        self.live.stop = _nothing

    def stop(self) -> None:
        """End the code where that can be done; from any thread."""
        self._stopped = True
        self._turn.set()
        if self._execution is not None:
            self._execution.cancel()

    def run(self) -> None:
        """Board, wait for its turn, run; in its thread."""
        try:
            self._execution = self._board()
            self.live.keep()
        except BaseException as exc:  # noqa: BLE001 - it is raised again where it is waited for
            self.live.refuse(_raisable(exc))
            return
        self._turn.wait()
        if self._stopped:
            return
        self._tell(self._execution)

    def _tell(self, execution: Execution) -> None:
        try:
            if self.live.record.status == "PENDING":
                self.live.turn()
            for event in execution.events():
                self.live.tell(event)
        except BaseException as exc:  # noqa: BLE001 - whatever happens here rejects this run alone
            why = f"The code of the run failed: {in_words(exc)}"
        else:
            why = "The code ended without an outcome"
        self.live.reject("INTERNAL_ERROR", why)  # not heard when it has ended


def _nothing() -> None:
    pass


def _raisable(exc: BaseException) -> Exception:
    """Return `exc` as something that may be raised on an event loop without ending it."""
    if isinstance(exc, Exception) and not isinstance(exc, StopIteration):
        return exc
    return Refused(500, f"The code could not be made ready to run: {in_words(exc)}")
