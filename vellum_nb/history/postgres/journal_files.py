"""The files of a journal: appended to, locked while their process lives, and taken over after."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TypeAlias

try:
    import fcntl
except ImportError:  # Windows: there an open file cannot be renamed
    fcntl = None  # type: ignore[assignment]

__all__ = ["JournalFile", "Line", "age", "folder"]

Line: TypeAlias = tuple[int, str]
"""A write and its number, from 1 on."""

_AT_ONCE = 200
_BYTES = 4 * 2**20


class JournalFile:
    """A journal file that is locked; what the disk does not take is held in memory.

    Parameters
    ----------
    path : Path
        The file; made with the first line where there is no `descriptor`.
    descriptor : int, optional
        What it is open as.
    """

    def __init__(self, path: Path, descriptor: int | None = None) -> None:
        self.path = path
        self.held: list[str] = []
        """The last lines, which are in memory only."""
        self.made = 0
        """The number of the last line that is made."""
        self.refused = 0
        """How many lines were refused."""
        self._descriptor = descriptor
        self._passed = self._read = (0, 0)  # lines of the file, and their bytes

    @property
    def aside(self) -> Path:
        """Where lines are kept that were refused."""
        return self.path.with_suffix(".refused")

    @property
    def name(self) -> str:
        """What it is called in the database."""
        return f"journal {self.path.stem}"

    @classmethod
    def new(cls, prefix: str) -> JournalFile:
        """Return one that is not there yet."""
        return cls(folder() / f"{prefix}-{time.time_ns()}-{uuid.uuid4().hex}.jsonl")

    @classmethod
    def taken_over(cls, path: Path) -> JournalFile | None:
        """Open one that was left; None where its process lives."""
        try:
            path.replace(path)
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
        except OSError:
            return None
        try:
            _lock(descriptor)
        except OSError:
            os.close(descriptor)
            return None
        found = cls(path, descriptor)
        if not path.exists():  # brought in by another process just now
            found.close()
            return None
        return found

    def append(self, text: str) -> str | None:
        """Add a line; it is on disk when this returns None. Else return why it is only held."""
        self.held.append(text)
        return self.write_held()

    def write_held(self) -> str | None:
        """Bring to the disk what is held; return why that cannot be."""
        try:
            if self._descriptor is None:
                self._descriptor = _made(self.path)
            _written(self._descriptor, "".join(f"{text}\n" for text in self.held).encode("ascii"))
        except OSError as exc:
            return exc.strerror or str(exc)
        self.held.clear()
        return None

    def part(self, most: int = _AT_ONCE) -> list[Line]:
        """Return the next lines that are not made: at most so many, and few where they are long.

        Of the whole lines; one that a death cut short was never acknowledged.
        """
        found: list[Line] = []
        number, at = self._passed
        end = at + _BYTES
        for line in self._whole(at):
            if len(found) == most or at > end:
                break
            number, at = number + 1, at + len(line)
            if number > self.made:
                found.append((number, line[:-1].decode("ascii", "backslashreplace")))
        else:
            held = enumerate(self.held, number + 1)
            found += [line for line in held if line[0] > self.made][: most - len(found)]
        self._read = number, at
        return found

    @property
    def share(self) -> float:
        """How much of the file is made, from 0 to 1."""
        return self._passed[1] / max(1, self.path.stat().st_size)

    def _whole(self, at: int) -> Iterator[bytes]:
        if self._descriptor is not None:
            with self.path.open("rb") as file:
                file.seek(at)
                for line in file:
                    if line.endswith(b"\n"):
                        yield line

    def mark_made(self, part: Sequence[Line], *, refused: int) -> None:
        """Tell that the part which was returned last is made."""
        self.made = part[-1][0]
        self.refused += refused
        self._passed = self._read

    def set_aside(self, refused: Sequence[tuple[str, str]]) -> None:
        """Write what was refused beside it, each line with the reason; it is on disk after."""
        text = "".join(f"{json.dumps(problem)} {line}\n" for line, problem in refused)
        self.path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        where = os.open(self.aside, os.O_CREAT | os.O_WRONLY | os.O_APPEND, 0o600)
        try:
            _written(where, text.encode())
        finally:
            os.close(where)

    def remove(self) -> None:
        """Delete it."""
        was_made = self._descriptor is not None
        if os.name != "posix":
            self.close()
        if was_made:  # locked still: who took it over now would make its writes again
            self.path.unlink(missing_ok=True)
        self.close()

    def close(self) -> None:
        """Close it, and let others take it over."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.close(descriptor)


def folder() -> Path:
    """Return where journals lie."""
    from platformdirs import user_data_path

    return user_data_path("vellum_nb", appauthor=False) / "journals"


def age(path: Path) -> tuple[int, str]:
    """Return what to sort journals by, the oldest first."""
    return int(path.stem.split("-")[1]), path.stem


def _made(path: Path) -> int:
    """Make the file, which only its owner may read, and lock it."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    made = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND, 0o600)
    _lock(made)
    if os.name == "posix":
        folder = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    return made


def _lock(descriptor: int) -> None:
    if fcntl is not None:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)


def _written(descriptor: int, data: bytes) -> None:
    """Write whole lines, or nothing: half a line would spoil the next one."""
    end = os.fstat(descriptor).st_size
    left = memoryview(data)
    try:
        while left:
            left = left[os.write(descriptor, left) :]
        os.fsync(descriptor)
    except OSError:
        os.ftruncate(descriptor, end)
        raise
