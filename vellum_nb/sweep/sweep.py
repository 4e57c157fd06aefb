"""`Sweep`: many cases on many release tags, to watch, stop, resume and read."""

from __future__ import annotations

import atexit
import os
import threading
import weakref
from collections import Counter as Tally
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any, Protocol, Unpack

from vellum_nb.clock import micros
from vellum_nb.comparison.compare import CompareOptions, compare_options
from vellum_nb.comparison.comparison import Comparison
from vellum_nb.errors import HistoryError, InputError, OutOfReachError, VellumNBError
from vellum_nb.escaping import printed, warn
from vellum_nb.history import (
    FIRST_ID,
    FrameView,
    History,
    LeaseLostError,
    PastRun,
    SweepLease,
    Sweeps,
    cell,
    check_view,
    column,
    frame_of_records,
    short_view,
)
from vellum_nb.lazy import pd
from vellum_nb.models import Run
from vellum_nb.models.sweeps import (
    ATTEMPTS,
    MOST_RUNS,
    NOT_SENT,
    Place,
    SweepRecord,
    most_rounds,
    planned_ids,
)
from vellum_nb.rendering.format import plural
from vellum_nb.sweep.driver import Attempt, Driver, end_drivers, thread_pool
from vellum_nb.sweep.executors import executor_pool
from vellum_nb.sweep.options import LIMIT_NAMES, LimitsLike, SweepOptions, as_limits
from vellum_nb.sweep.plan import PlannedRun, SweepPlan, Turns, planned_runs, replanned, superseded
from vellum_nb.sweep.progress import BY_HAND, Counter, Progress, State, is_cost
from vellum_nb.sweep.retry_policy import ListingDelay, PreparedRun
from vellum_nb.sweep.stop_rule import StopRule, has_same_metric
from vellum_nb.sweep.users import states_with_ends

_MAX_INTERRUPTS = 3  # a further one ends the wait for calls under way
_CLOSE_GRACE_S = 10.0  # for calls under way when the workspace is closed
_EXIT_GRACE_S = 2.0  # and when the interpreter exits
_NOT_DONE = ("FAILED", "REJECTED", "CANCELLED")
_COLUMNS = {  # of `Workspace.sweeps`, with their kinds
    **dict.fromkeys(("sweep_id", "deployment", "release_tags", "state"), "text"),
    **dict.fromkeys(("planned", "done", "failed", "unsent", "started", "to_go"), "int"),
    **dict.fromkeys(("cases", "repeats"), "int"),
    **dict.fromkeys(("created", "ended"), "time"),
    **dict.fromkeys(("why", "environment", "case_set"), "text"),
    "case_set_version": "count",
}


class SweepInterrupt(KeyboardInterrupt):
    """A sweep was interrupted during a wait, and stopped. `sweep` can be resumed."""

    def __init__(self, sweep: Sweep) -> None:
        remedy = f"the same call, or ws.open_sweep({sweep.id!r}).resume(), resumes it"
        super().__init__(f"{sweep!r}; {remedy}")
        self.sweep = sweep


class _Worker(Protocol):
    """Prepares and displays the runs of a sweep. The workspace implements it.

    `prepare` returns a run to send, or to look up. A new run continues the run `before`, or has the
    inputs of `again`, which was cut off; with `retry`, a failed run in doubt can be sent again.
    `attempt` opens connections and `close` closes them. `read_timeout_s` is the timeout of an
    answer.
    """

    compare: Callable[..., Comparison]
    history: History
    read_timeout_s: float

    @property
    def moved(self) -> tuple[str, ...]: ...
    def prepare(
        self,
        planned: PlannedRun,
        options: SweepOptions,
        before: PlannedRun | Run | None = None,
        *,
        again: Run | None = None,
        retry: bool = False,
    ) -> PreparedRun: ...
    def sent_now(self, run: Run) -> Run: ...
    def attempt(self, options: SweepOptions, lease: SweepLease) -> Attempt: ...
    def close(self) -> None: ...
    def view(self, sweep: Sweep) -> Any: ...
    def watch(self, sweep: Sweep, *, show: bool) -> AbstractContextManager[None]: ...
    def save(self, path: str | Path, frame: pd.DataFrame) -> Path: ...


class _Shared:
    """State that all objects of one stored sweep share in this process."""

    def __init__(self) -> None:
        self.lock = threading.RLock()  # held while a driver starts
        self.listeners: list[Callable[[], None]] = []
        self.driving: Callable[[], SweepControl | None] = lambda: None  # the last one that drove it
        self.sessions = 0  # that have ended


_SHARED = weakref.WeakValueDictionary[tuple[object, str], _Shared]()
_SHARED_LOCK = threading.Lock()


def _after_fork() -> None:
    """Replace the locks in a forked process, which lacks the threads that could hold them."""
    global _SHARED_LOCK  # noqa: PLW0603
    _SHARED_LOCK = threading.Lock()
    for shared in list(_SHARED.values()):
        shared.lock = threading.RLock()
        shared.sessions += 1  # the next look reads the sweep, which its parent drives


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)


class SweepControl:
    """Internal part of a `Sweep`, which drives it and reports its progress; see `control_of`.

    Its `options` are stored when the sweep starts.
    """

    def __init__(
        self,
        record: SweepRecord,
        worker: _Worker,
        options: SweepOptions,
        plan: SweepPlan | None = None,
    ) -> None:
        self.record, self.plan = record, plan
        self.history, self.worker, self.options = worker.history, worker, options
        self.sweep: Sweep | None = None
        key = (Sweeps(self.history).identity, record.id)
        with _SHARED_LOCK:
            self._shared = _SHARED.setdefault(key, _Shared())
        # Sessions that had ended when the record was read; None while another process drives it.
        self._sessions: int | None = self._shared.sessions
        self._lease: SweepLease | None = None
        self.last_driver: Driver | None = None
        self._rule: StopRule | None = None
        self._turns = Turns((), ())
        self._cut_off: Tally[Place] = Tally()  # executions that the server cancelled
        self._counter = Counter(record.release_tags, record.cases * record.repeats)
        self._read(look_up=False)

    @property
    def state(self) -> State:
        """State of the sweep."""
        if (driver := self.driver) is not None:
            if driver.why is not None:
                return "stopping"
            return "paused" if driver.paused else "running"
        if self._counter.left <= 0:
            return "done"
        with suppress(HistoryError):  # the history was closed
            if Sweeps(self.history).held_elsewhere(self.record) is not None:
                self._sessions = None
                return "running"
        return "ready" if self.record.why is None else "stopped"

    @property
    def driver(self) -> Driver | None:
        """The driver if it runs in this process."""
        driver = self.last_driver
        return driver if driver is not None and driver.is_running else None

    def current(self) -> SweepControl:
        """Return the control that drives the sweep in this process, or this one, up to date."""
        driving = self._shared.driving()
        if driving is not None and driving.driver is not None:
            return driving
        if self._sessions != self._shared.sessions:
            with self._shared.lock, suppress(HistoryError):  # closed, or out of reach
                self._update()
        return self

    def _update(self) -> None:
        """Read the record and the states, which another driver has changed."""
        sessions = self._shared.sessions
        if self.driver is not None:  # it was started meanwhile
            return
        self._reload(find_sweep(Sweeps(self.history), self.record.id))
        self._read(look_up=False)
        self._sessions, self.last_driver = sessions, None

    def progress(self) -> Progress:
        """Return the progress."""
        driver = self.last_driver
        return self._counter.progress(
            self.state,
            lost=self.record.lost,
            why=self.record.why,
            max_cost_usd=self.options.limits.max_cost_usd,
            moved=self.worker.moved,
            **(driver.facts if driver else {}),
        )

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` after each change, in the driver's thread; return the unsubscriber."""
        listeners = self._shared.listeners
        listeners.append(callback)

        def unsubscribe() -> None:
            with suppress(ValueError):
                listeners.remove(callback)

        return unsubscribe

    def resume(self) -> None:
        """End a pause, withdraw a stop, or start."""
        driver = self.driver
        if driver is not None and not driver.go_on():
            driver.wait()  # too late to withdraw the stop
        self.start()

    def check_here(self) -> None:
        """Raise a `LeaseHeldError` if another process drives the sweep."""
        if self.driver is not None or self._counter.left <= 0:
            return
        try:
            error = Sweeps(self.history).held_elsewhere(self.record)
        except OutOfReachError:
            raise
        except HistoryError:  # the history was closed
            return
        if error is not None:
            raise error

    def stop(self, *, now: bool = False) -> None:
        """Begin no more runs; with `now`, cancel calls under way."""
        if (driver := self.driver) is not None:
            if now:
                driver.cut()
            else:
                driver.stop(BY_HAND)

    def apply(self, options: SweepOptions) -> None:
        """Apply other options; only limits can change while the sweep runs.

        Raises `InputError` if it runs and other options differ.
        """
        current, driver = self.options, self.driver
        if driver is not None:
            if differing := _differing(options, current):
                names, sweep_id = ", ".join(differing), self.record.id
                msg = (
                    f"Sweep {sweep_id} is running with another {names}; nothing was changed: stop "
                    f"it first (ws.open_sweep({sweep_id!r}).stop()), or give the same {names}"
                )
                raise InputError(msg)
            options = replace(current, limits=options.limits)
        with suppress(LeaseLostError):  # it has just ended; `start` stores them
            self._change(options=self._stored(options))
        if driver is not None:
            driver.options = options
        if self.plan is not None:
            self.plan = replanned(self.plan, self.options, options)
        self.options = options

    def _stored(self, options: SweepOptions) -> dict[str, Any]:
        """Return options to store, with the seed of the order, and the metric if it is unknown."""
        stored = {k: v for k, v in self.record.options.items() if k in {"seed", "metric"}}
        return stored | options.stored

    def _read(
        self, *, look_up: bool, expected: Mapping[str, float] | None = None
    ) -> tuple[Mapping[str, str], Mapping[Place, str], list[PlannedRun]]:
        """Count the runs that ended; return states by run, reused runs, and runs to look up.

        With `look_up`, failed runs in doubt are looked up, too, and have not ended. `expected` is
        the expected cost of a run by release tag.
        """
        record, sweeps = self.record, Sweeps(self.history)
        counter = Counter(record.release_tags, record.cases * record.repeats, expected)
        states, reused = self._states(), sweeps.reused(record.id)
        in_doubt: list[PlannedRun] = []
        tags: dict[str, str] = {}
        for planned in planned_runs(record, states, reused) if states or reused else ():
            tags[planned.run_id] = planned.place.release_tag
            if planned.state == "OVER":
                counter.omit(planned.place.release_tag)
            elif planned.state == "STARTED" or (look_up and planned.state == "IN_DOUBT"):
                in_doubt.append(planned)
            elif planned.state is not None:
                tag = planned.place.release_tag
                counter.had(tag, planned.state, reused=planned.place in reused)
        for run_id, own_tag, cost, seconds in sweeps.spent(record.id) if states else ():
            tag = own_tag or tags.get(run_id, record.release_tags[0])
            if tag in record.release_tags:  # otherwise damaged
                counter.spent(tag, cost, seconds if own_tag else None)
        self._counter = counter
        return states, reused, in_doubt

    def _states(self) -> Mapping[str, str]:
        """Return the states of the begun runs, and of turns that their user made unnecessary."""
        sweeps, talk = Sweeps(self.history), self.options.conversation
        states = sweeps.states(self.record.id)
        if not states or talk is None or talk.user is None:
            return states
        stops = sweeps.stops(self.record, talk.user.deployment, talk.user.stops)
        return states_with_ends(states, self.record, sweeps.cases(self.record.id), stops)

    def start(self, *, retry: bool = False) -> None:
        """Execute the remaining runs in the background; with `retry`, failed ones as well."""
        with self._shared.lock:
            if self.current().driver is not None or not self.record.cases:
                return
            self._check_metric(has_work=retry or self._counter.left > 0)
            try:
                self._lease = None  # a forked process does not have its parent's
                is_new = self.plan is not None and not (self.plan.resumes or self.plan.ended)
                self._lease = Sweeps(self.history).acquire(
                    self.record,
                    adopt=not is_new or self.last_driver is not None,
                    acts_elsewhere=self.options.executor is not None,
                )
                self._reload(Sweeps(self.history).every(self.record.id)[0])
                if (stored := self._stored(self.options)) != self.record.options:
                    self._change(options=stored)
                self.last_driver = driver = self._new_driver(self._lease, retry=retry)
                if driver is None:
                    self._settle(None)
                    self._release()
                    return
                self._shared.driving = weakref.ref(self)  # the thread refers to it
                driver.start()
            except BaseException:  # an interrupt, most likely
                if self.driver is None:
                    self._release()
                    self.worker.close()
                raise

    def _reload(self, latest: SweepRecord) -> None:
        """Replace the record by `latest`, with the options that were stored since it was read."""
        self.options = self.options.reloaded(self.record, latest)
        self.record = latest.model_copy(update={"lost": latest.lost or self.record.lost})

    def _check_metric(self, *, has_work: bool) -> None:
        """Raise an `InputError` for a stop rule without a metric, as those are not stored."""
        rule, sweep_id = self.options.stop_when, self.record.id
        if has_work and rule is not None and rule.metric is None:
            msg = (
                f"Sweep {sweep_id} stops when it is decided, by a metric that is not stored: "
                "make the same call of ws.sweep(...) again to resume it, or run all remaining "
                f"cases: ws.open_sweep({sweep_id!r}, stop_when=None).resume()"
            )
            raise InputError(msg)

    def _new_driver(self, lease: SweepLease, *, retry: bool) -> Driver | None:
        options, sweeps, prepare = self.options, Sweeps(self.history), self.worker.prepare
        past = sweeps.past(self.record.deployment)
        expected = _expected_costs(past, self.record.release_tags)
        states, reused, in_doubt = self._read(look_up=True, expected=expected)
        is_next_round = retry and self._counter.failed + self._counter.unsent > 0
        if self._counter.left <= 0 and not is_next_round:
            return None
        attempt, most = self.worker.attempt(options, lease), options.most_at_once
        if is_next_round:
            self._begin_round()
            states, reused, in_doubt = self._read(look_up=True, expected=expected)
        self.record = self.record.model_copy(update={"why": None})
        executor = options.executor
        pool = executor_pool(attempt, executor, most) if executor else thread_pool(attempt, most)
        planned = planned_runs(self.record, states, reused)
        self._rule, self._cut_off = self._new_stop_rule(states, reused), Tally()
        in_doubt_runs = [prepare(run, options, retry=retry) for run in in_doubt]
        cases = () if options.conversation is None else sweeps.cases(self.record.id)
        turns = self._turns = Turns(cases, planned)
        latencies = (run.latency_s for run in past)
        sweep_id = self.record.id
        return Driver(
            (prepare(run, options, turns.before(run)) for run in turns.ready()),
            pool,
            lease=lease,
            counter=self._counter,
            options=options,
            listing=ListingDelay(self.worker.read_timeout_s, latencies),
            calls=sweeps.begun(sweep_id),
            seconds=sweeps.seconds(sweep_id),
            in_doubt=in_doubt_runs,
            next_attempt=self._next_attempt,
            following=self._following,
            sent_now=self.worker.sent_now,
            on_change=self._notify,
            on_end=self._end,
            stop_rule=self._rule,
        )

    def _begin_round(self) -> None:
        """Begin the round in which failed runs are repeated."""
        if self.record.round >= most_rounds(self.record.planned):
            msg = (
                f"The failed runs of sweep {self.record.id} ran again {self.record.round:,} times, "
                "which is the limit; begin another sweep with existing='restart'"
            )
            raise InputError(msg)
        self._change(round=self.record.round + 1, ended=None)

    def _next_attempt(self, prepared: PreparedRun) -> PreparedRun | None:
        """Prepare the next attempt at a run that was cut off, or leave it to later sessions."""
        if (planned := prepared.planned) is None:
            return None
        self._cut_off[planned.place] += 1
        if self._cut_off[planned.place] >= ATTEMPTS:
            return None
        planned = planned.next_attempt(self.record)
        if self._rule is not None:
            self._rule.add(planned)
        return self.worker.prepare(planned, self.options, again=prepared.run)

    def _following(self, prepared: PreparedRun, run: Run) -> PreparedRun | None:
        """Prepare the turn that continues `run`, unless the answer of `run` is unknown."""
        planned = None if prepared.planned is None else self._turns.after(prepared.planned)
        if planned is None or planned.state is not None or run.doubt is not None:
            return None
        talk = self.options.conversation
        if talk is not None and talk.user is not None and talk.user.stops(run):
            self._counter.omit(prepared.tag, 1 + self._turns.left(planned))
            return None
        return self.worker.prepare(planned, self.options, run)

    def _new_stop_rule(
        self, states: Mapping[str, str], reused: Mapping[Place, str]
    ) -> StopRule | None:
        """Return the stop rule, if any, with the runs that ended in earlier sessions."""
        stop_when = self.options.stop_when
        if stop_when is None or stop_when.metric is None:
            return None
        planned = list(planned_runs(self.record, states, reused))
        cases = Sweeps(self.history).cases(self.record.id)
        rule = StopRule(self.record, cases, stop_when, planned)
        ended = [run.run_id for run in planned if run.state not in {None, "STARTED", "IN_DOUBT"}]
        rule.reason(self.history.runs(ids=ended) if ended else ())
        return rule

    def _end(self, driver: Driver) -> None:
        self._shared.sessions += 1
        self._sessions = self._shared.sessions
        with suppress(HistoryError):  # which may have stopped the sweep
            why = driver.why
            if self._rule is not None and why is not None and why == self._rule.why:
                why = f"{why}; {plural(self._counter.left, 'call')} saved"
            self._settle(why)
        self.worker.close()
        self._release()

    def _settle(self, why: str | None) -> None:
        """Store the end of the sweep or the reason of its stop."""
        record, has_ended = self.record, self._counter.left <= 0
        lost, why = (record.lost, None) if has_ended else (None, why)
        ended = (record.ended or datetime.now(UTC)) if has_ended else None
        self.record = record.model_copy(update={"lost": lost, "why": why})
        self._change(ended=ended, why=why)

    def _change(self, **fields: Any) -> None:
        """Store fields of the sweep, if this process has the lease."""
        if self._lease is not None:
            self._lease.change(**fields)
            self.record = self.record.model_copy(update=fields)

    def _release(self) -> None:
        lease, self._lease = self._lease, None
        with suppress(HistoryError):  # closed or out of reach: the lease expires
            if lease is not None:
                lease.release()

    def _notify(self) -> None:
        for callback in list(self._shared.listeners):
            try:
                callback()
            except Exception as exc:  # noqa: BLE001  (a listener cannot stop the sweep)
                message = f"{callback!r} failed for sweep {self.record.id}: {exc!r}"
                warn(message, RuntimeWarning, stacklevel=2)


class Sweep:
    """Cases x release tags x repeats; every run is in the history exactly once.

    `vellum_nb.Workspace.sweep` returns it. The latest attempt counts for a run that
    `retry_failed` repeated; the history has all.

    Examples
    --------
    >>> import vellum_nb as vnb
    >>> ws = vnb.connect("local", history=":memory:")
    >>> cases = [{"ticket": "I was charged twice", "who": "ann"}]
    >>> sweep = ws.sweep("ticket-triage", cases, release_tags=["v1", "v2"])
    >>> sweep.compare()
    <Comparison of ticket-triage against v1, 1 case: v2 1 differs>
    >>> sweep.frame()[["state", "output.category", "label.who"]].head(1)
           state output.category label.who
    0  FULFILLED         billing       ann
    >>> vnb.read_csv(sweep.to_csv("sweep.csv")).equals(sweep.frame())
    True
    """

    def __init__(self, control: SweepControl) -> None:
        self._own, self._history, self._worker = control, control.history, control.worker
        control.sweep = self  # a running driver keeps it alive, and `open_sweep` finds it
        self._view: Any = None
        self._shows_progress = True

    @property
    def _control(self) -> SweepControl:
        return self._own.current()

    @property
    def id(self) -> str:
        """Id of the sweep, the `sweep_id` of its runs."""
        return self._own.record.id

    @property
    def notes(self) -> tuple[str, ...]:
        """Notes of its plan, such as columns that look misspelt; see `SweepPlan`."""
        plan = self._control.plan
        return self._control.record.notes if plan is None else plan.notes

    @property
    def state(self) -> State:
        """``ready``, ``running``, ``paused``, ``stopping``, ``stopped`` or ``done``."""
        return self._control.state

    def wait(self, timeout: float | None = None) -> Sweep:
        """Wait until the sweep is done or stopped.

        An interrupt stops it: calls under way are completed, then KeyboardInterrupt is raised. A
        second interrupt cancels them; `resume` looks up their runs.

        Raises
        ------
        HistoryError
            Another process runs the sweep.
        Exception
            The error that stopped the sweep, such as a full disk.
        """
        return self._attend(self._control.check_here, timeout, show=self._view is None)

    def pause(self) -> None:
        """Begin no more runs until `resume`; calls under way are completed.

        Raises
        ------
        HistoryError
            Another process runs the sweep.
        """
        self._control.check_here()
        if (driver := self._control.driver) is not None:
            driver.pause()

    def resume(
        self,
        *,
        limits: LimitsLike | None = None,
        background: bool = False,
        progress: bool = True,
    ) -> Sweep:
        """Resume after a pause, a stop or a lost kernel; change `limits`, also of a running sweep.

        Runs in doubt, including failed ones, are looked up first and completed if they were
        executed. A dict changes the limits that it names, and ``{"max_calls": None}`` removes one.
        `background` and `progress` are those of `vellum_nb.Workspace.sweep`.

        Raises
        ------
        HistoryError
            Another process runs the sweep.
        """
        if limits is not None:
            options = self._control.options
            limits = as_limits(limits, options.limits)
            self._control.apply(replace(options, limits=limits))
        self._shows_progress = progress
        return self._attend(self._control.resume, wait=not background)

    def stop(self, *, now: bool = False) -> None:
        """Begin no more runs, and end when calls under way are completed.

        With `now`, these calls are cancelled; `resume` looks up their runs.

        Raises
        ------
        HistoryError
            Another process runs the sweep.
        """
        self._control.check_here()
        self._control.stop(now=now)

    def retry_failed(self, *, background: bool = False) -> Sweep:
        """Execute failed and rejected runs again, under new ids.

        A failed run without an answer is looked up first. It is sent again, under its old id, if
        the server does not list it.
        """
        if self._control.driver is not None:
            msg = f"Sweep {self.id} is {self.state}: wait for it, or stop it, before retry_failed()"
            raise VellumNBError(msg)
        return self._attend(partial(self._control.start, retry=True), wait=not background)

    def runs(self) -> list[Run]:
        """Return its runs, newest first, including reused ones."""
        places, repeated = self._reused(), self._repeated()
        deployment = self._control.record.deployment
        planned = self._history.runs(sweep_id=self.id, deployment=deployment)
        runs = [run for run in planned if run.id not in repeated]
        for run in self._history.runs(ids=list(places)) if places else ():
            place = places[run.id]
            fields = {"release_tag": place.release_tag, "repeat": place.repeat}
            runs.append(run.model_copy(update=fields))
        return sorted(runs, key=lambda run: run.timestamp, reverse=True)

    def frame(self, *, columns: FrameView = "all") -> pd.DataFrame:
        """Return its runs as a DataFrame, newest first, one row per run.

        The columns are those of ``ws.history.frame()``, with ``expected.<output>`` and
        ``label.<name>`` of the cases in front of the ids. Runs reused from the history have the
        release tag and repeat of the run that they replace, and their own `sweep_id`. `columns` is
        ``"all"``, or ``"short"`` for reading on a screen, as in `History.frame`.
        """
        check_view(columns)
        return short_view(self._frame(self._control.record.deployment), columns)

    def _frame(self, deployment: str | None) -> pd.DataFrame:
        """Return its runs of `deployment`; None includes those of a simulated user."""
        sweeps = Sweeps(self._history)
        frame = sweeps.frame(self.id, deployment, exclude=self._repeated())
        cases = sweeps.cases(self.id)
        by_case_id = {case.case_id: case for case in reversed(cases)}
        by_run = {run: cases[place.position] for run, place in self._reused().items()}
        if len(by_case_id) < len(cases):  # equal cases, which only the run id distinguishes
            begun = frozenset(frame["id"])
            ids = planned_ids(self._control.record, begun)
            by_run |= {run: cases[place.position] for run, place in ids}
        runs = zip(frame["id"].tolist(), frame["case_id"].tolist(), strict=True)
        row_cases = [by_run.get(run) or by_case_id.get(case_id) for run, case_id in runs]
        added: dict[str, Any] = {}
        for prefix, side in (("expected.", "expected"), ("label.", "labels")):
            for name in dict.fromkeys(name for case in cases for name in getattr(case, side)):
                values = [case and getattr(case, side).get(name) for case in row_cases]
                added[prefix + name] = column([cell(value) for value in values], None)
        at = list(frame).index(FIRST_ID)
        parts = frame.iloc[:, :at], pd.DataFrame(added, index=frame.index), frame.iloc[:, at:]
        return pd.concat(parts, axis=1)

    def failed(self, *, columns: FrameView = "all") -> pd.DataFrame:
        """Return the failed, rejected and cancelled runs, also those of a simulated user.

        Turns that were not sent are left out: their conversation has one failed run.
        """
        check_view(columns)
        talk = self._control.options.conversation
        deployment = self._control.record.deployment
        frame = self._frame(None if talk is not None and talk.user else deployment)
        is_unsent = (frame["state"] == "FAILED") & frame["error_code"].isin([NOT_SENT])
        failed = frame[frame["state"].isin(_NOT_DONE) & ~is_unsent].reset_index(drop=True)
        return short_view(failed, columns)

    @compare_options
    def compare(self, **options: Unpack[CompareOptions]) -> Comparison:
        """Return its runs side by side, one row per case; cases without runs are missing.

        The default baseline is the first release tag. Metrics get the expected values of the
        cases. Options and errors are those of `vellum_nb.Workspace.compare`.
        """
        if not self._control.record.cases:
            msg = "this sweep has no cases: nothing was replayed, so there is nothing to compare"
            raise InputError(msg)
        return self._worker.compare(self, **options)

    def to_csv(self, path: str | Path) -> Path:
        """Export `frame` to CSV. `vellum_nb.read_csv` restores it, and `sweep` takes it as cases.

        Raises
        ------
        HistoryError
            The file cannot be written.
        VellumNBError
            The file would contain the API key.
        """
        return self._worker.save(path, self.frame())

    def view(self) -> Any:
        """Return the live view: counts per release tag, rate, latest outputs, Pause and Stop.

        Until it is closed, every call returns the same view, and several cells can display it. A
        cell that ends with the sweep displays it, too.
        """
        if self._view is None or self._view.is_closed:
            self._view = self._worker.view(self)
        self._view.stay()
        return self._view

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        if not self._control.progress().planned:
            return {"text/plain": repr(self)}
        return self.view().bundle_of(repr(self), **kwargs)

    def _display_(self) -> Any:
        return self.view()._display_()  # of marimo

    @printed
    def __repr__(self) -> str:
        now, record = self._control.progress(), self._control.record
        tags = ", ".join(record.release_tags)
        if not now.planned:
            return f"<Sweep of {record.deployment} on {tags}: no cases: nothing was replayed>"
        failed = f", {now.failed} failed" if now.failed else ""
        failed += f", {now.unsent} not sent" if now.unsent else ""
        why = f" ({now.reason})" if now.reason else ""
        moved = f"; moved during the sweep: {', '.join(now.moved)}" if now.moved else ""
        note = ""
        with suppress(HistoryError):  # the history was closed
            if deleted := Sweeps(self._history).deleted(self.id):
                note = f"; {deleted} deleted, see history.deletions()"
        return (
            f"<Sweep of {record.deployment} on {tags}: "
            f"{now.state}{why}, {now.ended} of {now.planned} runs{failed}{moved}{note}>"
        )

    def _reused(self) -> dict[str, Place]:
        """Return the reused runs of the history, with the planned run that each replaces."""
        return {run: place for place, run in Sweeps(self._history).reused(self.id).items()}

    def _repeated(self) -> set[str]:
        """Return the ids of runs that were repeated."""
        record, states = self._control.record, Sweeps(self._history).states(self.id)
        is_plain = not record.round and record.judge is None and "CUT_OFF" not in states.values()
        return set() if is_plain else superseded(record, states)

    def _attend(
        self,
        begin: Callable[[], None],
        timeout: float | None = None,
        *,
        show: bool = True,
        wait: bool = True,
    ) -> Sweep:
        """Begin and wait. An interrupt at any moment of both stops the sweep first."""
        if not wait:
            begin()
            return self
        interrupts, driver = 0, None

        def stop(*, now: bool = False) -> None:
            self._control.stop(now=now)  # does not check: the interrupt counts

        cut = partial(stop, now=True)
        with self._worker.watch(self, show=show) if self._shows_progress else nullcontext():
            while interrupts <= _MAX_INTERRUPTS:
                try:
                    (begin, stop, cut, cut)[interrupts]()
                    driver = driver or self._control.last_driver
                    if driver is not None:
                        driver.wait(timeout)
                    break
                except KeyboardInterrupt:
                    interrupts += 1
        if driver is not None and driver.error is not None:
            raise driver.error
        if interrupts:
            raise SweepInterrupt(self)
        return self


def _differing(options: SweepOptions, current: SweepOptions) -> list[str]:
    """Return the names of options that cannot change while a sweep runs, and differ."""
    stored, now = options.stored, current.stored
    fixed = stored.keys() - {*LIMIT_NAMES, "metric"}
    differing = sorted(name for name in fixed if stored[name] != now.get(name))
    rule, current_rule = options.stop_when, current.stop_when
    if rule is None and current_rule is not None:
        differing.append("stop_when")
    elif rule is not None and current_rule is not None and not has_same_metric(rule, current_rule):
        differing.append("metric of stop_when")
    if options.executor is not None and current.executor is None:
        differing.append("executor")
    if options.limits.max_cost_usd is not None and not current.expands_meta:
        differing.append("expand_meta, which max_cost_usd needs")
    return differing


def stop_sweeps(history: History | None = None) -> None:
    """Stop the sweeps that this process drives, or those of `history`, whose workspace is closed.

    Calls under way are completed. Those that take longer than some seconds are cancelled, and
    `resume` looks up their runs.
    """
    controls: Collection[SweepControl] = running_controls().values()
    if history is None:
        why, grace_s = "the interpreter ended", _EXIT_GRACE_S
    else:
        why, grace_s = "its workspace was closed", _CLOSE_GRACE_S
        controls = [control for control in controls if control.history is history]
    drivers = [driver for control in controls if (driver := control.driver) is not None]
    end_drivers(drivers, why, grace_s=grace_s)


atexit.register(stop_sweeps)


def running_controls() -> dict[tuple[object, str], SweepControl]:
    """Return the controls that drive a sweep in this process, by history and sweep id."""
    with _SHARED_LOCK:
        shared = list(_SHARED.items())
    controls = ((key, control) for key, state in shared if (control := state.driving()))
    return {key: control for key, control in controls if control.driver is not None}


def control_of(sweep: Sweep) -> SweepControl:
    """Return the internal part of a sweep, for the workspace, the views and the command line."""
    return sweep._control  # noqa: SLF001


def _expected_costs(past: Sequence[PastRun], tags: Sequence[str]) -> dict[str, float]:
    """Return the mean cost of past runs on each release tag, or of all tags if it has no runs."""
    priced = [run for run in past if run.cost_usd is not None and is_cost(run.cost_usd)]
    expected = {}
    for tag in tags if priced else ():
        samples = [run for run in priced if run.release_tag == tag] or priced
        expected[tag] = fmean(run.cost_usd or 0.0 for run in samples)
    return expected


def find_sweep(sweeps: Sweeps, sweep_id: str) -> SweepRecord:
    """Return the sweep with this id, or with the only id that starts with it."""
    matches = sweeps.every(sweep_id) if sweep_id else []
    if len(matches) == 1:
        record, held = matches[0], sweeps.held()
        why = None if record.id in held else _why(record, begun=sweeps.last_seen(record.id))
        return record.model_copy(update={"why": why, "lost": sweeps.lost(record)})
    problem = "several sweeps whose id begins with" if matches else "no sweep"
    msg = f"The history has {problem} {sweep_id!r}; ws.sweeps() lists all"
    raise HistoryError(msg)


def _why(record: SweepRecord, *, begun: object) -> str | None:
    """Return why a sweep without a driver has not ended; `begun`: it has runs."""
    lost = record.ended is None and record.why is None and begun
    return "its process ended before it was done" if lost else record.why


def sweeps_frame(
    sweeps: Sweeps, versions: Mapping[str, int], deployment: str | None = None
) -> pd.DataFrame:
    """Return one row per sweep, newest first; `versions` are numbers of versions of case sets."""
    held, tallies = sweeps.held(), sweeps.tallies()
    rows = []
    for record in sweeps.every():
        if deployment not in {None, record.deployment}:
            continue
        tally = Tally(tallies.get(record.id, {}))
        is_small = record.planned * (record.round + 1) <= MOST_RUNS
        if is_small and (record.round or tally["CANCELLED"]):  # the last attempt counts
            states = sweeps.states(record.id)
            repeated = superseded(record, states)
            tally = Tally(state for run, state in states.items() if run not in repeated)
            tally["FULFILLED"] += len(sweeps.reused(record.id))
            tally["FAILED"] += tally["IN_DOUBT"]
        failed = sum(tally[state] for state in _NOT_DONE)
        begun = tally["FULFILLED"] + tally["STARTED"] + failed + tally["UNSENT"]
        idle = "done" if record.ended is not None else "stopped" if begun or record.why else "ready"
        row = {name: getattr(record, name, None) for name in _COLUMNS}
        row |= {"sweep_id": record.id, "release_tags": ", ".join(record.release_tags)}
        row |= {"done": tally["FULFILLED"], "failed": failed, "started": tally["STARTED"]}
        row |= {"unsent": tally["UNSENT"]}
        row |= {"case_set_version": versions.get(record.case_set_version or "")}
        row |= {"created": micros(record.created), "ended": record.ended and micros(record.ended)}
        to_go = 0 if record.ended is not None else record.planned - begun
        row |= {"state": "running" if record.id in held else idle, "to_go": to_go}
        why = None if record.id in held else _why(record, begun=begun)
        rows.append(row | {"why": "stopped by hand" if why == BY_HAND else why})
    return frame_of_records(_COLUMNS, rows)
