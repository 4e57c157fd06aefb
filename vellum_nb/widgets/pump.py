"""Showing something again and again while it goes on, from one thread that ends with it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

__all__ = ["Pump"]

_LEAST = 0.2  # seconds between two calls
_MOST = 1.0  # seconds until the next call when nothing was heard


class Pump:
    """Calls `show` after a `poke`, and again and again as long as it returns True.

    `show` runs in a thread of its own, which ends with what is shown, and never twice at once.
    The pause grows with the time that a call takes.

    Examples
    --------
    >>> done = threading.Event()
    >>> pump = Pump(lambda: bool(done.set()))
    >>> pump.poke()
    >>> done.wait(5)
    True
    >>> pump.close()
    """

    def __init__(self, show: Callable[[], bool]) -> None:
        self._show = show
        self._changed = threading.Condition()
        self._poked = False
        self._closed = False
        self._thread: threading.Thread | None = None

    def poke(self) -> None:
        """Ask for a call soon; returns at once."""
        with self._changed:
            self._poked = True
            if self._thread is None and not self._closed:
                self._thread = threading.Thread(
                    target=self._run, name="vellum-nb-sweep-view", daemon=True
                )
                self._thread.start()
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

    def _run(self) -> None:
        try:
            while self._once():
                pass
        except BaseException:
            self._end()
            raise

    def _once(self) -> bool:
        """Show once and wait for the next time; return whether there is one."""
        with self._changed:
            self._poked = False
            if self._closed:
                return self._end()
        began = time.monotonic()
        goes_on = self._show()
        pause = max(_LEAST, 2 * (time.monotonic() - began))
        with self._changed:
            if not (goes_on or self._poked):
                return self._end()
            self._changed.wait_for(lambda: self._closed, pause)
            self._changed.wait_for(lambda: self._closed or self._poked, _MOST)
        return True

    def _end(self) -> bool:
        with self._changed:
            self._thread = None
            self._changed.notify_all()
        return False
