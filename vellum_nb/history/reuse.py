"""What stored runs give to a new sweep: answers to reuse, and what past runs took and cost."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from operator import itemgetter
from typing import Any, NamedTuple

from vellum_nb.history import query
from vellum_nb.history.rows import FRAMED, SCALARS
from vellum_nb.history.store import Reader, Store, Transaction
from vellum_nb.models.sweeps import Place

__all__ = ["PastRun", "insert_reused", "past_runs", "reusable_runs", "reused_runs", "sweep_rows"]

_RECENT = 2_000
_TAG, _REPEAT, _ID, _TIME = map(SCALARS.index, ("release_tag", "repeat", "id", "timestamp"))


class PastRun(NamedTuple):
    """What a run took and cost."""

    release_tag: str
    release_id: str | None
    latency_s: float
    cost_usd: float | None


def past_runs(reader: Reader, deployment: str) -> list[PastRun]:
    """Return the latest fulfilled runs of a deployment, some thousands at most."""
    sql = (
        "SELECT release_tag, release_id, latency_s, cost_usd FROM runs "
        "WHERE deployment = :deployment AND deletion IS NULL AND state = 'FULFILLED' "
        "AND latency_s IS NOT NULL ORDER BY timestamp DESC, seq DESC LIMIT :most"
    )
    rows = reader.read(sql, {"deployment": deployment, "most": _RECENT})
    return [PastRun(*row) for row in rows]


def reusable_runs(
    reader: Reader, deployment: str, release_id: str, case_ids: Iterable[str]
) -> dict[str, list[str]]:
    """Return the fulfilled runs of these cases on one release: case id to run ids, newest first."""
    is_case = reader.dialect.one_of("case_id", "ids")
    sql = (
        "SELECT case_id, id FROM runs WHERE deployment = :deployment AND release_id = :release "
        f"AND deletion IS NULL AND state = 'FULFILLED' AND {is_case} "
        "ORDER BY timestamp DESC, seq DESC"
    )
    values = {"deployment": deployment, "release": release_id}
    found: dict[str, list[str]] = {}
    for case_id, run_id in reader.read(sql, values | {"ids": reader.dialect.listed(case_ids)}):
        found.setdefault(case_id, []).append(run_id)
    return found


def insert_reused(tx: Transaction, sweep_id: str, reused: Mapping[Place, str]) -> None:
    """Record which run stands for which planned one; a place that has one keeps it."""
    sql = (
        "INSERT INTO sweep_reused (sweep, position, release_tag, repeat, run) "
        "VALUES (:sweep, :position, :release_tag, :repeat, :run) ON CONFLICT DO NOTHING"
    )
    rows = [
        {
            "sweep": sweep_id,
            "position": place.position,
            "release_tag": place.release_tag,
            "repeat": place.repeat,
            "run": run_id,
        }
        for place, run_id in reused.items()
    ]
    tx.execute_many(sql, rows)


def reused_runs(reader: Reader, sweep_id: str) -> dict[Place, str]:
    """Return which run stands for which planned one; those that were deleted stand for none."""
    sql = (
        "SELECT u.position, u.release_tag, u.repeat, u.run FROM sweep_reused u "
        "JOIN runs r ON r.id = u.run WHERE u.sweep = :sweep AND r.deletion IS NULL"
    )
    return {Place(*row): run for *row, run in reader.read(sql, {"sweep": sweep_id})}


def sweep_rows(store: Store, sweep_id: str, states: Sequence[str] | None) -> list[tuple[Any, ...]]:
    """Return the rows of a sweep for its frame, newest first, those of reused runs too.

    A reused run is shown as the planned one that it stands for.
    """
    names = (*SCALARS, *FRAMED)
    with store.snapshot() as snapshot:
        own = query.select({"sweep_id": sweep_id, "state": states}, store)
        rows = query.read_rows(snapshot, own, names)
        places = {run: place for place, run in reused_runs(snapshot, sweep_id).items()}
        if not places:
            return rows
        others = query.select({"ids": list(places), "state": states}, store)
        for row in query.read_rows(snapshot, others, names):
            place, changed = places[row[_ID]], list(row)
            changed[_TAG], changed[_REPEAT] = place.release_tag, place.repeat
            rows.append(tuple(changed))
    return sorted(rows, key=itemgetter(_TIME), reverse=True)
