"""Routes of deployments, releases, release tags and identity."""

from __future__ import annotations

import uuid
from typing import Any, Literal

from pydantic import BaseModel

from vellum_nb.local.deployments.registry import (
    ENVIRONMENT,
    SPACE,
    Deployment,
    release_read,
    tag_read,
)
from vellum_nb.local.refusals import Refused
from vellum_nb.local.routes.common import Body, Named, Paging, Served, new_router
from vellum_nb.models import contract

_DEPLOYMENT = "/v1/workflow-deployments/{id}"
router = new_router()


class ReleaseTagUpdate(BaseModel):
    """Body of PATCH release-tags: the new release of the tag."""

    history_item_id: uuid.UUID | None = None


_NO_UPDATE = ReleaseTagUpdate()


@router.get("/v1/workflow-deployments")
async def list_workflow_deployments(
    state: Served,
    paging: Paging,
    status: Literal["ACTIVE", "ARCHIVED", "PENDING_DELETION"] | None = None,
) -> contract.Page[contract.SlimWorkflowDeployment]:
    """List the deployments; orderings: created, name; default: newest first."""
    deployments = state.registry.all() if status in {None, "ACTIVE"} else []
    keys = {"created": lambda d: d.created, "name": lambda d: d.name}
    return paging.page(
        deployments,
        keys,
        lambda d: contract.SlimWorkflowDeployment(**_slim(d)),
        ordering="-created",
    )


@router.get(_DEPLOYMENT)
async def retrieve_workflow_deployment(deployment: Named) -> contract.WorkflowDeploymentRead:
    """Retrieve a deployment; its variables are those of LATEST."""
    latest = deployment.latest.id
    return contract.WorkflowDeploymentRead(
        **_slim(deployment), last_deployed_history_item_id=latest, display_data=None
    )


@router.get(f"{_DEPLOYMENT}/release-tags")
async def list_workflow_release_tags(
    deployment: Named, paging: Paging, source: Literal["SYSTEM", "USER"] | None = None
) -> contract.Page[contract.WorkflowReleaseTagRead]:
    """List the release tags; orderings: name, created (time of the last move)."""
    tags = [tag for tag in deployment.tags.values() if source in {None, tag.source}]
    keys = {"name": lambda tag: tag.name, "created": lambda tag: tag.moved}
    return paging.page(tags, keys, lambda tag: tag_read(deployment, tag))


@router.get(f"{_DEPLOYMENT}/release-tags/{{name}}")
async def retrieve_workflow_release_tag(
    deployment: Named, name: str
) -> contract.WorkflowReleaseTagRead:
    """Retrieve a release tag."""
    return tag_read(deployment, deployment.tag(name))


@router.patch(f"{_DEPLOYMENT}/release-tags/{{name}}")
def update_workflow_release_tag(
    state: Served, deployment: Named, name: str, body: Body[ReleaseTagUpdate] = _NO_UPDATE
) -> contract.WorkflowReleaseTagRead:
    """Move a release tag to another release, if given."""
    if deployment.tag(name).source == "SYSTEM":
        raise Refused(400, f"{name} always is the newest release; it cannot be moved")
    if body.history_item_id is not None:
        release = str(body.history_item_id)
        deployment = state.registry.move_tag(deployment.name, name, release)
    return tag_read(deployment, deployment.tags[name])


@router.get(f"{_DEPLOYMENT}/releases")
async def list_workflow_deployment_releases(
    deployment: Named, paging: Paging
) -> contract.Page[contract.WorkflowDeploymentRelease]:
    """List the releases, newest first; ordering: created."""
    keys = {"created": lambda release: release.created}
    return paging.page(
        deployment.releases, keys, lambda r: release_read(deployment, r), ordering="-created"
    )


@router.get(f"{_DEPLOYMENT}/releases/{{release}}")
async def retrieve_workflow_deployment_release(
    deployment: Named, release: str
) -> contract.WorkflowDeploymentRelease:
    """Retrieve a release by its id or by a tag on it."""
    return release_read(deployment, deployment.release(release))


@router.get(f"{_DEPLOYMENT}/history/{{item}}", deprecated=True)
async def workflow_deployment_history_item_retrieve(
    deployment: Named, item: str
) -> contract.WorkflowDeploymentHistoryItem:
    """Retrieve a release as an item of the history."""
    release = deployment.release(item)
    return contract.WorkflowDeploymentHistoryItem(
        id=release.id,
        workflow_deployment_id=deployment.id,
        timestamp=release.created,
        label=deployment.label,
        name=deployment.name,
        input_variables=release.input_variables,
        output_variables=release.output_variables,
        description=release.description or None,
    )


@router.get("/v1/environments/identity")
async def environment_identity() -> contract.EnvironmentRead:
    """Retrieve the environment of the key."""
    return contract.EnvironmentRead(**dict(ENVIRONMENT), display_config=None)


@router.get("/v1/workspaces/identity")
async def workspace_identity(state: Served) -> contract.WorkspaceRead:
    """Retrieve the workspace of the key; a changed id means that executions were lost."""
    id_, created = state.ledger.identity, state.started
    return contract.WorkspaceRead(
        id=id_, name="local", label="Local", created=created, display_config=None
    )


@router.get("/v1/organizations/identity")
async def organization_identity(state: Served) -> contract.OrganizationRead:
    """Retrieve the organization of the key."""
    return contract.OrganizationRead(
        id=str(uuid.uuid5(SPACE, "organization")),
        name="Local",
        created=state.started,
        allow_staff_access=False,
        new_member_join_behavior="REQUIRE_EXPLICIT_INVITE",
        limit_config=None,
    )


def _slim(deployment: Deployment) -> dict[str, Any]:
    latest = deployment.latest
    return {
        "id": deployment.id,
        "name": deployment.name,
        "label": deployment.label,
        "status": "ACTIVE",
        "environment": "PRODUCTION",
        "created": deployment.created,
        "last_deployed_on": latest.created,
        "input_variables": latest.input_variables,
        "output_variables": latest.output_variables,
        "description": latest.summary or latest.description or None,
    }
