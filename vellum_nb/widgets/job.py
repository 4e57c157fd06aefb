"""Runs side by side in threads, and one thread that reports how they get on. Knows no widget."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass

from vellum_nb.errors import HistoryError
from vellum_nb.models import Cancellation, Run, RunRequest

__all__ = ["Job", "Progress", "answer"]

_TICK = 0.1
_HEARD = 0.5  # an interrupt that comes just as a wait begins is heard when that ends
_AT_ONCE = 16


@dataclass(frozen=True)
class Progress:
    """How the runs of a job get on.

    Attributes
    ----------
    outcomes : tuple
        One item a request, in their order: the run; the exception that `run` raised; or None
        while it is under way.
    elapsed : float
        Seconds since the start.
    cancelled : bool
        Whether the job was cancelled.
    """

    outcomes: tuple[Run | BaseException | None, ...]
    elapsed: float
    cancelled: bool

    @property
    def done(self) -> int:
        """How many have ended."""
        return sum(outcome is not None for outcome in self.outcomes)

    @property
    def finished(self) -> bool:
        """Whether all have ended."""
        return self.done == len(self.outcomes)

    @property
    def runs(self) -> tuple[Run, ...]:
        """The runs there are, also those that could not be recorded."""
        found = (answer(outcome) for outcome in self.outcomes)
        return tuple(run for run in found if run is not None)


def answer(outcome: Run | BaseException | None) -> Run | None:
    """Return the run of an outcome; an error of the history brings the one it could not record."""
    run = outcome.run if isinstance(outcome, HistoryError) else outcome
    return run if isinstance(run, Run) else None


class Job:
    """Executes requests at once, each in a thread of its own.

    Parameters
    ----------
    run : callable
        Executes one request; ends soon when the cancellation says so.
    requests : sequence of RunRequest
        What is to be run.
    report : callable
        Called ten times a second with the progress, always from the same thread, the last time
        when all have ended.
    ended : callable
        Called from that thread after the last report, whatever happened.
    """

    def __init__(
        self,
        run: Callable[[RunRequest, Cancellation], Run],
        requests: Sequence[RunRequest],
        *,
        report: Callable[[Progress], None],
        ended: Callable[[], None] = lambda: None,
    ) -> None:
        self._run = run
        self._requests = tuple(requests)
        self._report = report
        self._when_ended = ended
        self._cancellation = Cancellation()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._pump, name="vellum-nb-form", daemon=True)

    def start(self) -> None:
        """Start, and return at once."""
        self._thread.start()

    def cancel(self) -> None:
        """End what is under way; what has ended stays."""
        self._cancellation.cancel()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until all have ended and were reported; return whether that is so.

        The reporting thread itself never waits: what it calls back may ask.
        """
        if threading.current_thread() is self._thread:
            return self._ended.is_set()
        until = float("inf") if timeout is None else time.monotonic() + timeout
        while not self._ended.is_set() and (left := until - time.monotonic()) > 0:
            self._ended.wait(min(left, _HEARD))
        return self._ended.is_set()

    def _pump(self) -> None:
        began = time.monotonic()
        try:
            workers = min(_AT_ONCE, len(self._requests)) or 1
            with ThreadPoolExecutor(workers, thread_name_prefix="vellum-nb-run") as pool:
                futures = [pool.submit(self._run, r, self._cancellation) for r in self._requests]
                try:
                    self._watch(futures, began)
                except BaseException:
                    self.cancel()
                    raise
        finally:
            try:
                self._when_ended()
            finally:
                self._ended.set()

    def _watch(self, futures: Sequence[Future[Run]], began: float) -> None:
        while True:
            outcomes = tuple(_outcome(future) for future in futures)
            elapsed = time.monotonic() - began
            progress = Progress(outcomes, elapsed, self._cancellation.cancelled)
            self._report(progress)
            if progress.finished:
                return
            open_ = [f for f, outcome in zip(futures, outcomes, strict=True) if outcome is None]
            wait(open_, timeout=_TICK, return_when=FIRST_COMPLETED)


def _outcome(future: Future[Run]) -> Run | BaseException | None:
    if not future.done():
        return None
    return future.exception() or future.result()
