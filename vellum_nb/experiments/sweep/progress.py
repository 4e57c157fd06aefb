"""How far a sweep is: counted as runs begin and end, read as a snapshot by views."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import median
from typing import Literal

from vellum_nb.models import Run

__all__ = ["Counter", "Progress", "State", "TagProgress"]

State = Literal["ready", "running", "paused", "stopping", "stopped", "done"]

_LATEST = 5
_MEDIAN_OF = 1_000  # runs, the last ones
_RATE_OVER = 10.0  # seconds


@dataclass(frozen=True, slots=True)
class TagProgress:
    """How far a sweep is on one release tag; `median_s` in seconds, `cost_usd` where it is told."""

    release_tag: str
    planned: int
    done: int
    failed: int
    running: int
    median_s: float | None
    cost_usd: float | None

    @property
    def to_go(self) -> int:
        """How many runs have not begun."""
        return self.planned - self.done - self.failed - self.running


@dataclass(frozen=True, slots=True)
class Progress:
    """A moment of a sweep.

    Attributes
    ----------
    tags : tuple of TagProgress
        In the order of the sweep.
    found : int
        Runs that the history had when it began, or that were looked up: not sent again.
    rate : float
        Runs a second, over the last ten seconds.
    left_s : float or None
        Seconds until the end at this rate.
    at_once, limit, most : int
        Calls under way, how many may be, and how many may ever be.
    note : str or None
        The last thing worth telling, such as why `limit` was lowered.
    latest : tuple of Run
        The runs that ended last, the newest first.
    why : str or None
        Why it stands still.
    moved : tuple of str
        Release tags that pointed at more than one release while it ran.
    """

    state: State
    tags: tuple[TagProgress, ...]
    found: int = 0
    began: datetime | None = None
    seconds: float = 0.0
    rate: float = 0.0
    at_once: int = 0
    limit: int = 0
    most: int = 0
    note: str | None = None
    latest: tuple[Run, ...] = ()
    why: str | None = None
    max_cost_usd: float | None = None
    moved: tuple[str, ...] = ()

    @property
    def planned(self) -> int:
        """How many runs there are to be."""
        return sum(tag.planned for tag in self.tags)

    @property
    def done(self) -> int:
        """How many ended with outputs."""
        return sum(tag.done for tag in self.tags)

    @property
    def failed(self) -> int:
        """How many ended without."""
        return sum(tag.failed for tag in self.tags)

    @property
    def ended(self) -> int:
        """How many ended."""
        return self.done + self.failed

    @property
    def cost_usd(self) -> float | None:
        """What it has cost so far, where that is told."""
        told = [tag.cost_usd for tag in self.tags if tag.cost_usd is not None]
        return sum(told) if told else None

    @property
    def left_s(self) -> float | None:
        """Seconds until the end at this rate."""
        left = self.planned - self.ended
        return left / self.rate if self.rate > 0 and self.state != "done" else None


@dataclass(slots=True)
class _Tally:
    planned: int
    done: int = 0
    failed: int = 0
    running: int = 0
    cost: float | None = None
    took: deque[float] = field(default_factory=lambda: deque(maxlen=_MEDIAN_OF))

    def told(self, tag: str) -> TagProgress:
        middle = median(self.took) if self.took else None
        return TagProgress(
            tag, self.planned, self.done, self.failed, self.running, middle, self.cost
        )


class Counter:
    """Counts what begins and ends; any thread may read it."""

    def __init__(self, tags: Sequence[str], planned: int) -> None:
        self._tallies = {tag: _Tally(planned) for tag in tags}
        self._latest: deque[Run] = deque(maxlen=_LATEST)
        self._ends: deque[float] = deque()
        self._lock = threading.Lock()
        self._began: datetime | None = None
        self._clock = 0.0
        self.found = 0

    def start(self) -> None:
        """Start the clock."""
        with self._lock:
            self._began, self._clock = datetime.now(UTC), time.monotonic()
            self._ends.clear()

    def had(self, tag: str, state: str) -> None:
        """Note a run that had ended before."""
        tally = self._tallies[tag]
        with self._lock:
            self.found += 1
            if state == "FULFILLED":
                tally.done += 1
            else:
                tally.failed += 1

    def begun(self, tag: str, by: int = 1) -> None:
        """Note a run that began, or with -1 one that was put back."""
        with self._lock:
            self._tallies[tag].running += by

    def ended(self, run: Run, *, found: bool = False) -> None:
        """Note a run that ended."""
        now = time.monotonic()
        with self._lock:
            tally = self._tallies[run.release_tag]
            tally.running -= 1
            if run.state == "FULFILLED":
                tally.done += 1
            else:
                tally.failed += 1
            if run.latency_s is not None:
                tally.took.append(run.latency_s)
            if run.cost_usd is not None:
                tally.cost = (tally.cost or 0.0) + run.cost_usd
            self.found += found
            self._latest.appendleft(run)
            self._ends.append(now)
            while self._ends and self._ends[0] < now - _RATE_OVER:
                self._ends.popleft()

    def told(self) -> tuple[tuple[TagProgress, ...], tuple[Run, ...]]:
        """Return the counts of each tag, and the runs that ended last."""
        with self._lock:
            tags = tuple(tally.told(tag) for tag, tally in self._tallies.items())
            return tags, tuple(self._latest)

    def timed(self) -> tuple[datetime | None, float, float]:
        """Return when it began, the seconds since then, and runs a second lately."""
        now = time.monotonic()
        with self._lock:
            if self._began is None:
                return None, 0.0, 0.0
            since = now - self._clock
            recent = sum(1 for end in self._ends if end >= now - _RATE_OVER)
            return self._began, since, recent / max(min(since, _RATE_OVER), 1e-6)
