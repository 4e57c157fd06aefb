"""Progress of a sweep: a counter, a snapshot for views, a progress bar in a terminal."""

from __future__ import annotations

import math
import threading
import time
from collections import Counter as Tally
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from statistics import median
from typing import Any, Literal

from vellum_nb.history import terminal_line
from vellum_nb.models import Run
from vellum_nb.models.sweeps import is_of_user, is_unsent
from vellum_nb.rendering.format import duration, money, plural
from vellum_nb.sweep.options import LIMIT_NAMES

_LATEST_RUNS = 5  # in a view
_MEDIAN_RUNS = 1_000  # the latest ones
_RATE_WINDOW_S = 10.0
_BAR_FORMAT = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
BY_HAND = "stopped"
"""Stop reason of a sweep that the user stopped or interrupted."""

State = Literal["ready", "running", "paused", "stopping", "stopped", "done"]


@dataclass(slots=True)
class TagProgress:
    """Progress on one release tag; `cost_usd` is None if no run reports a cost."""

    release_tag: str
    planned: int
    done: int = 0
    failed: int = 0
    unsent: int = 0  # turns that were not sent, as their conversation had ended
    running: int = 0
    median_s: float | None = None
    cost_usd: float | None = None

    @property
    def ended(self) -> int:
        """Number of runs that ended."""
        return self.done + self.failed + self.unsent

    @property
    def to_go(self) -> int:
        """Number of runs that have not begun."""
        return self.planned - self.ended - self.running


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a sweep at one moment."""

    state: State
    tags: tuple[TagProgress, ...]  # in the order of the sweep
    found: int = 0  # runs that were not sent: stored, reused or looked up
    reused: int = 0  # of these, runs older than this sweep
    adopted: int = 0  # of these, runs completed by a look-up
    resent: int = 0  # runs sent again after look-ups found no execution
    lost: datetime | None = None  # last sign of an earlier driver that was killed
    began: datetime | None = None  # this session
    seconds: float = 0.0  # of this session, without pauses
    rate: float = 0.0  # runs per second, over the last ten seconds
    at_once: int = 0  # calls under way
    limit: int = 0  # maximum number of calls under way
    most: int = 0  # maximum of `limit`
    note: str | None = None  # such as the reason for a lower `limit`
    latest: tuple[Run, ...] = ()  # runs that ended last, newest first
    same_error: int = 0  # number of the last runs that ended with one and the same error
    why: str | None = None  # it stopped
    max_cost_usd: float | None = None
    ignored_costs: int = 0  # negative, or not a number
    moved: tuple[str, ...] = ()  # release tags that moved during the sweep

    @property
    def reason(self) -> str | None:
        """Stop reason, such as a limit or an error, unless the user stopped it."""
        if self.state not in {"stopping", "stopped"} or self.why == BY_HAND:
            return None
        return self.why

    @property
    def limit_reached(self) -> str | None:
        """Name of the limit that stopped it."""
        name, _, limit = (self.reason or "").partition("=")
        return name if name in LIMIT_NAMES and limit.endswith(" is reached") else None

    @property
    def is_decided(self) -> bool:
        """Whether `stop_when` stopped it."""
        return "decided by " in (self.reason or "")

    @property
    def earlier(self) -> int:
        """Number of runs of this sweep that ended in earlier sessions."""
        return self.found - self.reused - self.adopted

    @property
    def planned(self) -> int:
        """Number of planned runs."""
        return sum(tag.planned for tag in self.tags)

    @property
    def done(self) -> int:
        """Number of fulfilled runs."""
        return sum(tag.done for tag in self.tags)

    @property
    def failed(self) -> int:
        """Number of runs that ended without outputs."""
        return sum(tag.failed for tag in self.tags)

    @property
    def unsent(self) -> int:
        """Number of turns that were not sent, as their conversation had ended."""
        return sum(tag.unsent for tag in self.tags)

    @property
    def ended(self) -> int:
        """Number of runs that ended, and of turns that were not sent."""
        return sum(tag.ended for tag in self.tags)

    @property
    def cost_usd(self) -> float | None:
        """Cost so far, or None if no run reports a cost."""
        costs = [tag.cost_usd for tag in self.tags if tag.cost_usd is not None]
        return sum(costs) if costs else None

    @property
    def cost_problem(self) -> str | None:
        """Reason why `max_cost_usd` can be exceeded: runs report no cost, or a wrong one."""
        if self.max_cost_usd is None:
            return None
        if self.ignored_costs:
            costs = plural(self.ignored_costs, "cost that is", "costs that are")
            return f"{costs} negative or not a number: ignored"
        if self.cost_usd is not None or not self.done:
            return None
        return "no run reports its cost, so max_cost_usd cannot stop it"

    @property
    def left_s(self) -> float | None:
        """Seconds until the end at this rate; None without a rate or at the end."""
        remaining = self.planned - self.ended
        return remaining / self.rate if self.rate > 0 and remaining else None


class Counter:
    """Counts runs that begin and end; its clock stops while the sweep does not run.

    `planned` is the number of runs per release tag, `expected` the expected cost of a run by tag.
    """

    def __init__(
        self, tags: Sequence[str], planned: int, expected: Mapping[str, float] | None = None
    ) -> None:
        self._tags = {tag: TagProgress(tag, planned) for tag in tags}
        self._took: dict[str, deque[float]] = {tag: deque(maxlen=_MEDIAN_RUNS) for tag in tags}
        self._latest: deque[Run] = deque(maxlen=_LATEST_RUNS)
        self._same_error = 0
        self._ends: deque[float] = deque()
        self._lock = threading.Lock()
        self._began: datetime | None = None
        self._spent = 0.0
        self._since: float | None = None
        self._kept = self._reused = self._adopted = self._resent = 0
        self._expected = dict(expected or {})
        self._priced: Tally[str] = Tally()  # runs with a cost, by tag
        self._paid: dict[str, float] = dict.fromkeys(tags, 0.0)  # cost of these runs
        self._unpriced: Tally[str] = Tally()  # fulfilled runs without a cost, by tag
        self._ignored = 0

    @property
    def seconds(self) -> float:
        """Seconds that the clock has run."""
        since = self._since
        return self._spent + (time.monotonic() - since if since is not None else 0.0)

    @property
    def left(self) -> int:
        """Number of planned runs that have not ended."""
        return sum(tag.planned - tag.ended for tag in self._tags.values())

    @property
    def failed(self) -> int:
        """Number of runs that ended without outputs."""
        return sum(tag.failed for tag in self._tags.values())

    @property
    def unsent(self) -> int:
        """Number of turns that were not sent."""
        return sum(tag.unsent for tag in self._tags.values())

    @property
    def cost(self) -> float:
        """Sum of the reported costs."""
        return sum(tag.cost_usd or 0.0 for tag in self._tags.values())

    def run_clock(self, *, on: bool) -> None:
        """Start or stop the clock."""
        with self._lock:
            self._began = self._began or (datetime.now(UTC) if on else None)
            self._spent = self.seconds
            self._since = time.monotonic() if on else None

    def had(self, tag: str, state: str, *, reused: bool = False) -> None:
        """Count a run of an earlier session, or a reused one."""
        self._kept += not reused
        self._reused += reused
        self._end(tag, state)

    def spent(self, tag: str, cost: float | None, seconds: float | None = None) -> None:
        """Add cost and latency of a run."""
        if cost is not None and is_cost(cost):
            self._tags[tag].cost_usd = (self._tags[tag].cost_usd or 0.0) + cost
        elif cost is not None:
            self._ignored += 1
        if seconds is not None:
            self._took[tag].append(seconds)

    def begun(self, tag: str, by: int = 1) -> None:
        """Count a run that began; `by` is -1 for one that was withdrawn."""
        with self._lock:
            self._tags[tag].running += by

    def omit(self, tag: str, runs: int = 1) -> None:
        """Remove planned runs that turned out to be unnecessary."""
        with self._lock:
            self._tags[tag].planned -= runs

    def ended(self, run: Run, tag: str, *, looked_up: bool = False, resent: bool = False) -> None:
        """Count a run of `tag` that ended."""
        with self._lock:
            self._tags[tag].running -= 1
            if is_unsent(run):
                self._end(tag, "UNSENT")
                return
            self._end(tag, run.state)
            self.spent(tag, run.cost_usd, None if is_of_user(run) else run.latency_s)
            self._learn_cost(run, tag)
            self._adopted += looked_up
            self._resent += resent
            is_same = bool(self._latest) and run.error == self._latest[0].error
            self._same_error = (self._same_error if is_same else 0) + 1 if run.error else 0
            self._latest.appendleft(run)
            self._ends.append(self.seconds)
            self._forget(self._ends[-1])

    def expected_cost(self, tag: str) -> float | None:
        """Return the expected cost of a run, or None if no run reported one."""
        if number := self._priced[tag]:
            return self._paid[tag] / number
        return self._expected.get(tag)

    def can_pay(self, tag: str, limit: float, begun: Tally[str]) -> bool:
        """Return whether another run of `tag` can begin below a `limit` of cost.

        Runs under way, and those in `begun`, reserve their expected cost. Without an expected cost,
        one run can be under way, or as many as runs of `tag` were fulfilled without a cost.
        """
        reserved, unknown = self.cost, 0
        for name, progress in self._tags.items():
            number, expected = progress.running + begun[name], self.expected_cost(name)
            reserved += number * (expected or 0.0)
            unknown += number if expected is None else 0
        is_known = self.expected_cost(tag) is not None
        return reserved < limit and (is_known or unknown < max(1, self._unpriced[tag]))

    def progress(self, state: State, **facts: Any) -> Progress:
        """Return a snapshot with `facts` of the driver."""
        with self._lock:
            seconds = self.seconds
            self._forget(seconds)
            medians = {tag: median(took) if took else None for tag, took in self._took.items()}
            return Progress(
                state,
                tuple(replace(counts, median_s=medians[tag]) for tag, counts in self._tags.items()),
                found=self._kept + self._reused + self._adopted,
                reused=self._reused,
                adopted=self._adopted,
                resent=self._resent,
                ignored_costs=self._ignored,
                began=self._began,
                seconds=seconds,
                rate=len(self._ends) / max(min(seconds, _RATE_WINDOW_S), 1e-3),
                latest=tuple(self._latest),
                same_error=self._same_error,
                **facts,
            )

    def _learn_cost(self, run: Run, tag: str) -> None:
        """Update the expected cost of its tag; a run without a cost does not change it."""
        if not run.cost_usd:
            self._unpriced[tag] += run.state == "FULFILLED"
        elif is_cost(run.cost_usd):
            self._priced[tag] += 1
            self._paid[tag] += run.cost_usd

    def _end(self, tag: str, state: str) -> None:
        self._tags[tag].done += state == "FULFILLED"
        self._tags[tag].unsent += state == "UNSENT"
        self._tags[tag].failed += state not in {"FULFILLED", "UNSENT"}

    def _forget(self, seconds: float) -> None:
        while self._ends and self._ends[0] < seconds - _RATE_WINDOW_S:
            self._ends.popleft()


def is_cost(cost: float | None) -> bool:
    """Return whether the cost is a non-negative number."""
    return cost is not None and math.isfinite(cost) and cost >= 0


def speed(rate: float) -> str:
    """Format a rate of runs."""
    if 0 < rate < 0.2:  # noqa: PLR2004
        return f"{60 * rate:.1f} runs/min"
    return f"{rate:.1f} runs/s" if 0 < rate < 100 else f"{rate:,.0f} runs/s"  # noqa: PLR2004


@contextmanager
def terminal_bar(
    progress: Callable[[], Progress],
    subscribe: Callable[[Callable[[], None]], Callable[[], None]],
    *,
    title: str,
) -> Iterator[None]:
    """Show a progress bar on standard error while the context is open.

    `progress` and `subscribe` are methods of `SweepControl`.
    """
    now = progress()
    options = {"desc": title, "bar_format": _BAR_FORMAT, "dynamic_ncols": True, "miniters": 0}
    line = terminal_line(total=now.planned, initial=now.ended, **options)

    def show() -> None:
        now = progress()
        line.set_postfix_str(facts(now), refresh=False)
        line.update(now.ended - line.n)

    unsubscribe = subscribe(show)
    try:
        yield
    finally:
        unsubscribe()
        show()
        line.refresh()
        line.close()


def facts(now: Progress) -> str:
    """Return the text after the bar."""
    parts = []
    if now.state == "running":
        parts.append(speed(now.rate))
        if now.left_s is not None:
            parts.append(f"about {duration(now.left_s)} left")
    elif now.state != "done":
        parts.append(f"{now.state}: {now.reason}" if now.reason else now.state)
    if now.failed:
        parts.append(f"{now.failed:,} failed")
    if now.unsent:
        parts.append(f"{now.unsent:,} not sent")
    if now.cost_usd is not None:
        parts.append(money(now.cost_usd))
    if now.cost_problem:
        parts.append(now.cost_problem)
    return ", ".join(parts)
