"""One prompt: from the request to the call of the model, and from its chunks to events.

Source: https://docs.vellum.ai/developers/client-sdk/ad-hoc/adhoc-execute-prompt-stream
"""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, Literal

from pydantic import Field

from vellum_nb.local.engine.events import Rejection, Usage
from vellum_nb.local.prompts.messages import chat_request, compiled_messages
from vellum_nb.local.prompts.models import Models, Provider
from vellum_nb.models.base import Model

if TYPE_CHECKING:
    from vellum_nb.local.prompts.chat import Answer

Json = Mapping[str, Any]
_NO_MODEL = (
    "No model answers prompts on this local server. Write: "
    'server.models(base_url="http://127.0.0.1:11434/v1", model="llama3.2"), with the address of '
    "any OpenAI-compatible endpoint; api_key=... where it needs one"
)
_LONGEST_MESSAGE = 600
_LETTERS_PER_TOKEN = 4  # as a rule of thumb


class PromptSettings(Model):
    """How to call the model."""

    timeout: float | None = None
    stream_enabled: bool | None = None


class ExpandPromptMeta(Model):
    """Which figures the answer has."""

    cost: bool | None = None
    model_name: bool | None = None
    usage: bool | None = None
    finish_reason: bool | None = None


class ExecutePromptRequest(Model):
    """Body of the ad-hoc prompt routes. A null field counts as absent."""

    ml_model: str
    blocks: tuple[Json, ...]
    input_values: tuple[Json, ...] = ()
    input_variables: tuple[Json, ...] = ()
    parameters: Json = Field(default_factory=dict)
    functions: tuple[Json, ...] = ()
    settings: PromptSettings = PromptSettings()
    expand_meta: ExpandPromptMeta = ExpandPromptMeta()
    execution_context: Json = Field(default_factory=dict)

    @property
    def node_span(self) -> str | None:
        """The span of the node that runs the prompt, from its execution context."""
        parent = self.execution_context.get("parent_context")
        span = parent.get("span_id") if isinstance(parent, Mapping) else None
        return span if isinstance(span, str) else None


class PromptEvent(Model):
    """An event of a prompt.

    `state` is INITIATED, then STREAMING with `output` and `output_index` for each chunk, at the
    end FULFILLED with `outputs` or REJECTED with `error`.
    """

    state: Literal["INITIATED", "STREAMING", "FULFILLED", "REJECTED"]
    execution_id: str
    output: Json | None = None
    output_index: int | None = None
    outputs: tuple[Json, ...] | None = None
    error: Json | None = None
    meta: Json | None = None


async def prompt_events(
    models: Models, body: ExecutePromptRequest, *, stream: bool
) -> AsyncIterator[PromptEvent]:
    """Call the model and yield what happens; the last event is FULFILLED or REJECTED."""
    id_ = str(uuid.uuid4())
    key = models.provider and models.provider.api_key
    try:
        async for event in _events(models, body, stream=stream):
            yield PromptEvent(execution_id=id_, **event)
    except Rejection as exc:
        # Without the key, which the model may repeat, before it is cut to a part of it.
        message = exc.message.replace(key, "***") if key else exc.message
        error = {"code": exc.code, "message": message[:_LONGEST_MESSAGE]}
        yield PromptEvent(execution_id=id_, state="REJECTED", error=error)


async def _events(
    models: Models, body: ExecutePromptRequest, *, stream: bool
) -> AsyncIterator[dict[str, Any]]:
    from vellum_nb.local.prompts.chat import completion  # imports openai, a second

    provider = models.provider
    if provider is None:
        raise Rejection(_NO_MODEL, "PROVIDER_CREDENTIALS_UNAVAILABLE")
    model = provider.model or body.ml_model
    messages = await asyncio.to_thread(
        compiled_messages, body.blocks, body.input_values, body.input_variables
    )
    request = chat_request(body.parameters, body.functions, messages, model=model, stream=stream)
    async with completion(provider, request, time_limit=body.settings.timeout) as answer:
        named = {"model_name": model} if body.expand_meta.model_name else None
        yield {"state": "INITIATED", "meta": named}
        async for text in answer.texts():
            if text:
                yield _streamed({"type": "STRING", "value": text}, 0)
    used = _used(provider, model, len(str(messages)), answer)
    if body.node_span is not None:
        models.add_usage(body.node_span, used)
    if answer.finish_reason is None:
        msg = "The model's answer was cut off"
        raise Rejection(msg, "PROVIDER_ERROR")
    outputs = answer.outputs()
    for index, output in enumerate(outputs):
        if output["type"] != "STRING":
            yield _streamed(output, index)
    meta = _figures(body.expand_meta, answer, used)
    yield {"state": "FULFILLED", "outputs": tuple(outputs), "meta": meta}


def _used(provider: Provider, model: str, length: int, answer: Answer) -> Usage:
    """Return the tokens and cost of the call; estimated when the model did not count."""
    counts = answer.counts
    if counts is not None:
        return provider.used(model, counts.prompt_tokens or 0, counts.completion_tokens or 0)
    tokens_in, tokens_out = (-(-size // _LETTERS_PER_TOKEN) for size in (length, answer.length))
    return provider.used(model, tokens_in, tokens_out, estimated=True)


def _streamed(output: Json, index: int) -> dict[str, Any]:
    return {"state": "STREAMING", "output": output, "output_index": index}


def _figures(asked: ExpandPromptMeta, answer: Answer, used: Usage) -> dict[str, Any] | None:
    meta: dict[str, Any] = {}
    if asked.finish_reason:
        meta["finish_reason"] = answer.finish_reason
    if asked.usage:
        details = answer.counts and answer.counts.prompt_tokens_details
        meta["usage"] = {
            "input_token_count": used.tokens_in,
            "output_token_count": used.tokens_out,
            "output_char_count": answer.length,
            "cache_read_input_tokens": details and details.cached_tokens,
        } | ({"estimated": True} if used.estimated else {})
    if asked.cost and used.cost_usd is not None:
        meta["cost"] = {"value": used.cost_usd, "unit": "USD"}
    return meta or None
