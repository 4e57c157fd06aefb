"""A sweep as it is planned and stored: cases, release tags, repeats, and the ids of its runs."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any
from uuid import NAMESPACE_OID, UUID, uuid5

from pydantic import Field

from vellum_nb.models.base import Model, canonical_json

MOST_RUNS = 2_000_000
"""Planned runs of a sweep: a larger number in a history is damaged, and would be counted up to."""
IN_DOUBT_SQL = "(state = 'STARTED' OR doubt IS NOT NULL)"
"""True of a row of `runs` that was sent, or may be, and has no recorded answer."""


@dataclass(frozen=True, slots=True)
class SweepCase:
    """One case of a sweep; `inputs` are plain JSON values."""

    position: int  # among the cases, from 0
    case_id: str
    inputs: Mapping[str, Any]
    expected: Mapping[str, Any] = field(default_factory=dict)  # by output name
    labels: Mapping[str, Any] = field(default_factory=dict)  # other columns of the case's row
    previous_execution_id: str | None = None  # the execution that it continues


class SweepRecord(Model):
    """A sweep as the history keeps it."""

    id: str
    deployment: str
    environment: str | None = None
    workspace: str | None = None  # its id on the server
    release_tags: tuple[str, ...]
    repeats: int = 1
    cases: int
    signature: str
    created: datetime
    round: int = 0  # how often failed runs were repeated, each time under new ids
    ended: datetime | None = None  # None while a planned run is missing
    why: str | None = None  # why it stopped before its end
    releases: dict[str, str | None] = Field(default_factory=dict)  # by tag, as it was planned
    options: dict[str, Any] = Field(default_factory=dict)  # limits, concurrency, cost
    generation: int = 1  # among the sweeps of the same signature
    case_order: tuple[int, ...] | None = None  # positions as they are run; None: as given
    checked: dict[str, datetime] = Field(default_factory=dict)  # tag: last seen on its release
    judge: str | None = None  # what the ids of its runs derive from, if it is a judge's
    notes: tuple[str, ...] = ()  # of its plan, on the cases and releases
    case_ids: tuple[str, ...] = ()  # of a judge's sweep; read with it, not stored
    lost: datetime | None = None  # last sign of a driver that died; read, not stored

    @property
    def planned(self) -> int:
        """How many runs there are to be."""
        return self.cases * len(self.release_tags) * self.repeats

    @property
    def lease_name(self) -> str:
        """The name of the lease of its driver: all sweeps of a judge share one."""
        return self.judge or self.id

    def order(self) -> Sequence[int]:
        """Return the positions of the cases in the order in which they are run."""
        return range(self.cases) if self.case_order is None else self.case_order

    def places(self) -> Iterator[Place]:
        """Yield every planned run: all tags of a case together, repeat after repeat.

        Where it may stop early, all repeats of a case as well.
        """
        outer = (range(self.repeats), self.order())
        if self.options.get("stop_when"):
            turns = ((repeat, position) for position in outer[1] for repeat in outer[0])
        else:
            turns = ((repeat, position) for repeat in outer[0] for position in outer[1])
        for repeat, position in turns:
            for tag in self.release_tags:
                yield Place(position, tag, repeat)


@dataclass(frozen=True, slots=True)
class Place:
    """One planned run of a sweep: this case, on this release tag, for this time."""

    position: int
    release_tag: str
    repeat: int


ATTEMPTS = 3
"""How often a planned run whose execution is cut off is made in one session."""


def planned_id(sweep: SweepRecord, place: Place, round: int = 0, attempt: int = 0) -> str:  # noqa: A002  (the field's word)
    """Return the id of a planned run, which is its external id too.

    It follows from the plan alone, or for a judge's from the judge and what is judged, so that all
    processes send the same run under the same id. An execution that was cut off has no answer: its
    run is made again as the next `attempt`.

    Examples
    --------
    >>> from datetime import UTC, datetime
    >>> sweep = SweepRecord(
    ...     id="00000000-0000-0000-0000-000000000001",
    ...     deployment="d",
    ...     release_tags=("v1",),
    ...     cases=1,
    ...     signature="s",
    ...     created=datetime.now(UTC),
    ... )
    >>> planned_id(sweep, Place(0, "v1", 0))
    'e8f11a56-4e04-55ed-80de-e37e22fad978'
    """
    number = f"{round}.{attempt}" if attempt else str(round)
    if sweep.judge is not None:
        case_id = sweep.case_ids[place.position]
        return str(uuid5(NAMESPACE_OID, f"{sweep.judge}/{case_id}/{place.repeat}/{number}"))
    name = f"{place.position}/{place.repeat}/{number}/{place.release_tag}"
    return str(uuid5(UUID(sweep.id), name))


def planned_ids(
    sweep: SweepRecord, begun: Container[str] = frozenset()
) -> Iterator[tuple[str, Place]]:
    """Yield every id that a planned run may have in the history, and the run.

    Those are the ids of a session's attempts, and of the next one after those in `begun`.
    """
    for place in sweep.places():
        for number in range(sweep.round + 1):
            run_id, attempt = "", 0
            while attempt < ATTEMPTS or run_id in begun:
                run_id = planned_id(sweep, place, number, attempt)
                yield run_id, place
                attempt += 1


def most_rounds(planned: int) -> int:
    """Return how often the failed runs of a sweep may run again: all attempts are counted."""
    return max(1_000, MOST_RUNS // max(1, planned))


def signature(
    deployment: str, release_tags: Sequence[str], repeats: int, case_ids: Sequence[str]
) -> str:
    """Return the identity of a plan: what two sweeps have in common that are the same work.

    Workspace and environment, which a key may not be allowed to read, are compared apart.
    """
    plan = [deployment, list(release_tags), repeats, list(case_ids)]
    return hashlib.sha256(canonical_json(plan).encode()).hexdigest()[:32]
