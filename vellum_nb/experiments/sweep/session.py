"""One go at a sweep: the thread it runs in, and how it ends with the interpreter."""

from __future__ import annotations

import atexit
import os
import threading
import time
from collections.abc import Callable

from vellum_nb.experiments.sweep.driver import Driver

__all__ = ["Session"]

_SLICE = 0.5  # seconds; on Windows nothing interrupts a wait
_GRACE = 2.0  # seconds for calls under way, when the interpreter ends
_WRITING = 5.0  # seconds to write down what was cut off


class Session:
    """Runs `drive` in a thread, once.

    Parameters
    ----------
    driver : Driver
        What is stopped, paused and cut.
    drive : callable
        Drives it to its end.
    over : callable
        Called in the thread when `is_alive` is no longer true.
    """

    def __init__(self, driver: Driver, drive: Callable[[], None], over: Callable[[], None]) -> None:
        self.driver = driver
        self.error: BaseException | None = None
        self._drive = drive
        self._tell_over = over
        self._over = threading.Event()
        self._over.set()
        self._claim = threading.Lock()
        self._process = os.getpid()

    @property
    def is_alive(self) -> bool:
        """Whether it runs, in this process: a fork takes no threads along."""
        return not self._over.is_set() and self._process == os.getpid()

    def start(self) -> None:
        """Start the thread."""
        thread = threading.Thread(target=self._run, name="vellum-nb-sweep", daemon=True)
        try:
            self._over.clear()
            _ALIVE.add(self)
            thread.start()
        except BaseException:  # no thread is to be had; or an interrupt, while it starts
            if self._claim.acquire(blocking=False):
                self._end()
            raise

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the end; return whether it has come. An interrupt ends the waiting."""
        until = None if timeout is None else time.monotonic() + timeout
        while self.is_alive:
            left = _SLICE if until is None else min(_SLICE, until - time.monotonic())
            if left <= 0:
                return False
            self._over.wait(left)
        return True

    def _run(self) -> None:
        if not self._claim.acquire(blocking=False):
            return
        try:
            self._drive()
        except BaseException as exc:  # noqa: BLE001  (raised by whoever waits)
            self.error = exc
        finally:
            self._end()
            self._tell_over()

    def _end(self) -> None:
        _ALIVE.discard(self)
        self._over.set()


_ALIVE: set[Session] = set()


@atexit.register
def _end_with_interpreter() -> None:
    """Stop every sweep: what cannot end soon is looked up when the sweep is resumed."""
    alive = [session for session in list(_ALIVE) if session.is_alive]
    for session in alive:
        session.driver.stop("the interpreter ended")
    until = time.monotonic() + _GRACE
    for session in alive:
        session.join(max(0.0, until - time.monotonic()))
    for session in alive:
        session.driver.cut()
    for session in alive:
        session.join(_WRITING)
