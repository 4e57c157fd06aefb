"""Paired tests, intervals, power, and the noise between repeats. All tests are two-sided.

`benchmarks/simulate_statistics.py` measures their coverage.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from vellum_nb.lazy import Floats, Ints, np, optimize, special

Z95 = 1.959963984540054
MANY = 1e9  # degrees of freedom: the normal distribution
_MIN_CASES = 20  # smallest number of cases for an agreement, a corrected mean or a ratio
_LARGEST_RATIO = 10_000.0  # of the upper end of a ratio to the ratio
ROUNDING, _EQUAL = 1e-12, 1e-9  # relative to a mean
LEAST_UNITS = 6  # smallest number of values, or of clusters, for an interval
LEAST_UNEQUAL = 4  # smallest number of differences other than zero
_LARGEST_SKEW = 0.9  # of a mean of clusters, times the critical value
_BETS = 64  # half of them on positive differences
_CHECKS = 365  # of an e-detector, among which false alarms are limited
_LEAST_ERROR = 1e-100  # values with a smaller standard error are equal
_LARGEST_EXPONENT = 700.0  # exp() overflows above 709
_POWER = 0.8
_MAX_CASES = 100_000  # more are infeasible
_LEAST_VARIANCE = 1e-12
_RESAMPLES = 4_999
_SHRINKAGE = 1.5  # of an observed gain, in standard errors
_LARGEST_LEVERAGE = 0.5  # of a case
_VALUES = 15  # equally likely values of an uncertain figure


@dataclass(frozen=True, slots=True)
class Estimate:
    """Mean of `n` values with its 95 % interval, and the p value for a mean of zero.

    Low and high are NaN without enough data. p is None without a test.
    """

    mean: float
    low: float
    high: float
    p: float | None = None
    n: int = 0

    def columns(self, name: str, joint: str = "_") -> dict[str, float]:
        """Return it as the columns `name`, and `name` joined to `low`, `high` and `n`."""
        ends = {"low": self.low, "high": self.high, "n": self.n}
        return {name: self.mean} | {f"{name}{joint}{end}": value for end, value in ends.items()}


NO_ESTIMATE = Estimate(math.nan, math.nan, math.nan)


def sign_test(better: int, worse: int) -> float:
    """Return the exact p value of `better` against `worse` pairs, without ties."""
    return min(1.0, 2 * float(special.bdtr(min(better, worse), better + worse, 0.5)))


def mcnemar(gained: int, lost: int) -> float:
    """Return the p value of McNemar's mid-p test of cases that pass on only one of two releases.

    Half the probability of the observed table counts (Fagerland et al. 2013): more power than the
    exact test, with an error of at most 5.1 % if no more than 80 % of the cases differ.
    """
    number, least = gained + lost, min(gained, lost)
    if gained == lost:
        return 1.0
    fewer = float(special.bdtr(least - 1, number, 0.5)) if least else 0.0
    return float(special.bdtr(least, number, 0.5)) + fewer


def win_rate(won: int, lost: int) -> Estimate:
    """Return the share of `won` pairs without ties, its exact 95 % interval and p value.

    Clopper and Pearson's interval excludes one half exactly if the sign test is significant.
    """
    if not (number := won + lost):
        return NO_ESTIMATE
    return replace(share_interval(won / number, number), p=sign_test(won, lost))


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Return p values corrected by Holm's method; None is ignored.

    >>> holm([0.01, None, 0.04])
    [0.02, None, 0.04]
    """
    ordered = sorted((p, at) for at, p in enumerate(values) if p is not None)
    corrected: list[float | None] = [None] * len(values)
    floor = 0.0
    for rank, (p, at) in enumerate(ordered):
        floor = max(floor, min(1.0, (len(ordered) - rank) * p))
        corrected[at] = floor
    return corrected


def share_interval(share: float, number: float) -> Estimate:
    """Return a share of `number` cases with its exact 95 % interval, Clopper and Pearson's.

    A case that passed in some of its repeats counts in part; repeats do not add cases.
    """
    if not number:
        return NO_ESTIMATE
    passed = share * number
    low = float(special.betaincinv(passed, number - passed + 1, 0.025)) if passed > 0 else 0.0
    high = float(special.betaincinv(passed + 1, number - passed, 0.975)) if passed < number else 1.0
    return Estimate(share, low, high, n=int(number))


def paired_share(gained: int, lost: int, number: int) -> Estimate:
    """Return the difference of two shares over the same cases, with its p value.

    Tango's score interval, which is also valid if all cases agree, and McNemar's mid-p test.
    """
    if not number:
        return NO_ESTIMATE
    mean, edge = (gained - lost) / number, 1 - 1e-9

    def limit(sign: int) -> float:
        if sign * _tango_score(gained, lost, number, sign * edge) > -Z95:
            return float(sign)
        ends = sorted((sign * edge, max(-edge, min(edge, mean))))
        score = partial(_tango_score, gained, lost, number)
        return float(optimize.brentq(lambda share: score(share) + sign * Z95, *ends))

    return Estimate(mean, limit(-1), limit(1), mcnemar(gained, lost), number)


def _tango_score(gained: int, lost: int, number: int, share: float) -> float:
    """Return the distance of the cases from a difference of shares, in standard errors."""
    linear = (2 * number - gained + lost) * share - gained - lost
    inner = linear**2 + 8 * number * lost * share * (1 - share)
    losing = (math.sqrt(max(inner, 0.0)) - linear) / (4 * number)
    variance = number * (2 * losing + share * (1 - share))
    return (gained - lost - number * share) / math.sqrt(max(variance, 1e-300))


def paired_share_p(gained: int, lost: int, number: int, share: float) -> float:
    """Return the two-sided p value of Tango's score test of a difference of `share`."""
    if not number or abs(share) >= 1:
        return 1.0
    return 2 * float(special.ndtr(-abs(_tango_score(gained, lost, number, share))))


def _deviations(values: Floats, clusters: Ints | None) -> tuple[Floats, float]:
    """Return deviations from the mean (jackknife over clusters) and degrees of freedom.

    For clusters of unequal size, these are the effective number of clusters (Kish) minus 1.
    """
    mean = values.mean()
    if clusters is None:
        return values - mean, len(values) - 1.0
    _, at, sizes = np.unique(clusters, return_inverse=True, return_counts=True)
    if len(sizes) == 1:
        return np.zeros(1), 0.0
    jackknife_means = (values.sum() - np.bincount(at, values)) / (len(values) - sizes)
    return (len(sizes) - 1) * (mean - jackknife_means), len(values) ** 2 / float(sizes @ sizes) - 1


def standard_error(values: Floats, clusters: Ints | None = None) -> float:
    """Return the standard error of the mean, cluster-robust with `clusters`.

    The jackknife over clusters (CV3), which equals CR1 for clusters of equal size.
    """
    return _error(_deviations(values, clusters)[0]) if len(values) else math.nan


def _error(units: Floats, more: float = 0.0) -> float:
    """Return the standard error of a mean, with `more` variance added to that of its values."""
    number = len(units)
    if number == 1:
        return math.nan
    return math.sqrt((float(units @ units) / (number - 1) + more) / number)


def mean_interval(
    values: Floats, *, clusters: Ints | None = None, is_share: bool = False, least: float = 0.0
) -> Estimate:
    """Return the mean with its 95 % interval, and the p value for a mean of zero.

    Each end is the wider of Student's interval and Hall's, which allows for skewed values. p is the
    larger of the two at which an end reaches zero. With clusters, both use the pseudo-values of the
    jackknife over clusters. There is no interval for fewer than six values or clusters, for equal
    values, or if one cluster has most of them. Shares (`is_share`) are from `least` to 1;
    their Student's interval includes two more values at a distance of one half from the mean. If
    all shares are equal, it is at least as wide as the exact interval.
    """
    if not len(values):
        return NO_ESTIMATE
    mean, (units, free) = float(values.mean()), _deviations(values, clusters)
    number, skew = len(units), 0.0
    error = _error(units, 0.5 / number if is_share else 0.0)
    nothing = Estimate(mean, math.nan, math.nan, n=len(values))
    is_known = max(ROUNDING * abs(mean), _LEAST_ERROR) < error < math.inf
    if number < LEAST_UNITS or free < 1 or not is_known:
        return nothing
    if not is_share:
        skew = _skewness(units / error, free)
        if clusters is not None:  # with few clusters, Hall's function would be almost flat
            largest = _LARGEST_SKEW / float(two_sided(0.05, free))
            skew = max(-largest, min(largest, skew))
    below, above, p = _hall(mean / error, free, skew)
    low, high = mean - below * error, mean + above * error
    if is_share and abs(mean) in {0.0, 1.0} and not np.ptp(values):
        equal = share_interval(mean, number)
        if least < 0:
            equal = paired_share(number * (mean > 0), number * (mean < 0), number)
        low, high = min(low, equal.low), max(high, equal.high)
    bounds = (least, 1.0) if is_share else (-math.inf, math.inf)
    return replace(nothing, low=max(low, bounds[0]), high=min(high, bounds[1]), p=p)


def _skewness(units: Floats, free: float) -> float:
    """Return the skewness of a mean; `free` is the effective number of `units` minus 1."""
    effective, cubes = max(free, 2.0), float(((units / len(units)) ** 3).sum())
    return cubes * (effective + 1) ** 2 / effective / (effective - 1)


def _hall(t: float, free: float, skew: float) -> tuple[float, float, float]:
    """Return the distances from a mean to the ends of its interval in standard errors, and p.

    `t` is the mean divided by its error, `skew` the skewness divided by the root of the number of
    values. Hall (1992): a cubic function of t, inverted here, is less skewed than t.
    """
    edge = float(two_sided(0.05, free))
    ends = [edge, edge]
    if abs(skew) > ROUNDING:
        turned = (3 * (special.cbrt(1 + skew * (q - skew / 6)) - 1) / skew for q in (edge, -edge))
        ends = [max(edge, abs(float(end))) for end in turned]
    straight = t + skew * t**2 / 3 + skew**2 * t**3 / 27 + skew / 6
    return ends[0], ends[1], 2 * float(special.stdtr(free, -min(abs(t), abs(straight))))


def mean_ratio(parts: Floats, wholes: Floats, *, clusters: Ints | None = None) -> Estimate:
    """Return the mean of `parts` divided by that of `wholes` over the same cases, as cost per pass.

    Fieller's method: the interval has the ratios r for which the interval of the mean of parts - r
    * wholes includes zero. It needs 20 cases, and a mean of `wholes` distinct from zero.
    """
    if not wholes.any():
        return replace(NO_ESTIMATE, n=len(parts))
    ratio = float(parts.mean() / wholes.mean())
    nothing = Estimate(ratio, math.nan, math.nan, n=len(parts))
    if len(parts) < _MIN_CASES:
        return nothing

    def difference(r: float) -> Estimate:
        mean = mean_interval(parts - r * wholes, clusters=clusters)
        is_interval = mean.low < mean.high
        return mean if is_interval else replace(mean, low=mean.mean, high=mean.mean)

    middle = difference(ratio)
    is_sure = mean_interval(wholes, clusters=clusters, is_share=True).low > 0
    if not (is_sure and middle.high - middle.low > _EQUAL * parts.mean()):
        return nothing
    most = 2 * ratio
    while difference(most).high > 0:
        most *= 2
        if most > _LARGEST_RATIO * ratio:
            return nothing
    low = 0.0
    if difference(0.0).low > 0:
        low = optimize.brentq(lambda r: difference(r).low, 0.0, ratio)
    high = optimize.brentq(lambda r: difference(r).high, ratio, most)
    return replace(nothing, low=float(low), high=float(high))


def unequal_units(differences: Floats, clusters: Ints | None = None) -> tuple[int, int]:
    """Return the numbers of differences, or of their sums over clusters, above and below zero."""
    sums = differences if clusters is None else np.bincount(clusters, differences)
    return int((sums > 0).sum()), int((sums < 0).sum())


def bounded(
    estimate: Estimate, differences: Floats, clusters: Ints | None, ends: tuple[float, float]
) -> Estimate:
    """Return the mean difference of figures between `ends`, of which fewer than four differ.

    The interval includes that for which each difference is the largest possible one.
    """
    number = len(differences) if clusters is None else len(np.unique(clusters))
    gained, lost = unequal_units(differences, clusters)
    if number < LEAST_UNITS or gained + lost >= LEAST_UNEQUAL:
        return estimate
    width = ends[1] - ends[0]
    low, high = paired_share(0, lost, number).low, paired_share(gained, 0, number).high
    ends = float(np.fmin(estimate.low, width * low)), float(np.fmax(estimate.high, width * high))
    return replace(estimate, low=ends[0], high=ends[1])


def paired(
    differences: Floats, *, clusters: Ints | None = None, is_share: bool = False
) -> Estimate:
    """Return the mean of paired differences, its 95 % interval and its p value.

    As `mean_interval`: without skew, Student's paired test, as `scipy.stats.ttest_rel`. At least
    four differences must not be zero. For shares, p is at least the smallest p of the sign test,
    and equal to it if all differences are equal.
    """
    estimate = mean_interval(differences, clusters=clusters, is_share=is_share, least=-1.0)
    unequal = sum(unequal_units(differences, clusters))
    least_p = sign_test(unequal, 0)
    if estimate.p is not None and is_share:
        return replace(estimate, p=max(estimate.p, least_p))
    has_spread = estimate.n and np.ptp(differences) > ROUNDING * abs(estimate.mean)
    if estimate.p is None and estimate.n and not has_spread:
        return replace(estimate, p=least_p)
    if unequal < LEAST_UNEQUAL:
        return replace(estimate, low=math.nan, high=math.nan, p=None)
    return estimate


@dataclass(frozen=True, slots=True)
class Sequential:
    """State of a paired test that is valid after every case."""

    evidence: float  # largest e value so far; the test decides at 1 / alpha
    side: int  # 1: decided, differences are positive; -1: negative; 0: not decided
    can_decide: bool  # decided, or still possible with the remaining cases
    cases: int  # number of cases until the decision, or all cases


def sequential_test(
    differences: Sequence[float] | Floats, *, left: int = 0, alpha: float = 0.05
) -> Sequential:
    """Test paired differences by betting, in the order of their cases (an e-process).

    A stake of 1 is bet on the differences, each relative to the largest so far, half of it on
    positive and half on negative ones. If a difference is as likely as its opposite, the stake
    reaches 1 / alpha with a probability of at most alpha, however often the result is read. The
    bets are those of Krichevsky and Trofimov: a mixture over the arcsine distribution. `left` is
    the number of remaining cases.

    >>> sequential_test([1.0] * 6).side, sequential_test([1.0] * 7).side
    (0, 1)
    """
    values = np.asarray(differences, dtype=np.float64)
    largest = np.maximum.accumulate(np.abs(values))
    parts = np.divide(values, largest, out=np.zeros(len(values)), where=largest > 0)
    bets = np.cos(np.pi * (np.arange(_BETS) + 0.5) / _BETS)
    stakes = np.log1p(np.outer(np.concatenate([[0.0], parts]), bets)).cumsum(axis=0)
    worth = np.logaddexp.reduce(stakes, axis=1) - math.log(_BETS)
    needed, evidence = -math.log(alpha), math.exp(min(float(worth.max()), _LARGEST_EXPONENT))
    if worth.max() >= needed:
        at = int((worth >= needed).argmax())
        up, down = (np.logaddexp.reduce(half) for half in np.split(stakes[at], 2))
        side = 1 if up > down else -1
        return Sequential(evidence, side, can_decide=True, cases=at)
    # The worth is convex in the split of the remaining cases: all on one side gain most.
    most = max(np.logaddexp.reduce(stakes[-1] + left * np.log1p(sign * bets)) for sign in (1, -1))
    can_decide = bool(most - math.log(_BETS) >= needed)
    return Sequential(evidence, 0, can_decide=can_decide, cases=len(values))


def gain_evidence(gains: Floats, least: float) -> Floats:
    """Return the logarithm of the largest e value so far that the mean gain is above 0, by case.

    A betting e-process for a mean of bounded values (Waudby-Smith and Ramdas 2024), which holds
    after every case: half of a stake of 1 is bet on positive gains, with the bets of
    `sequential_test`. `least` is the smallest possible gain, below 0.

    >>> import numpy as np
    >>> evidence = gain_evidence(np.full(100, 0.05), least=-0.95)  # no difference, margin 0.05
    >>> int((evidence < np.log(1 / 0.05)).sum())
    90
    """
    bets = np.cos(np.pi * (np.arange(_BETS // 2) + 0.5) / _BETS)
    stakes = np.log1p(np.outer(gains / max(-least, _EQUAL), bets)).cumsum(axis=0)
    worth: Floats = np.logaddexp.reduce(stakes, axis=1) - math.log(_BETS)
    return np.maximum.accumulate(worth)


def drop_evidence(gains: Floats, checks: Ints, least: float) -> tuple[Floats, int]:
    """Return the e value after each check that the mean gain is above 0 since a check, and which.

    An e-detector (Shin, Ramdas and Rinaldo 2023): from each check on, a stake of 1 / 365 is bet on
    positive gains, with the bets of `gain_evidence`. Of series without a positive mean gain, at
    most 5 in 100 reach 20 within 365 checks. `checks` has the index of the check of each gain, in
    ascending order without gaps, and `least` is the smallest possible gain, below 0.

    >>> import numpy as np
    >>> gains = np.repeat([0.0, 0.1], 400)  # 40 cases, a drop after ten checks
    >>> evidence, start = drop_evidence(gains, np.arange(800) // 40, least=-1.0)
    >>> int((evidence < 20).sum()), start
    (12, 10)
    """
    bets = np.cos(np.pi * (np.arange(_BETS // 2) + 0.5) / _BETS)
    logs = np.log1p(np.outer(gains / max(-least, _EQUAL), bets))
    steps = np.add.reduceat(logs, np.flatnonzero(np.diff(checks, prepend=-1)))
    worth, evidence = np.full(len(bets), -np.inf), []
    for step in steps:
        worth = np.logaddexp(worth, -math.log(_CHECKS)) + step
        evidence.append(float(np.logaddexp.reduce(worth)) - math.log(len(bets)))
    until = steps.cumsum(axis=0)
    since = (until[-1] - until + steps).max(axis=1)  # of the best bet, from each check on
    start = np.flatnonzero(since >= since.max() - _EQUAL)[-1]
    return np.exp(np.minimum(evidence, _LARGEST_EXPONENT)), int(start)


def confidence_sequence(values: Floats, ends: tuple[float, float]) -> tuple[float, float]:
    """Return a 95 % interval of the mean of values between `ends` that holds after every case.

    It has the means against which `gain_evidence` is below 1 / 0.05, for either sign.

    >>> import numpy as np
    >>> low, high = confidence_sequence(np.resize([0.0, 0.0, 0.0, 1.0], 100), (-1.0, 1.0))
    >>> round(low, 2), round(high, 2)
    (0.14, 0.4)
    """

    def lower_end(values: Floats, least: float) -> float:
        def excess(mean: float) -> float:
            return float(gain_evidence(values - mean, least - mean)[-1]) + math.log(0.05)

        start, mean = least + _EQUAL * (ends[1] - ends[0]), float(values.mean())
        if mean <= start or excess(start) <= 0:
            return least
        if excess(mean) >= 0:
            return mean
        return float(optimize.brentq(excess, start, mean, xtol=_EQUAL))

    return lower_end(values, ends[0]), -lower_end(-values, -ends[1])


def cohen_kappa(counts: Sequence[Sequence[float]] | Floats) -> Estimate:
    """Return Cohen's kappa of two raters, with its 95 % interval.

    `counts` has a row per case: its answers that both pass, only the first, only the second, and
    neither. The jackknife over cases, with one more case in each of the four columns. NaN for fewer
    than 20 cases, or if all verdicts are equal.

    >>> import numpy as np
    >>> found = cohen_kappa(np.repeat(np.eye(4), [20, 5, 10, 15], axis=0))
    >>> round(found.mean, 4), round(found.low, 4), round(found.high, 4)
    (0.4, 0.1216, 0.6191)
    """
    sums = np.asarray(counts, dtype=np.float64).reshape(-1, 4)
    number, total = len(sums), sums.sum(axis=0)
    if number < _MIN_CASES or (total.max() == total.sum() and total.argmax() in {0, 3}):
        return replace(NO_ESTIMATE, n=number)
    more = np.eye(4) * total.sum() / number
    return _around(float(_kappa(total)), *_jackknife(np.vstack([sums, more]), _kappa), n=number)


def _kappa(counts: Floats) -> Any:
    both, first, second, neither = counts.T
    total = both + first + second + neither
    chance = (both + first) * (both + second) + (neither + first) * (neither + second)
    return ((both + neither) * total - chance) / (total**2 - chance)


def _jackknife(sums: Floats, statistic: Callable[[Floats], Any]) -> tuple[float, float]:
    """Return a statistic of the sum of rows, and its standard error by leaving out each row."""
    total = sums.sum(axis=0)
    variance = float(np.var(statistic(total - sums)))
    return float(statistic(total)), math.sqrt((len(sums) - 1) * variance)


def _around(mean: float, middle: float, error: float, *, n: int, least: float = -1.0) -> Estimate:
    """Return an estimate with an interval around `middle`, clipped to `least` and 1."""
    low, high = max(least, middle - Z95 * error), min(1.0, middle + Z95 * error)
    return Estimate(mean, min(low, mean), max(high, mean), n=n)


def krippendorff_alpha(
    passes: Sequence[int], ratings: Sequence[int], cases: Sequence[int] | Ints | None = None
) -> Estimate:
    """Return Krippendorff's alpha of pass or fail by several raters, with its 95 % interval.

    `passes` is the number of raters who passed each answer, `ratings` the number who rated it, at
    least two, and `cases` the index of its case (default: one answer per case). The jackknife over
    cases, with one more case of each kind that two raters can give. NaN for fewer than 20 cases, or
    if all verdicts are equal.

    >>> round(krippendorff_alpha([3, 0, 2, 2, 1] * 4, [3, 3, 3, 2, 3] * 4).mean, 4)
    0.4271
    """
    ones, of = np.array(passes, dtype=np.float64), np.array(ratings, dtype=np.float64)
    rows = np.column_stack([ones * (of - ones) / (of - 1), ones, of])
    at = np.arange(len(rows)) if cases is None else np.unique(cases, return_inverse=True)[1]
    sums = _sums(at, rows)
    number = len(sums)
    if number < _MIN_CASES or not 0 < ones.sum() < of.sum():
        return replace(NO_ESTIMATE, n=number)
    more = np.array([[0, 2, 2], [0, 0, 2], [1, 1, 2], [1, 1, 2]]) * len(rows) / number
    alpha = float(_alpha(rows.sum(axis=0)))
    return _around(alpha, *_jackknife(np.vstack([sums, more]), _alpha), n=number)


def _alpha(sums: Floats) -> Any:
    unlike, passed, total = sums.T
    return 1 - unlike * (total - 1) / (passed * (total - passed))


def slope(values: Floats, x: Floats, controls: Floats, cases: Ints) -> Estimate:
    """Return the slope of `values` on `x` at equal `controls`, with its interval and p value.

    Least squares with an intercept. The tests use the residuals of a model without the slope,
    summed by case and corrected for leverage. If `x` has two values, Student's test: with few cases
    of one value, residuals of a model with the slope would vary too little. If it has more, the
    wild cluster bootstrap (Cameron, Gelbach and Miller 2008): lengths have a long tail.
    NaN for fewer than 20 cases, for fewer than four cases with values other than zero, and if the
    controls determine `x` or all values.

    >>> import numpy as np
    >>> x, noise = np.arange(40.0), np.resize([0.3, -0.1, 0.2, -0.4], 40)
    >>> found = slope(0.5 * x + noise, x, np.zeros((40, 0)), np.arange(40))
    >>> round(found.mean, 2), round(found.low, 2), round(found.high, 2)
    (0.5, 0.49, 0.51)
    """
    units, at = np.unique(cases, return_inverse=True)
    number, nothing = len(units), replace(NO_ESTIMATE, n=len(units))
    if number < _MIN_CASES or (np.bincount(at, np.abs(values)) > 0).sum() < LEAST_UNEQUAL:
        return nothing
    others = np.column_stack([np.ones(len(x)), controls])
    both, inverse = np.column_stack([x, values]), np.linalg.pinv(others)
    unexplained = both - others @ (inverse @ both)
    if not (np.ptp(unexplained, axis=0) > _EQUAL * np.abs(both).max(axis=0)).all():
        return nothing
    weights = np.minimum(np.bincount(at, (others * inverse.T).sum(axis=1)), _LARGEST_LEVERAGE)
    alone, errors = unexplained.T
    corrected = errors / (1 - weights)[at]
    columns = np.column_stack([alone**2, alone * errors, alone * corrected])
    squares, products, scores = _sums(at, columns).T
    total = float(squares.sum())
    mean, free = float(products.sum()) / total, number - 1
    if len(np.unique(x)) == 2:  # noqa: PLR2004
        error = max(float(scores.std(ddof=1)) * math.sqrt(number) / total, _LEAST_ERROR)
        edge = float(two_sided(0.05, free))
        p = 2 * float(special.stdtr(free, -abs(mean) / error))
    else:
        error = float(np.linalg.norm(products - mean * squares)) / total
        changes = _sums(at, inverse.T * corrected[:, None]), _sums(at, others * alone[:, None])
        ratios = _wild_ratios(scores, squares, *changes)
        edge = float(np.quantile(ratios, 0.95, method="higher"))
        p = (1 + int((ratios * error >= abs(mean)).sum())) / (1 + len(ratios))
    return Estimate(mean, mean - edge * error, mean + edge * error, p, number)


def _sums(at: Ints, rows: Floats) -> Floats:
    """Return the sums of `rows` over cases."""
    sums = np.zeros((int(at.max(initial=-1)) + 1, rows.shape[1]))
    np.add.at(sums, at, rows)
    return sums


def _wild_ratios(scores: Floats, squares: Floats, changes: Floats, effects: Floats) -> Floats:
    """Return absolute slopes in standard errors, with random signs of the residuals of each case.

    A case changes the coefficients of the controls, which have effects on the scores of all cases.
    """
    columns, width = np.column_stack([effects, squares]), effects.shape[1]
    signs = np.random.default_rng(0).choice([-1.0, 1.0], (_RESAMPLES, len(scores)))
    sums = signs @ np.column_stack([scores, changes, scores[:, None] * columns])
    slopes = sums[:, 0] / squares.sum()
    moved, mixed = np.column_stack([sums[:, 1 : width + 1], slopes]), sums[:, width + 1 :]
    spreads = float(scores @ scores) - ((2 * mixed - moved @ (columns.T @ columns)) * moved).sum(1)
    ratios: Floats = np.abs(sums[:, 0]) / np.sqrt(np.maximum(spreads, _LEAST_ERROR))
    return ratios


def corrected_mean(
    people: Floats, judge: Floats, unrated: Floats, *, ends: tuple[float, float]
) -> Estimate:
    """Return the mean that people would give, from few of their ratings and many of a judge's.

    Prediction-powered inference with power tuning (PPI++, arXiv 2311.01453): `people` and `judge`
    rate the same cases, `unrated` has the judge's figures of the others. The rated cases must be a
    random sample. The interval includes two more cases, rated as in `ends`, with an uninformative
    judge: it is valid for few cases and for equal ratings.
    """
    number = len(people)
    if number < _MIN_CASES:
        return replace(NO_ESTIMATE, n=number)
    mean, _ = _powered(people, judge, unrated)
    unknown = np.full(2, np.concatenate([judge, unrated]).mean())
    wider = _powered(np.append(people, ends), np.append(judge, unknown), unrated)
    return _around(mean, *wider, n=number, least=math.floor(ends[0]))


def _powered(people: Floats, judge: Floats, unrated: Floats) -> tuple[float, float]:
    """Return the prediction-powered mean and its standard error."""
    number, unrated_number = len(people), len(unrated)
    spread = float(np.concatenate([judge, unrated]).var(ddof=1))
    trust = 0.0
    if unrated_number and spread:
        shared = float(((people - people.mean()) * (judge - judge.mean())).mean())
        trust = min(1.0, max(0.0, shared / ((1 + number / unrated_number) * spread)))
    residuals = people - trust * judge
    mean, square = float(residuals.mean()), float(residuals.var()) / number
    if trust:
        mean += trust * float(unrated.mean())
        square += trust**2 * float(unrated.var()) / unrated_number
    return mean, math.sqrt(square)


def unlike_pairs(cells: Ints, kinds: Ints) -> tuple[int, int]:
    """Return the number of differing pairs of repeats, and of all pairs."""
    _, repeats = np.unique(cells, return_counts=True)
    both = cells.astype(np.int64) * (int(kinds.max(initial=0)) + 1) + kinds
    _, alike = np.unique(both, return_counts=True)
    pairs = int((repeats * (repeats - 1) // 2).sum())
    return pairs - int((alike * (alike - 1) // 2).sum()), pairs


def pooled_variance(cells: Ints, values: Floats) -> float | None:
    """Return the variance between repeats, pooled over cases, or None without repeats."""
    _, at, counts = np.unique(cells, return_inverse=True, return_counts=True)
    free = int((counts - 1).sum())
    if free == 0:
        return None
    means = np.bincount(at, weights=values) / counts
    return float(((values - means[at]) ** 2).sum() / free)


def least_cases(alpha: float = 0.05, *, exact: bool = True) -> int:
    """Return the number of cases with which a test can find a difference, if all are worse.

    An exact sign test needs more cases than McNemar's mid-p test.

    >>> least_cases(), least_cases(exact=False)
    (6, 5)
    """
    return exact + math.ceil(math.log2(1 / alpha))


def two_sided(alpha: float, free: Any = MANY) -> Any:
    """Return the two-sided critical value of `alpha` in standard errors, by degrees of freedom.

    >>> [round(float(two_sided(0.05, free)), 2) for free in (2, 30, MANY)]
    [4.3, 2.04, 1.96]
    """
    return -special.stdtrit(free, alpha / 2)


def share_margin_power(
    mean: float, unequal: float, number: int, margin: float, alpha: float = 0.05
) -> float:
    """Return the power of Tango's score test to show that the loss is smaller than `margin`.

    `mean` is the difference of the shares, and `unequal` the share of cases that differ.

    >>> round(share_margin_power(0.0, 0.2, 400, 0.05), 2)
    0.61
    """
    spread, at_margin = _share_spreads(unequal, mean, margin)
    distance = (mean + margin) * math.sqrt(number) - float(two_sided(alpha)) * at_margin
    return float(special.ndtr(distance / spread))


def _share_spreads(unequal: Any, mean: float, margin: float) -> tuple[Any, Any]:
    """Return the standard deviation of a case's gain, and the one that the test assumes."""
    variances = unequal - mean**2, np.maximum(unequal, margin) - margin**2
    spread, at_margin = (np.sqrt(np.maximum(each, _LEAST_VARIANCE)) for each in variances)
    return spread, at_margin


def mean_power(mean: float, spread: float, number: int, alpha: float = 0.05) -> float:
    """Return the power of Student's paired test; add the margin to `mean` to test a margin.

    >>> round(mean_power(0.5, 1.0, 34), 2)
    0.81
    """
    if number < 2 or spread <= 0:  # noqa: PLR2004
        return 0.0
    edge = float(two_sided(alpha, number - 1))
    return 1 - float(special.nctdtr(number - 1, abs(mean) / spread * math.sqrt(number), edge))


def cases_for(
    power_of: Callable[[int], float], *, least: int = 1, target: float = _POWER
) -> int | None:
    """Return the smallest number of cases with the power `target`; None if infeasible."""
    low, high = least, max(1, least)
    while power_of(high) < target:
        low, high = high + 1, 2 * high
        if high > _MAX_CASES:
            return None
    return bisect_left(range(high), target, low, key=power_of)


@dataclass(frozen=True)
class Pilot:
    """Gains of the cases compared so far, and what they leave uncertain about further cases.

    The other fields are equally likely values of standard deviations of a case's gain.
    """

    mean: float
    number: int
    margin: float
    expected: float  # gain of further cases
    spreads: Floats
    at_margin: Floats  # assumed by the test of the margin
    at_zero: Floats  # assumed by the test of no difference
    is_share: bool

    @classmethod
    def of_shares(cls, gained: int, lost: int, number: int, margin: float) -> Pilot:
        """Return a pilot of pass or fail cases, some of which pass only on one release."""
        mean = (gained - lost) / number
        variance = max((gained + lost) / number - mean**2, 0.5 / number)
        expected = expected_gain(mean, math.sqrt(variance / number))
        differing = gained + lost + 0.5, number - gained - lost + 0.5  # with Jeffreys' prior
        unequal = special.betaincinv(*differing, _chances())
        unequal = np.maximum(unequal, abs(expected))
        spreads = *_share_spreads(unequal, expected, margin), np.sqrt(unequal)
        return cls(mean, number, margin, expected, *spreads, is_share=True)

    @classmethod
    def of_numbers(cls, mean: float, spread: float, number: int, margin: float) -> Pilot:
        """Return a pilot of gains with this mean and standard deviation."""
        spreads = spread * np.sqrt((number - 1) / special.chdtri(number - 1, _chances()))
        expected = expected_gain(mean, spread / math.sqrt(number))
        return cls(mean, number, margin, expected, spreads, spreads, spreads, is_share=False)

    def power(self, total: int, alpha: float) -> float:
        """Return the probability that `total` cases, these included, decide.

        That they exclude a loss of the margin or, if that is likelier, show a significant loss.

        >>> pilot = Pilot.of_shares(2, 3, 40, 0.1)
        >>> round(pilot.power(100, 0.05), 2)
        0.72
        """
        more = total - self.number
        center = (self.number * self.mean + more * self.expected) / total
        spreads = self.spreads * math.sqrt(more) / total
        edge = float(two_sided(alpha) if self.is_share else two_sided(alpha, total - 1))
        edge /= math.sqrt(total)
        step = 0.5 / total if self.is_share else 0.0  # continuity; a mid-p test needs none
        excluded = special.ndtr((center + self.margin - step - edge * self.at_margin) / spreads)
        if self.expected < 0:
            worse = special.ndtr((-center - edge * self.at_zero) / spreads)
            excluded = np.maximum(excluded, worse)
        return float(excluded.mean())


def _chances() -> Floats:
    """Return the probabilities of equally likely values."""
    return (np.arange(_VALUES) + 0.5) / _VALUES


def expected_gain(mean: float, error: float) -> float:
    """Return the gain that a plan expects: the observed one, less 1.5 standard errors.

    >>> expected_gain(-0.5, 0.25), expected_gain(0.05, 0.1)
    (-0.125, 0.0)
    """
    return math.copysign(max(0.0, abs(mean) - _SHRINKAGE * error), mean) if mean else 0.0
