"""Releases and release tags as the contract has them."""

from __future__ import annotations

import uuid

from vellum_nb.local.deployments.releases import Deployment, Release, Tag
from vellum_nb.models import WorkflowDeploymentRelease, WorkflowReleaseTagRead
from vellum_nb.models.contract import (
    ReleaseDeployment,
    ReleaseEnvironment,
    ReleaseRef,
    ReleaseTagName,
    WorkflowVersion,
)

__all__ = ["ENVIRONMENT", "SPACE", "release_read", "tag_read"]

SPACE = uuid.UUID("0f0e3a3c-8a7c-4a5e-9c11-5d1f2b6c7e10")
ENVIRONMENT = ReleaseEnvironment(
    id=str(uuid.uuid5(SPACE, "environment")), name="local", label="Local"
)


def release_read(deployment: Deployment, release: Release) -> WorkflowDeploymentRelease:
    """Return a release with the tags that are on it now."""
    return WorkflowDeploymentRelease(
        id=release.id,
        created=release.created,
        environment=ENVIRONMENT,
        created_by=None,
        workflow_version=WorkflowVersion(
            id=release.version_id,
            input_variables=release.input_variables,
            output_variables=release.output_variables,
            dependencies=(),
            **_container_image(release),
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


def _container_image(release: Release) -> dict[str, str | None]:
    """Return an addition of ours, of releases that run in a container."""
    process = release.process
    if process is None or process.isolation != "container":
        return {}
    return {"container_image": process.digest}
