"""The parts of an SDK event as plain JSON, with the keys that the contract gives them."""

from __future__ import annotations

import math
from typing import Any

from pydantic_core import PydanticSerializationError
from vellum.workflows.types.definition import serialize_type_encoder_with_id
from vellum.workflows.utils.module_path import normalize_module_path

from vellum_nb.local.engine import events as names
from vellum_nb.local.sdk.stacktraces import own_frames

__all__ = ["BODIES", "body_of", "definition_of", "parent_of"]

BODIES: dict[str, tuple[str, ...]] = {
    names.WORKFLOW_INITIATED: ("workflow_definition", "inputs", "trigger"),
    names.WORKFLOW_STREAMING: ("workflow_definition", "output"),
    names.WORKFLOW_FULFILLED: (
        "workflow_definition",
        "outputs",
        "final_state",
        "server_metadata",
    ),
    names.WORKFLOW_REJECTED: ("workflow_definition", "error", "stacktrace"),
    names.NODE_INITIATED: ("node_definition", "inputs"),
    names.NODE_STREAMING: ("node_definition", "output"),
    names.NODE_FULFILLED: ("node_definition", "invoked_ports", "outputs", "mocked"),
    names.NODE_REJECTED: ("node_definition", "error", "stacktrace"),
    "node.execution.log": ("node_definition", "message", "severity", "attributes"),
}
_EMPTY: dict[str, Any] = {
    names.NODE_INITIATED: {"inputs": {}},
    names.NODE_STREAMING: {"output": {"name": ""}},
    names.NODE_FULFILLED: {"outputs": {}, "invoked_ports": None, "mocked": None},
}
_FAILED = (PydanticSerializationError, TypeError, ValueError, RecursionError)
# Nobody's code failed there: the stack would be that of the SDK's own threads.
_WITHOUT_STACK = frozenset({"WORKFLOW_CANCELLED", "WORKFLOW_TIMEOUT", "NODE_CANCELLED"})


def body_of(event: Any) -> dict[str, Any]:
    """Return the body; what JSON cannot carry is left out."""
    try:
        dumped = event.body.model_dump(mode="json")
    except _FAILED:
        return {**_EMPTY.get(event.name, {}), **_definitions(event)}
    body = {key: _finite(dumped.get(key)) for key in BODIES[event.name]}
    body.update(_definitions(event))
    if "error" in body:
        error = event.body.error
        body["error"] = {key: body["error"].get(key) for key in ("message", "raw_data", "code")}
        silent = error.code.value in _WITHOUT_STACK
        body["stacktrace"] = None if silent else own_frames(event.body.stacktrace)
    return body


def definition_of(code: Any) -> dict[str, Any]:
    """Return the definition of a node or workflow, without the name that its release got here."""
    definition = serialize_type_encoder_with_id(code)
    module = normalize_module_path(".".join(definition["module"]))
    return {"id": str(definition["id"]), "name": definition["name"], "module": module.split(".")}


def parent_of(event: Any) -> dict[str, Any] | None:
    """Return the parent context; a workflow inside of a node is passed over."""
    if event.parent is None:
        return None
    return _without_inner(event.parent.model_dump(mode="json"))


def _definitions(event: Any) -> dict[str, Any]:
    key = "node_definition" if event.name.startswith("node.") else "workflow_definition"
    return {key: definition_of(getattr(event.body, key))}


def _without_inner(parent: dict[str, Any] | None) -> dict[str, Any] | None:
    if parent is None:
        return None
    outer = parent.get("parent")
    if parent["type"] == "WORKFLOW" and outer is not None and outer["type"] == "WORKFLOW_NODE":
        return _without_inner(outer)
    parent = {**parent, "parent": _without_inner(outer)}
    for key in ("node_definition", "workflow_definition"):
        if key in parent:
            module = normalize_module_path(".".join(parent[key]["module"]))
            parent[key] = {**parent[key], "module": module.split(".")}
    return parent


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list) else value
