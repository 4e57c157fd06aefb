"""What a deployment has: releases, release tags, variables; unknown names list the known ones."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import TypeVar

from vellum_nb.client import Client
from vellum_nb.errors import APIError, NotFoundError
from vellum_nb.models import (
    SlimWorkflowDeployment,
    WorkflowDeploymentRead,
    WorkflowDeploymentRelease,
    WorkflowReleaseTagRead,
)

__all__ = ["Lookup"]

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
        try:
            return read()
        except NotFoundError as exc:
            message = self._known(name, tag)
            if message is None:
                raise
            raise NotFoundError(message, status_code=exc.status_code, body=exc.body) from exc

    def _known(self, name: str, tag: str | None) -> str | None:
        """Return a sentence that lists the names there are, or None when they can't be read."""
        try:
            names = [deployment.name for deployment in self.deployments()]
            if name in names and tag is not None:
                tags = [t.name for t in self._client.iter_workflow_release_tags(name)]
                return f"{name} has no release tag {tag!r}; it has: {_listed(tags)}"
        except APIError:
            return None
        if name in names:
            return None
        return f"There is no deployment {name!r}; there are: {_listed(names)}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(names) or "none"
