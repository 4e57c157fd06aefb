"""Execute Workflow: request and reply, as on the wire.

Source: https://docs.vellum.ai/developers/client-sdk/workflows/execute-workflow
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any

from pydantic import Field

from vellum_nb.models.base import Model, Moment, Reply

__all__ = [
    "ExecuteWorkflowRequest",
    "ExecuteWorkflowResponse",
    "ExpandMeta",
    "WorkflowEventError",
    "WorkflowInput",
    "WorkflowOutput",
    "WorkflowResult",
]

NonEmpty = Annotated[str, Field(min_length=1)]


class WorkflowInput(Model):
    """One typed input: `type` is one of STRING, NUMBER, JSON, CHAT_HISTORY, IMAGE and so on."""

    name: NonEmpty
    type: str
    value: Any = None


class ExpandMeta(Model):
    """Which figures of prompt nodes the server is asked to add."""

    usage: bool | None = None
    cost: bool | None = None
    model_name: bool | None = None


class ExecuteWorkflowRequest(Model):
    """Body of POST /v1/execute-workflow. A null field counts as absent."""

    inputs: tuple[WorkflowInput, ...]
    expand_meta: ExpandMeta | None = None
    workflow_deployment_id: str | None = None
    workflow_deployment_name: NonEmpty | None = None
    release_tag: NonEmpty | None = None
    external_id: NonEmpty | None = None
    metadata: Mapping[str, Any] | None = None
    previous_execution_id: str | None = None


class WorkflowOutput(Reply):
    """One typed output. An unknown `type` or a missing `value` is kept as it came."""

    id: str = ""
    name: str
    type: str = "JSON"
    value: Any = None


class WorkflowEventError(Reply):
    """Why a run was rejected."""

    message: str = ""
    code: str = "INTERNAL_SERVER_ERROR"
    raw_data: Any = None
    stacktrace: str | None = None


class WorkflowResult(Reply):
    """How a run ended: `state` is FULFILLED with outputs or REJECTED with an error."""

    id: str = ""
    state: str
    ts: Moment | None = None
    outputs: tuple[WorkflowOutput, ...] = ()
    error: WorkflowEventError | None = None


class ExecuteWorkflowResponse(Reply):
    """Reply of POST /v1/execute-workflow."""

    execution_id: str
    external_id: str | None = None
    run_id: str | None = None
    data: WorkflowResult
