"""The routes that execute workflows: requests, streams, status."""

from __future__ import annotations

import uuid
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from fastapi import Request, Response

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
from vellum_nb.local.routes.common import (
    STREAM_RESPONSES,
    Body,
    LineResponse,
    Named,
    Served,
    json_line,
    new_router,
    on_hang_up,
    reply,
)
from vellum_nb.local.routes.stream_lines import WorkflowStream
from vellum_nb.models import (
    CheckWorkflowExecutionStatusResponse,
    ExecuteWorkflowAsyncResponse,
    ExecuteWorkflowResponse,
    WorkflowEvent,
    WorkflowEventError,
    WorkflowResult,
    WorkflowStreamEvent,
)

router = new_router()
_HUNG_UP = "The client hung up"
_NO_VALUES = DeploymentExecuteStreamRequest()


@router.post("/v1/execute-workflow", response_model=ExecuteWorkflowResponse)
async def execute_workflow(request: Request, state: Served, body: Body[ExecuteBody]) -> Response:
    """Run a release and answer when it has ended; a client that hangs up cancels the run."""
    live = state.executions.start(parse_request(state.registry, body))
    with on_hang_up(request.receive, lambda: live.cancel(_HUNG_UP)):
        record = await live.result()
    return reply(
        ExecuteWorkflowResponse(
            execution_id=record.execution_id,
            external_id=record.external_id,
            run_id=None,
            data=_result(record),
        )
    )


@router.post(
    "/v1/execute-workflow-stream",
    response_class=LineResponse,
    status_code=200,
    response_model=WorkflowStreamEvent,
    responses=STREAM_RESPONSES,
)
async def execute_workflow_stream(
    state: Served, body: Body[ExecuteWorkflowStreamRequest]
) -> Response:
    """Run a release and send its events as they happen."""
    live = await state.executions.begin(parse_request(state.registry, body))
    stream = WorkflowStream(
        live.record, event_types=body.event_types or ("WORKFLOW",), expand_meta=body.expand_meta
    )
    return _streamed(live, stream.lines)


@router.post("/v1/execute-workflow-async", response_model=ExecuteWorkflowAsyncResponse)
async def execute_workflow_async(state: Served, body: Body[ExecuteBody]) -> Response:
    """Begin to run a release and answer at once."""
    live = await state.executions.begin(parse_request(state.registry, body))
    return reply(ExecuteWorkflowAsyncResponse(execution_id=live.record.execution_id))


@router.get(
    "/v1/workflows/executions/{execution_id}/status",
    response_model=CheckWorkflowExecutionStatusResponse,
)
async def workflow_execution_status(state: Served, execution_id: str) -> Response:
    """Return the state of an execution, with its outputs or its error."""
    record = state.execution(execution_id)
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
    "/v1/workflow-deployments/{id}/execute-stream",
    response_class=LineResponse,
    status_code=200,
    response_model=WorkflowEvent,
    responses=STREAM_RESPONSES,
)
async def execute_stream(
    state: Served, deployment: Named, body: Body[DeploymentExecuteStreamRequest] = _NO_VALUES
) -> Response:
    """Run a release with plain values, and send its events in their envelopes."""
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
            text = b"".join(json_line(each) for event in batch for each in lines(event))
            if text:
                yield text

    return LineResponse(chunks(), hung_up=lambda: live.cancel(_HUNG_UP))
