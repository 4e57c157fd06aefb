"""Finding the release that changed an answer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from vellum_nb.comparison.bisection import Bisection, Candidate, Check, bisected
from vellum_nb.comparison.cases import Case
from vellum_nb.errors import InputError, VellumNBError
from vellum_nb.history import History
from vellum_nb.models import Run, WorkflowDeploymentRelease, case_id
from vellum_nb.models.checks import check_integer
from vellum_nb.models.inputs import format_value, plain, to_wire
from vellum_nb.workspace.lookup import Lookup
from vellum_nb.workspace.runner import Runner, case_request

Releases = Sequence[WorkflowDeploymentRelease]
OneCase: TypeAlias = "Mapping[str, object] | Run | Case | str"


def bisect(
    deployment: str,
    case: OneCase,
    check: Check | None,
    *,
    runner: Runner,
    lookup: Lookup,
    history: History,
    first: str | None,
    last: str | None,
    repeats: int | None,
) -> Bisection:
    """Find the first release that answers a case otherwise than the oldest one does."""
    check_integer("repeats", repeats, least=1, optional=True)
    releases = lookup.releases(deployment)[::-1]  # they come newest first, by contract
    moments = [each.created for each in releases if each.created is not None]
    if len(moments) == len(releases):
        releases.sort(key=lambda each: each.created or moments[0])
    start = 0 if first is None else _place(deployment, releases, first)
    end = len(releases) - 1 if last is None else _place(deployment, releases, last)
    if start > end:
        msg = (
            f"first={first!r} is newer than last={last!r}: the releases of {deployment} are, "
            f"oldest first, {', '.join(_candidate(each).name for each in releases)}"
        )
        raise InputError(msg)
    releases = releases[start : end + 1]
    inputs = _inputs_of(history, deployment, case, releases)
    trial = _Trial(runner, history, deployment, inputs, releases)
    return bisected(
        deployment,
        inputs,
        [_candidate(each) for each in releases],
        check=check,
        runs_of=trial.runs_of,
        repeats=repeats,
        known=trial.known,
        can_try=trial.can_try,
    )


class _Trial:
    """Runs the case on a release, unless the history has enough runs of it."""

    def __init__(
        self,
        runner: Runner,
        history: History,
        deployment: str,
        inputs: dict[str, Any],
        releases: Releases,
    ) -> None:
        self._runner, self._deployment, self._inputs = runner, deployment, inputs
        self._releases = {each.id: each for each in releases}
        self._runs: dict[str, list[Run]] = {}
        recorded = history.runs(
            deployment=deployment, case_id=case_id(inputs), state=["FULFILLED", "REJECTED"]
        )
        for run in recorded:
            if run.release_id in self._releases and not run.tag_moved:
                self._runs.setdefault(run.release_id, []).append(run)
        self.known = frozenset(run.id for runs in self._runs.values() for run in runs)

    def can_try(self, candidate: Candidate) -> bool:
        """Whether it has a tag to run it on, or runs already."""
        return candidate.release_tag is not None or candidate.release_id in self._runs

    def runs_of(self, candidate: Candidate, times: int) -> Sequence[Run]:
        """Return `times` runs, those of the history first."""
        runs = self._runs.setdefault(candidate.release_id, [])
        release, tag = self._releases[candidate.release_id], candidate.release_tag
        while len(runs) < times and tag is not None:
            request = case_request(self._deployment, self._inputs, tag, release)
            run, error = self._runner.execute(request)
            if error is not None:
                raise error
            if run.release_id not in {None, release.id}:
                msg = (
                    f"The release tag {tag} of {self._deployment} moved from {release.id} to "
                    f"{run.release_id} in between: bisect once more"
                )
                raise VellumNBError(msg)
            runs.append(run)
        return runs[:times]


def _place(deployment: str, releases: Releases, name: str) -> int:
    for at, each in enumerate(releases):
        if name == each.id or name in {tag.name for tag in each.release_tags}:
            return at
    known = ", ".join(_candidate(each).name for each in releases) or "none"
    msg = f"{deployment} has no release {name!r}; it has, oldest first: {known}"
    raise InputError(msg)


def _candidate(release: WorkflowDeploymentRelease) -> Candidate:
    """Return the release with a tag that stays with it, where it has one."""
    tags = sorted((tag.name for tag in release.release_tags), key="LATEST".__eq__)
    return Candidate(release.id, next(iter(tags), None), release.created)


def _inputs_of(
    history: History, deployment: str, case: OneCase, releases: Releases
) -> dict[str, Any]:
    """Return the inputs of the case as plain values; the newest release that knows one types it."""
    if isinstance(case, str):
        found = history.runs(deployment=deployment, case_id=case, limit=1)
        if not found:
            msg = (
                f"the history has no run of {deployment} with the case_id {case!r}; "
                "give the inputs themselves, or a case_id of ws.history.frame()"
            )
            raise InputError(msg)
        case = found[0]
    if isinstance(case, Run | Case):
        return dict(case.inputs)
    try:
        case = dict(case)  # a pandas row, too
    except (TypeError, ValueError) as exc:
        msg = f"{format_value(case)} is no case: give a dict of inputs, a run, or a case_id"
        raise InputError(msg) from exc
    known = {each.key: each for r in releases for each in r.workflow_version.input_variables}
    if unknown := [str(name) for name in case if name not in known]:
        msg = (
            f"{', '.join(unknown)}: no input of any release of {deployment}; they know "
            f"{', '.join(known) or 'none'}; nothing was sent"
        )
        raise InputError(msg)
    given = [known[name] for name in case]
    wire = {item.name: item.value for item in to_wire(case, given, where=deployment)}
    return {name: wire[name] if name in wire else plain(case[name]) for name in case}
