"""A switch that ends work under way from another thread."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

__all__ = ["Cancellation"]


class Cancellation:
    """Ends the calls it was handed to.

    Hand one to any number of calls; `cancel()` from any thread ends them all at once, those that
    wait for an answer too. It stays cancelled.

    Examples
    --------
    >>> cancel = Cancellation()
    >>> with cancel.calling(lambda: print("cut off")):
    ...     cancel.cancel()
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
        """Sleep for `seconds`, or less when cancelled meanwhile; return `cancelled`."""
        return self._event.wait(seconds)

    @contextmanager
    def calling(self, callback: Callable[[], object]) -> Iterator[None]:
        """Have `callback` run on `cancel` while the block runs (at once if cancelled already)."""
        with self._lock:
            already = self._event.is_set()
            self._callbacks.append(callback)
        try:
            if already:
                with suppress(OSError):
                    callback()
            yield
        finally:
            with self._lock:
                self._callbacks.remove(callback)
