"""What of a sweep is still to be done, from the plan and the states of its runs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from vellum_nb.models.sweeps import Place, SweepRecord, planned_id

__all__ = ["Standing", "fresh", "standings", "superseded"]

_NONE: Mapping[Place, str] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Standing:
    """Where a planned run stands: the id it has or gets, and its state; None: not begun."""

    place: Place
    run_id: str
    state: str | None

    @property
    def is_over(self) -> bool:
        """Whether it has ended."""
        return self.state is not None and self.state != "STARTED"


def standings(
    sweep: SweepRecord, states: Mapping[str, str], reused: Mapping[Place, str] = _NONE
) -> Iterator[Standing]:
    """Yield where every planned run stands, in the order of the plan.

    A run that failed in an earlier round than the sweep's is to be made anew, under a new id. For
    a place in `reused` a run stands that the history had.
    """
    for place in sweep.places():
        if reused and place in reused:
            yield Standing(place, reused[place], "FULFILLED")
        else:
            yield _standing(sweep, place, states)


def fresh(
    sweep: SweepRecord, states: Mapping[str, str], reused: Mapping[Place, str] = _NONE
) -> Iterator[Standing]:
    """Yield the planned runs that have not begun."""
    return (each for each in standings(sweep, states, reused) if each.state is None)


def superseded(sweep: SweepRecord, states: Mapping[str, str]) -> set[str]:
    """Return the runs that a later round has begun anew."""
    found: set[str] = set()
    for place in sweep.places():
        ids = [planned_id(sweep.id, place, number) for number in range(sweep.round + 1)]
        begun = [each for each in ids if each in states]
        found.update(begun[:-1])
    return found


def _standing(sweep: SweepRecord, place: Place, states: Mapping[str, str]) -> Standing:
    newest = planned_id(sweep.id, place, sweep.round)
    if not states or newest in states:
        return Standing(place, newest, states.get(newest))
    for number in range(sweep.round - 1, -1, -1):
        earlier = planned_id(sweep.id, place, number)
        if states.get(earlier) in {"FULFILLED", "STARTED"}:
            return Standing(place, earlier, states[earlier])
        if earlier in states:
            break
    return Standing(place, newest, None)
