"""What the life of one run writes to the history."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from typing import Any

from vellum_nb.errors import HistoryError
from vellum_nb.history import History
from vellum_nb.models import Run, RunRequest, WorkflowInput
from vellum_nb.workspace.sending import options_of

__all__ = ["Attempt", "Keeper"]


@dataclass(frozen=True, slots=True)
class Attempt:
    """A run that is recorded and about to be sent; `inputs` as they are sent."""

    request: RunRequest
    run: Run
    inputs: tuple[WorkflowInput, ...]
    clock: float = field(default_factory=time.perf_counter)

    @property
    def options(self) -> dict[str, Any]:
        """What every way to execute is told."""
        return options_of(self.run)

    def ended(self, how: dict[str, Any]) -> dict[str, Any]:
        """Return `how` it ended with the time that it took."""
        latency = round(time.perf_counter() - self.clock, 6)
        return {"finished_at": datetime.now(UTC), "latency_s": latency, **how}


class Keeper:
    """Records how runs begin, get on and end."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._held: set[str] = set()

    def holds(self, run: Run) -> bool:
        """Whether a call of this workspace is about to end `run`."""
        return run.id in self._held

    def signed(self, run: Run) -> Run:
        """Return `run` with who makes it."""
        return self._history.signed(run)

    def begin(self, run: Run) -> Run:
        """Record `run`; it is on disk when this returns."""
        self._held.add(run.id)
        try:
            self._history.begin(run)
        except HistoryError:
            self.let_go(run)
            raise
        return self._history.traced(run)

    def let_go(self, run: Run) -> None:
        """Leave the end of `run` to whoever asks for it."""
        self._held.discard(run.id)

    def identify(self, run: Run, execution_id: str) -> Run:
        """Record the execution id of a run that is under way."""
        _surely(partial(self._history.identify, run.id, execution_id))
        return run.model_copy(update={"execution_id": execution_id})

    def finish(self, run: Run) -> Run:
        """Record how `run` ended; where that fails, its answer goes with the error.

        Another kernel, or a synchronisation, may have seen it end first: then that stands.
        """
        try:
            _surely(partial(self._history.finish, run))
        except HistoryError as exc:
            self.let_go(run)
            told = self._told_elsewhere(run)
            if told is not None:
                return told
            exc.run = run
            exc.add_note(f"The run ended as {run.state}; the error's `run` holds what came.")
            raise
        self.let_go(run)
        return self._history.traced(run)

    def _told_elsewhere(self, run: Run) -> Run | None:
        try:
            kept = self._history.get(run.id)
        except HistoryError:
            return None
        return None if kept.state == "STARTED" else kept


def _surely(write: Callable[[], None]) -> None:
    """Write once more when an interrupt broke it: what is to be kept came, and would be lost."""
    try:
        write()
    except KeyboardInterrupt:
        with suppress(HistoryError):  # the first time did it
            write()
        raise
