"""The index of words: made in the history itself when somebody searches.

It is derived: nothing is lost when its tables are dropped. Recording a run does not touch it; a
search brings it up to date, in small transactions, so that other writers hardly wait, any number
of processes may do it at once, and one that is killed leaves nothing half done. It begins with
the newest runs and goes back to the oldest: a table shows what it has found so far. Runs that are
newer than it are compared by whoever searches.

Only runs that have ended are in it, for they do not change. Other runs of its stretch, which are
STARTED still, are remembered in a table of their own. Its stretch ends with the newest run there
is, or before: SQLite gives the numbers behind that once more when the runs that had them are gone.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from vellum_nb.errors import HistoryError
from vellum_nb.history.searching.fts import Fts
from vellum_nb.history.searching.letters import joined
from vellum_nb.history.searching.tsvector import Tsvector
from vellum_nb.history.searching.words import Search
from vellum_nb.history.store import large
from vellum_nb.history.store.settings import setting, settle
from vellum_nb.history.store.store import Condition, Connection, Row, Store

__all__ = [
    "DUE",
    "NOTED",
    "SLICE",
    "Stretch",
    "Told",
    "catch_up",
    "document",
    "drop_stale",
    "forget",
    "index_of",
    "steps",
    "stretch",
    "tidy",
]

DUE = "search_due"
NOTED = "(note IS NOT NULL OR tags IS NOT NULL)"
SLICE = 400
"""How many runs are indexed in one transaction; fewer that are new are not worth one."""

_VERSION = 3  # of `words`, `document` and these tables: where it is another one all is made anew
_MAKE = (
    f"DROP TABLE IF EXISTS {DUE}",
    f"CREATE TABLE {DUE} (seq BIGINT PRIMARY KEY)",
    f"CREATE INDEX IF NOT EXISTS runs_noted ON runs (seq) WHERE {NOTED}",
)
_STATE = "search"
_TEXTS = (
    "SELECT r.seq, r.state, p.inputs, p.outputs, r.error_code, r.error_message, p.large "
    "FROM runs r JOIN payloads p ON p.seq = r.seq WHERE"
)
_ENDED_DUE = (
    # CROSS JOIN: few are due; SQLite would begin with the runs
    f"SELECT d.seq FROM {DUE} d CROSS JOIN runs r WHERE r.seq = d.seq AND r.state <> 'STARTED'"
)
# PostgreSQL needs to be told of both numbers
_NEWER = f"{_TEXTS} r.seq > ? AND p.seq > ? ORDER BY r.seq LIMIT ?"
_OLDER = f"{_TEXTS} r.seq <= ? AND p.seq <= ? ORDER BY r.seq DESC LIMIT ?"
_NAMES = ("seq", "state", "inputs", "outputs", "error_code", "error_message")
_JSON = json.JSONDecoder(parse_constant=str)  # infinity is searched as it is written
_REMEMBER = f"INSERT INTO {DUE} (seq) VALUES (?) ON CONFLICT DO NOTHING"

Told = Callable[[int, int], None]


class Stretch(NamedTuple):
    """The numbers that the index has seen: above `after`, up to `upto`."""

    after: int
    upto: int


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

    def matching(self, read: large.Read, search: Search, others: Sequence[int]) -> list[Condition]:
        """Return the conditions of which just one holds for the `r.seq` of a run that is found.

        One holds for each of `others`, too.
        """


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
        _gather(_JSON.decode(payload), values)
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
        into.append(str(value))


def stretch(store: Store) -> Stretch | None:
    """Return which runs the index has seen; None where there is no index."""
    index = index_of(store)
    return None if index is None else _stretch(index, store.read)


def catch_up(store: Store, seconds: float) -> Stretch | None:
    """Bring the index up to date, for `seconds` and a step at most, and return `stretch`.

    Where the index cannot be made or written it stays as it is: rows are compared then.
    """
    end = time.monotonic() + seconds
    for count, _ in enumerate(steps(store)):
        if count and time.monotonic() > end:
            break
    return stretch(store)


def steps(store: Store) -> Iterator[tuple[int, int]]:
    """Bring the index up to date by and by; yield how many runs it knows of how many there are.

    It goes on as it is asked for more, and where it ended the next time.
    """
    index = index_of(store)
    while index is not None and (left := _left(store, index)):
        total = _newest(store.read)
        yield max(0, total - left), total
        try:
            ready = _read_ahead(store, index)
            with store.write() as connection:
                _step(connection, index, ready)
        except HistoryError:
            return


def drop_stale(store: Store) -> bool:
    """Drop an index that an older or newer version made; return whether there was one."""
    index = index_of(store)
    if index is None or not store.read(index.exists) or _stretch(index, store.read) is not None:
        return False
    with store.write() as connection:
        for statement in (*index.make, *_MAKE):
            if statement.startswith("DROP"):
                connection.execute(statement)
    return True


def forget(store: Store, connection: Connection, seqs: Sequence[int], newest: int) -> None:
    """Take runs out of the index before their rows are deleted, in the caller's transaction.

    `newest` is the number of the newest run that stays.
    """
    index = index_of(store)
    seen = None if index is None else _stretch(index, large.within(connection))
    if index is None or seen is None:
        return
    due = f"SELECT 1 FROM {DUE} WHERE seq = ?"
    for seq in seqs:
        is_seen = seen.after < seq <= seen.upto
        if is_seen and connection.execute(due, (seq,)).fetchone() is None:
            texts = connection.execute(f"{_TEXTS} r.seq = ?", (seq,)).fetchall()
            index.take(connection, _documents(connection, texts, {}))
    connection.executemany(f"DELETE FROM {DUE} WHERE seq = ?", [(seq,) for seq in seqs])
    _settle(connection, Stretch(min(seen.after, newest), min(seen.upto, newest)))


def tidy(store: Store) -> None:
    """Leave no word of deleted runs behind in the index."""
    index = index_of(store)
    if index is not None and store.read(index.exists):
        with store.write() as connection:
            index.tidy(connection)


def _stretch(index: Index, read: Callable[..., list[Any]]) -> Stretch | None:
    if not read(index.exists):
        return None
    state = json.loads(setting(read, _STATE) or "{}")
    return Stretch(*state["seen"]) if state.get("version") == _VERSION else None


def _newest(read: Callable[..., list[Any]]) -> int:
    return read("SELECT max(seq) FROM runs")[0][0] or 0


def _left(store: Store, index: Index) -> int:
    """Return how many runs are to be indexed; 0 where these are few and newer than the others."""
    seen, newest = _stretch(index, store.read), _newest(store.read)
    if seen is None:
        return newest if newest >= SLICE else 0
    ended: int = store.read(f"SELECT count(*) FROM ({_ENDED_DUE} LIMIT {SLICE}) AS due")[0][0]
    newer = max(0, newest - seen.upto) + ended
    return newer + seen.after if seen.after or newer >= SLICE else 0


def _read_ahead(store: Store, index: Index) -> dict[Row, str]:
    """Return the words of the next runs by their texts: no writer has to wait for these."""
    seen = _stretch(index, store.read)
    if seen is None:
        return {}
    rows = [row for some in _next(store.read, seen) for row in some]
    return {texts: document(*texts) for _, texts in _texts(store.read, rows)}


def _next(read: Callable[..., list[Row]], seen: Stretch) -> tuple[list[Row], ...]:
    """Return the rows of the next step: newer ones, older ones, and those that ended since."""
    new = read(_NEWER, (seen.upto, seen.upto, SLICE))
    old = read(_OLDER, (seen.after, seen.after, SLICE - len(new)))
    return new, old, read(f"{_TEXTS} r.seq IN ({_ENDED_DUE} LIMIT ?)", (SLICE,))


def _step(connection: Connection, index: Index, ready: Mapping[Row, str]) -> None:
    read = large.within(connection)
    seen = _stretch(index, read)
    if seen is None:
        for statement in (*index.make, *_MAKE):
            connection.execute(statement)
        seen = Stretch(_newest(read), _newest(read))
    new, old, ended = _next(read, seen)
    room = SLICE - len(new)
    index.add(connection, _documents(connection, sorted([*old, *new, *ended]), ready))
    started = [(seq,) for seq, state, *_ in (*old, *new) if state == "STARTED"]
    connection.executemany(_REMEMBER, started)
    connection.executemany(f"DELETE FROM {DUE} WHERE seq = ?", [(row[0],) for row in ended])
    # Where there are no more, it is past rows without payloads, too: damaged histories have them.
    upto = new[-1][0] if len(new) == SLICE else max(seen.upto, _newest(read))
    after = (old[-1][0] - 1 if len(old) == room else 0) if room else seen.after
    _settle(connection, Stretch(after, upto))


def _settle(connection: Connection, seen: Stretch) -> None:
    settle(connection, _STATE, json.dumps({"version": _VERSION, "seen": seen}))


def _documents(
    connection: Connection, rows: Sequence[Row], ready: Mapping[Row, str]
) -> list[tuple[int, str]]:
    """Return the words of those of `rows` that have ended; those that are `ready` as they are."""
    texts = _texts(large.within(connection), rows)
    return [(seq, ready.get(some) or document(*some)) for seq, some in texts]


def _texts(read: Callable[..., list[Row]], rows: Sequence[Row]) -> list[tuple[int, Row]]:
    """Return number and texts of those of `rows` that have ended."""
    whole = large.restored(read, rows, _NAMES)
    return [(seq, tuple(texts)) for seq, state, *texts in whole if state != "STARTED"]
