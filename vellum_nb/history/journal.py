"""Writes that could not reach their server, kept on this disk until it is back.

One file a process and outage, only ever appended to, each line on disk before the write returns.
The file is locked while its process lives; the next one that opens the history brings in what a
dead one left. How far a journal was brought in is noted in the same transaction, so that each
write is made once.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import time
import uuid
import warnings
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any, Protocol

from vellum_nb.errors import HistoryError
from vellum_nb.history.later import made_later, packed
from vellum_nb.history.store import Connection, OutOfReachError, Store

try:
    import fcntl
except ImportError:  # Windows: there an open file cannot be renamed
    fcntl = None  # type: ignore[assignment]

__all__ = ["FileJournal"]

_AT_ONCE = 200
_NAME = "vellum_nb journal"
_WAIT_S = 1.0
_SHARE = 5  # of the time, at most a fifth waits for a server that does not answer


class Server(Store, Protocol):
    """A store whose server may be out of reach."""

    @property
    def journal(self) -> FileJournal:
        """Its journal."""

    def transaction(self) -> AbstractContextManager[Connection]:
        """Do what `write` does, whether or not other writes wait."""


class FileJournal:
    """The journal of one store.

    Parameters
    ----------
    place : str
        Where the writes belong, as it is shown.
    """

    def __init__(self, place: str) -> None:
        self._place = place
        self._lock = threading.RLock()
        self._file: _File | None = None
        self._next_try = 0.0
        self._stop = threading.Event()
        digest = hashlib.sha256(place.encode()).hexdigest()
        self._prefix = digest[:16]

    def make(
        self,
        store: Server,
        name: str,
        write: Callable[[], None],
        args: Sequence[Any],
        named: Mapping[str, Any],
    ) -> None:
        """Call `write`, or keep it for later: while the server is away, and in its turn after."""
        if self._file is None or self.bring_in(store):
            try:
                write()
            except OutOfReachError as exc:
                self._keep(store, packed(name, args, named), str(exc))
        else:
            self._keep(store, packed(name, args, named), None)

    def bring_in(self, store: Server) -> bool:
        """Make what waits, if the server is back; return whether nothing waits any more."""
        if self._file is None:  # so that the lock costs nothing while all is well
            return True
        with self._lock:
            return self._tried(store)

    def _tried(self, store: Server) -> bool:
        if self._file is None:
            return True
        return time.monotonic() >= self._next_try and self._brought_in(store, self._file)

    def bring_in_left(self, store: Server) -> None:
        """Make the writes that processes left which are no more."""
        for path in sorted(_folder().glob(f"{self._prefix}-*.jsonl"), key=_age):
            found = _File.taken_over(path)
            if found is not None:
                with self._lock:
                    self._bring(store, found)

    def close(self, store: Server) -> None:
        """Make what waits if that is possible now, else leave it to the next process."""
        self._stop.set()
        with self._lock:
            self._next_try = 0.0
            if self._file is not None and not self._brought_in(store, self._file):
                self._file.close()
            self._file = None

    def forget(self) -> None:
        """Leave it to the process that this one was forked from."""
        self._lock = threading.RLock()
        self._file = None
        self._stop = threading.Event()

    def _keep(self, store: Server, text: str, problem: str | None) -> None:
        with self._lock:
            is_first = self._file is None
            if self._file is None:
                self._file = _File.new(self._prefix)
                self._delay(0)
            self._file.append(text)
            path = self._file.path
            if is_first:
                self._stop.clear()
                args = (weakref.ref(store), self._stop)
                threading.Thread(target=_watch, args=args, name=_NAME, daemon=True).start()
        if is_first:
            _say(f"{problem}. What is recorded meanwhile is kept in {path} and brought in later")

    def _brought_in(self, store: Server, file: _File) -> bool:
        began = time.monotonic()
        try:
            count = self._bring(store, file)
        except OutOfReachError:
            self._delay(time.monotonic() - began)
            return False
        self._file = None
        if count:
            _say(f"The history {self._place} is back: {count} writes were brought in")
        return True

    def _delay(self, took: float) -> None:
        self._next_try = time.monotonic() + max(_WAIT_S, _SHARE * took)

    def _bring(self, store: Server, file: _File) -> int:
        lines = list(file.lines())
        refused: list[tuple[str, str]] = []
        for first in range(0, len(lines), _AT_ONCE):
            part = list(enumerate(lines[first : first + _AT_ONCE], first + 1))
            try:
                refused += self._make_all(store, file.name, part)
            except OutOfReachError:
                raise
            except HistoryError:  # one of them broke the transaction of all
                for each in part:
                    refused += self._make_one(store, file.name, each)
        if refused:
            where = file.set_aside(refused)
            _say(f"{len(refused)} writes were refused, and are kept in {where}: {refused[0][1]}")
        file.remove()
        with store.transaction() as connection:
            connection.execute("DELETE FROM settings WHERE name = ?", (file.name,))
        return len(lines) - len(refused)

    def _make_one(self, store: Server, name: str, line: tuple[int, str]) -> list[tuple[str, str]]:
        try:
            return self._make_all(store, name, [line])
        except OutOfReachError:
            raise
        except HistoryError as exc:
            return [(line[1], str(exc))]

    def _make_all(
        self, store: Server, name: str, part: list[tuple[int, str]]
    ) -> list[tuple[str, str]]:
        refused = []
        with store.transaction() as connection:
            sql = "SELECT value FROM settings WHERE name = ?"
            found = connection.execute(sql, (name,)).fetchone()
            done = int(found[0]) if found else 0
            for number, line in part:
                if number > done:
                    problem = _problem(store, connection, line)
                    refused += [(line, problem)] if problem else []
            connection.execute(
                "INSERT INTO settings (name, value) VALUES (?, ?) "
                "ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                (name, str(max(done, part[-1][0]))),
            )
        return refused


def _problem(store: Store, connection: Connection, line: str) -> str | None:
    try:
        made_later(store, connection, line)
    except HistoryError as exc:
        return str(exc)
    return None


def _watch(of: weakref.ref[Server], stop: threading.Event) -> None:
    """Bring in what waits as soon as the server is back, also where nobody reads or writes."""
    while not stop.wait(_WAIT_S):
        store = of()
        if store is None:
            return
        with suppress(HistoryError, RuntimeWarning):  # -W error: nobody could catch it here
            if store.journal.bring_in(store):
                return
        del store


class _File:
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
    def new(cls, prefix: str) -> _File:
        """Make one, that only its owner may read."""
        folder = _folder()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            path = folder / f"{prefix}-{time.time_ns()}-{uuid.uuid4().hex}.jsonl"
            made = os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR | os.O_APPEND, 0o600)
            _sync_folder(folder)
        except OSError as exc:
            msg = f"Nothing can be kept in {folder} either ({exc.strerror}); this write is lost"
            raise HistoryError(msg) from exc
        return cls(path, made)

    @classmethod
    def taken_over(cls, path: Path) -> _File | None:
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
        where.write_text(text, encoding="utf-8")
        return where

    def remove(self) -> None:
        """Delete it."""
        self.close()
        self.path.unlink(missing_ok=True)

    def close(self) -> None:
        """Close it, and let others take it over."""
        with suppress(OSError):
            os.close(self._descriptor)


def _folder() -> Path:
    from platformdirs import user_data_path

    return user_data_path("vellum_nb", appauthor=False) / "journals"


def _age(path: Path) -> tuple[int, str]:
    return int(path.stem.split("-")[1]), path.stem


def _sync_folder(folder: Path) -> None:
    if os.name == "posix":
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


def _say(text: str) -> None:
    warnings.warn(f"{text}.", RuntimeWarning, stacklevel=2)
