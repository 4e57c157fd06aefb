"""One case of the HTML report: inputs, then the releases beside each other."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape
from typing import Any

from vellum_nb.experiments.cases import Case
from vellum_nb.experiments.comparison.base import BaseComparison
from vellum_nb.experiments.report.figures import kind_of, number
from vellum_nb.history.reading.records import Record
from vellum_nb.rendering.diff import Difference, difference
from vellum_nb.rendering.values import json_text, value_text

__all__ = ["case_html"]


def case_html(comparison: BaseComparison, case: Case) -> str:
    """Return `case` as HTML."""
    releases = (case.baseline, *comparison.others)
    mark = ' <span class="quiet">baseline</span>'
    heads = "".join(
        f'<th scope="col">{_name(each)}{mark if each == case.baseline else ""}</th>'
        for each in releases
    )
    rows = [_row("state", releases, [_state(case, each) for each in releases])]
    for metric in comparison.metrics:
        cells = [_value(comparison, case, each, metric.name) for each in releases]
        rows.append(_row(_name(metric.name), releases, cells))
    base = case.counting(case.baseline)
    for name in comparison.output_names:
        cells = [
            _answer(case.counting(each), None if each == case.baseline else base, name)
            for each in releases
        ]
        if any(cells):
            rows.append(_row(f"{_name(name)}{_expected(case, name)}", releases, cells))
    return (
        f'<section class="case"><h3>Case {case.number} <code class="quiet">{case.case_id}</code>'
        f"</h3>{_known(case.inputs)}{_known(case.labels, 'label: ')}"
        f'<table><thead><tr><th scope="col"></th>{heads}</tr></thead>'
        f"<tbody>{''.join(rows)}</tbody></table></section>"
    )


def _row(head: str, releases: tuple[str, ...], cells: list[str]) -> str:
    body = "".join(
        f'<td data-release="{_name(each)}">{cell}</td>'
        for each, cell in zip(releases, cells, strict=True)
    )
    return f'<tr><th scope="row">{head}</th>{body}</tr>'


def _known(values: Mapping[str, Any], prefix: str = "") -> str:
    rows = "".join(
        f'<dt>{prefix}{_name(name)}</dt><dd class="text">{escape(_text(value))}</dd>'
        for name, value in values.items()
        if value is not None
    )
    return f"<dl>{rows}</dl>" if rows else ""


def _expected(case: Case, name: str) -> str:
    if name not in case.expected:
        return ""
    text = escape(_text(case.expected[name]))
    return f'<div class="quiet">expected <span class="text">{text}</span></div>'


def _state(case: Case, release: str) -> str:
    found = case.counting(release)
    if found is None:
        return '<span class="missing">missing</span>: no run'
    error = ""
    if found.error is not None:
        error = f'<div class="text">{escape(": ".join(found.error))}</div>'
    latency = "" if found.latency_s is None else f" · {number(found.latency_s)} s"
    unlike, answers = case.repeats(release)
    repeats = f" · {answers} answers" if answers > 1 else ""
    repeats += f", {unlike} of them differ" if unlike else ""
    mark = "" if found.is_answer else ' <span class="missing">missing</span>'
    return f"{escape(found.state)}{mark}{latency}{repeats}{error}"


def _value(comparison: BaseComparison, case: Case, release: str, metric: str) -> str:
    value = comparison.value(case, release, metric)
    told = "\N{EN DASH}" if value is None else f'<data value="{value!r}">{number(value)}</data>'
    if release == comparison.baseline:
        return told
    verdict = comparison.verdict(case, release, metric)
    return f'{told} <span class="{verdict}">{verdict}</span>'


def _answer(found: Record | None, base: Record | None, name: str) -> str:
    if found is None:
        return ""
    if name not in found.outputs:
        is_gone = base is not None and name in base.outputs and found.outputs
        return '<span class="quiet">no such output</span>' if is_gone else ""
    value, kind = found.outputs[name], kind_of(found, name)
    whole = f'<div class="text">{escape(value_text(value, kind))}</div>'
    if base is None or name not in base.outputs:
        return whole
    unlike = difference(base.outputs[name], value, kind, old_kind=kind_of(base, name))
    if not unlike:
        return '<span class="quiet">= same</span>'
    return _changes(unlike, whole)


def _changes(unlike: Difference, whole: str) -> str:
    """Return the difference, and the whole value where the difference leaves anything out."""
    html = unlike.to_html()
    if "vnb-fold" not in html and "vnb-note" not in html and "vnb-key" not in html:
        return html
    return f"{html}<details><summary>the whole value</summary>{whole}</details>"


def _text(value: Any) -> str:
    is_media = isinstance(value, dict) and isinstance(value.get("src"), str)
    if is_media:
        return value_text(value, "IMAGE")
    return value if isinstance(value, str) else json_text(value)


def _name(name: str) -> str:
    return escape(" ".join(str(name).split()))
