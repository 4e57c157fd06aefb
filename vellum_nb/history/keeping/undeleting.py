"""Undeleting: what a deletion moved aside comes back, in lots, where its place is still free."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vellum_nb.errors import HistoryError
from vellum_nb.history.rows.rows import PAYLOADS, SCALARS
from vellum_nb.history.store.large import Read
from vellum_nb.history.store.store import Connection, Row, Store

__all__ = ["Restored", "bring_back"]

_NAMED = 3
_AT_ONCE = 2_000
_RUN = ", ".join(SCALARS)
_PAYLOAD = ", ".join((*PAYLOADS, "large"))


@dataclass(frozen=True, slots=True, repr=False)
class Restored:
    """What `History.undelete` brought back.

    Attributes
    ----------
    runs : tuple of str
        The ids of the runs that are back.
    taken : dict
        Id of a run that stays deleted to what has its place meanwhile.
    """

    runs: tuple[str, ...]
    taken: dict[str, str]

    def __repr__(self) -> str:
        text = f"{len(self.runs):,} run{'' if len(self.runs) == 1 else 's'} back"
        for run_id, why in list(self.taken.items())[:_NAMED]:
            text += f"; {run_id} stays deleted: {why}"
        more = len(self.taken) - _NAMED
        return f"<Restored: {text}{f'; and {more:,} more' if more > 0 else ''}>"


def bring_back(store: Store, number: int | None) -> Restored:
    """Take back a deletion, the last one by default; what has lost its place stays deleted."""
    number = _known_number(store.read, number)
    sql = (
        "SELECT seq, id, external_id FROM deleted_runs WHERE batch = ? AND seq > ? "
        "ORDER BY seq LIMIT ?"
    )
    taken: dict[str, str] = {}
    back: list[str] = []
    rows: list[Row] = [(-(2**62),)]
    while rows:
        with store.write() as connection:
            rows = connection.execute(sql, (number, rows[-1][0], _AT_ONCE)).fetchall()
            free = _free(store, connection, rows, taken)
            if free:
                _move_back(store, connection, number, free, {row[0] for row in rows})
            if len(rows) < _AT_ONCE and not taken:
                connection.execute("DELETE FROM deletions WHERE batch = ?", (number,))
                rows = []
        back += [run_id for _, run_id in free]
    return Restored(tuple(back), taken)


def _known_number(read: Read, number: int | None) -> int:
    sql = (
        "SELECT batch FROM deletions d WHERE EXISTS "
        "(SELECT 1 FROM deleted_runs r WHERE r.batch = d.batch) ORDER BY batch"
    )
    every = [n for (n,) in read(sql, ())]
    if not every:
        msg = "There is nothing to bring back: no run was deleted since the last vacuum"
        raise HistoryError(msg)
    if number is None:
        return int(every[-1])
    if number not in every:
        known = ", ".join(map(str, every))
        msg = f"There is no deletion {number!r}; history.deletions() lists those there are: {known}"
        raise HistoryError(msg)
    return number


def _free(
    store: Store, connection: Connection, rows: Sequence[Row], taken: dict[str, str]
) -> list[tuple[int, str]]:
    """Return number and id of the rows whose place is free; note in `taken` why others' is not."""
    ids = _holders(store, connection, "id", [row[1] for row in rows])
    externals = _holders(store, connection, "external_id", [row[2] for row in rows if row[2]])
    free: list[tuple[int, str]] = []
    for seq, run_id, external_id in rows:
        if run_id in ids:
            taken[run_id] = "a run with this id was recorded meanwhile"
        elif external_id in externals:
            by = externals[external_id]
            taken[run_id] = f"its external_id {external_id!r} was taken by run {by}"
        else:
            free.append((seq, run_id))
            ids[run_id] = run_id
            externals |= {external_id: run_id} if external_id else {}
    return free


def _holders(
    store: Store, connection: Connection, column: str, values: Sequence[str]
) -> dict[str, str]:
    """Return which of these values of `column` runs have, and which runs these are."""
    sql = f"SELECT {column}, id FROM runs WHERE {store.dialect.one_of(column)}"
    return dict(connection.execute(sql, (store.dialect.listed(values),)).fetchall())


def _move_back(
    store: Store,
    connection: Connection,
    number: int,
    free: Sequence[tuple[int, str]],
    lot: set[int],
) -> None:
    """Move the rows that are `free` back, of a `lot` of numbers."""
    stay = store.dialect.listed(lot.difference(seq for seq, _ in free))
    chosen = f"WHERE d.batch = ? AND d.seq BETWEEN ? AND ? AND NOT {store.dialect.one_of('d.seq')}"
    bound = number, min(lot), max(lot), stay
    old = ", ".join(f"d.{name}" for name in SCALARS)
    connection.execute(
        f"INSERT INTO runs ({_RUN}) SELECT {old} FROM deleted_runs d {chosen} ORDER BY d.seq",
        bound,
    )
    old = ", ".join(f"p.{name}" for name in (*PAYLOADS, "large"))
    connection.execute(
        f"INSERT INTO payloads (seq, {_PAYLOAD}) SELECT r.seq, {old} FROM deleted_runs d "
        "JOIN deleted_payloads p ON p.batch = d.batch AND p.seq = d.seq "
        f"JOIN runs r ON r.id = d.id {chosen}",
        bound,
    )
    for table in ("runs", "payloads"):
        connection.execute(f"DELETE FROM deleted_{table} AS d {chosen}", bound)
