"""Executions that run or have run, their ratings, and uploaded files, as on the wire.

Source: https://docs.vellum.ai/developers/client-sdk
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from vellum_nb.models.base import Model, Moment, Reply
from vellum_nb.models.events import ParentContext, VellumSpan
from vellum_nb.models.execution import (
    WorkflowEventError,
    WorkflowExecutionUsageResult,
    WorkflowOutput,
)

__all__ = [
    "ActualRequest",
    "CheckWorkflowExecutionStatusResponse",
    "ExecuteWorkflowAsyncResponse",
    "MetricResult",
    "SlimWorkflowExecutionRead",
    "UploadedFileRead",
    "WorkflowEventExecutionRead",
    "WorkflowExecutionActual",
    "WorkflowExecutionDetail",
    "WorkflowResolvedState",
]


class ExecuteWorkflowAsyncResponse(Reply):
    """Reply of POST /v1/execute-workflow-async."""

    execution_id: Annotated[str, Field(min_length=1)]


class CheckWorkflowExecutionStatusResponse(Reply):
    """The status of an execution; `outputs` by name, as plain values."""

    status: str
    execution_id: str
    outputs: Mapping[str, Any] | None = None
    error: WorkflowEventError | None = None
    execution_detail_url: str | None = None

    @property
    def ended(self) -> bool:
        """Whether it is FULFILLED or REJECTED."""
        return self.status in {"FULFILLED", "REJECTED"}


class ActualRequest(Model):
    """A rating of an output: its quality, and what it should have been.

    Name the output by `output_key` (its name) or `output_id`. `quality` is from 0 to 1.
    """

    output_type: Literal["STRING", "JSON", "CHAT_HISTORY"] = "STRING"
    output_key: Annotated[str, Field(min_length=1)] | None = None
    output_id: str | None = None
    quality: Annotated[float, Field(ge=0, le=1)] | None = None
    desired_output_value: Any = None
    metadata: Mapping[str, Any] | None = None
    timestamp: float | None = None


class WorkflowExecutionActual(Reply):
    """A rating of an output: `output` is what it should have been."""

    output: WorkflowOutput | None = None
    timestamp: Moment | None = None
    quality: float | None = None
    metadata: Mapping[str, Any] | None = None


class MetricResult(Reply):
    """What an online evaluation found."""

    outputs: tuple[WorkflowOutput, ...] = ()
    label: str = ""
    metric_id: str = ""


class _Execution(Reply):
    span_id: str
    start: Moment | None = None
    end: Moment | None = None
    inputs: tuple[WorkflowOutput, ...] = ()
    outputs: tuple[WorkflowOutput, ...] = ()
    error: WorkflowEventError | None = None
    usage_results: tuple[WorkflowExecutionUsageResult, ...] | None = None
    parent_context: ParentContext | None = None

    @property
    def execution_id(self) -> str:
        """The execution id, which is the id of its span."""
        return self.span_id

    @property
    def status(self) -> str:
        """REJECTED with an error, FULFILLED with an end, INITIATED while it runs."""
        if self.error is not None:
            return "REJECTED"
        return "INITIATED" if self.end is None else "FULFILLED"

    @property
    def duration_s(self) -> float | None:
        """Seconds from start to end; None while one of the two is unknown."""
        if self.start is None or self.end is None:
            return None
        return (self.end - self.start).total_seconds()


class SlimWorkflowExecutionRead(_Execution):
    """One execution in a list. `parent_context` names the release."""

    latest_actual: WorkflowExecutionActual | None = None
    metric_results: tuple[MetricResult, ...] = ()


class WorkflowEventExecutionRead(SlimWorkflowExecutionRead):
    """One execution with its spans; `state` holds the workflow's state variables."""

    spans: tuple[VellumSpan, ...] = ()
    state: Mapping[str, Any] | None = None


class WorkflowExecutionDetail(_Execution):
    """One execution by its id alone, with its spans, page by page."""

    spans: tuple[VellumSpan, ...] = ()
    state: Mapping[str, Any] | None = None


class WorkflowResolvedState(Reply):
    """The state variables of a workflow when it ended."""

    span_id: str
    trace_id: str = ""
    timestamp: Moment | None = None
    state: Mapping[str, Any] = Field(default_factory=dict)
    previous_span_id: str | None = None
    previous_trace_id: str | None = None
    root_span_id: str | None = None
    root_trace_id: str | None = None


class UploadedFileRead(Reply):
    """An uploaded file; `file_url` serves it for a while."""

    id: str
    file_url: str | None = None

    @property
    def src(self) -> str:
        """The address that media inputs name it by."""
        return f"vellum:uploaded-file:{self.id}"
