"""The one thread that drives a sweep, and the threads that make its calls."""

from __future__ import annotations

import atexit
import heapq
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from dataclasses import dataclass, replace
from datetime import datetime
from itertools import islice
from typing import Any, NamedTuple, ParamSpec, Protocol, TypeVar

from vellum_nb.models import Cancellation, Run, RunError
from vellum_nb.sweep.concurrency import Pace
from vellum_nb.sweep.options import Limits
from vellum_nb.sweep.progress import Counter

__all__ = [
    "Again",
    "Attempt",
    "Crew",
    "Driver",
    "Ended",
    "Hands",
    "Looks",
    "Patience",
    "Recorder",
    "Result",
    "Retries",
    "Session",
    "Task",
]


class Looks(NamedTuple):
    """How often a run in doubt was looked up in vain.

    `unknown`: the server knew no such execution. `running`: it was under way. `silent`: no usable
    answer came, in a row.
    """

    unknown: int = 0
    running: int = 0
    silent: int = 0


_NEVER = Looks()


@dataclass(frozen=True, slots=True)
class Task:
    """A run that is recorded, and about to be sent.

    Attributes
    ----------
    run : Run
        STARTED; its id is its external id.
    inputs : tuple of dict
        As they are sent.
    doubt : str or None
        Why it may have run already: it is looked up before it is sent.
    tries : int
        How often it was sent.
    looks : Looks
        What look-ups have told since it is in doubt.
    sends : int
        How often it was sent and the server may have taken it.
    refused : RunError or None
        How it ends when no look-up finds it: the server refuses it as it is.
    resent : bool
        Whether it was sent once more, after look-ups found no execution of it.
    """

    run: Run
    inputs: tuple[Mapping[str, Any], ...]
    doubt: str | None = None
    tries: int = 0
    looks: Looks = _NEVER
    sends: int = 0
    refused: RunError | None = None
    resent: bool = False


@dataclass(frozen=True, slots=True)
class Ended:
    """It ended: `run` is complete. `found`: it was looked up, not sent; `resent`: as in `Task`."""

    run: Run
    found: bool = False
    resent: bool = False


@dataclass(frozen=True, slots=True)
class Again:
    """It is to be tried again, under the same id.

    Attributes
    ----------
    task : Task
        As it goes on.
    why : str
        What happened, in a few words.
    wait : float or None
        Seconds to wait before that; where `busy`, everybody waits.
    busy : bool
        Whether the server has too much to do.
    hopeless : bool
        Whether no other run would fare better, as with a wrong key.
    answered : bool
        Whether the server works, though this run has not ended.
    """

    task: Task
    why: str
    wait: float | None = None
    busy: bool = False
    hopeless: bool = False
    answered: bool = False


class Attempt(Protocol):
    """Sends a task once, or looks it up; never raises for what a server does.

    It must be picklable where an executor of other processes is to call it.
    """

    def __call__(self, task: Task, cancel: Cancellation | None = None) -> Ended | Again:
        """Make one attempt."""


class Recorder(Protocol):
    """What the driver asks of a history."""

    def record(self, *, begun: Sequence[Run] = (), ended: Sequence[Run] = ()) -> None:
        """Complete and begin, in one transaction."""

    def withdraw(self, runs: Sequence[Run]) -> None:
        """Take back runs that were never sent."""


Result = Ended | Again | BaseException


class Hands:
    """Makes each attempt by an executor. `wake` and `cut` are for any thread.

    Parameters
    ----------
    attempt : callable
        Sends a run, or looks it up.
    executor : Executor
        Where attempts are made.
    cancel : Cancellation, optional
        Handed to attempts, where the executor is of this process; then it ends with the hands.
    """

    def __init__(
        self, attempt: Attempt, executor: Executor, cancel: Cancellation | None = None
    ) -> None:
        self._attempt = attempt
        self._executor = executor
        self._cancel = cancel
        self._under_way: dict[Future[Ended | Again], str] = {}
        self._done: queue.SimpleQueue[Future[Ended | Again] | None] = queue.SimpleQueue()

    @property
    def can_cut(self) -> bool:
        """Whether attempts can be cut off; those of other processes cannot."""
        return self._cancel is not None

    def begin(self, task: Task) -> None:
        """Begin an attempt."""
        args = (task,) if self._cancel is None else (task, self._cancel)
        future = self._executor.submit(self._attempt, *args)
        self._under_way[future] = task.run.id
        future.add_done_callback(self._ended)

    def ended(self, timeout: float) -> Iterable[tuple[str, Result]]:
        """Wait for an attempt to end, or for `wake`; return those that did, by their run's id."""
        return self._taken(timeout)

    def wake(self) -> None:
        """End a wait."""
        self._done.put(None)

    def cut(self) -> None:
        """Cut off what is under way."""
        if self._cancel is not None:
            self._cancel.cancel()
        self.wake()

    def drop(self) -> None:
        """Take back what has not begun, and hear no more of the rest."""
        for future in self._under_way:
            future.cancel()
        self._under_way = {}

    def close(self) -> None:
        """Let go of what is the hands' own; what is under way ends first."""
        if self._cancel is not None:
            self._executor.shutdown()

    def _ended(self, future: Future[Ended | Again]) -> None:
        self._done.put(future)

    def _taken(self, timeout: float) -> list[tuple[str, Result]]:
        found: list[tuple[str, Result]] = []
        wait: float | None = timeout
        while True:
            try:
                future = self._done.get(timeout=wait) if wait else self._done.get_nowait()
            except queue.Empty:
                return found
            wait = None
            run_id = None if future is None else self._under_way.pop(future, None)
            if future is not None and run_id is not None:
                found.append((run_id, _result(future)))


def _result(future: Future[Ended | Again]) -> Result:
    try:
        return future.result()
    except BaseException as exc:  # noqa: BLE001  (also what an executor raises to cancel)
        return exc


P = ParamSpec("P")
T = TypeVar("T")
_Job = tuple[Future[Any], Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class Crew(Executor):
    """An executor of at most `most` threads that never keep the interpreter from ending.

    Those of `concurrent.futures.ThreadPoolExecutor` do: it waits for their calls, however long
    they take, before anybody is asked to cut them off.

    Examples
    --------
    >>> with Crew(2) as crew:
    ...     crew.submit(pow, 2, 10).result()
    1024
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._busy = 0
        self._closed = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have a thread call `fn`."""
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                msg = "this crew has gone home"
                raise RuntimeError(msg)
            if self._busy >= len(self._threads) < self._most:
                self._hire()
            self._busy += 1
            self._jobs.put((future, fn, args, kwargs))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002, ARG002  (as in Executor)
        """Take no more jobs; what was handed over is done."""
        with self._lock:
            self._closed = True
            for _ in self._threads:
                self._jobs.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def _hire(self) -> None:
        """Take on one more thread; where none is to be had, those that are there do the work."""
        thread = threading.Thread(target=self._work, name="vellum-nb-call", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            if not self._threads:
                raise
        else:
            self._threads.append(thread)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, function, args, kwargs = job
            if not future.set_running_or_notify_cancel():
                self._done()
                continue
            try:
                result = function(*args, **kwargs)
            except BaseException as exc:  # noqa: BLE001  (the future's owner is told)
                self._done()
                future.set_exception(exc)
            else:
                self._done()
                future.set_result(result)
            del job, future, function, args, kwargs  # an idle thread keeps nothing alive

    def _done(self) -> None:
        with self._lock:
            self._busy -= 1


_PATIENCE = 60.0  # seconds of nothing but trouble, until a sweep gives up
_LONGEST_PAUSE = 10.0  # seconds between two tries, where the server does not say


class Retries:
    """Runs that wait to be tried again, by when they are due.

    Parameters
    ----------
    tasks : iterable of Task
        Those that are due at once.
    """

    def __init__(self, tasks: Iterable[Task] = ()) -> None:
        self._heap: list[tuple[float, int, Task]] = []
        self._number = 0
        self.put_back(tasks)

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def first(self) -> float:
        """When the first one is due."""
        return self._heap[0][0]

    def put(self, again: Again, now: float) -> None:
        """Have it wait: as long as the server wishes, or longer every time."""
        wait = again.wait
        if wait is None:
            wait = min(0.25 * 2 ** min(again.task.tries, 10), _LONGEST_PAUSE)
        self._push(now + wait, again.task)

    def put_back(self, tasks: Iterable[Task]) -> None:
        """Take tasks that are due at once."""
        for task in tasks:
            self._push(0.0, task)

    def due(self, now: float, most: int) -> list[Task]:
        """Take out at most so many that are due."""
        found: list[Task] = []
        while len(found) < most and self._heap and self._heap[0][0] <= now:
            found.append(heapq.heappop(self._heap)[2])
        return found

    def all(self) -> list[Task]:
        """Take out all of them."""
        found = [task for _, _, task in self._heap]
        self._heap.clear()
        return found

    def _push(self, when: float, task: Task) -> None:
        self._number += 1
        heapq.heappush(self._heap, (when, self._number, task))


class Patience:
    """Ends when for a minute there was nothing but trouble, waiting at the server's wish left out.

    Examples
    --------
    >>> patience = Patience()
    >>> patience.is_over(0.0), patience.is_over(59.0), patience.is_over(61.0)
    (False, False, True)
    >>> patience.renew()
    >>> patience.is_over(62.0)
    False
    """

    def __init__(self) -> None:
        self._since: float | None = None

    def renew(self) -> None:
        """Forget the trouble: something went well."""
        self._since = None

    def is_over(self, now: float, *, not_before: float = 0.0, oldest: float | None = None) -> bool:
        """Note trouble, and return whether that was too much.

        `not_before`: until when the server wished us to wait. `oldest`: when the oldest call began
        that is under way; one from before the trouble may simply be slow.
        """
        if self._since is None:
            self._since = now
        since = max(self._since, not_before)
        return now - since > _PATIENCE and (oldest is None or oldest >= since)


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


_SLICE = 0.5  # seconds; on Windows nothing interrupts a wait
_GRACE = 2.0  # seconds for calls under way, when the interpreter ends
_WRITING = 5.0  # seconds to write down what was cut off


class Session:
    """Runs `drive` in a thread, once.

    Parameters
    ----------
    driver : Driver
        What is stopped, paused and cut.
    drive : callable
        Drives it to its end.
    over : callable
        Called in the thread when `is_alive` is no longer true.
    """

    def __init__(self, driver: Driver, drive: Callable[[], None], over: Callable[[], None]) -> None:
        self.driver = driver
        self.error: BaseException | None = None
        self._drive = drive
        self._tell_over = over
        self._over = threading.Event()
        self._over.set()
        self._claim = threading.Lock()
        self._process = os.getpid()

    @property
    def is_alive(self) -> bool:
        """Whether it runs, in this process: a fork takes no threads along."""
        return not self._over.is_set() and self._process == os.getpid()

    def start(self) -> None:
        """Start the thread."""
        thread = threading.Thread(target=self._run, name="vellum-nb-sweep", daemon=True)
        try:
            self._over.clear()
            _ALIVE.add(self)
            thread.start()
        except BaseException:  # no thread is to be had; or an interrupt, while it starts
            if self._claim.acquire(blocking=False):
                self._end()
            raise

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the end; return whether it has come. An interrupt ends the waiting."""
        until = None if timeout is None else time.monotonic() + timeout
        while self.is_alive:
            left = _SLICE if until is None else min(_SLICE, until - time.monotonic())
            if left <= 0:
                return False
            self._over.wait(left)
        return True

    def _run(self) -> None:
        if not self._claim.acquire(blocking=False):
            return
        try:
            self._drive()
        except BaseException as exc:  # noqa: BLE001  (raised by whoever waits)
            self.error = exc
        finally:
            self._end()
            self._tell_over()

    def _end(self) -> None:
        _ALIVE.discard(self)
        self._over.set()


_ALIVE: set[Session] = set()


@atexit.register
def _end_with_interpreter() -> None:
    """Stop every sweep: what cannot end soon is looked up when the sweep is resumed."""
    alive = [session for session in list(_ALIVE) if session.is_alive]
    for session in alive:
        session.driver.stop("the interpreter ended")
    until = time.monotonic() + _GRACE
    for session in alive:
        session.join(max(0.0, until - time.monotonic()))
    for session in alive:
        session.driver.cut()
    for session in alive:
        session.join(_WRITING)
