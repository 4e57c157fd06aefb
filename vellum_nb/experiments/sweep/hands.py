"""The hands of a sweep: they make its attempts, and tell the driver which have ended."""

from __future__ import annotations

import queue
from collections.abc import Iterable
from concurrent.futures import Executor, Future

from vellum_nb.experiments.sweep.work import Again, Attempt, Ended, Task
from vellum_nb.models import Cancellation

__all__ = ["Hands", "Result"]

Result = Ended | Again | BaseException


class Hands:
    """Makes each attempt by an executor. `wake` and `cut` are for any thread.

    Parameters
    ----------
    attempt : callable
        Sends a run, or looks it up.
    executor : Executor
        Where attempts are made.
    cancel : Cancellation, optional
        Handed to attempts, where the executor is of this process; then it ends with the hands.
    """

    def __init__(
        self, attempt: Attempt, executor: Executor, cancel: Cancellation | None = None
    ) -> None:
        self._attempt = attempt
        self._executor = executor
        self._cancel = cancel
        self._under_way: dict[Future[Ended | Again], str] = {}
        self._done: queue.SimpleQueue[Future[Ended | Again] | None] = queue.SimpleQueue()

    @property
    def can_cut(self) -> bool:
        """Whether attempts can be cut off; those of other processes cannot."""
        return self._cancel is not None

    def begin(self, task: Task) -> None:
        """Begin an attempt."""
        args = (task,) if self._cancel is None else (task, self._cancel)
        future = self._executor.submit(self._attempt, *args)
        self._under_way[future] = task.run.id
        future.add_done_callback(self._ended)

    def ended(self, timeout: float) -> Iterable[tuple[str, Result]]:
        """Wait for an attempt to end, or for `wake`; return those that did, by their run's id."""
        return self._taken(timeout)

    def wake(self) -> None:
        """End a wait."""
        self._done.put(None)

    def cut(self) -> None:
        """Cut off what is under way."""
        if self._cancel is not None:
            self._cancel.cancel()
        self.wake()

    def drop(self) -> None:
        """Take back what has not begun, and hear no more of the rest."""
        for future in self._under_way:
            future.cancel()
        self._under_way = {}

    def close(self) -> None:
        """Let go of what is the hands' own; what is under way ends first."""
        if self._cancel is not None:
            self._executor.shutdown()

    def _ended(self, future: Future[Ended | Again]) -> None:
        self._done.put(future)

    def _taken(self, timeout: float) -> list[tuple[str, Result]]:
        found: list[tuple[str, Result]] = []
        wait: float | None = timeout
        while True:
            try:
                future = self._done.get(timeout=wait) if wait else self._done.get_nowait()
            except queue.Empty:
                return found
            wait = None
            run_id = None if future is None else self._under_way.pop(future, None)
            if future is not None and run_id is not None:
                found.append((run_id, _result(future)))


def _result(future: Future[Ended | Again]) -> Result:
    try:
        return future.result()
    except BaseException as exc:  # noqa: BLE001  (also what an executor raises to cancel)
        return exc
