"""Which archives a history has, and where they lie."""

from __future__ import annotations

import json
import uuid
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from vellum_nb.errors import HistoryError
from vellum_nb.history.keeping.archive_files import ArchiveFile
from vellum_nb.history.rows.frames import frame_of_cells
from vellum_nb.history.store.large import Read, within
from vellum_nb.history.store.settings import setting, settle
from vellum_nb.history.store.store import Connection, Reader, Store

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "archives",
    "bring_in",
    "brought_in",
    "buried",
    "bury",
    "forget",
    "hidden",
    "is_noted",
    "note",
    "noted",
    "spare",
]

_BROUGHT_IN = "brought in"
_THIS = "created = ? AND runs = ? AND first = ? AND last = ?"


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


def noted(store: Store, read: Read | None = None) -> list[ArchiveFile]:
    """Return the archives as they were noted, in their order; `read` reads in a transaction."""
    sql = "SELECT path, created, runs, first, last FROM archives ORDER BY seq"
    folder = _folder(store)
    return [ArchiveFile(folder / path, *told) for path, *told in (read or store.read)(sql, ())]


def spare(store: Store, path: str | Path) -> None:
    """Raise where a file that is to be written would take the place of an archive."""
    target = Path(path).resolve()
    if any(file.path.resolve() == target for file in noted(store)):
        msg = f"{path} is an archive of this history, and stays; name another file"
        raise HistoryError(msg)


def note(store: Store, connection: Connection, file: ArchiveFile) -> None:
    """Note an archive in the caller's transaction."""
    sql = "INSERT INTO archives (path, created, runs, first, last) VALUES (?, ?, ?, ?, ?)"
    told = (_told(store, file.path), file.created, file.runs, file.first, file.last)
    connection.execute(sql, told)


def is_noted(connection: Connection, file: ArchiveFile) -> bool:
    """Whether this very archive is noted still, wherever it lies."""
    sql = f"SELECT 1 FROM archives WHERE {_THIS}"
    return connection.execute(sql, _identity(file)).fetchone() is not None


def forget(connection: Connection, file: ArchiveFile) -> None:
    """Note this archive no more, in the caller's transaction; one in its place stays noted."""
    connection.execute("DELETE FROM settings WHERE name = ?", (_grave(file),))
    connection.execute(f"DELETE FROM archives WHERE {_THIS}", _identity(file))


def bring_in(connection: Connection) -> None:
    """Note in the caller's transaction that runs come in which an archive may have, too."""
    settle(connection, _BROUGHT_IN, uuid.uuid4().hex)


def brought_in(read: Read) -> str | None:
    """Return what is another text after each `bring_in`."""
    return setting(read, _BROUGHT_IN)


def hidden(reader: Reader, file: ArchiveFile) -> set[str]:
    """Return which runs of an archive are not to be seen: they were deleted when still here."""
    return buried(reader, file) | _deleted(reader.read, file)


def buried(reader: Reader, file: ArchiveFile) -> set[str]:
    """Return which runs of an archive were deleted for good."""
    return set(json.loads(setting(reader.read, _grave(file)) or "[]"))


def bury(store: Store, connection: Connection) -> None:
    """Keep the ids of deleted runs that an archive has, too: they are about to be forgotten."""
    read = within(connection)
    for file in noted(store, read):
        gone = _deleted(read, file)
        if gone:
            with suppress(HistoryError):  # what cannot be read now may be there later
                gone &= {run_id for (run_id,) in file.only(("id",))}
        if gone:
            known = json.loads(setting(read, _grave(file)) or "[]")
            settle(connection, _grave(file), json.dumps(sorted(gone.union(known))))


def _deleted(read: Read, file: ArchiveFile) -> set[str]:
    sql = "SELECT id FROM deleted_runs WHERE timestamp BETWEEN ? AND ?"
    return {run_id for (run_id,) in read(sql, (file.first, file.last))}


def _grave(file: ArchiveFile) -> str:
    return "deleted of archive " + " ".join(map(str, _identity(file)))


def _identity(file: ArchiveFile) -> tuple[int, int, int, int]:
    return file.created, file.runs, file.first, file.last


def _folder(store: Store) -> Path:
    return store.path.parent if isinstance(store.path, Path) else Path.cwd()


def _told(store: Store, path: Path) -> str:
    """Return what is noted of `path`: beside the history it may move along with it."""
    folder = _folder(store)
    inside = isinstance(store.path, Path) and path.is_relative_to(folder)
    return path.relative_to(folder).as_posix() if inside else str(path)
