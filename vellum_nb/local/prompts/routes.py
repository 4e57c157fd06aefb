"""The routes that prompt nodes of the Workflows SDK call."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from fastapi import APIRouter, Request, Response
from fastapi.responses import StreamingResponse

from vellum_nb.local.bodies import read_body
from vellum_nb.local.prompts.executing import prompt_events
from vellum_nb.local.prompts.models import Models
from vellum_nb.local.prompts.wire import ExecutePromptRequest, PromptEvent
from vellum_nb.local.refusals import not_found
from vellum_nb.local.replies import Failure, reply
from vellum_nb.local.state import Served

__all__ = ["prompt_router"]

_NDJSON = "application/x-ndjson"
_NO_DEPLOYMENTS = (
    "The local server has no prompt deployments; use an InlinePromptNode, whose prompt is part "
    "of the workflow"
)
prompt_router = APIRouter(
    responses={
        "default": {"model": Failure, "description": "Any failure; `detail` says what to do."}
    }
)


@prompt_router.post("/v1/ad-hoc/execute-prompt", response_model=PromptEvent)
async def adhoc_execute_prompt(request: Request, state: Served) -> Response:
    """Run a prompt and answer with its last event."""
    body = read_body(await request.body(), ExecutePromptRequest)
    async for event in prompt_events(state.models, body, stream=False):
        last = event
    return reply(last)


@prompt_router.post("/v1/ad-hoc/execute-prompt-stream", response_class=Response)
async def adhoc_execute_prompt_stream(request: Request, state: Served) -> Response:
    """Run a prompt and tell its events as they happen."""
    body = read_body(await request.body(), ExecutePromptRequest)
    return StreamingResponse(_lines(state.models, body), media_type=_NDJSON)


@prompt_router.post("/v1/execute-prompt", response_model=PromptEvent)
@prompt_router.post("/v1/execute-prompt-stream", response_model=PromptEvent)
async def execute_prompt() -> Response:
    """Refuse a prompt deployment: there are none here."""
    raise not_found(_NO_DEPLOYMENTS)


async def _lines(models: Models, body: ExecutePromptRequest) -> AsyncIterator[str]:
    async for event in prompt_events(models, body, stream=True):
        yield json.dumps(event.model_dump(mode="json", exclude_unset=True)) + "\n"
