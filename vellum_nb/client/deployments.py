"""Reading deployments, their release tags and releases."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TypeVar

from vellum_nb.client.base import BaseClient
from vellum_nb.models import (
    Page,
    SlimWorkflowDeployment,
    WorkflowDeploymentRead,
    WorkflowDeploymentRelease,
    WorkflowReleaseTagRead,
)

__all__ = ["DeploymentMethods"]

T = TypeVar("T")
_DEPLOYMENTS = Page[SlimWorkflowDeployment]
_TAGS = Page[WorkflowReleaseTagRead]
_RELEASES = Page[WorkflowDeploymentRelease]


class DeploymentMethods(BaseClient):
    """The methods that read deployments; `id` is an id or a name."""

    def list_workflow_deployments(
        self,
        *,
        limit: int | None = None,
        offset: int | None = None,
        ordering: str | None = None,
        status: str | None = None,
    ) -> Page[SlimWorkflowDeployment]:
        """Return one page of the workflow deployments."""
        query = {"limit": limit, "offset": offset, "ordering": ordering, "status": status}
        return self._get(_DEPLOYMENTS, "workflow-deployments", query=query)

    def iter_workflow_deployments(
        self, *, ordering: str | None = None, status: str | None = None
    ) -> Iterator[SlimWorkflowDeployment]:
        """Walk all workflow deployments, page by page."""
        return _walk(
            lambda offset: self.list_workflow_deployments(
                offset=offset, ordering=ordering, status=status
            )
        )

    def retrieve_workflow_deployment(self, id: str) -> WorkflowDeploymentRead:  # noqa: A002
        """Return a deployment by its id or name; its variables are those of LATEST."""
        return self._get(WorkflowDeploymentRead, "workflow-deployments", id)

    def list_workflow_release_tags(
        self,
        id: str,  # noqa: A002
        *,
        limit: int | None = None,
        offset: int | None = None,
        ordering: str | None = None,
        source: str | None = None,
    ) -> Page[WorkflowReleaseTagRead]:
        """Return one page of a deployment's release tags; `source` is SYSTEM or USER."""
        query = {"limit": limit, "offset": offset, "ordering": ordering, "source": source}
        return self._get(_TAGS, "workflow-deployments", id, "release-tags", query=query)

    def iter_workflow_release_tags(
        self,
        id: str,  # noqa: A002
        *,
        ordering: str | None = None,
        source: str | None = None,
    ) -> Iterator[WorkflowReleaseTagRead]:
        """Walk all release tags of a deployment, page by page."""
        return _walk(
            lambda offset: self.list_workflow_release_tags(
                id, offset=offset, ordering=ordering, source=source
            )
        )

    def retrieve_workflow_release_tag(self, id: str, name: str) -> WorkflowReleaseTagRead:  # noqa: A002
        """Return one release tag of a deployment."""
        return self._get(WorkflowReleaseTagRead, "workflow-deployments", id, "release-tags", name)

    def list_workflow_deployment_releases(
        self,
        id: str,  # noqa: A002
        *,
        limit: int | None = None,
        offset: int | None = None,
        ordering: str | None = None,
    ) -> Page[WorkflowDeploymentRelease]:
        """Return one page of a deployment's releases."""
        query = {"limit": limit, "offset": offset, "ordering": ordering}
        return self._get(_RELEASES, "workflow-deployments", id, "releases", query=query)

    def iter_workflow_deployment_releases(
        self,
        id: str,  # noqa: A002
        *,
        ordering: str | None = None,
    ) -> Iterator[WorkflowDeploymentRelease]:
        """Walk all releases of a deployment, page by page."""
        return _walk(
            lambda offset: self.list_workflow_deployment_releases(
                id, offset=offset, ordering=ordering
            )
        )

    def retrieve_workflow_deployment_release(
        self,
        id: str,  # noqa: A002
        release_id_or_release_tag: str,
    ) -> WorkflowDeploymentRelease:
        """Return one release, with its own variables, by its id or by a release tag."""
        path = ("workflow-deployments", id, "releases", release_id_or_release_tag)
        return self._get(WorkflowDeploymentRelease, *path)


def _walk(page: Callable[[int | None], Page[T]]) -> Iterator[T]:
    """Yield the items of all pages. Where the next page is follows from what came, not a link."""
    seen = 0
    while True:
        found = page(seen or None)
        yield from found.results
        seen += len(found.results)
        more = seen < found.count if found.count is not None else found.next is not None
        if not found.results or not more:
            return
