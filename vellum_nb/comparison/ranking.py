"""Ranking of releases by their duels: the model of Bradley and Terry, with ties by Davidson."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from html import escape
from typing import TYPE_CHECKING, Any

from vellum_nb.comparison.statistics import LEAST_UNITS, Estimate, two_sided
from vellum_nb.errors import InputError
from vellum_nb.escaping import printed
from vellum_nb.history import frame_of_cells
from vellum_nb.rendering.format import figure

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

    from vellum_nb.comparison.charts import Picture

    Floats = NDArray[np.float64]


_PRIOR = 0.1  # duels added to each outcome of each pair: abilities stay finite
_LEFT_OUT = 0.85  # share of these that the jackknife leaves out: as wide as Clopper-Pearson
_STEPS, _LARGEST_STEP, _CONVERGED = 100, 2.0, 1e-10
Outcome = tuple[int, str, str, int]
"""Index of the cluster, two releases, and -1, 0 or 1: the first wins, a tie, the second wins."""


@dataclass(frozen=True, repr=False, eq=False)
class Ranking:
    """Releases, the best first. Made by ``cmp.duels(...).ranking()``.

    Attributes
    ----------
    title : str
        Who decided the duels: the judge's name, or "people".
    abilities : dict
        Ability of each release with its 95 % interval: the log-odds to win against an average
        release, without ties. ``n`` is the number of cases.
    remark : str
        Why the intervals could be too narrow, or "".
    """

    title: str
    abilities: Mapping[str, Estimate]
    remark: str = ""

    def frame(self) -> pd.DataFrame:
        """Return one row per release: rank, ability with its interval, n and win rate.

        ``win_rate`` is the estimated share of wins against an average release, without ties.
        """
        cells: dict[str, list[Any]] = {
            "rank": list(range(1, len(self.abilities) + 1)),
            "release": [*self.abilities],
        }
        estimates = self.abilities.values()
        cells["ability"] = [e.mean for e in estimates]
        cells |= {name: [getattr(e, name) for e in estimates] for name in ("low", "high", "n")}
        cells["win_rate"] = [1 / (1 + math.exp(-e.mean)) for e in estimates]
        return frame_of_cells(cells)

    def chart(self) -> Picture:
        """Return a chart of the abilities with their intervals. Requires the extra ``charts``."""
        with charts_required():
            from vellum_nb.comparison.charts import ability_picture
        return ability_picture(self.abilities, self.title, self.remark)

    @property
    def line(self) -> str:
        """The ranking in one line."""
        places = enumerate(self.abilities.items(), 1)
        texts = [
            f"{at}. {name} {figure(e.mean, digits=2)} "
            f"({figure(e.low, digits=2)} to {figure(e.high, digits=2)})"
            for at, (name, e) in places
        ]
        return f"By {self.title}: {' · '.join(texts)}{self.remark and f'; {self.remark}'}"

    @printed
    def __repr__(self) -> str:
        return f"<Ranking {self.line}>"

    @printed
    def _repr_html_(self) -> str:
        return f"<p>{escape(self.line)}</p>"


@contextmanager
def charts_required() -> Iterator[None]:
    """Raise an `InputError` if a module of the extra ``charts`` cannot be imported."""
    try:
        yield
    except ImportError as exc:
        msg = "charts need Altair and vl-convert: pip install 'vellum-nb[charts]', then try again"
        raise InputError(msg) from exc


def rank(title: str, releases: Sequence[str], outcomes: Sequence[Outcome]) -> Ranking:
    """Return the ranking of `releases`; raise an `InputError` if duels do not connect all."""
    import numpy as np

    pairs = list(dict.fromkeys((first, second) for _, first, second, _ in outcomes))
    _check_connected(releases, pairs)
    counts = np.zeros((max(case for case, *_ in outcomes) + 1, len(pairs), 3))
    for case, first, second, value in outcomes:
        counts[case, pairs.index((first, second)), value + 1] += 1
    places = [(releases.index(first), releases.index(second)) for first, second in pairs]
    design = davidson_design(places, len(releases))
    estimates = _estimates(counts[counts.any(axis=(1, 2))], design)
    best = sorted(zip(releases, estimates, strict=True), key=lambda both: -both[1].mean)
    return Ranking(title, dict(best))


def _check_connected(releases: Sequence[str], pairs: Sequence[Sequence[str]]) -> None:
    reached, grows = {releases[0]}, True
    while grows:
        more = {name for pair in pairs if reached & set(pair) for name in pair}
        grows, reached = not more <= reached, reached | more
    if apart := [name for name in releases if name not in reached]:
        names = ", ".join(apart)
        msg = f"no duel connects {releases[0]} with {names}: raise max_calls, or rate more pairs"
        raise InputError(msg)


def davidson_design(pairs: Sequence[tuple[int, int]], number: int) -> Floats:
    """Return the weights of the parameters in the log-odds of each outcome of each pair.

    The parameters are the abilities of all releases but the first, and that of ties.
    """
    import numpy as np

    design = np.zeros((len(pairs), 3, number + 1))
    for at, (first, second) in enumerate(pairs):
        design[at, 0, first] = design[at, 2, second] = design[at, 1, number] = 1.0
        design[at, 1, [first, second]] = 0.5
    return design[:, :, 1:]


def _estimates(counts: Floats, design: Floats) -> list[Estimate]:
    """Return the ability of each release, from counts by case, pair and outcome.

    The interval is Student's, with the standard error of the jackknife over cases. Each outcome of
    each pair has `_PRIOR` more duels; the jackknife leaves out most of them in turn, so the
    interval is valid for outcomes that did not occur.
    """
    import numpy as np

    number, (pairs, kinds, _) = len(counts), design.shape
    prior = _PRIOR * np.eye(pairs * kinds).reshape(-1, pairs, kinds)
    total = counts.sum(axis=0) + _PRIOR
    left_out = np.concatenate([np.zeros((1, pairs, kinds)), counts, _LEFT_OUT * prior])
    mean, *without = fitted_abilities(total - left_out, design)
    variance = np.var(without, axis=0) * (len(without) - 1)
    edge = float(two_sided(0.05, number - 1)) if number >= LEAST_UNITS else math.nan
    width = edge * np.sqrt(variance)
    ends = zip(mean.tolist(), (mean - width).tolist(), (mean + width).tolist(), strict=True)
    return [Estimate(*of, n=number) for of in ends]


def fitted_abilities(counts: Floats, design: Floats) -> Floats:
    """Return the most likely abilities for each table of counts by pair and outcome; sum 0.

    Davidson (1970): the odds of a win, a tie and a loss of two releases are a : c * sqrt(a * b) :
    b. Newton's method, for all tables at once.
    """
    import numpy as np

    tables, size = len(counts), design.shape[2]
    flat = design.reshape(-1, size)
    products = (flat[:, :, None] * flat[:, None, :]).reshape(len(flat), -1)
    parameters, of_pair = np.zeros((tables, size)), counts.sum(axis=2, keepdims=True)
    for _ in range(_STEPS):
        odds = np.exp((parameters @ flat.T).reshape(counts.shape))
        expected = of_pair * odds / odds.sum(axis=2, keepdims=True)
        means = np.einsum("pok,tpo->tpk", design, expected)
        squares = (expected.reshape(tables, -1) @ products).reshape(tables, size, size)
        squares -= np.matmul((means / of_pair).swapaxes(1, 2), means)
        gradient = (counts - expected).reshape(tables, -1) @ flat
        step = np.linalg.solve(squares, gradient[:, :, None])[:, :, 0]
        parameters += np.clip(step, -_LARGEST_STEP, _LARGEST_STEP)
        if np.abs(step).max() < _CONVERGED:
            break
    abilities: Floats = np.column_stack([np.zeros(tables), parameters[:, :-1]])
    abilities -= abilities.mean(axis=1, keepdims=True)
    return abilities
