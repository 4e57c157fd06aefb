"""Stored blind ratings: plans, pairs, and ratings, including undone ones."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter

from vellum_nb.clock import micros
from vellum_nb.errors import HistoryError
from vellum_nb.history.backends import Store, Transaction
from vellum_nb.history.frames import frame_of_records
from vellum_nb.history.leases import Lease, LeaseHeldError
from vellum_nb.history.rows import clean, damaged, fields_of
from vellum_nb.history.store import insert
from vellum_nb.lazy import pd
from vellum_nb.models.blind import BlindChoice, BlindPair, BlindRating, BlindRecord

BLIND = tuple(BlindRecord.model_fields)
PAIR = ("position", "number", "case_id", "first", "second", "same")
RATING = ("seq", "position", "choice", "a_first", "note", "rated", "undone", "sent")
_RATINGS = f"SELECT {', '.join(RATING)} FROM blind_ratings WHERE session = :session"
# First statement of writes to an open session: it locks the session for other processes.
_LOCK = "UPDATE blind SET ended = NULL WHERE id = :session AND ended IS NULL"
_RENEW_S = 10.0
_FRAMED = {
    **{
        name: f"b.{name}" for name in ("deployment", "question", "seed", "first", "second", "ended")
    },
    **{name: f"r.{name}" for name in ("choice", "note", "rated", "undone", "sent", "a_first")},
    "session_id": "b.id",
    "case_id": "p.case_id",
    "first_run": "p.first",
    "second_run": "p.second",
}
_NAMES = (
    *("session_id", "deployment", "case_id", "choice", "preferred", "release_a", "release_b"),
    *("note", "rated", "undone", "sent", "question", "seed", "run_a", "run_b", "ended"),
)
_COLUMNS = dict.fromkeys(_NAMES, "text") | {"seed": "count"}
_COLUMNS |= dict.fromkeys(("rated", "undone", "sent", "ended"), "time")
_PAIR, _RATING = TypeAdapter(BlindPair), TypeAdapter(BlindRating)
_UNTIL_ENDED = ("preferred", "release_a", "release_b", "seed", "run_a", "run_b")


class BlindRatings:
    """Blind ratings of a history; see `vellum_nb.Comparison.blind`."""

    def __init__(self, store: Store, *, on_change: Callable[[], None]) -> None:
        self._store = store
        self.on_change = on_change  # called when results are hidden or shown again

    @property
    def on_disk(self) -> bool:
        """Whether the history is stored beyond this process."""
        return self._store.path != ":memory:"

    def add(self, record: BlindRecord, pairs: Iterable[BlindPair]) -> bool:
        """Store the plan of a blind rating; return False if its generation already exists."""
        blind = record.model_dump() | {"created": micros(record.created), "ended": None}
        rows = [
            {"session": record.id}
            | {name: getattr(pair, name) for name in PAIR}
            | {"same": int(pair.same)}
            for pair in pairs
        ]

        sql = insert("blind", BLIND) + " ON CONFLICT (signature, generation) DO NOTHING"

        def change(tx: Transaction) -> bool:
            is_new = tx.execute(sql, blind) > 0
            if is_new:
                tx.execute_many(insert("blind_pairs", ("session", *PAIR)), rows)
            return is_new

        return self._store.write(change)

    def newest(self, signature: str) -> BlindRecord | None:
        """Return the newest blind rating with this signature."""
        records = self._select("signature = :key ORDER BY generation DESC LIMIT 1", signature)
        return records[0] if records else None

    def get(self, session_id: str) -> BlindRecord:
        """Return the current record of a blind rating."""
        records = self._select("id = :key", session_id)
        if not records:
            msg = f"The history has no blind rating {session_id!r}; was the file replaced?"
            raise HistoryError(msg)
        return records[0]

    def open(self, deployment: str) -> list[BlindRecord]:
        """Return the blind ratings of a deployment that have not ended, newest first.

        A rating that was started over is not open.
        """
        newest = "SELECT max(n.generation) FROM blind n WHERE n.signature = blind.signature"
        where = f"deployment = :key AND ended IS NULL AND generation = ({newest})"
        return self._select(f"{where} ORDER BY created DESC", deployment)

    def _select(self, where: str, key: str) -> list[BlindRecord]:
        sql = f"SELECT {', '.join(BLIND)} FROM blind WHERE {where}"
        return [blind_of(row) for row in self._store.read(sql, {"key": key})]

    def pairs(self, session_id: str) -> list[BlindPair]:
        """Return the pairs of a blind rating in order."""
        sql = (
            f"SELECT {', '.join(PAIR)} FROM blind_pairs WHERE session = :session ORDER BY position"
        )
        rows = self._store.read(sql, {"session": session_id})
        return pairs_of(rows)

    def ratings(self, session_id: str) -> list[BlindRating]:
        """Return the ratings that are not undone, oldest first."""
        sql = f"{_RATINGS} AND undone IS NULL ORDER BY seq"
        return [rating_of(row) for row in self._store.read(sql, {"session": session_id})]

    def rate(
        self, session_id: str, position: int, choice: BlindChoice, *, a_first: bool, note: str
    ) -> bool:
        """Store a rating; return False if the pair is already rated or the session has ended.

        A skipped pair can be rated, or skipped again, which replaces the earlier skip.
        """
        row = {"session": session_id, "position": position, "choice": choice}
        row |= {"a_first": int(a_first), "note": clean(note), "rated": _now()}
        pair = "session = :session AND position = :position AND undone IS NULL"
        skip = f"UPDATE blind_ratings SET undone = :rated WHERE {pair} AND choice = 'skip'"
        values = ", ".join(f":{name}" for name in row)
        sql = (
            f"INSERT INTO blind_ratings ({', '.join(row)}) SELECT {values} WHERE NOT EXISTS "
            f"(SELECT 1 FROM blind_ratings WHERE {pair} AND choice <> 'skip') "
            "ON CONFLICT DO NOTHING"
        )
        earlier = f"{skip} AND seq < (SELECT max(seq) FROM blind_ratings WHERE {pair})"

        def change(tx: Transaction) -> bool:
            if not tx.execute(_LOCK, row) or not tx.execute(sql, row):
                return False
            if choice == "skip":
                tx.execute(earlier, row)
            return True

        return self._store.write(change)

    def undo(self, session_id: str, seq: int) -> BlindRating | None:
        """Mark the rating `seq` as undone and return it; None if it is already undone."""
        values = {"session": session_id, "seq": seq, "now": _now()}
        sql = "UPDATE blind_ratings SET undone = :now WHERE seq = :seq AND undone IS NULL"

        def change(tx: Transaction) -> bool:
            return tx.execute(_LOCK, values) > 0 and tx.execute(sql, values) > 0

        if not self._store.write(change):
            return None
        (row,) = self._store.read(f"{_RATINGS} AND seq = :seq", values)
        return rating_of((*row[:6], None, row[7]))

    def end(self, session_id: str) -> None:
        """Record that the releases were revealed, which ends the rating."""
        sql = "UPDATE blind SET ended = :now WHERE id = :session AND ended IS NULL"
        self._store.write(lambda tx: tx.execute(sql, {"session": session_id, "now": _now()}))
        self.on_change()

    @contextmanager
    def sending(self, session_id: str) -> Iterator[Lease]:
        """Hold and renew the lease for sending the ratings of a session during the block.

        `LeaseHeldError`: another process is sending them.
        """
        try:
            lease = Lease(self._store, f"blind:{session_id}")
            lease.acquire()
        except LeaseHeldError as exc:
            msg = f"{exc.holder} is sending these ratings; check again when it has finished"
            raise LeaseHeldError(msg, exc.holder) from exc
        stop = threading.Event()
        renewing = threading.Thread(target=_renew, args=(lease, stop), daemon=True)
        try:
            renewing.start()
            yield lease
        finally:
            stop.set()
            lease.release()

    def mark_sent(self, seqs: Sequence[int]) -> None:
        """Record that these ratings were sent as actuals."""
        sql = "UPDATE blind_ratings SET sent = :now WHERE seq = :seq"
        rows = [{"seq": seq, "now": _now()} for seq in seqs]
        self._store.write(lambda tx: tx.execute_many(sql, rows))

    def frame(self, deployment: str | None = None) -> pd.DataFrame:
        """Return one row per rating, newest first. Releases are missing until the rating ends."""
        where = "1 = 1" if deployment is None else "b.deployment = :deployment"
        sql = (
            f"SELECT {', '.join(_FRAMED.values())} "
            "FROM blind_ratings r JOIN blind b ON b.id = r.session "
            "JOIN blind_pairs p ON p.session = r.session AND p.position = r.position "
            f"WHERE {where} ORDER BY r.seq DESC"
        )
        rows = self._store.read(sql, {} if deployment is None else {"deployment": deployment})
        with damaged("A blind rating"):
            records = [_framed(dict(zip(_FRAMED, row, strict=True))) for row in rows]
            return frame_of_records(_COLUMNS, records)


def _framed(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return a row of the frame, with releases only if the rating has ended."""
    choice, a_first = row["choice"], bool(row["a_first"])
    hidden: dict[str, Any] = dict.fromkeys(_UNTIL_ENDED)
    if row["ended"] is not None:
        hidden |= {"preferred": row.get(choice), "seed": row["seed"]}
        for name, side in zip(("first", "second"), "ab" if a_first else "ba", strict=True):
            hidden |= {f"release_{side}": row[name], f"run_{side}": row[f"{name}_run"]}
    if choice in {"first", "second"}:
        choice = "A" if (choice == "first") == a_first else "B"
    return {**row, "choice": choice, "note": row["note"] or None, **hidden}


def _renew(lease: Lease, stop: threading.Event) -> None:
    """Renew a lease periodically. The holder detects a lost lease before it sends."""
    while not stop.wait(_RENEW_S):
        with suppress(HistoryError):
            lease.renew()


def blind_of(row: Sequence[Any]) -> BlindRecord:
    """Return the blind rating of a row of `BLIND`; raise a `HistoryError` if it is damaged."""
    with damaged(f"Blind rating {row[0]!r:.100}"):
        return BlindRecord(**fields_of(BLIND, row))


def pairs_of(rows: Iterable[Sequence[Any]]) -> list[BlindPair]:
    """Return the pairs of rows of `PAIR`; raise a `HistoryError` if one is damaged."""
    with damaged("A pair of a blind rating"):
        return [_PAIR.validate_python(dict(zip(PAIR, row, strict=True))) for row in rows]


def rating_of(row: Sequence[Any]) -> BlindRating:
    """Return the rating of a row of `RATING`; raise a `HistoryError` if it is damaged."""
    with damaged(f"Rating {row[0]!r:.100}"):
        return _RATING.validate_python(fields_of(RATING, row))


def _now() -> int:
    return micros(datetime.now(UTC))
