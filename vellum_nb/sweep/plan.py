"""The plan of a sweep: its options, what the history has of it, what is left, what that takes."""

from __future__ import annotations

import math
import random
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from html import escape
from itertools import count, takewhile
from numbers import Real
from pathlib import Path
from statistics import fmean, median
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, TypedDict

from vellum_nb.comparison.cases import is_answer
from vellum_nb.comparison.metrics import Judge, Metric, Metrics, as_metrics
from vellum_nb.comparison.statistics import ROUNDING, sequential_test
from vellum_nb.errors import InputError
from vellum_nb.escaping import printed
from vellum_nb.history import PastRun, Sweeps
from vellum_nb.models import Run, new_run_id
from vellum_nb.models.checks import check_integer, check_texts, refuse
from vellum_nb.models.sweeps import (
    MOST_RUNS,
    Place,
    SweepCase,
    SweepRecord,
    planned_id,
    signature,
)
from vellum_nb.rendering.format import duration, money, plural
from vellum_nb.sweep.cases import Releases

if TYPE_CHECKING:
    import pandas as pd

Reused: TypeAlias = Mapping[Place, str]  # runs of the history that replace planned ones
_COUNTS = ("planned", "found", "reused", "doubtful", "calls")
_LOOKS = 50  # a look is a walk through all cases: the next is after one case in so many
_LEARNED = ("workspace", "environment")
_REPEATED = frozenset({"CUT_OFF"})
_ASKED_AGAIN = frozenset({"CUT_OFF", "FAILED", "REJECTED"})  # of a judge: they are no verdict
_NOT_REPEATED = frozenset({"FULFILLED", "STARTED", "IN_DOUBT"})
_COLUMNS = ("release_tag", "release_id", *_COUNTS, "median_s", "cost_usd")
_WHOLE = frozenset({"concurrency", "max_concurrency", "max_calls", "stop_after_failures"})


@dataclass(frozen=True, slots=True)
class SweepOptions:
    """The options of a sweep; see `vellum_nb.Workspace.sweep`."""

    concurrency: int | None = None
    max_concurrency: int = 128
    max_calls: int | None = None
    max_seconds: float | None = None
    max_cost_usd: float | None = None
    stop_after_failures: int | None = None
    expand_meta: bool = False
    resend_in_doubt: bool = True
    executor: Executor | None = None
    stop_when: Literal["decided"] | None = None
    metrics: tuple[Metric, ...] = ()  # by the first of which it is decided
    baseline: str | None = None
    alpha: float = 0.05
    seed: int | None = None

    def __post_init__(self) -> None:
        executor: Any = self.executor
        if self.stop_when not in {None, "decided"}:
            refuse("stop_when", self.stop_when, "'decided', or leave it out")
        if not isinstance(self.alpha, float) or not 0 < self.alpha < 1:  # type: ignore[redundant-expr]
            refuse("alpha", self.alpha, "a number such as 0.05, below 1")
        check_integer("seed", self.seed, optional=True)
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
        """The options stored with the sweep: those that differ from the default."""
        found = {name: getattr(self, name) for name in DEFAULTS}
        return {name: value for name, value in found.items() if value != DEFAULTS[name]}

    def reached(self, calls: int, seconds: float, cost: float, failures: int) -> str | None:
        """Return a message that names the limit that is reached, if any."""
        used = (calls, seconds, cost, failures)
        for name, number in zip(LIMITS, used, strict=True):
            limit = getattr(self, name)
            if limit is not None and number >= limit:
                return f"{name}={limit} is reached"
        return None


LIMITS = ("max_calls", "max_seconds", "max_cost_usd", "stop_after_failures")
_NOT_STORED = ("executor", "metrics")
DEFAULTS = {
    each.name: each.default for each in fields(SweepOptions) if each.name not in _NOT_STORED
}
"""The options that are stored with a sweep."""


class SweepArguments(TypedDict, total=False):
    """The options of `Workspace.sweep`, for type checkers."""

    concurrency: int | None
    max_concurrency: int
    max_calls: int | None
    max_seconds: float | None
    max_cost_usd: float | None
    stop_after_failures: int | None
    expand_meta: bool
    resend_in_doubt: bool
    stop_when: Literal["decided"] | None
    release_tags: Sequence[str]
    repeats: int
    progress: bool
    background: bool
    restart: bool
    reuse: bool
    mocks: bool
    files: str | Path | None
    executor: Executor | None
    metrics: Metrics | None
    baseline: str | None
    alpha: float
    seed: int | None


def with_stop_rule(
    options: SweepOptions,
    metrics: Metrics | None,
    tags: Sequence[str],
    cases: Sequence[SweepCase],
) -> SweepOptions:
    """Return `options` with the metrics by which it is decided when to stop, ``score`` by default.

    Without `stop_when` there are none, and none may be given, nor a baseline.
    """
    if options.stop_when is None:
        if metrics is not None or options.baseline is not None:
            msg = (
                "metrics and baseline of a sweep are for stop_when='decided': give that, or compare"
            )
            raise InputError(msg)
        return options
    found = as_metrics("score" if metrics is None else metrics)
    alpha, base = options.alpha / max(1, len(tags) - 1), options.baseline
    number, of = len({case.case_id for case in cases}), plural(len(cases), "case")
    has_target = metrics is not None or any(case.expected for case in cases)
    can_decide = sequential_test([], left=len(cases), alpha=alpha).can_decide
    problems = {
        "it compares releases: give two release tags or more": len(tags) == 1,
        f"baseline={base!r} is not among the release tags {', '.join(tags)}": base
        not in (None, *tags),
        "the first metric decides while the sweep runs: give one that is no judge": (
            not found or isinstance(found[0], Judge)
        ),
        "give metrics=[...], or cases with expected.<output>": not has_target,
        f"only {number:,} of {of} differ: give each once, and repeats=": number < len(cases),
        f"{of} cannot decide at alpha={options.alpha}: give more": not can_decide,
    }
    for problem, is_so in problems.items():
        if is_so:
            msg = f"stop_when='decided': {problem}"
            raise InputError(msg)
    return replace(options, metrics=found)


class StopRule:
    """Stops a sweep when it is decided which releases are better, or cannot be any more.

    Each release is compared with the baseline by a `sequential_test` of the cases in the order of
    the plan, as far as all their runs have ended; the releases share `alpha`. `why` is the last
    reason to stop. A case that takes long, or is in doubt, holds up those far behind it
    (`may_begin`): they may not be needed.
    """

    def __init__(
        self,
        sweep: SweepRecord,
        cases: Sequence[SweepCase],
        options: SweepOptions,
        planned: Sequence[PlannedRun],
    ) -> None:
        self.why: str | None = None
        self._metric, self._order, self._cases = options.metrics[0], sweep.order(), cases
        baseline = options.baseline or sweep.release_tags[0]
        self._others = [tag for tag in sweep.release_tags if tag != baseline]
        self._tags = (baseline, *self._others)
        self._alpha, self._repeats = options.alpha / len(self._others), sweep.repeats
        self._places = {run.run_id: run.place for run in planned}
        number = {position: at for at, position in enumerate(self._order)}
        self._fresh = [number[run.place.position] for run in planned if run.state is None]
        self._values = defaultdict[tuple[int, str], dict[int, float]](dict)
        self._differences: dict[str, list[float]] = {tag: [] for tag in self._others}
        self._next_look = 1  # after so many cases
        for run in planned:
            if run.state not in {None, "STARTED", "IN_DOUBT"}:  # it may have been deleted
                self._values[run.place.position, run.place.release_tag][run.place.repeat] = math.nan

    def reason(self, ended: Iterable[Run]) -> str | None:
        """Return why the sweep may stop, with these runs that ended since; None: it goes on."""
        for run in ended:
            place = self._places[run.id]
            expected = self._cases[place.position].expected
            value = self._metric.evaluate(run, expected)[0] if is_answer(run) else None
            figures = self._values[place.position, place.release_tag]
            figures[place.repeat] = math.nan if value is None else value
        done = self._take_cases()
        if self.why is None and done >= self._next_look:
            self._next_look = done + max(1, done // _LOOKS)
            self.why = self._decision()
        return self.why

    def add(self, run: PlannedRun) -> None:
        """Have `run` count, which is another attempt at a planned one."""
        self._places[run.run_id] = run.place

    def may_begin(self, more: int) -> int:
        """Return how many runs may have begun: up to the next case to be compared, and `more`."""
        return bisect_right(self._fresh, len(self._differences[self._others[0]])) + more

    def _take_cases(self) -> int:
        """Compare the next cases whose runs have all ended; return how many were compared."""
        done = len(self._differences[self._others[0]])
        while done < len(self._order):
            position = self._order[done]
            runs = [self._values[position, tag].values() for tag in self._tags]
            if any(len(values) < self._repeats for values in runs):
                break
            figures = [[value for value in values if not math.isnan(value)] for values in runs]
            base, *means = [fmean(values) if values else math.nan for values in figures]
            for tag, mean in zip(self._others, means, strict=True):
                gap = self._metric.sign * (mean - base)
                edge = max(self._metric.tolerance, ROUNDING * abs(mean))
                is_more = abs(gap) > edge  # not where one is missing, NaN
                self._differences[tag].append(gap if is_more else 0.0)
            done += 1
        return done

    def _decision(self) -> str | None:
        words, number, used = [], len(self._order), 0
        for tag, differences in self._differences.items():
            left = number - len(differences)
            test = sequential_test(differences, left=left, alpha=self._alpha)
            if test.can_decide and not test.side:
                return None
            words.append(f"{tag} is {('undecided', 'better', 'worse')[test.side]}")
            used = max(used, test.cases)
        is_open = any(word.endswith(" undecided") for word in words)
        head = f"{'can no longer be ' if is_open else ''}decided by {self._metric.name}"
        return f"{head} after {used:,} of {plural(number, 'case')}: {', '.join(words)}"


def checked_tags(release_tags: Any) -> tuple[str, ...]:
    """Return the release tags, each once."""
    tags = [release_tags] if isinstance(release_tags, str) else release_tags
    found = dict.fromkeys(check_texts("release_tags", tags))
    if not found or "" in found:
        refuse("release_tags", release_tags, "names, such as release_tags=['v1', 'v2']")
    return tuple(found)


@dataclass(frozen=True, slots=True)
class TagPlan:
    """What is planned on one release tag."""

    release_tag: str
    release_id: str | None
    calls: int  # runs to be sent
    found: int = 0  # runs of this sweep that the history has already
    reused: int = 0  # runs of the history that replace planned ones
    doubtful: int = 0  # runs that were begun, and are looked up first
    median_s: float | None = None  # what one call takes, by past runs
    cost_usd: float | None = None  # what one call costs, by past runs

    @property
    def planned(self) -> int:
        """How many runs are planned."""
        return self.calls + self.found + self.reused + self.doubtful


@dataclass(frozen=True, slots=True, repr=False)
class SweepPlan:
    """The plan of a sweep; `vellum_nb.Workspace.sweep` returns one with ``dry_run=True``.

    Attributes
    ----------
    cases, repeats : int
        How many cases there are, and how often each is run on each release tag.
    tags : tuple of TagPlan
        One for each release tag.
    at_once, fixed : int, bool
        How many calls may be under way, and whether from the start; if not, it grows to that while
        the server bears it.
    notes : tuple of str
        Notes: inputs that a release does not know, columns that look mistyped, or are named like
        an output. They appear on the sweep, and on a comparison of it, too.
    resumes, last_seen : str, datetime, optional
        The id of the unfinished sweep that this goes on with, and when that last made progress.
    ended : str, optional
        The id of the sweep of the same plan that has ended, and is returned as it is.

    Examples
    --------
    >>> SweepPlan("ticket-triage", cases=4, repeats=1, tags=(TagPlan("v1", None, calls=4),))
    <SweepPlan of ticket-triage: 4 cases x 1 release tag = 4 calls>
    """

    deployment: str
    cases: int
    repeats: int
    tags: tuple[TagPlan, ...]
    at_once: int = 1
    fixed: bool = False
    notes: tuple[str, ...] = ()
    resumes: str | None = None
    last_seen: datetime | None = None
    ended: str | None = None

    @property
    def planned(self) -> int:
        """How many runs are planned."""
        return sum(tag.planned for tag in self.tags)

    @property
    def calls(self) -> int:
        """How many of them will be sent."""
        return sum(tag.calls for tag in self.tags)

    @property
    def found(self) -> int:
        """How many are in the history already."""
        return sum(tag.found + tag.reused for tag in self.tags)

    @property
    def seconds(self) -> float | None:
        """An estimate of how long that takes; None without past runs."""
        tags = [tag for tag in self.tags if tag.calls]
        medians = [tag.median_s for tag in tags if tag.median_s is not None]
        if not medians or len(medians) < len(tags):
            return None
        all_of_it = sum(tag.calls * (tag.median_s or 0.0) for tag in tags)
        return max(all_of_it / self.at_once, *medians)

    @property
    def cost_usd(self) -> float | None:
        """An estimate of its cost; None unless past runs have a cost on every release tag."""
        tags = [tag for tag in self.tags if tag.calls]
        if not tags or any(tag.cost_usd is None for tag in tags):
            return None
        return sum(tag.calls * (tag.cost_usd or 0.0) for tag in tags)

    @property
    def headline(self) -> str:
        """The plan in a line: cases x tags x repeats, what is left to send, how long it takes."""
        return self._line("\N{MULTIPLICATION SIGN}")

    def frame(self) -> pd.DataFrame:
        """Return one row per release tag: what is planned, found, and expected of it."""
        import pandas as pd

        rows = [[getattr(tag, name) for name in _COLUMNS] for tag in self.tags]
        frame = pd.DataFrame(rows, columns=list(_COLUMNS))
        return frame.astype({"median_s": "float64", "cost_usd": "float64"})

    @printed
    def __str__(self) -> str:
        return "\n".join([self.headline, *(f"  - {note}" for note in self.notes)])

    @printed
    def __repr__(self) -> str:
        return f"<SweepPlan of {self.deployment}: {self._line('x')}>"

    @printed
    def _repr_html_(self) -> str:
        notes = "".join(f"<li>{escape(note)}</li>" for note in self.notes)
        table = self.frame().dropna(axis="columns", how="all")
        table = table.drop(columns=[name for name in _COUNTS if not table[name].any()])
        html: str = table.to_html(escape=True, index=False, border=0, float_format="{:.4g}".format)
        head = f"<p><b>Plan</b> {escape(self.deployment)}: {escape(self.headline)}</p>"
        return head + html + (f"<ul>{notes}</ul>" if notes else "")

    def _line(self, times: str) -> str:
        factors = [plural(self.cases, "case"), plural(len(self.tags), "release tag")]
        if self.repeats > 1:
            factors.append(plural(self.repeats, "repeat"))
        at_once = f"{'' if self.fixed else 'up to '}{self.at_once} at once"
        took = "" if self.seconds is None else f", about {duration(self.seconds)} at {at_once}"
        took += "" if self.cost_usd is None else f", about {money(self.cost_usd)}"
        what = f" {times} ".join(factors)
        if self.calls == self.planned:
            return f"{what} = {plural(self.calls, 'call')}{took}"
        doubtful = sum(tag.doubtful for tag in self.tags)
        parts = [f"{self.found:,} found"] if self.found else []
        parts += [f"{doubtful:,} to be looked up"] if doubtful else []
        parts.append(f"{self.calls:,} to be sent")
        return f"{what} = {plural(self.planned, 'run')}: {', '.join(parts)}{took}"


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A planned run: the id it has or gets, and its state; None if it has not begun.

    IN_DOUBT: it failed without an answer, and may have been executed.
    """

    place: Place
    run_id: str
    state: str | None
    round: int = 0
    attempt: int = 0

    def next_attempt(self, sweep: SweepRecord) -> PlannedRun:
        """Return what is to be run after the execution of this one was cut off."""
        attempt = self.attempt + 1
        run_id = planned_id(sweep, self.place, self.round, attempt)
        return replace(self, run_id=run_id, state=None, attempt=attempt)


def planned_runs(
    sweep: SweepRecord, states: Mapping[str, str], reused: Reused
) -> Iterator[PlannedRun]:
    """Yield every planned run with its state, in the order of the plan.

    A run that failed in an earlier round than the sweep's is to be run again, under a new id,
    unless the sweep has ended since: it was in doubt, and failed in this round.
    """
    for place in sweep.places():
        if place in reused:
            yield PlannedRun(place, reused[place], "FULFILLED")
            continue
        newest = _in_round(sweep, place, sweep.round, states)
        earlier = (
            run
            for number in range(sweep.round - 1, -1, -1)
            if (run := _in_round(sweep, place, number, states)).state is not None
        )
        run = newest if newest.state is not None else next(earlier, newest)
        is_final = run.round == sweep.round or run.state in _NOT_REPEATED
        yield run if is_final or sweep.ended is not None else newest


def _in_round(
    sweep: SweepRecord, place: Place, number: int, states: Mapping[str, str]
) -> PlannedRun:
    """Return the last attempt at a planned run in a round, or the one to be made next."""
    run_id = planned_id(sweep, place, number)
    run = PlannedRun(place, run_id, states.get(run_id), number)
    repeated = _REPEATED if sweep.judge is None else _ASKED_AGAIN
    while run.state in repeated:
        run = run.next_attempt(sweep)
        run = replace(run, state=states.get(run.run_id))
    return run


def superseded(sweep: SweepRecord, states: Collection[str]) -> set[str]:
    """Return the runs that a later round or attempt has begun again."""
    superseded_ids: set[str] = set()
    for place in sweep.places():
        made: list[str] = []
        for number in range(sweep.round + 1):
            ids = (planned_id(sweep, place, number, attempt) for attempt in count())
            made += takewhile(states.__contains__, ids)
        superseded_ids.update(made[:-1])
    return superseded_ids


def new_sweep(
    deployment: str,
    releases: Releases,
    cases: Sequence[SweepCase],
    *,
    repeats: int,
    options: SweepOptions,
    workspace: str | None,
    judge: str | None = None,
) -> SweepRecord:
    """Return a sweep of `cases` on releases of a `workspace` of the server.

    The runs of a `judge` have ids that derive from that text and what is judged; two such sweeps
    are never the same.
    """
    environments = (each.environment for each in releases.values() if each is not None)
    environment = next((each.name for each in environments if each), None)
    tags, ids = tuple(releases), tuple(case.case_id for case in cases)
    if (planned := len(ids) * len(tags) * repeats) > MOST_RUNS:
        msg = f"A sweep of {planned:,} runs is too large; run {MOST_RUNS:,} at most, part by part"
        raise InputError(msg)
    sweep_id = new_run_id()
    plan = signature(deployment, tags, repeats, ids) if judge is None else f"{judge}/{sweep_id}"
    return SweepRecord(
        id=sweep_id,
        deployment=deployment,
        environment=environment,
        workspace=workspace,
        release_tags=tags,
        repeats=repeats,
        cases=len(cases),
        signature=plan,
        created=datetime.now(UTC),
        releases={tag: release.id if release else None for tag, release in releases.items()},
        options=options.stored,
        judge=judge,
        case_ids=() if judge is None else ids,
    )


def plan_sweep(
    new: SweepRecord,
    cases: Sequence[SweepCase],
    sweeps: Sweeps,
    options: SweepOptions,
    *,
    notes: Sequence[str] = (),
    restart: bool = False,
    reuse: bool = False,
) -> tuple[SweepRecord, SweepPlan, Reused]:
    """Return the newest sweep of the plan of `new`, or that; what it is going to do; reused runs.

    One that has ended counts where its release tags pointed at the same releases. Nothing is
    written.
    """
    record, is_earlier = _record_of(new, cases, sweeps, options, restart=restart, reuse=reuse)
    goes_on = is_earlier and record.ended is None
    if goes_on:
        record = record.model_copy(update={"lost": sweeps.lost(record)})
    states, standing = _stored_runs(record, sweeps, is_earlier=is_earlier)
    runs: Iterable[PlannedRun] = (
        planned_runs(record, states, standing) if states or standing else ()
    )
    reused: Reused = {}
    if reuse and record.ended is None:
        runs = list(planned_runs(record, states, standing))
        reused = _reusable(new, cases, runs, sweeps)
    counts = Counter((each.place.release_tag, each.state) for each in runs if each.state)
    plan = SweepPlan(
        record.deployment,
        cases=record.cases,
        repeats=record.repeats,
        tags=tuple(_tags(record, new, counts, reused, sweeps.past(record.deployment))),
        at_once=max(1, min(options.at_once, record.planned)),
        fixed=options.concurrency is not None,
        resumes=record.id if goes_on else None,
        last_seen=sweeps.last_seen(record.id) if is_earlier else None,
        ended=None if record.ended is None else record.id,
    )
    record = record.model_copy(update={"notes": (*_unread(new), *notes)})
    all_notes = (*_notes(plan, record, new), *record.notes, *_limits(plan, options))
    return record, replace(plan, notes=all_notes), reused


def _record_of(
    new: SweepRecord,
    cases: Sequence[SweepCase],
    sweeps: Sweeps,
    options: SweepOptions,
    *,
    restart: bool,
    reuse: bool,
) -> tuple[SweepRecord, bool]:
    """Return the newest sweep of the plan of `new`, or `new`, and whether it is an earlier one."""
    of_plan = sweeps.of_plan(new.signature)
    record = None if restart else _same_plan(of_plan, new)
    if record is not None:
        check_seed(record, options)
        return _completed(record, new), True
    generation = max((each.generation for each in of_plan), default=0) + 1
    record = new.model_copy(update={"generation": generation})
    if options.stop_when is not None:
        ordered = [] if restart and not reuse else sweeps.ordered(new.deployment)
        earlier = (each for each in ordered if _may_be_same(each[0], new))
        record = _with_order(record, cases, options, earlier)
    return record, False


def _stored_runs(
    record: SweepRecord, sweeps: Sweeps, *, is_earlier: bool
) -> tuple[Mapping[str, str], Reused]:
    """Return what the history has of a sweep: states by run, and runs that replace planned ones."""
    if record.judge is not None:
        return sweeps.judgements(record)
    return (sweeps.states(record.id), sweeps.reused(record.id)) if is_earlier else ({}, {})


def _same_plan(of_plan: Sequence[SweepRecord], new: SweepRecord) -> SweepRecord | None:
    """Return the newest unfinished sweep of the same plan, else the newest that has ended."""
    same = [each for each in of_plan if _may_be_same(each, new)]
    ended = next((each for each in same if each.ended is not None), None)
    if ended is not None and any(
        release and ended.releases.get(tag) not in {None, release}
        for tag, release in new.releases.items()
    ):
        ended = None
    return next((each for each in same if each.ended is None), ended)


def _may_be_same(stored: SweepRecord, new: SweepRecord) -> bool:
    """Return whether workspace and environment are the same, as far as the keys may read them."""
    pairs = ((stored.workspace, new.workspace), (stored.environment, new.environment))
    same_tags = stored.release_tags == new.release_tags
    return same_tags and all(None in pair or len(set(pair)) == 1 for pair in pairs)


def _completed(stored: SweepRecord, new: SweepRecord) -> SweepRecord:
    """Return a stored sweep with what `new` knows and it does not."""
    releases = {tag: stored.releases.get(tag) or new.releases.get(tag) for tag in new.releases}
    fields = {name: getattr(stored, name) or getattr(new, name) for name in _LEARNED}
    return stored.model_copy(update={**fields, "releases": releases})


def check_seed(stored: SweepRecord, options: SweepOptions) -> None:
    """Raise an `InputError` for another order of the cases than the one that is stored."""
    seed = stored.options.get("seed", 0)
    if options.stop_when is None or options.seed in {None, seed}:
        return
    msg = (
        f"seed={options.seed}: the first run of sweep {stored.id} fixed the order of its cases, "
        f"with seed={seed}, and a p-value holds for that order alone; leave seed out, or run all "
        "of it again with restart=True"
    )
    raise InputError(msg)


def with_stored_seed(options: SweepOptions, sweep: SweepRecord) -> SweepOptions:
    """Return `options` with the seed of a stored sweep, unless they have one."""
    return replace(options, seed=sweep.options.get("seed")) if options.seed is None else options


def _with_order(
    record: SweepRecord,
    cases: Sequence[SweepCase],
    options: SweepOptions,
    earlier: Iterable[tuple[SweepRecord, Sequence[str]]],
) -> SweepRecord:
    """Return a new sweep with the order of its cases.

    The order is drawn, unless an earlier sweep has cases of it: those come first, in the order that
    they had, and the seed is that of the sweep which has most of them.
    """
    positions = {case.case_id: case.position for case in cases}
    first, source = list[int](), record
    for sweep, case_ids in earlier:
        ids = (case_ids[position] for position in sweep.order())
        shared = [positions[case_id] for case_id in ids if case_id in positions]
        if len(shared) > len(first):
            first, source = shared, sweep
    if first:
        check_seed(source, options)
        options = with_stored_seed(options, source)
    others = sorted(set(range(record.cases)) - set(first))
    random.Random(options.seed or 0).shuffle(others)  # noqa: S311 - no secret
    return record.model_copy(update={"case_order": (*first, *others), "options": options.stored})


def _reusable(
    new: SweepRecord, cases: Sequence[SweepCase], runs: Sequence[PlannedRun], sweeps: Sweeps
) -> dict[Place, str]:
    """Return which runs of the history may replace planned ones that have not begun."""
    known = {each.run_id for each in runs}
    case_ids = {case.case_id for case in cases}
    pools: dict[tuple[str | None, str], list[str]] = {}
    for release in set(new.releases.values()) - {None}:
        reusable = sweeps.reusable(new.deployment, str(release), case_ids, new.judge)
        for case_id, found in reusable.items():
            pools[release, case_id] = [run for run in reversed(found) if run not in known]
    reused: dict[Place, str] = {}
    for planned in runs:
        place = planned.place
        pool = pools.get((new.releases[place.release_tag], cases[place.position].case_id))
        if planned.state is None and pool:
            reused[place] = pool.pop()
    return reused


def _tags(
    record: SweepRecord,
    new: SweepRecord,
    counts: Mapping[tuple[str, str], int],
    reused: Reused,
    past: Sequence[PastRun],
) -> Iterator[TagPlan]:
    """Yield what is planned on each release tag, by what calls of its release took and cost."""
    for tag, release_id in new.releases.items():
        own = [run for run in past if release_id and run.release_id == release_id]
        own = own or [run for run in past if run.release_tag == tag] or list(past)
        costs = [run.cost_usd for run in own if run.cost_usd is not None]
        begun = sum(number for (of, _), number in counts.items() if of == tag)
        doubtful = counts.get((tag, "STARTED"), 0) + counts.get((tag, "IN_DOUBT"), 0)
        reusing = sum(place.release_tag == tag for place in reused)
        yield TagPlan(
            tag,
            release_id,
            calls=record.cases * record.repeats - begun - reusing,
            found=begun - doubtful,
            reused=reusing,
            doubtful=doubtful,
            median_s=median(run.latency_s for run in own) if own else None,
            cost_usd=fmean(costs) if costs else None,
        )


def _notes(plan: SweepPlan, record: SweepRecord, new: SweepRecord) -> Iterator[str]:
    if record.ended is not None:
        ended = record.ended.strftime("%Y-%m-%d %H:%M")
        again = "restart=True (--restart) runs it again"
        yield f"the same sweep ended at {ended} UTC, and its stored runs are used: {again}"
    if plan.resumes is not None:
        began = record.created.strftime("%Y-%m-%d %H:%M")
        last = record.lost or plan.last_seen
        how = "whose process was lost at" if record.lost else "with its last progress at"
        when = f", {how} {last:%H:%M:%S}" if last else ""
        found = plural(sum(tag.found for tag in plan.tags), "run")
        none = "it is not sent again" if found == "1 run" else "none of them is sent again"
        yield f"resumes the unfinished sweep of {began} UTC{when}: {found} found, {none}"
        past = record.releases.items()
        moved = [tag for tag, then in past if then and new.releases.get(tag) not in {None, then}]
        if moved:
            yield f"{', '.join(moved)} moved to another release since that sweep began"


def _unread(new: SweepRecord) -> Iterator[str]:
    unread = ", ".join(tag for tag, release in new.releases.items() if release is None)
    if unread:
        yield f"this key may not read {unread}: the server alone checks the inputs"


def _limits(plan: SweepPlan, options: SweepOptions) -> Iterator[str]:
    if options.metrics:
        yield f"it stops as soon as it is decided by {options.metrics[0].name}"
    for name, reached in zip(LIMITS, (plan.calls, plan.seconds, plan.cost_usd, None), strict=True):
        limit = getattr(options, name)
        if limit is not None:
            is_early = reached is not None and reached > limit
            yield f"{name}={limit}" + (": it will stop there" if is_early else "")
