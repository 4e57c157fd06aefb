"""`Sweep`: many cases on many release tags, as one thing to watch, stop, resume and read."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable
from contextlib import AbstractContextManager, ExitStack, suppress
from datetime import UTC, datetime
from typing import Any

from vellum_nb.errors import HistoryError, InputError, VellumNBError
from vellum_nb.experiments.sweep.driver import Driver
from vellum_nb.experiments.sweep.hands import Hands
from vellum_nb.experiments.sweep.making import SweepOptions, Worker, hands_of
from vellum_nb.experiments.sweep.pace import Pace
from vellum_nb.experiments.sweep.plan import SweepPlan
from vellum_nb.experiments.sweep.progress import BY_HAND, Progress, State
from vellum_nb.experiments.sweep.results import Results
from vellum_nb.experiments.sweep.session import Session
from vellum_nb.experiments.sweep.showing import Shown
from vellum_nb.experiments.sweep.stock import stock
from vellum_nb.fitting import fitting
from vellum_nb.history import History
from vellum_nb.models.sweeps import SweepRecord

__all__ = ["Sweep", "SweepOptions", "Worker"]

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
        viewer: Callable[[Sweep], Any] | None = None,
        watch: Callable[[Sweep], AbstractContextManager[None]] | None = None,
    ) -> None:
        self.record = record
        self._history = history
        self._worker = worker
        self._options = options
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
