"""The routes that prompt nodes of the Workflows SDK call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from fastapi import Request, Response
from fastapi.responses import StreamingResponse

from vellum_nb.local.prompts.execution import ExecutePromptRequest, PromptEvent, prompt_events
from vellum_nb.local.prompts.models import Models
from vellum_nb.local.refusals import Refused, not_found
from vellum_nb.local.routes.common import (
    NDJSON,
    STREAM_RESPONSES,
    Body,
    LineResponse,
    Served,
    json_line,
    new_router,
    on_hang_up,
    reply,
)

_NO_DEPLOYMENTS = (
    "The local server has no prompt deployments; use an InlinePromptNode, whose prompt is part "
    "of the workflow"
)
router = new_router()


@router.post("/v1/ad-hoc/execute-prompt", response_model=PromptEvent)
async def adhoc_execute_prompt(
    request: Request, state: Served, body: Body[ExecutePromptRequest]
) -> Response:
    """Run a prompt and answer with its last event."""
    task = asyncio.ensure_future(_last(state.models, body))
    try:
        with on_hang_up(request.receive, task.cancel):  # then the model stops
            return reply(await task)
    except asyncio.CancelledError:
        if not task.cancelled():
            raise
        raise Refused(503, "The client hung up") from None  # nobody receives it


@router.post(
    "/v1/ad-hoc/execute-prompt-stream",
    response_class=LineResponse,
    status_code=200,
    response_model=PromptEvent,
    responses=STREAM_RESPONSES,
)
async def adhoc_execute_prompt_stream(state: Served, body: Body[ExecutePromptRequest]) -> Response:
    """Run a prompt and send its events as they happen."""
    return StreamingResponse(_lines(state.models, body), media_type=NDJSON)


@router.post("/v1/execute-prompt", response_model=PromptEvent)
@router.post("/v1/execute-prompt-stream", response_model=PromptEvent)
async def execute_prompt() -> Response:
    """Refuse a prompt deployment: a local server has none."""
    raise not_found(_NO_DEPLOYMENTS)


async def _last(models: Models, body: ExecutePromptRequest) -> PromptEvent:
    events = [event async for event in prompt_events(models, body, stream=False)]
    return events[-1]


async def _lines(models: Models, body: ExecutePromptRequest) -> AsyncIterator[bytes]:
    async for event in prompt_events(models, body, stream=True):
        yield json_line(event.model_dump(mode="json", exclude_unset=True))
