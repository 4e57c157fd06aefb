"""What runs are sorted by, where that is a member of their payloads and there are very many.

To sort by ``output.confidence`` every payload would have to be read, gigabytes of a long history.
So the values are kept in a narrow table, which a table fills aside once somebody has sorted by
them. Like the index of words it is derived, and brought up to date in small transactions. Texts
are kept, and compared, by their first `TEXT` characters. Only in SQLite files.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from vellum_nb.errors import HistoryError
from vellum_nb.history.searching.index import index_of
from vellum_nb.history.sqlite.sqlite import member
from vellum_nb.history.store.store import Connection, Store

__all__ = ["JOIN", "LONG", "SLICE", "TEXT", "forget", "ready", "steps", "terms"]

LONG = 50_000
"""Fewer runs are sorted without."""
SLICE = 4_000
TEXT = 100
JOIN = "FROM runs r LEFT JOIN sort_values s ON s.field = ? AND s.seq = r.seq"

_ROOMS = ("input.", "output.")

_KEY = "PRIMARY KEY (field, seq)) STRICT, WITHOUT ROWID"
_MAKE = (
    f"CREATE TABLE IF NOT EXISTS sort_values (field TEXT, seq INTEGER, value ANY, {_KEY}",
    f"CREATE TABLE IF NOT EXISTS sort_due (field TEXT, seq INTEGER, {_KEY}",
)
_EXISTS = "SELECT 1 FROM sqlite_master WHERE name = 'sort_values'"
_STATE = "SELECT value FROM settings WHERE name = ?"
_SET = (
    "INSERT INTO settings (name, value) VALUES (?, ?) "
    "ON CONFLICT (name) DO UPDATE SET value = excluded.value"
)
_FIELDS = "SELECT name, value FROM settings WHERE name LIKE 'sort:%'"
_ENDED_DUE = (
    "SELECT d.seq FROM sort_due d CROSS JOIN runs r "
    "WHERE d.field = ? AND r.seq = d.seq AND r.state <> 'STARTED'"
)
_COLUMNS = {"input": "p.inputs", "output": "p.outputs"}


def steps(store: Store, field: str) -> Iterator[tuple[int, int]]:
    """Bring the values of `field` up to date by and by; yield how many were read of how many.

    It goes on as it is asked for more, and where it ended the next time.
    """
    newest = _worth_keeping(store, field)
    while (mark := _mark(store.read, field)) < newest or (newest and _due(store.read, field)):
        yield mark, newest
        try:
            with store.write() as connection:
                _step(connection, field)
        except HistoryError:
            return


def ready(store: Store, field: str) -> bool:
    """Return whether runs can be sorted by kept values; a few that are missing are added."""
    newest = _worth_keeping(store, field)
    if not newest or newest - _mark(store.read, field) > SLICE:
        return False
    for _ in steps(store, field):
        pass
    return _mark(store.read, field) >= newest and not _due(store.read, field)


def _worth_keeping(store: Store, field: str) -> int:
    """Return the number of the newest run; 0 where values are not worth keeping or cannot be."""
    in_file = index_of(store) is not None and store.dialect.name == "sqlite"
    if not in_file or not field.startswith(_ROOMS):
        return 0
    newest: int = store.read("SELECT max(seq) FROM runs")[0][0] or 0
    return newest if newest >= LONG else 0


def terms(*, descending: bool) -> str:
    """Return what to order by: the kept values, missing ones last, equal ones newest first."""
    return f"s.value {'DESC' if descending else 'ASC'} NULLS LAST, r.timestamp DESC, r.seq DESC"


def forget(store: Store, connection: Connection, seqs: Sequence[int]) -> None:
    """Take the values of runs out before they are deleted; their numbers may be given again."""
    if store.dialect.name != "sqlite" or not connection.execute(_EXISTS).fetchone():
        return
    for name, state in connection.execute(_FIELDS).fetchall():
        field = name.removeprefix("sort:")
        gone = [(field, seq) for seq in seqs if seq <= json.loads(state)]
        for table in ("sort_values", "sort_due"):
            connection.executemany(f"DELETE FROM {table} WHERE field = ? AND seq = ?", gone)
        connection.executemany("INSERT INTO sort_due (field, seq) VALUES (?, ?)", gone)


def _mark(read: Callable[..., Any], field: str) -> int:
    found = read(_STATE, (f"sort:{field}",)) if read(_EXISTS) else []
    return int(found[0][0]) if found else 0


def _due(read: Callable[..., Any], field: str) -> bool:
    return bool(read(_EXISTS)) and bool(read(f"{_ENDED_DUE} LIMIT 1", (field,)))


def _step(connection: Connection, field: str) -> None:
    def read(sql: str, bound: Sequence[Any] = ()) -> list[Any]:
        return connection.execute(sql, bound).fetchall()

    mark = _mark(read, field)
    for statement in _MAKE:
        connection.execute(statement)
    upto = min(mark + SLICE, read("SELECT max(seq) FROM runs")[0][0] or 0)
    if mark == 0:  # of a table that was dropped and made again
        connection.execute("DELETE FROM sort_due WHERE field = ?", (field,))
        connection.execute("DELETE FROM sort_values WHERE field = ?", (field,))
    _add(connection, field, "r.seq > ? AND r.seq <= ?", (mark, upto))
    connection.execute(
        "INSERT INTO sort_due (field, seq) SELECT ?, seq FROM runs "
        "WHERE seq > ? AND seq <= ? AND state = 'STARTED'",
        (field, mark, upto),
    )
    ended = [seq for (seq,) in read(f"{_ENDED_DUE} LIMIT ?", (field, SLICE))]
    _add(connection, field, "r.seq IN (SELECT value FROM json_each(?))", (json.dumps(ended),))
    done = [(field, seq) for seq in ended]
    connection.executemany("DELETE FROM sort_due WHERE field = ? AND seq = ?", done)
    connection.execute(_SET, (f"sort:{field}", str(max(mark, upto))))


def _add(connection: Connection, field: str, where: str, bound: Sequence[object]) -> None:
    room, _, name = field.partition(".")
    value, argument = member(_COLUMNS[room], name)
    connection.execute(
        "INSERT OR REPLACE INTO sort_values (field, seq, value) SELECT ?, seq, "
        f"CASE WHEN typeof(value) = 'text' THEN substr(value, 1, {TEXT}) ELSE value END "
        f"FROM (SELECT r.seq, {value} AS value FROM runs r JOIN payloads p ON p.seq = r.seq "
        f"WHERE {where}) WHERE value IS NOT NULL",
        (field, argument, *bound),
    )
