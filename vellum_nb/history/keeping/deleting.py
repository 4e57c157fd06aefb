"""Deleting: rows move aside, and stay there until a vacuum forgets them.

What a deletion moved is one batch, moved in lots so that no writer waits for long. Its runs come
back under a number of their own, behind all others, so that whatever was derived from the rows
takes them for new ones.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Self

from vellum_nb.errors import HistoryError
from vellum_nb.history.reading import sorting
from vellum_nb.history.reading.query import Ids, ids_of
from vellum_nb.history.rows.frames import frame_of_cells
from vellum_nb.history.rows.rows import PAYLOADS, SCALARS, clean, from_micros, micros
from vellum_nb.history.searching import index
from vellum_nb.history.store.large import Read, within
from vellum_nb.history.store.settings import setting, settle
from vellum_nb.history.store.store import Connection, Row, Store
from vellum_nb.models.plain import shown

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Deletion", "delete", "deletions", "remove", "where_gone"]

_RUN = ", ".join(SCALARS)
_PAYLOAD = ", ".join((*PAYLOADS, "large"))
_NAMED = 3
_AT_ONCE = 2_000
_LAST_NUMBER = "last deletion"


class Deletion(int):
    """What `History.delete` moved aside: as a number, how many runs.

    Attributes
    ----------
    number : int or None
        What `History.undelete` calls it; None where no run had these ids.
    deployments : tuple of str
        Of the runs.
    first, last : datetime or None
        When the oldest and the newest of them were sent.
    """

    number: int | None
    deployments: tuple[str, ...]
    first: datetime | None
    last: datetime | None

    def __new__(
        cls,
        runs: int,
        number: int | None = None,
        deployments: Sequence[str] = (),
        first: datetime | None = None,
        last: datetime | None = None,
    ) -> Self:
        """Return the number of `runs` with what is known of them."""
        self = super().__new__(cls, runs)
        self.number, self.deployments = number, tuple(deployments)
        self.first, self.last = first, last
        return self

    def __repr__(self) -> str:
        if self.number is None or self.first is None or self.last is None:
            return "<Deletion: no run has these ids>"
        runs = f"{int(self):,} run{'' if self == 1 else 's'} of {_some(self.deployments)}"
        span = f"{self.first:%Y-%m-%d %H:%M} to {self.last:%Y-%m-%d %H:%M} UTC"
        return (
            f"<Deletion {self.number}: {runs}, {span}; "
            f"undelete({self.number}) brings them back, until vacuum()>"
        )


def _named(ids: Any) -> list[str]:
    names = ids_of([ids] if isinstance(ids, str) else ids)
    if not isinstance(names, list) or not names or not all(n and isinstance(n, str) for n in names):
        msg = (
            "delete wants runs, their ids or a frame of them, with at least one in it, "
            f"not {shown(ids)}"
        )
        raise HistoryError(msg)
    return [clean(each) for each in names]


def delete(store: Store, ids: Ids, why: str) -> Deletion:
    """Move the rows of these runs aside."""
    named = _named(ids)
    number: int | None = None
    gone: list[Row] = []
    for start in range(0, len(named), _AT_ONCE):
        listed = store.dialect.listed(named[start : start + _AT_ONCE])
        sql = f"SELECT seq, timestamp, deployment FROM runs WHERE {store.dialect.one_of('id')}"
        with store.write() as connection:
            rows = connection.execute(sql, (listed,)).fetchall()
            if rows:
                number = number or _new_number(connection)
                _move_aside(store, connection, number, [seq for seq, _, _ in rows])
                _note(connection, number, len(rows), why)
        gone += rows
    if number is None:
        return Deletion(0)
    deployments = sorted({deployment for _, _, deployment in gone})
    times = [at for _, at, _ in gone]
    return Deletion(
        len(gone), number, deployments, from_micros(min(times)), from_micros(max(times))
    )


def remove(store: Store, connection: Connection, seqs: Sequence[int]) -> None:
    """Delete the rows of these runs, and what is derived from them, in the caller's transaction."""
    chosen, listed = store.dialect.one_of("seq"), store.dialect.listed(seqs)
    sql = f"SELECT coalesce(max(seq), 0) FROM runs WHERE NOT {chosen}"
    newest: int = connection.execute(sql, (listed,)).fetchone()[0]
    index.forget(store, connection, seqs, newest)
    sorting.forget(store, connection, seqs, newest)
    for table in ("payloads", "runs"):
        connection.execute(f"DELETE FROM {table} WHERE {chosen}", (listed,))


def _move_aside(store: Store, connection: Connection, number: int, seqs: Sequence[int]) -> None:
    listed = store.dialect.listed(seqs)
    for table, columns in (("payloads", _PAYLOAD), ("runs", _RUN)):
        connection.execute(
            f"INSERT INTO deleted_{table} (batch, seq, {columns}) "
            f"SELECT ?, seq, {columns} FROM {table} WHERE {store.dialect.one_of('seq')}",
            (number, listed),
        )
    remove(store, connection, seqs)


def _note(connection: Connection, number: int, runs: int, why: str) -> None:
    """Note what was moved; anew where another process took the first lots back meanwhile."""
    connection.execute(
        "INSERT INTO deletions (batch, at, runs, why) VALUES (?, ?, ?, ?) "
        "ON CONFLICT (batch) DO UPDATE SET runs = deletions.runs + excluded.runs",
        (number, micros(datetime.now(UTC)), runs, clean(why)),
    )


def deletions(store: Store) -> pd.DataFrame:
    """Return one row for each deletion that can be taken back, newest first."""
    rows = store.read(
        "SELECT d.batch, d.at, count(*), min(r.timestamp), max(r.timestamp), d.why "
        "FROM deletions d JOIN deleted_runs r ON r.batch = d.batch "
        "GROUP BY d.batch, d.at, d.why ORDER BY d.batch DESC"
    )
    named: dict[int, list[str]] = {}
    sql = "SELECT DISTINCT batch, deployment FROM deleted_runs ORDER BY batch, deployment"
    for number, deployment in store.read(sql):
        named.setdefault(number, []).append(deployment)
    of_time = {"deleted_at": 1, "first": 3, "last": 4}
    frame = frame_of_cells(
        {
            "deletion": [row[0] for row in rows],
            "deleted_at": [row[1] for row in rows],
            "runs": [row[2] for row in rows],
            "deployments": [", ".join(named[row[0]]) for row in rows],
            "first": [row[3] for row in rows],
            "last": [row[4] for row in rows],
            "why": [row[5] or None for row in rows],
        }
    )
    for name, at in of_time.items():
        frame[name] = frame_of_cells({"timestamp": [row[at] for row in rows]})["timestamp"]
    return frame.astype({"deletion": "int64", "runs": "int64"})


def where_gone(read: Read, run_id: str) -> str | None:
    """Return a sentence about a run that was deleted; None where it was not."""
    sql = (
        "SELECT d.batch, d.at FROM deleted_runs r JOIN deletions d ON d.batch = r.batch "
        "WHERE r.id = ? ORDER BY d.batch DESC LIMIT 1"
    )
    found = read(sql, (run_id,))
    if not found:
        return None
    number, at = found[0]
    return (
        f"Run {run_id} was deleted on {from_micros(at):%Y-%m-%d %H:%M} UTC; "
        f"history.undelete({number}) brings it back"
    )


def _new_number(connection: Connection) -> int:
    """Return a number that no deletion ever had: one that is known may be called again."""
    last = int(setting(within(connection), _LAST_NUMBER) or 0)
    found = connection.execute("SELECT coalesce(max(batch), 0) FROM deletions").fetchone()
    number = max(last, int(found[0])) + 1
    settle(connection, _LAST_NUMBER, str(number))
    return number


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more} more" if more > 0 else "")
