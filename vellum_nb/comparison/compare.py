"""Comparisons made of stored runs: the options, the columns, the cases and their judgements."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, TypedDict

from vellum_nb.comparison.actions import Actions, CallLimits
from vellum_nb.comparison.cases import (
    Case,
    align,
    cluster_numbers,
    last_turns,
    split,
    whole_conversations,
    with_conversations,
    with_ends,
)
from vellum_nb.comparison.comparison import Comparison, View
from vellum_nb.comparison.decisions import MarginOption
from vellum_nb.comparison.figures import (
    ComparisonFigures,
    check_options,
    runs_table,
    stored_evaluations,
    with_table,
)
from vellum_nb.comparison.judge_calls import plan_judges, run_judges
from vellum_nb.comparison.metrics import Judge, Metric, Metrics, One, as_metrics, quality, score
from vellum_nb.comparison.pairs import MissingOption, Scored
from vellum_nb.models import Run
from vellum_nb.models.checks import (
    check_keywords,
    check_tags,
    check_text,
    refuse,
    with_options,
)
from vellum_nb.models.sweeps import SweepCase


class MetricOptions(TypedDict, total=False):
    """The options of a comparison that do not concern judges, as of `compare_runs`."""

    baseline: str | None
    metrics: Metrics | None
    alpha: float
    cluster: str | None
    margin: MarginOption
    missing: MissingOption


class CompareOptions(MetricOptions, CallLimits, total=False):
    """Options of `Workspace.compare`, `Sweep.compare` and `vellum_nb.compare`."""


_OPTION_DEFAULTS: dict[str, Any] = {
    **dict.fromkeys([*MetricOptions.__annotations__, *CallLimits.__annotations__]),
    "alpha": 0.05,
    "progress": True,
}
NO_CALLS: CompareOptions = {"max_calls": 0, "progress": False}
compare_options = with_options(CompareOptions, _OPTION_DEFAULTS)
"""Decorator of functions with `CompareOptions`."""


def metric_options(options: CompareOptions) -> dict[str, Any]:
    """Return the options that do not concern judges; raise a TypeError for an unknown one."""
    check_keywords("compare", options, _OPTION_DEFAULTS)
    return {k: v for k, v in options.items() if k in MetricOptions.__annotations__}


def compare_runs(
    runs: Iterable[Run],
    *,
    deployment: str,
    release_tags: Sequence[str],
    baseline: str | None = None,
    metrics: Metrics | None = None,
    cases: Sequence[SweepCase] = (),
    only: Iterable[str] | None = None,
    order: Sequence[str] | None = None,
    stopped_by: str | None = None,
    notes: Iterable[str] = (),
    by: str = "release_tag",
    groups: Sequence[str] | None = None,
    alpha: float = 0.05,
    cluster: str | None = None,
    margin: MarginOption = None,
    missing: MissingOption = None,
    actions: Actions | None = None,
    view: View | None = None,
) -> Comparison:
    """Return a comparison of stored runs; runs of other deployments and tags are ignored.

    `cases` adds cases with or without runs, and `only` selects cases by id. `order` has the case
    ids in execution order for a sweep that could stop early, by the metric `stopped_by`. `groups`
    are the columns of the runs if `by` is not the release tag; they are never split. `notes`
    precede those of the figures. `ws.compare` documents the other options. Judges are not run.
    """
    if not isinstance(alpha, float) or not 0 < alpha < 1:  # type: ignore[redundant-expr]
        refuse("alpha", alpha, "a number such as 0.05, below 1")
    check_text("baseline", baseline, optional=True)
    tags = check_tags(release_tags)
    all_runs = list(runs)
    pairs = zip(all_runs, groups or [run.release_tag for run in all_runs], strict=True)
    planned = whole_conversations(cases)
    of_deployment = [pair for pair in pairs if pair[0].deployment == deployment]
    turns_of = {case.case_id: 0 if case.is_open else case.turn for case in planned}
    matching = last_turns(of_deployment, turns_of)
    planned = with_ends(planned, matching)
    columns = split(matching, tags, by_tag=groups is None)
    base = columns.baseline(baseline)
    aligned = align(columns, base, known=planned, only=None if only is None else frozenset(only))
    aligned = with_conversations(aligned, of_deployment, cases)
    chosen_metrics = _default_metrics(aligned) if metrics is None else as_metrics(metrics)
    if cluster is not None and aligned:
        cluster_numbers(aligned, cluster)  # raises for an unknown label or input
    check_options(margin, missing, [metric.name for metric in chosen_metrics])
    comparison = Comparison(
        deployment=deployment,
        release_tags=tags,
        releases=columns.labels,
        baseline=base,
        cases=aligned,
        metrics=chosen_metrics,
        moved_tags=columns.moved,
        answers=runs_table(aligned, columns.labels, chosen_metrics, {}),
        by=by,
        alpha=float(alpha),
        cluster=cluster,
        margin=margin,
        missing=missing,
        _sweep={
            "order": None if order is None else _places(aligned, order),
            "stopped_by": stopped_by,
            "plan_notes": tuple(notes),
        },
        _actions=actions,
        _view=view,
    )
    if margin is not None or missing is not None:  # raises now rather than in a report
        comparison.figures.margins([metric.name for metric in chosen_metrics])
    return comparison


def judged(comparison: Comparison, actions: Actions | None, options: CompareOptions) -> Comparison:
    """Run the judges of `comparison` and return a comparison with their judgements.

    An answer that could not be judged, or was skipped because of a limit, is an error of the metric
    on that run. The next call judges it.
    """
    if not any(isinstance(metric, Judge) for metric in comparison.metrics):
        return comparison
    limits: Any = {k: v for k, v in options.items() if k in CallLimits.__annotations__}
    judgements = run_judges(plan_judges(comparison.figures, actions), limits)
    metrics = tuple(
        metric.replaced(judgements=judgements[metric.name]) if isinstance(metric, Judge) else metric
        for metric in comparison.metrics
    )
    evaluations = stored_evaluations(comparison)
    evaluations = {name: each for name, each in evaluations.items() if name not in judgements}
    return with_table(comparison, evaluations, metrics=metrics)


def scored_runs(
    groups: Sequence[tuple[Run, str]],
    metric: One,
    *,
    actions: Actions | None = None,
    **options: Any,
) -> tuple[ComparisonFigures, Scored]:
    """Return the figures of runs, each given with its column, by one metric; judges are not run."""
    (chosen,) = as_metrics(metric)
    columns = [column for _, column in groups] or ["no runs"]
    comparison = compare_runs(
        [run for run, _ in groups],
        groups=columns[: len(groups)],
        release_tags=list(dict.fromkeys(columns)),
        by="group",
        metrics=chosen,
        **options,
    )
    figures = judged(comparison, actions, NO_CALLS).figures
    return figures, figures.scored[chosen.name]


def _places(cases: Sequence[Case], order: Sequence[str]) -> tuple[int, ...]:
    """Return indices of `cases` in the order of their ids; cases without a place are last."""
    turn = {case_id: at for at, case_id in reversed(list(enumerate(order)))}
    return tuple(sorted(range(len(cases)), key=lambda at: turn.get(cases[at].case_id, len(order))))


def _default_metrics(cases: Sequence[Case]) -> tuple[Metric, ...]:
    metrics = [score()] if any(case.expected_names for case in cases) else []
    runs = (run for case in cases for repeats in case.tries.values() for run in repeats)
    metrics += [quality()] if any(run.quality is not None for run in runs) else []
    return tuple(metrics)
