"""Records of executions as the contract shows them, as plain JSON."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from vellum_nb.local.deployments.releases import Release
from vellum_nb.local.engine.events import Event
from vellum_nb.local.engine.requests import derived_id, release_context
from vellum_nb.local.ledger.ledger import Actual, ExecutionRecord, Ledger
from vellum_nb.local.routes.spans import spans_of, usage_body
from vellum_nb.models import VellumVariable, WorkflowInput, WorkflowOutput

__all__ = [
    "detail",
    "event_execution",
    "output_id",
    "resolved_state",
    "slim_execution",
]

_DEEPEST = 1000  # executions that continue each other, until the first one counts as the root


def slim_execution(
    record: ExecutionRecord, release: Release | None, latest: Actual | None
) -> dict[str, Any]:
    """Return an execution as lists show it."""
    return {
        **_common(record, release),
        "latest_actual": None if latest is None else _actual(record, release, latest),
        "metric_results": [],
    }


def event_execution(
    record: ExecutionRecord, release: Release | None, latest: Actual | None, events: Sequence[Event]
) -> dict[str, Any]:
    """Return an execution with its spans and its final state."""
    return {
        **slim_execution(record, release, latest),
        "spans": spans_of(events),
        "state": _plain(record.state),
    }


def detail(
    record: ExecutionRecord, release: Release | None, spans: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    """Return an execution with a page of its spans."""
    return {**_common(record, release), "spans": list(spans), "state": _plain(record.state)}


def resolved_state(record: ExecutionRecord, ledger: Ledger) -> dict[str, Any]:
    """Return the final state of an execution, and which executions led to it."""
    chain = _before(record, ledger)
    previous, root = (chain[0], chain[-1]) if chain else (None, None)
    return {
        "trace_id": record.trace_id,
        "timestamp": (record.end or record.start).isoformat(),
        "span_id": record.execution_id,
        "state": _plain(record.state),
        "previous_span_id": previous and previous.execution_id,
        "previous_trace_id": previous and previous.trace_id,
        "root_span_id": root and root.execution_id,
        "root_trace_id": root and root.trace_id,
    }


def output_id(record: ExecutionRecord, release: Release | None, name: str) -> str:
    """Return the id of an output: the one it came with, or that its variable has."""
    for output in record.outputs:
        if output.name == name and output.id:
            return output.id
    variables = release.output_variables if release else ()
    return _ids(variables).get(name) or derived_id(record.release_id, name)


def _common(record: ExecutionRecord, release: Release | None) -> dict[str, Any]:
    return {
        "span_id": record.execution_id,
        "start": record.start.isoformat(),
        "end": record.end and record.end.isoformat(),
        "inputs": _values(record.inputs, _ids(release.input_variables if release else ())),
        "outputs": _values(record.outputs, _ids(release.output_variables if release else ())),
        "error": record.error and record.error.model_dump(mode="json"),
        "usage_results": _usage_results(record),
        "parent_context": release_context(record),
    }


def _values(
    found: Iterable[WorkflowInput | WorkflowOutput], ids: Mapping[str, str]
) -> list[dict[str, Any]]:
    return [
        {
            "id": getattr(each, "id", "") or ids.get(each.name) or derived_id(each.name, each.type),
            "name": each.name,
            "type": each.type,
            "value": each.value,
        }
        for each in found
    ]


def _usage_results(record: ExecutionRecord) -> list[dict[str, Any]] | None:
    usage = usage_body(record.usage)
    if usage is None:
        return None
    return [{"usage": usage["usage"], "cost": usage["cost"] or None, "error": None}]


def _actual(record: ExecutionRecord, release: Release | None, actual: Actual) -> dict[str, Any]:
    body = actual.body
    name = str(body["output_key"])
    return {
        "output": {
            "id": output_id(record, release, name),
            "name": name,
            "type": body["output_type"],
            "value": body.get("desired_output_value"),
        },
        "timestamp": actual.timestamp.isoformat(),
        "quality": body.get("quality"),
        "metadata": body.get("metadata"),
    }


def _before(record: ExecutionRecord, ledger: Ledger) -> list[ExecutionRecord]:
    """Return the executions that this one continues, the newest first."""
    chain: list[ExecutionRecord] = []
    seen = {record.execution_id}
    while record.previous_execution_id is not None and len(chain) < _DEEPEST:
        previous = ledger.record(record.previous_execution_id)
        if previous is None or previous.execution_id in seen:
            break
        seen.add(previous.execution_id)
        chain.append(previous)
        record = previous
    return chain


def _ids(variables: Iterable[VellumVariable]) -> dict[str, str]:
    return {variable.key: variable.id for variable in variables}


def _plain(state: Mapping[str, Any] | None) -> dict[str, Any] | None:
    return None if state is None else dict(state)
