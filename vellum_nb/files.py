"""Files that are replaced as a whole, or not at all.

A file is written beside its place under another name, synced to the disk, and renamed. A killed
process leaves a file ``.<name>.<digits>.part``, which the next one that writes to the same place
removes once it has not grown for an hour.
"""

from __future__ import annotations

import os
import re
import stat
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import BinaryIO, TextIO

from vellum_nb.errors import HistoryError

_SQLITE_HEADER = b"SQLite format 3\x00"
_NAME_LENGTH = 40  # a whole name, with what is added, may be too long
_STALE_S = 3600
_WRITERS = {".csv": "to_csv", ".jsonl": "to_jsonl", ".parquet": "to_parquet"}


def refuse_other_ending(path: str | Path, writer: str) -> None:
    """Refuse to let the method `writer` write a file with the ending of another one's files.

    Raises
    ------
    HistoryError
        Names the method to use.
    """
    ending = Path(path).suffix.lower()
    other = _WRITERS.get(ending, writer)
    if other != writer:
        msg = (
            f"{writer} does not write {ending} files, as {path} is named; use {other}, or give the "
            f"file another ending than {ending}"
        )
        raise HistoryError(msg)


def write_file(content: bytes, path: str | Path) -> Path:
    """Write `content` to a file; the old one stays if that fails."""
    replace_file(path, lambda file: file.write(content))
    return Path(path)


def replace_text(path: str | Path, write: Callable[[TextIO], object]) -> None:
    """Replace a text file with what `write` puts into the one that it is called with."""

    def write_text(file: BinaryIO) -> None:
        text = TextIOWrapper(file, encoding="utf-8", newline="")
        write(text)
        text.detach()

    replace_file(path, write_text)


def replace_file(path: str | Path, write: Callable[[BinaryIO], object]) -> None:
    """Replace a file with what `write` puts into the one that it is called with.

    A link is followed; a pipe or a device is written to as it is.

    Raises
    ------
    HistoryError
        The file cannot be written, or is an SQLite file; the old one is as it was.
    """
    if "\0" in os.fspath(path):
        msg = f"{path!r} is not a path: a name cannot contain a NUL"
        raise HistoryError(msg)
    target = Path(os.path.realpath(path))
    try:
        _refuse_database(path, target)
        with target.open("wb") if _is_special(target) else _temporary(target) as file:
            write(file)
    except OSError as exc:
        reason = os.strerror(exc.errno) if exc.errno else str(exc)
        msg = f"{path} cannot be written: {reason}{_advice(exc, target)}"
        raise HistoryError(msg) from None


def _refuse_database(path: str | Path, target: Path) -> None:
    """Refuse an SQLite file; one that is open is not read: that would drop its locks."""
    if not target.is_file():
        return
    is_database = Path(f"{target}-wal").exists()
    if not is_database:
        with target.open("rb") as file:
            is_database = file.read(len(_SQLITE_HEADER)) == _SQLITE_HEADER
    if is_database:
        msg = f"{path} is an SQLite file and was not replaced; name another file"
        raise HistoryError(msg)


def _advice(problem: OSError, target: Path) -> str:
    if os.path.isdir(target):  # noqa: PTH112  (where a name is too long, it raises nothing)
        return "; name a file in it"
    if isinstance(problem, FileNotFoundError):
        return f"; there is no folder {target.parent}, make it or name another"
    return ""


@contextmanager
def _temporary(target: Path) -> Iterator[BinaryIO]:
    _remove_stale(target)
    part = target.with_name(f".{target.name[:_NAME_LENGTH]}.{uuid.uuid4().hex}.part")
    try:
        with part.open("xb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        part.replace(target)
    finally:
        part.unlink(missing_ok=True)
    with suppress(OSError):  # bring the new name to the disk, where a folder can be opened
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _remove_stale(target: Path) -> None:
    """Remove what killed processes left; a file that is being written is younger."""
    ours = re.compile(rf"\.{re.escape(target.name[:_NAME_LENGTH])}\.[0-9a-f]{{32}}\.part")
    with suppress(OSError):
        for left in target.parent.iterdir():
            if ours.fullmatch(left.name) and time.time() - left.stat().st_mtime > _STALE_S:
                left.unlink(missing_ok=True)


def _is_special(target: Path) -> bool:
    try:
        mode = target.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)
