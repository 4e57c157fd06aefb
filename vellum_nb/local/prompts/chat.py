"""The one place that calls a model: the openai client against any compatible endpoint."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import openai

from vellum_nb.local.engine.events import Rejection
from vellum_nb.local.prompts.models import Provider

_CONNECT = 10.0
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_MOST_BYTES = 64 * 1024 * 1024  # of one answer
_DONE = b"data: [DONE]"
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


@asynccontextmanager
async def completion(
    provider: Provider, request: Mapping[str, Any], *, time_limit: float | None
) -> AsyncIterator[Answer]:
    """Send `request` and give the answer; leaving the block stops the model."""
    seconds = time_limit or provider.timeout
    answer = Answer()
    try:
        async with _client(provider, seconds, answer) as client:
            create: Any = client.chat.completions.create
            declared = {name: request[name] for name in _DECLARED if name in request}
            rest = {name: value for name, value in request.items() if name not in declared}
            answer.source = await create(**declared, extra_body=rest)
            yield answer
    except openai.APIStatusError as exc:
        usual = "INVALID_REQUEST" if exc.status_code in _CLIENT_ERRORS else "PROVIDER_ERROR"
        text = _error_text(exc.response.text if exc.body is None else exc.body)
        msg = f"The model at {provider.base_url} answered {exc.status_code}: {text}"
        raise Rejection(msg, _CODES.get(exc.status_code, usual)) from exc
    except openai.APITimeoutError as exc:
        msg = f"The model at {provider.base_url} sent nothing for {seconds:g} s"
        raise Rejection(msg, "REQUEST_TIMEOUT") from exc
    except openai.APIConnectionError as exc:
        if isinstance(exc.__cause__, Rejection):
            raise exc.__cause__ from None
        why = str(exc.__cause__ or exc) or type(exc.__cause__).__name__
        msg = f"The model at {provider.base_url} cannot be reached, or hung up: {why}"
        raise Rejection(msg, "PROVIDER_ERROR") from exc
    except openai.APIError as exc:  # in the stream
        msg = f"The model failed: {_error_text(exc.body or exc.message)}"
        raise Rejection(msg, "PROVIDER_ERROR") from exc
    except (ValueError, RecursionError) as exc:
        msg = f"The model answered with something that is no JSON: {getattr(exc, 'doc', exc)!r}"
        raise Rejection(msg, "PROVIDER_ERROR") from exc


def _client(provider: Provider, seconds: float, answer: Answer) -> openai.AsyncOpenAI:
    async def only_this_key(request: Any) -> None:
        """Keep what the environment says about OpenAI from other endpoints."""
        for name in ("OpenAI-Organization", "OpenAI-Project"):
            request.headers.pop(name, None)
        if provider.api_key is None:
            del request.headers["Authorization"]

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
            event_hooks={"request": [only_this_key], "response": [limit]},
        ),
    )


class _Limited:
    """A body that ends after ``[DONE]``, and fails when it is too long."""

    def __init__(self, stream: Any, answer: Answer) -> None:
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
            self.answer.is_complete = last.rstrip().endswith(_DONE)
            yield part
            if self.answer.is_complete:
                return

    async def aclose(self) -> None:
        await self.stream.aclose()


class Answer:
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
        if isinstance(self.source, openai.AsyncStream):
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
                msg = f"The model called {name!r} with arguments that are no JSON object: {text}"
                raise Rejection(msg, "PROVIDER_ERROR")
            value = {**call, "arguments": arguments, "id": call["id"] or None}
            found.append({"type": "FUNCTION_CALL", "value": value})
        text = "".join(self._texts)
        return [{"type": "STRING", "value": text}] * (bool(text) or not found) + found

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
                self._add_call(part, number)
        except (AttributeError, TypeError):  # the client does not check what it gives
            msg = f"The model answered with something that is no completion: {chunk!r}"
            raise Rejection(msg, "PROVIDER_ERROR") from None
        return text

    def _add_call(self, part: Any, number: int) -> None:
        place = number if getattr(part, "index", None) is None else part.index
        call = self._calls.setdefault(place, {"name": "", "arguments": "", "id": ""})
        name, arguments = part.function.name or "", part.function.arguments or ""
        call["id"] = call["id"] or part.id or ""
        call["name"] += name
        call["arguments"] += arguments
        self.length += len(name) + len(arguments)


def _error_text(error: Any) -> str:
    """Return the sentence in a model's error, whatever its shape."""
    if isinstance(error, Mapping):
        texts = (error.get(key) for key in ("message", "detail", "error"))
        return next((_error_text(each) for each in texts if each), json.dumps(dict(error)))
    return str(error)
