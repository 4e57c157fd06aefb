"""What the grid's page must know beside the rows: heading, summary, filters, columns."""

from __future__ import annotations

from collections import Counter
from typing import Any

from vellum_nb.experiments import Comparison
from vellum_nb.widgets.grid.exports import formats
from vellum_nb.widgets.grid.hands import Hands
from vellum_nb.widgets.grid.pieces import short
from vellum_nb.widgets.grid.shelf import Shelf
from vellum_nb.widgets.grid.summary import summary
from vellum_nb.widgets.markup import shown_name

__all__ = ["head", "outline"]

_NAME = 120
_LABELS, _VALUES = 4, 40
_WORDS = {
    "chosen": "Chosen",
    "different": "Only different",
    "regressions": "Regressions",
    "missing": "Missing",
    "unstable": "Unstable",
}


def head(comparison: Comparison, shelf: Shelf, hands: Hands) -> dict[str, Any]:
    """Return it, as plain values."""
    metric = shelf.metric
    filters = [
        {"name": name, "label": label, "count": shelf.count(name)}
        for name, label in _WORDS.items()
        if (name != "regressions" or metric is not None)
        and (name != "chosen" or shelf.count("chosen"))
    ]
    return outline(comparison, metric, hands) | {
        "filters": filters,
        "labels": [_label(name, values) for name, values in [*shelf.labels.items()][:_LABELS]],
        "summary": summary(comparison, metric, hands),
        "order": "regressions first" if metric is not None else "those that differ first",
        "foot": _foot(comparison, metric),
    }


def outline(comparison: Comparison, metric: str | None, hands: Hands) -> dict[str, Any]:
    """Return what is known without any figure: names, and what can be done."""
    return {
        "title": short(shown_name(comparison.deployment), _NAME),
        "about": _about(comparison, metric, hands),
        "baseline": comparison.baseline,
        "columns": [
            {"name": each, "label": short(shown_name(each), _NAME)}
            for each in (comparison.baseline, *comparison.others)
        ],
        "releases": [
            {"name": each, "label": short(shown_name(each), _NAME)} for each in comparison.releases
        ],
        "metrics": [
            {"name": each.name, "label": short(shown_name(each.name), _NAME)}
            for each in comparison.metrics
        ],
        "formats": formats(comparison),
        "metric": metric or "",
        "can": [name for name in ("rate", "blind") if getattr(hands, name) is not None],
    }


def _about(comparison: Comparison, metric: str | None, hands: Hands) -> str:
    parts = [short(shown_name(hands.about), _NAME)] if hands.about else []
    found = None if metric is None else next(m for m in comparison.metrics if m.name == metric)
    if found is not None and found.name == "score":
        parts.append("score = share of expected outputs met")
    elif found is not None:
        which = "lower" if found.lower_is_better else "higher"
        parts.append(f"{short(shown_name(found.name), _NAME)}: {which} is better")
    return " · ".join(parts)


def _label(name: str, values: Counter[str]) -> dict[str, Any]:
    return {
        "name": name,
        "label": short(shown_name(name), 40),
        "values": [[value, short(value, 40), n] for value, n in values.most_common(_VALUES)],
        "more": max(0, len(values) - _VALUES),
    }


def _foot(comparison: Comparison, metric: str | None) -> str:
    if metric is None:
        return "nothing tells better from worse here: give metrics=… or rate answers"
    text = "sign test over cases with a difference"
    has_band = any(comparison.against(each, metric).band is not None for each in comparison.others)
    noise = " · a difference inside the grey band is noise between repeats of one release"
    return text + noise if has_band else text
