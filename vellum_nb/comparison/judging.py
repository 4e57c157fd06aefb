"""The judges among the metrics of a comparison."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from typing import Any

from vellum_nb.comparison.actions import Actions
from vellum_nb.comparison.comparison import CompareOptions, Comparison, with_judgements
from vellum_nb.comparison.judge_calls import JudgeCalls, JudgePlan, run_judge, stored_judgements
from vellum_nb.comparison.metrics import Judge, Judgement
from vellum_nb.errors import InputError
from vellum_nb.models import case_id


def plan_judges(comparison: Comparison, actions: Actions | None) -> JudgePlan:
    """Return the calls required by the judges among the metrics of `comparison`."""
    plans = []
    for judge in comparison.metrics:
        if not isinstance(judge, Judge):
            continue
        judge_actions = judge.actions or actions
        if judge_actions is None:
            msg = (
                f"the judge {judge.name} needs a workspace to run {judge.deployment!r}: use "
                "ws.compare(...), sweep.compare(...), or ws.judge(...) in its place"
            )
            raise InputError(msg)
        judge.check_outputs(comparison.figures.output_names)
        requests: dict[str, Mapping[str, Any]] = {}
        for run, case, _ in comparison.figures.runs:
            if run.state == "FULFILLED" or (run.state == "REJECTED" and judge.rejected is None):
                with suppress(Exception):  # `evaluate` reports it for this run
                    inputs = judge.request(run, dict(case.expected))
                    requests.setdefault(case_id(inputs), inputs)
        stored = stored_judgements(judge_actions, judge, list(requests))
        cases = {k: v for k, v in requests.items() if len(stored.get(k, ())) < judge.repeats}
        plans.append(JudgeCalls(judge, cases, stored, judge_actions))
    return JudgePlan(tuple(plans))


def judged(comparison: Comparison, actions: Actions | None, options: CompareOptions) -> Comparison:
    """Run the judges of `comparison` and return a comparison with their judgements.

    An answer that could not be judged, or was skipped because of a limit, is an error of the metric
    on that run. The next call judges it.
    """
    max_calls, max_cost_usd = options.get("max_calls"), options.get("max_cost_usd")
    progress = options.get("progress", True)
    judgements: dict[str, Mapping[str, Judgement]] = {}
    for calls in plan_judges(comparison, actions).judges:
        by_inputs: dict[str, Judgement] = {
            k: v for k, v in calls.stored.items() if k not in calls.cases
        }
        if calls.cases and max_calls != 0 and max_cost_usd != 0:
            judged_now, new_runs = run_judge(calls, max_calls, max_cost_usd, progress=progress)
            by_inputs |= zip(calls.cases, judged_now, strict=True)
            max_calls = None if max_calls is None else max(0, max_calls - len(new_runs))
            if max_cost_usd is not None:
                max_cost_usd = max(0.0, max_cost_usd - sum(run.cost_usd or 0.0 for run in new_runs))
        judgements[calls.judge.name] = by_inputs
    return with_judgements(comparison, judgements) if judgements else comparison
