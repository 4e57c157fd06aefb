"""Conversion of runs, sweeps and their cases to rows, with large values apart, and back."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Container, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Literal, get_args

from pydantic import ValidationError

from vellum_nb.clock import from_micros, micros
from vellum_nb.errors import HistoryError, VellumNBError
from vellum_nb.escaping import warn
from vellum_nb.history.backends import Reader, Transaction
from vellum_nb.history.schema import COLUMNS, PAYLOADS, SCALARS, WHOLE, Kind
from vellum_nb.history.store import Row, insert
from vellum_nb.models import Run, canonical_json
from vellum_nb.models.sweeps import MOST_RUNS, SweepCase, SweepRecord, most_rounds
from vellum_nb.sqlite import Converting

DAMAGE = (
    *(ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError),
    MemoryError,
)
"""Exceptions of Python and pydantic for invalid values in a stored row."""

_MAX_INTEGER = 2**63
_NAMES_BY_KIND = {
    kind: [name for name in SCALARS if COLUMNS[name].kind == kind and name != "tags"]
    for kind in get_args(Kind)
}
_INTEGERS = (*_NAMES_BY_KIND["int"], *_NAMES_BY_KIND["count"])
_TEXTS = (*_NAMES_BY_KIND["text"], *_NAMES_BY_KIND["tag"], *_NAMES_BY_KIND["state"])
_TIMES = _NAMES_BY_KIND["time"]
_FIELDS = set(Run.model_fields)
_SURROGATES = re.compile("[\ud800-\udfff]")
_encode = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
_encode_sorted = json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode


class DamagedRunError(HistoryError):
    """A damaged row, with the `run_id` of its run."""

    def __init__(self, run_id: str, reason: str) -> None:
        super().__init__(
            f"Run {run_id!r:.100} in the history is damaged and cannot be read ({reason}); "
            "skip_damaged=True reads the others, and check_history lists all damaged runs"
        )
        self.run_id = run_id


def damaged(subject: str) -> Converting:
    """Translate exceptions caused by invalid values in stored rows to `HistoryError`."""

    def convert(exc: Exception) -> HistoryError | None:
        if isinstance(exc, VellumNBError) or not isinstance(exc, DAMAGE):
            return None
        msg = f"{subject} in the history is damaged; put a backup in its place ({exc!s:.100})"
        return HistoryError(msg)

    return Converting(convert)


def columns(names: Iterable[str]) -> str:
    """Return qualified column names for a SELECT from ``runs r`` and ``payloads p``."""
    return ", ".join(f"{'r' if name in SCALARS else 'p'}.{name}" for name in names)


def clean(text: str) -> str:
    """Replace lone surrogates, which cannot be encoded as UTF-8, by U+FFFD."""
    try:
        text.encode()  # faster than a regular expression
    except UnicodeEncodeError:
        return _SURROGATES.sub("\ufffd", text)
    return text


def cell(value: Any) -> Any:
    """Return the cell of a frame for a JSON value: a scalar, or canonical JSON text."""
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
    """Return the row of `runs` for `run`, or the columns `names` of it."""
    row: dict[str, Any] = dict(zip(names, map(vars(run).get, names), strict=True))
    if not "".join(filter(None, map(row.get, _TEXTS))).isascii():
        row |= {name: clean(row[name]) for name in _TEXTS if row.get(name)}
    for name in _INTEGERS:
        if not -_MAX_INTEGER <= (row.get(name) or 0) < _MAX_INTEGER:
            row[name] = None  # too large for a database; the run must be stored
    if run.error is not None:
        row |= {"error_code": clean(run.error.code), "error_message": clean(run.error.message)}
    for name in _TIMES:
        if row.get(name) is not None:
            row[name] = micros(row[name])
    if "tags" in row:
        row["tags"] = tags_text(run.tags)
    row["tag_moved"] = int(run.tag_moved)
    return row


def payload_row(run: Run, names: Sequence[str] = PAYLOADS) -> dict[str, str | None]:
    """Return the row of `payloads` for `run`, or the columns `names` of it."""
    row: dict[str, Any] = dict(zip(names, map(vars(run).get, names), strict=True))
    if "nodes" in row:
        nodes = [node.model_dump(mode="json", exclude_defaults=True) for node in run.nodes]
        row["nodes"] = nodes or None
    for name, value in row.items():
        if value:
            row[name] = encoded(value, name, run.id)
        elif value is not None:  # fast path for empty payloads
            row[name] = "{}" if isinstance(value, dict) else "[]"
    return row


def tags_text(tags: Sequence[str]) -> str | None:
    """Return the tags as JSON, or None without tags."""
    return clean(json.dumps(list(tags), ensure_ascii=False)) if tags else None


def run_of(row: Sequence[Any]) -> Run:
    """Return the run of a row of `WHOLE`; raise a `DamagedRunError` if the row is damaged."""
    fields = dict(zip(WHOLE, row, strict=True))
    try:
        for name in _TIMES:
            fields[name] = None if fields[name] is None else from_micros(fields[name])
        for name in PAYLOADS:
            fields[name] = None if fields[name] is None else json.loads(fields[name])
        fields["tags"] = json.loads(fields["tags"] or "[]")
        fields["nodes"] = fields["nodes"] or ()
        code, message = fields.pop("error_code"), fields.pop("error_message")
        if code is not None:
            fields["error"] = {"code": code, "message": message or ""}
        run = Run.model_validate(fields)
    except ValidationError as exc:
        names = ", ".join(str(error["loc"][0]) for error in exc.errors() if error["loc"])
        raise DamagedRunError(row[0], names or "its values do not fit") from exc
    except DAMAGE as exc:
        raise DamagedRunError(row[0], f"{exc!s:.100}") from exc
    object.__setattr__(run, "__pydantic_fields_set__", _FIELDS)  # shared: each set would take 2 kB
    return run


def encoded(value: Any, name: str, run_id: str) -> str | None:
    """Encode the value of the column `name` as JSON; None stays None."""
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


# Sweeps with their cases, and blind ratings

_CASE_TEXTS = ("inputs", "expected", "labels")
SWEEP = tuple(name for name in SweepRecord.model_fields if name not in {"case_ids", "lost"})
_JSON = frozenset({"release_tags", "releases", "options", "case_order", "checked", "notes"})
CASE = ("position", "case_id", "previous_execution_id", "turn", *_CASE_TEXTS, "large")
REUSED = ("position", "release_tag", "repeat", "run")
_RECORD_TIMES = frozenset({"created", "ended", "rated", "undone", "sent"})


def fields_of(names: Sequence[str], row: Sequence[Any]) -> dict[str, Any]:
    """Return the values of a row by column, without missing ones; its times as datetimes."""
    fields = {name: value for name, value in zip(names, row, strict=True) if value is not None}
    return fields | {name: from_micros(fields[name]) for name in fields.keys() & _RECORD_TIMES}


def column_value(value: Any) -> Any:
    """Return the value of a field of a sweep as stored in its column."""
    if isinstance(value, datetime):
        return micros(value)
    if isinstance(value, dict) and any(isinstance(item, datetime) for item in value.values()):
        value = {name: micros(time) for name, time in value.items()}
    return json.dumps(value) if isinstance(value, dict | tuple) else value


def sweep_of(row: Sequence[Any]) -> SweepRecord:
    """Return the sweep of a row of `SWEEP`; raise a `HistoryError` if it is damaged."""
    with damaged(f"Sweep {row[0]!r:.100}"):
        fields = fields_of(SWEEP, row)
        fields |= {name: json.loads(fields[name]) for name in fields.keys() & _JSON}
        checked = fields.get("checked", {}).items()
        fields["checked"] = {tag: from_micros(at) for tag, at in checked}
        sweep = SweepRecord(**fields)
        _check_numbers(sweep)
    return sweep


def _check_numbers(sweep: SweepRecord) -> None:
    """Raise a ValueError for impossible numbers, which could cause very long loops."""
    fits = sweep.cases >= 0 and sweep.repeats > 0
    fits = fits and 0 <= sweep.round <= most_rounds(sweep.planned)
    order = sweep.case_order
    if not fits or sweep.planned > MOST_RUNS:
        msg = f"{sweep.cases} cases, {sweep.repeats} repeats, round {sweep.round}"
        raise ValueError(msg)
    if order is not None and sorted(order) != [*range(sweep.cases)]:
        msg = "case_order is not an order of its cases"
        raise ValueError(msg)


def cases_of(rows: Sequence[Sequence[Any]], sweep_id: str, planned: int) -> list[SweepCase]:
    """Return the cases of rows of `CASE` without `large`; raise a `HistoryError` if damaged."""
    cases = []
    with damaged(f"Sweep {sweep_id!r:.100}"):
        if len(rows) != planned:
            msg = f"it has {planned} cases, and {len(rows)} are stored"
            raise ValueError(msg)
        for number, (position, case_id, previous, turn, *texts) in enumerate(rows):
            inputs, expected, labels = (dict[str, Any](json.loads(text)) for text in texts)
            if position != number or not isinstance(case_id, str):
                msg = f"case {number}: {position}, {case_id!r:.60}"
                raise ValueError(msg)
            sides = (inputs, expected, labels)
            cases.append(SweepCase(position, case_id, *sides, previous, int(turn or 0)))
    return cases


def case_row(case: SweepCase) -> dict[str, Any]:
    """Return the row of a case, without its sweep."""
    where = f"case {case.position}"
    texts = {name: encoded(dict(getattr(case, name)), name, where) for name in _CASE_TEXTS}
    return {**{name: getattr(case, name) for name in CASE[:4]}, **texts}


# Large values, such as images and long documents, are stored once, by their hash. The payload
# contains an excerpt instead, and the column `large` lists [column, path, hash] for each value.
# Texts with lone surrogates or NUL stay in the payload, as some databases cannot store them.

LARGE = 32_768  # characters
EXCERPT = 1_000  # characters
_WITH_LARGE = ("inputs", "outputs", "desired", "nodes")
_DAMAGED = "{"  # invalid JSON: `run_of` reports the damaged payload
_ROWS_PER_QUERY = 100  # limits the number of large values in memory
_NOT_TEXT = re.compile("[\ud800-\udfff\x00]")
Path = list[str | int]


def extract_large(
    transaction: Transaction, texts: dict[str, str | None], names: Sequence[str] = _WITH_LARGE
) -> str | None:
    """Store large values of the JSON `texts`, cut them in place, and return the column `large`."""
    places: list[tuple[str, Path, str]] = []
    for name in names:
        text = texts.get(name)
        if text is not None and len(text) >= LARGE:
            payload = json.loads(text)
            for path, value in _large_in(payload):
                digest = hashlib.sha256(value.encode()).hexdigest()
                _store(transaction, digest, value)
                places.append((name, path, digest))
                _put(payload, path, value[:EXCERPT])
            texts[name] = encoded(payload, name, "")
    return json.dumps(places) if places else None


def merge_large(
    run_id: str, new: str | None, old: str | None, written: Container[str]
) -> str | None:
    """Return `large` after the columns `written` changed: `new` and other entries of `old`."""
    if old is None:
        return new
    places = [place for place in _parsed(old, run_id) if place[0] not in written]
    places += json.loads(new or "[]")
    return json.dumps(places) if places else None


def large_hashes(large: str | None, run_id: str) -> set[str]:
    """Return the hashes in a column `large`; raise a `DamagedRunError` if it is damaged."""
    return {digest for _, _, digest in _parsed(large or "[]", run_id)}


def copy_large(transaction: Transaction, source: Reader, hashes: Iterable[str]) -> None:
    """Copy values of another history, one at a time."""
    for digest in hashes:
        values = {"hash": digest}
        if not transaction.read("SELECT 1 FROM large_values WHERE hash = :hash", values):
            sql = "SELECT value FROM large_values WHERE hash = :hash"
            for (value,) in source.read(sql, values):
                _store(transaction, digest, value)


def restore_large(
    reader: Reader,
    rows: Sequence[Row],
    names: Sequence[str],
    missing: Literal["raise", "mark"] = "raise",
) -> list[Row]:
    """Restore large values in rows of the columns `names` and `large`; drop `large`.

    A missing value raises a `HistoryError`; with ``"mark"``, it is read as None, with a warning.
    """
    restored = [row[:-1] for row in rows]
    at = [i for i, row in enumerate(rows) if row[-1] is not None]
    lost: list[str] = []
    for start in range(0, len(at), _ROWS_PER_QUERY):
        places = {i: _places(rows[i][-1], names) for i in at[start : start + _ROWS_PER_QUERY]}
        hashes = {place[2] for row_places in places.values() for place in row_places}
        sql = (
            f"SELECT hash, value FROM large_values WHERE {reader.dialect.one_of('hash', 'hashes')}"
        )
        values = dict(reader.read(sql, {"hashes": reader.dialect.listed(hashes)}))
        for i, row_places in places.items():
            row = dict(zip(names, restored[i], strict=True))
            absent = [place for place in row_places if place[2] and place[2] not in values]
            lost += [".".join(map(str, (name, *path))) for name, path, _ in absent]
            if absent and missing == "raise":
                msg = (
                    f"A large value of run {row.get('id')!r} is missing from the history: "
                    f"{lost[0]}; put a backup in its place, or read the run with frame(), where it "
                    "is a missing value"
                )
                raise HistoryError(msg)
            restored[i] = _filled(row, row_places, values)
    if lost:
        msg = f"{len(lost)} large value(s) are missing from the history; read as missing values"
        warn(msg, stacklevel=4)
    return restored


def _places(large: str, names: Sequence[str]) -> list[Any]:
    """Return the entries of a column `large` for the columns `names`."""
    try:
        return [place for place in _parsed(large, "") if place[0] in names]
    except DamagedRunError:  # an empty hash marks the columns as damaged
        return [(name, [], "") for name in names if name in _WITH_LARGE]


def _parsed(large: str, run_id: str) -> list[tuple[str, Path, str]]:
    try:
        return [(str(name), list(path), str(digest)) for name, path, digest in json.loads(large)]
    except DAMAGE as exc:
        raise DamagedRunError(run_id, "large") from exc


def _filled(row: dict[str, Any], places: Sequence[Any], values: Mapping[str, str]) -> Row:
    for name in dict.fromkeys(name for name, _, _ in places if row.get(name) is not None):
        try:
            payload = json.loads(row[name])
            for column, path, digest in places:
                if column == name:
                    _put(payload, path, values.get(digest))
            row[name] = encoded(payload, name, "")
        except (HistoryError, *DAMAGE):
            row[name] = _DAMAGED
    return tuple(row.values())


def _store(transaction: Transaction, digest: str, value: str) -> None:
    sql = insert("large_values", ("hash", "size", "value")) + " ON CONFLICT DO NOTHING"
    transaction.execute(sql, {"hash": digest, "size": len(value.encode()), "value": value})


def _large_in(payload: Any) -> list[tuple[Path, str]]:
    large: list[tuple[Path, str]] = []
    inner: list[tuple[Path, Any]] = [([], payload)]
    while inner:
        path, item = inner.pop()
        members = item.items() if isinstance(item, dict) else enumerate(item)
        for key, value in members:
            if isinstance(value, dict | list):
                inner.append(([*path, key], value))
            elif isinstance(value, str) and len(value) >= LARGE and not _NOT_TEXT.search(value):
                large.append(([*path, key], value))
    return large


def _put(payload: Any, path: Sequence[str | int], value: str | None) -> None:
    for key in path[:-1]:
        payload = payload[key]
    payload[path[-1]] = value
