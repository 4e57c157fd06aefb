"""Execution requests and their parent contexts."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import BaseModel, Field, ValidationError, field_validator

from vellum_nb.local.deployments.releases import Deployment, Release, Tag
from vellum_nb.local.deployments.sources import local_module
from vellum_nb.local.ledger.ledger import ExecutionRecord, storable
from vellum_nb.local.refusals import bad_request
from vellum_nb.models import WorkflowInput

__all__ = [
    "ExecutionRequest",
    "derived_id",
    "outer_context",
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
