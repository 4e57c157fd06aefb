"""What is counted while a sweep runs. Any thread may read it."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import median

from vellum_nb.experiments.sweep.progress import TagProgress
from vellum_nb.models import Run

__all__ = ["Counter"]

_LATEST = 5
_MEDIAN_OF = 1_000  # runs, the last ones
_RATE_OVER = 10.0  # seconds


@dataclass(slots=True)
class _Tally:
    planned: int
    done: int = 0
    failed: int = 0
    running: int = 0
    cost: float | None = None
    took: deque[float] = field(default_factory=lambda: deque(maxlen=_MEDIAN_OF))

    def ended(self, state: str) -> None:
        if state == "FULFILLED":
            self.done += 1
        else:
            self.failed += 1

    def spent(self, cost: float | None) -> None:
        if cost is not None:
            self.cost = (self.cost or 0.0) + cost

    def told(self, tag: str) -> TagProgress:
        middle = median(self.took) if self.took else None
        return TagProgress(
            tag, self.planned, self.done, self.failed, self.running, middle, self.cost
        )


class Counter:
    """Counts what begins and ends, by a clock that stands still while the sweep does.

    Parameters
    ----------
    tags : sequence of str
        The release tags of the sweep.
    planned : int
        How many runs each of them is to have.

    Attributes
    ----------
    kept, reused : int
        Runs that had ended before: of this sweep, and of the history before it.
    adopted, resent : int
        Runs in doubt: those that had run when they were looked up, and those sent once more.
    """

    def __init__(self, tags: Sequence[str], planned: int) -> None:
        self._tallies = {tag: _Tally(planned) for tag in tags}
        self._latest: deque[Run] = deque(maxlen=_LATEST)
        self._ends: deque[float] = deque()
        self._lock = threading.Lock()
        self._began: datetime | None = None
        self._spent = 0.0
        self._since: float | None = None
        self.kept = self.reused = self.adopted = self.resent = 0

    @property
    def seconds(self) -> float:
        """For how long the clock has run."""
        since = self._since
        return self._spent + (time.monotonic() - since if since is not None else 0.0)

    @property
    def found(self) -> int:
        """How many were not sent: the history had them, or a look-up found them."""
        return self.kept + self.reused + self.adopted

    @property
    def left(self) -> int:
        """How many planned runs have not ended."""
        return sum(t.planned - t.done - t.failed for t in self._tallies.values())

    @property
    def failed(self) -> int:
        """How many ended without outputs."""
        return sum(tally.failed for tally in self._tallies.values())

    @property
    def cost(self) -> float:
        """What it has cost so far, as far as that is told."""
        return sum(tally.cost or 0.0 for tally in self._tallies.values())

    def go(self) -> None:
        """Let the clock run."""
        with self._lock:
            self._began = self._began or datetime.now(UTC)
            if self._since is None:
                self._since = time.monotonic()

    def hold(self) -> None:
        """Stop the clock."""
        with self._lock:
            self._spent, self._since = self.seconds, None

    def had(self, tag: str, state: str, *, reused: bool = False) -> None:
        """Note a run that had ended before; `reused`: it is of the history before this sweep."""
        with self._lock:
            self.kept += not reused
            self.reused += reused
            self._tallies[tag].ended(state)

    def spent(self, tag: str, cost: float | None, took: Iterable[float]) -> None:
        """Note what earlier runs of `tag` have cost, and the seconds that the last ones took."""
        with self._lock:
            self._tallies[tag].spent(cost)
            self._tallies[tag].took.extend(took)

    def begun(self, tag: str, by: int = 1) -> None:
        """Note a run that began, or with -1 one that was put back."""
        with self._lock:
            self._tallies[tag].running += by

    def ended(self, run: Run, *, found: bool = False, resent: bool = False) -> None:
        """Note a run that ended; `found`: it was looked up, `resent`: it was sent once more."""
        with self._lock:
            tally = self._tallies[run.release_tag]
            tally.running -= 1
            tally.ended(run.state)
            tally.spent(run.cost_usd)
            if run.latency_s is not None:
                tally.took.append(run.latency_s)
            self.adopted += found
            self.resent += resent
            self._latest.appendleft(run)
            self._ends.append(self.seconds)
            self._forget(self._ends[-1])

    def told(self) -> tuple[tuple[TagProgress, ...], tuple[Run, ...]]:
        """Return the counts of each tag, and the runs that ended last."""
        with self._lock:
            tags = tuple(tally.told(tag) for tag, tally in self._tallies.items())
            return tags, tuple(self._latest)

    def timed(self) -> tuple[datetime | None, float, float]:
        """Return when it began, the seconds that it ran, and runs a second lately."""
        with self._lock:
            seconds = self.seconds
            self._forget(seconds)
            return self._began, seconds, len(self._ends) / max(min(seconds, _RATE_OVER), 1e-3)

    def _forget(self, seconds: float) -> None:
        while self._ends and self._ends[0] < seconds - _RATE_OVER:
            self._ends.popleft()
