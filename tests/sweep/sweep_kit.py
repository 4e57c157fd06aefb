"""A sweep on a real history whose calls are a function; also for processes of their own."""

import threading
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from vellum_nb import History
from vellum_nb.history import SweepLease, Sweeps
from vellum_nb.models import Cancellation, Run
from vellum_nb.models.sweeps import SweepCase, SweepRecord
from vellum_nb.sweep.options import SweepOptions, as_limits
from vellum_nb.sweep.plan import PlannedRun
from vellum_nb.sweep.retry_policy import (
    LOOKUP_S,
    Doubt,
    Finished,
    InDoubt,
    Outcome,
    PreparedRun,
)
from vellum_nb.sweep.sweep import Sweep, SweepControl

LONG = 60.0  # seconds; waits that end long before

Attempt = Callable[[PreparedRun, Cancellation | None], Outcome]


def answered(task: PreparedRun, cancel: Cancellation | None = None, **fields: Any) -> Finished:
    """End it at once."""
    how = {"state": "FULFILLED", "outputs": {"n": task.run.inputs["n"]}, "latency_s": 0.25}
    how |= {"finished_at": datetime.now(UTC), "error": None, "doubt": None} | fields
    return Finished(task.run.model_copy(update=how))


class Gate:
    """An attempt that waits until it is let through."""

    def __init__(self) -> None:
        self.open = threading.Event()
        self.arrived = threading.Semaphore(0)
        self.seen: list[str] = []

    def __call__(self, task: PreparedRun, cancel: Cancellation | None = None) -> Outcome:
        self.seen.append(task.run.id)
        self.arrived.release()
        if cancel is not None:
            cancel.add_callback(self.open.set)
        self.open.wait(LONG)
        if cancel is not None and cancel.cancelled:
            return InDoubt(replace(task, doubt=Doubt("cut off")), "cut off", answered=False)
        return answered(task, cancel)

    def wait_for(self, number: int) -> None:
        """Wait until so many are here."""
        for _ in range(number):
            assert self.arrived.acquire(timeout=LONG)


class Maker:
    """Makes the runs of a sweep out of numbers."""

    moved: tuple[str, ...] = ()
    read_timeout_s = LOOKUP_S

    def __init__(self, history: History, record: SweepRecord, attempt: Attempt) -> None:
        self.history, self.record, self.made = history, record, attempt

    def prepare(
        self,
        planned: PlannedRun,
        _options: Any,
        _before: Any = None,
        *,
        again: Run | None = None,  # noqa: ARG002  (a new run is made)
        retry: bool = False,
    ) -> PreparedRun:
        if planned.state is not None:
            run = self.history.get(planned.run_id)
            return PreparedRun(run, (), Doubt("begun"), planned, may_resend=retry)
        run = Run(
            id=planned.run_id,
            external_id=planned.run_id,
            deployment="d",
            release_tag=planned.place.release_tag,
            timestamp=datetime.now(UTC),
            inputs={"n": planned.place.position},
            case_id=f"case-{planned.place.position}",
            sweep_id=self.record.id,
            repeat=planned.place.repeat,
        )
        return PreparedRun(run, (), planned=planned)

    def attempt(self, _options: SweepOptions, _lease: SweepLease) -> Attempt:
        return self.made

    def sent_now(self, run: Run) -> Run:
        return run

    def close(self) -> None: ...

    def watch(self, _sweep: Sweep, **_: Any) -> AbstractContextManager[None]:
        return nullcontext()


def planned(history: History, cases: int, tags: tuple[str, ...] = ("v1",)) -> SweepRecord:
    """Keep the plan of a sweep."""
    record = SweepRecord(
        id="00000000-0000-4000-8000-000000000001",
        deployment="d",
        release_tags=tags,
        cases=cases,
        signature="s",
        created=datetime.now(UTC),
    )
    Sweeps(history).add(record, [SweepCase(n, f"case-{n}", {"n": n}) for n in range(cases)])
    return record


def swept(history: History, record: SweepRecord, attempt: Attempt, **options: Any) -> Sweep:
    """Return a sweep that makes its calls by `attempt`."""
    worker = Maker(history, record, attempt)
    options["limits"] = as_limits(options.get("limits"))
    return Sweep(SweepControl(record, worker, SweepOptions(**options)))


def again_later(history: History, sweep: Sweep, attempt: Attempt, **options: Any) -> Sweep:
    """Return the sweep as a later kernel has it."""
    record = next(each for each in Sweeps(history).every() if each.id == sweep.id)
    return swept(history, record, attempt, **options)
