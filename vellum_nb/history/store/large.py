"""Large values, an image or a long document, are kept once by their content, beside the rows.

In its place the payload holds the first `EXCERPT` characters, and the column `large` tells where:
``[column, path, hash]`` of each, the hash that of the UTF-8 text. So nothing that a user may write
can be taken for a reference. From `LARGE` characters on the search by hash costs less than 1 % of
what writing the value costs; below, a row in another table costs more than it saves.

Half a surrogate pair and NUL are no text to every database: a value with them stays in its row.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from vellum_nb.history.rows.rows import encoded
from vellum_nb.history.store.store import Connection, Row

__all__ = [
    "COLUMNS",
    "EXCERPT",
    "LARGE",
    "Place",
    "Read",
    "copied",
    "hashes",
    "keep",
    "marks",
    "merged",
    "restored",
    "sizes",
    "within",
]

LARGE = 32_768
EXCERPT = 1_000
COLUMNS = ("inputs", "outputs", "desired", "nodes")
_AT_ONCE = 100  # values in memory beside each other may be large
_NO_TEXT = re.compile("[\ud800-\udfff\x00]")

Read = Callable[[str, Sequence[object]], list[Row]]
Place = tuple[str, list[str | int], str]


def keep(
    connection: Connection, texts: dict[str, str | None], names: Sequence[str] = COLUMNS
) -> list[Place]:
    """Keep the large values of the JSON `texts` of a row, which change; return where they were.

    Only those of the columns `names`. They are written in the caller's transaction.
    """
    places: list[Place] = []
    for name in names:
        text = texts.get(name)
        if text is not None and len(text) >= LARGE:
            whole = json.loads(text)
            for path, value in _large_in(whole):
                found = hashlib.sha256(value.encode()).hexdigest()
                _insert(connection, found, value)
                places.append((name, path, found))
                _put(whole, path, value[:EXCERPT])
            texts[name] = encoded(whole, name, "")
    return places


def copied(connection: Connection, read: Read, wanted: Iterable[str]) -> None:
    """Copy values of another history that `read` reads; one at a time, they are large."""
    for found in wanted:
        known = connection.execute("SELECT 1 FROM large_values WHERE hash = ?", (found,))
        if not known.fetchone():
            for (value,) in read("SELECT value FROM large_values WHERE hash = ?", (found,)):
                _insert(connection, found, value)


def _insert(connection: Connection, found: str, value: str) -> None:
    sql = "INSERT INTO large_values (hash, size, value) VALUES (?, ?, ?) ON CONFLICT DO NOTHING"
    connection.execute(sql, (found, len(value.encode()), value))


def merged(places: Sequence[Place], old: str | None = None, anew: Iterable[str] = ()) -> str | None:
    """Return the text of `large`; of the `old` one what is not of columns written `anew` stays."""
    if not places and old is None:
        return None
    written = set(anew)
    stay = [place for place in json.loads(old or "[]") if place[0] not in written]
    every = [*stay, *places]
    return json.dumps(every) if every else None


def within(connection: Connection) -> Read:
    """Return what reads in the transaction of `connection`."""

    def read(sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        found: list[Row] = connection.execute(sql, parameters).fetchall()
        return found

    return read


def marks(values: Sequence[object]) -> str:
    """Return a placeholder for each of some values, a few hundred at most."""
    return ", ".join("?" * len(values)) or "NULL"


def hashes(large: str | None) -> set[str]:
    """Return which values the text of a column `large` names."""
    return {found for _, _, found in json.loads(large)} if large else set()


def restored(read: Read, rows: Sequence[Row], names: Sequence[str]) -> list[Row]:
    """Return rows of columns `names` with their large values back in place.

    Each row has `large` behind these columns, which is taken off.
    """
    at = [i for i, row in enumerate(rows) if row[-1] is not None]
    found = [row[:-1] for row in rows]
    for start in range(0, len(at), _AT_ONCE):
        chosen = at[start : start + _AT_ONCE]
        values = _values(read, set().union(*(hashes(rows[i][-1]) for i in chosen)))
        for i in chosen:
            found[i] = _whole(found[i], names, json.loads(rows[i][-1]), values)
    return found


def _whole(
    row: Row, names: Sequence[str], places: Sequence[Place], values: Mapping[str, str]
) -> Row:
    texts = dict(zip(names, row, strict=True))
    for name in dict.fromkeys(name for name, _, _ in places if texts.get(name) is not None):
        whole = json.loads(texts[name])
        for column, path, found in places:
            if column == name:
                _put(whole, path, values.get(found, _gone(found)))
        texts[name] = encoded(whole, name, "")
    return tuple(texts.values())


def _gone(found: str) -> str:
    return f"[this value is missing from the history: large value {found[:12]}]"


def _values(read: Read, wanted: Iterable[str]) -> dict[str, str]:
    names = tuple(wanted)
    return dict(read(f"SELECT hash, value FROM large_values WHERE hash IN ({marks(names)})", names))


def sizes(read: Read, wanted: Iterable[str]) -> dict[str, int]:
    """Return how many bytes values have, by their hashes."""
    names = tuple(wanted)
    if not names:
        return {}
    return dict(read(f"SELECT hash, size FROM large_values WHERE hash IN ({marks(names)})", names))


def _large_in(whole: Any) -> list[tuple[list[str | int], str]]:
    found: list[tuple[list[str | int], str]] = []
    inner: list[tuple[list[str | int], Any]] = [([], whole)]
    while inner:
        path, item = inner.pop()
        members = item.items() if isinstance(item, dict) else enumerate(item)
        for key, value in members:
            if isinstance(value, dict | list):
                inner.append(([*path, key], value))
            elif isinstance(value, str) and len(value) >= LARGE and not _NO_TEXT.search(value):
                found.append(([*path, key], value))
    return found


def _put(whole: Any, path: Sequence[str | int], value: str) -> None:
    for key in path[:-1]:
        whole = whole[key]
    whole[path[-1]] = value
