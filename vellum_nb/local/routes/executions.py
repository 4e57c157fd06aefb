"""Routes of executions (spans, details, states) and of actuals."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import Query
from pydantic import BaseModel, ConfigDict

from vellum_nb.local.deployments.registry import Release
from vellum_nb.local.engine.events import Event, Usage
from vellum_nb.local.engine.inputs import wire_problem
from vellum_nb.local.engine.requests import ShortText, derived_id, release_context
from vellum_nb.local.ledger import ExecutionRecord, parse_filters, parse_ordering
from vellum_nb.local.refusals import Refused
from vellum_nb.local.routes.common import (
    JSON,
    LARGEST_PAGE,
    Body,
    Limit,
    Named,
    Offset,
    Served,
    State,
    new_router,
)
from vellum_nb.models import contract
from vellum_nb.models.checks import available

router = new_router()
_EVENTS = "/v1/workflow-deployments/{id}/execution-events"
_INSIDE = frozenset({"WORKFLOW", "WORKFLOW_NODE"})
_MOST_ANCESTORS = 1000  # limit of executions in a conversation
_Json = dict[str, Any]


class ExecutionEvents(BaseModel):
    """One page of executions."""

    count: int
    results: tuple[contract.SlimWorkflowExecutionRead, ...]


class SubmittedActual(contract.ActualRequest):
    """An actual: the desired output, or the quality of the output."""

    model_config = ConfigDict(strict=True)

    output_key: ShortText | None = None


class SubmitActuals(BaseModel):
    """Body of POST /v1/submit-workflow-execution-actuals; one of the two ids is needed."""

    actuals: list[SubmittedActual]
    execution_id: str | None = None
    external_id: ShortText | None = None


@router.get(_EVENTS, response_model=ExecutionEvents)
def list_workflow_deployment_event_executions(
    state: Served,
    deployment: Named,
    *,
    filters: Annotated[str | None, Query(description="JSON, as Vellum documents it.")] = None,
    limit: Limit = 100,
    offset: Offset = 0,
    ordering: Annotated[str | None, Query(description="timestamp, state; minus reverses.")] = None,
) -> JSON:
    """List the executions of a deployment, newest first."""
    count, records = state.ledger.records(
        deployment.id,
        where=parse_filters(filters),
        ordering=parse_ordering(ordering),
        limit=min(limit, LARGEST_PAGE),
        offset=offset,
    )
    latest = state.ledger.latest_actual
    results = [
        slim_execution(
            record, deployment.find_release(record.release_id), latest(record.execution_id)
        )
        for record in records
    ]
    return JSON({"count": count, "results": results})


@router.get(f"{_EVENTS}/{{execution_id}}", response_model=contract.WorkflowEventExecutionRead)
def workflow_deployment_event_execution(
    state: Served, deployment: Named, execution_id: str
) -> JSON:
    """Retrieve an execution of a deployment, with its spans and its final state."""
    record = state.execution(execution_id)
    if record.deployment_id != deployment.id:
        names = f"{record.deployment_name!r}, not of {deployment.name!r}"
        raise Refused(404, f"The execution {execution_id} is one of {names}")
    latest = state.ledger.latest_actual(execution_id)
    slim = slim_execution(record, deployment.find_release(record.release_id), latest)
    spans = spans_of(_events(state, execution_id))
    return JSON({**slim, "spans": spans, "state": record.state})


@router.get(
    "/v1/workflow-executions/{execution_id}/detail", response_model=contract.WorkflowExecutionDetail
)
def retrieve_workflow_execution_detail(
    state: Served,
    execution_id: str,
    prev_span_id: Annotated[str | None, Query(description="Only spans after this one.")] = None,
    span_limit: Annotated[int | None, Query(ge=1, description="Default: all spans.")] = None,
) -> JSON:
    """Retrieve an execution by its id, with its spans."""
    record = state.execution(execution_id)
    spans = spans_of(_events(state, execution_id))
    if prev_span_id is not None:
        ids = [span["span_id"] for span in spans]
        if prev_span_id not in ids:
            raise Refused(400, f"prev_span_id: the execution has no span {prev_span_id!r:.60}")
        spans = spans[ids.index(prev_span_id) + 1 :]
    common = _common(record, state.release_of(record))
    return JSON({**common, "spans": spans[:span_limit], "state": record.state})


@router.get("/v1/workflows/{span_id}/state", response_model=contract.WorkflowResolvedState)
def retrieve_state(state: Served, span_id: str) -> JSON:
    """Retrieve the final state of an execution; the span id is the execution id."""
    record = state.ledger.record(span_id)
    if record is None or record.state is None:
        raise Refused(404, "No state found for the given span_id")
    previous = root = earlier = state.ledger.record(record.previous_execution_id or "")
    for _ in range(_MOST_ANCESTORS):  # the executions that it continues, to the first one
        if earlier is None:
            break
        root, earlier = earlier, state.ledger.record(earlier.previous_execution_id or "")
    return JSON(
        {
            "trace_id": record.trace_id,
            "timestamp": record.end or record.start,
            "span_id": record.execution_id,
            "state": record.state,
            "previous_span_id": previous and previous.execution_id,
            "previous_trace_id": previous and previous.trace_id,
            "root_span_id": root and root.execution_id,
            "root_trace_id": root and root.trace_id,
        }
    )


@router.get(
    "/vembda-public/cancel-workflow-execution-status/{execution_id}", include_in_schema=False
)
async def cancel_status(state: Served, execution_id: str) -> dict[str, bool]:
    """Return to a workflow server whether a run is cancelled."""
    return {"cancelled": state.executions.live(execution_id) is None}


@router.post("/v1/submit-workflow-execution-actuals")
def submit_workflow_execution_actuals(state: Served, body: Body[SubmitActuals]) -> dict[str, Any]:
    """Store the quality of outputs, and desired outputs."""
    record = _rated(state, body)
    ids = _output_ids(record, state.release_of(record))
    actuals: list[_Json] = []
    for number, actual in enumerate(body.actuals):
        name = actual.output_key or next((n for n, i in ids.items() if i == actual.output_id), None)
        if problem := _name_problem(actual, name, ids) or _value_problem(actual):
            raise Refused(400, f"actuals[{number}]: {problem}")
        seconds = actual.timestamp
        when = datetime.now(UTC) if seconds is None else datetime.fromtimestamp(seconds, UTC)
        content = actual.model_dump(exclude={"output_id"})
        actuals.append({**content, "output_key": name, "timestamp": when})
    state.ledger.add_actuals(record.execution_id, actuals)
    return {}


def _events(state: State, execution_id: str) -> Sequence[Event]:
    live = state.executions.live(execution_id)
    return state.ledger.events(execution_id) if live is None else live.so_far()


# Executions in the contract


def slim_execution(record: ExecutionRecord, release: Release | None, latest: _Json | None) -> _Json:
    """Return an execution for a list."""
    execution: _Json = {**_common(record, release), "latest_actual": None, "metric_results": []}
    if latest is not None:
        name = str(latest["output_key"])
        ids = _output_ids(record, release)
        execution["latest_actual"] = {
            "output": {
                "id": ids.get(name) or derived_id(record.release_id, name),
                "name": name,
                "type": latest["output_type"],
                "value": latest.get("desired_output_value"),
            },
            "timestamp": latest["timestamp"],
            "quality": latest.get("quality"),
            "metadata": latest.get("metadata"),
        }
    return execution


def _common(record: ExecutionRecord, release: Release | None) -> _Json:
    ids = {item.key: item.id for item in release.input_variables} if release else {}
    usage = usage_body(record.usage)
    results = usage and [{"usage": usage["usage"], "cost": usage["cost"] or None, "error": None}]
    return {
        "span_id": record.execution_id,
        "start": record.start,
        "end": record.end,
        "inputs": [
            {"id": ids.get(item.name) or derived_id(item.name, item.type), **dict(item)}
            for item in record.inputs
        ],
        "outputs": record.outputs,
        "error": record.error,
        "usage_results": results,
        "parent_context": release_context(record),
    }


def _output_ids(record: ExecutionRecord, release: Release | None) -> dict[str, str]:
    ids = {item.key: item.id for item in release.output_variables} if release else {}
    return ids | {item.name: item.id for item in record.outputs}


# Spans


def spans_of(events: Sequence[Event]) -> list[_Json]:
    """Return the spans as plain JSON, by start.

    A span without an end event ends with its last event.
    """
    groups: dict[str, list[Event]] = {}
    for event in events:
        groups.setdefault(event.span_id, []).append(event)
    return [_span(group) for group in groups.values()]


def _span(events: Sequence[Event]) -> _Json:
    first = events[0]
    kind = "node" if first.name.startswith("node.") else "workflow"
    definition_field = first.body.get(f"{kind}_definition")
    definition = definition_field if isinstance(definition_field, Mapping) else {}
    id_ = str(definition.get("id") or uuid.uuid5(uuid.NAMESPACE_OID, first.span_id))
    attributes: _Json = {"label": str(definition.get("name") or kind), f"{kind}_id": id_}
    if kind == "node":  # our addition
        attributes |= {"filepath": None, "kind": next((e.kind for e in events if e.kind), None)}
    parent = first.parent or {}  # the origin of the execution is not one of its spans
    return {
        "name": f"{kind}.execution",
        "events": [event.envelope() for event in events],
        "attributes": attributes,
        "usage_result": usage_body([used for event in events for used in event.usage]),
        "span_id": first.span_id,
        "start_ts": first.timestamp.isoformat(),
        "end_ts": events[-1].timestamp.isoformat(),
        "parent_span_id": parent.get("span_id") if parent.get("type") in _INSIDE else None,
    }


def usage_body(usage: Sequence[Usage]) -> _Json | None:
    """Return tokens and cost of model calls in the form of the contract; None without calls.

    The cost is omitted if the price of a model is unknown.
    """
    if not usage:
        return None
    by_model = {model: [u for u in usage if u.model == model] for model in [u.model for u in usage]}
    cost = Usage.total(usage, "cost_usd")
    return {
        "usage": [
            {
                "ml_model_name": model,
                "ml_model_usage": {
                    "input_token_count": Usage.total(calls, "tokens_in"),
                    "output_token_count": Usage.total(calls, "tokens_out"),
                },
            }
            for model, calls in by_model.items()
        ],
        "cost": [] if cost is None else [{"value": cost, "unit": "USD"}],
    }


# Actuals


def _rated(state: State, body: SubmitActuals) -> ExecutionRecord:
    id_, external_id = body.execution_id, body.external_id
    if not id_ and external_id is None:
        raise Refused(400, "Give either execution_id or external_id")
    ledger = state.ledger
    record = state.execution(id_) if id_ else ledger.record(external_id or "", "external_id")
    if record is None:
        raise Refused(404, f"No execution has the external_id {external_id!r:.160}")
    if external_id not in {None, record.external_id}:
        raise Refused(400, f"The execution {id_} does not have that external_id")
    return record


def _name_problem(actual: SubmittedActual, name: str | None, ids: Mapping[str, str]) -> str:
    key, id_ = actual.output_key, actual.output_id
    if key is None and id_ is None:
        return "give output_key or output_id"
    if key is not None and key not in ids:
        return f"unknown output {key!r:.160}{available(ids)}"
    if id_ is not None and id_ not in ids.values():
        return f"no output has the id {id_!r:.60}{available(ids)}"
    if id_ is not None and name is not None and ids[name] != id_:
        return f"output_id belongs to another output than {name!r}"
    return ""


def _value_problem(actual: SubmittedActual) -> str:
    value, kind = actual.desired_output_value, actual.output_type
    try:
        datetime.fromtimestamp(actual.timestamp or 0, UTC)
    except (ValueError, OverflowError, OSError):
        return f"the timestamp {actual.timestamp!r} is not a time; seconds since 1970 are expected"
    if value is None:
        return ""
    if kind == "JSON":
        return "" if isinstance(value, dict) else "desired_output_value: an object is expected"
    problem = wire_problem(value, kind)
    return f"desired_output_value: {problem}" if problem else ""
