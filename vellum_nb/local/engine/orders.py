"""From the body of a request to what is to be run."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field

from vellum_nb.local.deployments.registry import Registry
from vellum_nb.local.deployments.releases import LATEST, Deployment, Tag
from vellum_nb.local.engine.contexts import outer_context
from vellum_nb.local.engine.executions import Order
from vellum_nb.local.engine.wire_values import WIRE_TYPES
from vellum_nb.local.refusals import bad_request, not_found
from vellum_nb.models import ExecuteWorkflowRequest, WorkflowInput
from vellum_nb.models.base import Model

__all__ = [
    "DeploymentExecuteStreamRequest",
    "ExecuteBody",
    "ExecuteWorkflowStreamRequest",
    "found_tag",
    "order_of",
    "order_of_values",
]

NonEmpty = Annotated[str, Field(min_length=1)]


class ExecuteBody(ExecuteWorkflowRequest):
    """What every request to execute a workflow has; `execution_context` is sent by nodes."""

    model_config = ConfigDict(title="ExecuteWorkflowRequest")

    execution_context: Mapping[str, Any] | None = None


class ExecuteWorkflowStreamRequest(ExecuteBody):
    """Body of POST /v1/execute-workflow-stream."""

    model_config = ConfigDict(title="ExecuteWorkflowStreamRequest")

    event_types: tuple[Literal["NODE", "WORKFLOW"], ...] = ("WORKFLOW",)


class DeploymentExecuteStreamRequest(Model):
    """Body of POST /v1/workflow-deployments/{id}/execute-stream."""

    inputs: Mapping[NonEmpty, Any] = Field(default_factory=dict)
    trigger: NonEmpty | None = None
    release_tag: NonEmpty | None = None
    external_id: NonEmpty | None = None
    metadata: Mapping[str, Any] | None = None
    previous_execution_id: str | None = None


def order_of(registry: Registry, body: ExecuteBody) -> Order:
    """Return what a request to execute a workflow orders."""
    deployment = _addressed(registry, body)
    tag = found_tag(deployment, body.release_tag or LATEST)
    context = body.execution_context or {}
    return Order(
        deployment=deployment,
        tag=tag,
        release=registry.release(deployment, tag.release_id),
        inputs=body.inputs,
        external_id=body.external_id,
        metadata=body.metadata,
        previous_execution_id=body.previous_execution_id,
        parent=outer_context(context.get("parent_context")),
        trace_id=_trace_id(context.get("trace_id")),
    )


def order_of_values(
    registry: Registry, deployment: Deployment, body: DeploymentExecuteStreamRequest
) -> Order:
    """Return what a request with plain values orders; the input variables say their types."""
    tag = found_tag(deployment, body.release_tag or LATEST)
    release = registry.release(deployment, tag.release_id)
    types = {v.key: v.type for v in release.input_variables if v.type in WIRE_TYPES}
    return Order(
        deployment=deployment,
        tag=tag,
        release=release,
        inputs=tuple(
            WorkflowInput(name=name, type=types.get(name, "JSON"), value=value)
            for name, value in body.inputs.items()
        ),
        external_id=body.external_id,
        metadata=body.metadata,
        previous_execution_id=body.previous_execution_id,
        trigger=body.trigger,
    )


def found_tag(deployment: Deployment, name: str) -> Tag:
    """Return a release tag of a deployment."""
    tag = deployment.tags.get(name)
    if tag is None:
        known = ", ".join(deployment.tags)
        msg = f"{deployment.name} has no release tag {name!r}; it has: {known}"
        raise not_found(msg)
    return tag


def _addressed(registry: Registry, body: ExecuteBody) -> Deployment:
    """Return the deployment that a request means."""
    id_, name = body.workflow_deployment_id, body.workflow_deployment_name
    if id_ is None and name is None:
        msg = "Give either workflow_deployment_id or workflow_deployment_name"
        raise bad_request(msg)
    if id_ is None:
        return registry.named(str(name))
    deployment = registry.with_id(id_)
    if name is not None and name != deployment.name:
        msg = (
            f"workflow_deployment_id belongs to {deployment.name!r}, "
            f"but workflow_deployment_name is {name!r}; give one of the two"
        )
        raise bad_request(msg)
    return deployment


def _trace_id(given: Any) -> str:
    """Return the trace that a workflow goes on which runs inside another."""
    try:
        return str(uuid.UUID(given)) if isinstance(given, str) else str(uuid.uuid4())
    except ValueError:
        return str(uuid.uuid4())
