"""A run as rows of the tables `runs` and `payloads`, and back to the same values."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from pydantic import ValidationError

from vellum_nb.errors import HistoryError
from vellum_nb.models import Run, canonical_json

SCALARS = (
    *("id", "execution_id", "external_id", "deployment", "release_tag", "release_id"),
    *("environment", "timestamp", "finished_at", "latency_s", "state", "error_code"),
    *("error_message", "case_id", "sweep_id", "repeat", "previous_execution_id", "quality"),
    *("note", "tags", "cost_usd", "tokens_in", "tokens_out", "model", "tag_moved", "author"),
)
FRAMED = ("inputs", "outputs", "output_types", "not_sent", "metadata", "desired")
"""The payload columns that a frame shows."""
PAYLOADS = (*FRAMED, "nodes")
WHOLE = (*SCALARS, *PAYLOADS)
ENDED = (
    *("execution_id", "release_id", "environment", "finished_at", "latency_s", "state"),
    *("error_code", "error_message", "cost_usd", "tokens_in", "tokens_out", "model"),
)
"""The columns that finishing a run sets."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_MOST = 2**63
_INTEGERS = ("repeat", "tokens_in", "tokens_out")
_TEXTS = (
    *("id", "execution_id", "external_id", "deployment", "release_tag", "release_id"),
    *("environment", "state", "case_id", "sweep_id", "previous_execution_id", "note", "model"),
    "author",
)
_FIELDS = set(Run.model_fields)
_SURROGATES = re.compile("[\ud800-\udfff]")
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_encode_sorted = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode


class DamagedRunError(HistoryError):
    """A row that cannot be read as a run; `run_id` names it."""

    def __init__(self, run_id: str, reason: str) -> None:
        super().__init__(
            f"Run {run_id!r:.100} in the history is damaged and cannot be read ({reason}); "
            "skip_damaged=True reads the others, and check_history lists all damaged runs"
        )
        self.run_id = run_id


def columns(names: Iterable[str]) -> str:
    """Return these columns for a SELECT from ``runs r`` and ``payloads p``."""
    return ", ".join(f"{'r' if name in SCALARS else 'p'}.{name}" for name in names)


def micros(moment: datetime) -> int:
    """Return microseconds since 1970; a time without a zone counts as UTC."""
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=UTC)
    return (moment - _EPOCH) // _MICROSECOND


def from_micros(count: int) -> datetime:
    """Return the time in UTC that `micros` counted."""
    return _EPOCH + count * _MICROSECOND


def clean(text: str) -> str:
    """Return `text` with a replacement character for each half of a surrogate pair.

    Such halves cannot be written as UTF-8, which files and Arrow need.
    """
    try:
        text.encode()  # faster than a search for them
    except UnicodeEncodeError:
        return _SURROGATES.sub("\ufffd", text)
    return text


def cell(value: Any) -> Any:
    """Return what a frame shows of a JSON value: scalars as they are, the rest as JSON text."""
    if isinstance(value, str):
        return clean(value)
    if isinstance(value, float):
        return None if math.isnan(value) else value
    if value is None or isinstance(value, bool | int):
        return value
    try:
        return clean(canonical_json(value))
    except ValueError:  # NaN or an infinity within
        return clean(_encode_sorted(value))


def scalar_row(run: Run, names: Sequence[str] = SCALARS) -> dict[str, Any]:
    """Return the row of `runs` for `run`, or some columns of it."""
    row: dict[str, Any] = dict(zip(names, map(vars(run).get, names), strict=True))
    if not "".join(filter(None, map(row.get, _TEXTS))).isascii():
        row |= {name: clean(row[name]) for name in _TEXTS if row.get(name)}
    for name in _INTEGERS:
        if not -_MOST <= (row.get(name) or 0) < _MOST:
            row[name] = None  # fits no database; the run must not be lost for it
    if run.error is not None:
        row |= {"error_code": clean(run.error.code), "error_message": clean(run.error.message)}
    row["tag_moved"] = int(run.tag_moved)
    if "timestamp" in row:
        row["timestamp"] = micros(run.timestamp)
        row["tags"] = tags_text(run.tags)
    if run.finished_at is not None:
        row["finished_at"] = micros(run.finished_at)
    return row


def payload_row(run: Run, names: Sequence[str] = PAYLOADS) -> dict[str, str | None]:
    """Return the row of `payloads` for `run`, or some columns of it."""
    row: dict[str, Any] = dict(zip(names, map(vars(run).get, names), strict=True))
    if "nodes" in row:
        nodes = [node.model_dump(mode="json", exclude_defaults=True) for node in run.nodes]
        row["nodes"] = nodes or None
    for name, value in row.items():
        if value:
            row[name] = encoded(value, name, run.id)
        elif value is not None:  # most payloads of most runs
            row[name] = "{}" if isinstance(value, dict) else "[]"
    return row


def tags_text(tags: Sequence[str]) -> str | None:
    """Return the tags as JSON, None where there are none."""
    return clean(json.dumps(list(tags), ensure_ascii=False)) if tags else None


def run_of(row: Sequence[Any]) -> Run:
    """Return the run of a row of `WHOLE`; raise a `DamagedRunError` where it is not one."""
    found = dict(zip(WHOLE, row, strict=True))
    try:
        found["timestamp"] = from_micros(found["timestamp"])
        if found["finished_at"] is not None:
            found["finished_at"] = from_micros(found["finished_at"])
        for name in PAYLOADS:
            found[name] = None if found[name] is None else json.loads(found[name])
        found["tags"] = json.loads(found["tags"] or "[]")
        found["nodes"] = found["nodes"] or ()
        code, message = found.pop("error_code"), found.pop("error_message")
        if code is not None:
            found["error"] = {"code": code, "message": message or ""}
        run = Run.model_validate(found)
    except ValidationError as exc:
        where = ", ".join(str(each["loc"][0]) for each in exc.errors() if each["loc"])
        raise DamagedRunError(row[0], where or "its values do not fit") from exc
    except (ValueError, TypeError, OverflowError, RecursionError) as exc:
        raise DamagedRunError(row[0], f"{exc!s:.100}") from exc
    object.__setattr__(run, "__pydantic_fields_set__", _FIELDS)  # one for all: a set takes 2 kB
    return run


def encoded(value: Any, name: str, run_id: str) -> str | None:
    """Return `value` as the JSON text of the column `name`; None stays None."""
    if value is None:
        return None
    try:
        text = _encode(value)
    except (TypeError, ValueError, RecursionError) as exc:
        msg = f"The {name} of run {run_id} cannot be stored: {exc}; use plain JSON values"
        raise HistoryError(msg) from exc
    if not text.isascii() and _SURROGATES.search(text):
        text = json.dumps(value, separators=(",", ":"))
    return text
