"""Ledger of a local server: executions, their events, actuals and uploaded files, in SQLite.

With a folder they are in the file ``executions.db`` and survive a killed process: a call that
returned is committed. Without one they are in a temporary file that goes with the ledger.
"""

from __future__ import annotations

import json
import secrets
import sqlite3
import uuid
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from vellum_nb.errors import VellumNBError
from vellum_nb.local.deployments.sources import lock_folder
from vellum_nb.local.engine.events import Event, Usage, events_from_json, new_id, to_json
from vellum_nb.local.refusals import Refused, StoreError
from vellum_nb.models import WorkflowEventError, WorkflowInput, WorkflowOutput
from vellum_nb.sqlite import TEMPORARY, FileFormat, SqliteFile, Transaction

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MAX_OFFSET = 2**62  # SQLite counts no further
_TABLES = (
    """CREATE TABLE executions (
        number INTEGER PRIMARY KEY, execution_id TEXT NOT NULL UNIQUE,
        deployment_id TEXT NOT NULL, external_id TEXT UNIQUE, state TEXT NOT NULL,
        timestamp INTEGER NOT NULL, metadata TEXT, record TEXT NOT NULL, events BLOB
    ) STRICT""",
    "CREATE INDEX executions_by_time ON executions (deployment_id, timestamp)",
    """CREATE INDEX executions_running ON executions (state)
        WHERE state NOT IN ('FULFILLED', 'REJECTED')""",
    """CREATE TABLE actuals (
        number INTEGER PRIMARY KEY, execution_id TEXT NOT NULL, timestamp INTEGER NOT NULL,
        body TEXT NOT NULL
    ) STRICT""",
    "CREATE INDEX actuals_by_execution ON actuals (execution_id, timestamp)",
    """CREATE TABLE files (
        id TEXT PRIMARY KEY, name TEXT NOT NULL, media_type TEXT NOT NULL, content BLOB NOT NULL
    ) STRICT""",
    "CREATE TABLE secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT",
)
_INSERT = """INSERT INTO executions
    (execution_id, deployment_id, external_id, state, timestamp, metadata, record)
    VALUES (:execution_id, :deployment_id, :external_id, :state, :timestamp, :metadata, :record)
    ON CONFLICT (external_id) DO NOTHING"""
_UPDATE = (
    "UPDATE executions SET state = :state, record = :record WHERE execution_id = :execution_id"
)


@dataclass(frozen=True, slots=True)
class ExecutionRecord:
    """One execution. Replaced, never changed.

    `status` is PENDING (waits for its turn), INITIATED, STREAMING, FULFILLED or REJECTED; `tag`
    the release tag of the request; `state` the workflow's final state; `parent` the context of the
    node that asked for it, if it runs inside another execution.
    """

    execution_id: str
    trace_id: str
    deployment_id: str
    deployment_name: str
    release_id: str
    version_id: str
    tag: str
    inputs: tuple[WorkflowInput, ...]
    start: datetime
    external_id: str | None = None
    metadata: Mapping[str, Any] | None = None
    previous_execution_id: str | None = None
    status: str = "INITIATED"
    end: datetime | None = None
    outputs: tuple[WorkflowOutput, ...] = ()
    error: WorkflowEventError | None = None
    state: Mapping[str, Any] | None = None
    usage: tuple[Usage, ...] = ()
    parent: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class StoredFile:
    """An uploaded file."""

    id: str
    name: str
    media_type: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Where:
    """A condition in SQL with the values of its parameters."""

    sql: str
    values: Mapping[str, str | int] = field(default_factory=dict)


EVERYTHING = Where("1")


class EventLog:
    """The events of an execution as a compressed JSON list, which grows with each event.

    Each event repeats where it belongs, which compresses well. Typed outputs are left out: their
    values are in the body, and the types of the last ones in the record.
    """

    def __init__(self, events: Iterable[Event] = ()) -> None:
        self.size = 0  # bytes of JSON
        self._compressor = zlib.compressobj(1, zlib.DEFLATED, 13, 6)  # in 64 kB of memory
        self._content = bytearray()
        for event in events:
            self.add(event)

    def add(self, event: Event) -> None:
        """Append an event."""
        text = to_json(replace(event, outputs=())).encode("ascii")
        self._content += self._compressor.compress(b"," if self.size else b"[")
        self._content += self._compressor.compress(text)
        self.size += len(text)

    def content(self) -> bytearray:
        """Return the whole list; no event can be added afterwards."""
        self._content += self._compressor.compress(b"]" if self.size else b"[]")
        self._content += self._compressor.flush()
        return self._content


class Ledger:
    """Every execution of a server. Any thread may use it."""

    def __init__(self, folder: Path | None = None) -> None:
        self._path = TEMPORARY if folder is None else folder / "executions.db"
        self._folder = folder
        self._lock: sqlite3.Connection | None = None
        self.store = SqliteFile(self._path, _FORMAT)
        self.identity = str(uuid.UUID(bytes=self.secret("identity")[:16], version=4))
        """Id of what it remembers: another one after a restart that has forgotten everything."""

    def hold(self) -> None:
        """Keep other servers off the folder, until `close`."""
        if self._folder is not None and self._lock is None:
            self._lock = lock_folder(self._folder)
            if self.store.closed:
                self.store = SqliteFile(self._path, _FORMAT)

    def close(self) -> None:
        """Close the file, until `hold`. Without a folder all stays as it is."""
        if self._folder is not None:
            self.store.close()
            if self._lock is not None:
                self._lock.close()
                self._lock = None

    def begin(self, record: ExecutionRecord) -> None:
        """Record a new execution, and use up its external id."""
        try:
            row = _row_of(record)
        except RecursionError:
            msg = "The inputs or the metadata are nested too deeply to be stored"
            raise Refused(400, msg) from None
        if not self.store.write(lambda tx: tx.execute(_INSERT, row)):
            used = f"external_id {record.external_id!r} was used before"
            raise Refused(400, f"{used}; it must be unique in the workspace")

    def update(self, record: ExecutionRecord) -> None:
        """Store an execution as it is now, unless it has ended."""
        update = f"{_UPDATE} AND state NOT IN ('FULFILLED', 'REJECTED')"
        self.store.write(lambda tx: tx.execute(update, _row_of(record)))

    def finish(self, record: ExecutionRecord, events: EventLog) -> None:
        """Store an execution that has ended, with all its events."""
        content = events.content()
        update = _UPDATE.replace("SET", "SET events = :events,")
        # The row is made when its turn has come: many large ones may wait.
        self.store.write(lambda tx: tx.execute(update, {**_row_of(record), "events": content}))

    def reject_running(self, message: str) -> int:
        """Reject the executions that no server runs any more; return how many there were.

        To be called when a server starts: what has not ended then ran in one that was killed.
        """
        error = WorkflowEventError(message=message, code="WORKFLOW_CANCELLED")

        def reject(tx: Transaction) -> int:
            running = "SELECT record FROM executions WHERE state NOT IN ('FULFILLED', 'REJECTED')"
            rows = tx.read(running)
            for (text,) in rows:
                now = datetime.now(UTC)
                ended = replace(_record_of(text), status="REJECTED", end=now, error=error)
                tx.execute(_UPDATE, _row_of(ended))
            return len(rows)

        try:
            return self.store.write(reject)
        except (ValueError, KeyError, TypeError) as exc:
            msg = f"The executions in {self._path} cannot be read ({exc}) and were left as they are"
            raise VellumNBError(msg) from exc

    def record(self, execution_id: str) -> ExecutionRecord | None:
        """Return an execution."""
        return self._one("execution_id", execution_id)

    def by_external_id(self, external_id: str) -> ExecutionRecord | None:
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
    ) -> tuple[int, list[ExecutionRecord]]:
        """Return how many executions of a deployment there are, and one page of them.

        `where` and `ordering` come from `parse_filters` and `parse_ordering`.
        """
        condition = f"FROM executions WHERE deployment_id = :deployment AND ({where.sql})"
        values = {**where.values, "deployment": deployment_id}
        count: int = self.store.read(f"SELECT count(*) {condition}", values)[0][0]
        rows = self.store.read(
            f"SELECT record {condition} ORDER BY {ordering} LIMIT :limit OFFSET :offset",
            {**values, "limit": limit, "offset": min(offset, _MAX_OFFSET)},
        )
        return count, [_record_of(text) for (text,) in rows]

    def events(self, execution_id: str) -> list[Event]:
        """Return the events of an execution that has ended; none before."""
        found = self._find("SELECT events FROM executions WHERE execution_id = :id", execution_id)
        return events_from_json(zlib.decompress(found[0])) if found and found[0] else []

    def add_actuals(self, execution_id: str, actuals: Sequence[Mapping[str, Any]]) -> None:
        """Store actuals of an execution, all or none; each has a `timestamp`."""
        rows = [
            {"id": execution_id, "timestamp": micros(a["timestamp"]), "body": to_json(a)}
            for a in actuals
        ]
        insert = (
            "INSERT INTO actuals (execution_id, timestamp, body) VALUES (:id, :timestamp, :body)"
        )
        self.store.write(lambda tx: tx.execute_many(insert, rows))

    def latest_actual(self, execution_id: str) -> dict[str, Any] | None:
        """Return the newest actual of an execution; of two at one time, the later submitted."""
        latest = "ORDER BY timestamp DESC, number DESC LIMIT 1"
        found = self._find(
            f"SELECT body FROM actuals WHERE execution_id = :id {latest}", execution_id
        )
        return dict(json.loads(found[0])) if found else None

    def add_file(
        self, name: str, content: bytes, *, media_type: str = "", id_: str | None = None
    ) -> str:
        """Store a file, under a new id or in place of another; return the id."""
        id_ = id_ or new_id()
        row = {"id": id_, "name": storable(name), "type": storable(media_type), "content": content}
        insert = "INSERT OR REPLACE INTO files VALUES (:id, :name, :type, :content)"
        self.store.write(lambda tx: tx.execute(insert, row))
        return id_

    def file(self, id_: str) -> StoredFile | None:
        """Return an uploaded file."""
        row = self._find("SELECT id, name, media_type, content FROM files WHERE id = :id", id_)
        return None if row is None else StoredFile(*row)

    def secret(self, name: str) -> bytes:
        """Return 32 random bytes, the same for the same name as long as the ledger is kept."""
        row = {"name": name, "value": secrets.token_bytes(32)}
        self.store.write(
            lambda tx: tx.execute("INSERT OR IGNORE INTO secrets VALUES (:name, :value)", row)
        )
        found = self._find("SELECT value FROM secrets WHERE name = :id", name)
        return b"" if found is None else bytes(found[0])

    def _one(self, column: str, value: str) -> ExecutionRecord | None:
        row = self._find(f"SELECT record FROM executions WHERE {column} = :id", value)
        return None if row is None else _record_of(row[0])

    def _find(self, sql: str, id_: str) -> tuple[Any, ...] | None:
        rows = self.store.read(sql, {"id": storable(id_)})
        return rows[0] if rows else None


def micros(when: datetime) -> int:
    """Return `when` as whole microseconds since 1970."""
    return (when - _EPOCH) // timedelta(microseconds=1)


def storable(text: str) -> str:
    """Return `text` as SQLite can take it: half a surrogate pair becomes its escape."""
    return text.encode("utf-8", "backslashreplace").decode()


def metadata_text(value: Any) -> str:
    """Return plain JSON as text that filters search in."""
    return storable(json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":")))


def _row_of(record: ExecutionRecord) -> dict[str, Any]:
    return {
        "execution_id": record.execution_id,
        "deployment_id": record.deployment_id,
        "external_id": None if record.external_id is None else storable(record.external_id),
        "state": record.status,
        "timestamp": micros(record.start),
        "metadata": None if record.metadata is None else metadata_text(dict(record.metadata)),
        "record": to_json(record),
    }


def _record_of(text: str) -> ExecutionRecord:
    return _RECORD.validate_python(json.loads(text))


def _make_tables(tx: Transaction) -> None:
    for statement in _TABLES:
        tx.execute(statement)


_FORMAT = FileFormat("executions", 0x766E6265, (_make_tables,), StoreError)  # "vnbe"
_RECORD: TypeAdapter[ExecutionRecord] = TypeAdapter(ExecutionRecord)
