"""The cases of a grid in their order, and what its page must know beside the rows. Pure."""

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
    VERDICTS,
    summary_frame,
    summary_rows,
)
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
from vellum_nb.rendering.html import render
from vellum_nb.search_text import Search, document
from vellum_nb.widgets.grid_rows import label_text, short
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
_NAME, _CHIP = 120, 40
_LABELS, _VALUES = 4, 40
_NAMES = 200  # of failures, for completion
_TICKS = 3
_KINDS = ("better", "same", "noise", "worse", "missing", "unscored", "error")
_MINUS, _TIMES = "\N{MINUS SIGN}", "\N{MULTIPLICATION SIGN}"
_SIGNS = {"better": "+", "same": "=", "noise": "≈", "worse": _MINUS, "missing": "?", "differs": "≠"}
_WORDS = {
    "missing": NO_ANSWER,
    "noise": "within the noise",
    "unscored": "without a figure",
    "error": "where the metric failed",
}


class CaseOrder:
    """The cases of a comparison, ranked by a metric; None: by whether answers differ.

    Worse cases come first, then better, changed, those without an answer, and same ones.

    Attributes
    ----------
    states : dict
        Of each state that can be filtered by, which cases are in it.
    places : list of int
        All cases by rank; within it by how much they lost or won, over all releases.
    """

    def __init__(self, comparison: Comparison, metric: str | None) -> None:
        import numpy as np

        self.comparison, self.metric = comparison, metric
        figures, cases = comparison.figures, comparison.cases
        others = figures.others
        nowhere = np.zeros(len(cases), dtype=bool)
        against = [figures.against[each, metric] for each in others] if metric else []

        def has(*verdicts: str) -> NDArray[np.bool_]:
            codes = [VERDICTS.index(each) for each in verdicts]
            found: NDArray[np.bool_] = np.any(
                [nowhere, *(np.isin(each.codes, codes) for each in against)], axis=0
            )
            return found

        def is_on_any(status: str) -> NDArray[np.bool_]:
            on = (
                np.array(comparison.figures.statuses[each], dtype=object) == status
                for each in others
            )
            found: NDArray[np.bool_] = np.any([nowhere, *on], axis=0)
            return found

        alone = np.array([not case.answers(comparison.baseline) for case in cases], dtype=bool)
        check = figures.checks.get(metric or "")
        disputed = set(check.disagreements["case_id"]) if check else set()
        self.states = {
            "different": is_on_any("differs"),
            "regressions": has("worse"),
            "missing": is_on_any("missing") if others else alone,
            "unstable": figures.unstable,
            "disputed": np.array([case.case_id in disputed for case in cases], dtype=bool),
        }
        worse, better, missing = self.states["regressions"], has("better"), self.states["missing"]
        is_changed = self.states["different"] | has("noise", "error")
        ranks = np.select([worse, better, is_changed, missing], [0, 1, 2, 3], default=4)
        size = np.zeros(len(cases))
        for each in against:
            delta = np.abs(each.delta)
            delta[np.isnan(delta)] = np.nanmax(delta, initial=1.0)  # a run that was rejected
            for rank, verdict in enumerate(("worse", "better")):
                is_so = (ranks == rank) & (each.codes == VERDICTS.index(verdict))
                size += np.where(is_so, delta, 0.0)
        self.places: list[int] = np.lexsort((-size, ranks)).tolist()

    @cached_property
    def labels(self) -> dict[str, Counter[str]]:
        """Label to its values, and how many cases have each."""
        found: dict[str, Counter[str]] = {}
        for case in self.comparison.cases:
            for name, value in case.labels.items():
                if value is not None:
                    found.setdefault(name, Counter())[label_text(value)] += 1
        return found

    @cached_property
    def failures(self) -> list[dict[str, None]]:
        """Of each case the failures that are named or proposed on any release."""
        every = self.comparison.figures.failures
        names = ((name for own in case.values() for e in own for name in e) for case in every)
        return list(map(dict.fromkeys, names))

    def find(
        self,
        states: Sequence[str],
        labels: Mapping[str, Sequence[str]],
        failures: Sequence[str],
        search: str,
    ) -> list[int]:
        """Return the places of cases in any of `states`, with these labels and words, in order.

        Of several `failures` a case has one at least.
        """
        found, cases = self.places, self.comparison.cases
        if states:
            found = [at for at in found if any(self.states[each][at] for each in states)]
        for name, values in labels.items():
            if values:
                found = [at for at in found if label_text(cases[at].labels.get(name)) in values]
        if failures:
            found = [at for at in found if not self.failures[at].keys().isdisjoint(failures)]
        if search:
            looking = Search.of(search)
            found = [at for at in found if _matches(looking, cases[at])]
        return found


def _matches(search: Search, case: Case) -> bool:
    """Return whether a run of the case has all terms in inputs, outputs or error."""
    inputs = json.dumps(dict(case.inputs))
    runs = [run for tries in case.tries.values() for run in tries]
    for outputs, error in [("{}", ""), *((json.dumps(e.outputs), error_text(e)) for e in runs)]:
        raw = f"{inputs} {outputs} {error}".lower()
        if raw.isascii() and "\\u" not in raw:  # much quicker than to normalize it
            words = (word for term in search.terms for word in term.words)
            if not all(word in raw for word in words):
                continue
        if search.matches_document(document(inputs, outputs, error)):
            return True
    return False


def head(
    order: CaseOrder, *, about: str, same: Mapping[str, Sequence[str]], can: Sequence[str]
) -> dict[str, Any]:
    """Return title, columns, filters and the summary; `can` is what the page offers to do."""
    comparison, metric = order.comparison, order.metric
    releases = (comparison.baseline, *comparison.figures.others)
    found = next((each for each in comparison.metrics if each.name == metric), None)
    others = comparison.figures.others
    worse = {each: comparison.figures.result(each, metric).worse for each in others}
    parts = [_name(about)] if about else []
    if found is not None and found.name == "score":
        parts.append("score = share of expected outputs met")
    elif found is not None:
        which = "lower" if found.lower_is_better else "higher"
        parts.append(f"{_name(found.name)}: {which} is better")
    return {
        "title": _name(comparison.deployment),
        "about": " · ".join(parts),
        "baseline": comparison.baseline,
        "columns": [_named(each) | {"worse": worse.get(each, 0)} for each in releases],
        "releases": list(map(_named, comparison.releases)),
        "metrics": [_named(each.name) for each in comparison.metrics],
        "metric": metric or "",
        "can": list(can),
        "filters": [
            {"name": name, "label": label, "count": int(order.states[name].sum())}
            for name, label in STATES.items()
            if (name != "regressions" or metric is not None)
            and (name != "disputed" or order.states[name].any())
        ],
        "labels": [
            {
                "name": name,
                "label": short(visible_name(name), _CHIP),
                "values": [[e, short(e, _CHIP), n] for e, n in values.most_common(_VALUES)],
                "more": max(0, len(values) - _VALUES),
            }
            for name, values in [*order.labels.items()][:_LABELS]
        ],
        "failures": _failures(order),
        "summary": _summary(comparison, metric, same),
        "order": "those that differ first" if metric is None else "regressions first",
        "foot": _foot(comparison, metric),
    }


def _failures(order: CaseOrder) -> dict[str, Any]:
    """Return the failures to filter by, the most frequent first, and all names for completion."""
    counts = Counter(name for own in order.failures for name in own).most_common(_NAMES)
    values = [[name, short(visible_name(name), _CHIP), number] for name, number in counts]
    return {"values": values[:_VALUES], "names": [name for name, _ in counts]}


def _name(name: str) -> str:
    return short(visible_name(name), _NAME)


def _named(name: str) -> dict[str, Any]:
    return {"name": name, "label": _name(name)}


def _foot(comparison: Comparison, metric: str | None) -> str:
    if metric is None:
        return "no metric: give metrics=… or rate answers to see what is better"
    cluster, text = comparison.cluster, "sign test over cases with a difference"
    text = f"p of the mean difference, by {_name(cluster)}" if cluster else text
    has_band = any(
        comparison.figures.result(each, metric).noise_band is not None
        for each in comparison.figures.others
    )
    noise = " · a difference inside the grey band is noise between repeats of one release"
    return text + noise if has_band else text


def _summary(comparison: Comparison, metric: str | None, same: Mapping[str, Sequence[str]]) -> str:
    """Return the releases against the baseline as HTML: counts, intervals and figures."""
    known: list[Any] = summary_frame(summary_rows(comparison.figures)).to_dict("records")
    rows = dict(zip(comparison.releases, known, strict=True))
    axis = None if metric is None else _axis(rows, f"metric.{metric}")
    releases = (comparison.baseline, *comparison.figures.others)
    moved = "moved while these runs were made: each release that it pointed at has its own column"
    return render(
        "grid_summary.html.j2",
        icon=icon,
        notes=[
            *(f"{_name(tag)} {moved}" for tag in comparison.moved_tags),
            *comparison.figures.notes,
        ],
        metric="" if metric is None else _name(metric),
        cases=len(comparison.cases),
        axis=axis,
        rows=[
            {"name": each, "label": _name(each), "same": list(map(_name, same.get(each, ())))}
            | {"nodes": _first_changed(rows[each])}
            | _counts(comparison, each, metric)
            | _figures(comparison, each, metric, rows)
            | (_plot(axis, f"metric.{metric}", each == releases[0], rows[each]) if axis else {})
            for each in releases
        ],
    )


def _first_changed(row: Mapping[str, Any]) -> str:
    """Return in words which nodes are the first that differ, and in how many cases."""
    found = [(name, n) for name, n in row.items() if name.startswith(FIRST_CHANGED) and n > 0]
    if not found:
        return ""
    words = ", ".join(f"{_name(name.removeprefix(FIRST_CHANGED))} {n:,.0f}" for name, n in found)
    traced = plural(int(row["traced"]), "case")
    return f"first changed node: {short(words, 240)}, of {traced} traced"


def _counts(comparison: Comparison, release: str, metric: str | None) -> dict[str, Any]:
    """Return how the cases of a release fare: parts of a bar, words and a remark."""
    if release == comparison.baseline:
        answered = [len(case.answers(release)) for case in comparison.cases]
        repeats, missing = max(answered, default=0), answered.count(0)
        words = plural(len(answered), "case") + (
            f" {_TIMES} {repeats:,} repeats" if repeats > 1 else ""
        )
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
        always, unknown, remark = {"differs", "same"}, counts["missing"], ""
    else:
        counts = {each: getattr(result, each) for each in _KINDS}
        words_of, always = _WORDS, {"better", "same", "worse"}
        unknown = counts["missing"] + counts["unscored"] + counts["error"]
        remark = short(result.remark, 240)
    sizes = {**counts, "missing": unknown}
    return {
        "parts": [(kind, _SIGNS[kind], sizes[kind]) for kind in counts if kind in _SIGNS],
        "words": [f"{n:,} {words_of.get(e, e)}" for e, n in counts.items() if n or e in always],
        "remark": remark,
    }


def _figures(
    comparison: Comparison, release: str, metric: str | None, rows: Mapping[str, Any]
) -> dict[str, str]:
    """Return mean, p value, latency and cost of a release, and how they differ."""
    row, base = rows[release], rows[comparison.baseline]
    slower, cost = row["latency_p50"] - base["latency_p50"], row["cost_usd"]
    dearer = cost / base["cost_usd"] - 1 if base["cost_usd"] else math.nan
    found = {
        "latency": duration(row["latency_p50"]),
        "latency_delta": _delta(slower, duration(abs(slower))),
        "cost": "" if math.isnan(cost) else money(cost, [e["cost_usd"] for e in rows.values()]),
        "cost_delta": _delta(dearer, percent(abs(dearer))),
    }
    if metric is None:
        return found
    mean, delta = row[f"metric.{metric}"], row[f"metric.{metric}.delta"]
    own, by = (
        interval_digits(rows.values(), f"metric.{metric}.{low}", f"metric.{metric}.{high}")
        for low, high in (("low", "high"), ("delta_low", "delta_high"))
    )
    is_base = release == comparison.baseline
    result = comparison.figures.result(release, metric)
    of_mean = "" if result.p is None else f"; of the mean difference {p_value(result.p)}"
    low, high, number = (row[f"metric.{metric}.{end}"] for end in ("low", "high", "n"))
    interval = "no" if math.isnan(low) else f"{figure(low)} to {figure(high)}, the 95 %"
    corrected = (
        ", corrected for several releases (Holm)" if len(comparison.figures.others) > 1 else ""
    )
    return found | {
        "mean": figure(mean, digits=own),
        "mean_title": f"{interval} interval, n = {number:,}",
        "mean_delta": signed(delta, max(abs(mean), abs(delta)), by) if abs(delta) > 0 else "",
        "p": "" if is_base else p_value(result.sign_p),
        "p_title": "" if is_base else f"of better against worse cases{of_mean}{corrected}",
    }


def _delta(by: float, text: str) -> str:
    """Return a difference with its sign; nothing for a difference of zero."""
    visible = abs(by) >= 0.0005  # noqa: PLR2004  (half a millisecond, a twentieth of a percent)
    return f"{_MINUS if by < 0 else '+'}{text}" if visible else ""


def _axis(rows: Mapping[str, Mapping[str, Any]], name: str) -> dict[str, Any] | None:
    """Return the axis of the differences: where it begins and ends, and its ticks."""
    names = [f"{name}.{each}" for each in ("delta_low", "delta_high", "noise")]
    low, high, bands = ([r[n] for r in rows.values() if not math.isnan(r[n])] for n in names)
    ends = [0.0, *low, *high, *bands, *(-each for each in bands)]
    size = max(ends) - min(ends)
    if size <= 0:
        return None
    axis = {"low": min(ends) - 0.06 * size, "size": 1.12 * size, "band": max(bands, default=0.0)}
    rough = size / _TICKS * 0.999
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(power * each for each in (1, 2, 2.5, 5, 10) if power * each >= rough)
    marks = range(math.ceil(min(ends) / step - 1e-9), math.floor(max(ends) / step + 1e-9) + 1)
    ticks = [(_at(axis, mark * step), signed(mark * step) if mark else "0") for mark in marks]
    return axis | {"ticks": ticks, "zero": _at(axis, 0.0)}


def _at(axis: Mapping[str, Any], value: float) -> float:
    return float(round(100 * (value - axis["low"]) / axis["size"], 2))


def _plot(
    axis: Mapping[str, Any],
    name: str,
    is_base: bool,  # noqa: FBT001
    row: Mapping[str, Any],
) -> dict[str, Any]:
    """Return interval and noise band of a release on `axis`; the baseline has the widest band."""
    band = axis["band"] if is_base else row[f"{name}.noise"]
    ends = [row[f"{name}.{each}"] for each in ("delta_low", "delta", "delta_high")]
    has_interval = not any(map(math.isnan, ends))
    text = ""
    if has_interval:
        text = f"difference {signed(ends[1])}, 95 % interval {signed(ends[0])} to {signed(ends[2])}"
    elif is_base and band:
        text = f"noise floor ± {figure(band)}"
    return {
        "plot": text,
        "band": [_at(axis, -band), _at(axis, band)] if band > 0 else None,
        "interval": [_at(axis, each) for each in ends] if has_interval else None,
    }
