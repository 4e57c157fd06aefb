"""An old sweep, opened: it is read as it is, and goes on with the releases of now."""

from __future__ import annotations

from collections.abc import Callable

from vellum_nb.errors import HistoryError
from vellum_nb.history.plans.sweeping import Sweeps
from vellum_nb.models.sweeps import SweepRecord
from vellum_nb.sweep.driver import Attempt, Task
from vellum_nb.sweep.plan import Standing
from vellum_nb.sweep.table import why_unfinished
from vellum_nb.workspace.sweep_worker import SweepWorker

__all__ = ["LateWorker", "found_sweep"]


class LateWorker:
    """Makes the runs of a sweep; reads releases and cases only when it is to go on."""

    def __init__(self, make: Callable[[], SweepWorker]) -> None:
        self._make = make
        self._worker: SweepWorker | None = None

    @property
    def moved(self) -> tuple[str, ...]:
        """The release tags that pointed at more than one release while it ran."""
        return () if self._worker is None else self._worker.moved

    def task(self, standing: Standing) -> Task:
        """Return the run of a place."""
        assert self._worker is not None  # noqa: S101  (`attempt` comes first)
        return self._worker.task(standing)

    def attempt(self, at_once: int) -> Attempt:
        """Return what sends, for so many at once."""
        self._worker = self._make()
        return self._worker.attempt(at_once)

    def close(self) -> None:
        """Close the connections."""
        if self._worker is not None:
            self._worker.close()


def found_sweep(sweeps: Sweeps, sweep_id: str) -> SweepRecord:
    """Return the sweep of this id, or of the only id that begins so.

    Raises
    ------
    HistoryError
        There is no such sweep, or several.
    """
    found = sweeps.every(sweep_id) if sweep_id else []
    if len(found) == 1:
        record = found[0]
        begun = sweeps.last_seen(record.id) is not None
        why = None if record.id in sweeps.held() else why_unfinished(record, begun=begun)
        return record.model_copy(update={"why": why, "lost": sweeps.lost(record.id)})
    what = "several sweeps whose id begins with" if found else "no sweep"
    msg = f"The history has {what} {sweep_id!r}; ws.sweeps() lists those there are"
    raise HistoryError(msg)
