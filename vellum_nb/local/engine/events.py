"""Events of an execution, in Vellum's terms, and the builders that make them."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

from vellum_nb.models import WorkflowInput, WorkflowOutput

__all__ = [
    "EXECUTION_CODES",
    "Event",
    "EventBuilder",
    "NODE_FULFILLED",
    "NODE_INITIATED",
    "NODE_REJECTED",
    "NODE_STREAMING",
    "NodeEventBuilder",
    "Rejection",
    "Usage",
    "WORKFLOW_FULFILLED",
    "WORKFLOW_INITIATED",
    "WORKFLOW_REJECTED",
    "WORKFLOW_STREAMING",
    "code_definition",
    "describe_exception",
    "event_error",
    "execution_code",
    "values_by_name",
]


def describe_exception(exc: BaseException) -> str:
    """Return its kind and what it says, even if it raises another one when it is asked for that.

    Examples
    --------
    >>> describe_exception(ValueError("no digits")), describe_exception(StopIteration())
    ('ValueError: no digits', 'StopIteration')
    """
    text = ""
    with suppress(BaseException):
        text = str(exc)
    return f"{type(exc).__name__}: {text}" if text else type(exc).__name__


# What an event says (Vellum's SDK code) -> what an execution says of the same error.
EXECUTION_CODES: Mapping[str, str] = MappingProxyType(
    {
        "INVALID_WORKFLOW": "WORKFLOW_INITIALIZATION",
        "INVALID_INPUTS": "INVALID_INPUTS",
        "INVALID_OUTPUTS": "NODE_EXECUTION",
        "INVALID_STATE": "NODE_EXECUTION",
        "INVALID_CODE": "NODE_EXECUTION",
        "INVALID_TEMPLATE": "INVALID_TEMPLATE",
        "INTERNAL_ERROR": "INTERNAL_SERVER_ERROR",
        "PROVIDER_CREDENTIALS_UNAVAILABLE": "PROVIDER_CREDENTIALS_UNAVAILABLE",
        "INTEGRATION_CREDENTIALS_UNAVAILABLE": "INTEGRATION_CREDENTIALS_UNAVAILABLE",
        "PROVIDER_ERROR": "LLM_PROVIDER",
        "PROVIDER_QUOTA_EXCEEDED": "PROVIDER_QUOTA_EXCEEDED",
        "USER_DEFINED_ERROR": "USER_DEFINED_ERROR",
        "WORKFLOW_CANCELLED": "WORKFLOW_CANCELLED",
        "WORKFLOW_TIMEOUT": "WORKFLOW_TIMEOUT",
        "NODE_CANCELLED": "NODE_CANCELLED",
        "NODE_TIMEOUT": "NODE_TIMEOUT",
        "NODE_EXECUTION": "NODE_EXECUTION",
    }
)


def execution_code(code: str) -> str:
    """Return the execution's code for an event's; one that is not known stays as it is.

    Examples
    --------
    >>> execution_code("PROVIDER_ERROR")
    'LLM_PROVIDER'
    """
    return EXECUTION_CODES.get(code, code)


WORKFLOW_INITIATED = "workflow.execution.initiated"
WORKFLOW_STREAMING = "workflow.execution.streaming"
WORKFLOW_FULFILLED = "workflow.execution.fulfilled"
WORKFLOW_REJECTED = "workflow.execution.rejected"
NODE_INITIATED = "node.execution.initiated"
NODE_STREAMING = "node.execution.streaming"
NODE_FULFILLED = "node.execution.fulfilled"
NODE_REJECTED = "node.execution.rejected"


@dataclass(frozen=True, slots=True)
class Usage:
    """What one call of a model used; `cost_usd` is None where the price is not known.

    `estimated`: the model did not count, the tokens are guessed from the length of the text.
    """

    model: str
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost_usd: float | None = None
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, with the keys of Vellum's ``WorkflowEvent``.

    Attributes
    ----------
    name : str
        Such as ``node.execution.fulfilled``.
    span_id : str
        Of the node; for the workflow's own events it is the execution id.
    body : mapping
        Plain JSON, with the keys that the contract gives to this name.
    parent : mapping, optional
        The parent context, plain JSON.
    outputs : tuple of WorkflowOutput
        Typed outputs: of a workflow's streaming event the one it tells of (with a value when it
        is complete), of its fulfilled event all.
    kind : str
        Of a node: PROMPT, TEMPLATING, CODE_EXECUTION and so on, as node results are called.
    usage : tuple of Usage
        Of a fulfilled prompt node: what it used.
    execution_ids : tuple of str
        Of a node that has ended: the executions that ran inside of it, in order.
    source_execution_id : str, optional
        Of a node inside of another one: the execution of the inner workflow.
    """

    name: str
    span_id: str
    trace_id: str
    body: Mapping[str, Any]
    parent: Mapping[str, Any] | None = None
    outputs: tuple[WorkflowOutput, ...] = ()
    kind: str = ""
    usage: tuple[Usage, ...] = ()
    execution_ids: tuple[str, ...] = ()
    source_execution_id: str | None = None
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    timestamp: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def ends(self) -> bool:
        """Whether it is the last one of the whole execution."""
        return self.name in {WORKFLOW_FULFILLED, WORKFLOW_REJECTED}

    def envelope(self) -> dict[str, Any]:
        """Return it as ``execute-stream`` and spans carry it."""
        return {
            "name": self.name,
            "body": dict(self.body),
            "id": self.id,
            "timestamp": self.timestamp.isoformat(),
            "api_version": "2025-07-30",
            "trace_id": self.trace_id,
            "span_id": self.span_id,
            "parent": None if self.parent is None else dict(self.parent),
            "links": None,
        }


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a run has no outputs; `code` is one of those of events."""

    code: str
    message: str
    stacktrace: str | None = None


def code_definition(id_: str, name: str, module: str = "") -> dict[str, Any]:
    """Return what an event calls the workflow or the node that it tells of."""
    return {"id": id_, "name": name, "module": module.split(".") if module else []}


def values_by_name(typed: Iterable[WorkflowInput | WorkflowOutput]) -> dict[str, Any]:
    """Return typed values by name."""
    return {each.name: each.value for each in typed}


def event_error(event: Event) -> dict[str, Any]:
    """Return the error of a rejected event, as an execution tells it."""
    error = event.body.get("error") or {}
    return {
        "message": error.get("message", ""),
        "code": execution_code(error.get("code", "INTERNAL_ERROR")),
        "raw_data": error.get("raw_data"),
        "stacktrace": event.body.get("stacktrace"),
    }


@dataclass(frozen=True, slots=True)
class EventBuilder:
    """Makes the workflow's own events of one execution."""

    execution_id: str
    trace_id: str
    workflow: Mapping[str, Any]
    parent: Mapping[str, Any] | None = None

    def initiated(self, inputs: Mapping[str, Any], trigger: str | None = None) -> Event:
        """Tell that it begins."""
        named = None if trigger is None else code_definition(trigger, trigger)
        return self._event(WORKFLOW_INITIATED, {"inputs": dict(inputs), "trigger": named})

    def begun(self, output: WorkflowOutput) -> Event:
        """Tell that an output begins to come."""
        return self._event(WORKFLOW_STREAMING, {"output": {"name": output.name}}, (output,))

    def grown(self, output: WorkflowOutput, delta: str) -> Event:
        """Tell more text of an output."""
        body = {"output": {"name": output.name, "delta": delta}}
        return self._event(WORKFLOW_STREAMING, body, (output,))

    def complete(self, output: WorkflowOutput) -> Event:
        """Tell the value of an output."""
        body = {"output": {"name": output.name, "value": output.value}}
        return self._event(WORKFLOW_STREAMING, body, (output,))

    def fulfilled(
        self, outputs: Sequence[WorkflowOutput], state: Mapping[str, Any] | None = None
    ) -> Event:
        """Tell that it is done."""
        body = {"outputs": values_by_name(outputs), "final_state": state, "server_metadata": None}
        return self._event(WORKFLOW_FULFILLED, body, tuple(outputs))

    def rejected(self, why: Rejection) -> Event:
        """Tell that it is rejected."""
        return self._event(WORKFLOW_REJECTED, _failure(why))

    def node(self, node: Mapping[str, Any], kind: str, span_id: str) -> NodeEventBuilder:
        """Return what makes the events of a node."""
        parent = {
            "type": "WORKFLOW",
            "span_id": self.execution_id,
            "workflow_definition": dict(self.workflow),
            "parent": self.parent,
            "links": None,
        }
        return NodeEventBuilder(self.trace_id, span_id, node, kind, parent)

    def _event(
        self, name: str, body: Mapping[str, Any], outputs: tuple[WorkflowOutput, ...] = ()
    ) -> Event:
        return Event(
            name=name,
            span_id=self.execution_id,
            trace_id=self.trace_id,
            body={"workflow_definition": self.workflow, **body},
            parent=self.parent,
            outputs=outputs,
        )


@dataclass(frozen=True, slots=True)
class NodeEventBuilder:
    """Makes the events of one run of a node."""

    trace_id: str
    span_id: str
    node: Mapping[str, Any]
    kind: str
    parent: Mapping[str, Any] | None = field(repr=False)
    source_execution_id: str | None = None

    @classmethod
    def of(cls, event: Event) -> NodeEventBuilder:
        """Return what goes on to tell of the node that `event` tells of."""
        node = event.body.get("node_definition", {})
        ids = event.trace_id, event.span_id
        return cls(*ids, node, event.kind, event.parent, event.source_execution_id)

    def initiated(self, inputs: Mapping[str, Any]) -> Event:
        """Tell that it begins."""
        return self._event(NODE_INITIATED, {"inputs": dict(inputs)})

    def fulfilled(self, outputs: Sequence[WorkflowOutput]) -> Event:
        """Tell that it is done."""
        body = {"outputs": values_by_name(outputs), "invoked_ports": None, "mocked": False}
        return self._event(NODE_FULFILLED, body, tuple(outputs))

    def rejected(self, why: Rejection) -> Event:
        """Tell that it failed."""
        return self._event(NODE_REJECTED, _failure(why))

    def _event(
        self, name: str, body: Mapping[str, Any], outputs: tuple[WorkflowOutput, ...] = ()
    ) -> Event:
        return Event(
            name=name,
            span_id=self.span_id,
            trace_id=self.trace_id,
            body={"node_definition": self.node, **body},
            parent=self.parent,
            outputs=outputs,
            kind=self.kind,
            source_execution_id=self.source_execution_id,
        )


def _failure(why: Rejection) -> dict[str, Any]:
    error = {"message": why.message, "code": why.code, "raw_data": None}
    return {"error": error, "stacktrace": why.stacktrace}
