"""Ctrl-C while a write is under way: it comes when the write has ended.

Python interrupts at the entry of any function, also of the one that would end a transaction: that
stays open then, and nobody else can write.
"""

from __future__ import annotations

import _signal  # type: ignore[import-not-found]  # `signal` looks for an enum, which takes 3 us
import inspect
from collections.abc import Callable
from signal import SIGINT
from types import FrameType

__all__ = ["Interrupts"]


class Interrupts:
    """Puts off one interrupt of the main thread, which alone is interrupted; the next one comes.

    Examples
    --------
    >>> interrupts = Interrupts()
    >>> interrupts.put_off()
    >>> interrupts.let_through()
    """

    __slots__ = ("_came", "_handler")

    def __init__(self) -> None:
        self._came = False
        self._handler: Callable[[int, FrameType | None], object] | None = None

    def put_off(self) -> None:
        """Let an interrupt wait for `let_through`."""
        handler = _signal.getsignal(SIGINT)
        if callable(handler):
            self._handler = handler
            try:
                _signal.signal(SIGINT, self._wait)
            except ValueError:  # another thread
                self._handler = None

    def let_through(self) -> None:
        """Let interrupts come again, and the one that waits; does nothing the second time."""
        handler, self._handler = self._handler, None
        if handler is not None:
            _signal.signal(SIGINT, handler)
            if self._came:
                handler(SIGINT, inspect.currentframe())

    def _wait(self, number: int, frame: FrameType | None) -> None:
        if self._came and self._handler is not None:
            self._handler(number, frame)
        self._came = True
