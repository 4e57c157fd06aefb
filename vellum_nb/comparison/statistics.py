"""Paired tests, intervals, and the noise between repeats; two-sided, scipy's where it has them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]


Z95 = 1.959963984540054
_RESAMPLES = 9_999
_MANY = 1_000  # values from which the normal interval serves as well as the bootstrap
_FEW = 20  # rated cases below which an agreement or a corrected mean has no interval that holds
_TOO_MANY = 10_000.0  # the root of as many cases as nobody runs


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean of `n` values with its 95 % interval, and the p value of its being zero.

    Low and high are NaN where there is not enough data; p is None where nothing is tested.
    """

    mean: float
    low: float
    high: float
    p: float | None = None
    n: int = 0


_NOTHING = Estimate(math.nan, math.nan, math.nan)


def sign_test(better: int, worse: int) -> float:
    """Return the exact p value of `better` against `worse` pairs; ties are left out before.

    For pass and fail this is McNemar's exact test, of the pairs that disagree.

    >>> sign_test(9, 0)
    0.00390625
    """
    from scipy.stats import binomtest

    return float(binomtest(better, better + worse, 0.5).pvalue) if better + worse else 1.0


def win_rate(won: int, lost: int) -> Estimate:
    """Return the share of `won` pairs, ties left out, with its exact 95 % interval and p value.

    Clopper and Pearson's interval: it leaves one half out where the sign test says so, and nowhere
    else.

    >>> found = win_rate(682, 243)
    >>> round(found.low, 4), round(found.high, 4)
    (0.7077, 0.7654)
    """
    from scipy.stats import binomtest

    if won + lost == 0:
        return _NOTHING
    found = binomtest(won, won + lost, 0.5)
    low, high = found.proportion_ci(0.95, method="exact")
    return Estimate(won / (won + lost), float(low), float(high), float(found.pvalue))


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Return p values corrected for their number by Holm's method; None stays None.

    >>> holm([0.01, None, 0.04])
    [0.02, None, 0.04]
    """
    known = sorted((p, at) for at, p in enumerate(values) if p is not None)
    found: list[float | None] = [None] * len(values)
    floor = 0.0
    for rank, (p, at) in enumerate(known):
        floor = max(floor, min(1.0, (len(known) - rank) * p))
        found[at] = floor
    return found


def share_interval(share: float, number: int) -> Estimate:
    """Return a share of so many cases with Wilson's 95 % interval.

    A case that passed in some of its repeats counts by its part; repeats do not make more cases.

    >>> found = share_interval(81 / 263, 263)
    >>> round(found.low, 4), round(found.high, 4)
    (0.2553, 0.3662)
    """
    if not number:
        return _NOTHING
    square = Z95**2
    middle = (share + square / (2 * number)) / (1 + square / number)
    inner = share * (1 - share) / number + square / (4 * number**2)
    half = Z95 * math.sqrt(inner) / (1 + square / number)
    return Estimate(share, max(0.0, middle - half), min(1.0, middle + half), n=number)


def paired_share(gained: int, lost: int, number: int) -> Estimate:
    """Return the difference of two shares over the same cases, with its p value.

    Agresti and Min's adjusted Wald interval, which also holds where all cases agree; McNemar's
    exact test.

    >>> found = paired_share(86, 150, 1600)
    >>> round(found.low, 3), round(found.high, 3)
    (-0.059, -0.021)
    """
    if not number:
        return _NOTHING
    more, total = number + 2, gained + lost + 1
    middle = (gained - lost) / more
    half = Z95 * math.sqrt((total / more - middle**2) / more)
    mean, p = (gained - lost) / number, sign_test(gained, lost)
    return Estimate(mean, max(-1.0, middle - half), min(1.0, middle + half), p)


def mean_interval(values: Floats, *, seed: int) -> Estimate:
    """Return the mean with its 95 % bootstrap interval (percentiles); normal for many values."""
    return _bootstrapped(values, seed)[0]


def paired(differences: Floats, *, seed: int) -> Estimate:
    """Return the mean of paired differences, its 95 % bootstrap interval and its p value.

    The p value is where the interval would just hold zero. It is never below what an exact paired
    test of so few differences can reach, 2 to the power of 1 - n, n without the ties.
    """
    import numpy as np

    found, p = _bootstrapped(differences, seed)
    decided = int(np.count_nonzero(differences))
    floor = min(1.0, 2.0 ** (1 - decided)) if decided else 1.0
    if math.isnan(found.mean):
        return found
    return Estimate(found.mean, found.low, found.high, max(p, floor))


def mean_ratio(parts: Floats, wholes: Floats) -> Estimate:
    """Return the mean of `parts` by that of `wholes`, as of costs by passes, over the same cases.

    Fieller's 95 % interval: the ratios that a paired t test does not reject. It has no ends where
    the mean of `wholes` could be zero.
    """
    import numpy as np
    from scipy.stats import t

    number = len(parts)
    if not number or not wholes.any():
        return _NOTHING
    part, whole = float(parts.mean()), float(wholes.mean())
    ends = math.nan, math.nan
    if number > 1:
        spread = np.cov(parts, wholes) * t.isf(0.025, number - 1) ** 2 / number
        a, b, c = whole**2 - spread[1, 1], part * whole - spread[0, 1], part**2 - spread[0, 0]
        root = math.sqrt(max(0.0, b**2 - a * c))
        ends = ((b - root) / a, (b + root) / a) if a > 0 else ends
    return Estimate(part / whole, float(ends[0]), float(ends[1]))


def _bootstrapped(values: Floats, seed: int) -> tuple[Estimate, float]:
    """Return the mean with its interval, and the least p whose interval leaves zero out."""
    import numpy as np
    from scipy.stats import norm

    number = len(values)
    if not number:
        return _NOTHING, 1.0
    mean = float(values.mean())
    if number == 1:
        return Estimate(mean, math.nan, math.nan), 0.0
    if number > _MANY:
        error = float(values.std(ddof=1)) / math.sqrt(number)
        p = 2 * float(norm.sf(abs(mean) / error)) if error else 0.0
        return Estimate(mean, mean - Z95 * error, mean + Z95 * error), p
    rng = np.random.default_rng(seed)
    chosen = rng.integers(0, number, size=(_RESAMPLES, number), dtype=np.int32)
    means = values[chosen].mean(axis=1)
    low, high = np.quantile(means, [0.025, 0.975])
    tail = min(int((means <= 0).sum()), int((means >= 0).sum()))
    return Estimate(mean, float(low), float(high)), min(1.0, 2 * (1 + tail) / (_RESAMPLES + 1))


def cohen_kappa(table: Sequence[Sequence[int]]) -> Estimate:
    """Return Cohen's kappa of a two by two table of counts, with its 95 % interval.

    The interval is the asymptotic one of the table with one more in each cell: it holds for few
    values, and where all agree. There is no kappa of fewer than 20, or of one verdict alone.

    >>> found = cohen_kappa([[20, 5], [10, 15]])
    >>> round(found.mean, 4), round(found.low, 4), round(found.high, 4)
    (0.4, 0.1269, 0.6138)
    """
    import numpy as np

    raw = np.array(table, dtype=np.float64)
    number = int(raw.sum())
    shares = raw / max(1, number)
    chance = float(shares.sum(axis=1) @ shares.sum(axis=0))
    if number < _FEW or chance == 1:
        return Estimate(math.nan, math.nan, math.nan, n=number)
    kappa = (float(np.trace(shares)) - chance) / (1 - chance)
    shares = (raw + 1) / (number + 4)
    rows, columns, same = shares.sum(axis=1), shares.sum(axis=0), float(np.trace(shares))
    chance = float(rows @ columns)
    middle = (same - chance) / (1 - chance)
    on = float(np.diag(shares) @ ((1 - chance) - (rows + columns) * (1 - same)) ** 2)
    off = (shares * np.add.outer(columns, rows) ** 2 * (1 - np.eye(2))).sum() * (1 - same) ** 2
    square = on + float(off) - (same * chance - 2 * chance + same) ** 2
    half = Z95 * math.sqrt(max(0.0, square) / (number + 4)) / (1 - chance) ** 2
    low, high = max(-1.0, middle - half), min(1.0, middle + half)
    return Estimate(kappa, min(low, kappa), max(high, kappa), n=number)


def krippendorff_alpha(passes: Sequence[int], ratings: Sequence[int]) -> Estimate:
    """Return Krippendorff's alpha of pass or fail by several raters, with its 95 % interval.

    Of each answer how many raters passed it, of how many who rated it; at least two did. The
    interval is the jackknife's, with one more answer of each kind that two raters can give. There
    is no alpha of fewer than 20 answers, or of one verdict alone.

    >>> round(krippendorff_alpha([3, 0, 2, 2, 1] * 4, [3, 3, 3, 2, 3] * 4).mean, 4)
    0.4271
    """
    import numpy as np

    number = len(ratings)
    ones, of = np.array(passes, dtype=np.float64), np.array(ratings, dtype=np.float64)
    if number < _FEW or not 0 < ones.sum() < of.sum():
        return Estimate(math.nan, math.nan, math.nan, n=number)
    alpha = _alpha(ones, of)
    ones, of = np.append(ones, [2, 0, 1, 1]), np.append(of, [2, 2, 2, 2])
    left = [_alpha(np.delete(ones, at), np.delete(of, at)) for at in range(len(of))]
    middle, half = _alpha(ones, of), Z95 * math.sqrt((len(of) - 1) * float(np.var(left)))
    low, high = max(-1.0, middle - half), min(1.0, middle + half)
    return Estimate(alpha, min(low, alpha), max(high, alpha), n=number)


def _alpha(ones: Floats, of: Floats) -> float:
    unlike = float((ones * (of - ones) / (of - 1)).sum())
    passed, total = float(ones.sum()), float(of.sum())
    return 1 - unlike * (total - 1) / (passed * (total - passed))


def corrected_mean(
    people: Floats, judge: Floats, unrated: Floats, *, ends: tuple[float, float]
) -> Estimate:
    """Return the mean that people would give, from few of their ratings and many of a judge's.

    Prediction-powered inference with power tuning (PPI++, arXiv 2311.01453): `people` and `judge`
    are of the same cases, `unrated` the judge's figures of the others. It holds where the rated
    cases are a random sample. The interval is that of two cases more, rated as in `ends`, of which
    the judge knows nothing: it holds for few cases, and where all were rated alike.
    """
    import numpy as np

    number = len(people)
    if number < _FEW:
        return Estimate(math.nan, math.nan, math.nan, n=number)
    mean, _ = _powered(people, judge, unrated)
    unknown = np.full(2, np.concatenate([judge, unrated]).mean())
    more = np.append(people, ends), np.append(judge, unknown), unrated
    middle, error = _powered(*more)
    half = Z95 * error
    low, high = max(math.floor(ends[0]), middle - half), min(1.0, middle + half)
    return Estimate(mean, min(mean, low), max(mean, high), n=number)


def _powered(people: Floats, judge: Floats, unrated: Floats) -> tuple[float, float]:
    """Return the prediction-powered mean and its standard error."""
    import numpy as np

    number, others = len(people), len(unrated)
    spread = float(np.concatenate([judge, unrated]).var(ddof=1))
    trust = 0.0
    if others and spread:
        shared = float(((people - people.mean()) * (judge - judge.mean())).mean())
        trust = min(1.0, max(0.0, shared / ((1 + number / others) * spread)))
    rest = people - trust * judge
    mean, square = float(rest.mean()), float(rest.var()) / number
    if trust:
        mean += trust * float(unrated.mean())
        square += trust**2 * float(unrated.var()) / others
    return mean, math.sqrt(square)


def unlike_pairs(cells: Ints, kinds: Ints) -> tuple[int, int]:
    """Return how many pairs of repeats differ, and how many pairs there are."""
    import numpy as np

    if not len(cells):
        return 0, 0
    _, repeats = np.unique(cells, return_counts=True)
    both = cells.astype(np.int64) * (int(kinds.max()) + 1) + kinds
    _, alike = np.unique(both, return_counts=True)
    pairs = int((repeats * (repeats - 1) // 2).sum())
    return pairs - int((alike * (alike - 1) // 2).sum()), pairs


def pooled_variance(cells: Ints, values: Floats) -> float | None:
    """Return the variance between repeats, pooled over cases; None where nothing was repeated."""
    import numpy as np

    _, at, counts = np.unique(cells, return_inverse=True, return_counts=True)
    free = int((counts - 1).sum())
    if free == 0:
        return None
    means = np.bincount(at, weights=values) / counts
    return float(((values - means[at]) ** 2).sum() / free)


def detectable_share(cases: int, alpha: float = 0.05) -> float | None:
    """Return the least difference in shares that so many cases can show; None: none at all.

    As many cases as a sign test needs, if all of them went one way.

    >>> detectable_share(12), detectable_share(5)
    (0.5, None)
    """
    needed = 1 + math.ceil(math.log2(1 / alpha))
    return needed / cases if cases >= needed else None


def two_sided_z(alpha: float) -> float:
    """Return how many standard errors leave `alpha` outside.

    >>> round(two_sided_z(0.05), 4)
    1.96
    """
    from scipy.stats import norm

    return float(norm.isf(alpha / 2))


def cases_needed(
    mean: float, spread: float, *, alpha: float = 0.05, power: float = 0.8
) -> int | None:
    """Return how many cases would show a mean difference like this one; None: hardly any number."""
    from scipy.stats import norm

    if mean == 0 or not math.isfinite(mean) or not math.isfinite(spread):
        return None
    ratio = abs((two_sided_z(alpha) + float(norm.isf(1 - power))) * spread / mean)
    if ratio > _TOO_MANY:
        return None
    return max(1 + math.ceil(math.log2(1 / alpha)), math.ceil(ratio**2))
