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

_LONGEST = 500
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
    what: str,
    status: int,
    body: object,
    *,
    method: str,
    location: str | None = None,
    wait: float | None = None,
) -> APIStatusError:
    """Return the error for an answer to the request `what` with a status that is not 2xx.

    `location` is where a redirect points to, `wait` is the server's Retry-After.
    """
    leaf = _LEAVES.get(status, ServerError if status >= 500 else APIStatusError)  # noqa: PLR2004
    is_page = isinstance(body, str) and body.lstrip().startswith("<")  # for a browser
    try:
        detail = "" if is_page else _cut(_detail(body)).rstrip(".")
    except RecursionError:
        detail = "(its reason is nested too deeply to print)"
    phrase = _PHRASES.get(status, "(no standard status)")
    sentences = [f"{what} answered {status} {phrase}{': ' if detail else ''}{detail}."]
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
    what: str, exc: Exception, mask: SecretMask, *, sent: bool, read: float | None
) -> APIConnectionError:
    """Return the error for `what` when no answer came."""
    outcome = _NOT_SENT_AGAIN if sent else _NOT_SENT
    if isinstance(exc, exceptions.SSLError):
        outcome += " For a certificate authority of your own, set REQUESTS_CA_BUNDLE to its file."
    if isinstance(exc, exceptions.ConnectTimeoutError) and _timed_out(exc):
        return APITimeoutError(f"{what} could not connect in time. {outcome}", sent=sent)
    if _timed_out(exc):
        limit = f"within {read:g} s" if read else "in time"
        return APITimeoutError(f"{what} got no answer {limit}. {outcome}", sent=sent)
    return APIConnectionError(f"{what} failed: {_cause(exc, mask)}. {outcome}", sent=sent)


def late_error(what: str, *, sent: bool, total: float) -> APITimeoutError:
    """Return the error for `what` when its answer was not complete in the whole time."""
    message = f"{what} could not connect within {total:g} s. Nothing was sent."
    if sent:
        message = (
            f"{what} got no complete answer within {total:g} s, the time to connect and the time "
            f"to read together. {_NOT_SENT_AGAIN} Raise timeout if answers take that long."
        )
    return APITimeoutError(message, sent=sent)


def cancelled_error(what: str, *, sent: bool) -> APIConnectionError:
    """Return the error for `what` when the caller cancelled it."""
    outcome = "the server may have received it" if sent else "nothing was sent"
    return APIConnectionError(f"{what} was cancelled; {outcome}.", sent=sent)


def too_large_error(what: str, limit: int | None) -> APIResponseError:
    """Return the error for `what` when its answer is larger than the client reads."""
    size = f"{(limit or 0) / 1e6:,.6g} MB"
    message = (
        f"{what} was answered with more than {size}, the most that is read; the rest was dropped. "
        "Raise max_reply_bytes of the client where an answer is that large."
    )
    return APIResponseError(message)


def interrupted_error(
    what: str, exc: Exception, mask: SecretMask, *, read: float | None
) -> APIConnectionError:
    """Return the error for `what` when its answer broke off in the middle."""
    timed_out, limit = _timed_out(exc), f"for {read:g} s" if read else "in time"
    reason = f"nothing more arrived {limit}" if timed_out else _cause(exc, mask)
    message = f"{what} broke off: {reason}. The server may continue it; it was not sent again."
    return (APITimeoutError if timed_out else APIConnectionError)(message, sent=True)


def bad_reply(what: str, status: int, body: bytes, why: str, mask: SecretMask) -> APIResponseError:
    """Return the error for a 2xx answer that does not match the contract."""
    start = mask.hide(body[:4_000])[:200].decode("utf-8", "replace")
    message = (
        f"{what} answered {status}, but not as the API does ({why}). It begins with {start!r}. "
        "Check that the address is that of a Vellum API."
    )
    error = APIResponseError(message)
    text = body.strip()
    error.is_whole = text.startswith(b"{") and text.endswith(b"}")
    return error


def decoded(body: bytes) -> object:
    """Return `body` as JSON, or as text when it is not JSON."""
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
    """Return whether it is a timeout; a refused connection is not one, though urllib3 says so."""
    timeouts = (exceptions.TimeoutError, TimeoutError)
    return any(
        isinstance(each, timeouts) and not isinstance(each, exceptions.NewConnectionError)
        for each in _chain(exc)
    )


def _cause(exc: BaseException, mask: SecretMask) -> str:
    """Return the innermost reason in words; it may quote what the server sent."""
    for each in reversed(_chain(exc)):
        if isinstance(each, exceptions.NameResolutionError | UnicodeError):
            return "the host name is unknown"
        if isinstance(each, OSError) and each.strerror:
            return each.strerror
    text = _cut(mask.hide(str(_chain(exc)[-1]).encode("utf-8", "replace")).decode())
    return text.rstrip(".") or type(exc).__name__


def _chain(exc: BaseException) -> list[BaseException]:
    """Return `exc` and the exceptions inside it: as argument, reason, cause or context."""
    found: list[BaseException] = []
    current: BaseException | None = exc
    while current is not None and current not in found:
        found.append(current)
        inner = [getattr(current, "reason", None), *current.args[::-1]]
        inner += [current.__cause__, current.__context__]
        current = next((each for each in inner if isinstance(each, BaseException)), None)
    return found


def _cut(text: str) -> str:
    """Return the start of `text`, without half surrogates, which nothing can print."""
    start = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
    return start.encode("utf-8", "replace").decode()
