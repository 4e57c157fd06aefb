"""Calling something soon, and not too often, from a thread of its own."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

__all__ = ["Throttle"]


class Throttle:
    """Runs `call` after a `poke`, at most once an interval, however many pokes there are.

    `call` runs in a thread of its own, never in the one that poked, and never twice at once. The
    pause grows with the time the last call took, so that slow calls leave room for other work.

    Examples
    --------
    >>> import threading
    >>> done = threading.Event()
    >>> throttle = Throttle(done.set, interval=0.01)
    >>> throttle.poke()
    >>> done.wait(5)
    True
    >>> throttle.stop()
    """

    def __init__(self, call: Callable[[], None], *, interval: float) -> None:
        self._call = call
        self._interval = interval
        self._lock = threading.Lock()
        self._timer: threading.Timer | None = None
        self._again = False
        self._stopped = False
        self._ready_at = 0.0

    def poke(self) -> None:
        """Ask for a call; returns at once."""
        with self._lock:
            if self._timer is None:
                self._arm()
            else:
                self._again = True

    def stop(self) -> None:
        """Make no further call; wait for one that is under way, unless it is the caller."""
        with self._lock:
            self._stopped = True
            timer, self._timer = self._timer, None
        if timer is not None:
            timer.cancel()
            if timer is not threading.current_thread():
                timer.join()

    def _arm(self) -> None:
        if self._stopped:
            return
        self._again = False
        self._timer = threading.Timer(max(0.0, self._ready_at - time.monotonic()), self._fire)
        self._timer.name = "vellum_nb-refresh"
        self._timer.daemon = True
        self._timer.start()

    def _fire(self) -> None:
        # Pokes from here on may come too late for this call, so they ask for another one.
        with self._lock:
            self._again = False
        start = time.monotonic()
        try:
            self._call()
        finally:
            end = time.monotonic()
            self._ready_at = end + max(self._interval, 2 * (end - start))
            with self._lock:
                again, self._timer = self._again, None
                if again:
                    self._arm()
