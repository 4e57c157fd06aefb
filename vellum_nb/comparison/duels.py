"""Duels: a judge or people prefer one of two answers to the same case; rankings by duels."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from html import escape
from inspect import signature
from itertools import combinations
from operator import itemgetter
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from vellum_nb.comparison.actions import Actions, CallLimits
from vellum_nb.comparison.agreement import Agreement, duel_check
from vellum_nb.comparison.cases import Case
from vellum_nb.comparison.figures import ComparisonFigures
from vellum_nb.comparison.judge_calls import (
    JudgeCalls,
    are_exhausted,
    planned_calls,
    run_judge,
    was_stopped,
)
from vellum_nb.comparison.metrics import Judge, Judgement, check_columns, filled
from vellum_nb.comparison.statistics import (
    LEAST_UNITS,
    Estimate,
    holm,
    sequential_test,
    sign_test,
    two_sided,
    win_rate,
)
from vellum_nb.errors import InputError
from vellum_nb.escaping import printed
from vellum_nb.history import frame_of_cells, frame_of_records
from vellum_nb.lazy import Floats, load_jsonschema, np, pd
from vellum_nb.models import Run, case_id
from vellum_nb.models.checks import available, refuse
from vellum_nb.models.inputs import format_value
from vellum_nb.rendering.format import figure, p_sentence, percent, plural

if TYPE_CHECKING:
    from vellum_nb.comparison.charts import Picture


DuelInputs: TypeAlias = Mapping[str, str] | Callable[..., Mapping[str, Any]]
Kind = Literal["judged", "order", "same", "lost", "failed", "open"]
"""How a duel was decided, see `Duels.frame`; the last two are not."""
_SIDES = ("input", "first", "second", "expected")
_CONVERSATIONS = ("first_conversation", "second_conversation")
_WINNERS = {"first": -1.0, "a": -1.0, "second": 1.0, "b": 1.0, "tie": 0.0}
_ROUNDS = 8  # of limited calls
_MIN_ROUND = 16  # calls
_HALF = 0.5
_FIXED = "intervals are for a fixed number of cases"
_PRIOR = 0.1  # duels added to each outcome of each pair: abilities stay finite
_LEFT_OUT = 0.85  # share of these that the jackknife leaves out: as wide as Clopper-Pearson
_STEPS, _LARGEST_STEP, _CONVERGED = 100, 2.0, 1e-10
Outcome = tuple[int, str, str, int]
"""Index of the cluster, two releases, and -1, 0 or 1: the first wins, a tie, the second wins."""


class WinnerJudge(Judge):
    """Judge with the figure -1 if it prefers the first of two answers, 1 for the second, or 0."""

    default_output = "winner"

    def _parsed(self, name: str, value: Any) -> bool | float:
        word = value.strip().casefold() if isinstance(value, str) else ""
        if word not in _WINNERS:
            words = available(["first", "second", "tie"])
            msg = f"{name} of {self.deployment}: {format_value(value)} is not a winner{words}"
            raise ValueError(msg)
        return _WINNERS[word]


@dataclass(frozen=True, slots=True)
class DuelJudge:
    """A workflow that sees two answers and returns the better one; see `Workspace.duel_judge`."""

    judge: WinnerJudge
    inputs: DuelInputs | None
    actions: Actions = field(repr=False)

    def __post_init__(self) -> None:
        check_columns(self.inputs, (*_SIDES, *_CONVERSATIONS), needed=("first", "second"))

    def request(self, case: Case, first: Run, second: Run) -> dict[str, Any]:
        """Return the inputs of the workflow for two answers in this order."""
        talks = dict(zip(_CONVERSATIONS, map(case.conversation, (first, second)), strict=True))
        if callable(self.inputs):
            names = signature(self.inputs).parameters
            by_name = {name: talk for name, talk in talks.items() if name in names}
            made = self.inputs(first, second, dict(case.expected), **by_name)
            if not isinstance(made, Mapping):
                refuse("the result of inputs", made, "a mapping of input variables to values")
            return dict(made)
        if self.inputs is None:
            answers = [talk.answer for talk in talks.values()]
            values = (first.inputs, *answers, case.expected)
            return dict(zip(("inputs", *_SIDES[1:]), values, strict=True))
        values = (first.inputs, first.outputs, second.outputs, case.expected)
        return filled(self.inputs, {**dict(zip(_SIDES, values, strict=True)), **talks})

    def check_verdict(self) -> None:
        """Raise if the release of the judge is known to lack the output with the verdict."""
        judge = self.judge
        release = self.actions.release(judge.deployment, judge.release_tag)
        names = [v.key for v in release.workflow_version.output_variables] if release else []
        if names and judge.output not in (None, *names):
            msg = f"{judge.deployment} has no output {judge.output!r}{available(names)}"
            raise InputError(msg)


@dataclass(frozen=True, slots=True, eq=False)
class Duel:
    """The answers of two releases to one case, and which of them is better."""

    case: Case
    first: str
    second: str
    runs: tuple[Run | None, Run | None]
    kind: Kind = "open"
    value: float = math.nan  # -1: the first release wins, 1: the second, 0: a tie
    position: float = 0.0  # 1 if the judge prefers the answer shown first, -1 the other one
    problem: str = ""
    keys: tuple[str, ...] = ()  # `case_id` of the judge's inputs, in both orders

    @property
    def pair(self) -> tuple[str, str]:
        """The two releases."""
        return self.first, self.second

    @property
    def is_decided(self) -> bool:
        """Whether it counts as a win, a loss or a tie."""
        return not math.isnan(self.value)

    @property
    def winner(self) -> str | None:
        """The better release, "tie" or None."""
        return {-1.0: self.first, 0.0: "tie", 1.0: self.second}.get(self.value)


def all_duels(figures: ComparisonFigures) -> list[Duel]:
    """Return all duels, case by case; cases of one cluster are adjacent.

    A release that alone has an answer wins, unless ``missing="drop"``. The order is that of the
    hashes of the inputs: equal in every process, and independent of the answers. If the sweep
    stopped early, it is that of execution, as the test depends on it.
    """
    ids = [case.case_id for case in figures.cases]
    order = figures.order if figures.is_stopped else None
    turns = sorted(range(len(ids)), key=ids.__getitem__) if order is None else order
    clusters, starts = _clusters(figures), dict[int, int]()
    for turn, at in enumerate(turns):
        starts.setdefault(clusters[at], turn)
    cases = [figures.cases[at] for at in sorted(turns, key=lambda at: starts[clusters[at]])]
    pairs, lost = list(combinations(figures.releases, 2)), figures.missing != "drop"
    if not (pairs and cases):
        msg = f"duels need cases on two releases; compared: {', '.join(figures.releases)}"
        raise InputError(msg)
    return [_duel(case, *pair, lost=lost) for case in cases for pair in pairs]


def _clusters(figures: ComparisonFigures) -> list[int]:
    numbers: Any = range(len(figures.cases)) if figures.clusters is None else figures.clusters
    return list(map(int, numbers))


def _duel(case: Case, first: str, second: str, *, lost: bool) -> Duel:
    runs = case.counting(first), case.counting(second)
    duel = Duel(case, first, second, runs)
    states = ["missing" if run is None else run.state for run in runs]
    if states == ["FULFILLED", "FULFILLED"]:
        return duel
    if lost and "FULFILLED" in states and {"FAILED", "REJECTED"} & set(states):
        return replace(duel, kind="lost", value=-1.0 if states[0] == "FULFILLED" else 1.0)
    problems: dict[str, list[str]] = {}
    for name, state in zip((first, second), states, strict=True):
        if state == "missing":
            problems.setdefault("not run on", []).append(name)
        elif state != "FULFILLED":
            problems.setdefault("no answer on", []).append(f"{name} ({state})")
    texts = [f"{text} {' and '.join(names)}" for text, names in problems.items()]
    return replace(duel, kind="failed", problem=" and ".join(texts))


def plan_duels(figures: ComparisonFigures, judge: DuelJudge) -> tuple[list[Duel], JudgeCalls]:
    """Return all duels with the ids of their requests, and the calls that they need."""
    judge.judge.check_outputs(figures.output_names, judge.inputs)
    requests: dict[str, Mapping[str, Any]] = {}
    duels = all_duels(figures)
    planned = [_requested(duel, judge, requests) for duel in duels]
    pairs = zip(duels, planned, strict=True)
    asked = [request for duel, request in pairs if duel.kind == "open"]
    if asked and all(request.kind == "failed" for request in asked):
        msg = (
            f"the judge {judge.judge.name} has no inputs for any duel: {asked[0].problem}; give "
            "columns, or a function of (first run, second run, expected) that returns a mapping"
        )
        raise InputError(msg)
    if requests:
        judge.check_verdict()
    return planned, planned_calls(judge.actions, judge.judge, requests)


def _requested(duel: Duel, judge: DuelJudge, requests: dict[str, Mapping[str, Any]]) -> Duel:
    """Add the requests of an open duel; equal ones, as those of equal answers, are a tie."""
    first, second = duel.runs
    if duel.kind != "open" or first is None or second is None:
        return duel
    try:
        both = [judge.request(duel.case, *runs) for runs in ((first, second), (second, first))]
        keys = tuple(map(case_id, both))
    except Exception as exc:  # noqa: BLE001  (of the user's function)
        return replace(duel, kind="failed", problem=f"{type(exc).__name__}: {exc}")
    if keys[0] == keys[1]:
        return replace(duel, kind="same", value=0.0)
    requests.update(zip(keys, both, strict=True))
    return replace(duel, keys=keys)


def judged_duels(
    duels: Sequence[Duel],
    calls: JudgeCalls,
    limits: CallLimits,
    alpha: float,
) -> list[Duel]:
    """Judge planned duels in both orders, within the limits.

    If the calls do not suffice for all, they are made in rounds, which begin with the pairs of
    releases that are not decided yet.
    """
    most = limits.get("max_calls")
    budget = calls.calls if most is None else min(most, calls.calls)
    size = budget if budget == calls.calls else max(_MIN_ROUND, budget // _ROUNDS)
    judgements: dict[str, Judgement] = dict(calls.stored)
    made = [_decided(duel, calls.judge, judgements) for duel in duels]
    limits, is_stopped = {**limits, "max_calls": budget}, False
    while not (is_stopped or are_exhausted(limits)):
        keys = next_keys(made, judgements, min(size, limits["max_calls"] or 0), alpha)
        if not keys:
            break
        batch = replace(calls, cases={key: calls.cases[key] for key in keys})
        new, limits = run_judge(batch, limits)
        is_stopped = any(map(was_stopped, new.values()))
        judgements |= {key: j for key, j in new.items() if not was_stopped(j)}
        made = [_decided(duel, calls.judge, judgements) for duel in made]
    return made


def _decided(duel: Duel, judge: Judge, judgements: Mapping[str, Judgement]) -> Duel:
    """Return an open duel with the verdict of the judge, if it has judged both orders."""
    if duel.kind != "open" or not (duel.keys and all(key in judgements for key in duel.keys)):
        return duel
    reader = judge.replaced(judgements=judgements)
    try:
        forward, backward = (float(reader.verdicts(key)[0]) for key in duel.keys)
    except ValueError as exc:
        return replace(duel, kind="failed", problem=str(exc))
    if forward == -backward:
        return replace(duel, kind="judged", value=forward)
    return replace(duel, kind="order", value=0.0, position=-math.copysign(1, forward + backward))


def next_keys(
    duels: Sequence[Duel], judgements: Mapping[str, Judgement], size: int, alpha: float
) -> list[str]:
    """Return at most `size` missing requests: undecided pairs of releases first, then in turn."""
    pairs: dict[tuple[str, str], list[Duel]] = {}
    for duel in duels:
        pairs.setdefault(duel.pair, []).append(duel)
    queue: list[tuple[bool, int, int, Duel]] = []
    for at, group in enumerate(pairs.values()):
        open_duels = [duel for duel in group if duel.kind == "open" and duel.keys]
        values = [duel.value for duel in group if duel.is_decided]
        test = sequential_test(values, left=len(open_duels), alpha=alpha / len(pairs))
        is_decided = bool(test.side) or not test.can_decide
        turns = enumerate(open_duels, start=sum(bool(d.keys) for d in group) - len(open_duels))
        queue += [(is_decided, turn, at, duel) for turn, duel in turns]
    keys: dict[str, None] = {}
    for *_, duel in sorted(queue, key=lambda place: place[:3]):
        more = [key for key in duel.keys if key not in judgements and key not in keys]
        if len(keys) + len(more) > size:
            break
        keys |= dict.fromkeys(more)
    return list(keys)


def rated_duels(
    duels: Sequence[Duel], ratings: pd.DataFrame, question: str, *, in_order: bool
) -> list[Duel]:
    """Return the duels that people rated blind, in the order of their ratings, then all others.

    With `in_order`, all have the order of `duels`. Only ratings that have ended count; equal
    answers are ties if other cases of the pair are rated.
    """
    by_runs = {frozenset(run.id for run in duel.runs if run): duel for duel in duels}
    is_final = ratings["undone"].isna() & ratings["ended"].notna()
    rows = ratings[is_final & (ratings["question"] == question)]
    columns = (rows[name].tolist()[::-1] for name in ("run_a", "run_b", "choice"))
    rated: dict[Duel, Duel] = {}
    for a, b, choice in zip(*columns, strict=True):
        if (duel := by_runs.get(frozenset({a, b}))) is not None:
            rated.pop(duel, None)  # rated again
            rated[duel] = _rated(duel, {"A": a, "B": b}.get(choice), choice)
    pairs = {duel.pair for duel in rated}
    turns = duels if in_order else [*rated, *(duel for duel in duels if duel not in rated)]
    return [rated.get(duel) or _same(duel) for duel in turns if duel.pair in pairs]


def _rated(duel: Duel, run_id: str | None, choice: str) -> Duel:
    """Return a duel that the run `run_id` won, or a tie or skipped duel."""
    if choice == "skip":
        return replace(duel, kind="failed", problem="skipped by the rater")
    is_first = duel.runs[0] is not None and duel.runs[0].id == run_id
    value = 0.0 if run_id is None else -1.0 if is_first else 1.0
    return replace(duel, kind="judged", value=value, problem="")


def _same(duel: Duel) -> Duel:
    first, second = duel.runs
    if duel.kind == "open" and first and second and duel.case.is_same(first, second):
        return replace(duel, kind="same", value=0.0)
    return duel


@dataclass(frozen=True, repr=False, eq=False)
class Duels:
    """Duels of the releases of a comparison, case by case. Made by `Comparison.duels`.

    Attributes
    ----------
    title : str
        Who decided: the judge's name, or "people".
    releases : tuple of str
        The compared releases, the baseline first.
    check : Agreement or None
        Agreement of the judge with blind ratings by people; None for people.
    """

    title: str
    releases: tuple[str, ...]
    check: Agreement | None
    _duels: Sequence[Duel]
    _clusters: Mapping[str, int]  # by case id
    _alpha: float
    _is_stopped: bool = False  # the sweep, early

    def frame(self) -> pd.DataFrame:
        """Return one row per case and pair: `winner` is a release, "tie" or missing.

        `kind` is ``judged``, ``order`` (a tie, because the verdict depends on the order of the
        answers), ``same`` (a tie by equal answers), ``lost`` (only the winner has an answer),
        ``failed`` (no verdict, see `problem`) or ``open`` (not judged).
        """
        cells = {"case_id": [duel.case.case_id for duel in self._duels]}
        for name in ("first", "second", "winner", "kind", "problem"):
            cells[name] = [getattr(duel, name) for duel in self._duels]
        return frame_of_cells(cells)

    def summary(self) -> pd.DataFrame:
        """Return one row per pair of releases.

        `wins` and `losses` are those of `second`, including `lost` answers. `ties` include those by
        `order` and by `same` answers; `failed` and `open` duels are not decided. `win_rate` is the
        share of wins without ties, with its exact 95 % interval. `p` is that of the sign test, or,
        with open duels or after a sweep that stopped early, of a test that is valid at any time,
        with Holm's correction over the pairs. `winner` is missing unless p is below `alpha`. With
        `cluster`, a cluster counts once in `win_rate` and p.
        """
        rows = self._rows()
        return frame_of_records(dict.fromkeys(rows[0]), rows)

    def _rows(self) -> list[dict[str, Any]]:
        rows = [self._row(*pair) for pair in dict.fromkeys(duel.pair for duel in self._duels)]
        for row, p in zip(rows, holm([row["p"] for row in rows]), strict=True):
            winner = row["second"] if row["win_rate"] > _HALF else row["first"]
            row |= {"p": p, "winner": winner if p is not None and p < self._alpha else None}
        return rows

    def _row(self, first: str, second: str) -> dict[str, Any]:
        """Return a row of `summary`, with p before the correction."""
        duels = [duel for duel in self._duels if duel.pair == (first, second)]
        kinds, counts = Counter(duel.kind for duel in duels), Counter(duel.value for duel in duels)
        sums: dict[int, float] = {}
        for duel in duels:
            cluster = self._clusters[duel.case.case_id]
            sums[cluster] = sums.get(cluster, 0.0) + (duel.value if duel.is_decided else 0.0)
        rate = win_rate(*_sides(sums))
        is_fixed = not (kinds["open"] or self._is_stopped)
        p = rate.p if is_fixed else 1 / sequential_test(list(sums.values())).evidence
        row: dict[str, Any] = {"first": first, "second": second}
        row |= {"wins": counts[1.0], "losses": counts[-1.0], "ties": counts[0.0]}
        row |= {kind: kinds[kind] for kind in get_args(Kind)[1:]}
        return row | rate.columns("win_rate", ".") | {"p": p}

    def ranking(self) -> Ranking:
        """Return the ranking of the releases, by the model of Bradley and Terry with ties.

        Raises
        ------
        InputError
            Duels do not connect all releases.
        """
        outcomes = [
            (self._clusters[duel.case.case_id], *duel.pair, int(duel.value))
            for duel in self._duels
            if duel.is_decided
        ]
        ranking = rank(self.title, self.releases, outcomes)
        return replace(ranking, remark=f"{self._caveat}; {_FIXED}" if self._caveat else "")

    @property
    def _caveat(self) -> str:
        """Why the number of duels could depend on their results, or ""."""
        number = sum(duel.kind == "open" for duel in self._duels)
        reasons = ["the sweep stopped early"] if self._is_stopped else []
        return " and ".join(reasons + ([f"{plural(number, 'duel')} not judged"] if number else []))

    @property
    def bias(self) -> str:
        """Sentence on verdicts that depend on the order of the answers, or ""."""
        depends = [duel for duel in self._duels if duel.kind == "order"]
        if not depends:
            return ""
        judged = len(depends) + sum(duel.kind == "judged" for duel in self._duels)
        sums: dict[str, float] = {}
        for duel in depends:
            sums[duel.case.case_id] = sums.get(duel.case.case_id, 0.0) + duel.position
        p, first = sign_test(*_sides(sums)), sum(duel.position > 0 for duel in depends)
        side, count = max(("first", first), ("second", len(depends) - first), key=itemgetter(1))
        is_biased = "is biased" if p < self._alpha else "may be biased"
        return (
            f"The judge {self.title} {is_biased}: its verdict depends on the order of the answers "
            f"in {len(depends):,} of {plural(judged, 'duel')}, which are ties; it prefers the "
            f"answer shown {side} in {count:,} of them ({p_sentence(p)})"
        )

    @property
    def notes(self) -> list[str]:
        """Caveats: bias of the judge, duels that are not decided, an unchecked judge."""
        kinds = Counter(duel.kind for duel in self._duels)
        notes = [self.bias] if self.bias else []
        if kinds["failed"]:
            first = next(duel.problem for duel in self._duels if duel.kind == "failed")
            notes.append(f"{plural(kinds['failed'], 'duel')} without a verdict: {first}")
        if self._caveat:
            notes.append(f"{self._caveat}; p is valid at any time, {_FIXED}")
        return notes + ([self.check.problem] if self.check and self.check.problem else [])

    @property
    def lines(self) -> list[str]:
        """One sentence per pair of releases, and the notes."""
        return [*map(_line, self._rows()), *(f"{note}." for note in self.notes)]

    @printed
    def __str__(self) -> str:
        return "\n".join(self.lines)

    __repr__ = __str__

    @printed
    def _repr_html_(self) -> str:
        return "".join(f"<p>{escape(line)}</p>" for line in self.lines)


def _sides(sums: Mapping[Any, float]) -> tuple[int, int]:
    """Return how many sums are above and below zero."""
    return sum(value > 0 for value in sums.values()), sum(value < 0 for value in sums.values())


def _line(row: Mapping[str, Any]) -> str:
    counts = f"{row['wins']:,} better · {row['losses']:,} worse · {plural(row['ties'], 'tie')}"
    pair = f"{row['second']} against {row['first']}: {counts}"
    if not row["wins"] + row["losses"]:
        return pair
    rate, low, high = (percent(row[f"win_rate{end}"]) for end in ("", ".low", ".high"))
    return f"{pair} · wins {rate} without ties (95 %: {low} to {high}), {p_sentence(row['p'])}"


def made_duels(
    figures: ComparisonFigures,
    judge: DuelJudge | None,
    ratings: pd.DataFrame,
    question: str,
    limits: CallLimits,
) -> Duels:
    """Return the duels documented in `Comparison.duels`."""
    is_stopped = figures.is_stopped
    rated = rated_duels(all_duels(figures), ratings, question, in_order=is_stopped)
    clusters = dict(zip((case.case_id for case in figures.cases), _clusters(figures), strict=True))
    made = partial(
        Duels,
        releases=figures.releases,
        _clusters=clusters,
        _alpha=figures.alpha,
        _is_stopped=is_stopped,
    )
    if judge is None:
        if not rated:
            asks = f"no blind rating of these releases that has ended asks {question!r}"
            msg = f"{asks}: rate with cmp.view(blind=True), or give a judge"
            raise InputError(msg)
        return made("people", check=None, _duels=rated)
    judged = judged_duels(*plan_duels(figures, judge), limits, figures.alpha)
    people = {(duel.case.case_id, duel.pair): duel for duel in rated if duel.kind == "judged"}
    name, rows = judge.judge.name, list[dict[str, Any]]()
    for duel in judged:
        by_people = people.get((duel.case.case_id, duel.pair))
        if by_people is not None and duel.kind in {"judged", "order"}:
            rows += _answers(duel, by_people.value, f"metric.{name}")
    return made(name, check=duel_check(name, rows), _duels=judged)


def _answers(duel: Duel, rating: float, column: str) -> list[dict[str, Any]]:
    """Return both answers of a duel with 1 for the winner, 0 for the loser, and 0.5 for a tie."""
    return [
        {
            "case_id": duel.case.case_id,
            "release": name,
            "quality": (1 + sign * rating) / 2,
            column: (1 + sign * duel.value) / 2,
            "id": run and run.id,
        }
        for sign, name, run in zip((-1, 1), duel.pair, duel.runs, strict=True)
    ]


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
        estimates = self.abilities.values()
        cells: dict[str, list[Any]] = {"rank": [*range(1, len(estimates) + 1)]}
        cells |= {"release": [*self.abilities], "ability": [e.mean for e in estimates]}
        cells |= {name: [getattr(e, name) for e in estimates] for name in ("low", "high", "n")}
        return frame_of_cells(
            cells | {"win_rate": [1 / (1 + math.exp(-e.mean)) for e in estimates]}
        )

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
    load_jsonschema()  # which Altair imports
    try:
        yield
    except ImportError as exc:
        msg = "charts need Altair and vl-convert: pip install 'vellum-nb[charts]', then try again"
        raise InputError(msg) from exc


def rank(title: str, releases: Sequence[str], outcomes: Sequence[Outcome]) -> Ranking:
    """Return the ranking of `releases`; raise an `InputError` if duels do not connect all."""
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
