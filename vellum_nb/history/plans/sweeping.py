"""The sweeps of a history: their plans, who drives them, and their runs many at a time."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from vellum_nb.history.plans import leases, reuse, sweeps
from vellum_nb.history.rows.frames import frame_of_rows
from vellum_nb.history.store.store import Store
from vellum_nb.models import Run
from vellum_nb.models.sweeps import Place, SweepCase, SweepRecord

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Sweeps"]

_NONE: Mapping[Place, str] = MappingProxyType({})


class Sweeps:
    """Keeps sweeps; for `vellum_nb.Workspace.sweep`, which documents what users see of it."""

    def __init__(self, store: Store, tell: Callable[[str], None]) -> None:
        self._store = store
        self._tell = tell

    def add(
        self,
        sweep: SweepRecord,
        cases: Iterable[SweepCase],
        *,
        taken: Mapping[Place, str] = _NONE,
        twin: bool = True,
    ) -> bool:
        """Keep the plan of a sweep; it is on disk when this returns.

        Parameters
        ----------
        taken
            Which runs of the history stand for planned ones.
        twin
            Whether there may be an unfinished one of the same plan; else, where there is one,
            nothing is kept and this returns False.
        """
        return sweeps.add(self._store, sweep, cases, taken=taken, twin=twin)

    def every(self, sweep_id: str | None = None) -> list[SweepRecord]:
        """Return every sweep, newest first; or those whose id begins so."""
        if sweep_id is None:
            return sweeps.sweeps(self._store)
        return sweeps.sweeps(self._store, "substr(id, 1, ?) = ?", (len(sweep_id), sweep_id))

    def unfinished(self, signature: str) -> SweepRecord | None:
        """Return the newest sweep of this signature that has not ended."""
        found = sweeps.sweeps(self._store, "signature = ? AND ended IS NULL", (signature,))
        return found[0] if found else None

    def cases(self, sweep_id: str) -> list[SweepCase]:
        """Return the cases of a sweep, in their order."""
        return sweeps.cases(self._store, sweep_id)

    def renew_cases(self, sweep_id: str, cases: Iterable[SweepCase]) -> None:
        """Keep what is expected of the cases of a sweep, and their labels, as they are now."""
        sweeps.renew_cases(self._store, sweep_id, cases)

    def last_seen(self, sweep_id: str) -> datetime | None:
        """Return when a run of the sweep last began or ended."""
        return sweeps.last_seen(self._store, sweep_id)

    def lost(self, sweep_id: str) -> datetime | None:
        """Return when the process that drove it was last heard of, where that is no more."""
        return leases.lost(self._store, sweep_id)

    def held(self) -> set[str]:
        """Return the ids of the sweeps that a process drives just now."""
        return {each for each, held in sweeps.holders(self._store).items() if held}

    def hold(self, sweep_id: str) -> str:
        """Hold the sweep for this process; return what `let_go` wants.

        Raises
        ------
        HistoryError
            Another process drives it; the message says which.
        """
        return leases.take(self._store, sweep_id)

    def let_go(self, sweep_id: str, token: str) -> None:
        """Hold the sweep no longer."""
        leases.let_go(self._store, sweep_id, token)

    def past(self, deployment: str) -> list[reuse.PastRun]:
        """Return what the latest fulfilled runs of a deployment took and cost."""
        return reuse.past(self._store, deployment)

    def reusable(
        self, deployment: str, release_id: str, case_ids: Iterable[str]
    ) -> dict[str, list[str]]:
        """Return fulfilled runs on one release: case id to run ids, newest first."""
        return reuse.reusable(self._store, deployment, release_id, case_ids)

    def keep_reused(self, sweep_id: str, taken: Mapping[Place, str]) -> None:
        """Keep which run stands for which planned one."""
        reuse.keep_reused(self._store, sweep_id, taken)

    def reused(self, sweep_id: str) -> dict[Place, str]:
        """Return which run stands for which planned one."""
        return reuse.reused(self._store, sweep_id)

    def frame(
        self,
        sweep_id: str,
        *,
        states: Sequence[str] | None = None,
        without: Collection[str] = (),
    ) -> pd.DataFrame:
        """Return the runs of a sweep as a frame, those taken over too, without some of them."""
        taken = reuse.reused(self._store, sweep_id)
        rows = reuse.sweep_rows(self._store, sweep_id, states=states, reuse=taken)
        if without:
            rows = [row for row in rows if row[0] not in without]  # SCALARS begin with the id
        return frame_of_rows(rows)

    def tallies(self) -> dict[str, Counter[str]]:
        """Return of each sweep how many runs are in which state."""
        return sweeps.tallies(self._store)

    def states(self, sweep_id: str) -> dict[str, str]:
        """Return the state of each run of a sweep that was begun, by the run's id."""
        return sweeps.states(self._store, sweep_id)

    def in_doubt(self, sweep_id: str) -> set[str]:
        """Return the runs of a sweep that are FAILED, and may have been executed."""
        return sweeps.in_doubt(self._store, sweep_id)

    def deleted(self, sweep_id: str) -> int:
        """Return how many runs of a sweep were deleted and can be brought back."""
        return sweeps.deleted(self._store, sweep_id)

    def spent(
        self, sweep_id: str, *, last: int = 1_000
    ) -> dict[str, tuple[float | None, list[float]]]:
        """Return the cost of the runs of each release tag, and the seconds the last ones took."""
        return sweeps.spent(self._store, sweep_id, last)

    def seconds(self, sweep_id: str) -> float:
        """Return for how long any run of the sweep was under way."""
        return sweeps.seconds(self._store, sweep_id)

    def change(self, sweep_id: str, **fields: Any) -> None:
        """Set `round`, `ended`, `why` or `options` of a sweep."""
        sweeps.change(self._store, sweep_id, **fields)

    def record(self, *, begun: Sequence[Run] = (), ended: Sequence[Run] = ()) -> None:
        """Complete `ended` and begin `begun`, in one transaction, then tell the subscribers."""
        sweeps.record(self._store, begun, ended)
        for run in (*ended, *begun):
            self._tell(run.id)

    def mark_moved(self, sweep_id: str, release_tag: str, run_ids: Sequence[str]) -> None:
        """Mark runs, and all of this tag that have not ended, as made while the tag moved."""
        sweeps.mark_moved(self._store, sweep_id, release_tag, run_ids)

    def withdraw(self, runs: Sequence[Run]) -> None:
        """Take back runs that were begun and never sent."""
        sweeps.withdraw(self._store, [run.id for run in runs])
