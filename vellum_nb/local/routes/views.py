"""The registry's records as the contract shows them."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from vellum_nb.local.deployments.releases import Deployment, Release, Tag
from vellum_nb.models import (
    EnvironmentRead,
    OrganizationRead,
    SlimWorkflowDeployment,
    VellumVariable,
    WorkflowDeploymentRead,
    WorkflowDeploymentRelease,
    WorkflowReleaseTagRead,
    WorkspaceRead,
)
from vellum_nb.models.base import Model
from vellum_nb.models.deployments import (
    ReleaseDeployment,
    ReleaseEnvironment,
    ReleaseRef,
    ReleaseTagName,
    WorkflowVersion,
)

__all__ = [
    "HistoryItem",
    "environment",
    "full",
    "history_item",
    "organization",
    "release_read",
    "slim",
    "tag_read",
    "workspace",
]

_SPACE = uuid.UUID("0f0e3a3c-8a7c-4a5e-9c11-5d1f2b6c7e10")
_ENVIRONMENT = ReleaseEnvironment(
    id=str(uuid.uuid5(_SPACE, "environment")), name="local", label="Local"
)


class HistoryItem(Model):
    """A release as the deprecated history endpoint shows it."""

    id: str
    workflow_deployment_id: str
    timestamp: datetime
    label: str
    name: str
    input_variables: tuple[VellumVariable, ...]
    output_variables: tuple[VellumVariable, ...]
    description: str | None


def slim(deployment: Deployment) -> SlimWorkflowDeployment:
    """Return a deployment as lists show it."""
    return SlimWorkflowDeployment(**_slim(deployment))


def full(deployment: Deployment) -> WorkflowDeploymentRead:
    """Return a deployment as it is retrieved."""
    return WorkflowDeploymentRead(
        **_slim(deployment),
        last_deployed_history_item_id=deployment.latest.id,
        display_data=None,
    )


def release_read(deployment: Deployment, release: Release) -> WorkflowDeploymentRelease:
    """Return a release with the tags that are on it now."""
    return WorkflowDeploymentRelease(
        id=release.id,
        created=release.created,
        environment=_ENVIRONMENT,
        created_by=None,
        workflow_version=WorkflowVersion(
            id=release.version_id,
            input_variables=release.input_variables,
            output_variables=release.output_variables,
            dependencies=(),
        ),
        deployment=ReleaseDeployment(id=deployment.id, name=deployment.name),
        description=release.description,
        release_tags=tuple(
            ReleaseTagName(name=tag.name, source=tag.source)
            for tag in deployment.tags.values()
            if tag.release_id == release.id
        ),
        reviews=(),
    )


def tag_read(deployment: Deployment, tag: Tag) -> WorkflowReleaseTagRead:
    """Return a release tag."""
    release = deployment.release(tag.release_id)
    created = release.created if release else tag.moved
    ref = ReleaseRef(id=tag.release_id, timestamp=created)
    return WorkflowReleaseTagRead(name=tag.name, source=tag.source, history_item=ref, release=ref)


def history_item(deployment: Deployment, release: Release) -> HistoryItem:
    """Return a release as an item of the deployment's history."""
    return HistoryItem(
        id=release.id,
        workflow_deployment_id=deployment.id,
        timestamp=release.created,
        label=deployment.label,
        name=deployment.name,
        input_variables=release.input_variables,
        output_variables=release.output_variables,
        description=release.description or None,
    )


def environment() -> EnvironmentRead:
    """Return the one environment of a local server."""
    return EnvironmentRead(
        id=_ENVIRONMENT.id, name=_ENVIRONMENT.name, label=_ENVIRONMENT.label, display_config=None
    )


def workspace(created: datetime) -> WorkspaceRead:
    """Return the one workspace of a local server."""
    return WorkspaceRead(
        id=str(uuid.uuid5(_SPACE, "workspace")),
        name="local",
        label="Local",
        created=created,
        display_config=None,
    )


def organization(created: datetime) -> OrganizationRead:
    """Return the one organization of a local server."""
    return OrganizationRead(
        id=str(uuid.uuid5(_SPACE, "organization")),
        name="Local",
        created=created,
        allow_staff_access=False,
        new_member_join_behavior="REQUIRE_EXPLICIT_INVITE",
        limit_config=None,
    )


def _slim(deployment: Deployment) -> Mapping[str, Any]:
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
