"""Where a sweep ends itself: calls, seconds, cost, failures. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from vellum_nb.models import Run

__all__ = ["Limits"]


@dataclass(slots=True)
class Limits:
    """Limits of a whole sweep; None is none. `calls`, `cost`, `failures`: what was used already."""

    max_calls: int | None = None
    max_seconds: float | None = None
    max_cost_usd: float | None = None
    stop_after_failures: int | None = None
    calls: int = 0
    cost: float = 0.0
    failures: int = 0
    _until: float | None = None

    def start(self, now: float) -> None:
        """Start the clock."""
        if self.max_seconds is not None:
            self._until = now + self.max_seconds

    def allowed(self, wanted: int) -> int:
        """Return how many of `wanted` runs may still begin."""
        return (
            wanted if self.max_calls is None else max(0, min(wanted, self.max_calls - self.calls))
        )

    def began(self) -> None:
        """Note a run that begins."""
        self.calls += 1

    def ended(self, run: Run) -> None:
        """Note a run that ended."""
        self.cost += run.cost_usd or 0.0
        self.failures += run.state != "FULFILLED"

    def check(self, now: float, stop: Callable[[str], None]) -> None:
        """Call `stop` with the limit that is reached, if one is."""
        reached = (
            (self.max_calls, self.calls, "max_calls={}"),
            (self._until, now, f"max_seconds={self.max_seconds}"),
            (self.max_cost_usd, self.cost, "max_cost_usd={}"),
            (self.stop_after_failures, self.failures, "stop_after_failures={}"),
        )
        for limit, used, name in reached:
            if limit is not None and used >= limit:
                stop(f"{name.format(limit)} is reached")
                return
