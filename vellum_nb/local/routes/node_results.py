"""Events of nodes as the NODE events of ``execute-workflow-stream``: results by kind of node."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from vellum_nb.local.engine.events import (
    NODE_FULFILLED,
    NODE_INITIATED,
    NODE_REJECTED,
    NODE_STREAMING,
    Event,
    event_error,
)
from vellum_nb.local.ledger.ledger import ExecutionRecord
from vellum_nb.models import ExpandMeta

__all__ = ["node_data"]

_STATES = {
    NODE_INITIATED: "INITIATED",
    NODE_STREAMING: "STREAMING",
    NODE_FULFILLED: "FULFILLED",
    NODE_REJECTED: "REJECTED",
}
_COMPILED = frozenset(
    {"STRING", "NUMBER", "JSON", "CHAT_HISTORY", "SEARCH_RESULTS", "ERROR", "ARRAY"}
) | {"FUNCTION_CALL", "THINKING"}


def node_data(event: Event, record: ExecutionRecord, expand: ExpandMeta) -> dict[str, Any] | None:
    """Return the data of a NODE event; None for events that have none, such as logs."""
    state = _STATES.get(event.name)
    if state is None:
        return None
    definition = event.body.get("node_definition") or {}
    data: dict[str, Any] = {
        "id": event.span_id,
        "node_id": definition.get("id", ""),
        "node_result_id": event.span_id,
        "state": state,
        "ts": event.timestamp.isoformat(),
        "data": None,
        "source_execution_id": event.source_execution_id,
        "node_name": definition.get("name", ""),
        "parent_span_id": _outer(event, record),
    }
    return {**data, **_PARTS[state](event, expand)}


def _outer(event: Event, record: ExecutionRecord) -> str:
    """Return the span of the node that a node is inside of, or of the execution."""
    parent = event.parent
    while isinstance(parent, Mapping) and parent.get("span_id") != record.execution_id:
        if parent.get("type") == "WORKFLOW_NODE":
            return str(parent.get("span_id", ""))
        parent = parent.get("parent")
    return record.execution_id


def _initiated(event: Event, _: ExpandMeta) -> dict[str, Any]:
    inputs = event.body.get("inputs") or {}
    return {
        "input_values": [
            {"node_input_id": _id(event, key), "key": key, "type": _type(value), "value": value}
            for key, value in inputs.items()
        ]
    }


def _streaming(event: Event, _: ExpandMeta) -> dict[str, Any]:
    told = event.body.get("output") or {}
    name = told.get("name", "")
    part = told.get("delta", told.get("value"))
    state = "FULFILLED" if "value" in told else "STREAMING" if "delta" in told else "INITIATED"
    type_ = "STRING" if part is None else _type(part)
    output = {"node_output_id": _id(event, name), "state": state, "type": type_, "value": part}
    more: dict[str, Any] = {"output": output, "output_index": None}
    if event.kind == "PROMPT" and isinstance(told.get("delta"), str):
        more["data"] = {"type": "PROMPT", "data": _prompt(event, None, delta=told["delta"])}
    return more


def _fulfilled(event: Event, expand: ExpandMeta) -> dict[str, Any]:
    values = _values(event)
    make = _RESULTS.get(event.kind)
    result = None if make is None else {"type": event.kind, "data": make(event, values, expand)}
    return {
        "data": result,
        "output_values": [
            {"node_output_id": each["id"], "state": "FULFILLED", **_typed(each)} for each in values
        ],
        "mocked": bool(event.body.get("mocked")),
    }


def _rejected(event: Event, expand: ExpandMeta) -> dict[str, Any]:
    inner = _INNER.get(event.kind)
    told = None if inner is None else {"type": event.kind, "data": inner(event, (), expand)}
    return {"data": told, "error": event_error(event)}


_PARTS: Mapping[str, Callable[[Event, ExpandMeta], dict[str, Any]]] = {
    "INITIATED": _initiated,
    "STREAMING": _streaming,
    "FULFILLED": _fulfilled,
    "REJECTED": _rejected,
}


def _values(event: Event) -> list[dict[str, Any]]:
    """Return the outputs of a node, with the types that a node's output can have."""
    if event.outputs:
        found = [(o.id, o.name, o.type, o.value) for o in event.outputs]
    else:
        outputs = event.body.get("outputs") or {}
        found = [(_id(event, name), name, _type(value), value) for name, value in outputs.items()]
    return [
        {"id": id_, "name": name, "type": type_ if type_ in _COMPILED else "JSON", "value": value}
        for id_, name, type_, value in found
    ]


def _typed(value: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": value["type"], "value": value["value"]}


def _one(event: Event, values: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the first output of a node, where a result has room for one."""
    none = {"id": _id(event, "output"), "name": "output", "type": "JSON", "value": None}
    return dict(values[0] if values else none)


def _result(event: Event, values: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    output = _one(event, values)
    output.pop("name")
    if output["type"] == "THINKING":
        output["type"] = "JSON"
    return {"output": output}


def _code(event: Event, values: Sequence[Mapping[str, Any]], _: ExpandMeta) -> dict[str, Any]:
    return {**_result(event, values), "log_output_id": None}


def _template(event: Event, values: Sequence[Mapping[str, Any]], _: ExpandMeta) -> dict[str, Any]:
    return _result(event, values)


def _terminal(event: Event, values: Sequence[Mapping[str, Any]], _: ExpandMeta) -> dict[str, Any]:
    return {"output": _one(event, values)}


def _prompted(
    event: Event, values: Sequence[Mapping[str, Any]], expand: ExpandMeta
) -> dict[str, Any]:
    text = next((v["value"] for v in values if v["type"] == "STRING"), None)
    return {**_prompt(event, text), "execution_meta": _meta(event, expand)}


def _prompt(event: Event, text: str | None, *, delta: str | None = None) -> dict[str, Any]:
    return {
        "execution_meta": None,
        "output_id": _id(event, "text"),
        "array_output_id": _id(event, "results"),
        "execution_id": None,
        "text": text,
        "delta": delta,
    }


def _meta(event: Event, expand: ExpandMeta) -> dict[str, Any] | None:
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


def _chosen(event: Event, _: Sequence[Mapping[str, Any]], __: ExpandMeta) -> dict[str, Any]:
    ports = event.body.get("invoked_ports") or []
    return {"source_handle_id": ports[0].get("name") if ports else None}


def _searched(event: Event, values: Sequence[Mapping[str, Any]], _: ExpandMeta) -> dict[str, Any]:
    by_name = {v["name"]: v["value"] for v in values}
    return {
        "results_output_id": _id(event, "results"),
        "results": by_name.get("results") or [],
        "text_output_id": _id(event, "text"),
        "text": by_name.get("text"),
    }


def _called(event: Event, values: Sequence[Mapping[str, Any]], _: ExpandMeta) -> dict[str, Any]:
    by_name = {v["name"]: v["value"] for v in values}
    return {
        "text_output_id": _id(event, "text"),
        "text": by_name.get("text"),
        "json_output_id": _id(event, "json"),
        "json": by_name.get("json"),
        "status_code_output_id": _id(event, "status_code"),
        "status_code": int(by_name.get("status_code") or 0),
    }


def _merged(_: Event, __: Sequence[Mapping[str, Any]], ___: ExpandMeta) -> dict[str, Any]:
    return {"paused_node_data": None}


def _inner(event: Event, _: Sequence[Mapping[str, Any]], __: ExpandMeta) -> dict[str, Any]:
    return {"execution_id": event.execution_ids[0] if event.execution_ids else None}


def _mapped(event: Event, _: Sequence[Mapping[str, Any]], __: ExpandMeta) -> dict[str, Any]:
    return {"execution_ids": list(event.execution_ids), "iteration_state": _STATES[event.name]}


_Result = Callable[[Event, Sequence[Mapping[str, Any]], ExpandMeta], dict[str, Any]]
_INNER: Mapping[str, _Result] = {"SUBWORKFLOW": _inner, "MAP": _mapped}
_RESULTS: Mapping[str, _Result] = {
    **_INNER,
    "PROMPT": _prompted,
    "SEARCH": _searched,
    "TEMPLATING": _template,
    "CODE_EXECUTION": _code,
    "CONDITIONAL": _chosen,
    "API": _called,
    "TERMINAL": _terminal,
    "MERGE": _merged,
}


def _type(value: Any) -> str:
    if isinstance(value, str):
        return "STRING"
    if isinstance(value, int | float) and not isinstance(value, bool):
        return "NUMBER"
    return "JSON"


def _id(event: Event, name: str) -> str:
    """Return the id of an input or output of a node: the same in every run."""
    node = (event.body.get("node_definition") or {}).get("id", "")
    text = f"{node}\n{name}".encode("utf-8", "replace").decode()
    return str(uuid.uuid5(uuid.NAMESPACE_OID, text))
