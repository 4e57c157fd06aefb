"""Nodes of a run, from a stream or from spans, and their total cost."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

from vellum_nb.models.base import Model, utc
from vellum_nb.models.contract import (
    END_STATES,
    PromptNodeExecutionMeta,
    VellumSpan,
    WorkflowEvent,
    WorkflowExecutionUsageResult,
    WorkflowNodeResultEvent,
    WorkflowStreamEvent,
)

_MAX_VALUE_CHARS = 10_000
_MAX_TRACE_CHARS = 1_000_000
_MASKED = "(secret)"
_NO_VALUES = {"inputs": None, "outputs": None}
_LATEST = datetime.max.replace(tzinfo=UTC)


class NodeRun(Model):
    """An execution of a node.

    Attributes
    ----------
    name : str
        The node's name.
    span_id, parent_span_id : str or None
        Its span, and that of its parent: the workflow, or a node that contains nodes.
    state : str
        INITIATED (it has not ended), STREAMING, FULFILLED or REJECTED.
    start, end : datetime or None
        UTC.
    error : str or None
        Reason of the rejection.
    model, tokens_in, tokens_out, cost_usd
        Of a prompt node, if the server reports it.
    outputs_hash : str or None
        Hash of the outputs, independent of their order; None if they are unknown.
    inputs, outputs : dict or None
        Values by name; None if they are unknown, as in older histories. Values that are longer than
        10,000 characters are cut, and end with a hash of the whole. If a trace has more than a
        million characters, its last nodes have no values. Values of type SECRET are masked.
    calls : tuple of dict
        The function calls in its outputs: `name` and `arguments`.
    is_named : bool
        False if the stream lacks names: the name is then the kind and the start of the id.
    """

    name: str
    span_id: str | None = None
    parent_span_id: str | None = None
    kind: str = ""
    state: str = "INITIATED"
    start: datetime | None = None
    end: datetime | None = None
    error: str | None = None
    model: str | None = None
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost_usd: float | None = None
    outputs_hash: str | None = None
    inputs: dict[str, Any] | None = None
    outputs: dict[str, Any] | None = None
    calls: tuple[dict[str, Any], ...] = ()
    is_named: bool = True

    @property
    def duration_s(self) -> float | None:
        """Seconds from start to end, at least 0; None if one of them is unknown."""
        if self.start is None or self.end is None:
            return None
        return max((utc(self.end) - utc(self.start)).total_seconds(), 0.0)


def nodes_of_stream(events: Iterable[WorkflowStreamEvent]) -> tuple[NodeRun, ...]:
    """Return the nodes from the NODE events of a stream, by start."""
    nodes: dict[str, NodeRun] = {}
    for event in events:
        if event.type == "NODE" and isinstance(event.data, WorkflowNodeResultEvent):
            key = event.data.node_result_id or event.data.node_id
            if key not in nodes:
                parent = event.data.parent_span_id or event.data.source_execution_id
                nodes[key] = NodeRun(
                    name="",
                    span_id=key,
                    parent_span_id=parent or event.execution_id,
                    start=event.data.ts,
                )
            nodes[key] = _grown(nodes[key], event.data)
    return _bounded(nodes.values())


def nodes_of_spans(spans: Sequence[VellumSpan]) -> tuple[NodeRun, ...]:
    """Return the nodes from spans, by start; the parent of a nested one is its outer node."""
    by_id = {span.span_id: span for span in spans}
    nodes = [_node(span, by_id) for span in spans if span.name.startswith("node")]
    return _bounded(sorted(nodes, key=lambda node: node.start or _LATEST))


def function_calls(value: Any) -> tuple[dict[str, Any], ...]:
    """Return `name` and `arguments` of all function calls in a value, at any depth."""
    calls, remaining = [], [value]
    while remaining:
        item = remaining.pop()
        if isinstance(item, Mapping):
            content = item.get("value")
            if item.get("type") == "FUNCTION_CALL" and isinstance(content, Mapping):
                calls.append({"name": content.get("name"), "arguments": content.get("arguments")})
            item = list(item.values())
        if isinstance(item, list | tuple):
            remaining += reversed(item)
    return tuple(calls)


def totals(nodes: Sequence[NodeRun]) -> dict[str, Any]:
    """Return total `cost_usd`, `tokens_in`, `tokens_out` and `model`, None if all nodes lack it."""
    return {
        "cost_usd": _total((node.cost_usd for node in nodes), math.fsum),
        "tokens_in": _total(node.tokens_in for node in nodes),
        "tokens_out": _total(node.tokens_out for node in nodes),
        "model": _models(node.model for node in nodes),
    }


def usage_totals(results: Sequence[WorkflowExecutionUsageResult] | None) -> dict[str, Any]:
    """Return the same figures as `totals`, from the usage results of an execution."""
    used = [entry for result in results or () for entry in result.usage or ()]
    costs = [entry for result in results or () for entry in result.cost or ()]
    return {
        "cost_usd": _total((price.value for price in costs), math.fsum),
        "tokens_in": _total(entry.ml_model_usage.input_token_count for entry in used),
        "tokens_out": _total(entry.ml_model_usage.output_token_count for entry in used),
        "model": _models(entry.ml_model_name for entry in used),
    }


def _grown(node: NodeRun, data: WorkflowNodeResultEvent) -> NodeRun:
    kind = (data.data and data.data.type) or node.kind
    updates: dict[str, Any] = {
        "name": _name(data, kind) or node.name,
        "is_named": bool(data.node_name),
        "kind": kind,
        "state": data.state or node.state,
    }
    if data.input_values:
        updates["inputs"] = _masked(_values(data.input_values))
    if data.state in END_STATES:
        updates["end"] = data.ts
        updates |= _answer(_values(data.output_values))
    if data.error is not None:
        updates["error"] = data.error.message or data.error.code
    if data.data is not None and data.data.execution_meta is not None:
        updates |= _spent(data.data.execution_meta)
    return node.model_copy(update=updates)


def _name(data: WorkflowNodeResultEvent, kind: str) -> str:
    """Return the name of a node, or its kind and the start of its id."""
    if data.node_name:
        return data.node_name
    output = ((data.data and data.data.data) or {}).get("output")
    if kind == "TERMINAL" and isinstance(output, dict) and output.get("name"):
        return str(output["name"])
    return " ".join(part for part in (kind, data.node_id[:8]) if part)


def _spent(meta: PromptNodeExecutionMeta) -> dict[str, Any]:
    usage = meta.usage
    figures = {
        "model": meta.model_name,
        "tokens_in": usage and usage.input_token_count,
        "tokens_out": usage and usage.output_token_count,
        "cost_usd": meta.cost and meta.cost.value,
    }
    return {name: value for name, value in figures.items() if value is not None}


def _values(items: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return the values of a node in a stream by name; secrets keep their type.

    Vellum does not name outputs: they are numbered.
    """
    values: dict[str, Any] = {}
    for place, item in enumerate(items, 1):
        name = str(item.get("key") or f"output {place}")
        is_secret = item.get("type") == "SECRET"
        value = {"type": "SECRET", "value": item.get("value")} if is_secret else item.get("value")
        values[f"{name} ({place})" if name in values else name] = value
    return values


def _answer(outputs: Mapping[str, Any]) -> dict[str, Any]:
    """Return outputs, their calls, and their hash, independent of their order and types."""
    try:
        texts = sorted(json.dumps(_untyped(value), sort_keys=True) for value in outputs.values())
        hash_ = hashlib.sha256(repr(texts).encode()).hexdigest()[:16] if outputs else None
    except (TypeError, ValueError, RecursionError):
        hash_ = None
    masked = _masked(outputs)
    return {"outputs_hash": hash_, "outputs": masked, "calls": function_calls(masked)}


def _masked(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return values without secrets; empty if they are nested too deeply."""
    with suppress(RecursionError):
        return {name: _without_secrets(value) for name, value in values.items()}
    return {}


def _without_secrets(value: Any) -> Any:
    if isinstance(value, Mapping):
        if value.get("type") == "SECRET":
            return _MASKED
        return {name: _without_secrets(item) for name, item in value.items()}
    return [_without_secrets(v) for v in value] if isinstance(value, list | tuple) else value


def _bounded(nodes: Iterable[NodeRun]) -> tuple[NodeRun, ...]:
    """Cut long values, and drop those of the last nodes if there are too many."""
    remaining, bounded = _MAX_TRACE_CHARS, list[NodeRun]()
    for node in nodes:
        inputs, outputs = _cut(node.inputs), _cut(node.outputs)
        remaining -= len(repr((inputs, outputs)))
        update = {"inputs": inputs, "outputs": outputs} if remaining > 0 else _NO_VALUES
        bounded.append(node.model_copy(update=update))
    return tuple(bounded)


def _cut(values: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """Return values without types, and the beginning of long ones as text, with a hash."""
    if values is None:
        return None
    try:
        plain = {name: _untyped(value) for name, value in values.items()}
        for name, value in plain.items():
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            if (size := len(text)) > _MAX_VALUE_CHARS:
                hash_ = hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()[:8]
                note = f"… cut after {_MAX_VALUE_CHARS:,} of {size:,} characters, hash {hash_}"
                plain[name] = text[:_MAX_VALUE_CHARS] + note
    except (TypeError, ValueError, RecursionError):
        return None
    return plain


def _untyped(value: Any) -> Any:
    """Remove types from a value, at any depth, and write 1.0 as 1."""
    if isinstance(value, Mapping):
        if value.keys() == {"type", "value"}:
            return _untyped(value["value"])
        return {name: _untyped(item) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_untyped(item) for item in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _node(span: VellumSpan, by_id: dict[str, VellumSpan]) -> NodeRun:
    last = span.events[-1] if span.events else WorkflowEvent(name="")
    ended = next((event for event in span.events if event.state in END_STATES), last)
    state = ended.state or "INITIATED"
    error = ended.error
    inputs = next((event.inputs for event in span.events if event.inputs), None)
    return NodeRun(
        name=span.attributes.label or ended.definition.name or span.span_id[:8],
        span_id=span.span_id,
        parent_span_id=_parent(span, by_id),
        kind=span.attributes.kind or "",
        state=state,
        start=span.start_ts,
        end=span.end_ts if state in END_STATES else None,
        error=(error.message or error.code) if error else None,
        **usage_totals([span.usage_result] if span.usage_result else None),
        inputs=_masked(inputs) if inputs else None,
        **_answer(dict(ended.outputs)),
    )


def _parent(span: VellumSpan, by_id: dict[str, VellumSpan]) -> str | None:
    """Return the node that contains `span`, or the span of the execution."""
    seen = {span.span_id}
    parent = span.parent_span_id
    while parent in by_id and by_id[parent].name.startswith("workflow"):
        above = by_id[parent].parent_span_id
        if above not in by_id or above in seen:
            break
        seen.add(parent)
        parent = above
    return parent


def _total(figures: Iterable[Any], add: Callable[[list[Any]], Any] = sum) -> Any:
    present = [figure for figure in figures if figure is not None]
    return add(present) if present else None


def _models(names: Iterable[str | None]) -> str | None:
    return ", ".join(dict.fromkeys(name for name in names if name)) or None
