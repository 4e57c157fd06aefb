"""`Sweep`: many cases on many release tags, to watch, stop, resume and read."""

from __future__ import annotations

import threading
from collections import Counter as Tally
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from statistics import fmean
from typing import TYPE_CHECKING, Any, Protocol, Unpack

from vellum_nb.comparison.options import CompareOptions, with_options
from vellum_nb.errors import HistoryError, InputError, VellumNBError
from vellum_nb.escaping import printed, warn
from vellum_nb.history import History, LeaseLostError, PastRun, SweepLease, Sweeps, cell, column
from vellum_nb.models import Run
from vellum_nb.models.sweeps import (
    ATTEMPTS,
    MOST_RUNS,
    Place,
    SweepRecord,
    most_rounds,
    planned_ids,
)
from vellum_nb.rendering.format import plural
from vellum_nb.sweep.driver import Attempt, Driver, thread_pool
from vellum_nb.sweep.executors import executor_pool
from vellum_nb.sweep.listing import ListingDelay
from vellum_nb.sweep.plan import (
    LIMITS,
    PlannedRun,
    StopRule,
    SweepOptions,
    SweepPlan,
    planned_runs,
    superseded,
)
from vellum_nb.sweep.progress import BY_HAND, Counter, Progress, State, is_cost
from vellum_nb.sweep.retry_policy import PreparedRun

if TYPE_CHECKING:
    import pandas as pd

    from vellum_nb.comparison import Comparison

_INTERRUPTS = 3  # after which it is not waited for any longer
_NOT_DONE = ("FAILED", "REJECTED", "CANCELLED")
_TEXTS = ("sweep_id", "deployment", "release_tags", "state")
_NUMBERS = ("planned", "done", "failed", "started", "to_go", "cases", "repeats")
_TIMES = ("created", "ended")
_COLUMNS = (*_TEXTS, *_NUMBERS, *_TIMES, "why", "environment")


class SweepInterrupt(KeyboardInterrupt):
    """A sweep was interrupted while it was waited for, and stopped; `sweep` can be resumed."""

    def __init__(self, sweep: Sweep) -> None:
        how = f"the same call, or ws.open_sweep({sweep.id!r}).resume(), resumes it"
        super().__init__(f"{sweep!r}; {how}")
        self.sweep = sweep


class _Worker(Protocol):
    """Makes the runs of a sweep, and shows it: its workspace does, which knows client and widgets.

    `prepare` returns a run as it is sent, or looked up; with `retry` one in doubt may be resent.
    `attempt` opens connections, and `close` closes them; it marks runs under the lease of the
    driver. `read_timeout_s` is for how long an answer is waited for.
    """

    @property
    def compare(self) -> Callable[..., Comparison]: ...
    @property
    def moved(self) -> tuple[str, ...]: ...
    @property
    def read_timeout_s(self) -> float: ...
    def prepare(
        self, planned: PlannedRun, options: SweepOptions, *, retry: bool = False
    ) -> PreparedRun: ...
    def sent_now(self, run: Run) -> Run: ...
    def attempt(self, options: SweepOptions, lease: SweepLease) -> Attempt: ...
    def close(self) -> None: ...
    def view(self, sweep: Sweep) -> Any: ...
    def watch(self, sweep: Sweep, *, show: bool) -> AbstractContextManager[None]: ...
    def save(self, path: str | Path, frame: pd.DataFrame) -> Path: ...


class Sweep:
    """A sweep: cases x release tags x repeats; each of its runs is in the history exactly once.

    Made by `vellum_nb.Workspace.sweep`. Of a run that `retry_failed` repeated, the latest
    counts; the history has all.

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

    def __init__(
        self,
        record: SweepRecord,
        *,
        history: History,
        worker: _Worker,
        options: SweepOptions,
        plan: SweepPlan | None = None,
    ) -> None:
        self.record, self.plan = record, plan
        self._history, self._worker, self._options = history, worker, options
        self._view: Any = None
        self._shows_progress = True
        self._lock = threading.RLock()
        self._lease: SweepLease | None = None
        self._last_driver: Driver | None = None
        self._why: str | None = record.why
        self._rule: StopRule | None = None
        self._listeners: list[Callable[[], None]] = []
        self._counter = Counter(record.release_tags, record.cases * record.repeats)
        self._read(look_up=False)

    @property
    def id(self) -> str:
        """The sweep's id; runs carry it as `sweep_id`."""
        return self.record.id

    @property
    def notes(self) -> tuple[str, ...]:
        """The notes of its plan, such as columns that look misspelt; see `SweepPlan`."""
        return self.record.notes if self.plan is None else self.plan.notes

    @property
    def state(self) -> State:
        """``ready``, ``running``, ``paused``, ``stopping``, ``stopped`` or ``done``."""
        if (driver := self._driver) is not None:
            how: State = "paused" if driver.paused else "running"
            return how if driver.why is None else "stopping"
        if self._counter.left <= 0:
            return "done"
        return "ready" if self._why is None else "stopped"

    def progress(self) -> Progress:
        """Return the progress."""
        driver = self._last_driver
        return self._counter.progress(
            self.state,
            lost=self.record.lost,
            why=self._why,
            max_cost_usd=self._options.max_cost_usd,
            moved=self._worker.moved,
            **(driver.facts if driver else {}),
        )

    def start(self) -> Sweep:
        """Run what is left in the background, unless it runs; errors are those of `resume`."""
        self._start()
        return self

    def run(self) -> Sweep:
        """Run what is left, and wait for the end as `wait` does."""
        return self._attend(self._start)

    def wait(self, timeout: float | None = None) -> Sweep:
        """Wait until it is done or stopped.

        An interrupt stops it: what is under way ends first, then KeyboardInterrupt is raised. A
        second one cuts off what is under way, to be looked up when the sweep is resumed. An
        error that stopped the sweep is raised too, such as that of a full disk.
        """
        return self._attend(lambda: None, timeout, show=self._view is None)

    def pause(self) -> None:
        """Start no more runs until `resume`; running calls go on."""
        if (driver := self._driver) is not None:
            driver.pause()

    def resume(self, *, background: bool = False, progress: bool = True) -> Sweep:
        """Resume after a pause, a stop or a lost kernel. Waits for the end unless `background`.

        Runs in doubt, including failed ones, are looked up first and completed if they were
        executed. `progress` says whether progress is shown. Raises `HistoryError` if another
        process runs the sweep.
        """
        self._shows_progress = progress
        return self._attend(self._go_on, wait=not background)

    def stop(self) -> None:
        """Start no more runs, and end when the running calls have ended."""
        if (driver := self._driver) is not None:
            driver.stop(BY_HAND)

    def cut(self) -> None:
        """Stop at once: running calls are cut off, and looked up when the sweep is resumed."""
        if (driver := self._driver) is not None:
            driver.cut()

    def retry_failed(self, *, background: bool = False) -> Sweep:
        """Repeat the runs that failed or were rejected, under new ids.

        A failed run that may have been executed, because no answer came, is looked up first, and
        sent again under its old id only where the server does not list it.
        """
        if self._driver is not None:
            msg = f"Sweep {self.id} is {self.state}: wait for it, or stop it, before retry_failed()"
            raise VellumNBError(msg)
        return self._attend(lambda: self._start(retry=True), wait=not background)

    def apply(self, options: SweepOptions) -> None:
        """Apply the limits of `options`, also while it runs.

        Raises `VellumNBError` where it is under way, and they differ in what cannot change then.
        """
        now, driver = self._options, self._driver
        if driver is not None:
            given = options.stored
            differ = [n for n in given if n not in LIMITS and given[n] != getattr(now, n)]
            if options.executor is not None and now.executor is None:
                differ.append("executor")
            if options.max_cost_usd is not None and not now.expands_meta:
                differ.append("expand_meta, which max_cost_usd needs")
            if differ:
                names = ", ".join(differ)
                msg = (
                    f"Sweep {self.id} is running with another {names}; nothing was changed: stop "
                    f"it first (ws.open_sweep({self.id!r}).stop()), or call it without {names}"
                )
                raise VellumNBError(msg)
            options = replace(now, **{name: getattr(options, name) for name in LIMITS})
            driver.options = options
        self._options = options
        with suppress(LeaseLostError):  # it has just ended: they are stored when it goes on
            self._change(options=options.stored)

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` after each change, in the sweep's thread; return what unsubscribes."""
        self._listeners.append(callback)

        def unsubscribe() -> None:
            with suppress(ValueError):
                self._listeners.remove(callback)

        return unsubscribe

    def runs(self) -> list[Run]:
        """Return its runs, newest first, including reused ones."""
        places, left_out = self._reused(), self._superseded()
        runs = [run for run in self._history.runs(sweep_id=self.id) if run.id not in left_out]
        for run in self._history.runs(ids=list(places)) if places else ():
            place = places[run.id]
            where = {"release_tag": place.release_tag, "repeat": place.repeat}
            runs.append(run.model_copy(update=where))
        return sorted(runs, key=lambda run: run.timestamp, reverse=True)

    def frame(self) -> pd.DataFrame:
        """Return its runs as a DataFrame, newest first, one row per run.

        The columns are those of ``ws.history.frame()``, then ``expected.<output>`` and
        ``label.<name>`` as the cases have them. Runs reused from the history show the release
        tag and repeat that they replace, with their own `sweep_id`.
        """
        import pandas as pd

        record, sweeps = self.record, Sweeps(self._history)
        frame = sweeps.frame(self.id, exclude=self._superseded())
        cases = sweeps.cases(self.id)
        by_case_id = {case.case_id: case for case in reversed(cases)}
        by_run = {run: cases[place.position] for run, place in self._reused().items()}
        if len(by_case_id) < len(cases):  # cases alike: the id of a run says which
            begun = frozenset(frame["id"])
            by_run |= {run: cases[place.position] for run, place in planned_ids(record, begun)}
        runs = zip(frame["id"].tolist(), frame["case_id"].tolist(), strict=True)
        found = [by_run.get(run) or by_case_id.get(case_id) for run, case_id in runs]
        added: dict[str, Any] = {}
        for prefix, side in (("expected.", "expected"), ("label.", "labels")):
            for name in dict.fromkeys(name for case in cases for name in getattr(case, side)):
                values = [case and getattr(case, side).get(name) for case in found]
                added[prefix + name] = column([cell(value) for value in values], None)
        return pd.concat([frame, pd.DataFrame(added, index=frame.index)], axis=1)

    def failed(self) -> pd.DataFrame:
        """Return the rows of `frame` without outputs: failed, rejected and cancelled runs."""
        frame = self.frame()
        return frame[frame["state"].isin(_NOT_DONE)].reset_index(drop=True)

    @with_options
    def compare(self, **options: Unpack[CompareOptions]) -> Comparison:
        """Return its runs side by side, one row per case; a case that was not run is missing.

        The baseline is the first release tag by default; metrics see what the cases expect. Options
        and errors are those of `vellum_nb.Workspace.compare`.
        """
        if not self.record.cases:
            msg = "this sweep has no cases: nothing was replayed, so there is nothing to compare"
            raise InputError(msg)
        return self._worker.compare(self, **options)

    def to_csv(self, path: str | Path) -> Path:
        """Write `frame` as CSV; `vellum_nb.read_csv` reads it back, and it may be cases again.

        Raises `HistoryError` where the file cannot be written, `VellumNBError` where it would
        contain the API key: nothing was written.
        """
        return self._worker.save(path, self.frame())

    def view(self) -> Any:
        """Return the live view: counts per release tag, rate, latest outputs, Pause and Stop.

        A cell that ends in the sweep shows it too. Every call returns the same view, which several
        cells can display, until it is closed.
        """
        if self._view is None or self._view.is_closed:
            self._view = self._worker.view(self)
        self._view.stay()
        return self._view

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        return self.view().bundle_of(repr(self), **kwargs)

    @printed
    def __repr__(self) -> str:
        now = self.progress()
        if not now.planned:
            on = ", ".join(self.record.release_tags)
            return f"<Sweep of {self.record.deployment} on {on}: no cases: nothing was replayed>"
        failed = f", {now.failed} failed" if now.failed else ""
        why = f" ({now.reason})" if now.reason else ""
        moved = f"; moved during the sweep: {', '.join(now.moved)}" if now.moved else ""
        note = ""
        with suppress(HistoryError):  # it was closed: what is known can still be shown
            if deleted := Sweeps(self._history).deleted(self.id):
                note = f"; {deleted} deleted, see history.deletions()"
        return (
            f"<Sweep of {self.record.deployment} on {', '.join(self.record.release_tags)}: "
            f"{now.state}{why}, {now.ended} of {now.planned} runs{failed}{moved}{note}>"
        )

    @property
    def _driver(self) -> Driver | None:
        """The driver where it runs, in this process."""
        driver = self._last_driver
        return driver if driver is not None and driver.is_running else None

    def _read(
        self, *, look_up: bool, expected: Mapping[str, float] | None = None
    ) -> tuple[Mapping[str, str], Mapping[Place, str], list[PlannedRun]]:
        """Count what has ended; return states by run, reused runs, and runs to be looked up.

        `look_up`: those that ended in doubt are among them, and have not ended yet. `expected` is
        what a run on each release tag is expected to cost.
        """
        record, sweeps = self.record, Sweeps(self._history)
        counter = Counter(record.release_tags, record.cases * record.repeats, expected)
        states, reused = sweeps.states(record.id), sweeps.reused(record.id)
        in_doubt: list[PlannedRun] = []
        for planned in planned_runs(record, states, reused) if states or reused else ():
            if planned.state == "STARTED" or (look_up and planned.state == "IN_DOUBT"):
                in_doubt.append(planned)
            elif planned.state is not None:
                tag = planned.place.release_tag
                counter.had(tag, planned.state, reused=planned.place in reused)
        for tag, cost, seconds in sweeps.spent(record.id) if states else ():
            counter.spent(tag, cost, seconds)
        self._counter = counter
        return states, reused, in_doubt

    def _start(self, *, retry: bool = False) -> None:
        with self._lock:
            if self._driver is not None or not self.record.cases:
                return
            is_undone = retry or self._counter.left > 0
            if is_undone and self._options.stop_when and not self._options.metrics:
                msg = (
                    f"Sweep {self.id} stops when it is decided, by metrics that are not stored: "
                    "make the same call of ws.sweep(...) again, which goes on with it, or run all "
                    f"that is left: ws.open_sweep({self.id!r}, stop_when=None).resume()"
                )
                raise InputError(msg)
            try:
                self._lease = None  # a fork has none of its parent's
                is_new = self.plan is not None and not (self.plan.resumes or self.plan.ended)
                adopt = not is_new or self._last_driver is not None
                self._lease = Sweeps(self._history).acquire(
                    self.record,
                    adopt=adopt,
                    acts_elsewhere=self._options.executor is not None,
                )
                if self._options.stored != self.record.options:
                    self._change(options=self._options.stored)
                self._last_driver = driver = self._new_driver(self._lease, retry=retry)
                if driver is None:
                    self._settle(None)
                    self._release()
                    return
                driver.start()
            except BaseException:  # an interrupt, most of all
                if self._driver is None:  # else it runs
                    self._release()
                    self._worker.close()
                raise

    def _new_driver(self, lease: SweepLease, *, retry: bool) -> Driver | None:
        options, sweeps, prepare = self._options, Sweeps(self._history), self._worker.prepare
        past = sweeps.past(self.record.deployment)
        expected = _expected_costs(past, self.record.release_tags)
        states, reused, in_doubt = self._read(look_up=True, expected=expected)
        is_next_round = retry and self._counter.failed > 0
        if self._counter.left <= 0 and not is_next_round:
            return None
        attempt, most = self._worker.attempt(options, lease), options.at_once
        if is_next_round:
            self._begin_round()
            states, reused, in_doubt = self._read(look_up=True, expected=expected)
        self._why = None
        executor = options.executor
        pool = executor_pool(attempt, executor, most) if executor else thread_pool(attempt, most)
        planned = planned_runs(self.record, states, reused)
        self._rule = self._new_stop_rule(states, reused) if options.metrics else None
        in_doubt_runs = [prepare(each, options, retry=retry) for each in in_doubt]
        latencies = (run.latency_s for run in past)
        return Driver(
            (prepare(each, options) for each in planned if each.state is None),
            pool,
            lease=lease,
            counter=self._counter,
            options=options,
            listing=ListingDelay(self._worker.read_timeout_s, latencies),
            calls=sweeps.begun(self.id),
            seconds=sweeps.seconds(self.id) if options.max_seconds else 0.0,
            in_doubt=in_doubt_runs,
            next_attempt=self._next_attempt(),
            sent_now=self._worker.sent_now,
            on_change=self._changed,
            on_end=self._end,
            stop_rule=self._rule,
        )

    def _begin_round(self) -> None:
        """Begin the round in which failed runs run again."""
        if self.record.round >= most_rounds(self.record.planned):
            msg = (
                f"The failed runs of sweep {self.id} ran again {self.record.round:,} times, "
                "which is the limit; begin another sweep with restart=True"
            )
            raise InputError(msg)
        self._change(round=self.record.round + 1, ended=None)

    def _next_attempt(self) -> Callable[[PreparedRun], PreparedRun | None]:
        """Return a function that prepares what follows a run whose execution was cut off."""
        attempts: Tally[Place] = Tally()

        def following(prepared: PreparedRun) -> PreparedRun | None:
            planned = prepared.planned
            if planned is None:
                return None
            attempts[planned.place] += 1
            if attempts[planned.place] >= ATTEMPTS:
                return None
            planned = planned.next_attempt(self.record)
            if self._rule is not None:
                self._rule.add(planned)
            return self._worker.prepare(planned, self._options)

        return following

    def _new_stop_rule(self, states: Mapping[str, str], reused: Mapping[Place, str]) -> StopRule:
        """Return what stops the sweep early, with the runs that have ended before."""
        planned = list(planned_runs(self.record, states, reused))
        cases = Sweeps(self._history).cases(self.id)
        rule = StopRule(self.record, cases, self._options, planned)
        ended = [run.run_id for run in planned if run.state not in {None, "STARTED", "IN_DOUBT"}]
        rule.reason(self._history.runs(ids=ended) if ended else ())
        return rule

    def _end(self, driver: Driver) -> None:
        with suppress(HistoryError):  # it may be what broke the sweep
            why, left = driver.why, self._counter.left
            if self._rule is not None and why is not None and why == self._rule.why:
                why = f"{why}; {plural(left, 'call')} saved"
            self._settle(why)
        self._worker.close()
        self._release()

    def _settle(self, why: str | None) -> None:
        """Record that it is done, or why it stopped, unless another process drives it."""
        done = self._counter.left <= 0
        self._why = None if done else why
        ended = (self.record.ended or datetime.now(UTC)) if done else None
        lost = self.record.lost if done else None
        self.record = self.record.model_copy(update={"lost": lost})
        self._change(ended=ended, why=self._why)

    def _change(self, **fields: Any) -> None:
        """Store fields of the sweep; without its lease, that waits until it goes on."""
        if self._lease is not None:
            self._lease.change(**fields)
            self.record = self.record.model_copy(update=fields)

    def _release(self) -> None:
        lease, self._lease = self._lease, None
        with suppress(HistoryError):  # closed, or out of reach: its lease expires
            if lease is not None:
                lease.release()

    def _go_on(self) -> None:
        driver = self._driver
        if driver is not None and not driver.go_on():
            driver.wait()  # it is about to end, and cannot be held back
        self._start()

    def _attend(
        self,
        begin: Callable[[], None],
        timeout: float | None = None,
        *,
        show: bool = True,
        wait: bool = True,
    ) -> Sweep:
        """Begin and wait. An interrupt, which may come at any moment of both, stops it first."""
        if not wait:
            begin()
            return self
        interrupts = 0
        with self._worker.watch(self, show=show) if self._shows_progress else nullcontext():
            while interrupts <= _INTERRUPTS:
                try:
                    (begin, self.stop, self.cut, self.cut)[interrupts]()
                    if self._last_driver is not None:
                        self._last_driver.wait(timeout)
                    break
                except KeyboardInterrupt:
                    interrupts += 1
        if self._last_driver is not None and self._last_driver.error is not None:
            raise self._last_driver.error
        if interrupts:
            raise SweepInterrupt(self)
        return self

    def _changed(self) -> None:
        for callback in list(self._listeners):
            try:
                callback()
            except Exception as exc:  # noqa: BLE001  (whatever it is, the sweep goes on)
                message = f"{callback!r} failed for sweep {self.id}: {exc!r}"
                warn(message, RuntimeWarning, stacklevel=2)

    def _reused(self) -> dict[str, Place]:
        """Return which planned run each reused run of the history replaces."""
        return {run: place for place, run in Sweeps(self._history).reused(self.id).items()}

    def _superseded(self) -> set[str]:
        record, states = self.record, Sweeps(self._history).states(self.id)
        is_plain = not record.round and record.judge is None and "CUT_OFF" not in states.values()
        return set() if is_plain else superseded(record, states)


def _expected_costs(past: Sequence[PastRun], tags: Sequence[str]) -> dict[str, float]:
    """Return what a run on each release tag costs by past runs, of any tag if need be."""
    priced = [run for run in past if run.cost_usd is not None and is_cost(run.cost_usd)]
    expected = {}
    for tag in tags if priced else ():
        own = [run for run in priced if run.release_tag == tag] or priced
        expected[tag] = fmean(run.cost_usd or 0.0 for run in own)
    return expected


def find_sweep(sweeps: Sweeps, sweep_id: str) -> SweepRecord:
    """Return the sweep of this id, or of the only id that begins so."""
    found = sweeps.every(sweep_id) if sweep_id else []
    if len(found) == 1:
        record, held = found[0], sweeps.held()
        why = None if record.id in held else _why(record, begun=sweeps.last_seen(record.id))
        return record.model_copy(update={"why": why, "lost": sweeps.lost(record)})
    what = "several sweeps whose id begins with" if found else "no sweep"
    msg = f"The history has {what} {sweep_id!r}; ws.sweeps() lists all"
    raise HistoryError(msg)


def _why(record: SweepRecord, *, begun: object) -> str | None:
    """Return why a sweep that nobody drives has not ended; `begun`: it has runs."""
    lost = record.ended is None and record.why is None and begun
    return "its process ended before it was done" if lost else record.why


def sweeps_frame(sweeps: Sweeps, deployment: str | None = None) -> pd.DataFrame:
    """Return one row per sweep, newest first."""
    import pandas as pd

    held, tallies = sweeps.held(), sweeps.tallies()
    rows = []
    for record in sweeps.every():
        if deployment not in {None, record.deployment}:
            continue
        tally = Tally(tallies.get(record.id, {}))
        is_small = record.planned * (record.round + 1) <= MOST_RUNS
        if is_small and (record.round or tally["CANCELLED"]):  # of runs made again the last counts
            states = sweeps.states(record.id)
            past = superseded(record, states)
            tally = Tally(state for run, state in states.items() if run not in past)
            tally["FULFILLED"] += len(sweeps.reused(record.id))
            tally["FAILED"] += tally["IN_DOUBT"]
        failed = sum(tally[state] for state in _NOT_DONE)
        begun = tally["FULFILLED"] + tally["STARTED"] + failed
        idle = "done" if record.ended is not None else "stopped" if begun or record.why else "ready"
        row = {name: getattr(record, name, None) for name in _COLUMNS}
        row |= {"sweep_id": record.id, "release_tags": ", ".join(record.release_tags)}
        row |= {"done": tally["FULFILLED"], "failed": failed, "started": tally["STARTED"]}
        row |= {"state": "running" if record.id in held else idle, "to_go": record.planned - begun}
        why = None if record.id in held else _why(record, begun=begun)
        rows.append(row | {"why": "stopped by hand" if why == BY_HAND else why})
    frame = pd.DataFrame(rows, columns=list(_COLUMNS))
    for name in _TIMES:
        frame[name] = pd.to_datetime(frame[name], utc=True).astype("datetime64[us, UTC]")
    others = [name for name in _COLUMNS if name not in _TIMES]
    return frame.astype({name: "int64" if name in _NUMBERS else "str" for name in others})
