"""The one thread that drives a sweep, and the threads that make its calls.

Each turn of the driver is one transaction: it completes the rows of all runs that ended since the
last one, and begins as many as may start. A run is sent after its row is committed, and counts as
ended after that is committed.
"""

from __future__ import annotations

import atexit
import heapq
import math
import os
import queue
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError
from contextlib import suppress
from dataclasses import replace
from datetime import datetime
from functools import partial
from itertools import islice
from typing import Any, TypeAlias

from vellum_nb.history import Sweeps
from vellum_nb.models import Cancellation, Run
from vellum_nb.rendering.format import plural
from vellum_nb.sweep.plan import StopRule, SweepOptions
from vellum_nb.sweep.progress import Counter
from vellum_nb.sweep.retry_policy import (
    Finished,
    InDoubt,
    Outcome,
    PreparedRun,
    Retry,
    after_loss,
)

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

_FIRST = 16  # calls at once, where that is not fixed
_LESS = 0.7
_MORE = 1.5
_MORE_AFTER_TROUBLE = 1.25
_WORTH = 0.3  # of what more at once would bring, were the server not to notice
_FULL = 0.7
_REST = 8  # rounds, at most

Attempt: TypeAlias = Callable[..., Outcome]
"""Sends a `PreparedRun` once, or looks it up once, until its `cancel`; it may be pickled."""


class AdaptiveConcurrency:
    """Decides how many calls may be under way, from the results of earlier ones. Pure.

    A round is as many calls as may be under way, all begun since that was last changed. After a
    round without trouble the limit grows by half, and stays there when that brought more calls a
    second (Little's law: calls under way / seconds that one takes). Otherwise it steps back, and
    tries again some rounds later. When the server is busy it shrinks, at most once a round, and
    nothing starts before the time that the server asked for (`not_before`). With a fixed
    `concurrency` only the waiting is left.
    """

    def __init__(self, concurrency: int | None = None, *, most: int = 128) -> None:
        self.fixed = concurrency is not None
        self.most = concurrency or most
        self.limit = concurrency or min(_FIRST, most)
        self.not_before = 0.0
        self._more = _MORE
        self._base: tuple[int, float] | None = None
        self._resting, self._rest = 0, 1
        self._restart(0.0)

    def room(self, at_once: int, now: float) -> int:
        """Return how many calls may start now."""
        return 0 if now < self.not_before else max(0, self.limit - at_once)

    def ended(self, began: float, now: float, at_once: int) -> None:
        """Note a call that ended well, one of `at_once` that were under way."""
        if self.fixed or began < self._since:
            return
        self._calls += 1
        self._took += now - began
        self._at_once += at_once
        if self._calls >= max(self.limit, 8):
            average = self._at_once / self._calls
            if average >= _FULL * self.limit:  # otherwise there was not enough to do
                self._judge(self._at_once / max(self._took, 1e-9))
            self._restart(now)

    def busy(self, began: float, now: float, wait: float | None) -> bool:
        """Note that the server has too much to do; return whether `limit` was lowered."""
        self.not_before = max(self.not_before, now + (wait or 0.0))
        if self.fixed or began < self._since:
            return False
        self.limit = max(1, int(self.limit * _LESS))
        self._more, self._base, self._resting = _MORE_AFTER_TROUBLE, None, 0
        self._restart(now)
        return True

    def _restart(self, now: float) -> None:
        self._since = now
        self._calls, self._took, self._at_once = 0, 0.0, 0

    def _judge(self, rate: float) -> None:
        """Grow, or step back, by the calls a second that this limit brings."""
        if self._resting:
            self._resting -= 1
            return
        limit, before = self._base or (self.limit, 0.0)
        if rate > before * (1 + _WORTH * (self.limit / limit - 1)):
            self._base, self._rest = (self.limit, rate), 1
            self.limit = min(self.most, math.ceil(self.limit * self._more))
        else:
            self.limit, self._base, self._resting = limit, None, self._rest
            self._rest = min(2 * self._rest, _REST)


class WorkerPool:
    """Makes attempts in threads, which never keep the interpreter from ending.

    `submit` returns what a thread calls: the attempt, or a wait for that of an executor. `can_cut`
    says whether its `Cancellation` ends what is under way. A future for each attempt of a thread
    would cost as much as recording it. `wake` and `cut` are for any thread.
    """

    def __init__(
        self,
        submit: Callable[[PreparedRun, Cancellation], Callable[[], Outcome]],
        most: int,
        *,
        can_cut: bool = True,
        on_close: Callable[[], None] = lambda: None,
    ) -> None:
        self.can_cut = can_cut
        self._submit, self._most, self._on_close = submit, most, on_close
        self._cancel, self._threads = Cancellation(), 0
        self._calls: queue.SimpleQueue[tuple[str, Callable[[], Outcome]] | None]
        self._done: queue.SimpleQueue[tuple[str, Result] | None]
        self._calls, self._done = queue.SimpleQueue(), queue.SimpleQueue()

    def begin(self, prepared: PreparedRun) -> None:
        """Begin an attempt."""
        if self._threads < self._most:  # first: nothing is sent where this fails
            threading.Thread(target=self._work, name="vellum-nb-call", daemon=True).start()
            self._threads += 1
        self._calls.put((prepared.run.id, self._submit(prepared, self._cancel)))

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            run_id, attempt = call
            try:
                self._done.put((run_id, attempt()))
            except BaseException as exc:  # noqa: BLE001  (raised where somebody waits)
                self._done.put((run_id, exc))
            del call, attempt  # an idle thread keeps nothing alive

    def ended(self, timeout: float) -> list[tuple[str, Result]]:
        """Wait for an attempt to end, or for `wake`; return those that did, by their run's id."""
        found: list[tuple[str, Result] | None] = []
        with suppress(queue.Empty):
            found.append(self._done.get(timeout=timeout))
            while True:
                found.append(self._done.get_nowait())
        return [each for each in found if each is not None]

    def wake(self) -> None:
        """End a wait."""
        self._done.put(None)

    def cut(self) -> None:
        """Cut off what is under way, where it is in this process."""
        self._cancel.cancel()
        self.wake()

    def close(self) -> None:
        """Take back what has not begun, and end the threads; the rest is ignored."""
        with suppress(queue.Empty):
            while True:
                self._calls.get_nowait()
        for _ in range(self._threads):
            self._calls.put(None)
        self._on_close()


def thread_pool(attempt: Attempt, most: int) -> WorkerPool:
    """Return a pool for so many attempts at once in threads."""
    return WorkerPool(lambda prepared, cancel: partial(attempt, prepared, cancel), most)


class Driver(threading.Thread):
    """The thread that drives the runs of one sweep; its methods are for any other.

    `runs` are to be begun, and are made as they are needed; those `in_doubt`, of earlier sessions,
    are looked up first. `calls` and `seconds` are what earlier sessions began, and took. `renew`
    keeps the lease of the sweep: it is called every ten seconds, also during a pause, and an error
    of it stops the sweep; False: the lease may be lost. `on_change` is called after every turn,
    `on_end` when nothing is under way any more. `clock` is for tests that do not wait.
    """

    def __init__(
        self,
        runs: Iterator[PreparedRun],
        pool: WorkerPool,
        *,
        recorder: Sweeps,
        counter: Counter,
        options: SweepOptions,
        calls: int = 0,
        seconds: float = 0.0,
        in_doubt: Iterable[PreparedRun] = (),
        on_change: Callable[[], None] = lambda: None,
        on_end: Callable[[Driver], None] = lambda _: None,
        renew: Callable[[], object] = lambda: None,
        stop_rule: StopRule | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(name="vellum-nb-sweep", daemon=True)
        self._runs, self._pool, self._recorder, self._counter = runs, pool, recorder, counter
        self._calls, self._seconds, self.options = calls, seconds, options
        self._on_change, self._on_end, self._clock = on_change, on_end, clock
        self._rule, self._calls_before = stop_rule, calls
        self._renew, self._renew_at, self.has_lease = renew, clock() + _RENEW_EVERY, True
        self.concurrency = AdaptiveConcurrency(options.concurrency, most=options.max_concurrency)
        self.why: str | None = None
        self.note: str | None = None
        self.paused = False
        self.error: BaseException | None = None
        self._lock = threading.Lock()
        self._claim, self._has_ended = threading.Lock(), threading.Event()
        self._process: int | None = None
        self._over = self._cut = self._exhausted = False
        self._waiting: list[tuple[float, int, PreparedRun]] = []  # a heap, by when they are due
        self._number = 0
        self._unresolved: list[Run] = []
        for prepared in in_doubt:
            self._wait_until(0.0, prepared)
            counter.begun(prepared.run.release_tag)
        self._lookup_s = 0.0
        self._under_way: dict[str, tuple[PreparedRun, float]] = {}
        self._ended: list[Finished] = []
        self._failing_since: float | None = None

    @property
    def facts(self) -> dict[str, Any]:
        """How many attempts are under way, and may be: fields of `Progress`."""
        limit, most = self.concurrency.limit, self.concurrency.most
        return {"at_once": len(self._under_way), "limit": limit, "most": most, "note": self.note}

    def stop(self, why: str) -> None:
        """Begin nothing more; the thread ends when what is under way has ended."""
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
            if self._over or self._cut or self.error is not None:
                return False
            self.why, self.paused = None, False
        self._pool.wake()
        return True

    @property
    def is_running(self) -> bool:
        """Whether it runs, in this process: a fork takes no threads along."""
        return self._process == os.getpid() and not self._has_ended.is_set()

    def start(self) -> None:
        """Start the thread; where an interrupt breaks that, it runs, or never will."""
        try:
            self._process = os.getpid()
            super().start()
        except BaseException:
            if self._claim.acquire(blocking=False):
                self._has_ended.set()
            raise

    def wait(self, timeout: float | None = None) -> None:
        """Wait for the end. An interrupt ends the waiting."""
        until = math.inf if timeout is None else time.monotonic() + timeout
        while self.is_running and (left := until - time.monotonic()) > 0:
            self._has_ended.wait(min(_SLICE, left))

    def run(self) -> None:
        """Drive until all has ended, or it was stopped and nothing is under way.

        What fails here stops the sweep, and is the `error`: what was under way ends first and, as
        far as possible, is recorded.
        """
        if not self._claim.acquire(blocking=False):
            return
        _RUNNING.add(self)
        try:
            while not self._is_over():
                for run_id, result in self._pool.ended(self._sleep()):
                    self._take(run_id, result)
        except BaseException as exc:  # noqa: BLE001  (raised where somebody waits)
            self._fail(exc)
            self._pool.cut()
        try:
            self._put_back()
            self._counter.run_clock(on=False)
            self._on_end(self)
        except BaseException as exc:  # noqa: BLE001
            self._fail(exc)
        finally:
            _RUNNING.discard(self)
            self._has_ended.set()
            self._on_change()

    def _is_over(self) -> bool:
        """Take a turn; return whether it was the last."""
        try:
            self._turn()
        except Exception as exc:  # noqa: BLE001  (raised at the end)
            self._fail(exc)
        self._on_change()
        if self._under_way and not (self._cut and not self._pool.can_cut):
            return False
        nothing_left = self._exhausted and not self._waiting
        with self._lock:
            if nothing_left and self._unresolved and self.why is None:
                what = plural(len(self._unresolved), "run is", "runs are")
                rest = "in doubt: the server does not list it; resume looks it up again"
                self.why = f"{what} {rest}"
            self._over = self.why is not None or nothing_left or self._counter.left <= 0
            return self._over

    def _fail(self, exc: BaseException) -> None:
        self.error = self.error or exc
        self.stop(str(exc) or type(exc).__name__)

    def _turn(self) -> None:
        """Record what ended and what begins, then send it."""
        now = self._clock()
        if now >= self._renew_at:
            self._renew_at = now + _RENEW_EVERY
            self.has_lease = False
            self.has_lease = self._renew() is not False
        is_idle = self.paused and not self._under_way
        self._counter.run_clock(on=not is_idle)
        if is_idle:
            self._failing_since = None
        self._check_limits()
        halted = self.paused or self.why is not None
        room = 0 if halted else self.concurrency.room(len(self._under_way), now)
        fresh = self._fresh(room - sum(due <= now for due, *_ in self._waiting))
        self._record(fresh)
        for prepared in fresh:
            self._wait_until(now, prepared)
        while room > 0 and self._waiting and self._waiting[0][0] <= now:
            prepared = self._waiting[0][2]
            if prepared.lookup_s < self._lookup_s:
                prepared = replace(prepared, lookup_s=self._lookup_s)
            self._pool.begin(prepared)
            self._under_way[prepared.run.id] = (prepared, now)
            heapq.heappop(self._waiting)
            room -= 1

    def _check_limits(self) -> None:
        counter, ended = self._counter, [each.run for each in self._ended]
        in_hand = self._under_way or self._waiting
        reached = self.options.reached(
            0 if in_hand else self._calls,
            self._seconds + counter.seconds,
            counter.cost + sum(run.cost_usd or 0.0 for run in ended),
            counter.failed + sum(run.state != "FULFILLED" for run in ended),
        )
        if self._rule is not None:
            reason = self._rule.reason([*ended, *self._unresolved])
            reached = reached or reason
        if reached is not None:
            self.stop(reached)

    def _fresh(self, room: int) -> list[PreparedRun]:
        """Return runs that begin now; fewer when many wait for another attempt."""
        blocking = sum(not (p.doubt and p.doubt.executed) for *_, p in self._waiting)
        most = self.concurrency.limit + max(self.concurrency.most, _WAITING)
        number = min(room, most - len(self._under_way) - blocking)
        if self.options.max_calls is not None:
            number = min(number, self.options.max_calls - self._calls)
        if self._rule is not None:
            begun = self._calls - self._calls_before
            number = min(number, self._rule.may_begin(2 * self.concurrency.limit) - begun)
        fresh = list(islice(self._runs, max(0, number)))
        self._exhausted = self._exhausted or len(fresh) < number
        return fresh

    def _record(self, fresh: Sequence[PreparedRun] = ()) -> None:
        if self._ended or fresh:
            self._recorder.record(begun=[p.run for p in fresh], ended=[e.run for e in self._ended])
        for each in self._ended:
            self._counter.ended(each.run, found=each.found, resent=each.resent)
        for prepared in fresh:
            self._counter.begun(prepared.run.release_tag)
        self._calls, self._ended = self._calls + len(fresh), []

    def _wait_until(self, due: float, prepared: PreparedRun) -> None:
        self._number += 1
        heapq.heappush(self._waiting, (due, self._number, prepared))

    def _sleep(self) -> float:
        """Return for how long nothing has to be done unless something ends."""
        now, not_before = self._clock(), self.concurrency.not_before
        until = now + _TURN
        may_begin = self.concurrency.limit > len(self._under_way)
        if may_begin and not self.paused and self.why is None:
            soon = self._waiting[0][0] if self._waiting else 0.0 if not_before > now else until
            until = min(until, max(soon, not_before))
        return max(0.001, until - now)

    def _take(self, run_id: str, result: Result) -> None:
        at_once = len(self._under_way)
        prepared, began = self._under_way.pop(run_id)
        now = self._clock()
        outcome = self._broken(result, prepared) if isinstance(result, BaseException) else result
        if isinstance(outcome, Finished):
            self._failing_since = None
            self._lookup_s = max(self._lookup_s, _LAG_FACTOR * outcome.lag_s)
            if not outcome.found:
                self.concurrency.ended(began, now, at_once)
            self._ended.append(outcome)
        elif isinstance(outcome, InDoubt) and outcome.after is None and not outcome.busy:
            self._failing_since = None
            self._unresolved.append(prepared.run)
            self._counter.begun(prepared.run.release_tag, -1)
        else:
            self._retry(outcome, began, now)

    def _retry(self, outcome: Retry, began: float, now: float) -> None:
        not_before, after = self.concurrency.not_before, outcome.after
        if outcome.busy and (after or 0.0) > _LONGEST_BUSY:
            self.stop(f"{outcome.why}: wait {after:,.0f} s")
        elif outcome.busy and self.concurrency.busy(began, now, after):
            self.note = f"lowered after {outcome.why} at {datetime.now().astimezone():%H:%M:%S}"
        if isinstance(outcome, InDoubt) and outcome.answered:
            self._failing_since = None
        elif outcome.hopeless:
            self.stop(outcome.why)
        elif self._has_failed_long(now, not_before):
            self.stop(f"no answer for 60 s: {outcome.why}")
        if after is None:
            after = min(0.25 * 2 ** min(outcome.prepared.tries, 10), _LONGEST_RETRY)
        self._wait_until(now + after, outcome.prepared)

    def _has_failed_long(self, now: float, not_before: float) -> bool:
        """Note trouble; return whether there was nothing else for a minute.

        What the server asked to wait does not count, and a call from before the trouble that is
        still under way may simply be slow.
        """
        if self._failing_since is None:
            self._failing_since = now
        since = max(self._failing_since, not_before)
        oldest = min((began for _, began in self._under_way.values()), default=math.inf)
        return now - since > _FAILING and oldest >= since

    def _broken(self, error: BaseException, prepared: PreparedRun) -> Outcome:
        """Return what follows from an attempt that raised; an executor may have lost it."""
        if isinstance(error, ModuleNotFoundError) and not self._pool.can_cut:
            advice = "install the same vellum_nb there as here"
            why = f"a worker of the executor cannot import {error.name}: {advice}"
            return Retry(prepared, why, hopeless=True)
        lost = not self._pool.can_cut or isinstance(error, BrokenExecutor | CancelledError)
        if isinstance(error, Exception) and not (lost and prepared.tries < _LOST):
            self._fail(error)
        return after_loss(prepared, f"the executor lost it: {type(error).__name__}")

    def _put_back(self) -> None:
        """Record the rest, and take back what surely never ran; the doubtful stay STARTED."""
        self._pool.close()
        back = [prepared for *_, prepared in self._waiting]
        for prepared in [*back, *(each for each, _ in self._under_way.values())]:
            self._counter.begun(prepared.run.release_tag, -1)
        self._waiting, self._under_way = [], {}
        never = [each.run for each in back if each.doubt is None and not each.resent]
        try:
            self._record()
            if never and self.has_lease:  # else another driver may have sent them
                self._recorder.withdraw(never)
        except Exception as exc:  # noqa: BLE001  (raised at the end)
            self._fail(exc)


_RUNNING: set[Driver] = set()


@atexit.register
def _end_with_interpreter() -> None:
    """Stop every sweep: what cannot end soon is looked up when the sweep is resumed."""
    running = [driver for driver in _RUNNING if driver.is_running]
    for driver in running:
        driver.stop("the interpreter ended")
    until = time.monotonic() + _GRACE
    for driver in running:
        driver.wait(until - time.monotonic())
        driver.cut()
    for driver in running:
        driver.wait(_WRITING)
