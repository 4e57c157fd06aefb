"""Errors of the client: the request, the answer, and what to do next."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from http import HTTPStatus

from urllib3 import exceptions

from vellum_nb.errors import (
    APIConnectionError,
    APIResponseError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    BadRequestError,
    NotFoundError,
    RateLimitError,
    ServerError,
)
from vellum_nb.models.base import SecretMask
from vellum_nb.models.checks import cut

_MAX_MESSAGE_CHARS = 500
_LEAVES: dict[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: AuthenticationError,
    404: NotFoundError,
    429: RateLimitError,
}
_NEXT = {
    400: "Change the request; sending it again unchanged gives the same answer.",
    401: "Check the API key (VELLUM_API_KEY).",
    403: "Check that the API key is right for this address and environment, and may do this.",
    404: "Check the name, the release tag, and that the API key belongs to their environment.",
    413: "Send less: pass large files by URL.",
    421: "It belongs to another workspace or environment than this API key.",
    429: "Too many requests: lower the concurrency or try again later.",
}
_PHRASES = {status.value: status.phrase for status in HTTPStatus}
_NOT_SENT_AGAIN = "The server may have received it; it was not sent again."
_NOT_SENT = "Nothing was sent; check the address and that the server runs."
_SERVER_NEXT = "The server failed; check whether the execution ran before you send it again."


def status_error(
    label: str,
    status: int,
    body: object,
    *,
    method: str,
    location: str | None = None,
    wait: float | None = None,
) -> APIStatusError:
    """Return the error for an answer to the request `label` with a status other than 2xx.

    `location` is the target of a redirect, `wait` the Retry-After in seconds.
    """
    leaf = _LEAVES.get(status, ServerError if status >= 500 else APIStatusError)  # noqa: PLR2004
    is_page = isinstance(body, str) and body.lstrip().startswith("<")  # for a browser
    try:
        detail = "" if is_page else _cut(_detail(body)).rstrip(".")
    except RecursionError:
        detail = "(its reason is nested too deeply to print)"
    phrase = _PHRASES.get(status, "(no standard status)")
    sentences = [f"{label} answered {status} {phrase}{': ' if detail else ''}{detail}."]
    if location is not None:
        place = _cut(re.split("[?#]", location)[0])  # a query may hold secrets
        sentences.append(
            f"It points to {place}; requests are not sent "
            "on to another host, and an execution only by 307 or 308. Set the new address."
        )
    if wait is not None and wait < math.inf:
        sentences.append(f"Wait {wait:.0f} s.")
    if status < 500:  # noqa: PLR2004
        sentences.append(_NEXT.get(status, ""))
    else:
        sentences.append(_SERVER_NEXT if method != "GET" else "The server failed; try again later.")
    message = " ".join(sentences).rstrip()
    return leaf(message, status_code=status, body=body, retry_after=wait)


def connection_error(
    label: str, exc: Exception, mask: SecretMask, *, sent: bool, read: float | None
) -> APIConnectionError:
    """Return the error for a call, named `label` in messages, that got no answer."""
    outcome = _NOT_SENT_AGAIN if sent else _NOT_SENT
    if isinstance(exc, exceptions.SSLError):
        outcome += " For a certificate authority of your own, set REQUESTS_CA_BUNDLE to its file."
    if isinstance(exc, exceptions.ConnectTimeoutError) and _timed_out(exc):
        return APITimeoutError(f"{label} could not connect in time. {outcome}", sent=sent)
    if _timed_out(exc):
        limit = f"within {read:g} s" if read else "in time"
        return APITimeoutError(f"{label} got no answer {limit}. {outcome}", sent=sent)
    return APIConnectionError(f"{label} failed: {_cause(exc, mask)}. {outcome}", sent=sent)


def late_error(label: str, *, sent: bool, total: float) -> APITimeoutError:
    """Return the error for `label` if its answer exceeds the total time."""
    message = f"{label} could not connect within {total:g} s. Nothing was sent."
    if sent:
        message = (
            f"{label} got no complete answer within {total:g} s, the time to connect and the time "
            f"to read together. {_NOT_SENT_AGAIN} Raise timeout if answers take that long."
        )
    return APITimeoutError(message, sent=sent)


def cancelled_error(label: str, *, sent: bool) -> APIConnectionError:
    """Return the error for `label` if the caller cancelled it."""
    outcome = "the server may have received it" if sent else "nothing was sent"
    return APIConnectionError(f"{label} was cancelled; {outcome}.", sent=sent)


def too_large_error(label: str, limit: int | None) -> APIResponseError:
    """Return the error for `label` if its answer exceeds `limit`."""
    size = f"{(limit or 0) / 1e6:,.6g} MB"
    message = (
        f"{label} was answered with more than {size}, the limit of this client. "
        "Raise max_reply_bytes for larger answers."
    )
    return APIResponseError(message)


def interrupted_error(
    label: str, exc: Exception, mask: SecretMask, *, read: float | None
) -> APIConnectionError:
    """Return the error for `label` if its answer was cut off."""
    timed_out, limit = _timed_out(exc), f"for {read:g} s" if read else "in time"
    reason = f"no data arrived {limit}" if timed_out else _cause(exc, mask)
    message = f"{label} broke off: {reason}. The server may continue it; it was not sent again."
    return (APITimeoutError if timed_out else APIConnectionError)(message, sent=True)


def bad_reply(label: str, status: int, body: bytes, why: str, mask: SecretMask) -> APIResponseError:
    """Return the error for a 2xx answer that does not match the contract."""
    start = mask.hide(body[:4_000])[:200].decode("utf-8", "replace")
    message = (
        f"{label} answered {status}, but not as the API does ({why}). It begins with {start!r}. "
        "Check that the address is that of a Vellum API."
    )
    error = APIResponseError(message)
    text = body.strip()
    error.is_whole = text.startswith(b"{") and text.endswith(b"}")
    return error


def decoded(body: bytes) -> object:
    """Return `body` as JSON, or as text if it is not JSON."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return body.decode("utf-8", "replace")


def _detail(body: object) -> str:
    """Return the reason in an error body: `detail`, or field errors as ``field: text``."""
    if isinstance(body, str):
        return body.strip()
    if isinstance(body, Mapping):
        if set(body) == {"detail"}:
            return _detail(body["detail"])
        return "; ".join(
            _detail(value)
            if key in {"detail", "message", "non_field_errors"}
            else f"{key}: {_detail(value)}"
            for key, value in body.items()
        )
    if isinstance(body, list):
        return "; ".join(_detail(item) for item in body)
    return "" if body is None else str(body)


def _timed_out(exc: BaseException) -> bool:
    """Return whether it is a timeout. urllib3 also counts a refused connection as one."""
    timeouts = (exceptions.TimeoutError, TimeoutError)
    return any(
        isinstance(error, timeouts) and not isinstance(error, exceptions.NewConnectionError)
        for error in _chain(exc)
    )


def _cause(exc: BaseException, mask: SecretMask) -> str:
    """Return the text of the innermost reason, which can quote the server."""
    for error in reversed(_chain(exc)):
        if isinstance(error, exceptions.NameResolutionError | UnicodeError):
            return "the host name is unknown"
        if isinstance(error, OSError) and error.strerror:
            return error.strerror
    text = _cut(mask.hide(str(_chain(exc)[-1]).encode("utf-8", "replace")).decode())
    return text.rstrip(".") or type(exc).__name__


def _chain(exc: BaseException) -> list[BaseException]:
    """Return `exc` and the exceptions inside it: as argument, reason, cause or context."""
    chain: list[BaseException] = []
    current: BaseException | None = exc
    while current is not None and current not in chain:
        chain.append(current)
        inner = [getattr(current, "reason", None), *current.args[::-1]]
        inner += [current.__cause__, current.__context__]
        current = next((error for error in inner if isinstance(error, BaseException)), None)
    return chain


def _cut(text: str) -> str:
    """Return the start of `text`, without lone surrogates, which cannot be printed."""
    return cut(text, _MAX_MESSAGE_CHARS).encode("utf-8", "replace").decode()
