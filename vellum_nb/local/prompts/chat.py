"""The one place that calls a model: the openai client against any compatible endpoint."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any
from urllib.parse import urlsplit

import openai

from vellum_nb.local.prompts.messages import PromptFailed
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


@asynccontextmanager
async def completion_chunks(
    provider: Provider, request: Mapping[str, Any], *, time_limit: float | None
) -> AsyncIterator[AsyncIterator[Any]]:
    """Send `request` and give the chunks of the answer, and at its end ``{"done": True}``.

    Leaving the block closes the connection, so that the model stops.

    Raises
    ------
    PromptFailed
        When the model cannot be reached, refuses, or is cut off.
    """
    seconds = time_limit or provider.timeout
    body = _Body()
    try:
        async with _client(provider, seconds, body) as client:
            # Not `chat.completions.create`: other servers' chunks need not be what it expects.
            answer = await client.post(
                "/chat/completions",
                cast_to=object,
                body=dict(request),
                stream=bool(request.get("stream")),
                stream_cls=openai.AsyncStream[object],
            )
            yield _chunks(answer, body)
    except openai.APIStatusError as exc:
        usual = "INVALID_REQUEST" if exc.status_code in _CLIENT_ERRORS else "PROVIDER_ERROR"
        text = _error_text(exc.response.text if exc.body is None else exc.body)
        msg = f"The model at {provider.base_url} answered {exc.status_code}: {text}"
        raise PromptFailed(msg, code=_CODES.get(exc.status_code, usual)) from exc
    except openai.APITimeoutError as exc:
        msg = f"The model at {provider.base_url} sent nothing for {seconds:g} s"
        raise PromptFailed(msg, code="REQUEST_TIMEOUT") from exc
    except openai.APIConnectionError as exc:
        if isinstance(exc.__cause__, PromptFailed):
            raise exc.__cause__ from None
        why = str(exc.__cause__ or exc) or type(exc.__cause__).__name__
        msg = f"The model at {provider.base_url} cannot be reached, or hung up: {why}"
        raise PromptFailed(msg, code="PROVIDER_ERROR") from exc
    except openai.APIError as exc:  # in the stream
        msg = f"The model failed: {_error_text(exc.body or exc.message)}"
        raise PromptFailed(msg, code="PROVIDER_ERROR") from exc
    except (ValueError, RecursionError) as exc:
        msg = f"The model answered with something that is no JSON: {getattr(exc, 'doc', exc)!r}"
        raise PromptFailed(msg, code="PROVIDER_ERROR") from exc


def _client(provider: Provider, seconds: float, body: _Body) -> openai.AsyncOpenAI:
    async def only_this_key(request: Any) -> None:
        """Keep what the environment says about OpenAI from other endpoints."""
        for name in ("OpenAI-Organization", "OpenAI-Project"):
            request.headers.pop(name, None)
        if provider.api_key is None:
            del request.headers["Authorization"]

    return openai.AsyncOpenAI(
        api_key=provider.api_key or "none",
        base_url=provider.base_url,
        max_retries=0,
        timeout=openai.Timeout(seconds, connect=min(_CONNECT, seconds)),
        http_client=openai.DefaultAsyncHttpxClient(
            trust_env=urlsplit(provider.base_url).hostname not in _LOOPBACK,  # no proxy to oneself
            event_hooks={"request": [only_this_key], "response": [body.limit]},
        ),
    )


class _Body:
    """The bytes of one answer: how many, and whether its end was said."""

    def __init__(self) -> None:
        self.size = 0
        self.is_complete = False

    async def limit(self, response: Any) -> None:
        """Read the body of `response` through this object."""
        stream = response.stream
        base = next(kind for kind in type(stream).__mro__ if kind.__name__ == "AsyncByteStream")
        response.stream = type("Limited", (_Limited, base), {})(stream, self)


class _Limited:
    """A byte stream that ends after ``[DONE]``, and fails when it is too long."""

    def __init__(self, stream: Any, body: _Body) -> None:
        self._stream = stream
        self._body = body

    async def __aiter__(self) -> AsyncIterator[bytes]:
        last = b""
        async for part in self._stream:
            self._body.size += len(part)
            if self._body.size > _MOST_BYTES:
                msg = f"The model sent more than {_MOST_BYTES:,} bytes"
                raise PromptFailed(msg, code="PROVIDER_ERROR")
            last = (last + part)[-64:]
            self._body.is_complete = last.rstrip().endswith(_DONE)
            yield part
            if self._body.is_complete:
                return

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _chunks(answer: Any, body: _Body) -> AsyncIterator[Any]:
    if not isinstance(answer, openai.AsyncStream):
        yield _parsed(answer)
        yield {"done": True}
        return
    if "text/event-stream" not in answer.response.headers.get("content-type", ""):
        yield _parsed(json.loads(await answer.response.aread()))  # it does not stream
        yield {"done": True}
        return
    async for chunk in answer:
        yield _parsed(chunk)
    if body.is_complete:
        yield {"done": True}


def _parsed(chunk: Any) -> Any:
    error = chunk.get("error") if isinstance(chunk, Mapping) else None
    if error:
        msg = f"The model failed: {_error_text(error)}"
        raise PromptFailed(msg, code="PROVIDER_ERROR")
    return chunk


def _error_text(error: Any) -> str:
    """Return the sentence in a model's error, whatever its shape."""
    if isinstance(error, Mapping):
        texts = (error.get(key) for key in ("message", "detail", "error"))
        return next((_error_text(each) for each in texts if each), json.dumps(dict(error)))
    return str(error)
