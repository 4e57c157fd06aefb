"""What the history keeps of sweeps: the plan with its cases, and its runs many at a time."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import Any

from vellum_nb.errors import HistoryError
from vellum_nb.history.rows import encoded, from_micros, micros
from vellum_nb.history.store import Store
from vellum_nb.history.writes import complete, insert
from vellum_nb.models import Run
from vellum_nb.models.sweeps import SweepCase, SweepRecord

__all__ = ["add", "cases", "change", "record", "states", "sweeps"]

_FIELDS = (
    "id",
    "deployment",
    "environment",
    "release_tags",
    "repeats",
    "cases",
    "signature",
    "created",
    "round",
    "ended",
    "why",
)
_MADE_OF = ("inputs", "expected", "labels")


def add(store: Store, sweep: SweepRecord, cases: Iterable[SweepCase]) -> None:
    """Keep the plan of `sweep`; it is on disk when this returns."""
    marks = ", ".join("?" * len(_FIELDS))
    with store.write() as connection:
        sql = f"INSERT INTO sweeps ({', '.join(_FIELDS)}) VALUES ({marks})"
        number = connection.execute(sql, _row(sweep)).lastrowid
        connection.executemany(
            "INSERT INTO sweep_cases VALUES (?, ?, ?, ?, ?, ?)",
            ((number, case.position, case.case_id, *_texts(case)) for case in cases),
        )


def sweeps(store: Store, where: str = "1", bound: Sequence[object] = ()) -> list[SweepRecord]:
    """Return the sweeps that the SQL term `where` names, newest first."""
    sql = f"SELECT {', '.join(_FIELDS)} FROM sweeps WHERE {where} ORDER BY seq DESC"
    return [_sweep(row) for row in store.read(sql, bound)]


def cases(store: Store, sweep_id: str) -> list[SweepCase]:
    """Return the cases of a sweep, in their order."""
    sql = (
        f"SELECT position, case_id, {', '.join(_MADE_OF)} FROM sweep_cases "
        "WHERE sweep = (SELECT seq FROM sweeps WHERE id = ?) ORDER BY position"
    )
    return [
        SweepCase(position, case_id, *map(json.loads, texts))
        for position, case_id, *texts in store.read(sql, (sweep_id,))
    ]


def states(store: Store, sweep_id: str) -> dict[str, str]:
    """Return the state of each run of a sweep that was begun, by its id."""
    return dict(store.read("SELECT id, state FROM runs WHERE sweep_id = ?", (sweep_id,)))


def change(store: Store, sweep_id: str, **fields: Any) -> None:
    """Set fields of the sweep's row."""
    settings = ", ".join(f"{name} = ?" for name in fields)
    values = [micros(v) if isinstance(v, datetime) else v for v in fields.values()]
    with store.write() as connection:
        sql = f"UPDATE sweeps SET {settings} WHERE id = ?"
        if connection.execute(sql, (*values, sweep_id)).rowcount == 0:
            msg = f"The history has no sweep {sweep_id!r}; ws.sweeps() lists those there are"
            raise HistoryError(msg)


def record(store: Store, begun: Sequence[Run], ended: Sequence[Run]) -> None:
    """Complete the rows of `ended` and add those of `begun`, in one transaction.

    A row that has ended meanwhile, by a synchronisation, stays as it is.
    """
    with store.write() as connection:
        for run in ended:
            complete(connection, run)
        for run in begun:
            insert(connection, run)


def withdraw(store: Store, ids: Sequence[str]) -> None:
    """Take back runs that were begun and never sent."""
    with store.write() as connection:
        for table in ("payloads", "runs"):
            _delete_started(connection, table, ids)


def _delete_started(connection: sqlite3.Connection, table: str, ids: Sequence[str]) -> None:
    chosen = (
        "SELECT seq FROM runs WHERE state = 'STARTED' AND id IN (SELECT value FROM json_each(?))"
    )
    connection.execute(f"DELETE FROM {table} WHERE seq IN ({chosen})", (json.dumps(list(ids)),))


def _row(sweep: SweepRecord) -> list[Any]:
    found = {name: getattr(sweep, name) for name in _FIELDS}
    found["release_tags"] = json.dumps(sweep.release_tags)
    found["created"] = micros(sweep.created)
    found["ended"] = micros(sweep.ended) if sweep.ended else None
    return list(found.values())


def _sweep(row: Sequence[Any]) -> SweepRecord:
    found = dict(zip(_FIELDS, row, strict=True))
    found["release_tags"] = tuple(json.loads(found["release_tags"]))
    found["created"] = from_micros(found["created"])
    found["ended"] = None if found["ended"] is None else from_micros(found["ended"])
    return SweepRecord(**found)


def _texts(case: SweepCase) -> list[str | None]:
    where = f"case {case.position}"
    return [encoded(dict(getattr(case, name)), name, where) for name in _MADE_OF]
