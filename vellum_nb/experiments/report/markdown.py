"""A comparison as Markdown that GitHub shows: tables, `[-old-]{+new+}`, hostile text literal."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Any

from vellum_nb.experiments.cases import Case
from vellum_nb.experiments.comparison.base import BaseComparison
from vellum_nb.experiments.report.figures import (
    Figures,
    figures,
    grouped,
    heading,
    kind_of,
    number,
    p_text,
    percent,
    span,
    summary_rows,
)
from vellum_nb.history.reading.records import Record
from vellum_nb.rendering.diff import difference
from vellum_nb.rendering.marks import markdown_code
from vellum_nb.rendering.values import json_text, value_text

__all__ = ["markdown"]

_TITLES = {
    "worse": "Worse",
    "missing": "Missing, or not told",
    "better": "Better",
    "changed": "Changed, neither better nor worse",
    "same": "Same",
}


def markdown(comparison: BaseComparison, groups: Sequence[str]) -> str:
    """Return `comparison` as Markdown with all cases of `groups`."""
    rows = summary_rows(comparison)
    parts = [f"## {_words(heading(comparison))}", f"{span(comparison)}."]
    parts += [
        f"**{_words(tag)} moved while these runs were made**: its releases stand apart."
        for tag in comparison.moved_tags
    ]
    for metric in comparison.metrics:
        parts += _of_metric(figures(comparison, metric.name, rows), metric.name)
    parts += ["### Releases", _releases(comparison, rows)]
    found = grouped(comparison)
    for name in groups:
        if found[name]:
            parts += _group(comparison, name, found[name])
    left_out = [
        f"{len(found[name]):,} {name}" for name in found if name not in groups and found[name]
    ]
    if left_out:
        parts.append(f"Cases that are not listed here: {', '.join(left_out)}.")
    return "\n\n".join(parts) + "\n"


def _of_metric(found: Sequence[Figures], metric: str) -> list[str]:
    head = ["release", "mean (95 %)", "difference (95 %)", "better", "worse", "same", "noise"]
    head += ["not told", "p of the mean", "p of the signs", "noise floor", "finding"]
    rows = [_figures(each) for each in found]
    remarks = [f"- {_line(each.release)}: {each.remark}" for each in found if each.remark]
    return [
        f"### By {_words(metric)}",
        _table(head, rows),
        *(["\n".join(remarks)] if remarks else []),
    ]


def _figures(found: Figures) -> list[str]:
    mean = _interval(found, "", "low", "high")
    if found.counts is None:
        return [_line(found.release), mean, *[""] * 9, found.finding]
    counts = found.counts
    untold = sum(counts[each] for each in ("missing", "unscored", "error"))
    words = [f"{counts[each]:,}" for each in ("better", "worse", "same", "noise")]
    delta = _interval(found, "delta", "delta_low", "delta_high")
    p = [p_text(each).replace("<", "&lt;") for each in (found.p, found.sign_p)]
    told = f"**{found.finding}**" if found.finding in {"worse", "better"} else found.finding
    return [
        _line(found.release),
        mean,
        delta,
        *words,
        f"{untold:,}",
        *p,
        percent(found.noise_floor),
        told,
    ]


def _interval(found: Figures, *names: str) -> str:
    middle, low, high = (found.value(name) for name in names)
    if math.isnan(low):
        return number(middle)
    return f"{number(middle)} ({number(low)} to {number(high)})"


def _releases(comparison: BaseComparison, rows: Sequence[Any]) -> str:
    head = ["release", "cases", "answered", "missing", "failed", "rejected", "changed"]
    head += ["latency p50", "latency p95", "cost a run"]
    lines = []
    for release in (comparison.baseline, *comparison.others):
        row = rows[comparison.releases.index(release)]
        counts = [f"{row[name]:,}" for name in ("cases", "n", "missing", "failed", "rejected")]
        changed = row["changed_pct"]
        share = percent(None if changed is None else changed / 100)
        seconds = [_unit(row[f"latency_{each}"], "{} s") for each in ("p50", "p95")]
        lines.append([_line(release), *counts, share, *seconds, _unit(row["cost_usd"], "${}")])
    return _table(head, lines)


def _unit(value: float, pattern: str) -> str:
    return number(value) if math.isnan(value) else pattern.format(number(value))


def _group(comparison: BaseComparison, name: str, cases: Sequence[Case]) -> list[str]:
    parts = [f"### {_TITLES[name]}: {len(cases):,} case{'' if len(cases) == 1 else 's'}"]
    for case in cases:
        parts += [_head(case), _case_table(comparison, case)]
    return parts


def _head(case: Case) -> str:
    lines = [f"**Case {case.number}** (`{case.case_id}`)"]
    for prefix, values in (("", case.inputs), ("label ", case.labels)):
        lines += [
            f"- {prefix}{markdown_code(str(name))}: {markdown_code(_text(value))}"
            for name, value in values.items()
            if value is not None
        ]
    return "\n".join([lines[0], "", *lines[1:]]) if len(lines) > 1 else lines[0]


def _case_table(comparison: BaseComparison, case: Case) -> str:
    others = comparison.others
    base = case.counting(case.baseline)
    head = ["", f"{_line(case.baseline)} (baseline)", *map(_line, others)]
    rows = [["state", _state(case, case.baseline), *(_state(case, each) for each in others)]]
    for metric in comparison.metrics:
        values = [_value(comparison, case, each, metric.name) for each in (case.baseline, *others)]
        rows.append([_line(metric.name), *values])
    for name in comparison.output_names:
        cells = [
            _answer(base, None, name),
            *(_answer(case.counting(r), base, name) for r in others),
        ]
        if any(cells):
            wanted = case.expected.get(name)
            told = (
                "" if name not in case.expected else f"<br>expected {markdown_code(_text(wanted))}"
            )
            rows.append([f"{_line(name)}{told}", *cells])
    return _table(head, rows)


def _state(case: Case, release: str) -> str:
    found = case.counting(release)
    if found is None:
        return "**missing**: no run"
    error = "" if found.error is None else f" {markdown_code(': '.join(found.error))}"
    latency = "" if found.latency_s is None else f", {number(found.latency_s)} s"
    unlike, answers = case.repeats(release)
    repeats = f", {answers} answers" if answers > 1 else ""
    repeats += f", {unlike} of them differ" if unlike else ""
    return f"{found.state}{error}{latency}{repeats}"


def _value(comparison: BaseComparison, case: Case, release: str, metric: str) -> str:
    value = number(comparison.value(case, release, metric))
    if release == comparison.baseline:
        return value
    verdict = comparison.verdict(case, release, metric)
    return f"{value} **{verdict}**" if verdict in {"worse", "better"} else f"{value} {verdict}"


def _answer(found: Record | None, base: Record | None, name: str) -> str:
    if found is None:
        return ""
    if name not in found.outputs:
        is_gone = base is not None and name in base.outputs and found.outputs
        return "no such output" if is_gone else ""
    value, kind = found.outputs[name], kind_of(found, name)
    if base is None or name not in base.outputs:
        return markdown_code(value_text(value, kind))
    unlike = difference(base.outputs[name], value, kind, old_kind=kind_of(base, name))
    return unlike.to_markdown() if unlike else "= same"


def _text(value: Any) -> str:
    is_media = isinstance(value, dict) and isinstance(value.get("src"), str)
    return value_text(value, "IMAGE") if is_media else _plain(value)


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json_text(value)


def _line(name: str) -> str:
    """Return a name as Markdown in one line."""
    return markdown_code(" ".join(str(name).split()) or " ")


def _words(name: str) -> str:
    """Return a name as plain words in one line."""
    return _line(name).removeprefix("<code>").removesuffix("</code>")


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)
