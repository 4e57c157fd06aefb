"""Old runs leave the history for a Parquet file, from which they can still be read.

The file is written, read back and compared with the rows before one of them goes; they go in one
transaction with the note of the file. A crash before it leaves both, and the next call writes the
file anew. A run that changed meanwhile stays.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vellum_nb.errors import HistoryError
from vellum_nb.history import index, large
from vellum_nb.history.archive_files import COLUMNS, ArchiveFile, write
from vellum_nb.history.frames import frame_of_cells
from vellum_nb.history.query import moment
from vellum_nb.history.rows import PAYLOADS, SCALARS, from_micros, micros
from vellum_nb.history.sizes import human
from vellum_nb.history.store import Store

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["Archive", "archive", "archives", "forget", "noted"]

_AT_ONCE = 500
_PICKED = ", ".join(
    ["r.seq", *(f"r.{n}" for n in SCALARS), *(f"p.{n}" for n in (*PAYLOADS, "large"))]
)
_FIXED = ("inputs", "outputs", "output_types", "not_sent", "metadata")  # of a run that has ended
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
    sql = f"SELECT r.seq, r.timestamp FROM runs r WHERE {_OLD} ORDER BY r.seq"
    old: dict[int, int] = dict(store.read(sql, (cut,)))
    as_old = store.read("SELECT count(*) FROM runs r WHERE r.timestamp < ?", (cut,))[0][0]
    if not old:
        return Archive(None, stayed=as_old)
    file = _written(store, old, _free(store, cut, path))
    moved = _move(store, file)
    return Archive(file.path, file.runs, as_old - moved, file.path.stat().st_size)


def archives(store: Store) -> pd.DataFrame:
    """Return one row for each archive, the newest first."""
    rows = noted(store)[::-1]
    frame = frame_of_cells(
        {
            "path": [str(file.path) for file in rows],
            "created": [file.created for file in rows],
            "runs": [file.runs for file in rows],
            "first": [file.first for file in rows],
            "last": [file.last for file in rows],
            "there": [file.path.is_file() for file in rows],
        }
    )
    for name in ("created", "first", "last"):
        times = [getattr(file, name) for file in rows]
        frame[name] = frame_of_cells({"timestamp": times})["timestamp"]
    return frame.astype({"runs": "int64", "there": "bool"})


def noted(store: Store) -> list[ArchiveFile]:
    """Return the archives as they were noted, in their order."""
    sql = "SELECT path, created, runs, first, last FROM archives ORDER BY seq"
    folder = _folder(store)
    return [ArchiveFile(folder / path, *told) for path, *told in store.read(sql)]


def forget(store: Store, path: Path) -> None:
    """Note no more that there is an archive at `path`."""
    with store.write() as connection:
        connection.execute("DELETE FROM archives WHERE path = ?", (_told(store, path),))


def _folder(store: Store) -> Path:
    return store.path.parent if isinstance(store.path, Path) else Path.cwd()


def _told(store: Store, path: Path) -> str:
    """Return what is noted of `path`: beside the history it may move along with it."""
    folder = _folder(store)
    inside = isinstance(store.path, Path) and path.is_relative_to(folder)
    return path.relative_to(folder).as_posix() if inside else str(path)


def _free(store: Store, cut: int, path: Path | None) -> Path:
    """Return where the file goes: `path`, or one beside the history that no archive has."""
    taken = {file.path for file in noted(store)}
    if path is not None:
        path = path.expanduser().absolute()
        if path in taken:
            msg = f"{path} is an archive of this history already; choose another path"
            raise HistoryError(msg)
        return path
    if not isinstance(store.path, Path):
        msg = f"The history {store.path} is no file to put an archive beside; give path=..."
        raise HistoryError(msg)
    name = f"{store.path.stem}.before-{from_micros(cut):%Y-%m-%d}"
    names = (f"{name}{f'-{n}' if n > 1 else ''}.parquet" for n in range(1, len(taken) + 2))
    return next(p for p in map(store.path.with_name, names) if p not in taken)


def _written(store: Store, old: Mapping[int, int], path: Path) -> ArchiveFile:
    """Write the rows of these numbers, whose times are given, and read them back."""
    _spare(store, path)
    created = micros(datetime.now(UTC))
    span = {"first": min(old.values()), "last": max(old.values())}
    told = {"created": created, "runs": len(old), **span}
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
    try:
        write(temporary, _rows(store, list(old)), told)
        _compare(store, ArchiveFile.at(temporary), path)
        temporary.replace(path)
    except OSError as exc:
        msg = f"{path} cannot be written: {exc.strerror or exc}"
        raise HistoryError(msg) from exc
    finally:
        temporary.unlink(missing_ok=True)
    return ArchiveFile(path, **told)


def _spare(store: Store, path: Path) -> None:
    """Refuse to replace a file, unless all of its runs are here: it was left by a crash."""
    if not path.exists():
        return
    sql = f"SELECT count(*) FROM runs WHERE {store.dialect.one_of('id')}"
    try:
        groups = ArchiveFile.at(path).groups()
        ids = [[row[1] for row in group] for group in groups]
        left = all(store.read(sql, (store.dialect.listed(lot),))[0][0] == len(lot) for lot in ids)
    except HistoryError:
        left = False
    if not left:
        msg = f"{path} is there already; choose another path, or move it away"
        raise HistoryError(msg)


def _rows(store: Store, seqs: Sequence[int]) -> Iterator[tuple[Any, ...]]:
    sql = (
        f"SELECT {_PICKED} FROM runs r JOIN payloads p ON p.seq = r.seq "
        "WHERE r.seq IN ({}) ORDER BY r.seq"
    )
    for start in range(0, len(seqs), _AT_ONCE):
        chosen = seqs[start : start + _AT_ONCE]
        rows = store.read(sql.format(large.marks(chosen)), chosen)
        yield from large.restored(store.read, rows, COLUMNS)


def _compare(store: Store, file: ArchiveFile, path: Path) -> None:
    """Read the file back; every row must be as it is in the history."""
    for group in file.groups():
        here = {row[0]: row for row in _rows(store, [row[0] for row in group])}
        for row in group:
            ours = here.get(row[0])
            if ours is not None and _fixed(ours) != _fixed(row):
                msg = f"{path} did not read back as written (run {row[1]}); nothing was moved"
                raise HistoryError(msg)


def _fixed(row: Sequence[Any]) -> tuple[Any, ...]:
    found = dict(zip(COLUMNS, row, strict=True))
    return tuple(found[name] for name in ("id", "case_id", "timestamp", *_FIXED))


def _move(store: Store, file: ArchiveFile) -> int:
    """Remove the rows that are in the file as they are now, and note the file."""
    names = [name for name in COLUMNS if name not in _FIXED]
    sql = (
        f"SELECT {', '.join(('r.' if n in SCALARS or n == 'seq' else 'p.') + n for n in names)}"
        ", p.large FROM runs r JOIN payloads p ON p.seq = r.seq "
        f"WHERE {store.dialect.one_of('r.seq')}"
    )
    remove = f"DELETE FROM {{}} WHERE {store.dialect.one_of('seq')}"
    moved = 0
    with store.write() as connection:
        for group in file.groups():
            named = store.dialect.listed([row[0] for row in group])
            rows = connection.execute(sql, (named,)).fetchall()
            here = {row[0]: row for row in large.restored(large.within(connection), rows, names)}
            same = [row[0] for row in group if here.get(row[0]) == _of(row, names)]
            index.forget(store, connection, same)
            for table in ("payloads", "runs"):
                bound = (store.dialect.listed(same),)
                done = connection.execute(remove.format(table), bound).rowcount
            moved += done
        note = "INSERT INTO archives (path, created, runs, first, last) VALUES (?, ?, ?, ?, ?)"
        told = (_told(store, file.path), file.created, file.runs, file.first, file.last)
        connection.execute(note, told)
    return moved


def _of(row: Sequence[Any], names: Sequence[str]) -> tuple[Any, ...]:
    found: Mapping[str, Any] = dict(zip(COLUMNS, row, strict=True))
    return tuple(found[name] for name in names)
