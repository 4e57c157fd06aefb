"""The routes that execute workflows."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from fastapi import APIRouter, Request, Response

from vellum_nb.local.engine.events import Event, values_by_name
from vellum_nb.local.engine.executions import LiveExecution
from vellum_nb.local.engine.requests import (
    DeploymentExecuteStreamRequest,
    ExecuteBody,
    ExecuteWorkflowStreamRequest,
    parse_request,
    parse_stream_request,
)
from vellum_nb.local.ledger.ledger import ExecutionRecord
from vellum_nb.local.refusals import not_found
from vellum_nb.local.routes.bodies import read_body
from vellum_nb.local.routes.hang_up import watched
from vellum_nb.local.routes.replies import FAILURES, LineResponse, line, reply
from vellum_nb.local.routes.state import Named, Served
from vellum_nb.local.routes.streams import WorkflowStream
from vellum_nb.models import (
    CheckWorkflowExecutionStatusResponse,
    ExecuteWorkflowAsyncResponse,
    ExecuteWorkflowResponse,
    WorkflowEventError,
    WorkflowResult,
)

__all__ = ["router"]

router = APIRouter(responses=FAILURES)
_HUNG_UP = "The client hung up"


@router.post("/v1/execute-workflow", response_model=ExecuteWorkflowResponse)
async def execute_workflow(request: Request, state: Served) -> Response:
    """Run a release and answer when it has ended; a client that hangs up cancels the run."""
    body = read_body(await request.body(), ExecuteBody)
    live = state.executions.start(parse_request(state.registry, body))
    with watched(request.receive, lambda: live.cancel(_HUNG_UP)):
        record = await live.result()
    return reply(
        ExecuteWorkflowResponse(
            execution_id=record.execution_id,
            external_id=record.external_id,
            run_id=None,
            data=_result(record),
        )
    )


@router.post("/v1/execute-workflow-stream", response_class=LineResponse, status_code=200)
async def execute_workflow_stream(request: Request, state: Served) -> Response:
    """Run a release and tell what happens as it happens."""
    body = read_body(await request.body(), ExecuteWorkflowStreamRequest)
    live = await state.executions.begin(parse_request(state.registry, body))
    stream = WorkflowStream(
        live.record, event_types=body.event_types or ("WORKFLOW",), expand_meta=body.expand_meta
    )
    return _streamed(live, stream.lines)


@router.post("/v1/execute-workflow-async", response_model=ExecuteWorkflowAsyncResponse)
async def execute_workflow_async(request: Request, state: Served) -> Response:
    """Begin to run a release and answer at once."""
    body = read_body(await request.body(), ExecuteBody)
    live = await state.executions.begin(parse_request(state.registry, body))
    return reply(ExecuteWorkflowAsyncResponse(execution_id=live.record.execution_id))


@router.get(
    "/v1/workflows/executions/{execution_id}/status",
    response_model=CheckWorkflowExecutionStatusResponse,
)
async def workflow_execution_status(state: Served, execution_id: str) -> Response:
    """Tell how far an execution is, and what came of it."""
    record = state.executions.record(execution_id)
    if record is None:
        msg = f"No execution {execution_id!r:.60} is here"
        raise not_found(msg)
    error = record.error
    return reply(
        CheckWorkflowExecutionStatusResponse(
            status=record.status,
            execution_id=record.execution_id,
            outputs=values_by_name(record.outputs) if record.status == "FULFILLED" else None,
            error=error and WorkflowEventError(message=error.message, code=error.code),
            execution_detail_url=None,
        )
    )


@router.post(
    "/v1/workflow-deployments/{id}/execute-stream", response_class=LineResponse, status_code=200
)
async def execute_stream(request: Request, state: Served, deployment: Named) -> Response:
    """Run a release with plain values, and tell its events in their envelopes."""
    body = read_body(await request.body(), DeploymentExecuteStreamRequest)
    live = await state.executions.begin(parse_stream_request(state.registry, deployment, body))
    return _streamed(live, lambda event: iter((event.envelope(),)))


def _result(record: ExecutionRecord) -> WorkflowResult:
    common: dict[str, Any] = {"id": str(uuid.uuid4()), "ts": record.end}
    if record.error is None:
        return WorkflowResult(**common, state="FULFILLED", outputs=record.outputs)
    return WorkflowResult(**common, state="REJECTED", error=record.error)


def _streamed(live: LiveExecution, lines: Callable[[Event], Iterator[dict[str, Any]]]) -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        async for batch in live.batches():
            text = b"".join(line(each) for event in batch for each in lines(event))
            if text:
                yield text

    return LineResponse(chunks(), hung_up=lambda: live.cancel(_HUNG_UP))
