"""How often the intervals of a judge's check hold the truth, over simulated judges and raters.

Coverage of 95 % intervals, of those that are shown, by the number of rated cases; 200 more cases
are judged and not rated. Exits with 1 where an interval holds less than 93 %.
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
    counts = np.bincount(2 * ~people + ~verdicts, minlength=4)
    yield cohen_kappa(counts.reshape(2, 2).tolist())
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


def main() -> None:
    """Print the table."""
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
    sys.exit(least < LEAST)


if __name__ == "__main__":
    main()
