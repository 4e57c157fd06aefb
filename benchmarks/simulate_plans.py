"""How often comparisons of the planned size show that an equal release loses less than the margin.

Exits with 1 if a plan with a power of 80 % delivers less than 78 or more than 85 % by more than two
standard errors.
"""

from __future__ import annotations

import argparse
import math
import sys

import numpy as np
from numpy.typing import NDArray

from vellum_nb.comparison.planning import Assumptions, planned_cases
from vellum_nb.comparison.statistics import paired, paired_share

MARGIN, POPULATION = 0.08, 400_000
LEAST, MOST = 0.78, 0.85
DIFFERENCES = (0.0, 0.1, 0.3)  # of a case's pass rate between releases
SPREADS = ((0.1, 0.3), (0.3, 0.1))  # between cases and between repeats, for numbers
REPEATS = (1, 2, 3, 5)

Values = NDArray[np.float64]


def pass_rates(rng: np.random.Generator, difference: float) -> Values:
    """Return the probability of a pass by case and release."""
    rates = rng.beta(3, 1, (POPULATION, 1)) + difference * rng.choice([-1, 1], (POPULATION, 2))
    clipped: Values = np.clip(rates, 0, 1)
    return clipped


def delivered_shares(difference: float, repeats: int, times: int) -> tuple[int, float]:
    """Return the planned number of cases and how often it suffices, for pass or fail."""
    rng = np.random.default_rng(repeats)
    rates = pass_rates(rng, difference)
    noise = float((rates * (1 - rates)).mean(axis=0).sum())
    assumptions = Assumptions(variance=float((rates[:, 1] - rates[:, 0]).var()), noise=noise)
    number = planned_cases(assumptions, repeats, margin=MARGIN, target=0.8, alpha=0.05) or 0
    hits = 0
    for _ in range(times):
        chosen = rates[rng.integers(0, POPULATION, number)]
        means = (rng.random((repeats, number, 2)) < chosen).mean(axis=0)
        delta = means[:, 1] - means[:, 0]
        if repeats == 1:
            found = paired_share(int((delta > 0).sum()), int((delta < 0).sum()), number)
        else:
            found = paired(delta, is_share=True)
        hits += found.low > -MARGIN
    return number, hits / times


def delivered_numbers(spread: float, noise: float, repeats: int, times: int) -> tuple[int, float]:
    """Return the planned number of cases and how often it suffices, for numbers."""
    rng = np.random.default_rng(repeats)
    assumptions = Assumptions(variance=spread**2, noise=2 * noise**2, is_share=False)
    number = planned_cases(assumptions, repeats, margin=MARGIN, target=0.8, alpha=0.05) or 0
    hits = 0
    for _ in range(times):
        means = rng.normal(0, noise, (number, 2, repeats)).mean(axis=2)
        delta = rng.normal(0, spread, number) + means[:, 1] - means[:, 0]
        hits += paired(delta).low > -MARGIN
    return number, hits / times


def main() -> int:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=2_000)
    times = parser.parse_args().times
    delivered = []
    print("| figures | repeats | cases | delivered |\n|---|---|---|---|")
    for repeats in REPEATS:
        plans = {
            f"pass or fail, rates differ by {difference}": delivered_shares(
                difference, repeats, times
            )
            for difference in DIFFERENCES
        } | {
            f"numbers, spread {spread}, noise {noise}": delivered_numbers(
                spread, noise, repeats, times
            )
            for spread, noise in SPREADS
        }
        for title, (number, share) in plans.items():
            print(f"| {title} | {repeats} | {number} | {share:.1%} |", flush=True)
            delivered.append(share)
    error = math.sqrt(0.8 * 0.2 / times)
    print(f"\nstandard error: {error:.1%}")
    return int(min(delivered) < LEAST - 2 * error or max(delivered) > MOST + 2 * error)


if __name__ == "__main__":
    sys.exit(main())
