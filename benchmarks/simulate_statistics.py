"""How often intervals hold and tests err, over simulated comparisons of two releases.

Each comparison goes through the figures that reports show. Coverage is the share of 95 % intervals
that hold the true mean or difference, of those that are shown; rates are how often releases that do
not differ are called different at 5 %; `shown` is how many differences have an interval.

Decisions: `at the margin` is how often a release that loses exactly the margin may replace the
baseline, `A/A worse` how often an equal release should not, and `flips` how often two comparisons
of equal releases contradict each other.

Stops (`--stops`): sweeps of pass or fail cases that stop by a margin. `may` and `should not` are
how often they decide so, `fixed` is the power of the tests for the planned number of cases, and
`reported` the mean difference after a stop. The last two columns are how often the confidence
sequence and the interval for a fixed number of cases hold after a stop.
Pilots: `delivered` is how often a comparison of equal releases that was open is decided after the
number of additional cases that it named, whose median is `more`; the margin is half the effect.
Trends (`--trends`): `reported` is how often a trend of a set that grows by 12 % a week reports a
change of a release that does not change. Watches (`--watches`): `false alarms` is the share of
healthy years of daily checks with an alarm; `found` the share of drops of ten points, after some
healthy checks of 40 cases, that have an alarm within 180 checks, and `delay` its median in checks.

Exits with 1 where an interval holds less than 93 %, a rate is above 6 %, or that of a decision
above 5 %, or where pilots deliver less than 78 or more than 85 % by more than two standard errors.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from vellum_nb.comparison.cases import Case
from vellum_nb.comparison.decisions import Decision
from vellum_nb.comparison.figures import ComparisonFigures
from vellum_nb.comparison.metrics import Metric
from vellum_nb.comparison.pairs import Scored
from vellum_nb.comparison.statistics import (
    NO_ESTIMATE,
    drop_evidence,
    gain_evidence,
    mcnemar,
    mean_ratio,
    paired_share_p,
    pooled_variance,
    sequential_test,
    win_rate,
)
from vellum_nb.comparison.trend import levels
from vellum_nb.comparison.watch import ALARM

Values = NDArray[np.float64]
SIZES = (6, 10, 20, 50, 200)
LEAST, MOST, WRONG = 0.93, 0.06, 0.05
RELEASES = ("v1", "v2")
NO_RUNS = pd.DataFrame()
METRIC = Metric(lambda _: None, name="m")
LOWER = Metric(lambda _: None, name="m", lower_is_better=True)
INTERVALS = ("mean", "delta", "cost per pass", "win rate")
COST = 0.02
DECISIONS = ("at the margin", "A/A worse", "flips")
STOPS = ("may", "should not", "fixed", "saved", "reported", "sequence holds", "fixed holds")
PILOTS = ("delivered", "more", "open")
DELIVERED = 0.78, 0.85
KINDS = ("stable", "almost", "noisy")  # cases: few or many answers differ by chance
RATES = ("p", "sign p", "finding", "at any time", "noise", "verdict")


@dataclass(frozen=True)
class Scenario:
    """How the figures of cases come about: cases x releases x repeats, NaN where one is missing."""

    draw: Callable[[np.random.Generator, int, float], Values]
    effect: float  # of the second release, where it has one
    is_clustered: bool = False


def passes(rate: float, repeats: int = 1) -> Callable[..., Values]:
    """Return pass and fail, by cases that are harder or easier than others."""

    def draw(rng: np.random.Generator, number: int, effect: float) -> Values:
        hard = rng.beta(8 * rate, 8 * (1 - rate), size=(number, 1, 1))
        chance = hard * np.array([1.0, 1.0 - effect])[None, :, None]
        return (rng.random((number, 2, repeats)) < chance).astype(np.float64)

    return draw


def numbers(rng: np.random.Generator, number: int, effect: float) -> Values:
    """Return numbers with a normal spread."""
    return rng.normal(0, 1, (number, 1, 1)) + rng.normal([[[0], [effect]]], 1, (number, 2, 1))


def repeated(rng: np.random.Generator, number: int, effect: float) -> Values:
    """Return numbers with three repeats, whose releases differ by case."""
    case = rng.normal(0, 1, (number, 1, 1)) + rng.normal([[[0], [effect]]], 0.5, (number, 2, 1))
    return case + rng.normal(0, 1, (number, 2, 3))


def coins(rng: np.random.Generator, number: int, effect: float) -> Values:
    """Return numbers with two repeats, whose cases differ by their repeats alone."""
    return rng.normal(0, 2, (number, 1, 1)) + rng.normal([[[0], [effect]]], 1, (number, 2, 2))


def tied(rng: np.random.Generator, number: int, effect: float) -> Values:
    """Return numbers of which six of ten are the same on both releases."""
    found = numbers(rng, number, effect)
    same = rng.random(number) < 0.6
    found[same, 1] = found[same, 0]
    return found


def skewed(rng: np.random.Generator, number: int, effect: float) -> Values:
    """Return seconds with a long tail."""
    case = rng.normal(0, 0.5, (number, 1, 1))
    return np.exp(case + rng.normal([[[0], [effect]]], 0.5, (number, 2, 1)))


def slower(rng: np.random.Generator, number: int, effect: float) -> Values:
    """Return seconds that the second release lengthens, by a long tail."""
    found = rng.normal(5, 1, (number, 1, 1)) + rng.normal(0, 0.2, (number, 2, 1))
    found[:, 1] += rng.exponential(effect, (number, 1))
    return found


def parts(rng: np.random.Generator, number: int, effect: float) -> Values:
    """Return scores in quarters, most of them 1."""
    found = rng.choice(5, size=(number, 2, 1), p=(0.05, 0.05, 0.1, 0.2, 0.6)) / 4
    found[:, 1] *= rng.random((number, 1)) >= effect
    return found


def missing(rng: np.random.Generator, number: int, effect: float) -> Values:
    """Return numbers of which one of five is missing."""
    found = numbers(rng, number, effect)
    found[rng.random(found.shape) < 0.2] = np.nan
    return found


def cluster_of(number: int) -> Values:
    """Return of each case its cluster: few of unequal size, six at least."""
    clusters = max(6, number // 5)
    sizes = 1 + np.arange(clusters) % 3
    return np.sort(np.resize(np.repeat(np.arange(clusters), sizes), number)).astype(np.float64)


def grouped(rng: np.random.Generator, number: int, effect: float) -> Values:
    """Return numbers of cases that share documents, each with its own difference."""
    at = cluster_of(number).astype(int)
    return numbers(rng, number, effect) + rng.normal(0, 1, (at.max() + 1, 2, 1))[at]


def grouped_seconds(rng: np.random.Generator, number: int, effect: float) -> Values:
    """Return seconds with a long tail, nine tenths of it by document; so is the difference."""
    at = cluster_of(number).astype(int)
    tails = np.sqrt(0.9) * rng.exponential(1, (at.max() + 1, 2, 1))[at]
    tails += np.sqrt(0.1) * rng.exponential(1, (number, 2, 1))
    tails[:, 1] += tails[:, 0] - np.sqrt(0.9) - np.sqrt(0.1) + effect
    return tails


def grouped_passes(rng: np.random.Generator, number: int, effect: float) -> Values:
    """Return pass and fail of cases that share documents, which are harder or easier."""
    at = cluster_of(number).astype(int)
    hard = rng.beta(3.0, 0.5, size=(at.max() + 1, 1, 1))[at]
    chance = hard * np.array([1.0, 1.0 - effect])[None, :, None]
    return (rng.random((number, 2, 1)) < chance).astype(np.float64)


SCENARIOS = {
    "pass or fail, 70 %": Scenario(passes(0.7), 0.2),
    "pass or fail, 97 %": Scenario(passes(0.97), 0.1),
    "pass or fail, 3 repeats": Scenario(passes(0.7, 3), 0.2),
    "numbers": Scenario(numbers, 0.5),
    "numbers, 3 repeats": Scenario(repeated, 0.5),
    "numbers, 2 repeats, repeat noise only": Scenario(coins, 0.5),
    "numbers, 6 of 10 tied": Scenario(tied, 0.5),
    "scores in quarters": Scenario(parts, 0.1),
    "seconds, skewed": Scenario(skewed, 0.3),
    "seconds, longer by a long tail": Scenario(slower, 1.0),
    "numbers, 1 of 5 missing": Scenario(missing, 0.5),
    "numbers in named clusters": Scenario(grouped, 0.5, is_clustered=True),
    "seconds in named clusters, skewed": Scenario(grouped_seconds, 0.5, is_clustered=True),
    "pass or fail in named clusters": Scenario(grouped_passes, 0.2, is_clustered=True),
}
MARGINS = {"seconds in named clusters, skewed": (0.005, 0.015)}  # beyond `LEAST` and `MOST`


def figures_of(
    values: Values, cases: tuple[Case, ...], *, cluster: str | None, loss: float | None = None
) -> ComparisonFigures:
    """Return the figures of a comparison whose answers have these values.

    `loss` is the difference of the second release that is the margin.
    """
    metric = LOWER if loss is not None and loss > 0 else METRIC
    has = ~np.isnan(values)
    count = has.sum(axis=2)
    answered = count > 0
    mean = np.where(has, values, 0.0).sum(axis=2) / np.where(answered, count, np.nan)
    squares = np.where(has, (values - mean[:, :, None]) ** 2, 0.0).sum(axis=2)
    cells = np.broadcast_to(np.arange(len(values))[:, None], values[:, 0].shape)
    pooled = [pooled_variance(cells[has[:, at]], values[:, at][has[:, at]]) for at in (0, 1)]
    scored = Scored(
        metric=metric,
        mean=mean,
        count=count,
        variance=np.where(count > 1, squares / np.maximum(count - 1, 1), np.nan),
        failed=np.zeros_like(count),
        answered=answered,
        rejected=np.zeros_like(answered),
        pooled=tuple(pooled),
        pairs=((0, 0), (0, 0)),
        passes=bool(np.isin(values[has], (0.0, 1.0)).all()),
        lost=np.zeros_like(answered),
        missing="drop",
    )
    figures = ComparisonFigures(
        deployment="",
        baseline=RELEASES[0],
        releases=RELEASES,
        moved_tags=(),
        cases=cases,
        metrics=(metric,),
        answers=NO_RUNS,
        alpha=0.05,
        cluster=cluster,
        margin=None if loss is None else abs(loss),
    )
    vars(figures)["scored"] = {"m": scored}
    return figures


def simulate(title: str, number: int, times: int, seed: int = 0) -> dict[str, float]:
    """Return how often intervals held and tests erred."""
    scenario = SCENARIOS[title]
    rng = np.random.default_rng([seed, number, list(SCENARIOS).index(title)])
    bills = np.random.default_rng([seed, number])
    labels = [{"document": at} for at in cluster_of(number).tolist()]
    cases = tuple(Case(at + 1, str(at), "v1", {}, labels=label) for at, label in enumerate(labels))
    cluster = "label.document" if scenario.is_clustered else None
    large = np.nanmean(scenario.draw(np.random.default_rng(1), 400_000, scenario.effect), (0, 2))
    truth = {"mean": large[1], "delta": large[1] - large[0]}
    hits, total = Counter[str](), Counter[str]()

    def count(name: str, *, is_known: bool, holds: bool) -> None:
        total[name] += is_known
        hits[name] += is_known and holds

    for _ in range(times):
        values = scenario.draw(rng, number, scenario.effect)
        if title.startswith("pass or fail") and not scenario.is_clustered:
            ratio = mean_ratio(bills.gamma(2.0, COST / 2, number), values[:, 1].mean(axis=1))
            inside = ratio.low <= COST / truth["mean"] <= ratio.high
            count("cost per pass", is_known=not math.isnan(ratio.low), holds=inside)
        found = figures_of(values, cases, cluster=cluster)
        own = found.estimate("m", RELEASES[1])
        for name, each in (("mean", own), ("delta", found.against["v2", "m"].change)):
            inside = each.low - 1e-9 <= truth[name] <= each.high + 1e-9
            count(name, is_known=not math.isnan(each.low), holds=inside)
        found = figures_of(scenario.draw(rng, number, 0.0), cases, cluster=cluster)
        against, key = found.against["v2", "m"], ("v2", "m")
        signs = np.where(against.codes == 0, 1, np.where(against.codes == 1, -1, 0))
        count("p", is_known=True, holds=(against.p or 1.0) <= found.alpha)
        sign_p = against.sign_p
        count("sign p", is_known=True, holds=sign_p is not None and sign_p <= found.alpha)
        count("finding", is_known=True, holds=found.finding(*key) in {"better", "worse"})
        if not scenario.is_clustered:
            delta = np.nan_to_num(against.delta)
            count("at any time", is_known=True, holds=sequential_test(delta).side != 0)
        if against.band is not None and scenario.draw is coins:
            count("noise", is_known=True, holds=abs(against.change.mean) > against.band)
            ties = against.counts["same"] + against.counts["noise"]
            total["verdict"] += against.decided + ties
            hits["verdict"] += against.decided
        rate = win_rate(int((signs > 0).sum()), int((signs < 0).sum()))
        known = not math.isnan(rate.low) and not scenario.is_clustered
        count("win rate", is_known=known, holds=rate.low <= 0.5 <= rate.high)
    rates = {name: hits[name] / total[name] for name in total if total[name]}
    return rates | {"shown": total["delta"] / times}


def simulate_decisions(title: str, number: int, times: int, seed: int = 0) -> dict[str, float]:
    """Return how often decisions with a margin are wrong; the margin is the scenario's effect."""
    scenario = SCENARIOS[title]
    rng = np.random.default_rng([seed, number, list(SCENARIOS).index(title), 7])
    labels = [{"document": at} for at in cluster_of(number).tolist()]
    cases = tuple(Case(at + 1, str(at), "v1", {}, labels=label) for at, label in enumerate(labels))
    cluster = "label.document" if scenario.is_clustered else None
    large = np.nanmean(scenario.draw(np.random.default_rng(1), 400_000, scenario.effect), (0, 2))
    loss = float(large[1] - large[0])
    hits = Counter[str]()

    def verdict(effect: float) -> str:
        values = scenario.draw(rng, number, effect)
        # Clusters of few cases have no interval: the decision is open.
        return figures_of(values, cases, cluster=cluster, loss=loss).decisions()["v2"].verdict

    previous = "cannot tell yet"
    for _ in range(times):
        hits["at the margin"] += verdict(scenario.effect) == "may replace"
        same = verdict(0.0)
        hits["A/A worse"] += same == "should not replace"
        hits["A/A passes"] += same == "may replace"
        hits["flips"] += {same, previous} == {"may replace", "should not replace"}
        previous = same
    return {name: hits[name] / times for name in (*DECISIONS, "A/A passes")}


def simulate_stops(
    difference: float, planned: int, times: int, *, margin: float = 0.1, seed: int = 0
) -> dict[str, float]:
    """Return how sweeps with a margin end; v1 passes 80 % of the cases, each by chance."""
    rng = np.random.default_rng([seed, planned, round(1000 * (1 + difference))])
    hits, sums = Counter[str](), defaultdict[str, float](float)
    for _ in range(times):
        before, after = rng.random((2, planned)) < np.array([[0.8], [0.8 + difference]])
        gains = after.astype(np.float64) - before
        passes = np.flatnonzero(gain_evidence(gains + margin, margin - 1) >= -math.log(0.05))
        worse = sequential_test(gains)
        counts = int((gains > 0).sum()), int((gains < 0).sum())
        mean = float(gains.mean())
        is_worse = mean < 0 and mcnemar(*counts) <= WRONG
        is_within = mean > -margin and paired_share_p(*counts, planned, -margin) <= WRONG
        hits["fixed"] += is_within if difference >= 0 else is_worse
        ends = [(int(passes[0]) + 1, "may")] if len(passes) else []
        ends += [(worse.cases, "should not")] if worse.side < 0 else []
        if not ends:
            sums["cases"] += planned
            continue
        cases, verdict = min(ends)
        hits[verdict] += 1
        sums["cases"] += cases
        seen = gains[:cases]
        sums["reported"] += float(seen.mean())
        signs = (1, -1)  # `confidence_sequence` and Tango's interval have the means that pass
        evidence = max(
            gain_evidence(k * (seen - difference), -1 - k * difference)[-1] for k in signs
        )
        hits["sequence holds"] += bool(evidence < -math.log(0.05))
        counts = int((seen > 0).sum()), int((seen < 0).sum())
        hits["fixed holds"] += paired_share_p(*counts, cases, difference) > WRONG
    stops = max(1, hits["may"] + hits["should not"])
    rates = {name: hits[name] / times for name in STOPS[:3]}
    rates |= {name: hits[name] / stops for name in STOPS[5:]}
    return rates | {
        "saved": 1 - sums["cases"] / times / planned,
        "reported": sums["reported"] / stops,
    }


def print_stops(times: int, sizes: list[int], seed: int) -> int:
    """Print how sweeps with a margin of 0.1 end; return 1 if too many decisions are wrong."""
    sys.stdout.write(f"| difference | planned | {' | '.join(STOPS)} |\n|---|---{'|---' * 7}|\n")
    bad = 0
    for difference in (0.1, 0.0, -0.1, -0.2, -0.4):
        for planned in sizes:
            found = simulate_stops(difference, planned, times, seed=seed)
            bad += difference == -0.1 and found["may"] > WRONG
            cells = [f"{100 * found[name]:.1f}" for name in STOPS]
            sys.stdout.write(f"| {100 * difference:.0f} | {planned} | {' | '.join(cells)} |\n")
            sys.stdout.flush()
    return int(bad > 0)


def simulate_pilots(title: str, number: int, times: int, seed: int = 0) -> dict[str, float]:
    """Return how often open comparisons of equal releases are decided by the cases they ask for."""
    scenario = SCENARIOS[title]
    rng = np.random.default_rng([seed, number, list(SCENARIOS).index(title), 8])
    large = np.nanmean(scenario.draw(np.random.default_rng(1), 400_000, scenario.effect), (0, 2))
    loss = float(large[1] - large[0]) / 2
    decided, numbers_of_cases = 0, list[int]()

    def decision(values: Values) -> Decision:
        cases = tuple(Case(at + 1, str(at), "v1", {}) for at in range(len(values)))
        return figures_of(values, cases, cluster=None, loss=loss).decisions()["v2"]

    for _ in range(times):
        pilot = scenario.draw(rng, number, 0.0)
        more = decision(pilot).more
        if more:
            values = np.concatenate([pilot, scenario.draw(rng, more, 0.0)])
            decided += decision(values).verdict != "cannot tell yet"
            numbers_of_cases.append(more)
    asked = len(numbers_of_cases)
    if not asked:
        return {"open": 0.0}
    found = decided / asked, float(np.median(numbers_of_cases)), asked / times
    error = math.sqrt(0.8 * 0.2 / asked)
    return dict(zip(PILOTS, found, strict=True)) | {"standard error": error}


def scored_of(values: Values) -> Scored:
    """Return the figures of cases by time, all pass or fail."""
    cases = tuple(Case(str(at), "v1", at) for at in range(len(values)))
    two = np.full((len(values), 2, 1), 1.0)
    return replace(figures_of(two, cases, cluster=None).scored["m"], mean=values)


def chances(kind: str, rng: np.random.Generator, number: int) -> Values:
    """Return how likely each case passes: three of four on average."""
    if kind == "stable":
        return np.where(rng.random(number) < 0.75, 1.0, 0.0)
    if kind == "almost":
        return np.where(rng.random(number) < 0.75, 0.98, 0.02)
    return rng.beta(6.0, 2.0, number)


def dropped(chance: Values, rng: np.random.Generator, kind: str) -> Values:
    """Return the chances after a drop of ten points: other answers to some cases, or to all."""
    if kind == "noisy":
        return chance * (1 - 0.1 / chance.mean())
    passing = np.flatnonzero(chance > 0.5)
    lost = rng.choice(passing, min(len(passing), round(len(chance) / 10)), replace=False)
    return np.where(np.isin(np.arange(len(chance)), lost), chance.min(), chance)


def grown(
    rng: np.random.Generator,
    kind: str,
    number: int,
    times: int,
    *,
    growth: float,
    drop_at: int = -1,
) -> Values:
    """Return passes by case and time, NaN before a case was added; later cases are harder."""
    sizes = np.minimum(120, np.round(number * (1 + growth) ** np.arange(times))).astype(int)
    chance = chances(kind, rng, sizes[-1])
    chance[number:] *= 0.6
    by_time = np.tile(chance[:, None], (1, times))
    if drop_at >= 0:
        by_time[:, drop_at:] = dropped(chance, rng, kind)[:, None]
    values = (rng.random(by_time.shape) < by_time).astype(np.float64)
    values[np.arange(sizes[-1])[:, None] >= sizes] = np.nan
    return values


def print_trends(times: int, seed: int, only: str) -> int:
    """Print how often trends report a change of an unchanged release; return 1 if too often."""
    sys.stdout.write("| cases | weeks | at first | reported | shown |\n|---|---|---|---|---|\n")
    bad = 0
    for kind in (kind for kind in KINDS if only in kind):
        for weeks, number in ((2, 40), (8, 10), (8, 40), (26, 20)):
            rng = np.random.default_rng([seed, weeks, number, KINDS.index(kind)])
            hits = Counter[str]()
            for _ in range(times):
                values = grown(rng, kind, number, weeks, growth=0.12)
                _, _, change = dict(levels(values, scored_of(values), None)).get(
                    weeks - 1, (0, 0.0, NO_ESTIMATE)
                )
                hits["shown"] += not math.isnan(change.low)
                hits["reported"] += change.p is not None and change.p <= WRONG
            bad += hits["reported"] / times > MOST
            cells = [f"{100 * hits[name] / times:.1f}" for name in ("reported", "shown")]
            sys.stdout.write(f"| {kind} | {weeks} | {number} | {' | '.join(cells)} |\n")
            sys.stdout.flush()
    return int(bad > 0)


def alarms(values: Values) -> list[int]:
    """Return the checks after which a watch of passes by case and check has an alarm."""
    has = ~np.isnan(values)
    earlier = has.cumsum(axis=1)  # and this one
    mean = np.where(has, values, 0.0).cumsum(axis=1) / np.maximum(earlier, 1)
    gains = np.where(earlier > 1, mean - values, 0.0)  # as a watch has them
    evidence, _ = drop_evidence(gains.T[has.T], np.nonzero(has.T)[0], -1.0)
    return np.flatnonzero(evidence >= ALARM).tolist()


def print_watches(times: int, seed: int, only: str) -> int:
    """Print false alarms and delays of watches; return 1 if there are too many false alarms."""
    head = "| cases | false alarms | growing | drop after | found | delay | 9 of 10 |"
    sys.stdout.write(f"{head}\n|---|---|---|---|---|---|---|\n")
    bad = 0
    for kind in (kind for kind in KINDS if only in kind):
        rng = np.random.default_rng([seed, KINDS.index(kind)])
        rates = []
        for growth in (0.0, 1.12 ** (1 / 7) - 1):  # 12 % a week
            years = (grown(rng, kind, 40, 365, growth=growth) for _ in range(times))
            rates.append(sum(bool(alarms(values)) for values in years) / times)
        bad += max(rates) > WRONG
        for healthy in (7, 28, 90):
            delays = []
            for _ in range(max(1, times // 5)):
                found = alarms(grown(rng, kind, 40, healthy + 180, growth=0.0, drop_at=healthy))
                delays.append(next((at - healthy + 1 for at in found if at >= healthy), math.inf))
            quantiles = (f"{np.quantile(delays, q, method='lower'):.0f}" for q in (0.5, 0.9))
            cells = [f"{100 * rate:.1f}" for rate in rates] + [str(healthy)]
            cells += [f"{100 * np.isfinite(delays).mean():.0f}", *quantiles]
            sys.stdout.write(f"| {kind} | {' | '.join(cells)} |\n")
            sys.stdout.flush()
    return int(bad > 0)


def defects(found: dict[str, float], margins: tuple[float, float] = (0.0, 0.0)) -> list[str]:
    """Return the names of figures that are beyond their limits by more than `margins`."""
    high = [name for name in RATES if found.get(name, 0.0) > MOST + margins[1]]
    high += [name for name in DECISIONS if found.get(name, 0.0) > WRONG + margins[1]]
    least, most = DELIVERED
    chance = 2 * found.get("standard error", 0.0)
    if not least - chance <= found.get("delivered", least) <= most + chance:
        high.append("delivered")
    return high + [name for name in INTERVALS if found.get(name, 1.0) < LEAST - margins[0]]


def main() -> int:
    """Simulate, print a table in Markdown, and return 1 where something does not hold."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--times", type=int, default=10_000, help="comparisons of each kind")
    options.add_argument("--seed", type=int, default=0)
    options.add_argument("--only", default="", help="part of a scenario's name")
    options.add_argument("--sizes", type=int, nargs="*", default=SIZES)
    options.add_argument("--decisions", action="store_true", help="with a margin, instead")
    options.add_argument("--stops", action="store_true", help="sweeps that stop early, instead")
    options.add_argument("--pilots", action="store_true", help="additional cases, instead")
    options.add_argument("--trends", action="store_true", help="of weeks, instead")
    options.add_argument("--watches", action="store_true", help="of years, instead")
    given = options.parse_args()
    if given.trends or given.watches:
        return (print_trends if given.trends else print_watches)(
            given.times, given.seed, given.only
        )
    if given.stops:
        return print_stops(given.times, given.sizes, given.seed)
    names = (*DECISIONS, "A/A passes") if given.decisions else (*INTERVALS, "shown", *RATES)
    run = simulate_decisions if given.decisions else simulate
    if given.pilots:
        names, run = PILOTS, simulate_pilots
    sys.stdout.write(f"| figures | n | {' | '.join(names)} |\n|---|---{'|---' * len(names)}|\n")
    bad = 0
    for title, scenario in SCENARIOS.items():
        is_skipped = given.pilots and scenario.is_clustered  # they ask for no number
        for number in given.sizes if given.only in title and not is_skipped else ():
            found = run(title, number, given.times, given.seed)
            wrong = defects(found, MARGINS.get(title, (0.0, 0.0)))
            bad += len(wrong)
            cells = [
                ""
                if name not in found
                else f"{found[name] * (1 if name == 'more' else 100):.1f}" + "!" * (name in wrong)
                for name in names
            ]
            sys.stdout.write(f"| {title} | {number} | {' | '.join(cells)} |\n")
            sys.stdout.flush()
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main())
