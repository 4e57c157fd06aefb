"""Number of cases and repeats that would show that a release loses less than a margin."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import Any

from vellum_nb.comparison import statistics as stats
from vellum_nb.comparison.decisions import MarginOption
from vellum_nb.comparison.figures import ComparisonFigures
from vellum_nb.errors import InputError
from vellum_nb.lazy import np, pd
from vellum_nb.models.checks import available, check_integer, check_list, check_number, refuse
from vellum_nb.models.inputs import format_value

_STEPS = (20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)  # cases
_HIGHEST = 1e100  # of an assumption
ASSUMPTIONS = ("difference", "discordance", "spread", "noise", "latency_s", "cost_usd")


@dataclass(frozen=True, slots=True)
class PlannedSweep:
    """A sweep whose power is planned."""

    cases: int
    repeats: int
    tags: int  # number of release tags
    stored: int  # runs that the history has

    def calls(self, cases: int, repeats: int) -> int:
        """Return the number of calls of such a sweep with other cases and repeats."""
        share = min(1.0, cases / self.cases) * min(1.0, repeats / self.repeats)
        return max(0, self.tags * cases * repeats - round(self.stored * share))


@dataclass(frozen=True, slots=True)
class Assumptions:
    """What a plan assumes about two releases.

    `variance` is that of the differences between cases without the noise of repeats, `noise` the
    variance of a difference caused by one repeat on each release, or None if it is unknown: then
    `variance` includes it, and only one repeat can be planned.
    """

    variance: float = math.nan
    noise: float | None = None
    difference: float = 0.0
    is_share: bool = True
    latency_s: float = math.nan
    cost_usd: float = math.nan

    def spread(self, repeats: int) -> float:
        """Return the standard deviation of a case's difference."""
        return math.sqrt(max(0.0, self.variance + (self.noise or 0.0) / repeats))


def _check_goal(margin: float, power: float, concurrency: int, repeats: object) -> list[int]:
    """Return the numbers of repeats; raise if a plan cannot have this goal."""
    if math.isnan(margin):
        msg = "a plan without compared cases needs a margin in units of the metric, without %"
        raise InputError(msg)
    check_number("power", power, above=0)
    if power >= 1:
        refuse("power", power, "a number between 0 and 1, such as 0.8")
    check_integer("concurrency", concurrency, least=1)
    expected = "a list of whole numbers, such as [1, 2]"
    if not (numbers := check_list("repeats", repeats, expected)):
        refuse("repeats", repeats, expected)
    for number in numbers:
        check_integer("repeats", number, least=1)
    return numbers


def observed(figures: ComparisonFigures, metric: str, release: str) -> Assumptions:
    """Return what the runs show; `variance` is NaN for fewer than six compared cases.

    For shares, the variance is that with two more cases that differ by a half.
    """
    scored, delta = figures.scored[metric], figures.against[release, metric].delta
    columns = [figures.releases.index(name) for name in (figures.baseline, release)]
    has = ~np.isnan(delta)
    number = int(has.sum())
    seconds, costs = (figures.answers[name].mean() for name in ("latency_s", "cost_usd"))
    known = Assumptions(is_share=scored.passes, latency_s=float(seconds), cost_usd=float(costs))
    if number < stats.LEAST_UNITS:
        return known
    clusters = None if figures.clusters is None else figures.clusters[has]
    variance = stats.standard_error(delta[has], clusters) ** 2 * number
    variance += 0.5 / number if scored.passes else 0.0
    pooled = [scored.pooled[column] for column in columns]
    if any(value is None for value in pooled):
        return replace(known, variance=variance)
    parts = (np.array(pooled, dtype=float) / scored.count[has][:, columns]).sum(axis=1)
    between = max(0.0, variance - float(parts.mean()))
    return replace(known, variance=between, noise=sum(value or 0.0 for value in pooled))


def assumed(known: Assumptions, given: Mapping[str, Any], *, sign: int) -> Assumptions:
    """Return `known` with the assumptions that a user gives."""
    if not isinstance(given, Mapping):
        refuse("assume", given, "a mapping, such as {'discordance': 0.2}")
    if unknown := [name for name in given if name not in ASSUMPTIONS]:
        msg = f"assume: {format_value(unknown[0])} is unknown{available(ASSUMPTIONS)}"
        raise InputError(msg)
    for name, value in given.items():
        lowest = -math.inf if name == "difference" else None
        check_number(f"assume[{name!r}]", value, above=lowest)
        highest = 1.0 if name == "discordance" else _HIGHEST
        if abs(value) > highest:
            refuse(f"assume[{name!r}]", value, f"a number of at most {highest:g}")
    changes: dict[str, Any] = {n: given[n] for n in ("latency_s", "cost_usd") if n in given}
    changes["difference"] = sign * given.get("difference", 0.0)
    noise, total = known.noise, known.variance + (known.noise or 0.0)
    if "discordance" in given:
        total = given["discordance"] - changes["difference"] ** 2
        changes["is_share"] = True
    if "spread" in given:
        total, changes["is_share"] = given["spread"] ** 2, False
    if "noise" in given:  # of pairs of repeats that differ, or the deviation of repeats
        is_share = changes.get("is_share", known.is_share)
        noise = given["noise"] if is_share else 2 * given["noise"] ** 2
    between = total - (noise or 0.0)
    return replace(known, **changes, variance=max(between, 0.0), noise=noise)  # or NaN


def power(
    assumptions: Assumptions, cases: int, repeats: int, *, margin: float, alpha: float
) -> float:
    """Return the probability that the interval of the difference excludes a loss of `margin`.

    >>> equal = Assumptions(variance=0.2)
    >>> round(power(equal, 600, 1, margin=0.05, alpha=0.05), 2)
    0.79
    """
    spread = assumptions.spread(repeats)
    if assumptions.is_share and repeats > 1:
        spread = math.sqrt(spread**2 + 0.5 / cases)
    distance = assumptions.difference + margin
    if distance <= 0:
        return alpha / 2
    if assumptions.is_share and repeats == 1:
        mean, unequal = assumptions.difference, spread**2 + assumptions.difference**2
        return stats.share_margin_power(mean, unequal, cases, margin, alpha)
    return stats.mean_power(distance, spread, cases, alpha)


def planned_cases(
    assumptions: Assumptions, repeats: int, *, margin: float, target: float, alpha: float
) -> int | None:
    """Return the smallest number of cases with this power; None if infeasible."""
    return stats.cases_for(
        lambda cases: power(assumptions, cases, repeats, margin=margin, alpha=alpha),
        least=stats.LEAST_UNITS,
        target=target,
    )


def plan(
    figures: ComparisonFigures,
    metric: str | None,
    release: str | None,
    margin: MarginOption,
    *,
    target: float,
    repeats: Sequence[int],
    concurrency: int,
    assume: Mapping[str, float] | None,
    sweep: PlannedSweep | None = None,
) -> pd.DataFrame:
    """Return the plans documented in `Comparison.plan`, or in `SweepPlan.power` for a `sweep`."""
    figures, _ = figures.deciding(metric, margin)
    name, others = figures.metric_name(metric), figures.others_of(release)
    ((chosen, decision),) = figures.decisions([name], others[:1]).items()
    allowed = _check_goal(decision.margin, target, concurrency, repeats)
    allowed += [sweep.repeats] if sweep else []
    sign = figures.scored[name].metric.sign
    known = observed(figures, name, chosen)
    assumptions = assumed(known, {} if assume is None else assume, sign=sign)
    if not math.isfinite(assumptions.variance + assumptions.difference):
        msg = f"a plan needs {stats.LEAST_UNITS} compared cases, or assume={{'discordance': 0.2}}"
        raise InputError(msg)
    options: Any = {"margin": decision.margin, "alpha": figures.alpha / len(figures.others)}
    choices = sorted({each for each in allowed if each == 1 or assumptions.noise is not None})
    if not choices or (sweep and sweep.repeats not in choices):
        msg = "the noise of repeats is unknown: plan repeats=[1], or give assume={'noise': 0.1}"
        raise InputError(msg)
    needed = [planned_cases(assumptions, each, target=target, **options) for each in choices]
    calls_of = sweep.calls if sweep else _remaining_calls(figures, name, chosen)
    sizes = _sizes(sweep.cases if sweep else len(figures.cases), needed, may_shrink=bool(sweep))
    frame = pd.DataFrame(product(sizes, choices), columns=["cases", "repeats"])
    pairs = list(zip(frame["cases"].tolist(), frame["repeats"].tolist(), strict=True))
    frame["power"] = [power(assumptions, *pair, **options) for pair in pairs]
    frame["calls"] = [calls_of(*pair) for pair in pairs]
    frame["time_s"] = frame["calls"] * assumptions.latency_s / concurrency
    frame["cost_usd"] = frame["calls"] * assumptions.cost_usd
    if sweep:
        frame["planned"] = [pair == (sweep.cases, sweep.repeats) for pair in pairs]
    calls = frame.loc[frame["power"] >= target, "calls"]
    return frame.assign(cheapest=frame.index == (calls.idxmin() if len(calls) else None))


def _remaining_calls(
    figures: ComparisonFigures, metric: str, release: str
) -> Callable[[int, int], int]:
    """Return a function that counts the calls still to be made for cases and repeats."""
    columns = [figures.releases.index(name) for name in (figures.baseline, release)]
    answers: Any = figures.scored[metric].count[:, columns]

    def calls(cases: int, repeats: int) -> int:
        return 2 * cases * repeats - int(np.minimum(answers, repeats).sum())

    return calls


def _sizes(existing: int, needed: Sequence[int | None], *, may_shrink: bool) -> list[int]:
    """Return the numbers of cases to list: those needed, the existing one, and steps between."""
    feasible = [number for number in needed if number is not None]
    largest = 2 * max(feasible, default=_STEPS[-1])
    least = 0 if may_shrink else max(existing, stats.LEAST_UNITS)
    sizes = {*feasible, existing, *(step for step in _STEPS if step <= largest)}
    return sorted(number for number in sizes if number >= least)
