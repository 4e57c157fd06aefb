"""What nobody needs any more leaves the history for good, and its file becomes smaller."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from vellum_nb.history.keeping.archive_notes import bury
from vellum_nb.history.searching import index
from vellum_nb.history.store import large
from vellum_nb.history.store.sizes import human
from vellum_nb.history.store.store import Connection, Row, Store

__all__ = ["Vacuumed", "vacuum"]

_AT_ONCE = 50
_SOURCES = ("payloads", "deleted_payloads", "sweep_cases")
_LARGE_IN = (
    ("payloads", ("seq",), large.COLUMNS),
    ("sweep_cases", ("sweep", "position"), ("inputs",)),
)


@dataclass(frozen=True, slots=True, repr=False)
class Vacuumed:
    """What `History.vacuum` did.

    Attributes
    ----------
    forgotten : int
        Deleted runs that cannot be brought back any more.
    set_apart : int
        Runs, and cases of sweeps, of an older version whose large values are now kept once.
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
            (self.set_apart, "older run(s) or case(s) with large values set apart"),
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
    return sum(_set_apart_in(store, *rows) for rows in _LARGE_IN)


def _set_apart_in(store: Store, table: str, key: Sequence[str], names: Sequence[str]) -> int:
    long = " OR ".join(f"length({name}) >= ?" for name in names)
    sql = f"SELECT {', '.join(key)} FROM {table} WHERE large IS NULL AND ({long})"
    keys = store.read(sql, (large.LARGE,) * len(names))
    rows = f"{table} WHERE {' AND '.join(f'{name} = ?' for name in key)} AND large IS NULL"
    done = 0
    for start in range(0, len(keys), _AT_ONCE):
        with store.write() as connection:
            for one in keys[start : start + _AT_ONCE]:
                done += _set_row_apart(connection, rows, names, one)
    return done


def _set_row_apart(connection: Connection, rows: str, names: Sequence[str], key: Row) -> bool:
    table, _, chosen = rows.partition(" ")
    for found in connection.execute(f"SELECT {', '.join(names)} FROM {rows}", key).fetchall():
        texts = dict(zip(names, found, strict=True))
        places = large.keep(connection, texts, names)
        if places:
            settings = ", ".join(f"{name} = ?" for name in (*names, "large"))
            values = (*texts.values(), large.merged(places), *key)
            connection.execute(f"UPDATE {table} SET {settings} {chosen}", values)
            return True
    return False


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
