"""Deployments, their release tags and releases."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from vellum_nb.client.base import BaseClient
from vellum_nb.errors import APIResponseError
from vellum_nb.models import (
    Page,
    SlimWorkflowDeployment,
    WorkflowDeploymentHistoryItem,
    WorkflowDeploymentRead,
    WorkflowDeploymentRelease,
    WorkflowReleaseTagRead,
)

__all__ = ["DeploymentMethods", "walk"]

T = TypeVar("T")
_DEPLOYMENTS = Page[SlimWorkflowDeployment]
_TAGS = Page[WorkflowReleaseTagRead]
_RELEASES = Page[WorkflowDeploymentRelease]


class DeploymentMethods(BaseClient):
    """The methods about deployments; `id` is an id or a name."""

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
        return walk(
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
        return walk(
            lambda offset: self.list_workflow_release_tags(
                id, offset=offset, ordering=ordering, source=source
            )
        )

    def retrieve_workflow_release_tag(self, id: str, name: str) -> WorkflowReleaseTagRead:  # noqa: A002
        """Return one release tag of a deployment."""
        return self._get(WorkflowReleaseTagRead, "workflow-deployments", id, "release-tags", name)

    def update_workflow_release_tag(
        self,
        id: str,  # noqa: A002
        name: str,
        *,
        history_item_id: str | None = None,
    ) -> WorkflowReleaseTagRead:
        """Have a release tag point at another release, by its id, and return it."""
        body = {} if history_item_id is None else {"history_item_id": history_item_id}
        path = ("workflow-deployments", id, "release-tags", name)
        return self._change("PATCH", WorkflowReleaseTagRead, *path, body=body)

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
        return walk(
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

    def workflow_deployment_history_item_retrieve(
        self,
        id: str,  # noqa: A002
        history_id_or_release_tag: str,
    ) -> WorkflowDeploymentHistoryItem:
        """Return what a release froze, as Vellum told it before there were releases."""
        path = ("workflow-deployments", id, "history", history_id_or_release_tag)
        return self._get(WorkflowDeploymentHistoryItem, *path)

    def deploy_workflow(
        self,
        id: str,  # noqa: A002
        *,
        workflow_deployment_name: str | None = None,
        workflow_deployment_id: str | None = None,
        label: str | None = None,
        release_tags: Sequence[str] | None = None,
        release_description: str | None = None,
    ) -> WorkflowDeploymentRead:
        """Deploy the workflow sandbox `id` as a new release, which gets the `release_tags`."""
        fields = {
            "workflow_deployment_name": workflow_deployment_name,
            "workflow_deployment_id": workflow_deployment_id,
            "label": label,
            "release_tags": None if release_tags is None else list(release_tags),
            "release_description": release_description,
        }
        body = {name: value for name, value in fields.items() if value is not None}
        path = ("workflow-sandboxes", id, "deploy")
        return self._change("POST", WorkflowDeploymentRead, *path, body=body)


def walk(page: Callable[[int | None], Page[T]]) -> Iterator[T]:
    """Yield the items of all pages. Where the next page is follows from what came, not a link.

    Raises
    ------
    APIResponseError
        The same page came twice in a row: the server does not know how to turn pages.
    """
    seen = 0
    last: Sequence[T] = ()
    while True:
        found = page(seen or None)
        if found.results and found.results == last:
            msg = f"The server sends the same page again after {seen} items; the rest is unknown"
            raise APIResponseError(msg)
        last = found.results
        yield from found.results
        seen += len(found.results)
        more = seen < found.count if found.count is not None else found.next is not None
        if not found.results or not more:
            return
