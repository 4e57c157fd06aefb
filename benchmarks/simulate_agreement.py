"""How often the intervals of a judge's check hold the truth, over simulated judges and raters.

Coverage of 95 % intervals, of those that are shown, by the number of rated cases; 200 more cases
are judged and not rated. Then kappa of six runs per case, with the share of judges of the least
kappa that are checked by chance; and how often a bias by length is found, where there is none and
where there is one. Exits with 1 where an interval holds less than 93 %, or an alarm is false more
than 5 times of 100.
"""

from __future__ import annotations

import argparse
import math
import sys
from collections.abc import Iterator

import numpy as np

from vellum_nb.comparison.statistics import (
    Estimate,
    cohen_kappa,
    corrected_mean,
    krippendorff_alpha,
    slope,
)

SIZES = (6, 10, 20, 30, 50, 100, 200)
SCENARIOS = {  # share of answers that pass, and how often a judge or a rater is right
    "half pass, right 7 of 10": (0.5, 0.7),
    "half pass, right 9 of 10": (0.5, 0.9),
    "7 of 10 pass, right 9 of 10": (0.7, 0.9),
    "9 of 10 pass, right 8 of 10": (0.9, 0.8),
    "9 of 10 pass, right 49 of 50": (0.9, 0.98),
}
NAMES = ("kappa", "alpha", "corrected", "corrected_delta")
LEAST, MORE, LARGE = 0.93, 200, 400_000
EFFECT = 0.15  # of the second release


def drawn(
    rng: np.random.Generator, number: int, passing: float, right: float
) -> Iterator[Estimate]:
    """Yield the estimates of one simulated check, in the order of `NAMES`."""
    truth = rng.random((2, number + MORE)) < np.array([[passing], [passing - EFFECT]])
    wrong = rng.random((2, number + MORE)) >= right
    judge = truth ^ wrong
    people, verdicts = truth[0, :number], judge[0, :number]
    yield cohen_kappa(np.eye(4)[2 * ~people + ~verdicts])
    raters = (rng.random((3, number)) < right) == people
    yield krippendorff_alpha(raters.sum(axis=0).tolist(), [3] * number)
    rated, judged = truth.astype(float), judge.astype(float)
    sides = rated[0], judged[0]
    yield corrected_mean(sides[0][:number], sides[1][:number], sides[1][number:], ends=(0, 1))
    sides = rated[1] - rated[0], judged[1] - judged[0]
    ends = (-math.sqrt(0.5), math.sqrt(0.5))
    yield corrected_mean(sides[0][:number], sides[1][:number], sides[1][number:], ends=ends)


def true_values(passing: float, right: float) -> tuple[float, ...]:
    """Return what the estimates are of: the figures of so many cases that chance plays no part."""
    kappa, alpha, *_ = drawn(np.random.default_rng(0), LARGE, passing, right)
    return kappa.mean, alpha.mean, passing, -EFFECT


def coverage(number: int, passing: float, right: float, *, times: int) -> dict[str, float]:
    """Return how often each interval holds the truth; NaN where none is shown."""
    rng = np.random.default_rng(number)
    truth = true_values(passing, right)
    held: dict[str, list[bool]] = {name: [] for name in NAMES}
    for _ in range(times):
        for name, true, found in zip(NAMES, truth, drawn(rng, number, passing, right), strict=True):
            if not math.isnan(found.low):
                held[name].append(found.low <= true <= found.high)
    return {name: float(np.mean(each)) if each else math.nan for name, each in held.items()}


def repeated_kappa(number: int, kappa: float, alike: float, *, times: int) -> tuple[float, float]:
    """Return how often kappa of six runs per case holds the truth, and reaches 0.4.

    Half of the answers pass. A run gets the verdicts of its case with a probability of `alike`.
    """
    rng = np.random.default_rng(number)
    kinds = np.array([1 + kappa, 1 - kappa, 1 - kappa, 1 + kappa]) / 4
    held, checked = 0, 0
    for _ in range(times):
        cases = rng.choice(4, (number, 1), p=kinds)
        runs = rng.choice(4, (number, 6), p=kinds)
        runs = np.where(rng.random((number, 6)) < alike, cases, runs)
        found = cohen_kappa(np.eye(4)[runs].sum(axis=1))
        held += found.low <= kappa <= found.high
        checked += found.low >= 0.4
    return held / times, checked / times


def bias_found(number: int, bias: float, judge: str, *, times: int) -> float:
    """Return how often the error of a judge is found to depend on length.

    `bias` is per 100 tokens. Answers of two releases per case have lengths with a long tail, around
    150 tokens; people pass longer ones more often. A judge with verdicts passes 85 % of those that
    people pass and 20 % of the others; one with scores errs by 0.18 (standard deviation).
    """
    rng = np.random.default_rng([number, judge == "scores"])
    shape, found = (number, 2), 0
    cases = np.repeat(np.arange(number), 2)
    for _ in range(times):
        spread = math.sqrt(0.7) * rng.normal(size=(number, 1)) + math.sqrt(0.3) * rng.normal(
            size=shape
        )
        hundreds = 1.5 * np.exp(0.6 * spread)
        passed = rng.random(shape) < 1 / (
            1 + np.exp(-1 - spread / 2 - rng.normal(size=(number, 1)))
        )
        shift = bias * (hundreds - 1.8)
        if judge == "verdicts":
            ratings = passed.astype(float)
            figures = rng.random(shape) < np.where(passed, 0.85, 0.2) + shift
        else:
            ratings = np.where(passed, rng.choice([0.75, 1.0], shape), rng.choice([0, 0.25], shape))
            noise = rng.normal(0, 0.1, (number, 1)) + rng.normal(0, 0.15, shape)
            figures = np.clip(0.2 + 0.7 * ratings + noise + shift, 0, 1)
        controls = np.column_stack([ratings.ravel(), passed.ravel()])
        effect = slope((figures - ratings).ravel(), hundreds.ravel(), controls, cases)
        found += effect.p is not None and effect.p <= 0.05
    return found / times


def print_checks(times: int) -> bool:
    """Print the tables of repeated runs and of bias; return whether all figures hold."""
    good = True
    print("\n| kappa | alike | rated | kappa holds | checked |\n|---|---|---|---|---|")
    for kappa, alike in ((0.0, 1.0), (0.4, 1.0), (0.4, 0.7), (0.8, 1.0)):
        for number in (20, 30, 50, 200):
            held, checked = repeated_kappa(number, kappa, alike, times=times)
            good = good and held >= LEAST and (kappa > 0.4 or checked <= 0.03)
            print(f"| {kappa} | {alike} | {number} | {held:.1%} | {checked:.1%} |", flush=True)
    print("\n| judge | rated | false alarms | found: 0.07 per 100 tokens |\n|---|---|---|---|")
    for judge in ("scores", "verdicts"):
        for number in (30, 60, 100, 150):
            none, some = (bias_found(number, bias, judge, times=times) for bias in (0.0, 0.07))
            good = good and none <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / times)
            print(f"| {judge} | {number} | {none:.1%} | {some:.1%} |", flush=True)
    return good


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=10_000)
    times = parser.parse_args().times
    least = 1.0
    print(f"| scenario | rated | {' | '.join(NAMES)} |\n|---|---|{'---|' * len(NAMES)}")
    for name, scenario in SCENARIOS.items():
        for number in SIZES:
            found = coverage(number, *scenario, times=times)
            texts = ["" if math.isnan(each) else f"{each:.1%}" for each in found.values()]
            print(f"| {name} | {number} | {' | '.join(texts)} |", flush=True)
            least = min([least, *(each for each in found.values() if not math.isnan(each))])
    print(f"\nleast: {least:.1%}")
    sys.exit(least < LEAST or not print_checks(times))


if __name__ == "__main__":
    main()
