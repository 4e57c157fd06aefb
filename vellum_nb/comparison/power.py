"""Power of the tests that decide between releases, and the number of cases that they need."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from vellum_nb.comparison.statistics import two_sided

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_POWER = 0.8
_MAX_CASES = 100_000  # more are infeasible
_TINY = 1e-12
_VALUES = 15  # equally likely values of an uncertain figure


def share_margin_power(
    gained: float, lost: float, number: int, margin: float, alpha: float = 0.05
) -> float:
    """Return the power of Tango's score test to show that the loss is smaller than `margin`.

    >>> round(share_margin_power(0.1, 0.1, 400, 0.05), 2)
    0.61
    """
    from scipy.special import ndtr

    unequal, mean = gained + lost, gained - lost
    spread = math.sqrt(max(unequal - mean**2, _TINY))
    at_margin = math.sqrt(max(max(unequal, margin) - margin**2, _TINY))
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


@dataclass(frozen=True)
class Pilot:
    """Gains of the cases compared so far, and what they leave uncertain about further cases.

    The other fields are equally likely values of standard deviations of a case's gain.
    """

    mean: float
    number: int
    margin: float
    expected: float  # gain of further cases
    spreads: NDArray[np.float64]
    at_margin: NDArray[np.float64]  # assumed by the test of the margin
    at_zero: NDArray[np.float64]  # assumed by the test of no difference
    is_share: bool

    @classmethod
    def of_shares(cls, gained: int, lost: int, number: int, margin: float) -> Pilot:
        """Return a pilot of pass or fail cases, some of which pass only on one release."""
        import numpy as np
        from scipy.special import betaincinv

        mean = (gained - lost) / number
        variance = max((gained + lost) / number - mean**2, 0.5 / number)
        expected = expected_gain(mean, math.sqrt(variance / number))
        unequal = betaincinv(gained + lost + 1, number - gained - lost + 1, _chances())
        unequal = np.maximum(unequal, abs(expected))
        at_margin = np.sqrt(np.maximum(np.maximum(unequal, margin) - margin**2, _TINY))
        spreads = np.sqrt(np.maximum(unequal - expected**2, _TINY))
        return cls(
            mean, number, margin, expected, spreads, at_margin, np.sqrt(unequal), is_share=True
        )

    @classmethod
    def of_numbers(cls, mean: float, spread: float, number: int, margin: float) -> Pilot:
        """Return a pilot of gains with this mean and standard deviation."""
        import numpy as np
        from scipy.special import chdtri

        spreads = spread * np.sqrt((number - 1) / chdtri(number - 1, _chances()))
        expected = expected_gain(mean, spread / math.sqrt(number))
        return cls(mean, number, margin, expected, spreads, spreads, spreads, is_share=False)

    def power(self, total: int, alpha: float) -> float:
        """Return the probability that `total` cases, these included, decide.

        That they exclude a loss of the margin or, if that is likelier, show a significant loss.

        >>> pilot = Pilot.of_shares(2, 3, 40, 0.1)
        >>> round(pilot.power(100, 0.05), 2)
        0.74
        """
        import numpy as np
        from scipy.special import ndtr

        more = total - self.number
        center = (self.number * self.mean + more * self.expected) / total
        spreads = self.spreads * math.sqrt(more) / total
        edge = float(two_sided(alpha) if self.is_share else two_sided(alpha, total - 1))
        edge /= math.sqrt(total)
        excluded = ndtr((center + self.margin - edge * self.at_margin) / spreads)
        worse = ndtr((-center - edge * self.at_zero) / spreads) if self.expected < 0 else 0.0
        return float(np.maximum(excluded, worse).mean())


def _chances() -> NDArray[np.float64]:
    """Return the probabilities of equally likely values."""
    import numpy as np

    return (np.arange(_VALUES) + 0.5) / _VALUES


def expected_gain(mean: float, error: float) -> float:
    """Return the gain that a plan expects: the observed one, less its standard error.

    >>> expected_gain(-0.25, 0.1), expected_gain(0.05, 0.1)
    (-0.15, 0.0)
    """
    return math.copysign(max(0.0, abs(mean) - error), mean) if mean else 0.0
