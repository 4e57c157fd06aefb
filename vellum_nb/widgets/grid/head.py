"""What the page must know of a comparison beside the rows: summary, filters, actions."""

from __future__ import annotations

import inspect
import math
from collections import Counter
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from vellum_nb.comparison import Comparison
from vellum_nb.comparison.cases import Case
from vellum_nb.comparison.figures import Against
from vellum_nb.errors import HistoryError, VellumNBError
from vellum_nb.files import replacing
from vellum_nb.models import Run
from vellum_nb.rendering.format import duration, figure, money, p_value, signed, visible_name
from vellum_nb.widgets.base import export_target
from vellum_nb.widgets.grid.order import CaseOrder
from vellum_nb.widgets.grid.rows import short
from vellum_nb.widgets.results import Rate, Trace

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = [
    "FORMATS",
    "Callbacks",
    "Subscribe",
    "export",
    "export_result",
    "formats",
    "head",
    "named",
    "summary",
]

FORMATS = {
    "csv": ("to_csv", ".csv", "CSV"),
    "html": ("to_html", ".html", "HTML"),
    "markdown": ("to_markdown", ".md", "Markdown"),
    "parquet": ("to_parquet", ".parquet", "Parquet"),
}


def formats(comparison: Comparison) -> list[dict[str, str]]:
    """Return what `comparison` can be written as."""
    return [
        {"name": name, "suffix": suffix, "label": label}
        for name, (method, suffix, label) in FORMATS.items()
        if hasattr(comparison, method)
    ]


def export(comparison: Comparison, kind: object, path: object, folder: Path | None) -> Path:
    """Write `comparison` as one of `FORMATS`; return the file.

    Raises
    ------
    HistoryError
        There is no such format, `path` is no name, or there is such a file already.
    """
    known = {each["name"] for each in formats(comparison)}
    if not isinstance(kind, str) or kind not in known:
        msg = f"a comparison is written as {', '.join(sorted(known))}, not as {kind!r:.60}"
        raise HistoryError(msg)
    method_name, suffix, _ = FORMATS[kind]
    target = export_target(path, suffix, folder)
    method = getattr(comparison, method_name)
    if "path" in inspect.signature(method).parameters:
        method(target)
    else:
        with replacing(target) as file:
            file.write(method())
    return target


def export_result(
    comparison: Comparison, kind: object, path: object, folder: Path | None
) -> dict[str, Any]:
    """Write it, and return what the page is told: where it is, or what went wrong."""
    try:
        written = export(comparison, kind, path, folder)
    except (OSError, ImportError, VellumNBError) as exc:
        return {"error": str(exc)}
    return {"path": str(written), "count": len(comparison.cases)}


class Subscribe(Protocol):
    """Takes what is called with each run that changes, and once after many; as a history does."""

    def __call__(
        self, callback: Callable[[Run], None], *, on_bulk_change: Callable[[], None] | None = None
    ) -> Callable[[], None]:
        """Return how to stop that."""


@dataclass(frozen=True, slots=True)
class Callbacks:
    """What a grid can do beside showing; what is None is not offered.

    Attributes
    ----------
    rate : callable, optional
        Called with a run, a quality and desired outputs; returns the run as it is then.
    trace : callable, optional
        Reads the nodes of a run.
    replay : callable, optional
        Called with a case and a release tag; runs the case there and returns the run.
    blind : callable, optional
        Called with the comparison and two of its releases; returns the widget of their blind
        rating.
    subscribe : callable, optional
        Calls back with each run that is rated elsewhere, and once after many; as
        `History.subscribe`.
    again : callable, optional
        Called with ids; returns the runs that there are of these, as they are now.
    about : str
        What the comparison is of, in a word or two, for the heading.
    same : mapping
        Release to the other tags that are on it.
    """

    rate: Rate | None = None
    trace: Trace | None = None
    replay: Callable[[Case, str], Run] | None = None
    blind: Callable[[Any, tuple[str, str]], Any] | None = None
    subscribe: Subscribe | None = None
    again: Callable[[Collection[str]], list[Run]] | None = None
    about: str = ""
    same: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def replayed(self, comparison: Comparison) -> frozenset[str]:
        """Return the releases on which a case can be run: those that a tag names alone."""
        if self.replay is None or comparison.by != "release_tag":
            return frozenset()
        tags = set(comparison.release_tags) - set(comparison.moved_tags)
        return frozenset(tags & set(comparison.releases))


_NAME = 120
_TICKS = 3


def summary(comparison: Comparison, metric: str | None, callbacks: Callbacks) -> dict[str, Any]:
    """Return the summary as it travels."""
    releases = (comparison.baseline, *comparison.others)
    axis = _axis(comparison, metric)
    costs = _Costs(comparison)
    return {
        "metric": "" if metric is None else short(visible_name(metric), _NAME),
        "axis": axis,
        "band": _band(comparison, metric),
        "cases": len(comparison.cases),
        "releases": [_release(comparison, each, metric, callbacks, costs) for each in releases],
        "notes": [
            f"{short(visible_name(tag), _NAME)} moved while these runs were made: "
            "each release that it pointed at has a column of its own."
            for tag in comparison.moved_tags
        ],
    }


def _release(
    comparison: Comparison, release: str, metric: str | None, callbacks: Callbacks, costs: _Costs
) -> dict[str, Any]:
    is_baseline = release == comparison.baseline
    texts = _baseline(comparison) if is_baseline else _other(comparison, release, metric)
    return {
        **named(comparison, release, callbacks),
        **texts,
        **_mean(comparison, release, metric),
        **costs.texts(release),
    }


def named(comparison: Comparison, release: str, callbacks: Callbacks) -> dict[str, Any]:
    """Return what a release is called, without any figure."""
    return {
        "name": release,
        "label": short(visible_name(release), _NAME),
        "same": [short(visible_name(each), _NAME) for each in callbacks.same.get(release, ())],
        "baseline": release == comparison.baseline,
    }


def _baseline(comparison: Comparison) -> dict[str, Any]:
    release = comparison.baseline
    answered = [len(case.answers(release)) for case in comparison.cases]
    missing = answered.count(0)
    most, number = max(answered, default=0), len(answered)
    words = f"{number:,} case{'' if number == 1 else 's'}"
    words += f" \N{MULTIPLICATION SIGN} {most:,} repeats" if most > 1 else ""
    remark = f"{missing:,} missing" if missing else ""
    return {"parts": [], "counts": words, "words": "the others are compared with it"} | {
        "remark": remark,
        "interval": None,
        "p": "",
        "p_told": "",
        "worse": 0,
    }


def _other(comparison: Comparison, release: str, metric: str | None) -> dict[str, Any]:
    if metric is None:
        return _by_outputs(comparison, release)
    against = comparison.against(release, metric)
    counts = against.counts
    unknown = counts["missing"] + counts["unscored"] + counts["error"]
    parts = [
        ("better", "+", counts["better"]),
        ("same", "=", counts["same"]),
        ("noise", "≈", counts["noise"]),
        ("worse", "\N{MINUS SIGN}", counts["worse"]),
        ("missing", "?", unknown),
    ]
    words = [("better", "better"), ("same", "same"), ("noise", "within the noise")]
    words += [("worse", "worse"), ("missing", "missing"), ("unscored", "without a figure")]
    words += [("error", "where the metric failed")]
    p = comparison.p(release, metric, signs=True)
    return {
        "parts": [[kind, f"{sign}{n:,}", n] for kind, sign, n in parts if n],
        "counts": "",
        "words": " · ".join(
            f"{n:,} {word}"
            for name, word in words
            if (n := counts[name]) or name in {"better", "same", "worse"}  # type: ignore[index]
        ),
        "remark": _remark(comparison, release, metric),
        "interval": _interval(against),
        "p": p_value(p),
        "p_told": _p_title(comparison, release, metric),
        "worse": counts["worse"],
    }


def _by_outputs(comparison: Comparison, release: str) -> dict[str, Any]:
    kinds = ("differs", "same", "missing")
    counts = {kind: comparison.count(release, kind) for kind in kinds}
    signs = {"differs": "≠", "same": "=", "missing": "?"}
    differ = "differs" if counts["differs"] == 1 else "differ"
    words = [f"{counts['differs']:,} {differ}", f"{counts['same']:,} same"]
    words += [f"{counts['missing']:,} missing"] if counts["missing"] else []
    return {
        "parts": [[kind, f"{signs[kind]}{n:,}", n] for kind, n in counts.items() if n],
        "counts": "",
        "words": " · ".join(words),
        "remark": "",
        "interval": None,
        "p": "",
        "p_told": "",
        "worse": 0,
    }


def _remark(comparison: Comparison, release: str, metric: str) -> str:
    return short(comparison.remark(release, metric), 240)


def _interval(against: Against) -> list[float] | None:
    found = against.change
    values = [found.low, found.mean, found.high]
    return None if any(math.isnan(each) for each in values) else values


def _band(comparison: Comparison, metric: str | None) -> dict[str, Any] | None:
    """Return the widest noise floor, which stands at the baseline, and that of each release."""
    if metric is None:
        return None
    bands = {each: comparison.against(each, metric).band for each in comparison.others}
    known = {name: band for name, band in bands.items() if band is not None}
    if not known:
        return None
    widest = max(known.values())
    means = [abs(comparison.against(each, metric).change.mean) for each in known]
    text = figure(widest, like=max([widest, *(each for each in means if not math.isnan(each))]))
    return {"widest": widest, "text": f"noise floor ± {text}", "of": known}


def _axis(comparison: Comparison, metric: str | None) -> dict[str, Any] | None:
    if metric is None:
        return None
    ends = [0.0]
    for each in comparison.others:
        against = comparison.against(each, metric)
        ends += _interval(against) or []
        ends += [] if against.band is None else [against.band, -against.band]
    low, high = min(ends), max(ends)
    if high - low <= 0:
        return None
    room = 0.06 * (high - low)
    step = _step((high - low) / _TICKS)
    first = math.ceil(low / step - 1e-9)
    ticks = [at * step for at in range(first, math.floor(high / step + 1e-9) + 1)]
    labels = ["0" if abs(tick) < step / 2 else signed(tick) for tick in ticks]
    return {
        "low": low - room,
        "high": high + room,
        "ticks": [list(each) for each in zip(ticks, labels, strict=True)],
    }


def _step(rough: float) -> float:
    """Return a round number near `rough`: 1, 2, 2.5 or 5 times a power of ten."""
    power: float = 10.0 ** math.floor(math.log10(rough))
    return next(power * each for each in (1, 2, 2.5, 5, 10) if power * each >= rough * 0.999)


def _mean(comparison: Comparison, release: str, metric: str | None) -> dict[str, Any]:
    if metric is None:
        return {"mean": "", "mean_delta": ""}
    import numpy as np

    scored = comparison.scored(metric)
    values = scored.mean[:, comparison.releases.index(release)]
    values = values[~np.isnan(values)]
    if not len(values):
        return {"mean": "—", "mean_delta": ""}
    is_baseline = release == comparison.baseline
    change = math.nan if is_baseline else comparison.against(release, metric).change.mean
    mean = float(values.mean())
    delta = (
        "" if math.isnan(change) or not change else signed(change, like=max(abs(mean), abs(change)))
    )
    return {"mean": figure(mean), "mean_delta": delta}


def _p_title(comparison: Comparison, release: str, metric: str) -> str:
    p = comparison.p(release, metric)
    corrected = ", corrected for several releases (Holm)" if len(comparison.others) > 1 else ""
    mean = "" if p is None else f"; of the mean difference {p_value(p)}"
    return f"sign test over cases with a difference{mean}{corrected}"


class _Costs:
    """Median latency and mean cost of each release, over all answers."""

    def __init__(self, comparison: Comparison) -> None:
        import numpy as np

        answers = comparison.answers[comparison.answers["is_answer"]]
        self._columns = {each: at for at, each in enumerate(comparison.releases)}
        self._release = answers["release"].to_numpy()
        self._seconds = answers["latency_s"].to_numpy(dtype=np.float64)
        self._dollars = answers["cost_usd"].to_numpy(dtype=np.float64)
        self._baseline = comparison.baseline
        self._median, self._average = np.median, np.mean

    def _of(self, values: NDArray[np.float64], release: str, how: Any) -> float | None:
        found = values[self._release == self._columns[release]]
        found = found[found == found]  # noqa: PLR0124  (NaN)
        return float(how(found)) if len(found) else None

    def texts(self, release: str) -> dict[str, str]:
        seconds, before = (
            self._of(self._seconds, each, self._median) for each in (release, self._baseline)
        )
        cost, cost_before = (
            self._of(self._dollars, each, self._average) for each in (release, self._baseline)
        )
        both = release != self._baseline and seconds is not None and before is not None
        known = release != self._baseline and cost is not None and cost_before
        return {
            "latency": duration(seconds),
            "latency_delta": _longer(seconds, before) if both else "",  # type: ignore[arg-type]
            "cost": "" if cost is None else money(cost),
            "cost_delta": _dearer(cost, cost_before) if known else "",  # type: ignore[arg-type]
        }


def _longer(seconds: float, before: float) -> str:
    by = seconds - before
    if abs(by) < 0.0005:  # noqa: PLR2004  (half a millisecond)
        return ""
    sign = "\N{MINUS SIGN}" if by < 0 else "+"
    in_seconds = f"{abs(by):.2f}"
    return f"{sign}{in_seconds if seconds >= 1 else duration(abs(by))}"


def _dearer(cost: float, before: float) -> str:
    percent = 100 * (cost / before - 1)
    sign = "\N{MINUS SIGN}" if percent < 0 else "+"
    return f"{sign}{abs(percent):,.0f} %"


_NAME = 120
_LABELS, _VALUES = 4, 40
_WORDS = {
    "chosen": "Chosen",
    "different": "Only different",
    "regressions": "Regressions",
    "missing": "Missing",
    "unstable": "Unstable",
}


def head(comparison: Comparison, order: CaseOrder, callbacks: Callbacks) -> dict[str, Any]:
    """Return it, as plain values."""
    metric = order.metric
    filters = [
        {"name": name, "label": label, "count": order.count(name)}
        for name, label in _WORDS.items()
        if (name != "regressions" or metric is not None)
        and (name != "chosen" or order.count("chosen"))
    ]
    return {
        "title": short(visible_name(comparison.deployment), _NAME),
        "about": _about(comparison, metric, callbacks),
        "baseline": comparison.baseline,
        "columns": [
            {"name": each, "label": short(visible_name(each), _NAME)}
            for each in (comparison.baseline, *comparison.others)
        ],
        "releases": [
            {"name": each, "label": short(visible_name(each), _NAME)}
            for each in comparison.releases
        ],
        "metrics": [
            {"name": each.name, "label": short(visible_name(each.name), _NAME)}
            for each in comparison.metrics
        ],
        "formats": formats(comparison),
        "metric": metric or "",
        "can": [name for name in ("rate", "blind") if getattr(callbacks, name) is not None],
        "filters": filters,
        "labels": [_label(name, values) for name, values in [*order.labels.items()][:_LABELS]],
        "summary": summary(comparison, metric, callbacks),
        "order": "regressions first" if metric is not None else "those that differ first",
        "foot": _foot(comparison, metric),
    }


def _about(comparison: Comparison, metric: str | None, callbacks: Callbacks) -> str:
    parts = [short(visible_name(callbacks.about), _NAME)] if callbacks.about else []
    found = None if metric is None else next(m for m in comparison.metrics if m.name == metric)
    if found is not None and found.name == "score":
        parts.append("score = share of expected outputs met")
    elif found is not None:
        which = "lower" if found.lower_is_better else "higher"
        parts.append(f"{short(visible_name(found.name), _NAME)}: {which} is better")
    return " · ".join(parts)


def _label(name: str, values: Counter[str]) -> dict[str, Any]:
    return {
        "name": name,
        "label": short(visible_name(name), 40),
        "values": [[value, short(value, 40), n] for value, n in values.most_common(_VALUES)],
        "more": max(0, len(values) - _VALUES),
    }


def _foot(comparison: Comparison, metric: str | None) -> str:
    if metric is None:
        return "nothing distinguishes better from worse here: give metrics=… or rate answers"
    text = "sign test over cases with a difference"
    has_band = any(comparison.against(each, metric).band is not None for each in comparison.others)
    noise = " · a difference inside the grey band is noise between repeats of one release"
    return text + noise if has_band else text
