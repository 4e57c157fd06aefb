"""How often equal releases win duels, and how often intervals hold abilities, in simulations.

`A/A wins` is how often one of several equal releases is called the winner of a pair, and `ability`
the least coverage of the abilities of different releases. Exits with 1 where there are more than
5 % wins, or an interval holds less than 93 %.
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from vellum_nb.comparison.cases import Case
from vellum_nb.comparison.duels import (
    Duel,
    Duels,
    davidson_design,
    fitted_abilities,
    next_keys,
)

Values = NDArray[np.float64]
MOST, LEAST = 0.05, 0.93


@dataclass(frozen=True)
class Arena:
    """How duels come about: abilities, log-odds of ties, and their spread from case to case."""

    abilities: tuple[float, ...]
    ties: float = 0.0
    spread: float = 0.0
    share: float = 1.0  # of all calls


ARENAS = {
    "3 releases": Arena((-0.5, 0.0, 0.5), ties=-3.0),
    "3 releases, many ties": Arena((-0.5, 0.0, 0.5), ties=1.5),
    "3 releases, cases differ": Arena((-0.5, 0.0, 0.5), spread=1.5),
    "3 releases, far apart": Arena((-2.0, 0.0, 2.0)),
    "5 releases, cases differ": Arena((-1.0, -0.5, 0.0, 0.5, 1.0), spread=0.5),
    "2 releases, far apart": Arena((-1.5, 1.5), ties=-2.0),
    "3 releases, half of the calls": Arena((-0.5, 0.0, 0.5), share=0.5),
}


def outcomes_of(rng: np.random.Generator, number: int, arena: Arena, effect: float) -> Values:
    """Return the outcomes of each case and pair: -1, 0 or 1."""
    abilities = effect * np.array(arena.abilities)
    of_cases = abilities + rng.normal(0, arena.spread, (number, len(abilities)))
    first, second = np.array(list(combinations(range(len(abilities)), 2))).T
    a, b = of_cases[:, first], of_cases[:, second]
    odds = np.stack([a, (a + b) / 2 + arena.ties, b], axis=2) + rng.gumbel(size=(*a.shape, 3))
    return odds.argmax(axis=2) - 1.0


def duels_of(outcomes: Values, arena: Arena) -> Duels:
    """Return the duels that a judge with these outcomes decides, in rounds if calls are limited."""
    names = [f"v{number}" for number in range(len(arena.abilities))]
    cases = [Case(f"{at:04}", "v0", at + 1) for at in range(len(outcomes))]
    duels: list[Duel] = []
    for case in cases:
        for pair in combinations(names, 2):
            keys = tuple(f"{case.case_id} {pair} {order}" for order in "ab")
            duels.append(Duel(case, *pair, (None, None), keys=keys))
    values = dict(zip((duel.keys for duel in duels), outcomes.ravel().tolist(), strict=True))
    left, judged = int(arena.share * 2 * len(duels)), dict[str, str]()
    while keys := next_keys(duels, judged, left if arena.share == 1 else min(16, left), 0.05):
        judged |= dict.fromkeys(keys, "")
        left -= len(keys)
        duels = [
            replace(duel, kind="judged", value=values[duel.keys])
            if duel.keys[0] in judged
            else duel
            for duel in duels
        ]
    clusters = {case.case_id: case.number - 1 for case in cases}
    return Duels("judge", tuple(names), None, duels, clusters, 0.05)


def simulate(title: str, number: int, times: int, seed: int = 0) -> tuple[float, float]:
    """Return how often equal releases win a pair, and abilities are in their intervals."""
    arena = ARENAS[title]
    rng = np.random.default_rng([seed, number, list(ARENAS).index(title), 11])
    pairs = list(combinations(range(len(arena.abilities)), 2))
    large = outcomes_of(np.random.default_rng(1), 100_000, arena, 1.0)
    counts = np.stack([(large == kind).sum(axis=0) for kind in (-1, 0, 1)], axis=1)
    design = davidson_design(pairs, len(arena.abilities))
    truth = fitted_abilities(counts[None].astype(np.float64), design)[0]
    hits, wins = np.zeros(len(truth)), 0
    for _ in range(times):
        equal = duels_of(outcomes_of(rng, number, arena, 0.0), arena)
        wins += bool(equal.summary()["winner"].notna().any())
        abilities = duels_of(outcomes_of(rng, number, arena, 1.0), arena).ranking().abilities
        low, high = ([getattr(abilities[f"v{at}"], end) for at in range(len(truth))]
                     for end in ("low", "high"))  # fmt: skip
        hits += (low <= truth) & (truth <= high)
    return wins / times, float(hits.min()) / times


def main() -> int:
    """Simulate, print a table in Markdown, and return 1 where something does not hold."""
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--times", type=int, default=1_000, help="comparisons of each kind")
    options.add_argument("--sizes", type=int, nargs="*", default=(10, 20, 50))
    given = options.parse_args()
    bad = False
    print("| duels | cases | A/A wins | ability |\n|---|---|---|---|")
    for title in ARENAS:
        for number in given.sizes:
            wins, held = simulate(title, number, given.times)
            bad = bad or wins > MOST or held < LEAST
            print(f"| {title} | {number} | {100 * wins:.1f} | {100 * held:.1f} |", flush=True)
    return int(bad)


if __name__ == "__main__":
    sys.exit(main())
