"""How far a sweep is: counted while it runs, as a snapshot for views, as a line in a terminal."""

from __future__ import annotations

import math
import re
import sys
import threading
import time
from collections import Counter as Tally
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from statistics import median
from typing import Any, Literal, TextIO

from vellum_nb.history import terminal_line
from vellum_nb.models import Run
from vellum_nb.rendering.format import duration, money, plural

_OF_A_LIMIT = re.compile(r"(max_\w+|stop_after_failures)=\S+ is reached")
_LATEST = 5
_MEDIAN_OF = 1_000  # runs, the last ones
_RATE_OVER = 10.0  # seconds
_LINE = "{desc}: {percentage:3.0f}%|{bar}| {n_fmt}/{total_fmt} [{elapsed}{postfix}]"
BY_HAND = "stopped"
"""Why a sweep stopped that the user stopped or interrupted: nothing to report."""

State = Literal["ready", "running", "paused", "stopping", "stopped", "done"]


@dataclass(slots=True)
class TagProgress:
    """How far a sweep is on one release tag; `cost_usd` where it is known."""

    release_tag: str
    planned: int
    done: int = 0
    failed: int = 0
    running: int = 0
    median_s: float | None = None
    cost_usd: float | None = None

    @property
    def to_go(self) -> int:
        """How many runs have not begun."""
        return self.planned - self.done - self.failed - self.running


@dataclass(frozen=True, slots=True)
class Progress:
    """The progress of a sweep at one moment."""

    state: State
    tags: tuple[TagProgress, ...]  # in the order of the sweep
    found: int = 0  # runs that were not sent: the history had them, or a look-up found them
    reused: int = 0  # of these, runs of the history before this sweep
    adopted: int = 0  # of these, runs that were looked up
    resent: int = 0  # runs sent once more, as look-ups found no execution of them
    lost: datetime | None = None  # the last sign of an earlier driver that was killed
    began: datetime | None = None  # this session
    seconds: float = 0.0  # for which it has run, pauses left out
    rate: float = 0.0  # runs a second, over the last ten seconds that it ran
    at_once: int = 0  # calls under way,
    limit: int = 0  # how many may be,
    most: int = 0  # and how many may ever be
    note: str | None = None  # such as why `limit` was lowered
    latest: tuple[Run, ...] = ()  # that ended last, the newest first
    why: str | None = None  # it has stopped
    max_cost_usd: float | None = None
    ignored_costs: int = 0  # negative, or not a number
    moved: tuple[str, ...] = ()  # release tags that pointed at more than one release

    @property
    def reason(self) -> str | None:
        """Why it stops or has stopped without the user: a limit or an error."""
        if self.state not in {"stopping", "stopped"} or self.why == BY_HAND:
            return None
        return self.why

    @property
    def limit_reached(self) -> str | None:
        """The name of the limit that ended it; with a higher one it goes on."""
        found = _OF_A_LIMIT.match(self.reason or "")
        return found[1] if found else None

    @property
    def is_decided(self) -> bool:
        """Whether `stop_when` ended it; the same rule would end it again at once."""
        return "decided by " in (self.reason or "")

    @property
    def earlier(self) -> int:
        """How many runs of this sweep had ended before this session began."""
        return self.found - self.reused - self.adopted

    @property
    def planned(self) -> int:
        """How many runs there are to be."""
        return sum(tag.planned for tag in self.tags)

    @property
    def done(self) -> int:
        """How many runs ended with outputs."""
        return sum(tag.done for tag in self.tags)

    @property
    def failed(self) -> int:
        """How many runs ended without outputs."""
        return sum(tag.failed for tag in self.tags)

    @property
    def ended(self) -> int:
        """How many runs ended."""
        return self.done + self.failed

    @property
    def cost_usd(self) -> float | None:
        """The cost so far, where it is known."""
        costs = [tag.cost_usd for tag in self.tags if tag.cost_usd is not None]
        return sum(costs) if costs else None

    @property
    def cost_problem(self) -> str | None:
        """Why a cost limit cannot work, or may be exceeded: runs report no cost, or a wrong one."""
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
        """Seconds until the end at this rate; None where it has ended, or no rate is known."""
        left = self.planned - self.ended
        return left / self.rate if self.rate > 0 and left else None


class Counter:
    """Counts runs that begin and end, by a clock that stops while the sweep does not run.

    `planned` is how many runs each of the release tags is to have, `expected` what one is expected
    to cost, if there are earlier ones.
    """

    def __init__(
        self, tags: Sequence[str], planned: int, expected: Mapping[str, float] | None = None
    ) -> None:
        self._tags = {tag: TagProgress(tag, planned) for tag in tags}
        self._took: dict[str, deque[float]] = {tag: deque(maxlen=_MEDIAN_OF) for tag in tags}
        self._latest: deque[Run] = deque(maxlen=_LATEST)
        self._ends: deque[float] = deque()
        self._lock = threading.Lock()
        self._began: datetime | None = None
        self._spent = 0.0
        self._since: float | None = None
        self._kept = self._reused = self._adopted = self._resent = 0
        self._expected = dict(expected or {})
        self._priced: Tally[str] = Tally()  # runs by tag that have cost something,
        self._paid: dict[str, float] = dict.fromkeys(tags, 0.0)  # and what they cost
        self._unpriced: Tally[str] = Tally()  # runs by tag that were fulfilled for free
        self._ignored = 0

    @property
    def seconds(self) -> float:
        """For how long the clock has run."""
        since = self._since
        return self._spent + (time.monotonic() - since if since is not None else 0.0)

    @property
    def left(self) -> int:
        """How many planned runs have not ended."""
        return sum(tag.planned - tag.done - tag.failed for tag in self._tags.values())

    @property
    def failed(self) -> int:
        """How many ended without outputs."""
        return sum(tag.failed for tag in self._tags.values())

    @property
    def cost(self) -> float:
        """What it has cost so far, as far as that is known."""
        return sum(tag.cost_usd or 0.0 for tag in self._tags.values())

    def run_clock(self, *, on: bool) -> None:
        """Let the clock run, or stop it."""
        with self._lock:
            self._began = self._began or (datetime.now(UTC) if on else None)
            self._spent = self.seconds
            self._since = time.monotonic() if on else None

    def had(self, tag: str, state: str, *, reused: bool = False) -> None:
        """Note a run that had ended before; `reused`: it is of the history before this sweep."""
        self._kept += not reused
        self._reused += reused
        self._end(tag, state)

    def spent(self, tag: str, cost: float | None, seconds: float | None = None) -> None:
        """Note what a run of `tag` has cost, and the seconds that it took."""
        if cost is not None and is_cost(cost):
            self._tags[tag].cost_usd = (self._tags[tag].cost_usd or 0.0) + cost
        elif cost is not None:
            self._ignored += 1
        if seconds is not None:
            self._took[tag].append(seconds)

    def begun(self, tag: str, by: int = 1) -> None:
        """Note a run that began, or with -1 one that was put back."""
        with self._lock:
            self._tags[tag].running += by

    def ended(self, run: Run, *, found: bool = False, resent: bool = False) -> None:
        """Note a run that ended; `found`: it was looked up, `resent`: it was sent once more."""
        with self._lock:
            self._tags[run.release_tag].running -= 1
            self._end(run.release_tag, run.state)
            self.spent(run.release_tag, run.cost_usd, run.latency_s)
            self._learn_cost(run)
            self._adopted += found
            self._resent += resent
            self._latest.appendleft(run)
            self._ends.append(self.seconds)
            self._forget(self._ends[-1])

    def expected_cost(self, tag: str) -> float | None:
        """Return what a run of `tag` is expected to cost; None if no run has shown it."""
        if number := self._priced[tag]:
            return self._paid[tag] / number
        return self._expected.get(tag)

    def can_pay(self, tag: str, limit: float, begun: Tally[str]) -> bool:
        """Return whether another run of `tag` may begin below a `limit` of cost.

        Every run that has not ended reserves what it is expected to cost; `begun` are those that
        are not counted yet. If that is not known, as many may be under way as runs of `tag` were
        fulfilled without a cost, or one.
        """
        reserved, unknown = self.cost, 0
        for name, progress in self._tags.items():
            number, expected = progress.running + begun[name], self.expected_cost(name)
            reserved += number * (expected or 0.0)
            unknown += number if expected is None else 0
        is_known = self.expected_cost(tag) is not None
        return reserved < limit and (is_known or unknown < max(1, self._unpriced[tag]))

    def progress(self, state: State, **facts: Any) -> Progress:
        """Return this moment, with `facts` that are counted elsewhere."""
        with self._lock:
            seconds = self.seconds
            self._forget(seconds)
            medians = {tag: median(took) if took else None for tag, took in self._took.items()}
            return Progress(
                state,
                tuple(replace(each, median_s=medians[tag]) for tag, each in self._tags.items()),
                found=self._kept + self._reused + self._adopted,
                reused=self._reused,
                adopted=self._adopted,
                resent=self._resent,
                ignored_costs=self._ignored,
                began=self._began,
                seconds=seconds,
                rate=len(self._ends) / max(min(seconds, _RATE_OVER), 1e-3),
                latest=tuple(self._latest),
                **facts,
            )

    def _learn_cost(self, run: Run) -> None:
        """Learn from a run what others of its tag cost; one that was free shows nothing."""
        if not run.cost_usd:
            self._unpriced[run.release_tag] += run.state == "FULFILLED"
        elif is_cost(run.cost_usd):
            self._priced[run.release_tag] += 1
            self._paid[run.release_tag] += run.cost_usd

    def _end(self, tag: str, state: str) -> None:
        self._tags[tag].done += state == "FULFILLED"
        self._tags[tag].failed += state != "FULFILLED"

    def _forget(self, seconds: float) -> None:
        while self._ends and self._ends[0] < seconds - _RATE_OVER:
            self._ends.popleft()


def is_cost(cost: float | None) -> bool:
    """Return whether a run reports a cost, and not a negative one or NaN."""
    return cost is not None and math.isfinite(cost) and cost >= 0


def speed(rate: float) -> str:
    """Return how fast runs end."""
    if 0 < rate < 0.2:  # noqa: PLR2004
        return f"{60 * rate:.1f} runs/min"
    return f"{rate:.1f} runs/s" if 0 < rate < 100 else f"{rate:,.0f} runs/s"  # noqa: PLR2004


@contextmanager
def terminal_bar(
    progress: Callable[[], Progress],
    subscribe: Callable[[Callable[[], None]], Callable[[], None]],
    *,
    title: str,
    file: TextIO | None = None,
) -> Iterator[None]:
    """Show how far a sweep is while the context is open, ten times a second at most.

    `progress` and `subscribe` are those of the sweep; `file` is standard error by default.
    """
    now = progress()
    options = {"desc": title, "bar_format": _LINE, "dynamic_ncols": True, "miniters": 0}
    line = terminal_line(total=now.planned, initial=now.ended, file=file or sys.stderr, **options)

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
    """Return the facts behind the bar."""
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
    if now.cost_problem:
        parts.append(now.cost_problem)
    return ", ".join(parts)
