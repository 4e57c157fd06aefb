"""From the events of the Workflows SDK to ours."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from vellum_nb.local.engine import events as names
from vellum_nb.local.engine.events import Event, RunContext
from vellum_nb.local.engine.inputs import non_finite_path, typed_output
from vellum_nb.local.sdk.bodies import BODIES, body_of, definition_of, parent_of
from vellum_nb.local.sdk.kinds import kind_of_node
from vellum_nb.models import VellumVariable, WorkflowOutput

__all__ = ["Teller"]

_PAUSED = "workflow.execution.paused"


class Teller:
    """Tells what the SDK says about one run, and that it ended, exactly once.

    Nodes inside of maps and inline workflows are told too, with the outer node as their parent;
    the workflows that hold them are not told, so that the one that ends is the one that runs.
    Snapshots of the state are left out.
    """

    def __init__(
        self, definition: type, outputs: Mapping[str, VellumVariable], context: RunContext
    ) -> None:
        self._definition = definition_of(definition)
        self._outputs = outputs
        self._context = context
        self._complete: set[str] = set()
        self._inside: dict[str, list[tuple[int, str]]] = {}
        self.begun = False
        self.ended = False

    def tell(self, event: Any) -> Iterator[Event]:
        """Return what an event of the SDK says."""
        if self.ended:
            return
        if event.name.startswith("node.") and event.name in BODIES:
            yield self._node(event)
        elif str(event.span_id) == self._context.execution_id:
            yield from self._workflow(event)
        elif event.name == names.WORKFLOW_INITIATED and event.parent is not None:
            place = getattr(event.inputs, "index", None)  # of an item of a map, which has no order
            inside = self._inside.setdefault(str(event.parent.span_id), [])
            number = place if isinstance(place, int) else len(inside)
            inside.append((number, str(event.span_id)))

    def begin(self, inputs: Mapping[str, Any]) -> Event:
        """Say that the run began, where the SDK did not come so far."""
        self.begun = True
        return self._own(names.WORKFLOW_INITIATED, {"inputs": dict(inputs), "trigger": None})

    def reject(self, code: str, message: str, stacktrace: str | None = None) -> Event:
        """Say that the run failed."""
        self.ended = True
        error = {"code": code, "message": message, "raw_data": None}
        return self._own(names.WORKFLOW_REJECTED, {"error": error, "stacktrace": stacktrace})

    def _workflow(self, event: Any) -> Iterator[Event]:
        if event.name == names.WORKFLOW_STREAMING:
            yield from self._streaming(event)
        elif event.name == names.WORKFLOW_FULFILLED:
            yield from self._fulfilled(event)
        elif event.name == _PAUSED:
            msg = "The workflow waits for an input from outside, which cannot be given here"
            yield self.reject("INVALID_STATE", msg)
        elif event.name in BODIES:
            self.begun = True
            self.ended = event.name == names.WORKFLOW_REJECTED
            yield self._own(event.name, body_of(event), event)

    def _streaming(self, event: Any) -> Iterator[Event]:
        body = body_of(event)
        output = body.get("output") or {}
        name = output.get("name")
        if name is None:
            return  # it holds what JSON cannot carry; the run is rejected for it when it ends
        if "value" in output:
            self._complete.add(name)
        elif self._type(name) != "STRING" or not isinstance(output.get("delta", ""), str):
            return  # only text grows; a map streams the states of its items
        yield self._own(event.name, body, event, (self._typed(name, output.get("value")),))

    def _fulfilled(self, event: Any) -> Iterator[Event]:
        body = body_of(event)
        outputs = body.get("outputs")
        problem = "The outputs hold what JSON cannot carry" if outputs is None else ""
        places = (non_finite_path(value, reference.name) for reference, value in event.outputs)
        if where := next(filter(None, places), ""):
            problem = f"The output {where!r} is not a finite number, which JSON has not"
        if problem:
            yield self.reject("INVALID_OUTPUTS", problem)
            return
        for name, value in (outputs or {}).items():
            if name not in self._complete:
                told = {"output": {"name": name, "value": value}}
                yield self._own(names.WORKFLOW_STREAMING, told, None, (self._typed(name, value),))
        self.ended = True
        typed = tuple(self._typed(name, value) for name, value in (outputs or {}).items())
        yield self._own(event.name, body, event, typed)

    def _node(self, event: Any) -> Event:
        kind = kind_of_node(event.node_definition)
        used = kind == "PROMPT" and event.name == names.NODE_FULFILLED
        return Event(
            name=event.name,
            span_id=str(event.span_id),
            trace_id=self._context.trace_id,
            body=body_of(event),
            parent=parent_of(event),
            kind=kind,
            usage=self._context.usage(str(event.span_id)) if used else (),
            execution_ids=self._inner(event),
            source_execution_id=self._source(event),
            id=str(event.id),
            timestamp=_utc(event),
        )

    def _inner(self, event: Any) -> tuple[str, ...]:
        """Return the inner workflows that a node that ends has run, in the order of its items."""
        if event.name not in {names.NODE_FULFILLED, names.NODE_REJECTED}:
            return ()
        return tuple(span for _, span in sorted(self._inside.pop(str(event.span_id), [])))

    def _source(self, event: Any) -> str | None:
        if event.parent is None or event.parent.type != "WORKFLOW":
            return None
        span = str(event.parent.span_id)
        return None if span == self._context.execution_id else span

    def _own(
        self,
        name: str,
        body: Mapping[str, Any],
        event: Any = None,
        outputs: tuple[WorkflowOutput, ...] = (),
    ) -> Event:
        known: dict[str, Any] = {} if event is None else {"timestamp": _utc(event)}
        return Event(
            name=name,
            span_id=self._context.execution_id,
            trace_id=self._context.trace_id,
            body={"workflow_definition": self._definition, **body},
            parent=self._context.parent,
            outputs=outputs,
            **known,
        )

    def _type(self, name: str) -> str:
        declared = self._outputs.get(name)
        return declared.type if declared is not None else "JSON"

    def _typed(self, name: str, value: Any) -> WorkflowOutput:
        return typed_output(self._outputs, name, value)


def _utc(event: Any) -> datetime:
    """Return when an event happened; the SDK tells the local time, without its zone."""
    when: datetime = event.timestamp
    return when.astimezone(UTC)
