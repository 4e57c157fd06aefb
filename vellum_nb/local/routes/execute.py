"""The routes that execute workflows and prompts: requests, streams, status."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

from fastapi import Request, Response
from starlette.background import BackgroundTask

from vellum_nb.local.engine.events import Event, new_id, values_by_name
from vellum_nb.local.engine.executions import LiveExecution
from vellum_nb.local.engine.requests import (
    DeploymentExecuteStreamRequest,
    ExecuteBody,
    ExecuteWorkflowStreamRequest,
    parse_request,
    parse_stream_request,
)
from vellum_nb.local.prompts.execution import ExecutePromptRequest, PromptEvent, prompt_events
from vellum_nb.local.refusals import Refused
from vellum_nb.local.routes.common import (
    JSON,
    Body,
    Lines,
    Named,
    Served,
    json_line,
    lines_of,
    new_router,
    on_hang_up,
)
from vellum_nb.local.routes.stream_lines import WorkflowStream
from vellum_nb.models import contract

router = new_router()
_HUNG_UP = "The client hung up"
_PIECE = 256 * 1024  # bytes
_NO_VALUES = DeploymentExecuteStreamRequest()


@router.post("/v1/execute-workflow", response_model=contract.ExecuteWorkflowResponse)
async def execute_workflow(request: Request, state: Served, body: Body[ExecuteBody]) -> JSON:
    """Run a release and answer when it has ended; a client that hangs up cancels the run."""
    live = state.executions.start(parse_request(state.registry, body))
    with on_hang_up(request.receive, lambda: live.cancel(_HUNG_UP)):
        record = await live.result()
    ids = {"execution_id": record.execution_id, "external_id": record.external_id, "run_id": None}
    outcome = {"outputs": record.outputs} if record.error is None else {"error": record.error}
    data = {"id": new_id(), "state": record.status, "ts": record.end, **outcome}
    return JSON({**ids, "data": data})


@router.post("/v1/execute-workflow-stream", **lines_of(contract.WorkflowStreamEvent))
async def execute_workflow_stream(
    state: Served, body: Body[ExecuteWorkflowStreamRequest]
) -> Response:
    """Run a release and send its events as they happen."""
    live = await state.executions.begin(parse_request(state.registry, body))
    types = body.event_types or ("WORKFLOW",)
    stream = WorkflowStream(live.record, event_types=types, expand_meta=body.expand_meta)
    return _streamed(live, stream.lines)


@router.post("/v1/execute-workflow-async")
async def execute_workflow_async(
    state: Served, body: Body[ExecuteBody]
) -> contract.ExecuteWorkflowAsyncResponse:
    """Begin to run a release and answer at once."""
    live = await state.executions.begin(parse_request(state.registry, body))
    return contract.ExecuteWorkflowAsyncResponse(execution_id=live.record.execution_id)


@router.get("/v1/workflows/executions/{execution_id}/status")
def workflow_execution_status(
    state: Served, execution_id: str
) -> contract.CheckWorkflowExecutionStatusResponse:
    """Return the state of an execution, with its outputs or its error."""
    record = state.execution(execution_id)
    error = record.error
    return contract.CheckWorkflowExecutionStatusResponse(
        status=record.status,
        execution_id=record.execution_id,
        outputs=values_by_name(record.outputs) if record.status == "FULFILLED" else None,
        error=error and contract.WorkflowEventError(message=error.message, code=error.code),
        execution_detail_url=None,
    )


@router.post("/v1/workflow-deployments/{id}/execute-stream", **lines_of(contract.WorkflowEvent))
async def execute_stream(
    state: Served, deployment: Named, body: Body[DeploymentExecuteStreamRequest] = _NO_VALUES
) -> Response:
    """Run a release with plain values, and send its events in their envelopes."""
    live = await state.executions.begin(parse_stream_request(deployment, body))
    return _streamed(live, lambda event: iter((event.envelope(),)))


def _streamed(live: LiveExecution, lines: Callable[[Event], Iterator[dict[str, Any]]]) -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        async for batch in live.batches():
            text = b"".join(json_line(each) for event in batch for each in lines(event))
            for start in range(0, len(text), _PIECE):  # each is copied on its way
                yield text[start : start + _PIECE]

    # In the background: after the end, or once the client has hung up, which cancels the run.
    return Lines(chunks(), background=BackgroundTask(live.cancel, _HUNG_UP))


# What prompt nodes of the Workflows SDK call


@router.post("/v1/ad-hoc/execute-prompt")
async def adhoc_execute_prompt(
    request: Request, state: Served, body: Body[ExecutePromptRequest]
) -> PromptEvent:
    """Run a prompt and answer with its last event."""

    async def last() -> PromptEvent:
        return [event async for event in prompt_events(state.models, body, stream=False)][-1]

    task = asyncio.ensure_future(last())
    try:
        with on_hang_up(request.receive, task.cancel):  # then the model stops
            return await task
    except asyncio.CancelledError:
        if not task.cancelled():
            raise
        raise Refused(503, _HUNG_UP) from None  # nobody receives it


@router.post("/v1/ad-hoc/execute-prompt-stream", **lines_of(PromptEvent))
async def adhoc_execute_prompt_stream(state: Served, body: Body[ExecutePromptRequest]) -> Response:
    """Run a prompt and send its events as they happen."""

    async def lines() -> AsyncIterator[bytes]:
        async for event in prompt_events(state.models, body, stream=True):
            yield json_line(event.model_dump(mode="json", exclude_unset=True))

    return Lines(lines())


@router.post("/v1/execute-prompt")
@router.post("/v1/execute-prompt-stream")
async def execute_prompt() -> PromptEvent:
    """Refuse a prompt deployment: a local server has none."""
    msg = (
        "The local server has no prompt deployments; use an InlinePromptNode, whose prompt is part "
        "of the workflow"
    )
    raise Refused(404, msg)
