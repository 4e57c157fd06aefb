"""Execution requests: parsing, addressing and parent contexts."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from vellum_nb.local.deployments.registry import Registry
from vellum_nb.local.deployments.releases import LATEST, Deployment, Release, Tag
from vellum_nb.local.deployments.sources import local_module
from vellum_nb.local.engine.inputs import WIRE_TYPES
from vellum_nb.local.ledger.ledger import ExecutionRecord, storable
from vellum_nb.local.refusals import bad_request, not_found
from vellum_nb.models import ExecuteWorkflowRequest, WorkflowInput
from vellum_nb.models.base import Model

__all__ = [
    "ExecutionRequest",
    "DeploymentExecuteStreamRequest",
    "ExecuteBody",
    "ExecuteWorkflowStreamRequest",
    "derived_id",
    "get_tag",
    "outer_context",
    "parse_request",
    "parse_stream_request",
    "release_context",
]

_DEEPEST = 50  # contexts inside of each other


def release_context(record: ExecutionRecord) -> dict[str, Any]:
    """Return what an execution was started by: a release tag, by a request or by a node."""
    return {
        "type": "WORKFLOW_RELEASE_TAG",
        "span_id": derived_id(record.execution_id, "release tag"),
        "deployment_id": record.deployment_id,
        "deployment_name": record.deployment_name,
        "deployment_history_item_id": record.release_id,
        "release_tag_id": derived_id(record.deployment_id, record.tag),
        "release_tag_name": record.tag,
        "workflow_version_id": record.version_id,
        "external_id": record.external_id,
        "metadata": None if record.metadata is None else dict(record.metadata),
        "links": None,
        "parent": _request(record) if record.parent is None else dict(record.parent),
    }


def outer_context(given: Any) -> dict[str, Any] | None:
    """Return the context of the node that runs a workflow, as nodes of Vellum's SDK send it.

    None if it is not one that the contract knows: readers of the contract are strict about it.

    Raises
    ------
    VellumNBError
        When it is inside of so many others that it may never end.

    Examples
    --------
    >>> outer_context({"type": "NEW", "span_id": "?"}) is None
    True
    """
    if _depth(given) > _DEEPEST:
        msg = "It would run inside of too many other workflows; does its deployment run itself?"
        raise bad_request(msg)
    try:
        return _Node.model_validate(given).model_dump(mode="json")
    except ValidationError:
        return None


def derived_id(*parts: str) -> str:
    """Return a UUID that is the same for the same parts."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, storable("\n".join(parts))))


def _request(record: ExecutionRecord) -> dict[str, Any]:
    return {
        "type": "API_REQUEST",
        "span_id": derived_id(record.execution_id, "request"),
        "api_actor_id": None,
        "api_actor_type": "ENVIRONMENT_API_KEY",
        "api_actor_label": None,
        "links": None,
        "parent": None,
    }


def _depth(context: Any) -> int:
    depth = 0
    while isinstance(context, dict) and depth <= _DEEPEST:
        context = context.get("parent")
        depth += 1
    return depth


class _Definition(BaseModel):
    id: uuid.UUID
    name: str
    module: list[str]

    @field_validator("module")
    @classmethod
    def _own_name(cls, module: list[str]) -> list[str]:
        return local_module(".".join(module)).split(".")


class _Context(BaseModel):
    span_id: uuid.UUID
    parent: _Parent | None = None
    links: None = None

    @field_validator("links", mode="before")
    @classmethod
    def _no_links(cls, _: Any) -> None:
        return None


class _Node(_Context):
    type: Literal["WORKFLOW_NODE"]
    node_definition: _Definition


class _Workflow(_Context):
    type: Literal["WORKFLOW"]
    workflow_definition: _Definition


class _ReleaseTag(_Context):
    type: Literal["WORKFLOW_RELEASE_TAG"]
    deployment_id: uuid.UUID
    deployment_name: str
    deployment_history_item_id: uuid.UUID
    release_tag_id: uuid.UUID
    release_tag_name: str
    workflow_version_id: uuid.UUID
    external_id: str | None = None
    metadata: dict[str, Any] | None = None


class _Request(_Context):
    type: Literal["API_REQUEST"]
    api_actor_id: str | None = None
    api_actor_type: str | None = None
    api_actor_label: str | None = None


class _External(_Context):
    type: Literal["EXTERNAL"]


_Parent = Annotated[
    _Node | _Workflow | _ReleaseTag | _Request | _External, Field(discriminator="type")
]


NonEmpty = Annotated[str, Field(min_length=1)]


@dataclass(frozen=True, slots=True)
class ExecutionRequest:
    """What is to be run, and what is known about it."""

    deployment: Deployment
    tag: Tag
    release: Release
    inputs: tuple[WorkflowInput, ...]
    external_id: str | None = None
    metadata: Mapping[str, Any] | None = None
    previous_execution_id: str | None = None
    trigger: str | None = None
    parent: Mapping[str, Any] | None = None
    trace_id: str = field(default_factory=lambda: str(uuid.uuid4()))


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


def parse_request(registry: Registry, body: ExecuteBody) -> ExecutionRequest:
    """Return what a request to execute a workflow orders."""
    deployment = _addressed(registry, body)
    tag = get_tag(deployment, body.release_tag or LATEST)
    context = body.execution_context or {}
    return ExecutionRequest(
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


def parse_stream_request(
    registry: Registry, deployment: Deployment, body: DeploymentExecuteStreamRequest
) -> ExecutionRequest:
    """Return what a request with plain values orders; the input variables say their types."""
    tag = get_tag(deployment, body.release_tag or LATEST)
    release = registry.release(deployment, tag.release_id)
    types = {v.key: v.type for v in release.input_variables if v.type in WIRE_TYPES}
    return ExecutionRequest(
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


def get_tag(deployment: Deployment, name: str) -> Tag:
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
