"""Heading of the page of a grid, with its verdicts and the next steps."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from vellum_nb.comparison import Comparison
from vellum_nb.comparison.decisions import Decision
from vellum_nb.comparison.forest import Axis, Difference, difference, difference_bounds
from vellum_nb.comparison.frames import FIRST_CHANGED, summary_frame, summary_rows
from vellum_nb.comparison.lines import CaseOrder
from vellum_nb.comparison.report import (
    ReleaseVerdict,
    counts_text,
    release_counts,
    release_verdicts,
)
from vellum_nb.models.checks import cut
from vellum_nb.rendering.format import (
    duration,
    figure,
    interval_digits,
    money,
    p_value,
    percent,
    plural,
    signed,
    visible_name,
)
from vellum_nb.rendering.html import icon, render

_ACCENTS = ("blind", "add")  # steps that lead to a decision
_MAX_NAME_CHARS = 120
_FEW = 6  # nodes
_MAX_TICKS = 4
_MINUS = "\N{MINUS SIGN}"


def head(
    comparison: Comparison,
    order: CaseOrder,
    *,
    about: str,
    aliases: Mapping[str, Sequence[str]],
    can: Sequence[str],
    more: Callable[[Decision], MoreCases | None],
) -> dict[str, Any]:
    """Return title, columns, filters and summary of the page.

    `can` lists its actions, `more` is that of `verdicts_html`.
    """
    metric = order.metric
    releases = (comparison.baseline, *comparison.figures.others)
    ranked_by = next((m for m in comparison.metrics if m.name == metric), None)
    rows = summary_by_release(comparison)
    parts = [_name(about)] if about else []
    if ranked_by is not None and ranked_by.name == "score":
        parts.append("score = share of expected outputs met")
    elif ranked_by is not None:
        which = "lower" if ranked_by.lower_is_better else "higher"
        parts.append(f"{_name(ranked_by.name)}: {which} is better")
    return {
        "title": _name(comparison.deployment),
        "about": " · ".join(parts),
        "baseline": comparison.baseline,
        "columns": [
            _named(release) | {"remark": counts_text(comparison.figures, release, metric)}
            for release in releases
        ],
        "releases": list(map(_named, comparison.releases)),
        "metrics": [_named(m.name) for m in comparison.metrics],
        "metric": metric or "",
        "can": list(can),
        **order.filters(),
        "verdicts": verdicts_html(comparison, rows, can_rate="blind" in can, more=more),
        "summary": _summary(comparison, metric, rows, aliases),
        "foot": _foot(comparison, metric),
    }


def summary_by_release(comparison: Comparison) -> dict[str, Any]:
    """Return the rows of the summary by release."""
    records = summary_frame(summary_rows(comparison.figures).values()).to_dict("records")
    return dict(zip(comparison.releases, records, strict=True))


def _name(name: str) -> str:
    return cut(visible_name(name), _MAX_NAME_CHARS)


def _named(name: str) -> dict[str, Any]:
    return {"name": name, "label": _name(name)}


def _foot(comparison: Comparison, metric: str | None) -> str:
    if metric is None:
        return ""  # the verdict says it
    results = [comparison.figures.result(release, metric) for release in comparison.figures.others]
    tests = ", ".join(dict.fromkeys(result.test for result in results))
    by = f", by {_name(comparison.cluster)}" if comparison.cluster else ""
    return f"p of the mean difference: {tests}{by}"


def _summary(
    comparison: Comparison,
    metric: str | None,
    rows: Mapping[str, Mapping[str, Any]],
    aliases: Mapping[str, Sequence[str]],
) -> str:
    """Return the summary of the releases as HTML: counts, intervals and figures."""
    figures, others = comparison.figures, comparison.figures.others
    plotted = {tag: difference(figures, tag, metric) for tag in others} if metric else {}
    values = [value for one in plotted.values() for value in one.values]
    bounds = difference_bounds(figures, metric) if metric else None
    axis = Axis.of([0.0, *values], bounds, _MAX_TICKS)
    margins = [one.margin for one in plotted.values() if one.margin > 0]
    margin = max(margins, default=0.0)
    moved = "moved while these runs were made: each release that it pointed at has its own column"
    return render(
        "grid_summary.html.j2",
        icon=icon,
        notes=[
            *(f"{_name(tag)} {moved}" for tag in comparison.moved_tags),
            *figures.notes,
        ],
        metric="" if metric is None else _name(metric),
        is_reversed=metric is not None and figures.scored[metric].metric.sign < 0,
        margin=figure(margin) if margin else "",
        ticks=[(axis.at(tick), signed(tick) if tick else "0") for tick in axis.ticks]
        if axis
        else [],
        zero=axis.at(0.0) if axis else 0.0,
        cases=len(comparison.cases),
        axis=axis,
        level=figures.level,
        rows=[
            {"name": tag, "label": _name(tag), "same": list(map(_name, aliases.get(tag, ())))}
            | {"nodes": _first_changed(rows[tag])}
            | release_counts(figures, tag, metric)
            | _figures(comparison, tag, metric, rows)
            | {"plot": _plot(axis, plotted.get(tag), margin)}
            for tag in (comparison.baseline, *others)
        ],
    )


def _first_changed(row: Mapping[str, Any]) -> str:
    """Describe the first nodes that differ, with their numbers of cases."""
    nodes = [(name, n) for name, n in row.items() if name.startswith(FIRST_CHANGED) and n > 0]
    if not nodes or len(nodes) > max(_FEW, sum(n for _, n in nodes) / 2):
        return ""  # the names differ from run to run
    words = ", ".join(f"{_name(name.removeprefix(FIRST_CHANGED))} {n:,.0f}" for name, n in nodes)
    traced = plural(int(row["traced"]), "case")
    return f"first changed node: {cut(words, 240)}, of {traced} traced"


def _figures(
    comparison: Comparison, release: str, metric: str | None, rows: Mapping[str, Any]
) -> dict[str, str]:
    """Return mean, p value, latency and cost of a release with their differences."""
    row, base = rows[release], rows[comparison.baseline]
    slower, cost = row["latency_p50"] - base["latency_p50"], row["cost_usd"]
    dearer = cost / base["cost_usd"] - 1 if base["cost_usd"] else math.nan
    cells = {
        "latency": duration(row["latency_p50"]),
        "latency_delta": _delta(slower, duration(abs(slower))),
        "cost": "" if math.isnan(cost) else money(cost, [e["cost_usd"] for e in rows.values()]),
        "cost_delta": _delta(dearer, percent(abs(dearer))),
    }
    if metric is None:
        return cells
    mean, delta = row[f"metric.{metric}"], row[f"metric.{metric}.delta"]
    mean_digits, by = (
        interval_digits(rows.values(), f"metric.{metric}.{low}", f"metric.{metric}.{high}")
        for low, high in (("low", "high"), ("delta_low", "delta_high"))
    )
    is_base = release == comparison.baseline
    result = comparison.figures.result(release, metric)
    by_signs = (
        "" if result.sign_p is None else f"; of better against worse {p_value(result.sign_p)}"
    )
    low, high, number = (row[f"metric.{metric}.{end}"] for end in ("low", "high", "n"))
    interval = "no" if math.isnan(low) else f"{figure(low)} to {figure(high)}, the 95 %"
    is_corrected = len(comparison.figures.others) > 1
    corrected = ", corrected for several releases (Holm)" if is_corrected else ""
    ends = [row[f"metric.{metric}.{end}"] for end in ("delta_low", "delta_high")]
    words = " to ".join(signed(end, digits=by) for end in ends)
    return cells | {
        "delta": "" if math.isnan(delta) or is_base else signed(delta, digits=by),
        "interval": "" if math.isnan(ends[0]) or is_base else words,
        "mean": figure(mean, digits=mean_digits),
        "mean_title": f"{interval} interval, n = {number:,}",
        "p": "" if is_base else p_value(result.p),
        "p_title": "" if is_base else f"{result.test}{by_signs}{corrected}",
    }


def _delta(by: float, text: str) -> str:
    """Return a signed difference; empty for zero."""
    visible = abs(by) >= 0.0005  # noqa: PLR2004  (half a millisecond, a twentieth of a percent)
    return f"{_MINUS if by < 0 else '+'}{text}" if visible else ""


def _plot(axis: Axis | None, one: Difference | None, margin: float) -> dict[str, Any]:
    """Return the interval of a difference and the band of the margin, in percent of `axis`."""
    if axis is None:
        return {}
    plot: dict[str, Any] = {}
    if margin > 0:
        band = axis.at(-margin), axis.at(margin)
        plot["band"] = {"left": band[0], "width": round(band[1] - band[0], 2)}
    if one is not None and not math.isnan(one.change.low):
        ends = axis.at(one.change.low), axis.at(one.change.high)
        plot["interval"] = {"left": ends[0], "width": round(ends[1] - ends[0], 2)}
    if one is not None and one.change.n:
        plot |= {"point": axis.at(one.change.mean), "is_decided": one.is_decided}
    return plot


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
