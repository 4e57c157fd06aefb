"""How much repeats differ by themselves, and how many cases would see through it. Pure."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Ints = NDArray[np.intp]

__all__ = ["cases_needed", "detectable_share", "pooled_variance", "two_sided_z", "unlike_pairs"]

_NOBODY = 10_000.0  # the root of as many cases as nobody runs


def unlike_pairs(cells: Ints, kinds: Ints) -> tuple[int, int]:
    """Return how many pairs of repeats differ, and how many pairs there are.

    Parameters
    ----------
    cells
        Of each run, which case on which release it repeats.
    kinds
        Of each run, a number that equal answers share.
    """
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

    if not len(cells):
        return None
    _, at, counts = np.unique(cells, return_inverse=True, return_counts=True)
    free = int((counts - 1).sum())
    if free == 0:
        return None
    means = np.bincount(at, weights=values) / counts
    return float(((values - means[at]) ** 2).sum() / free)


def detectable_share(cases: int, alpha: float = 0.05) -> float | None:
    """Return the least difference in shares that so many cases can show; None: none at all.

    As many cases as a sign test needs, if all of them went one way.

    Examples
    --------
    >>> detectable_share(12), detectable_share(5)
    (0.5, None)
    """
    needed = 1 + math.ceil(math.log2(1 / alpha))
    return needed / cases if cases >= needed else None


def two_sided_z(alpha: float) -> float:
    """Return how many standard errors leave `alpha` outside.

    Examples
    --------
    >>> round(two_sided_z(0.05), 4)
    1.96
    """
    from scipy.stats import norm

    return float(norm.isf(alpha / 2))


def cases_needed(
    mean: float, spread: float, *, alpha: float = 0.05, power: float = 0.8
) -> int | None:
    """Return how many cases would show a mean difference like this one; None: hardly any number.

    Parameters
    ----------
    mean, spread
        Mean and standard deviation of the paired differences.
    """
    if mean == 0 or not math.isfinite(mean) or not math.isfinite(spread):
        return None
    from scipy.stats import norm

    z = two_sided_z(alpha) + float(norm.isf(1 - power))
    ratio = abs(z * spread / mean)
    if ratio > _NOBODY:
        return None
    return max(1 + math.ceil(math.log2(1 / alpha)), math.ceil(ratio**2))
