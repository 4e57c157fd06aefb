"""One prompt: from the request to the call of the model, and from its chunks to events.

The openai client, which takes a second to import, is imported with the first call.

Source: https://docs.vellum.ai/developers/client-sdk/ad-hoc/adhoc-execute-prompt-stream
"""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field

from vellum_nb.local.engine.events import Rejection, Usage
from vellum_nb.local.prompts.messages import chat_request, compiled_messages
from vellum_nb.local.prompts.models import Models, Provider
from vellum_nb.models.base import Model

if TYPE_CHECKING:
    from openai import AsyncOpenAI

Json = Mapping[str, Any]
_NO_MODEL = (
    "No model answers prompts on this local server. Write: "
    'server.models(base_url="http://127.0.0.1:11434/v1", model="llama3.2"), with the address of '
    "any OpenAI-compatible endpoint; api_key=... where it needs one"
)
_LONGEST_MESSAGE = 600
_LETTERS_PER_TOKEN = 4  # as a rule of thumb
_CONNECT = 10.0
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_MOST_BYTES = 64 * 1024 * 1024  # of one answer
_CODES = {
    401: "PROVIDER_CREDENTIALS_UNAVAILABLE",
    403: "PROVIDER_CREDENTIALS_UNAVAILABLE",
    402: "PROVIDER_QUOTA_EXCEEDED",
    408: "REQUEST_TIMEOUT",
    429: "PROVIDER_QUOTA_EXCEEDED",
    504: "REQUEST_TIMEOUT",
}
_CLIENT_ERRORS = range(400, 500)
_FINISHED = {"stop": "STOP", "length": "LENGTH", "tool_calls": "STOP", "function_call": "STOP"}
_DECLARED = ("model", "messages", "stream")  # the rest goes along as it is


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
    provider = models.provider
    if provider is None:
        raise Rejection(_NO_MODEL, "PROVIDER_CREDENTIALS_UNAVAILABLE")
    model = provider.model or body.ml_model
    messages = await asyncio.to_thread(
        compiled_messages, body.blocks, body.input_values, body.input_variables
    )
    request = chat_request(body.parameters, body.functions, messages, model=model, stream=stream)
    async with _completion(provider, request, time_limit=body.settings.timeout) as answer:
        named = {"model_name": model} if body.expand_meta.model_name else None
        yield {"state": "INITIATED", "meta": named}
        async for text in answer.texts():
            if text:
                output = {"type": "STRING", "value": text}
                yield {"state": "STREAMING", "output": output, "output_index": 0}
    used = answer.usage(provider, model, len(str(messages)))
    parent = body.execution_context.get("parent_context")
    if isinstance(parent, Mapping) and isinstance(span := parent.get("span_id"), str):
        models.add_usage(span, used)
    if answer.finish_reason is None:
        msg = "The model's answer was cut off"
        raise Rejection(msg, "PROVIDER_ERROR")
    outputs = answer.outputs()
    for index, output in enumerate(outputs):
        if output["type"] != "STRING":
            yield {"state": "STREAMING", "output": output, "output_index": index}
    meta = _figures(body.expand_meta, answer, used)
    yield {"state": "FULFILLED", "outputs": tuple(outputs), "meta": meta}


def _figures(expand: ExpandPromptMeta, answer: _Answer, used: Usage) -> dict[str, Any] | None:
    meta: dict[str, Any] = {}
    if expand.finish_reason:
        meta["finish_reason"] = answer.finish_reason
    if expand.usage:
        details = answer.counts and answer.counts.prompt_tokens_details
        meta["usage"] = {
            "input_token_count": used.tokens_in,
            "output_token_count": used.tokens_out,
            "output_char_count": answer.length,
            "cache_read_input_tokens": details and details.cached_tokens,
        } | ({"estimated": True} if used.estimated else {})
    if expand.cost and used.cost_usd is not None:
        meta["cost"] = {"value": used.cost_usd, "unit": "USD"}
    return meta or None


@asynccontextmanager
async def _completion(
    provider: Provider, request: Json, *, time_limit: float | None
) -> AsyncIterator[_Answer]:
    """Send `request` and give the answer; leaving the block stops the model."""
    import openai

    seconds = time_limit or provider.timeout
    answer = _Answer()
    code = "PROVIDER_ERROR"
    try:
        async with _client(provider, seconds, answer) as client:
            create: Any = client.chat.completions.create
            declared = {name: request[name] for name in _DECLARED if name in request}
            rest = {name: value for name, value in request.items() if name not in declared}
            # What the environment says about OpenAI does not go to other endpoints.
            left_out = ["OpenAI-Organization", "OpenAI-Project"]
            left_out += [] if provider.api_key else ["Authorization"]
            headers = dict.fromkeys(left_out, openai.Omit())
            answer.source = await create(**declared, extra_body=rest, extra_headers=headers)
            yield answer
            return
    except openai.APIStatusError as exc:
        usual = "INVALID_REQUEST" if exc.status_code in _CLIENT_ERRORS else code
        code = _CODES.get(exc.status_code, usual)
        text = _error_text(exc.response.text if exc.body is None else exc.body)
        msg = f"The model at {provider.base_url} answered {exc.status_code}: {text}"
    except openai.APITimeoutError:
        code = "REQUEST_TIMEOUT"
        msg = f"The model at {provider.base_url} sent nothing for {seconds:g} s"
    except openai.APIConnectionError as exc:
        if isinstance(exc.__cause__, Rejection):
            raise exc.__cause__ from None
        why = str(exc.__cause__ or exc) or type(exc.__cause__).__name__
        msg = f"The model at {provider.base_url} cannot be reached, or hung up: {why}"
    except openai.APIError as exc:  # in the stream
        msg = f"The model failed: {_error_text(exc.body or exc.message)}"
    except (ValueError, RecursionError) as exc:
        msg = f"The model's answer is not JSON: {getattr(exc, 'doc', exc)!r}"
    raise Rejection(msg, code)


def _client(provider: Provider, seconds: float, answer: _Answer) -> AsyncOpenAI:
    import openai

    async def limit(response: Any) -> None:
        kinds = type(response.stream).__mro__  # of httpx, or of httpx2 in newer versions of openai
        base = next(kind for kind in kinds if kind.__name__ == "AsyncByteStream")
        response.stream = type("Limited", (_Limited, base), {})(response.stream, answer)

    return openai.AsyncOpenAI(
        api_key=provider.api_key or "none",
        base_url=provider.base_url,
        max_retries=0,
        timeout=openai.Timeout(seconds, connect=min(_CONNECT, seconds)),
        http_client=openai.DefaultAsyncHttpxClient(
            trust_env=urlsplit(provider.base_url).hostname not in _LOOPBACK,  # no proxy to oneself
            event_hooks={"response": [limit]},
        ),
    )


class _Limited:
    """A body that ends after ``[DONE]``, and fails when it is too long."""

    def __init__(self, stream: Any, answer: _Answer) -> None:
        self.stream = stream
        self.answer = answer

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size, last = 0, b""
        async for part in self.stream:
            size += len(part)
            if size > _MOST_BYTES:
                msg = f"The model sent more than {_MOST_BYTES:,} bytes"
                raise Rejection(msg, "PROVIDER_ERROR")
            last = (last + part)[-64:]
            self.answer.is_complete = last.rstrip().endswith(b"data: [DONE]")
            yield part
            if self.answer.is_complete:
                return

    async def aclose(self) -> None:
        await self.stream.aclose()


class _Answer:
    """The answer of a model, streamed or whole; it is complete when `texts` has ended."""

    def __init__(self) -> None:
        self.source: Any = None  # what the openai client gives
        self.is_complete = False
        self.finish_reason: str | None = None  # Vellum's word; None when it was cut off
        self.counts: Any = None  # openai's CompletionUsage, where the model counted
        self.length = 0
        self._texts: list[str] = []
        self._calls: dict[int, dict[str, Any]] = {}

    async def texts(self) -> AsyncIterator[str]:
        """Yield the pieces of the text as they come."""
        if hasattr(self.source, "__aiter__"):
            async for chunk in self.source:
                yield self._added(chunk)
        else:
            yield self._added(self.source)
            self.is_complete = True
        if self.is_complete:
            self.finish_reason = self.finish_reason or "UNKNOWN"

    def outputs(self) -> list[dict[str, Any]]:
        """Return the outputs as Vellum types them: the text, then the function calls."""
        found = []
        for _, call in sorted(self._calls.items()):
            text = call["arguments"] or "{}"
            try:
                arguments = json.loads(text)
            except ValueError:
                arguments = None
            if not isinstance(arguments, dict):
                name = call["name"]
                msg = f"The model called {name!r} with arguments that are not a JSON object: {text}"
                raise Rejection(msg, "PROVIDER_ERROR")
            value = {**call, "arguments": arguments, "id": call["id"] or None}
            found.append({"type": "FUNCTION_CALL", "value": value})
        text = "".join(self._texts)
        return [{"type": "STRING", "value": text}] * (bool(text) or not found) + found

    def usage(self, provider: Provider, model: str, length: int) -> Usage:
        """Return the tokens and cost of the call; estimated when the model did not count."""
        counts = self.counts
        if counts is not None:
            return provider.used(model, counts.prompt_tokens or 0, counts.completion_tokens or 0)
        sizes = (-(-size // _LETTERS_PER_TOKEN) for size in (length, self.length))
        return provider.used(model, *sizes, estimated=True)

    def _added(self, chunk: Any) -> str:
        """Add a part of the answer; return its text."""
        try:
            self.counts = chunk.usage or self.counts
            if not chunk.choices:
                return ""
            choice = chunk.choices[0]
            if choice.finish_reason:
                self.finish_reason = _FINISHED.get(choice.finish_reason, "UNKNOWN")
            message = choice.delta if hasattr(choice, "delta") else choice.message
            text: str = (message.content or "") + (message.refusal or "")
            self._texts.append(text)
            self.length += len(text)
            for number, part in enumerate(message.tool_calls or ()):
                place = number if getattr(part, "index", None) is None else part.index
                call = self._calls.setdefault(place, {"name": "", "arguments": "", "id": ""})
                call["id"] = call["id"] or part.id or ""
                for key in ("name", "arguments"):
                    piece = getattr(part.function, key) or ""
                    call[key] += piece
                    self.length += len(piece)
        except (AttributeError, TypeError):  # the client does not check what it gives
            msg = f"The model's answer is not a completion: {chunk!r}"
            raise Rejection(msg, "PROVIDER_ERROR") from None
        return text


def _error_text(error: Any) -> str:
    """Return the sentence in a model's error, whatever its shape."""
    if isinstance(error, Mapping):
        texts = (error.get(key) for key in ("message", "detail", "error"))
        return next((_error_text(each) for each in texts if each), json.dumps(dict(error)))
    return str(error)
