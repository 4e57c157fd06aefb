"""Which archives a history has, and where they lie."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vellum_nb.history.keeping.archive_files import ArchiveFile
from vellum_nb.history.rows.frames import frame_of_cells
from vellum_nb.history.store.large import Read
from vellum_nb.history.store.store import Connection, Store

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["archives", "forget", "note", "noted"]


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


def note(store: Store, connection: Connection, file: ArchiveFile) -> None:
    """Note an archive in the caller's transaction."""
    sql = "INSERT INTO archives (path, created, runs, first, last) VALUES (?, ?, ?, ?, ?)"
    told = (_told(store, file.path), file.created, file.runs, file.first, file.last)
    connection.execute(sql, told)


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
