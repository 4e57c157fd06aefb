"""Agreement: verdicts of a judge against people's ratings, and of people among each other."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from vellum_nb.comparison.cases import Case
from vellum_nb.comparison.metrics import Judge
from vellum_nb.comparison.statistics import (
    Estimate,
    cohen_kappa,
    krippendorff_alpha,
    share_interval,
)
from vellum_nb.history import clean, frame_of_cells
from vellum_nb.models import Run
from vellum_nb.rendering.format import figure, percent, plural
from vellum_nb.rendering.html import render

if TYPE_CHECKING:
    import pandas as pd


_RATED, _KAPPA = 30, 0.4  # rated runs, and the lower bound of kappa, of a judge that is checked
_PASS = 0.5  # the rating from which an answer passes
_WORDS = ("pass", "fail")
_TWO = 2

Found = tuple[Run, Case, str, dict[str, float]]
"""A rated run, its case and release, and the column of each who rated it to the figure."""


def rating_of(run: Run) -> float | None:
    """Return how people rated a run: the mean of those who said who they are, else `quality`."""
    found = run.ratings.values()
    return sum(found) / len(found) if found else run.quality


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Agreement:
    """How far two or more agree on which answers pass; every figure has its 95 % interval and n.

    Attributes
    ----------
    title : str
        Who is compared.
    n : int
        How many runs all figures are of, but sensitivity and specificity.
    agreement : Estimate
        The share of runs on which all agree: `mean`, `low`, `high`, `n`.
    kappa, alpha : Estimate or None
        Cohen's kappa of two; Krippendorff's alpha (nominal) of more.
    sensitivity, specificity : Estimate or None
        Of what people passed the share that the judge passes; of what they failed, that it fails.
    confusion : DataFrame or None
        Of two, how many runs each passed and failed.
    problem : str
        Why the judge does not count as checked; empty where it does.
    """

    title: str
    n: int
    agreement: Estimate
    kappa: Estimate | None = None
    alpha: Estimate | None = None
    sensitivity: Estimate | None = None
    specificity: Estimate | None = None
    confusion: pd.DataFrame | None = None
    problem: str = ""
    disagreements: Mapping[str, list[Any]] = field(default_factory=dict)

    @property
    def figures(self) -> dict[str, Estimate]:
        """Name to figure, of those that there are."""
        names = ("agreement", "sensitivity", "specificity", "kappa", "alpha")
        return {name: found for name in names if (found := getattr(self, name)) is not None}

    def frame(self) -> pd.DataFrame:
        """Return one row per run on which they disagree: its case, and the figure of each."""
        return frame_of_cells({clean(name): each for name, each in self.disagreements.items()})

    @property
    def line(self) -> str:
        """The figures in one line."""
        parts = [f"{name} {words}" for name, words in self._words().items()]
        return f"{self.title}: {' · '.join(parts)}"

    def _words(self) -> dict[str, str]:
        return {name: _words(name, found) for name, found in self.figures.items()}

    def __repr__(self) -> str:
        return f"<{self.line}>"

    def _repr_html_(self) -> str:
        return render("agreement.html.j2", check=self, figures=self._words())


def _words(name: str, found: Estimate) -> str:
    text = partial(figure, digits=2) if name in {"kappa", "alpha"} else percent
    if math.isnan(found.mean):
        return f"not enough data (n = {found.n:,})"
    return f"{text(found.mean)} (95 %: {text(found.low)} to {text(found.high)}, n = {found.n:,})"


def judge_check(
    runs: Sequence[tuple[Run, Case, str]], figures: Sequence[Sequence[float]], judge: Judge
) -> Agreement:
    """Compare a judge with people; `figures` are the rating and the judge's figure of each run."""
    name = f"metric.{judge.name}"
    found: list[Found] = [
        (run, case, release, {name: value, "quality": rating})
        for (run, case, release), (rating, value) in zip(runs, figures, strict=True)
        if not math.isnan(value + rating) and (run.state != "REJECTED" or judge.rejected is None)
    ]
    tests = {"quality": _passes, name: judge.passes}
    table = _counts(found, tests)
    (both, missed), (wrong, neither) = table
    made = _agreement(f"judge {judge.name} against people", found, tests)
    kappa = made["kappa"] = cohen_kappa(table)
    made["sensitivity"] = _share(both, both + missed)
    made["specificity"] = _share(neither, wrong + neither)
    problem = ""
    if len(found) < _RATED:
        rated = plural(len(found), "run that it judged is", "runs that it judged are")
        problem = f"was not checked: {rated} rated, {_RATED} are needed"
    elif not kappa.low >= _KAPPA:  # or there is none
        problem = f"agrees too little with people: kappa {_words('kappa', kappa)}"
        problem += f", and its lower bound must reach {_KAPPA}"
        if len({judge.passes(values[name]) for *_, values in found}) == 1:
            problem += f"; all get the same verdict: is threshold={judge.threshold} right?"
    return Agreement(**made, problem=problem and f"The judge {judge.name} {problem}")


def rater_check(runs: Sequence[tuple[Run, Case, str]]) -> Agreement:
    """Compare the people who rated the same runs with each other."""
    found: list[Found] = [
        (run, case, release, {f"quality@{name}": each for name, each in run.ratings.items()})
        for run, case, release in runs
        if len(run.ratings) >= _TWO
    ]
    names = sorted({name for *_, rated in found for name in rated})
    tests = dict.fromkeys(names, _passes)
    listed = ", ".join(name.removeprefix("quality@") for name in names)
    made = _agreement(f"raters {listed or 'none'}", found, tests)
    if len(names) == _TWO:
        made["kappa"] = cohen_kappa(_counts(found, tests))
    else:
        passed = [sum(map(_passes, rated.values())) for *_, rated in found]
        made["alpha"] = krippendorff_alpha(passed, [len(rated) for *_, rated in found])
    return Agreement(**made)


def _passes(quality: float) -> bool:
    return quality >= _PASS


def _counts(
    found: Sequence[Found], tests: Mapping[str, Callable[[float], bool]]
) -> list[list[int]]:
    """Return the two by two table of two, passes first."""
    table = [[0, 0], [0, 0]]
    for *_, values in found:
        row, at = (not passes(values[name]) for name, passes in tests.items())
        table[row][at] += 1
    return table


def _agreement(
    title: str, found: Sequence[Found], tests: Mapping[str, Callable[[float], bool]]
) -> dict[str, Any]:
    """Return what every agreement has: the share of runs on which all agree, and the others."""
    import pandas as pd

    unlike = [each for each in found if len({tests[n](v) for n, v in each[3].items()}) > 1]
    cells: dict[str, list[Any]] = {
        "case_id": [case.case_id for _, case, *_ in unlike],
        "release": [release for *_, release, _ in unlike],
        **{name: [values.get(name) for *_, values in unlike] for name in tests},
        "id": [run.id for run, *_ in unlike],
    }
    made: dict[str, Any] = {"title": title, "n": len(found), "disagreements": cells}
    made["agreement"] = _share(len(found) - len(unlike), len(found))
    if len(tests) == _TWO:
        rows, columns = ([f"{name}: {word}" for word in _WORDS] for name in tests)
        made["confusion"] = pd.DataFrame(_counts(found, tests), index=rows, columns=columns)
    return made


def _share(number: int, of: int) -> Estimate:
    return share_interval(number / of if of else math.nan, of)
