"""Records of a sweep: cases, release tags, repeats, the ids of its runs; records of case sets."""

from __future__ import annotations

import hashlib
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, TypeAlias
from uuid import NAMESPACE_OID, UUID, uuid5

from pydantic import Field

from vellum_nb.models.base import Model, canonical_json
from vellum_nb.models.run import Run

MOST_RUNS = 2_000_000
"""Limit of planned runs of a sweep; a larger number in a history is taken as damage."""
IN_DOUBT_SQL = "(state = 'STARTED' OR doubt IS NOT NULL)"
"""True for a row of `runs` that could have been sent and lacks a recorded answer."""


NOT_SENT = "CONVERSATION_ENDED"
"""Error code of a turn that was not sent, as an earlier turn has no answer."""
UNSENT_SQL = f"(state = 'FAILED' AND error_code = '{NOT_SENT}')"
"""True for a row of `runs` that is such a turn."""


@dataclass(frozen=True, slots=True)
class SweepCase:
    """One case of a sweep; `inputs` are plain JSON values."""

    position: int  # among the cases, from 0
    case_id: str
    inputs: Mapping[str, Any]
    expected: Mapping[str, Any] = field(default_factory=dict)  # by output name
    labels: Mapping[str, Any] = field(default_factory=dict)  # other columns of the case's row
    previous_execution_id: str | None = None  # the execution that it continues
    turn: int = 0  # of a conversation, from 1; it continues the case before it
    is_open: bool = False  # a simulated user continues the conversation; not stored

    def cells(self) -> dict[str, Any]:
        """Return inputs, expected outputs and labels by their column in a table of cases."""
        sides = {"input": self.inputs, "expected": self.expected, "label": self.labels}
        return {f"{use}.{name}": v for use, side in sides.items() for name, v in side.items()}


def conversations(cases: Iterable[SweepCase]) -> Iterator[list[SweepCase]]:
    """Yield the turns of each conversation together, and every other case alone."""
    turns: list[SweepCase] = []
    for case in cases:
        if turns and case.turn <= 1:
            yield turns
            turns = []
        turns.append(case)
    if turns:
        yield turns


def is_user(case: SweepCase) -> bool:
    """Return whether a step of a conversation is a message of a simulated user."""
    return case.turn > 0 and not case.inputs


def turn_numbers(cases: Sequence[SweepCase]) -> list[int]:
    """Return the turn of each step: a message of a simulated user has that of its answer."""
    numbers, number = [], 0
    for case in cases:
        number = 0 if case.turn <= 1 else number
        numbers.append(number + 1)
        number += not is_user(case)
    return numbers


class SweepRecord(Model):
    """Stored sweep."""

    id: str
    deployment: str
    environment: str | None = None
    workspace: str | None = None  # its id on the server
    release_tags: tuple[str, ...]
    repeats: int = 1
    cases: int
    signature: str
    created: datetime
    round: int = 0  # repetitions of failed runs, each under new ids
    ended: datetime | None = None  # None while a planned run is missing
    why: str | None = None  # reason to stop before the end
    releases: dict[str, str | None] = Field(default_factory=dict)  # planned release id by tag
    options: dict[str, Any] = Field(default_factory=dict)  # limits, concurrency, cost
    generation: int = 1  # among the sweeps of the same signature
    case_order: tuple[int, ...] | None = None  # positions in order of execution; None: ascending
    checked: dict[str, datetime] = Field(default_factory=dict)  # tag: last seen on its release
    judge: str | None = None  # base of the run ids of a sweep by a judge
    notes: tuple[str, ...] = ()  # of its plan, on the cases and releases
    case_set: str | None = None  # name of the case set that it runs
    case_set_version: str | None = None  # id of the version of that set
    case_ids: tuple[str, ...] = ()  # of a judge's sweep; read with it, not stored
    lost: datetime | None = None  # last sign of a driver that died; read, not stored

    @property
    def planned(self) -> int:
        """Number of planned runs."""
        return self.cases * len(self.release_tags) * self.repeats

    @property
    def lease_name(self) -> str:
        """Name of the lease of its driver; all sweeps of a judge share one."""
        return self.judge or self.id

    def order(self) -> Sequence[int]:
        """Return the positions of the cases in order of execution."""
        return range(self.cases) if self.case_order is None else self.case_order

    def places(self) -> Iterator[Place]:
        """Yield the planned runs: by repeat, case and tag.

        A sweep that can stop early runs all repeats of a case together: by case, repeat and tag.
        """
        repeats, order = range(self.repeats), self.order()
        turns = ((repeat, position) for repeat in repeats for position in order)
        if self.options.get("stop_when"):
            turns = ((repeat, position) for position in order for repeat in repeats)
        for repeat, position in turns:
            for tag in self.release_tags:
                yield Place(position, tag, repeat)


@dataclass(frozen=True, slots=True)
class Place:
    """A planned run of a sweep: its case, release tag and repeat."""

    position: int
    release_tag: str
    repeat: int


def conversation_id(sweep: SweepRecord, place: Place, turn: int) -> str | None:
    """Return the id of the conversation of a planned run, or None for a case without turns."""
    first = place.position - turn + 1
    name = f"conversation/{first}/{place.repeat}/{place.release_tag}"
    return str(uuid5(UUID(sweep.id), name)) if turn else None


def is_of_user(run: Run) -> bool:
    """Return whether `run` is one of a simulated user, which has no turn of its own."""
    return run.conversation_id is not None and run.turn is None


def is_unsent(run: Run) -> bool:
    """Return whether `run` is a turn that was not sent, as its conversation had ended."""
    return run.state == "FAILED" and run.error is not None and run.error.code == NOT_SENT


ATTEMPTS = 3
"""Limit of attempts per session at a planned run that the server cancels."""


def planned_id(sweep: SweepRecord, place: Place, round: int = 0, attempt: int = 0) -> str:  # noqa: A002  (the field's word)
    """Return the id, and external id, of a planned run.

    It is derived from the plan, or from the judge and the judged answer, so all processes send the
    same run under the same id. If the server cancelled an execution, its run is sent as the next
    `attempt`.

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
    """Yield the ids of all attempts of a session, and of the next ones after `begun`."""
    for place in sweep.places():
        for number in range(sweep.round + 1):
            run_id, attempt = "", 0
            while attempt < ATTEMPTS or run_id in begun:
                run_id = planned_id(sweep, place, number, attempt)
                yield run_id, place
                attempt += 1


def most_rounds(planned: int) -> int:
    """Return the limit of repetitions of failed runs; every attempt counts."""
    return max(1_000, MOST_RUNS // max(1, planned))


def signature(
    deployment: str, release_tags: Sequence[str], repeats: int, case_ids: Sequence[str]
) -> str:
    """Return the identity of a plan.

    Workspace and environment, which some keys cannot read, are compared separately.
    """
    plan = [deployment, list(release_tags), repeats, list(case_ids)]
    return hashlib.sha256(canonical_json(plan).encode()).hexdigest()[:32]


Member: TypeAlias = tuple[SweepCase, ...]
"""A case of a set: one `SweepCase`, or the turns of a conversation, which share a `case_id`."""


class CaseSetVersion(Model):
    """A stored version of a case set. Its cases are those of `parent` with its own changes."""

    id: str
    name: str  # of the set
    number: int  # of the version, from 1, unique in a set
    parent: str | None = None  # id of the version before it
    merged: str | None = None  # id of the version of another history that was merged into it
    deployment: str | None = None
    author: str | None = None
    message: str = ""
    created: datetime
