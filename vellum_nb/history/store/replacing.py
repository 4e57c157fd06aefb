"""Files that take the place of others: whole and on disk, or not at all.

A file is written beside its place under another name, brought to the disk, and renamed. Whatever
ends the writing, the old file is there until the new one is. What a killed process leaves behind
is a file called ``.<name>.<digits>.part``, which nothing reads. Who writes to the same place next
removes it, where the system tells whether somebody still writes it.
"""

from __future__ import annotations

import os
import re
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import BinaryIO, TextIO

from vellum_nb.errors import HistoryError
from vellum_nb.history.store.kinds import lasting

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None  # type: ignore[assignment]

__all__ = ["beside", "move", "not_written", "replacing", "replacing_bytes", "write_bytes"]

_SHOWN = 40  # characters of the name; a whole one, with what is added, may be too long a name
_STALE_S = 60  # longer than from making a file to locking it


def write_bytes(content: bytes, path: Path) -> None:
    """Write `content` to a file; the old one stays if that fails."""
    with replacing_bytes(path) as file:
        file.write(content)


@contextmanager
def replacing(path: str | Path) -> Iterator[TextIO]:
    """Open a file for text that takes the place of `path` when the block ends well."""
    with replacing_bytes(path) as file:
        text = TextIOWrapper(file, encoding="utf-8", newline="")
        yield text
        text.detach()


@contextmanager
def replacing_bytes(path: str | Path) -> Iterator[BinaryIO]:
    """Open a file that takes the place of `path` when the block ends well.

    A link is followed; a pipe or a device is written to as it is.

    Raises
    ------
    HistoryError
        The file cannot be written; the old one is as it was.
    """
    if "\0" in os.fspath(path):
        msg = f"{path!r} is no path: no name can have a NUL in it"
        raise HistoryError(msg)
    target = Path(os.path.realpath(path))
    try:
        _spare(path, target)
        if _is_special(target):
            with target.open("wb") as file:
                yield file
        else:
            with _temporary(target) as file:
                yield file
    except OSError as exc:
        raise not_written(path, exc) from exc


def not_written(path: str | Path, problem: OSError) -> HistoryError:
    """Return the error for a file that could not be written."""
    reason = os.strerror(problem.errno) if problem.errno else str(problem)
    advice = _advice(problem, Path(os.path.realpath(path)))
    return HistoryError(f"{path} cannot be written: {reason}{advice}")


def _spare(path: str | Path, target: Path) -> None:
    what = lasting(target) if target.is_file() else None
    if what is not None:
        msg = f"{path} is {what} and stays; name another file"
        raise HistoryError(msg)


def _advice(problem: OSError, target: Path) -> str:
    if os.path.isdir(target):  # noqa: PTH112  (where a name is too long, it raises nothing)
        return "; name a file in it"
    if isinstance(problem, FileNotFoundError):
        return f"; there is no folder {target.parent}, make it or name another"
    return ""


@contextmanager
def _temporary(target: Path) -> Iterator[BinaryIO]:
    with beside(target) as file:
        yield file
        file.flush()
        os.fsync(file.fileno())
        move(file, target)
    _keep_name(target.parent)


@contextmanager
def beside(target: Path, *, family: str | None = None) -> Iterator[BinaryIO]:
    """Open a new file beside `target`; it goes at the end of the block, if nobody moved it.

    First those go that killed processes left for `target`, or for any name that begins with
    `family`.
    """
    _remove_stale(target, family)
    temporary = target.with_name(f".{target.name[:_SHOWN]}.{uuid.uuid4().hex}.part")
    try:
        with temporary.open("xb") as file:
            _lock(file)
            yield file
    finally:
        temporary.unlink(missing_ok=True)


def move(file: BinaryIO, target: Path) -> None:
    """Let the file that `beside` opened, and that is on the disk, take the place of `target`."""
    if os.name != "posix":  # Windows renames no open file
        file.close()
    Path(file.name).replace(target)


def _remove_stale(target: Path, family: str | None) -> None:
    """Remove what processes left that were killed while they wrote."""
    names = re.escape(target.name[:_SHOWN]) if family is None else f"{re.escape(family)}.*"
    ours = re.compile(rf"\.{names}\.[0-9a-f]{{32}}\.part")
    with suppress(OSError):
        for left in target.parent.iterdir():
            if ours.fullmatch(left.name) and time.time() - left.stat().st_mtime > _STALE_S:
                with suppress(OSError), left.open("rb") as file:
                    if _lock(file):
                        left.unlink()


def _lock(file: BinaryIO) -> bool:
    """Hold the lock of a file that is being written, until it is closed; return whether that is."""
    if fcntl is not None:
        with suppress(OSError):
            fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    return False


def _is_special(target: Path) -> bool:
    try:
        mode = target.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)


def _keep_name(folder: Path) -> None:
    """Bring the new name to the disk, where a folder can be opened for that."""
    with suppress(OSError):
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)
