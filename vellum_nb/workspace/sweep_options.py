"""What `Workspace.sweep` may be told, and what of it cannot be."""

from __future__ import annotations

import math
import operator
import sys
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from contextlib import suppress
from typing import Any, TypedDict

from vellum_nb.errors import InputError, InputProblem
from vellum_nb.experiments.sweep.making import KEPT, SweepOptions
from vellum_nb.models.plain import shown
from vellum_nb.workspace.far import far

__all__ = [
    "SweepArguments",
    "SweepLimits",
    "checked_options",
    "checked_repeats",
    "checked_tags",
    "kept_options",
]

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


class SweepArguments(SweepLimits, total=False):
    """The options of `Workspace.sweep`, for type checkers."""

    release_tags: Sequence[str]
    repeats: int
    progress: bool
    background: bool
    fresh: bool
    reuse: bool
    executor: Executor | None


def checked_options(
    executor: Executor | None, *, expand_meta: bool = False, **limits: Any
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
        found = _whole(value) if name in _WHOLE else _positive(value)
        if found is None:
            problems.append(InputProblem(name, f"{shown(value)} is given; {expected} is expected"))
        else:
            limits[name] = found
    if problems:
        msg = "This sweep cannot be; nothing was sent:"
        raise InputError(msg, problems)
    made = far(executor) if executor is not None else None
    return SweepOptions(executor=made, expand_meta=expand_meta, **limits)


def kept_options(kept: Mapping[str, Any], given: SweepLimits) -> SweepOptions:
    """Return the options that a sweep was kept with, with those that are given now."""
    known = {name: kept[name] for name in KEPT if name in kept}
    return checked_options(None, **{**known, **given})


def checked_repeats(repeats: object) -> int:
    """Return how often each case is run."""
    found = _whole(repeats)
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


def _whole(value: Any) -> int | None:
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
