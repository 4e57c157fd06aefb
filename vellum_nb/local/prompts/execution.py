"""One prompt: from the request to the call of the model, and from its chunks to events.

Source: https://docs.vellum.ai/developers/client-sdk/ad-hoc/adhoc-execute-prompt-stream
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Literal

from pydantic import Field, ValidationError

from vellum_nb.local.engine.events import Usage
from vellum_nb.local.prompts.messages import PromptFailed, chat_request, compiled_messages
from vellum_nb.local.prompts.models import Models, Provider
from vellum_nb.models.base import Model, Reply

Json = Mapping[str, Any]
_NO_MODEL = (
    "No model answers prompts on this local server. Write: "
    'server.models(base_url="http://127.0.0.1:11434/v1", model="llama3.2"), with the address of '
    "any OpenAI-compatible endpoint; api_key=... where it needs one"
)
_LONGEST_MESSAGE = 600
_LETTERS_PER_TOKEN = 4  # as a rule of thumb
_FINISHED = {"stop": "STOP", "length": "LENGTH", "tool_calls": "STOP", "function_call": "STOP"}


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
    provider = models.provider
    id_ = str(uuid.uuid4())
    try:
        async for event in _events(models, provider, body, stream=stream):
            yield PromptEvent(execution_id=id_, **event)
    except PromptFailed as exc:
        error = {"code": exc.code, "message": _shortened(exc.message, provider)}
        yield PromptEvent(execution_id=id_, state="REJECTED", error=error)


async def _events(
    models: Models, provider: Provider | None, body: ExecutePromptRequest, *, stream: bool
) -> AsyncIterator[dict[str, Any]]:
    if provider is None:
        raise PromptFailed(_NO_MODEL, code="PROVIDER_CREDENTIALS_UNAVAILABLE")
    model = provider.chosen(body.ml_model)
    messages = await asyncio.to_thread(
        compiled_messages, body.blocks, body.input_values, body.input_variables
    )
    request = chat_request(body.parameters, body.functions, messages, model=model, stream=stream)
    answer = _Answer()
    limit = body.settings.timeout
    async with _completion_chunks()(provider, request, time_limit=limit) as chunks:
        yield {
            "state": "INITIATED",
            "meta": {"model_name": model} if body.expand_meta.model_name else None,
        }
        async for chunk in chunks:
            text = answer.add(chunk)
            if text:
                yield _streamed({"type": "STRING", "value": text}, 0)
    used = _used(provider, model, request, answer)
    if body.node_span is not None:
        models.usage.add(body.node_span, used)
    if answer.finish_reason is None:
        msg = "The model's answer was cut off"
        raise PromptFailed(msg, code="PROVIDER_ERROR")
    outputs = answer.outputs()
    for index, output in enumerate(outputs):
        if output["type"] != "STRING":
            yield _streamed(output, index)
    meta = _figures(body.expand_meta, answer, used)
    yield {"state": "FULFILLED", "outputs": tuple(outputs), "meta": meta}


def _completion_chunks() -> Callable[..., AbstractAsyncContextManager[AsyncIterator[Any]]]:
    try:
        from vellum_nb.local.prompts.chat import completion_chunks  # imports openai, a second
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] != "openai":
            raise
        msg = 'Models are called with the openai client: pip install "vellum-nb[models]"'
        raise PromptFailed(msg, code="INTERNAL_SERVER_ERROR") from exc
    return completion_chunks


def _streamed(output: Json, index: int) -> dict[str, Any]:
    return {"state": "STREAMING", "output": output, "output_index": index}


def _used(provider: Provider, model: str, request: Json, answer: _Answer) -> Usage:
    """Return the tokens and cost of the call; estimated when the model did not count."""
    counts = answer.counts
    if counts is not None:
        return provider.used(model, counts.prompt_tokens, counts.completion_tokens)
    sizes = len(str(request["messages"])), answer.length
    tokens_in, tokens_out = (-(-size // _LETTERS_PER_TOKEN) for size in sizes)
    return provider.used(model, tokens_in, tokens_out, estimated=True)


def _figures(asked: ExpandPromptMeta, answer: _Answer, used: Usage) -> dict[str, Any] | None:
    meta: dict[str, Any] = {}
    if asked.finish_reason:
        meta["finish_reason"] = answer.finish_reason
    if asked.usage:
        counts = answer.counts
        meta["usage"] = {
            "input_token_count": used.tokens_in,
            "output_token_count": used.tokens_out,
            "output_char_count": answer.length,
            "cache_read_input_tokens": counts and counts.prompt_tokens_details.cached_tokens,
        } | ({"estimated": True} if used.estimated else {})
    if asked.cost and used.cost_usd is not None:
        meta["cost"] = {"value": used.cost_usd, "unit": "USD"}
    return meta or None


def _shortened(message: str, provider: Provider | None) -> str:
    """Return the beginning of a message without the key, even if the model repeated it."""
    key = provider.api_key if provider is not None else None
    if key is not None:  # before it is cut, which may leave a part of the key
        message = message.replace(key, "***")
    return message[:_LONGEST_MESSAGE]


# The answer of the model: lenient, as the servers differ


class _Function(Reply):
    name: str = ""
    arguments: str | Mapping[str, Any] = ""


class _Call(Reply):
    index: int = -1
    id: str = ""
    function: _Function = _Function()


class _Message(Reply):
    content: str | tuple[Mapping[str, Any], ...] = ""
    refusal: str = ""
    tool_calls: tuple[_Call, ...] = ()

    @property
    def text(self) -> str:
        if isinstance(self.content, str):
            return self.content + self.refusal
        return "".join(str(part.get("text") or "") for part in self.content) + self.refusal


class _Choice(Reply):
    delta: _Message | None = None
    message: _Message | None = None
    finish_reason: str | None = None


class _Cached(Reply):
    cached_tokens: int | None = None


class _Counts(Reply):
    prompt_tokens: int = Field(default=0, ge=0)
    completion_tokens: int = Field(default=0, ge=0)
    prompt_tokens_details: _Cached = _Cached()


class _Chunk(Reply):
    choices: tuple[_Choice, ...] = ()
    usage: _Counts | None = None
    done: bool = False


@dataclass(slots=True)
class _PendingCall:
    """A function call that is still being written."""

    id: str = ""
    name: str = ""
    arguments: list[str] = field(default_factory=list)


class _Answer:
    """Adds up the chunks of a completion, streamed or whole; `outputs` are complete at the end."""

    def __init__(self) -> None:
        self.counts: _Counts | None = None
        self.finish_reason: str | None = None
        self._texts: list[str] = []
        self._calls: dict[int, _PendingCall] = {}

    @property
    def length(self) -> int:
        """Characters so far, those of function calls too."""
        calls = self._calls.values()
        return sum(map(len, self._texts)) + sum(
            len(call.name) + sum(map(len, call.arguments)) for call in calls
        )

    def add(self, content: Any) -> str:
        """Add a chunk and return its text; ``{"done": True}`` is the last one."""
        try:
            chunk = _Chunk.model_validate(content)
        except ValidationError:
            msg = f"The model answered with something that is no completion: {content!r}"
            raise PromptFailed(msg, code="PROVIDER_ERROR") from None
        self.counts = chunk.usage or self.counts
        if chunk.done:
            self.finish_reason = self.finish_reason or "UNKNOWN"
        return "".join(self._choice(choice) for choice in chunk.choices[:1])

    def outputs(self) -> list[dict[str, Any]]:
        """Return the outputs as Vellum types them: the text, then the function calls."""
        calls = [_function_call(call) for _, call in sorted(self._calls.items())]
        text = "".join(self._texts)
        texts = [{"type": "STRING", "value": text}] if text or not calls else []
        return texts + [{"type": "FUNCTION_CALL", "value": call} for call in calls]

    def _choice(self, choice: _Choice) -> str:
        if choice.finish_reason:
            self.finish_reason = _FINISHED.get(choice.finish_reason, "UNKNOWN")
        message = choice.delta or choice.message or _Message()
        for number, call in enumerate(message.tool_calls):
            self._call(call, call.index if call.index >= 0 else number)
        self._texts.append(message.text)
        return message.text

    def _call(self, call: _Call, index: int) -> None:
        pending = self._calls.setdefault(index, _PendingCall())
        pending.id = pending.id or call.id
        pending.name += call.function.name
        part = call.function.arguments
        pending.arguments.append(part if isinstance(part, str) else json.dumps(dict(part)))


def _function_call(call: _PendingCall) -> dict[str, Any]:
    text = "".join(call.arguments) or "{}"
    try:
        arguments = json.loads(text)
    except ValueError:
        arguments = None
    if not isinstance(arguments, dict):
        msg = f"The model called {call.name!r} with arguments that are no JSON object: {text}"
        raise PromptFailed(msg, code="PROVIDER_ERROR")
    return {"name": call.name, "arguments": arguments, "id": call.id or None}
