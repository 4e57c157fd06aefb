"""What the pages of a history table asked for, and the messages that answer them.

A long history is read outside the kernel's own thread, one request after the other. A request that
its page has replaced by another is not answered, and its query is cancelled. A first search and a
sort by a payload read many runs, and say so. Runs are counted in another thread: rows do not wait.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any

from vellum_nb.errors import HistoryError
from vellum_nb.widgets.errands import Errands
from vellum_nb.widgets.table_protocol import Query, Window
from vellum_nb.widgets.table_source import TableSource

__all__ = ["Answers"]

_FIRST_ROWS = 40
_MAX_VIEWS = 16
_PAYLOADS = ("input.", "output.", "desired.", "metadata")


class _ReplacedError(Exception):
    """The page asks for something else by now, or is closed."""


class Answers:
    """Answers the pages of one table.

    Parameters
    ----------
    source : TableSource
        Where the rows are.
    send : callable
        Sends a message to the pages.
    on_answer : callable
        Called with the message that answers a window before it is sent.
    guarded : callable
        Makes a call that may fail, and shows how.
    """

    def __init__(
        self,
        source: TableSource,
        *,
        send: Callable[[dict[str, Any]], object],
        on_answer: Callable[[dict[str, Any]], None],
        guarded: Callable[[str, Callable[[], None]], None],
    ) -> None:
        self._source, self._send = source, send
        self._on_answer, self._guarded = on_answer, guarded
        self._errands = Errands("vellum-nb-history-table")
        self._counting = Errands("vellum-nb-history-count")
        self._lock = threading.RLock()
        self._windows: dict[str, tuple[Query, Window]] = {}
        self._cancel: tuple[Window, Callable[[], None]] | None = None
        self._closed = False

    def soon(self, topic: str, call: Callable[[], None]) -> None:
        """Make a call that reads the history; of a long one not in the kernel's own thread."""
        if self._source.is_long:
            self._errands.do(lambda: self._guarded(topic, call))
        else:
            call()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nothing is under way; return whether that is so."""
        return self._errands.wait(timeout) and self._counting.wait(timeout)

    def close(self) -> None:
        """Answer no request any more."""
        self._closed = True
        self._cancel_replaced()

    def look(self, query: Query, window: Window) -> None:
        """Take a window as what its page shows from now on."""
        with self._lock:
            self._windows.pop(window.view, None)
            self._windows[window.view] = query, window
            if len(self._windows) > _MAX_VIEWS:
                del self._windows[next(iter(self._windows))]
        self._cancel_replaced()

    def first(self, query: Query, *, counting: str = "quick") -> dict[str, Any]:
        """Return the message with which a page begins."""
        return self._answer(query, Window("", 0, 0, _FIRST_ROWS), counting)

    def again(self, query: Query) -> bool:
        """Send each page its window once more; return whether there was one."""
        with self._lock:
            windows = list(self._windows.values())
        for _, window in windows:
            self.soon("rows", partial(self.give, query, window, counting="exact"))
        return bool(windows)

    def give(self, query: Query, window: Window, *, counting: str) -> None:
        """Send the rows of a window, and count what was not counted."""
        with suppress(_ReplacedError):
            self._refuse_replaced(window)
            if query.search.strip():
                self._source.index(partial(self._progress, window, "searched"))
            if query.order_by.startswith(_PAYLOADS) and counting != "no" and self._source.is_long:
                total = self._source.counts(query, exact=True).total
                self._progress(window, "sorted", 0, total)
            answer = self._answer(query, window, counting)
            self._refuse_replaced(window)
            self._send({"kind": "rows", **answer})
            if answer["rough"]:
                self._counting.do(partial(self._send_counts, query, window))

    def _answer(self, query: Query, window: Window, counting: str) -> dict[str, Any]:
        def on_start(cancel: Callable[[], None]) -> None:
            with self._lock:
                self._cancel = window, cancel
            self._cancel_replaced()

        try:
            answer = self._source.rows(query, window, counting=counting, on_start=on_start)
        except HistoryError:
            self._refuse_replaced(window)
            raise
        finally:
            with self._lock:
                self._cancel = None
        answer["reach"] = None
        self._on_answer(answer)
        return answer

    def _send_counts(self, query: Query, window: Window) -> None:
        with suppress(_ReplacedError, HistoryError):  # the next request for rows says it
            self._refuse_replaced(window)
            found = self._source.counts(query, exact=True)
            self._refuse_replaced(window)
            message = {"total": found.total, "all": found.recorded}
            self._on_answer(message)
            self._send({"kind": "total", **message})

    def _progress(self, window: Window, what: str, done: int, total: int) -> None:
        self._refuse_replaced(window)
        about = {"view": window.view, "what": what, "reach": (done, total)}
        self._send({"kind": "progress", **about})

    def _refuse_replaced(self, window: Window) -> None:
        if self._is_replaced(window):
            raise _ReplacedError

    def _is_replaced(self, window: Window) -> bool:
        _, now = self._windows.get(window.view, (None, window))
        return self._closed or now is not window

    def _cancel_replaced(self) -> None:
        with self._lock:
            if self._cancel is not None and self._is_replaced(self._cancel[0]):
                self._cancel[1]()
