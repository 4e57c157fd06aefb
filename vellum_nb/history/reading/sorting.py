"""What runs are sorted by, where that is a member of their payloads and there are very many.

To sort by ``output.confidence`` every payload would have to be read, gigabytes of a long history.
So the values are kept in a narrow table, which a table fills aside once somebody has sorted by
them. Like the index of words it is derived, and brought up to date in small transactions. Texts
are kept, and compared, by their first `TEXT` characters. A history in memory has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple, TypeAlias

from vellum_nb.errors import HistoryError
from vellum_nb.history.rows.rows import clean
from vellum_nb.history.searching.index import index_of
from vellum_nb.history.sqlite.sqlite import member, shortened
from vellum_nb.history.store.large import within
from vellum_nb.history.store.settings import setting, settle
from vellum_nb.history.store.store import Connection, Dialect, Store

__all__ = ["JOIN", "LONG", "SLICE", "TEXT", "forget", "ready", "steps", "terms"]

LONG = 50_000
"""Fewer runs are sorted without."""
SLICE = 4_000
TEXT = 100
JOIN = "FROM runs r LEFT JOIN sort_values s ON s.field = ? AND s.seq = r.seq"

_ROOMS = ("input.", "output.")

_ADD = (
    "INSERT INTO sort_values (field, seq, value) SELECT CAST(? AS TEXT), seq, {kept} "
    "FROM (SELECT r.seq, {value} AS value FROM runs r JOIN payloads p ON p.seq = r.seq "
    "WHERE {where}) AS found WHERE value IS NOT NULL "
    "ON CONFLICT (field, seq) DO UPDATE SET value = excluded.value"
)


_Sql: TypeAlias = tuple[str, tuple[object, ...]]
"""SQL, and what it binds."""


class _Values(NamedTuple):
    """The SQL in which databases differ."""

    make: Sequence[str]
    exists: str
    value: Callable[[Dialect, str, str], _Sql]
    """A member of a JSON object."""
    kept: str


def _whole(_dialect: Dialect, column: str, name: str) -> _Sql:
    value, bound = member(column, name)
    return value, (bound,)


def _start(dialect: Dialect, column: str, name: str) -> _Sql:
    key, bound = dialect.member_key(column, name, TEXT)
    return key.replace("vnb_key_start(", "vnb_key_start_or_null("), bound


_MAKE = "CREATE TABLE IF NOT EXISTS"
_KEY, _LEAN = "PRIMARY KEY (field, seq))", "STRICT, WITHOUT ROWID"
_VALUES = {
    "sqlite": _Values(
        (
            f"{_MAKE} sort_values (field TEXT, seq INTEGER, value ANY, {_KEY} {_LEAN}",
            f"{_MAKE} sort_due (field TEXT, seq INTEGER, {_KEY} {_LEAN}",
        ),
        "SELECT 1 FROM sqlite_master WHERE name = 'sort_values'",
        _whole,
        shortened("value", TEXT),
    ),
    "postgresql": _Values(
        (
            f'{_MAKE} sort_values (field TEXT, seq BIGINT, value TEXT COLLATE "C", {_KEY}',
            f"{_MAKE} sort_due (field TEXT, seq BIGINT, {_KEY}",
        ),
        "SELECT 1 WHERE has_table_privilege(to_regclass('sort_values'), 'SELECT')",
        _start,
        "value",
    ),
}
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
    field = clean(field)
    while newest := _worth_keeping(store, field):  # runs may come and go meanwhile
        mark = _mark(store, store.read, field)
        if mark >= newest and not _due(store, field):
            return
        yield mark, newest
        try:
            with store.write() as connection:
                _step(store, connection, field)
        except HistoryError:
            return


def ready(store: Store, field: str) -> bool:
    """Return whether runs can be sorted by kept values; a few that are missing are added."""
    field = clean(field)
    newest = _worth_keeping(store, field)
    if not newest or newest - _mark(store, store.read, field) > SLICE:
        return False
    for _ in steps(store, field):
        pass
    newest = _worth_keeping(store, field)
    return 0 < newest <= _mark(store, store.read, field) and not _due(store, field)


def _worth_keeping(store: Store, field: str) -> int:
    """Return the number of the newest run; 0 where values are not worth keeping or cannot be."""
    if index_of(store) is None or not field.startswith(_ROOMS):
        return 0
    newest: int = store.read("SELECT max(seq) FROM runs")[0][0] or 0
    return newest if newest >= LONG else 0


def terms(*, descending: bool) -> str:
    """Return what to order by: the kept values, missing ones last, equal ones newest first."""
    return f"s.value {'DESC' if descending else 'ASC'} NULLS LAST, r.timestamp DESC, r.seq DESC"


def forget(store: Store, connection: Connection, seqs: Sequence[int], newest: int) -> None:
    """Take the values of runs out before they are deleted; `newest` is the newest that stays.

    The numbers behind that are read anew: SQLite gives them to other runs.
    """
    if not connection.execute(_VALUES[store.dialect.name].exists).fetchone():
        return
    for name, mark in connection.execute(_FIELDS).fetchall():
        gone = [(name.removeprefix("sort:"), seq) for seq in seqs]
        for table in ("sort_values", "sort_due"):
            connection.executemany(f"DELETE FROM {table} WHERE field = ? AND seq = ?", gone)
        settle(connection, name, str(min(int(mark), newest)))


def _mark(store: Store, read: Callable[..., Any], field: str) -> int:
    exists = _VALUES[store.dialect.name].exists
    return int(setting(read, f"sort:{field}") or 0) if read(exists) else 0


def _due(store: Store, field: str) -> bool:
    exists = _VALUES[store.dialect.name].exists
    return bool(store.read(exists)) and bool(store.read(f"{_ENDED_DUE} LIMIT 1", (field,)))


def _step(store: Store, connection: Connection, field: str) -> None:
    read: Callable[..., list[Any]] = within(connection)
    dialect, mark = store.dialect, _mark(store, read, field)
    if not read(_VALUES[dialect.name].exists):
        for statement in _VALUES[dialect.name].make:
            connection.execute(statement)
    upto = min(mark + SLICE, read("SELECT max(seq) FROM runs")[0][0] or 0)
    if mark == 0:  # of a table that was dropped and made again
        connection.execute("DELETE FROM sort_due WHERE field = ?", (field,))
        connection.execute("DELETE FROM sort_values WHERE field = ?", (field,))
    new = "r.seq > ? AND r.seq <= ? AND p.seq > ? AND p.seq <= ?"  # PostgreSQL needs both
    _add(dialect, connection, field, new, (mark, upto) * 2)
    connection.execute(
        "INSERT INTO sort_due (field, seq) SELECT CAST(? AS TEXT), seq FROM runs "
        "WHERE seq > ? AND seq <= ? AND state = 'STARTED' ON CONFLICT DO NOTHING",
        (field, mark, upto),
    )
    ended = [seq for (seq,) in read(f"{_ENDED_DUE} LIMIT ?", (field, SLICE))]
    _add(dialect, connection, field, dialect.one_of("r.seq"), (dialect.listed(ended),))
    done = [(field, seq) for seq in ended]
    connection.executemany("DELETE FROM sort_due WHERE field = ? AND seq = ?", done)
    settle(connection, f"sort:{field}", str(max(mark, upto)))


def _add(
    dialect: Dialect, connection: Connection, field: str, where: str, bound: Sequence[object]
) -> None:
    room, _, name = field.partition(".")
    values = _VALUES[dialect.name]
    value, named = values.value(dialect, _COLUMNS[room], name)
    sql = _ADD.format(kept=values.kept, value=value, where=where)
    connection.execute(sql, (field, *named, *bound))
