"""Search for the release that changed an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias

from vellum_nb.comparison.bisection import Bisection, Candidate, Check, bisected
from vellum_nb.comparison.cases import Case
from vellum_nb.errors import InputError, VellumNBError
from vellum_nb.history import History
from vellum_nb.models import Run, RunRequest, WorkflowDeploymentRelease, case_id
from vellum_nb.models.checks import available, check_integer
from vellum_nb.models.inputs import format_value, plain, to_wire
from vellum_nb.workspace.runner import Runner
from vellum_nb.workspace.script_runs import ScriptRuns
from vellum_nb.workspace.sweeps import Compare

Releases = Sequence[WorkflowDeploymentRelease]
OneCase: TypeAlias = Mapping[str, object] | Run | Case | str


def bisect(
    runner: Runner,
    compare: Compare,
    deployment: str,
    case: OneCase,
    check: Check | None,
    *,
    first: str | None,
    last: str | None,
    repeats: int | None,
) -> Bisection:
    """Find the first release that answers a case differently from the oldest one."""
    check_integer("repeats", repeats, least=1, optional=True)
    releases = _between(deployment, runner.lookup.releases(deployment)[::-1], first, last)
    case = _stored_case(runner.history, deployment, case)
    source: ScriptRuns | _CaseRuns
    if isinstance(case, Case | Run) and (case.turns if isinstance(case, Case) else case.turn):
        source = ScriptRuns(runner, compare, deployment, case)
        check = partial(source.value, check)
    else:
        source = _CaseRuns(runner, deployment, *_read_case(deployment, case, releases))
    ids = {release.id for release in releases}
    runs_by_release: dict[str, list[Run]] = {}
    for run in source.stored():
        if run.release_id in ids and not run.tag_moved:
            runs_by_release.setdefault(run.release_id, []).append(run)
    stored_ids = frozenset(run.id for runs in runs_by_release.values() for run in runs)

    def runs_of(candidate: Candidate, times: int) -> Sequence[Run]:
        runs = runs_by_release.setdefault(candidate.release_id, [])
        while len(runs) < times and candidate.release_tag is not None:
            run = source.new(candidate.release_tag, candidate.release_id)
            _check_release(deployment, candidate, run)
            runs.append(run)
        return runs[:times]

    return bisected(
        deployment,
        source.inputs,
        [_candidate(release) for release in releases],
        check=check,
        runs_of=runs_of,
        repeats=repeats,
        stored_ids=stored_ids,
        can_try=lambda c: c.release_tag is not None or c.release_id in runs_by_release,
    )


class _CaseRuns:
    """The runs of a single case."""

    def __init__(
        self, runner: Runner, deployment: str, inputs: dict[str, Any], previous: str | None
    ) -> None:
        self._runner, self._deployment, self._previous = runner, deployment, previous
        self.inputs = inputs

    def stored(self) -> list[Run]:
        """Return the stored runs with an answer, newest first."""
        return self._runner.history.runs(
            deployment=self._deployment,
            case_id=case_id(self.inputs, self._previous),
            state=["FULFILLED", "REJECTED"],
        )

    def new(self, release_tag: str, release_id: str) -> Run:  # noqa: ARG002
        """Run the case on a release."""
        request = RunRequest(
            deployment=self._deployment,
            inputs=self.inputs,
            release_tag=release_tag,
            not_sent=None,
            previous_execution_id=self._previous,
        )
        run, error = self._runner.execute(request)
        if error is not None:
            raise error
        return run


def _check_release(deployment: str, candidate: Candidate, run: Run) -> None:
    """Raise if the release tag moved while it was run."""
    if run.release_id not in {None, candidate.release_id}:
        msg = (
            f"The release tag {candidate.release_tag} of {deployment} moved from "
            f"{candidate.release_id} to {run.release_id} during the search; bisect again"
        )
        raise VellumNBError(msg)


def _between(deployment: str, releases: Releases, first: str | None, last: str | None) -> Releases:
    """Return the releases from `first` to `last`, oldest first."""
    moments = [release.created for release in releases if release.created is not None]
    if len(moments) == len(releases):
        releases = sorted(releases, key=lambda release: release.created or moments[0])
    names = [_candidate(release).name for release in releases]
    ends = []
    for name, default in ((first, 0), (last, len(releases) - 1)):
        places = [default] if name is None else []
        for at, release in enumerate(releases):
            if name == release.id or name in {tag.name for tag in release.release_tags}:
                places.append(at)
        if not places:
            msg = f"{deployment} has no release {name!r}{available(names)}"
            raise InputError(msg)
        ends.append(places[0])
    if ends[0] > ends[1]:
        msg = (
            f"first={first!r} is newer than last={last!r}: the releases of {deployment} are, "
            f"oldest first, {', '.join(names)}"
        )
        raise InputError(msg)
    return releases[ends[0] : ends[1] + 1]


def _candidate(release: WorkflowDeploymentRelease) -> Candidate:
    """Return the release with its most stable tag, if any."""
    tags = sorted((tag.name for tag in release.release_tags), key="LATEST".__eq__)
    return Candidate(release.id, next(iter(tags), None), release.created)


def _stored_case(history: History, deployment: str, case: OneCase) -> OneCase:
    """Return the newest run of a case id; another case unchanged."""
    if not isinstance(case, str):
        return case
    runs = history.runs(deployment=deployment, case_id=case, limit=1)
    if not runs:
        msg = (
            f"the history has no run of {deployment} with the case_id {case!r}; "
            "give the inputs themselves, or a case_id of ws.history.frame()"
        )
        raise InputError(msg)
    return runs[0]


def _read_case(
    deployment: str, case: OneCase, releases: Releases
) -> tuple[dict[str, Any], str | None]:
    """Return the inputs of the case as plain values, and its previous execution id.

    An input is typed by the newest release that has it.
    """
    if isinstance(case, Run | Case):
        return dict(case.inputs), case.previous_execution_id
    assert not isinstance(case, str)  # noqa: S101  (for mypy)
    try:
        case = dict(case)  # a pandas row, too
    except (TypeError, ValueError) as exc:
        msg = f"{format_value(case)} is not a case: give a dict of inputs, a run, or a case_id"
        raise InputError(msg) from exc
    variables = {v.key: v for r in releases for v in r.workflow_version.input_variables}
    if unknown := [str(name) for name in case if name not in variables]:
        msg = f"No release of {deployment} has an input {unknown[0]!r}{available(variables)}"
        raise InputError(msg)
    types = [variables[name] for name in case]
    wire = {item.name: item.value for item in to_wire(case, types, where=deployment)}
    return {name: wire[name] if name in wire else plain(case[name]) for name in case}, None
