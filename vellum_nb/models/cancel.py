"""A switch that ends work under way from another thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from contextlib import suppress


class Cancellation:
    """Ends the calls that it is passed to.

    Pass one to any number of calls; `cancel()` from any thread ends them all at once, those that
    wait for an answer too. It stays cancelled.

    Examples
    --------
    >>> cancel = Cancellation()
    >>> cancel.add_callback(lambda: print("cut off"))
    >>> cancel.cancel()
    cut off
    >>> cancel.cancelled
    True
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._callbacks: list[Callable[[], object]] = []

    @property
    def cancelled(self) -> bool:
        """Whether `cancel` was called."""
        return self._event.is_set()

    def cancel(self) -> None:
        """Cancel; runs every callback that is registered. Calling it again does nothing."""
        with self._lock:
            if self._event.is_set():
                return
            self._event.set()
            callbacks = list(self._callbacks)
        for callback in callbacks:
            with suppress(OSError):
                callback()

    def wait(self, seconds: float) -> bool:
        """Sleep for `seconds`, or until it is cancelled; return `cancelled`."""
        return self._event.wait(seconds)

    def add_callback(self, callback: Callable[[], object]) -> None:
        """Have `callback` run on `cancel`; at once if it is cancelled already."""
        with self._lock:
            self._callbacks.append(callback)
            cancelled = self._event.is_set()
        if cancelled:
            with suppress(OSError):
                callback()

    def remove_callback(self, callback: Callable[[], object]) -> None:
        """Forget a callback."""
        with self._lock:
            self._callbacks.remove(callback)
