"""One prompt, from the request to its events."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Any

from vellum_nb.local.engine.events import Usage
from vellum_nb.local.prompts.answer import Answer
from vellum_nb.local.prompts.blocks import compiled
from vellum_nb.local.prompts.failures import PromptFailed
from vellum_nb.local.prompts.messages import chat_messages
from vellum_nb.local.prompts.models import Models, Provider
from vellum_nb.local.prompts.order import chat_order
from vellum_nb.local.prompts.wire import ExecutePromptRequest, PromptEvent

__all__ = ["prompt_events"]

_NONE = (
    "No model answers prompts on this local server. Write: "
    'server.models(base_url="http://127.0.0.1:11434/v1", model="llama3.2"), with the address of '
    "any OpenAI-compatible endpoint; api_key=... where it wants one"
)
_LONGEST = 600  # letters of a message
_LETTERS = 4  # a token, as a rule of thumb


async def prompt_events(
    models: Models, body: ExecutePromptRequest, *, stream: bool
) -> AsyncIterator[PromptEvent]:
    """Ask the model and tell what happens; the last event is FULFILLED or REJECTED."""
    prompt = _Prompt(models, body, stream=stream)
    try:
        async for event in prompt.events():
            yield event
    except PromptFailed as exc:
        error = {"code": exc.code, "message": _shown(exc.message, prompt.provider)}
        yield prompt.event("REJECTED", error=error)


class _Prompt:
    def __init__(self, models: Models, body: ExecutePromptRequest, *, stream: bool) -> None:
        self._models = models
        self.provider = models.provider  # another one may be set meanwhile
        self._body = body
        self._stream = stream
        self._id = str(uuid.uuid4())

    def event(self, state: Any, **fields: Any) -> PromptEvent:
        return PromptEvent(state=state, execution_id=self._id, **fields)

    async def events(self) -> AsyncIterator[PromptEvent]:
        provider = self.provider
        if provider is None:
            raise PromptFailed(_NONE, code="PROVIDER_CREDENTIALS_UNAVAILABLE")
        model = provider.chosen(self._body.ml_model)
        blocks = await asyncio.to_thread(compiled, self._body)
        from vellum_nb.local.prompts.chat import ask  # its httpx is there where the SDK is

        messages = chat_messages(blocks)
        order = chat_order(self._body, messages, model=model, stream=self._stream)
        answer = Answer()
        async with ask(provider, order, patience=self._body.settings.timeout) as chunks:
            yield self.event("INITIATED", meta=self._name(model))
            async for chunk in chunks:
                text = answer.take(chunk)
                if text:
                    yield self._said({"type": "STRING", "value": text}, 0)
        async for event in self._ended(answer, self._used(provider, model, order, answer)):
            yield event

    async def _ended(self, answer: Answer, used: Usage) -> AsyncIterator[PromptEvent]:
        if answer.finish_reason is None:
            msg = "The model's answer was cut off"
            raise PromptFailed(msg, code="PROVIDER_ERROR")
        outputs = answer.outputs()
        for index, output in enumerate(outputs):
            if output["type"] != "STRING":
                yield self._said(output, index)
        yield self.event("FULFILLED", outputs=tuple(outputs), meta=self._figures(answer, used))

    def _said(self, output: Mapping[str, Any], index: int) -> PromptEvent:
        return self.event("STREAMING", output=output, output_index=index)

    def _used(
        self, provider: Provider, model: str, order: Mapping[str, Any], answer: Answer
    ) -> Usage:
        """Note and return what the model used; guessed when it did not count."""
        counts = answer.counts
        if counts is None:
            sizes = len(str(order["messages"])), answer.length
            used = provider.used(model, *map(_tokens, sizes), estimated=True)
        else:
            used = provider.used(model, counts.prompt_tokens, counts.completion_tokens)
        if self._body.node_span is not None:
            self._models.usage.add(self._body.node_span, used)
        return used

    def _name(self, model: str) -> dict[str, Any] | None:
        return {"model_name": model} if self._body.expand_meta.model_name else None

    def _figures(self, answer: Answer, used: Usage) -> dict[str, Any] | None:
        asked = self._body.expand_meta
        meta: dict[str, Any] = {}
        if asked.finish_reason:
            meta["finish_reason"] = answer.finish_reason
        if asked.usage:
            meta["usage"] = _usage(used, answer)
        if asked.cost and used.cost_usd is not None:
            meta["cost"] = {"value": used.cost_usd, "unit": "USD"}
        return meta or None


def _shown(message: str, provider: Provider | None) -> str:
    """Return the beginning of a message without the key, even if the model repeated it."""
    key = provider.api_key if provider is not None else None
    if key is not None:  # before it is cut, which may leave a part of the key
        message = message.replace(key, "***")
    return message[:_LONGEST]


def _usage(used: Usage, answer: Answer) -> dict[str, Any]:
    counts = answer.counts
    cached = None if counts is None else counts.prompt_tokens_details.cached_tokens
    told = {
        "input_token_count": used.tokens_in,
        "output_token_count": used.tokens_out,
        "output_char_count": answer.length,
        "cache_read_input_tokens": cached,
    }
    return told | ({"estimated": True} if used.estimated else {})


def _tokens(letters: int) -> int:
    return -(-letters // _LETTERS)
