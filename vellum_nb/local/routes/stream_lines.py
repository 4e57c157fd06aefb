"""Events as the lines of ``execute-workflow-stream``, those of nodes with results by kind.

Source: https://docs.vellum.ai/developers/client-sdk/workflows/execute-workflow-stream
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from vellum_nb.local.callables.signature import variable_id
from vellum_nb.local.engine.events import (
    NODE_FULFILLED,
    NODE_INITIATED,
    NODE_REJECTED,
    NODE_STREAMING,
    WORKFLOW_FULFILLED,
    WORKFLOW_INITIATED,
    WORKFLOW_REJECTED,
    WORKFLOW_STREAMING,
    Event,
    event_error,
)
from vellum_nb.local.engine.inputs import plain_type
from vellum_nb.local.ledger.ledger import ExecutionRecord
from vellum_nb.models import ExpandMeta, WorkflowOutput

_Json = dict[str, Any]
_STATES = {
    NODE_INITIATED: "INITIATED",
    NODE_STREAMING: "STREAMING",
    NODE_FULFILLED: "FULFILLED",
    NODE_REJECTED: "REJECTED",
}
# The contract has no other types while a workflow streams; the last event has all outputs.
_STREAMED = frozenset(
    {"STRING", "NUMBER", "JSON", "CHAT_HISTORY", "SEARCH_RESULTS", "ARRAY", "FUNCTION_CALL"}
) | {"ERROR"}
_NODE_TYPES = _STREAMED | {"THINKING"}


class WorkflowStream:
    """Makes the lines of one execution from its events.

    The text of an output is streamed whole: what its events left out is one more delta.
    """

    def __init__(
        self,
        record: ExecutionRecord,
        *,
        event_types: Collection[str] = ("WORKFLOW",),
        expand_meta: ExpandMeta | None = None,
    ) -> None:
        self._record = record
        self._types = frozenset(event_types)
        self._expand = expand_meta or ExpandMeta()
        self._texts: dict[str, list[str]] = {}
        self._id = str(uuid.uuid4())

    def lines(self, event: Event) -> Iterator[_Json]:
        """Return the lines of one event."""
        if event.name.startswith("node."):
            data = node_data(event, self._record, self._expand) if "NODE" in self._types else None
            if data is not None:
                yield self._line("NODE", data)
        elif "WORKFLOW" in self._types:
            for data in self._workflow(event):
                yield self._line("WORKFLOW", data)

    def _line(self, type_: str, data: Mapping[str, Any]) -> _Json:
        return {
            "execution_id": self._record.execution_id,
            "run_id": None,
            "external_id": self._record.external_id,
            "type": type_,
            "data": data,
        }

    def _workflow(self, event: Event) -> Iterator[_Json]:
        if event.name == WORKFLOW_INITIATED:
            yield self._data(event, "INITIATED", inputs=self._inputs())
        elif event.name == WORKFLOW_STREAMING:
            for output in self._outputs(event):
                yield self._data(event, "STREAMING", output=output)
        elif event.name == WORKFLOW_FULFILLED:
            outputs = [output.model_dump(mode="json") for output in event.outputs]
            yield self._data(event, "FULFILLED", outputs=outputs)
        elif event.name == WORKFLOW_REJECTED:
            yield self._data(event, "REJECTED", error=event_error(event))

    def _data(self, event: Event, state: str, **more: Any) -> _Json:
        return {
            "id": self._id,
            "state": state,
            "ts": event.timestamp.isoformat(),
            "output": None,
            "error": None,
            "outputs": None,
            "inputs": None,
            **more,
        }

    def _inputs(self) -> list[_Json]:
        return [
            {"id": variable_id("input", i.name), **i.model_dump(mode="json")}
            for i in self._record.inputs
        ]

    def _outputs(self, event: Event) -> Iterator[_Json]:
        streamed = event.body.get("output", {})
        for output in event.outputs[:1]:
            if output.type not in _STREAMED:
                return
            if "value" in streamed:
                yield from self._complete(output)
            elif isinstance(streamed.get("delta"), str):
                yield from self._delta(output, streamed["delta"])
            else:
                yield from self._begun(output)

    def _begun(self, output: WorkflowOutput) -> Iterator[_Json]:
        if output.type == "STRING" and output.name not in self._texts:
            self._texts[output.name] = []
            yield _progress(output, "INITIATED")

    def _delta(self, output: WorkflowOutput, delta: str) -> Iterator[_Json]:
        yield from self._begun(output)
        if output.type == "STRING":
            self._texts[output.name].append(delta)
            yield _progress(output, "STREAMING", delta=delta)

    def _complete(self, output: WorkflowOutput) -> Iterator[_Json]:
        if output.type == "STRING" and isinstance(output.value, str):
            yield from self._begun(output)
            sent = "".join(self._texts[output.name])
            if output.value != sent and output.value.startswith(sent):
                yield from self._delta(output, output.value[len(sent) :])
        yield _progress(output, "FULFILLED", value=output.value)


def _progress(
    output: WorkflowOutput, state: str, *, delta: str | None = None, value: Any = None
) -> _Json:
    return {
        "id": output.id or variable_id("output", output.name),
        "name": output.name,
        "state": state,
        "node_id": None,
        "delta": delta,
        "type": output.type,
        "value": value,
    }


def node_data(event: Event, record: ExecutionRecord, expand: ExpandMeta) -> _Json | None:
    """Return the data of a NODE event; None for events that have none, such as logs."""
    state = _STATES.get(event.name)
    if state is None:
        return None
    definition = event.body.get("node_definition") or {}
    return {
        "id": event.span_id,
        "node_id": definition.get("id", ""),
        "node_result_id": event.span_id,
        "state": state,
        "ts": event.timestamp.isoformat(),
        "data": None,
        "source_execution_id": event.source_execution_id,
        "node_name": definition.get("name", ""),
        "parent_span_id": _outer_span(event, record),
        **_NODE_STATES[state](event, expand),
    }


def _outer_span(event: Event, record: ExecutionRecord) -> str:
    """Return the span of the node that a node is inside of, or of the execution."""
    parent = event.parent
    while isinstance(parent, Mapping) and parent.get("span_id") != record.execution_id:
        if parent.get("type") == "WORKFLOW_NODE":
            return str(parent.get("span_id", ""))
        parent = parent.get("parent")
    return record.execution_id


def _initiated(event: Event, _: ExpandMeta) -> _Json:
    inputs = event.body.get("inputs") or {}
    return {
        "input_values": [
            {
                "node_input_id": _id(event, key),
                "key": key,
                "type": plain_type(value),
                "value": value,
            }
            for key, value in inputs.items()
        ]
    }


def _streaming(event: Event, _: ExpandMeta) -> _Json:
    streamed = event.body.get("output") or {}
    name = streamed.get("name", "")
    part = streamed.get("delta", streamed.get("value"))
    state = (
        "FULFILLED" if "value" in streamed else "STREAMING" if "delta" in streamed else "INITIATED"
    )
    type_ = "STRING" if part is None else plain_type(part)
    output = {"node_output_id": _id(event, name), "state": state, "type": type_, "value": part}
    more: _Json = {"output": output, "output_index": None}
    if event.kind == "PROMPT" and isinstance(streamed.get("delta"), str):
        more["data"] = {"type": "PROMPT", "data": _prompt(event, None, delta=streamed["delta"])}
    return more


def _fulfilled(event: Event, expand: ExpandMeta) -> _Json:
    values = _values(event)
    make = _RESULTS.get(event.kind)
    result = None if make is None else {"type": event.kind, "data": make(event, values, expand)}
    return {
        "data": result,
        "output_values": [
            {
                "node_output_id": each["id"],
                "state": "FULFILLED",
                "type": each["type"],
                "value": each["value"],
            }
            for each in values
        ],
        "mocked": bool(event.body.get("mocked")),
    }


def _rejected(event: Event, expand: ExpandMeta) -> _Json:
    inner = _INNER.get(event.kind)
    data = None if inner is None else {"type": event.kind, "data": inner(event, (), expand)}
    return {"data": data, "error": event_error(event)}


_NODE_STATES: Mapping[str, Callable[[Event, ExpandMeta], _Json]] = {
    "INITIATED": _initiated,
    "STREAMING": _streaming,
    "FULFILLED": _fulfilled,
    "REJECTED": _rejected,
}


def _values(event: Event) -> list[_Json]:
    """Return the outputs of a node, with the types that a node's output can have."""
    if event.outputs:
        found = [(o.id, o.name, o.type, o.value) for o in event.outputs]
    else:
        outputs = event.body.get("outputs") or {}
        found = [
            (_id(event, name), name, plain_type(value), value) for name, value in outputs.items()
        ]
    return [
        {"id": id_, "name": name, "type": type_ if type_ in _NODE_TYPES else "JSON", "value": value}
        for id_, name, type_, value in found
    ]


# Results by kind of node

_Values = Sequence[Mapping[str, Any]]


def _first(event: Event, values: _Values) -> _Json:
    """Return the first output of a node, where a result has room for one."""
    nothing = {"id": _id(event, "output"), "name": "output", "type": "JSON", "value": None}
    return dict(values[0] if values else nothing)


def _template(event: Event, values: _Values, _: ExpandMeta) -> _Json:
    output = _first(event, values)
    output.pop("name")
    if output["type"] == "THINKING":
        output["type"] = "JSON"
    return {"output": output}


def _prompt_result(event: Event, values: _Values, expand: ExpandMeta) -> _Json:
    text = next((v["value"] for v in values if v["type"] == "STRING"), None)
    return {**_prompt(event, text), "execution_meta": _meta(event, expand)}


def _prompt(event: Event, text: str | None, *, delta: str | None = None) -> _Json:
    return {
        "execution_meta": None,
        "output_id": _id(event, "text"),
        "array_output_id": _id(event, "results"),
        "execution_id": None,
        "text": text,
        "delta": delta,
    }


def _meta(event: Event, expand: ExpandMeta) -> _Json | None:
    if not event.usage or not (expand.usage or expand.cost or expand.model_name):
        return None
    costs = [used.cost_usd for used in event.usage if used.cost_usd is not None]
    usage = {
        "output_token_count": _sum([used.tokens_out for used in event.usage]),
        "input_token_count": _sum([used.tokens_in for used in event.usage]),
        "input_char_count": None,
        "output_char_count": None,
        "compute_nanos": None,
        "cache_creation_input_tokens": None,
        "cache_read_input_tokens": None,
    }
    names = dict.fromkeys(used.model for used in event.usage)
    return {
        "usage": usage if expand.usage else None,
        "cost": {"value": sum(costs), "unit": "USD"} if expand.cost and costs else None,
        "model_name": ", ".join(names) if expand.model_name else None,
    }


def _sum(counts: Sequence[int | None]) -> int | None:
    known = [count for count in counts if count is not None]
    return sum(known) if known else None


def _search(event: Event, values: _Values, _: ExpandMeta) -> _Json:
    by_name = {v["name"]: v["value"] for v in values}
    return {
        "results_output_id": _id(event, "results"),
        "results": by_name.get("results") or [],
        "text_output_id": _id(event, "text"),
        "text": by_name.get("text"),
    }


def _api(event: Event, values: _Values, _: ExpandMeta) -> _Json:
    by_name = {v["name"]: v["value"] for v in values}
    return {
        "text_output_id": _id(event, "text"),
        "text": by_name.get("text"),
        "json_output_id": _id(event, "json"),
        "json": by_name.get("json"),
        "status_code_output_id": _id(event, "status_code"),
        "status_code": int(by_name.get("status_code") or 0),
    }


_INNER: Mapping[str, Callable[[Event, _Values, ExpandMeta], _Json]] = {
    "SUBWORKFLOW": lambda event, *_: {"execution_id": next(iter(event.execution_ids), None)},
    "MAP": lambda event, *_: {
        "execution_ids": list(event.execution_ids),
        "iteration_state": _STATES[event.name],
    },
}
_RESULTS: Mapping[str, Callable[[Event, _Values, ExpandMeta], _Json]] = {
    **_INNER,
    "PROMPT": _prompt_result,
    "SEARCH": _search,
    "TEMPLATING": _template,
    "CODE_EXECUTION": lambda *node: {**_template(*node), "log_output_id": None},
    "CONDITIONAL": lambda event, *_: {
        "source_handle_id": next(
            (port.get("name") for port in event.body.get("invoked_ports") or ()), None
        )
    },
    "API": _api,
    "TERMINAL": lambda event, values, _: {"output": _first(event, values)},
    "MERGE": lambda *_: {"paused_node_data": None},
}


def _id(event: Event, name: str) -> str:
    """Return the id of an input or output of a node: the same in every run."""
    node = (event.body.get("node_definition") or {}).get("id", "")
    text = f"{node}\n{name}".encode("utf-8", "replace").decode()
    return str(uuid.uuid5(uuid.NAMESPACE_OID, text))
