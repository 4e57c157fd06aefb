"""Verdicts above a grid: one sentence per candidate, and the next step as a button."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from vellum_nb.comparison import Comparison
from vellum_nb.comparison.decisions import Decision
from vellum_nb.comparison.report import added_text
from vellum_nb.rendering.assets import icon
from vellum_nb.rendering.format import plural
from vellum_nb.rendering.html import render

_ICONS = {
    "may replace": "FULFILLED",
    "should not replace": "REJECTED",
    "cannot tell yet": "unknown",
}


def verdicts_html(
    comparison: Comparison,
    rows: Mapping[str, Mapping[str, Any]],
    *,
    can_rate: bool,
    more: Callable[[Decision], str] = lambda _: "",
) -> str:
    """Return the sentence of `Comparison.decide` on each candidate, with the next step.

    `rows` is the summary by release. `more` returns what the additional cases of a decision cost;
    they are offered then.
    """
    figures = comparison.figures
    if not (comparison.cases and figures.others):
        return ""
    decisions = figures.all_decisions
    made = []
    for release in figures.others:
        decision = decisions.get(release)
        head, body = figures.verdict_sentence(release)
        added = added_text(rows[release], rows[comparison.baseline])
        step = _next_step(comparison, release, decision, can_rate=can_rate)
        name = "differs" if decision is None else _ICONS[decision.verdict]
        note = more(decision) if decision is not None and decision.more else ""
        if note:
            step = {"show": "add", "label": "Add cases…", "metric": "", "release": release}
        parts = {"icon": name, "head": head, "body": body, "added": added}
        made.append(parts | {"step": step, "note": note})
    return render("grid_verdicts.html.j2", icon=icon, verdicts=made, notes=decisions.notes)


def _next_step(
    comparison: Comparison, release: str, decision: Decision | None, *, can_rate: bool
) -> dict[str, str]:
    """Return the next step of a verdict as attributes of its button; empty without one."""
    changed = comparison.figures.result(release, None).changed
    if decision is not None:
        worse = comparison.figures.result(release, decision.metric).worse
        if worse:
            show = {"show": "regressions", "metric": decision.metric}
            return show | {"release": release, "label": f"Show {plural(worse, 'regression')}"}
    step = {"metric": "", "release": release}
    if decision is None and changed and can_rate:
        return step | {"show": "blind", "label": "Rate blind"}
    label = f"Show {plural(changed, 'difference')}"
    return step | {"show": "different", "label": label} if changed else {}
