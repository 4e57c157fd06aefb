"""Short errands in a thread of their own, one after the other, in the order of the clicks."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

__all__ = ["Errands"]


class Errands:
    """Runs calls in turn, in a thread that ends when there are none left.

    Examples
    --------
    >>> done = []
    >>> errands = Errands("example")
    >>> errands.do(lambda: done.append("first"))
    >>> errands.do(lambda: done.append("second"))
    >>> errands.wait(5), done
    (True, ['first', 'second'])
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._calls: deque[Callable[[], None]] = deque()
        self._idle = threading.Condition()
        self._is_working = False

    def do(self, call: Callable[[], None]) -> None:
        """Have `call` called soon; returns at once."""
        with self._idle:
            self._calls.append(call)
            if not self._is_working:
                self._is_working = True
                self._start()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nothing is left to do; return whether that is so."""
        with self._idle:
            return self._idle.wait_for(lambda: not self._is_working, timeout)

    def _start(self) -> None:
        threading.Thread(target=self._work, name=self._name, daemon=True).start()

    def _work(self) -> None:
        try:
            while (call := self._next()) is not None:
                call()
        except BaseException:
            with self._idle:
                self._start()  # what was asked for after the fault is done all the same
            raise

    def _next(self) -> Callable[[], None] | None:
        with self._idle:
            if self._calls:
                return self._calls.popleft()
            self._is_working = False
            self._idle.notify_all()
            return None
