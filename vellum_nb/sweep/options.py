"""How a sweep goes about it: its options, checked, and where it stops by itself."""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any, TypedDict

from vellum_nb.errors import InputError, InputProblem
from vellum_nb.models.inputs import format_value


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

    def allowed(self, number: int) -> int:
        """Return how many of `number` runs may still begin."""
        if self.max_calls is None:
            return max(0, number)
        return max(0, min(number, self.max_calls - self.calls))

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


STORED = (
    "concurrency",
    "max_concurrency",
    "max_calls",
    "max_seconds",
    "max_cost_usd",
    "stop_after_failures",
    "expand_meta",
    "resend_in_doubt",
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
    resend_in_doubt: bool = True
    executor: Executor | None = None

    @property
    def expands_meta(self) -> bool:
        """Whether runs are asked what they cost."""
        return self.expand_meta or self.max_cost_usd is not None

    @property
    def stored(self) -> Mapping[str, Any]:
        """What of it is kept with the sweep.

        Examples
        --------
        >>> SweepOptions(max_calls=5).stored
        {'max_concurrency': 128, 'max_calls': 5}
        """
        found = {name: getattr(self, name) for name in STORED if name != "resend_in_doubt"}
        chosen = {name: value for name, value in found.items() if value}
        return chosen if self.resend_in_doubt else {**chosen, "resend_in_doubt": False}

    def is_given(self, name: str) -> bool:
        """Whether an option is another than its default."""
        default: object = type(self).__dataclass_fields__[name].default
        return bool(getattr(self, name) != default)

    def with_calls_of(self, other: SweepOptions) -> SweepOptions:
        """Return these limits with how `other` makes its calls."""
        return replace(
            other,
            max_calls=self.max_calls,
            max_seconds=self.max_seconds,
            max_cost_usd=self.max_cost_usd,
            stop_after_failures=self.stop_after_failures,
        )

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


_WHOLE = ("concurrency", "max_concurrency", "max_calls", "stop_after_failures")
_POSITIVE = ("max_seconds", "max_cost_usd")
_MUST = frozenset({"max_concurrency"})
_MOST_REPEATS = 1_000_000


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
    mocks: bool


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


def checked_options(
    executor: Executor | None,
    *,
    expand_meta: bool = False,
    resend_in_doubt: bool = True,
    **limits: Any,
) -> SweepOptions:
    """Return the options that say how a sweep goes about it.

    Raises
    ------
    InputError
        Names each limit that is none.
    """
    problems: list[InputProblem] = []
    for name, value in limits.items():
        if value is None and name not in _MUST:
            continue
        expected = "a whole number from 1 on" if name in _WHOLE else "a number above 0"
        found = _whole_number(value) if name in _WHOLE else _positive(value)
        if found is None:
            message = f"{format_value(value)} is given; {expected} is expected"
            problems.append(InputProblem(name, message))
        else:
            limits[name] = found
    if problems:
        msg = "This sweep cannot be; nothing was sent:"
        raise InputError(msg, problems)
    return SweepOptions(
        executor=executor, expand_meta=expand_meta, resend_in_doubt=resend_in_doubt, **limits
    )


def stored_options(stored: Mapping[str, Any], given: SweepLimits) -> SweepOptions:
    """Return the options that a sweep was kept with, with those that are given now."""
    known = {name: stored[name] for name in STORED if name in stored}
    return checked_options(None, **{**known, **given})


def checked_repeats(repeats: object) -> int:
    """Return how often each case is run."""
    found = _whole_number(repeats)
    if found is None or found > _MOST_REPEATS:
        msg = f"repeats={repeats!r:.60}: a sweep runs every case 1 to {_MOST_REPEATS:,} times"
        raise InputError(msg)
    return found


def checked_tags(release_tags: object) -> tuple[str, ...]:
    """Return the release tags, each once."""
    tags = (release_tags,) if isinstance(release_tags, str) else release_tags
    if not isinstance(tags, Sequence) or not tags or not all(_is_name(tag) for tag in tags):
        msg = f"release_tags={release_tags!r:.60}: give names, such as release_tags=['v1', 'v2']"
        raise InputError(msg)
    return tuple(dict.fromkeys(tags))


def _is_name(tag: object) -> bool:
    return isinstance(tag, str) and bool(tag)


def _whole_number(value: Any) -> int | None:
    with suppress(TypeError):
        found = operator.index(value)
        return min(found, sys.maxsize) if found >= 1 and not isinstance(value, bool) else None
    return None


def _positive(value: Any) -> float | None:
    with suppress(TypeError, ValueError):
        try:
            found = float(value)
        except OverflowError:  # a whole number beyond all others
            found = math.inf if value > 0 else -math.inf
        return found if found > 0 and not isinstance(value, bool | str) else None
    return None
