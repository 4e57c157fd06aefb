"""The plan of a sweep: what the history has of it, what is left, and what that takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from html import escape
from statistics import fmean, median
from typing import TYPE_CHECKING

from vellum_nb.history import PastRun, Sweeps
from vellum_nb.models import new_run_id
from vellum_nb.models.sweeps import Place, SweepRecord, planned_id, signature
from vellum_nb.rendering.format import duration, money, plural
from vellum_nb.sweep.cases import CheckedCases, Releases
from vellum_nb.sweep.limits import LIMITS, SweepOptions

if TYPE_CHECKING:
    import pandas as pd

_COUNTS = ("planned", "found", "reused", "doubtful", "calls")
_COLUMNS = ("release_tag", "release_id", *_COUNTS, "median_s", "cost_usd")


@dataclass(frozen=True, slots=True)
class TagPlan:
    """What is planned on one release tag."""

    release_tag: str
    release_id: str | None
    calls: int  # runs to be sent
    found: int = 0  # runs of this sweep that the history has already
    reused: int = 0  # runs of the history that stand for planned ones
    doubtful: int = 0  # runs that were begun, and are looked up first
    median_s: float | None = None  # what one call takes, by past runs
    cost_usd: float | None = None  # what one call costs, by past runs

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
        """About how long that takes; None where past runs do not say."""
        tags = [tag for tag in self.tags if tag.calls]
        medians = [tag.median_s for tag in tags if tag.median_s is not None]
        if not medians or len(medians) < len(tags):
            return None
        all_of_it = sum(tag.calls * (tag.median_s or 0.0) for tag in tags)
        return max(all_of_it / self.at_once, *medians)

    @property
    def cost_usd(self) -> float | None:
        """About what that costs; None where past runs do not say so for every release tag."""
        tags = [tag for tag in self.tags if tag.calls]
        if not tags or any(tag.cost_usd is None for tag in tags):
            return None
        return sum(tag.calls * (tag.cost_usd or 0.0) for tag in tags)

    @property
    def headline(self) -> str:
        """What is multiplied, what is left of it, and what that takes, in one line."""
        return self._line("\N{MULTIPLICATION SIGN}")

    def frame(self) -> pd.DataFrame:
        """Return one row a release tag: what is planned, found, and expected of it."""
        import pandas as pd

        rows = [[getattr(tag, name) for name in _COLUMNS] for tag in self.tags]
        frame = pd.DataFrame(rows, columns=list(_COLUMNS))
        return frame.astype({"median_s": "float64", "cost_usd": "float64"})

    def __str__(self) -> str:
        return "\n".join([self.headline, *(f"  - {note}" for note in self.notes)])

    def __repr__(self) -> str:
        return f"<SweepPlan of {self.deployment}: {self._line('x')}>"

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
    """Where a planned run stands: the id it has or gets, and its state; None: not begun."""

    place: Place
    run_id: str
    state: str | None  # IN_DOUBT: it is FAILED, and may have been executed


def planned_runs(
    sweep: SweepRecord, states: Mapping[str, str], reused: Mapping[Place, str]
) -> Iterator[PlannedRun]:
    """Yield where every planned run stands, in the order of the plan.

    A run that failed in an earlier round than the sweep's is to be run again, under a new id. For
    a place in `reused` a run stands that the history had.
    """
    for place in sweep.places():
        if place in reused:
            yield PlannedRun(place, reused[place], "FULFILLED")
            continue
        newest = run_id = planned_id(sweep.id, place, sweep.round)
        for number in range(sweep.round, -1, -1):
            if number < sweep.round:
                run_id = planned_id(sweep.id, place, number)
            if run_id in states:
                break
        state = states.get(run_id)
        stands = run_id == newest or state in {"FULFILLED", "STARTED", "IN_DOUBT"}
        yield PlannedRun(place, run_id, state) if stands else PlannedRun(place, newest, None)


def superseded(sweep: SweepRecord, states: Collection[str]) -> set[str]:
    """Return the runs that a later round has begun again."""
    found: set[str] = set()
    for place in sweep.places() if sweep.round else ():
        ids = [planned_id(sweep.id, place, number) for number in range(sweep.round + 1)]
        found.update([each for each in ids if each in states][:-1])
    return found


@dataclass(frozen=True, slots=True)
class SweepRequest:
    """What a sweep is to be: checked cases on releases of a workspace of the server."""

    deployment: str
    releases: Releases
    checked: CheckedCases
    repeats: int
    workspace: str | None = None

    @property
    def release_ids(self) -> dict[str, str | None]:
        """Release tag to the release that it points at now, where that is known."""
        return {tag: release.id if release else None for tag, release in self.releases.items()}

    def record(self, options: SweepOptions) -> SweepRecord:
        """Return a new sweep of it."""
        cases, tags = self.checked.cases, tuple(self.releases)
        environments = (each.environment for each in self.releases.values() if each is not None)
        environment = next((each.name for each in environments if each), None)
        ids = [case.case_id for case in cases]
        return SweepRecord(
            id=new_run_id(),
            deployment=self.deployment,
            environment=environment,
            workspace=self.workspace,
            release_tags=tags,
            repeats=self.repeats,
            cases=len(cases),
            signature=signature(self.deployment, environment, tags, self.repeats, ids),
            created=datetime.now(UTC),
            releases=self.release_ids,
            options=options.stored,
        )


@dataclass(frozen=True, slots=True)
class PreparedSweep:
    """A sweep about to begin: a new one, one that goes on, or one that has ended."""

    record: SweepRecord
    plan: SweepPlan
    is_new: bool
    reused: dict[Place, str] = field(default_factory=dict)  # runs to stand for planned ones


def plan_sweep(
    request: SweepRequest, sweeps: Sweeps, options: SweepOptions, *, restart: bool, reuse: bool
) -> PreparedSweep:
    """Return the newest sweep of the same plan, or a new one; nothing is written.

    One that has ended counts where its release tags pointed at the same releases.
    """
    record = request.record(options)
    earlier = None if restart else _same_plan(sweeps, record)
    if earlier is not None:
        lost = sweeps.lost(earlier.id) if earlier.ended is None else None
        record = earlier.model_copy(update={"options": options.stored, "lost": lost})
    states = sweeps.states(record.id) if earlier else {}
    standing = sweeps.reused(record.id) if earlier else {}
    counts: Counter[tuple[str, str | None]] = Counter()
    if states or standing:
        runs = planned_runs(record, states, standing)
        counts.update((each.place.release_tag, each.state) for each in runs)
    reused = {}
    if reuse and record.ended is None:
        reused = _reusable(request, record, sweeps, states, standing)
    plan = SweepPlan(
        request.deployment,
        cases=record.cases,
        repeats=record.repeats,
        tags=_tags(request, record, counts, reused, sweeps.past(record.deployment)),
        at_once=max(1, min(options.concurrency or options.max_concurrency, record.planned)),
        fixed=options.concurrency is not None,
        resumes=record.id if earlier and record.ended is None else None,
        last_seen=sweeps.last_seen(record.id) if earlier else None,
        ended=None if record.ended is None else record.id,
    )
    unread = ", ".join(tag for tag, release in request.releases.items() if release is None)
    read = [f"this key may not read {unread}: the server alone checks the inputs"] if unread else []
    notes = (*_resumed(plan, record, request), *read, *request.checked.notes)
    notes += tuple(_limited(plan, options))
    return PreparedSweep(record, replace(plan, notes=notes), earlier is None, reused)


def _same_plan(sweeps: Sweeps, record: SweepRecord) -> SweepRecord | None:
    """Return the newest unfinished sweep of the same plan, else the newest that has ended."""
    ended = sweeps.ended(record.signature)
    now = record.releases.items()
    if ended is not None and not all(
        release is None or ended.releases.get(tag) in {None, release} for tag, release in now
    ):
        ended = None
    return sweeps.unfinished(record.signature) or ended


def _reusable(
    request: SweepRequest,
    record: SweepRecord,
    sweeps: Sweeps,
    states: Mapping[str, str],
    standing: Mapping[Place, str],
) -> dict[Place, str]:
    """Return which runs of the history may stand for planned ones that have not begun."""
    cases, ids = request.checked.cases, request.release_ids
    known = states.keys() | set(standing.values())
    case_ids = {case.case_id for case in cases}
    pools: dict[tuple[str, str], list[str]] = {}
    for release in set(ids.values()) - {None}:
        for case_id, runs in sweeps.reusable(record.deployment, str(release), case_ids).items():
            pools[str(release), case_id] = [run for run in reversed(runs) if run not in known]
    found: dict[Place, str] = {}
    for planned in planned_runs(record, states, standing):
        place = planned.place
        pool = pools.get((ids[place.release_tag] or "", cases[place.position].case_id))
        if planned.state is None and pool:
            found[place] = pool.pop()
    return found


def _tags(
    request: SweepRequest,
    record: SweepRecord,
    counts: Mapping[tuple[str, str | None], int],
    reused: Mapping[Place, str],
    past: Sequence[PastRun],
) -> tuple[TagPlan, ...]:
    """Return what is planned on each release tag, by what calls of its release took and cost."""
    found = []
    for tag, release_id in request.release_ids.items():
        own = [run for run in past if release_id and run.release_id == release_id]
        own = own or [run for run in past if run.release_tag == tag] or list(past)
        costs = [run.cost_usd for run in own if run.cost_usd is not None]
        begun = sum(n for (of, state), n in counts.items() if of == tag and state is not None)
        doubtful = counts.get((tag, "STARTED"), 0)
        taken = sum(place.release_tag == tag for place in reused)
        found.append(
            TagPlan(
                tag,
                release_id,
                calls=record.cases * record.repeats - begun - taken,
                found=begun - doubtful,
                reused=taken,
                doubtful=doubtful,
                median_s=median(run.latency_s for run in own) if own else None,
                cost_usd=fmean(costs) if costs else None,
            )
        )
    return tuple(found)


def _resumed(plan: SweepPlan, record: SweepRecord, request: SweepRequest) -> Iterator[str]:
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
        yield f"{', '.join(moved)} moved to another release since that sweep began"


def _limited(plan: SweepPlan, options: SweepOptions) -> Iterator[str]:
    expected = (plan.calls, plan.seconds, plan.cost_usd, None)
    for name, reached in zip(LIMITS, expected, strict=True):
        limit = getattr(options, name)
        if limit is not None:
            is_early = reached is not None and reached > limit
            yield f"{name}={limit}" + (": it is going to stop there" if is_early else "")
