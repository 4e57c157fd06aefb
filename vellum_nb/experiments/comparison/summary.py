"""A comparison in a few figures: one row a release, one line a release, and what to make of it."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, Literal

from vellum_nb.experiments.comparison.base import BaseComparison
from vellum_nb.experiments.comparison.scores import Scored
from vellum_nb.experiments.comparison.verdicts import Against, Verdict
from vellum_nb.experiments.statistics import Estimate, mean_interval, share_interval
from vellum_nb.rendering.values import number_text

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Finding", "finding", "line", "summary_frame"]

Finding = Literal["better", "worse", "same", "noise", "undecided", "missing"]
"""What a release is all in all, against the baseline.

``noise``: its mean difference is no larger than repeats alone bring about. ``undecided``: it may
be chance.
"""

_LEAST_P = 0.00001
_ALWAYS: tuple[Verdict, ...] = ("better", "worse", "same")
_WORDS: tuple[Verdict, ...] = ("noise", "missing", "unscored", "error")


def summary_frame(comparison: BaseComparison) -> pd.DataFrame:
    """Return one row a release."""
    import pandas as pd

    rows = [_row(comparison, release) for release in comparison.releases]
    frame = pd.DataFrame(rows)
    texts = [name for name in _TEXTS if name in frame.columns]
    empty = [name for name in frame.columns if frame[name].isna().all() and name not in texts]
    return frame.astype(dict.fromkeys(empty, "float64") | dict.fromkeys(texts, "str"))


_TEXTS = ("release", "release_tag", "release_id", "environment", "finding")


def _row(comparison: BaseComparison, release: str) -> dict[str, Any]:
    cases = comparison.cases
    records = [each for case in cases for each in case.tries.get(release, ())]
    answered = [case for case in cases if case.answers(release)]
    run = sum(bool(case.tries.get(release)) for case in cases)
    counting = [case.counting(release) for case in answered]
    row: dict[str, Any] = {
        "release": release,
        "release_tag": _one(each.release_tag for each in records),
        "release_id": _one(each.release_id for each in records),
        "environment": _one(each.environment for each in records),
        "cases": len(cases),
        "n": len(answered),
        "missing": len(cases) - run,
        "failed": run - len(answered),
        "rejected": sum(each is not None and each.state == "REJECTED" for each in counting),
        "runs": len(records),
        "changed_pct": _changed(comparison, release),
    }
    for metric in comparison.metrics:
        row |= _of_metric(comparison, release, metric.name)
    return row | _verdicts(comparison, release) | _costs(comparison, release)


def _one(values: Any) -> str | None:
    """Return what all of `values` are; several are told by commas."""
    found = [each for each in dict.fromkeys(values) if each is not None]
    return ", ".join(found) or None


def _changed(comparison: BaseComparison, release: str) -> float | None:
    if release == comparison.baseline:
        return None
    statuses = comparison.statuses[release]
    known = len(statuses) - statuses.count("missing")
    return 100 * statuses.count("differs") / known if known else None


def _of_metric(comparison: BaseComparison, release: str, name: str) -> dict[str, Any]:
    at = comparison.releases.index(release)
    scored = comparison.answers.scored(comparison._metric(name))  # noqa: SLF001  (of this package)
    own = _estimate(scored, at, comparison.seed)
    head = f"metric.{name}"
    row: dict[str, Any] = {
        head: own.mean,
        f"{head}.low": own.low,
        f"{head}.high": own.high,
        f"{head}.n": int((scored.count[:, at] > 0).sum()),
        f"{head}.errors": int(scored.failed[:, at].sum()),
    }
    if release == comparison.baseline:
        empty = ("delta", "delta_low", "delta_high", "p", "noise")
        return row | {f"{head}.{each}": math.nan for each in empty}
    found = comparison.against(release, name)
    return row | {
        f"{head}.delta": found.change.mean,
        f"{head}.delta_low": found.change.low,
        f"{head}.delta_high": found.change.high,
        f"{head}.p": _nan(comparison.p(release, name)),
        f"{head}.noise": _nan(found.band),
    }


def _estimate(scored: Scored, at: int, seed: int) -> Estimate:
    import numpy as np

    means = scored.mean[:, at]
    means = means[~np.isnan(means)]
    if scored.passes and len(means):
        return share_interval(float(means.mean()), len(means))
    return mean_interval(means, seed=seed)


def _verdicts(comparison: BaseComparison, release: str) -> dict[str, Any]:
    if not comparison.metrics:
        return {}
    if release == comparison.baseline:
        names = ("wins", "ties", "losses", "unscored", "errors", "p")
        floor = _own_floor(comparison, release)
        return dict.fromkeys(names) | {"noise_floor_pct": floor, "finding": "baseline"}
    found = comparison.against(release)
    return {
        "wins": found.counts["better"],
        "ties": found.counts["same"] + found.counts["noise"],
        "losses": found.counts["worse"],
        "unscored": found.counts["unscored"],
        "errors": found.counts["error"],
        "p": comparison.p(release, signs=True),
        "noise_floor_pct": None if found.noise_floor is None else 100 * found.noise_floor,
        "finding": finding(comparison, release),
    }


def _own_floor(comparison: BaseComparison, release: str) -> float | None:
    metric = comparison.metrics[0]
    kinds = comparison.answers.scored(metric).kinds
    unlike, pairs = comparison.answers.unlike([comparison.releases.index(release)], kinds)
    return 100 * unlike / pairs if pairs else None


def _costs(comparison: BaseComparison, release: str) -> dict[str, Any]:
    import numpy as np

    found = [each for case in comparison.cases for each in case.answers(release)]
    seconds = np.array([each.latency_s for each in found if each.latency_s is not None])
    costs = [each.cost_usd for each in found if each.cost_usd is not None]
    middle, high = np.quantile(seconds, [0.5, 0.95]) if len(seconds) else (math.nan, math.nan)
    return {
        "latency_p50": float(middle),
        "latency_p95": float(high),
        "cost_usd": sum(costs) / len(costs) if costs else math.nan,
    }


def finding(
    comparison: BaseComparison,
    release: str,
    metric: str | None = None,
    *,
    alpha: float | None = None,
) -> Finding:
    """Return what a release is against the baseline by a metric, at the comparison's alpha."""
    alpha = comparison.alpha if alpha is None else alpha
    found = comparison.against(release, metric)
    decided = found.counts["better"] + found.counts["worse"]
    if not decided + found.counts["same"] + found.counts["noise"]:
        return "missing"
    mean = found.change.mean
    gain = comparison._metric(metric).sign * mean  # noqa: SLF001  (of this package)
    if not decided and (mean == 0 or math.isnan(mean)):
        return "same"
    if found.band is not None and abs(mean) <= found.band:
        return "noise"
    p = comparison.p(release, metric, signs=math.isnan(mean))
    if p is not None and p <= alpha:
        if math.isnan(mean):
            gain = found.counts["better"] - found.counts["worse"]
        return "better" if gain > 0 else "worse"
    return "undecided"


def line(comparison: BaseComparison, release: str, metric: str | None = None) -> str:
    """Return one line: how many cases are better and worse, and how sure that is."""
    found = comparison.against(release, metric)
    counts = [f"{found.counts[word]} {word}" for word in _ALWAYS]
    counts += [f"{n} {word}" for word in _WORDS if (n := found.counts[word])]
    p = comparison.p(release, metric, signs=True)
    floor = found.noise_floor
    noise = "unknown" if floor is None else f"{_percent(floor)} %"
    return " · ".join([f"{release}: {counts[0]}", *counts[1:], _p(p), f"noise floor {noise}"])


def remark(comparison: BaseComparison, release: str, metric: str | None = None) -> str:
    """Return a sentence: what to make of the line, and how many cases would tell more."""
    found = comparison.against(release, metric)
    what = finding(comparison, release, metric)
    if what == "missing":
        return "nothing to compare: no case has a figure on both"
    p = comparison.p(release, metric)
    signs = comparison.p(release, metric, signs=True)
    by_signs = signs is not None and signs <= comparison.alpha
    if what in {"better", "worse"}:
        floor = "" if found.band is None else ", larger than the noise floor"
        return f"{what}{'' if by_signs else f' on average ({_p(p)})'}: hardly chance{floor}"
    if what == "noise":
        return "within the noise: repeats of one release differ as much"
    head = "no difference"
    if what == "undecided":
        several = ", corrected for several releases" if len(comparison.others) > 1 else ""
        holds = found.change.low <= 0 <= found.change.high
        why = "the interval holds 0" if holds else f"{_p(p)}{several}"
        head = f"may be chance{' on average' if by_signs else ''}: {why}"
    return f"{head}; {_too_few(comparison, found, metric)}"


def _too_few(comparison: BaseComparison, found: Against, metric: str | None) -> str:
    number = int((~_isnan(found.delta)).sum())
    cases = f"{number:,} case{'' if number == 1 else 's'}"
    if found.least is None:
        return f"{cases}: too few to tell any difference"
    scored = comparison.answers.scored(comparison._metric(metric))  # noqa: SLF001  (of this package)
    in_points = scored.metric.name == "score" or scored.passes
    unit = f" in {scored.metric.name}"
    least = f"{_percent(found.least)} points" if in_points else f"{found.least:.2g}{unit}"
    more = found.needed if found.needed is not None and found.needed > number else None
    would = f"; about {more:,} would show this difference" if more else ""
    return f"{cases}: cannot tell apart less than {least}{would}"


def _isnan(values: Any) -> Any:
    import numpy as np

    return np.isnan(values)


def _percent(share: float) -> str:
    percent = 100 * share
    whole = round(percent)
    small = 0 < percent < 1
    return f"{percent:.1g}" if small else number_text(float(whole))


def _p(p: float | None) -> str:
    if p is None:
        return "no p"
    if p < _LEAST_P:
        return f"p < {_LEAST_P:.5f}"
    digits = 2 if p >= _LEAST_P * 10_000 else -math.floor(math.log10(p))
    return f"p = {p:.{digits}f}"


def _nan(value: float | None) -> float:
    return math.nan if value is None else value
