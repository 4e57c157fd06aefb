"""Figures of one metric, and how a release compares with the baseline by it."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Literal, get_args

from vellum_nb.comparison import statistics as stats
from vellum_nb.comparison.metrics import Metric
from vellum_nb.comparison.statistics import Estimate
from vellum_nb.escaping import printable
from vellum_nb.lazy import Bools, Floats, Ints, NDArray, np, pd
from vellum_nb.models.checks import refuse
from vellum_nb.rendering.format import plural

Verdict = Literal["better", "worse", "same", "noise", "missing", "unscored", "error"]
"""Verdict on a case on one release.

``"noise"`` if repeats differ as much, ``"missing"`` if the release or the baseline has no answer,
``"unscored"`` if the metric does not apply, ``"error"`` if it raised.
"""
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)

Missing = Literal["fail", "bounds", "drop"]
"""How lost answers count: as failures, at their worst and best, or not at all."""
MissingOption = Missing | Mapping[str, Missing] | None
"""The option `missing`, by metric or for all. None: by the bounds of the metric."""

_BETTER, _WORSE, _SAME, _NOISE, _MISSING, _UNSCORED, _ERROR = range(len(VERDICTS))
_EQUAL = 1e-9
ERROR_RATE = 0.05  # of an interval
MAX_GAP_SHARE = 0.05  # largest share of cases without a pair, for a decision
_GAPS = (
    ("not run on both releases", "was run"),
    ("an answer is missing", "has an answer"),
    ("a figure is missing", "has a figure"),
)
"""Reasons why a case has no pair, and their opposites."""

INTERVAL, CONFIDENCE_SEQUENCE = "interval", "confidence sequence"
"""Kinds of intervals: for a fixed number of cases, and after a sweep that stopped early."""

SHARE = (0.0, 1.0)
"""Bounds of a score or pass rate."""


def finite_bounds(metric: Metric, *, passes: bool) -> tuple[float, float] | None:
    """Return the smallest and largest possible figure of a metric, if both are finite."""
    if metric.bounds is None:
        return SHARE if passes else None
    return metric.bounds if all(map(math.isfinite, metric.bounds)) else None


def acceptable_losses(
    margin: float, base: Floats, bounds: tuple[float, float] | None, sign: int, *, is_relative: bool
) -> tuple[Floats, float]:
    """Return the acceptable loss of each case, and the smallest gain that can remain on top of it.

    `base` has the figures of the baseline; a relative margin is a share of them.
    """
    has = ~np.isnan(base)
    slope = margin * float(np.sign(base[has].mean())) if is_relative and has.any() else 0.0
    constant = 0.0 if is_relative else margin
    low, high = bounds or (math.nan, math.nan)
    worst = high if sign < 0 else low
    least = min(sign * (worst - end) + slope * end + constant for end in (low, high))
    return constant + slope * np.nan_to_num(base), least


def missing_policy(
    metric: Metric, given: MissingOption, bounds: tuple[float, float] | None
) -> Missing:
    """Return how lost answers count by a metric."""
    chosen = given.get(metric.name) if isinstance(given, Mapping) else given
    if bounds is None:
        if isinstance(given, Mapping) and chosen is not None and chosen != "drop":
            option = "a metric with known bounds: give Metric(fn, bounds=(low, high)), or 'drop'"
            refuse(f"missing[{metric.name!r}]", chosen, option)
        return "drop"
    return chosen or ("fail" if bounds == SHARE else "bounds")


@dataclass(frozen=True)
class Scored:
    """The figures of one metric, case by release."""

    metric: Metric
    mean: Floats  # over `count` repeats
    count: NDArray[np.int64]
    variance: Floats  # NaN for fewer than two repeats
    failed: NDArray[np.int64]  # number of repeats for which the metric raised
    answered: Bools
    rejected: Bools  # all answers are rejected runs
    pooled: tuple[float | None, ...]  # variance between repeats, per release
    pairs: tuple[tuple[int, int], ...]  # pairs of repeats that differ, and all pairs, per release
    passes: bool  # every figure is pass or fail
    lost: Bools  # no figure, because the runs failed or were rejected
    missing: Missing  # how lost answers count

    @property
    def bounds(self) -> tuple[float, float] | None:
        """Smallest and largest possible figure, if both are finite."""
        return finite_bounds(self.metric, passes=self.passes)

    @cached_property
    def counted(self) -> Floats:
        """`mean`, with the worst figure for a lost answer that counts as a failure.

        A case that no release answered does not count.
        """
        if self.missing != "fail" or self.bounds is None:
            return self.mean
        is_failure = self.lost & (self.count > 0).any(axis=1, keepdims=True)
        return np.where(is_failure, self.bounds[self.metric.sign < 0], self.mean)

    def of_cases(self, cases: Ints) -> Scored:
        """Return the figures of some cases; the variance of repeats is that of all cases."""
        names = ("mean", "count", "variance", "failed", "answered", "rejected", "lost")
        return replace(self, **{name: getattr(self, name)[cases] for name in names})

    def noise_floor(self, columns: Collection[int]) -> tuple[float | None, int]:
        """Return the share of differing pairs of repeats (None without pairs), and their number."""
        unlike, pairs = map(sum, zip(*(self.pairs[at] for at in columns), strict=True))
        return unlike / pairs if pairs else None, pairs


def scored_by(
    table: pd.DataFrame, metric: Metric, shape: tuple[int, int], missing: MissingOption
) -> Scored:
    """Return the figures of `metric`, a column of `table`; `shape` is (cases, releases)."""
    rows = table[table["is_answer"]]
    cell_of = (rows["case"] * shape[1] + rows["release"]).to_numpy(dtype=np.intp)
    values = rows[f"metric.{metric.name}"].to_numpy(dtype=np.float64)

    def counted(mask: Any, weights: Any = None) -> NDArray[Any]:
        return np.bincount(cell_of[mask], weights, minlength=shape[0] * shape[1]).reshape(shape)

    has = ~np.isnan(values)
    figures, cells = values[has], cell_of[has]
    count = counted(has)
    with np.errstate(all="ignore"):  # cells without a figure
        mean = counted(has, figures) / count
        squares = counted(has, (figures - mean.reshape(-1)[cells]) ** 2)
        variance = np.where(count > 1, squares / (count - 1), np.nan)
        kinds = np.unique(np.round(figures / (metric.tolerance or _EQUAL)), return_inverse=True)[1]
    release = rows["release"].to_numpy(dtype=np.intp)[has]
    masks = [release == at for at in range(shape[1])]
    answers = counted(slice(None))
    rejected = (answers > 0) & (counted((rows["state"] == "REJECTED").to_numpy()) == answers)
    failed = np.zeros(shape, dtype=np.bool_)
    failed_rows = table[(table["state"] == "FAILED").to_numpy()]
    failed[failed_rows["case"], failed_rows["release"]] = True
    is_amount = metric.bounds is not None and math.isinf(metric.bounds[1])
    passes = not is_amount and bool(np.isin(figures, (0.0, 1.0)).all())
    return Scored(
        metric=metric,
        mean=mean,
        count=count,
        variance=variance,
        failed=counted(rows[f"metric_error.{metric.name}"].notna().to_numpy()),
        answered=answers > 0,
        rejected=rejected,
        pooled=tuple(stats.pooled_variance(cells[mask], figures[mask]) for mask in masks),
        pairs=tuple(stats.unlike_pairs(cells[mask], kinds.reshape(-1)[mask]) for mask in masks),
        passes=passes,
        lost=(count == 0) & (rejected | (failed & (answers == 0))),
        missing=missing_policy(metric, missing, finite_bounds(metric, passes=passes)),
    )


@dataclass(frozen=True, slots=True)
class Against:
    """One release compared with the baseline by one metric."""

    codes: NDArray[np.int8]  # index of each case's verdict in `VERDICTS`
    delta: Floats  # difference of each case's means; NaN without both
    differences: Floats  # `delta`, lost answers at their worst for the release
    counts: dict[Verdict, int]
    change: Estimate  # the mean difference, lost answers included: `paired`, or `paired_share`
    test: str  # name of the test that p comes from
    interval: str  # kind of the interval of `change`
    sign_p: float | None  # of better against worse cases without ties; None without any pair
    band: float | None  # 95 % bound of the mean difference caused by repeats alone
    unequal: tuple[int, int] | None  # cases that are higher and lower, for McNemar's test
    spread: float  # standard deviation of the differences
    units: int  # cases, or clusters
    passes: bool  # every figure is pass or fail
    order: Ints | None  # of a sweep that could stop, up to a decision that it is worse
    is_decided: bool  # the test of a sweep that can stop early has decided
    lost: tuple[int, int]  # cases lost on the release only, and on the baseline only
    gap_counts: tuple[int, ...]  # cases without a pair by `_GAPS`, the first reason that applies
    p: float | None = None  # p and `sign_p` are corrected for the number of releases

    @property
    def decided(self) -> int:
        """Number of cases that are better or worse."""
        return self.counts["better"] + self.counts["worse"]

    def count(self, verdict: Literal["better", "worse"], sign: int) -> int:
        """Return the number of the `change.n` cases that are better (or worse).

        Lost answers with a positive (or, for a `sign` of -1, negative) difference are included.
        """
        has_verdict = np.isin(self.codes, (_BETTER, _WORSE))
        is_lost = np.isnan(self.delta) & ~has_verdict & (sign * self.differences > 0)
        is_counted = (self.codes == VERDICTS.index(verdict)) | is_lost
        return int((is_counted & ~np.isnan(self.differences)).sum())

    def can_show(self, alpha: float) -> bool:
        """Return whether there are enough cases for the test to find a difference."""
        if self.order is not None:
            test = stats.sequential_test([], left=self.change.n, alpha=alpha)
            return self.change.p is not None and test.can_decide
        if not self.passes:
            return self.units >= stats.LEAST_UNITS
        return self.units >= stats.least_cases(alpha, exact=self.unequal is None)

    def shortage(self, alpha: float, units: str = "cases") -> str:
        """Return why the data cannot show a difference at level `alpha`, or ""."""
        if self.change.p is None or not self.can_show(alpha):
            return f"too few {units} to show a difference"
        if not self.change.mean and self.leaves_many_out:
            return "too many cases are left out"
        return ""

    @property
    def has_gaps(self) -> bool:
        """Whether so many cases have no pair that no difference can be excluded."""
        return are_many(sum(self.gap_counts), self.change.n)

    @property
    def left_out(self) -> tuple[int, ...]:
        """`gap_counts` without the cases that a sweep that could stop early did not run."""
        return (0, *self.gap_counts[1:]) if self.order is not None else self.gap_counts

    @property
    def leaves_many_out(self) -> bool:
        """Whether so many of the cases that were run have no pair that none may replace."""
        return are_many(sum(self.left_out), self.change.n)

    def gap_text(self, counts: Sequence[int]) -> str:
        """Return why no case has a pair, or how many have none."""
        if self.change.n:
            return "; ".join(self.gap_texts(counts))
        reasons = [opposite for (_, opposite), count in zip(_GAPS, counts, strict=True) if count]
        return f"no case {reasons[0] if len(reasons) == 1 else _GAPS[-1][1]} on both releases"

    def gap_texts(self, counts: Sequence[int]) -> list[str]:
        """Return phrases on the cases without a pair, by reason."""
        cases = plural(sum(counts) + self.change.n, "case")
        pairs = zip(_GAPS, counts, strict=True)
        return [f"{count:,} of {cases} left out ({why})" for (why, _), count in pairs if count]


def are_many(gaps: int, pairs: int) -> bool:
    """Return whether so many cases have no pair that there is no decision."""
    return gaps > MAX_GAP_SHARE * (gaps + pairs)


def lacks_pair(has_pair: Bools, is_unscored: Bools, lost: Bools) -> Bools:
    """Return which cases have no pair; those unscored, or lost on both releases, need none."""
    return ~(has_pair | is_unscored | lost.all(axis=1))


def compared_with(
    figures: Scored,
    baseline: int,
    column: int,
    *,
    alpha: float,
    clusters: Ints | None = None,
    order: Sequence[int] | None = None,
    was_run: Bools | None = None,
    stopped_by: str | None = None,
) -> Against:
    """Compare the release in `column` with `baseline` at level `alpha` for this pair.

    `was_run` marks the cases that have runs, by release. Default: all. `stopped_by` is the metric
    that stopped the sweep, if that is another one: this one, chosen later, has no p value.
    """
    columns = [baseline, column]
    sides = figures.mean[:, columns], figures.lost[:, columns]
    (delta,) = differences(*sides, figures.metric.sign, None, "drop")
    extremes = differences(*sides, figures.metric.sign, figures.bounds, figures.missing)
    codes = _codes(figures, baseline, column, delta)
    counts = {name: int((codes == at).sum()) for at, name in enumerate(VERDICTS)}
    has = ~np.isnan(extremes[0])
    pairs = [gaps[has] for gaps in extremes]
    number, clusters = len(pairs[0]), None if clusters is None else clusters[has]
    is_single = figures.passes and number and figures.count[:, columns].max() <= 1
    change, test = _change(figures, pairs, clusters, is_single=bool(is_single))
    is_known, sign_p, is_decided, sequence = number > 0, change.p, False, None
    was_run = np.ones_like(figures.answered) if was_run is None else was_run
    interval = INTERVAL
    if order is not None:  # the sweep could stop after every case
        sequence, left = np.array(order), int((~was_run.all(axis=1)).sum())
        rule: Any = {"order": sequence, "left": left, "alpha": alpha}
        floor = 0.0 if clusters is None else (1.0 if change.p is None else change.p)
        p, sign_p, decided_after = _at_any_time(figures, extremes, codes, floor=floor, **rule)
        change, is_decided = replace(change, p=p), decided_after is not None
        test = "a sequential test, valid at any time"
        if left:
            interval = INTERVAL if figures.bounds is None else CONFIDENCE_SEQUENCE
            change = _at_all_times(
                figures, change, extremes, sequence, is_clustered=clusters is not None
            )
        if figures.metric.sign * change.mean < 0:
            sequence = sequence[:decided_after]
        if stopped_by is not None:
            change, sign_p, is_decided = replace(change, p=None), None, False
            test = f"no test, because {printable(stopped_by)} stopped the sweep"
    elif clusters is None and not is_single:
        sign_p = stats.sign_test(counts["better"], counts["worse"])
    is_lost = figures.lost[has][:, columns] & (figures.count[has][:, columns[::-1]] > 0)
    return Against(
        codes=codes,
        delta=delta,
        differences=extremes[0],
        counts=counts,
        change=change,
        test=test,
        interval=interval,
        sign_p=sign_p if is_known else None,
        band=_band(figures, columns, ~np.isnan(delta)),
        unequal=stats.unequal_units(pairs[0]) if is_single and clusters is None else None,
        spread=stats.standard_error(pairs[0], clusters) * math.sqrt(number),
        units=number if clusters is None else len(np.unique(clusters)),
        passes=figures.passes,
        order=sequence,
        is_decided=is_decided,
        lost=(int(is_lost[:, 1].sum()), int(is_lost[:, 0].sum())),
        gap_counts=_gap_counts(figures, columns, codes, has, was_run),
    )


def _gap_counts(
    figures: Scored, columns: Sequence[int], codes: NDArray[np.int8], has: Bools, was_run: Bools
) -> tuple[int, ...]:
    """Return the number of cases without a pair by the first of `_GAPS` that applies."""
    is_unscored = (codes == _UNSCORED) & ~(figures.count[:, columns] > 0).any(axis=1)
    gaps = lacks_pair(has, is_unscored, figures.lost[:, columns])
    run, answered = (each[:, columns].all(axis=1) for each in (was_run, figures.answered))
    masks = (gaps & ~run, gaps & run & ~answered, gaps & run & answered)
    return tuple(int(mask.sum()) for mask in masks)


def differences(
    mean: Floats, lost: Bools, sign: int, bounds: tuple[float, float] | None, missing: Missing
) -> list[Floats]:
    """Return the difference of each case, whose figures are on the baseline and on a release.

    Lost answers that count as bounds have two differences, the worst for the release first. NaN
    without a pair.
    """
    is_lost = lost & ~np.isnan(mean).all(axis=1, keepdims=True)
    worst, best = (math.nan, math.nan) if bounds is None else bounds[::sign]
    figures = {"fail": [(worst, worst)], "bounds": [(best, worst), (worst, best)]}
    fills = figures.get(missing, [(math.nan, math.nan)])
    made = []
    for fill in fills if is_lost.any() else fills[:1]:
        base, other = np.where(is_lost, fill, mean).T
        delta = other - base
        delta[np.abs(delta) <= stats.ROUNDING * np.abs(other)] = 0.0
        made.append(delta)
    return made


def _change(
    figures: Scored, pairs: Sequence[Floats], clusters: Ints | None, *, is_single: bool
) -> tuple[Estimate, str]:
    """Return the mean difference, widest over `pairs`, and the name of its test."""
    estimates, test = [], "Student's paired test"
    for differences in pairs:
        if is_single and clusters is None:
            counts = stats.unequal_units(differences)
            estimate, test = stats.paired_share(*counts, len(differences)), "McNemar's mid-p test"
        else:
            estimate = stats.paired(differences, clusters=clusters, is_share=figures.passes)
            test = test if clusters is None else "Student's test over clusters"
            if figures.bounds is not None and (figures.passes or clusters is None):
                estimate = stats.bounded(estimate, differences, clusters, figures.bounds)
        estimates.append(estimate)
    worst, best = estimates[0], estimates[-1]
    if worst is best:
        return worst, test
    p = None if worst.p is None or best.p is None else max(worst.p, best.p)
    if worst.mean * best.mean <= 0:
        p = 1.0
    ends = min(worst.low, best.low), max(worst.high, best.high)
    return Estimate((worst.mean + best.mean) / 2, *ends, p, worst.n), test


def _at_any_time(
    figures: Scored,
    extremes: Sequence[Floats],
    codes: NDArray[np.int8],
    *,
    order: Ints,
    floor: float,
    **rule: Any,
) -> tuple[float, float, int | None]:
    """Return p of the mean and of the signs, valid at any time, and the cases to a decision by p.

    `extremes` are the differences with lost answers at their worst, and at their best if that
    differs. `floor` is the smallest possible p.
    """
    sums = [float(np.nansum(differences)) for differences in extremes]
    values = [np.nan_to_num(differences) for differences in extremes]
    gaps = [np.where(np.abs(one) > figures.metric.tolerance, one, 0.0) for one in values]
    signs = (codes == _BETTER).astype(np.float64) - (codes == _WORSE)
    lost = np.isin(codes, (_MISSING, _ERROR))
    signs[lost] = figures.metric.sign * np.sign(gaps[0][lost])
    *tests, by_sign = (stats.sequential_test(one[order], **rule) for one in [*gaps, signs])
    p = max(floor, *(1 / test.evidence for test in tests))
    # Lost answers can turn the difference, and the later cases what the first ones decided.
    is_opposite = sums[0] * sums[-1] <= 0 or any(test.side * sum(sums) < 0 for test in tests)
    is_decided = not is_opposite and all(test.side for test in tests)
    decided_after = max(test.cases for test in tests) if is_decided else None
    return 1.0 if is_opposite else p, max(floor, 1 / by_sign.evidence), decided_after


def _at_all_times(
    figures: Scored,
    change: Estimate,
    extremes: Sequence[Floats],
    order: Ints,
    *,
    is_clustered: bool,
) -> Estimate:
    """Return `change` with a confidence sequence, NaN without bounds; it has 0 unless p decides.

    It contains the interval of `change`, which clusters and differing later cases make wider.
    """
    if figures.bounds is None or not change.n:
        return replace(change, low=math.nan, high=math.nan)
    width = figures.bounds[1] - figures.bounds[0]
    ordered = [differences[order] for differences in extremes]
    ends = [stats.confidence_sequence(one[~np.isnan(one)], (-width, width)) for one in ordered]
    low, high = min(low for low, _ in ends), max(high for _, high in ends)
    is_different = change.p is not None and change.p <= ERROR_RATE
    if not is_different:
        low, high = min(low, 0.0), max(high, 0.0)
    elif change.mean > 0:
        low = max(low, 0.0)
    else:
        high = min(high, 0.0)
    if is_clustered and math.isnan(change.low):
        return change
    low, high = float(np.fmin(low, change.low)), float(np.fmax(high, change.high))
    return replace(change, low=low, high=high)


def _codes(figures: Scored, baseline: int, column: int, delta: Floats) -> NDArray[np.int8]:
    gain = figures.metric.sign * delta
    edge = max(figures.metric.tolerance, _EQUAL)
    has = ~np.isnan(delta)
    codes = np.full(len(delta), _UNSCORED, dtype=np.int8)
    codes[has] = _SAME
    codes[has & (gain > edge)] = _BETTER
    codes[has & (gain < -edge)] = _WORSE
    squares: Any = 0.0  # squared standard errors of the two means over repeats
    free: Any = 0.0  # their degrees of freedom
    for at in (baseline, column):
        variance, pooled = figures.variance[:, at], figures.pooled[at] or 0.0
        variance = np.where(np.isnan(variance), pooled, variance)
        squares += variance / np.maximum(figures.count[:, at], 1)
        free += np.maximum(figures.count[:, at] - 1, 0)
    noise = np.sqrt(squares) * stats.two_sided(0.05, np.where(free > 0, free, stats.MANY))
    codes[has & (np.abs(delta) <= noise) & (np.abs(gain) > edge)] = _NOISE
    raised = (figures.failed > 0) & np.isnan(figures.mean)
    raised_base, raised_here = raised[:, baseline], raised[:, column]
    codes[~has & (raised_base | raised_here)] = _ERROR
    # If the metric raised because only this run was rejected, the case is worse, not an error.
    refused, refused_base = figures.rejected[:, column], figures.rejected[:, baseline]
    codes[~has & raised_here & ~raised_base & refused & ~refused_base] = _WORSE
    codes[~has & raised_base & ~raised_here & refused_base & ~refused] = _BETTER
    codes[~(figures.answered[:, baseline] & figures.answered[:, column])] = _MISSING
    return codes


def _band(figures: Scored, columns: Sequence[int], has: Bools) -> float | None:
    variances = [pooled for at in columns if (pooled := figures.pooled[at]) is not None]
    number = int(has.sum())
    if not variances or not number:
        return None
    total, free = 0.0, np.maximum(figures.count[np.ix_(has, np.unique(columns))] - 1, 0).sum()
    for at in columns:
        pooled = figures.pooled[at]
        variance = sum(variances) / len(variances) if pooled is None else pooled
        total += variance * float((1 / np.maximum(figures.count[has, at], 1)).sum()) / number**2
    return float(stats.two_sided(0.05, max(free, 1))) * math.sqrt(total)
