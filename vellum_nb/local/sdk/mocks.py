"""Node output mocks: nodes whose outputs come from the request, so that they do not run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vellum.workflows import BaseWorkflow
from vellum.workflows.exceptions import WorkflowInitializationException
from vellum.workflows.nodes import BaseNode
from vellum.workflows.nodes.mocks import MockNodeExecution
from vellum.workflows.utils.uuids import uuid4_from_hash

from vellum_nb.local.deployments.sources import local_module
from vellum_nb.local.refusals import bad_request
from vellum_nb.local.sdk.sharing import with_inner

__all__ = ["node_mocks"]

_CONSTANT = "CONSTANT_VALUE"


def node_mocks(
    workflow: type[BaseWorkflow[Any, Any]], mocks: Sequence[Mapping[str, Any]]
) -> list[MockNodeExecution]:
    """Return mocks, in the form that a push gives them, as the SDK's own.

    `node_id` is a node's id in this release, or in the project that was pushed, whose module is
    then in `module`: the SDK makes ids from module paths.

    Raises
    ------
    VellumNBError
        When a node is not in the workflow, or its outputs or condition are not understood.
    """
    nodes = [node for inner in with_inner(workflow) for node in inner.get_all_nodes()]
    raw = [_normalized(mock, nodes) for mock in mocks if not mock.get("disabled")]
    try:
        return MockNodeExecution.validate_all(raw, workflow) or []
    except WorkflowInitializationException as exc:
        msg = f"node_output_mocks: {exc.message}"
        raise bad_request(msg) from exc


def _normalized(mock: Mapping[str, Any], nodes: Sequence[type[BaseNode[Any]]]) -> dict[str, Any]:
    module = str(mock.get("module") or "")
    for node in nodes:
        if str(mock.get("node_id")) in _ids(node, module):
            return {
                "type": "NODE_EXECUTION",
                "node_id": str(node.__id__),
                "when_condition": _condition(mock.get("when_condition", True)),
                "then_outputs": mock.get("then_outputs") or {},
            }
    known = ", ".join(sorted({node.__name__ for node in nodes}))
    msg = f"node_output_mocks: no node has the id {mock.get('node_id')!r:.60}; there are: {known}"
    raise bad_request(msg)


def _ids(node: type[BaseNode[Any]], module: str) -> set[str]:
    path = f"{module}.{local_module(node.__module__)}.{node.__qualname__}"
    return {str(node.__id__), str(uuid4_from_hash(path))}


def _condition(given: Any) -> Any:
    """Return the value of a constant condition, such as True."""
    if not isinstance(given, Mapping):
        return given
    if given.get("type") != _CONSTANT:
        msg = f"node_output_mocks: the when_condition {given.get('type')!r:.60} is not supported"
        raise bad_request(msg)
    value = given.get("value")
    return value.get("value") if isinstance(value, Mapping) else value
