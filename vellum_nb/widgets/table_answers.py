"""What the pages of a history table asked for, and the messages that answer them.

Of a long history all of it is done aside of the kernel's own thread, in short turns: whoever asks
meanwhile comes next. A search answers with what was read so far, and reads on until it is whole
or nobody wants it any more; so does an order for which all payloads must be read, which goes on
where somebody scrolls meanwhile. Runs are counted in another thread: rows do not wait for that.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any

from vellum_nb.errors import HistoryError
from vellum_nb.widgets.base import SerialExecutor
from vellum_nb.widgets.table_protocol import Query, Window
from vellum_nb.widgets.table_source import TableSource

__all__ = ["Answers"]

_FIRST_ROWS = 40
_MAX_VIEWS = 16
_FIRST_S = 0.7  # is read before the first answer
_TURN_S = 0.2
_NEARLY = 0.98
_PAUSE_S = 2.0
_PAUSES = 10  # times as long as an answer took

Reach = tuple[int, int]


class _Past(Exception):  # noqa: N818  (no error: nobody wants the answer any more)
    """The page asks for something else already."""


@dataclass
class _Due:
    """When rows are sent again that are not the last word: seldom where they take long."""

    at: float

    def sent(self, began: float) -> None:
        """Put the next time off; they were asked for when it `began`."""
        ended = time.monotonic()
        self.at = ended + max(_PAUSE_S, _PAUSES * (ended - began))


@dataclass
class _Search:
    """A search that is under way."""

    query: Query
    window: Window
    steps: Iterator[Reach]
    reach: Reach | None
    due: _Due


@dataclass
class _Sort:
    """A first sort that is under way."""

    query: Query
    window: Window
    due: _Due
    shown: Window | None = None
    """What was told of last."""


class Answers:
    """Answers the pages of one table.

    Parameters
    ----------
    source : TableSource
        Where the rows are.
    send : callable
        Sends a message to the pages.
    taken : callable
        Hears the message that answers a window before it is sent.
    guarded : callable
        Makes a call that may fail, and shows how.
    """

    def __init__(
        self,
        source: TableSource,
        *,
        send: Callable[[dict[str, Any]], object],
        taken: Callable[[dict[str, Any]], None],
        guarded: Callable[[str, Callable[[], None]], None],
    ) -> None:
        self._source, self._send = source, send
        self._taken, self._guarded = taken, guarded
        self._errands = SerialExecutor("vellum-nb-history-table")
        self._counting = SerialExecutor("vellum-nb-history-count")
        self._lock = threading.RLock()
        self._sending = threading.Lock()
        self._windows: dict[str, tuple[Query, Window]] = {}
        self._under_way: set[Window] = set()
        self._closed = False

    def soon(self, topic: str, call: Callable[[], None]) -> None:
        """Make a call that asks the history; of a long one not in the kernel's own thread."""
        if self._source.is_long:
            self._errands.submit(lambda: self._guarded(topic, call))
        else:
            call()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nothing is under way; return whether that is so."""
        return self._errands.wait(timeout) and self._counting.wait(timeout)

    def close(self) -> None:
        """Answer nobody any more."""
        self._closed = True

    def look(self, query: Query, window: Window) -> None:
        """Take a window as what its page shows from now on."""
        with self._lock:
            self._windows.pop(window.view, None)
            self._windows[window.view] = query, window
            if len(self._windows) > _MAX_VIEWS:
                del self._windows[next(iter(self._windows))]

    def first(self, query: Query, *, counting: str = "quick") -> dict[str, Any]:
        """Return the message with which a page begins."""
        window = Window("", 0, 0, _FIRST_ROWS)
        _, reach = self._read(query, window, counting)
        return self._answer(query, window, counting, reach)

    def again(self, query: Query) -> bool:
        """Send each page its window once more; return whether there was one."""
        with self._lock:
            windows = list(self._windows.values())
        for _, window in windows:
            self.soon("rows", partial(self.give, query, window, counting="exact"))
        return bool(windows)

    def give(self, query: Query, window: Window, *, counting: str) -> None:
        """Send the rows of a window, and see to what else that needs."""
        with suppress(_Past):
            steps, reach = self._read(query, window, counting)
            rough = self._send_rows(query, window, counting, reach)
            if reach is not None:
                if window not in self._under_way:
                    self._under_way.add(window)
                    due = _Due(time.monotonic() + _PAUSE_S)
                    self._later(partial(self._read_on, _Search(query, window, steps, reach, due)))
                return
            if rough:
                self._counting.submit(partial(self._send_counts, query, window))
            self._keep(window, self._source.keeping(query), 0.0)

    def _read(
        self, query: Query, window: Window, counting: str
    ) -> tuple[Iterator[Reach], Reach | None]:
        """Read for a search for a moment; return what reads on, and how far it is if not whole."""
        steps = self._source.reading(query)
        reach = next(steps, None)
        if reach is None:
            return steps, None
        done, total = reach
        seconds = _TURN_S if done else _FIRST_S
        if not self._source.is_long:
            seconds = float("inf")
        elif counting == "no" or 0 < done < _NEARLY * total:
            return steps, reach
        return steps, self._turn(steps, reach, window, seconds)

    def _turn(
        self, steps: Iterator[Reach], reach: Reach | None, window: Window, seconds: float
    ) -> Reach | None:
        """Take steps for so long, one at least; return how far it is, None where it is whole."""
        until = time.monotonic() + seconds
        while reach is not None:
            self._refuse_past(window)
            reach = next(steps, None)
            if time.monotonic() >= until:
                break
        return reach

    def _read_on(self, search: _Search) -> None:
        """Read for another turn; tell how far it is, and now and then what was found."""
        window = search.window
        self._under_way.discard(window)
        with suppress(_Past):
            search.reach = self._turn(search.steps, search.reach, window, _TURN_S)
            if search.reach is None:
                self.give(search.query, window, counting="exact")
                return
            self._refuse_past(window)
            self._tell(window, "searched", *search.reach)
            began = time.monotonic()
            if began >= search.due.at:
                self._send_rows(search.query, window, "exact", search.reach)
                search.due.sent(began)
            self._under_way.add(window)
            self._later(partial(self._read_on, search))

    def _keep(self, window: Window, steps: Iterator[Reach], seconds: float = _TURN_S) -> None:
        """Keep what rows were sorted by, so that the next time is quicker."""
        with suppress(_Past, HistoryError):
            reach = next(steps, None)
            if reach is not None and self._turn(steps, reach, window, seconds) is not None:
                self._errands.submit(partial(self._keep, window, steps))

    def _later(self, call: Callable[[], None]) -> None:
        self._errands.submit(lambda: self._guarded("rows", call))

    def _send_rows(self, query: Query, window: Window, counting: str, reach: Reach | None) -> bool:
        """Send rows; return whether there may be more than were counted."""
        answer = self._answer(query, window, counting, reach)
        self._refuse_past(window)
        self._send({"kind": "rows", **answer})
        return bool(answer["rough"])

    def _answer(
        self, query: Query, window: Window, counting: str, reach: Reach | None
    ) -> dict[str, Any]:
        sort = _Sort(query, window, _Due(time.monotonic() + _FIRST_S))
        told = partial(self._sorted, sort)
        answer = self._source.rows(query, window, counting=counting, told=told)
        answer["reach"] = reach
        self._taken(answer)
        return answer

    def _sorted(
        self, sort: _Sort, done: int, total: int, so_far: Callable[[Window], dict[str, Any]]
    ) -> None:
        """Tell how far an order is read; after a moment send what comes first so far."""
        query, window, before = sort.query, sort.window, sort.shown
        now = sort.shown = self._scrolled_to(query, window)
        if before is None and not query.search.strip():
            self._counting.submit(partial(self._send_counts, query, window))
        self._tell(now, "sorted", done, total)
        began = time.monotonic()
        if now.view and done and (began >= sort.due.at or now is not (before or now)):
            with self._sending:
                answer = so_far(now)
                self._taken(answer)
                self._scrolled_to(query, window)
                self._send({"kind": "rows", **answer, "reach": (done, total), "what": "sorted"})
            sort.due.sent(began)

    def _scrolled_to(self, query: Query, window: Window) -> Window:
        """Return which of the first rows of `query` the page looks at by now."""
        asked, now = self._windows.get(window.view, (query, window))
        is_other = now is not window and (asked != query or not self._source.is_near(now))
        if self._closed or is_other:
            raise _Past
        return now

    def _send_counts(self, query: Query, window: Window) -> None:
        with suppress(_Past, HistoryError):  # who asks for rows next is told
            self._scrolled_to(query, window)
            self._source.counts(query, exact=True)
            with self._sending:  # not between rows that do not know it and their way to the page
                found = self._source.counts(query, exact=False)
                if not found.rough:
                    message = {"total": found.total, "all": found.recorded}
                    self._taken(message)
                    self._send({"kind": "total", **message})

    def _tell(self, window: Window, what: str, done: int, total: int) -> None:
        about = {"view": window.view, "what": what, "reach": (done, total)}
        self._send({"kind": "progress", **about})

    def _refuse_past(self, window: Window) -> None:
        if self._is_past(window):
            raise _Past

    def _is_past(self, window: Window) -> bool:
        """Return whether the page has asked for something else meanwhile, or is gone."""
        _, now = self._windows.get(window.view, (None, window))
        return self._closed or now is not window
