"""Where a sweep ends itself: calls, seconds, cost, failures. Pure."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Limits"]


@dataclass(slots=True)
class Limits:
    """Limits of a whole sweep; None is none.

    Attributes
    ----------
    calls : int
        How many runs were begun, in this session and in earlier ones.
    seconds : float
        For how long earlier sessions ran.

    Examples
    --------
    >>> limits = Limits(max_calls=10, calls=8)
    >>> limits.allowed(5)
    2
    >>> limits.reached(0.0, cost=0.0, failures=0)
    >>> Limits(max_seconds=60).reached(61.5, cost=0.0, failures=0)
    'max_seconds=60 is reached'
    """

    max_calls: int | None = None
    max_seconds: float | None = None
    max_cost_usd: float | None = None
    stop_after_failures: int | None = None
    calls: int = 0
    seconds: float = 0.0

    def allowed(self, wanted: int) -> int:
        """Return how many of `wanted` runs may still begin."""
        if self.max_calls is None:
            return max(0, wanted)
        return max(0, min(wanted, self.max_calls - self.calls))

    def reached(
        self, seconds: float, *, cost: float, failures: int, in_hand: int = 0
    ) -> str | None:
        """Return the limit that is reached; that of calls when none is `in_hand` any more."""
        ways = (
            ("max_calls", self.max_calls, self.calls if not in_hand else 0),
            ("max_seconds", self.max_seconds, self.seconds + seconds),
            ("max_cost_usd", self.max_cost_usd, cost),
            ("stop_after_failures", self.stop_after_failures, failures),
        )
        for name, limit, used in ways:
            if limit is not None and used >= limit:
                return f"{name}={limit} is reached"
        return None
