"""The order of planned runs: a turn of a conversation begins after the answer to the one before."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace

from vellum_nb.models.sweeps import Place, SweepCase
from vellum_nb.sweep.plan import PlannedRun

_ENDED = frozenset({"FULFILLED", "FAILED", "REJECTED", "CANCELLED", "UNSENT"})


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
