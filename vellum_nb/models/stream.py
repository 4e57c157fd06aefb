"""Execute Workflow as Stream: its events, as on the wire.

The schema of events that are not the workflow's own may change, as Vellum says: nothing in a NODE
event is needed, and what does not fit counts as absent.

Source: https://docs.vellum.ai/developers/client-sdk/workflows/execute-workflow-stream
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import (
    ValidationError,
    ValidationInfo,
    ValidatorFunctionWrapHandler,
    field_validator,
)

from vellum_nb.models.base import Moment, Reply, validated
from vellum_nb.models.execution import PromptNodeExecutionMeta, WorkflowEventError, WorkflowOutput

__all__ = [
    "WorkflowNodeResultData",
    "WorkflowNodeResultEvent",
    "WorkflowResultEvent",
    "WorkflowResultEventOutputData",
    "WorkflowStreamEvent",
]

_ENDS = frozenset({"FULFILLED", "REJECTED"})


class WorkflowResultEventOutputData(Reply):
    """The progress of one output: `state` is INITIATED, STREAMING with a `delta`, or FULFILLED."""

    id: str | None = None
    name: str = ""
    state: str = "STREAMING"
    node_id: str | None = None
    delta: str | None = None
    type: str = "STRING"
    value: Any = None


class WorkflowResultEvent(Reply):
    """The progress of a workflow: `outputs` come with FULFILLED, `error` with REJECTED."""

    id: str = ""
    state: str
    ts: Moment | None = None
    output: WorkflowResultEventOutputData | None = None
    error: WorkflowEventError | None = None
    outputs: tuple[WorkflowOutput, ...] = ()
    inputs: tuple[WorkflowOutput, ...] = ()


class WorkflowNodeResultData(Reply):
    """The data of a node of one `type` (PROMPT, TEMPLATING, MAP and so on)."""

    type: str = ""
    data: Mapping[str, Any] | None = None

    @property
    def execution_meta(self) -> PromptNodeExecutionMeta | None:
        """What a prompt node used, where it was requested and is known."""
        return validated(PromptNodeExecutionMeta, (self.data or {}).get("execution_meta"))


class WorkflowNodeResultEvent(Reply):
    """The progress of one node: `state` is INITIATED, STREAMING, FULFILLED or REJECTED.

    `node_name` and `parent_span_id` (the node it is inside of, or the execution) are what our
    local server adds; Vellum names nodes by `node_id` alone.
    """

    id: str = ""
    node_id: str = ""
    node_result_id: str = ""
    state: str = ""
    ts: Moment | None = None
    data: WorkflowNodeResultData | None = None
    source_execution_id: str | None = None
    input_values: tuple[Mapping[str, Any], ...] = ()
    output: Mapping[str, Any] | None = None
    output_index: int | None = None
    output_values: tuple[Mapping[str, Any], ...] = ()
    mocked: bool | None = None
    error: WorkflowEventError | None = None
    node_name: str | None = None
    parent_span_id: str | None = None

    @field_validator("*", mode="wrap")
    @classmethod
    def _misfit_is_absent(
        cls, value: Any, fit: ValidatorFunctionWrapHandler, info: ValidationInfo
    ) -> Any:
        try:
            return fit(value)
        except ValidationError:
            return cls.model_fields[str(info.field_name)].default


class WorkflowStreamEvent(Reply):
    """One event of a stream: of the workflow (`type` WORKFLOW) or of one of its nodes (NODE).

    Examples
    --------
    >>> output = {"name": "answer", "state": "STREAMING", "delta": "He", "type": "STRING"}
    >>> event = WorkflowStreamEvent.model_validate(
    ...     {
    ...         "execution_id": "e1",
    ...         "type": "WORKFLOW",
    ...         "data": {"state": "STREAMING", "output": output},
    ...     }
    ... )
    >>> event.state, event.output_name, event.delta, event.ends
    ('STREAMING', 'answer', 'He', False)
    """

    execution_id: str
    run_id: str | None = None
    external_id: str | None = None
    type: str = "WORKFLOW"
    data: WorkflowResultEvent | WorkflowNodeResultEvent

    @field_validator("data", mode="before")
    @classmethod
    def _by_type(cls, value: Any, info: ValidationInfo) -> Any:
        own = info.data.get("type") == "WORKFLOW"
        return (WorkflowResultEvent if own else WorkflowNodeResultEvent).model_validate(value)

    @property
    def state(self) -> str:
        """The state of the workflow, or of the node."""
        return self.data.state

    @property
    def output(self) -> WorkflowResultEventOutputData | None:
        """The progress of one output of the workflow, when the event is about one."""
        return self.data.output if isinstance(self.data, WorkflowResultEvent) else None

    @property
    def output_name(self) -> str | None:
        """The name of the workflow's output that the event is about."""
        return self.output.name if self.output else None

    @property
    def delta(self) -> str | None:
        """The text that the workflow's output `output_name` grows by; None in other events."""
        return self.output.delta if self.output else None

    @property
    def outputs(self) -> tuple[WorkflowOutput, ...]:
        """All outputs of the workflow; empty before it is FULFILLED."""
        return self.data.outputs if isinstance(self.data, WorkflowResultEvent) else ()

    @property
    def error(self) -> WorkflowEventError | None:
        """Why the workflow, or the node, was REJECTED."""
        return self.data.error

    @property
    def ends(self) -> bool:
        """Whether it is the last one of the execution."""
        return self.type == "WORKFLOW" and self.state in _ENDS
