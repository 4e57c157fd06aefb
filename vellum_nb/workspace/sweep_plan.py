"""The plan of a sweep: what the history has of it already, what is left, and what that takes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from statistics import fmean, median
from typing import Any

from vellum_nb.experiments.sweep.plan import SweepPlan, TagPlan, counted, named
from vellum_nb.experiments.sweep.sweep import SweepOptions
from vellum_nb.experiments.sweep.todo import standings
from vellum_nb.history.plans.reuse import PastRun
from vellum_nb.history.plans.sweeping import Sweeps
from vellum_nb.models import new_run_id
from vellum_nb.models.sweeps import Place, SweepRecord, planned_id, signature
from vellum_nb.workspace.sweep_cases import CheckedCases, Releases

__all__ = ["Planned", "Wanted", "planned"]

_OVER = "over"
_LIMITS = ("max_calls", "max_seconds", "max_cost_usd", "stop_after_failures")


@dataclass(frozen=True, slots=True)
class Wanted:
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
class Planned:
    """A sweep about to begin: a new one, or one that goes on; `taken`: runs to be taken over."""

    record: SweepRecord
    plan: SweepPlan
    is_new: bool
    taken: dict[Place, str] = field(default_factory=dict)

    def not_begun(self, begun: Collection[str]) -> dict[Place, str]:
        """Return what is to be taken over, but for places that have begun meanwhile."""
        record = self.record
        rounds = range(record.round + 1)
        return {
            place: run
            for place, run in self.taken.items()
            if not any(planned_id(record.id, place, number) in begun for number in rounds)
        }


def planned(
    wanted: Wanted, sweeps: Sweeps, options: SweepOptions, *, fresh: bool, reuse: bool
) -> Planned:
    """Return the unfinished sweep of the same plan, or a new one; nothing is written."""
    record = wanted.record()
    unfinished = None if fresh else sweeps.unfinished(record.signature)
    record = (unfinished or record).model_copy(
        update={
            "options": options.kept,
            "lost": sweeps.lost(unfinished.id) if unfinished else None,
        }
    )
    standing = _Standing(wanted, record, sweeps, is_new=unfinished is None)
    taken = standing.taken() if reuse else {}
    plan = SweepPlan(
        wanted.deployment,
        cases=record.cases,
        repeats=record.repeats,
        tags=standing.tags(taken),
        at_once=max(1, min(options.concurrency or options.max_concurrency, record.planned)),
        fixed=options.concurrency is not None,
        resumes=unfinished.id if unfinished else None,
        last_seen=sweeps.last_seen(record.id) if unfinished else None,
    )
    notes = (*_resumed(plan, record, wanted), *_told(wanted), *_limited(plan, options))
    return Planned(record, replace(plan, notes=notes), unfinished is None, taken)


class _Standing:
    """Where each planned run stands."""

    def __init__(
        self, wanted: Wanted, record: SweepRecord, sweeps: Sweeps, *, is_new: bool
    ) -> None:
        self._wanted = wanted
        self._record = record
        self._sweeps = sweeps
        self._states = {} if is_new else sweeps.states(record.id)
        self._reused = {} if is_new else sweeps.reused(record.id)
        self._counts: Counter[tuple[str, str]] = Counter()
        if self._states or self._reused:
            for each in standings(record, self._states, self._reused):
                kind = _OVER if each.is_over else each.state or ""
                self._counts[each.place.release_tag, kind] += 1

    def taken(self) -> dict[Place, str]:
        """Return which runs of the history may stand for planned ones that have not begun."""
        ids = self._wanted.release_ids
        pools = {each: self._pool(each) for each in dict.fromkeys(ids.values()) if each}
        cases = self._wanted.checked.cases
        found: dict[Place, str] = {}
        for standing in standings(self._record, self._states, self._reused):
            place = standing.place
            pool = pools.get(ids[place.release_tag] or "", {})
            runs = pool.get(cases[place.position].case_id)
            if standing.state is None and runs:
                found[place] = runs.pop()
        return found

    def tags(self, taken: Mapping[Place, str]) -> tuple[TagPlan, ...]:
        """Return what is planned on each release tag."""
        past = self._sweeps.past(self._record.deployment)
        reused = Counter(place.release_tag for place in taken)
        return tuple(self._tag(tag, reused[tag], past) for tag in self._record.release_tags)

    def _tag(self, tag: str, reused: int, past: Sequence[PastRun]) -> TagPlan:
        found, doubtful = self._counts[tag, _OVER], self._counts[tag, "STARTED"]
        release_id = self._wanted.release_ids[tag]
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
        case_ids = {case.case_id for case in self._wanted.checked.cases}
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


def _resumed(plan: SweepPlan, record: SweepRecord, wanted: Wanted) -> Iterable[str]:
    if plan.resumes is None:
        return
    began = record.created.strftime("%Y-%m-%d %H:%M")
    last = record.lost or plan.last_seen
    how = "whose process was lost at" if record.lost else "which last got on at"
    when = f", {how} {last:%H:%M:%S}" if last else ""
    found = counted(sum(tag.found for tag in plan.tags), "run")
    none = "it is not sent again" if found == "1 run" else "none of them is sent again"
    yield f"goes on with the unfinished sweep of {began} UTC{when}: {found} found, {none}"
    now = wanted.release_ids
    moved = [tag for tag, at in record.releases.items() if at and now.get(tag) not in {None, at}]
    if moved:
        yield f"{named(moved)} moved to another release since that sweep began"


def _told(wanted: Wanted) -> Iterable[str]:
    for tag, names in wanted.checked.not_sent.items():
        yield f"{named(names)}: not sent to {tag}, which does not know {_it(names)}"
    unread = [tag for tag, release in wanted.releases.items() if release is None]
    if unread:
        yield f"this key may not read {named(unread)}: the server alone checks the inputs"
    yield from wanted.checked.notes


def _it(names: Sequence[str]) -> str:
    return "it" if len(names) == 1 else "them"


def _limited(plan: SweepPlan, options: SweepOptions) -> Iterable[str]:
    expected = {
        "max_calls": plan.calls,
        "max_seconds": plan.seconds,
        "max_cost_usd": plan.cost_usd,
        "stop_after_failures": None,
    }
    for name in _LIMITS:
        limit = getattr(options, name)
        if limit is None:
            continue
        reached = expected[name]
        early = reached is not None and reached > limit
        yield f"{name}={limit}" + (": it is going to stop there" if early else "")


def _environment(releases: Releases) -> str | None:
    names = [r.environment.name for r in releases.values() if r is not None and r.environment]
    return names[0] if names else None
