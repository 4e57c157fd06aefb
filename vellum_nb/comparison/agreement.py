"""Agreement of judges with people's ratings and of people with each other; bias of judges."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

from vellum_nb.comparison import statistics as stats
from vellum_nb.comparison.cases import Case, named
from vellum_nb.comparison.metrics import Judge
from vellum_nb.comparison.statistics import NO_ESTIMATE, Estimate
from vellum_nb.errors import InputError
from vellum_nb.escaping import printable, printed
from vellum_nb.history import cell, clean, frame_of_cells
from vellum_nb.lazy import Bools, Floats, Ints, np, pd
from vellum_nb.models import Run
from vellum_nb.models.checks import available, check_texts
from vellum_nb.rendering.format import figure, percent, plural, value_key
from vellum_nb.rendering.html import render

_MIN_RATED_CASES = 30  # of a checked judge
_MIN_KAPPA = 0.4  # lower bound of the kappa of a checked judge
_PASS_RATING = 0.5  # smallest passing rating
_KAPPA_RATERS = 2  # of more raters, alpha is computed
_PER_LENGTH = 400  # characters, about 100 tokens
_ALPHA = 0.05
_NAME_COLUMNS = ("name", "n", "people", "judge", "kappa", "low", "high")
_BINARY = 2  # values, of which the second is compared with the first


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
    _rated: pd.DataFrame | None = None  # of a judge: one row per run, as `_bias_frame` reads it

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
            ``"length"`` (of the outputs that the judge reads, of a conversation those of all turns
            that it reads), ``"release"``, ``"label.<name>"`` or ``"input.<name>"``.

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
        if self._rated is None:
            msg = "bias() tests a judge: use cmp.judge_check().bias(...)"
            raise InputError(msg)
        return _bias_frame(self._rated, [by] if isinstance(by, str) else check_texts("by", by))

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
    rated = [
        (of, rating, value)
        for of, (rating, value) in zip(runs, figures, strict=True)
        if not math.isnan(value + rating) and (of[0].state != "REJECTED" or judge.rejected is None)
    ]
    name = f"metric.{judge.name}"
    rows = [_row(*of, {"quality": rating, name: value}) for of, rating, value in rated]
    votes = [(rating >= _PASS_RATING, judge.passes(value)) for _, rating, value in rated]
    made = _against_people(judge.name, rows, votes)
    people, verdicts = np.array(votes, dtype=bool).reshape(-1, 2).T
    for rate, passed in (("sensitivity", True), ("specificity", False)):
        chosen = people == passed
        made[rate] = _share(verdicts[chosen] == passed, _case_numbers(rows)[chosen])
    is_same = len(set(verdicts.tolist())) == 1
    hint = f"; all get the same verdict: is threshold={judge.threshold} right?" if is_same else ""
    noise, answers = judge.noise()
    if answers:
        pairs = f"on one answer: {percent(noise)} of pairs, {plural(answers, 'answer')}"
        made["noise"] = f"Verdicts of the judge {judge.name} differ {pairs}"
    made["_rated"] = _rated_runs(rated, judge)
    return Agreement(**made, problem=_problem(judge.name, made, hint))


def name_checks(
    runs: Sequence[tuple[Run, Case, str]], figures: Sequence[float], judge: Judge
) -> pd.DataFrame:
    """Return the agreement of a judge with people by failure name, over the inspected answers.

    An answer counts as inspected if people rated it, wrote a note on it or named a failure.
    """
    inspected = [
        (
            (run, case, release),
            named(run.tags),
            judge.failures(run, case.expected, case.conversation(run)),
        )
        for (run, case, release), figure in zip(runs, figures, strict=True)
        if not math.isnan(figure) and _is_inspected(run)
    ]
    names = sorted({name for _, by_people, _ in inspected for name in by_people})
    rows = [_row(*of, {}) for of, _, _ in inspected]
    raters = {"people": "people", judge.name: "judge"}
    cells: dict[str, list[Any]] = {name: [] for name in _NAME_COLUMNS}
    for name in names:
        votes = [(name in by_people, name in by_judge) for _, by_people, by_judge in inspected]
        kappa = _agreement(name, rows, votes, raters)["kappa"]
        counts = [sum(side) for side in zip(*votes, strict=True)]
        values = (name, kappa.n, *counts, kappa.mean, kappa.low, kappa.high)
        for column, value in zip(_NAME_COLUMNS, values, strict=True):
            cells[column].append(value)
    return frame_of_cells(cells).astype(dict.fromkeys(_NAME_COLUMNS[-3:], "float64"))


def _is_inspected(run: Run) -> bool:
    return run.quality is not None or bool(run.note or named(run.tags))


def duel_check(name: str, rows: Sequence[Mapping[str, Any]]) -> Agreement:
    """Compare the judge `name` of duels with people; `rows` has both answers of each duel.

    An answer passes if it is preferred: it has 1 in ``quality`` and in ``metric.<name>``.
    """
    votes = [(row["quality"] == 1, row[f"metric.{name}"] == 1) for row in rows]
    made = _against_people(name, rows, votes)
    return Agreement(**made, problem=_problem(name, made))


def _against_people(
    name: str, rows: Sequence[Mapping[str, Any]], votes: Sequence[tuple[bool, bool]]
) -> dict[str, Any]:
    raters = {"quality": "people", f"metric.{name}": "judge"}
    return _agreement(f"judge {name} against people", rows, votes, raters)


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


def _rated_runs(
    rated: Sequence[tuple[tuple[Run, Case, str], float, float]], judge: Judge
) -> pd.DataFrame:
    """Return one row per run that people rated, with the error of the judge."""
    is_scale = not judge.lower_is_better and all(0 <= value <= 1 for *_, value in rated)
    rows = []
    for (run, case, release), rating, value in rated:
        length = judge.characters(case.conversation(run))
        rows.append((case, release, rating, rating >= _PASS_RATING, value, length))
    frame = pd.DataFrame(rows, columns=["case", "release", "rating", "passes", "error", "length"])
    if is_scale:
        return frame.assign(error=frame["error"] - frame["rating"])
    return frame.assign(error=frame["error"].map(judge.passes).astype(float) - frame["passes"])


def rater_check(runs: Sequence[tuple[Run, Case, str]]) -> Agreement:
    """Compare the people who rated the same runs with each other."""
    several = [of for of in runs if len(of[0].ratings) >= _KAPPA_RATERS]
    names = sorted({name for run, *_ in several for name in run.ratings})
    rows = [_row(*of, {f"quality@{n}": e for n, e in of[0].ratings.items()}) for of in several]
    ratings = np.array([[run.ratings.get(n, math.nan) for n in names] for run, *_ in several])
    votes = np.where(np.isnan(ratings), math.nan, ratings >= _PASS_RATING)
    title = f"raters {', '.join(names)}" if names else "no run with ratings of two authors"
    return Agreement(**_agreement(title, rows, votes, {f"quality@{name}": name for name in names}))


def _row(run: Run, case: Case, release: str, figures: Mapping[str, float]) -> dict[str, Any]:
    return {"case_id": case.case_id, "release": release, **figures, "id": run.id}


def _agreement(
    title: str,
    rows: Sequence[Mapping[str, Any]],
    votes: Sequence[Sequence[float]] | Floats,
    raters: Mapping[str, str],
) -> dict[str, Any]:
    """Return the common fields of an agreement.

    `votes` has a row per run and a column per rater: 1 for pass, 0 for fail, NaN without a rating.
    `raters` maps columns of `rows` to names.
    """
    passes = np.array(votes, dtype=np.float64).reshape(len(rows), len(raters))
    ratings, passed = (~np.isnan(passes)).sum(axis=1), np.nansum(passes, axis=1)
    is_unlike = (passed > 0) & (passed < ratings)
    unlike = [rows[at] for at in is_unlike.nonzero()[0]]
    cases = _case_numbers(rows)
    agreement = _share(~is_unlike, cases)
    columns = ("case_id", "release", *raters, "id")
    made: dict[str, Any] = {
        "title": title,
        "n": agreement.n,
        "agreement": agreement,
        "disagreements": {name: [row.get(name) for row in unlike] for name in columns},
    }
    if len(raters) != _KAPPA_RATERS:
        return made | {"alpha": stats.krippendorff_alpha(passed, ratings, cases)}
    counts = np.zeros((agreement.n, 4))  # both pass, only the first, only the second, neither
    np.add.at(counts, (cases, (3 - passes @ [2, 1]).astype(np.intp)), 1)
    index, across = ([f"{name}: pass", f"{name}: fail"] for name in raters.values())
    table = counts.sum(axis=0).astype(np.int64).reshape(2, 2)
    made["confusion"] = pd.DataFrame(table, index=index, columns=across)
    return made | {"kappa": stats.cohen_kappa(counts)}


def _case_numbers(rows: Sequence[Mapping[str, Any]]) -> Ints:
    return pd.factorize(np.array([row["case_id"] for row in rows], dtype=object))[0]


def _share(hits: Bools, cases: Ints) -> Estimate:
    """Return the share of hits; its interval is that of the effective number of cases (Kish)."""
    if not len(hits):
        return NO_ESTIMATE
    sizes = np.unique(cases, return_counts=True)[1]
    interval = stats.share_interval(float(hits.mean()), len(hits) ** 2 / float(sizes @ sizes))
    return replace(interval, n=len(sizes))


def _bias_frame(rated: pd.DataFrame, by: Sequence[str]) -> pd.DataFrame:
    """Return the effects documented in `Agreement.bias`."""
    cases = pd.factorize(np.array([case.case_id for case in rated["case"]], dtype=object))[0]
    controls = rated[["rating", "passes"]].to_numpy(dtype=np.float64)
    errors = rated["error"].to_numpy(dtype=np.float64)
    rows: list[tuple[str, Any, Estimate]] = []
    for column in by:
        terms = _terms(column, rated, cases)
        effects = [(value, stats.slope(errors, x, controls, cases)) for value, x in terms]
        rows += [(column, value, effect) for value, effect in effects or [(None, NO_ESTIMATE)]]
    cells = [
        (column, cell(value), e.mean, e.low, e.high, p, e.n, _finding(e, p))
        for (column, value, e), p in zip(rows, stats.holm([e.p for *_, e in rows]), strict=True)
    ]
    names = ("by", "value", "effect", "low", "high", "p", "n", "finding")
    return frame_of_cells({name: [row[at] for row in cells] for at, name in enumerate(names)})


def _finding(effect: Estimate, p: float | None) -> str:
    if p is None:
        return "missing"
    if p > _ALPHA:
        return "undecided"
    return "too high" if effect.mean > 0 else "too low"


def _terms(column: str, rated: pd.DataFrame, cases: Ints) -> Iterator[tuple[Any, Floats]]:
    """Yield the regressors of a column: the length, or an indicator of each frequent value.

    Of two values, the second is compared with the first.
    """
    if column == "length":
        yield "100 tokens", rated["length"].to_numpy(dtype=np.float64) / _PER_LENGTH
        return
    values = _values(column, rated)
    codes, levels = pd.factorize(np.array([value_key(value) for value in values], dtype=object))
    for code in range(len(levels) == _BINARY, len(levels)):
        is_value = codes == code
        if min(len(np.unique(cases[mask])) for mask in (is_value, ~is_value)) >= stats.LEAST_UNITS:
            yield values[is_value.argmax()], is_value.astype(np.float64)


def _values(column: str, rated: pd.DataFrame) -> list[Any]:
    """Return the value of a column per run, or raise if no case has it."""
    if column == "release":
        return rated["release"].tolist()
    side, _, name = column.partition(".")
    cases: list[Case] = rated["case"].tolist()
    sides = {"label": [case.labels for case in cases], "input": [case.inputs for case in cases]}
    dicts = sides.get(side, [])
    if cases and not any(name in values for values in dicts):
        names = (f"{s}.{key}" for s, values in sides.items() for row in values for key in row)
        columns = dict.fromkeys(["length", "release", *names])
        msg = f"{column!r} is not a column of the rated cases{available(columns)}"
        raise InputError(msg)
    return [values.get(name) for values in dicts]
