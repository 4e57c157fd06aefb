"""Starting the runs of a form, showing how they get on, and ending them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Required, TypedDict

from vellum_nb.models import Cancellation, Run, RunRequest, VellumVariable
from vellum_nb.widgets.bars import AnswerBars
from vellum_nb.widgets.drift import not_sent
from vellum_nb.widgets.edge import Edge
from vellum_nb.widgets.job import Job, Progress
from vellum_nb.widgets.judging import Judging, Rate, Trace
from vellum_nb.widgets.live import Live, Stream
from vellum_nb.widgets.options import RunOptions
from vellum_nb.widgets.results import Results
from vellum_nb.widgets.run_bar import RunBar

__all__ = ["CallArguments", "Calls", "Execute", "Launch", "make_requests"]

Execute = Callable[[RunRequest, Cancellation], Run]


class CallArguments(TypedDict, total=False):
    """What `Calls` is made from, for type checkers."""

    run: Required[Execute]
    stream: Stream | None
    rate: Rate | None
    trace: Trace | None


@dataclass(frozen=True)
class Calls:
    """What a form is handed to act with; what is None cannot be done.

    Attributes
    ----------
    run, stream : callable
        Execute one request; `stream` calls back with what has come so far.
    rate, trace : callable
        Rate a run, and return its nodes.
    """

    run: Execute
    stream: Stream | None = None
    rate: Rate | None = None
    trace: Trace | None = None

    @property
    def controls(self) -> list[str]:
        """The names of what can be done with an answer."""
        return [name for name in ("rate", "trace") if getattr(self, name) is not None]


class Launch:
    """Holds the newest job of a form, and its answers.

    Parameters
    ----------
    calls : Calls
        What runs, rates and traces.
    outputs : sequence of str
        The names of the outputs that a run is expected to have.
    bar, edge : RunBar, Edge
        Where progress and faults are shown; while runs are under way only the job's reporting
        thread writes there.
    answered : callable
        Called with the runs when all have ended, and when one of them was rated.
    ended : callable
        Called after all have ended, whatever happened.
    go_on : callable
        Called with the run that Continue goes on from.

    Attributes
    ----------
    results : Results
        The answers.
    """

    def __init__(
        self,
        calls: Calls,
        *,
        outputs: Sequence[str],
        bar: RunBar,
        edge: Edge,
        answered: Callable[[tuple[Run, ...]], None],
        ended: Callable[[], None],
        go_on: Callable[[Run], None],
    ) -> None:
        self._calls = calls
        self._bar = bar
        self._edge = edge
        self._answered = answered
        self._when_ended = ended
        self._lock = threading.Lock()
        self._telling = threading.RLock()  # so that the newest is told last
        self._runs: tuple[Run, ...] = ()
        self._rated: dict[str, Run] = {}
        self._job: Job | None = None
        if calls.stream is not None:
            bar.offer_stream()
        bars = AnswerBars(calls.controls)
        self.results = Results(bars, outputs=outputs)
        self._judging = Judging(
            bars, rate=calls.rate, trace=calls.trace, edge=edge, judged=self._judged, go_on=go_on
        )

    def start(self, requests: Sequence[RunRequest], *, streaming: bool = False) -> None:
        """Start, and return at once."""
        stream = self._calls.stream
        live = Live(stream) if streaming and stream else None

        def report(progress: Progress) -> None:
            with self._edge:
                progress = self._as_judged(progress)
                self._bar.progress(progress, live.node() if live else "")
                self.results.show(requests, progress, live.latest if live else None)
                if progress.finished:
                    self._take(progress.runs)

        with self._lock:
            self._rated = {}
        self._edge.clear()
        self._bar.running()
        self._job = Job(live or self._calls.run, requests, report=report, ended=self._ended)
        self._job.start()

    def cancel(self) -> None:
        """Cut off what is under way."""
        if self._job is not None and not self._job.wait(0):
            self._bar.cancelling()
            self._job.cancel()

    def wait(self, timeout: float | None = None) -> None:
        """Wait until nothing is under way; an interrupt cancels it."""
        if self._job is None:
            return
        try:
            self._job.wait(timeout)
        except KeyboardInterrupt:
            self.cancel()
            raise

    def close(self) -> None:
        """Cut off what is under way, and wait a moment for it."""
        self.cancel()
        self.wait(2)
        self._judging.wait(2)

    def _judged(self, run: Run) -> None:
        with self._lock:
            self._rated[run.id] = run
        self._take(None)
        self.results.replace(run)

    def _as_judged(self, progress: Progress) -> Progress:
        """Return `progress` with what was said of its runs while others were under way."""
        with self._lock:
            outcomes = tuple(
                self._rated.get(outcome.id, outcome) if isinstance(outcome, Run) else outcome
                for outcome in progress.outcomes
            )
        return replace(progress, outcomes=outcomes)

    def _take(self, runs: tuple[Run, ...] | None) -> None:
        """Hand on `runs`, or those there are, with what was said of them."""
        with self._telling:
            with self._lock:
                known = self._runs if runs is None else runs
                self._runs = tuple(self._rated.get(run.id, run) for run in known)
            self._answered(self._runs)

    def _ended(self) -> None:
        with self._edge:
            try:
                self._bar.stopped()
            finally:
                self._when_ended()


def make_requests(
    deployment: str,
    values: Mapping[str, Any],
    by_tag: Mapping[str, Sequence[VellumVariable]],
    *,
    options: RunOptions,
) -> list[RunRequest]:
    """Return one request a release: the same case for all, with what is not sent to it."""
    return [
        RunRequest(
            deployment=deployment,
            inputs=dict(values),
            release_tag=tag,
            not_sent=not_sent(values, variables),
            external_id=options.external_id_for(tag, count=len(by_tag)),
            metadata=options.metadata,
            previous_execution_id=options.previous_execution_id,
        )
        for tag, variables in by_tag.items()
    ]
