"""The methods of a history that sweeps use."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from vellum_nb.history import sweeps
from vellum_nb.history.recording import RecordMethods
from vellum_nb.models import Run
from vellum_nb.models.sweeps import SweepCase, SweepRecord

__all__ = ["SweepRecordMethods"]


class SweepRecordMethods(RecordMethods):
    """Keeps sweeps; for `Workspace.sweep`, which documents them."""

    def add_sweep(self, sweep: SweepRecord, cases: Iterable[SweepCase]) -> None:
        """Keep the plan of a sweep; it is on disk when this returns."""
        sweeps.add(self._store, sweep, cases)

    def sweeps(self) -> list[SweepRecord]:
        """Return every sweep, newest first."""
        return sweeps.sweeps(self._store)

    def unfinished_sweep(self, signature: str) -> SweepRecord | None:
        """Return the newest sweep of this signature that has not ended."""
        found = sweeps.sweeps(self._store, "signature = ? AND ended IS NULL", (signature,))
        return found[0] if found else None

    def sweep_cases(self, sweep_id: str) -> list[SweepCase]:
        """Return the cases of a sweep, in their order."""
        return sweeps.cases(self._store, sweep_id)

    def sweep_states(self, sweep_id: str) -> dict[str, str]:
        """Return the state of each run of a sweep that was begun, by the run's id."""
        return sweeps.states(self._store, sweep_id)

    def change_sweep(self, sweep_id: str, **fields: Any) -> None:
        """Set `round`, `ended` or `why` of a sweep."""
        sweeps.change(self._store, sweep_id, **fields)

    def record(self, *, begun: Sequence[Run] = (), ended: Sequence[Run] = ()) -> None:
        """Complete `ended` and begin `begun`, in one transaction, then tell the subscribers."""
        sweeps.record(self._store, begun, ended)
        for run in (*ended, *begun):
            self._tell(run.id)

    def withdraw(self, runs: Sequence[Run]) -> None:
        """Take back runs that were begun and never sent."""
        sweeps.withdraw(self._store, [run.id for run in runs])
