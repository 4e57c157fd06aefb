"""What the history keeps of sweeps: the plan with its cases, and its runs many at a time."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from vellum_nb.errors import HistoryError
from vellum_nb.history.keeping import archived_sweeps
from vellum_nb.history.keeping.archived_places import Files
from vellum_nb.history.keeping.deleting import remove
from vellum_nb.history.keeping.one_state import in_one_state, there
from vellum_nb.history.keeping.writes import complete, complete_again, insert, insert_again
from vellum_nb.history.plans.leases import LAST_SEEN, is_held
from vellum_nb.history.plans.reuse import insert_reused
from vellum_nb.history.rows.plans import CASE, SWEEP
from vellum_nb.history.rows.rows import encoded, from_micros, micros
from vellum_nb.history.store import large
from vellum_nb.history.store.later import later
from vellum_nb.history.store.store import Connection, Reader, Store
from vellum_nb.models import Run
from vellum_nb.models.sweeps import IN_DOUBT_SQL, Place, SweepCase, SweepRecord

__all__ = [
    "add",
    "cases",
    "change",
    "deleted",
    "holders",
    "in_doubt",
    "last_seen",
    "mark_moved",
    "record",
    "renew_cases",
    "seconds",
    "spent",
    "states",
    "sweeps",
    "tallies",
    "withdraw",
]

_MADE_OF = CASE[2:5]


def add(
    store: Store,
    sweep: SweepRecord,
    cases: Iterable[SweepCase],
    *,
    taken: Mapping[Place, str],
    twin: bool,
) -> bool:
    """Keep the plan of `sweep`, and which runs it takes over; it is on disk when this returns.

    Returns False, and keeps nothing, where there is an unfinished one of the same plan meanwhile,
    unless it may be its `twin`.
    """
    with store.write() as connection:
        sql = "SELECT 1 FROM sweeps WHERE signature = ? AND ended IS NULL"
        if not twin and connection.execute(sql, (sweep.signature,)).fetchone():
            return False
        marks = ", ".join("?" * len(SWEEP))
        sql = f"INSERT INTO sweeps ({', '.join(SWEEP)}) VALUES ({marks})"
        number = connection.execute(sql, _row(sweep)).lastrowid
        marks = ", ".join("?" * (1 + len(CASE)))
        sql = f"INSERT INTO sweep_cases (sweep, {', '.join(CASE)}) VALUES ({marks})"
        rows = [(number, *_case_row(connection, case)) for case in cases]
        connection.executemany(sql, rows)
        insert_reused(connection, sweep.id, taken)
    return True


def sweeps(store: Store, where: str = "TRUE", bound: Sequence[object] = ()) -> list[SweepRecord]:
    """Return the sweeps that the SQL term `where` names, newest first."""
    sql = f"SELECT {', '.join(SWEEP)} FROM sweeps WHERE {where} ORDER BY seq DESC"
    return [_sweep(row) for row in store.read(sql, bound)]


def renew_cases(store: Store, sweep_id: str, cases: Iterable[SweepCase]) -> None:
    """Keep what is expected of the cases of a sweep, and their labels, as they are now."""
    sql = (
        "UPDATE sweep_cases SET expected = ?, labels = ? "
        "WHERE sweep = (SELECT seq FROM sweeps WHERE id = ?) AND position = ?"
    )
    rows = ((*_texts(case)[1:], sweep_id, case.position) for case in cases)
    with store.write() as connection:
        connection.executemany(sql, rows)


def cases(store: Store, sweep_id: str) -> list[SweepCase]:
    """Return the cases of a sweep, in their order."""
    sql = (
        f"SELECT {', '.join(CASE)} FROM sweep_cases "
        "WHERE sweep = (SELECT seq FROM sweeps WHERE id = ?) ORDER BY position"
    )
    rows = large.restored(store.read, store.read(sql, (sweep_id,)), CASE[:-1])
    return [
        SweepCase(position, case_id, *map(json.loads, texts)) for position, case_id, *texts in rows
    ]


def last_seen(store: Store, sweep_id: str) -> datetime | None:
    """Return when a run of the sweep last began or ended."""
    found = store.read(LAST_SEEN, (sweep_id,))[0][0]
    return None if found is None else from_micros(found)


def holders(store: Store) -> dict[str, bool]:
    """Return of each sweep that has not ended whether a process drives it."""
    sql = (
        f"SELECT id, holder, ({LAST_SEEN.replace('?', 's.id')}) FROM sweeps s "
        "WHERE holder IS NOT NULL"
    )
    return {each: is_held(holder, last) for each, holder, last in store.read(sql)}


def tallies(store: Store) -> dict[str, Counter[str]]:
    """Return of each sweep how many runs are in which state, those taken over too."""
    own = (
        "SELECT sweep_id, state, count(*) FROM runs WHERE sweep_id IS NOT NULL "
        "GROUP BY sweep_id, state"
    )
    taken = (
        "SELECT s.id, r.state, count(*) FROM sweep_reused u JOIN sweeps s ON s.seq = u.sweep "
        "JOIN runs r ON r.id = u.run GROUP BY s.id, r.state"
    )

    def read(snapshot: Reader, _: object, files: Files) -> dict[str, Counter[str]]:
        found: dict[str, Counter[str]] = {}
        for sweep_id, state, number in (*snapshot.read(own), *snapshot.read(taken)):
            found.setdefault(sweep_id, Counter())[state] += number
        for sweep_id, counted in archived_sweeps.tallies(snapshot, there(store, files)).items():
            found.setdefault(sweep_id, Counter()).update(counted)
        return found

    return in_one_state(store, {}, read)


def states(store: Store, sweep_id: str) -> dict[str, str]:
    """Return the state of each run of a sweep that was begun, by its id."""

    def read(snapshot: Reader, _: object, files: Files) -> dict[str, str]:
        found = snapshot.read("SELECT id, state FROM runs WHERE sweep_id = ?", (sweep_id,))
        return archived_sweeps.states_of_sweep(snapshot, files, sweep_id) | dict(found)

    return in_one_state(store, {}, read)


def in_doubt(store: Store, sweep_id: str) -> set[str]:
    """Return the runs of a sweep that are FAILED, and may have been executed."""
    sql = f"SELECT id FROM runs WHERE sweep_id = ? AND state = 'FAILED' AND {IN_DOUBT_SQL}"
    return {run_id for (run_id,) in store.read(sql, (sweep_id,))}


def deleted(store: Store, sweep_id: str) -> int:
    """Return how many runs of a sweep, own ones or those taken over, were deleted."""
    sql = (
        "SELECT count(DISTINCT d.id) FROM deleted_runs d WHERE (d.sweep_id = ? OR d.id IN "
        "(SELECT u.run FROM sweep_reused u JOIN sweeps s ON s.seq = u.sweep WHERE s.id = ?)) "
        "AND d.id NOT IN (SELECT id FROM runs WHERE id = d.id)"
    )
    found: int = store.read(sql, (sweep_id, sweep_id))[0][0]
    return found


def spent(store: Store, sweep_id: str, last: int) -> dict[str, tuple[float | None, list[float]]]:
    """Return what the runs of each release tag have cost, and the seconds the last ones took."""
    costs = "SELECT release_tag, sum(cost_usd) FROM runs WHERE sweep_id = ? GROUP BY release_tag"
    took = (
        "SELECT latency_s FROM runs WHERE sweep_id = ? AND release_tag = ? "
        "AND latency_s IS NOT NULL ORDER BY seq DESC LIMIT ?"
    )
    return {
        tag: (cost, [seconds for (seconds,) in store.read(took, (sweep_id, tag, last))][::-1])
        for tag, cost in store.read(costs, (sweep_id,))
    }


def seconds(store: Store, sweep_id: str) -> float:
    """Return for how long any run of the sweep was under way."""
    earlier = "ORDER BY timestamp ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING"
    spans = (
        f"SELECT timestamp, finished_at, max(finished_at) OVER ({earlier}) AS until FROM runs "
        "WHERE sweep_id = ? AND finished_at IS NOT NULL"
    )
    sql = (
        "SELECT CAST(sum(CASE WHEN since < finished_at THEN finished_at - since END) AS BIGINT) "
        "FROM (SELECT finished_at, CASE WHEN until > timestamp THEN until ELSE timestamp END "
        f"AS since FROM ({spans}) AS spans) AS parts"
    )
    return (store.read(sql, (sweep_id,))[0][0] or 0) / 1e6


@later()
def change(store: Store, /, sweep_id: str, **fields: Any) -> None:
    """Set fields of the sweep's row."""
    settings = ", ".join(f"{name} = ?" for name in fields)
    values = [_column(value) for value in fields.values()]
    with store.write() as connection:
        sql = f"UPDATE sweeps SET {settings} WHERE id = ?"
        if connection.execute(sql, (*values, sweep_id)).rowcount == 0:
            msg = f"The history has no sweep {sweep_id!r}; ws.sweeps() lists those there are"
            raise HistoryError(msg)


def _record_again(store: Store, begun: Sequence[Run], ended: Sequence[Run]) -> None:
    with store.write() as connection:
        for run in ended:
            complete_again(connection, run)
        for run in begun:
            insert_again(connection, run)


def _each(begun: Sequence[Run], ended: Sequence[Run]) -> list[tuple[Sequence[Run], Sequence[Run]]]:
    return [*(((), (run,)) for run in ended), *(((run,), ()) for run in begun)]


@later(_record_again, each=_each)
def record(store: Store, begun: Sequence[Run], ended: Sequence[Run]) -> None:
    """Complete the rows of `ended` and add those of `begun`, in one transaction.

    A row that has ended meanwhile, by a synchronisation, stays as it is.
    """
    with store.write() as connection:
        for run in ended:
            complete(connection, run)
        for run in begun:
            insert(connection, run)


@later()
def mark_moved(store: Store, sweep_id: str, release_tag: str, run_ids: Sequence[str]) -> None:
    """Mark runs, and all of this tag that have not ended, as made while the tag moved."""
    sql = (
        "UPDATE runs SET tag_moved = 1 WHERE sweep_id = ? AND release_tag = ? "
        f"AND (state = 'STARTED' OR {store.dialect.one_of('id')})"
    )
    with store.write() as connection:
        connection.execute(sql, (sweep_id, release_tag, store.dialect.listed(run_ids)))


@later()
def withdraw(store: Store, ids: Sequence[str]) -> None:
    """Take back runs that were begun and never sent."""
    sql = f"SELECT seq FROM runs WHERE state = 'STARTED' AND {store.dialect.one_of('id')}"
    with store.write() as connection:
        rows = connection.execute(sql, (store.dialect.listed(ids),)).fetchall()
        remove(store, connection, [seq for (seq,) in rows])


def _row(sweep: SweepRecord) -> list[Any]:
    return [_column(getattr(sweep, name)) for name in SWEEP]


def _column(value: Any) -> Any:
    if isinstance(value, datetime):
        return micros(value)
    return json.dumps(value) if isinstance(value, dict | tuple) else value


def _sweep(row: Sequence[Any]) -> SweepRecord:
    found = dict(zip(SWEEP, row, strict=True))
    found["release_tags"] = tuple(json.loads(found["release_tags"]))
    found["releases"] = json.loads(found["releases"])
    found["options"] = json.loads(found["options"])
    found["created"] = from_micros(found["created"])
    found["ended"] = None if found["ended"] is None else from_micros(found["ended"])
    return SweepRecord(**found)


def _case_row(connection: Connection, case: SweepCase) -> tuple[Any, ...]:
    """Return the row of `CASE`, without its large inputs, which its runs have, too."""
    texts = dict(zip(_MADE_OF, _texts(case), strict=True))
    places = large.keep(connection, texts, ("inputs",))
    return case.position, case.case_id, *texts.values(), large.merged(places)


def _texts(case: SweepCase) -> list[str | None]:
    where = f"case {case.position}"
    return [encoded(dict(getattr(case, name)), name, where) for name in _MADE_OF]
