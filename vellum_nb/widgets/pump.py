"""Showing something soon and not too often, from one thread that ends with it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

__all__ = ["Pump"]

_MOST = 1.0  # seconds until the next call when nothing was heard


class Pump:
    """Calls `show` soon after a `poke`, and again and again as long as it returns True.

    However many pokes there are, `show` is called once for those that came since it began, never
    twice at once, and never in the thread that poked. Its thread ends when there is nothing more
    to show. The pause between two calls grows with the time that a call takes.

    Parameters
    ----------
    show : callable
        Shows what is so now.
    name : str
        The thread's name.
    least : float
        Seconds between two calls at least.

    Examples
    --------
    >>> done = threading.Event()
    >>> pump = Pump(done.set, name="example")
    >>> pump.poke()
    >>> done.wait(5)
    True
    >>> pump.close()
    """

    def __init__(self, show: Callable[[], bool | None], *, name: str, least: float = 0.2) -> None:
        self._show = show
        self._name = name
        self._least = least
        self._changed = threading.Condition()
        self._poked = False
        self._closed = False
        self._ready_at = 0.0
        self._thread: threading.Thread | None = None

    def poke(self) -> None:
        """Ask for a call soon; returns at once."""
        with self._changed:
            self._poked = True
            if self._thread is None and not self._closed:
                self._start()
            self._changed.notify_all()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until there is nothing to show any more; return whether that is so."""
        with self._changed:
            return self._changed.wait_for(lambda: self._thread is None, timeout)

    def close(self) -> None:
        """Make no further call; wait for one that is under way, unless it is the caller."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
            if self._thread is not threading.current_thread():
                self._changed.wait_for(lambda: self._thread is None)

    def _start(self) -> None:
        self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            while self._once():
                pass
        except BaseException:
            with self._changed:
                self._end()
                if self._poked and not self._closed:
                    self._start()  # what was asked for after the fault is shown all the same
            raise

    def _once(self) -> bool:
        """Show when it is time, and wait for the next; return whether there is one."""
        with self._changed:
            self._changed.wait_for(lambda: self._closed, self._ready_at - time.monotonic())
            if self._closed:
                return self._end()
            self._poked = False
        began = time.monotonic()
        try:
            goes_on = self._show()
        finally:
            ended = time.monotonic()
            self._ready_at = ended + max(self._least, 2 * (ended - began))
        with self._changed:
            if not (goes_on or self._poked):
                return self._end()
            pause = self._ready_at - time.monotonic() + _MOST
            self._changed.wait_for(lambda: self._closed or self._poked, pause)
        return True

    def _end(self) -> bool:
        self._thread = None
        self._changed.notify_all()
        return False
