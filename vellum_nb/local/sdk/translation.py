"""Translates the events of the Workflows SDK to ours: plain JSON, with the keys of the contract."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from pydantic_core import PydanticSerializationError
from vellum.workflows.types.definition import serialize_type_encoder_with_id
from vellum.workflows.utils.module_path import normalize_module_path

from vellum_nb.local.engine import events as names
from vellum_nb.local.engine.events import Event, Rejection, RunContext, own_frames, to_json
from vellum_nb.local.engine.inputs import non_finite_path, typed_output
from vellum_nb.models import VellumVariable, WorkflowOutput

_PAUSED = "workflow.execution.paused"
_BODIES: dict[str, tuple[str, ...]] = {
    names.WORKFLOW_INITIATED: ("inputs", "trigger"),
    names.WORKFLOW_STREAMING: ("output",),
    names.WORKFLOW_FULFILLED: ("outputs", "final_state", "server_metadata"),
    names.WORKFLOW_REJECTED: ("error", "stacktrace"),
    names.NODE_INITIATED: ("inputs",),
    names.NODE_STREAMING: ("output",),
    names.NODE_FULFILLED: ("invoked_ports", "outputs", "mocked"),
    names.NODE_REJECTED: ("error", "stacktrace"),
    "node.execution.log": ("message", "severity", "attributes"),
}
_EMPTY: dict[str, Any] = {
    names.NODE_INITIATED: {"inputs": {}},
    names.NODE_STREAMING: {"output": {"name": ""}},
    names.NODE_FULFILLED: {"outputs": {}, "invoked_ports": None, "mocked": None},
}
# The stack trace of these would be that of the SDK's own threads.
_WITHOUT_STACK = frozenset({"WORKFLOW_CANCELLED", "WORKFLOW_TIMEOUT", "NODE_CANCELLED"})
_NODE_KINDS = {
    "BaseInlinePromptNode": "PROMPT",
    "BasePromptDeploymentNode": "PROMPT",
    "BasePromptNode": "PROMPT",
    "ToolCallingNode": "PROMPT",
    "TemplatingNode": "TEMPLATING",
    "CodeExecutionNode": "CODE_EXECUTION",
    "ConditionalNode": "CONDITIONAL",
    "BaseSearchNode": "SEARCH",
    "BaseAPINode": "API",
    "FinalOutputNode": "TERMINAL",
    "MergeNode": "MERGE",
    "MapNode": "MAP",
    "InlineSubworkflowNode": "SUBWORKFLOW",
    "SubworkflowDeploymentNode": "SUBWORKFLOW",
    "GuardrailNode": "METRIC",
}
_LINK = re.compile(r"\n\n(?:During handling|The above exception)[^\n]*\n\n")


class EventTranslator:
    """Translates the events of one run.

    Nodes inside maps and inline workflows are translated too, with the outer node as their parent;
    the workflows that hold them are left out, as are snapshots of the state.
    """

    def __init__(
        self, workflow: type, outputs: Mapping[str, VellumVariable], context: RunContext
    ) -> None:
        self._definition = _definition_of(workflow)
        self._outputs = outputs
        self._context = context
        self._complete: set[str] = set()  # outputs whose value was streamed
        self._inner: dict[str, list[tuple[int, str]]] = {}  # by span of a node: what ran inside it
        self._has_ended = False
        self.rejection: Rejection | None = None  # where the SDK says otherwise

    def translate(self, event: Any) -> Iterator[Event]:
        """Yield the events of an event of the SDK."""
        if self._has_ended:
            return
        if event.name.startswith("node.") and event.name in _BODIES:
            yield self._node(event)
        elif str(event.span_id) == self._context.execution_id:
            yield from self._workflow(event)
        elif event.name == names.WORKFLOW_INITIATED and event.parent is not None:
            place = getattr(event.inputs, "index", None)  # of an item of a map, which has no order
            inner = self._inner.setdefault(str(event.parent.span_id), [])
            inner.append((place if isinstance(place, int) else len(inner), str(event.span_id)))

    def _workflow(self, event: Any) -> Iterator[Event]:
        if event.name == names.WORKFLOW_STREAMING:
            body = _body_of(event)
            output = body.get("output") or {}
            name, delta = output.get("name", ""), output.get("delta", "")
            if "value" in output:
                self._complete.add(name)
            elif getattr(self._outputs.get(name), "type", "") != "STRING" or type(delta) is not str:
                return  # only text grows; a map streams the states of its items
            typed = typed_output(self._outputs, name, output.get("value"))
            yield self._own(event.name, body, event, (typed,))
        elif event.name == names.WORKFLOW_FULFILLED:
            yield from self._fulfilled(event)
        elif event.name == _PAUSED:
            message = "The workflow waits for an input from outside, which cannot be given here"
            self._reject(message, "INVALID_STATE")
        elif event.name in _BODIES:
            self._has_ended = event.name == names.WORKFLOW_REJECTED
            yield self._own(event.name, _body_of(event), event)

    def _reject(self, message: str, code: str) -> None:
        self._has_ended = True
        self.rejection = Rejection(message, code)

    def _fulfilled(self, event: Any) -> Iterator[Event]:
        body = _body_of(event)
        values = body.get("outputs")
        places = (non_finite_path(value, reference.name) for reference, value in event.outputs)
        if values is None:
            self._reject("The outputs hold what JSON cannot carry", "INVALID_OUTPUTS")
            return
        if where := next(filter(None, places), ""):
            message = f"The output {where!r} is not a finite number, which JSON cannot carry"
            self._reject(message, "INVALID_OUTPUTS")
            return
        outputs = [typed_output(self._outputs, name, value) for name, value in values.items()]
        for output in outputs:
            if output.name not in self._complete:
                part = {"output": {"name": output.name, "value": values[output.name]}}
                yield self._own(names.WORKFLOW_STREAMING, part, None, (output,))
        self._has_ended = True
        yield self._own(event.name, body, event, tuple(outputs))

    def _node(self, event: Any) -> Event:
        kind, span = node_kind(event.node_definition), str(event.span_id)
        has_used = kind == "PROMPT" and event.name == names.NODE_FULFILLED
        has_ended = event.name in {names.NODE_FULFILLED, names.NODE_REJECTED}
        inner = sorted(self._inner.pop(span, [])) if has_ended else []
        parent = event.parent
        source = str(parent.span_id) if parent is not None and parent.type == "WORKFLOW" else None
        return Event(
            name=event.name,
            span_id=span,
            trace_id=self._context.trace_id,
            body=_body_of(event),
            parent=None if parent is None else _without_inner(parent.model_dump(mode="json")),
            kind=kind,
            usage=self._context.usage(span) if has_used else (),
            execution_ids=tuple(id_ for _, id_ in inner),
            source_execution_id=None if source == self._context.execution_id else source,
            id=str(event.id),
            timestamp=event.timestamp.astimezone(UTC),  # the SDK gives the local time
        )

    def _own(
        self,
        name: str,
        body: Mapping[str, Any],
        event: Any = None,
        outputs: tuple[WorkflowOutput, ...] = (),
    ) -> Event:
        return Event(
            name=name,
            span_id=self._context.execution_id,
            trace_id=self._context.trace_id,
            body={"workflow_definition": self._definition, **body},
            parent=self._context.parent,
            outputs=outputs,
            timestamp=datetime.now(UTC) if event is None else event.timestamp.astimezone(UTC),
        )


def node_kind(node: type) -> str:
    """Return the kind as node results name it; an empty string for a node of one's own making."""
    for base in node.__mro__:
        if base.__module__.startswith("vellum.workflows.nodes.") and base.__name__ in _NODE_KINDS:
            return _NODE_KINDS[base.__name__]
    return ""


def own_stacktrace(stacktrace: str | None) -> str | None:
    """Return the frames of the workflow in a stack trace; None when none is in it."""
    text = (stacktrace or "").rstrip()
    links = ["", *_LINK.findall(text)]
    found = ""
    blocks = (own_frames(block, libraries=False) for block in _LINK.split(text))
    for link, block in zip(links, blocks, strict=True):
        if '  File "' in block:
            found = f"{found}{link if found else ''}{block}"
    return found or None


def _body_of(event: Any) -> dict[str, Any]:
    """Return the body; what JSON cannot carry is left out."""
    key = "node_definition" if event.name.startswith("node.") else "workflow_definition"
    definition = {key: _definition_of(getattr(event.body, key))}
    try:
        dumped = event.body.model_dump(mode="json")
    except (PydanticSerializationError, TypeError, ValueError, RecursionError):
        return {**_EMPTY.get(event.name, {}), **definition}
    dumped = json.loads(to_json(dumped))  # NaN and infinity are null
    body = {name: dumped.get(name) for name in _BODIES[event.name]}
    if "error" in body:
        body["error"] = {name: body["error"].get(name) for name in ("message", "raw_data", "code")}
        is_silent = body["error"]["code"] in _WITHOUT_STACK
        body["stacktrace"] = None if is_silent else own_stacktrace(event.body.stacktrace)
    return {**body, **definition}


def _definition_of(code: Any) -> dict[str, Any]:
    """Return the definition of a node or workflow, without the package of its release."""
    definition = serialize_type_encoder_with_id(code)
    module = _module(definition["module"])
    return {"id": str(definition["id"]), "name": definition["name"], "module": module}


def _module(parts: list[str]) -> list[str]:
    return normalize_module_path(".".join(parts)).split(".")


def _without_inner(parent: dict[str, Any] | None) -> dict[str, Any] | None:
    """Return a parent context without workflows that are inside a node."""
    if parent is None:
        return None
    outer = parent.get("parent")
    if parent["type"] == "WORKFLOW" and outer is not None and outer["type"] == "WORKFLOW_NODE":
        return _without_inner(outer)
    parent = {**parent, "parent": _without_inner(outer)}
    for key in ("node_definition", "workflow_definition"):
        if key in parent:
            parent[key] = {**parent[key], "module": _module(parent[key]["module"])}
    return parent
