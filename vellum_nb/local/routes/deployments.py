"""The routes of the contract."""

from __future__ import annotations

import uuid
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Request, Response
from pydantic import BaseModel

from vellum_nb.local.engine.requests import get_tag
from vellum_nb.local.refusals import bad_request
from vellum_nb.local.routes import views
from vellum_nb.local.routes.bodies import read_body
from vellum_nb.local.routes.pages import Limit, Offset, ordered, page
from vellum_nb.local.routes.replies import FAILURES, reply
from vellum_nb.local.routes.state import Named, Served
from vellum_nb.models import (
    EnvironmentRead,
    OrganizationRead,
    Page,
    SlimWorkflowDeployment,
    WorkflowDeploymentRead,
    WorkflowDeploymentRelease,
    WorkflowReleaseTagRead,
    WorkspaceRead,
)

__all__ = ["router"]

_DEPLOYMENT = "/v1/workflow-deployments/{id}"
router = APIRouter(responses=FAILURES)


class ReleaseTagUpdate(BaseModel):
    """Body of PATCH release-tags: the release that the tag is put on."""

    history_item_id: uuid.UUID | None = None


Ordering = Annotated[str | None, Query(description="Comma-separated; a minus reverses.")]
Status = Literal["ACTIVE", "ARCHIVED", "PENDING_DELETION"]
Source = Literal["SYSTEM", "USER"]


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
    return reply(page(request, ordered(found, ordering, keys), limit, offset, views.slim))


@router.get(_DEPLOYMENT, response_model=WorkflowDeploymentRead)
async def retrieve_workflow_deployment(deployment: Named) -> Response:
    """Retrieve a deployment; its variables are those of LATEST."""
    return reply(views.full(deployment))


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
    return reply(page(request, found, limit, offset, lambda tag: views.tag_read(deployment, tag)))


@router.get(f"{_DEPLOYMENT}/release-tags/{{name}}", response_model=WorkflowReleaseTagRead)
async def retrieve_workflow_release_tag(deployment: Named, name: str) -> Response:
    """Retrieve a release tag."""
    return reply(views.tag_read(deployment, get_tag(deployment, name)))


@router.patch(f"{_DEPLOYMENT}/release-tags/{{name}}", response_model=WorkflowReleaseTagRead)
async def update_workflow_release_tag(
    request: Request, state: Served, deployment: Named, name: str
) -> Response:
    """Put a release tag on another release; without one it stays where it is."""
    body = read_body(await request.body(), ReleaseTagUpdate)
    tag = get_tag(deployment, name)
    if tag.source == "SYSTEM":
        msg = f"{name} always is the newest release; it cannot be moved"
        raise bad_request(msg)
    if body.history_item_id is not None:
        release = str(body.history_item_id)
        deployment = state.registry.move_tag(deployment.name, name, release)
    return reply(views.tag_read(deployment, deployment.tags[name]))


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
    return reply(page(request, found, limit, offset, lambda r: views.release_read(deployment, r)))


@router.get(f"{_DEPLOYMENT}/releases/{{release}}", response_model=WorkflowDeploymentRelease)
async def retrieve_workflow_deployment_release(
    state: Served, deployment: Named, release: str
) -> Response:
    """Retrieve a release by its id or by a tag on it."""
    return reply(views.release_read(deployment, state.registry.release(deployment, release)))


@router.get(f"{_DEPLOYMENT}/history/{{item}}", response_model=views.HistoryItem, deprecated=True)
async def workflow_deployment_history_item_retrieve(
    state: Served, deployment: Named, item: str
) -> Response:
    """Retrieve a release as an item of the history."""
    return reply(views.history_item(deployment, state.registry.release(deployment, item)))


@router.get("/v1/environments/identity", response_model=EnvironmentRead)
async def environment_identity() -> Response:
    """Retrieve the environment of the key."""
    return reply(views.environment())


@router.get("/v1/workspaces/identity", response_model=WorkspaceRead)
async def workspace_identity(state: Served) -> Response:
    """Retrieve the workspace of the key."""
    return reply(views.workspace(state.started))


@router.get("/v1/organizations/identity", response_model=OrganizationRead)
async def organization_identity(state: Served) -> Response:
    """Retrieve the organization of the key."""
    return reply(views.organization(state.started))
