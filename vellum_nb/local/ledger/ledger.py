"""Keeps executions, their events, states, actuals and uploaded files, in SQLite.

With a folder they are in the file ``executions.db`` and survive a killed process: what a call has
returned from is kept. Without one they are in a temporary file that goes with the ledger.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from typing import Any

from vellum_nb.local.engine.events import Event
from vellum_nb.local.ledger.file import LedgerFile
from vellum_nb.local.ledger.filters import EVERYTHING, Where
from vellum_nb.local.ledger.records import Actual, Record
from vellum_nb.local.ledger.rows import (
    dumped,
    events_blob,
    events_of,
    micros,
    moment,
    record_of,
    row_of,
    storable,
)
from vellum_nb.local.refusals import bad_request
from vellum_nb.models import WorkflowEventError

__all__ = ["Ledger", "StoredFile"]

_FARTHEST = 2**62  # SQLite counts no further
_COLUMNS = (
    "execution_id",
    "deployment_id",
    "external_id",
    "state",
    "timestamp",
    "metadata",
    "record",
)
_INSERT = f"INSERT INTO executions ({', '.join(_COLUMNS)}) VALUES (:{', :'.join(_COLUMNS)})"
_UPDATE = (
    "UPDATE executions SET state = :state, metadata = :metadata, record = :record "
    "WHERE execution_id = :execution_id"
)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An uploaded file."""

    id: str
    name: str
    media_type: str
    content: bytes = field(repr=False)


class Ledger(LedgerFile):
    """Every execution of a server. Any thread may use it; a call that returned is committed.

    Parameters
    ----------
    folder : Path, optional
        Made when it is not there. None keeps things as long as the ledger lives.

    Raises
    ------
    VellumNBError
        When the file cannot be opened, is none of ours, or is newer than we are.
    """

    def begin(self, record: Record) -> None:
        """Keep a new execution, and use up its external id.

        Raises
        ------
        VellumNBError
            When an execution with this external id is kept already, or when the record cannot be
            kept; nothing is written then.
        """
        try:
            row = row_of(record)
        except RecursionError:
            msg = "The inputs or the metadata are nested too deeply to be kept"
            raise bad_request(msg) from None
        try:
            with self._transaction() as db:
                db.execute(_INSERT, row)
        except sqlite3.IntegrityError:
            if record.external_id is None or self.by_external_id(record.external_id) is None:
                raise
            msg = (
                f"external_id {record.external_id!r} was used before; "
                "it must be unique in the workspace"
            )
            raise bad_request(msg) from None

    def update(self, record: Record) -> None:
        """Keep an execution as it is now."""
        with self._transaction() as db:
            db.execute(_UPDATE, row_of(record))

    def finish(self, record: Record, events: Sequence[Event]) -> None:
        """Keep an execution that has ended, with all that happened in it."""
        with self._transaction() as db:
            db.execute(_UPDATE, row_of(record))
            db.execute(
                "INSERT OR REPLACE INTO traces VALUES (?, ?)",
                (record.execution_id, events_blob(events)),
            )

    def reject_running(self, message: str) -> int:
        """Reject what no server runs any more; return how many there were.

        To be called when a server starts: what has not ended then ran in one that was killed.

        Raises
        ------
        VellumNBError
            When the file is damaged; nothing is written then.
        """
        with self._readable(), self._transaction() as db:
            rows = db.execute(
                "SELECT record FROM executions WHERE state NOT IN ('FULFILLED', 'REJECTED')"
            ).fetchall()
            error = WorkflowEventError(message=message, code="WORKFLOW_CANCELLED")
            for row in rows:
                record = record_of(row["record"])
                ended = replace(record, status="REJECTED", end=datetime.now(UTC), error=error)
                db.execute(_UPDATE, row_of(ended))
        return len(rows)

    def record(self, execution_id: str) -> Record | None:
        """Return an execution."""
        return self._one("execution_id", execution_id)

    def by_external_id(self, external_id: str) -> Record | None:
        """Return the execution with an external id."""
        return self._one("external_id", external_id)

    def records(
        self,
        deployment_id: str,
        *,
        where: Where = EVERYTHING,
        ordering: str = "timestamp DESC, number DESC",
        limit: int = 100,
        offset: int = 0,
    ) -> tuple[int, list[Record]]:
        """Return how many executions of a deployment there are, and one page of them.

        `where` and `ordering` come from `filters`: `parsed` and `sorting`.
        """
        condition = f"FROM executions WHERE deployment_id = ? AND ({where.sql})"
        values = (deployment_id, *where.values)
        with self._transaction() as db:
            count: int = db.execute(f"SELECT count(*) {condition}", values).fetchone()[0]
            rows = db.execute(
                f"SELECT record {condition} ORDER BY {ordering} LIMIT ? OFFSET ?",
                (*values, limit, min(offset, _FARTHEST)),
            ).fetchall()
        return count, [record_of(row["record"]) for row in rows]

    def events(self, execution_id: str) -> list[Event]:
        """Return what happened in an execution that has ended; nothing before."""
        with self._transaction() as db:
            row = db.execute(
                "SELECT events FROM traces WHERE execution_id = ?", (storable(execution_id),)
            ).fetchone()
        return [] if row is None else events_of(row["events"])

    def state(self, execution_id: str) -> Mapping[str, Any] | None:
        """Return the final state of an execution; None when it has none, or is not known."""
        record = self.record(execution_id)
        return None if record is None else record.state

    def add_actuals(self, execution_id: str, actuals: Sequence[Actual]) -> None:
        """Keep actuals of an execution, all or none."""
        rows = [(execution_id, micros(a.timestamp), dumped(dict(a.body))) for a in actuals]
        with self._transaction() as db:
            db.executemany(
                "INSERT INTO actuals (execution_id, timestamp, body) VALUES (?, ?, ?)", rows
            )

    def latest_actual(self, execution_id: str) -> Actual | None:
        """Return the newest actual of an execution; of two at one time, the later submitted."""
        with self._transaction() as db:
            row = db.execute(
                "SELECT timestamp, body FROM actuals WHERE execution_id = ? "
                "ORDER BY timestamp DESC, number DESC LIMIT 1",
                (execution_id,),
            ).fetchone()
        if row is None:
            return None
        return Actual(execution_id, moment(row["timestamp"]), json.loads(row["body"]))

    def add_file(
        self, name: str, content: bytes, *, media_type: str = "", id_: str | None = None
    ) -> str:
        """Keep a file, under a new id or in the place of another; return the id."""
        id_ = id_ or str(uuid.uuid4())
        with self._transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?)",
                (id_, storable(name), storable(media_type), content),
            )
        return id_

    def file(self, id_: str) -> StoredFile | None:
        """Return an uploaded file."""
        with self._transaction() as db:
            row = db.execute("SELECT * FROM files WHERE id = ?", (storable(id_),)).fetchone()
        return None if row is None else StoredFile(*row)

    def secret(self, name: str) -> bytes:
        """Return 32 random bytes, the same ones for the same name as long as the ledger is kept."""
        with self._transaction() as db:
            db.execute(
                "INSERT OR IGNORE INTO secrets VALUES (?, ?)", (name, secrets.token_bytes(32))
            )
            row = db.execute("SELECT value FROM secrets WHERE name = ?", (name,)).fetchone()
        return bytes(row["value"])

    def _one(self, column: str, value: str) -> Record | None:
        with self._transaction() as db:
            row = db.execute(
                f"SELECT record FROM executions WHERE {column} = ?", (storable(value),)
            ).fetchone()
        return None if row is None else record_of(row["record"])
