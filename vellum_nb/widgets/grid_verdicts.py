"""Verdicts above a grid: one sentence per candidate, and the next step as a button."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from vellum_nb.comparison import Comparison
from vellum_nb.comparison.decisions import Decision
from vellum_nb.comparison.report import ReleaseVerdict, release_verdicts
from vellum_nb.rendering.assets import icon
from vellum_nb.rendering.format import plural
from vellum_nb.rendering.html import render

_ACCENTS = ("blind", "add")  # steps that lead to a decision


class MoreCases(NamedTuple):
    """Label of the button for the cases that would decide, and their calls and cost."""

    label: str
    cost: str


def verdicts_html(
    comparison: Comparison,
    rows: Mapping[str, Mapping[str, Any]],
    *,
    can_rate: bool,
    more: Callable[[Decision], MoreCases | None],
) -> str:
    """Return the sentence of `Comparison.decide` on each candidate, with the next step.

    `rows` is the summary by release. `more` offers the additional cases of a decision, or returns
    None if they cannot be added.
    """
    figures, steps = comparison.figures, {}
    verdicts = release_verdicts(figures, rows)
    for verdict in verdicts:
        decision = verdict.decision
        cases = more(decision) if decision is not None and decision.more else None
        step = _next_step(comparison, verdict, can_rate=can_rate)
        if cases:
            step = {"show": "add", "label": cases.label, "metric": ""}
        steps[verdict.release] = cases.cost if cases else "", step
    notes = figures.all_decisions.remarks
    offered = (release for release, (_, step) in steps.items() if step.get("show") in _ACCENTS)
    context = {"all": verdicts, "steps": steps, "notes": notes, "icon": icon}
    context |= {"accent": next(offered, None)}
    return render("grid_verdicts.html.j2", **context) if verdicts else ""


def _next_step(
    comparison: Comparison, verdict: ReleaseVerdict, *, can_rate: bool
) -> dict[str, str]:
    """Return the next step of a verdict as attributes of its button; empty without one."""
    changed = comparison.figures.result(verdict.release, None).changed
    decision = verdict.decision
    if decision is not None and verdict.worse:
        label = f"Show {plural(verdict.worse, 'regression')}"
        return {"show": "regressions", "metric": decision.metric, "label": label}
    if decision is None and changed and can_rate:
        return {"show": "blind", "metric": "", "label": "Rate blind"}
    label = f"Show {plural(changed, 'difference')}"
    return {"show": "different", "metric": "", "label": label} if changed else {}
