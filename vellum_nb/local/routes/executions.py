"""The routes that show executions as spans, details and states, and that take actuals."""

from __future__ import annotations

import math
import uuid
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

from fastapi import Query, Response
from pydantic import BaseModel, ConfigDict, Field

from vellum_nb.local.deployments.releases import Release
from vellum_nb.local.engine.events import Event, Usage
from vellum_nb.local.engine.inputs import wire_problem
from vellum_nb.local.engine.requests import derived_id, release_context
from vellum_nb.local.ledger.filters import parse_filters, parse_ordering
from vellum_nb.local.ledger.ledger import Actual, ExecutionRecord, Ledger
from vellum_nb.local.refusals import bad_request, not_found
from vellum_nb.local.routes.common import (
    LARGEST_PAGE,
    Body,
    Limit,
    Named,
    Offset,
    Served,
    State,
    json_reply,
    new_router,
    release_of,
)
from vellum_nb.models import (
    SlimWorkflowExecutionRead,
    VellumVariable,
    WorkflowEventExecutionRead,
    WorkflowExecutionDetail,
    WorkflowInput,
    WorkflowOutput,
    WorkflowResolvedState,
)
from vellum_nb.models.base import Model

router = new_router()
_EVENTS = "/v1/workflow-deployments/{id}/execution-events"
_INSIDE = frozenset({"WORKFLOW", "WORKFLOW_NODE"})
_MOST_ANCESTORS = 1000  # executions that continue each other, until the last one is the root
_Json = dict[str, Any]
NonEmpty = Annotated[str, Field(min_length=1, max_length=1000)]


class ExecutionEvents(Model):
    """One page of executions."""

    count: int
    results: tuple[SlimWorkflowExecutionRead, ...]


class SubmittedActual(BaseModel):
    """One actual: what an output should have been, or how good it was."""

    model_config = ConfigDict(frozen=True, strict=True)

    output_type: Literal["STRING", "JSON", "CHAT_HISTORY"]
    output_id: str | None = None
    output_key: NonEmpty | None = None
    quality: Annotated[float, Field(ge=0, le=1)] | None = None
    desired_output_value: Any = None
    metadata: dict[str, Any] | None = None
    timestamp: float | None = None


class SubmitActuals(BaseModel):
    """Body of POST /v1/submit-workflow-execution-actuals; one of the two ids is needed."""

    model_config = ConfigDict(frozen=True)

    actuals: list[SubmittedActual]
    execution_id: str | None = None
    external_id: NonEmpty | None = None


@router.get(_EVENTS, response_model=ExecutionEvents)
def list_workflow_deployment_event_executions(
    state: Served,
    deployment: Named,
    *,
    filters: Annotated[str | None, Query(description="JSON, as Vellum documents it.")] = None,
    limit: Limit = 100,
    offset: Offset = 0,
    ordering: Annotated[str | None, Query(description="timestamp, state; minus reverses.")] = None,
) -> Response:
    """List the executions of a deployment, newest first."""
    count, records = state.ledger.records(
        deployment.id,
        where=parse_filters(filters),
        ordering=parse_ordering(ordering),
        limit=min(limit, LARGEST_PAGE),
        offset=offset,
    )
    results = [
        slim_execution(
            record,
            deployment.release(record.release_id),
            state.ledger.latest_actual(record.execution_id),
        )
        for record in records
    ]
    return json_reply({"count": count, "results": results})


@router.get(f"{_EVENTS}/{{execution_id}}", response_model=WorkflowEventExecutionRead)
def workflow_deployment_event_execution(
    state: Served, deployment: Named, execution_id: str
) -> Response:
    """Retrieve an execution of a deployment, with its spans and its final state."""
    record = state.execution(execution_id)
    if record.deployment_id != deployment.id:
        names = f"{record.deployment_name!r}, not of {deployment.name!r}"
        msg = f"The execution {execution_id} is one of {names}"
        raise not_found(msg)
    latest = state.ledger.latest_actual(execution_id)
    slim = slim_execution(record, deployment.release(record.release_id), latest)
    spans = spans_of(_events(state, execution_id))
    return json_reply({**slim, "spans": spans, "state": record.state})


@router.get("/v1/workflow-executions/{execution_id}/detail", response_model=WorkflowExecutionDetail)
def retrieve_workflow_execution_detail(
    state: Served,
    execution_id: str,
    prev_span_id: Annotated[str | None, Query(description="Only spans after this one.")] = None,
    span_limit: Annotated[int | None, Query(ge=1, description="Default: all spans.")] = None,
) -> Response:
    """Retrieve an execution by its id alone, with its spans."""
    record = state.execution(execution_id)
    spans = _after(spans_of(_events(state, execution_id)), prev_span_id)[:span_limit]
    common = _common(record, release_of(state, record))
    return json_reply({**common, "spans": spans, "state": record.state})


@router.get("/v1/workflows/{span_id}/state", response_model=WorkflowResolvedState)
def retrieve_state(state: Served, span_id: str) -> Response:
    """Retrieve the final state of an execution; the span id is the execution id."""
    record = state.ledger.record(span_id)
    if record is None or record.state is None:
        msg = "No state found for the given span_id"
        raise not_found(msg)
    ancestors = _ancestors(record, state.ledger)
    previous, root = (ancestors[0], ancestors[-1]) if ancestors else (None, None)
    return json_reply(
        {
            "trace_id": record.trace_id,
            "timestamp": (record.end or record.start).isoformat(),
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
async def cancel_status(state: Served, execution_id: str) -> Response:
    """Answer a workflow server that asks whether it is to stop a run."""
    return json_reply({"cancelled": state.executions.live(execution_id) is None})


@router.post("/v1/submit-workflow-execution-actuals")
async def submit_workflow_execution_actuals(state: Served, body: Body[SubmitActuals]) -> Response:
    """Store how good outputs were, and what they should have been."""
    record = _rated(state, body)
    actuals = _checked_actuals(body.actuals, record, release_of(state, record))
    state.ledger.add_actuals(record.execution_id, actuals)
    return json_reply({})


def _events(state: State, execution_id: str) -> Sequence[Event]:
    """Return the events of an execution, those so far if it has not ended."""
    live = state.executions.live(execution_id)
    return state.ledger.events(execution_id) if live is None else live.so_far()


def _ancestors(record: ExecutionRecord, ledger: Ledger) -> list[ExecutionRecord]:
    """Return the executions that this one continues, the newest first."""
    chain: list[ExecutionRecord] = []
    seen = {record.execution_id}
    while record.previous_execution_id is not None and len(chain) < _MOST_ANCESTORS:
        previous = ledger.record(record.previous_execution_id)
        if previous is None or previous.execution_id in seen:
            break
        seen.add(previous.execution_id)
        chain.append(previous)
        record = previous
    return chain


def _after(spans: list[_Json], span_id: str | None) -> list[_Json]:
    if span_id is None:
        return spans
    for number, span in enumerate(spans):
        if span["span_id"] == span_id:
            return spans[number + 1 :]
    msg = f"prev_span_id: the execution has no span {span_id!r:.60}"
    raise bad_request(msg)


# Executions as the contract has them


def slim_execution(
    record: ExecutionRecord, release: Release | None, latest: Actual | None
) -> _Json:
    """Return an execution as lists have it."""
    return {
        **_common(record, release),
        "latest_actual": None if latest is None else _actual(record, release, latest),
        "metric_results": [],
    }


def _common(record: ExecutionRecord, release: Release | None) -> _Json:
    usage = usage_body(record.usage)
    results = usage and [{"usage": usage["usage"], "cost": usage["cost"] or None, "error": None}]
    return {
        "span_id": record.execution_id,
        "start": record.start.isoformat(),
        "end": record.end and record.end.isoformat(),
        "inputs": _values(record.inputs, release.input_variables if release else ()),
        "outputs": _values(record.outputs, release.output_variables if release else ()),
        "error": record.error and record.error.model_dump(mode="json"),
        "usage_results": results,
        "parent_context": release_context(record),
    }


def _values(
    found: Iterable[WorkflowInput | WorkflowOutput], variables: Iterable[VellumVariable]
) -> list[_Json]:
    ids = {variable.key: variable.id for variable in variables}
    return [
        {
            "id": getattr(each, "id", "") or ids.get(each.name) or derived_id(each.name, each.type),
            "name": each.name,
            "type": each.type,
            "value": each.value,
        }
        for each in found
    ]


def _actual(record: ExecutionRecord, release: Release | None, actual: Actual) -> _Json:
    body = actual.body
    name = str(body["output_key"])
    return {
        "output": {
            "id": _output_ids(record, release).get(name) or derived_id(record.release_id, name),
            "name": name,
            "type": body["output_type"],
            "value": body.get("desired_output_value"),
        },
        "timestamp": actual.timestamp.isoformat(),
        "quality": body.get("quality"),
        "metadata": body.get("metadata"),
    }


def _output_ids(record: ExecutionRecord, release: Release | None) -> dict[str, str]:
    """Return the ids of outputs by name: the ones they came with, or those of their variables."""
    declared = {each.key: each.id for each in release.output_variables} if release else {}
    came = {each.name: each.id or declared.get(each.name) for each in record.outputs}
    ids = {name: id_ or derived_id(record.release_id, name) for name, id_ in came.items()}
    return {**ids, **{name: id_ for name, id_ in declared.items() if name not in ids}}


# Spans


def spans_of(events: Sequence[Event]) -> list[_Json]:
    """Return the spans in the order in which they began, as plain JSON.

    A span that never ended, as its execution was ended first, ends with its last event.
    """
    groups: dict[str, list[Event]] = {}
    for event in events:
        groups.setdefault(event.span_id, []).append(event)
    return [_span(group) for group in groups.values()]


def usage_body(usage: Sequence[Usage]) -> _Json | None:
    """Return the tokens and cost of model calls as the contract has them; None without any call.

    The cost is left out when the price of one of the models is unknown.
    """
    if not usage:
        return None
    cost = _sum([each.cost_usd for each in usage])
    models = dict.fromkeys(each.model for each in usage)
    return {
        "usage": [_model_usage(model, usage) for model in models],
        "cost": [] if cost is None else [{"value": cost, "unit": "USD"}],
    }


def _model_usage(model: str, usage: Sequence[Usage]) -> _Json:
    own = [each for each in usage if each.model == model]
    figures = {
        "input_token_count": _sum([each.tokens_in for each in own]),
        "output_token_count": _sum([each.tokens_out for each in own]),
    }
    return {"ml_model_name": model, "ml_model_usage": figures}


def _sum(figures: Sequence[float | None]) -> float | None:
    known = [figure for figure in figures if figure is not None]
    return sum(known) if len(known) == len(figures) else None


def _span(events: Sequence[Event]) -> _Json:
    first = events[0]
    kind = "node" if first.name.startswith("node.") else "workflow"
    usage = tuple(used for event in events for used in event.usage)
    parent = first.parent or {}  # what started the whole execution is no span of it
    return {
        "name": f"{kind}.execution",
        "events": [event.envelope() for event in events],
        "attributes": _attributes(kind, events),
        "usage_result": usage_body(usage),
        "span_id": first.span_id,
        "start_ts": first.timestamp.isoformat(),
        "end_ts": events[-1].timestamp.isoformat(),
        "parent_span_id": parent.get("span_id") if parent.get("type") in _INSIDE else None,
    }


def _attributes(kind: str, events: Sequence[Event]) -> _Json:
    """Return the attributes of a span; `kind`, of a node, is an addition of ours."""
    found = events[0].body.get(f"{kind}_definition")
    definition = found if isinstance(found, Mapping) else {}
    label = str(definition.get("name") or kind)
    id_ = str(definition.get("id") or uuid.uuid5(uuid.NAMESPACE_OID, events[0].span_id))
    if kind == "workflow":
        return {"label": label, "workflow_id": id_}
    kinds = (event.kind for event in events if event.kind)
    return {"label": label, "filepath": None, "node_id": id_, "kind": next(kinds, None)}


# Actuals


def _rated(state: State, body: SubmitActuals) -> ExecutionRecord:
    """Return the execution that actuals belong to."""
    if body.execution_id is None and body.external_id is None:
        msg = "Give either execution_id or external_id"
        raise bad_request(msg)
    if body.execution_id is not None:
        record = state.execution(body.execution_id)
        if body.external_id not in {None, record.external_id}:
            msg = f"The execution {body.execution_id} does not have that external_id"
            raise bad_request(msg)
        return record
    found = state.ledger.by_external_id(str(body.external_id))
    if found is None:
        msg = f"No execution has the external_id {body.external_id!r:.160}"
        raise not_found(msg)
    return found


def _checked_actuals(
    submitted: Sequence[SubmittedActual], record: ExecutionRecord, release: Release | None
) -> list[Actual]:
    """Return actuals of outputs that the execution has, or name each that does not fit."""
    names = {id_: name for name, id_ in _output_ids(record, release).items()}
    problems: list[str] = []
    found: list[Actual] = []
    now = datetime.now(UTC)
    for number, actual in enumerate(submitted):
        problem = _name_problem(actual, names) or _value_problem(actual)
        if problem:
            problems.append(f"actuals[{number}]: {problem}")
            continue
        name = actual.output_key or names[str(actual.output_id)]
        body = {**actual.model_dump(exclude={"timestamp", "output_id"}), "output_key": name}
        found.append(Actual(record.execution_id, _time(actual.timestamp) or now, body))
    if problems:
        raise bad_request("; ".join(problems))
    return found


def _name_problem(actual: SubmittedActual, names: Mapping[str, str]) -> str:
    if actual.output_key is None and actual.output_id is None:
        return "give output_key or output_id"
    known = ", ".join(names.values()) or "none"
    if actual.output_key is not None and actual.output_key not in names.values():
        return f"there is no output {actual.output_key!r:.160}; there are: {known}"
    if actual.output_id is None:
        return ""
    if actual.output_id not in names:
        return f"no output has the id {actual.output_id!r:.60}; there are: {known}"
    if actual.output_key not in {None, names[actual.output_id]}:
        return f"output_id belongs to {names[actual.output_id]!r}, not to {actual.output_key!r}"
    return ""


def _value_problem(actual: SubmittedActual) -> str:
    value, kind = actual.desired_output_value, actual.output_type
    if actual.timestamp is not None and _time(actual.timestamp) is None:
        return f"the timestamp {actual.timestamp!r} is no time; seconds since 1970 are expected"
    if value is None:
        return ""
    if kind == "JSON":
        return "" if isinstance(value, dict) else "desired_output_value: an object is expected"
    problem = wire_problem(value, kind)
    return f"desired_output_value: {problem}" if problem else ""


def _time(seconds: float | None) -> datetime | None:
    if seconds is None or not math.isfinite(seconds):
        return None
    try:
        return datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return None
