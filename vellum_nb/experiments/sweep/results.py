"""What came of a sweep: its runs, as a frame, side by side, in a file."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vellum_nb.comparison import Comparison
from vellum_nb.comparison.comparison import Services
from vellum_nb.comparison.judging import JudgeService, judged
from vellum_nb.comparison.metrics import Metrics
from vellum_nb.errors import HistoryError
from vellum_nb.experiments.sweep.todo import superseded
from vellum_nb.history import History
from vellum_nb.history.reading.records import Record
from vellum_nb.history.rows.cells import cell
from vellum_nb.history.rows.frames import column
from vellum_nb.models import Run
from vellum_nb.models.sweeps import Place, SweepCase, SweepRecord, planned_id
from vellum_nb.rendering.files import refuse_key, save_frame

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Results"]

_NOT_DONE = ("FAILED", "REJECTED", "CANCELLED")


class Results:
    """The half of `vellum_nb.Sweep` that looks back.

    Of a run that was tried anew by `retry_failed` the latest counts; the history keeps all.
    """

    record: SweepRecord
    _history: History
    judging: JudgeService | None = None
    tools: Services = Services()
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
        max_calls: int | None = None,
        max_cost_usd: float | None = None,
        progress: bool = True,
    ) -> Comparison:
        """Return its runs side by side, one row a case; a case that was not run is missing.

        Parameters
        ----------
        baseline : str, optional
            The tag the others are held against. Default: the first.
        metrics, alpha, seed
            As of `vellum_nb.Comparison`. Metrics see what the cases expect.
        max_calls, max_cost_usd, progress
            Of the judges among the metrics; as of `vellum_nb.Workspace.compare`.

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
            metrics=metrics,
            cases=self._history.sweeps.cases(self.record.id),
            alpha=alpha,
            seed=seed,
            services=self.tools,
        )
        limits = {"max_calls": max_calls, "max_cost_usd": max_cost_usd}
        return judged(comparison, self.judging, progress=progress, **limits)  # type: ignore[arg-type]

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
        refuse_key(str(path), self.tools.leaks, [frame])
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
