"""The quick way for the runs of a sweep: the plain ones, sent and read in the driver's own thread.

What has to be looked up, uploaded, streamed or sent on is left to the `Caller`; so is everything
that follows from an error, and all that is still to be sent when an answer could not be read.
"""

from __future__ import annotations

from concurrent.futures import Executor

from vellum_nb.client import Client
from vellum_nb.client.quick import QuickExecutions, Reply
from vellum_nb.errors import VellumNBError
from vellum_nb.experiments.sweep.work import Again, Ended, Task
from vellum_nb.models import Cancellation
from vellum_nb.workspace.fates import answer_of, fate_of
from vellum_nb.workspace.sending import options_of
from vellum_nb.workspace.uploads import has_files

__all__ = ["Express"]


class Express:
    """Sends runs that need nothing but to be sent. All from one thread, but `wake`."""

    def __init__(self, executions: QuickExecutions) -> None:
        self._executions = executions
        self._under_way: dict[str, Task] = {}
        self._is_open = True

    @classmethod
    def of(cls, client: Client, crew: Executor, cancel: Cancellation) -> Express | None:
        """Return one that sends as `client` does; None where that takes more than sending."""
        found = QuickExecutions.of(client, crew, cancel)
        return None if found is None else cls(found)

    def begin(self, task: Task) -> bool:
        """Send `task`, unless it needs more than that; return whether it was taken."""
        plain = task.doubt is None and task.refused is None and not has_files(task.inputs)
        if not plain or not self._is_open or self._executions.misread:
            return False
        try:
            self._executions.begin(task.run.id, task.inputs, **options_of(task.run))
        except VellumNBError:
            return False
        self._under_way[task.run.id] = task
        return True

    def ended(self, timeout: float) -> list[tuple[Task, Ended | Again | None]]:
        """Wait for something to end, or for `wake`; None: another has to send it."""
        return [self._judged(reply) for reply in self._executions.ended(timeout)]

    def wake(self) -> None:
        """End a wait, from any thread."""
        self._executions.wake()

    def close(self) -> None:
        """Close all connections."""
        self._executions.close()

    def _judged(self, reply: Reply) -> tuple[Task, Ended | Again | None]:
        task = self._under_way.pop(reply.key)
        if reply.result is None:
            self._is_open = False  # the server sends on to another address
            return task, None
        if isinstance(reply.result, Exception):
            return task, fate_of(task, reply.result)
        return task, answer_of(task, reply.result, reply.seconds)
