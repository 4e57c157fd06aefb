"""Stored runs side by side: which runs, which cases, what is expected of them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

from vellum_nb.comparison import Comparison, compare_runs
from vellum_nb.comparison.comparison import Services
from vellum_nb.comparison.frame_input import compare_rows
from vellum_nb.comparison.judging import judged
from vellum_nb.comparison.metrics import Metrics
from vellum_nb.errors import APIError, InputError, NotFoundError
from vellum_nb.history import History, Sweeps, micros, moment
from vellum_nb.models import Run, WorkflowDeploymentRelease
from vellum_nb.models.inputs import format_value
from vellum_nb.models.sweeps import SweepCase
from vellum_nb.sweep.cases import Cases, checked_cases, read_table
from vellum_nb.sweep.sweep import Sweep
from vellum_nb.workspace.runner import Runner
from vellum_nb.workspace.views import view_blind, view_grid

if TYPE_CHECKING:
    import pandas as pd


_CASE_ID = re.compile(r"[0-9a-f]{16}\Z")
Chosen: TypeAlias = "Cases | Sequence[str]"


def compare(
    frame: pd.DataFrame,
    by: str = "release_tag",
    *,
    baseline: str | None = None,
    metrics: Metrics | None = None,
    deployment: str | None = None,
    alpha: float = 0.05,
    cluster: str | None = None,
    max_calls: int | None = None,
    max_cost_usd: float | None = None,
    progress: bool = True,
) -> Comparison:
    """Compare the rows of a DataFrame: one row per case, one column per value of `by`.

    `InputError`: there is no such column, cases cannot be identified, or there are several
    deployments. The other options are as in `vellum_nb.Workspace.compare`.

    Parameters
    ----------
    frame : DataFrame
        One row per run: ``ws.history.frame(...)``, ``sweep.frame()``, what `vellum_nb.read_csv`
        read, or any with ``input.<name>`` and ``output.<name>`` columns. ``expected.<output>``
        and ``desired.<output>`` say what outputs should be, ``label.<name>`` are labels.
    by : str, default "release_tag"
        The column whose values are compared: ``"release_tag"``, ``"release_id"``,
        ``"environment"`` (local against the cloud), or any other.
    baseline : str, optional
        The value that the others are compared with. Default: the one that was run first.
    deployment : str, optional
        Which one, where the frame has runs of several.

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
        services=Services(grid=view_grid, blind=view_blind),
        alpha=alpha,
        cluster=cluster,
    )
    return judged(comparison, None, max_calls, max_cost_usd, progress=progress)


class CompareOptions(TypedDict, total=False):
    """The options of `Workspace.compare`."""

    release_tags: Sequence[str] | None
    sweep: Sweep | str | None
    since: datetime | str | None
    cases: Chosen | None
    baseline: str | None
    metrics: Metrics | None
    alpha: float
    cluster: str | None
    max_calls: int | None
    max_cost_usd: float | None
    progress: bool


def stored_comparison(
    runner: Runner,
    deployment: str,
    tags: Sequence[str] | None,
    *,
    sweep: Sweep | None,
    since: datetime | str | None,
    cases: Chosen | None,
    **options: Any,
) -> Comparison:
    """Return a comparison of stored runs, before its judges run.

    Its cases are the given ones, and those of the sweeps that made the runs.
    """
    runs, known, notes = _runs_and_cases(runner.history, deployment, tags, sweep, since)
    compared = list(tags or dict.fromkeys(each.release_tag for each in reversed(runs)))
    missing = set(compared) - {each.release_tag for each in runs} if runs else set()
    for tag in missing - set(runner.history.release_tags(deployment)) if missing else ():
        known_release(runner, deployment, tag, f"nothing was run on {tag}")
    chosen, only, more = _chosen_cases(runner, deployment, compared, cases)
    if not runs and (tags is None or not (chosen or known)):
        tags_run = sorted(runner.history.release_tags(deployment))
        if not tags_run:
            nothing = f"the history has no runs of {deployment}"
            known_release(runner, deployment, "LATEST", nothing)
        on = "" if tags is None else f" on {', '.join(tags)}"
        when = "" if since is None else f" since {since}"
        there_are = f"it has runs on: {', '.join(tags_run)}" if tags_run else "run it first"
        msg = f"the history has no runs of {deployment}{on}{when}; {there_are}"
        raise InputError(msg)
    order: list[str] | None = None
    if sweep is not None and sweep.record.options.get("stop_when"):
        order = [known[at].case_id for at in sweep.record.order()]
    return compare_runs(
        runs,
        deployment=deployment,
        release_tags=compared,
        cases=[*chosen, *known],
        only=only,
        order=order,
        notes=dict.fromkeys((*notes, *more)),
        **options,
    )


def _runs_and_cases(
    history: History,
    deployment: str,
    tags: Sequence[str] | None,
    sweep: Sweep | None,
    since: datetime | str | None,
) -> tuple[list[Run], list[SweepCase], Sequence[str]]:
    """Return the runs, the cases of the sweeps that made them, and the notes of those sweeps."""
    if sweep is None:
        runs = history.runs(deployment=deployment, release_tag=tags, since=since)
        case_ids = {each.case_id for each in runs}
        sweeps = dict.fromkeys(each.sweep_id for each in runs if each.sweep_id)
        cases = [case for each in sweeps for case in Sweeps(history).cases(each)]
        records = (record for each in sweeps for record in Sweeps(history).every(each))
        notes = [note for record in records for note in record.notes]
        return runs, [case for case in cases if case.case_id in case_ids], notes
    if sweep.record.deployment != deployment:
        msg = f"{sweep!r} is not of {deployment}; ws.sweeps({deployment!r}) lists those that are"
        raise InputError(msg)
    begin = None if since is None else moment("since", since)
    runs = [run for run in sweep.runs() if begin is None or micros(run.timestamp) >= begin]
    return runs, Sweeps(history).cases(sweep.id), sweep.notes


def known_release(
    runner: Runner, deployment: str, tag: str, problem: str = ""
) -> WorkflowDeploymentRelease | None:
    """Return a release; with `problem` one that is not there raises: its name may be mistyped.

    None is returned where the server is out of reach: stored runs are compared without it.
    """
    try:
        return runner.resolve(deployment, tag)
    except APIError as exc:
        if problem and isinstance(exc, NotFoundError):
            msg = f"{problem}, so there is nothing to compare. {exc}"
            raise InputError(msg) from None
        return None


def same_releases(runner: Runner, comparison: Comparison) -> dict[str, tuple[str, ...]]:
    """Return for each release tag the others on the same release; {} where they are not known."""
    found: dict[str, tuple[str, ...]] = {}
    for tag in comparison.release_tags if comparison.by == "release_tag" else ():
        release = known_release(runner, comparison.deployment, tag)
        if release is None:
            return {}
        if tag in comparison.releases:
            found[tag] = tuple(each.name for each in release.release_tags if each.name != tag)
    return found


def _chosen_cases(
    runner: Runner, deployment: str, tags: Sequence[str], cases: Chosen | None
) -> tuple[list[SweepCase], list[str] | None, Sequence[str]]:
    """Return the cases that were given, the ids of those to compare (None is all), and notes."""
    if cases is None:
        return [], None, ()
    given = [cases] if isinstance(cases, str) and _CASE_ID.match(cases) else cases
    is_list = isinstance(given, Sequence) and not isinstance(given, str)
    ids: list[Any] = list(given) if is_list else []  # type: ignore[arg-type]
    if any(isinstance(each, str) for each in ids):
        for each in ids:
            if not (isinstance(each, str) and _CASE_ID.match(each)):
                msg = f"{format_value(each)} is not a case_id; frame() has them: 16 hex digits each"
                raise InputError(msg)
        return [], ids, ()
    releases = {tag: known_release(runner, deployment, tag) for tag in tags}
    found, notes = checked_cases(read_table(given), releases, deployment)  # type: ignore[arg-type]
    return found, [case.case_id for case in found], notes
