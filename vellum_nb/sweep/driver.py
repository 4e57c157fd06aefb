"""The one thread that drives a sweep, and the threads that make its calls.

Each turn of the driver is one transaction: it completes the rows of all runs that ended since the
last one, and begins as many as may start. A run is sent after its row is committed, and counts as
ended after that is committed. Few more runs are in hand than may be under way.
"""

from __future__ import annotations

import atexit
import heapq
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError, Executor, Future
from dataclasses import replace
from datetime import datetime
from itertools import islice
from typing import Any, ParamSpec, Protocol, TypeAlias, TypeVar

from vellum_nb.models import Cancellation, Run
from vellum_nb.sweep.concurrency import AdaptiveConcurrency
from vellum_nb.sweep.options import Limits
from vellum_nb.sweep.progress import Counter
from vellum_nb.sweep.retry_policy import (
    Finished,
    InDoubt,
    Outcome,
    PreparedRun,
    Retry,
    after_loss,
)

P = ParamSpec("P")
T = TypeVar("T")
Result: TypeAlias = Outcome | BaseException

_TURN = 0.25  # seconds; the longest a turn waits for something to end
_LONGEST_BUSY = 600.0  # seconds that the server may ask everybody to wait; else it is for later
_WAITING = 512  # runs that may wait to be sent or looked up while others begin
_LOST = 3  # how often an executor may lose the same run
_FAILING = 60.0  # seconds of nothing but trouble, until a sweep gives up
_LONGEST_RETRY = 10.0  # seconds between two tries, where the server does not say
_RENEW_EVERY = 10.0  # seconds; a lease lasts for a minute
_SLICE = 0.5  # seconds; on Windows nothing interrupts a wait
_GRACE = 2.0  # seconds for calls under way, when the interpreter ends
_WRITING = 5.0  # seconds to record what was cut off
_LAG_FACTOR = 2.0  # times the lag that a server has shown, a run in doubt is looked up

_Call = tuple[Future[Any], Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class Attempt(Protocol):
    """Sends a run once, or looks it up once; never raises for what a server does.

    It must be picklable where an executor of other processes is to call it.
    """

    def __call__(self, prepared: PreparedRun, cancel: Cancellation | None = None) -> Outcome:
        """Make one attempt."""


class Recorder(Protocol):
    """What the driver needs of a history."""

    def record(self, *, begun: Sequence[Run] = (), ended: Sequence[Run] = ()) -> None:
        """Complete and begin, in one transaction."""

    def withdraw(self, runs: Sequence[Run]) -> None:
        """Take back runs that were never sent."""


class DaemonThreadPool(Executor):
    """An executor of at most `most` threads that never keep the interpreter from ending.

    Those of `concurrent.futures.ThreadPoolExecutor` do: it waits for their calls, however long
    they take, before anybody can cut them off.

    Examples
    --------
    >>> with DaemonThreadPool(2) as pool:
    ...     pool.submit(pow, 2, 10).result()
    1024
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._calls: queue.SimpleQueue[_Call | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._busy = 0
        self._closed = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have a thread call `fn`."""
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                msg = "this thread pool was shut down"
                raise RuntimeError(msg)
            if self._busy >= len(self._threads) < self._most:
                self._add_thread()
            self._busy += 1
            self._calls.put((future, fn, args, kwargs))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002, ARG002  (as in Executor)
        """Take no more calls; those that were submitted are made."""
        with self._lock:
            self._closed = True
            for _ in self._threads:
                self._calls.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def _add_thread(self) -> None:
        """Add a thread; where the system has no more, those that are there do the work."""
        thread = threading.Thread(target=self._work, name="vellum-nb-call", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            if not self._threads:
                raise
        else:
            self._threads.append(thread)

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            future, function, args, kwargs = call
            if not future.set_running_or_notify_cancel():
                self._done()
                continue
            try:
                result = function(*args, **kwargs)
            except BaseException as exc:  # noqa: BLE001  (the future's owner gets it)
                self._done()
                future.set_exception(exc)
            else:
                self._done()
                future.set_result(result)
            del call, future, function, args, kwargs  # an idle thread keeps nothing alive

    def _done(self) -> None:
        with self._lock:
            self._busy -= 1


class WorkerPool:
    """Makes each attempt by an executor. `wake` and `cut` are for any thread.

    Parameters
    ----------
    attempt : callable
        Sends a run, or looks it up.
    executor : Executor
        Where attempts are made.
    cancel : Cancellation, optional
        Handed to attempts, where the executor is of this process; then it is closed with the pool.
    """

    def __init__(
        self, attempt: Attempt, executor: Executor, cancel: Cancellation | None = None
    ) -> None:
        self._attempt = attempt
        self._executor = executor
        self._cancel = cancel
        self._under_way: dict[Future[Outcome], str] = {}
        self._done: queue.SimpleQueue[Future[Outcome] | None] = queue.SimpleQueue()

    @property
    def can_cut(self) -> bool:
        """Whether attempts can be cut off; those of other processes cannot."""
        return self._cancel is not None

    def begin(self, prepared: PreparedRun) -> None:
        """Begin an attempt."""
        args = (prepared,) if self._cancel is None else (prepared, self._cancel)
        future = self._executor.submit(self._attempt, *args)
        self._under_way[future] = prepared.run.id
        future.add_done_callback(self._done.put)

    def ended(self, timeout: float) -> list[tuple[str, Result]]:
        """Wait for an attempt to end, or for `wake`; return those that did, by their run's id."""
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

    def wake(self) -> None:
        """End a wait."""
        self._done.put(None)

    def cut(self) -> None:
        """Cut off what is under way."""
        if self._cancel is not None:
            self._cancel.cancel()
        self.wake()

    def drop(self) -> None:
        """Take back what has not begun, and ignore the rest."""
        for future in self._under_way:
            future.cancel()
        self._under_way = {}

    def close(self) -> None:
        """Shut down the pool's own executor; what is under way ends first."""
        if self._cancel is not None:
            self._executor.shutdown()


def _result(future: Future[Outcome]) -> Result:
    try:
        return future.result()
    except BaseException as exc:  # noqa: BLE001  (also what an executor raises to cancel)
        return exc


class RetryQueue:
    """Runs that wait for their next attempt, by when they are due. Pure.

    Parameters
    ----------
    runs : iterable of PreparedRun
        Those that are due at once.
    """

    def __init__(self, runs: Iterable[PreparedRun] = ()) -> None:
        self._heap: list[tuple[float, int, PreparedRun]] = []
        self._number = 0
        self._executed = 0
        self.put_back(runs)

    def __len__(self) -> int:
        return len(self._heap)

    @property
    def first(self) -> float:
        """When the first one is due."""
        return self._heap[0][0]

    @property
    def blocking(self) -> int:
        """How many keep others from beginning: all but those that certainly were executed."""
        return len(self._heap) - self._executed

    def put(self, prepared: PreparedRun, now: float, after: float | None = None) -> None:
        """Have it wait so long; None: longer after every try."""
        if after is None:
            after = min(0.25 * 2 ** min(prepared.tries, 10), _LONGEST_RETRY)
        self._push(now + after, prepared)

    def put_back(self, runs: Iterable[PreparedRun]) -> None:
        """Add runs that are due at once."""
        for prepared in runs:
            self._push(0.0, prepared)

    def due(self, now: float, most: int) -> list[PreparedRun]:
        """Remove and return at most so many that are due."""
        found: list[PreparedRun] = []
        while len(found) < most and self._heap and self._heap[0][0] <= now:
            found.append(heapq.heappop(self._heap)[2])
        self._executed -= sum(map(_was_executed, found))
        return found

    def all(self) -> list[PreparedRun]:
        """Remove and return all of them."""
        found = [prepared for _, _, prepared in self._heap]
        self._heap.clear()
        self._executed = 0
        return found

    def _push(self, when: float, prepared: PreparedRun) -> None:
        self._number += 1
        self._executed += _was_executed(prepared)
        heapq.heappush(self._heap, (when, self._number, prepared))


def _was_executed(prepared: PreparedRun) -> bool:
    return prepared.doubt is not None and prepared.doubt.executed


class FailureTimeout:
    """Is over when for a minute there was nothing but trouble; waits for the server left out.

    Examples
    --------
    >>> timeout = FailureTimeout()
    >>> timeout.is_over(0.0), timeout.is_over(59.0), timeout.is_over(61.0)
    (False, False, True)
    >>> timeout.reset()
    >>> timeout.is_over(62.0)
    False
    """

    def __init__(self) -> None:
        self._since: float | None = None

    def reset(self) -> None:
        """Forget the trouble: something went well."""
        self._since = None

    def is_over(self, now: float, *, not_before: float = 0.0, oldest: float | None = None) -> bool:
        """Note trouble, and return whether that was too much.

        `not_before`: until when the server asked us to wait. `oldest`: when the oldest call began
        that is under way; one from before the trouble may simply be slow.
        """
        if self._since is None:
            self._since = now
        since = max(self._since, not_before)
        return now - since > _FAILING and (oldest is None or oldest >= since)


class Driver:
    """Drives the runs of one sweep. `drive` is called once; the rest from any thread.

    Parameters
    ----------
    runs : iterator of PreparedRun
        The runs to be begun, made as they are needed.
    pool : WorkerPool
        Makes attempts: sends a run, or looks it up.
    in_doubt : iterable of PreparedRun
        Those of earlier sessions: they are looked up first.
    on_change : callable
        Called after every turn.
    renew : callable
        Called every ten seconds, also while it waits or is paused, to keep the lease of the sweep;
        an error of it stops the sweep.
    clock : callable
        Seconds, for tests that do not wait.
    """

    def __init__(
        self,
        runs: Iterator[PreparedRun],
        pool: WorkerPool,
        *,
        recorder: Recorder,
        counter: Counter,
        concurrency: AdaptiveConcurrency,
        limits: Limits,
        in_doubt: Iterable[PreparedRun] = (),
        on_change: Callable[[], None] = lambda: None,
        renew: Callable[[], None] = lambda: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._runs = runs
        self._pool = pool
        self._recorder = recorder
        self._counter = counter
        self._limits = limits
        self._on_change = on_change
        self._renew = renew
        self._renew_at = clock() + _RENEW_EVERY
        self.has_lease = True
        self._clock = clock
        self.concurrency = concurrency
        self.why: str | None = None
        self.note: str | None = None
        self.paused = False
        self._lock = threading.Lock()
        self._over = self._cut = self._exhausted = False
        self._error: Exception | None = None
        self._in_doubt = list(in_doubt)
        self._queue = RetryQueue(self._in_doubt)
        self._unresolved = 0
        self._lookup_s = 0.0
        self._under_way: dict[str, tuple[PreparedRun, float]] = {}
        self._ended: list[Finished] = []
        self._failing = FailureTimeout()

    @property
    def at_once(self) -> int:
        """How many attempts are under way."""
        return len(self._under_way)

    def stop(self, why: str) -> None:
        """Begin nothing more; `drive` returns when what is under way has ended."""
        with self._lock:
            self.why = self.why or why
        self._pool.wake()

    def cut(self) -> None:
        """Wait no longer for what is under way: cut it off, or leave it where it cannot be."""
        self._cut = True
        self.stop("cut off")
        self._pool.cut()

    def pause(self) -> None:
        """Begin nothing more until `go_on`."""
        self.paused = True
        self._pool.wake()

    def go_on(self) -> bool:
        """End a pause, and take back a stop; return False where it is too late for that."""
        with self._lock:
            if self._over or self._cut or self._error is not None:
                return False
            self.why, self.paused = None, False
        self._pool.wake()
        return True

    def limit(self, limits: Limits) -> None:
        """Apply other limits from now on."""
        limits.calls, limits.seconds = self._limits.calls, self._limits.seconds
        self._limits = limits
        self._pool.wake()

    def drive(self) -> None:
        """Run until all has ended, or it was stopped and nothing is under way.

        What fails here stops the sweep. It is raised when what was under way has ended and, as far
        as possible, is recorded.
        """
        self._counter.go()
        for prepared in self._in_doubt:
            self._counter.begun(prepared.run.release_tag)
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
        self._on_change()
        if self._under_way and not (self._cut and not self._pool.can_cut):
            return False
        nothing_left = self._exhausted and not self._queue
        with self._lock:
            if nothing_left and self._unresolved and self.why is None:
                self.why = _unresolved(self._unresolved)
            self._over = self.why is not None or nothing_left or self._counter.left <= 0
            return self._over

    def _fail(self, exc: Exception) -> None:
        self._error = self._error or exc
        self.stop(str(exc) or type(exc).__name__)

    def _turn(self) -> None:
        """Record what ended and what begins, then send it."""
        now = self._clock()
        if now >= self._renew_at:
            self._renew_at = now + _RENEW_EVERY
            self.has_lease = False
            self._renew()
            self.has_lease = True
        self._run_clock()
        self._check_limits()
        room = self._room(now)
        due = self._queue.due(now, room)
        try:
            fresh = self._fresh(room - len(due))
            self._record(fresh)
            due += fresh
            while due:
                self._start(due[0], now)
                due.pop(0)
        finally:
            self._queue.put_back(due)

    def _record(self, fresh: Sequence[PreparedRun]) -> None:
        ended = self._ended
        if ended or fresh:
            begun = [prepared.run for prepared in fresh]
            self._recorder.record(begun=begun, ended=[each.run for each in ended])
        self._ended = []
        for each in ended:
            self._counter.ended(each.run, found=each.found, resent=each.resent)
        for prepared in fresh:
            self._limits.calls += 1
            self._counter.begun(prepared.run.release_tag)

    def _run_clock(self) -> None:
        if self.paused and not self._under_way:
            self._counter.hold()
            self._failing.reset()
        else:
            self._counter.go()

    def _check_limits(self) -> None:
        counter, ended = self._counter, [each.run for each in self._ended]
        reached = self._limits.reached(
            counter.seconds,
            cost=counter.cost + sum(run.cost_usd or 0.0 for run in ended),
            failures=counter.failed + sum(run.state != "FULFILLED" for run in ended),
            in_hand=len(self._under_way) + len(self._queue),
        )
        if reached is not None:
            self.stop(reached)

    def _room(self, now: float) -> int:
        if self.paused or self.why is not None:
            return 0
        return self.concurrency.room(len(self._under_way), now)

    def _fresh(self, room: int) -> list[PreparedRun]:
        """Return runs that begin now; fewer when many wait for another attempt."""
        in_hand = len(self._under_way) + self._queue.blocking
        most = self.concurrency.limit + max(self.concurrency.most, _WAITING) - in_hand
        number = self._limits.allowed(min(room, most))
        fresh = list(islice(self._runs, number))
        self._exhausted = self._exhausted or len(fresh) < number
        return fresh

    def _start(self, prepared: PreparedRun, now: float) -> None:
        if prepared.lookup_s < self._lookup_s:
            prepared = replace(prepared, lookup_s=self._lookup_s)
        self._pool.begin(prepared)
        self._under_way[prepared.run.id] = (prepared, now)

    def _wait(self) -> None:
        """Wait for the first that ends, and take what has ended."""
        for run_id, result in self._pool.ended(self._sleep()):
            self._take(run_id, result)

    def _sleep(self) -> float:
        now = self._clock()
        until = now + _TURN
        not_before = self.concurrency.not_before
        may_begin = self.concurrency.limit > len(self._under_way)
        if may_begin and not self.paused and self.why is None:
            soon = not_before if not_before > now else until
            if self._queue:
                soon = max(self._queue.first, not_before)
            until = min(until, soon)
        return max(0.001, until - now)

    def _take(self, run_id: str, result: Result) -> None:
        at_once = len(self._under_way)
        prepared, began = self._under_way.pop(run_id)
        now = self._clock()
        outcome = self._broken(result, prepared) if isinstance(result, BaseException) else result
        if isinstance(outcome, Finished):
            self._failing.reset()
            self._lookup_s = max(self._lookup_s, _LAG_FACTOR * outcome.lag_s)
            if not outcome.found:
                self.concurrency.ended(began, now, at_once)
            self._ended.append(outcome)
        elif isinstance(outcome, InDoubt) and outcome.after is None and not outcome.busy:
            self._failing.reset()
            self._unresolved += 1
            self._counter.begun(prepared.run.release_tag, -1)
        else:
            self._retry(outcome, began, now)

    def _retry(self, outcome: Retry | InDoubt, began: float, now: float) -> None:
        until = self.concurrency.not_before
        oldest = min((each for _, each in self._under_way.values()), default=None)
        if outcome.busy and (outcome.after or 0.0) > _LONGEST_BUSY:
            self.stop(f"{outcome.why}: the server asks to wait {outcome.after:,.0f} s")
        elif outcome.busy and self.concurrency.busy(began, now, outcome.after):
            self.note = f"lowered after {outcome.why} at {datetime.now().astimezone():%H:%M:%S}"
        if isinstance(outcome, InDoubt) and outcome.answered:
            self._failing.reset()
        elif outcome.hopeless:
            self.stop(outcome.why)
        elif self._failing.is_over(now, not_before=until, oldest=oldest):
            self.stop(f"no answer for 60 s: {outcome.why}")
        self._queue.put(outcome.prepared, now, outcome.after)

    def _broken(self, error: BaseException, prepared: PreparedRun) -> Outcome:
        """Return what follows from an attempt that raised; an executor may have lost it."""
        lost = not self._pool.can_cut or isinstance(error, BrokenExecutor | CancelledError)
        if isinstance(error, Exception) and not (lost and prepared.tries < _LOST):
            self._fail(error)
        return after_loss(prepared, f"the executor lost it: {type(error).__name__}")

    def _put_back(self) -> None:
        """Record the rest, and take back what surely never ran; the doubtful stay STARTED."""
        self._pool.drop()
        for prepared, _ in self._under_way.values():
            self._counter.begun(prepared.run.release_tag, -1)
        self._under_way.clear()
        back = self._queue.all()
        for prepared in back:
            self._counter.begun(prepared.run.release_tag, -1)
        never = [each.run for each in back if each.doubt is None and not each.resent]
        try:
            self._record(())
            if never and self.has_lease:  # else another driver may have sent them
                self._recorder.withdraw(never)
        except Exception as exc:  # noqa: BLE001  (raised at the end)
            self._fail(exc)


def _unresolved(number: int) -> str:
    what = "1 run is" if number == 1 else f"{number:,} runs are"
    return f"{what} in doubt: the server does not list what became of it; resume looks again"


class Session:
    """Runs `drive` in a thread, once.

    Parameters
    ----------
    driver : Driver
        What is stopped, paused and cut.
    drive : callable
        Drives it to its end.
    on_end : callable
        Called in the thread when `is_alive` is no longer true.
    """

    def __init__(
        self, driver: Driver, drive: Callable[[], None], on_end: Callable[[], None]
    ) -> None:
        self.driver = driver
        self.error: BaseException | None = None
        self._drive = drive
        self._on_end = on_end
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
        except BaseException:  # the system has no thread; or an interrupt, while it starts
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
        except BaseException as exc:  # noqa: BLE001  (raised where somebody waits)
            self.error = exc
        finally:
            self._end()
            self._on_end()

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
