"""Executions, many at once from one thread: as `execute_workflow`, without waiting for each."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from typing import Any, NamedTuple

from vellum_nb.client.client import Client
from vellum_nb.client.exchange import Answer, redirected
from vellum_nb.client.lane import Landed, Lane
from vellum_nb.errors import APIError
from vellum_nb.models import Cancellation, ExecuteWorkflowResponse

__all__ = ["QuickExecutions", "Reply"]


class Reply(NamedTuple):
    """What came of an execution, and after how many seconds; None: it is sent on elsewhere."""

    key: str
    result: ExecuteWorkflowResponse | APIError | None
    seconds: float


class QuickExecutions:
    """Executes with a client's settings, each once. All from one thread, but `wake`."""

    def __init__(self, client: Client, lane: Lane) -> None:
        self._client = client
        self._lane = lane

    @classmethod
    def of(cls, client: Client, crew: Executor, cancel: Cancellation) -> QuickExecutions | None:
        """Return them for `client`; None where requests go through a proxy.

        Parameters
        ----------
        crew
            Where connections are opened.
        cancel
            Ends all that is under way.
        """
        lane = client._sender.lane(client.predict_url, crew, cancel)  # noqa: SLF001  (of this package)
        return None if lane is None else cls(client, lane)

    @property
    def misread(self) -> bool:
        """Whether there was an answer that could not be read here; a call may be less strict."""
        return self._lane.misread

    def begin(self, key: str, inputs: Sequence[Mapping[str, Any]], **options: Any) -> None:
        """Send an execution, with the options of `Client.execute_workflow`.

        Raises
        ------
        InputError
            The request cannot be written; nothing was sent.
        """
        self._lane.send(key, self._client._execution(inputs, **options))  # noqa: SLF001  (as above)

    def ended(self, timeout: float) -> list[Reply]:
        """Wait for something to end, or for `wake`; return the first few that ended."""
        return [self._reply(landed) for landed in self._lane.wait(timeout)]

    def wake(self) -> None:
        """End a wait, from any thread."""
        self._lane.wake()

    def close(self) -> None:
        """Close all connections."""
        self._lane.close()

    def _reply(self, landed: Landed) -> Reply:
        key, request, found, seconds = landed
        if isinstance(found, Answer) and redirected(request, found) is not None:
            return Reply(key, None, seconds)
        try:
            read = self._client._sender.read(request, found, ExecuteWorkflowResponse)  # noqa: SLF001  (as above)
        except APIError as exc:
            return Reply(key, exc, seconds)
        return Reply(key, read, seconds)
