"""The routes that prompt nodes of the Workflows SDK call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from vellum_nb.local.prompts.executing import prompt_events
from vellum_nb.local.prompts.models import Models
from vellum_nb.local.prompts.wire import ExecutePromptRequest, PromptEvent
from vellum_nb.local.refusals import Refused, not_found
from vellum_nb.local.routes.bodies import read_body
from vellum_nb.local.routes.replies import FAILURES, line, reply
from vellum_nb.local.routes.state import Served

__all__ = ["router"]

_NDJSON = "application/x-ndjson"
_NO_DEPLOYMENTS = (
    "The local server has no prompt deployments; use an InlinePromptNode, whose prompt is part "
    "of the workflow"
)
router = APIRouter(responses=FAILURES)


@router.post("/v1/ad-hoc/execute-prompt", response_model=PromptEvent)
async def adhoc_execute_prompt(request: Request, state: Served) -> Response:
    """Run a prompt and answer with its last event."""
    body = read_body(await request.body(), ExecutePromptRequest)
    return reply(await _unless_hung_up(request, _last(state.models, body)))


@router.post("/v1/ad-hoc/execute-prompt-stream", response_class=Response)
async def adhoc_execute_prompt_stream(request: Request, state: Served) -> Response:
    """Run a prompt and tell its events as they happen."""
    body = read_body(await request.body(), ExecutePromptRequest)
    return StreamingResponse(_lines(state.models, body), media_type=_NDJSON)


@router.post("/v1/execute-prompt", response_model=PromptEvent)
@router.post("/v1/execute-prompt-stream", response_model=PromptEvent)
async def execute_prompt() -> Response:
    """Refuse a prompt deployment: there are none here."""
    raise not_found(_NO_DEPLOYMENTS)


async def _last(models: Models, body: ExecutePromptRequest) -> PromptEvent:
    events = [event async for event in prompt_events(models, body, stream=False)]
    return events[-1]


async def _unless_hung_up(request: Request, work: Coroutine[Any, Any, PromptEvent]) -> PromptEvent:
    """Return what `work` returns; it is cancelled, and the model stops, if the client goes."""
    task = asyncio.ensure_future(work)
    gone = asyncio.ensure_future(request.receive())
    gone.add_done_callback(lambda done: None if done.cancelled() else task.cancel())
    try:
        return await task
    except asyncio.CancelledError:
        if not gone.done():
            raise
        raise Refused(503, "The client hung up") from None  # nobody hears it
    finally:
        gone.cancel()


async def _lines(models: Models, body: ExecutePromptRequest) -> AsyncIterator[bytes]:
    async for event in prompt_events(models, body, stream=True):
        yield line(event.model_dump(mode="json", exclude_unset=True))
