"""Ledger of a local server: executions, their events, actuals and uploaded files, in SQLite.

With a folder, they are in ``executions.db``; every call is committed when it returns, so they
survive a killed process. Without a folder, they are in a temporary file.
"""

from __future__ import annotations

import itertools
import json
import secrets
import sqlite3
import uuid
import zlib
from collections.abc import Collection, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, StrictBool, TypeAdapter, ValidationError

from vellum_nb.clock import micros
from vellum_nb.errors import VellumNBError
from vellum_nb.local.deployments.sources import lock_folder
from vellum_nb.local.engine.events import Event, Usage, from_json, new_id, parse_events, to_json
from vellum_nb.local.refusals import Refused, StoreError
from vellum_nb.models import WorkflowEventError, WorkflowInput, WorkflowOutput
from vellum_nb.sqlite import TEMPORARY, FileFormat, SqliteFile, Transaction

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
    """An execution.

    `status` is PENDING (queued), INITIATED, STREAMING, FULFILLED or REJECTED; `tag` is the release
    tag of the request; `state` the final state of the workflow; `parent` the context of the node
    that requested it, for an execution inside another one.
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
    """Events of an execution, as a compressed JSON list.

    Typed outputs are omitted: their values are in the body, the final types in the record.
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
        """Finish and return the list."""
        self._content += self._compressor.compress(b"]" if self.size else b"[]")
        self._content += self._compressor.flush()
        return self._content


class Ledger:
    """Executions of a server; thread-safe."""

    def __init__(self, folder: Path | None = None) -> None:
        self._path = TEMPORARY if folder is None else folder / "executions.db"
        self._folder = folder
        self._lock: sqlite3.Connection | None = None
        self.store = SqliteFile(self._path, _FORMAT)
        self.identity = str(uuid.UUID(bytes=self.secret("identity")[:16], version=4))
        """Id of the stored executions; a server without a folder has a new one after a restart."""

    def hold(self) -> None:
        """Lock the folder against other servers until `close`."""
        if self._folder is not None and self._lock is None:
            self._lock = lock_folder(self._folder)
            if self.store.closed:
                self.store = SqliteFile(self._path, _FORMAT)

    def close(self) -> None:
        """Close the file until `hold`; without a folder, do nothing."""
        if self._folder is not None:
            self.store.close()
            if self._lock is not None:
                self._lock.close()
                self._lock = None

    def begin(self, record: ExecutionRecord) -> None:
        """Record a new execution with a unique external id."""
        try:
            row = _row_of(record)
        except RecursionError:
            msg = "The inputs or the metadata are nested too deeply to be stored"
            raise Refused(400, msg) from None
        if not self.store.write(lambda tx: tx.execute(_INSERT, row)):
            used = f"external_id {record.external_id!r} was used before"
            raise Refused(400, f"{used}; it must be unique in the workspace")

    def update(self, record: ExecutionRecord) -> None:
        """Update an execution, unless it has ended."""
        update = f"{_UPDATE} AND state NOT IN ('FULFILLED', 'REJECTED')"
        self.store.write(lambda tx: tx.execute(update, _row_of(record)))

    def finish(self, record: ExecutionRecord, events: EventLog) -> None:
        """Store the end of an execution, with all its events."""
        content = events.content()
        update = _UPDATE.replace("SET", "SET events = :events,")
        # The row is built inside the transaction: many large ones can wait for it.
        self.store.write(lambda tx: tx.execute(update, {**_row_of(record), "events": content}))

    def reject_running(self, message: str) -> None:
        """Reject unfinished executions of a killed server."""
        error = WorkflowEventError(message=message, code="WORKFLOW_CANCELLED")

        def reject(tx: Transaction) -> None:
            running = "SELECT record FROM executions WHERE state NOT IN ('FULFILLED', 'REJECTED')"
            for (text,) in tx.read(running):
                now = datetime.now(UTC)
                ended = replace(_record_of(text), status="REJECTED", end=now, error=error)
                tx.execute(_UPDATE, _row_of(ended))

        try:
            self.store.write(reject)
        except (ValueError, KeyError, TypeError) as exc:
            msg = f"The executions in {self._path} cannot be read ({exc}) and were not changed"
            raise VellumNBError(msg) from exc

    def record(
        self, id_: str, by: Literal["execution_id", "external_id"] = "execution_id"
    ) -> ExecutionRecord | None:
        """Return the execution with this id."""
        row = self._find(f"SELECT record FROM executions WHERE {by} = :id", id_)
        return None if row is None else _record_of(row[0])

    def records(
        self,
        deployment_id: str,
        *,
        where: Where = EVERYTHING,
        ordering: str = "timestamp DESC, number DESC",
        limit: int = 100,
        offset: int = 0,
    ) -> tuple[int, list[ExecutionRecord]]:
        """Return the number of executions of a deployment, and a page of them."""
        condition = f"FROM executions WHERE deployment_id = :deployment AND ({where.sql})"
        values = {**where.values, "deployment": deployment_id}
        count: int = self.store.read(f"SELECT count(*) {condition}", values)[0][0]
        rows = self.store.read(
            f"SELECT record {condition} ORDER BY {ordering} LIMIT :limit OFFSET :offset",
            {**values, "limit": limit, "offset": min(offset, _MAX_OFFSET)},
        )
        return count, [_record_of(text) for (text,) in rows]

    def events(self, execution_id: str) -> list[Event]:
        """Return the events of an execution that has ended."""
        row = self._find("SELECT events FROM executions WHERE execution_id = :id", execution_id)
        content = zlib.decompress(row[0]) if row and row[0] else b"[]"
        return parse_events(json.loads(content))

    def add_actuals(self, execution_id: str, actuals: Sequence[Mapping[str, Any]]) -> None:
        """Store actuals of an execution, with a `timestamp` each, in one transaction."""
        rows = [
            {"id": execution_id, "timestamp": micros(a["timestamp"]), "body": to_json(a)}
            for a in actuals
        ]
        insert = (
            "INSERT INTO actuals (execution_id, timestamp, body) VALUES (:id, :timestamp, :body)"
        )
        self.store.write(lambda tx: tx.execute_many(insert, rows))

    def latest_actual(self, execution_id: str) -> dict[str, Any] | None:
        """Return the newest actual of an execution, by timestamp and submission."""
        latest = "ORDER BY timestamp DESC, number DESC LIMIT 1"
        row = self._find(
            f"SELECT body FROM actuals WHERE execution_id = :id {latest}", execution_id
        )
        return dict(json.loads(row[0])) if row else None

    def add_file(
        self, name: str, content: bytes, *, media_type: str = "", id_: str | None = None
    ) -> str:
        """Store a file under a new or existing id; return the id."""
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
        """Return 32 random bytes that are stored under `name`."""
        row = {"name": name, "value": secrets.token_bytes(32)}
        self.store.write(
            lambda tx: tx.execute("INSERT OR IGNORE INTO secrets VALUES (:name, :value)", row)
        )
        stored = self._find("SELECT value FROM secrets WHERE name = :id", name)
        return b"" if stored is None else bytes(stored[0])

    def _find(self, sql: str, id_: str) -> tuple[Any, ...] | None:
        rows = self.store.read(sql, {"id": storable(id_)})
        return rows[0] if rows else None


def storable(text: str) -> str:
    """Return `text` for SQLite, with lone surrogates escaped."""
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


# Filters and orderings of execution events, from the query of a request to SQL:
# https://docs.vellum.ai/developers/workflows-sdk/tutorials/workflow-execution-filtering


_MAX_DEPTH = 20
_MAX_CONDITIONS = 200
_EQUAL = frozenset({"==", "=", "!="})
_EXPECTED = {
    "metadata": "it knows contains with text or an object, and ==, != with an object",
    "timestamp": "give a time such as 2026-01-31T12:00:00Z and one of ==, !=, >=, <=, >, <",
}
# SQLite does not read JSON as deeply nested as Python does.
_READABLE = "CASE WHEN json_valid(metadata) THEN metadata ELSE '{}' END"
_VALUE = "CASE type WHEN 'true' THEN 'true' WHEN 'false' THEN 'false' ELSE json_quote(value) END"


class _Name(BaseModel):
    value: Literal["timestamp", "state", "execution_id", "external_id", "metadata"]


class _Value(BaseModel):
    value: Any


class _Condition(BaseModel):
    type: Literal["LOGICAL_CONDITION"]
    lhs_variable: _Name
    operator: Literal["==", "=", "!=", ">=", "<=", ">", "<", "contains"]
    rhs_variable: _Value


class _Group(BaseModel):
    type: Literal["LOGICAL_CONDITION_GROUP"]
    combinator: Literal["AND", "OR"] | None = None
    negated: StrictBool | None = None
    conditions: list[_Node]


_Node = Annotated[_Condition | _Group, Field(discriminator="type")]
_FILTERS: TypeAdapter[_Condition | _Group] = TypeAdapter(_Node)


def parse_filters(filters: str | None) -> Where:
    """Return the condition of the query parameter `filters`."""
    if filters is None or not filters.strip():
        return EVERYTHING
    try:
        node = _FILTERS.validate_python(from_json(filters))
    except ValidationError as exc:
        error = exc.errors(include_url=False, include_context=False)[0]
        steps = [step for step in error["loc"] if not str(step).startswith("LOGICAL_")]
        place = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in steps)
        msg = f"{error['msg']}, not {error['input']!r:.60}"
        raise _bad(msg, place.lstrip(".")) from None
    except ValueError as exc:
        msg = f"not valid JSON ({exc})"
        raise _bad(msg) from None
    values: dict[str, str | int] = {}
    conditions = itertools.count(1)

    def read(node: _Condition | _Group, depth: int = 0) -> str:
        if depth > _MAX_DEPTH or next(conditions) > _MAX_CONDITIONS:
            msg = f"more than {_MAX_CONDITIONS} conditions, or {_MAX_DEPTH} groups in each other"
            raise _bad(msg)
        if isinstance(node, _Condition):
            return _condition(node, values)
        parts = [read(condition, depth + 1) for condition in node.conditions]
        sql = f" {node.combinator or 'AND'} ".join(parts) or "1"
        return f"NOT ({sql})" if node.negated else f"({sql})"

    return Where(read(node), values)


def parse_ordering(ordering: str | None) -> str:
    """Return the query parameter `ordering` as SQL; default: newest first."""
    keys = ordering_keys(ordering, ("timestamp", "state")) or [("timestamp", True)]
    columns = [*keys, ("number", keys[-1][1])]
    return ", ".join(f"{name} DESC" if is_reversed else name for name, is_reversed in columns)


def ordering_keys(ordering: str | None, available: Collection[str]) -> list[tuple[str, bool]]:
    """Return the keys of an ordering, with True for a leading minus."""
    parts = [part.strip() for part in (ordering or "").split(",") if part.strip()]
    for part in parts:
        if part.removeprefix("-") not in available:
            names = ", ".join(f"{name}, -{name}" for name in available)
            raise Refused(400, f"ordering: {part!r:.60} is unknown; use {names}")
    return [(part.removeprefix("-"), part.startswith("-")) for part in parts]


def _condition(condition: _Condition, values: dict[str, str | int]) -> str:
    """Return a condition as SQL and add its parameters to `values`."""
    name, operator = condition.lhs_variable.value, condition.operator
    value = condition.rhs_variable.value

    def bound(value: str | int) -> str:
        parameter = f"f{len(values)}"
        values[parameter] = value
        return f":{parameter}"

    if value is None and operator in _EQUAL and name != "timestamp":
        return f"{name} IS {'NOT ' if operator == '!=' else ''}NULL"
    if name == "metadata" and operator == "contains" and isinstance(value, Mapping):
        tests = [
            f"EXISTS (SELECT 1 FROM json_each({_READABLE}) WHERE key = {bound(storable(key))} "
            f"AND {_VALUE} = {bound(metadata_text(item))})"
            for key, item in value.items()
        ]
        return f"({' AND '.join(tests) or 'metadata IS NOT NULL'})"
    parameter = bound(_comparable(name, operator, value))
    if operator == "!=":
        return f"{name} IS NOT {parameter}"
    if operator == "contains":
        return f"ifnull(instr({name}, {parameter}) > 0, 0)"
    return f"ifnull({name} {operator} {parameter}, 0)"


def _comparable(name: str, operator: str, value: Any) -> str | int:
    if name == "metadata" and operator == "contains" and isinstance(value, str):
        return metadata_text(value)[1:-1]
    if name == "metadata" and operator in _EQUAL and isinstance(value, Mapping):
        return metadata_text(value)
    if name not in {"metadata", "timestamp"} and isinstance(value, str):
        return storable(value)
    if name == "timestamp" and operator != "contains" and not isinstance(value, bool):
        with suppress(ValueError, TypeError, OverflowError, OSError):
            is_text = isinstance(value, str)
            when = datetime.fromisoformat(value) if is_text else datetime.fromtimestamp(value, UTC)
            return micros(when)
    msg = f"{name} {operator} {value!r:.60} cannot be compared: {_EXPECTED.get(name, 'give text')}"
    raise _bad(msg)


def _bad(problem: str, place: str = "") -> Refused:
    where = f" at {place}" if place else ""
    return Refused(400, f"filters{where}: {problem}")
