"""A copy of a history, made before its tables are changed, and never overwritten.

It is made while the caller holds the write lock, so that of several processes that bring one file
up to date only one makes it. A copy that was broken off has another name, and is made anew.
"""

from __future__ import annotations

import filecmp
import os
import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from datetime import UTC, datetime
from itertools import count
from pathlib import Path

from vellum_nb.errors import HistoryError

__all__ = ["FOLDER", "back_up", "private"]

FOLDER = "VELLUM_NB_BACKUPS"


def back_up(path: Path, *, version: int, target: int) -> Path:
    """Copy the history at `path`, whose write lock the caller holds; return the copy's path.

    Parameters
    ----------
    path
        The file, in WAL mode: it can be read while it is locked.
    version, target
        The version of its tables, and the one that they are to be brought to.

    Raises
    ------
    HistoryError
        The copy cannot be made; there is nothing of it, and the history is as it was.
    """
    folder = Path(os.environ.get(FOLDER) or path.parent).expanduser().absolute()
    stem = f"{path.name}.v{version}-backup"
    # Of this history only: the lock that is held is the history's, not the folder's.
    made = folder / f"{stem}-{path.stat().st_ino:x}.part"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _copy(path, made)
        return _put(made, lambda extra: folder / f"{stem}-{datetime.now(UTC):%Y-%m-%d}{extra}")
    except (OSError, sqlite3.Error) as exc:
        reason = exc.strerror if isinstance(exc, OSError) else str(exc)
        size = max(path.stat().st_size, 1)
        msg = (
            f"The history {path} was left as it is: its tables have version {version}, and before "
            f"they are brought to version {target} a copy of {size / 1e6:,.1f} MB is made, which "
            f"cannot be written to {folder} ({reason}); free some space there, or name another "
            f"folder with {FOLDER}"
        )
        raise HistoryError(msg) from exc
    finally:
        with suppress(OSError):
            _remove(made)


def private(path: Path) -> None:
    """Make an empty file that only its owner may read."""
    os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))


def _copy(path: Path, made: Path) -> None:
    _remove(made)
    private(made)
    # A connection of its own, since SQLite copies from none that is writing.
    with closing(sqlite3.connect(path)) as source, closing(sqlite3.connect(made)) as copy:
        source.backup(copy)
        copy.execute("PRAGMA journal_mode = DELETE")  # one file, whole by itself
    with made.open("rb+") as file:
        os.fsync(file.fileno())


def _remove(made: Path) -> None:
    """Remove a copy that was broken off, and what SQLite had beside it."""
    for ending in ("", "-wal", "-shm", "-journal"):
        made.with_name(made.name + ending).unlink(missing_ok=True)


def _put(made: Path, name: Callable[[str], Path]) -> Path:
    """Give the copy its name; where one of today is the same already, that is it."""
    for number in count(1):
        path = name("" if number == 1 else f"-{number}")
        try:
            os.link(made, path)
        except FileExistsError:
            if filecmp.cmp(made, path, shallow=False):
                return path
            continue
        except OSError:  # a file system without links
            if path.exists():
                continue
            made.replace(path)
        _sync(path.parent)
        return path
    raise AssertionError


def _sync(folder: Path) -> None:
    with suppress(OSError):  # Windows opens no folders
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
