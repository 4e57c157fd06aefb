"""A comparison as one HTML page: no script, nothing from elsewhere, every figure as it is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from html import escape
from typing import Any

from vellum_nb.experiments.cases import in_turn
from vellum_nb.experiments.comparison.base import BaseComparison
from vellum_nb.experiments.comparison.verdicts import Verdict
from vellum_nb.experiments.report.figures import (
    GROUPS,
    Figures,
    figures,
    grouped,
    heading,
    number,
    p_text,
    percent,
    span,
    summary_rows,
)
from vellum_nb.experiments.report.page_cases import case_html
from vellum_nb.experiments.report.style import REPORT_CSS

__all__ = ["page"]

# Should anything hostile get through all the same, it finds nothing that would run or load it.
_POLICY = "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'"
_TITLES = {
    "worse": "Worse",
    "missing": "Missing, or not told",
    "better": "Better",
    "changed": "Changed, neither better nor worse",
    "same": "Same",
}
_OPEN = frozenset({"worse", "missing"})


def page(comparison: BaseComparison, beside: Mapping[str, str]) -> str:
    """Return `comparison` as HTML with all its cases.

    Parameters
    ----------
    comparison
        What is shown.
    beside
        What is in which file beside the page: ``"runs"`` and ``"cases"`` to names.
    """
    rows = summary_rows(comparison)
    found = grouped(comparison)
    title = escape(_one_line(heading(comparison)))
    body = [f"<h1>{title}</h1>", f'<p class="quiet">{escape(span(comparison))}</p>']
    body += [_moved(tag) for tag in comparison.moved_tags]
    for metric in comparison.metrics:
        body.append(_of_metric(figures(comparison, metric.name, rows), metric.name))
    body.append(_releases(comparison, rows))
    body += [_group(comparison, name, found[name]) for name in GROUPS if found[name]]
    body.append(_foot(comparison, beside))
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{REPORT_CSS}</style></head>\n"
        f"<body>{''.join(body)}</body></html>\n"
    )


def _moved(tag: str) -> str:
    return (
        f"<p><b>{escape(_one_line(tag))} moved while these runs were made</b>: its releases stand "
        "in columns of their own.</p>"
    )


def _of_metric(found: Sequence[Figures], metric: str) -> str:
    heads = (
        "mean (95 %)", "difference (95 %)", "better", "worse", "same", "noise", "not told",
        "p of the mean", "p of the signs", "noise floor",
    )  # fmt: skip
    head = _cells("th", ["release", "", *heads], range(2, len(heads) + 2))
    rows = "".join(f"<tr>{_figures(each)}</tr>" for each in found)
    remarks = "".join(
        f"<p><b>{escape(_one_line(each.release))}</b> {escape(each.remark)}</p>"
        for each in found
        if each.remark
    )
    return (
        f"<h2>By {escape(_one_line(metric))}</h2>"
        f'<div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{rows}</tbody></table></div>{remarks}"
    )


def _figures(found: Figures) -> str:
    cells = [
        _interval(found, "", "low", "high"),
        _interval(found, "delta", "delta_low", "delta_high"),
    ]
    if found.counts is None:
        cells = [cells[0], "<td></td>" * 9]
    else:
        counts = dict(found.counts)
        counts["missing"] += counts["unscored"] + counts["error"]
        order: tuple[Verdict, ...] = ("better", "worse", "same", "noise", "missing")
        cells += [_figure(counts[name], _count, name) for name in order]
        cells += [_figure(found.p, p_text, "p"), _figure(found.sign_p, p_text, "sign_p")]
        cells.append(_figure(found.noise_floor, percent, "noise_floor"))
    verdict = f'<td><span class="{found.finding}">{found.finding}</span></td>'
    return f'<th scope="row">{escape(_one_line(found.release))}</th>{verdict}{"".join(cells)}'


def _interval(found: Figures, *names: str) -> str:
    middle, low, high = (_data(found.value(name), number, name or "mean") for name in names)
    known = not math.isnan(found.value(names[1]))
    told = f' <span class="quiet">{low} to {high}</span>' if known else ""
    return f'<td class="figure">{middle}{told}</td>'


def _releases(comparison: BaseComparison, rows: Sequence[Mapping[str, Any]]) -> str:
    columns = {
        "cases": _count, "n": _count, "missing": _count, "failed": _count, "rejected": _count,
        "runs": _count, "changed_pct": number, "latency_p50": number, "latency_p95": number,
        "cost_usd": number,
    }  # fmt: skip
    heads = (
        "cases", "answered", "missing", "failed", "rejected", "runs", "changed %",
        "latency p50, s", "latency p95, s", "$ a run",
    )  # fmt: skip
    head = _cells("th", ["release", *heads, "release id"], range(1, len(heads) + 1))
    lines = []
    for release in (comparison.baseline, *comparison.others):
        row = rows[comparison.releases.index(release)]
        cells = "".join(_figure(row[name], how, name) for name, how in columns.items())
        known = row["release_id"] if isinstance(row["release_id"], str) else ""
        told = f"{escape(_one_line(release))}{_baseline(comparison, release)}"
        lines.append(
            f'<tr><th scope="row">{told}</th>{cells}<td><code>{escape(known)}</code></td></tr>'
        )
    return (
        f'<h2>Releases</h2><div class="scroll"><table><thead><tr>{head}</tr></thead>'
        f"<tbody>{''.join(lines)}</tbody></table></div>"
    )


def _baseline(comparison: BaseComparison, release: str) -> str:
    return ' <span class="quiet">baseline</span>' if release == comparison.baseline else ""


def _group(comparison: BaseComparison, name: str, cases: Sequence[Any]) -> str:
    noun = f"{len(cases):,} case{'' if len(cases) == 1 else 's'}"
    body = "".join(case_html(comparison, case) for case in in_turn(cases))
    is_open = " open" if name in _OPEN else ""
    return f"<h2>{_TITLES[name]}</h2><details{is_open}><summary>{noun}</summary>{body}</details>"


def _foot(comparison: BaseComparison, beside: Mapping[str, str]) -> str:
    files = ""
    if beside:
        runs, cases = escape(beside["runs"]), escape(beside["cases"])
        files = (
            f"<p>The figures are those of <code>{runs}</code>, one row a run, and "
            f"<code>{cases}</code>, one row a case; <code>vnb.read_csv</code> reads both.</p>"
        )
    return (
        f"<footer><h2>How this is counted</h2>{files}"
        "<p>A case's figure is the mean over its repeats. Differences are paired, case by case. "
        "Intervals are the middle 95 % of a bootstrap over cases, and p is where that of the "
        "difference would just hold 0. Of pass or fail a mean has Wilson's interval, and a "
        "difference that was asked for once a case Agresti and Min's, with the p of McNemar's "
        "exact test. p of the signs is the exact sign test of better against worse. Every p is "
        f"Holm's over the releases. seed {comparison.seed}, alpha {comparison.alpha}.</p>"
        "<p>The noise floor is how often two repeats of a case on one release differ. A case that "
        "was not run, or brought no answer, is missing: never the same, never a pass.</p></footer>"
    )


def _cells(tag: str, texts: Iterable[str], numbers: range) -> str:
    right = ("", ' class="figure"')
    return "".join(
        f'<{tag} scope="col"{right[at in numbers]}>{escape(text)}</{tag}>'
        for at, text in enumerate(texts)
    )


def _figure(value: Any, how: Callable[[Any], str], name: str) -> str:
    return f'<td class="figure">{_data(value, how, name)}</td>'


def _data(value: Any, how: Callable[[Any], str], name: str) -> str:
    """Return a figure that is shown in short and holds all its digits."""
    if value is None or math.isnan(value):
        return '<span class="quiet">\N{EN DASH}</span>'
    exact = f'class="of-{name}" value="{value!r}" title="{value!r}"'
    return f"<data {exact}>{escape(how(value))}</data>"


def _count(value: float) -> str:
    return f"{int(value):,}"


def _one_line(text: str) -> str:
    return " ".join(text.split())
