"""Stored runs side by side: which runs, which cases, what is expected of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal, TypeAlias, TypedDict, Unpack, overload

from vellum_nb.comparison import Comparison
from vellum_nb.comparison.frame_input import compare_rows
from vellum_nb.comparison.judging import JudgePlan, judged, plan_judges
from vellum_nb.comparison.metrics import Inputs, Judge, Metric, Metrics, Value
from vellum_nb.errors import APIError, InputError
from vellum_nb.experiments.sweep import Sweep
from vellum_nb.experiments.sweep.reading import Cases, read_table
from vellum_nb.fitting import fitting
from vellum_nb.history.reading.query import Filters, moment
from vellum_nb.history.reading.records import Record
from vellum_nb.models import WorkflowDeploymentRelease
from vellum_nb.models.plain import shown
from vellum_nb.models.sweeps import SweepCase
from vellum_nb.workspace.asking import WorkspaceJudges
from vellum_nb.workspace.compared_tags import check_tags, nothing_run, tags_run
from vellum_nb.workspace.grids import sweep_about
from vellum_nb.workspace.sweep_cases import checked_cases
from vellum_nb.workspace.sweeping import SweepMethods
from vellum_nb.workspace.tools import plain_tools

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["CompareMethods", "compare"]

_CASE_ID = re.compile(r"[0-9a-f]{16}\Z")
Chosen: TypeAlias = "Cases | Sequence[str]"


@fitting(InputError)
def compare(
    frame: pd.DataFrame,
    by: str = "release_tag",
    *,
    baseline: str | None = None,
    metrics: Metrics | None = None,
    deployment: str | None = None,
    alpha: float = 0.05,
    seed: int = 0,
) -> Comparison:
    """Put the rows of a DataFrame side by side, one row a case, one column a value of `by`.

    Parameters
    ----------
    frame : DataFrame
        One row a run: ``ws.history.frame(...)``, ``sweep.frame()``, what `vellum_nb.read_csv`
        read, or any with ``input.<name>`` and ``output.<name>`` columns. ``expected.<output>``
        and ``desired.<output>`` say what outputs should be, ``label.<name>`` are labels.
    by : str, default "release_tag"
        The column whose values are compared: ``"release_tag"``, ``"release_id"``,
        ``"environment"`` (local against the cloud), or any other.
    baseline : str, optional
        The value the others are held against. Default: the one that was run first.
    metrics : metric or sequence, optional
        As of `vellum_nb.Comparison`.
    deployment : str, optional
        Which one, where the frame has runs of several.
    alpha, seed
        As of `vellum_nb.Comparison`.

    Raises
    ------
    InputError
        There is no such column, no case can be told, or there are several deployments.

    Examples
    --------
    >>> import vellum_nb as vnb
    >>> ws = vnb.connect("local", history=":memory:")
    >>> for tag in ("v1", "v2"):
    ...     run = ws.run("ticket-triage", {"ticket": "I was charged twice"}, release_tag=tag)
    >>> vnb.compare(ws.history.frame(), by="release_tag", baseline="v1")
    <Comparison of ticket-triage against v1, 1 case: v2 1 differs>
    """
    comparison = compare_rows(
        frame,
        by,
        baseline=baseline,
        metrics=metrics,
        deployment=deployment,
        services=plain_tools(),
        alpha=alpha,
        seed=seed,
    )
    return judged(comparison, None, progress=True)


class CompareOptions(TypedDict, total=False):
    """The options of `Workspace.compare`."""

    release_tags: Sequence[str] | None
    baseline: str | None
    sweep: Sweep | str | None
    since: datetime | str | None
    metrics: Metrics | None
    cases: Chosen | None
    archived: bool
    alpha: float
    seed: int
    max_calls: int | None
    max_cost_usd: float | None
    progress: bool


class CompareMethods(SweepMethods):
    """Compares runs."""

    @overload
    def compare(
        self, deployment: str, *, dry_run: Literal[True], **options: Unpack[CompareOptions]
    ) -> JudgePlan: ...
    @overload
    def compare(
        self,
        deployment: str,
        *,
        dry_run: Literal[False] = False,
        **options: Unpack[CompareOptions],
    ) -> Comparison: ...
    def compare(
        self,
        deployment: str,
        *,
        release_tags: Sequence[str] | None = None,
        baseline: str | None = None,
        sweep: Sweep | str | None = None,
        since: datetime | str | None = None,
        metrics: Metrics | None = None,
        cases: Chosen | None = None,
        archived: bool = False,
        alpha: float = 0.05,
        seed: int = 0,
        dry_run: bool = False,
        max_calls: int | None = None,
        max_cost_usd: float | None = None,
        progress: bool = True,
    ) -> Comparison | JudgePlan:
        """Put the stored runs of `deployment` side by side, one row a case.

        Nothing is run, but what a judge among the metrics has not judged yet. Repeats of a case
        are kept; its newest answer is shown. What sweeps expected of a case, and what a reader
        said its outputs should have been, is known to the metrics.

        Parameters
        ----------
        deployment : str
            The deployment's name.
        release_tags : sequence of str, optional
            The release tags, in the order of the columns. Default: all that were run.
        baseline : str, optional
            The tag the others are held against. Default: the first.
        sweep : Sweep or str, optional
            Only the runs of this sweep; a `vellum_nb.Sweep` or its id.
        since : datetime or str, optional
            Only runs from then on (UTC when no zone is given).
        metrics : metric or sequence, optional
            What tells better from worse; as of `vellum_nb.Comparison`.
        cases : optional
            Only these: their `case_id`, or a table as of `sweep`, with what is expected of them.
            Those that were never run are missing.
        archived : bool, default False
            Whether runs in archives are meant as well; those of a `sweep` always are.
        alpha, seed
            As of `vellum_nb.Comparison`.
        dry_run : bool, default False
            Return only how many calls the judges among the metrics would make; nothing is run.
        max_calls, max_cost_usd : optional
            Limits of the judges; an answer that is not judged because of them is an error of the
            metric, and judged by the next call.
        progress : bool, default True
            Whether to show the progress of the judges.

        Raises
        ------
        InputError
            A tag, metric or case does not fit; the message says which.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> for tag in ("v1", "v2"):
        ...     run = ws.run("ticket-triage", {"ticket": "I was charged twice"}, release_tag=tag)
        >>> ws.compare("ticket-triage", metrics=[vnb.metrics.contains("billing", "category")])
        <Comparison of ticket-triage against v1, 1 case: v2: 1 better · 0 worse · 0 same · \
p = 1.00 · noise floor unknown>
        """
        tags = [release_tags] if isinstance(release_tags, str) else release_tags
        archived = archived or sweep is not None
        resolve = self._runner.resolve
        records, known = self._compared(
            deployment, tags, sweep=sweep, since=since, archived=archived
        )
        if tags is None:
            if not records:
                raise nothing_run(self.history, resolve, deployment, None, since, archived=archived)
            tags = tags_run(records)
        elif records:
            check_tags(self.history, resolve, deployment, tags, records, archived=archived)
        meant, only = self._cases_meant(deployment, tags, cases)
        if not records and not meant and not known:
            raise nothing_run(self.history, resolve, deployment, tags, since, archived=archived)
        of = self.open_sweep(sweep) if isinstance(sweep, str) else sweep
        comparison = Comparison(
            records,
            deployment=deployment,
            release_tags=tags,
            baseline=baseline,
            metrics=metrics,
            cases=[*meant, *known],
            only=only,
            alpha=alpha,
            seed=seed,
            services=self._tools(deployment, "" if of is None else sweep_about(of.record)),
        )
        judges = WorkspaceJudges(self)
        if dry_run:
            return plan_judges(comparison, judges)
        limits = {"max_calls": max_calls, "max_cost_usd": max_cost_usd}
        return judged(comparison, judges, progress=progress, **limits)  # type: ignore[arg-type]

    def judge(
        self,
        deployment: str,
        *,
        inputs: Inputs | None = None,
        output: str | None = None,
        release_tag: str = "LATEST",
        name: str | None = None,
        lower_is_better: bool = False,
        rejected: Value = 0.0,
    ) -> Metric:
        """Return a metric that asks another workflow of this workspace; see `metrics.judge`.

        Unlike that one it also works where there is no workspace, as in `vellum_nb.compare`.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> def grader(answer: str) -> float:
        ...     return min(1.0, len(answer) / 100)
        >>> release = ws.server.deploy(grader, name="grader")
        >>> run = ws.run("ticket-triage", {"ticket": "I was charged twice"}, release_tag="v2")
        >>> judged = ws.judge("grader", inputs={"answer": "output.category"})
        >>> ws.compare("ticket-triage", metrics=judged).summary()["metric.grader"].tolist()
        [0.07]
        """
        return Judge(
            deployment,
            inputs=inputs,
            output=output,
            release_tag=release_tag,
            name=name or deployment,
            lower_is_better=lower_is_better,
            rejected=rejected,
            service=WorkspaceJudges(self),
        )

    def _compared(
        self,
        deployment: str,
        tags: Sequence[str] | None,
        *,
        sweep: Sweep | str | None,
        since: datetime | str | None,
        archived: bool,
    ) -> tuple[list[Record], list[SweepCase]]:
        """Return the runs, and the cases of the sweeps that made them."""
        filters: Filters = {"deployment": deployment, "release_tag": tags, "since": since}
        if sweep is None:
            records = self.history.records(archived=archived, **filters)
            run = {each.case_id for each in records}
            ids = dict.fromkeys(each.sweep_id for each in records if each.sweep_id)
            found = [case for each in ids for case in self.history.sweeps.cases(each)]
            return records, [case for case in found if case.case_id in run]
        of = self.open_sweep(sweep) if isinstance(sweep, str) else sweep
        if of.record.deployment != deployment:
            msg = f"{of!r} is no sweep of {deployment}; ws.sweeps({deployment!r}) lists those"
            raise InputError(msg)
        records = of.records()
        if since is not None:
            begin = moment("since", since)
            records = [each for each in records if each.micros >= begin]
        return records, self.history.sweeps.cases(of.id)

    def _cases_meant(
        self, deployment: str, tags: Sequence[str], cases: Chosen | None
    ) -> tuple[list[SweepCase], list[str] | None]:
        """Return the cases that were given, and the ids of those that are meant; None is all."""
        if cases is None:
            return [], None
        given = [cases] if isinstance(cases, str) and _CASE_ID.match(cases) else cases
        if isinstance(given, Sequence) and not isinstance(given, str):
            texts = [each for each in given if isinstance(each, str)]
            if texts:
                return [], _checked_ids(given)
        table = read_table(given)  # type: ignore[arg-type]  # no list of ids any more
        releases = {tag: self._release_of(deployment, tag) for tag in tags}
        found = checked_cases(table, releases, deployment).cases
        return found, [case.case_id for case in found]

    def _release_of(self, deployment: str, tag: str) -> WorkflowDeploymentRelease | None:
        """Return what tells the types of the inputs; stored runs compare without, too."""
        try:
            return self._runner.resolve(deployment, tag)
        except APIError:
            return None


def _checked_ids(given: Sequence[object]) -> list[str]:
    wrong = [each for each in given if not (isinstance(each, str) and _CASE_ID.match(each))]
    if wrong:
        msg = f"{shown(wrong[0])} is no case_id; frame() has them: 16 hex digits each"
        raise InputError(msg)
    return [str(each) for each in given]
