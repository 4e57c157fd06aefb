"""How a sweep goes about it: its options, where it stops by itself, how many calls at once."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, fields
from math import ceil
from numbers import Real
from typing import Any, TypedDict

from vellum_nb.models.checks import check_integer, check_texts, refuse

_FIRST = 16  # calls at once, where that is not fixed
_LESS = 0.7
_MORE = 1.5
_MORE_AFTER_TROUBLE = 1.25
_WORTH = 0.3  # of what more at once would bring, were the server not to notice
_FULL = 0.7
_REST = 8  # rounds, at most
_WHOLE = frozenset({"concurrency", "max_concurrency", "max_calls", "stop_after_failures"})


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
    resend_in_doubt: bool = True
    executor: Executor | None = None

    def __post_init__(self) -> None:
        executor: Any = self.executor
        if executor is not None and not isinstance(executor, Executor):
            expected = "a concurrent.futures.Executor, such as client.get_executor() of Dask"
            refuse("executor", executor, expected)
        for name, default in DEFAULTS.items():
            value = getattr(self, name)
            if name in _WHOLE:
                check_integer(name, value, least=1, optional=default is None)
                object.__setattr__(self, name, value and int(value))
            elif name in LIMITS and value is not None:
                is_number = isinstance(value, Real) and not isinstance(value, bool)
                if not is_number or not value > 0:
                    refuse(name, value, "a number above 0")
                object.__setattr__(self, name, float(value))

    @property
    def expands_meta(self) -> bool:
        """Whether runs are asked what they cost."""
        return self.expand_meta or self.max_cost_usd is not None

    @property
    def at_once(self) -> int:
        """How many calls may be under way at most."""
        return self.concurrency or self.max_concurrency

    @property
    def stored(self) -> dict[str, Any]:
        """What of it is kept with the sweep: all that is not the default."""
        found = {name: getattr(self, name) for name in DEFAULTS}
        return {name: value for name, value in found.items() if value != DEFAULTS[name]}

    def reached(self, calls: int, seconds: float, cost: float, failures: int) -> str | None:
        """Return which limit is reached, and that it is."""
        used = (calls, seconds, cost, failures)
        for name, number in zip(LIMITS, used, strict=True):
            limit = getattr(self, name)
            if limit is not None and number >= limit:
                return f"{name}={limit} is reached"
        return None


LIMITS = ("max_calls", "max_seconds", "max_cost_usd", "stop_after_failures")
DEFAULTS = {each.name: each.default for each in fields(SweepOptions) if each.name != "executor"}
"""The options that are kept with a sweep."""


class SweepLimits(TypedDict, total=False):
    """The options that are kept with a sweep, for type checkers."""

    concurrency: int | None
    max_concurrency: int
    max_calls: int | None
    max_seconds: float | None
    max_cost_usd: float | None
    stop_after_failures: int | None
    expand_meta: bool
    resend_in_doubt: bool


class SweepArguments(SweepLimits, total=False):
    """The options of `Workspace.sweep`, for type checkers."""

    release_tags: Sequence[str]
    repeats: int
    progress: bool
    background: bool
    restart: bool
    reuse: bool
    mocks: bool
    executor: Executor | None


def checked_tags(release_tags: Any) -> tuple[str, ...]:
    """Return the release tags, each once."""
    tags = [release_tags] if isinstance(release_tags, str) else release_tags
    found = dict.fromkeys(check_texts("release_tags", tags))
    if not found or "" in found:
        refuse("release_tags", release_tags, "names, such as release_tags=['v1', 'v2']")
    return tuple(found)


class AdaptiveConcurrency:
    """Decides how many calls may be under way, from how earlier ones fared. Pure.

    A round is as many calls as may be under way, all begun since that was last changed. After a
    round without trouble the limit grows by half, and stays there when that brought more calls a
    second (Little's law: calls under way / seconds that one takes). Otherwise it steps back, and
    tries again some rounds later. When the server is busy it shrinks, at most once a round, and
    nothing starts before the time that the server asked for (`not_before`). With a fixed
    `concurrency` only the waiting is left.
    """

    def __init__(self, concurrency: int | None = None, *, most: int = 128) -> None:
        self.fixed = concurrency is not None
        self.most = concurrency or most
        self.limit = concurrency or min(_FIRST, most)
        self.not_before = 0.0
        self._more = _MORE
        self._base: tuple[int, float] | None = None
        self._resting, self._rest = 0, 1
        self._restart(0.0)

    def room(self, at_once: int, now: float) -> int:
        """Return how many calls may start now."""
        return 0 if now < self.not_before else max(0, self.limit - at_once)

    def ended(self, began: float, now: float, at_once: int) -> None:
        """Note a call that ended well, one of `at_once` that were under way."""
        if self.fixed or began < self._since:
            return
        self._calls += 1
        self._took += now - began
        self._at_once += at_once
        if self._calls >= max(self.limit, 8):
            average = self._at_once / self._calls
            if average >= _FULL * self.limit:  # otherwise there was not enough to do
                self._judge(self._at_once / max(self._took, 1e-9))
            self._restart(now)

    def busy(self, began: float, now: float, wait: float | None) -> bool:
        """Note that the server has too much to do; return whether `limit` was lowered."""
        self.not_before = max(self.not_before, now + (wait or 0.0))
        if self.fixed or began < self._since:
            return False
        self.limit = max(1, int(self.limit * _LESS))
        self._more, self._base, self._resting = _MORE_AFTER_TROUBLE, None, 0
        self._restart(now)
        return True

    def _restart(self, now: float) -> None:
        self._since = now
        self._calls, self._took, self._at_once = 0, 0.0, 0

    def _judge(self, rate: float) -> None:
        """Grow, or step back, by the calls a second that this limit brings."""
        if self._resting:
            self._resting -= 1
            return
        limit, before = self._base or (self.limit, 0.0)
        if rate > before * (1 + _WORTH * (self.limit / limit - 1)):
            self._base, self._rest = (self.limit, rate), 1
            self.limit = min(self.most, ceil(self.limit * self._more))
        else:
            self.limit, self._base, self._resting = limit, None, self._rest
            self._rest = min(2 * self._rest, _REST)
