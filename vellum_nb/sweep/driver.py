"""The thread that drives a sweep, and the worker threads that make its calls.

Each turn of the driver is one transaction under its lease. It finishes the rows of runs that ended,
marks runs in doubt, and begins new runs. A run is sent after its row is committed, and is counted
as ended after its end is committed.
"""

from __future__ import annotations

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
from itertools import count
from typing import Any, TypeAlias

from vellum_nb.clock import uptime
from vellum_nb.errors import OutOfReachError
from vellum_nb.history import LeaseLostError, SweepLease
from vellum_nb.models import Cancellation, DoubtKind, Run
from vellum_nb.models.sweeps import is_unsent
from vellum_nb.rendering.format import plural
from vellum_nb.sweep.options import MAX_CONCURRENCY, SweepOptions
from vellum_nb.sweep.progress import Counter, is_cost
from vellum_nb.sweep.retry_policy import (
    Doubt,
    Finished,
    InDoubt,
    ListingDelay,
    Outcome,
    PreparedRun,
    Retry,
    after_loss,
    cancelled,
)
from vellum_nb.sweep.stop_rule import StopRule

Result: TypeAlias = Outcome | BaseException

_BATCH_WAIT_S = 0.001  # calls that end together are recorded in one transaction
_MAX_TURN_S = 0.25
_MAX_SERVER_WAIT_S = 600.0  # a longer Retry-After stops the sweep
_MAX_WAITING_RUNS = 512  # runs that wait for a retry or a look-up while others begin
_MAX_EXECUTOR_LOSSES = 3  # of the same run
_GIVE_UP_AFTER_S = 60.0  # of failures only
_MAX_RETRY_PAUSE_S = 10.0  # unless the server sends Retry-After
_RENEW_INTERVAL_S = 10.0  # a lease lasts for a minute
_DATABASE_RETRY_S = 1.0
_SUSPENDED_S = 10.0  # without a turn: the machine was suspended
_WAIT_SLICE_S = 0.5  # Windows cannot interrupt a wait
_EXIT_WRITE_S = 5.0  # to record cancelled calls
_UNREACHABLE = "the history cannot be reached: no run begins until it can"
AS_BEGUN = {"state": "STARTED", "doubt": None, "error": None}
AS_BEGUN |= {"finished_at": None, "latency_s": None}
"""Fields of a run that is sent again."""

_INITIAL_LIMIT = 16  # calls under way
_MIN_ROUND_CALLS = 8
_GROWTH_FACTOR = 1.5
_GROWTH_FACTOR_AFTER_BUSY = 1.25
_SHRINK_FACTOR = 0.7
_MIN_RATE_GAIN = 0.3  # share of the growth of the limit by which the rate must grow
_MIN_UTILIZATION = 0.7  # share of the limit that was used in a round
_MAX_REST_ROUNDS = 8  # between two attempts to grow

Attempt: TypeAlias = Callable[..., Outcome]
"""Sends a `PreparedRun` once, or looks it up once. Executors pickle it."""


class AdaptiveConcurrency:
    """Number of calls that can be under way, adapted to the results of earlier calls. Pure.

    A round is as many calls as the limit, begun after its last change. After a round without
    failures the limit grows by half. The next round keeps it if it raised the rate (Little's law:
    calls under way / seconds per call). Otherwise the limit steps back, and grows again some rounds
    later. If the server is busy, it shrinks, at most once per round, and no call starts before the
    time that the server asked for (`not_before`). A fixed `concurrency` stays as it is and only
    waits for that time.
    """

    def __init__(self, concurrency: int | None = None, *, most: int = MAX_CONCURRENCY) -> None:
        self.fixed = concurrency is not None
        self.most = concurrency or most
        self.limit = concurrency or min(_INITIAL_LIMIT, most)
        self.not_before = 0.0
        self._growth = _GROWTH_FACTOR
        self._base: tuple[int, float] | None = None
        self._resting, self._rest_rounds = 0, 1
        self._restart(0.0)

    def room(self, at_once: int, now: float) -> int:
        """Return how many calls can start."""
        return 0 if now < self.not_before else max(0, self.limit - at_once)

    def ended(self, began: float, now: float, at_once: int) -> None:
        """Record a successful call, one of `at_once` under way."""
        if self.fixed or began < self._since:
            return
        self._calls += 1
        self._seconds += now - began
        self._at_once += at_once
        if self._calls >= max(self.limit, _MIN_ROUND_CALLS):
            if self._at_once / self._calls >= _MIN_UTILIZATION * self.limit:
                self._adapt(self._at_once / max(self._seconds, 1e-9))
            self._restart(now)

    def busy(self, began: float, now: float, wait: float | None) -> bool:
        """Record a refusal by a busy server; return whether `limit` was lowered."""
        self.not_before = max(self.not_before, now + (wait or 0.0))
        if self.fixed or began < self._since:
            return False
        self.limit = max(1, int(self.limit * _SHRINK_FACTOR))
        self._growth, self._base, self._resting = _GROWTH_FACTOR_AFTER_BUSY, None, 0
        self._restart(now)
        return True

    def _restart(self, now: float) -> None:
        self._since = now
        self._calls, self._seconds, self._at_once = 0, 0.0, 0

    def _adapt(self, rate: float) -> None:
        """Grow if this limit raised the rate, or step back."""
        if self._resting:
            self._resting -= 1
            return
        limit, before = self._base or (self.limit, 0.0)
        if rate > before * (1 + _MIN_RATE_GAIN * (self.limit / limit - 1)):
            self._base, self._rest_rounds = (self.limit, rate), 1
            self.limit = min(self.most, math.ceil(self.limit * self._growth))
        else:
            self.limit, self._base, self._resting = limit, None, self._rest_rounds
            self._rest_rounds = min(2 * self._rest_rounds, _MAX_REST_ROUNDS)


class WorkerPool:
    """Daemon threads that make attempts. `wake` and `cut` are thread-safe.

    `submit` returns the function that a thread calls: an attempt, or a wait for an executor.
    `can_cut` is False if cancellation does not reach calls under way. Futures are not used, as one
    costs as much as recording a run.
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
        self._calls = queue.SimpleQueue[tuple[str, Callable[[], Outcome]] | None]()
        self._done = queue.SimpleQueue[tuple[str, Result] | None]()

    def begin(self, prepared: PreparedRun) -> None:
        """Begin an attempt."""
        if self._threads < self._most:  # before sending, as this can fail
            threading.Thread(target=self._work, name="vellum-nb-call", daemon=True).start()
            self._threads += 1
        self._calls.put((prepared.run.id, self._submit(prepared, self._cancel)))

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            run_id, attempt = call
            try:
                self._done.put((run_id, attempt()))
            except BaseException as exc:  # noqa: BLE001  (raised by a wait)
                self._done.put((run_id, exc))
            del call, attempt  # references of an idle thread

    def ended(self, timeout: float) -> list[tuple[str, Result]]:
        """Wait for an attempt to end, or for `wake`; return run ids and results."""
        results: list[tuple[str, Result] | None] = []
        with suppress(queue.Empty):
            results.append(self._done.get(timeout=timeout))
            if self._done.empty():
                time.sleep(_BATCH_WAIT_S)
            while True:
                results.append(self._done.get_nowait())
        return [result for result in results if result is not None]

    def wake(self) -> None:
        """End a wait."""
        self._done.put(None)

    def cut(self) -> None:
        """Cancel calls under way in this process."""
        self._cancel.cancel()
        self.wake()

    def close(self) -> None:
        """Drop attempts that have not begun, and end the threads; later results are ignored."""
        with suppress(queue.Empty):
            while True:
                self._calls.get_nowait()
        for _ in range(self._threads):
            self._calls.put(None)
        self._on_close()


def thread_pool(attempt: Attempt, most: int) -> WorkerPool:
    """Return a pool of up to `most` threads."""
    return WorkerPool(lambda prepared, cancel: partial(attempt, prepared, cancel), most)


class Driver(threading.Thread):
    """The thread that drives the runs of one sweep. Its methods are thread-safe.

    Every write, and every request, requires the `lease`. If another driver acquires it, this one
    stops, and only stores the answers of calls under way. `calls` and `seconds` are those of
    earlier sessions, whose `in_doubt` runs are looked up first. `next_attempt` returns the next
    attempt at a run that was cut off, or None to leave it to later sessions. `following` returns
    the turn that continues a run that ended; it has failed if that run has no answer. `sent_now`
    updates time and release of a run that is sent again. `clock` includes time in which the machine
    was suspended.
    """

    why: str | None = None
    note: str | None = None
    error: BaseException | None = None
    paused = False
    _process: int | None = None
    _failing_since: float | None = None
    _over = _cut = _exhausted = _has_lost_lease = _has_followers = False
    _is_reachable = True
    _drawn = 0  # number of runs drawn from `runs`

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
        following: Callable[[PreparedRun, Run], PreparedRun | None] = lambda *_: None,
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
        self._sent_now, self._following = sent_now, following
        self._renew_at, self._last_turn = clock() + _RENEW_INTERVAL_S, clock()
        self.concurrency = AdaptiveConcurrency(options.concurrency)
        self._lock, self._claim = threading.Lock(), threading.Lock()
        self._has_ended = threading.Event()
        self._waiting: list[tuple[float, int, PreparedRun]] = []  # heap by due time and number
        self._numbers = count()
        self._next: deque[PreparedRun] = deque()  # to begin
        self._resends: deque[PreparedRun] = deque()  # in doubt, to send again
        self._unresolved: list[Run] = []  # for later sessions
        self._under_way: dict[str, tuple[PreparedRun, float]] = {}
        self._doubted: list[Run] = []
        self._ended: list[tuple[PreparedRun, Finished]] = []
        for prepared in in_doubt:
            self._look_up(prepared, 0.0)
            counter.begun(prepared.tag)

    @property
    def facts(self) -> dict[str, Any]:
        """Fields of `Progress` on calls under way."""
        limit, most = self.concurrency.limit, self.concurrency.most
        problem = self._rule.problem if self._rule is not None else None
        note = problem or self.note if self._is_reachable else _UNREACHABLE
        return {"at_once": len(self._under_way), "limit": limit, "most": most, "note": note}

    def stop(self, why: str) -> None:
        """Begin no more runs; the thread ends when calls under way are completed."""
        with self._lock:
            self.why = self.why or why
        self._pool.wake()

    def cut(self) -> None:
        """Stop and cancel calls under way; their runs are CANCELLED and in doubt."""
        self._cut = True
        self.stop("calls under way were cancelled")
        self._pool.cut()

    def pause(self) -> None:
        """Begin no more runs until `go_on`."""
        self.paused = True
        self._pool.wake()

    def go_on(self) -> bool:
        """End a pause and withdraw a stop; return False if the driver is about to end."""
        with self._lock:
            if self._over or self._cut or self.error is not None:
                return False
            self.why, self.paused = None, False
        self._pool.wake()
        return True

    @property
    def is_running(self) -> bool:
        """Whether the thread runs in this process; a fork does not copy threads."""
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
        while self.is_running and (remaining_s := until - time.monotonic()) > 0:
            self._has_ended.wait(min(_WAIT_SLICE_S, remaining_s))

    def run(self) -> None:
        """Drive until all runs have ended, or until a stop and the end of calls under way.

        An exception stops the sweep and is stored as `error`, after calls under way are completed
        and, if possible, recorded.
        """
        if not self._claim.acquire(blocking=False):
            return
        try:
            while not self._is_over():
                for run_id, result in self._pool.ended(self._sleep()):
                    self._take(run_id, result)
        except BaseException as exc:  # noqa: BLE001  (raised by a wait)
            self._fail(exc)
            self._pool.cut()
        try:
            self._put_back()
            self._counter.run_clock(on=False)
            self._on_end(self)
        except BaseException as exc:  # noqa: BLE001
            self._fail(exc)
        finally:
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
            if self._is_drained and self._counter.left > 0 and self.why is None:
                self.why = _unresolved_message(self._unresolved, self._counter.left)
            has_ended = self._is_drained or self._counter.left <= 0
            self._over = self.why is not None or has_ended
            return self._over

    @property
    def _is_drained(self) -> bool:
        queues = self._waiting, self._next, self._resends, self._ended
        return self._exhausted and not any(queues)

    def _fail(self, exc: BaseException) -> None:
        self.error = self.error or exc
        self._has_lost_lease = self._has_lost_lease or isinstance(exc, LeaseLostError)
        self.stop(str(exc) or type(exc).__name__)

    def _turn(self) -> None:
        """Record runs that ended and that begin, then send those."""
        now = self._clock()
        self._renew_lease(now)
        is_idle = self.paused and not self._under_way
        self._counter.run_clock(on=not is_idle)
        if is_idle or not self._is_reachable or now - self._last_turn > _SUSPENDED_S:
            self._failing_since = None
        self._last_turn = now
        self._check_limits()
        halted = self.paused or self.why is not None
        room = 0 if halted else self.concurrency.room(len(self._under_way), now)
        self._has_followers = True
        while self._has_followers:
            self._has_followers = False
            self._record(now, room - sum(due <= now for due, *_ in self._waiting))
        self._send(now, room)

    def _renew_lease(self, now: float) -> None:
        if now >= self._renew_at and not self._has_lost_lease:
            self._note_reach(now, is_reachable=self._lease.renew())

    def _note_reach(self, now: float, *, is_reachable: bool) -> None:
        self._is_reachable = is_reachable
        self._renew_at = now + (_RENEW_INTERVAL_S if is_reachable else _DATABASE_RETRY_S)

    def _check_limits(self) -> None:
        counter = self._counter
        runs = [outcome.run for _, outcome in self._ended]
        ended = [run for run in runs if not is_cut_off(run)]
        cost = sum((run.cost_usd or 0.0 for run in runs if is_cost(run.cost_usd)), counter.cost)
        in_hand = self._under_way or self._waiting or self._resends
        reached = self.options.limits.reached(
            0 if in_hand else self._calls,
            self._seconds + counter.seconds,
            cost + (0.0 if in_hand else self._unresolved_cost),
            counter.failed + sum(run.state != "FULFILLED" and not is_unsent(run) for run in ended),
        )
        if self._rule is not None:
            reason = self._rule.reason([*ended, *self._unresolved])
            reached = reached or reason
        if reached is not None:
            self.stop(reached)

    @property
    def _unresolved_cost(self) -> float:
        return sum(self._counter.expected_cost(run.release_tag) or 0 for run in self._unresolved)

    def _new_runs(self, room: int) -> list[PreparedRun]:
        """Return runs to begin; fewer if many wait for another attempt."""
        blocking = sum(not (p.doubt and p.doubt.executed) for *_, p in self._waiting)
        most = self.concurrency.limit + max(self.concurrency.most, _MAX_WAITING_RUNS)
        number = min(room, most - len(self._under_way) - blocking)
        if (max_calls := self.options.limits.max_calls) is not None:
            number = min(number, max_calls - self._calls)
        fresh: list[PreparedRun] = []
        tags: Tally[str] = Tally()
        while len(fresh) < number and self._draw() and self._can_pay(self._next[0], tags):
            fresh.append(self._next.popleft())
            tags[fresh[-1].tag] += 1
        return fresh

    def _draw(self) -> bool:
        """Draw the next run into `_next`; return False if none can begin."""
        more = 2 * self.concurrency.limit
        while not self._next:
            if self._rule is not None and self._drawn >= self._rule.startable(more):
                return False
            prepared = next(self._runs, None)
            if prepared is None:
                self._exhausted = True
                return False
            self._drawn += 1
            self._queue(prepared)
        return True

    def _can_pay(self, prepared: PreparedRun, begun: Tally[str]) -> bool:
        limit = self.options.limits.max_cost_usd
        if limit is None:
            return True
        limit -= self._unresolved_cost
        return self._counter.can_pay(prepared.tag, limit, begun)

    def _record(self, now: float, room: int) -> None:
        """Record runs that ended, that became doubtful, and that are sent next."""
        room = room if self._is_reachable else 0
        resends = [self._resends.popleft() for _ in range(min(room, len(self._resends)))]
        fresh = self._new_runs(room - len(resends))
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
            self._counter.begun(prepared.tag)
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
        """Record a turn in one transaction; return rows of `fresh` that already existed."""
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
        recorded, self._ended = self._ended, []
        for prepared, outcome in recorded:
            self._count(prepared, outcome)
        if stored is None:  # ended runs are in a local file: what follows them must wait
            self._note_reach(self._clock(), is_reachable=False)
        else:
            self._doubted = []
        return {run.id: run for run in stored or ()}

    def _count(self, prepared: PreparedRun, outcome: Finished) -> None:
        """Count a recorded end; a run that was cut off is repeated."""
        run = outcome.run
        if not is_cut_off(run):
            ended = {"looked_up": outcome.looked_up, "resent": outcome.resent}
            self._counter.ended(run, prepared.tag, **ended)
            if (turn := self._following(prepared, run)) is not None:
                self._has_followers = True
                self._queue(turn)
            return
        self._counter.begun(prepared.tag, -1)
        self._counter.spent(prepared.tag, run.cost_usd)
        following = self._next_attempt(prepared)
        if following is None:
            self._unresolved.append(run)
        else:
            self._next.append(following)

    def _queue(self, prepared: PreparedRun) -> None:
        """Queue a run to begin; one that cannot be sent has ended."""
        if prepared.run.state == "STARTED":
            self._next.append(prepared)
        else:
            self._counter.begun(prepared.tag)
            self._ended.append((prepared, Finished(prepared.run)))

    def _begin(self, prepared: PreparedRun, stored: Run | None, now: float) -> None:
        """Send a run, unless its row already existed or has ended."""
        if stored is None:
            self._wait_until(now, prepared)
        elif stored.in_doubt:
            doubt = Doubt("the history had it already", stored.doubt or "SENT")
            self._look_up(replace(prepared, run=stored, doubt=doubt), now)
        else:
            self._ended.append((prepared, Finished(stored, looked_up=True)))

    def _send(self, now: float, room: int) -> None:
        """Begin attempts that are due; no run is sent after the deadline of the lease."""
        for probe in self._listing.probes(now) if room > 0 else ():
            self._attempt(probe, now)
        unsendable = []
        while room > 0 and self._waiting and self._waiting[0][0] <= now:
            prepared = self._waiting[0][2]
            if prepared.doubt is not None or self._lease.may_send:
                self._attempt(prepared, now)
                heapq.heappop(self._waiting)
                room -= 1
            else:
                unsendable.append(heapq.heappop(self._waiting))
        for entry in unsendable:
            heapq.heappush(self._waiting, entry)

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
        """Queue a look-up of a run in doubt."""
        doubt = prepared.doubt
        if doubt is not None and doubt.since is None:
            prepared = replace(prepared, doubt=replace(doubt, since=self._clock()))
        self._wait_until(due, prepared)

    def _wait_until(self, due: float, prepared: PreparedRun) -> None:
        heapq.heappush(self._waiting, (due, next(self._numbers), prepared))

    def _sleep(self) -> float:
        """Return the seconds until the next turn, unless an attempt ends."""
        now, not_before = self._clock(), self.concurrency.not_before
        until = now + _MAX_TURN_S
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
            earliest = max(began, self._last_turn)  # the machine can have been suspended
            listing.take_answer(prepared, outcome.run, earliest, now - began)
        else:
            listing.take(prepared, outcome, now)
        if listing.resend_after < resend_after:
            self._hasten(now)
        if isinstance(outcome, Finished):
            self._failing_since = None
            if prepared.is_probe:
                return
            if not outcome.looked_up:
                self.concurrency.ended(began, now, at_once)
            self._ended.append((prepared, outcome))
        elif isinstance(outcome, InDoubt) and outcome.after is None and not outcome.busy:
            self._failing_since = None
            if not prepared.is_probe:
                self._unresolved.append(prepared.run)
                self._counter.begun(prepared.tag, -1)
        else:
            self._retry(prepared, outcome, began, now)

    def _retry(self, prepared: PreparedRun, outcome: Retry, began: float, now: float) -> None:
        not_before, after = self.concurrency.not_before, outcome.after
        if outcome.busy and (after or 0.0) > _MAX_SERVER_WAIT_S:
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
            after = min(0.25 * 2 ** min(outcome.prepared.tries, 10), _MAX_RETRY_PAUSE_S)
        if not prepared.is_probe:
            self._try_again(prepared, outcome.prepared, now, now + after)

    def _try_again(
        self, earlier: PreparedRun, prepared: PreparedRun, now: float, due: float
    ) -> None:
        """Queue a look-up of a run in doubt, or send the run again."""
        if prepared.doubt is not None:
            kind = earlier.doubt.kind if earlier.doubt else None
            if prepared.doubt.kind not in {None, kind}:
                fields = {"doubt": prepared.doubt.kind}
                self._doubted.append(prepared.run.model_copy(update=fields))
            self._look_up(prepared, due)
        elif earlier.doubt is None:  # it was not executed
            self._wait_until(due, prepared)
        elif earlier.force or earlier.doubt_s >= self._listing.resend_after:
            run = self._sent_now(prepared.run.model_copy(update=AS_BEGUN))
            self._resends.append(replace(prepared, run=run, doubt=earlier.doubt))
        else:  # the measured delay has grown since this look-up began
            self._look_up(earlier, now)

    def _hasten(self, now: float) -> None:
        """Advance the look-ups of runs in doubt to the time of their resend, if that is earlier."""
        after, waiting = self._listing.resend_after, self._waiting
        self._waiting = []
        for due, number, prepared in waiting:
            doubt, soonest = prepared.doubt, math.inf
            if doubt is not None and doubt.since is not None and not doubt.executed:
                soonest = max(now, doubt.since + after)
            self._waiting.append((min(due, soonest), number, prepared))
        heapq.heapify(self._waiting)

    def _has_failed_long(self, now: float, not_before: float) -> bool:
        """Record a failure; return whether there were only failures for a minute.

        Waits that the server asked for do not count. Nor does a minute in which an earlier call
        was under way, as it can be slow.
        """
        if self._failing_since is None:
            self._failing_since = now
        since = max(self._failing_since, not_before)
        oldest = min((began for _, began in self._under_way.values()), default=math.inf)
        return now - since > _GIVE_UP_AFTER_S and oldest >= since

    def _broken(self, error: BaseException, prepared: PreparedRun) -> Outcome:
        """Map an exception raised by an attempt to an outcome; lost tasks are retried."""
        if isinstance(error, ModuleNotFoundError) and not self._pool.can_cut:
            advice = "install the same vellum_nb there as here"
            why = f"a worker of the executor cannot import {error.name}: {advice}"
            return Retry(prepared, why, hopeless=True)
        lost = not self._pool.can_cut or isinstance(error, BrokenExecutor | CancelledError)
        if isinstance(error, Exception) and not (lost and prepared.tries < _MAX_EXECUTOR_LOSSES):
            self._fail(error)
        return after_loss(prepared, f"the executor lost it: {type(error).__name__}")

    def _put_back(self) -> None:
        """Record the last turn. Runs that were never sent are removed; others are in doubt."""
        self._pool.close()
        self._following = lambda *_: None  # later sessions continue conversations
        waiting = [prepared for *_, prepared in self._waiting]
        begun = [*waiting, *self._resends, *(run for run, _ in self._under_way.values())]
        begun = [prepared for prepared in begun if not prepared.is_probe]
        for prepared in begun:
            self._counter.begun(prepared.tag, -1)
        unsent = [p.run for p in waiting if p.doubt is None and not p.resent]
        unsent_ids = {run.id for run in unsent}
        self._doubted += [
            self._as_doubted(prepared)
            for prepared in begun
            if (self._cut or prepared.doubt is None) and prepared.run.id not in unsent_ids
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

    def _as_doubted(self, prepared: PreparedRun) -> Run:
        doubt: DoubtKind = (prepared.doubt and prepared.doubt.kind) or "SENT"
        fields = {"finished_at": datetime.now(UTC), **cancelled(doubt)}
        return prepared.run.model_copy(update=fields if self._cut else {"doubt": doubt})

    def _sent_within(self) -> float:
        """Return the seconds within which processes of an executor can send submitted runs."""
        submitted = [] if self._pool.can_cut else [run for run, _ in self._under_way.values()]
        return max([0.0, *(run.send_by.left for run in submitted if run.send_by is not None)])


def is_cut_off(run: Run) -> bool:
    """Return whether the execution of `run` was cancelled on the server."""
    return run.state == "CANCELLED" and run.doubt is None


def _unresolved_message(runs: Sequence[Run], left: int) -> str:
    """Return why a sweep stops with unresolved runs, and with turns that wait for them."""
    number = sum(is_cut_off(run) for run in runs)
    counts = (len(runs) - number, number, left - len(runs))
    doubtful, cut_off, waiting = (plural(count, "run", "runs") for count in counts)
    parts = [
        f"{doubtful} in doubt, which the server does not list: resume looks them up again",
        f"{cut_off} cancelled on the server each time: resume repeats them",
        f"{waiting} of conversations whose last answer is in doubt: resume looks it up again",
    ]
    return "; ".join(part for part, count in zip(parts, counts, strict=True) if count)


def end_drivers(drivers: Sequence[Driver], why: str, *, grace_s: float) -> None:
    """Stop drivers and wait; after `grace_s`, or an interrupt, calls under way are cancelled."""
    for driver in drivers:
        driver.stop(why)
    until = time.monotonic() + grace_s
    try:
        for driver in drivers:
            driver.wait(until - time.monotonic())
    finally:
        running = [driver for driver in drivers if driver.is_running]
        for driver in running:
            driver.cut()
        for driver in running:
            driver.wait(_EXIT_WRITE_S)
