"""What became of an execution whose answer was lost: asked of the server by its external id."""

from __future__ import annotations

from enum import Enum

from vellum_nb.client import Client
from vellum_nb.errors import APIStatusError
from vellum_nb.models import Cancellation, SlimWorkflowExecutionRead
from vellum_nb.workspace.filters import all_of

__all__ = ["Finder", "Gone", "UntoldError"]


class Gone(Enum):
    """Where an execution is that has not been found ended."""

    RUNNING = "it is still running"
    UNKNOWN = "the server knows no such execution"


class UntoldError(Exception):
    """The server cannot tell, and will not later."""


class Finder:
    """Looks executions of one deployment up.

    Parameters
    ----------
    client
        Whose reads are not repeated by itself.
    deployment_id
        None where the key may not read deployments.
    """

    def __init__(self, client: Client, deployment_id: str | None) -> None:
        self._client = client
        self._deployment_id = deployment_id

    def find(
        self, external_id: str, cancel: Cancellation | None = None
    ) -> SlimWorkflowExecutionRead | Gone:
        """Return the execution if it has ended, or else where it is.

        Raises
        ------
        UntoldError
            This server, or this key, cannot tell.
        APIError
            No usable answer came this time.
        """
        if self._deployment_id is None:
            msg = "executions cannot be looked up with this key"
            raise UntoldError(msg)
        wanted = all_of(("external_id", "==", external_id))
        try:
            page = self._client.list_workflow_deployment_event_executions(
                self._deployment_id, filters=wanted, limit=1, cancel=cancel
            )
        except APIStatusError as exc:
            if _is_lasting(exc):
                raise UntoldError(str(exc)) from exc
            raise
        if not page.results:
            return Gone.UNKNOWN
        found = page.results[0]
        if found.parent_context is None or found.parent_context.external_id != external_id:
            msg = "it answers a question for one external id with another execution"
            raise UntoldError(msg)
        has_ended = found.end is not None or found.error is not None
        return found if has_ended else Gone.RUNNING


def _is_lasting(exc: APIStatusError) -> bool:
    return 400 <= exc.status_code < 500 and exc.status_code not in {401, 408, 425, 429}  # noqa: PLR2004
