"""The index of words: made in the history itself when somebody searches.

It is derived: nothing is lost when its tables are dropped. Recording a run does not touch it; a
search first brings it up to date, in small transactions, so that other writers hardly wait, any
number of processes may do it at once, and one that is killed leaves nothing half done. What it
does not know yet has numbers above its mark; whoever searches compares those rows itself.

Only runs that have ended are in it, for they do not change. Runs below its mark that are STARTED
still, or were deleted, are remembered in a table of their own.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from vellum_nb.errors import HistoryError
from vellum_nb.history.searching.fts import Fts
from vellum_nb.history.searching.tsvector import Tsvector
from vellum_nb.history.searching.words import Search, joined
from vellum_nb.history.store import large
from vellum_nb.history.store.store import Connection, Row, Store

__all__ = [
    "DUE",
    "NOTED",
    "SLICE",
    "Told",
    "catch_up",
    "document",
    "drop_stale",
    "forget",
    "index_of",
    "tidy",
    "upto",
]

DUE = "search_due"
NOTED = "(note IS NOT NULL OR tags IS NOT NULL)"
SLICE = 400
"""How many runs are indexed in one transaction; fewer that are new are not worth one."""

_VERSION = 1  # of `words`, `document` and these tables: where it is another one all is made anew
_MAKE = (
    f"DROP TABLE IF EXISTS {DUE}",
    f"CREATE TABLE {DUE} (seq BIGINT PRIMARY KEY)",
    f"CREATE INDEX IF NOT EXISTS runs_noted ON runs (seq) WHERE {NOTED}",
)
_STATE = "SELECT value FROM settings WHERE name = 'search'"
_SET = (
    "INSERT INTO settings (name, value) VALUES ('search', ?) "
    "ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)
_TEXTS = (
    "SELECT r.seq, r.state, p.inputs, p.outputs, r.error_code, r.error_message, p.large "
    "FROM runs r JOIN payloads p ON p.seq = r.seq WHERE"
)
_ENDED_DUE = (
    # CROSS JOIN: few are due; SQLite would begin with the runs
    f"SELECT d.seq FROM {DUE} d CROSS JOIN runs r WHERE r.seq = d.seq AND r.state <> 'STARTED'"
)
_NAMES = ("seq", "state", "inputs", "outputs", "error_code", "error_message")
_REMEMBER = f"INSERT INTO {DUE} (seq) VALUES (?) ON CONFLICT DO NOTHING"

Told = Callable[[int, int], None]


class Index(Protocol):
    """What an index does for the runs that it is told of."""

    make: Sequence[str]
    exists: str

    def add(self, connection: Connection, documents: Sequence[tuple[int, str]]) -> None:
        """Add the words of runs."""

    def take(self, connection: Connection, documents: Sequence[tuple[int, str]]) -> None:
        """Take the words of runs out again."""

    def tidy(self, connection: Connection) -> None:
        """Leave nothing behind of what was taken out."""

    def matching(self, search: Search, others: Sequence[int]) -> tuple[str, tuple[object, ...]]:
        """Return a condition for `r.seq`, and what it binds; it holds for `others`, too."""


_INDEXES: dict[str, Index] = {"sqlite": Fts(), "postgresql": Tsvector()}


def index_of(store: Store) -> Index | None:
    """Return the index that this history may have; one in memory has none."""
    if store.dialect.name == "sqlite" and not isinstance(store.path, Path):
        return None
    return _INDEXES[store.dialect.name]


def document(inputs: str, outputs: str, *texts: str | None) -> str:
    """Return the words of a run: of the values in its payloads, then of `texts`.

    Examples
    --------
    >>> document('{"q":"Refund?"}', '{"n":12.5,"ok":true}', None)
    ' refund ¶ 12 5 ¶ true '
    """
    values: list[str] = []
    for payload in (inputs, outputs):
        _gather(json.loads(payload), values)
    return joined([*values, *(text for text in texts if text)])


def _gather(value: Any, into: list[str]) -> None:
    if isinstance(value, str):
        into.append(value)
    elif isinstance(value, dict):
        for item in value.values():
            _gather(item, into)
    elif isinstance(value, list):
        for item in value:
            _gather(item, into)
    elif value is not None:
        into.append(json.dumps(value))


def upto(store: Store) -> int | None:
    """Return the last run that the index has seen; None where there is no index."""
    index = index_of(store)
    return None if index is None else _mark(index, store.read)


def catch_up(store: Store, told: Told | None = None) -> int | None:
    """Bring the index up to date and return `upto`.

    Where the index cannot be made or written it stays as it is: rows are compared then.
    """
    index = index_of(store)
    if index is None:
        return None
    first = 0
    while (work := _work(store, index)) >= SLICE:
        first = max(first, work)
        if told is not None:
            told(first - work, first)
        try:
            with store.write() as connection:
                _step(connection, index)
        except HistoryError:
            break
    return _mark(index, store.read)


def drop_stale(store: Store) -> bool:
    """Drop an index that an older or newer version made; return whether there was one."""
    index = index_of(store)
    if index is None or not store.read(index.exists) or _mark(index, store.read) is not None:
        return False
    with store.write() as connection:
        for statement in (*index.make, *_MAKE):
            if statement.startswith("DROP"):
                connection.execute(statement)
    return True


def forget(store: Store, connection: Connection, seqs: Sequence[int]) -> None:
    """Take runs out of the index before their rows are deleted, in the caller's transaction.

    Their numbers stay due, for SQLite may give them to other runs.
    """
    index = index_of(store)
    mark = None if index is None else _mark(index, _reading(connection))
    if index is None or mark is None:
        return
    known = [(seq,) for seq in seqs if seq <= mark]
    due = f"SELECT 1 FROM {DUE} WHERE seq = ?"
    for one in known:
        if connection.execute(due, one).fetchone() is None:
            texts = connection.execute(f"{_TEXTS} r.seq = ?", one).fetchall()
            index.take(connection, _documents(connection, texts))
    connection.executemany(_REMEMBER, known)


def tidy(store: Store) -> None:
    """Leave no word of deleted runs behind in the index."""
    index = index_of(store)
    if index is not None and store.read(index.exists):
        with store.write() as connection:
            index.tidy(connection)


def _reading(connection: Connection) -> Callable[..., list[Any]]:
    def read(sql: str, parameters: Sequence[Any] = ()) -> list[Any]:
        return connection.execute(sql, parameters).fetchall()

    return read


def _mark(index: Index, read: Callable[..., list[Any]]) -> int | None:
    if not read(index.exists):
        return None
    found = read(_STATE)
    state = json.loads(found[0][0]) if found else {}
    return state["upto"] if state.get("version") == _VERSION else None


def _work(store: Store, index: Index) -> int:
    """Return how many runs might be indexed now: exact where it is little, else about."""
    mark = _mark(index, store.read)
    newer: int = store.read("SELECT max(seq) FROM runs")[0][0] or 0
    if mark is None:
        return newer
    ended: int = store.read(f"SELECT count(*) FROM ({_ENDED_DUE} LIMIT {SLICE}) AS due")[0][0]
    return max(0, newer - mark) + ended


def _step(connection: Connection, index: Index) -> None:
    mark = _mark(index, _reading(connection))
    if mark is None:
        for statement in (*index.make, *_MAKE):
            connection.execute(statement)
        mark = 0
    newer = f"{_TEXTS} r.seq > ? AND p.seq > ? ORDER BY r.seq LIMIT ?"  # PostgreSQL needs both
    new = connection.execute(newer, (mark, mark, SLICE)).fetchall()
    ended = connection.execute(f"{_TEXTS} r.seq IN ({_ENDED_DUE} LIMIT ?)", (SLICE,)).fetchall()
    index.add(connection, _documents(connection, [*new, *ended]))
    started = [(seq,) for seq, state, *_ in new if state == "STARTED"]
    connection.executemany(_REMEMBER, started)
    connection.executemany(f"DELETE FROM {DUE} WHERE seq = ?", [(row[0],) for row in ended])
    if len(new) == SLICE:
        mark = new[-1][0]
    else:  # also past rows without payloads, which only a damaged history has
        mark = connection.execute("SELECT max(seq) FROM runs").fetchone()[0] or 0
    connection.execute(_SET, (json.dumps({"version": _VERSION, "upto": mark}),))


def _documents(connection: Connection, rows: Sequence[Row]) -> list[tuple[int, str]]:
    """Return the words of those of `rows` that have ended."""
    whole = large.restored(large.within(connection), rows, _NAMES)
    return [(seq, document(*texts)) for seq, state, *texts in whole if state != "STARTED"]
