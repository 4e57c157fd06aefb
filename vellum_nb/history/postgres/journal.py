"""Writes that could not reach their server, kept on this disk until it is back.

One file a process and outage, only ever appended to, each line on disk before the write returns.
The file is locked while its process lives; the next one that opens the history brings in what a
dead one left. How far a journal was brought in is noted in the same transaction, so that each
write is made once. It is brought in by parts; what is recorded meanwhile goes behind it.
"""

from __future__ import annotations

import hashlib
import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

from vellum_nb.errors import HistoryError
from vellum_nb.history.postgres.journal_files import JournalFile, age, folder
from vellum_nb.history.postgres.journal_parts import (
    PartStore,
    forget_mark,
    make_each,
    make_part,
    say,
)
from vellum_nb.history.postgres.refused_files import kept, retry
from vellum_nb.history.store.later import packed, singly
from vellum_nb.history.store.refused import Refused, Retried
from vellum_nb.history.store.store import OutOfReachError, RefusedError

__all__ = ["FileJournal"]

_NAME = "vellum_nb journal"
_WAIT_S = 1.0
_NAMING = ("PGHOST", "PGHOSTADDR", "PGPORT", "PGDATABASE", "PGUSER", "PGSERVICE", "PGOPTIONS")
"""What libpq adds to a URL: the same one may mean two servers."""
_TOLD_AFTER_S = 5.0
_GIVE_WAY_S = 0.001
"""Between parts: a lock that is taken again at once is had by nobody else."""
_SHARE = 5  # of the time, at most a fifth waits for a server that does not answer


class Server(PartStore, Protocol):
    """A store that has such a journal."""

    @property
    def journal(self) -> FileJournal:
        """Its journal."""


class FileJournal:
    """The journal of one store.

    Parameters
    ----------
    place : str
        Where the writes belong, as it is shown.
    """

    def __init__(self, place: str) -> None:
        self._place = place
        self._lock = threading.RLock()  # which file there is, and what is in it
        self._turn = threading.RLock()  # to make a part of it
        self._file: JournalFile | None = None
        self._next_try = 0.0
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
        """Call `write`, or keep it for later: while the server is away, and in its turn after.

        One that the server refuses for its values is set aside.
        """
        if self._file is not None:
            self._bring_part(store)  # each brings in more than it adds, so that it has an end
            with self._lock:
                if self._file is not None:
                    self._keep(store, packed(name, args, named), None)
                    return
        try:
            write()
        except OutOfReachError as exc:
            self._keep(store, packed(name, args, named), str(exc))
        except RefusedError as exc:
            if told := self._set_aside(store, packed(name, args, named), str(exc)):
                msg = f"{exc}. {told}"
                raise HistoryError(msg) from exc

    def bring_in(self, store: Server, *, now: bool = False) -> bool:
        """Make what waits, if the server is back; return whether nothing waits any more.

        `now` asks the server although it was out of reach a moment ago.
        """
        if now:
            self._next_try = 0.0
        while self._waits():  # no lock is taken while all is well
            if not self._bring_part(store):
                return False
            time.sleep(_GIVE_WAY_S)
        return True

    def bring_in_left(self, store: Server) -> None:
        """Make the writes that processes left which are no more; where that cannot be, say so."""
        for path in sorted(folder().glob(f"{self._prefix}-*.jsonl"), key=age):
            found = JournalFile.taken_over(path)
            if found is not None:
                try:
                    self._make_left(store, found)
                    found.remove()
                    forget_mark(store, found)
                except OutOfReachError as exc:  # it may be read all the same
                    say(f"{exc}. What was recorded earlier stays in {path} until it is opened anew")
                    return
                finally:
                    found.close()

    def refused(self) -> list[Refused]:
        """Return what the server refused and is kept, the oldest first."""
        return kept(self._prefix)

    def retry(self, store: Server) -> Retried:
        """Try once more what the server refused."""
        return retry(store, self._prefix)

    def _make_left(self, store: Server, file: JournalFile) -> None:
        """Make all of it; where that takes long, say so, and how far it is by then."""
        began: float | None = time.monotonic()
        while part := file.part():
            make_part(store, file, part)
            if began is not None and time.monotonic() - began > _TOLD_AFTER_S:
                began = None
                _tell(
                    f"What was recorded while {self._place} was out of reach is brought in from "
                    f"{file.path}: {file.share:.0%} after {_TOLD_AFTER_S:.0f} s"
                )

    def close(self, store: Server) -> None:
        """Make what waits if that is possible now, else leave it to the next process."""
        self.bring_in(store, now=True)
        with self._turn, self._lock:
            if self._file is not None:
                if self._file.held and (why := self._file.write_held()):
                    say(f"{len(self._file.held)} writes are lost: {self._file.path} ({why})")
                self._file.close()
            self._file = None

    def forget(self) -> None:
        """Leave it to the process that this one was forked from."""
        self._lock, self._turn = threading.RLock(), threading.RLock()
        if self._file is not None:
            self._file.close()  # else it would stay locked as long as this process lives
        self._file = None

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
                args = (weakref.ref(store),)
                threading.Thread(target=_watch, args=args, name=_NAME, daemon=True).start()
        if why is not None and not was_held:
            now = problem or f"The history {self._place} is still out of reach"
            say(
                f"{now}, and {path} cannot be written ({why}). What is recorded meanwhile is kept "
                "in the memory of this process only: make room, or do not end it before the "
                "server is back"
            )
        elif is_first:
            say(f"{problem}. What is recorded meanwhile is kept in {path} and brought in later")

    def _waits(self) -> bool:
        return self._file is not None

    def _bring_part(self, store: Server) -> bool:
        """Make the next part of what waits; return whether that could be."""
        with self._turn:
            file = self._file
            if file is None:
                return True
            if time.monotonic() < self._next_try:
                return False
            began = time.monotonic()
            with self._lock:
                part = file.part()
            try:
                make_part(store, file, part)
            except OutOfReachError:
                self._delay(time.monotonic() - began)
                return False
            with self._lock:
                if file.part(1):
                    return True
                self._file = None
                file.remove()
            forget_mark(store, file)
        if count := file.made - file.refused:
            say(f"The history {self._place} is back: {count} writes were brought in")
        return True

    def _delay(self, took: float) -> None:
        self._next_try = time.monotonic() + max(_WAIT_S, _SHARE * took)

    def _set_aside(self, store: Server, text: str, problem: str) -> str:
        """Keep what was refused of a write, and make the rest; return what to tell of it."""
        file, refused = JournalFile.new(self._prefix), [(text, problem)]
        if len(singly(text)) > 1:
            with suppress(OutOfReachError):
                _, refused = make_each(store, [text])
        if not refused:
            return ""
        try:
            file.set_aside(refused)
        except OSError as exc:
            return f"It is lost: {file.aside} cannot be written ({exc.strerror or exc})"
        return (
            f"What was to be recorded is kept in {file.aside}; history.retry_refused() tries it "
            "again"
        )


def _watch(of: weakref.ref[Server]) -> None:
    """Bring in what waits as soon as the server is back, also where nobody reads or writes."""
    while True:
        time.sleep(_WAIT_S)
        store = of()
        if store is None or store.closed:
            return
        with suppress(HistoryError, RuntimeWarning):  # -W error: nobody could catch it here
            if store.journal.bring_in(store):
                return
        del store


def _tell(text: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(f"{text}\n")
