"""Large values, an image or a long document, are stored once by their hash, beside the rows.

In its place the payload holds the first `EXCERPT` characters, and the column `large` names each:
``[column, path, hash]``, the hash that of the UTF-8 text. So nothing that a user may write can be
taken for a reference. Below `LARGE` characters a second row would cost more than it saves. A text
with half a surrogate pair or a NUL, which not every database can hold, stays in its row.
"""

from __future__ import annotations

import hashlib
import json
import re
import warnings
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

from vellum_nb.errors import HistoryError
from vellum_nb.history.backends import Reader, Transaction
from vellum_nb.history.rows import encoded
from vellum_nb.history.store import Row

LARGE = 32_768
EXCERPT = 1_000
_COLUMNS = ("inputs", "outputs", "desired", "nodes")
_DAMAGED = "{"  # stands for a payload that cannot be read: who reads its row as a run names it
_AT_ONCE = 100  # that many large values are in memory at a time
_NOT_TEXT = re.compile("[\ud800-\udfff\x00]")
_INSERT = (
    "INSERT INTO large_values (hash, size, value) VALUES (:hash, :size, :value) "
    "ON CONFLICT DO NOTHING"
)
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


def merge_places(new: str | None, old: str | None, replaced: Iterable[str]) -> str | None:
    """Return `large` after the columns `replaced` were written: `new`, and the rest of `old`."""
    if old is None:
        return new
    written = set(replaced)
    places = [place for place in json.loads(old) if place[0] not in written]
    places += json.loads(new or "[]")
    return json.dumps(places) if places else None


def place_hashes(large: str | None) -> set[str]:
    """Return which values a column `large` names."""
    return {found for _, _, found in json.loads(large)} if large else set()


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
    or with ``"mark"`` is None, with a warning.
    """
    found = [row[:-1] for row in rows]
    at = [i for i, row in enumerate(rows) if row[-1] is not None]
    lost = 0
    for start in range(0, len(at), _AT_ONCE):
        chosen = at[start : start + _AT_ONCE]
        hashes = {place[2] for i in chosen for place in _places(rows[i], names)}
        values = _values(reader, hashes)
        for i in chosen:
            places = _places(rows[i], names)
            absent = [place for place in places if place[2] and place[2] not in values]
            if absent and missing == "raise":
                raise _missing(dict(zip(names, found[i], strict=True)).get("id"), absent[0])
            lost += len(absent)
            found[i] = _filled(found[i], names, places, values)
    if lost:
        msg = f"{lost} large value(s) are missing from the history; they are read as missing"
        warnings.warn(msg, UserWarning, stacklevel=4)
    return found


def _places(row: Row, names: Sequence[str]) -> list[Any]:
    """Return the places of a row's `large` that are in the columns `names`."""
    try:
        return [(name, path, found) for name, path, found in json.loads(row[-1]) if name in names]
    except (ValueError, TypeError):  # damaged: no value is known by a hash that is empty
        return [(name, [], "") for name in names if name in _COLUMNS]


def _missing(run_id: object, place: Sequence[Any]) -> HistoryError:
    name = ".".join(map(str, (place[0], *place[1])))
    return HistoryError(
        f"A large value of run {run_id!r} is missing from the history: {name} ({place[2][:12]}); "
        "put a backup in its place, or read the run with frame(), where it is a missing value"
    )


def _filled(
    row: Row, names: Sequence[str], places: Sequence[Any], values: Mapping[str, str]
) -> Row:
    texts = dict(zip(names, row, strict=True))
    for name in dict.fromkeys(name for name, _, _ in places if texts.get(name) is not None):
        try:
            whole = json.loads(texts[name])
            for column, path, found in places:
                if column == name:
                    _put(whole, path, values.get(found))
            texts[name] = encoded(whole, name, "")
        except (ValueError, TypeError, LookupError):
            texts[name] = _DAMAGED
    return tuple(texts.values())


def _values(reader: Reader, hashes: Iterable[str]) -> dict[str, str]:
    dialect = reader.dialect
    sql = f"SELECT hash, value FROM large_values WHERE {dialect.one_of('hash', 'hashes')}"
    return dict(reader.read(sql, {"hashes": dialect.listed(hashes)}))


def _store(transaction: Transaction, found: str, value: str) -> None:
    row = {"hash": found, "size": len(value.encode()), "value": value}
    transaction.execute(_INSERT, row)


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
