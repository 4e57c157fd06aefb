"""Translation of JSON events of the Workflows SDK to ours, with the keys of the contract.

It does not import the SDK: Vellum's workflow server sends the same events.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from vellum_nb.local.deployments.sources import local_module
from vellum_nb.local.engine import events as names
from vellum_nb.local.engine.events import Event, Rejection, RunContext, own_frames
from vellum_nb.local.engine.inputs import typed_output
from vellum_nb.models import VellumVariable, WorkflowOutput
from vellum_nb.models.base import utc

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
# The stack trace of these would be that of the SDK's own threads.
_WITHOUT_STACK = frozenset({"WORKFLOW_CANCELLED", "WORKFLOW_TIMEOUT", "NODE_CANCELLED"})
_LINK = re.compile(r"\n\n(?:During handling|The above exception)[^\n]*\n\n")


@dataclass
class EventTranslator:
    """Translates the events of a run; `module` converts module names.

    Nodes in maps and inline workflows get the outer node as their parent. Events of inner workflows
    and snapshots of the state are dropped.
    """

    outputs: Mapping[str, VellumVariable]
    context: RunContext
    module: Callable[[str], str] = local_module
    rejection: Rejection | None = None  # overrides the outcome of the SDK
    _complete: set[str] = field(default_factory=set)  # outputs with a streamed value
    _inner: dict[str, list[tuple[int, str]]] = field(default_factory=dict)  # by span of a node
    _has_ended: bool = False

    def translate(self, raw: Mapping[str, Any]) -> Iterator[Event]:
        """Translate an event of the SDK.

        Our additions to it are `kind` of a node, and `non_finite`, the path of a NaN in outputs.
        """
        name, span = raw["name"], raw["span_id"]
        if self._has_ended:
            return
        if name.startswith("node."):
            if name in _BODIES:
                yield self._node(raw)
        elif span == self.context.execution_id:
            yield from self._workflow(raw)
        elif name == names.WORKFLOW_INITIATED and raw.get("parent"):
            inputs = raw["body"].get("inputs") or {}
            place = inputs.get("index")  # of an item of a map, which has no order
            inner = self._inner.setdefault(raw["parent"]["span_id"], [])
            inner.append((place if isinstance(place, int) else len(inner), span))

    def _workflow(self, raw: Mapping[str, Any]) -> Iterator[Event]:
        name = raw["name"]
        if name == names.WORKFLOW_STREAMING:
            output = raw["body"].get("output") or {}
            key, delta = output.get("name", ""), output.get("delta", "")
            if "value" in output:
                self._complete.add(key)
            elif getattr(self.outputs.get(key), "type", "") != "STRING" or type(delta) is not str:
                return  # only text grows; a map streams the states of its items
            yield self._own(raw, (typed_output(self.outputs, key, output.get("value")),))
        elif name == names.WORKFLOW_FULFILLED:
            yield from self._fulfilled(raw)
        elif name == _PAUSED:
            message = "The workflow waits for an input from outside, which cannot be given here"
            self._reject(message, "INVALID_STATE")
        elif name in _BODIES:
            self._has_ended = name == names.WORKFLOW_REJECTED
            yield self._own(raw)

    def _reject(self, message: str, code: str) -> None:
        self._has_ended = True
        self.rejection = Rejection(message, code)

    def _fulfilled(self, raw: Mapping[str, Any]) -> Iterator[Event]:
        values = raw["body"].get("outputs")
        if values is None:
            self._reject("The outputs have values that JSON cannot represent", "INVALID_OUTPUTS")
            return
        if where := raw.get("non_finite"):
            message = f"The output {where!r} is not a finite number, which JSON cannot represent"
            self._reject(message, "INVALID_OUTPUTS")
            return
        outputs = [typed_output(self.outputs, name, value) for name, value in values.items()]
        for output in outputs:
            if output.name not in self._complete:
                part = {"output": {"name": output.name, "value": values[output.name]}}
                body = {**raw["body"], **part}
                new = {"name": names.WORKFLOW_STREAMING, "id": str(uuid.uuid4()), "body": body}
                yield self._own({**raw, **new}, (output,))
        self._has_ended = True
        yield self._own(raw, tuple(outputs))

    def _own(self, raw: Mapping[str, Any], outputs: tuple[WorkflowOutput, ...] = ()) -> Event:
        return self._event(raw, parent=self.context.parent, outputs=outputs)

    def _node(self, raw: Mapping[str, Any]) -> Event:
        name, span, parent = raw["name"], raw["span_id"], raw.get("parent") or {}
        has_ended = name in {names.NODE_FULFILLED, names.NODE_REJECTED}
        inner = sorted(self._inner.pop(span, [])) if has_ended else []
        usage = self.context.usage(span) if name == names.NODE_FULFILLED else ()
        is_inner = parent.get("type") == "WORKFLOW"
        is_inner = is_inner and parent["span_id"] != self.context.execution_id
        return self._event(
            raw,
            parent=self._without_inner(parent or None),
            kind=raw.get("kind") or ("PROMPT" if usage else ""),
            usage=usage,
            execution_ids=tuple(id_ for _, id_ in inner),
            source_execution_id=parent["span_id"] if is_inner else None,
        )

    def _event(self, raw: Mapping[str, Any], **more: Any) -> Event:
        body = {key: raw["body"].get(key) for key in _BODIES[raw["name"]]}
        if error := body.get("error"):
            body["error"] = {key: error.get(key) for key in ("message", "raw_data", "code")}
            is_silent = error.get("code") in _WITHOUT_STACK
            body["stacktrace"] = None if is_silent else own_stacktrace(body["stacktrace"])
        key = f"{raw['name'].partition('.')[0]}_definition"
        return Event(
            name=raw["name"],
            span_id=raw["span_id"],
            trace_id=self.context.trace_id,
            body={**body, key: self._definition(raw["body"][key])},
            id=raw["id"],
            timestamp=utc(datetime.fromisoformat(raw["timestamp"])),
            **more,
        )

    def _definition(self, raw: Mapping[str, Any]) -> dict[str, Any]:
        """Return the definition of a node or workflow, without the package of its release."""
        module = self.module(".".join(raw["module"]))
        return {"id": str(raw["id"]), "name": raw["name"], "module": module.split(".")}

    def _without_inner(self, parent: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
        """Remove workflows inside a node from a parent context."""
        if parent is None:
            return None
        outer = parent.get("parent")
        if parent["type"] == "WORKFLOW" and outer and outer["type"] == "WORKFLOW_NODE":
            return self._without_inner(outer)
        definitions = {
            key: self._definition(parent[key])
            for key in ("node_definition", "workflow_definition")
            if key in parent
        }
        return {**parent, "parent": self._without_inner(outer), **definitions}


def own_stacktrace(stacktrace: str | None) -> str | None:
    """Return the frames of the workflow in a stack trace, or None."""
    text = (stacktrace or "").rstrip()
    links = ["", *_LINK.findall(text)]
    result = ""
    blocks = (own_frames(block, libraries=False) for block in _LINK.split(text))
    for link, block in zip(links, blocks, strict=True):
        if '  File "' in block:
            result = f"{result}{link if result else ''}{block}"
    return result or None
