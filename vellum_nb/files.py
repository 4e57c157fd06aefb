"""Atomic replacement of files, and reading of files of limited size.

A new file is written under a temporary name in the same folder, synced to the disk, and renamed. A
killed process leaves ``.<name>.<digits>.part``; a later write to the same path removes it if it is
older than an hour.
"""

from __future__ import annotations

import os
import re
import stat
import struct
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from io import TextIOWrapper
from pathlib import Path
from typing import BinaryIO, TextIO
from zipfile import BadZipFile, ZipFile, ZipInfo

from vellum_nb.errors import HistoryError, InputError

_SQLITE_HEADER = b"SQLite format 3\x00"
_NAME_LENGTH = 40  # characters: file systems limit the length of the temporary name
_STALE_S = 3600
_MAX_FILE_BYTES = 500_000_000
_ZSTANDARD = 93  # compression of a member of a zip file
_WRITERS = {".csv": "to_csv", ".jsonl": "to_jsonl", ".parquet": "to_parquet"}


def refuse_other_ending(path: str | Path, writer: str) -> None:
    """Refuse a path with the extension of the files of another method than `writer`.

    Raises
    ------
    HistoryError
        Names the method to use.
    """
    ending = checked_path(path).suffix.lower()
    expected_writer = _WRITERS.get(ending, writer)
    if expected_writer != writer:
        msg = (
            f"{writer} does not write {ending} files such as {path}; use {expected_writer}, or "
            f"give the file another ending than {ending}"
        )
        raise HistoryError(msg)


def checked_path(path: object) -> Path:
    """Return `path` as a Path; raise a `HistoryError` unless it is a str or a path."""
    if not isinstance(path, str | os.PathLike):
        msg = f"path must be a str or a Path, not {path!r:.60}"
        raise HistoryError(msg)
    return Path(path)


def read_file(path: Path) -> bytes:
    """Return the content of a regular file of limited size; raise an `InputError` for others."""
    path = path.expanduser()
    if not path.exists() or (path.is_file() and path.stat().st_size <= _MAX_FILE_BYTES):
        return path.read_bytes()
    limit = f"{_MAX_FILE_BYTES // 10**6:,} MB"
    msg = f"{path} cannot be read: it is not a regular file of at most {limit}; split it"
    raise InputError(msg)


def read_member(content: bytes, archive: ZipFile, member: ZipInfo, limit: int) -> bytes:
    """Return a member of the zip file `content`; raise an `InputError` over `limit` bytes."""
    try:
        with archive.open(member) as file:
            data = file.read(limit + 1)
    except NotImplementedError as exc:
        if member.compress_type != _ZSTANDARD:
            raise BadZipFile(str(exc)) from None
        data = _zstandard(content, member, limit + 1)
    if len(data) > limit:
        msg = f"{member.filename} unpacks to more than the limit; split the file"
        raise InputError(msg)
    return data


def _zstandard(content: bytes, member: ZipInfo, limit: int) -> bytes:
    """Decompress a member that zipfile cannot read before Python 3.14."""
    try:
        import pyarrow as pa
    except ImportError:
        msg = (
            f"{member.filename} is compressed with Zstandard, which needs pyarrow: pip install "
            "'vellum-nb[parquet]', or convert it: inspect log convert --to json"
        )
        raise InputError(msg) from None
    at = member.header_offset
    name_length, extra_length = struct.unpack("<HH", content[at + 26 : at + 30])
    start = at + 30 + name_length + extra_length
    packed = pa.py_buffer(content[start : start + member.compress_size])
    with pa.CompressedInputStream(pa.BufferReader(packed), "zstd") as stream:
        data: bytes = stream.read(limit)
    return data


def write_file(content: bytes, path: str | Path) -> Path:
    """Write `content` to a file; if that fails, the old file is unchanged."""
    replace_file(path, lambda file: file.write(content))
    return Path(path)


def replace_text(path: str | Path, write: Callable[[TextIO], object]) -> None:
    """Replace a text file; `write` is called with the new file."""

    def write_text(file: BinaryIO) -> None:
        text = TextIOWrapper(file, encoding="utf-8", newline="")
        write(text)
        text.detach()

    replace_file(path, write_text)


def replace_file(path: str | Path, write: Callable[[BinaryIO], object]) -> None:
    """Replace a file; `write` is called with the new file.

    Links are followed; pipes and devices are written directly.

    Raises
    ------
    HistoryError
        If the file cannot be written, or is an SQLite file; the old file is unchanged.
    """
    checked_path(path)
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
    """Refuse an SQLite file. An open one is not read, as closing it would drop its locks."""
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
    if os.path.isdir(target):  # noqa: PTH112  (does not raise for a name that is too long)
        return "; name a file in it"
    if isinstance(problem, FileNotFoundError):
        return f"; the folder {target.parent} does not exist, create it or name another"
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
    with suppress(OSError):  # sync the new name, if the system can open folders
        folder = os.open(target.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def _remove_stale(target: Path) -> None:
    """Remove the files of killed processes; a file being written is younger."""
    ours = re.compile(rf"\.{re.escape(target.name[:_NAME_LENGTH])}\.[0-9a-f]{{32}}\.part")
    with suppress(OSError):
        for path in target.parent.iterdir():
            if ours.fullmatch(path.name) and time.time() - path.stat().st_mtime > _STALE_S:
                path.unlink(missing_ok=True)


def _is_special(target: Path) -> bool:
    try:
        mode = target.stat().st_mode
    except OSError:
        return False
    return not stat.S_ISREG(mode) and not stat.S_ISDIR(mode)
