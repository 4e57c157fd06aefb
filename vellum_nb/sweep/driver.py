"""The one thread that drives a sweep, and the threads that make its calls.

Each turn of the driver is one transaction under its lease: it completes the rows of all runs that
ended since the last one, notes those that became doubtful, and begins as many as may start. A run
is sent after its row is committed, and counts as ended after that is committed.
"""

from __future__ import annotations

import atexit
import heapq
import math
import os
import queue
import threading
import time
from collections import Counter as Tally
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import BrokenExecutor, CancelledError
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

from vellum_nb.clock import uptime
from vellum_nb.errors import OutOfReachError
from vellum_nb.history import LeaseLostError
from vellum_nb.models import Cancellation, DoubtKind, Run
from vellum_nb.rendering.format import plural
from vellum_nb.sweep.listing import ListingDelay
from vellum_nb.sweep.plan import StopRule, SweepOptions
from vellum_nb.sweep.progress import Counter, is_cost
from vellum_nb.sweep.retry_policy import (
    Doubt,
    Finished,
    InDoubt,
    Outcome,
    PreparedRun,
    Retry,
    after_loss,
    cancelled,
)

if TYPE_CHECKING:
    from vellum_nb.history import SweepLease

Result: TypeAlias = Outcome | BaseException

_GATHER = 0.001  # seconds; calls that end together are recorded in one transaction
_TURN = 0.25  # seconds; the longest a turn waits for something to end
_LONGEST_BUSY = 600.0  # seconds that the server may ask everybody to wait; else it is for later
_WAITING = 512  # runs that may wait to be sent or looked up while others begin
_LOST = 3  # how often an executor may lose the same run
_FAILING = 60.0  # seconds of nothing but trouble, until a sweep gives up
_LONGEST_RETRY = 10.0  # seconds between two tries, where the server does not say
_RENEW_EVERY = 10.0  # seconds; a lease lasts for a minute
_TRY_AGAIN = 1.0  # seconds, to reach the database
_ASLEEP = 10.0  # seconds without a turn: the machine slept
_SLICE = 0.5  # seconds; on Windows nothing interrupts a wait
_GRACE = 2.0  # seconds for calls under way, when the interpreter ends
_WRITING = 5.0  # seconds to record what was cut off
_AWAY = "the history cannot be reached: no run begins until it can"
_AS_BEGUN = {"state": "STARTED", "doubt": None, "error": None}
_AS_BEGUN |= {"finished_at": None, "latency_s": None}

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
            if self._done.empty():
                time.sleep(_GATHER)
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

    Parameters
    ----------
    runs : iterator of PreparedRun
        Runs that have not begun; they are prepared as they are needed.
    pool : WorkerPool
        Makes the calls.
    lease : SweepLease
        Everything is recorded under it, and nothing is sent after its deadline. If another driver
        has it, this one stops, and only hands in the answers of calls that are under way.
    counter, options : Counter, SweepOptions
        The progress, and the limits.
    listing : ListingDelay
        Decides when a run in doubt is sent again.
    calls, seconds : int, float
        What earlier sessions began, and took.
    in_doubt : iterable of PreparedRun
        Runs of earlier sessions that are looked up first.
    next_attempt : callable
        Returns what follows a run whose execution was cut off; None: it is left to later sessions.
    sent_now : callable
        Returns a run that is sent again with the time and the release of now.
    on_change, on_end : callable
        Called after every turn, and when nothing is under way any more.
    stop_rule : StopRule, optional
        Stops the sweep when it is decided.
    clock : callable
        Seconds, those for which the machine sleeps too.
    """

    why: str | None = None
    note: str | None = None
    error: BaseException | None = None
    paused = False
    _process: int | None = None
    _failing_since: float | None = None
    _over = _cut = _exhausted = _has_lost_lease = False
    _is_reachable = True
    _number = _drawn = 0  # how many waited for an attempt, and were drawn from `runs`

    def __init__(
        self,
        runs: Iterator[PreparedRun],
        pool: WorkerPool,
        *,
        lease: SweepLease,
        counter: Counter,
        options: SweepOptions,
        listing: ListingDelay,
        calls: int = 0,
        seconds: float = 0.0,
        in_doubt: Iterable[PreparedRun] = (),
        next_attempt: Callable[[PreparedRun], PreparedRun | None] = lambda _: None,
        sent_now: Callable[[Run], Run] = lambda run: run,
        on_change: Callable[[], None] = lambda: None,
        on_end: Callable[[Driver], None] = lambda _: None,
        stop_rule: StopRule | None = None,
        clock: Callable[[], float] = uptime,
    ) -> None:
        super().__init__(name="vellum-nb-sweep", daemon=True)
        self._runs, self._pool, self._lease, self._counter = runs, pool, lease, counter
        self._calls, self._seconds, self.options = calls, seconds, options
        self._on_change, self._on_end, self._clock = on_change, on_end, clock
        self._rule, self._next_attempt, self._listing = stop_rule, next_attempt, listing
        self._sent_now = sent_now
        self._renew_at, self._last_turn = clock() + _RENEW_EVERY, clock()
        self.concurrency = AdaptiveConcurrency(options.concurrency, most=options.max_concurrency)
        self._lock, self._claim = threading.Lock(), threading.Lock()
        self._has_ended = threading.Event()
        self._waiting: list[tuple[float, int, PreparedRun]] = []  # a heap, by when they are due
        self._next: deque[PreparedRun] = deque()  # to be begun
        self._resends: deque[PreparedRun] = deque()  # in doubt, to be sent again
        self._unresolved: list[Run] = []  # left to later sessions
        self._under_way: dict[str, tuple[PreparedRun, float]] = {}
        self._doubted: list[Run] = []
        self._ended: list[tuple[PreparedRun, Finished]] = []
        for prepared in in_doubt:
            self._look_up(prepared, 0.0)
            counter.begun(prepared.run.release_tag)

    @property
    def facts(self) -> dict[str, Any]:
        """How many attempts are under way, and may be: fields of `Progress`."""
        limit, most = self.concurrency.limit, self.concurrency.most
        note = self.note if self._is_reachable else _AWAY
        return {"at_once": len(self._under_way), "limit": limit, "most": most, "note": note}

    def stop(self, why: str) -> None:
        """Begin no more runs; the thread ends when the running calls have ended."""
        with self._lock:
            self.why = self.why or why
        self._pool.wake()

    def cut(self) -> None:
        """Cancel running calls; their runs are CANCELLED and in doubt."""
        self._cut = True
        self.stop("cut off")
        self._pool.cut()

    def pause(self) -> None:
        """Begin no more runs until `go_on`."""
        self.paused = True
        self._pool.wake()

    def go_on(self) -> bool:
        """End a pause and take back a stop; return False if the driver is about to end."""
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
        """Start the thread. If interrupted, it either runs or is marked as ended."""
        try:
            self._process = os.getpid()
            super().start()
        except BaseException:
            if self._claim.acquire(blocking=False):
                self._has_ended.set()
            raise

    def wait(self, timeout: float | None = None) -> None:
        """Wait until the driver has ended. An interrupt ends the wait."""
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
        is_busy = any(not prepared.is_probe for prepared, _ in self._under_way.values())
        if is_busy and not (self._cut and not self._pool.can_cut):
            return False
        with self._lock:
            if self._has_nothing_left and self._unresolved and self.why is None:
                self.why = _left_over(self._unresolved)
            nothing_left = self._has_nothing_left or self._counter.left <= 0
            self._over = self.why is not None or nothing_left
            return self._over

    @property
    def _has_nothing_left(self) -> bool:
        return self._exhausted and not (self._waiting or self._next or self._resends)

    def _fail(self, exc: BaseException) -> None:
        self.error = self.error or exc
        self._has_lost_lease = self._has_lost_lease or isinstance(exc, LeaseLostError)
        self.stop(str(exc) or type(exc).__name__)

    def _turn(self) -> None:
        """Record what ended and what begins, then send it."""
        now = self._clock()
        self._renew_lease(now)
        is_idle = self.paused and not self._under_way
        self._counter.run_clock(on=not is_idle)
        if is_idle or not self._is_reachable or now - self._last_turn > _ASLEEP:
            self._failing_since = None
        self._last_turn = now
        self._check_limits()
        halted = self.paused or self.why is not None
        room = 0 if halted else self.concurrency.room(len(self._under_way), now)
        self._record(now, room - sum(due <= now for due, *_ in self._waiting))
        self._send(now, room)

    def _renew_lease(self, now: float) -> None:
        if now >= self._renew_at and not self._has_lost_lease:
            self._note_reach(now, is_reachable=self._lease.renew())

    def _note_reach(self, now: float, *, is_reachable: bool) -> None:
        self._is_reachable = is_reachable
        self._renew_at = now + (_RENEW_EVERY if is_reachable else _TRY_AGAIN)

    def _check_limits(self) -> None:
        counter = self._counter
        runs = [outcome.run for _, outcome in self._ended]
        ended = [run for run in runs if not is_cut_off(run)]
        cost = sum((run.cost_usd or 0.0 for run in runs if is_cost(run.cost_usd)), counter.cost)
        in_hand = self._under_way or self._waiting or self._resends
        reached = self.options.reached(
            0 if in_hand else self._calls,
            self._seconds + counter.seconds,
            cost + (0.0 if in_hand else self._unresolved_cost),
            counter.failed + sum(run.state != "FULFILLED" for run in ended),
        )
        if self._rule is not None:
            reason = self._rule.reason([*ended, *self._unresolved])
            reached = reached or reason
        if reached is not None:
            self.stop(reached)

    @property
    def _unresolved_cost(self) -> float:
        return sum(self._counter.expected_cost(run.release_tag) or 0 for run in self._unresolved)

    def _fresh(self, room: int) -> list[PreparedRun]:
        """Return runs that begin now; fewer when many wait for another attempt."""
        blocking = sum(not (p.doubt and p.doubt.executed) for *_, p in self._waiting)
        most = self.concurrency.limit + max(self.concurrency.most, _WAITING)
        number = min(room, most - len(self._under_way) - blocking)
        if self.options.max_calls is not None:
            number = min(number, self.options.max_calls - self._calls)
        fresh: list[PreparedRun] = []
        tags: Tally[str] = Tally()
        while len(fresh) < number and self._draw() and self._can_pay(self._next[0], tags):
            fresh.append(self._next.popleft())
            tags[fresh[-1].run.release_tag] += 1
        return fresh

    def _draw(self) -> bool:
        """Draw a run that may begin into `_next`; return False if no run may."""
        if self._next:
            return True
        more = 2 * self.concurrency.limit
        if self._rule is not None and self._drawn >= self._rule.may_begin(more):
            return False
        prepared = next(self._runs, None)
        if prepared is None:
            self._exhausted = True
            return False
        self._drawn += 1
        self._next.append(prepared)
        return True

    def _can_pay(self, prepared: PreparedRun, begun: Tally[str]) -> bool:
        limit = self.options.max_cost_usd
        if limit is None:
            return True
        limit -= self._unresolved_cost
        return self._counter.can_pay(prepared.run.release_tag, limit, begun)

    def _record(self, now: float, room: int) -> None:
        """Record what ended and became doubtful, and what is sent next."""
        room = room if self._is_reachable else 0
        resends = [self._resends.popleft() for _ in range(min(room, len(self._resends)))]
        fresh = self._fresh(room - len(resends))
        try:
            stored = self._write(fresh, resends)
        except Exception as exc:
            self._next.extendleft(reversed(fresh))
            self._resends.extend(resends)
            if not isinstance(exc, OutOfReachError):
                raise
            self._note_reach(now, is_reachable=False)
            return
        if fresh or resends:
            self._note_reach(now, is_reachable=True)
        for prepared in fresh:
            self._counter.begun(prepared.run.release_tag)
            self._begin(prepared, stored.get(prepared.run.id), now)
        self._calls += len(fresh)
        for prepared in resends:
            self._begin(replace(prepared, doubt=None), stored.get(prepared.run.id), now)

    def _write(
        self,
        fresh: Sequence[PreparedRun] = (),
        resends: Sequence[PreparedRun] = (),
        *,
        sent_within_s: float = 0.0,
    ) -> dict[str, Run]:
        """Record a turn in one transaction; return rows of `fresh` that were there before."""
        ended = [outcome.run for _, outcome in self._ended]
        stored: list[Run] | None = []
        if self._has_lost_lease:
            self._lease.keep_answers([run for run in ended if run.state != "FAILED"])
        elif ended or fresh or resends or self._doubted:
            begun = [prepared.run for prepared in fresh]
            resent = [prepared.run for prepared in resends]
            stored = self._lease.record(
                begun=begun,
                resent=resent,
                doubted=self._doubted,
                ended=ended,
                sent_within_s=sent_within_s,
            )
        for prepared, outcome in self._ended:
            self._count(prepared, outcome)
        self._ended = []
        if stored is not None:
            self._doubted = []
        return {run.id: run for run in stored or ()}

    def _count(self, prepared: PreparedRun, outcome: Finished) -> None:
        """Count a run whose end is recorded; one that was cut off is made again."""
        run = outcome.run
        if not is_cut_off(run):
            self._counter.ended(run, found=outcome.found, resent=outcome.resent)
            return
        self._counter.begun(run.release_tag, -1)
        self._counter.spent(run.release_tag, run.cost_usd)
        following = self._next_attempt(prepared)
        if following is None:
            self._unresolved.append(run)
        else:
            self._next.append(following)

    def _begin(self, prepared: PreparedRun, stored: Run | None, now: float) -> None:
        """Send a run, unless its row was stored before, or has ended since."""
        if stored is None:
            self._wait_until(now, prepared)
        elif stored.in_doubt:
            doubt = Doubt("the history had it already", stored.doubt or "SENT")
            self._look_up(replace(prepared, run=stored, doubt=doubt), now)
        else:
            self._ended.append((prepared, Finished(stored, found=True)))

    def _send(self, now: float, room: int) -> None:
        """Begin attempts at what is due; nothing is sent after the deadline of the lease."""
        for probe in self._listing.probes(now) if room > 0 else ():
            self._attempt(probe, now)
        held = []
        while room > 0 and self._waiting and self._waiting[0][0] <= now:
            prepared = self._waiting[0][2]
            if prepared.doubt is not None or self._lease.may_send:
                self._attempt(prepared, now)
                heapq.heappop(self._waiting)
                room -= 1
            else:
                held.append(heapq.heappop(self._waiting))
        for each in held:
            heapq.heappush(self._waiting, each)

    def _attempt(self, prepared: PreparedRun, now: float) -> None:
        doubt = prepared.doubt
        if doubt is None:
            prepared = replace(prepared, send_by=self._lease.deadline)
        else:
            after = self._listing.resend_after if prepared.may_resend else self._listing.timeout_s
            prepared = replace(
                prepared,
                doubt_s=now - (now if doubt.since is None else doubt.since),
                resend_after=math.inf if prepared.is_probe else after,
            )
        self._pool.begin(prepared)
        self._under_way[prepared.run.id] = (prepared, now)

    def _look_up(self, prepared: PreparedRun, due: float) -> None:
        """Look a run in doubt up when it is `due`."""
        doubt = prepared.doubt
        if doubt is not None and doubt.since is None:
            prepared = replace(prepared, doubt=replace(doubt, since=self._clock()))
        self._wait_until(due, prepared)

    def _wait_until(self, due: float, prepared: PreparedRun) -> None:
        self._number += 1
        heapq.heappush(self._waiting, (due, self._number, prepared))

    def _sleep(self) -> float:
        """Return for how long nothing has to be done unless something ends."""
        now, not_before = self._clock(), self.concurrency.not_before
        until = now + _TURN
        may_begin = self.concurrency.limit > len(self._under_way)
        if may_begin and not self.paused and self.why is None and self._lease.may_send:
            soon = self._waiting[0][0] if self._waiting else 0.0 if not_before > now else until
            until = min(until, max(min(soon, self._listing.due), not_before))
        return max(0.001, until - now)

    def _take(self, run_id: str, result: Result) -> None:
        at_once = len(self._under_way)
        prepared, began = self._under_way.pop(run_id)
        now = self._clock()
        outcome = self._broken(result, prepared) if isinstance(result, BaseException) else result
        listing, resend_after = self._listing, self._listing.resend_after
        if prepared.doubt is None and isinstance(outcome, Finished):
            earliest = max(began, self._last_turn)  # it may have come while the machine slept
            listing.take_answer(prepared, outcome.run, earliest, now - began)
        else:
            listing.take(prepared, outcome, now)
        if listing.resend_after < resend_after:
            self._hasten(now)
        if isinstance(outcome, Finished):
            self._failing_since = None
            if prepared.is_probe:
                return
            if not outcome.found:
                self.concurrency.ended(began, now, at_once)
            self._ended.append((prepared, outcome))
        elif isinstance(outcome, InDoubt) and outcome.after is None and not outcome.busy:
            self._failing_since = None
            if not prepared.is_probe:
                self._unresolved.append(prepared.run)
                self._counter.begun(prepared.run.release_tag, -1)
        else:
            self._retry(prepared, outcome, began, now)

    def _retry(self, prepared: PreparedRun, outcome: Retry, began: float, now: float) -> None:
        not_before, after = self.concurrency.not_before, outcome.after
        if outcome.busy and (after or 0.0) > _LONGEST_BUSY:
            self.stop(f"{outcome.why}: wait {after:,.0f} s")
        elif outcome.busy and self.concurrency.busy(began, now, after):
            self.note = f"lowered after {outcome.why} at {datetime.now().astimezone():%H:%M:%S}"
        if outcome.hopeless:
            self.stop(outcome.why)
        elif isinstance(outcome, InDoubt) and outcome.answered:
            self._failing_since = None
        elif self._has_failed_long(now, not_before):
            self.stop(f"no answer for 60 s: {outcome.why}")
        if after is None:
            after = min(0.25 * 2 ** min(outcome.prepared.tries, 10), _LONGEST_RETRY)
        if not prepared.is_probe:
            self._try_again(prepared, outcome.prepared, now, now + after)

    def _try_again(
        self, earlier: PreparedRun, prepared: PreparedRun, now: float, due: float
    ) -> None:
        """Look a run in doubt up, or send it again."""
        if prepared.doubt is not None:
            kind = earlier.doubt.kind if earlier.doubt else None
            if prepared.doubt.kind not in {None, kind}:
                fields = {"doubt": prepared.doubt.kind}
                self._doubted.append(prepared.run.model_copy(update=fields))
            self._look_up(prepared, due)
        elif earlier.doubt is None:  # it was not executed
            self._wait_until(due, prepared)
        elif earlier.force or earlier.doubt_s >= self._listing.resend_after:
            run = self._sent_now(prepared.run.model_copy(update=_AS_BEGUN))
            self._resends.append(replace(prepared, run=run, doubt=earlier.doubt))
        else:  # the delay is longer than was known when this look-up began
            self._look_up(earlier, now)

    def _hasten(self, now: float) -> None:
        """Have runs in doubt looked up when they may be sent again, if that is sooner now."""
        after, waiting = self._listing.resend_after, self._waiting
        self._waiting = []
        for due, number, prepared in waiting:
            doubt, soonest = prepared.doubt, math.inf
            if doubt is not None and doubt.since is not None and not doubt.executed:
                soonest = max(now, doubt.since + after)
            self._waiting.append((min(due, soonest), number, prepared))
        heapq.heapify(self._waiting)

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
        """Map an exception raised by an attempt to an outcome; an executor may have lost it."""
        if isinstance(error, ModuleNotFoundError) and not self._pool.can_cut:
            advice = "install the same vellum_nb there as here"
            why = f"a worker of the executor cannot import {error.name}: {advice}"
            return Retry(prepared, why, hopeless=True)
        lost = not self._pool.can_cut or isinstance(error, BrokenExecutor | CancelledError)
        if isinstance(error, Exception) and not (lost and prepared.tries < _LOST):
            self._fail(error)
        return after_loss(prepared, f"the executor lost it: {type(error).__name__}")

    def _put_back(self) -> None:
        """Record the last turn; remove runs that were never sent, and leave the others in doubt."""
        self._pool.close()
        waiting = [prepared for *_, prepared in self._waiting]
        begun = [*waiting, *self._resends, *(each for each, _ in self._under_way.values())]
        begun = [prepared for prepared in begun if not prepared.is_probe]
        for prepared in begun:
            self._counter.begun(prepared.run.release_tag, -1)
        unsent = [each.run for each in waiting if each.doubt is None and not each.resent]
        surely_unsent = {run.id for run in unsent}
        self._doubted += [
            self._left_in_doubt(each)
            for each in begun
            if (self._cut or each.doubt is None) and each.run.id not in surely_unsent
        ]
        sent_within_s = self._sent_within()
        self._waiting, self._under_way = [], {}
        self._next.clear()
        self._resends.clear()
        try:
            self._write(sent_within_s=sent_within_s)
            if unsent and not self._has_lost_lease:
                self._lease.withdraw(unsent)
        except Exception as exc:  # noqa: BLE001  (raised at the end)
            self._fail(exc)
            if self._has_lost_lease and self._ended:
                with suppress(Exception):
                    self._write()

    def _left_in_doubt(self, prepared: PreparedRun) -> Run:
        doubt: DoubtKind = (prepared.doubt and prepared.doubt.kind) or "SENT"
        fields = {"finished_at": datetime.now(UTC), **cancelled(doubt)}
        return prepared.run.model_copy(update=fields if self._cut else {"doubt": doubt})

    def _sent_within(self) -> float:
        """Return the seconds within which other processes may still send what they were handed."""
        handed = [] if self._pool.can_cut else [each for each, _ in self._under_way.values()]
        return max([0.0, *(each.send_by.left for each in handed if each.send_by is not None)])


def is_cut_off(run: Run) -> bool:
    """Return whether the execution of `run` was cancelled, so that it has no answer."""
    return run.state == "CANCELLED" and run.doubt is None


def _left_over(runs: Sequence[Run]) -> str:
    """Return why a sweep ends before all of its runs have."""
    number = sum(is_cut_off(run) for run in runs)
    counts = (len(runs) - number, number)
    doubtful, cut_off = (plural(count, "run", "runs") for count in counts)
    parts = [
        f"{doubtful} in doubt, which the server does not list: resume looks them up again",
        f"{cut_off} cancelled on the server each time: resume makes them again",
    ]
    return "; ".join(part for part, count in zip(parts, counts, strict=True) if count)


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
