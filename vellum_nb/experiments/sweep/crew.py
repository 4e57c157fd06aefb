"""The threads that make the calls of a sweep."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar

__all__ = ["Crew"]

P = ParamSpec("P")
T = TypeVar("T")
_Job = tuple[Future[Any], Callable[..., Any], tuple[Any, ...], dict[str, Any]]


class Crew(Executor):
    """An executor of at most `most` threads that never keep the interpreter from ending.

    Those of `concurrent.futures.ThreadPoolExecutor` do: it waits for their calls, however long
    they take, before anybody is asked to cut them off.

    Examples
    --------
    >>> with Crew(2) as crew:
    ...     crew.submit(pow, 2, 10).result()
    1024
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._jobs: queue.SimpleQueue[_Job | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []
        self._lock = threading.Lock()
        self._busy = 0
        self._closed = False

    def submit(self, fn: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Future[T]:
        """Have a thread call `fn`."""
        future: Future[T] = Future()
        with self._lock:
            if self._closed:
                msg = "this crew has gone home"
                raise RuntimeError(msg)
            if self._busy >= len(self._threads) < self._most:
                self._hire()
            self._busy += 1
            self._jobs.put((future, fn, args, kwargs))
        return future

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:  # noqa: FBT001, FBT002, ARG002  (as in Executor)
        """Take no more jobs; what was handed over is done."""
        with self._lock:
            self._closed = True
            for _ in self._threads:
                self._jobs.put(None)
        if wait:
            for thread in self._threads:
                thread.join()

    def _hire(self) -> None:
        """Take on one more thread; where none is to be had, those that are there do the work."""
        thread = threading.Thread(target=self._work, name="vellum-nb-call", daemon=True)
        try:
            thread.start()
        except RuntimeError:
            if not self._threads:
                raise
        else:
            self._threads.append(thread)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            future, function, args, kwargs = job
            if not future.set_running_or_notify_cancel():
                self._done()
                continue
            try:
                result = function(*args, **kwargs)
            except BaseException as exc:  # noqa: BLE001  (the future's owner is told)
                self._done()
                future.set_exception(exc)
            else:
                self._done()
                future.set_result(result)
            del job, future, function, args, kwargs  # an idle thread keeps nothing alive

    def _done(self) -> None:
        with self._lock:
            self._busy -= 1
