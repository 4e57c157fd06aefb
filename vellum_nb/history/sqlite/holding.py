"""A lock that says "this file is in use", which nothing else in this process can drop.

As POSIX has it, whoever in a process closes any handle of a file drops the process's locks on it:
``shutil.copy("runs.db", ...)`` in a notebook is enough, or another SQLite library. The next process
that closes the history then takes itself for the last one, and deletes the log under our hands;
what is written from then on is nowhere. Locks of an open file description stay. Linux has them;
elsewhere nothing is held.
"""

from __future__ import annotations

import os
import struct
import threading
from contextlib import suppress
from pathlib import Path

try:
    from fcntl import F_OFD_SETLK, F_RDLCK, F_UNLCK, fcntl
except ImportError:
    HELD = False
else:
    HELD = True

__all__ = ["HELD", "close", "hold", "let_go"]

_SHARED = (2**30 + 2, 510)
"""The bytes that SQLite locks to share the file: https://www.sqlite.org/src/file/src/os_unix.c"""
_OPEN_FILES = Path("/proc/self/fd")
_DONE: set[int] = set()
_LOCK = threading.RLock()  # a history may be collected, and so closed, under it


def hold(path: Path) -> int | None:
    """Lock a file that SQLite has opened; return the handle, None where that cannot be."""
    if not HELD:
        return None
    handle = None
    try:
        handle = _left(path)
        if handle is None:
            handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        _set(handle, F_RDLCK)
    except OSError:  # another system's drive
        close(handle)
        return None
    return handle


def let_go(handle: int | None) -> None:
    """Take the lock off, so that the last connection can clear up."""
    if handle is not None:
        with suppress(OSError):
            _set(handle, F_UNLCK)


def close(handle: int | None) -> None:
    """Close the handle once SQLite has closed its own, in whatever connection of this process.

    Until then the next one to hold the file takes it over.
    """
    if handle is None:
        return
    with _LOCK:
        _DONE.add(handle)
        with suppress(OSError):  # no handle is left to look with: another one closes it
            used = {_place(each) for each in _open_handles() - _DONE}
            for done in [each for each in list(_DONE) if _place(each) not in used]:
                with suppress(KeyError):  # closed meanwhile by a history that was collected here
                    _DONE.remove(done)
                    os.close(done)


def _left(path: Path) -> int | None:
    """Return a handle of this file that nobody uses, and that could not be closed."""
    with _LOCK:
        place = _place(path)
        for handle in [each for each in list(_DONE) if _place(each) == place]:
            with suppress(KeyError):
                _DONE.remove(handle)
                return handle
    return None


def _open_handles() -> set[int]:
    return {int(each.name) for each in _OPEN_FILES.iterdir()}


def _place(file: int | Path) -> tuple[int, int] | None:
    try:
        found = os.stat(file)  # noqa: PTH116 - of a handle, too
    except OSError:
        return None
    return found.st_dev, found.st_ino


def _after_fork() -> None:
    """Leave the locks to the parent; there are none yet in this process that this could drop."""
    global _LOCK  # noqa: PLW0603  (another thread of the parent may have it)
    _LOCK = threading.RLock()
    for handle in _DONE:
        os.close(handle)
    _DONE.clear()


if HELD:
    os.register_at_fork(after_in_child=_after_fork)


def _set(handle: int, kind: int) -> None:
    fcntl(handle, F_OFD_SETLK, struct.pack("hhqqi", kind, os.SEEK_SET, *_SHARED, 0))
