"""Blind ratings in the history: the plan, every rating, also those that were taken back."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from vellum_nb.errors import HistoryError
from vellum_nb.history.rows.frames import frame_of_cells
from vellum_nb.history.rows.plans import BLIND, PAIR, RATING
from vellum_nb.history.rows.rows import clean, from_micros, micros
from vellum_nb.history.store.store import Connection, Store
from vellum_nb.models.blind import BlindChoice, BlindPair, BlindRating, BlindRecord

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BlindRatings"]

_NUMBERED = ("seq", *RATING)
_OF = "(SELECT seq FROM blind WHERE id = ?)"
_OPEN = "(SELECT seq FROM blind WHERE id = ? AND ended IS NULL)"
_SIDES = ("first", "second")
_FRAMED = {
    **{name: f"b.{name}" for name in ("deployment", *_SIDES, "seed", "question", "ended")},
    **{name: f"r.{name}" for name in ("choice", "a_first", "note", "rated", "undone", "sent")},
    "session_id": "b.id",
    "case_id": "p.case_id",
    "first_run": "p.first",
    "second_run": "p.second",
}


class BlindRatings:
    """Keeps blind ratings; `vellum_nb.Comparison.view` documents what users see of them."""

    def __init__(self, store: Store) -> None:
        self._store = store

    @property
    def on_disk(self) -> bool:
        """Whether they are in a file."""
        return self._store.path != ":memory:"

    def add(self, record: BlindRecord, pairs: Iterable[BlindPair]) -> None:
        """Keep the plan of a blind rating; it is on disk when this returns."""
        given = record.model_dump() | {"created": micros(record.created), "ended": None}
        names = ", ".join(BLIND)
        marks = ", ".join(f":{name}" for name in BLIND)
        with self._store.write() as connection:
            sql = f"INSERT INTO blind ({names}) VALUES ({marks})"
            number = connection.execute(sql, given).lastrowid
            sql = f"INSERT INTO blind_pairs (session, {', '.join(PAIR)}) VALUES (?{', ?' * 6})"
            connection.executemany(
                sql,
                ((number, *(getattr(pair, name) for name in PAIR)) for pair in pairs),
            )

    def newest(self, signature: str) -> BlindRecord | None:
        """Return the newest blind rating of this signature."""
        sql = f"SELECT {', '.join(BLIND)} FROM blind WHERE signature = ? ORDER BY seq DESC LIMIT 1"
        found = self._store.read(sql, (signature,))
        return _record(found[0]) if found else None

    def get(self, session_id: str) -> BlindRecord:
        """Return a blind rating as it is now."""
        sql = f"SELECT {', '.join(BLIND)} FROM blind WHERE id = ?"
        found = self._store.read(sql, (session_id,))
        if not found:
            msg = f"The history has no blind rating {session_id!r}; was the file replaced?"
            raise HistoryError(msg)
        return _record(found[0])

    def pairs(self, session_id: str) -> list[BlindPair]:
        """Return the pairs of a blind rating, in their order."""
        sql = f"SELECT {', '.join(PAIR)} FROM blind_pairs WHERE session = {_OF} ORDER BY position"
        rows = self._store.read(sql, (session_id,))
        found = [dict(zip(PAIR, row, strict=True)) for row in rows]
        return [BlindPair(**each | {"same": bool(each["same"])}) for each in found]

    def ratings(self, session_id: str) -> list[BlindRating]:
        """Return the ratings that count, in the order in which they were given."""
        sql = (
            f"SELECT {', '.join(_NUMBERED)} FROM blind_ratings "
            f"WHERE session = {_OF} AND undone IS NULL ORDER BY seq"
        )
        return [_rating(row) for row in self._store.read(sql, (session_id,))]

    def rate(
        self, session_id: str, position: int, choice: BlindChoice, *, a_first: bool, note: str
    ) -> bool:
        """Keep a rating; return whether it counts: not where there is one, or it is over."""
        sql = (
            "INSERT INTO blind_ratings (session, position, choice, a_first, note, rated) "
            "SELECT seq, ?, ?, ?, ?, ? FROM blind WHERE id = ? AND ended IS NULL "
            "ON CONFLICT DO NOTHING"
        )
        given = (position, choice, a_first, clean(note), _now(), session_id)
        with self._store.write() as connection:
            return connection.execute(sql, given).rowcount > 0

    def undo(self, session_id: str, seq: int) -> BlindRating | None:
        """Take back the rating `seq` where it counts, and return it; the history keeps it."""
        with self._store.write() as connection:
            sql = (
                f"SELECT {', '.join(_NUMBERED)} FROM blind_ratings "
                f"WHERE undone IS NULL AND session = {_OPEN} AND seq = ?"
            )
            row = connection.execute(sql, (session_id, seq)).fetchone()
            if row is None:
                return None
            _mark(connection, "undone", [row[0]])
        return _rating(row)

    def end(self, session_id: str) -> None:
        """Say that it is known now which release is which; nothing can be rated from then on."""
        sql = "UPDATE blind SET ended = ? WHERE id = ? AND ended IS NULL"
        with self._store.write() as connection:
            connection.execute(sql, (_now(), session_id))

    def mark_sent(self, seqs: Sequence[int]) -> None:
        """Say that these ratings were sent as actuals."""
        with self._store.write() as connection:
            _mark(connection, "sent", seqs)

    def frame(self, deployment: str | None = None) -> pd.DataFrame:
        """Return one row a rating, newest first; what would tell too early is missing."""
        sql = (
            f"SELECT {', '.join(_FRAMED.values())} "
            "FROM blind_ratings r JOIN blind b ON b.seq = r.session "
            "JOIN blind_pairs p ON p.session = r.session AND p.position = r.position "
            f"WHERE {'TRUE' if deployment is None else 'b.deployment = ?'} ORDER BY r.seq DESC"
        )
        found = self._store.read(sql, () if deployment is None else (deployment,))
        rows = [_told(dict(zip(_FRAMED, row, strict=True))) for row in found]
        cells = {name: [row[name] for row in rows] for name in _COLUMNS}
        frame = frame_of_cells(cells)
        for name in ("rated", "undone", "sent", "ended"):
            frame[name] = frame_of_cells({"timestamp": cells[name]})["timestamp"]
        frame["seed"] = frame["seed"].astype("Int64")
        return frame


_HIDDEN = ("preferred", "release_a", "release_b", "seed", "run_a", "run_b")
_COLUMNS = (
    "session_id",
    "deployment",
    "case_id",
    "choice",
    "preferred",
    "release_a",
    "release_b",
    "note",
    "rated",
    "undone",
    "sent",
    "question",
    "seed",
    "run_a",
    "run_b",
    "ended",
)


def _told(found: dict[str, Any]) -> dict[str, Any]:
    """Return a row of the frame; what would tell which release is which only when it is over."""
    choice, first_is_a = found["choice"], bool(found["a_first"])
    hidden = dict.fromkeys(_HIDDEN)
    if found["ended"] is not None:
        sides = ("a", "b") if first_is_a else ("b", "a")
        hidden["preferred"] = found.get(choice)
        hidden["seed"] = found["seed"]
        for name, side in zip(("first", "second"), sides, strict=True):
            hidden[f"release_{side}"] = found[name]
            hidden[f"run_{side}"] = found[f"{name}_run"]
    letter = ("A" if (choice == "first") == first_is_a else "B") if choice in _SIDES else choice
    told = found | {"choice": letter, "note": found["note"] or None} | hidden
    return {name: told[name] for name in _COLUMNS}


def _record(row: Sequence[Any]) -> BlindRecord:
    found = dict(zip(BLIND, row, strict=True))
    ended = None if found["ended"] is None else from_micros(found["ended"])
    return BlindRecord(**found | {"created": from_micros(found["created"]), "ended": ended})


def _rating(row: Sequence[Any]) -> BlindRating:
    seq, position, choice, a_first, note, *times = row
    rated, undone, sent = (None if at is None else from_micros(at) for at in times)
    return BlindRating(seq, position, choice, bool(a_first), note, rated, undone, sent)  # type: ignore[arg-type]  # rated is never missing


def _mark(connection: Connection, name: str, seqs: Sequence[int]) -> None:
    sql = f"UPDATE blind_ratings SET {name} = ? WHERE seq = ?"
    connection.executemany(sql, [(_now(), seq) for seq in seqs])


def _now() -> int:
    return micros(datetime.now(UTC))
