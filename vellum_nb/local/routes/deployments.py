"""The routes of deployments, releases, release tags, and of identity."""

from __future__ import annotations

import uuid
from datetime import datetime
from typing import Annotated, Any, Literal

from fastapi import Query, Request, Response
from pydantic import BaseModel

from vellum_nb.local.deployments.releases import (
    ENVIRONMENT,
    SPACE,
    Deployment,
    release_read,
    tag_read,
)
from vellum_nb.local.engine.requests import get_tag
from vellum_nb.local.refusals import bad_request
from vellum_nb.local.routes.common import (
    Body,
    Limit,
    Named,
    Offset,
    Served,
    new_router,
    ordered,
    page,
    reply,
)
from vellum_nb.models import (
    EnvironmentRead,
    OrganizationRead,
    Page,
    SlimWorkflowDeployment,
    VellumVariable,
    WorkflowDeploymentRead,
    WorkflowDeploymentRelease,
    WorkflowReleaseTagRead,
    WorkspaceRead,
)
from vellum_nb.models.base import Model

_DEPLOYMENT = "/v1/workflow-deployments/{id}"
router = new_router()

Ordering = Annotated[str | None, Query(description="Comma-separated; a minus reverses.")]
Status = Literal["ACTIVE", "ARCHIVED", "PENDING_DELETION"]
Source = Literal["SYSTEM", "USER"]


class ReleaseTagUpdate(BaseModel):
    """Body of PATCH release-tags: the release that the tag is put on."""

    history_item_id: uuid.UUID | None = None


_NO_UPDATE = ReleaseTagUpdate()


class HistoryItem(Model):
    """A release as the deprecated history endpoint has it."""

    id: str
    workflow_deployment_id: str
    timestamp: datetime
    label: str
    name: str
    input_variables: tuple[VellumVariable, ...]
    output_variables: tuple[VellumVariable, ...]
    description: str | None


@router.get("/v1/workflow-deployments", response_model=Page[SlimWorkflowDeployment])
async def list_workflow_deployments(
    request: Request,
    state: Served,
    *,
    limit: Limit = 100,
    offset: Offset = 0,
    ordering: Ordering = "-created",
    status: Status | None = None,
) -> Response:
    """List the deployments; orderings: created, name."""
    found = state.registry.all() if status in {None, "ACTIVE"} else []
    keys = {"created": lambda d: d.created, "name": lambda d: d.name}

    def slim(deployment: Deployment) -> SlimWorkflowDeployment:
        return SlimWorkflowDeployment(**_slim(deployment))

    return reply(page(request, ordered(found, ordering, keys), limit, offset, slim))


@router.get(_DEPLOYMENT, response_model=WorkflowDeploymentRead)
async def retrieve_workflow_deployment(deployment: Named) -> Response:
    """Retrieve a deployment; its variables are those of LATEST."""
    return reply(
        WorkflowDeploymentRead(
            **_slim(deployment),
            last_deployed_history_item_id=deployment.latest.id,
            display_data=None,
        )
    )


@router.get(f"{_DEPLOYMENT}/release-tags", response_model=Page[WorkflowReleaseTagRead])
async def list_workflow_release_tags(
    request: Request,
    deployment: Named,
    *,
    limit: Limit = 100,
    offset: Offset = 0,
    ordering: Ordering = None,
    source: Source | None = None,
) -> Response:
    """List the release tags; orderings: name, created (when the tag was put where it is)."""
    tags = [tag for tag in deployment.tags.values() if source in {None, tag.source}]
    keys = {"name": lambda tag: tag.name, "created": lambda tag: tag.moved}
    found = ordered(tags, ordering, keys)
    return reply(page(request, found, limit, offset, lambda tag: tag_read(deployment, tag)))


@router.get(f"{_DEPLOYMENT}/release-tags/{{name}}", response_model=WorkflowReleaseTagRead)
async def retrieve_workflow_release_tag(deployment: Named, name: str) -> Response:
    """Retrieve a release tag."""
    return reply(tag_read(deployment, get_tag(deployment, name)))


@router.patch(f"{_DEPLOYMENT}/release-tags/{{name}}", response_model=WorkflowReleaseTagRead)
async def update_workflow_release_tag(
    state: Served, deployment: Named, name: str, body: Body[ReleaseTagUpdate] = _NO_UPDATE
) -> Response:
    """Put a release tag on another release; without one it stays where it is."""
    tag = get_tag(deployment, name)
    if tag.source == "SYSTEM":
        msg = f"{name} always is the newest release; it cannot be moved"
        raise bad_request(msg)
    if body.history_item_id is not None:
        release = str(body.history_item_id)
        deployment = state.registry.move_tag(deployment.name, name, release)
    return reply(tag_read(deployment, deployment.tags[name]))


@router.get(f"{_DEPLOYMENT}/releases", response_model=Page[WorkflowDeploymentRelease])
async def list_workflow_deployment_releases(
    request: Request,
    deployment: Named,
    limit: Limit = 100,
    offset: Offset = 0,
    ordering: Ordering = "-created",
) -> Response:
    """List the releases; ordering: created."""
    found = ordered(deployment.releases, ordering, {"created": lambda release: release.created})
    return reply(page(request, found, limit, offset, lambda r: release_read(deployment, r)))


@router.get(f"{_DEPLOYMENT}/releases/{{release}}", response_model=WorkflowDeploymentRelease)
async def retrieve_workflow_deployment_release(
    state: Served, deployment: Named, release: str
) -> Response:
    """Retrieve a release by its id or by a tag on it."""
    return reply(release_read(deployment, state.registry.release(deployment, release)))


@router.get(f"{_DEPLOYMENT}/history/{{item}}", response_model=HistoryItem, deprecated=True)
async def workflow_deployment_history_item_retrieve(
    state: Served, deployment: Named, item: str
) -> Response:
    """Retrieve a release as an item of the history."""
    release = state.registry.release(deployment, item)
    return reply(
        HistoryItem(
            id=release.id,
            workflow_deployment_id=deployment.id,
            timestamp=release.created,
            label=deployment.label,
            name=deployment.name,
            input_variables=release.input_variables,
            output_variables=release.output_variables,
            description=release.description or None,
        )
    )


@router.get("/v1/environments/identity", response_model=EnvironmentRead)
async def environment_identity() -> Response:
    """Retrieve the environment of the key."""
    return reply(EnvironmentRead(**dict(ENVIRONMENT), display_config=None))


@router.get("/v1/workspaces/identity", response_model=WorkspaceRead)
async def workspace_identity(state: Served) -> Response:
    """Retrieve the workspace of the key; another id means that executions were forgotten."""
    return reply(
        WorkspaceRead(
            id=state.ledger.identity,
            name="local",
            label="Local",
            created=state.started,
            display_config=None,
        )
    )


@router.get("/v1/organizations/identity", response_model=OrganizationRead)
async def organization_identity(state: Served) -> Response:
    """Retrieve the organization of the key."""
    return reply(
        OrganizationRead(
            id=str(uuid.uuid5(SPACE, "organization")),
            name="Local",
            created=state.started,
            allow_staff_access=False,
            new_member_join_behavior="REQUIRE_EXPLICIT_INVITE",
            limit_config=None,
        )
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
