"""Execution requests: bodies, addressed releases and parent contexts."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, ConfigDict, Field

from vellum_nb.local.deployments.registry import LATEST, Deployment, Registry, Release
from vellum_nb.local.deployments.sources import local_module
from vellum_nb.local.engine.events import new_id, to_json
from vellum_nb.local.ledger import ExecutionRecord, storable
from vellum_nb.local.refusals import Refused
from vellum_nb.models import WorkflowInput
from vellum_nb.models.base import Model
from vellum_nb.models.contract import ExecuteWorkflowRequest, ParentContext
from vellum_nb.models.inputs import wire_type

_MAX_DEPTH = 50  # contexts inside each other
_CONTEXTS: Mapping[Any, tuple[str, ...]] = {  # type -> fields that it must have
    "WORKFLOW_NODE": ("node_definition",),
    "WORKFLOW": ("workflow_definition",),
    "WORKFLOW_RELEASE_TAG": (
        "deployment_id",
        "deployment_name",
        "deployment_history_item_id",
        "release_tag_id",
        "release_tag_name",
        "workflow_version_id",
    ),
    "API_REQUEST": (),
    "EXTERNAL": (),
}
_MAX_METADATA = 256 * 1024  # bytes of JSON


def _check_metadata(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    try:
        size = len(to_json(metadata))
    except RecursionError:
        return metadata  # refused when it is recorded
    if size > _MAX_METADATA:
        msg = f"at most {_MAX_METADATA:,} bytes of JSON are allowed, not {size:,}"
        raise ValueError(msg)
    return metadata


ShortText = Annotated[str, Field(min_length=1, max_length=1000)]
"""A name, tag or id in a request."""
Metadata = Annotated[Mapping[str, Any], AfterValidator(_check_metadata)]


class _Bounded(Model):
    release_tag: ShortText | None = None
    external_id: ShortText | None = None
    metadata: Metadata | None = None
    previous_execution_id: ShortText | None = None


class ExecuteBody(_Bounded, ExecuteWorkflowRequest):
    """Fields of a request with typed inputs; `execution_context` is sent by nodes.

    `node_output_mocks` in the metadata, an addition of ours, has the form of a dataset row's mocks
    in a push.
    """

    model_config = ConfigDict(title="ExecuteWorkflowRequest")

    workflow_deployment_id: ShortText | None = None
    workflow_deployment_name: ShortText | None = None
    execution_context: Mapping[str, Any] | None = None


class ExecuteWorkflowStreamRequest(ExecuteBody):
    """Body of POST /v1/execute-workflow-stream."""

    model_config = ConfigDict(title="ExecuteWorkflowStreamRequest")

    event_types: tuple[Literal["NODE", "WORKFLOW"], ...] = ("WORKFLOW",)


class DeploymentExecuteStreamRequest(_Bounded):
    """Body of POST /v1/workflow-deployments/{id}/execute-stream."""

    inputs: Mapping[ShortText, Any] = Field(default_factory=dict)
    trigger: ShortText | None = None


class ExecutionRequest(NamedTuple):
    """Request to execute a release: the new execution and its code."""

    record: ExecutionRecord
    release: Release
    trigger: str | None = None
    mocks: tuple[Mapping[str, Any], ...] = ()


def parse_request(registry: Registry, body: ExecuteBody) -> ExecutionRequest:
    """Return the request of a body with typed inputs."""
    context = body.execution_context or {}
    trace_id = new_id()
    with suppress(ValueError):
        trace_id = str(uuid.UUID(str(context.get("trace_id"))))
    mocks = (body.metadata or {}).get("node_output_mocks") or []
    if not isinstance(mocks, list) or not all(isinstance(mock, Mapping) for mock in mocks):
        raise Refused(400, "metadata.node_output_mocks is a list of objects: node_id, then_outputs")
    deployment, parent = _addressed(registry, body), outer_context(context.get("parent_context"))
    release, fields = _release_and_fields(deployment, body)
    record = ExecutionRecord(**fields, trace_id=trace_id, inputs=body.inputs, parent=parent)
    return ExecutionRequest(record, release, mocks=tuple(mocks))


def parse_stream_request(
    deployment: Deployment, body: DeploymentExecuteStreamRequest
) -> ExecutionRequest:
    """Return the request of a body with plain values; the input variables give their types."""
    release, fields = _release_and_fields(deployment, body)
    types = {variable.key: wire_type(variable) for variable in release.input_variables}
    inputs = tuple(
        WorkflowInput(name=name, type=types.get(name, "JSON"), value=value)
        for name, value in body.inputs.items()
    )
    record = ExecutionRecord(**fields, trace_id=new_id(), inputs=inputs)
    return ExecutionRequest(record, release, body.trigger)


def _release_and_fields(deployment: Deployment, body: _Bounded) -> tuple[Release, dict[str, Any]]:
    tag = deployment.tag(body.release_tag or LATEST)
    release = deployment.release(tag.release_id)
    return release, {
        "execution_id": new_id(),
        "deployment_id": deployment.id,
        "deployment_name": deployment.name,
        "release_id": release.id,
        "version_id": release.version_id,
        "tag": tag.name,
        "start": datetime.now(UTC),
        "external_id": body.external_id,
        "metadata": body.metadata,
        "previous_execution_id": body.previous_execution_id,
    }


def _addressed(registry: Registry, body: ExecuteBody) -> Deployment:
    id_, name = body.workflow_deployment_id, body.workflow_deployment_name
    if id_ is None and name is None:
        raise Refused(400, "Give either workflow_deployment_id or workflow_deployment_name")
    deployment = registry.get(id_ or str(name))
    if id_ not in {None, deployment.id}:
        raise Refused(404, f"No deployment has the id {id_!r:.160}")
    if name not in {None, deployment.name} and id_ is not None:
        msg = (
            f"workflow_deployment_id belongs to {deployment.name!r}, "
            f"but workflow_deployment_name is {name!r:.160}; give one of the two"
        )
        raise Refused(400, msg)
    return deployment


def release_context(record: ExecutionRecord) -> dict[str, Any]:
    """Return the parent context of an execution: its release tag, within a request or a node."""
    request = {
        "type": "API_REQUEST",
        "span_id": derived_id(record.execution_id, "request"),
        "api_actor_id": None,
        "api_actor_type": "ENVIRONMENT_API_KEY",
        "api_actor_label": None,
        "links": None,
        "parent": None,
    }
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
        "parent": request if record.parent is None else dict(record.parent),
    }


def outer_context(sent: Any) -> dict[str, Any] | None:
    """Return the context of the outer node, as sent by nodes of Vellum's SDK.

    None if it does not match the contract, which clients validate strictly.
    """
    depth, context = 0, sent
    while isinstance(context, dict):
        depth, context = depth + 1, context.get("parent")
        if depth > _MAX_DEPTH:
            msg = "It would run inside of too many other workflows; does its deployment run itself?"
            raise Refused(400, msg)
    with suppress(ValueError, TypeError, LookupError, AttributeError):
        return _known_context(sent) if sent["type"] == "WORKFLOW_NODE" else None
    return None


def _known_context(context: Any) -> dict[str, Any] | None:
    """Return a context with the fields of its type; raise if they do not match the contract."""
    if not isinstance(context, dict):
        return None
    kind = context["type"]
    content = {name: context[name] for name in ("type", "span_id", *_CONTEXTS[kind])}
    for name, value in content.items():
        if name.endswith("_id"):
            uuid.UUID(value)
        elif name.endswith("_definition"):
            uuid.UUID(value["id"])
            module = local_module(".".join(value["module"])).split(".")
            content[name] = {"id": value["id"], "name": value["name"], "module": module}
    if kind == "WORKFLOW_RELEASE_TAG":
        content |= {name: context.get(name) for name in ("external_id", "metadata")}
    ParentContext.model_validate(content)
    return {**content, "links": None, "parent": _known_context(context.get("parent"))}


def derived_id(*parts: str) -> str:
    """Return a UUID derived from `parts`."""
    return str(uuid.uuid5(uuid.NAMESPACE_OID, storable("\n".join(parts))))
