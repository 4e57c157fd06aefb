"""How far a sweep is: counted while it runs, as a snapshot for views, as a line in a terminal."""

from __future__ import annotations

import re
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from statistics import median
from typing import Literal, Protocol, TextIO

from vellum_nb.history import terminal_line
from vellum_nb.models import Run
from vellum_nb.rendering.format import duration, money

_OF_A_LIMIT = re.compile(r"(max_\w+|stop_after_failures)=\S+ is reached")
BY_HAND = "stopped"
"""Why a sweep stands still that was stopped, or interrupted: nobody needs to be told."""

State = Literal["ready", "running", "paused", "stopping", "stopped", "done"]


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
    reused, adopted : int
        How many of these were runs of the history before this sweep, and how many were looked up.
    resent : int
        Runs sent once more, under the same external id: look-ups found no execution of them.
    lost : datetime or None
        When the process that drove it before was last heard of, where that ended without a word.
    began, seconds : datetime or None, float
        When this session began, and for how long it has run, pauses left out.
    rate : float
        Runs a second, over the last ten seconds that it ran.
    left_s : float or None
        Seconds until the end at this rate; None where it has ended, or no rate is known.
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
    reused: int = 0
    adopted: int = 0
    resent: int = 0
    lost: datetime | None = None
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
    def reason(self) -> str | None:
        """Why it stops or has stopped, where the user does not know that: a limit, or trouble."""
        if self.state not in {"stopping", "stopped"} or self.why == BY_HAND:
            return None
        return self.why

    @property
    def limit_reached(self) -> str | None:
        """The name of the limit that ended it; it goes on with another one."""
        found = _OF_A_LIMIT.match(self.reason or "")
        return found[1] if found else None

    @property
    def kept(self) -> int:
        """How many runs of this sweep had ended before this session began."""
        return self.found - self.reused - self.adopted

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
        costs = [tag.cost_usd for tag in self.tags if tag.cost_usd is not None]
        return sum(costs) if costs else None

    @property
    def untold(self) -> str | None:
        """Why a limit of cost cannot hold: the runs do not tell what they cost."""
        if self.max_cost_usd is None or self.cost_usd is not None or not self.done:
            return None
        return "no run tells its cost, so max_cost_usd cannot stop it"

    @property
    def left_s(self) -> float | None:
        """Seconds until the end at this rate."""
        left = self.planned - self.ended
        return left / self.rate if self.rate > 0 and left else None


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

    def read(self, tag: str) -> TagProgress:
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

    def read(self) -> tuple[tuple[TagProgress, ...], tuple[Run, ...]]:
        """Return the counts of each tag, and the runs that ended last."""
        with self._lock:
            tags = tuple(tally.read(tag) for tag, tally in self._tallies.items())
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


def speed(rate: float) -> str:
    """Return how fast runs end.

    Examples
    --------
    >>> speed(4.31), speed(231.4), speed(0.05), speed(0)
    ('4.3 runs/s', '231 runs/s', '3.0 runs/min', '0 runs/s')
    """
    if rate == 0:
        return "0 runs/s"
    if rate < 0.2:  # noqa: PLR2004
        return f"{60 * rate:.1f} runs/min"
    return f"{rate:.1f} runs/s" if rate < 100 else f"{rate:,.0f} runs/s"  # noqa: PLR2004


_EVERY = 0.1  # seconds
_LINE = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"


class Watched(Protocol):
    """What the line asks of a sweep."""

    def progress(self) -> Progress:
        """Return how far it is."""

    def subscribe(self, callback: Callable[[], None]) -> Callable[[], None]:
        """Call `callback` at every change; return how to end that."""


@contextmanager
def terminal_bar(sweep: Watched, *, title: str, file: TextIO | None = None) -> Iterator[None]:
    """Show how far `sweep` is while the context is open, ten times a second at most.

    Parameters
    ----------
    sweep : Sweep
        Tells how far it is, from its own thread.
    title : str
        What stands before the bar.
    file : file, optional
        Where to write; standard error.
    """
    now = sweep.progress()
    line = terminal_line(
        total=now.planned,
        initial=now.ended,
        desc=title,
        file=file or sys.stderr,
        bar_format=_LINE,
        dynamic_ncols=True,
    )
    lock, shown_at = threading.Lock(), [0.0]

    def show(*, last: bool = False) -> None:
        with lock:
            if not last and time.monotonic() - shown_at[0] < _EVERY:
                return
            now = sweep.progress()
            line.n = now.ended
            line.set_postfix_str(facts(now), refresh=False)
            line.refresh()
            shown_at[0] = time.monotonic()

    unsubscribe = sweep.subscribe(show)
    try:
        yield
    finally:
        unsubscribe()
        show(last=True)
        line.close()


def facts(now: Progress) -> str:
    """Return what stands behind the bar.

    Examples
    --------
    >>> from vellum_nb.sweep.progress import TagProgress
    >>> facts(Progress("running", (TagProgress("v1", 360, 285, 3, 12, 2.3, 0.92),), rate=4.3))
    '4.3 runs/s, about 16.7 s left, 3 failed, $0.92'
    """
    parts = []
    if now.state == "running":
        parts.append(speed(now.rate))
        if now.left_s is not None:
            parts.append(f"about {duration(now.left_s)} left")
    elif now.state != "done":
        parts.append(f"{now.state}: {now.reason}" if now.reason else now.state)
    if now.failed:
        parts.append(f"{now.failed:,} failed")
    if now.cost_usd is not None:
        parts.append(money(now.cost_usd))
    if now.untold:
        parts.append(now.untold)
    return ", ".join(parts)
