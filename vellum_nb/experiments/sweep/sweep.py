"""`Sweep`: many cases on many release tags, as one thing to watch, stop, resume and read."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import chain
from typing import TYPE_CHECKING, Any, Protocol

from vellum_nb.errors import VellumNBError
from vellum_nb.experiments.compare import Comparison
from vellum_nb.experiments.sweep.driver import Driver
from vellum_nb.experiments.sweep.limits import Limits
from vellum_nb.experiments.sweep.pace import Pace
from vellum_nb.experiments.sweep.progress import Counter, Progress, State
from vellum_nb.experiments.sweep.showing import Shown
from vellum_nb.experiments.sweep.todo import Standing, fresh, standings
from vellum_nb.experiments.sweep.work import Attempt, Task
from vellum_nb.history import History
from vellum_nb.models import Cancellation, Run
from vellum_nb.models.sweeps import SweepRecord

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Sweep", "SweepOptions", "Worker"]


@dataclass(frozen=True, slots=True)
class SweepOptions:
    """How a sweep goes about it; see `vellum_nb.Workspace.sweep`."""

    concurrency: int | None = None
    max_concurrency: int = 128
    max_calls: int | None = None
    max_seconds: float | None = None
    max_cost_usd: float | None = None
    stop_after_failures: int | None = None
    executor: Executor | None = None


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


class Sweep(Shown):
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
        self._lock = threading.Lock()
        self._driver: Driver | None = None
        self._thread: threading.Thread | None = None
        self._cancel = Cancellation()
        self._error: BaseException | None = None
        self._why: str | None = record.why
        self._counter = Counter(record.release_tags, record.cases * record.repeats)
        self._listeners: list[Callable[[], None]] = []
        self._count()

    @property
    def id(self) -> str:
        """The sweep's id; runs carry it as `sweep_id`."""
        return self.record.id

    @property
    def state(self) -> State:
        """``ready``, ``running``, ``paused``, ``stopping``, ``stopped`` or ``done``."""
        driver, thread = self._driver, self._thread
        if driver is not None and thread is not None and thread.is_alive():
            if driver.why is not None:
                return "stopping"
            return "paused" if driver.paused else "running"
        if self._is_done():
            return "done"
        return "ready" if self._why is None else "stopped"

    def progress(self) -> Progress:
        """Return how far it is."""
        tags, latest = self._counter.told()
        began, seconds, rate = self._counter.timed()
        driver = self._driver
        return Progress(
            state=self.state,
            tags=tags,
            found=self._counter.found,
            began=began,
            seconds=seconds,
            rate=rate,
            at_once=driver.flying if driver else 0,
            limit=driver.pace.limit if driver else 0,
            most=driver.pace.most if driver else 0,
            note=driver.pace.lowered if driver else None,
            latest=latest,
            why=self._why,
            max_cost_usd=self._options.max_cost_usd,
            moved=self._worker.moved,
        )

    def start(self) -> Sweep:
        """Run what is left, in the background."""
        with self._lock:
            if self._thread is not None and self._thread.is_alive():
                return self
            self._count()
            if self._is_done():
                return self
            self._cancel, self._error, self._why = Cancellation(), None, None
            self._thread = threading.Thread(target=self._run, name="vellum-nb-sweep", daemon=True)
            self._thread.start()
        return self

    def wait(self, timeout: float | None = None) -> Sweep:
        """Wait until it is done or stopped.

        A keyboard interrupt, or the kernel's, stops it: what is under way ends first; a second
        one cuts that off, to be looked up when the sweep is resumed.
        """
        with self._watched():
            self._join(timeout)
        if self._error is not None:
            raise self._error
        return self

    def pause(self) -> None:
        """Begin nothing more until `resume`; what is under way goes on."""
        self._pause(paused=True)

    def resume(self, *, background: bool = False) -> Sweep:
        """Go on, after a pause, a stop or a lost kernel. Waits for the end unless `background`."""
        self._pause(paused=False)
        self.start()
        return self if background else self.wait()

    def stop(self) -> None:
        """Begin nothing more, and end when what is under way has ended."""
        driver = self._driver
        if driver is not None:
            driver.stop("stopped")

    def cut(self) -> None:
        """Stop at once: what is under way is cut off, and looked up when the sweep is resumed."""
        self.stop()
        self._cancel.cancel()

    def retry_failed(self, *, background: bool = False) -> Sweep:
        """Make the runs that failed or were rejected anew, under new ids."""
        if self.state in {"running", "paused", "stopping"}:
            msg = f"Sweep {self.id} is {self.state}: wait for it, or stop it, before retry_failed()"
            raise VellumNBError(msg)
        number = self.record.round + 1
        self._history.change_sweep(self.id, round=number, ended=None)
        self.record = self.record.model_copy(update={"round": number, "ended": None})
        self.start()
        return self if background else self.wait()

    def runs(self) -> list[Run]:
        """Return its runs, newest first."""
        return self._history.runs(sweep_id=self.id)

    def frame(self) -> pd.DataFrame:
        """Return its runs as the history's frame."""
        return self._history.frame(sweep_id=self.id)

    def failed(self) -> pd.DataFrame:
        """Return its runs that ended without outputs."""
        states = ["FAILED", "REJECTED", "CANCELLED"]
        return self._history.frame(sweep_id=self.id, state=states)

    def compare(self, *, baseline: str | None = None) -> Comparison:
        """Return its runs side by side."""
        return Comparison(
            self.runs(),
            deployment=self.record.deployment,
            release_tags=self.record.release_tags,
            baseline=baseline,
            render=self._render,
        )

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` whenever something changed, in the sweep's thread; return how to end."""
        self._listeners.append(callback)
        return lambda: self._listeners.remove(callback)

    def __repr__(self) -> str:
        now = self.progress()
        tags = ", ".join(self.record.release_tags)
        failed = f", {now.failed} failed" if now.failed else ""
        why = f" ({now.why})" if now.why and now.state == "stopped" else ""
        moved = f"; moved meanwhile: {', '.join(now.moved)}" if now.moved else ""
        return (
            f"<Sweep of {self.record.deployment} on {tags}: {now.state}{why}, "
            f"{now.ended} of {now.planned} runs{failed}{moved}>"
        )

    def _join(self, timeout: float | None) -> None:
        for stop in (self.stop, self.cut, self.cut):
            try:
                thread = self._thread
                if thread is not None:
                    thread.join(timeout)
                break
            except KeyboardInterrupt:
                stop()

    def _is_done(self) -> bool:
        tags, _ = self._counter.told()
        return all(tag.done + tag.failed == tag.planned for tag in tags)

    def _pause(self, *, paused: bool) -> None:
        driver = self._driver
        if driver is not None:
            driver.paused = paused
            driver.wake()

    def _count(self) -> None:
        """Count what has ended, and remember what was begun and has not."""
        self._counter = Counter(self.record.release_tags, self.record.cases * self.record.repeats)
        self._states = self._history.sweep_states(self.id)
        self._doubtful: list[Standing] = []
        if not self._states:
            return
        for standing in standings(self.record, self._states):
            if standing.state == "STARTED":
                self._doubtful.append(standing)
            elif standing.state is not None:
                self._counter.had(standing.place.release_tag, standing.state)

    def _todo(self) -> Iterator[Task]:
        return map(self._worker.task, chain(self._doubtful, fresh(self.record, self._states)))

    def _run(self) -> None:
        options = self._options
        pace = Pace(options.concurrency, most=options.max_concurrency)
        own = ThreadPoolExecutor(pace.most, "vellum-nb-call") if options.executor is None else None
        driver = Driver(
            self._todo(),
            self._worker.attempt(pace.most),
            executor=options.executor or own,  # type: ignore[arg-type]
            recorder=self._history,
            counter=self._counter,
            pace=pace,
            limits=self._limits(),
            cancel=self._cancel if own is not None else None,
            changed=self._changed,
        )
        self._driver = driver
        self._counter.start()
        try:
            driver.drive()
            self._why = driver.why
            self._settle()
        except Exception as exc:  # noqa: BLE001  (shown by `wait`)
            self._error, self._why = exc, str(exc)
        finally:
            if own is not None:
                own.shutdown()
            self._worker.close()
            self._changed()

    def _settle(self) -> None:
        done = self._is_done()
        if done:
            self._why = None
        ended = datetime.now(UTC) if done else None
        self._history.change_sweep(self.id, ended=ended, why=self._why)
        self.record = self.record.model_copy(update={"ended": ended, "why": self._why})

    def _limits(self) -> Limits:
        options = self._options
        tags, _ = self._counter.told()
        return Limits(
            options.max_calls,
            options.max_seconds,
            options.max_cost_usd,
            options.stop_after_failures,
            calls=sum(tag.done + tag.failed for tag in tags),
        )

    def _changed(self) -> None:
        for callback in list(self._listeners):
            callback()
