"""The pages of a damaged SQLite file, read past SQLite, with those that are still in its log.

Knows https://sqlite.org/fileformat2.html and nothing of histories. Reads, and never writes.
"""

from __future__ import annotations

import os
import struct
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO

__all__ = ["Pages"]

_MAGIC = b"SQLite format 3\0"
_USUAL, _EARLIER = 2048, 4096  # of files of today, and of those made up to version 6
_LOOKED_AT, _HEAD = 2000, 8
_SMALLEST, _LARGEST = 512, 65536
_KINDS = frozenset({2, 5, 10, 13})
_WAL_HEADER, _FRAME_HEADER = 32, 24
_WAL_MAGIC = 0x377F0682  # the last bit: checksums are of big-endian words


class Pages:
    """The pages of the file, numbered from 1.

    Parameters
    ----------
    path : Path
        The file; its log is looked for beside it.
    """

    def __init__(self, path: Path) -> None:
        self._file = _opened(path)
        length = os.fstat(self._file.fileno()).st_size
        header = self._file.read(100)
        self.has_header = header.startswith(_MAGIC) and _size(header) is not None
        log, log_size = _log(path)
        size = (_size(header) if self.has_header else None) or log_size
        self.size = size or _guessed(self._file, length)
        self._log = _frames(log, self.size) if log_size == self.size else {}
        reserved = header[20] if self.has_header else 0
        self.usable = self.size - (reserved if reserved <= self.size - 480 else 0)
        self.in_file = length // self.size
        self.torn = length % self.size
        self.count = max([self.in_file, *self._log])
        said = int.from_bytes(header[28:32], "big") if self.has_header else 0
        self.missing = max(0, said - self.count)

    def __iter__(self) -> Iterator[int]:
        return iter(range(1, self.count + 1))

    def read(self, number: int) -> bytes | None:
        """Return the page, or None where there is none that could be read."""
        found = self._log.get(number)
        if found is None and 0 < number <= self.in_file:
            with suppress(OSError):  # a bad sector
                self._file.seek((number - 1) * self.size)
                found = self._file.read(self.size)
        return found if found is not None and len(found) == self.size else None


def _opened(path: Path) -> BinaryIO:
    """Open the file, on POSIX for good: closing it would drop the locks of our connections."""
    if sys.platform == "win32":
        return path.open("rb")
    return os.fdopen(os.open(path, os.O_RDONLY), "rb", closefd=False)


def _size(header: bytes) -> int | None:
    size = int.from_bytes(header[16:18], "big")
    size = _LARGEST if size == 1 else size
    return size if _SMALLEST <= size <= _LARGEST and size & (size - 1) == 0 else None


def _guessed(file: BinaryIO, length: int) -> int:
    """Return the size of pages of a file whose first page is lost.

    Pages of 2048 bytes are told by those that begin where a page of 4096 has its middle.
    """
    if length < _USUAL:
        return _SMALLEST
    middles = range(_USUAL, length - _USUAL, _EARLIER)
    looked_at = middles[:: len(middles) // _LOOKED_AT + 1]
    found = 0
    for at in looked_at:
        file.seek(at)
        found += _is_head(file.read(_HEAD), at // _USUAL + 1)
    return _USUAL if found * 100 >= len(looked_at) else _EARLIER


def _is_head(head: bytes, number: int) -> bool:
    """Whether a page begins so: its kind, its cells and their start fit, or it names the next.

    Where a text takes many pages, each begins with the number of the next one.
    """
    if int.from_bytes(head[:4], "big") == number + 1:
        return True
    cells, start = struct.unpack(">HH", head[3:7])
    return head[0] in _KINDS and cells > 0 and 8 + 2 * cells <= start < _USUAL


def _log(path: Path) -> tuple[bytes, int]:
    """Return the write-ahead log, and the size of its pages; 0 where there is none."""
    try:
        content = path.with_name(f"{path.name}-wal").read_bytes()
    except OSError:
        return b"", 0
    if len(content) < _WAL_HEADER:
        return b"", 0
    magic, _, size = struct.unpack(">III", content[:12])
    return (content, size) if magic & ~1 == _WAL_MAGIC else (b"", 0)


def _frames(log: bytes, size: int) -> dict[int, bytes]:
    """Return the newest of each page up to the last commit that is whole."""
    order = ">" if log[3] & 1 else "<"
    salt = log[16:24]
    one, two = _sums(log[:24], 0, 0, order)
    if (one, two) != struct.unpack(">II", log[24:32]):
        return {}
    committed: dict[int, bytes] = {}
    pending: dict[int, bytes] = {}
    step = _FRAME_HEADER + size
    for at in range(_WAL_HEADER, len(log) - step + 1, step):
        head, page = log[at : at + _FRAME_HEADER], log[at + _FRAME_HEADER : at + step]
        one, two = _sums(page, *_sums(head[:8], one, two, order), order)
        if head[8:16] != salt or (one, two) != struct.unpack(">II", head[16:24]):
            break
        number, commit = struct.unpack(">II", head[:8])
        pending[number] = page
        if commit:
            committed |= pending
            pending = {}
    return committed


def _sums(content: bytes, one: int, two: int, order: str) -> tuple[int, int]:
    words = struct.unpack(f"{order}{len(content) // 4}I", content)
    for first, second in zip(words[::2], words[1::2], strict=True):
        one = (one + first + two) & 0xFFFFFFFF
        two = (two + second + one) & 0xFFFFFFFF
    return one, two
