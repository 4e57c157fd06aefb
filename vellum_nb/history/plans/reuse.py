"""What stored runs tell a sweep: what to expect, and the answers that are there already."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from vellum_nb.history.keeping import archived_sweeps
from vellum_nb.history.keeping.archived import with_archived
from vellum_nb.history.keeping.archived_places import Files
from vellum_nb.history.keeping.one_state import in_one_state
from vellum_nb.history.reading import reads
from vellum_nb.history.rows.rows import SCALARS
from vellum_nb.history.store.store import Connection, Reader, Store
from vellum_nb.models.sweeps import Place

__all__ = ["PastRun", "insert_reused", "keep_reused", "past", "reusable", "reused", "sweep_rows"]

_RECENT = 2_000
_TAG, _REPEAT, _ID = (SCALARS.index(name) for name in ("release_tag", "repeat", "id"))
_TIME = SCALARS.index("timestamp")
_OF_SWEEP = "WHERE u.sweep = (SELECT seq FROM sweeps WHERE id = ?)"


class PastRun(NamedTuple):
    """What a run took and cost."""

    release_tag: str
    release_id: str | None
    latency_s: float
    cost_usd: float | None


def past(store: Store, deployment: str) -> list[PastRun]:
    """Return the latest fulfilled runs of a deployment, some thousands at most."""
    sql = (
        "SELECT release_tag, release_id, latency_s, cost_usd FROM runs WHERE deployment = ? "
        "AND state = 'FULFILLED' AND latency_s IS NOT NULL ORDER BY timestamp DESC LIMIT ?"
    )
    return [PastRun(*row) for row in store.read(sql, (deployment, _RECENT))]


def reusable(
    store: Store, deployment: str, release_id: str, case_ids: Iterable[str]
) -> dict[str, list[str]]:
    """Return the fulfilled runs of these cases on one release: case id to run ids, newest first."""
    sql = (
        "SELECT case_id, id FROM runs WHERE deployment = ? AND release_id = ? "
        f"AND state = 'FULFILLED' AND {store.dialect.one_of('case_id')} "
        "ORDER BY timestamp DESC, seq DESC"
    )
    found: dict[str, list[str]] = {}
    bound = (deployment, release_id, store.dialect.listed(case_ids))
    for case_id, run_id in store.read(sql, bound):
        found.setdefault(case_id, []).append(run_id)
    return found


def insert_reused(connection: Connection, sweep_id: str, taken: Mapping[Place, str]) -> None:
    """Keep which run stands for which planned one, in the caller's transaction."""
    sql = (
        "INSERT INTO sweep_reused SELECT seq, ?, ?, ?, ? FROM sweeps WHERE id = ? "
        "ON CONFLICT DO NOTHING"
    )
    rows = ((p.position, p.release_tag, p.repeat, run, sweep_id) for p, run in taken.items())
    connection.executemany(sql, rows)


def keep_reused(store: Store, sweep_id: str, taken: Mapping[Place, str]) -> None:
    """Keep which run stands for which planned one; a place that has one keeps it."""
    with store.write() as connection:
        insert_reused(connection, sweep_id, taken)


def reused(store: Store, sweep_id: str) -> dict[Place, str]:
    """Return which run stands for which planned one; those that were deleted stand for none."""
    sql = (
        "SELECT u.position, u.release_tag, u.repeat, u.run, r.id FROM sweep_reused u "
        f"LEFT JOIN runs r ON r.id = u.run {_OF_SWEEP}"
    )

    def read(snapshot: Reader, _: object, files: Files) -> dict[Place, str]:
        rows = snapshot.read(sql, (sweep_id,))
        gone = [run for *_, run, here in rows if here is None]
        moved = archived_sweeps.known(snapshot, files, sweep_id, gone)
        return {Place(*row): run for *row, run, here in rows if here is not None or run in moved}

    return in_one_state(store, {}, read)


def sweep_rows(
    store: Store, sweep_id: str, *, states: Sequence[str] | None, reuse: dict[Place, str]
) -> list[tuple[Any, ...]]:
    """Return the rows of a sweep for its frame, newest first.

    Runs taken over are shown as the planned ones that they stand for.
    """
    rows = with_archived(store, {"sweep_id": sweep_id, "state": states}, reads.SHOWN)
    if not reuse:
        return rows
    places = {run: place for place, run in reuse.items()}
    for row in with_archived(store, {"ids": list(places), "state": states}, reads.SHOWN):
        place = places[row[_ID]]
        changed = list(row)
        changed[_TAG], changed[_REPEAT] = place.release_tag, place.repeat
        rows.append(tuple(changed))
    return sorted(rows, key=lambda row: row[_TIME], reverse=True)
