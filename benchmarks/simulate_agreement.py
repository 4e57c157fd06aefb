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
import pandas as pd
from numpy.typing import NDArray
from scipy import special

from vellum_nb.comparison.agreement import Agreement
from vellum_nb.comparison.cases import Case
from vellum_nb.comparison.statistics import (
    NO_ESTIMATE,
    Estimate,
    cohen_kappa,
    corrected_mean,
    krippendorff_alpha,
)

Floats = NDArray[np.float64]

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
BIASES = [("scores", "half"), ("verdicts", "half"), ("verdicts", "rare")]
BIASES += [(judge, "half") for judge in ("uneven", "alike", "skewed")]


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


def bias_found(
    number: int, bias: float, judge: str, segments: str, *, times: int
) -> tuple[float, float]:
    """Return how often `.bias(["length", "label.segment"])` finds a bias by length, and by any.

    `bias` is per 100 tokens. Answers of two releases per case have lengths with a long tail, around
    150 tokens; people pass longer ones more often. A judge with verdicts passes 85 % of those that
    people pass and 20 % of the others; one with scores errs by 0.18 (standard deviation): its
    `uneven` errors grow with the length, `alike` ones are those of a case, `skewed` ones
    exponential. A `rare` segment has ten cases, which people almost always pass.
    """
    rng = np.random.default_rng([number, BIASES.index((judge, segments))])
    shape, found = (number, 2), np.zeros(2)
    small = np.arange(number) < (10 if segments == "rare" else number // 2)
    cases = [Case(str(n), "v1", n, labels={"segment": int(s)}) for n, s in enumerate(small)]
    for _ in range(times):
        own = rng.normal(size=shape)
        spread = math.sqrt(0.7) * rng.normal(size=(number, 1)) + math.sqrt(0.3) * own
        hundreds = 1.5 * np.exp(0.6 * spread)
        passed = rng.random(shape) < special.expit(1 + spread / 2 + rng.normal(size=(number, 1)))
        if segments == "rare":
            passed = np.where(rng.random(shape) < 0.9, small[:, None], passed)
        shift = bias * (hundreds - 1.8)
        ratings = passed.astype(float)
        if judge == "verdicts":
            figures = rng.random(shape) < np.where(passed, 0.85, 0.2) + shift
        else:
            ratings = np.where(passed, rng.choice([0.75, 1.0], shape), rng.choice([0, 0.25], shape))
            figures = 0.2 + 0.7 * ratings + errors_of(rng, judge, hundreds) + shift
            figures = np.clip(figures, 0, 1) if judge == "scores" else figures
        rated = pd.DataFrame({"rating": ratings.ravel(), "passes": passed.ravel()})
        rated["case"] = np.repeat(np.array(cases, dtype=object), 2)
        rated["error"] = (figures - ratings).ravel()
        rated["length"] = 400 * hundreds.ravel()
        check = Agreement("", number, NO_ESTIMATE, _rated=rated).bias(["length", "label.segment"])
        is_found = check["p"] <= 0.05
        found += is_found[0], is_found.any()
    return found[0] / times, found[1] / times


def errors_of(rng: np.random.Generator, judge: str, hundreds: Floats) -> Floats:
    """Return the errors of a judge with scores, by case and release."""
    shared, own = (0.17, 0.05) if judge == "alike" else (0.1, 0.15)
    draw = rng.normal if judge != "skewed" else lambda size: rng.exponential(size=size) - 1
    errors = shared * draw(size=(len(hundreds), 1)) + own * draw(size=hundreds.shape)
    return errors * hundreds / 1.8 if judge == "uneven" else errors


def print_checks(times: int) -> bool:
    """Print the tables of repeated runs and of bias; return whether all figures hold."""
    good = True
    print("\n| kappa | alike | rated | kappa holds | checked |\n|---|---|---|---|---|")
    for kappa, alike in ((0.0, 1.0), (0.4, 1.0), (0.4, 0.7), (0.8, 1.0)):
        for number in (20, 30, 50, 200):
            held, checked = repeated_kappa(number, kappa, alike, times=times)
            good = good and held >= LEAST and (kappa > 0.4 or checked <= 0.03)
            print(f"| {kappa} | {alike} | {number} | {held:.1%} | {checked:.1%} |", flush=True)
    print("\n| judge | segments | rated | false alarms | found: 0.07 per 100 tokens |")
    print("|---|---|---|---|---|")
    for judge, segments in BIASES:
        is_plain = segments == "half" and judge in {"scores", "verdicts"}
        for number in (30, 60, 100, 120, 150) if is_plain else (30, 100):
            _, alarms = bias_found(number, 0.0, judge, segments, times=times)
            good = good and alarms <= 0.05 + 2 * math.sqrt(0.05 * 0.95 / times)
            found = bias_found(number, 0.07, judge, segments, times=times)[0] if is_plain else 0
            figures = f"{number} | {alarms:.1%} | {found:.1%}".removesuffix("0.0%")
            print(f"| {judge} | {segments} | {figures} |", flush=True)
    return good


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=10_000)
    parser.add_argument("--checks", action="store_true", help="repeated runs and bias only")
    given = parser.parse_args()
    times = given.times
    if given.checks:
        sys.exit(not print_checks(times))
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
