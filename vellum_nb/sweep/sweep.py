"""`Sweep`: many cases on many release tags, as one thing to watch, stop, resume and read."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from vellum_nb.errors import HistoryError, VellumNBError
from vellum_nb.history import History, Sweeps, cell, column
from vellum_nb.models import Cancellation, Run
from vellum_nb.models.sweeps import Place, SweepCase, SweepRecord, planned_id
from vellum_nb.sweep.concurrency import AdaptiveConcurrency
from vellum_nb.sweep.driver import Attempt, DaemonThreadPool, Driver, Session, WorkerPool
from vellum_nb.sweep.options import SweepOptions
from vellum_nb.sweep.plan import PlannedRun, SweepPlan, not_begun, planned_runs, superseded
from vellum_nb.sweep.progress import BY_HAND, Counter, Progress, State
from vellum_nb.sweep.retry_policy import PreparedRun

if TYPE_CHECKING:
    import pandas as pd

    from vellum_nb.comparison import Comparison
    from vellum_nb.comparison.metrics import Metrics


_INTERRUPTS = 3  # after which it is not waited for any longer
_NOT_DONE = ("FAILED", "REJECTED", "CANCELLED")


class SweepInterrupt(KeyboardInterrupt):
    """A sweep was interrupted while it was waited for, and stopped; `sweep` can be resumed."""

    def __init__(self, sweep: Sweep) -> None:
        super().__init__(
            f"{sweep!r}; ws.open_sweep({sweep.id!r}).resume(), or the same call, goes on"
        )
        self.sweep = sweep


class Worker(Protocol):
    """What makes the runs of a sweep."""

    @property
    def moved(self) -> tuple[str, ...]:
        """The release tags that pointed at more than one release while it ran."""

    def prepare(self, planned: PlannedRun, *, retry: bool = False) -> PreparedRun:
        """Return a planned run as it is sent, or as it is looked up where it was begun.

        `retry`: one that is FAILED and in doubt may be sent again.
        """

    def attempt(self, at_once: int) -> Attempt:
        """Return what sends, for so many at once."""

    def close(self) -> None:
        """Close the connections; the next `attempt` opens new ones."""


@dataclass(frozen=True, slots=True)
class SweepActions:
    """What a sweep is given by its workspace: callables that know comparisons and widgets.

    `watch` returns a context in which the progress is shown; `save` writes a frame as CSV.
    """

    compare: Callable[..., Comparison] | None = None
    view: Callable[[Sweep], Any] | None = None
    watch: Callable[[Sweep], AbstractContextManager[None]] | None = None
    save: Callable[[str | Path, pd.DataFrame], Path] | None = None


@dataclass(frozen=True, slots=True)
class SweepState:
    """Where a sweep is, from its history.

    Attributes
    ----------
    counter : Counter
        Has counted what has ended.
    in_doubt : list of PlannedRun
        What may have been executed, and is to be looked up.
    states : dict
        Run id to state, of all runs that were begun.
    reused : dict
        Which run of the history stands for which planned one.
    """

    record: SweepRecord
    counter: Counter
    states: Mapping[str, str]
    reused: Mapping[Place, str]
    in_doubt: list[PlannedRun] = field(default_factory=list)

    @classmethod
    def read(cls, record: SweepRecord, sweeps: Sweeps, *, look_up: bool = False) -> SweepState:
        """Read it; `look_up`: runs that are FAILED and in doubt have not ended yet."""
        counter = Counter(record.release_tags, record.cases * record.repeats)
        states = dict(sweeps.states(record.id))
        if states:
            states |= dict.fromkeys(sweeps.in_doubt(record.id), "IN_DOUBT")
        found = cls(record, counter, states, sweeps.reused(record.id))
        if not found.states and not found.reused:
            return found
        for planned in planned_runs(record, found.states, found.reused):
            if planned.state == "STARTED" or (look_up and planned.state == "IN_DOUBT"):
                found.in_doubt.append(planned)
            elif planned.state is not None:
                reused = planned.place in found.reused
                counter.had(planned.place.release_tag, planned.state, reused=reused)
        for tag, (cost, took) in sweeps.spent(record.id).items():
            counter.spent(tag, cost, took)
        return found

    @property
    def retryable(self) -> bool:
        """Whether some runs ended without outputs that certainly were executed, or never will."""
        return self.counter.failed > 0

    def not_begun(self) -> Iterator[PlannedRun]:
        """Yield the planned runs that have not begun."""
        return not_begun(self.record, self.states, self.reused)


class Sweep:
    """Cases x release tags x repeats; every run of it is in the history exactly once.

    Made by `vellum_nb.Workspace.sweep`. Of a run that was made again by `retry_failed` the latest
    counts; the history keeps all.
    """

    def __init__(
        self,
        record: SweepRecord,
        *,
        history: History,
        worker: Worker,
        options: SweepOptions,
        plan: SweepPlan | None = None,
        actions: SweepActions | None = None,
    ) -> None:
        self.record = record
        self.plan = plan
        self._history = history
        self._worker = worker
        self._options = options
        self._actions = actions or SweepActions()
        self._view: Any = None
        self._shows_progress = True
        self._lock = threading.RLock()
        self._lease: str | None = None
        self._session: Session | None = None
        self._why: str | None = record.why
        self._listeners: list[Callable[[], None]] = []
        self._state = SweepState.read(record, history.sweeps)

    @property
    def id(self) -> str:
        """The sweep's id; runs carry it as `sweep_id`."""
        return self.record.id

    @property
    def state(self) -> State:
        """``ready``, ``running``, ``paused``, ``stopping``, ``stopped`` or ``done``."""
        driver = self._running()
        if driver is not None:
            if driver.why is not None:
                return "stopping"
            return "paused" if driver.paused else "running"
        if self._state.counter.left <= 0:
            return "done"
        return "ready" if self._why is None else "stopped"

    def progress(self) -> Progress:
        """Return how far it is."""
        counter = self._state.counter
        tags, latest = counter.read()
        began, seconds, rate = counter.timed()
        driver = self._session.driver if self._session is not None else None
        return Progress(
            state=self.state,
            tags=tags,
            found=counter.found,
            reused=counter.reused,
            adopted=counter.adopted,
            resent=counter.resent,
            lost=self.record.lost,
            began=began,
            seconds=seconds,
            rate=rate,
            at_once=driver.at_once if driver else 0,
            limit=driver.concurrency.limit if driver else 0,
            most=driver.concurrency.most if driver else 0,
            note=driver.note if driver else None,
            latest=latest,
            why=self._why,
            max_cost_usd=self._options.max_cost_usd,
            moved=self._worker.moved,
        )

    def start(self) -> Sweep:
        """Run what is left, in the background. Does nothing while it runs.

        Raises
        ------
        HistoryError
            Another process runs this sweep; the message says which.
        """
        return self._start(retry=False)

    def run(self) -> Sweep:
        """Run what is left, and wait for the end as `wait` does."""
        return self._attend(self.start)

    def wait(self, timeout: float | None = None) -> Sweep:
        """Wait until it is done or stopped.

        A keyboard interrupt, or the kernel's, stops it: what is under way ends first, then
        KeyboardInterrupt is raised. A second one cuts off what is under way, to be looked up when
        the sweep is resumed.

        Raises
        ------
        KeyboardInterrupt
            It was interrupted; `resume` goes on.
        Exception
            What broke the sweep, such as a history that cannot be written; `resume` goes on.
        """
        return self._attend(lambda: None, timeout)

    def pause(self) -> None:
        """Begin nothing more until `resume`; what is under way goes on."""
        driver = self._running()
        if driver is not None:
            driver.pause()

    def resume(self, *, background: bool = False, progress: bool = True) -> Sweep:
        """Go on, after a pause, a stop or a lost kernel. Waits for the end unless `background`.

        What may have been executed, failed runs too, is looked up first, and taken over where it
        was. `progress` says whether it is shown how far it is.
        """
        self._shows_progress = progress
        if not background:
            return self._attend(self._go_on)
        self._go_on()
        return self

    def stop(self) -> None:
        """Begin nothing more, and end when what is under way has ended."""
        driver = self._running()
        if driver is not None:
            driver.stop(BY_HAND)

    def cut(self) -> None:
        """Stop at once: what is under way is cut off, and looked up when the sweep is resumed."""
        driver = self._running()
        if driver is not None:
            driver.cut()

    def retry_failed(self, *, background: bool = False) -> Sweep:
        """Make the runs again that failed or were rejected, under new ids.

        A failed run that may have been executed, because no answer came, is looked up first, and
        sent again under its old id only where the server does not list it.
        """
        if self._running() is not None:
            msg = f"Sweep {self.id} is {self.state}: wait for it, or stop it, before retry_failed()"
            raise VellumNBError(msg)
        if not background:
            return self._attend(lambda: self._start(retry=True))
        return self._start(retry=True)

    def apply(self, options: SweepOptions) -> None:
        """Apply the limits of `options`, also while it is under way.

        Raises
        ------
        VellumNBError
            It is under way, and `options` differ in what cannot be changed then.
        """
        driver = self._running()
        if driver is not None:
            self._refuse_other_calls(options)
            driver.limit(options.limits(0, 0.0))
            options = options.with_calls_of(self._options)
        self._options = options
        self._history.sweeps.change(self.id, options=dict(options.stored))
        self.record = self.record.model_copy(update={"options": dict(options.stored)})

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` whenever something changed, in the sweep's thread; return how to end."""
        self._listeners.append(callback)

        def unsubscribe() -> None:
            with suppress(ValueError):
                self._listeners.remove(callback)

        return unsubscribe

    def runs(self) -> list[Run]:
        """Return its runs, newest first, reused ones of the history too."""
        places = self._places()
        left_out = self._superseded()
        own = self._history.runs(sweep_id=self.id)
        runs = [run for run in own if run.id not in left_out]
        if places:
            found = self._history.runs(ids=list(places))
            runs += [_in_place(run, places[run.id]) for run in found]
            runs.sort(key=lambda run: run.timestamp, reverse=True)
        return runs

    def frame(self) -> pd.DataFrame:
        """Return its runs as a DataFrame, newest first, one row a run.

        The columns are those of ``ws.history.frame()``, then ``expected.<output>`` and
        ``label.<name>`` as the cases have them. Runs reused from the history show the release
        tag and repeat that they stand for, and keep their own `sweep_id`.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> cases = [{"ticket": "I was charged twice", "who": "ann"}]
        >>> sweep = ws.sweep("ticket-triage", cases, release_tags=["v2"])
        >>> sweep.frame()[["state", "output.category", "label.who"]]
               state output.category label.who
        0  FULFILLED         billing       ann
        """
        return self._frame()

    def failed(self) -> pd.DataFrame:
        """Return the same of the runs that ended without outputs: failed, rejected, cancelled."""
        return self._frame(_NOT_DONE)

    def compare(
        self,
        *,
        baseline: str | None = None,
        metrics: Metrics | None = None,
        alpha: float = 0.05,
        seed: int = 0,
        max_calls: int | None = None,
        max_cost_usd: float | None = None,
        progress: bool = True,
    ) -> Comparison:
        """Return its runs side by side, one row a case; a case that was not run is missing.

        Parameters
        ----------
        baseline : str, optional
            The tag that the others are compared with. Default: the first.
        metrics, alpha, seed
            As of `vellum_nb.Comparison`. Metrics see what the cases expect.
        max_calls, max_cost_usd, progress
            Limits of the judges among the metrics, as of `vellum_nb.Workspace.compare`.

        Returns
        -------
        Comparison

        Raises
        ------
        InputError
            The baseline is not among the release tags, or a metric does not fit.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> cases = [{"ticket": "I was charged twice"}]
        >>> ws.sweep("ticket-triage", cases, release_tags=["v1", "v2"]).compare()
        <Comparison of ticket-triage against v1, 1 case: v2 1 differs>
        """
        if self._actions.compare is None:
            msg = "This sweep has no workspace: open it with ws.open_sweep(id) to compare its runs"
            raise VellumNBError(msg)
        return self._actions.compare(
            self,
            baseline=baseline,
            metrics=metrics,
            alpha=alpha,
            seed=seed,
            max_calls=max_calls,
            max_cost_usd=max_cost_usd,
            progress=progress,
        )

    def to_csv(self, path: str | Path) -> Path:
        """Write `frame` as CSV; `vellum_nb.read_csv` reads it back to the same frame.

        It may be the cases of another sweep.

        Raises
        ------
        HistoryError
            The file cannot be written.
        VellumNBError
            The API key stands in it. Nothing was written.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> sweep = ws.sweep("ticket-triage", [{"ticket": "charged twice"}], release_tags=["v2"])
        >>> vnb.read_csv(sweep.to_csv("sweep.csv")).equals(sweep.frame())
        True
        """
        if self._actions.save is None:
            msg = "This sweep has no workspace: open it with ws.open_sweep(id) to save its runs"
            raise VellumNBError(msg)
        return self._actions.save(path, self.frame())

    def view(self) -> Any:
        """Return the live view: counts per release tag, rate, latest outputs, Pause and Stop.

        A cell that ends in the sweep shows it too. It is the same one every time, so that it may
        stand in several cells.
        """
        if self._view is None and self._actions.view is not None:
            self._view = self._actions.view(self)
        return self._view

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        view = self.view()
        if view is None:
            return {"text/plain": repr(self)}, {}
        return view.bundle_of(repr(self), **kwargs)

    def __repr__(self) -> str:
        now = self.progress()
        tags = ", ".join(self.record.release_tags)
        failed = f", {now.failed} failed" if now.failed else ""
        why = f" ({now.reason})" if now.reason else ""
        moved = f"; moved meanwhile: {', '.join(now.moved)}" if now.moved else ""
        return (
            f"<Sweep of {self.record.deployment} on {tags}: {now.state}{why}, "
            f"{now.ended} of {now.planned} runs{failed}{moved}{self._deleted_note()}>"
        )

    def _start(self, *, retry: bool) -> Sweep:
        with self._lock, ExitStack() as stack:
            if self._running() is not None:
                return self
            stack.callback(self._release)
            self._lease = self._history.sweeps.acquire(self.id)
            self._state = self._read_state()
            if retry and self._state.retryable:
                self._next_round()
                self._state = self._read_state()
            if self._state.counter.left <= 0:
                self._session = None  # what broke it earlier is over
                self._settle(None)
                return self
            self._why = None
            stack.callback(self._worker.close)
            self._session = session = self._new_session(retry=retry)
            session.start()
            stack.pop_all()
        return self

    def _read_state(self) -> SweepState:
        return SweepState.read(self.record, self._history.sweeps, look_up=True)

    def _next_round(self) -> None:
        number = self.record.round + 1
        self._history.sweeps.change(self.id, round=number, ended=None)
        self.record = self.record.model_copy(update={"round": number, "ended": None})

    def _release(self) -> None:
        if self._lease is not None:
            self._history.sweeps.release(self.id, self._lease)
            self._lease = None

    def _renew_lease(self) -> None:
        if self._lease is not None:
            self._history.sweeps.renew(self.id, self._lease)

    def _running(self) -> Driver | None:
        session = self._session
        return session.driver if session is not None and session.is_alive else None

    def _go_on(self) -> None:
        session = self._session
        if session is not None and session.is_alive and not session.driver.go_on():
            session.join()  # it is about to end, and cannot be held back
        self.start()

    def _attend(self, begin: Callable[[], object], timeout: float | None = None) -> Sweep:
        """Begin and wait. An interrupt, which may come at any moment of both, stops it first."""
        interrupts = 0
        with self._watched():
            while interrupts <= _INTERRUPTS:
                try:
                    (begin, self.stop, self.cut, self.cut)[interrupts]()
                    if self._session is not None:
                        self._session.join(timeout)
                    break
                except KeyboardInterrupt:
                    interrupts += 1
        if self._session is not None and self._session.error is not None:
            raise self._session.error
        if interrupts:
            raise SweepInterrupt(self)
        return self

    def _watched(self) -> AbstractContextManager[None]:
        watch = self._actions.watch if self._shows_progress else None
        return nullcontext() if watch is None else watch(self)

    def _new_session(self, *, retry: bool) -> Session:
        options, state = self._options, self._state
        concurrency = AdaptiveConcurrency(options.concurrency, most=options.max_concurrency)
        pool = _worker_pool(self._worker, options, concurrency.most)
        seconds = self._history.sweeps.seconds(self.id) if options.max_seconds else 0.0
        driver = Driver(
            map(self._worker.prepare, state.not_begun()),
            pool,
            recorder=self._history.sweeps,
            counter=state.counter,
            concurrency=concurrency,
            limits=options.limits(len(state.states), seconds),
            in_doubt=[self._worker.prepare(each, retry=retry) for each in state.in_doubt],
            on_change=self._changed,
            renew=self._renew_lease,
        )
        return Session(driver, lambda: self._drive(driver, pool), self._changed)

    def _drive(self, driver: Driver, pool: WorkerPool) -> None:
        try:
            driver.drive()
        except BaseException:
            driver.cut()
            with suppress(HistoryError):  # it may be what broke the sweep
                self._settle(driver.why, has_lease=driver.has_lease)
            raise
        else:
            self._settle(driver.why)
        finally:
            pool.close()
            self._worker.close()
            with suppress(HistoryError):  # closed, or out of reach: its lease expires
                self._release()

    def _settle(self, why: str | None, *, has_lease: bool = True) -> None:
        """Record that it is done, or why it stands still, unless another process drives it."""
        done = self._state.counter.left <= 0
        self._why = None if done else why
        ended = (self.record.ended or datetime.now(UTC)) if done else None
        now = {"ended": ended, "why": self._why, "lost": self.record.lost if done else None}
        self.record = self.record.model_copy(update=now)
        if has_lease:
            self._history.sweeps.change(self.id, ended=ended, why=self._why)

    def _refuse_other_calls(self, options: SweepOptions) -> None:
        """Refuse what cannot be changed under way, where it is given and another."""
        now = self._options
        differ = [
            name
            for name in ("concurrency", "max_concurrency", "expand_meta", "resend_in_doubt")
            if options.is_given(name) and getattr(options, name) != getattr(now, name)
        ]
        if options.executor is not None and now.executor is None:
            differ.append("executor")
        if options.max_cost_usd is not None and not now.expands_meta:
            differ.append("expand_meta, which max_cost_usd needs")
        if differ:
            names = ", ".join(differ)
            msg = (
                f"Sweep {self.id} is under way with another {names}; nothing was changed: stop it "
                f"first (ws.open_sweep({self.id!r}).stop()), or call it without {names}"
            )
            raise VellumNBError(msg)

    def _changed(self) -> None:
        for callback in list(self._listeners):
            try:
                callback()
            except Exception as exc:  # noqa: BLE001  (whatever it is, the sweep goes on)
                message = f"{callback!r} failed for sweep {self.id}: {exc!r}"
                warnings.warn(message, RuntimeWarning, stacklevel=2)

    def _frame(self, states: tuple[str, ...] | None = None) -> pd.DataFrame:
        import pandas as pd

        sweeps = self._history.sweeps
        frame = sweeps.frame(self.id, states=states, exclude=self._superseded())
        cases = _CaseFinder(self.record, sweeps.cases(self.id), sweeps.reused(self.id))
        pairs = zip(frame["id"].tolist(), frame["case_id"].tolist(), strict=True)
        added = cases.columns([cases.find(run, case_id) for run, case_id in pairs])
        return pd.concat([frame, pd.DataFrame(added, index=frame.index)], axis=1)

    def _deleted_note(self) -> str:
        try:
            deleted = self._history.sweeps.deleted(self.id)
        except HistoryError:  # it was closed: what is known of the sweep can still be shown
            deleted = 0
        return f"; {deleted} deleted, see history.deletions()" if deleted else ""

    def _places(self) -> dict[str, Place]:
        """Return which planned run each reused run of the history stands for."""
        return {run: place for place, run in self._history.sweeps.reused(self.id).items()}

    def _superseded(self) -> set[str]:
        if not self.record.round:
            return set()
        return superseded(self.record, self._history.sweeps.states(self.id))


def _worker_pool(worker: Worker, options: SweepOptions, at_once: int) -> WorkerPool:
    attempt = worker.attempt(at_once)
    if options.executor is not None:
        return WorkerPool(attempt, options.executor)
    return WorkerPool(attempt, DaemonThreadPool(at_once), Cancellation())


class _CaseFinder:
    """Finds the case of a run: by its `case_id`, and where cases are alike by its id."""

    def __init__(
        self, record: SweepRecord, cases: Iterable[SweepCase], reused: Mapping[Place, str]
    ) -> None:
        self._cases = list(cases)
        self._by_case_id: dict[str, SweepCase] = {}
        self._by_run: dict[str, SweepCase] = {}
        for case in self._cases:
            if self._by_case_id.setdefault(case.case_id, case) is not case:
                self._by_run |= dict.fromkeys(_run_ids(record, case.position), case)
        self._by_run |= {run: self._cases[place.position] for place, run in reused.items()}

    def find(self, run_id: str, case_id: str) -> SweepCase | None:
        """Return the case that was run."""
        return self._by_run.get(run_id) or self._by_case_id.get(case_id)

    def columns(self, found: list[SweepCase | None]) -> dict[str, Any]:
        """Return ``expected.…`` and ``label.…`` of the cases found, as columns."""
        added: dict[str, Any] = {}
        for prefix, side in (("expected.", "expected"), ("label.", "labels")):
            names = dict.fromkeys(name for case in self._cases for name in getattr(case, side))
            for name in names:
                values = [None if case is None else getattr(case, side).get(name) for case in found]
                added[prefix + name] = column([cell(value) for value in values], None)
        return added


def _run_ids(record: SweepRecord, position: int) -> Iterable[str]:
    """Return the ids that the runs of one case have, in all rounds."""
    for tag in record.release_tags:
        for repeat in range(record.repeats):
            for number in range(record.round + 1):
                yield planned_id(record.id, Place(position, tag, repeat), number)


def _in_place(run: Run, place: Place) -> Run:
    return run.model_copy(update={"release_tag": place.release_tag, "repeat": place.repeat})
