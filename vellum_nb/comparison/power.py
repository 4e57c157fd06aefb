"""Power of the tests that decide between releases, and the number of cases that they need."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import TYPE_CHECKING

from vellum_nb.comparison.statistics import least_cases, two_sided

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_POWER = 0.8
_MAX_CASES = 100_000  # more are infeasible
_MAX_EXACT_CASES = 2_000  # most cases whose power is computed exactly


def share_power(gained: float, lost: float, number: int, alpha: float = 0.05) -> float:
    """Return the power of McNemar's mid-p test over `number` pass or fail cases.

    `gained` and `lost` are the shares of cases that pass only on one of two releases.

    >>> round(share_power(0.1, 0.3, 50), 2)
    0.62
    """
    import numpy as np
    from scipy.special import bdtr, bdtrc
    from scipy.stats import binom

    unequal = gained + lost
    if not unequal:
        return 0.0
    if number > _MAX_EXACT_CASES:
        return mean_power(gained - lost, math.sqrt(unequal - (gained - lost) ** 2), number, alpha)
    differing = np.arange(1, number + 1)
    fewest = _critical_counts(alpha)[:number]
    share = max(gained, lost) / unequal
    rejected = bdtr(fewest, differing, 1 - share) + bdtrc(
        differing - fewest - 1, differing, 1 - share
    )
    chances = binom.pmf(differing, number, min(1.0, unequal))
    return float(chances @ np.where(fewest >= 0, rejected, 0.0))


@lru_cache(maxsize=16)
def _critical_counts(alpha: float) -> NDArray[np.intp]:
    """Return the largest significant number of cases on the rarer side; -1 if none is.

    By the number of cases that differ, from 1 on.
    """
    import numpy as np
    from scipy.stats import binom

    differing = np.arange(1, _MAX_EXACT_CASES + 1)
    count: NDArray[np.intp] = binom.ppf(alpha / 2, differing, 0.5).astype(np.intp) + 1
    for _ in range(3):
        mid_p = binom.cdf(count, differing, 0.5) - binom.pmf(count, differing, 0.5) / 2
        count -= (count >= 0) & (mid_p > alpha / 2)
    return count


def share_margin_power(
    gained: float, lost: float, number: int, margin: float, alpha: float = 0.05
) -> float:
    """Return the power of Tango's score test to show that the loss is smaller than `margin`.

    >>> round(share_margin_power(0.1, 0.1, 400, 0.05), 2)
    0.61
    """
    from scipy.special import ndtr

    unequal, mean = gained + lost, gained - lost
    spread = math.sqrt(max(unequal - mean**2, 1e-12))
    at_margin = math.sqrt(max(max(unequal, margin) - margin**2, 1e-12))
    distance = (mean + margin) * math.sqrt(number) - float(two_sided(alpha)) * at_margin
    return float(ndtr(distance / spread))


def mean_power(mean: float, spread: float, number: int, alpha: float = 0.05) -> float:
    """Return the power of Student's paired test; add the margin to `mean` to test a margin.

    >>> round(mean_power(0.5, 1.0, 34), 2)
    0.81
    """
    from scipy.special import nctdtr

    if number < 2 or spread <= 0:  # noqa: PLR2004
        return 0.0
    edge = float(two_sided(alpha, number - 1))
    return 1 - float(nctdtr(number - 1, abs(mean) / spread * math.sqrt(number), edge))


def cases_for(
    power_of: Callable[[int], float], *, least: int = 1, target: float = _POWER
) -> int | None:
    """Return the smallest number of cases with the power `target`; None if infeasible."""
    low, high = least - 1, max(1, least)
    while power_of(high) < target:
        low, high = high, 2 * high
        if high > _MAX_CASES:
            return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if power_of(middle) >= target else (middle, high)
    return high


def cases_needed(
    mean: float, spread: float, *, alpha: float = 0.05, shares: tuple[float, float] | None = None
) -> int | None:
    """Return the number of cases that would show such a mean difference; None if infeasible.

    `shares` are those of the cases that pass only on one of two releases, for McNemar's test.

    >>> cases_needed(0.5, 1.0), cases_needed(0.0, 1.0)
    (34, None)
    """
    if mean == 0 or not math.isfinite(mean) or not math.isfinite(spread):
        return None
    if shares is not None:
        return cases_for(lambda n: share_power(*shares, n, alpha), least=least_cases(alpha))
    return cases_for(lambda n: mean_power(mean, spread, n, alpha), least=least_cases(alpha))
