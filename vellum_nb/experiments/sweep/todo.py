"""What of a sweep is still to be done, from the plan and the states of its runs. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from vellum_nb.models.sweeps import Place, SweepRecord, planned_id

__all__ = ["Standing", "fresh", "standings"]


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


def standings(sweep: SweepRecord, states: Mapping[str, str]) -> Iterator[Standing]:
    """Yield where every planned run stands, in the order of the plan.

    A run that failed in an earlier round than the sweep's is to be made anew, under a new id.
    """
    for place in sweep.places():
        yield _standing(sweep, place, states)


def fresh(sweep: SweepRecord, states: Mapping[str, str]) -> Iterator[Standing]:
    """Yield the planned runs that have not begun."""
    return (each for each in standings(sweep, states) if each.state is None)


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
