"""Agreement of judges with people's ratings, and of people with each other."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from vellum_nb.comparison.cases import Case
from vellum_nb.comparison.judge_bias import RatedAnswer, bias_frame
from vellum_nb.comparison.metrics import Judge
from vellum_nb.comparison.statistics import (
    NO_ESTIMATE,
    Estimate,
    cohen_kappa,
    krippendorff_alpha,
    share_interval,
)
from vellum_nb.errors import InputError
from vellum_nb.escaping import printable, printed
from vellum_nb.history import clean, frame_of_cells
from vellum_nb.models import Run
from vellum_nb.models.checks import check_texts
from vellum_nb.rendering.format import figure, percent, plural
from vellum_nb.rendering.html import render

if TYPE_CHECKING:
    import pandas as pd


_MIN_RATED_CASES = 30  # of a checked judge
_MIN_KAPPA = 0.4  # lower bound of the kappa of a checked judge
_PASS_RATING = 0.5  # smallest passing rating
_KAPPA_RATERS = 2  # of more raters, alpha is computed
_KINDS = ((True, True), (True, False), (False, True), (False, False))


@dataclass(frozen=True, slots=True, repr=False, eq=False)
class Agreement:
    """Agreement of two or more raters on the answers that pass. Figures have a 95 % interval and n.

    All runs of a case count as one case in intervals and in n.

    Attributes
    ----------
    title : str
        The raters.
    n : int
        Number of cases behind all figures except sensitivity and specificity.
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
    _rated: Sequence[RatedAnswer] = ()

    @property
    def figures(self) -> dict[str, Estimate]:
        """The available figures by name."""
        names = ("agreement", "sensitivity", "specificity", "kappa", "alpha")
        return {n: estimate for n in names if (estimate := getattr(self, n)) is not None}

    def frame(self) -> pd.DataFrame:
        """Return one row per run with disagreement: its case, and all figures."""
        return frame_of_cells({clean(n): column for n, column in self.disagreements.items()})

    def bias(self, by: str | Sequence[str] = ("length", "release")) -> pd.DataFrame:
        """Test whether the error of the judge depends on length, the release or a label.

        The error is the judge's figure minus the rating, or the difference of the two verdicts
        (1 for pass, 0 for fail) if figures are not from 0 to 1. Answers with the same rating are
        compared. All runs of a case count as one case. p has Holm's correction over the rows.

        Parameters
        ----------
        by : str or list of str
            ``"length"`` (of the outputs that the judge reads), ``"release"``, ``"label.<name>"``
            or ``"input.<name>"``.

        Returns
        -------
        DataFrame
            One row per column and value: ``by``, ``value``, the ``effect`` on the error per 100
            tokens (400 characters) or against all other values, with ``low``, ``high``, ``p`` and
            the number of cases ``n``; ``finding`` is "too high", "too low", "undecided", or
            "missing" without enough data (20 cases, six of each value).

        Raises
        ------
        InputError
            If a column is unknown, or the raters are people.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> _ = ws.server.deploy(lambda text: text, name="echo", release_tags=["v1"])
        >>> _ = ws.server.deploy(lambda answer: len(answer) > 400, name="likes-length")
        >>> cases = [{"text": "word " * (number * 37 % 200 + 1)} for number in range(40)]
        >>> for run in ws.sweep("echo", cases, release_tags=["v1"], progress=False).runs():
        ...     _ = ws.rate(run, quality=len(run.inputs["text"]) % 3 / 2)
        >>> judge = ws.judge("likes-length", inputs={"answer": "output.output"})
        >>> cmp = ws.compare("echo", release_tags=["v1"], metrics=judge, progress=False)
        >>> cmp.judge_check().bias("length")["finding"].item()
        'too high'
        >>> ws.close()
        """
        if self.sensitivity is None:
            msg = "bias() tests a judge: use cmp.judge_check().bias(...)"
            raise InputError(msg)
        return bias_frame(self._rated, [by] if isinstance(by, str) else check_texts("by", by))

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
    rated = [
        (of, rating, value)
        for of, (rating, value) in zip(runs, figures, strict=True)
        if not math.isnan(value + rating) and (of[0].state != "REJECTED" or judge.rejected is None)
    ]
    rows = [_row(*of, {"quality": rating, name: value}) for of, rating, value in rated]
    verdicts = [(row["quality"] >= _PASS_RATING, judge.passes(row[name])) for row in rows]
    who = {"quality": "people", name: "judge"}
    made = _agreement(f"judge {judge.name} against people", rows, verdicts, who)
    for rate, passed in (("sensitivity", True), ("specificity", False)):
        both = zip(rows, verdicts, strict=True)
        made[rate] = _share([(row, judged == passed) for row, (p, judged) in both if p == passed])
    same = len({passed for _, passed in verdicts}) == 1
    hint = f"; all get the same verdict: is threshold={judge.threshold} right?" if same else ""
    noise, answers = judge.noise()
    if answers:
        pairs = f"on one answer: {percent(noise)} of pairs, {plural(answers, 'answer')}"
        made["noise"] = f"Verdicts of the judge {judge.name} differ {pairs}"
    made["_rated"] = _rated_answers(rated, judge)
    return Agreement(**made, problem=_problem(judge.name, made, hint))


def duel_check(name: str, rows: Sequence[Mapping[str, Any]]) -> Agreement:
    """Compare the judge `name` of duels with people; `rows` has both answers of each duel.

    An answer passes if it is preferred: it has 1 in ``quality`` and in ``metric.<name>``.
    """
    column = f"metric.{name}"
    verdicts = [(row["quality"] == 1, row[column] == 1) for row in rows]
    who = {"quality": "people", column: "judge"}
    made = _agreement(f"judge {name} against people", rows, verdicts, who)
    return Agreement(**made, problem=_problem(name, made))


def _problem(name: str, made: Mapping[str, Any], hint: str = "") -> str:
    """Return the reason why a judge is not checked; `hint` follows a kappa that is too low."""
    kappa = made["kappa"]
    if made["n"] < _MIN_RATED_CASES:
        number = plural(made["n"], "case that it judged is", "cases that it judged are")
        return f"The judge {name} was not checked: {number} rated, {_MIN_RATED_CASES} are needed"
    if kappa.low >= _MIN_KAPPA:
        return ""
    agrees = "may agree" if kappa.mean >= _MIN_KAPPA else "agrees"  # or it is missing
    problem = f"The judge {name} {agrees} too little with people: kappa {_words('kappa', kappa)}"
    return f"{problem}, and its lower bound must reach {_MIN_KAPPA}{hint}"


def _rated_answers(
    rated: Sequence[tuple[tuple[Run, Case, str], float, float]], judge: Judge
) -> list[RatedAnswer]:
    """Return the rated runs with the error of the judge."""
    is_scale = not judge.lower_is_better and all(0 <= value <= 1 for *_, value in rated)
    answers = []
    for (run, case, release), rating, value in rated:
        passes = float(rating >= _PASS_RATING)
        error = value - rating if is_scale else judge.passes(value) - passes
        characters = judge.characters(run)
        answers.append(RatedAnswer(case, release, (rating, passes), error, characters))
    return answers


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
        counts = list(map(sum, verdicts)), list(map(len, verdicts))
        made["alpha"] = krippendorff_alpha(*counts, _case_numbers(rows))
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
    agreement = _share([(r, len(set(v)) == 1) for r, v in zip(rows, verdicts, strict=True)])
    made: dict[str, Any] = {
        "title": title,
        "n": agreement.n,
        "agreement": agreement,
        "disagreements": {name: [row.get(name) for row in unlike] for name in columns},
    }
    if len(names) == _KAPPA_RATERS:
        counts = [[0] * len(_KINDS) for _ in range(agreement.n)]
        for at, pair in zip(_case_numbers(rows), verdicts, strict=True):
            counts[at][_KINDS.index(pair)] += 1
        table = [sum(column) for column in zip(*counts, strict=True)] or [0] * len(_KINDS)
        index, across = ([f"{who}: pass", f"{who}: fail"] for who in names.values())
        made["confusion"] = pd.DataFrame([table[:2], table[2:]], index=index, columns=across)
        made["kappa"] = cohen_kappa(counts)
    return made


def _case_numbers(rows: Sequence[Mapping[str, Any]]) -> list[int]:
    numbers: dict[str, int] = {}
    return [numbers.setdefault(row["case_id"], len(numbers)) for row in rows]


def _share(hits: Sequence[tuple[Mapping[str, Any], bool]]) -> Estimate:
    """Return the share of hits; its interval is that of the effective number of cases (Kish)."""
    if not hits:
        return NO_ESTIMATE
    sizes = Counter(row["case_id"] for row, _ in hits).values()
    share = sum(hit for _, hit in hits) / len(hits)
    interval = share_interval(share, len(hits) ** 2 / sum(size**2 for size in sizes))
    return replace(interval, n=len(sizes))
