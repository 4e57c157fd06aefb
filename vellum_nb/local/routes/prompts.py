"""The routes that prompt nodes of the Workflows SDK call."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from fastapi import Request, Response

from vellum_nb.local.prompts.execution import ExecutePromptRequest, PromptEvent, prompt_events
from vellum_nb.local.prompts.models import Models
from vellum_nb.local.refusals import Refused, not_found
from vellum_nb.local.routes.common import (
    Body,
    Lines,
    Served,
    json_line,
    lines_of,
    new_router,
    on_hang_up,
)

router = new_router()


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
        raise Refused(503, "The client hung up") from None  # nobody receives it


@router.post("/v1/ad-hoc/execute-prompt-stream", **lines_of(PromptEvent))
async def adhoc_execute_prompt_stream(state: Served, body: Body[ExecutePromptRequest]) -> Response:
    """Run a prompt and send its events as they happen."""
    return Lines(_lines(state.models, body))


@router.post("/v1/execute-prompt")
@router.post("/v1/execute-prompt-stream")
async def execute_prompt() -> PromptEvent:
    """Refuse a prompt deployment: a local server has none."""
    msg = (
        "The local server has no prompt deployments; use an InlinePromptNode, whose prompt is part "
        "of the workflow"
    )
    raise not_found(msg)


async def _lines(models: Models, body: ExecutePromptRequest) -> AsyncIterator[bytes]:
    async for event in prompt_events(models, body, stream=True):
        yield json_line(event.model_dump(mode="json", exclude_unset=True))
