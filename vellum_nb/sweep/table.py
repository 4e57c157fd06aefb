"""The sweeps of a history as a DataFrame."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vellum_nb.errors import HistoryError
from vellum_nb.history import Sweeps
from vellum_nb.models.sweeps import SweepRecord
from vellum_nb.sweep.plan import superseded
from vellum_nb.sweep.progress import BY_HAND

if TYPE_CHECKING:
    import pandas as pd


_NOT_DONE = ("FAILED", "REJECTED", "CANCELLED")
_TIME_COLUMNS = ("created", "ended")
_TEXTS = ("sweep_id", "deployment", "release_tags", "state", "why", "environment")
_COLUMNS = (
    "sweep_id",
    "deployment",
    "release_tags",
    "state",
    "planned",
    "done",
    "failed",
    "started",
    "to_go",
    "cases",
    "repeats",
    "created",
    "ended",
    "why",
    "environment",
)


def sweeps_frame(sweeps: Sweeps, deployment: str | None = None) -> pd.DataFrame:
    """Return one row a sweep, newest first."""
    import pandas as pd

    held, tallies = sweeps.held(), sweeps.tallies()
    records = [each for each in sweeps.every() if deployment in {None, each.deployment}]
    rows = [_row(each, _tally(sweeps, each, tallies), each.id in held) for each in records]
    frame = pd.DataFrame(rows, columns=list(_COLUMNS))
    for name in _TIME_COLUMNS:
        frame[name] = pd.to_datetime(frame[name], utc=True).astype("datetime64[us, UTC]")
    numbers = [name for name in _COLUMNS if name not in _TEXTS and name not in _TIME_COLUMNS]
    return frame.astype(dict.fromkeys(_TEXTS, "str") | dict.fromkeys(numbers, "int64"))


def _reason(why: str | None) -> str | None:
    return "stopped by hand" if why == BY_HAND else why


def _why_unfinished(record: SweepRecord, *, begun: bool) -> str | None:
    """Return why a sweep that nobody drives has not ended."""
    if record.ended is not None or record.why is not None:
        return record.why
    return "its process ended before it was done" if begun else None


def find_sweep(sweeps: Sweeps, sweep_id: str) -> SweepRecord:
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
        why = None if record.id in sweeps.held() else _why_unfinished(record, begun=begun)
        return record.model_copy(update={"why": why, "lost": sweeps.lost(record.id)})
    what = "several sweeps whose id begins with" if found else "no sweep"
    msg = f"The history has {what} {sweep_id!r}; ws.sweeps() lists those there are"
    raise HistoryError(msg)


def _tally(
    sweeps: Sweeps, record: SweepRecord, tallies: Mapping[str, Mapping[str, int]]
) -> Mapping[str, int]:
    """Return how many runs are in which state; of those run again the latest counts."""
    if not record.round:
        return tallies.get(record.id, {})
    states = sweeps.states(record.id)
    past = superseded(record, states)
    counted = Counter(state for run, state in states.items() if run not in past)
    counted["FULFILLED"] += len(sweeps.reused(record.id))
    return counted


def _row(record: SweepRecord, tally: Mapping[str, int], held: bool) -> dict[str, Any]:  # noqa: FBT001
    done, started = tally.get("FULFILLED", 0), tally.get("STARTED", 0)
    failed = sum(tally.get(state, 0) for state in _NOT_DONE)
    begun = done + started + failed
    state = "running" if held else "ready"
    if not held and record.ended is not None:
        state = "done"
    elif not held and (begun or record.why):
        state = "stopped"
    return {
        "sweep_id": record.id,
        "deployment": record.deployment,
        "release_tags": ", ".join(record.release_tags),
        "state": state,
        "planned": record.planned,
        "done": done,
        "failed": failed,
        "started": started,
        "to_go": record.planned - begun,
        "cases": record.cases,
        "repeats": record.repeats,
        "created": record.created,
        "ended": record.ended,
        "why": None if held else _reason(_why_unfinished(record, begun=begun > 0)),
        "environment": record.environment,
    }
