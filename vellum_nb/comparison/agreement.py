"""Agreement of judges with people's ratings, and of people with each other."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
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
from vellum_nb.escaping import printable, printed
from vellum_nb.history import clean, frame_of_cells
from vellum_nb.models import Run
from vellum_nb.rendering.format import figure, percent, plural
from vellum_nb.rendering.html import render

if TYPE_CHECKING:
    import pandas as pd


_MIN_RATED_RUNS = 30  # of a checked judge
_MIN_KAPPA = 0.4  # lower bound of the kappa of a checked judge
_PASS_RATING = 0.5  # smallest passing rating
_KAPPA_RATERS = 2  # of more raters, alpha is computed


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Agreement:
    """Agreement of two or more raters on the answers that pass. Figures have a 95 % interval and n.

    Attributes
    ----------
    title : str
        The raters.
    n : int
        Number of runs behind all figures except sensitivity and specificity.
    agreement : Estimate
        Share of runs with agreement: `mean`, `low`, `high`, `n`.
    kappa, alpha : Estimate or None
        Cohen's kappa for two raters, Krippendorff's alpha (nominal) for more.
    sensitivity, specificity : Estimate or None
        Share of the answers passed by people that the judge passes, and of those failed by people
        that it fails.
    confusion : DataFrame or None
        For two raters, the number of runs by both verdicts.
    problem, noise : str
        The reason why the judge is not checked; how often its verdicts on one answer differ.
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
    noise: str = ""
    disagreements: Mapping[str, list[Any]] = field(default_factory=dict)

    @property
    def figures(self) -> dict[str, Estimate]:
        """The available figures by name."""
        names = ("agreement", "sensitivity", "specificity", "kappa", "alpha")
        return {n: estimate for n in names if (estimate := getattr(self, n)) is not None}

    def frame(self) -> pd.DataFrame:
        """Return one row per run with disagreement: its case, and all figures."""
        return frame_of_cells({clean(n): column for n, column in self.disagreements.items()})

    @property
    def line(self) -> str:
        """The figures in one line."""
        parts = [f"{name} {words}" for name, words in self._words().items()]
        return f"{self.title}: {' · '.join(parts)}"

    def _words(self) -> dict[str, str]:
        return {name: _words(name, value) for name, value in self.figures.items()}

    @printed
    def __repr__(self) -> str:
        return f"<{printable(self.line)}>"

    @printed
    def _repr_html_(self) -> str:
        return render("agreement.html.j2", check=self, figures=self._words())


def _words(name: str, value: Estimate) -> str:
    text = partial(figure, digits=2) if name in {"kappa", "alpha"} else percent
    if math.isnan(value.mean):
        return f"not enough data (n = {value.n:,})"
    return f"{text(value.mean)} (95 %: {text(value.low)} to {text(value.high)}, n = {value.n:,})"


def judge_check(
    runs: Sequence[tuple[Run, Case, str]], figures: Sequence[Sequence[float]], judge: Judge
) -> Agreement:
    """Compare a judge with people; `figures` has rating and judge's figure of each run."""
    name = f"metric.{judge.name}"
    rows = [
        _row(*of, {"quality": rating, name: value})
        for of, (rating, value) in zip(runs, figures, strict=True)
        if not math.isnan(value + rating) and (of[0].state != "REJECTED" or judge.rejected is None)
    ]
    verdicts = [(row["quality"] >= _PASS_RATING, judge.passes(row[name])) for row in rows]
    who = {"quality": "people", name: "judge"}
    made = _agreement(f"judge {judge.name} against people", rows, verdicts, who)
    (both, missed), (wrong, neither) = made["confusion"].to_numpy().tolist()
    made["sensitivity"] = _share(both, both + missed)
    made["specificity"] = _share(neither, wrong + neither)
    problem, kappa = "", made["kappa"]
    if len(rows) < _MIN_RATED_RUNS:
        rated = plural(len(rows), "run that it judged is", "runs that it judged are")
        problem = f"was not checked: {rated} rated, {_MIN_RATED_RUNS} are needed"
    elif not kappa.low >= _MIN_KAPPA:  # or it is missing
        agrees = "may agree" if kappa.mean >= _MIN_KAPPA else "agrees"
        problem = f"{agrees} too little with people: kappa {_words('kappa', kappa)}"
        problem += f", and its lower bound must reach {_MIN_KAPPA}"
        if len({passed for _, passed in verdicts}) == 1:
            problem += f"; all get the same verdict: is threshold={judge.threshold} right?"
    noise, answers = judge.noise()
    if answers:
        pairs = f"on one answer: {percent(noise)} of pairs, {plural(answers, 'answer')}"
        made["noise"] = f"Verdicts of the judge {judge.name} differ {pairs}"
    return Agreement(**made, problem=problem and f"The judge {judge.name} {problem}")


def rater_check(runs: Sequence[tuple[Run, Case, str]]) -> Agreement:
    """Compare the people who rated the same runs with each other."""
    several = [of for of in runs if len(of[0].ratings) >= _KAPPA_RATERS]
    names = sorted({name for run, *_ in several for name in run.ratings})
    rows = [_row(*of, {f"quality@{n}": e for n, e in of[0].ratings.items()}) for of in several]
    columns = [f"quality@{name}" for name in names]
    verdicts = [tuple(row[name] >= _PASS_RATING for name in columns if name in row) for row in rows]
    title = f"raters {', '.join(names)}" if names else "no run with ratings of two authors"
    made = _agreement(title, rows, verdicts, dict(zip(columns, names, strict=True)))
    if len(names) != _KAPPA_RATERS:
        made["alpha"] = krippendorff_alpha(list(map(sum, verdicts)), list(map(len, verdicts)))
    return Agreement(**made)


def _row(run: Run, case: Case, release: str, figures: Mapping[str, float]) -> dict[str, Any]:
    return {"case_id": case.case_id, "release": release, **figures, "id": run.id}


def _agreement(
    title: str,
    rows: Sequence[Mapping[str, Any]],
    verdicts: Sequence[tuple[bool, ...]],
    names: Mapping[str, str],
) -> dict[str, Any]:
    """Return the common fields of an agreement.

    `names` maps columns of `rows` to raters; `verdicts` has whether each of them passes each run.
    """
    import pandas as pd

    unlike = [row for row, votes in zip(rows, verdicts, strict=True) if len(set(votes)) > 1]
    columns = ("case_id", "release", *names, "id")
    made: dict[str, Any] = {
        "title": title,
        "n": len(rows),
        "agreement": _share(len(rows) - len(unlike), len(rows)),
        "disagreements": {name: [row.get(name) for row in unlike] for name in columns},
    }
    if len(names) == _KAPPA_RATERS:
        table = [[verdicts.count((a, b)) for b in (True, False)] for a in (True, False)]
        index, across = ([f"{who}: pass", f"{who}: fail"] for who in names.values())
        made["confusion"] = pd.DataFrame(table, index=index, columns=across)
        made["kappa"] = cohen_kappa(table)
    return made


def _share(number: int, of: int) -> Estimate:
    return share_interval(number / of if of else math.nan, of)
