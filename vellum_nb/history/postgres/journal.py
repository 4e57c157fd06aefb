"""Writes that could not reach their server, kept on this disk until it is back.

One file a process and outage, only ever appended to, each line on disk before the write returns.
The file is locked while its process lives; the next one that opens the history brings in what a
dead one left. How far a journal was brought in is noted in the same transaction, so that each
write is made once.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
import warnings
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, suppress
from typing import Any, Protocol

from vellum_nb.errors import HistoryError
from vellum_nb.history.postgres.journal_files import JournalFile, age, folder
from vellum_nb.history.store.large import within
from vellum_nb.history.store.later import made_later, packed
from vellum_nb.history.store.settings import setting, settle
from vellum_nb.history.store.store import Connection, OutOfReachError, Store

__all__ = ["FileJournal"]

_AT_ONCE = 200
_NAME = "vellum_nb journal"
_WAIT_S = 1.0
_NAMING = ("PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGSERVICE", "PGOPTIONS")
"""What libpq adds to a URL: the same one may mean two servers."""
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
        self._file: JournalFile | None = None
        self._next_try = 0.0
        self._stop = threading.Event()
        named = "".join(os.environ.get(name, "") + "\n" for name in _NAMING)
        digest = hashlib.sha256(f"{place}\n{named}".encode()).hexdigest()
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

    def bring_in(self, store: Server, *, now: bool = False) -> bool:
        """Make what waits, if the server is back; return whether nothing waits any more.

        `now` asks the server although it was out of reach a moment ago.
        """
        if self._file is None:  # so that the lock costs nothing while all is well
            return True
        with self._lock:
            if now:
                self._next_try = 0.0
            return self._tried(store)

    def _tried(self, store: Server) -> bool:
        if self._file is None:
            return True
        return time.monotonic() >= self._next_try and self._brought_in(store, self._file)

    def bring_in_left(self, store: Server) -> None:
        """Make the writes that processes left which are no more; where that cannot be, say so."""
        for path in sorted(folder().glob(f"{self._prefix}-*.jsonl"), key=age):
            found = JournalFile.taken_over(path)
            if found is not None:
                try:
                    with self._lock:
                        self._bring(store, found)
                except OutOfReachError as exc:  # it may be read all the same
                    _say(
                        f"{exc}. What was recorded earlier stays in {path} until it is opened anew"
                    )
                    return
                finally:
                    found.close()

    def close(self, store: Server) -> None:
        """Make what waits if that is possible now, else leave it to the next process."""
        self._stop.set()
        with self._lock:
            self._next_try = 0.0
            if self._file is not None and not self._brought_in(store, self._file):
                if self._file.held and (why := self._file.write_held()):
                    _say(f"{len(self._file.held)} writes are lost: {self._file.path} ({why})")
                self._file.close()
            self._file = None

    def forget(self) -> None:
        """Leave it to the process that this one was forked from."""
        self._lock = threading.RLock()
        if self._file is not None:
            self._file.close()  # else it would stay locked as long as this process lives
        self._file = None
        self._stop = threading.Event()

    def _keep(self, store: Server, text: str, problem: str | None) -> None:
        with self._lock:
            is_first = self._file is None
            if self._file is None:
                self._file = JournalFile.new(self._prefix)
                self._delay(0)
            was_held = bool(self._file.held)
            why = self._file.append(text)
            path = self._file.path
            if is_first:
                self._stop.clear()
                args = (weakref.ref(store), self._stop)
                threading.Thread(target=_watch, args=args, name=_NAME, daemon=True).start()
        if why is not None and not was_held:
            now = problem or f"The history {self._place} is still out of reach"
            _say(
                f"{now}, and {path} cannot be written ({why}). What is recorded meanwhile is kept "
                "in the memory of this process only: make room, or do not end it before the "
                "server is back"
            )
        elif is_first:
            _say(f"{problem}. What is recorded meanwhile is kept in {path} and brought in later")

    def _brought_in(self, store: Server, file: JournalFile) -> bool:
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

    def _bring(self, store: Server, file: JournalFile) -> int:
        lines = list(file.lines())
        refused = 0
        for first in range(0, len(lines), _AT_ONCE):
            part = list(enumerate(lines[first : first + _AT_ONCE], first + 1))
            problems = self._make_part(store, file.name, part)
            if problems:  # at once: a part that was made is not made again
                where = file.set_aside(problems)
                told = f"{len(problems)} writes were refused, and are kept in {where}"
                _say(f"{told}: {problems[0][1]}")
            refused += len(problems)
        file.remove()
        with suppress(HistoryError), store.transaction() as connection:  # all is made already
            connection.execute("DELETE FROM settings WHERE name = ?", (file.name,))
        return len(lines) - refused

    def _make_part(
        self, store: Server, name: str, part: list[tuple[int, str]]
    ) -> list[tuple[str, str]]:
        try:
            return self._make_all(store, name, part)
        except OutOfReachError:
            raise
        except HistoryError:  # one of them broke the transaction of all
            return [one for each in part for one in self._make_one(store, name, each)]

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
            done = int(setting(within(connection), name) or 0)
            for number, line in part:
                if number > done:
                    problem = _problem(store, connection, line)
                    refused += [(line, problem)] if problem else []
            settle(connection, name, str(max(done, part[-1][0])))
        return refused


def _problem(store: Store, connection: Connection, line: str) -> str | None:
    try:
        made_later(store, connection, line)
    except (HistoryError, LookupError, TypeError, ValueError) as exc:  # of another version
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


def _say(text: str) -> None:
    warnings.warn(f"{text}.", RuntimeWarning, stacklevel=2)
