"""Large values, an image or a long document, are stored once by their hash, next to the rows.

In its place the payload holds the first `EXCERPT` characters, and the column `large` names each:
``[column, path, hash]``. A text with half a surrogate pair or a NUL, which not every database can
hold, stays in its row.
"""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Container, Iterable, Mapping, Sequence
from typing import Any, Literal

from vellum_nb.errors import HistoryError
from vellum_nb.history.backends import Reader, Transaction
from vellum_nb.history.rows import DamagedRunError, encoded
from vellum_nb.history.store import Row, insert

LARGE = 32_768
EXCERPT = 1_000
_COLUMNS = ("inputs", "outputs", "desired", "nodes")
_DAMAGED = "{"  # stands for a payload that cannot be read: who reads its row as a run names it
_AT_ONCE = 100  # that many large values are in memory at a time
_NOT_TEXT = re.compile("[\ud800-\udfff\x00]")
Path = list[str | int]


def extract(
    transaction: Transaction, texts: dict[str, str | None], names: Sequence[str] = _COLUMNS
) -> str | None:
    """Store the large values of the JSON `texts` of a row, which change; return its `large`."""
    places: list[tuple[str, Path, str]] = []
    for name in names:
        text = texts.get(name)
        if text is not None and len(text) >= LARGE:
            whole = json.loads(text)
            for path, value in _large_in(whole):
                found = hashlib.sha256(value.encode()).hexdigest()
                _store(transaction, found, value)
                places.append((name, path, found))
                _put(whole, path, value[:EXCERPT])
            texts[name] = encoded(whole, name, "")
    return json.dumps(places) if places else None


def merge_places(
    run_id: str, new: str | None, old: str | None, written: Container[str]
) -> str | None:
    """Return `large` after the columns `written` changed: `new`, and the rest of `old`."""
    if old is None:
        return new
    places = [place for place in _parsed(old, run_id) if place[0] not in written]
    places += json.loads(new or "[]")
    return json.dumps(places) if places else None


def place_hashes(large: str | None, run_id: str) -> set[str]:
    """Return which values a column `large` names; raise a `DamagedRunError` where it is damaged."""
    return {found for _, _, found in _parsed(large or "[]", run_id)}


def copy_values(transaction: Transaction, source: Reader, hashes: Iterable[str]) -> None:
    """Copy values of another history, one at a time."""
    for found in hashes:
        known = {"hash": found}
        if not transaction.read("SELECT 1 FROM large_values WHERE hash = :hash", known):
            sql = "SELECT value FROM large_values WHERE hash = :hash"
            for (value,) in source.read(sql, known):
                _store(transaction, found, value)


def restore(
    reader: Reader,
    rows: Sequence[Row],
    names: Sequence[str],
    missing: Literal["raise", "mark"] = "raise",
) -> list[Row]:
    """Return rows of the columns `names`, of which each ends with its `large`, without that.

    Large values are back in their places. One that is not in the history raises a `HistoryError`,
    or with ``"mark"`` reads as None, with a warning.
    """
    found = [row[:-1] for row in rows]
    at = [i for i, row in enumerate(rows) if row[-1] is not None]
    one_of = reader.dialect.one_of("hash", "hashes")
    lost: list[str] = []
    for start in range(0, len(at), _AT_ONCE):
        places = {i: _places(rows[i][-1], names) for i in at[start : start + _AT_ONCE]}
        hashes = {place[2] for some in places.values() for place in some}
        sql = f"SELECT hash, value FROM large_values WHERE {one_of}"
        values = dict(reader.read(sql, {"hashes": reader.dialect.listed(hashes)}))
        for i, some in places.items():
            row = dict(zip(names, found[i], strict=True))
            absent = [place for place in some if place[2] and place[2] not in values]
            lost += [".".join(map(str, (name, *path))) for name, path, _ in absent]
            if absent and missing == "raise":
                msg = (
                    f"A large value of run {row.get('id')!r} is missing from the history: "
                    f"{lost[0]}; put a backup in its place, or read the run with frame(), where it "
                    "is a missing value"
                )
                raise HistoryError(msg)
            found[i] = _filled(row, some, values)
    if lost:
        msg = f"{len(lost)} large value(s) are missing from the history; read as missing values"
        warnings.warn(msg, UserWarning, stacklevel=4)
    return found


def _places(large: str, names: Sequence[str]) -> list[Any]:
    """Return the places of a column `large` that are in the columns `names`."""
    try:
        return [place for place in _parsed(large, "") if place[0] in names]
    except DamagedRunError:  # no value is known by a hash that is empty
        return [(name, [], "") for name in names if name in _COLUMNS]


def _parsed(large: str, run_id: str) -> list[tuple[str, Path, str]]:
    try:
        return [(str(name), list(path), str(found)) for name, path, found in json.loads(large)]
    except (ValueError, TypeError) as exc:
        raise DamagedRunError(run_id, "large") from exc


def _filled(row: dict[str, Any], places: Sequence[Any], values: Mapping[str, str]) -> Row:
    for name in dict.fromkeys(name for name, _, _ in places if row.get(name) is not None):
        try:
            whole = json.loads(row[name])
            for column, path, found in places:
                if column == name:
                    _put(whole, path, values.get(found))
            row[name] = encoded(whole, name, "")
        except (ValueError, TypeError, LookupError):
            row[name] = _DAMAGED
    return tuple(row.values())


def _store(transaction: Transaction, found: str, value: str) -> None:
    sql = insert("large_values", ("hash", "size", "value")) + " ON CONFLICT DO NOTHING"
    transaction.execute(sql, {"hash": found, "size": len(value.encode()), "value": value})


def _large_in(whole: Any) -> list[tuple[Path, str]]:
    found: list[tuple[Path, str]] = []
    inner: list[tuple[Path, Any]] = [([], whole)]
    while inner:
        path, item = inner.pop()
        members = item.items() if isinstance(item, dict) else enumerate(item)
        for key, value in members:
            if isinstance(value, dict | list):
                inner.append(([*path, key], value))
            elif isinstance(value, str) and len(value) >= LARGE and not _NOT_TEXT.search(value):
                found.append(([*path, key], value))
    return found


def _put(whole: Any, path: Sequence[str | int], value: str | None) -> None:
    for key in path[:-1]:
        whole = whole[key]
    whole[path[-1]] = value
