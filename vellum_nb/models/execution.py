"""Execute Workflow: request and reply, as on the wire.

Source: https://docs.vellum.ai/developers/client-sdk/workflows/execute-workflow
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, TypeVar

from pydantic import AfterValidator, Field

from vellum_nb.models.base import Model, Moment, Reply

__all__ = [
    "ExecuteWorkflowRequest",
    "ExecuteWorkflowResponse",
    "ExpandMeta",
    "MlModelUsage",
    "MlModelUsageWrapper",
    "Price",
    "PromptNodeExecutionMeta",
    "WorkflowEventError",
    "WorkflowExecutionUsageResult",
    "WorkflowInput",
    "WorkflowOutput",
    "WorkflowResult",
]

NonEmpty = Annotated[str, Field(min_length=1)]
N = TypeVar("N", int, float)
_BEYOND = 10**15


class WorkflowInput(Model):
    """One typed input: `type` is one of STRING, NUMBER, JSON, CHAT_HISTORY, IMAGE and so on."""

    name: NonEmpty
    type: str
    value: Any = None


class ExpandMeta(Model):
    """Which figures of prompt nodes the server adds to its reply."""

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


def _sane(figure: N | None) -> N | None:
    """Return a figure that can be added up; None for NaN and for what no bill has."""
    return figure if figure is not None and abs(figure) < _BEYOND else None


Count = Annotated[int | None, AfterValidator(_sane)]
Amount = Annotated[float | None, AfterValidator(_sane)]


class MlModelUsage(Reply):
    """What one model used; None where the server does not report it."""

    output_token_count: Count = None
    input_token_count: Count = None
    input_char_count: Count = None
    output_char_count: Count = None
    compute_nanos: Count = None
    cache_creation_input_tokens: Count = None
    cache_read_input_tokens: Count = None


class MlModelUsageWrapper(Reply):
    """What the model of a name used."""

    ml_model_name: str = ""
    ml_model_usage: MlModelUsage = MlModelUsage()


class Price(Reply):
    """An amount of money; `unit` is USD."""

    value: Amount = None
    unit: str = "USD"


class PromptNodeExecutionMeta(Reply):
    """What a prompt node used, as far as `ExpandMeta` requested it."""

    usage: MlModelUsage | None = None
    cost: Price | None = None
    model_name: str | None = None


class WorkflowExecutionUsageResult(Reply):
    """What an execution, or one span of it, used; it may be calculated later, or not at all."""

    usage: tuple[MlModelUsageWrapper, ...] | None = None
    cost: tuple[Price, ...] | None = None
    error: WorkflowEventError | None = None
