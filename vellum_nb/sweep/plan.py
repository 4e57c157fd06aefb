"""The plan of a sweep: what the history has of it, what is left, and what that takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from html import escape
from statistics import fmean, median
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from vellum_nb.history import PastRun, Sweeps
from vellum_nb.models import new_run_id
from vellum_nb.models.sweeps import Place, SweepRecord, planned_id, signature
from vellum_nb.rendering.format import duration, money, plural
from vellum_nb.sweep.cases import CheckedCases, Releases
from vellum_nb.sweep.concurrency import FIRST, rounds
from vellum_nb.sweep.options import SweepOptions

if TYPE_CHECKING:
    import pandas as pd


_TIMES = "\N{MULTIPLICATION SIGN}"


@dataclass(frozen=True, slots=True)
class TagPlan:
    """What is planned on one release tag.

    Attributes
    ----------
    calls : int
        Runs to be sent.
    found : int
        Runs of this sweep that the history has already.
    reused : int
        Runs of the history that stand for planned ones.
    doubtful : int
        Runs that were begun, and are looked up first.
    median_s, cost_usd : float or None
        What one call takes and costs, as past runs tell.
    """

    release_tag: str
    release_id: str | None
    calls: int
    found: int = 0
    reused: int = 0
    doubtful: int = 0
    median_s: float | None = None
    cost_usd: float | None = None

    @property
    def planned(self) -> int:
        """How many runs there are to be."""
        return self.calls + self.found + self.reused + self.doubtful


@dataclass(frozen=True, slots=True, repr=False)
class SweepPlan:
    """What `vellum_nb.Workspace.sweep` is going to do; it returns one with ``dry_run=True``.

    Attributes
    ----------
    deployment : str
        The deployment's name.
    cases, repeats : int
        How many cases there are, and how often each is run on each release tag.
    tags : tuple of TagPlan
        One for each release tag.
    at_once : int
        How many calls may be under way.
    fixed : bool
        Whether so many are from the start; otherwise it grows to that while the server bears it.
    notes : tuple of str
        What is worth knowing: inputs that a release does not know, columns that look mistyped,
        the sweep that is resumed.
    resumes : str or None
        The id of the unfinished sweep that this goes on with.
    last_seen : datetime or None
        When that one last made progress.
    ended : str or None
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
        """How many runs there are to be."""
        return sum(tag.planned for tag in self.tags)

    @property
    def calls(self) -> int:
        """How many of them are to be sent."""
        return sum(tag.calls for tag in self.tags)

    @property
    def found(self) -> int:
        """How many are in the history already."""
        return sum(tag.found + tag.reused for tag in self.tags)

    @property
    def seconds(self) -> float | None:
        """About how long that takes; None where no past run tells."""
        tags = [tag for tag in self.tags if tag.calls]
        medians = [tag.median_s for tag in tags if tag.median_s is not None]
        if not medians or len(medians) < len(tags):
            return None
        all_of_it = sum(tag.calls * (tag.median_s or 0.0) for tag in tags)
        first = self.at_once if self.fixed else min(FIRST, self.at_once)
        in_turn = rounds(self.calls, first=first, most=max(1, self.at_once))
        return max(all_of_it / self.calls * in_turn, *medians)

    @property
    def cost_usd(self) -> float | None:
        """About what that costs; None where no past run tells, or not for every release tag."""
        tags = [tag for tag in self.tags if tag.calls]
        if not tags or any(tag.cost_usd is None for tag in tags):
            return None
        return sum(tag.calls * (tag.cost_usd or 0.0) for tag in tags)

    @property
    def headline(self) -> str:
        """What is multiplied, what is left of it, and what that takes, in one line."""
        return self._line(_TIMES)

    def frame(self) -> pd.DataFrame:
        """Return one row a release tag: what is planned, found, and expected of it."""
        import pandas as pd

        columns = (
            "release_tag",
            "release_id",
            "planned",
            "found",
            "reused",
            "doubtful",
            "calls",
            "median_s",
            "cost_usd",
        )
        rows = [[getattr(tag, name) for name in columns] for tag in self.tags]
        frame = pd.DataFrame(rows, columns=list(columns))
        return frame.astype({"median_s": "float64", "cost_usd": "float64"})

    def __str__(self) -> str:
        return "\n".join([self.headline, *(f"  - {note}" for note in self.notes)])

    def __repr__(self) -> str:
        return f"<SweepPlan of {self.deployment}: {self._line('x')}>"

    def _repr_html_(self) -> str:
        head = f"{self.deployment}: {self.headline}"
        notes = "".join(f"<li>{escape(note)}</li>" for note in self.notes)
        table = self.frame()
        empty = [name for name in table.columns if not table[name].fillna(0).any()]
        table = table.drop(columns=empty)
        html: str = table.to_html(escape=True, index=False, border=0, float_format="{:.4g}".format)
        return f"<p><b>Plan</b> {escape(head)}</p>{html}" + (f"<ul>{notes}</ul>" if notes else "")

    def _line(self, times: str) -> str:
        factors = [plural(self.cases, "case"), plural(len(self.tags), "release tag")]
        if self.repeats > 1:
            factors.append(plural(self.repeats, "repeat"))
        what = f" {times} ".join(factors)
        if self.calls == self.planned:
            return f"{what} = {plural(self.calls, 'call')}{self._expected()}"
        parts = [f"{self.found:,} found"] if self.found else []
        doubtful = sum(tag.doubtful for tag in self.tags)
        if doubtful:
            parts.append(f"{doubtful:,} to be looked up")
        parts.append(f"{self.calls:,} to be sent")
        return f"{what} = {plural(self.planned, 'run')}: {', '.join(parts)}{self._expected()}"

    def _expected(self) -> str:
        seconds, cost = self.seconds, self.cost_usd
        at_once = f"{'' if self.fixed else 'up to '}{self.at_once} at once"
        took = "" if seconds is None else f", about {duration(seconds)} at {at_once}"
        return took + ("" if cost is None else f", about {money(cost)}")


def named(names: Sequence[str]) -> str:
    """Return names joined as in a sentence.

    Examples
    --------
    >>> named(["v1", "v2", "v3"])
    'v1, v2 and v3'
    """
    if len(names) <= 1:
        return "".join(names)
    return f"{', '.join(names[:-1])} and {names[-1]}"


_NONE: Mapping[Place, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class PlannedRun:
    """Where a planned run stands: the id it has or gets, and its state; None: not begun."""

    place: Place
    run_id: str
    state: str | None  # IN_DOUBT: it is FAILED, and may have been executed

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.state is not None and self.state != "STARTED"


def planned_runs(
    sweep: SweepRecord, states: Mapping[str, str], reused: Mapping[Place, str] = _NONE
) -> Iterator[PlannedRun]:
    """Yield where every planned run stands, in the order of the plan.

    A run that failed in an earlier round than the sweep's is to be made anew, under a new id. For
    a place in `reused` a run stands that the history had.
    """
    for place in sweep.places():
        if reused and place in reused:
            yield PlannedRun(place, reused[place], "FULFILLED")
        else:
            yield _planned_run(sweep, place, states)


def not_begun(
    sweep: SweepRecord, states: Mapping[str, str], reused: Mapping[Place, str] = _NONE
) -> Iterator[PlannedRun]:
    """Yield the planned runs that have not begun."""
    return (each for each in planned_runs(sweep, states, reused) if each.state is None)


def superseded(sweep: SweepRecord, states: Mapping[str, str]) -> set[str]:
    """Return the runs that a later round has begun anew."""
    found: set[str] = set()
    for place in sweep.places():
        ids = [planned_id(sweep.id, place, number) for number in range(sweep.round + 1)]
        begun = [each for each in ids if each in states]
        found.update(begun[:-1])
    return found


def _planned_run(sweep: SweepRecord, place: Place, states: Mapping[str, str]) -> PlannedRun:
    newest = planned_id(sweep.id, place, sweep.round)
    if not states or newest in states:
        return PlannedRun(place, newest, states.get(newest))
    for number in range(sweep.round - 1, -1, -1):
        earlier = planned_id(sweep.id, place, number)
        if states.get(earlier) in {"FULFILLED", "STARTED", "IN_DOUBT"}:
            return PlannedRun(place, earlier, states[earlier])
        if earlier in states:
            break
    return PlannedRun(place, newest, None)


_ENDED = "over"
_LIMIT_NAMES = ("max_calls", "max_seconds", "max_cost_usd", "stop_after_failures")


@dataclass(frozen=True, slots=True)
class SweepRequest:
    """What a sweep is asked to be: checked cases on releases."""

    deployment: str
    releases: Releases
    checked: CheckedCases
    repeats: int

    @property
    def release_ids(self) -> dict[str, str | None]:
        """Release tag to the release that it points at now, where that is known."""
        return {tag: release.id if release else None for tag, release in self.releases.items()}

    def record(self) -> SweepRecord:
        """Return a new sweep of it."""
        cases, tags = self.checked.cases, tuple(self.releases)
        environment = _environment(self.releases)
        ids = [case.case_id for case in cases]
        return SweepRecord(
            id=new_run_id(),
            deployment=self.deployment,
            environment=environment,
            release_tags=tags,
            repeats=self.repeats,
            cases=len(cases),
            signature=signature(self.deployment, environment, tags, self.repeats, ids),
            created=datetime.now(UTC),
            releases=self.release_ids,
        )


@dataclass(frozen=True, slots=True)
class PreparedSweep:
    """A sweep about to begin: a new one, one that goes on, or one that has ended.

    `reused`: runs of the history that are to stand for planned ones.
    """

    record: SweepRecord
    plan: SweepPlan
    is_new: bool
    reused: dict[Place, str] = field(default_factory=dict)

    def not_begun(self, begun: Collection[str]) -> dict[Place, str]:
        """Return what is to be reused, without places that have begun since."""
        record = self.record
        rounds = range(record.round + 1)
        return {
            place: run
            for place, run in self.reused.items()
            if not any(planned_id(record.id, place, number) in begun for number in rounds)
        }


def plan_sweep(
    request: SweepRequest, sweeps: Sweeps, options: SweepOptions, *, restart: bool, reuse: bool
) -> PreparedSweep:
    """Return the newest sweep of the same plan, or a new one; nothing is written.

    One that has ended counts where its release tags pointed at the same releases.
    """
    record = request.record()
    earlier = None if restart else _same_plan(sweeps, record)
    lost = sweeps.lost(earlier.id) if earlier is not None and earlier.ended is None else None
    record = (earlier or record).model_copy(update={"options": options.stored, "lost": lost})
    counts = _Counts(request, record, sweeps, is_new=earlier is None)
    reused = counts.reusable() if reuse and record.ended is None else {}
    plan = SweepPlan(
        request.deployment,
        cases=record.cases,
        repeats=record.repeats,
        tags=counts.tags(reused),
        at_once=max(1, min(options.concurrency or options.max_concurrency, record.planned)),
        fixed=options.concurrency is not None,
        resumes=record.id if earlier and record.ended is None else None,
        last_seen=sweeps.last_seen(record.id) if earlier else None,
        ended=None if record.ended is None else record.id,
    )
    notes = (*_resumed(plan, record, request), *_input_notes(request), *_limited(plan, options))
    return PreparedSweep(record, replace(plan, notes=notes), earlier is None, reused)


def _same_plan(sweeps: Sweeps, record: SweepRecord) -> SweepRecord | None:
    """Return the newest unfinished sweep of the same plan, else the newest that has ended."""
    unfinished = sweeps.unfinished(record.signature)
    if unfinished is not None:
        return unfinished
    ended = sweeps.ended(record.signature)
    return ended if ended is not None and _same_releases(ended, record) else None


def _same_releases(earlier: SweepRecord, now: SweepRecord) -> bool:
    return all(
        release is None or earlier.releases.get(tag) in {None, release}
        for tag, release in now.releases.items()
    )


class _Counts:
    """Where each planned run stands."""

    def __init__(
        self, request: SweepRequest, record: SweepRecord, sweeps: Sweeps, *, is_new: bool
    ) -> None:
        self._request = request
        self._record = record
        self._sweeps = sweeps
        self._states = {} if is_new else sweeps.states(record.id)
        self._reused = {} if is_new else sweeps.reused(record.id)
        self._counts: Counter[tuple[str, str]] = Counter()
        if self._states or self._reused:
            for each in planned_runs(record, self._states, self._reused):
                kind = _ENDED if each.is_over else each.state or ""
                self._counts[each.place.release_tag, kind] += 1

    def reusable(self) -> dict[Place, str]:
        """Return which runs of the history may stand for planned ones that have not begun."""
        ids = self._request.release_ids
        pools = {each: self._pool(each) for each in dict.fromkeys(ids.values()) if each}
        cases = self._request.checked.cases
        found: dict[Place, str] = {}
        for planned in planned_runs(self._record, self._states, self._reused):
            place = planned.place
            pool = pools.get(ids[place.release_tag] or "", {})
            runs = pool.get(cases[place.position].case_id)
            if planned.state is None and runs:
                found[place] = runs.pop()
        return found

    def tags(self, reused: Mapping[Place, str]) -> tuple[TagPlan, ...]:
        """Return what is planned on each release tag."""
        past = self._sweeps.past(self._record.deployment)
        counted = Counter(place.release_tag for place in reused)
        return tuple(self._tag(tag, counted[tag], past) for tag in self._record.release_tags)

    def _tag(self, tag: str, reused: int, past: Sequence[PastRun]) -> TagPlan:
        found, doubtful = self._counts[tag, _ENDED], self._counts[tag, "STARTED"]
        release_id = self._request.release_ids[tag]
        return TagPlan(
            tag,
            release_id,
            calls=self._record.cases * self._record.repeats - found - doubtful - reused,
            found=found,
            reused=reused,
            doubtful=doubtful,
            **_expected(past, tag, release_id),
        )

    def _pool(self, release_id: str) -> dict[str, list[str]]:
        """Return case id to runs, the newest last; without those that this sweep has already."""
        known = self._states.keys() | set(self._reused.values())
        case_ids = {case.case_id for case in self._request.checked.cases}
        found = self._sweeps.reusable(self._record.deployment, release_id, case_ids)
        return {
            case_id: [run for run in reversed(runs) if run not in known]
            for case_id, runs in found.items()
        }


def _expected(past: Sequence[PastRun], tag: str, release_id: str | None) -> dict[str, Any]:
    """Return what a call takes and costs: on this release, else on any release."""
    own = [run for run in past if release_id and run.release_id == release_id]
    own = own or [run for run in past if run.release_tag == tag] or list(past)
    costs = [run.cost_usd for run in own if run.cost_usd is not None]
    return {
        "median_s": median(run.latency_s for run in own) if own else None,
        "cost_usd": fmean(costs) if costs else None,
    }


def _resumed(plan: SweepPlan, record: SweepRecord, request: SweepRequest) -> Iterable[str]:
    if record.ended is not None:
        ended = record.ended.strftime("%Y-%m-%d %H:%M")
        yield f"the same sweep ended at {ended} UTC: nothing is sent; restart=True runs it again"
    if plan.resumes is None:
        return
    began = record.created.strftime("%Y-%m-%d %H:%M")
    last = record.lost or plan.last_seen
    how = "whose process was lost at" if record.lost else "which last got on at"
    when = f", {how} {last:%H:%M:%S}" if last else ""
    found = plural(sum(tag.found for tag in plan.tags), "run")
    none = "it is not sent again" if found == "1 run" else "none of them is sent again"
    yield f"goes on with the unfinished sweep of {began} UTC{when}: {found} found, {none}"
    now = request.release_ids
    moved = [tag for tag, at in record.releases.items() if at and now.get(tag) not in {None, at}]
    if moved:
        yield f"{named(moved)} moved to another release since that sweep began"


def _input_notes(request: SweepRequest) -> Iterable[str]:
    for tag, names in request.checked.not_sent.items():
        yield f"{named(names)}: not sent to {tag}, which does not know {_it(names)}"
    unread = [tag for tag, release in request.releases.items() if release is None]
    if unread:
        yield f"this key may not read {named(unread)}: the server alone checks the inputs"
    yield from request.checked.notes


def _it(names: Sequence[str]) -> str:
    return "it" if len(names) == 1 else "them"


def _limited(plan: SweepPlan, options: SweepOptions) -> Iterable[str]:
    expected = {
        "max_calls": plan.calls,
        "max_seconds": plan.seconds,
        "max_cost_usd": plan.cost_usd,
        "stop_after_failures": None,
    }
    for name in _LIMIT_NAMES:
        limit = getattr(options, name)
        if limit is None:
            continue
        reached = expected[name]
        early = reached is not None and reached > limit
        yield f"{name}={limit}" + (": it is going to stop there" if early else "")


def _environment(releases: Releases) -> str | None:
    names = [r.environment.name for r in releases.values() if r is not None and r.environment]
    return names[0] if names else None
