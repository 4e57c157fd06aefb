"""Old runs leave the history for a Parquet file, from which they can still be read.

The file is written, read back and compared with the rows before one of them goes. It is noted, and
then they go in small transactions, so that no writer waits for long. A run that is here and in a
file counts as it is here: a crash loses none and shows none twice, and the next call moves the
rest. A run that changed meanwhile stays.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, BinaryIO

from vellum_nb.errors import HistoryError
from vellum_nb.history.keeping.archive_files import COLUMNS, ArchiveFile, write
from vellum_nb.history.keeping.archive_notes import forget, is_noted, note, noted
from vellum_nb.history.keeping.deleting import remove
from vellum_nb.history.reading.query import moment
from vellum_nb.history.rows.rows import PAYLOADS, SCALARS, from_micros, micros
from vellum_nb.history.store import large
from vellum_nb.history.store.replacing import beside, move, not_written
from vellum_nb.history.store.sizes import human
from vellum_nb.history.store.store import Connection, Row, Store

__all__ = ["Archive", "archive"]

_AT_ONCE = 500
_PICKED = ", ".join(
    ["r.seq", *(f"r.{n}" for n in SCALARS), *(f"p.{n}" for n in (*PAYLOADS, "large"))]
)
_FIXED = ("inputs", "outputs", "output_types", "not_sent", "metadata")  # of a run that has ended
_CONSTANT = ("id", "case_id", "timestamp", *_FIXED)
_OLD = (
    "r.timestamp < ? AND r.state <> 'STARTED' "
    "AND (r.sweep_id IS NULL OR r.sweep_id NOT IN (SELECT id FROM sweeps WHERE ended IS NULL)) "
    "AND r.id NOT IN (SELECT u.run FROM sweep_reused u JOIN sweeps s ON s.seq = u.sweep "
    "WHERE s.ended IS NULL) "
    "AND r.id NOT IN (SELECT p.first FROM blind_pairs p JOIN blind b ON b.seq = p.session "
    "WHERE b.ended IS NULL) "
    "AND r.id NOT IN (SELECT p.second FROM blind_pairs p JOIN blind b ON b.seq = p.session "
    "WHERE b.ended IS NULL)"
)


@dataclass(frozen=True, slots=True, repr=False)
class Archive:
    """What `History.archive` moved.

    Attributes
    ----------
    path : Path or None
        The file; None where there was nothing to move.
    runs : int
        How many runs are in it.
    stayed : int
        Runs that are as old and stayed: STARTED, of sweeps or blind ratings under way, or changed
        meanwhile.
    size : int
        Bytes of the file.
    """

    path: Path | None
    runs: int = 0
    stayed: int = 0
    size: int = 0

    def __repr__(self) -> str:
        stayed = f"; {self.stayed:,} as old stayed" if self.stayed else ""
        if self.path is None:
            return f"<Archive: nothing to move{stayed}>"
        runs = f"{self.runs:,} run{'' if self.runs == 1 else 's'}"
        return (
            f"<Archive {self.path.name}: {runs}, {human(self.size)}{stayed}; "
            "frame(archived=True) reads them, vacuum() makes the history smaller>"
        )


def archive(store: Store, before: datetime | date | str, path: Path | None) -> Archive:
    """Move the runs that were sent before a time to a file."""
    cut = moment("before", before)
    sql = f"SELECT r.seq, r.id, r.timestamp FROM runs r WHERE {_OLD} ORDER BY r.seq"
    old = {seq: (run_id, at) for seq, run_id, at in store.read(sql, (cut,))}
    as_old = store.read("SELECT count(*) FROM runs r WHERE r.timestamp < ?", (cut,))[0][0]
    if not old:
        return Archive(None, stayed=as_old)
    chosen = _free(store, store.read, cut, path)
    family = None if path is not None else _family(store)
    try:
        with beside(chosen, family=family) as temporary:
            file = _written(store, old, temporary)
            if file is None:  # another process takes runs away just now
                return archive(store, before, path)
            with store.write() as connection:
                if not any(_unchanged(store, connection, group) for group in file.groups()):
                    return Archive(None, stayed=as_old)
                file = replace(file, path=_free(store, large.within(connection), cut, path))
                move(temporary, file.path)
                note(store, connection, file)
    except OSError as exc:
        raise not_written(chosen, exc) from exc
    moved = sum(
        _moved(store, file, group[start : start + _AT_ONCE])
        for group in file.groups()
        for start in range(0, len(group), _AT_ONCE)
    )
    if not moved:  # another process was quicker
        _given_up(store, file)
        return Archive(None, stayed=as_old)
    return Archive(file.path, file.runs, as_old - moved, file.path.stat().st_size)


def _moved(store: Store, file: ArchiveFile, group: Sequence[Row]) -> int:
    """Delete what the history has as it is in a lot of the file; return how many these were."""
    with store.write() as connection:
        if not is_noted(connection, file):  # brought back by another process: nobody reads it now
            return 0
        seqs = _unchanged(store, connection, group)
        remove(store, connection, seqs)
    return len(seqs)


def _given_up(store: Store, file: ArchiveFile) -> None:
    """Forget an archive that took no run away, then remove its file: who reads one expects it."""
    with store.write() as connection:
        was_noted = is_noted(connection, file)
        forget(connection, file)
    with store.write() as connection:  # nobody puts another archive there meanwhile
        paths = {other.path for other in noted(store, large.within(connection))}
        if was_noted and file.path not in paths:
            file.path.unlink()


def _free(store: Store, read: large.Read, cut: int, path: Path | None) -> Path:
    """Return where the file goes: `path`, or one beside the history that no archive has.

    A file that is there is only replaced when all of its runs are here: a crash left it.
    """
    taken = {file.path for file in noted(store, read)}
    if path is not None:
        path = path.expanduser().absolute()
        if path in taken:
            msg = f"{path} is an archive of this history already; choose another path"
            raise HistoryError(msg)
    elif isinstance(store.path, Path):
        name = f"{_family(store)}{from_micros(cut):%Y-%m-%d}"
        names = (f"{name}{f'-{n}' if n > 1 else ''}.parquet" for n in range(1, len(taken) + 2))
        path = next(p for p in map(store.path.with_name, names) if p not in taken)
    else:
        msg = f"The history {store.path} is no file to put an archive beside; give path=..."
        raise HistoryError(msg)
    if path.exists() and not _left_by_a_crash(store, read, path):
        msg = f"{path} is there already; choose another path, or move it away"
        raise HistoryError(msg)
    return path


def _family(store: Store) -> str:
    """Return what the names begin with that archives beside the history are given."""
    return f"{Path(store.path).stem}.before-"


def _left_by_a_crash(store: Store, read: large.Read, path: Path) -> bool:
    sql = f"SELECT count(*) FROM runs WHERE {store.dialect.one_of('id')}"
    try:
        lots = [[row[1] for row in group] for group in ArchiveFile.at(path).groups()]
    except HistoryError:
        return False
    return all(read(sql, (store.dialect.listed(lot),))[0][0] == len(lot) for lot in lots)


def _written(
    store: Store, old: Mapping[int, tuple[str, int]], place: BinaryIO
) -> ArchiveFile | None:
    """Write the rows of these numbers, whose ids and times are given, and read them back.

    Returns None where one of them has gone meanwhile; its number may be another run's by now.
    """
    times = [at for _, at in old.values()]
    span = {"first": min(times), "last": max(times)}
    told = {"created": micros(datetime.now(UTC)), "runs": len(old), **span}
    number = 0

    def rows() -> Iterator[Row]:
        nonlocal number
        for row in _rows(store, list(old)):
            if row[1] == old[row[0]][0]:
                number += 1
                yield row

    write(place, rows(), told)
    if number < len(old):
        return None
    file = ArchiveFile.at(Path(place.name))
    for group in file.groups():
        here = {row[:2]: row for row in _rows(store, [row[0] for row in group])}
        for row in group:
            ours = here.get(row[:2])
            if ours is not None and _of(ours, _CONSTANT) != _of(row, _CONSTANT):
                msg = f"The archive did not read back as written (run {row[1]}); nothing was moved"
                raise HistoryError(msg)
    return file


def _rows(store: Store, seqs: Sequence[int]) -> Iterator[tuple[Any, ...]]:
    sql = (
        f"SELECT {_PICKED} FROM runs r JOIN payloads p ON p.seq = r.seq "
        "WHERE r.seq IN ({}) ORDER BY r.seq"
    )
    for start in range(0, len(seqs), _AT_ONCE):
        chosen = seqs[start : start + _AT_ONCE]
        rows = store.read(sql.format(large.marks(chosen)), chosen)
        yield from large.restored(store.read, rows, COLUMNS)


def _unchanged(store: Store, connection: Connection, group: Sequence[Row]) -> list[int]:
    """Return which rows of a lot of the file are in the history as they are there."""
    names = [name for name in COLUMNS if name not in _FIXED]
    sql = (
        f"SELECT {', '.join(('r.' if n in SCALARS or n == 'seq' else 'p.') + n for n in names)}"
        ", p.large FROM runs r JOIN payloads p ON p.seq = r.seq "
        f"WHERE {store.dialect.one_of('r.seq')}"
    )
    listed = store.dialect.listed([row[0] for row in group])
    rows = connection.execute(sql, (listed,)).fetchall()
    here = {row[0]: row for row in large.restored(large.within(connection), rows, names)}
    return [row[0] for row in group if here.get(row[0]) == _of(row, names)]


def _of(row: Sequence[Any], names: Sequence[str]) -> tuple[Any, ...]:
    found = dict(zip(COLUMNS, row, strict=True))
    return tuple(found[name] for name in names)
