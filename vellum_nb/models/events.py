"""Workflow events and spans, as on the wire. Kinds that we do not know are kept as they come.

Source: https://docs.vellum.ai/developers/client-sdk/workflows/execute-stream
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pydantic import Field

from vellum_nb.models.base import Moment, Reply, validated
from vellum_nb.models.execution import WorkflowEventError, WorkflowExecutionUsageResult

__all__ = [
    "ParentContext",
    "SpanAttributes",
    "VellumCodeResourceDefinition",
    "VellumSpan",
    "WorkflowEvent",
]

_ENDS = frozenset(
    {"workflow.execution.fulfilled", "workflow.execution.rejected", "workflow.execution.paused"}
)


class VellumCodeResourceDefinition(Reply):
    """A workflow, node or trigger, as code names it."""

    id: str = ""
    name: str = ""
    module: tuple[str, ...] = ()


class ParentContext(Reply):
    """The parent of an execution or event; its fields follow from `type`.

    WORKFLOW_RELEASE_TAG names the release that ran; WORKFLOW and WORKFLOW_NODE are what an event
    is inside of; API_REQUEST and the like are the origin.
    """

    type: str = ""
    span_id: str = ""
    parent: ParentContext | None = None
    links: tuple[Mapping[str, Any], ...] | None = None
    workflow_definition: VellumCodeResourceDefinition | None = None
    node_definition: VellumCodeResourceDefinition | None = None
    deployment_id: str | None = None
    deployment_name: str | None = None
    deployment_history_item_id: str | None = None
    release_tag_id: str | None = None
    release_tag_name: str | None = None
    workflow_version_id: str | None = None
    external_id: str | None = None
    metadata: Mapping[str, Any] | None = None
    api_actor_id: str | None = None
    api_actor_type: str | None = None
    api_actor_label: str | None = None


class WorkflowEvent(Reply):
    """One event of an execution: `name` is such as ``node.execution.fulfilled``.

    The workflow's own events have the execution id as their `span_id`.

    Examples
    --------
    >>> event = WorkflowEvent.model_validate(
    ...     {
    ...         "name": "workflow.execution.streaming",
    ...         "body": {"output": {"name": "answer", "delta": "He"}},
    ...     }
    ... )
    >>> event.output_name, event.delta, event.ends
    ('answer', 'He', False)
    """

    name: str
    body: Mapping[str, Any] = Field(default_factory=dict)
    id: str = ""
    timestamp: Moment | None = None
    api_version: str | None = None
    trace_id: str = ""
    span_id: str = ""
    parent: ParentContext | None = None
    links: tuple[Mapping[str, Any], ...] | None = None

    @property
    def state(self) -> str:
        """The last word of its name as a state: INITIATED, STREAMING, FULFILLED and so on."""
        return self.name.rpartition(".")[2].upper()

    @property
    def definition(self) -> VellumCodeResourceDefinition:
        """The workflow or the node of the event."""
        found = self.body.get("node_definition") or self.body.get("workflow_definition")
        return validated(VellumCodeResourceDefinition, found) or VellumCodeResourceDefinition()

    @property
    def output_name(self) -> str | None:
        """The name of the output that grows, in a streaming event."""
        return self._output.get("name")

    @property
    def delta(self) -> Any:
        """What the output `output_name` grows by; None where it begins or is complete."""
        return self._output.get("delta")

    @property
    def outputs(self) -> Mapping[str, Any]:
        """The outputs by name, in a fulfilled event."""
        found = self.body.get("outputs")
        return found if isinstance(found, Mapping) else {}

    @property
    def error(self) -> WorkflowEventError | None:
        """Why it was rejected."""
        return validated(WorkflowEventError, self.body.get("error"))

    @property
    def ends(self) -> bool:
        """Whether it ends a workflow: the whole execution, or a workflow inside of it."""
        return self.name in _ENDS

    @property
    def _output(self) -> Mapping[str, Any]:
        found = self.body.get("output")
        return found if isinstance(found, Mapping) else {}


class SpanAttributes(Reply):
    """What a span is of; `node_id` and `filepath` of a node, `workflow_id` of a workflow.

    `kind`, such as PROMPT, is what our local server adds.
    """

    label: str = ""
    filepath: str | None = None
    node_id: str | None = None
    workflow_id: str | None = None
    kind: str | None = None


class VellumSpan(Reply):
    """A workflow (``workflow.execution``) or node (``node.execution``) from start to end."""

    name: str = ""
    span_id: str
    parent_span_id: str | None = None
    start_ts: Moment | None = None
    end_ts: Moment | None = None
    events: tuple[WorkflowEvent, ...] = ()
    attributes: SpanAttributes = SpanAttributes()
    usage_result: WorkflowExecutionUsageResult | None = None
