"""What a deployment has: releases, tags, variables, executions; unknown names list known ones."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from vellum_nb.client import Client
from vellum_nb.errors import APIError, APIStatusError, NotFoundError
from vellum_nb.models import (
    Cancellation,
    SlimWorkflowDeployment,
    SlimWorkflowExecutionRead,
    WorkflowDeploymentRead,
    WorkflowDeploymentRelease,
    WorkflowReleaseTagRead,
)
from vellum_nb.sweep.retry_policy import LookupStatus


def all_of(*conditions: tuple[str, str, str]) -> dict[str, Any]:
    """Return the filter of executions for which all `conditions` hold.

    Each is field, operator, value.
    """
    return {
        "type": "LOGICAL_CONDITION_GROUP",
        "combinator": "AND",
        "negated": False,
        "conditions": [
            {
                "type": "LOGICAL_CONDITION",
                "lhs_variable": {"type": "STRING", "value": field},
                "operator": operator,
                "rhs_variable": {"type": "STRING", "value": value},
            }
            for field, operator, value in conditions
        ],
    }


T = TypeVar("T")


class Lookup:
    """Reads deployments, releases and release tags."""

    def __init__(self, client: Client) -> None:
        self._client = client

    def deployments(self) -> list[SlimWorkflowDeployment]:
        """Return every deployment, by name."""
        return list(self._client.iter_workflow_deployments(ordering="name"))

    def deployment(self, name: str) -> WorkflowDeploymentRead:
        """Return the deployment called `name`."""
        return self._found(name, None, lambda: self._client.retrieve_workflow_deployment(name))

    def release(self, name: str, tag: str) -> WorkflowDeploymentRelease:
        """Return the release that `tag` points at now."""
        return self._found(
            name, tag, lambda: self._client.retrieve_workflow_deployment_release(name, tag)
        )

    def releases(self, name: str) -> list[WorkflowDeploymentRelease]:
        """Return every release of `name`, newest first."""
        return self._found(
            name, None, lambda: list(self._client.iter_workflow_deployment_releases(name))
        )

    def tags(self, name: str) -> list[WorkflowReleaseTagRead]:
        """Return every release tag of `name`."""
        return self._found(name, None, lambda: list(self._client.iter_workflow_release_tags(name)))

    def _found(self, name: str, tag: str | None, read: Callable[[], T]) -> T:
        """Return what `read` reads; where that is unknown, the error lists the names there are."""
        try:
            return read()
        except NotFoundError as exc:
            try:
                known = [deployment.name for deployment in self.deployments()]
                message = f"There is no deployment {name!r}; there are: "
                if name in known:
                    known = [t.name for t in self._client.iter_workflow_release_tags(name)]
                    message = f"{name} has no release tag {tag!r}; it has: "
            except APIError:
                raise exc from None
            if tag is None and "no deployment" not in message:
                raise
            message += ", ".join(known) or "none"
            raise NotFoundError(message, status_code=exc.status_code, body=exc.body) from exc


_PASSING = frozenset({401, 408, 425, 429})


class NoLookupError(Exception):
    """The server cannot tell what became of an execution, and will not later."""


class ExecutionLookup:
    """Looks executions of one deployment up by their external id.

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
    ) -> SlimWorkflowExecutionRead | LookupStatus:
        """Return the execution if it has ended, or else where it is.

        Raises
        ------
        NoLookupError
            This server, or this key, cannot tell.
        APIError
            No usable answer came this time.
        """
        if self._deployment_id is None:
            msg = "executions cannot be looked up with this key"
            raise NoLookupError(msg)
        filters = all_of(("external_id", "==", external_id))
        try:
            page = self._client.list_workflow_deployment_event_executions(
                self._deployment_id, filters=filters, limit=1, cancel=cancel
            )
        except APIStatusError as exc:
            if exc.status_code >= 500 or exc.status_code in _PASSING:  # noqa: PLR2004
                raise
            raise NoLookupError(str(exc)) from exc
        if not page.results:
            return LookupStatus.UNKNOWN
        found = page.results[0]
        if found.parent_context is None or found.parent_context.external_id != external_id:
            msg = "it answers a look-up of one external id with another execution"
            raise NoLookupError(msg)
        has_ended = found.end is not None or found.error is not None
        return found if has_ended else LookupStatus.RUNNING
