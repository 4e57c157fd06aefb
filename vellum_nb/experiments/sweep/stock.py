"""What of a sweep is done, in doubt and left, as its history has it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from vellum_nb.experiments.sweep.counter import Counter
from vellum_nb.experiments.sweep.todo import Standing, fresh, standings
from vellum_nb.history.plans.sweeping import Sweeps
from vellum_nb.models.sweeps import Place, SweepRecord

__all__ = ["Stock", "stock"]


@dataclass(frozen=True, slots=True)
class Stock:
    """Where a sweep stands.

    Attributes
    ----------
    counter : Counter
        Has counted what has ended.
    doubtful : list of Standing
        What was begun, and has not ended.
    states : dict
        Run id to state, of all runs that were begun.
    reused : dict
        Which run of the history stands for which planned one.
    """

    record: SweepRecord
    counter: Counter
    doubtful: list[Standing]
    states: Mapping[str, str]
    reused: Mapping[Place, str]

    def fresh(self) -> Iterator[Standing]:
        """Yield the planned runs that have not begun."""
        return fresh(self.record, self.states, self.reused)


def stock(record: SweepRecord, sweeps: Sweeps) -> Stock:
    """Return where the sweep of `record` stands."""
    counter = Counter(record.release_tags, record.cases * record.repeats)
    found = Stock(record, counter, [], sweeps.states(record.id), sweeps.reused(record.id))
    if not found.states and not found.reused:
        return found
    for standing in standings(record, found.states, found.reused):
        if standing.state == "STARTED":
            found.doubtful.append(standing)
        elif standing.state is not None:
            reused = standing.place in found.reused
            counter.had(standing.place.release_tag, standing.state, reused=reused)
    for tag, (cost, took) in sweeps.spent(record.id).items():
        counter.spent(tag, cost, took)
    return found
