"""How sure one can be: paired tests and intervals. Pure; `noise` has what repeats tell.

Everything is two-sided. Figures are those of scipy where scipy has the test; the tests hold them
against R and published tables.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

__all__ = [
    "Estimate",
    "holm",
    "mean_interval",
    "paired",
    "paired_share",
    "share_interval",
    "sign_test",
    "win_rate",
]

_RESAMPLES = 9_999
_MANY = 1_000  # values from which the normal interval serves as well as the bootstrap
_Z95 = 1.959963984540054
_NAN = float("nan")


@dataclass(frozen=True, slots=True)
class Estimate:
    """A mean with its 95 % interval, and the p value of its being zero where that was asked."""

    mean: float
    low: float
    high: float
    p: float | None = None


_NOTHING = Estimate(_NAN, _NAN, _NAN)


def sign_test(better: int, worse: int) -> float:
    """Return the exact p value of `better` against `worse` pairs; ties are left out before.

    For pass and fail this is McNemar's exact test, of the pairs that disagree.

    Examples
    --------
    >>> sign_test(9, 0)
    0.00390625
    """
    if better + worse == 0:
        return 1.0
    from scipy.stats import binomtest

    return float(binomtest(better, better + worse, 0.5).pvalue)


def win_rate(won: int, lost: int) -> Estimate:
    """Return the share of `won` pairs, ties left out, with its exact 95 % interval and p value.

    Clopper and Pearson's interval: it leaves one half out where the sign test says so, and nowhere
    else.

    Examples
    --------
    >>> found = win_rate(682, 243)
    >>> round(found.low, 4), round(found.high, 4)
    (0.7077, 0.7654)
    """
    if won + lost == 0:
        return _NOTHING
    from scipy.stats import binomtest

    found = binomtest(won, won + lost, 0.5)
    interval = found.proportion_ci(0.95, method="exact")
    return Estimate(
        won / (won + lost), float(interval.low), float(interval.high), float(found.pvalue)
    )


def holm(values: Sequence[float | None]) -> list[float | None]:
    """Return p values corrected for their number by Holm's method; None stays None.

    Examples
    --------
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

    Examples
    --------
    >>> found = share_interval(81 / 263, 263)
    >>> round(found.low, 4), round(found.high, 4)
    (0.2553, 0.3662)
    """
    if not number:
        return _NOTHING
    square = _Z95**2
    middle = (share + square / (2 * number)) / (1 + square / number)
    inner = share * (1 - share) / number + square / (4 * number**2)
    half = _Z95 * math.sqrt(inner) / (1 + square / number)
    return Estimate(share, max(0.0, middle - half), min(1.0, middle + half))


def paired_share(gained: int, lost: int, number: int) -> Estimate:
    """Return the difference of two shares over the same cases, with its p value.

    Agresti and Min's adjusted Wald interval, which also holds where all cases agree; McNemar's
    exact test.

    Parameters
    ----------
    gained, lost
        How many cases only the second, and only the first, has.
    number
        How many cases there are.

    Examples
    --------
    >>> found = paired_share(86, 150, 1600)
    >>> round(found.low, 3), round(found.high, 3)
    (-0.059, -0.021)
    """
    if not number:
        return _NOTHING
    more, total = number + 2, gained + lost + 1
    middle = (gained - lost) / more
    half = _Z95 * math.sqrt((total / more - middle**2) / more)
    mean = (gained - lost) / number
    return Estimate(
        mean, max(-1.0, middle - half), min(1.0, middle + half), sign_test(gained, lost)
    )


def mean_interval(values: Floats, *, seed: int) -> Estimate:
    """Return the mean with its 95 % bootstrap interval (percentiles); normal for many values."""
    number = len(values)
    if not number:
        return _NOTHING
    mean = float(values.mean())
    if number == 1:
        return Estimate(mean, _NAN, _NAN)
    if number > _MANY:
        half = _Z95 * float(values.std(ddof=1)) / math.sqrt(number)
        return Estimate(mean, mean - half, mean + half)
    means = _resampled(values, seed)
    return Estimate(mean, *_percentiles(means))


def paired(differences: Floats, *, seed: int) -> Estimate:
    """Return the mean of paired differences, its 95 % bootstrap interval and its p value.

    The p value is where the interval would just hold zero. It is never below what an exact paired
    test of so few differences can reach, 2 to the power of 1 - n, n without the ties.
    """
    import numpy as np

    found = mean_interval(differences, seed=seed)
    decided = int(np.count_nonzero(differences))
    if decided == 0:
        return Estimate(found.mean, found.low, found.high, None if math.isnan(found.mean) else 1.0)
    floor = min(1.0, 2.0 ** (1 - decided))
    if len(differences) == 1:
        return Estimate(found.mean, found.low, found.high, floor)
    p = _normal_p(differences) if len(differences) > _MANY else _crossing(differences, seed)
    return Estimate(found.mean, found.low, found.high, max(p, floor))


def _resampled(values: Floats, seed: int) -> Floats:
    import numpy as np

    rng = np.random.default_rng(seed)
    chosen = rng.integers(0, len(values), size=(_RESAMPLES, len(values)), dtype=np.int32)
    means: Floats = values[chosen].mean(axis=1)
    return means


def _percentiles(means: Floats) -> tuple[float, float]:
    import numpy as np

    low, high = np.quantile(means, [0.025, 0.975])
    return float(low), float(high)


def _crossing(differences: Floats, seed: int) -> float:
    """Return the least p whose percentile interval leaves zero out."""
    means = _resampled(differences, seed)
    below, above = int((means <= 0).sum()), int((means >= 0).sum())
    return min(1.0, 2 * (1 + min(below, above)) / (_RESAMPLES + 1))


def _normal_p(differences: Floats) -> float:
    error: Any = differences.std(ddof=1) / math.sqrt(len(differences))
    if error == 0:
        return 0.0
    return math.erfc(abs(float(differences.mean() / error)) / math.sqrt(2))
