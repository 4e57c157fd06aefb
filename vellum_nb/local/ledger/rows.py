"""Executions as rows: the tables, and how records, events and actuals become text and back."""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import BaseModel, TypeAdapter

from vellum_nb.local.engine.events import Event
from vellum_nb.local.ledger.records import Record

__all__ = [
    "TABLES",
    "VERSION",
    "dumped",
    "events_blob",
    "events_of",
    "metadata_text",
    "micros",
    "moment",
    "record_of",
    "row_of",
    "storable",
]

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
_RECORD: TypeAdapter[Record] = TypeAdapter(Record)
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


def dumped(value: Any) -> str:
    """Return plain JSON as ASCII text; what is no number in JSON becomes null.

    Examples
    --------
    >>> dumped({"mean": float("nan"), "n": [1, 2.5]})
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


def row_of(record: Record) -> dict[str, Any]:
    """Return a record as the columns of its row."""
    return {
        "execution_id": record.execution_id,
        "deployment_id": record.deployment_id,
        "external_id": None if record.external_id is None else storable(record.external_id),
        "state": record.status,
        "timestamp": micros(record.start),
        "metadata": None if record.metadata is None else metadata_text(record.metadata),
        "record": dumped(record),
    }


def record_of(text: str) -> Record:
    """Return the record that `row_of` wrote."""
    return _RECORD.validate_python(json.loads(text))


def events_blob(events: Sequence[Event]) -> bytes:
    """Return the events of an execution, small: each repeats where it belongs."""
    text = dumped(tuple(events))
    return zlib.compress(text.encode("ascii"), level=1)


def events_of(blob: bytes) -> list[Event]:
    """Return the events that `events_blob` wrote."""
    return list(_EVENTS.validate_python(json.loads(zlib.decompress(blob))))
