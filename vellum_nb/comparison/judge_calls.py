"""The calls of judges: planned, counted, limited and executed like other runs."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from vellum_nb.comparison.actions import Actions, CallLimits
from vellum_nb.comparison.figures import ComparisonFigures
from vellum_nb.comparison.metrics import Judge, Judgement
from vellum_nb.errors import InputError
from vellum_nb.escaping import printed
from vellum_nb.history import Sweeps
from vellum_nb.models import Run, WorkflowDeploymentRelease, case_id
from vellum_nb.models.base import canonical_json
from vellum_nb.rendering.format import plural

_STOPPED = "its sweep stopped"


def was_stopped(judgement: Judgement) -> bool:
    """Return whether a judgement is missing because a limit or an interrupt ended its sweep."""
    return isinstance(judgement, str) and judgement.endswith(_STOPPED)


def judge_id(judge: Judge, release: WorkflowDeploymentRelease | None) -> str:
    """Return the id that, with inputs and repeat, determines the ids of a judge's runs.

    The release is identified by its tag if the key cannot read it.
    """
    plan = [judge.deployment, release.id if release else judge.release_tag]
    return f"judge:{hashlib.sha256(canonical_json(plan).encode()).hexdigest()[:32]}"


def stored_judgements(
    actions: Actions, judge: Judge, case_ids: Sequence[str]
) -> dict[str, list[Run]]:
    """Return the stored judgements of these inputs by case id, at most `repeats` of each.

    Rejected runs do not count, so their inputs are judged again.
    """
    tag = judge.release_tag
    release = actions.release(judge.deployment, tag) if case_ids else None
    stored: dict[str, list[Run]] = {}
    for run in actions.history.runs(
        deployment=judge.deployment, state="FULFILLED", case_id=list(case_ids)
    ):
        is_of = run.release_id == release.id if release else run.release_tag == tag
        runs = stored.setdefault(run.case_id, [])
        if is_of and not run.tag_moved and len(runs) < judge.repeats:
            runs.append(run)
    return {key: runs for key, runs in stored.items() if runs}


def run_judge(calls: JudgeCalls, limits: CallLimits) -> tuple[dict[str, Judgement], CallLimits]:
    """Judge each case; return the judgements, and the limits that remain.

    A case whose inputs do not fit gets the reason as its judgement. Raises if no case fits and no
    judgement is stored, since the judge itself is then misconfigured.
    """
    judge, actions = calls.judge, calls.actions
    run_rows = partial(
        actions.sweep,
        judge.deployment,
        release_tag=judge.release_tag,
        repeats=judge.repeats,
        judge=judge_id(judge, actions.release(judge.deployment, judge.release_tag)),
        **limits,
    )
    rows = [{f"input.{k}": v for k, v in case.items()} for case in calls.cases.values()]
    unfit: dict[int, str] = {}
    try:
        sweep = run_rows(rows)
    except InputError as exc:
        problems = [(p.row, f"not run: {p.variable}: {p.message}") for p in exc.problems]
        unfit = {row - 1: reason for row, reason in reversed(problems) if row is not None}
        if not unfit or (len(unfit) == len(rows) and not calls.stored):
            raise
        if len(unfit) == len(rows):
            return {key: unfit[at] for at, key in enumerate(calls.cases)}, limits
        sweep = run_rows([row for at, row in enumerate(rows) if at not in unfit])
    runs = sweep.runs()
    by_case: dict[str, list[Run]] = {}
    for run in runs:
        by_case.setdefault(run.case_id, []).append(run)
    planned = iter(Sweeps(actions.history).cases(sweep.id))
    judgements: dict[str, Judgement] = {}
    for at, key in enumerate(calls.cases):
        judged = [] if at in unfit else by_case.get(next(planned).case_id, [])
        called = f"called {len(judged)} of {judge.repeats} times" if judged else "not called"
        is_complete = len(judged) == judge.repeats
        stopped = f"was {called}: {_STOPPED}"
        judgements[key] = unfit.get(at) or (judged if is_complete else stopped)
    return judgements, _remaining(limits, [run for run in runs if run.sweep_id == sweep.id])


def _remaining(limits: CallLimits, runs: Sequence[Run]) -> CallLimits:
    """Return the limits that remain after `runs`."""
    remaining = limits.copy()
    if (max_calls := limits.get("max_calls")) is not None:
        remaining["max_calls"] = max(0, max_calls - len(runs))
    if (max_cost_usd := limits.get("max_cost_usd")) is not None:
        spent = sum(run.cost_usd or 0.0 for run in runs)
        remaining["max_cost_usd"] = max(0.0, max_cost_usd - spent)
    return remaining


def are_exhausted(limits: CallLimits) -> bool:
    """Return whether no further call is allowed."""
    return limits.get("max_calls") == 0 or limits.get("max_cost_usd") == 0


@dataclass(frozen=True, slots=True)
class JudgeCalls:
    """The missing calls of a judge, and its stored judgements, by `case_id` of inputs."""

    judge: Judge
    cases: Mapping[str, Mapping[str, Any]]
    stored: Mapping[str, Sequence[Run]]
    actions: Actions

    @property
    def calls(self) -> int:
        """Number of executions."""
        return sum(self.judge.repeats - len(self.stored.get(key, ())) for key in self.cases)

    @property
    def judgements(self) -> int:
        """Number of stored judgements."""
        return sum(map(len, self.stored.values()))


@dataclass(frozen=True, slots=True, repr=False)
class JudgePlan:
    """The planned calls of each judge of a comparison."""

    judges: tuple[JudgeCalls, ...]

    @property
    def calls(self) -> int:
        """Number of executions of all judges."""
        return sum(calls.calls for calls in self.judges)

    @property
    def known(self) -> int:
        """Number of stored judgements."""
        return sum(calls.judgements for calls in self.judges)

    @printed
    def __repr__(self) -> str:
        parts = [
            f"{plural(calls.calls, 'call')} of {calls.judge.deployment} on "
            f"{calls.judge.release_tag}, {plural(calls.judgements, 'judgement')} in the history"
            for calls in self.judges
        ]
        return f"<JudgePlan: {'; '.join(parts) or 'no judge among the metrics'}>"


def planned_calls(
    actions: Actions, judge: Judge, requests: Mapping[str, Mapping[str, Any]]
) -> JudgeCalls:
    """Return the calls for inputs by `case_id`, without those that have stored judgements."""
    stored = stored_judgements(actions, judge, list(requests))
    cases = {k: v for k, v in requests.items() if len(stored.get(k, ())) < judge.repeats}
    return JudgeCalls(judge, cases, stored, actions)


def all_judgements(
    calls: JudgeCalls, limits: CallLimits
) -> tuple[dict[str, Judgement], CallLimits]:
    """Make the calls within the limits; return all judgements, and the limits that remain."""
    judgements: dict[str, Judgement] = {
        key: runs for key, runs in calls.stored.items() if key not in calls.cases
    }
    if calls.cases and not are_exhausted(limits):
        made, limits = run_judge(calls, limits)
        judgements |= made
    return judgements, limits


def plan_judges(figures: ComparisonFigures, actions: Actions | None) -> JudgePlan:
    """Return the calls required by the judges among the metrics of a comparison."""
    plans = []
    for judge in figures.metrics:
        if not isinstance(judge, Judge):
            continue
        judge_actions = judge.actions or actions
        if judge_actions is None:
            msg = (
                f"the judge {judge.name} needs a workspace to run {judge.deployment!r}: use "
                "ws.compare(...), sweep.compare(...), or ws.judge(...) in its place"
            )
            raise InputError(msg)
        judge.check_outputs(figures.output_names)
        requests: dict[str, Mapping[str, Any]] = {}
        for run, case, _ in figures.runs:
            if run.state == "FULFILLED" or (run.state == "REJECTED" and judge.rejected is None):
                with suppress(Exception):  # `evaluate` reports it for this run
                    inputs = judge.request(run, dict(case.expected), case.conversation(run))
                    requests.setdefault(case_id(inputs), inputs)
        plans.append(planned_calls(judge_actions, judge, requests))
    return JudgePlan(tuple(plans))


def run_judges(plan: JudgePlan, limits: CallLimits) -> dict[str, Mapping[str, Judgement]]:
    """Make the planned calls within the limits; return the judgements by the names of the judges.

    An answer that was skipped because of a limit has no judgement. The next call judges it.
    """
    judgements: dict[str, Mapping[str, Judgement]] = {}
    for calls in plan.judges:
        judgements[calls.judge.name], limits = all_judgements(calls, limits)
    return judgements
