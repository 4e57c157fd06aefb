"""Sweep: many cases on many release tags, as one thing to watch, stop, resume and read."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import Executor
from contextlib import AbstractContextManager, ExitStack, nullcontext, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from vellum_nb.errors import HistoryError, InputError, VellumNBError
from vellum_nb.experiments.comparison import Comparison
from vellum_nb.experiments.comparison.tools import Tools
from vellum_nb.experiments.metrics.choosing import Metrics
from vellum_nb.experiments.metrics.judges import Judging
from vellum_nb.experiments.report.saving import refuse_key, save_frame
from vellum_nb.fitting import fitting
from vellum_nb.history import History
from vellum_nb.history.plans.sweeping import Sweeps
from vellum_nb.history.reading.records import Record
from vellum_nb.history.rows.cells import cell
from vellum_nb.history.rows.frames import column
from vellum_nb.models import Cancellation, Run
from vellum_nb.models.sweeps import Place, SweepCase, SweepRecord, planned_id
from vellum_nb.sweep.concurrency import Pace
from vellum_nb.sweep.driver import Attempt, Crew, Driver, Hands, Session, Task
from vellum_nb.sweep.options import KEPT, SweepOptions
from vellum_nb.sweep.plan import Standing, SweepPlan, fresh, standings, superseded
from vellum_nb.sweep.progress import BY_HAND, Counter, Progress, State

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "KEPT",
    "Results",
    "Shown",
    "Stock",
    "Sweep",
    "SweepOptions",
    "Worker",
    "hands_of",
    "stock",
]


class Worker(Protocol):
    """What a sweep is handed to make its runs with."""

    @property
    def moved(self) -> tuple[str, ...]:
        """The release tags that pointed at more than one release while it ran."""

    def task(self, standing: Standing) -> Task:
        """Return the run of a place: a new one, or the one that was begun, with its doubt."""

    def attempt(self, at_once: int) -> Attempt:
        """Return what sends, for so many at once."""

    def close(self) -> None:
        """Let go of connections; the next `attempt` opens new ones."""


def hands_of(worker: Worker, executor: Executor | None, at_once: int) -> Hands:
    """Return what makes the attempts of `worker`: by `executor`, or in this process."""
    attempt = worker.attempt(at_once)
    if executor is not None:
        return Hands(attempt, executor)
    return Hands(attempt, Crew(at_once), Cancellation())


@dataclass(frozen=True, slots=True)
class Stock:
    """Where a sweep stands.

    Attributes
    ----------
    counter : Counter
        Has counted what has ended.
    doubtful : list of Standing
        What was begun, and has not ended.
    states : dict
        Run id to state, of all runs that were begun.
    reused : dict
        Which run of the history stands for which planned one.
    """

    record: SweepRecord
    counter: Counter
    doubtful: list[Standing]
    states: Mapping[str, str]
    reused: Mapping[Place, str]

    def fresh(self) -> Iterator[Standing]:
        """Yield the planned runs that have not begun."""
        return fresh(self.record, self.states, self.reused)


def stock(record: SweepRecord, sweeps: Sweeps) -> Stock:
    """Return where the sweep of `record` stands."""
    counter = Counter(record.release_tags, record.cases * record.repeats)
    found = Stock(record, counter, [], sweeps.states(record.id), sweeps.reused(record.id))
    if not found.states and not found.reused:
        return found
    for standing in standings(record, found.states, found.reused):
        if standing.state == "STARTED":
            found.doubtful.append(standing)
        elif standing.state is not None:
            reused = standing.place in found.reused
            counter.had(standing.place.release_tag, standing.state, reused=reused)
    for tag, (cost, took) in sweeps.spent(record.id).items():
        counter.spent(tag, cost, took)
    return found


class Shown:
    """What a sweep shows of itself.

    Attributes
    ----------
    viewer : callable or None
        Makes the live view of a sweep.
    watch : callable or None
        Returns a context in which the progress is shown, while somebody waits for the end.
    """

    viewer: Callable[[Any], Any] | None = None
    watch: Callable[[Any], AbstractContextManager[None]] | None = None
    _view: Any = None

    def view(self) -> Any:
        """Return the live view: counts per release tag, rate, latest outputs, Pause and Stop.

        A cell that ends in the sweep shows it too. It is the same one every time, so that it may
        stand in several cells.
        """
        if self._view is None and self.viewer is not None:
            self._view = self.viewer(self)
        return self._view

    def _watched(self) -> AbstractContextManager[None]:
        return nullcontext() if self.watch is None else self.watch(self)

    def _repr_mimebundle_(self, **kwargs: Any) -> Any:
        view = self.view()
        if view is None:
            return {"text/plain": repr(self)}, {}
        return view.bundle_of(repr(self), **kwargs)


_NOT_DONE = ("FAILED", "REJECTED", "CANCELLED")


class Results:
    """The half of `vellum_nb.Sweep` that looks back.

    Of a run that was tried anew by `retry_failed` the latest counts; the history keeps all.
    """

    record: SweepRecord
    _history: History
    _render: Callable[[Comparison], str] | None
    judging: Judging | None = None
    tools: Tools = Tools()
    """What its comparisons act with and are shown by; whoever makes a sweep sets it."""

    def runs(self) -> list[Run]:
        """Return its runs, newest first, those taken over from the history too."""
        places = {run: place for place, run in self._history.sweeps.reused(self.record.id).items()}
        left_out = self._superseded()
        own = self._history.runs(archived=True, sweep_id=self.record.id)
        runs = [run for run in own if run.id not in left_out]
        if places:
            found = self._history.runs(archived=True, ids=list(places))
            runs += [self._history.traced(_standing_for(run, places[run.id])) for run in found]
            runs.sort(key=lambda run: run.timestamp, reverse=True)
        return runs

    def records(self) -> list[Record]:
        """Return its runs as light rows, in no order, for comparisons; those of `runs`."""
        places = {run: place for place, run in self._history.sweeps.reused(self.record.id).items()}
        left_out = self._superseded()
        own = self._history.records(archived=True, sweep_id=self.record.id)
        taken = self._history.records(archived=True, ids=list(places)) if places else []
        for each in taken:
            each.release_tag = each.group = places[each.id].release_tag
        return [each for each in own if each.id not in left_out] + taken

    def frame(self) -> pd.DataFrame:
        """Return its runs as a DataFrame, newest first, one row a run.

        The columns are those of ``ws.history.frame()``, then ``expected.<output>`` and
        ``label.<name>`` as the cases have them. Runs taken over from the history show the release
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
    ) -> Comparison:
        """Return its runs side by side, one row a case; a case that was not run is missing.

        Parameters
        ----------
        baseline : str, optional
            The tag the others are held against. Default: the first.
        metrics, alpha, seed
            As of `vellum_nb.Comparison`. Metrics see what the cases expect.

        Raises
        ------
        InputError
            The baseline is not among the release tags, or a metric is none.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> cases = [{"ticket": "I was charged twice"}]
        >>> ws.sweep("ticket-triage", cases, release_tags=["v1", "v2"]).compare()
        <Comparison of ticket-triage against v1, 1 case: v2 1 differs>
        """
        comparison = Comparison(
            self.records(),
            deployment=self.record.deployment,
            release_tags=self.record.release_tags,
            baseline=baseline,
            render=self._render,
            metrics=metrics,
            cases=self._history.sweeps.cases(self.record.id),
            alpha=alpha,
            seed=seed,
            judging=self.judging,
        )
        comparison.tools = self.tools
        return comparison

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
        frame = self.frame()
        refuse_key(str(path), self.tools.holds_key, [frame])
        return save_frame(path, frame, "csv")

    def _frame(self, states: tuple[str, ...] | None = None) -> pd.DataFrame:
        import pandas as pd

        sweeps = self._history.sweeps
        left_out = self._superseded()
        frame = sweeps.frame(self.record.id, states=states, without=left_out)
        finder = _Finder(self.record, sweeps.cases(self.record.id), sweeps.reused(self.record.id))
        pairs = zip(frame["id"].tolist(), frame["case_id"].tolist(), strict=True)
        added = finder.columns([finder.case(run, case_id) for run, case_id in pairs])
        return pd.concat([frame, pd.DataFrame(added, index=frame.index)], axis=1)

    def _told_deleted(self) -> str:
        try:
            gone = self._history.sweeps.deleted(self.record.id)
        except HistoryError:  # it was closed: what is known of the sweep can still be told
            gone = 0
        return f"; {gone} deleted, see history.deletions()" if gone else ""

    def _superseded(self) -> set[str]:
        if not self.record.round:
            return set()
        return superseded(self.record, self._history.sweeps.states(self.record.id))


class _Finder:
    """Finds the case of a run: by its `case_id`, and where cases are alike by its id."""

    def __init__(
        self, record: SweepRecord, cases: Iterable[SweepCase], reused: Mapping[Place, str]
    ) -> None:
        self._cases = list(cases)
        self._by_case_id: dict[str, SweepCase] = {}
        self._by_run: dict[str, SweepCase] = {}
        for case in self._cases:
            if self._by_case_id.setdefault(case.case_id, case) is not case:
                self._by_run |= dict.fromkeys(_ids(record, case.position), case)
        self._by_run |= {run: self._cases[place.position] for place, run in reused.items()}

    def case(self, run_id: str, case_id: str) -> SweepCase | None:
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


def _ids(record: SweepRecord, position: int) -> Iterable[str]:
    """Return the ids that the runs of one case have, in all rounds."""
    for tag in record.release_tags:
        for repeat in range(record.repeats):
            for number in range(record.round + 1):
                yield planned_id(record.id, Place(position, tag, repeat), number)


def _standing_for(run: Run, place: Place) -> Run:
    return run.model_copy(update={"release_tag": place.release_tag, "repeat": place.repeat})


_PRESSES = 3


@fitting(InputError)
class Sweep(Results, Shown):
    """Cases x release tags x repeats; every run of it is in the history exactly once.

    Made by `vellum_nb.Workspace.sweep`.
    """

    def __init__(
        self,
        record: SweepRecord,
        *,
        history: History,
        worker: Worker,
        options: SweepOptions,
        render: Callable[[Comparison], str] | None = None,
        viewer: Callable[[Sweep], Any] | None = None,
        watch: Callable[[Sweep], AbstractContextManager[None]] | None = None,
    ) -> None:
        self.record = record
        self._history = history
        self._worker = worker
        self._options = options
        self._render = render
        self.viewer = viewer
        self.watch = watch
        self._lock = threading.RLock()
        self._held: str | None = None
        self.plan: SweepPlan | None = None
        self._session: Session | None = None
        self._why: str | None = record.why
        self._listeners: list[Callable[[], None]] = []
        self._stock = stock(self.record, self._history.sweeps)

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
        if self._stock.counter.left <= 0:
            return "done"
        return "ready" if self._why is None else "stopped"

    def progress(self) -> Progress:
        """Return how far it is."""
        counter = self._stock.counter
        tags, latest = counter.told()
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
            at_once=driver.flying if driver else 0,
            limit=driver.pace.limit if driver else 0,
            most=driver.pace.most if driver else 0,
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
        return self._start(again=False)

    def run(self) -> Sweep:
        """Run what is left, and wait for the end as `wait` does."""
        return self._attend(self.start)

    def wait(self, timeout: float | None = None) -> Sweep:
        """Wait until it is done or stopped.

        A keyboard interrupt, or the kernel's, stops it: what is under way ends first; a second
        one cuts that off, to be looked up when the sweep is resumed.

        Raises
        ------
        Exception
            What broke the sweep, such as a history that cannot be written; `resume` goes on.
        """
        return self._attend(lambda: None, timeout)

    def pause(self) -> None:
        """Begin nothing more until `resume`; what is under way goes on."""
        driver = self._running()
        if driver is not None:
            driver.pause()

    def resume(self, *, background: bool = False) -> Sweep:
        """Go on, after a pause, a stop or a lost kernel. Waits for the end unless `background`."""
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
        """Make the runs that failed or were rejected anew, under new ids."""
        if self._running() is not None:
            msg = f"Sweep {self.id} is {self.state}: wait for it, or stop it, before retry_failed()"
            raise VellumNBError(msg)
        if not background:
            return self._attend(lambda: self._start(again=True))
        return self._start(again=True)

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` whenever something changed, in the sweep's thread; return how to end."""
        self._listeners.append(callback)

        def unsubscribe() -> None:
            with suppress(ValueError):
                self._listeners.remove(callback)

        return unsubscribe

    def __repr__(self) -> str:
        now = self.progress()
        tags = ", ".join(self.record.release_tags)
        failed = f", {now.failed} failed" if now.failed else ""
        why = f" ({now.reason})" if now.reason else ""
        moved = f"; moved meanwhile: {', '.join(now.moved)}" if now.moved else ""
        deleted = self._told_deleted()
        return (
            f"<Sweep of {self.record.deployment} on {tags}: {now.state}{why}, "
            f"{now.ended} of {now.planned} runs{failed}{moved}{deleted}>"
        )

    def _start(self, *, again: bool) -> Sweep:
        with self._lock, ExitStack() as stack:
            if self._running() is not None:
                return self
            stack.callback(self._let_go)
            self._held = self._history.sweeps.hold(self.id)
            self._stock = stock(self.record, self._history.sweeps)
            if again and self._stock.counter.failed:
                self._next_round()
                self._stock = stock(self.record, self._history.sweeps)
            if self._stock.counter.left <= 0:
                self._session = None  # what broke it earlier is over
                self._settle(None)
                return self
            self._why = None
            stack.callback(self._worker.close)
            self._session = session = self._new_session()
            session.start()
            stack.pop_all()
        return self

    def _next_round(self) -> None:
        number = self.record.round + 1
        self._history.sweeps.change(self.id, round=number, ended=None)
        self.record = self.record.model_copy(update={"round": number, "ended": None})

    def _let_go(self) -> None:
        if self._held is not None:
            self._history.sweeps.let_go(self.id, self._held)
            self._held = None

    def _running(self) -> Driver | None:
        session = self._session
        return session.driver if session is not None and session.is_alive else None

    def _go_on(self) -> None:
        session = self._session
        if session is not None and session.is_alive and not session.driver.go_on():
            session.join()  # it is about to end, and cannot be held back
        self.start()

    def _attend(self, begin: Callable[[], object], timeout: float | None = None) -> Sweep:
        """Begin and wait. An interrupt may come at any moment of both."""
        presses = 0
        with self._watched():
            while presses <= _PRESSES:
                try:
                    (begin, self.stop, self.cut, self.cut)[presses]()
                    if self._session is not None:
                        self._session.join(timeout)
                    break
                except KeyboardInterrupt:
                    presses += 1
        if self._session is not None and self._session.error is not None:
            raise self._session.error
        return self

    def _new_session(self) -> Session:
        options = self._options
        pace = Pace(options.concurrency, most=options.max_concurrency)
        hands = hands_of(self._worker, options.executor, pace.most)
        seconds = self._history.sweeps.seconds(self.id) if options.max_seconds else 0.0
        driver = Driver(
            map(self._worker.task, self._stock.fresh()),
            hands,
            recorder=self._history.sweeps,
            counter=self._stock.counter,
            pace=pace,
            limits=options.limits(len(self._stock.states), seconds),
            doubtful=map(self._worker.task, self._stock.doubtful),
            changed=self._changed,
        )
        return Session(driver, lambda: self._drive(driver, hands), self._changed)

    def _drive(self, driver: Driver, hands: Hands) -> None:
        try:
            driver.drive()
        except BaseException:
            driver.cut()
            with suppress(HistoryError):  # it may be what broke the sweep
                self._settle(driver.why)
            raise
        else:
            self._settle(driver.why)
        finally:
            hands.close()
            self._worker.close()
            with suppress(HistoryError):  # closed, or out of reach: then nobody else is held up
                self._let_go()

    def _settle(self, why: str | None) -> None:
        """Write down that it is done, or why it stands still."""
        done = self._stock.counter.left <= 0
        self._why = None if done else why
        ended = (self.record.ended or datetime.now(UTC)) if done else None
        now = {"ended": ended, "why": self._why, "lost": self.record.lost if done else None}
        self.record = self.record.model_copy(update=now)
        self._history.sweeps.change(self.id, ended=ended, why=self._why)

    def _changed(self) -> None:
        for callback in list(self._listeners):
            try:
                callback()
            except Exception as exc:  # noqa: BLE001  (whatever it is, the sweep goes on)
                told = f"{callback!r} failed for sweep {self.id}: {exc!r}"
                warnings.warn(told, RuntimeWarning, stacklevel=2)
