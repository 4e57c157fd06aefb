"""The one thread that drives a sweep: begins runs, hands them out, writes down how they ended.

Each turn is one transaction: it completes the rows of all runs that ended since the last one, and
begins as many as may start. A run is sent after its row is committed, and counts as ended after
that is committed. At most as many runs are in hand as may be under way.
"""

from __future__ import annotations

import heapq
import queue
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Executor, Future
from dataclasses import replace
from itertools import islice
from typing import Protocol

from vellum_nb.experiments.sweep.limits import Limits
from vellum_nb.experiments.sweep.pace import Pace
from vellum_nb.experiments.sweep.progress import Counter
from vellum_nb.experiments.sweep.work import Again, Attempt, Ended, Task
from vellum_nb.models import Cancellation, Run

__all__ = ["Driver", "Recorder"]

_TURN = 0.25  # seconds; the longest a turn waits for something to end
_PATIENCE = 60.0  # seconds without any answer, until a sweep gives up


class Recorder(Protocol):
    """What the driver asks of a history."""

    def record(self, *, begun: Sequence[Run] = (), ended: Sequence[Run] = ()) -> None:
        """Complete and begin, in one transaction."""

    def withdraw(self, runs: Sequence[Run]) -> None:
        """Take back runs that were never sent."""


class Driver:
    """Drives the runs of one sweep.

    Parameters
    ----------
    todo : iterator of Task
        The runs to be made, made as they are asked for. One with a `doubt` is recorded already.
    attempt : callable
        Sends one, or looks it up.
    executor : Executor
        Where attempts are made.
    cancel : Cancellation, optional
        Handed to attempts, where the executor is of this process.
    """

    def __init__(
        self,
        todo: Iterator[Task],
        attempt: Attempt,
        *,
        executor: Executor,
        recorder: Recorder,
        counter: Counter,
        pace: Pace,
        limits: Limits,
        cancel: Cancellation | None = None,
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._todo = todo
        self._attempt = attempt
        self._executor = executor
        self._recorder = recorder
        self._counter = counter
        self._limits = limits
        self._cancel = cancel
        self._changed = changed
        self.pace = pace
        self.why: str | None = None
        self.paused = False
        self._stopping = threading.Event()
        self._exhausted = False
        self._again: list[tuple[float, int, Task]] = []
        self._number = 0
        self._flying: dict[Future[Ended | Again], Task] = {}
        self._results: queue.SimpleQueue[Future[Ended | Again] | None] = queue.SimpleQueue()
        self._heard = time.monotonic()

    @property
    def flying(self) -> int:
        """How many attempts are under way."""
        return len(self._flying)

    @property
    def is_complete(self) -> bool:
        """Whether every run has ended."""
        return self._exhausted and not self._again and not self._flying

    def stop(self, why: str) -> None:
        """Begin nothing more; `drive` returns when what is under way has ended."""
        if not self._stopping.is_set():
            self.why = why
            self._stopping.set()
        self.wake()

    def wake(self) -> None:
        """Look at once whether something may start."""
        self._results.put(None)

    def drive(self) -> None:
        """Run until all has ended, or it was stopped and nothing is under way."""
        self._limits.start(time.monotonic())
        ended: list[Ended] = []
        try:
            while True:
                self._turn(ended)
                if self.is_complete or (self._stopping.is_set() and not self._flying):
                    break
                ended = self._wait()
        finally:
            self._put_back()

    def _turn(self, ended: Sequence[Ended]) -> None:
        """Write down what ended and what begins, then send it."""
        now = time.monotonic()
        self._limits.check(now, self.stop)
        tasks = self._due(now)
        begun = [task.run for task in tasks if task.doubt is None and task.tries == 0]
        runs = [each.run for each in ended]
        if begun or runs:
            self._recorder.record(begun=begun, ended=runs)
        for each in ended:
            self._counter.ended(each.run, found=each.found)
            self._limits.ended(each.run)
        for task in tasks:
            self._start(task)
        self._changed()

    def _due(self, now: float) -> list[Task]:
        if self.paused or self._stopping.is_set():
            return []
        room = self.pace.room(len(self._flying), now)
        due: list[Task] = []
        while room > len(due) and self._again and self._again[0][0] <= now:
            due.append(heapq.heappop(self._again)[2])
        wanted = self._limits.allowed(room - len(due))
        fresh = list(islice(self._todo, wanted))
        self._exhausted = self._exhausted or len(fresh) < wanted
        for task in fresh:
            self._limits.began()
            self._counter.begun(task.run.release_tag)
        return due + fresh

    def _start(self, task: Task) -> None:
        args = (task,) if self._cancel is None else (task, self._cancel)
        future = self._executor.submit(self._attempt, *args)
        self._flying[future] = task
        future.add_done_callback(self._results.put)

    def _wait(self) -> list[Ended]:
        """Return what has ended since; waits for the first, and takes all that is there."""
        ended: list[Ended] = []
        timeout: float | None = self._sleep()
        while True:
            try:
                future = (
                    self._results.get(timeout=timeout) if timeout else self._results.get_nowait()
                )
            except queue.Empty:
                return ended
            timeout = None
            if future is not None:
                self._take(future, ended)

    def _sleep(self) -> float:
        now = time.monotonic()
        until = [now + _TURN]
        if self.pace.not_before > now:
            until.append(self.pace.not_before)
        if self._again:
            until.append(self._again[0][0])
        return max(0.001, min(until) - now)

    def _take(self, future: Future[Ended | Again], ended: list[Ended]) -> None:
        task = self._flying.pop(future)
        now = time.monotonic()
        result = _result(future, task)
        if isinstance(result, Ended):
            self._heard = now
            self.pace.ended(now)
            ended.append(result)
            return
        self._retry(result, now)

    def _retry(self, again: Again, now: float) -> None:
        if again.busy:
            self.pace.busy(now, again.wait, again.why)
        if again.answered:
            self._heard = now
        if again.hopeless:
            self.stop(again.why)
        elif now - self._heard > _PATIENCE:
            self.stop(f"no answer for {_PATIENCE:.0f} s: {again.why}")
        pause = again.wait if again.wait is not None else min(0.25 * 2**again.task.tries, 10.0)
        self._number += 1
        heapq.heappush(self._again, (now + pause, self._number, again.task))

    def _put_back(self) -> None:
        """Take back the rows of runs that surely never ran; the doubtful ones stay STARTED."""
        back = [task for _, _, task in self._again]
        never = [task.run for task in back if task.doubt is None]
        if never:
            self._recorder.withdraw(never)
        for task in back:
            self._counter.begun(task.run.release_tag, -1)
        self._again.clear()


def _result(future: Future[Ended | Again], task: Task) -> Ended | Again:
    """Return what came of it; an executor that lost it leaves it in doubt."""
    error: BaseException | None
    try:
        error = future.exception()
    except BaseException as exc:  # noqa: BLE001  (cancelled, by whoever runs the executor)
        error = exc
    if error is None:
        return future.result()
    why = f"the executor lost it: {type(error).__name__}"
    return Again(replace(task, doubt=why, tries=task.tries + 1), why)
