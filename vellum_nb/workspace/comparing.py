"""Comparisons of stored runs, and the actions of a workspace that comparisons call."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any, NoReturn, TypeAlias, Unpack

from vellum_nb.client.client import contains_key
from vellum_nb.clock import micros
from vellum_nb.comparison import Comparison, compare_runs
from vellum_nb.comparison.actions import CaseOptions
from vellum_nb.comparison.cases import Case, with_failure, without_failure
from vellum_nb.comparison.compare import (
    NO_CALLS,
    CompareOptions,
    compare_options,
    judged,
    metric_options,
)
from vellum_nb.comparison.frame_input import compare_rows
from vellum_nb.comparison.metrics import Metrics, One, as_metrics
from vellum_nb.comparison.trend import Measurement, Trend, trend_of
from vellum_nb.comparison.trend_figures import Period
from vellum_nb.comparison.watch import Watch, watch_of
from vellum_nb.errors import APIError, InputError, NotFoundError
from vellum_nb.history import History, Sweeps, case_sets_of, moment, recorded_tags
from vellum_nb.lazy import pd
from vellum_nb.models import NodeRun, Run, RunRequest, WorkflowDeploymentRelease
from vellum_nb.models.checks import available
from vellum_nb.models.inputs import format_value
from vellum_nb.models.sweeps import SweepCase, SweepRecord
from vellum_nb.sweep.case_sets import CaseSet
from vellum_nb.sweep.cases import Cases, Releases, checked_cases, mocks_metadata, read_table
from vellum_nb.sweep.options import Limits, StopWhen, SweepOptions
from vellum_nb.sweep.sweep import Sweep, control_of
from vellum_nb.sweep.users import compared_cases
from vellum_nb.workspace.executions import rate_run, read_nodes
from vellum_nb.workspace.runner import Runner
from vellum_nb.workspace.script_runs import ScriptRuns
from vellum_nb.workspace.scripts import scripted
from vellum_nb.workspace.sweeps import empty_sweep, open_case_set, start_sweep
from vellum_nb.workspace.views import show

_MAX_LISTED_IDS = 5
_CASE_ID = re.compile(r"[0-9a-f]{16}\Z")
Chosen: TypeAlias = Cases | CaseSet | Sequence[str]


@compare_options
def compare(
    frame: pd.DataFrame,
    by: str = "release_tag",
    *,
    deployment: str | None = None,
    **options: Unpack[CompareOptions],
) -> Comparison:
    """Compare the rows of a DataFrame: one row per case, one column per value of `by`.

    `InputError`: a column is missing, cases cannot be identified, or there are several deployments.
    The other options are those of `vellum_nb.Workspace.compare`.

    Parameters
    ----------
    frame : DataFrame
        One row per run: ``ws.history.frame(...)``, ``sweep.frame()``, a file read by
        `vellum_nb.read_csv` or `vellum_nb.read_evals`, or any frame with ``input.<name>`` and
        ``output.<name>`` columns.
        ``expected.<output>`` and ``desired.<output>`` are expected outputs, ``label.<name>``
        labels, ``metric.<name>`` scores, which are the default metrics.
    by : str, default "release_tag"
        The column to compare by: ``"release_tag"``, ``"release_id"``, ``"environment"`` (local
        against the cloud), or any other.
    deployment : str, optional
        The deployment, if the frame has several.
    baseline : str, optional
        The value that the others are compared with. Default: that of the first run.

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
        frame, by, deployment=deployment, view=show, **metric_options(options)
    )
    return judged(comparison, None, options)


class WorkspaceActions:
    """Implements `vellum_nb.comparison.actions.Actions` for the workspace of `runner`."""

    def __init__(self, runner: Runner) -> None:
        self.runner, self.history = runner, runner.history

    def leaks(self, text: str) -> bool:
        """Return whether `text` contains the API key."""
        return contains_key(self.runner.client, text)

    def release(
        self, deployment: str, release_tag: str, problem: str = ""
    ) -> WorkflowDeploymentRelease | None:
        """Return the release of a tag, or None if it cannot be read.

        With `problem`, raise if it does not exist, since its name is probably misspelt.
        """
        try:
            return self.runner.lookup.readable_release(deployment, release_tag)
        except APIError as exc:
            if problem and isinstance(exc, NotFoundError):
                msg = f"{problem}, so there is nothing to compare. {exc}"
                raise InputError(msg) from None
            return None

    def code(self, deployment: str, release_tag: str, release_id: str) -> dict[str, str] | None:
        """Return path to source text, or None if unreadable or if the tag has moved."""
        with suppress(APIError):
            if self.runner.lookup.release(deployment, release_tag).id == release_id:
                return self.runner.lookup.code(deployment, release_tag)
        return None

    def sweep(
        self,
        deployment: str,
        cases: Sequence[Mapping[str, Any]],
        *,
        release_tag: str,
        **options: Unpack[CaseOptions],
    ) -> Sweep:
        """Run `cases` and return the `Sweep`; judges share and reuse runs."""
        if not cases:
            return empty_sweep(self.runner, self.compare, deployment, [release_tag])
        judge, conversation = options.get("judge"), None
        if judge is None:
            cases, conversation = scripted(Sweeps(self.history), cases)
        plan = SweepOptions(
            release_tags=[release_tag],
            repeats=options.get("repeats", 1),
            limits=Limits(
                max_calls=options.get("max_calls"), max_cost_usd=options.get("max_cost_usd")
            ),
            existing="resume" if judge is None else "reuse",
            progress=options.get("progress", True),
            conversation=conversation,
        )
        sweep = start_sweep(self.runner, self.compare, deployment, cases, plan, judge=judge)
        assert isinstance(sweep, Sweep)  # noqa: S101  (not a dry run)
        return sweep

    def compare(self, sweep: Sweep, **options: Unpack[CompareOptions]) -> Comparison:
        """Compare the releases of a sweep."""
        record = control_of(sweep).record
        comparison = stored_comparison(
            self, record.deployment, record.release_tags, options, sweep=sweep
        )
        return judged(comparison, self, options)

    def pilot(
        self,
        deployment: str,
        releases: Releases,
        cases: Sequence[SweepCase],
        rule: StopWhen | None,
        metrics: Metrics | None = None,
    ) -> Comparison:
        """Compare the stored runs of `releases`, the first of which is the default baseline.

        `cases` and `rule` are those of a planned sweep. Judges are not called.
        """
        options: Any = {"metrics": metrics}
        if rule is not None:
            options |= {"baseline": rule.baseline, "alpha": rule.alpha}
            if metrics is None:
                options |= {"metrics": rule.metric, "margin": rule.margin}
        tags = list(releases)
        runs, stored, _ = _runs_and_cases(self.history, deployment, tags, None, None)
        ids = {tag: release and release.id for tag, release in releases.items()}
        current = [run for run in runs if ids[run.release_tag] in {None, run.release_id}]
        comparison = compare_runs(
            current,
            deployment=deployment,
            release_tags=tags,
            cases=[*compared_cases(cases), *stored],
            actions=self,
            **options,
        )
        return judged(comparison, self, NO_CALLS)

    def run_case(self, deployment: str, case: Case, release_tag: str) -> Sequence[Run]:
        """Execute one case and return its run; a conversation runs as a sweep of its script."""
        if case.turns:
            script = ScriptRuns(self.runner, self.compare, deployment, case)
            release = self.release(deployment, release_tag)
            return script.turns(script.new(release_tag, release.id if release else None))
        request = RunRequest(
            deployment=deployment,
            inputs=case.inputs,
            release_tag=release_tag,
            not_sent=None,
            metadata=mocks_metadata(case.labels),
            previous_execution_id=case.previous_execution_id,
            case_id=case.case_id,
        )
        return self.runner.execute(request)[:1]

    def rate(
        self,
        run: Run,
        quality: float | None,
        desired: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
    ) -> Run:
        """Store a rating and return the updated run.

        Without `quality` and `desired`, clear the rating in the history. Vellum keeps its copy.
        """
        if quality is None and not desired:
            self.history.annotate(run.id, quality=None)
            return self.history.get(run.id)
        return rate_run(self.runner, run, quality=quality, desired=desired, metadata=metadata)

    def name_failure(self, run: Run, name: str, *, has: bool) -> Run:
        """Add a failure name to the tags of a run, or remove it; return the updated run."""

        def edit(tags: Sequence[str]) -> list[str]:
            author = self.history.author
            return with_failure(tags, name, author) if has else without_failure(tags, name)

        self.history.annotate(run.id, tags=edit)
        return self.history.get(run.id)

    def note(self, run: Run, text: str | None) -> Run:
        """Store a note on a run, or clear it; return the updated run."""
        self.history.annotate(run.id, note=text)
        return self.history.get(run.id)

    def case_sets(self, deployment: str | None) -> list[str]:
        """Return the names of the case sets that can take cases of a deployment; None for all."""
        newest = case_sets_of(self.history).latest()
        fits = {None, deployment}
        return [each.name for each in newest if deployment is None or each.deployment in fits]

    def add_cases(self, name: str, deployment: str | None, cases: Cases) -> str:
        """Add cases or runs to a case set, and return a summary."""
        return str(open_case_set(self.runner, name, deployment).add(cases))

    def look_up(self, run: Run) -> Run:
        """Look up a run in doubt and return the updated run."""
        return self.runner.look_up(run)

    def trace(self, run: Run) -> Sequence[NodeRun]:
        """Return the nodes of a run, fetched once and then stored."""
        return read_nodes(self.runner.client, self.history, run)


class StoredOptions(CompareOptions, total=False):
    """The options of `Workspace.compare`."""

    release_tags: Sequence[str] | None
    sweep: Sweep | str | None
    since: datetime | str | None
    cases: Chosen | None


def stored_comparison(
    actions: WorkspaceActions,
    deployment: str,
    tags: Sequence[str] | None,
    options: CompareOptions,
    *,
    sweep: Sweep | None = None,
    since: datetime | str | None = None,
    cases: Chosen | None = None,
) -> Comparison:
    """Return a comparison of stored runs, without judgements.

    Its cases are those given, and those of the sweeps of these runs.
    """
    history = actions.history
    record = None if sweep is None else control_of(sweep).record
    made = record and record.created.astimezone()
    about = f"sweep of {made.day} {made:%b %H:%M}" if made else ""
    runs, sweep_cases, notes = _runs_and_cases(history, deployment, tags, sweep, since)
    compared = list(tags or dict.fromkeys(run.release_tag for run in reversed(runs)))
    missing = set(compared) - {run.release_tag for run in runs} if runs else set()
    for tag in missing - set(recorded_tags(history, deployment)) if missing else ():
        actions.release(deployment, tag, f"nothing was run on {tag}")
    chosen, only, more = _chosen_cases(actions, deployment, compared, cases)
    if not runs and (tags is None or not (chosen or sweep_cases)):
        _raise_no_runs(actions, deployment, tags, since)
    _refuse_unknown_ids(only or (), [*runs, *chosen, *sweep_cases])
    stopping: dict[str, Any] = {}
    if sweep is not None and record is not None and record.options.get("stop_when"):
        stopping["order"] = [sweep_cases[at].case_id for at in record.order()]
        stopping |= _options_of_rule(sweep, options, compared)
    return compare_runs(
        runs,
        deployment=deployment,
        release_tags=compared,
        cases=[*chosen, *sweep_cases],
        only=only,
        notes=dict.fromkeys((*notes, *more)),
        actions=actions,
        view=partial(show, actions=actions, about=about),
        **(metric_options(options) | stopping),
    )


def stored_trend(
    actions: WorkspaceActions,
    deployment: str,
    tags: Sequence[str],
    cases: Chosen | None,
    *,
    metric: One,
    by: Period,
    since: datetime | str | None,
    cluster: str | None,
) -> Trend:
    """Return the trend of the runs of sweeps, including reused ones."""
    runs, options = _of_tags(actions, deployment, tags, since, cases)
    releases: Sequence[WorkflowDeploymentRelease] = ()
    with suppress(APIError):
        releases = actions.runner.lookup.releases(deployment)
    return trend_of(
        _measurements(actions.history, deployment, tags, runs, since),
        release_tags=tags,
        by=by,
        names={release.id: name for release in releases if (name := _name_of(release, tags))},
        metric=metric,
        cluster=cluster,
        **options,
    )


def stored_watch(
    actions: WorkspaceActions,
    deployment: str,
    cases: Chosen | None,
    *,
    release_tag: str,
    reference: str | None,
    since: datetime | str | None,
    **options: Any,
) -> Watch:
    """Return the status of a release tag, from its stored runs."""
    tags = list(dict.fromkeys(filter(None, (release_tag, reference))))
    runs, of_tags = _of_tags(actions, deployment, tags, since, cases)
    return watch_of(runs, release_tag=release_tag, reference=reference, **of_tags, **options)


def _of_tags(
    actions: WorkspaceActions,
    deployment: str,
    tags: Sequence[str],
    since: datetime | str | None,
    cases: Chosen | None,
) -> tuple[list[Run], dict[str, Any]]:
    """Return the stored runs on release tags, and the options of `scored_runs`."""
    runs, sweep_cases, _ = _runs_and_cases(actions.history, deployment, tags, None, since)
    if not runs:
        _raise_no_runs(actions, deployment, tags, since)
    chosen, only, _ = _chosen_cases(actions, deployment, tags, cases)
    known = [*chosen, *sweep_cases]
    _refuse_unknown_ids(only or (), [*runs, *known])
    return runs, {"deployment": deployment, "cases": known, "only": only, "actions": actions}


def _name_of(release: WorkflowDeploymentRelease, tags: Sequence[str]) -> str | None:
    """Return a tag of a release, preferably none of `tags`, or None."""
    names = [tag.name for tag in release.release_tags if tag.name != "LATEST"]
    return next((name for name in names if name not in tags), next(iter(names), None))


def _measurements(
    history: History,
    deployment: str,
    tags: Sequence[str],
    runs: Sequence[Run],
    since: datetime | str | None,
) -> list[Measurement]:
    """Return the runs of sweeps, and those that sweeps reused at the time of the sweep."""
    measured = [
        Measurement(run, run.release_tag, run.sweep_id, run.timestamp)
        for run in runs
        if run.sweep_id is not None
    ]
    begin = None if since is None else moment("since", since)
    sweeps = Sweeps(history)
    reused = [
        (run_id, place.release_tag, record)
        for record in sweeps.every()
        if record.deployment == deployment and not {*tags}.isdisjoint(record.release_tags)
        if begin is None or micros(record.created) >= begin
        for place, run_id in sweeps.reused(record.id).items()
        if place.release_tag in tags
    ]
    ids = list(dict.fromkeys(run_id for run_id, _, _ in reused))
    by_id = {run.id: run for run in history.runs(ids=ids)} if ids else {}
    return measured + [
        Measurement(by_id[run_id], tag, record.id, record.created)
        for run_id, tag, record in reused
        if run_id in by_id
    ]


def _options_of_rule(sweep: Sweep, options: CompareOptions, tags: Sequence[str]) -> dict[str, Any]:
    """Return the options of a comparison of a sweep that could stop early, by default its rule's.

    The metric itself is only known to the session that ran the sweep.
    """
    control = control_of(sweep)
    rule, stored = SweepOptions.from_stored(control.record).stop_when, control.record.options
    name = str(stored["metric"]) if "metric" in stored else None
    made: dict[str, Any] = {"stopped_by": name}
    if rule is None:
        return made
    if rule.baseline in tags:
        made["baseline"] = rule.baseline
    made["alpha"] = rule.alpha
    metric = control.options.stop_when and control.options.stop_when.metric
    if metric is not None and name != "score":
        made["metrics"] = [metric]
    given: Any = {key: value for key, value in options.items() if value is not None}
    chosen = as_metrics(given.get("metrics", made.get("metrics", "score")))
    if rule.margin is not None and name in [metric.name for metric in chosen]:
        made["margin"] = {name: rule.margin}
    return made | metric_options(given)


def _refuse_unknown_ids(ids: Sequence[str], cases: Sequence[Run | SweepCase]) -> None:
    case_ids = dict.fromkeys(case.case_id for case in cases)
    if unknown := [id_ for id_ in ids if id_ not in case_ids]:
        names = available(case_ids, _MAX_LISTED_IDS)
        msg = f"{unknown[0]!r} is not the case_id of one of these runs{names}"
        raise InputError(msg)


def _raise_no_runs(
    actions: WorkspaceActions, deployment: str, tags: Sequence[str] | None, since: object
) -> NoReturn:
    tags_run = recorded_tags(actions.history, deployment)
    if not tags_run:
        problem = f"the history has no runs of {deployment}"
        actions.release(deployment, "LATEST", problem)
    on = "" if tags is None else f" on {', '.join(tags)}"
    when = "" if since is None else f" since {since}"
    remedy = available(tags_run) if tags_run else "; run it first"
    msg = f"the history has no runs of {deployment}{on}{when}{remedy}"
    raise InputError(msg)


def _runs_and_cases(
    history: History,
    deployment: str,
    tags: Sequence[str] | None,
    sweep: Sweep | None,
    since: datetime | str | None,
) -> tuple[list[Run], list[SweepCase], Sequence[str]]:
    """Return the runs, and the cases and notes of their sweeps."""
    if sweep is None:
        runs = history.runs(deployment=deployment, release_tag=tags, since=since)
        case_ids = {run.case_id for run in runs}
        sweep_ids = dict.fromkeys(run.sweep_id for run in runs if run.sweep_id)
        stored = (Sweeps(history).cases(id_) for id_ in sweep_ids)
        cases = [case for of_sweep in stored for case in compared_cases(of_sweep)]
        records = [record for id_ in sweep_ids for record in Sweeps(history).every(id_)]
        notes = [note for record in records for note in record.notes]
        for record in records:
            runs, more = _with_user(history, record, runs)
            notes = [*notes, *more]
        return runs, [case for case in cases if case.case_id in case_ids], notes
    if control_of(sweep).record.deployment != deployment:
        msg = f"{sweep!r} is not of {deployment}; ws.sweeps({deployment!r}) lists those that are"
        raise InputError(msg)
    begin = None if since is None else moment("since", since)
    runs = [run for run in sweep.runs() if begin is None or micros(run.timestamp) >= begin]
    runs, more = _with_user(history, control_of(sweep).record, runs)
    return runs, compared_cases(Sweeps(history).cases(sweep.id)), (*sweep.notes, *more)


def _with_user(
    history: History, record: SweepRecord, runs: list[Run]
) -> tuple[list[Run], Sequence[str]]:
    """Return the runs without unfinished conversations, and a note on the noise of their user."""
    if "user" not in record.options.get("conversation", {}):
        return runs, ()
    talk = SweepOptions.from_stored(record).conversation
    assert talk is not None and talk.user is not None  # noqa: S101, PT018
    messages = history.runs(sweep_id=record.id, deployment=talk.user.deployment, state="FULFILLED")
    over = {run.conversation_id for run in messages if talk.user.stops(run)}
    over |= {run.conversation_id for run in runs if run.turn == talk.max_turns}
    finished = [r for r in runs if r.sweep_id != record.id or r.conversation_id in over]
    return finished, [talk.user.noise(messages)]


def _chosen_cases(
    actions: WorkspaceActions, deployment: str, tags: Sequence[str], cases: Chosen | None
) -> tuple[list[SweepCase], list[str] | None, Sequence[str]]:
    """Return the given cases, the ids of those to compare (None for all), and notes."""
    if cases is None:
        return [], None, ()
    chosen = [cases] if isinstance(cases, str) and _CASE_ID.match(cases) else cases
    is_list = isinstance(chosen, Sequence) and not isinstance(chosen, str)
    ids: list[Any] = list(chosen) if is_list else []  # type: ignore[arg-type]
    if any(isinstance(id_, str) for id_ in ids):
        for id_ in ids:
            if not (isinstance(id_, str) and _CASE_ID.match(id_)):
                msg = f"{format_value(id_)} is not a case_id; frame() has them: 16 hex digits each"
                raise InputError(msg)
        return [], ids, ()
    releases = {tag: actions.release(deployment, tag) for tag in tags}
    table = read_table(chosen.frame() if isinstance(chosen, CaseSet) else chosen)  # type: ignore[arg-type]
    checked, notes = checked_cases(table, releases, deployment)[:2]
    return checked, [case.case_id for case in checked], notes
