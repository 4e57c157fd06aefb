"""The plan of a sweep: its runs, their states in the history, expected time and cost."""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Callable, Collection, Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from html import escape
from itertools import count, takewhile
from statistics import fmean, median
from typing import Any, TypeAlias

from vellum_nb.comparison.comparison import Comparison
from vellum_nb.comparison.decisions import MarginOption
from vellum_nb.comparison.metrics import Metrics
from vellum_nb.comparison.planning import PlannedSweep
from vellum_nb.comparison.planning import plan as plan_power
from vellum_nb.errors import InputError
from vellum_nb.escaping import printable, printed
from vellum_nb.history import PastRun, Sweeps, frame_of_records
from vellum_nb.lazy import pd
from vellum_nb.models import new_run_id
from vellum_nb.models.checks import cut_list
from vellum_nb.models.sweeps import (
    MOST_RUNS,
    Place,
    SweepCase,
    SweepRecord,
    is_user,
    planned_id,
    signature,
)
from vellum_nb.rendering.format import between, duration, money, plural
from vellum_nb.sweep.cases import CaseColumn, CheckedCases, Releases, columns_by_role, columns_html
from vellum_nb.sweep.options import SweepOptions
from vellum_nb.sweep.users import states_with_ends

Reused: TypeAlias = Mapping[Place, str]
"""Ids of runs of the history that replace planned ones."""
_COUNTS = ("planned", "found", "reused", "doubtful", "calls")
_REPEATED_STATES = frozenset({"CUT_OFF"})
_REPEATED_JUDGE_STATES = frozenset({"CUT_OFF", "FAILED", "REJECTED"})  # without a judgement
_ENDED = frozenset({"FULFILLED", "FAILED", "REJECTED", "CANCELLED", "UNSENT"})  # a turn can follow
_FINAL_STATES = frozenset({"FULFILLED", "STARTED", "IN_DOUBT", "OVER"})  # not for `retry_failed`
_COLUMNS = {  # of a plan's frame, with their kinds
    **dict.fromkeys(("release_tag", "release_id"), "text"),
    **dict.fromkeys(_COUNTS, "int"),
    **dict.fromkeys(("median_s", "cost_usd"), "float"),
}


@dataclass(frozen=True, slots=True)
class TagPlan:
    """The planned runs on one release tag."""

    release_tag: str
    release_id: str | None
    calls: int  # runs to send
    found: int = 0  # runs of this sweep that have ended
    reused: int = 0  # runs of the history that replace planned ones
    doubtful: int = 0  # runs to look up, as they were begun
    later_calls: int = 0  # of `calls`, turns that are not sent if their conversation ends before
    median_s: float | None = None  # of past runs
    cost_usd: float | None = None  # mean of past runs

    @property
    def planned(self) -> int:
        """Number of planned runs."""
        return self.calls + self.found + self.reused + self.doubtful

    @property
    def least_calls(self) -> int:
        """Least number of runs to send, as a conversation can end early."""
        return self.calls - self.later_calls


@dataclass(frozen=True, slots=True, repr=False)
class SweepPlan:
    """The plan of a sweep; `vellum_nb.Workspace.sweep` returns one with ``dry_run=True``.

    Attributes
    ----------
    cases, repeats : int
        Number of cases, and of runs per case and release tag.
    tags : tuple of TagPlan
        Plan per release tag.
    at_once, fixed : int, bool
        Maximum number of concurrent calls, and whether it is fixed by `concurrency`. Otherwise the
        number adapts to the server.
    notes : tuple of str
        Warnings on cases and releases, such as inputs that a release does not have, or columns
        that look misspelt. The sweep and its comparison have them, too.
    columns : tuple of CaseColumn
        Columns of the cases, each with its `name` and `use` (``input``, ``expected``, ``label`` or
        ``previous``), its `notes`, and the likely names that were `meant`.
    resumes, last_seen : str, datetime, optional
        Id of the unfinished sweep that is resumed, and the time of its last progress.
    ended : str, optional
        Id of the sweep of the same plan that has ended, and is returned.
    omitted : int
        Number of cases that are not run because a form was asked to run only the first ones.
    conversations : int
        Number of conversations; `cases` are their turns.
    new_values : bool
        Whether the sweep has ended, and the cases now have other expected outputs or labels: the
        stored runs get them without a call.
    user_calls : int
        Number of `cases` that are messages of a simulated user.

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
    columns: tuple[CaseColumn, ...] = ()
    omitted: int = 0
    conversations: int = 0
    new_values: bool = False
    user_calls: int = 0
    _history: Callable[[Metrics | None], Comparison] | None = field(default=None, compare=False)

    def power(
        self,
        margin: MarginOption = None,
        *,
        metric: Metrics | None = None,
        release: str | None = None,
        power: float = 0.8,
        repeats: Sequence[int] = (1, 2, 3, 5),
        assume: Mapping[str, float] | None = None,
    ) -> pd.DataFrame:
        """Return whether this sweep can show that a release loses less than `margin`.

        The power is that of all planned cases, without an early stop. The differences between cases
        and the noise of repeats are those of the stored runs of these releases; the release is
        assumed to be as good as the baseline.

        Parameters
        ----------
        margin : float, str or mapping, optional
            The acceptable loss, as in `Comparison.decide`. Default: that of `stop_when`.
        metric : Metric, callable or str, optional
            The metric. Default: that of `stop_when`, else as in `Workspace.compare`. A judge is
            not called.
        release : str, optional
            Default: the second release tag.
        power : float, default 0.8
            The required probability of success.
        repeats : list of int, default (1, 2, 3, 5)
            Numbers of repeats to list, besides those of this sweep.
        assume : dict, optional
            Replaces what the runs show, or stands in for runs, as in `Comparison.plan`.

        Returns
        -------
        DataFrame
            One row per number of `cases` and `repeats`: the `power`, the `calls` on all release
            tags, their `time_s` and `cost_usd`, whether it is the `planned` sweep, and whether it
            is the `cheapest` plan with enough power.

        Raises
        ------
        InputError
            There are too few stored runs, or an option is invalid.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> from vellum_nb.local.samples import cases
        >>> ws = vnb.connect("local", history=":memory:")
        >>> tags, planned = ["v1", "v2"], cases("ticket-triage")
        >>> plan = ws.sweep("ticket-triage", planned, release_tags=tags, dry_run=True)
        >>> table = plan.power(margin=0.1, assume={"discordance": 0.2})
        >>> table.loc[table["planned"], ["cases", "calls"]].values.tolist()
        [[50, 100]]
        >>> ws.close()
        """
        if self.conversations:
            msg = "power() counts independent cases, and does not know conversations yet"
            raise InputError(msg)
        if self._history is None:
            msg = "power() needs a workspace: use ws.sweep(..., dry_run=True).power(...)"
            raise InputError(msg)
        stored = self.planned - self.calls
        sweep = PlannedSweep(self.cases, self.repeats, len(self.tags), stored)
        options: Any = {"target": power, "repeats": repeats, "assume": assume}
        options |= {"sweep": sweep, "concurrency": self.at_once}
        return plan_power(self._history(metric).figures, None, release, margin, **options)

    @property
    def planned(self) -> int:
        """Number of planned runs."""
        return sum(tag.planned for tag in self.tags)

    @property
    def calls(self) -> int:
        """Number of runs to send."""
        return sum(tag.calls for tag in self.tags)

    @property
    def least_calls(self) -> int:
        """Least number of runs to send, as a conversation can end early."""
        return sum(tag.least_calls for tag in self.tags)

    @property
    def found(self) -> int:
        """Number of runs that the history has."""
        return sum(tag.found + tag.reused for tag in self.tags)

    @property
    def seconds(self) -> float | None:
        """Estimated duration, or None without past runs."""
        tags = [tag for tag in self.tags if tag.calls]
        medians = [tag.median_s for tag in tags if tag.median_s is not None]
        if not medians or len(medians) < len(tags):
            return None
        total_s = sum(tag.calls * (tag.median_s or 0.0) for tag in tags)
        return max(total_s / self.at_once, *medians)

    @property
    def cost_usd(self) -> float | None:
        """Estimated cost, or None unless past runs have a cost on every release tag."""
        tags = [tag for tag in self.tags if tag.calls]
        if not tags or any(tag.cost_usd is None for tag in tags):
            return None
        return sum(tag.calls * (tag.cost_usd or 0.0) for tag in tags)

    @property
    def headline(self) -> str:
        """Summary in one line: cases x tags x repeats, calls to send, duration and cost."""
        return self._line("\N{MULTIPLICATION SIGN}")

    def frame(self) -> pd.DataFrame:
        """Return one row per release tag: counts of runs, expected latency and cost."""
        rows = [{name: getattr(tag, name) for name in _COLUMNS} for tag in self.tags]
        return frame_of_records(_COLUMNS, rows)

    @printed
    def __str__(self) -> str:
        lines = [self.headline]
        for role, columns, more in columns_by_role(self.columns):
            lines.append(f"  {role}: {', '.join(column.name for column in columns)}{more}")
        return "\n".join([*lines, *(f"  - {note}" for note in self.notes)])

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
        return head + columns_html(self.columns) + html + (f"<ul>{notes}</ul>" if notes else "")

    def _line(self, times: str) -> str:
        factors = [plural(self.cases, "case"), plural(len(self.tags), "release tag")]
        if self.conversations:
            turns = plural(self.cases - self.user_calls, "turn")
            turns = f"up to {turns}" if self.user_calls else turns
            factors[0] = f"{plural(self.conversations, 'conversation')} of {turns}"
            if self.user_calls:
                factors[0] = f"({factors[0]} + {plural(self.user_calls, 'message')})"
        calls = between(self.least_calls, self.calls)
        if self.repeats > 1:
            factors.append(plural(self.repeats, "repeat"))
        at_once = f"{'' if self.fixed else 'up to '}{self.at_once} at once"
        estimate = "" if self.seconds is None else f", about {duration(self.seconds)} at {at_once}"
        estimate += "" if self.cost_usd is None else f", about {money(self.cost_usd)}"
        product = f" {times} ".join(factors)
        if self.calls == self.planned:
            return f"{product} = {calls} {'call' if self.calls == 1 else 'calls'}{estimate}"
        doubtful = sum(tag.doubtful for tag in self.tags)
        parts = [f"{self.found:,} found"] if self.found else []
        parts += [f"{doubtful:,} to be looked up"] if doubtful else []
        parts.append(f"{calls} to be sent")
        return f"{product} = {plural(self.planned, 'run')}: {', '.join(parts)}{estimate}"


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """A planned run, with its id and state.

    The state is None before it begins, IN_DOUBT after a failure without an answer, and OVER if a
    simulated user ended its conversation before.
    """

    place: Place
    run_id: str
    state: str | None
    round: int = 0
    attempt: int = 0

    def next_attempt(self, sweep: SweepRecord) -> PlannedRun:
        """Return the run that replaces this one after its execution was cut off."""
        attempt = self.attempt + 1
        run_id = planned_id(sweep, self.place, self.round, attempt)
        return replace(self, run_id=run_id, state=None, attempt=attempt)


def planned_runs(
    sweep: SweepRecord, states: Mapping[str, str], reused: Reused
) -> Iterator[PlannedRun]:
    """Yield every planned run with its state, in the order of the plan.

    A run that failed in an earlier round is planned again, under a new id. If the sweep has ended,
    the run was in doubt in this round, and its failure counts.
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
        is_final = run.round == sweep.round or run.state in _FINAL_STATES
        yield run if is_final or sweep.ended is not None else newest


def _in_round(
    sweep: SweepRecord, place: Place, number: int, states: Mapping[str, str]
) -> PlannedRun:
    """Return the last attempt at a planned run in a round, or the next one."""
    run_id = planned_id(sweep, place, number)
    run = PlannedRun(place, run_id, states.get(run_id), number)
    repeated = _REPEATED_STATES if sweep.judge is None else _REPEATED_JUDGE_STATES
    while run.state in repeated:
        run = run.next_attempt(sweep)
        run = replace(run, state=states.get(run.run_id))
    return run


class Turns:
    """The planned runs of a sweep, in which a turn waits for the one before."""

    def __init__(self, cases: Sequence[SweepCase], planned: Iterable[PlannedRun]) -> None:
        self._turns = [case.turn for case in cases]
        self._runs: Iterable[PlannedRun] = planned  # of single cases, a stream
        self._by_place: dict[Place, PlannedRun] = {}
        if self._turns:
            self._by_place = {run.place: run for run in planned}
            self._runs = self._by_place.values()

    def ready(self) -> Iterator[PlannedRun]:
        """Yield the runs that can begin, in the order of the plan."""
        for run in self._runs:
            before = self.before(run)
            if run.state is None and (before is None or before.state in _ENDED):
                yield run

    def before(self, run: PlannedRun) -> PlannedRun | None:
        """Return the run that a turn continues."""
        return self._at(run, -1) if self._is_later(run.place.position) else None

    def after(self, run: PlannedRun) -> PlannedRun | None:
        """Return the run of the turn that continues `run`."""
        return self._at(run, 1) if self._is_later(run.place.position + 1) else None

    def left(self, run: PlannedRun) -> int:
        """Return the number of turns after `run`."""
        number = 0
        while (after := self.after(run)) is not None:
            run, number = after, number + 1
        return number

    def _is_later(self, position: int) -> bool:
        return position < len(self._turns) and self._turns[position] > 1

    def _at(self, run: PlannedRun, step: int) -> PlannedRun:
        return self._by_place[replace(run.place, position=run.place.position + step)]


def superseded(sweep: SweepRecord, states: Collection[str]) -> set[str]:
    """Return the ids of runs that a later round or attempt replaces."""
    superseded_ids: set[str] = set()
    for place in sweep.places():
        attempts: list[str] = []
        for number in range(sweep.round + 1):
            ids = (planned_id(sweep, place, number, attempt) for attempt in count())
            attempts += takewhile(states.__contains__, ids)
        superseded_ids.update(attempts[:-1])
    return superseded_ids


def new_sweep(
    deployment: str,
    releases: Releases,
    cases: Sequence[SweepCase],
    options: SweepOptions,
    *,
    workspace: str | None,
    judge: str | None = None,
) -> SweepRecord:
    """Return a sweep of `cases` on releases of a `workspace` of the server.

    The ids of a `judge`'s runs derive from that text and the judged inputs. Two sweeps of a judge
    are never the same.
    """
    environments = (release.environment for release in releases.values() if release is not None)
    environment = next((env.name for env in environments if env), None)
    tags, ids = tuple(releases), tuple(case.case_id for case in cases)
    if (planned := len(ids) * len(tags) * options.repeats) > MOST_RUNS:
        msg = f"A sweep of {planned:,} runs is too large; run {MOST_RUNS:,} at most, part by part"
        raise InputError(msg)
    sweep_id = new_run_id()
    plan = f"{judge}/{sweep_id}"
    if judge is None:
        plan = signature(deployment, tags, options.repeats, ids)
    return SweepRecord(
        id=sweep_id,
        deployment=deployment,
        environment=environment,
        workspace=workspace,
        release_tags=tags,
        repeats=options.repeats,
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
    checked: CheckedCases,
    sweeps: Sweeps,
    options: SweepOptions,
    *,
    reuse: bool = False,
) -> tuple[SweepRecord, SweepPlan, Reused]:
    """Return the sweep, its plan, and the reused runs; write nothing.

    The sweep is the newest with the plan of `new`, or `new` itself. One that has ended counts if
    its release tags pointed at the same releases.
    """
    record, is_earlier = _record_of(new, checked.cases, sweeps, options)
    states, stored_reuse = _stored_runs(record, checked, sweeps, options, is_earlier=is_earlier)
    conversations = sum(case.turn == 1 for case in checked.cases)
    may_reuse = reuse and record.ended is None and not conversations
    runs: Iterable[PlannedRun] = ()
    if states or stored_reuse or conversations or may_reuse:
        runs = planned_runs(record, states, stored_reuse)
    runs = list(runs) if conversations or may_reuse else runs
    reused = _reusable(new, checked.cases, [*runs], sweeps) if may_reuse else {}
    past = sweeps.past(record.deployment)
    lines = (conversations or record.cases) * len(new.release_tags) * record.repeats
    plan = SweepPlan(
        record.deployment,
        cases=record.cases,
        repeats=record.repeats,
        tags=tuple(_tag_plans(record, new, checked.cases, runs, reused, past=past)),
        at_once=max(1, min(options.most_at_once, lines)),
        fixed=options.concurrency is not None,
        resumes=record.id if is_earlier and record.ended is None else None,
        last_seen=sweeps.last_seen(record.id) if is_earlier else None,
        ended=None if record.ended is None else record.id,
        columns=checked.columns,
        omitted=checked.omitted,
        conversations=conversations,
        new_values=record.ended is not None and sweeps.cases(record.id) != checked.cases,
        user_calls=sum(map(is_user, checked.cases)),
    )
    run_ids = [*stored_reuse.values(), *reused.values()] if record.judge is None else []
    stored = (*_reuse_notes(run_ids, sweeps), *_unreadable_tags(new), *checked.notes)
    record = record.model_copy(update={"notes": stored})
    notes = (*_notes(plan, record, new), *_other_sweeps(plan, new, sweeps), *stored)
    return record, replace(plan, notes=(*notes, *_option_notes(plan, options))), reused


def _record_of(
    new: SweepRecord, cases: Sequence[SweepCase], sweeps: Sweeps, options: SweepOptions
) -> tuple[SweepRecord, bool]:
    """Return the newest sweep with the plan of `new`, or `new`, and whether it is stored."""
    same_signature, restart = sweeps.of_plan(new.signature), options.existing == "restart"
    record = None if restart else _same_plan(same_signature, new)
    if record is not None:
        check_seed(record, options)
        record = _completed(record, new)
        if record.ended is None:
            record = record.model_copy(update={"lost": sweeps.lost(record)})
        return record, True
    generation = max((sweep.generation for sweep in same_signature), default=0) + 1
    record = new.model_copy(update={"generation": generation})
    if options.stop_when is not None:
        ordered = [] if restart else sweeps.ordered(new.deployment)
        earlier = (pair for pair in ordered if _is_compatible(pair[0], new))
        record = _with_order(record, cases, options, earlier)
    return record, False


def _stored_runs(
    record: SweepRecord,
    checked: CheckedCases,
    sweeps: Sweeps,
    options: SweepOptions,
    *,
    is_earlier: bool,
) -> tuple[Mapping[str, str], Reused]:
    """Return the states of the stored runs of a sweep, and the runs that it reused."""
    if record.judge is not None:
        return sweeps.judgements(record)
    if not is_earlier:
        return {}, {}
    states: Mapping[str, str] = sweeps.states(record.id)
    if (talk := options.conversation) is not None and talk.user is not None:
        stops = sweeps.stops(record, talk.user.deployment, talk.user.stops)
        states = states_with_ends(states, record, checked.cases, stops)
    return states, sweeps.reused(record.id)


def _same_plan(same_signature: Sequence[SweepRecord], new: SweepRecord) -> SweepRecord | None:
    """Return the newest unfinished sweep of the same plan, or the newest that has ended."""
    sweeps = [sweep for sweep in same_signature if _is_compatible(sweep, new)]
    ended = next((sweep for sweep in sweeps if sweep.ended is not None), None)
    if ended is not None and any(
        release and ended.releases.get(tag) not in {None, release}
        for tag, release in new.releases.items()
    ):
        ended = None
    return next((sweep for sweep in sweeps if sweep.ended is None), ended)


def check_restart(new: SweepRecord, sweeps: Sweeps, running: Container[str]) -> None:
    """Raise an `InputError` if a sweep with the plan of `new` is among the `running` ones."""
    for sweep in sweeps.of_plan(new.signature):
        if sweep.id in running and _is_compatible(sweep, new):
            msg = (
                f"existing='restart': sweep {sweep.id} of the same plan is running, and a second "
                "one would pay for its runs again; nothing was sent: wait until it ends, or stop "
                f"it first (ws.open_sweep({sweep.id!r}).stop())"
            )
            raise InputError(msg)


def _is_compatible(stored: SweepRecord, new: SweepRecord) -> bool:
    """Return whether workspace and environment are equal, or one is not readable."""
    pairs = ((stored.workspace, new.workspace), (stored.environment, new.environment))
    same_tags = stored.release_tags == new.release_tags
    return same_tags and all(None in pair or len(set(pair)) == 1 for pair in pairs)


def _completed(stored: SweepRecord, new: SweepRecord) -> SweepRecord:
    """Return a stored sweep with missing fields filled in from `new`."""
    releases = {tag: stored.releases.get(tag) or new.releases.get(tag) for tag in new.releases}
    fields = {
        "workspace": stored.workspace or new.workspace,
        "environment": stored.environment or new.environment,
        "releases": releases,
    }
    if new.case_set is not None:
        fields |= {"case_set": new.case_set, "case_set_version": new.case_set_version}
    return stored.model_copy(update=fields)


def check_seed(stored: SweepRecord, options: SweepOptions) -> None:
    """Raise an `InputError` if `options` ask for another order of the cases than the stored one."""
    seed = stored.options.get("seed", 0)
    if options.stop_when is None or options.stop_when.seed in {None, seed}:
        return
    msg = (
        f"seed={options.stop_when.seed}: the first run of sweep {stored.id} fixed the order of its "
        f"cases, with seed={seed}, and a p-value is valid for that order only; leave seed out, or "
        "run all cases again with existing='restart'"
    )
    raise InputError(msg)


def check_metric(stored: SweepRecord, options: SweepOptions) -> None:
    """Raise an `InputError` if a sweep that was decided by one metric is to be decided by another.

    Of several metrics, one would decide too often.
    """
    name = getattr(options.stop_when and options.stop_when.metric, "name", None)
    decided_by = str(stored.options.get("metric", name))
    if name not in {None, decided_by} and "decided by " in (stored.why or ""):
        msg = (
            f"metric {name} was chosen after sweep {stored.id} had stopped by "
            f"{printable(decided_by)}, and would decide too often: give the same metric, leave "
            "stop_when out to run all cases, or run them again with existing='restart'"
        )
        raise InputError(msg)


def with_stored_seed(options: SweepOptions, sweep: SweepRecord) -> SweepOptions:
    """Return `options` with the seed of a stored sweep, unless they have one."""
    rule = options.stop_when
    if rule is None or rule.seed is not None:
        return options
    return replace(options, stop_when=replace(rule, seed=sweep.options.get("seed")))


def _with_order(
    record: SweepRecord,
    cases: Sequence[SweepCase],
    options: SweepOptions,
    earlier: Iterable[tuple[SweepRecord, Sequence[str]]],
) -> SweepRecord:
    """Return a new sweep with the order of its cases.

    The cases shared with an earlier sweep come first, in its order and with its seed; of several
    sweeps, the one that shares most cases. The order of the other cases is random.
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
    remaining = sorted(set(range(record.cases)) - set(first))
    seed = options.stop_when.seed if options.stop_when else None
    random.Random(seed or 0).shuffle(remaining)  # noqa: S311 - no secret
    return record.model_copy(update={"case_order": (*first, *remaining), "options": options.stored})


def _reusable(
    new: SweepRecord, cases: Sequence[SweepCase], runs: Sequence[PlannedRun], sweeps: Sweeps
) -> dict[Place, str]:
    """Return ids of runs of the history that can replace planned runs that have not begun."""
    planned_run_ids = {run.run_id for run in runs}
    case_ids = {case.case_id for case in cases}
    pools: dict[tuple[str | None, str], list[str]] = {}
    for release in set(new.releases.values()) - {None}:
        reusable = sweeps.reusable(new.deployment, str(release), case_ids, new.judge)
        for case_id, run_ids in reusable.items():
            pool = [run_id for run_id in reversed(run_ids) if run_id not in planned_run_ids]
            pools[release, case_id] = pool
    reused: dict[Place, str] = {}
    for planned in runs:
        place = planned.place
        candidates = pools.get((new.releases[place.release_tag], cases[place.position].case_id))
        if planned.state is None and candidates:
            reused[place] = candidates.pop()
    return reused


def _later_calls(cases: Sequence[SweepCase], runs: Iterable[PlannedRun]) -> Counter[str]:
    """Count the turns that are sent only after an answer that is not known yet, by release tag."""
    states = {run.place: run.state for run in runs}
    return Counter(
        place.release_tag
        for place, state in states.items()
        if state is None
        and cases[place.position].turn > 1
        and states[replace(place, position=place.position - 1)] != "FULFILLED"
    )


def _tag_plans(
    record: SweepRecord,
    new: SweepRecord,
    cases: Sequence[SweepCase],
    runs: Iterable[PlannedRun],
    reused: Reused,
    *,
    past: Sequence[PastRun],
) -> Iterator[TagPlan]:
    """Yield the plan of each release tag; latency and cost are those of past runs."""
    later = _later_calls(cases, runs) if any(case.turn > 1 for case in cases) else {}
    counts = Counter((run.place.release_tag, run.state) for run in runs if run.state)
    for tag, release_id in new.releases.items():
        samples = [run for run in past if release_id and run.release_id == release_id]
        samples = samples or [run for run in past if run.release_tag == tag] or list(past)
        costs = [run.cost_usd for run in samples if run.cost_usd is not None]
        begun = sum(number for (of, _), number in counts.items() if of == tag)
        doubtful = counts.get((tag, "STARTED"), 0) + counts.get((tag, "IN_DOUBT"), 0)
        over = counts.get((tag, "OVER"), 0)
        reusing = sum(place.release_tag == tag for place in reused)
        yield TagPlan(
            tag,
            release_id,
            calls=record.cases * record.repeats - begun - reusing,
            found=begun - doubtful - over,
            reused=reusing,
            doubtful=doubtful,
            later_calls=later.get(tag, 0),
            median_s=median(run.latency_s for run in samples) if samples else None,
            cost_usd=fmean(costs) if costs else None,
        )


def _notes(plan: SweepPlan, record: SweepRecord, new: SweepRecord) -> Iterator[str]:
    if record.ended is not None:
        ended = record.ended.strftime("%Y-%m-%d %H:%M")
        remedy = "to run all cases again, use existing='restart' (--restart)"
        yield f"this sweep ended at {ended} UTC; its stored runs are returned; {remedy}"
    if plan.resumes is not None:
        began = record.created.strftime("%Y-%m-%d %H:%M")
        last_sign = record.lost or plan.last_seen
        label = "process lost at" if record.lost else "last progress at"
        last = f" ({label} {last_sign:%H:%M:%S})" if last_sign else ""
        stored = plural(sum(tag.found for tag in plan.tags), "run is", "runs are")
        stored = f"{stored} stored and not sent again"
        yield f"resumes the unfinished sweep of {began} UTC{last}: {stored}"
        planned = record.releases.items()
        moved = [tag for tag, then in planned if then and new.releases.get(tag) not in {None, then}]
        if moved:
            yield f"{', '.join(moved)} moved to another release since that sweep began"


def _reuse_notes(run_ids: Sequence[str], sweeps: Sweeps) -> Iterator[str]:
    """Yield a note on the number and the age of reused runs."""
    if run_ids and (times := sweeps.times(run_ids)):
        first, last = (f"{time:%Y-%m-%d}" for time in times)
        made = f"made {first}" if first == last else f"made {first} to {last}"
        reused = plural(len(run_ids), "run is", "runs are")
        yield f"{reused} reused, {made}; existing='restart' (--restart) runs all cases again"


def _other_sweeps(plan: SweepPlan, new: SweepRecord, sweeps: Sweeps) -> Iterator[str]:
    """Yield a note if the history has several unfinished sweeps of the plan, as after a merge."""
    same_plan = sweeps.of_plan(new.signature) if plan.resumes is not None else []
    unfinished = [
        sweep.id for sweep in same_plan if sweep.ended is None and _is_compatible(sweep, new)
    ]
    if others := [sweep_id for sweep_id in unfinished if sweep_id != plan.resumes]:
        yield (
            f"the history has {len(unfinished)} unfinished sweeps of this plan; "
            f"ws.open_sweep(id) opens the others: {cut_list(others)}"
        )


def _unreadable_tags(new: SweepRecord) -> Iterator[str]:
    tags = ", ".join(tag for tag, release in new.releases.items() if release is None)
    if tags:
        yield f"this key cannot read {tags}: only the server checks the inputs"


def replanned(plan: SweepPlan, earlier: SweepOptions, options: SweepOptions) -> SweepPlan:
    """Return `plan` with the notes on `options` in place of those on `earlier` ones."""
    former = {*_option_notes(plan, earlier)}
    notes = [note for note in plan.notes if note not in former]
    return replace(plan, notes=(*notes, *_option_notes(plan, options)))


def _option_notes(plan: SweepPlan, options: SweepOptions) -> Iterator[str]:
    rule = options.stop_when
    if rule is not None:
        margin = "" if rule.margin is None else f" with a margin of {rule.margin}"
        yield f"the sweep stops once {getattr(rule.metric, 'name', 'score')} decides{margin}"
    expected = {
        "max_calls": plan.calls,
        "max_seconds": plan.seconds,
        "max_cost_usd": plan.cost_usd,
    }
    for name, limit in options.limits.given.items():
        is_early = (expected.get(name) or 0) > limit
        is_sure = name != "max_calls" or plan.least_calls > limit
        stop = f": it {'will' if is_sure else 'can'} stop there"
        yield f"{name}={limit}" + (stop if is_early else "")
