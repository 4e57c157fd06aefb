"""Makes the events of one execution, with the keys that Vellum gives them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from vellum_nb.local.engine.codes import execution_code
from vellum_nb.local.engine.events import (
    NODE_FULFILLED,
    NODE_INITIATED,
    NODE_REJECTED,
    WORKFLOW_FULFILLED,
    WORKFLOW_INITIATED,
    WORKFLOW_REJECTED,
    WORKFLOW_STREAMING,
    Event,
)
from vellum_nb.models import WorkflowInput, WorkflowOutput

__all__ = ["NodeTeller", "Rejection", "Teller", "definition", "failure_of", "values_of"]


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a run has no outputs; `code` is one of those of events."""

    code: str
    message: str
    stacktrace: str | None = None


def definition(id_: str, name: str, module: str = "") -> dict[str, Any]:
    """Return what an event calls the workflow or the node that it tells of."""
    return {"id": id_, "name": name, "module": module.split(".") if module else []}


def values_of(typed: Iterable[WorkflowInput | WorkflowOutput]) -> dict[str, Any]:
    """Return typed values by name."""
    return {each.name: each.value for each in typed}


def failure_of(event: Event) -> dict[str, Any]:
    """Return the error of a rejected event, as an execution tells it."""
    error = event.body.get("error") or {}
    return {
        "message": error.get("message", ""),
        "code": execution_code(error.get("code", "INTERNAL_ERROR")),
        "raw_data": error.get("raw_data"),
        "stacktrace": event.body.get("stacktrace"),
    }


@dataclass(frozen=True, slots=True)
class Teller:
    """Makes the workflow's own events of one execution."""

    execution_id: str
    trace_id: str
    workflow: Mapping[str, Any]
    parent: Mapping[str, Any] | None = None

    def initiated(self, inputs: Mapping[str, Any], trigger: str | None = None) -> Event:
        """Tell that it begins."""
        named = None if trigger is None else definition(trigger, trigger)
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
        body = {"outputs": values_of(outputs), "final_state": state, "server_metadata": None}
        return self._event(WORKFLOW_FULFILLED, body, tuple(outputs))

    def rejected(self, why: Rejection) -> Event:
        """Tell that it is rejected."""
        return self._event(WORKFLOW_REJECTED, _failure(why))

    def node(self, node: Mapping[str, Any], kind: str, span_id: str) -> NodeTeller:
        """Return what makes the events of a node."""
        parent = {
            "type": "WORKFLOW",
            "span_id": self.execution_id,
            "workflow_definition": dict(self.workflow),
            "parent": self.parent,
            "links": None,
        }
        return NodeTeller(self.trace_id, span_id, node, kind, parent)

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
class NodeTeller:
    """Makes the events of one run of a node."""

    trace_id: str
    span_id: str
    node: Mapping[str, Any]
    kind: str
    parent: Mapping[str, Any] | None = field(repr=False)
    source_execution_id: str | None = None

    @classmethod
    def of(cls, event: Event) -> NodeTeller:
        """Return what goes on to tell of the node that `event` tells of."""
        node = event.body.get("node_definition", {})
        ids = event.trace_id, event.span_id
        return cls(*ids, node, event.kind, event.parent, event.source_execution_id)

    def initiated(self, inputs: Mapping[str, Any]) -> Event:
        """Tell that it begins."""
        return self._event(NODE_INITIATED, {"inputs": dict(inputs)})

    def fulfilled(self, outputs: Sequence[WorkflowOutput]) -> Event:
        """Tell that it is done."""
        body = {"outputs": values_of(outputs), "invoked_ports": None, "mocked": False}
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
