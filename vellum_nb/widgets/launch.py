"""Starting the runs of a form, showing how they get on, and ending them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vellum_nb.models import Cancellation, Run, RunRequest, VellumVariable
from vellum_nb.widgets.drift import not_sent
from vellum_nb.widgets.edge import Edge
from vellum_nb.widgets.job import Job, Progress
from vellum_nb.widgets.options import RunOptions
from vellum_nb.widgets.results import Results
from vellum_nb.widgets.run_bar import RunBar

__all__ = ["Launch", "make_requests"]


class Launch:
    """Holds the newest job of a form.

    Parameters
    ----------
    run : callable
        Executes one request.
    bar, results, edge : RunBar, Results, Edge
        Where progress, answers and faults are shown; while runs are under way only the job's
        reporting thread writes there.
    answered : callable
        Called with the runs when all have ended.
    ended : callable
        Called after that, whatever happened.
    """

    def __init__(
        self,
        run: Callable[[RunRequest, Cancellation], Run],
        *,
        bar: RunBar,
        results: Results,
        edge: Edge,
        answered: Callable[[tuple[Run, ...]], None],
        ended: Callable[[], None],
    ) -> None:
        self._run = run
        self._bar = bar
        self._results = results
        self._edge = edge
        self._answered = answered
        self._when_ended = ended
        self._job: Job | None = None

    def start(self, requests: Sequence[RunRequest]) -> None:
        """Start, and return at once."""

        def report(progress: Progress) -> None:
            with self._edge:
                self._bar.progress(progress)
                self._results.show(requests, progress)
                if progress.finished:
                    self._answered(progress.runs)

        self._edge.clear()
        self._bar.running()
        self._job = Job(self._run, requests, report=report, ended=self._ended)
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
