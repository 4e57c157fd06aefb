"""Judges are planned, counted, limited and run like any other runs; never by a constructor."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from vellum_nb.comparison.comparison import Comparison, with_judgements
from vellum_nb.comparison.metrics import Judge, Judgement
from vellum_nb.errors import InputError
from vellum_nb.escaping import printed
from vellum_nb.history import History, Sweeps
from vellum_nb.models import Run, WorkflowDeploymentRelease, case_id
from vellum_nb.models.base import canonical_json
from vellum_nb.rendering.format import plural


def judge_id(judge: Judge, release: WorkflowDeploymentRelease | None) -> str:
    """Return what the ids of a judge's runs derive from, besides their inputs and repeat.

    The release is named by its tag if the key may not read it.
    """
    plan = [judge.deployment, release.id if release else judge.release_tag]
    return f"judge:{hashlib.sha256(canonical_json(plan).encode()).hexdigest()[:32]}"


@dataclass(frozen=True, slots=True)
class JudgeService:
    """Finds the runs of judges in a history, by the `release` of a tag; makes those missing.

    ``sweep(judge_id, deployment, cases, **options)`` makes each run once, however many processes
    judge the same answers.
    """

    history: History
    sweep: Callable[..., Any]
    release: Callable[[str, str], WorkflowDeploymentRelease | None]

    def known_runs(self, judge: Judge, case_ids: Sequence[str]) -> dict[str, list[Run]]:
        """Return the stored judgements of these inputs, by case id, at most `repeats` of each.

        A rejected run is no judgement: the judge is asked again.
        """
        tag = judge.release_tag
        release = self.release(judge.deployment, tag) if case_ids else None
        known: dict[str, list[Run]] = {}
        for run in self.history.runs(
            deployment=judge.deployment, state="FULFILLED", case_id=list(case_ids)
        ):
            is_of = run.release_id == release.id if release else run.release_tag == tag
            own = known.setdefault(run.case_id, [])
            if is_of and not run.tag_moved and len(own) < judge.repeats:
                own.append(run)
        return {key: own for key, own in known.items() if own}

    def run(
        self, judge: Judge, cases: Sequence[Mapping[str, Any]], *, known: int, **options: Any
    ) -> tuple[list[Judgement], list[Run]]:
        """Judge each case; one whose inputs do not fit gets the reason, and the others are judged.

        Raises if none of them fits, and no judgement is `known`: the judge itself is wrong. Return
        the judgements, in the order of the cases, and the runs that were made for them.
        """
        judge_name = judge_id(judge, self.release(judge.deployment, judge.release_tag))
        options |= {"release_tag": judge.release_tag, "repeats": judge.repeats}
        sweep = partial(self.sweep, judge_name, judge.deployment, **options)
        rows = [{f"input.{name}": value for name, value in case.items()} for case in cases]
        unfit: dict[int, str] = {}
        try:
            done = sweep(rows)
        except InputError as exc:
            found = [(p.row, f"not run: {p.variable}: {p.message}") for p in exc.problems]
            unfit = {row - 1: why for row, why in reversed(found) if row is not None}
            if not unfit or (len(unfit) == len(rows) and not known):
                raise
            if len(unfit) == len(rows):
                return [unfit[at] for at in range(len(rows))], []
            done = sweep([row for at, row in enumerate(rows) if at not in unfit])
        runs: list[Run] = done.runs()
        of_case: dict[str, list[Run]] = {}
        for run in runs:
            of_case.setdefault(run.case_id, []).append(run)
        planned = iter(Sweeps(self.history).cases(done.id))
        judgements: list[Judgement] = []
        for at in range(len(rows)):
            own = [] if at in unfit else of_case.get(next(planned).case_id, [])
            how = f"was called {len(own)} of {judge.repeats} times" if own else "was not called"
            is_whole = len(own) == judge.repeats
            judgements.append(unfit.get(at) or (own if is_whole else f"{how}: its sweep stopped"))
        return judgements, [run for run in runs if run.sweep_id == done.id]


@dataclass(frozen=True, slots=True)
class JudgeCalls:
    """The calls that a judge needs, and its judgements in the history, by `case_id` of inputs."""

    judge: Judge
    cases: Mapping[str, Mapping[str, Any]]
    known: Mapping[str, Sequence[Run]]
    service: JudgeService

    @property
    def calls(self) -> int:
        """How many executions it makes."""
        return sum(self.judge.repeats - len(self.known.get(key, ())) for key in self.cases)

    @property
    def judgements(self) -> int:
        """How many judgements the history has already."""
        return sum(map(len, self.known.values()))


@dataclass(frozen=True, slots=True, repr=False)
class JudgePlan:
    """What the judges of a comparison are going to do, one by one; nothing was run yet."""

    judges: tuple[JudgeCalls, ...]

    @property
    def calls(self) -> int:
        """How many executions the judges make."""
        return sum(each.calls for each in self.judges)

    @property
    def known(self) -> int:
        """How many judgements the history has already."""
        return sum(each.judgements for each in self.judges)

    @printed
    def __repr__(self) -> str:
        parts = [
            f"{plural(each.calls, 'call')} of {each.judge.deployment} on "
            f"{each.judge.release_tag}, {plural(each.judgements, 'judgement')} in the history"
            for each in self.judges
        ]
        return f"<JudgePlan: {'; '.join(parts) or 'no judge among the metrics'}>"


def plan_judges(comparison: Comparison, service: JudgeService | None) -> JudgePlan:
    """Return the calls that the judges among the metrics of `comparison` need."""
    plans = []
    for judge in comparison.metrics:
        if not isinstance(judge, Judge):
            continue
        found: JudgeService | None = judge.service or service
        if found is None:
            msg = (
                f"the judge {judge.name} needs a workspace to run {judge.deployment!r}: use "
                "ws.compare(...), sweep.compare(...), or ws.judge(...) in its place"
            )
            raise InputError(msg)
        judge.check_outputs(comparison.figures.output_names)
        requests: dict[str, Mapping[str, Any]] = {}
        for run, case, _ in comparison.figures.runs:
            if run.state == "FULFILLED" or (run.state == "REJECTED" and judge.rejected is None):
                with suppress(Exception):  # `evaluate` reports it, for this run
                    inputs = judge.request(run, dict(case.expected))
                    requests.setdefault(case_id(inputs), inputs)
        known = found.known_runs(judge, list(requests))
        cases = {k: v for k, v in requests.items() if len(known.get(k, ())) < judge.repeats}
        plans.append(JudgeCalls(judge, cases, known, found))
    return JudgePlan(tuple(plans))


def judged(
    comparison: Comparison,
    service: JudgeService | None,
    max_calls: int | None = None,
    max_cost_usd: float | None = None,
    *,
    progress: bool = False,
) -> Comparison:
    """Have the judges of `comparison` run, and return the comparison with their judgements.

    An answer that could not be judged, or was left out because of a limit, is an error of the
    metric on that run; the next call goes on with what is missing.
    """
    judgements: dict[str, Mapping[str, Judgement]] = {}
    for each in plan_judges(comparison, service).judges:
        found: dict[str, Judgement] = {k: v for k, v in each.known.items() if k not in each.cases}
        if each.cases and max_calls != 0 and max_cost_usd != 0:
            done, made = each.service.run(
                each.judge,
                list(each.cases.values()),
                known=len(each.known),
                max_calls=max_calls,
                max_cost_usd=max_cost_usd,
                progress=progress,
            )
            found |= zip(each.cases, done, strict=True)
            max_calls = None if max_calls is None else max(0, max_calls - len(made))
            if max_cost_usd is not None:
                max_cost_usd = max(0.0, max_cost_usd - sum(run.cost_usd or 0.0 for run in made))
        judgements[each.judge.name] = found
    return with_judgements(comparison, judgements) if judgements else comparison
