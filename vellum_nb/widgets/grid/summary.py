"""The table on top of the grid: a row a release, counted and told, as plain values."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from vellum_nb.experiments import Comparison
from vellum_nb.experiments.comparison.verdicts import Against
from vellum_nb.widgets.grid.chips import figure, signed
from vellum_nb.widgets.grid.hands import Hands
from vellum_nb.widgets.grid.pieces import short
from vellum_nb.widgets.markup import shown_name
from vellum_nb.widgets.outputs import latency_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["named", "summary"]

_NAME = 120
_LEAST_P = 0.0001
_TICKS = 3


def summary(comparison: Comparison, metric: str | None, hands: Hands) -> dict[str, Any]:
    """Return the summary as it travels."""
    releases = (comparison.baseline, *comparison.others)
    axis = _axis(comparison, metric)
    costs = _Costs(comparison)
    return {
        "metric": "" if metric is None else short(shown_name(metric), _NAME),
        "axis": axis,
        "band": _band(comparison, metric),
        "cases": len(comparison.cases),
        "releases": [_release(comparison, each, metric, hands, costs) for each in releases],
        "notes": [
            f"{short(shown_name(tag), _NAME)} moved while these runs were made: "
            "each release that it pointed at has a column of its own."
            for tag in comparison.moved_tags
        ],
    }


def _release(
    comparison: Comparison, release: str, metric: str | None, hands: Hands, costs: _Costs
) -> dict[str, Any]:
    is_baseline = release == comparison.baseline
    told = _baseline(comparison) if is_baseline else _other(comparison, release, metric)
    return {
        **named(comparison, release, hands),
        **told,
        **_mean(comparison, release, metric),
        **costs.told(release),
    }


def named(comparison: Comparison, release: str, hands: Hands) -> dict[str, Any]:
    """Return what a release is called, without any figure."""
    return {
        "name": release,
        "label": short(shown_name(release), _NAME),
        "same": [short(shown_name(each), _NAME) for each in hands.same.get(release, ())],
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
    return {"parts": [], "counts": words, "words": "what the others are held against"} | {
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
        "p": _p(p),
        "p_told": _p_told(comparison, release, metric),
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

    scored = comparison.answers.scored(comparison._metric(metric))  # noqa: SLF001  (its name)
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


def _p(p: float | None) -> str:
    if p is None:
        return "—"
    return f"< {_LEAST_P:.4f}" if p < _LEAST_P else (f"{p:.2f}" if p >= 0.0095 else f"{p:.1g}")  # noqa: PLR2004


def _p_told(comparison: Comparison, release: str, metric: str) -> str:
    p = comparison.p(release, metric)
    corrected = ", corrected for several releases (Holm)" if len(comparison.others) > 1 else ""
    mean = "" if p is None else f"; of the mean difference {_p(p)}"
    return f"sign test over cases with a difference{mean}{corrected}"


class _Costs:
    """Median latency and mean cost of each release, over all answers."""

    def __init__(self, comparison: Comparison) -> None:
        import numpy as np

        answers = comparison.answers
        self._columns = {each: at for at, each in enumerate(answers.releases)}
        self._release = answers.release
        self._seconds = _array([each.latency_s for each in answers.records])
        self._dollars = _array([each.cost_usd for each in answers.records])
        self._baseline = comparison.baseline
        self._median, self._average = np.median, np.mean

    def _of(self, values: NDArray[np.float64], release: str, how: Any) -> float | None:
        found = values[self._release == self._columns[release]]
        found = found[found == found]  # noqa: PLR0124  (NaN)
        return float(how(found)) if len(found) else None

    def told(self, release: str) -> dict[str, str]:
        seconds, before = (
            self._of(self._seconds, each, self._median) for each in (release, self._baseline)
        )
        cost, cost_before = (
            self._of(self._dollars, each, self._average) for each in (release, self._baseline)
        )
        both = release != self._baseline and seconds is not None and before is not None
        known = release != self._baseline and cost is not None and cost_before
        return {
            "latency": "—" if seconds is None else latency_text(seconds),
            "latency_delta": _longer(seconds, before) if both else "",  # type: ignore[arg-type]
            "cost": "" if cost is None else f"${cost:.4f}",
            "cost_delta": _dearer(cost, cost_before) if known else "",  # type: ignore[arg-type]
        }


def _longer(seconds: float, before: float) -> str:
    by = seconds - before
    if abs(by) < 0.0005:  # noqa: PLR2004  (half a millisecond)
        return ""
    sign = "\N{MINUS SIGN}" if by < 0 else "+"
    in_seconds = f"{abs(by):.2f}"
    return f"{sign}{in_seconds if seconds >= 1 else latency_text(abs(by))}"


def _dearer(cost: float, before: float) -> str:
    percent = 100 * (cost / before - 1)
    sign = "\N{MINUS SIGN}" if percent < 0 else "+"
    return f"{sign}{abs(percent):,.0f} %"


def _array(values: list[float | None]) -> NDArray[np.float64]:
    import numpy as np

    return np.array([math.nan if each is None else each for each in values], dtype=np.float64)
