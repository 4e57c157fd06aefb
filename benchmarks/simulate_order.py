"""Whether cases that differed before should run first in a sweep that stops by a margin.

Each of 100 cases has its own probability of differing between releases, and five earlier
comparisons show how often it did. A sweep runs the cases in a random order, or those first that
differed most often, and stops when v2 may or should not replace v1 (margin of 10 points). `wrong`
is how often it decides against the truth, `cases` the median number of cases of the sweeps that
decide, of which the informative order may need at most 60 %. Exits with 1 if the informative order
pays: then it should be offered.
"""

from __future__ import annotations

import argparse
import math
import sys

import numpy as np
from numpy.typing import NDArray

from vellum_nb.comparison.statistics import gain_evidence, sequential_test

CASES, EARLIER, MARGIN = 100, 5, 0.1
WRONG, FEWER = 0.05, 0.6
TRUTHS = {  # scenario: the decision that is right, or "" if both are wrong
    "no difference": "may",
    "worse where it differed before": "should not",
    "worse by 20 points anywhere": "should not",
    "worse by 10 points, where it never differed": "should not",
    "as good on average, worse where it differed before": "may",
}

Values = NDArray[np.float64]


def gains_of(rng: np.random.Generator, scenario: str, chance: Values, earlier: Values) -> Values:
    """Return the gain of each case: -1, 0 or 1."""
    differs = rng.random(CASES) < chance
    signs = rng.choice([-1.0, 1.0], CASES)
    if scenario.endswith("before"):
        signs = np.where(rng.random(CASES) < 0.9, -1.0, 1.0)
    gains = np.where(differs, signs, 0.0)
    if scenario.startswith("as good"):
        stable = np.flatnonzero(gains == 0)
        number = min(len(stable), round(max(0.0, -gains.sum())))
        gains[stable[np.argsort(earlier[stable], kind="stable")[:number]]] = 1.0
    share = {"worse by 20": 0.2, "worse by 10": 0.1}.get(scenario[:11], 0.0)
    if share:
        among = np.argsort(earlier + rng.random(CASES)) if share == 0.1 else rng.permutation(CASES)
        gains[among[: round(share * CASES)]] = -1.0
    return gains


def stop(gains: Values) -> tuple[str, int]:
    """Return the decision of a sweep, or "", and the number of its cases."""
    passes = np.flatnonzero(gain_evidence(gains + MARGIN, MARGIN - 1) >= -math.log(0.05))
    worse = sequential_test(gains)
    ends = [(int(passes[0]) + 1, "may")] if len(passes) else []
    ends += [(worse.cases, "should not")] if worse.side < 0 else []
    cases, decision = min(ends, default=(CASES, ""))
    return decision, cases


def replay(scenario: str, times: int, seed: int) -> tuple[list[float], list[float]]:
    """Return wrong and right decisions and median cases, in random and in informative order."""
    rng = np.random.default_rng([seed, list(TRUTHS).index(scenario)])
    ends: list[list[tuple[str, int]]] = [[], []]
    for _ in range(times):
        chance = rng.beta(0.3, 1.2, CASES)
        earlier = rng.binomial(EARLIER, chance).astype(np.float64)
        gains = gains_of(rng, scenario, chance, earlier)
        orders = rng.permutation(CASES), np.argsort(-earlier - rng.random(CASES))
        for order, found in zip(orders, ends, strict=True):
            found.append(stop(gains[order]))
    rows = []
    for found in ends:
        right = sum(decision == TRUTHS[scenario] for decision, _ in found)
        wrong = sum(bool(decision) for decision, _ in found) - right
        cases = [cases for decision, cases in found if decision] or [CASES]
        rows.append([wrong / times, right / times, float(np.median(cases))])
    return rows[0], rows[1]


def main() -> int:
    """Print a table in Markdown."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--times", type=int, default=2_000)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    head = "| sweep | wrong | right | cases | wrong, informative | right | cases |"
    sys.stdout.write(f"{head}\n|---|---|---|---|---|---|---|\n")
    pays = True
    for scenario in TRUTHS:
        plain, informative = replay(scenario, given.times, given.seed)
        pays &= informative[0] <= WRONG and informative[2] <= FEWER * plain[2]
        cells = [f"{100 * w:.1f} | {100 * r:.1f} | {c:.0f}" for w, r, c in (plain, informative)]
        sys.stdout.write(f"| {scenario} | {' | '.join(cells)} |\n")
        sys.stdout.flush()
    return int(pays)


if __name__ == "__main__":
    sys.exit(main())
