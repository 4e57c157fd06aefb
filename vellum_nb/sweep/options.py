"""The options of a sweep, its limits, and the rule that stops it early."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias, TypedDict, get_args

from vellum_nb.comparison.decisions import checked_margin
from vellum_nb.errors import HistoryError, InputError
from vellum_nb.history.rows import damaged
from vellum_nb.models import Run
from vellum_nb.models.checks import (
    available,
    check_integer,
    check_keywords,
    check_number,
    check_tags,
    check_text,
    refuse,
)
from vellum_nb.models.sweeps import SweepRecord
from vellum_nb.sweep.conversations import Conversation
from vellum_nb.sweep.users import SimulatedUser

MAX_CONCURRENCY = 128
"""Calls at once that a sweep without `concurrency` grows to."""
Existing: TypeAlias = Literal["resume", "reuse", "restart"]


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a whole sweep, over all sessions. It stops at the first; None means no limit.

    Calls under way are completed. A later call with a higher limit resumes the sweep.

    Parameters
    ----------
    max_calls : int, optional
        Calls that are sent.
    max_seconds : float, optional
        Seconds of execution, without pauses.
    max_cost_usd : float, optional
        Cost in US dollars, if runs report their cost. It is exceeded by one call at most.
    stop_after_failures : int, optional
        Failed or rejected runs.

    Examples
    --------
    >>> import vellum_nb as vnb
    >>> vnb.Limits(max_calls=500, max_cost_usd=5)
    Limits(max_calls=500, max_seconds=None, max_cost_usd=5.0, stop_after_failures=None)
    """

    max_calls: int | None = None
    max_seconds: float | None = None
    max_cost_usd: float | None = None
    stop_after_failures: int | None = None

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if name in _WHOLE_LIMITS:
                check_integer(name, value, least=1, optional=True)
                object.__setattr__(self, name, value and int(value))
            else:
                check_number(name, value, above=0, optional=True)
                object.__setattr__(self, name, value and float(value))

    @property
    def given(self) -> dict[str, float]:
        """Limits that are set, by name."""
        values = {name: getattr(self, name) for name in LIMIT_NAMES}
        return {name: value for name, value in values.items() if value is not None}

    def reached(self, calls: int, seconds: float, cost: float, failures: int) -> str | None:
        """Return a message that names the first limit reached, if any."""
        used = dict(zip(LIMIT_NAMES, (calls, seconds, cost, failures), strict=True))
        for name, limit in self.given.items():
            if used[name] >= limit:
                return f"{name}={limit} is reached"
        return None


_WHOLE_LIMITS = frozenset({"max_calls", "stop_after_failures"})
LIMIT_NAMES = tuple(field.name for field in fields(Limits))
LimitsLike: TypeAlias = Limits | Mapping[str, float | None]


def as_limits(limits: LimitsLike | None, current: Limits | None = None) -> Limits:
    """Return `limits`; a dict changes the limits of `current` that it names, None changes none."""
    current = current or Limits()
    if limits is None or isinstance(limits, Limits):
        return limits or current
    if not isinstance(limits, Mapping):
        refuse("limits", limits, "vnb.Limits(...) or a dict, such as limits={'max_calls': 100}")
    unknown = [name for name in limits if name not in LIMIT_NAMES]
    if unknown:
        msg = f"Unknown limit {unknown[0]!r}{available(LIMIT_NAMES)}"
        raise InputError(msg)
    changes: Mapping[str, Any] = limits
    return replace(current, **changes)


@dataclass(frozen=True, slots=True)
class StopWhen:
    """Rule that stops a sweep once each release is better or worse than the baseline.

    With a `margin`, it stops once each release may or should not replace the baseline. It also
    stops if the remaining cases cannot decide. The tests, betting e-processes on paired
    differences, err with a probability of at most `alpha`, however often they are applied.

    Parameters
    ----------
    metric : Metric, callable or str, optional
        Metric that decides; no judge. Default: ``score``.
    baseline : str, optional
        Release tag that the others are compared with. Default: the first.
    alpha : float, default 0.05
        Probability of error over all releases.
    seed : int, optional
        Seed of the order of the cases. The first run fixes the order for all sweeps that share
        cases; cases added later are run last.
    margin : float or str, optional
        Acceptable loss, as in `Comparison.decide`: a number, or text such as ``"10%"`` of the
        baseline's mean. It needs a pass or fail metric, or one with `Metric.bounds`.

    Examples
    --------
    >>> import vellum_nb as vnb
    >>> vnb.StopWhen(metric="exact", alpha=0.01)
    StopWhen(metric='exact', baseline=None, alpha=0.01, seed=None, margin=None)
    """

    metric: Callable[[Run], Any] | str | None = None
    baseline: str | None = None
    alpha: float = 0.05
    seed: int | None = None
    margin: float | str | None = None

    def __post_init__(self) -> None:
        if self.margin is not None:
            number, is_relative = checked_margin(self.margin)
            object.__setattr__(self, "margin", f"{100 * number:g}%" if is_relative else number)
        metric: Any = self.metric
        if not (metric is None or isinstance(metric, str) or callable(metric)):
            refuse("metric", metric, "one metric, such as StopWhen(metric='exact')")
        check_text("baseline", self.baseline, optional=True)
        if not isinstance(self.alpha, float) or not 0 < self.alpha < 1:  # type: ignore[redundant-expr]
            refuse("alpha", self.alpha, "a number such as 0.05, below 1")
        check_integer("seed", self.seed, optional=True)


StopWhenLike: TypeAlias = Literal["decided"] | StopWhen


def as_stop_when(stop_when: StopWhenLike | None) -> StopWhen | None:
    """Return the rule; ``"decided"`` is the one with all defaults."""
    if stop_when is None or isinstance(stop_when, StopWhen):
        return stop_when
    if stop_when != "decided":
        refuse("stop_when", stop_when, "'decided', vnb.StopWhen(...) or None")
    return StopWhen()


class SweepChanges(TypedDict, total=False):
    """Options of `Workspace.open_sweep`, whose `stop_when` can only be None."""

    concurrency: int | None
    limits: LimitsLike | None
    stop_when: StopWhenLike | None
    expand_meta: bool
    resend_in_doubt: bool
    executor: Executor | None


class SweepArguments(SweepChanges, total=False):
    """Options of `Workspace.sweep`."""

    release_tags: Sequence[str]
    repeats: int
    existing: Existing
    conversation: Conversation | None
    files: str | Path | None
    progress: bool
    background: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepOptions:
    """The options of a sweep; `vellum_nb.Workspace.sweep` documents them."""

    release_tags: Sequence[str] = ("LATEST",)
    repeats: int = 1
    concurrency: int | None = None
    limits: Limits = Limits()
    existing: Existing = "resume"
    stop_when: StopWhen | None = None
    conversation: Conversation | None = None
    expand_meta: bool = False
    resend_in_doubt: bool = True
    files: str | Path | None = None
    dry_run: bool = False
    progress: bool = True
    background: bool = False
    executor: Executor | None = None

    def __post_init__(self) -> None:
        executor: Any = self.executor
        object.__setattr__(self, "release_tags", check_tags(self.release_tags))
        check_integer("repeats", self.repeats, least=1)
        check_integer("concurrency", self.concurrency, least=1, optional=True)
        for name in ("repeats", "concurrency"):
            object.__setattr__(self, name, getattr(self, name) and int(getattr(self, name)))
        if self.existing not in get_args(Existing):
            refuse("existing", self.existing, f"one of {', '.join(map(repr, get_args(Existing)))}")
        if not isinstance(self.conversation, Conversation | None):
            refuse("conversation", self.conversation, "vnb.Conversation(...) or None")
        if executor is not None and not isinstance(executor, Executor):
            expected = "a concurrent.futures.Executor, such as client.get_executor() of Dask"
            refuse("executor", executor, expected)

    @property
    def expands_meta(self) -> bool:
        """Whether executions are sent with `expand_meta`, which returns their cost."""
        return self.expand_meta or self.limits.max_cost_usd is not None

    @property
    def most_at_once(self) -> int:
        """Maximum number of calls under way."""
        return self.concurrency or MAX_CONCURRENCY

    @property
    def stored(self) -> dict[str, Any]:
        """Options that are stored with the sweep: those that differ from the default."""
        values = {name: getattr(self, name) for name in _STORED} | asdict(self.limits)
        if self.conversation is not None:
            talk = asdict(self.conversation)
            values["conversation"] = {k: v for k, v in talk.items() if v is not None}
        if self.stop_when is not None:
            rule = {name: getattr(self.stop_when, name) for name in _STORED_OF_RULE}
            name = getattr(self.stop_when.metric, "name", None)
            values |= {"stop_when": "decided", "metric": name, **rule}
        return {name: value for name, value in values.items() if value != _DEFAULTS[name]}

    def reloaded(self, earlier: SweepRecord, latest: SweepRecord) -> SweepOptions:
        """Return these options of a sweep, with the changes stored between two of its records.

        An option that differs from the `earlier` record was changed here, and does not change.
        """
        if earlier.options == latest.options:
            return self
        before, now = SweepOptions.from_stored(earlier), SweepOptions.from_stored(latest)
        names = [n for n in (*_STORED, "stop_when") if getattr(self, n) == getattr(before, n)]
        changes = {name: getattr(now, name) for name in names}
        limits = {
            name: getattr(now.limits, name)
            for name in LIMIT_NAMES
            if getattr(self.limits, name) == getattr(before.limits, name)
        }
        return replace(self, **changes, limits=replace(self.limits, **limits))

    @classmethod
    def of_arguments(cls, arguments: SweepArguments, *, dry_run: bool) -> SweepOptions:
        """Return the options of a call of `Workspace.sweep`."""
        check_keywords("sweep", arguments, SweepArguments.__annotations__)
        values: dict[str, Any] = {**arguments, "dry_run": dry_run}
        values["limits"] = as_limits(arguments.get("limits"))
        values["stop_when"] = as_stop_when(arguments.get("stop_when"))
        return cls(**values)

    @classmethod
    def from_stored(cls, sweep: SweepRecord) -> SweepOptions:
        """Return the options of a stored sweep; its metric is not stored."""
        stored = {name: v for name, v in sweep.options.items() if name != "max_concurrency"}
        unknown = stored.keys() - {*_STORED, *LIMIT_NAMES, "stop_when", "metric", *_STORED_OF_RULE}
        if unknown:
            msg = f"Sweep {sweep.id} has unknown options ({', '.join(unknown)}); upgrade vellum_nb"
            raise HistoryError(msg)
        stop_when = as_stop_when(stored.get("stop_when"))
        if stop_when is not None:
            stop_when = StopWhen(**_part(stored, _STORED_OF_RULE))
        values: dict[str, Any] = _part(stored, _STORED)
        if "conversation" in values:
            with damaged(f"Sweep {sweep.id}"):
                stored_talk = dict(values["conversation"])
                if stored_talk.get("user") is not None:
                    stored_talk["user"] = SimulatedUser(**stored_talk["user"])
                values["conversation"] = Conversation(**stored_talk)
        return cls(limits=Limits(**_part(stored, LIMIT_NAMES)), stop_when=stop_when, **values)


_STORED = ("conversation", "concurrency", "expand_meta", "resend_in_doubt")
_STORED_OF_RULE = ("baseline", "alpha", "seed", "margin")
_DEFAULTS = {
    field.name: field.default for kind in (SweepOptions, Limits, StopWhen) for field in fields(kind)
}

SWEEP_DEFAULTS = {
    field.name: None if field.name == "limits" else field.default
    for field in fields(SweepOptions)
    if field.name in SweepArguments.__annotations__
}
"""Defaults of `Workspace.sweep`, in the order of its signature."""


def _part(stored: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    return {name: stored[name] for name in names if name in stored}
