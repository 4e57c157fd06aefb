"""What nobody needs any more leaves the history for good, and its file becomes smaller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vellum_nb.history.keeping.archive_notes import bury
from vellum_nb.history.rows.rows import PAYLOADS
from vellum_nb.history.searching import index
from vellum_nb.history.store import large
from vellum_nb.history.store.sizes import human
from vellum_nb.history.store.store import Connection, Store

__all__ = ["Vacuumed", "vacuum"]

_AT_ONCE = 50
_SOURCES = ("payloads", "deleted_payloads", "sweep_cases")


@dataclass(frozen=True, slots=True, repr=False)
class Vacuumed:
    """What `History.vacuum` did.

    Attributes
    ----------
    forgotten : int
        Deleted runs that cannot be brought back any more.
    set_apart : int
        Runs of an older version whose large values are now kept once, beside the rows.
    dropped : int
        Large values that no run needed any more.
    before, after : int
        Bytes of the history.
    """

    forgotten: int
    set_apart: int
    dropped: int
    before: int
    after: int

    def __repr__(self) -> str:
        text = f"{human(self.before)} before, {human(self.after)} after"
        for count, what in (
            (self.forgotten, "deleted run(s) forgotten for good"),
            (self.set_apart, "older run(s) with large values set apart"),
            (self.dropped, "large value(s) dropped"),
        ):
            text += f"; {count:,} {what}" if count else ""
        return f"<Vacuumed: {text}>"


def vacuum(store: Store) -> Vacuumed:
    """Forget deletions, drop what no run needs and an index that is of no use, give space back."""
    before = store.size()
    forgotten = _forget(store)
    set_apart = _set_apart(store)
    dropped = _drop_values(store)
    index.drop_stale(store)
    index.tidy(store)
    store.compact()
    return Vacuumed(forgotten, set_apart, dropped, before, store.size())


def _forget(store: Store) -> int:
    with store.write() as connection:
        bury(store, connection)
        connection.execute("DELETE FROM deleted_payloads")
        connection.execute("DELETE FROM deletions")
        found: int = connection.execute("DELETE FROM deleted_runs").rowcount
        return found


def _set_apart(store: Store) -> int:
    """Set large values apart in rows from before that was done."""
    long = " OR ".join(f"length({name}) >= ?" for name in large.COLUMNS)
    sql = f"SELECT seq FROM payloads WHERE large IS NULL AND ({long})"
    seqs = [seq for (seq,) in store.read(sql, (large.LARGE,) * len(large.COLUMNS))]
    done = 0
    for start in range(0, len(seqs), _AT_ONCE):
        with store.write() as connection:
            done += _set_apart_in(connection, seqs[start : start + _AT_ONCE])
    return done


def _set_apart_in(connection: Connection, seqs: Sequence[int]) -> int:
    sql = (
        f"SELECT seq, {', '.join(PAYLOADS)} FROM payloads WHERE large IS NULL "
        f"AND seq IN ({large.marks(seqs)})"
    )
    done = 0
    for seq, *texts in connection.execute(sql, tuple(seqs)).fetchall():
        row = dict(zip(PAYLOADS, texts, strict=True))
        row["large"] = large.merged(large.keep(connection, row))
        if row["large"]:
            names = (*PAYLOADS, "large")
            settings = ", ".join(f"{name} = :{name}" for name in names)
            sql = f"UPDATE payloads SET {settings} WHERE seq = :seq"
            connection.execute(sql, row | {"seq": seq})
            done += 1
    return done


def _drop_values(store: Store) -> int:
    with store.write() as connection:
        wanted: set[str] = set()
        for table in _SOURCES:
            sql = f"SELECT large FROM {table} WHERE large IS NOT NULL"
            rows = connection.execute(sql).fetchall()
            wanted.update(*(large.hashes(text) for (text,) in rows))
        every = connection.execute("SELECT hash FROM large_values").fetchall()
        gone = [found for (found,) in every if found not in wanted]
        for found in gone:
            connection.execute("DELETE FROM large_values WHERE hash = ?", (found,))
        return len(gone)
