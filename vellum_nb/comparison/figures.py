"""Figures of a comparison, computed from its table of runs: scores, verdicts, findings, frames.

`ComparisonFigures` is all that reports, gates, charts and views show; they take it as data.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from statistics import fmean
from typing import TYPE_CHECKING, Any, Literal, get_args

from vellum_nb.comparison.agreement import Agreement, judge_check
from vellum_nb.comparison.cases import (
    Case,
    Status,
    cluster_numbers,
    error_text,
    is_answer,
    label_note,
)
from vellum_nb.comparison.failures import Failures, failure_rows, failures_of
from vellum_nb.comparison.metrics import Evaluation, Judge, Metric
from vellum_nb.comparison.statistics import (
    LEAST_UNITS,
    MANY,
    ROUNDING,
    Estimate,
    cases_needed,
    corrected_mean,
    detectable_share,
    holm,
    mean_interval,
    mean_ratio,
    paired,
    paired_share,
    pooled_variance,
    sequential_test,
    share_interval,
    sign_test,
    standard_error,
    two_sided,
    unlike_pairs,
)
from vellum_nb.comparison.traces import first_difference, is_comparable
from vellum_nb.escaping import printable, warn
from vellum_nb.history import cell, clean, collection_paused, frame_of_cells, micros
from vellum_nb.models import Run
from vellum_nb.models.inputs import unknown_name
from vellum_nb.rendering.format import cut, figure, p_sentence, percent, plural, value_key

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray


Verdict = Literal["better", "worse", "same", "noise", "missing", "unscored", "error"]
"""How a case compares with the baseline on a release.

``"noise"`` where repeats differ as much; ``"missing"`` without an answer on both; ``"unscored"``
where the metric does not apply; ``"error"`` where it raised.
"""
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

Finding = Literal["better", "worse", "same", "noise", "undecided", "missing"]
"""The verdict on a whole release, against the baseline; see `ReleaseResult`."""

_BETTER, _WORSE, _SAME, _NOISE, _MISSING, _UNSCORED, _ERROR = range(len(VERDICTS))
_EQUAL = 1e-9
_ALWAYS: tuple[Verdict, ...] = ("better", "worse", "same")
_STATUS_WORDS = (("differs", "differs"), ("same", "identical"), ("missing", "without an answer"))
_CHANGED = {"differs": True, "same": False, "missing": None}
FIRST_CHANGED = "first_changed."
"""Columns of the summary: how many cases a node is the first that differs in."""
_NODES = 300  # characters of a list of nodes
NO_ANSWER = "without an answer"  # on the release or the baseline
_TEXTS = ("release", "release_tag", "release_id", "environment", "finding")
_RATED_ENDS, _DELTA_ENDS = (0.0, 1.0), (-math.sqrt(0.5), math.sqrt(0.5))  # of a rating, and two

Key = tuple[str, str]
"""A release, and the name of a metric."""


def runs_table(
    cases: Sequence[Case],
    releases: Sequence[str],
    metrics: Sequence[Metric],
    known: Mapping[str, Mapping[str, Evaluation]],
) -> pd.DataFrame:
    """Return one row per run, with a column for each metric.

    `case` and `release` are places; `counts` is whether it is the run that counts of its case on
    its release; `kind` is a number that equal answers share, -1 where no answer came; `rating` is
    the mean of what people rated. `known` are earlier evaluations: metric to the id of the run to
    what it returned.
    """
    import pandas as pd

    table = _rows_of(cases, releases)
    runs: list[Run] = table["run"].tolist()
    for name in ("state", "latency_s", "cost_usd", "quality"):
        kind = "object" if name == "state" else "float64"
        table[name] = pd.Series([getattr(run, name) for run in runs], dtype=kind)
    rated = [fmean(own.values()) if (own := run.ratings) else run.quality for run in runs]
    table["rating"] = pd.Series(rated, dtype="float64")
    expected = [cases[at].expected for at in table["case"].tolist()]
    for metric in metrics:
        found = _evaluated(metric, runs, expected, known.get(metric.name, {}))
        values = [math.nan if value is None else value for value, _ in found]
        table[f"metric.{metric.name}"] = pd.Series(values, dtype="float64")
        errors = pd.Series([problem for _, problem in found], dtype="object")
        table[f"metric_error.{metric.name}"] = errors
        failed, answers = errors.dropna().tolist(), sum(map(is_answer, runs))
        if not isinstance(metric, Judge) and 2 * len(failed) > answers:  # a judge's plan has them
            text = f"The metric {metric.name} failed on {len(failed):,} of {plural(answers, 'run')}"
            warn(clean(f"{text}, see cmp.errors(). First: {failed[0]}"), stacklevel=5)
    return table


@collection_paused()
def _rows_of(cases: Sequence[Case], releases: Sequence[str]) -> pd.DataFrame:
    """Return one row per run, without its figures."""
    import pandas as pd

    rows = [
        (at, column, repeat, run, run is counting, is_answer(run))
        for at, case in enumerate(cases)
        for column, release in enumerate(releases)
        for counting in (case.counting(release),)
        for repeat, run in enumerate(case.tries.get(release, ()))
    ]
    kinds = {"case": "int64", "release": "int64", "repeat": "int64", "run": "object"}
    kinds |= {"counts": "bool", "is_answer": "bool"}
    table = pd.DataFrame(rows, columns=list(kinds)).astype(kinds)
    keys = [
        f"{run.state} {error_text(run)} {value_key(run.outputs)}" if is_answer(run) else None
        for run in table["run"].tolist()
    ]
    table["kind"] = pd.factorize(pd.Series(keys, dtype="object"))[0]
    return table


def _evaluated(
    metric: Metric,
    runs: Sequence[Run],
    expected: Sequence[Mapping[str, Any]],
    known: Mapping[str, Evaluation],
) -> list[Evaluation]:
    """Return the figure of each run, or why it is missing."""
    name = metric.looks_at
    answers = [run for run in runs if run.state == "FULFILLED"]
    if name is not None and not any(name in run.outputs for run in answers):
        names = ", ".join(dict.fromkeys(each for run in answers for each in run.outputs))
        slip = f"no run has an output called {name!r}; there are: {names}" if names else None
        if slip is not None:
            return [(None, slip if is_answer(run) else None) for run in runs]
    return [
        (None, None) if not is_answer(run) else known.get(run.id) or metric.evaluate(run, target)
        for run, target in zip(runs, expected, strict=True)
    ]


@dataclass(frozen=True, slots=True)
class Scored:
    """The figures of one metric, case by release."""

    metric: Metric
    mean: NDArray[np.float64]  # over the repeats, of which there are `count`
    count: NDArray[np.int64]
    variance: NDArray[np.float64]  # NaN where there are fewer than two
    failed: NDArray[np.int64]  # how often the metric raised
    answered: NDArray[np.bool_]
    rejected: NDArray[np.bool_]  # all answers are rejected runs
    pooled: tuple[float | None, ...]  # of each release the variance between repeats
    pairs: tuple[tuple[int, int], ...]  # of each release: of repeats with other figures, and all
    passes: bool  # every figure is pass or fail

    def noise_floor(self, *columns: int) -> tuple[float | None, int]:
        """Return how often two repeats of one release differ, None without any, of how many."""
        unlike, pairs = map(sum, zip(*(self.pairs[at] for at in set(columns)), strict=True))
        return unlike / pairs if pairs else None, pairs


def _scored(table: pd.DataFrame, metric: Metric, shape: tuple[int, int]) -> Scored:
    """Return the figures of `metric`, whose column is in `table`; `shape` is cases by releases."""
    import numpy as np

    rows = table[table["is_answer"]]
    cell_of = (rows["case"] * shape[1] + rows["release"]).to_numpy(dtype=np.intp)
    values = rows[f"metric.{metric.name}"].to_numpy(dtype=np.float64)

    def counted(mask: Any, weights: Any = None) -> NDArray[Any]:
        return np.bincount(cell_of[mask], weights, minlength=shape[0] * shape[1]).reshape(shape)

    has = ~np.isnan(values)
    found, cells = values[has], cell_of[has]
    count = counted(has)
    with np.errstate(all="ignore"):  # cells without a figure
        mean = counted(has, found) / count
        squares = counted(has, (found - mean.reshape(-1)[cells]) ** 2)
        variance = np.where(count > 1, squares / (count - 1), np.nan)
        kinds = np.unique(np.round(found / (metric.tolerance or _EQUAL)), return_inverse=True)[1]
    release = rows["release"].to_numpy(dtype=np.intp)[has]
    chosen = [release == at for at in range(shape[1])]
    answers = counted(slice(None))
    return Scored(
        metric=metric,
        mean=mean,
        count=count,
        variance=variance,
        failed=counted(rows[f"metric_error.{metric.name}"].notna().to_numpy()),
        answered=answers > 0,
        rejected=(answers > 0) & (counted((rows["state"] == "REJECTED").to_numpy()) == answers),
        pooled=tuple(pooled_variance(cells[own], found[own]) for own in chosen),
        pairs=tuple(unlike_pairs(cells[own], kinds.reshape(-1)[own]) for own in chosen),
        passes=bool(np.isin(found, (0.0, 1.0)).all()),
    )


@dataclass(frozen=True, slots=True)
class Against:
    """One release compared with the baseline by one metric."""

    codes: NDArray[np.int8]  # of each case the place of its verdict in `VERDICTS`
    delta: NDArray[np.float64]  # of the means of each case; NaN without both
    counts: dict[Verdict, int]
    change: Estimate  # the mean of `delta`: `paired`, or `paired_share`
    sign_p: float | None  # of better against worse cases, ties left out; None without any pair
    noise_floor: float | None  # how often two repeats of one release differ
    noise_pairs: int  # of how many pairs
    band: float | None  # the mean difference that repeats alone would make, 95 times of 100
    least: float | None  # the least mean difference that can be shown; None: none can
    needed: int | None  # cases that would show the difference that there is, 4 times of 5
    is_over: bool  # a sweep that could stop early has decided, or could not with the cases left

    @property
    def decided(self) -> int:
        """How many cases are better or worse."""
        return self.counts["better"] + self.counts["worse"]

    @property
    def compared(self) -> int:
        """How many cases have a figure on both."""
        return self.decided + self.counts["same"] + self.counts["noise"]


def _against(
    figures: Scored,
    baseline: int,
    column: int,
    *,
    alpha: float,
    clusters: NDArray[np.intp] | None = None,
    order: Sequence[int] | None = None,
    left: int = 0,
) -> Against:
    """Compare the release in `column` with that in `baseline`; `alpha` is for this pair alone.

    `left` is how many cases in `order` were not run.
    """
    import numpy as np

    columns = [baseline, column]
    delta = figures.mean[:, column] - figures.mean[:, baseline]
    delta[np.abs(delta) <= ROUNDING * np.abs(figures.mean[:, column])] = 0.0
    codes = _codes(figures, baseline, column, delta)
    counts = {name: int((codes == at).sum()) for at, name in enumerate(VERDICTS)}
    has = ~np.isnan(delta)
    known = delta[has]
    number, own = len(known), None if clusters is None else clusters[has]
    spread = standard_error(known, own) * math.sqrt(number)
    is_clustered = clusters is not None  # of which the tests below know nothing
    is_single = figures.passes and number and figures.count[:, columns].max() <= 1
    if is_single and not is_clustered:
        change = paired_share(int((known > 0).sum()), int((known < 0).sum()), number)
    else:
        change = paired(known, clusters=own, is_share=figures.passes)
    units = number if own is None else len(np.unique(own))
    least = 0.0 if units >= LEAST_UNITS else None
    if figures.passes:
        least = detectable_share(units, alpha)
    if least is not None:
        least = max(least, two_sided(alpha, units - 1) * spread / math.sqrt(number))
    is_known = any(counts[name] for name in ("better", "worse", "same", "noise"))
    by_sign: float | None
    is_over = False
    if order is not None:  # the sweep could stop after every case
        gaps = np.where(has & (np.abs(delta) > figures.metric.tolerance), delta, 0.0)
        signs = (codes == _BETTER).astype(np.float64) - (codes == _WORSE)
        rule: Any = {"left": left, "alpha": alpha}
        tests = [sequential_test(each[list(order)], **rule) for each in (gaps, signs)]
        is_over = tests[0].side != 0 or not tests[0].can_decide
        p, by_sign = (1 / each.evidence for each in tests)
        known_p = (1.0 if change.p is None else change.p) if is_clustered else 0.0
        change, by_sign = replace(change, p=max(p, known_p)), max(by_sign, known_p)
    elif is_clustered:
        by_sign = change.p
    else:
        by_sign = sign_test(counts["better"], counts["worse"])
    noise_floor, noise_pairs = figures.noise_floor(*columns)
    return Against(
        codes=codes,
        delta=delta,
        counts=counts,
        change=change,
        sign_p=by_sign if is_known else None,
        noise_floor=noise_floor,
        noise_pairs=noise_pairs,
        band=_band(figures, columns, has),
        least=least,
        needed=cases_needed(change.mean, spread, alpha=alpha),
        is_over=is_over,
    )


def _codes(
    figures: Scored, baseline: int, column: int, delta: NDArray[np.float64]
) -> NDArray[np.int8]:
    import numpy as np

    gain = figures.metric.sign * delta
    edge = max(figures.metric.tolerance, _EQUAL)
    known = ~np.isnan(delta)
    codes = np.full(len(delta), _UNSCORED, dtype=np.int8)
    codes[known] = _SAME
    codes[known & (gain > edge)] = _BETTER
    codes[known & (gain < -edge)] = _WORSE
    squares: Any = 0.0  # of the standard errors that repeats give the two means
    free: Any = 0.0  # their degrees of freedom
    for at in (baseline, column):
        own, pooled = figures.variance[:, at], figures.pooled[at] or 0.0
        squares += np.where(np.isnan(own), pooled, own) / np.maximum(figures.count[:, at], 1)
        free += np.maximum(figures.count[:, at] - 1, 0)
    noise = np.sqrt(squares) * two_sided(0.05, np.where(free > 0, free, MANY))
    codes[known & (np.abs(delta) <= noise) & (np.abs(gain) > edge)] = _NOISE
    raised = (figures.failed > 0) & np.isnan(figures.mean)
    one, other = raised[:, baseline], raised[:, column]
    codes[~known & (one | other)] = _ERROR
    # Where the metric raised since only this run was rejected, that is worse, not lost.
    refused, refused_base = figures.rejected[:, column], figures.rejected[:, baseline]
    codes[~known & other & ~one & refused & ~refused_base] = _WORSE
    codes[~known & one & ~other & refused_base & ~refused] = _BETTER
    codes[~(figures.answered[:, baseline] & figures.answered[:, column])] = _MISSING
    return codes


def _band(figures: Scored, columns: Sequence[int], has: NDArray[np.bool_]) -> float | None:
    import numpy as np

    known = [each for at in columns if (each := figures.pooled[at]) is not None]
    number = int(has.sum())
    if not known or not number:
        return None
    total, free = 0.0, np.maximum(figures.count[np.ix_(has, np.unique(columns))] - 1, 0).sum()
    for at in columns:
        pooled = figures.pooled[at]
        variance = sum(known) / len(known) if pooled is None else pooled
        total += variance * float((1 / np.maximum(figures.count[has, at], 1)).sum()) / number**2
    return float(two_sided(0.05, max(free, 1))) * math.sqrt(total)


@dataclass(frozen=True, slots=True)
class ReleaseResult:
    """How one release compares with the baseline, by one metric.

    Attributes
    ----------
    release : str
        The column.
    metric : str or None
        The metric's name; None of a comparison without metrics.
    verdict : str or None
        ``"better"``, ``"worse"``, ``"same"``; ``"noise"`` where repeats alone differ as much,
        ``"undecided"`` where it could be chance, ``"missing"`` where there is nothing to compare.
        None without a metric.
    delta : Estimate or None
        The mean difference to the baseline over `delta.n` cases, with its 95 % interval from
        `delta.low` to `delta.high`.
    p, sign_p : float or None
        The p value of the mean difference, and that of better against worse cases (the same where
        clusters are named). Both have Holm's correction over the releases; None without any pair.
    better, same, worse, noise : int
        How many cases have this verdict.
    missing : int
        How many cases have no answer, on the release or on the baseline.
    unscored, error : int
        How many cases the metric does not apply to, or raised on.
    changed, unchanged : int
        In how many cases the answers differ, and are identical.
    line, remark : str
        The counts with p and the noise floor in one line; the verdict as a sentence.
    """

    release: str
    changed: int
    unchanged: int
    missing: int
    line: str
    metric: str | None = None
    remark: str = ""
    verdict: Finding | None = None
    delta: Estimate | None = None
    p: float | None = None
    sign_p: float | None = None
    better: int = 0
    same: int = 0
    worse: int = 0
    noise: int = 0
    unscored: int = 0
    error: int = 0


@dataclass(frozen=True, eq=False)
class ComparisonFigures:
    """The figures of a comparison, computed when they are first read.

    Attributes are those of the comparison; `table` is made by `runs_table`, and `order` has the
    places of the cases as they were run, where a sweep could stop early.
    """

    deployment: str
    baseline: str
    releases: tuple[str, ...]
    moved_tags: tuple[str, ...]
    cases: tuple[Case, ...]
    metrics: tuple[Metric, ...]
    table: pd.DataFrame
    alpha: float
    cluster: str | None = None
    order: tuple[int, ...] | None = None
    plan_notes: tuple[str, ...] = ()

    @property
    def others(self) -> tuple[str, ...]:
        """The releases without the baseline."""
        return tuple(each for each in self.releases if each != self.baseline)

    @cached_property
    def scored(self) -> dict[str, Scored]:
        """Metric's name to its figures."""
        shape = len(self.cases), len(self.releases)
        return {each.name: _scored(self.table, each, shape) for each in self.metrics}

    @cached_property
    def clusters(self) -> NDArray[np.intp] | None:
        """Of each case the number of its cluster; None where cases are not clustered."""
        return None if self.cluster is None else cluster_numbers(self.cases, self.cluster)

    @cached_property
    def against(self) -> dict[Key, Against]:
        """(release, metric's name) to how the release compares with the baseline."""
        base = self.releases.index(self.baseline)
        options: Any = {"alpha": self.alpha / max(1, len(self.others)), "clusters": self.clusters}
        options["order"] = self.order
        options["left"] = sum(not all(map(each.tries.get, self.releases)) for each in self.cases)
        return {
            (each, name): _against(scored, base, self.releases.index(each), **options)
            for name, scored in self.scored.items()
            for each in self.others
        }

    @cached_property
    def p(self) -> dict[Key, float | None]:
        """(release, metric's name) to the p value of the mean difference, corrected."""
        return self._corrected(lambda found: found.change.p)

    @cached_property
    def sign_p(self) -> dict[Key, float | None]:
        """(release, metric's name) to the p value of better against worse cases, corrected."""
        return self._corrected(lambda found: found.sign_p)

    def _corrected(self, p_of: Callable[[Against], float | None]) -> dict[Key, float | None]:
        """Return p values corrected for several releases."""
        found: dict[Key, float | None] = {}
        for name in self.scored:
            keys = [(each, name) for each in self.others]
            found |= zip(keys, holm([p_of(self.against[key]) for key in keys]), strict=True)
        return found

    @cached_property
    def checks(self) -> dict[str, Agreement]:
        """Name of each judge to how its verdicts agree with people's ratings of the same runs."""
        found = {}
        for judge in self.metrics:
            if isinstance(judge, Judge):
                figures = self.table[["rating", f"metric.{judge.name}"]].to_numpy().tolist()
                found[judge.name] = judge_check(self.runs, figures, judge)
        return found

    @property
    def notes(self) -> tuple[str, ...]:
        """What holds for all figures: unused columns, an early stop, unchecked judges."""
        found = [*self.plan_notes, *self._column_notes()]
        found += [note for each in self.checks.values() for note in (each.problem, each.noise)]
        left = sum(not any(case.tries.values()) for case in self.cases)
        if left and self.order is not None:
            ended = f"The sweep ended before {left:,} of {plural(len(self.cases), 'case')} were run"
            found.append(f"{ended}: p holds at any time, intervals for a fixed number of cases")
        names = [name for metric in self.metrics for name in metric.nodes]
        known = {node.name: 0 for run in self.table["run"] if names for node in run.nodes}
        there_are = f"there are: {cut(', '.join(known), _NODES)}"
        unknown = [name for name in names if known and name not in known]
        found += [f"No run has a node {name!r}; {there_are}" for name in unknown]
        return tuple(filter(None, dict.fromkeys(found)))

    def _column_notes(self) -> Iterator[str]:
        """Yield notes on labels with the name of an output, and on expected values of none."""
        outputs = dict.fromkeys(self.output_names)
        labels = dict.fromkeys(name for case in self.cases for name in case.labels)
        yield from filter(None, (label_note(name, outputs) for name in labels))
        expected = dict.fromkeys(name for case in self.cases for name in case.expected)
        for name in expected if outputs else ():
            is_noted = any(note.startswith(f"expected.{name} ") for note in self.plan_notes)
            if name not in outputs and not is_noted:
                what = "an output of the compared runs; their outputs"
                yield f"expected.{name} {unknown_name(name, outputs, what).message}"

    @property
    def runs(self) -> list[tuple[Run, Case, str]]:
        """All runs, each with its case and release."""
        names = ("run", "case", "release")
        rows = zip(*(self.table[name].tolist() for name in names), strict=True)
        return [(run, self.cases[at], self.releases[column]) for run, at, column in rows]

    @cached_property
    def statuses(self) -> dict[str, list[Status]]:
        """Release but the baseline to whether each case's answer differs from the baseline's."""
        import numpy as np

        rows = self.table[self.table["counts"]]
        kinds = np.full((len(self.cases), len(self.releases)), -1)
        kinds[rows["case"], rows["release"]] = rows["kind"]
        base = kinds[:, self.releases.index(self.baseline)]
        found: dict[str, list[Status]] = {}
        for each in self.others:
            own = kinds[:, self.releases.index(each)]
            status = np.where(own == base, "same", "differs")
            found[each] = np.where((own < 0) | (base < 0), "missing", status).tolist()
        return found

    @cached_property
    def first_changed(self) -> dict[str, list[str | None]]:
        """Release but the baseline to the first node that differs, case by case.

        "" where none does; None where the two traces cannot be compared.
        """

        def name(case: Case, release: str) -> str | None:
            old, new = case.answer(self.baseline), case.answer(release)
            if not (old and new and old.nodes and new.nodes):
                return None
            if not is_comparable(old.nodes, new.nodes):
                return None
            first = first_difference(old.nodes, new.nodes)
            return "" if first is None else first.name

        return {each: [name(case, each) for case in self.cases] for each in self.others}

    @cached_property
    def failures(self) -> list[dict[str, Failures]]:
        """Of each case its failures by release."""
        return [
            {e: failures_of(case, e, self.metrics) for e in self.releases} for case in self.cases
        ]

    @cached_property
    def failure_rows(self) -> list[dict[str, Any]]:
        """One row per failure name and release: how many cases have it."""
        if not any(run.tags for run in self.table["run"]) and not self.checks:
            return []
        return failure_rows(self.releases, self.cases, self.failures)

    @cached_property
    def output_names(self) -> tuple[str, ...]:
        """The names of all outputs, in the order in which they first appear."""
        runs = self.table.loc[self.table["counts"], "run"].tolist()
        return tuple(dict.fromkeys(name for run in runs for name in run.outputs))

    def values(self, name: str, release: str) -> NDArray[np.float64]:
        """Return a metric, or a column of `table`, case by case: the mean of repeats."""
        import numpy as np

        column = self.releases.index(release)
        if name in self.scored:
            return self.scored[name].mean[:, column]
        answers = self.table[self.table["is_answer"] & (self.table["release"] == column)]
        means = answers.groupby("case")[name].mean()
        found = np.full(len(self.cases), np.nan)
        found[means.index] = means
        return found

    def estimate(self, name: str, release: str, cases: Any = slice(None)) -> Estimate:
        """Return the mean of `values` over all or some cases, with its interval."""
        import numpy as np

        values = self.values(name, release)[cases]
        has = ~np.isnan(values)
        known, is_share = values[has], name in self.scored and self.scored[name].passes
        if is_share and self.clusters is None and len(known):
            return share_interval(float(known.mean()), len(known))
        own = None if self.clusters is None else self.clusters[cases][has]
        found = mean_interval(known, clusters=own, is_share=is_share)
        # Costs and seconds are never negative.
        return found if name in self.scored else replace(found, low=max(found.low, 0.0))

    @property
    def unstable(self) -> NDArray[np.bool_]:
        """Of each case whether repeats on one release have different answers."""
        import numpy as np

        answers = self.table[self.table["is_answer"]]
        kinds = answers.groupby(["case", "release"])["kind"].nunique()
        found = np.zeros(len(self.cases), dtype=bool)
        found[kinds[kinds > 1].index.get_level_values("case").to_numpy()] = True
        return found

    def is_left_out(self, case: Case, release: str, metric: str) -> bool:
        """Return whether a case was not run since a sweep had decided without it."""
        was_run = all(case.tries.get(each) for each in (self.baseline, release))
        return not was_run and self.compared(release, metric).is_over

    def verdict(self, case: Case, release: str, metric: str) -> Verdict:
        """Return how a case fares on `release` against the baseline."""
        return VERDICTS[int(self.compared(release, metric).codes[case.number - 1])]

    def value(self, case: Case, release: str, metric: str) -> float | None:
        """Return the mean over the repeats of a case on `release`, if there is one."""
        value = self.scored[metric].mean[case.number - 1, self.releases.index(release)]
        return None if math.isnan(value) else float(value)

    def compared(self, release: str, metric: str) -> Against:
        """Return `against`; of the baseline, with itself."""
        if release != self.baseline:
            return self.against[release, metric]
        base = self.releases.index(release)
        return _against(self.scored[metric], base, base, alpha=self.alpha, clusters=self.clusters)

    def cases_by(self, verdict: Verdict, releases: Iterable[str], metric: str) -> list[Case]:
        """Return the cases of a verdict on any of the releases, the largest difference first."""
        size: dict[int, float] = {}
        for each in releases:
            found = self.compared(each, metric)
            for row in (found.codes == VERDICTS.index(verdict)).nonzero()[0].tolist():
                by = abs(float(found.delta[row]))
                size[row] = max(size.get(row, 0.0), math.inf if math.isnan(by) else by)
        return [self.cases[row] for row in sorted(size, key=lambda row: (-size[row], row))]

    def finding(self, release: str, metric: str, *, alpha: float | None = None) -> Finding:
        """Return the verdict on the whole of `release`, against the baseline."""
        found = self.compared(release, metric)
        mean = found.change.mean
        if not found.compared:
            return "missing"
        if not found.decided and (mean == 0 or math.isnan(mean)):
            return "same"
        if found.band is not None and abs(mean) <= found.band:
            return "noise"
        p = (self.sign_p if math.isnan(mean) else self.p).get((release, metric))
        if p is None or p > (self.alpha if alpha is None else alpha):
            return "undecided"
        by_signs = found.counts["better"] - found.counts["worse"]
        gain = by_signs if math.isnan(mean) else self.scored[metric].metric.sign * mean
        return "better" if gain > 0 else "worse"

    @cached_property
    def _clustered(self) -> dict[str, ComparisonFigures]:
        """Label that cases share to the figures with them as clusters, where none was named."""
        found: dict[str, ComparisonFigures] = {}
        values = [(name, value) for case in self.cases for name, value in case.labels.items()]
        for label in dict.fromkeys(name for name, value in values if value is not None):
            other = replace(self, cluster=f"label.{label}")
            numbers = 0 if self.cluster is not None else int(other.clusters.max()) + 1  # type: ignore[union-attr]
            if LEAST_UNITS <= numbers < len(self.cases):  # of fewer nothing is ever decided
                found[label] = other
                vars(other)["scored"] = self.scored
        return found

    def cluster_note(self, release: str, metric: str) -> str:
        """Return a warning where a label that cases share, named as `cluster`, would matter."""
        finding = self.finding(release, metric)
        notes = [
            f"cases share label.{label}: with cluster='label.{label}' it is {other!r}"
            for label, figures in self._clustered.items()
            if (other := figures.finding(release, metric)) != finding
        ]
        return "; ".join(notes)

    def result(self, release: str, metric: str | None) -> ReleaseResult:
        """Return how `release`, which is not the baseline, compares with it."""
        statuses = Counter(self.statuses[release])
        outputs = ReleaseResult(
            release,
            changed=statuses["differs"],
            unchanged=statuses["same"],
            missing=statuses["missing"],
            line=f"{release} {self.output_counts(release)}",
        )
        if metric is None:
            return outputs
        key = release, metric
        found, p = self.against[key], self.p[key]
        counts: Any = found.counts
        return replace(
            outputs,
            metric=metric,
            line=self.line(*key),
            remark=self.remark(*key),
            verdict=self.finding(*key),
            delta=replace(found.change, p=p),
            p=p,
            sign_p=self.sign_p[key],
            **counts,
        )

    def output_counts(self, release: str) -> str:
        """Return in words how many answers differ from the baseline's."""
        counts = Counter[str](self.statuses[release])
        return ", ".join(f"{counts[kind]} {word}" for kind, word in _STATUS_WORDS if counts[kind])

    def line(self, release: str, metric: str) -> str:
        """Return one line: how many cases are better and worse, and how sure that is."""
        found = self.compared(release, metric)
        shown = (f"{n:,} {word}" for word, n in found.counts.items() if n or word in _ALWAYS)
        counts = " · ".join(shown).replace("missing", NO_ANSWER)
        floor = "unknown" if found.noise_floor is None else percent(found.noise_floor)
        p = p_sentence(self.sign_p.get((release, metric)))
        return f"{printable(release)}: {counts} · {p} · noise floor {floor}"

    def remark(self, release: str, metric: str) -> str:
        """Return a sentence: what to make of the line, and how many cases would show more."""
        note = self.cluster_note(release, metric)
        return self._remark(release, metric) + (f"; {note}" if note else "")

    def _remark(self, release: str, metric: str) -> str:
        import numpy as np

        found, finding = self.compared(release, metric), self.finding(release, metric)
        p, sign_p = self.p.get((release, metric)), self.sign_p.get((release, metric))
        signs_decide = sign_p is not None and sign_p <= self.alpha
        if finding == "missing":
            return "nothing to compare: no case has a figure on both"
        if finding in {"better", "worse"}:
            floor = "" if found.band is None else ", larger than the noise floor"
            mean = "" if signs_decide else f" on average ({p_sentence(p)})"
            number = 0 if self.clusters is None else len(np.unique(self.clusters))
            groups = f"; {plural(number, 'cluster')}" if number else ""
            return f"{finding}{mean}: unlikely to be chance{floor}{groups}"
        if finding == "noise":
            return "within the noise: repeats of one release differ as much"
        head = "no difference" if finding == "same" else "not enough data"
        if finding == "undecided" and p is not None:
            corrected = ", corrected for several releases" if len(self.others) > 1 else ""
            holds_zero = found.change.low <= 0 <= found.change.high
            why = "the 95 % interval includes 0" if holds_zero else f"{p_sentence(p)}{corrected}"
            head = f"could be chance{' on average' if signs_decide else ''}: {why}"
        return f"{head}; {_too_few(found, self.scored[metric], self.clusters)}"


def _too_few(found: Against, figures: Scored, clusters: NDArray[np.intp] | None) -> str:
    import numpy as np

    has = ~np.isnan(found.delta)
    number = int(has.sum())
    cases = plural(number, "case")
    if clusters is not None:
        cases += f" in {plural(len(np.unique(clusters[has])), 'cluster')}"
    if found.least is None:
        return f"{cases}: too few to show a difference"
    if found.least == 0:
        return f"{cases}, all alike"
    name = figures.metric.name
    least = f"{figure(found.least)} in {name}"
    if name == "score" or figures.passes:
        least = f"{percent(found.least).removesuffix(' %')} points"
    would = ""
    if found.needed is not None and found.needed > number:
        would = f"; about {float(f'{found.needed:.2g}'):,.0f} would show this difference"
    return f"{cases}: cannot distinguish less than {least}{would}"


def _frame_of(cells: Mapping[str, list[Any]]) -> pd.DataFrame:
    """Return a frame of columns of plain values; names of columns come from models and files."""
    return frame_of_cells({clean(name): values for name, values in cells.items()})


def case_frame(figures: ComparisonFigures) -> pd.DataFrame:
    """Return one row per case; the first metric gives the verdicts."""
    cases, releases = figures.cases, figures.releases
    rows = list(zip(*figures.statuses.values(), strict=True)) or [()] * len(cases)
    cells: dict[str, list[Any]] = {
        "case_id": [case.case_id for case in cases],
        "changed": [True if "differs" in r else None if "missing" in r else False for r in rows],
        **_dict_cells("input.", [case.inputs for case in cases]),
        **_dict_cells("expected.", [case.expected for case in cases]),
        **_dict_cells("label.", [case.labels for case in cases]),
    }
    counting = {each: [case.counting(each) for case in cases] for each in releases}
    outputs = {
        each: _dict_cells("", [run.outputs if run else {} for run in runs])
        for each, runs in counting.items()
    }
    for name in figures.output_names:
        for each, own in outputs.items():
            cells[f"output.{name}@{each}"] = own.get(name, [None] * len(cases))
    for each, runs in counting.items():
        cells[f"state@{each}"] = [run.state if run else "missing" for run in runs]
    for each in releases:
        cells[f"answers@{each}"] = [len(case.answers(each)) for case in cases]
    for each, status in figures.statuses.items():
        cells[f"changed@{each}"] = [_CHANGED[one] for one in status]
    return _frame_of(cells | _reason_cells(figures) | _metric_cells(figures))


def _reason_cells(figures: ComparisonFigures) -> dict[str, list[Any]]:
    """Return the first node that differs, and the failures, where any are known."""
    cells: dict[str, list[Any]] = {
        f"first_changed_node@{each}": names
        for each, names in figures.first_changed.items()
        if any(name is not None for name in names)
    }
    for each in figures.releases if figures.failure_rows else ():
        cells[f"failures@{each}"] = [cell(list(found[each][0])) for found in figures.failures]
    return cells


def _metric_cells(figures: ComparisonFigures) -> dict[str, list[Any]]:
    cells: dict[str, list[Any]] = {}
    for name, scored in figures.scored.items():
        for at, each in enumerate(figures.releases):
            cells[f"metric.{name}@{each}"] = _numbers(scored.mean[:, at].tolist())
        for each in figures.others:
            cells[f"delta.{name}@{each}"] = _numbers(figures.against[each, name].delta.tolist())
    for each in figures.others if figures.metrics else ():
        codes = figures.against[each, figures.metrics[0].name].codes
        cells[f"verdict@{each}"] = [VERDICTS[code] for code in codes.tolist()]
    return cells


def run_frame(figures: ComparisonFigures) -> pd.DataFrame:
    """Return one row per run."""
    table = figures.table
    runs: list[Run] = table["run"].tolist()
    cells: dict[str, list[Any]] = {
        "case_id": [case.case_id for _, case, _ in figures.runs],
        "release": [release for *_, release in figures.runs],
    }
    for name in (*_TEXTS[1:4], "repeat", "state", "timestamp", "latency_s", "cost_usd"):
        cells[name] = [getattr(run, name) for run in runs]
    cells["repeat"] = table["repeat"].tolist()
    cells["timestamp"] = list(map(micros, cells["timestamp"]))
    cells |= _dict_cells("output.", [run.outputs for run in runs])
    for metric in figures.metrics:
        cells[f"metric.{metric.name}"] = _numbers(table[f"metric.{metric.name}"].tolist())
        errors = table[f"metric_error.{metric.name}"]
        if errors.notna().any():
            texts = [cell(each) if isinstance(each, str) else None for each in errors]
            cells[f"metric_error.{metric.name}"] = texts
    cells["error"] = [cell(error_text(run) or None) for run in runs]
    cells["id"] = [run.id for run in runs]
    return _frame_of(cells)


def error_frame(figures: ComparisonFigures) -> pd.DataFrame:
    """Return one row for each run that a metric raised on."""
    found = [
        (metric.name, run.case_id, release, cell(message), run.id)
        for metric in figures.metrics
        for (run, _, release), message in zip(
            figures.runs, figures.table[f"metric_error.{metric.name}"].tolist(), strict=True
        )
        if isinstance(message, str)
    ]
    names = ("metric", "case_id", "release", "message", "id")
    return _frame_of({name: [row[at] for row in found] for at, name in enumerate(names)})


def failure_frame(figures: ComparisonFigures) -> pd.DataFrame:
    """Return one row per failure name and release."""
    names = ("name", "release", "count", "n", "share", "low", "high", "proposed")
    return _frame_of({name: [row[name] for row in figures.failure_rows] for name in names})


def _dict_cells(prefix: str, dicts: Sequence[Mapping[str, Any]]) -> dict[str, list[Any]]:
    """Return a column for each key that any of `dicts` has."""
    keys = dict.fromkeys(key for values in dicts for key in values)
    return {prefix + key: [cell(values.get(key)) for values in dicts] for key in keys}


def _numbers(values: Iterable[float]) -> list[float | None]:
    return [None if math.isnan(value) else value for value in values]


def summary_rows(figures: ComparisonFigures) -> list[dict[str, Any]]:
    """Return one row per release: counts, figures of each metric, verdicts, latency and cost."""
    rows = []
    for column, release in enumerate(figures.releases):
        own = figures.table[figures.table["release"] == column]
        row = _counts(figures, release, own)
        for metric in figures.scored:
            for name, value in metric_figures(figures, release, metric).items():
                row[f"metric.{metric}.{name.removeprefix('mean_')}".removesuffix(".mean")] = value
        if figures.metrics:
            row |= _verdict_figures(figures, column, (release, figures.metrics[0].name))
        seconds = own.loc[own["is_answer"], "latency_s"].dropna()
        row |= {"latency_p50": float(seconds.quantile(0.5))}
        row |= {"latency_p95": float(seconds.quantile(0.95)), "latency_n": len(seconds)}
        row |= figures.estimate("cost_usd", release).columns("cost_usd", ".")
        rows.append(row | _cost_per_pass(figures, release).columns("cost_per_pass", "."))
    return [row | changed for row, changed in zip(rows, _first_changed(figures), strict=True)]


def _cost_per_pass(figures: ComparisonFigures, release: str) -> Estimate:
    """Return what one case that passes costs, by the first metric that is pass or fail."""
    import numpy as np

    costs = figures.values("cost_usd", release)
    passes = np.full(len(costs), np.nan)
    for name, scored in reversed(figures.scored.items()):
        if scored.passes and scored.metric.sign > 0 and scored.count.any():
            passes = figures.values(name, release)
    known = ~np.isnan(costs + passes)
    clusters = None if figures.clusters is None else figures.clusters[known]
    return mean_ratio(costs[known], passes[known], clusters=clusters)


def _first_changed(figures: ComparisonFigures) -> list[dict[str, Any]]:
    """Return how many cases each node is the first that differs in, where traces are known."""
    counts = {each: Counter(names) for each, names in figures.first_changed.items()}
    total = sum(counts.values(), Counter[str | None]())
    if not any(name is not None for name in total):
        return [{} for _ in figures.releases]
    names = [name for name, _ in total.most_common() if name]
    return [
        {"traced": own and own.total() - own[None]}
        | {f"{FIRST_CHANGED}{name}": own and own[name] for name in names}
        for own in map(counts.get, figures.releases)
    ]


def summary_frame(rows: Sequence[Mapping[str, Any]]) -> pd.DataFrame:
    """Return the rows of `summary_rows` as a frame."""
    import pandas as pd

    frame = pd.DataFrame(list(rows))
    texts = [name for name in frame.columns if name in _TEXTS or name.endswith(".check")]
    empty = [name for name in frame.columns if frame[name].isna().all() and name not in texts]
    return frame.astype(dict.fromkeys(empty, "float64") | dict.fromkeys(texts, "str"))


def _counts(figures: ComparisonFigures, release: str, own: pd.DataFrame) -> dict[str, Any]:
    runs: list[Run] = own["run"].tolist()
    answers = own[own["is_answer"]]
    run, answered = own["case"].nunique(), answers["case"].nunique()
    status = figures.statuses.get(release, ())
    known = len(status) - status.count("missing")
    cases = len(figures.cases)
    return {
        "release": release,
        "release_tag": _listed(run.release_tag for run in runs),
        "release_id": _listed(run.release_id for run in runs),
        "environment": _listed(run.environment for run in runs),
        "cases": cases,
        **({} if figures.clusters is None else {"clusters": len(set(figures.clusters.tolist()))}),
        "n": answered,
        "missing": cases - run,
        "failed": run - answered,
        "rejected": int((answers.groupby("case")["state"].last() == "REJECTED").sum()),
        "runs": len(own),
        "changed_pct": 100 * status.count("differs") / known if known else None,
        "changed_n": known,
    }


def _listed(values: Iterable[str | None]) -> str | None:
    return ", ".join(dict.fromkeys(filter(None, values))) or None


def metric_figures(figures: ComparisonFigures, release: str, metric: str) -> dict[str, Any]:
    """Return the figures of one metric on one release; of the baseline there is no difference."""
    scored, column = figures.scored[metric], figures.releases.index(release)
    found, p = figures.against.get((release, metric)), figures.p.get((release, metric))
    change = found.change if found else Estimate(math.nan, math.nan, math.nan)
    judge = scored.metric
    of_judge = _judge_figures(figures, release, judge) if isinstance(judge, Judge) else {}
    return {
        **figures.estimate(metric, release).columns("mean"),
        "errors": int(scored.failed[:, column].sum()),
        **change.columns("delta"),
        "p": math.nan if p is None else p,
        "noise": math.nan if found is None or found.band is None else found.band,
        **of_judge,
    }


def _judge_figures(figures: ComparisonFigures, release: str, judge: Judge) -> dict[str, Any]:
    """Return whether a judge is checked, its own noise, and means corrected by people's ratings."""
    import numpy as np

    check, (noise, answers) = figures.checks[judge.name], judge.noise()
    found: dict[str, Any] = {"check": check.problem or check.line}
    found |= {"judge_noise_pct": 100 * noise, "judge_noise_n": answers}
    own, base = (
        np.array([figures.values("rating", each), judge.sign * figures.values(judge.name, each)])
        for each in (release, figures.baseline)
    )
    gaps = own - (base if release != figures.baseline else np.nan)
    means_of = {"corrected": (own, _RATED_ENDS), "corrected_delta": (gaps, _DELTA_ENDS)}
    for name, ((people, verdicts), ends) in means_of.items():
        known = ~np.isnan(verdicts)
        both, rest = known & ~np.isnan(people), known & np.isnan(people)
        mean = corrected_mean(people[both], verdicts[both], verdicts[rest], ends=ends)
        found |= mean.columns(name)
    return found


def _verdict_figures(figures: ComparisonFigures, column: int, key: Key) -> dict[str, Any]:
    """Return wins and losses by the first metric; of the baseline there are none."""
    found = figures.against.get(key)
    counts: Mapping[Any, int] = found.counts if found else {}
    columns = {column, figures.releases.index(figures.baseline)}
    floor, pairs = figures.scored[key[1]].noise_floor(*columns)
    return {
        "wins": counts.get("better"),
        "ties": counts["same"] + counts["noise"] if found else None,
        "losses": counts.get("worse"),
        "unscored": counts.get("unscored"),
        "errors": counts.get("error"),
        "p": figures.sign_p.get(key),
        "noise_floor_pct": None if floor is None else 100 * floor,
        "noise_floor_n": pairs,
        "finding": figures.finding(*key) if found else "baseline",
    }
