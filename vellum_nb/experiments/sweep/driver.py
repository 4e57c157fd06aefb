"""The one thread that drives a sweep: begins runs, hands them out, writes down how they ended.

Each turn is one transaction: it completes the rows of all runs that ended since the last one, and
begins as many as may start. A run is sent after its row is committed, and counts as ended after
that is committed. Few more runs are in hand than may be under way.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError
from dataclasses import replace
from datetime import datetime
from itertools import islice

from vellum_nb.experiments.sweep.counter import Counter
from vellum_nb.experiments.sweep.hands import Hands, Result
from vellum_nb.experiments.sweep.limits import Limits
from vellum_nb.experiments.sweep.pace import Pace
from vellum_nb.experiments.sweep.retries import Patience, Retries
from vellum_nb.experiments.sweep.work import Again, Ended, Recorder, Task

__all__ = ["Driver"]

_TURN = 0.25  # seconds; the longest a turn waits for something to end
_LONGEST = 600.0  # seconds that the server may ask everybody to wait; else it is for later
_WAITING = 128  # runs that may wait to be tried again while others begin, and the calls at once
_LOST = 3  # how often an executor may lose the same run


class Driver:
    """Drives the runs of one sweep. `drive` is called once; the rest from any thread.

    Parameters
    ----------
    todo : iterator of Task
        The runs to be begun, made as they are asked for.
    hands : Hands
        Make attempts: send one, or look it up.
    doubtful : iterable of Task
        Those that were begun earlier: they are looked up first.
    changed : callable
        Called after every turn.
    """

    def __init__(
        self,
        todo: Iterator[Task],
        hands: Hands,
        *,
        recorder: Recorder,
        counter: Counter,
        pace: Pace,
        limits: Limits,
        doubtful: Iterable[Task] = (),
        changed: Callable[[], None] = lambda: None,
    ) -> None:
        self._todo = todo
        self._hands = hands
        self._recorder = recorder
        self._counter = counter
        self._limits = limits
        self._changed = changed
        self.pace = pace
        self.why: str | None = None
        self.note: str | None = None
        self.paused = False
        self._lock = threading.Lock()
        self._over = False
        self._cut = False
        self._error: Exception | None = None
        self._exhausted = False
        self._doubtful = list(doubtful)
        self._later = Retries(self._doubtful)
        self._flying: dict[str, tuple[Task, float]] = {}
        self._ended: list[Ended] = []
        self._patience = Patience()

    @property
    def flying(self) -> int:
        """How many attempts are under way."""
        return len(self._flying)

    def stop(self, why: str) -> None:
        """Begin nothing more; `drive` returns when what is under way has ended."""
        with self._lock:
            self.why = self.why or why
        self._hands.wake()

    def cut(self) -> None:
        """Wait no longer for what is under way: cut it off, or leave it where it cannot be."""
        self._cut = True
        self.stop("cut off")
        self._hands.cut()

    def pause(self) -> None:
        """Begin nothing more until `go_on`."""
        self.paused = True
        self._hands.wake()

    def go_on(self) -> bool:
        """End a pause, and take back a stop; return False where it is too late for that."""
        with self._lock:
            if self._over or self._cut or self._error is not None:
                return False
            self.why, self.paused = None, False
        self._hands.wake()
        return True

    def drive(self) -> None:
        """Run until all has ended, or it was stopped and nothing is under way.

        What fails here stops the sweep. It is raised when what was under way has ended and, as far
        as possible, is written down.
        """
        self._counter.go()
        for task in self._doubtful:
            self._counter.begun(task.run.release_tag)
        try:
            while not self._turned():
                self._wait()
        finally:
            self._put_back()
            self._counter.hold()
        if self._error is not None:
            raise self._error

    def _turned(self) -> bool:
        """Take a turn; return whether it was the last."""
        try:
            self._turn()
        except Exception as exc:  # noqa: BLE001  (raised at the end)
            self._fail(exc)
        self._changed()
        if self._flying and not (self._cut and not self._hands.can_cut):
            return False
        nothing_left = self._exhausted and not self._later
        with self._lock:
            self._over = self.why is not None or nothing_left or self._counter.left <= 0
            return self._over

    def _fail(self, exc: Exception) -> None:
        self._error = self._error or exc
        self.stop(str(exc) or type(exc).__name__)

    def _turn(self) -> None:
        """Write down what ended and what begins, then send it."""
        now = time.monotonic()
        self._keep_clock()
        self._keep_limits()
        room = self._room(now)
        tasks = self._later.due(now, room)
        try:
            fresh = self._fresh(room - len(tasks))
            self._record(fresh)
            tasks += fresh
            while tasks:
                self._start(tasks[0], now)
                tasks.pop(0)
        finally:
            self._later.put_back(tasks)

    def _record(self, fresh: Sequence[Task]) -> None:
        ended = self._ended
        if ended or fresh:
            begun = [task.run for task in fresh]
            self._recorder.record(begun=begun, ended=[each.run for each in ended])
        self._ended = []
        for each in ended:
            self._counter.ended(each.run, found=each.found, resent=each.resent)
        for task in fresh:
            self._limits.calls += 1
            self._counter.begun(task.run.release_tag)

    def _keep_clock(self) -> None:
        if self.paused and not self._flying:
            self._counter.hold()
            self._patience.renew()
        else:
            self._counter.go()

    def _keep_limits(self) -> None:
        counter, ended = self._counter, [each.run for each in self._ended]
        reached = self._limits.reached(
            counter.seconds,
            cost=counter.cost + sum(run.cost_usd or 0.0 for run in ended),
            failures=counter.failed + sum(run.state != "FULFILLED" for run in ended),
            in_hand=len(self._flying) + len(self._later),
        )
        if reached is not None:
            self.stop(reached)

    def _room(self, now: float) -> int:
        if self.paused or self.why is not None:
            return 0
        return self.pace.room(len(self._flying), now)

    def _fresh(self, room: int) -> list[Task]:
        """Return runs that begin now; fewer when many wait to be tried again."""
        in_hand = len(self._flying) + len(self._later)
        wanted = self._limits.allowed(
            min(room, self.pace.limit + max(self.pace.most, _WAITING) - in_hand)
        )
        fresh = list(islice(self._todo, wanted))
        self._exhausted = self._exhausted or len(fresh) < wanted
        return fresh

    def _start(self, task: Task, now: float) -> None:
        self._hands.begin(task)
        self._flying[task.run.id] = (task, now)

    def _wait(self) -> None:
        """Wait for the first that ends, and take what has ended."""
        for run_id, result in self._hands.ended(self._sleep()):
            self._take(run_id, result)

    def _sleep(self) -> float:
        now = time.monotonic()
        until = now + _TURN
        if self.pace.limit > len(self._flying) and not self.paused and self.why is None:
            soon = self.pace.not_before if self.pace.not_before > now else until
            if self._later:
                soon = max(self._later.first, self.pace.not_before)
            until = min(until, soon)
        return max(0.001, until - now)

    def _take(self, run_id: str, result: Result) -> None:
        at_once = len(self._flying)
        task, began = self._flying.pop(run_id)
        now = time.monotonic()
        if isinstance(result, BaseException):
            result = self._broke(result, task)
        if isinstance(result, Ended):
            self._patience.renew()
            if not result.found:
                self.pace.ended(began, now, at_once)
            self._ended.append(result)
        else:
            self._retry(result, began, now)

    def _retry(self, again: Again, began: float, now: float) -> None:
        until = self.pace.not_before
        oldest = min((each for _, each in self._flying.values()), default=None)
        if again.busy and (again.wait or 0.0) > _LONGEST:
            self.stop(f"{again.why}: the server asks to wait {again.wait:,.0f} s")
        elif again.busy and self.pace.busy(began, now, again.wait):
            self.note = f"lowered after {again.why} at {datetime.now().astimezone():%H:%M:%S}"
        if again.answered:
            self._patience.renew()
        elif again.hopeless:
            self.stop(again.why)
        elif self._patience.is_over(now, not_before=until, oldest=oldest):
            self.stop(f"no answer for 60 s: {again.why}")
        self._later.put(again, now)

    def _broke(self, error: BaseException, task: Task) -> Again:
        """Return what follows from an attempt that raised; an executor may have lost it."""
        lost = not self._hands.can_cut or isinstance(error, BrokenExecutor | CancelledError)
        if isinstance(error, Exception) and not (lost and task.tries < _LOST):
            self._fail(error)
        why = f"the executor lost it: {type(error).__name__}"
        return Again(replace(task, doubt=why, tries=task.tries + 1), why)

    def _put_back(self) -> None:
        """Write down the rest, and take back what surely never ran; the doubtful stay STARTED."""
        self._hands.drop()
        for task, _ in self._flying.values():
            self._counter.begun(task.run.release_tag, -1)
        self._flying.clear()
        back = self._later.all()
        for task in back:
            self._counter.begun(task.run.release_tag, -1)
        never = [task.run for task in back if task.doubt is None]
        try:
            self._record(())
            if never:
                self._recorder.withdraw(never)
        except Exception as exc:  # noqa: BLE001  (raised at the end)
            self._fail(exc)
