"""Ledger: executions, events, actuals and uploaded files in SQLite."""

from __future__ import annotations

import json
import secrets
import sqlite3
import threading
import uuid
import weakref
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, fields, is_dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel, TypeAdapter

from vellum_nb.errors import VellumNBError
from vellum_nb.local.engine.events import Event, Usage
from vellum_nb.local.refusals import bad_request
from vellum_nb.models import WorkflowEventError, WorkflowInput, WorkflowOutput

__all__ = [
    "EVERYTHING",
    "Where",
    "Actual",
    "ExecutionRecord",
    "Hold",
    "Ledger",
    "LedgerFile",
    "StoredFile",
    "TABLES",
    "VERSION",
    "events_blob",
    "events_of",
    "metadata_text",
    "micros",
    "moment",
    "record_of",
    "row_of",
    "storable",
    "to_json",
]


@dataclass(frozen=True, slots=True)
class ExecutionRecord:
    """One execution. Replaced, never changed.

    `status` is PENDING (waits for its turn), INITIATED, STREAMING, FULFILLED or REJECTED; `tag`
    the release tag that was asked for; `state` the workflow's final state; `parent` the context
    of the node that asked for it, if it runs inside of another execution.
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

    @property
    def ended(self) -> bool:
        """Whether it is FULFILLED or REJECTED."""
        return self.status in {"FULFILLED", "REJECTED"}


@dataclass(frozen=True, slots=True)
class Actual:
    """What an output should have been, or how good it was; `body` as it was submitted."""

    execution_id: str
    timestamp: datetime
    body: Mapping[str, Any]


VERSION = 1
TABLES = """
CREATE TABLE executions (
    number INTEGER PRIMARY KEY, execution_id TEXT NOT NULL UNIQUE,
    deployment_id TEXT NOT NULL, external_id TEXT UNIQUE,
    state TEXT NOT NULL, timestamp INTEGER NOT NULL, metadata TEXT, record TEXT NOT NULL
) STRICT;
CREATE INDEX executions_by_time ON executions (deployment_id, timestamp);
CREATE INDEX executions_running ON executions (state)
    WHERE state NOT IN ('FULFILLED', 'REJECTED');
CREATE TABLE traces (execution_id TEXT PRIMARY KEY, events BLOB NOT NULL) STRICT;
CREATE TABLE actuals (
    number INTEGER PRIMARY KEY, execution_id TEXT NOT NULL, timestamp INTEGER NOT NULL,
    body TEXT NOT NULL
) STRICT;
CREATE INDEX actuals_by_execution ON actuals (execution_id, timestamp);
CREATE TABLE files (
    id TEXT PRIMARY KEY, name TEXT NOT NULL, media_type TEXT NOT NULL, content BLOB NOT NULL
) STRICT;
CREATE TABLE secrets (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT
"""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_RECORD: TypeAdapter[ExecutionRecord] = TypeAdapter(ExecutionRecord)
_EVENTS: TypeAdapter[tuple[Event, ...]] = TypeAdapter(tuple[Event, ...])


def micros(when: datetime) -> int:
    """Return `when` as whole microseconds since 1970."""
    return (when - _EPOCH) // timedelta(microseconds=1)


def moment(number: int) -> datetime:
    """Return the time that `micros` made a number of.

    Examples
    --------
    >>> moment(1_500_000).isoformat()
    '1970-01-01T00:00:01.500000+00:00'
    """
    return _EPOCH + timedelta(microseconds=number)


def storable(text: str) -> str:
    r"""Return `text` as SQLite can take it: half a surrogate pair becomes its escape.

    Examples
    --------
    >>> storable("job \ud83d")
    'job \\ud83d'
    """
    return text.encode("utf-8", "backslashreplace").decode()


def to_json(value: Any) -> str:
    """Return plain JSON as ASCII text; what is no number in JSON becomes null.

    Examples
    --------
    >>> to_json({"mean": float("nan"), "n": [1, 2.5]})
    '{"mean":null,"n":[1,2.5]}'
    """
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"), default=_plain)
    except ValueError:
        text = json.dumps(value, default=_plain)
    return json.dumps(json.loads(text, parse_constant=lambda _: None), separators=(",", ":"))


def _plain(value: Any) -> Any:
    """Return records, events and the models in them as JSON has them, one level deep."""
    if isinstance(value, BaseModel):
        return dict(value)
    if is_dataclass(value):
        return {each.name: getattr(value, each.name) for each in fields(value)}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    msg = f"{type(value).__name__} is nothing that JSON has"
    raise TypeError(msg)


def metadata_text(value: Any) -> str:
    """Return plain JSON as text that filters find things in."""
    if isinstance(value, Mapping):
        value = dict(value)
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return storable(text)


def row_of(record: ExecutionRecord) -> dict[str, Any]:
    """Return a record as the columns of its row."""
    return {
        "execution_id": record.execution_id,
        "deployment_id": record.deployment_id,
        "external_id": None if record.external_id is None else storable(record.external_id),
        "state": record.status,
        "timestamp": micros(record.start),
        "metadata": None if record.metadata is None else metadata_text(record.metadata),
        "record": to_json(record),
    }


def record_of(text: str) -> ExecutionRecord:
    """Return the record that `row_of` wrote."""
    return _RECORD.validate_python(json.loads(text))


def events_blob(events: Sequence[Event]) -> bytes:
    """Return the events of an execution, small: each repeats where it belongs."""
    text = to_json(tuple(events))
    return zlib.compress(text.encode("ascii"), level=1)


def events_of(blob: bytes) -> list[Event]:
    """Return the events that `events_blob` wrote."""
    return list(_EVENTS.validate_python(json.loads(zlib.decompress(blob))))


class Hold:
    """A lock on a folder. The system lets go of it when the process ends, however it ends.

    Raises
    ------
    VellumNBError
        When another server has it, or its lock cannot be had.

    Examples
    --------
    >>> import tempfile
    >>> folder = tempfile.TemporaryDirectory()
    >>> hold = Hold(Path(folder.name))
    >>> hold.release()
    >>> Hold(Path(folder.name)).release()
    >>> folder.cleanup()
    """

    def __init__(self, folder: Path) -> None:
        db = sqlite3.connect(
            folder / "server.lock", timeout=0, isolation_level=None, check_same_thread=False
        )
        try:
            db.execute("BEGIN EXCLUSIVE")
        except sqlite3.DatabaseError as exc:
            db.close()
            if exc.sqlite_errorcode != sqlite3.SQLITE_BUSY:
                msg = f"The folder {folder} cannot be held for this server ({exc}: server.lock)"
                raise VellumNBError(msg) from exc
            msg = (
                f"The folder {folder} is served by another server ({exc}); "
                "stop that one, or give this one a folder of its own"
            )
            raise VellumNBError(msg) from exc
        except BaseException:  # an interrupt, whose traceback would keep it
            db.close()
            raise
        self._release = weakref.finalize(self, db.close)

    def release(self) -> None:
        """Let go of the folder."""
        self._release()


class LedgerFile:
    """The file ``executions.db`` in a folder; without a folder a temporary one of SQLite's own.

    Any thread may use it.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._path = None if folder is None else folder / "executions.db"
        self._lock = threading.RLock()
        self._hold: Hold | None = None
        self._db: sqlite3.Connection | None = None
        self._end: weakref.finalize[Any, LedgerFile] | None = None
        with self._lock:
            self._connection()

    def hold(self) -> None:
        """Keep other servers off the folder, until `close`.

        Raises
        ------
        VellumNBError
            When another one is there.
        """
        with self._lock:
            if self._path is not None and self._hold is None:
                self._hold = Hold(self._path.parent)

    def close(self) -> None:
        """Close the file; the next call opens it again. Without a folder all stays as it is."""
        with self._lock:
            if self._hold is not None:
                self._hold.release()
                self._hold = None
            if self._end is not None and self._path is not None:
                self._end()
                self._db = self._end = None

    @contextmanager
    def _readable(self) -> Iterator[None]:
        """Say of what is damaged that it cannot be read."""
        try:
            yield
        except (sqlite3.DatabaseError, ValueError, KeyError, TypeError) as exc:
            raise _unusable(self._path, "read", exc) from exc

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            db = self._connection()
            if db.in_transaction:  # interrupted before it could end
                db.execute("ROLLBACK")
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            except BaseException:
                if db.in_transaction:
                    db.execute("ROLLBACK")
                raise

    def _connection(self) -> sqlite3.Connection:
        if self._db is None:
            self._db = _opened(self._path)
            self._end = weakref.finalize(self, self._db.close)
        return self._db


def _opened(path: Path | None) -> sqlite3.Connection:
    try:
        if path is not None:
            path.parent.mkdir(parents=True, exist_ok=True)
        # No name at all is a temporary file of SQLite's own: it holds little in memory.
        db = sqlite3.connect(path or "", timeout=10, isolation_level=None, check_same_thread=False)
    except (sqlite3.Error, OSError) as exc:
        raise _unusable(path, "opened", exc) from exc
    try:
        _prepare(db, path)
    except BaseException as exc:
        db.close()
        if isinstance(exc, sqlite3.DatabaseError):
            raise _unusable(path, "opened", exc) from exc
        raise
    return db


def _unusable(path: Path | None, done: str, exc: Exception) -> VellumNBError:
    msg = f"The executions in {path} cannot be {done} ({exc}); they were left as they are"
    return VellumNBError(msg)


def _prepare(db: sqlite3.Connection, path: Path | None) -> None:
    db.row_factory = sqlite3.Row
    db.execute(f"PRAGMA journal_mode = {'MEMORY' if path is None else 'WAL'}")
    db.execute(f"PRAGMA synchronous = {'OFF' if path is None else 'NORMAL'}")
    db.execute("BEGIN IMMEDIATE")
    version = db.execute("PRAGMA user_version").fetchone()[0]
    if version > VERSION:
        msg = f"The executions in {path} were written by a newer vellum_nb; upgrade to read them"
        raise VellumNBError(msg)
    if version == 0:
        for statement in TABLES.strip().split(";\n"):
            db.execute(statement)
        db.execute(f"PRAGMA user_version = {VERSION}")
    db.execute("COMMIT")


@dataclass(frozen=True, slots=True)
class Where:
    """A condition in SQL with the values that are bound in it."""

    sql: str
    values: tuple[str | int, ...] = ()


EVERYTHING = Where("1")


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

    def begin(self, record: ExecutionRecord) -> None:
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

    def update(self, record: ExecutionRecord) -> None:
        """Keep an execution as it is now."""
        with self._transaction() as db:
            db.execute(_UPDATE, row_of(record))

    def finish(self, record: ExecutionRecord, events: Sequence[Event]) -> None:
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
        rows = [(execution_id, micros(a.timestamp), to_json(dict(a.body))) for a in actuals]
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

    def _one(self, column: str, value: str) -> ExecutionRecord | None:
        with self._transaction() as db:
            row = db.execute(
                f"SELECT record FROM executions WHERE {column} = ?", (storable(value),)
            ).fetchone()
        return None if row is None else record_of(row["record"])
