"""The files of a journal: appended to, locked while their process lives, and taken over after."""

from __future__ import annotations

import json
import os
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path

from vellum_nb.errors import HistoryError

try:
    import fcntl
except ImportError:  # Windows: there an open file cannot be renamed
    fcntl = None  # type: ignore[assignment]

__all__ = ["JournalFile", "age", "folder"]


class JournalFile:
    """A journal file that is open, and locked."""

    def __init__(self, path: Path, descriptor: int) -> None:
        self.path = path
        self._descriptor = descriptor
        if fcntl is not None:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)

    @property
    def name(self) -> str:
        """What it is called in the database."""
        return f"journal {self.path.stem}"

    @classmethod
    def new(cls, prefix: str) -> JournalFile:
        """Make one, that only its owner may read."""
        at = folder()
        try:
            at.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = at / f"{prefix}-{time.time_ns()}-{uuid.uuid4().hex}.jsonl"
            made = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND, 0o600)
            _sync(at)
        except OSError as exc:
            msg = f"Nothing can be kept in {at} either ({exc.strerror}); this write is lost"
            raise HistoryError(msg) from exc
        return cls(path, made)

    @classmethod
    def taken_over(cls, path: Path) -> JournalFile | None:
        """Open one that was left; None where its process lives."""
        try:
            path.replace(path)
            descriptor = os.open(path, os.O_RDWR | os.O_APPEND)
        except OSError:
            return None
        try:
            found = cls(path, descriptor)
        except OSError:
            os.close(descriptor)
            return None
        if not path.exists():  # brought in by another process just now
            found.close()
            return None
        return found

    def append(self, text: str) -> None:
        """Add a line; it is on disk when this returns."""
        data = memoryview(f"{text}\n".encode("ascii"))
        try:
            while data:
                data = data[os.write(self._descriptor, data) :]
            os.fsync(self._descriptor)
        except OSError as exc:
            msg = f"The journal {self.path} cannot be written ({exc.strerror}); this write is lost"
            raise HistoryError(msg) from exc

    def lines(self) -> Iterator[str]:
        """Return the whole lines; one that a death cut short was never acknowledged."""
        for line in self.path.read_bytes().split(b"\n")[:-1]:
            with suppress(ValueError):
                json.loads(line)
                yield line.decode("ascii")

    def set_aside(self, refused: Sequence[tuple[str, str]]) -> Path:
        """Write what was refused beside it, each line with the reason."""
        where = self.path.with_suffix(".refused")
        text = "".join(f"{json.dumps(problem)} {line}\n" for line, problem in refused)
        where.touch(mode=0o600)
        with where.open("a", encoding="utf-8") as file:
            file.write(text)
        return where

    def remove(self) -> None:
        """Delete it."""
        self.close()
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close it, and let others take it over."""
        descriptor, self._descriptor = self._descriptor, -1
        with suppress(OSError):
            os.close(descriptor)


def folder() -> Path:
    """Return where journals lie."""
    from platformdirs import user_data_path

    return user_data_path("vellum_nb", appauthor=False) / "journals"


def age(path: Path) -> tuple[int, str]:
    """Return what to sort journals by, the oldest first."""
    return int(path.stem.split("-")[1]), path.stem


def _sync(folder: Path) -> None:
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
