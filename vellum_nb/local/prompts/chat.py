"""The one place that talks to a model over HTTP."""

from __future__ import annotations

import json
import ssl
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from functools import cache
from typing import Any
from urllib.parse import urlsplit

import httpx

from vellum_nb.local.prompts.answer import error_text
from vellum_nb.local.prompts.failures import PromptFailed, failed_status
from vellum_nb.local.prompts.models import Provider

__all__ = ["ask"]

_CONNECT = 10.0
_LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
_ERROR_BYTES = 64 * 1024
_MOST_BYTES = 16 * 1024 * 1024  # of a line, or of an answer that is not streamed
_OK = 200
_DONE = b"[DONE]"
_END: Mapping[str, Any] = {"done": True}


@asynccontextmanager
async def ask(
    provider: Provider, order: Mapping[str, Any], *, patience: float | None
) -> AsyncIterator[AsyncIterator[Any]]:
    """Send `order` and give the chunks of the answer, and at its end ``{"done": True}``.

    Leaving the block closes the connection, so that the model stops.

    Raises
    ------
    PromptFailed
        When the model cannot be reached, refuses, or is cut off.
    """
    seconds = patience or provider.timeout
    url = provider.base_url.rstrip("/") + "/chat/completions"
    try:
        async with (
            httpx.AsyncClient(**_settings(provider, seconds)) as client,
            client.stream("POST", url, json=dict(order)) as answer,
        ):
            if answer.status_code != _OK:
                raise failed_status(answer.status_code, await _refusal(provider, answer))
            yield _chunks(answer)
    except httpx.TimeoutException as exc:
        msg = f"The model at {provider.base_url} gave no sign of life for {seconds:g} s"
        raise PromptFailed(msg, code="REQUEST_TIMEOUT") from exc
    except httpx.RequestError as exc:
        why = str(exc) or type(exc).__name__
        msg = f"The model at {provider.base_url} cannot be reached, or hung up: {why}"
        raise PromptFailed(msg, code="PROVIDER_ERROR") from exc


def _settings(provider: Provider, seconds: float) -> dict[str, Any]:
    headers = {"Accept": "text/event-stream, application/json"}
    if provider.api_key is not None:
        headers["Authorization"] = f"Bearer {provider.api_key}"
    return {
        "headers": headers,
        "timeout": httpx.Timeout(seconds, connect=min(_CONNECT, seconds)),
        "trust_env": urlsplit(provider.base_url).hostname not in _LOOPBACK,  # no proxy to oneself
        "verify": _tls(),
    }


@cache
def _tls() -> ssl.SSLContext:
    return httpx.create_ssl_context()


async def _refusal(provider: Provider, answer: httpx.Response) -> str:
    """Return what the model says."""
    text = (await _start_of(answer, _ERROR_BYTES)).decode("utf-8", "replace")
    with suppress(ValueError, RecursionError):
        text = error_text(json.loads(text))
    return f"The model at {provider.base_url} answered {answer.status_code}: {text}"


async def _chunks(answer: httpx.Response) -> AsyncIterator[Any]:
    if "text/event-stream" not in answer.headers.get("content-type", ""):
        body = await _start_of(answer, _MOST_BYTES)
        _check_size(body)
        yield _parsed(body)
        yield _END
        return
    async for line in _lines(answer):
        field, _, data = line.partition(b":")
        data = data.strip()
        if field != b"data" or not data:
            continue
        if data == _DONE:
            yield _END
            return
        yield _parsed(data)


async def _lines(answer: httpx.Response) -> AsyncIterator[bytes]:
    """Yield lines as SSE ends them: text may hold U+2028, which other splitters break at."""
    rest = bytearray()
    async for part in answer.aiter_bytes():
        rest += part
        _check_size(rest)
        if b"\n" in part:
            *lines, rest = rest.split(b"\n")
            for line in lines:
                yield bytes(line)
    yield bytes(rest)


async def _start_of(answer: httpx.Response, size: int) -> bytearray:
    """Return the body, or a part of it that is longer than `size`."""
    body = bytearray()
    async for part in answer.aiter_bytes():
        body += part
        if len(body) > size:
            break
    return body


def _check_size(body: bytearray) -> None:
    if len(body) > _MOST_BYTES:
        msg = f"The model sent more than {_MOST_BYTES:,} bytes in one piece"
        raise PromptFailed(msg, code="PROVIDER_ERROR")


def _parsed(data: bytes | bytearray) -> Any:
    try:
        return json.loads(data)
    except (ValueError, RecursionError):
        msg = f"The model answered with something that is no JSON: {bytes(data)!r}"
        raise PromptFailed(msg, code="PROVIDER_ERROR") from None
