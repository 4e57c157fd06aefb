"""Order of the cases in a grid, and the heading of its page."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Mapping, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, Any

from vellum_nb.comparison import Comparison
from vellum_nb.comparison.cases import Case, error_text
from vellum_nb.comparison.figures import (
    FIRST_CHANGED,
    NO_ANSWER,
    summary_frame,
    summary_rows,
)
from vellum_nb.comparison.forest import Axis, Difference, difference, difference_bounds
from vellum_nb.comparison.pairs import VERDICTS, Against
from vellum_nb.rendering.format import (
    cut,
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
from vellum_nb.rendering.html import render
from vellum_nb.search_text import Search, document
from vellum_nb.widgets.grid_lines import label_text
from vellum_nb.widgets.grid_verdicts import verdicts_html
from vellum_nb.widgets.markup import icon

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

STATES = {
    "different": "Different",
    "regressions": "Regressions",
    "missing": "No answer",
    "unstable": "Unstable",
    "disputed": "Judge disagrees",
}
_MAX_NAME_CHARS, _MAX_CHIP_CHARS = 120, 40
_LABELS, _VALUES = 4, 40
_FEW, _MAX_VALUES = 6, 40  # values of a label with a filter; many values group several cases each
_MAX_FAILURE_NAMES = 200  # for completion
_MAX_TICKS = 4
_KINDS = ("better", "same", "noise", "worse", "missing", "unscored", "error")
_MINUS, _TIMES = "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"
_SIGNS = {
    "better": "↑ ",
    "same": "= ",
    "noise": "≈ ",
    "worse": "↓ ",
    "missing": "⊘ ",
    "differs": "≠ ",
}
_WORDS = {
    "missing": NO_ANSWER,
    "noise": "within the noise",
    "unscored": "without a figure",
    "error": "with a failed metric",
}


class CaseOrder:
    """Cases of a comparison, ordered by a metric or, without a metric, by changed answers.

    Worse cases first, then unanswered, unstable, better, changed and identical ones; without a
    metric, changed ones first. `places` are sorted by rank and total difference.
    """

    def __init__(self, comparison: Comparison, metric: str | None) -> None:
        import numpy as np

        self.comparison, self.metric = comparison, metric
        self._nowhere = np.zeros(len(comparison.cases), dtype=bool)
        self._states: dict[str, dict[str, NDArray[np.bool_]]] = {}
        states, compared = self.states(), comparison.figures.others
        worse, better = states["regressions"], self._has(compared, "better")
        is_changed = states["different"] | self._has(compared, "noise", "error")
        ranks = np.select(
            [worse, states["missing"], states["unstable"], better, is_changed]
            if metric
            else [is_changed, states["missing"]],
            range(5) if metric else range(2),
            default=5,
        )
        size = np.zeros(len(comparison.cases))
        for pairs in self._against(compared):
            delta = np.abs(pairs.delta)
            delta[np.isnan(delta)] = np.nanmax(delta, initial=1.0)  # a rejected run has no figure
            for rank, verdict in ((0, "worse"), (3, "better")):
                is_so = (ranks == rank) & (pairs.codes == VERDICTS.index(verdict))
                size += np.where(is_so, delta, 0.0)
        self.places: list[int] = np.lexsort((-size, ranks)).tolist()

    def states(self, release: str = "") -> dict[str, NDArray[np.bool_]]:
        """Return a Boolean per case for each of `STATES`, on any release or on one."""
        import numpy as np

        comparison, figures = self.comparison, self.comparison.figures
        compared = (release,) if release in figures.others else figures.others
        key = release if release in figures.others else ""
        if key not in self._states:
            cases = comparison.cases
            alone = np.array([not case.answers(comparison.baseline) for case in cases], dtype=bool)
            check = figures.checks.get(self.metric or "")
            disputed = set(check.disagreements["case_id"]) if check else set()
            self._states[key] = {
                "different": self._is(compared, "differs"),
                "regressions": self._has(compared, "worse"),
                "missing": self._is(compared, "missing") if compared else alone,
                "unstable": figures.unstable,
                "disputed": np.array([case.case_id in disputed for case in cases], dtype=bool),
            }
        return self._states[key]

    def _against(self, releases: Sequence[str]) -> list[Against]:
        figures, metric = self.comparison.figures, self.metric
        return [figures.against[release, metric] for release in releases] if metric else []

    def _has(self, releases: Sequence[str], *verdicts: str) -> NDArray[np.bool_]:
        """Return whether each case has one of `verdicts` on any of `releases`."""
        import numpy as np

        codes = [VERDICTS.index(verdict) for verdict in verdicts]
        on = [np.isin(pairs.codes, codes) for pairs in self._against(releases)]
        matching: NDArray[np.bool_] = np.any([self._nowhere, *on], axis=0)
        return matching

    def _is(self, releases: Sequence[str], status: str) -> NDArray[np.bool_]:
        """Return whether each case has `status` on any of `releases`."""
        import numpy as np

        statuses = self.comparison.figures.statuses
        on = [np.array(statuses[release], dtype=object) == status for release in releases]
        matching: NDArray[np.bool_] = np.any([self._nowhere, *on], axis=0)
        return matching

    @cached_property
    def labels(self) -> dict[str, Counter[str]]:
        """Number of cases per label and value."""
        counters: dict[str, Counter[str]] = {}
        for case in self.comparison.cases:
            for name, value in case.labels.items():
                if value is not None:
                    counters.setdefault(name, Counter())[label_text(value)] += 1
        return counters

    @cached_property
    def failures(self) -> list[dict[str, None]]:
        """Failures of each case, named or proposed on any release."""
        failures = self.comparison.figures.failures
        return [
            dict.fromkeys(name for both in case.values() for names in both for name in names)
            for case in failures
        ]

    def find(
        self,
        states: Sequence[str],
        labels: Mapping[str, Sequence[str]],
        failures: Sequence[str],
        search: str,
        release: str = "",
    ) -> list[int]:
        """Return the ordered places of the matching cases.

        A case matches any of `states` (on `release`, if given), any of `failures`, and all labels
        and search terms.
        """
        places, cases = self.places, self.comparison.cases
        if states:
            on = self.states(release)
            places = [at for at in places if any(on[state][at] for state in states)]
        for name, values in labels.items():
            if values:
                places = [at for at in places if label_text(cases[at].labels.get(name)) in values]
        if failures:
            places = [at for at in places if not self.failures[at].keys().isdisjoint(failures)]
        if search:
            looking = Search.of(search)
            places = [at for at in places if _matches(looking, cases[at])]
        return places


def _matches(search: Search, case: Case) -> bool:
    """Return whether a run of the case has all terms in its inputs, outputs or error."""
    runs = [run for tries in case.tries.values() for run in tries]
    texts = [dict(case.inputs), *(run.outputs for run in runs), *map(error_text, runs)]
    if not _may_match(search, json.dumps(texts)):
        return False
    inputs = json.dumps(dict(case.inputs))
    return any(
        _may_match(search, f"{inputs} {outputs} {error}")
        and search.matches_document(document(inputs, outputs, error))
        for outputs, error in [("{}", ""), *((json.dumps(e.outputs), error_text(e)) for e in runs)]
    )


def _may_match(search: Search, text: str) -> bool:
    """Return False if an ASCII text lacks a word; much faster than normalizing the text."""
    raw = text.lower()
    if not raw.isascii() or "\\u" in raw:
        return True
    return all(word in raw for term in search.terms for word in term.words)


def head(
    order: CaseOrder, *, about: str, aliases: Mapping[str, Sequence[str]], can: Sequence[str]
) -> dict[str, Any]:
    """Return title, columns, filters and summary of the page; `can` lists its actions."""
    comparison, metric = order.comparison, order.metric
    releases = (comparison.baseline, *comparison.figures.others)
    ranked_by = next((m for m in comparison.metrics if m.name == metric), None)
    records: list[Any] = summary_frame(summary_rows(comparison.figures)).to_dict("records")
    rows = dict(zip(comparison.releases, records, strict=True))
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
            _named(release) | {"remark": _counts_text(comparison, release, metric)}
            for release in releases
        ],
        "releases": list(map(_named, comparison.releases)),
        "metrics": [_named(m.name) for m in comparison.metrics],
        "metric": metric or "",
        "can": list(can),
        "filters": [
            {"name": name, "label": label, "count": int(order.states()[name].sum())}
            for name, label in STATES.items()
            if (name != "regressions" or metric is not None)
            and (name != "disputed" or order.states()[name].any())
        ],
        "labels": [
            {
                "name": name,
                "label": cut(visible_name(name), _MAX_CHIP_CHARS),
                "values": [_option(value, n) for value, n in values.most_common()],
            }
            for name, values in [(n, v) for n, v in order.labels.items() if _is_few(v)][:_LABELS]
        ],
        "failures": _failures(order),
        "verdicts": verdicts_html(comparison, rows, can_rate="blind" in can),
        "summary": _summary(comparison, metric, rows, aliases),
        "order": "those that differ first" if metric is None else "regressions first",
        "foot": _foot(comparison, metric),
    }


def _option(value: str, count: int) -> tuple[str, str]:
    """Return a value of a filter with its text."""
    return value, f"{cut(visible_name(value), _MAX_CHIP_CHARS)} ({count:,})"


def _counts_text(comparison: Comparison, release: str, metric: str | None) -> str:
    """Return the counts of a candidate for the heading of its column."""
    if release == comparison.baseline:
        return "baseline"
    parts = _counts(comparison, release, metric)["parts"]
    return "  ".join(f"{sign}{count:,}" for _, sign, count in parts if count)


def _is_few(values: Counter[str]) -> bool:
    """Return whether a label has few values: groups of cases, not ids."""
    return len(values) <= _FEW or len(values) <= min(_MAX_VALUES, values.total() / 2)


def _failures(order: CaseOrder) -> dict[str, Any]:
    """Return the most frequent failures as filters, and all names for completion."""
    counts = Counter(name for names in order.failures for name in names).most_common(
        _MAX_FAILURE_NAMES
    )
    values = [_option(name, number) for name, number in counts[:_VALUES]]
    return {"values": values, "names": [name for name, _ in counts]}


def _name(name: str) -> str:
    return cut(visible_name(name), _MAX_NAME_CHARS)


def _named(name: str) -> dict[str, Any]:
    return {"name": name, "label": _name(name)}


def _foot(comparison: Comparison, metric: str | None) -> str:
    if metric is None:
        return "no metric: set metrics=… or rate answers to see improvements"
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
            | _counts(comparison, tag, metric)
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


def _counts(comparison: Comparison, release: str, metric: str | None) -> dict[str, Any]:
    """Return the counts of the cases of a release as parts of a bar, words and a remark."""
    if release == comparison.baseline:
        answered = [len(case.answers(release)) for case in comparison.cases]
        repeats, missing = max(answered, default=0), answered.count(0)
        words = plural(len(answered), "case")
        words += f" {_TIMES} {repeats:,} repeats" if repeats > 1 else ""
        return {"counts": words, "remark": f"{missing:,} {NO_ANSWER}" if missing else ""}
    counts: dict[str, int]
    result = comparison.figures.result(release, metric)
    if metric is None:
        counts = {"differs": result.changed, "same": result.unchanged, "missing": result.missing}
        words_of = {
            "differs": "differs" if counts["differs"] == 1 else "differ",
            "same": "identical",
            "missing": NO_ANSWER,
        }
        always, unknown = {"differs", "same"}, counts["missing"]
    else:
        counts = {kind: getattr(result, kind) for kind in _KINDS}
        words_of, always = _WORDS, {"better", "same", "worse"}
        unknown = counts["missing"] + counts["unscored"] + counts["error"]
    sizes = {**counts, "missing": unknown}
    return {
        "parts": [(kind, _SIGNS[kind], sizes[kind]) for kind in counts if kind in _SIGNS],
        "words": [f"{n:,} {words_of.get(e, e)}" for e, n in counts.items() if n or e in always],
        "remark": cut(result.remark, 240) if metric else "",
    }


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
