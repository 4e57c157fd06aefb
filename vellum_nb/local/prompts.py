"""Prompts of prompt nodes, answered by an OpenAI-compatible endpoint.

The import of the openai client takes a second, so it is deferred to the first call.

Source: https://docs.vellum.ai/developers/client-sdk/ad-hoc/adhoc-execute-prompt-stream
"""

from __future__ import annotations

import asyncio
import json
import math
import re
import threading
import uuid
import warnings
from collections import OrderedDict
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import urlsplit

from pydantic import Field, TypeAdapter, ValidationError

from vellum_nb.errors import VellumNBError
from vellum_nb.lazy import load_jsonschema
from vellum_nb.local.engine.events import Rejection, Usage
from vellum_nb.models import ExpandMeta
from vellum_nb.models.base import Model
from vellum_nb.models.media import MEDIA_TYPES

if TYPE_CHECKING:
    from openai import AsyncOpenAI

Json = Mapping[str, Any]
_NO_MODEL = (
    "No model answers prompts on this local server. Write: "
    'server.models(base_url="http://127.0.0.1:11434/v1", model="llama3.2"), with the address of '
    "any OpenAI-compatible endpoint, and api_key=... if it needs one"
)
_MAX_MESSAGE_CHARS = 600
_LETTERS_PER_TOKEN = 4  # as a rule of thumb
_CONNECT_TIMEOUT_S = 10.0
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_MOST_BYTES = 64 * 1024 * 1024  # of one answer
_CODES = {
    **dict.fromkeys((401, 403), "PROVIDER_CREDENTIALS_UNAVAILABLE"),
    **dict.fromkeys((402, 429), "PROVIDER_QUOTA_EXCEEDED"),
    **dict.fromkeys((408, 504), "REQUEST_TIMEOUT"),
}
_CLIENT_ERRORS = range(400, 500)
_FINISHED = {"stop": "STOP", "length": "LENGTH", "tool_calls": "STOP", "function_call": "STOP"}
_DECLARED = ("model", "messages", "stream")  # other fields are passed unchanged
_ROLES = {"SYSTEM": "system", "USER": "user", "ASSISTANT": "assistant", "FUNCTION": "tool"}
_RESERVED = frozenset({"messages", "model", "stream", "stream_options", "json_schema", "json_mode"})
_NEUTRAL = {"top_p": 1.0, "top_k": 0, "frequency_penalty": 0.0, "presence_penalty": 0.0}
_MILLION = 1_000_000
_MOST_NODES = 10_000  # usage is read right after the call of the model


@dataclass(frozen=True, slots=True, kw_only=True)
class Provider:
    """OpenAI-compatible endpoint; see `LocalServer.models`."""

    base_url: str
    api_key: str | None = field(default=None, repr=False)
    model: str | None = None
    prices: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    timeout: float = 120.0

    def __post_init__(self) -> None:
        try:
            parts = urlsplit(self.base_url)
            is_address = parts.scheme in {"http", "https"} and parts.hostname and parts.port != 0
        except ValueError:
            is_address = False
        if not is_address or parts.query or parts.fragment or "@" in parts.netloc:
            msg = (
                "base_url is not the address of a model; write 'http://127.0.0.1:11434/v1', "
                "and a key goes into api_key"
            )
            raise VellumNBError(msg)
        if self.api_key is not None and not re.fullmatch("[!-~]+", self.api_key):
            msg = "The model's api_key must be ASCII letters, digits and signs without spaces"
            raise VellumNBError(msg)
        if not self.timeout > 0:
            msg = f"A timeout of {self.timeout!r} is not possible; give seconds above 0"
            raise VellumNBError(msg)
        prices: Mapping[str, Any] = self.prices
        for model, price in prices.items():
            numbers = isinstance(price, tuple | list) and len(price) == 2  # noqa: PLR2004
            if not numbers or not all(math.isfinite(part) and part >= 0 for part in price):
                msg = (
                    f"The price of {model!r} is {price!r}; give two numbers: US dollars for a "
                    "million tokens in and a million tokens out"
                )
                raise VellumNBError(msg)

    def used(
        self, model: str, tokens_in: int, tokens_out: int, *, estimated: bool = False
    ) -> Usage:
        """Return the usage of a call, with its cost if the price is known."""
        cost = None
        if price := self.prices.get(model):
            cost = (price[0] * tokens_in + price[1] * tokens_out) / _MILLION
        return Usage(model, tokens_in, tokens_out, cost, estimated)


class Models:
    """Provider of a local server, and usage of its latest nodes; thread-safe."""

    def __init__(self) -> None:
        self.provider: Provider | None = None
        self._lock = threading.Lock()
        self._used: OrderedDict[str, tuple[Usage, ...]] = OrderedDict()

    def add_usage(self, span_id: str, usage: Usage) -> None:
        """Add a model call of the node with this span."""
        with self._lock:
            self._used[span_id] = (*self._used.pop(span_id, ()), usage)
            if len(self._used) > _MOST_NODES:
                self._used.popitem(last=False)

    def usage_of(self, span_id: str) -> tuple[Usage, ...]:
        """Return the model calls of the node with this span."""
        with self._lock:
            return self._used.get(span_id, ())


class PromptSettings(Model):
    """Settings of the model call."""

    timeout: float | None = None
    stream_enabled: bool | None = None


class ExpandPromptMeta(ExpandMeta):
    """Figures to include in the answer."""

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

    `state` is INITIATED, STREAMING with `output` and `output_index` per chunk, then FULFILLED with
    `outputs` or REJECTED with `error`.
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
    """Call the model and yield events; the last one is FULFILLED or REJECTED."""
    id_ = str(uuid.uuid4())
    key = models.provider and models.provider.api_key
    try:
        async for event in _events(models, body, stream=stream):
            yield PromptEvent(execution_id=id_, **event)
    except Rejection as exc:
        # Mask the key, which the model can echo, before the message is truncated.
        message = exc.message.replace(key, "***") if key else exc.message
        error = {"code": exc.code, "message": message[:_MAX_MESSAGE_CHARS]}
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
    """Send `request` and yield the answer; leaving the block stops the model."""
    import openai

    seconds = time_limit or provider.timeout
    answer = _Answer()
    code = "PROVIDER_ERROR"
    try:
        async with _client(provider, seconds, answer) as client:
            create: Any = client.chat.completions.create
            declared = {name: request[name] for name in _DECLARED if name in request}
            other_fields = {name: value for name, value in request.items() if name not in declared}
            # Do not send OpenAI settings of the environment to other endpoints.
            left_out = ["OpenAI-Organization", "OpenAI-Project"]
            left_out += [] if provider.api_key else ["Authorization"]
            headers = dict.fromkeys(left_out, openai.Omit())
            answer.source = await create(**declared, extra_body=other_fields, extra_headers=headers)
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
        timeout=openai.Timeout(seconds, connect=min(_CONNECT_TIMEOUT_S, seconds)),
        http_client=openai.DefaultAsyncHttpxClient(
            trust_env=urlsplit(provider.base_url).hostname not in _LOOPBACK,  # no proxy to oneself
            event_hooks={"response": [limit]},
        ),
    )


class _Limited:
    """Body that ends after ``[DONE]``, with a size limit."""

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
    """Answer of a model, streamed or whole; complete after `texts` has ended."""

    def __init__(self) -> None:
        self.source: Any = None  # result of the openai client
        self.is_complete = False
        self.finish_reason: str | None = None  # Vellum's name; None for an incomplete answer
        self.counts: Any = None  # openai's CompletionUsage, if the model reports it
        self.length = 0
        self._texts: list[str] = []
        self._calls: dict[int, dict[str, Any]] = {}

    async def texts(self) -> AsyncIterator[str]:
        """Yield the pieces of the text as they arrive."""
        if hasattr(self.source, "__aiter__"):
            async for chunk in self.source:
                yield self._added(chunk)
        else:
            yield self._added(self.source)
            self.is_complete = True
        if self.is_complete:
            self.finish_reason = self.finish_reason or "UNKNOWN"

    def outputs(self) -> list[dict[str, Any]]:
        """Return the typed outputs: the text, then the function calls."""
        calls = []
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
            calls.append({"type": "FUNCTION_CALL", "value": value})
        text = "".join(self._texts)
        return [{"type": "STRING", "value": text}] * (bool(text) or not calls) + calls

    def usage(self, provider: Provider, model: str, length: int) -> Usage:
        """Return tokens and cost of the call, estimated if the model does not report them."""
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
        except (AttributeError, TypeError):  # the client does not validate answers
            msg = f"The model's answer is not a completion: {chunk!r}"
            raise Rejection(msg, "PROVIDER_ERROR") from None
        return text


def _error_text(error: Any) -> str:
    """Return the message in a model's error of any shape."""
    if isinstance(error, Mapping):
        texts = (error.get(key) for key in ("message", "detail", "error"))
        return next((_error_text(text) for text in texts if text), json.dumps(dict(error)))
    return str(error)


# The request for ``/chat/completions``


def compiled_messages(
    blocks: Sequence[Json], values: Sequence[Json], variables: Sequence[Json]
) -> list[dict[str, Any]]:
    """Return the messages of a prompt, with rendered variables and templates."""
    inputs = {
        str(key): {"key": key, "type": value.get("type", "JSON"), "value": value.get("value")}
        for value in values
        for key in [value.get("key", value.get("name"))]
    }
    names = {v.get("id"): v.get("key") for v in variables}
    filled = [b for block in blocks for b in _filled(block, inputs, names)]
    try:
        return _messages(_compiled(filled, list(inputs.values())))
    except ModuleNotFoundError as exc:
        if (exc.name or "").partition(".")[0] != "vellum":
            raise
        msg = 'Prompts need the Workflows SDK on the server: pip install "vellum-nb[sdk]"'
        raise Rejection(msg, "INTERNAL_SERVER_ERROR") from exc


def _compiled(blocks: Sequence[Json], inputs: Sequence[Json]) -> list[dict[str, Any]]:
    """Render variables and templates of the blocks with the Workflows SDK."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # warnings of the SDK on import
        load_jsonschema()
        from vellum.client.types.number_input import NumberInput
        from vellum.client.types.prompt_exec_config import PromptExecConfig
        from vellum.client.types.prompt_request_input import PromptRequestInput
        from vellum.prompts.blocks.compilation import compile_prompt_blocks
        from vellum.prompts.blocks.exceptions import PromptCompilationError
        from vellum.utils.templating.exceptions import JinjaTemplateError
    adapter: TypeAdapter[Any] = TypeAdapter(PromptRequestInput)
    config = {"ml_model": "", "input_variables": [], "parameters": {}, "blocks": list(blocks)}
    try:
        values = [
            NumberInput(name=str(item["key"]), value=item["value"])
            if item["type"] == "NUMBER"
            else adapter.validate_python(dict(item))
            for item in inputs
        ]
        parsed = PromptExecConfig.model_validate(config).blocks
        compiled = compile_prompt_blocks(parsed, values, [])
    except (PromptCompilationError, JinjaTemplateError, AssertionError) as exc:  # such as no role
        raise Rejection(str(exc), "INVALID_INPUTS") from exc
    except ValidationError as exc:
        first = exc.errors(include_url=False, include_input=False)[0]
        msg = f"The prompt's blocks or inputs are unknown to Vellum: {first['msg']}"
        raise Rejection(msg, "INVALID_INPUTS") from None
    return [block.model_dump(mode="json") for block in compiled]


def chat_request(
    parameters: Json,
    functions: Sequence[Json],
    messages: Sequence[Json],
    *,
    model: str,
    stream: bool,
) -> dict[str, Any]:
    """Return the request for the model.

    Vellum's parameters have OpenAI's names. Neutral values are omitted, as some servers reject
    them; `custom_parameters` are passed unchanged.
    """
    request: dict[str, Any] = {"model": model, "messages": list(messages)}
    custom = parameters.get("custom_parameters")
    custom = custom if isinstance(custom, Mapping) else {}
    for name in ("temperature", "max_tokens", "stop", "logit_bias", *_NEUTRAL):
        value = parameters.get(name)
        is_newer = name == "max_tokens" and "max_completion_tokens" in custom
        if value not in (None, [], {}, _NEUTRAL.get(name)) and not is_newer:
            request[name] = value
    request |= {name: value for name, value in custom.items() if name not in _RESERVED}
    schema = custom.get("json_schema")
    if isinstance(schema, Mapping):
        named = schema if "schema" in schema else {"name": "answer", "schema": schema}
        request["response_format"] = {"type": "json_schema", "json_schema": dict(named)}
    elif custom.get("json_mode"):
        request["response_format"] = {"type": "json_object"}
    request |= _tools(functions)
    if stream:
        request |= {"stream": True, "stream_options": {"include_usage": True}}
    return request


def _tools(functions: Sequence[Json]) -> dict[str, Any]:
    enabled = [f for f in functions if f.get("name") and f.get("state") != "DISABLED"]
    names = ("name", "description", "parameters", "strict")
    tools = [
        {"type": "function", "function": {n: f[n] for n in names if f.get(n) is not None}}
        for f in enabled
    ]
    request: dict[str, Any] = {"tools": tools} if tools else {}
    forced = next((f["name"] for f in enabled if f.get("forced")), None)
    if forced is not None:
        request["tool_choice"] = {"type": "function", "function": {"name": forced}}
    return request


def _filled(block: Json, inputs: Mapping[str, Json], names: Mapping[Any, Any]) -> list[Json]:
    """Replace variables that the SDK cannot compile (media, chat histories) by blocks."""
    children = block.get("blocks")
    if isinstance(children, Sequence) and not isinstance(children, str):
        nested = [_filled(c, inputs, names) for c in children if isinstance(c, Mapping)]
        return [{**block, "blocks": [child for group in nested for child in group]}]
    if block.get("block_type") != "VARIABLE":
        return [block]
    name = block.get("input_variable")
    name = name if name in inputs else names.get(name, name)
    sent = inputs.get(str(name), {})
    value = sent.get("value")
    if sent.get("type") == "CHAT_HISTORY" and isinstance(value, list):
        return [_turn(message) for message in value if isinstance(message, Mapping)]
    if sent.get("type") in MEDIA_TYPES and isinstance(value, Mapping):
        return [{**value, "block_type": sent["type"]}]
    return [{**block, "input_variable": name}]


def _turn(message: Json) -> Json:
    """Convert a message of a chat history, with `content` or only `text`, to a block."""
    content = message.get("content") or {"type": "STRING", "value": message.get("text")}
    items: Any = [content]
    if isinstance(content, Mapping) and content.get("type") == "ARRAY":
        items = content.get("value") or ()
    blocks: list[Json] = []
    for item in items:
        if not isinstance(item, Mapping) or item.get("value") is None:
            continue
        kind, value = item.get("type"), item["value"]
        if kind == "STRING":
            text = {"block_type": "PLAIN_TEXT", "text": value}
            blocks.append({"block_type": "RICH_TEXT", "blocks": [text]})
        else:
            more = value if isinstance(value, Mapping) else {}
            blocks.append({**more, "block_type": kind})
    role, source = message.get("role"), message.get("source")
    return {
        "block_type": "CHAT_MESSAGE",
        "chat_role": role,
        "chat_source": source,
        "blocks": blocks,
    }


def _messages(blocks: Sequence[Json]) -> list[dict[str, Any]]:
    """Convert compiled blocks to messages; blocks outside of messages become a user message."""
    messages: list[dict[str, Any]] = []
    for is_loose, group in groupby(blocks, lambda block: block.get("block_type") == "VALUE"):
        if is_loose:
            content = _content(_values(group))
            messages += [{"role": "user", "content": content}] if content else []
        else:
            for block in group:
                messages += _message(block, messages)
    if not messages:
        msg = "The prompt has no message: every block is empty or disabled"
        raise Rejection(msg, "INVALID_INPUTS")
    return messages


def _message(block: Json, before: Sequence[Json]) -> list[dict[str, Any]]:
    values = list(_values(block.get("blocks") or ()))
    role = _ROLES.get(str(block.get("role")), "user")
    if role == "tool":
        calls = [m["tool_calls"] for m in before if m.get("tool_calls")]
        texts = [part["text"] for part in map(_part, values) if part["type"] == "text"]
        called = block.get("source") or (calls[-1][0]["id"] if calls else "call_0")
        return [{"role": role, "tool_call_id": called, "content": "\n".join(texts)}]
    calls = [v["value"] for v in values if v["type"] == "FUNCTION_CALL" and v.get("value")]
    content = _content(v for v in values if v["type"] != "FUNCTION_CALL")
    if not calls:
        return [{"role": role, "content": content}] if content else []
    tools = []
    for number, call in enumerate(calls):
        function = {"name": call["name"], "arguments": json.dumps(call.get("arguments") or {})}
        id_ = call.get("id") or f"call_{number}"
        tools.append({"id": id_, "type": "function", "function": function})
    return [{"role": "assistant", "content": content or None, "tool_calls": tools}]


def _values(blocks: Iterable[Json]) -> Iterable[Json]:
    for block in blocks:
        value = block["content"]
        if value["type"] == "ARRAY":
            yield from (item for item in value.get("value") or () if isinstance(item, Mapping))
        elif value["type"] != "THINKING":
            yield value


def _content(values: Iterable[Json]) -> str | list[dict[str, Any]]:
    """Return only text if possible, as some servers reject lists of parts."""
    parts = [_part(value) for value in values]
    if all(part["type"] == "text" for part in parts):
        return "\n".join(part["text"] for part in parts)
    return parts


def _part(value: Json) -> dict[str, Any]:
    kind: str = value["type"]
    content: Any = value.get("value")
    if kind not in MEDIA_TYPES:
        text = (content or "") if kind == "STRING" else json.dumps(content, ensure_ascii=False)
        return {"type": "text", "text": text}
    source = content.get("src") if isinstance(content, Mapping) else None
    if not isinstance(source, str) or not source:
        msg = f"A block of the type {kind} has no src"
        raise Rejection(msg, "INVALID_INPUTS")
    if kind in {"IMAGE", "VIDEO"}:
        name = f"{kind.lower()}_url"
        return {"type": name, name: {"url": source}}
    head, comma, data = source.removeprefix("data:").partition(",")
    if not source.startswith("data:") or not comma:
        msg = f"{kind} reaches the model as a data URL only; the prompt has {source!r:.60}"
        raise Rejection(msg, "INVALID_INPUTS")
    if kind == "AUDIO":
        form = head.partition(";")[0].rpartition("/")[2] or "wav"
        return {"type": "input_audio", "input_audio": {"data": data, "format": form}}
    name = (content.get("metadata") or {}).get("filename") or "document.pdf"
    return {"type": "file", "file": {"filename": str(name), "file_data": source}}
