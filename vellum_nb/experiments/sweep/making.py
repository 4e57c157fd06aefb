"""How a sweep goes about it, and what it is handed to make its runs with."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Any, Protocol

from vellum_nb.experiments.sweep.crew import Crew
from vellum_nb.experiments.sweep.hands import Hands
from vellum_nb.experiments.sweep.limits import Limits
from vellum_nb.experiments.sweep.todo import Standing
from vellum_nb.experiments.sweep.work import Attempt, Task
from vellum_nb.models import Cancellation

__all__ = ["KEPT", "SweepOptions", "Worker", "hands_of"]

KEPT = (
    "concurrency",
    "max_concurrency",
    "max_calls",
    "max_seconds",
    "max_cost_usd",
    "stop_after_failures",
    "expand_meta",
)
"""The options that are kept with a sweep."""


@dataclass(frozen=True, slots=True)
class SweepOptions:
    """How a sweep goes about it; see `vellum_nb.Workspace.sweep`."""

    concurrency: int | None = None
    max_concurrency: int = 128
    max_calls: int | None = None
    max_seconds: float | None = None
    max_cost_usd: float | None = None
    stop_after_failures: int | None = None
    expand_meta: bool = False
    executor: Executor | None = None

    @property
    def tells_cost(self) -> bool:
        """Whether runs are asked what they cost."""
        return self.expand_meta or self.max_cost_usd is not None

    @property
    def kept(self) -> Mapping[str, Any]:
        """What of it is kept with the sweep.

        Examples
        --------
        >>> SweepOptions(max_calls=5).kept
        {'max_concurrency': 128, 'max_calls': 5}
        """
        found = {name: getattr(self, name) for name in KEPT}
        return {name: value for name, value in found.items() if value}

    def limits(self, calls: int, seconds: float) -> Limits:
        """Return the limits, for a sweep that has made so many calls in so many seconds."""
        return Limits(
            self.max_calls,
            self.max_seconds,
            self.max_cost_usd,
            self.stop_after_failures,
            calls=calls,
            seconds=seconds,
        )


class Worker(Protocol):
    """What a sweep is handed to make its runs with."""

    @property
    def moved(self) -> tuple[str, ...]:
        """The release tags that pointed at more than one release while it ran."""

    def task(self, standing: Standing) -> Task:
        """Return the run of a place: a new one, or the one that was begun, with its doubt."""

    def attempt(self, at_once: int) -> Attempt:
        """Return what sends, for so many at once."""

    def close(self) -> None:
        """Let go of connections; the next `attempt` opens new ones."""


def hands_of(worker: Worker, executor: Executor | None, at_once: int) -> Hands:
    """Return what makes the attempts of `worker`: by `executor`, or in this process."""
    attempt = worker.attempt(at_once)
    if executor is not None:
        return Hands(attempt, executor)
    return Hands(attempt, Crew(at_once), Cancellation())
