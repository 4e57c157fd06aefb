"""The routes that show executions, and that take what is said about them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request, Response

from vellum_nb.local.deployments.releases import Release
from vellum_nb.local.engine.events import Event
from vellum_nb.local.ledger.filters import parse_filters, parse_ordering
from vellum_nb.local.ledger.ledger import ExecutionRecord
from vellum_nb.local.refusals import bad_request, not_found
from vellum_nb.local.routes import execution_views as views
from vellum_nb.local.routes.actuals import SubmitActuals, checked_actuals
from vellum_nb.local.routes.bodies import read_body
from vellum_nb.local.routes.pages import LARGEST, Limit, Offset
from vellum_nb.local.routes.replies import FAILURES, plain_reply
from vellum_nb.local.routes.spans import spans_of
from vellum_nb.local.routes.state import Named, Served, State
from vellum_nb.models import (
    SlimWorkflowExecutionRead,
    WorkflowEventExecutionRead,
    WorkflowExecutionDetail,
    WorkflowResolvedState,
)
from vellum_nb.models.base import Model

__all__ = ["router"]

router = APIRouter(responses=FAILURES)

_EVENTS = "/v1/workflow-deployments/{id}/execution-events"


class ExecutionEvents(Model):
    """One page of executions."""

    count: int
    results: tuple[SlimWorkflowExecutionRead, ...]


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
        limit=min(limit, LARGEST),
        offset=offset,
    )
    results = [
        views.slim_execution(
            record,
            deployment.release(record.release_id),
            state.ledger.latest_actual(record.execution_id),
        )
        for record in records
    ]
    return plain_reply({"count": count, "results": results})


@router.get(f"{_EVENTS}/{{execution_id}}", response_model=WorkflowEventExecutionRead)
def workflow_deployment_event_execution(
    state: Served, deployment: Named, execution_id: str
) -> Response:
    """Retrieve an execution of a deployment, with its spans."""
    record = _execution(state, execution_id)
    if record.deployment_id != deployment.id:
        names = f"{record.deployment_name!r}, not of {deployment.name!r}"
        msg = f"The execution {execution_id} is one of {names}"
        raise not_found(msg)
    latest = state.ledger.latest_actual(execution_id)
    events = _events(state, execution_id)
    release = deployment.release(record.release_id)
    return plain_reply(views.event_execution(record, release, latest, events))


@router.get("/v1/workflow-executions/{execution_id}/detail", response_model=WorkflowExecutionDetail)
def retrieve_workflow_execution_detail(
    state: Served,
    execution_id: str,
    prev_span_id: Annotated[str | None, Query(description="Only spans after this one.")] = None,
    span_limit: Annotated[int | None, Query(ge=1, description="Default: all spans.")] = None,
) -> Response:
    """Retrieve an execution by its id alone, with its spans."""
    record = _execution(state, execution_id)
    spans = _after(spans_of(_events(state, execution_id)), prev_span_id)
    return plain_reply(views.detail(record, _release(state, record), spans[:span_limit]))


@router.get("/v1/workflows/{span_id}/state", response_model=WorkflowResolvedState)
def retrieve_state(state: Served, span_id: str) -> Response:
    """Retrieve what a workflow remembered at its end; the span id is the execution id."""
    record = state.ledger.record(span_id)
    if record is None or record.state is None:
        msg = "No state found for the given span_id"
        raise not_found(msg)
    return plain_reply(views.resolved_state(record, state.ledger))


@router.post("/v1/submit-workflow-execution-actuals")
async def submit_workflow_execution_actuals(request: Request, state: Served) -> Response:
    """Keep how good outputs were, and what they should have been."""
    body = read_body(await request.body(), SubmitActuals)
    record = _meant(state, body)
    actuals = checked_actuals(body.actuals, record, _release(state, record))
    state.ledger.add_actuals(record.execution_id, actuals)
    return plain_reply({})


def _meant(state: State, body: SubmitActuals) -> ExecutionRecord:
    """Return the execution that actuals are of."""
    if body.execution_id is None and body.external_id is None:
        msg = "Give either execution_id or external_id"
        raise bad_request(msg)
    if body.execution_id is not None:
        record = _execution(state, body.execution_id)
        if body.external_id not in {None, record.external_id}:
            msg = f"The execution {body.execution_id} does not have that external_id"
            raise bad_request(msg)
        return record
    found = state.ledger.by_external_id(str(body.external_id))
    if found is None:
        msg = f"No execution has the external_id {body.external_id!r:.160}"
        raise not_found(msg)
    return found


def _execution(state: State, execution_id: str) -> ExecutionRecord:
    record = state.ledger.record(execution_id)
    if record is None:
        msg = f"No execution {execution_id!r:.60} is here"
        raise not_found(msg)
    return record


def _events(state: State, execution_id: str) -> Sequence[Event]:
    """Return what happened in an execution, so far if it has not ended."""
    live = state.executions.live(execution_id)
    return state.ledger.events(execution_id) if live is None else live.so_far()


def _release(state: State, record: ExecutionRecord) -> Release | None:
    """Return what ran; None when its deployment is not known any more."""
    found = [d for d in state.registry.all() if d.id == record.deployment_id]
    return found[0].release(record.release_id) if found else None


def _after(spans: list[dict[str, Any]], span_id: str | None) -> list[dict[str, Any]]:
    if span_id is None:
        return spans
    for number, span in enumerate(spans):
        if span["span_id"] == span_id:
            return spans[number + 1 :]
    msg = f"prev_span_id: the execution has no span {span_id!r:.60}"
    raise bad_request(msg)
