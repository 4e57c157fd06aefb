"""Stored runs side by side: which runs, which cases, what is expected of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict

from vellum_nb.comparison import Comparison
from vellum_nb.comparison.frame_input import compare_rows
from vellum_nb.comparison.judging import judged
from vellum_nb.comparison.metrics import Metrics
from vellum_nb.errors import APIError, InputError, NotFoundError
from vellum_nb.history import History, micros, moment
from vellum_nb.models import Run, WorkflowDeploymentRelease
from vellum_nb.models.inputs import format_value
from vellum_nb.models.sweeps import SweepCase
from vellum_nb.sweep.cases import Cases, checked_cases, read_table
from vellum_nb.sweep.sweep import Sweep
from vellum_nb.workspace.views import plain_services

if TYPE_CHECKING:
    import pandas as pd


_CASE_ID = re.compile(r"[0-9a-f]{16}\Z")
Chosen: TypeAlias = "Cases | Sequence[str]"
Resolve: TypeAlias = Callable[[str, str], WorkflowDeploymentRelease | None]


def compare(
    frame: pd.DataFrame,
    by: str = "release_tag",
    *,
    baseline: str | None = None,
    metrics: Metrics | None = None,
    deployment: str | None = None,
    alpha: float = 0.05,
    seed: int = 0,
    max_calls: int | None = None,
    max_cost_usd: float | None = None,
    progress: bool = True,
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
        The value that the others are compared with. Default: the one that was run first.
    metrics : metric or sequence, optional
        As of `vellum_nb.Comparison`.
    deployment : str, optional
        Which one, where the frame has runs of several.
    alpha, seed
        As of `vellum_nb.Comparison`.
    max_calls, max_cost_usd, progress
        Of judges among the metrics; as of `vellum_nb.Workspace.compare`.

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
        services=plain_services(),
        alpha=alpha,
        seed=seed,
    )
    limits = {"max_calls": max_calls, "max_cost_usd": max_cost_usd}
    return judged(comparison, None, progress=progress, **limits)  # type: ignore[arg-type]


class CompareOptions(TypedDict, total=False):
    """The options of `Workspace.compare`."""

    release_tags: Sequence[str] | None
    baseline: str | None
    sweep: Sweep | str | None
    since: datetime | str | None
    metrics: Metrics | None
    cases: Chosen | None
    alpha: float
    seed: int
    max_calls: int | None
    max_cost_usd: float | None
    progress: bool


def tags_run(records: Sequence[Run]) -> list[str]:
    """Return the release tags of these runs, in the order in which they were first run."""
    return list(dict.fromkeys(each.release_tag for each in reversed(records)))


def nothing_run(
    history: History,
    resolve: Resolve,
    deployment: str,
    tags: Sequence[str] | None,
    since: datetime | str | None,
) -> InputError:
    """Return the error for release tags that no case was run on; None means any."""
    known = history.release_tags(deployment)
    if not known:
        _check_name(resolve, deployment)
    on = "" if tags is None else f" on {', '.join(tags)}"
    when = "" if since is None else f" since {since}"
    there_are = f"it has runs on: {', '.join(sorted(known)) or 'none'}"
    if tags is None and not known:
        there_are = "run it first, on the tags to compare"
    return InputError(f"the history has no runs of {deployment}{on}{when}; {there_are}")


def check_tags(
    history: History,
    resolve: Resolve,
    deployment: str,
    tags: Sequence[str],
    runs: Sequence[Run],
) -> None:
    """Raise for a tag that nothing was ever run on, and that the deployment does not have."""
    without = set(tags) - {each.release_tag for each in runs}
    for tag in without - set(history.release_tags(deployment)) if without else ():
        try:
            resolve(deployment, tag)
        except NotFoundError as exc:
            msg = f"nothing was run on {tag}, so there is nothing to compare; {exc}"
            raise InputError(msg) from exc
        except APIError:
            return  # a server out of reach: what is stored is compared, the rest is missing


def _check_name(resolve: Resolve, deployment: str) -> None:
    """Raise for a deployment without runs that is not there: its name may be mistyped."""
    try:
        resolve(deployment, "LATEST")
    except NotFoundError as exc:
        msg = f"the history has no runs of {deployment}, so there is nothing to compare; {exc}"
        raise InputError(msg) from exc
    except APIError:
        return  # a server out of reach: that there are no runs is told


def compared_runs(
    history: History,
    deployment: str,
    tags: Sequence[str] | None,
    sweep: Sweep | None,
    since: datetime | str | None,
) -> tuple[list[Run], list[SweepCase]]:
    """Return the runs, and the cases of the sweeps that made them."""
    if sweep is None:
        runs = history.runs(deployment=deployment, release_tag=tags, since=since)
        case_ids = {each.case_id for each in runs}
        sweeps = dict.fromkeys(each.sweep_id for each in runs if each.sweep_id)
        cases = [case for each in sweeps for case in history.sweeps.cases(each)]
        return runs, [case for case in cases if case.case_id in case_ids]
    if sweep.record.deployment != deployment:
        msg = f"{sweep!r} is not of {deployment}; ws.sweeps({deployment!r}) lists those that are"
        raise InputError(msg)
    runs = sweep.runs()
    if since is not None:
        begin = moment("since", since)
        runs = [each for each in runs if micros(each.timestamp) >= begin]
    return runs, history.sweeps.cases(sweep.id)


def chosen_cases(
    resolve: Resolve, deployment: str, tags: Sequence[str], cases: Chosen | None
) -> tuple[list[SweepCase], list[str] | None]:
    """Return the cases that were given, and the ids of those to compare; None is all."""
    if cases is None:
        return [], None
    given = [cases] if isinstance(cases, str) and _CASE_ID.match(cases) else cases
    if isinstance(given, Sequence) and not isinstance(given, str):
        texts = [each for each in given if isinstance(each, str)]
        if texts:
            return [], _checked_ids(given)
    table = read_table(given)  # type: ignore[arg-type]  # no list of ids any more
    releases = {tag: _release_or_none(resolve, deployment, tag) for tag in tags}
    found = checked_cases(table, releases, deployment).cases
    return found, [case.case_id for case in found]


def _release_or_none(
    resolve: Resolve, deployment: str, tag: str
) -> WorkflowDeploymentRelease | None:
    """Return what has the types of the inputs; stored runs compare without, too."""
    try:
        return resolve(deployment, tag)
    except APIError:
        return None


def _checked_ids(given: Sequence[object]) -> list[str]:
    wrong = [each for each in given if not (isinstance(each, str) and _CASE_ID.match(each))]
    if wrong:
        msg = f"{format_value(wrong[0])} is no case_id; frame() has them: 16 hex digits each"
        raise InputError(msg)
    return [str(each) for each in given]


class WorkspaceJudges:
    """Finds and makes the runs of judges in a workspace; a `JudgeService`."""

    def __init__(self, history: History, sweep: Callable[..., Sweep]) -> None:
        self._history = history
        self._sweep = sweep

    def find(self, deployment: str, release_tag: str, case_ids: Sequence[str]) -> list[Run]:
        """Return the fulfilled runs of these cases that the history has."""
        return self._history.runs(
            deployment=deployment, release_tag=release_tag, state="FULFILLED", case_id=case_ids
        )

    def run(
        self,
        deployment: str,
        release_tag: str,
        cases: Sequence[Mapping[str, Any]],
        *,
        max_calls: int | None,
        max_cost_usd: float | None,
        progress: bool,
    ) -> list[Run | str]:
        """Run each case; one whose inputs do not fit gets the reason, and the others are run."""
        rows = [{f"input.{name}": value for name, value in case.items()} for case in cases]

        def sweep(rows: list[dict[str, Any]]) -> Sweep:
            return self._sweep(
                deployment,
                rows,
                release_tags=[release_tag],
                restart=True,
                reuse=True,
                max_calls=max_calls,
                max_cost_usd=max_cost_usd,
                progress=progress,
            )

        unfit: dict[int, str] = {}
        try:
            done = sweep(rows)
        except InputError as exc:
            for problem in exc.problems:
                if problem.row is not None:
                    reason = f"cannot be run: {problem.variable}: {problem.message}"
                    unfit.setdefault(problem.row - 1, reason)
            if not unfit or len(unfit) == len(rows):  # it is not the answers that do not fit
                raise
            done = sweep([row for at, row in enumerate(rows) if at not in unfit])
        made: dict[str, Run | str] = {run.case_id: run for run in done.runs()}
        planned = iter(self._history.sweeps.cases(done.id))
        stopped = "was not called: its sweep stopped"
        return [
            unfit[at] if at in unfit else made.get(next(planned).case_id, stopped)
            for at in range(len(rows))
        ]
