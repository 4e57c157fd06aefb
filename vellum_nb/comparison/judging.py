"""Judges are planned, counted, limited and run like any other runs; never by a constructor."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from vellum_nb.comparison.comparison import Comparison
from vellum_nb.comparison.metrics import Judge
from vellum_nb.errors import InputError
from vellum_nb.history import History
from vellum_nb.models import Run, WorkflowDeploymentRelease, case_id
from vellum_nb.rendering.format import plural


@dataclass(frozen=True, slots=True)
class JudgeService:
    """Finds the runs of judges in a history, by the `release` of a tag; makes those missing."""

    history: History
    sweep: Callable[..., Any]
    release: Callable[[str, str], WorkflowDeploymentRelease | None]

    def run(
        self, deployment: str, cases: Sequence[Mapping[str, Any]], *, known: int, **options: Any
    ) -> list[Run | str]:
        """Run each case; one whose inputs do not fit gets the reason, and the others are run.

        Where none of them fits, and no judgement is `known`, the judge itself is wrong: it raises.
        """
        sweep = partial(self.sweep, deployment, restart=True, reuse=True, **options)
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
                return [unfit[at] for at in range(len(rows))]
            done = sweep([row for at, row in enumerate(rows) if at not in unfit])
        made: dict[str, Run | str] = {run.case_id: run for run in done.runs()}
        planned = iter(self.history.sweeps.cases(done.id))
        stopped = "was not called: its sweep stopped"
        return [unfit.get(n) or made.get(next(planned).case_id, stopped) for n in range(len(rows))]


@dataclass(frozen=True, slots=True)
class JudgeCalls:
    """The calls that a judge needs, and its judgements in the history, by `case_id` of inputs."""

    metric: str
    deployment: str
    release_tag: str
    cases: Mapping[str, Mapping[str, Any]]
    known: Mapping[str, Run]
    service: JudgeService


@dataclass(frozen=True, slots=True, repr=False)
class JudgePlan:
    """What the judges of a comparison are going to do, one by one; nothing was run yet."""

    judges: tuple[JudgeCalls, ...]

    @property
    def calls(self) -> int:
        """How many executions the judges make."""
        return sum(len(each.cases) for each in self.judges)

    @property
    def known(self) -> int:
        """How many judgements the history has already."""
        return sum(len(each.known) for each in self.judges)

    def __repr__(self) -> str:
        parts = [
            f"{plural(len(each.cases), 'call')} of {each.deployment} on {each.release_tag}, "
            f"{plural(len(each.known), 'judgement')} in the history"
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
        requests: dict[str, Mapping[str, Any]] = {}
        for run, expected in comparison.answered():
            if judge.rejected is None or run.state != "REJECTED":
                with suppress(Exception):  # `evaluate` reports it, for this run
                    inputs = judge.request(run, dict(expected))
                    requests.setdefault(case_id(inputs), inputs)
        name, tag = judge.deployment, judge.release_tag
        release = found.release(name, tag)
        runs = found.history.runs(deployment=name, state="FULFILLED", case_id=list(requests))
        known = {
            r.case_id: r
            for r in reversed(runs)
            if (r.release_id == release.id if release else r.release_tag == tag) and not r.tag_moved
        }
        cases = {key: inputs for key, inputs in requests.items() if key not in known}
        plans.append(JudgeCalls(judge.name, name, tag, cases, known, found))
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
    judgements: dict[str, Mapping[str, Run | str]] = {}
    for each in plan_judges(comparison, service).judges:
        found: dict[str, Run | str] = dict(each.known)
        if each.cases and max_calls != 0 and max_cost_usd != 0:
            runs = each.service.run(
                each.deployment,
                list(each.cases.values()),
                known=len(each.known),
                release_tags=[each.release_tag],
                max_calls=max_calls,
                max_cost_usd=max_cost_usd,
                progress=progress,
            )
            found |= zip(each.cases, runs, strict=True)
            made = [run for run in runs if isinstance(run, Run)]
            max_calls = None if max_calls is None else max(0, max_calls - len(made))
            if max_cost_usd is not None:
                max_cost_usd = max(0.0, max_cost_usd - sum(run.cost_usd or 0.0 for run in made))
        judgements[each.metric] = found
    return comparison.with_judgements(judgements) if judgements else comparison
