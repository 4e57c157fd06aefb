"""What went wrong, as our errors: what was tried, what came back, what to do next."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from http import HTTPStatus
from urllib.parse import urlsplit

from requests import exceptions
from urllib3 import exceptions as urllib3_errors

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

__all__ = ["bad_reply", "connection_error", "cut_off", "decoded", "status_error"]

_LONGEST = 500
_LEAVES: dict[int, type[APIStatusError]] = {
    400: BadRequestError,
    401: AuthenticationError,
    403: AuthenticationError,
    404: NotFoundError,
    429: RateLimitError,
}
_NEXT = {
    400: "Change the request as it says; sending it again as it is changes nothing.",
    401: "Check the API key (VELLUM_API_KEY).",
    403: "Check that the API key is right for this address and environment, and has this right.",
    404: "Check the name, the release tag, and that the API key belongs to their environment.",
    413: "Send less: pass large files by URL.",
    421: "It belongs to another workspace or environment than this API key.",
    429: "Too many requests: lower the concurrency or try again later.",
}
_SERVER_NEXT = "The server failed; look whether the execution ran before you send it again."


def status_error(
    said: str,
    status: int,
    body: object,
    *,
    method: str,
    location: str | None = None,
    wait: float | None = None,
) -> APIStatusError:
    """Return the error for an answer with `status`; `said` tells who answered what to what.

    `location` is where a redirect points to, `wait` what the server asks to wait.
    """
    leaf = _LEAVES.get(status, ServerError if status >= 500 else APIStatusError)  # noqa: PLR2004
    detail = _cut(_said(body)).rstrip(".")
    sentences = [f"{said} {_reason(status)}{': ' if detail else ''}{detail}."]
    if location is not None:
        sentences.append(
            f"It points to {_place(location)}; requests are not sent "
            "on to another host, and an execution only by 307 or 308. Set the address anew."
        )
    if wait is not None and wait < math.inf:
        sentences.append(f"The server asks to wait {wait:.0f} s.")
    sentences.append(_advice(status, method))
    said_all = " ".join(sentences).rstrip()
    return leaf(said_all, status_code=status, body=body, retry_after=wait)


def connection_error(
    what: str, exc: Exception, *, sent: bool, read: float | None
) -> APIConnectionError:
    """Return the error for `what` when no answer came."""
    fate = (
        "The server may have received it; it was not sent again."
        if sent
        else "Nothing was sent; check the address and that the server runs."
    )
    if isinstance(exc, exceptions.SSLError):
        fate += " For a certificate authority of your own, set REQUESTS_CA_BUNDLE to its file."
    if isinstance(exc, exceptions.ConnectTimeout):
        return APITimeoutError(f"{what} could not connect in time. {fate}", sent=sent)
    if _timed_out(exc):
        limit = f"within {read:g} s" if read else "in time"
        return APITimeoutError(f"{what} got no answer {limit}. {fate}", sent=sent)
    return APIConnectionError(f"{what} failed: {_cause(exc)}. {fate}", sent=sent)


def cut_off(what: str, exc: Exception, *, read: float | None) -> APIConnectionError:
    """Return the error for `what` when its answer broke off in the middle."""
    fate = "The server may go on with it; it was not sent again."
    if _timed_out(exc):
        limit = f"for {read:g} s" if read else "in time"
        return APITimeoutError(f"{what} broke off: nothing more came {limit}. {fate}", sent=True)
    return APIConnectionError(f"{what} broke off: {_cause(exc)}. {fate}", sent=True)


def bad_reply(what: str, status: int, body: bytes, reason: str) -> APIResponseError:
    """Return the error for a 2xx answer that is not the contract."""
    start = _cut(body[:200].decode("utf-8", "replace"))
    message = (
        f"{what} answered {status}, but not as the API does ({reason}). It begins with {start!r}. "
        "Check that the address is that of a Vellum API."
    )
    error = APIResponseError(message)
    text = body.strip()
    error.is_whole = text.startswith(b"{") and text.endswith(b"}")
    return error


def decoded(body: bytes) -> object:
    """Return `body` as JSON, or as text when it is none."""
    try:
        return json.loads(body)
    except (ValueError, RecursionError):
        return body.decode("utf-8", "replace")


def _place(location: str) -> str:
    """Return a redirect's target without its query, which may hold secrets."""
    try:
        place = urlsplit(location)
    except ValueError:
        return "no valid address"
    return f"{place.scheme}://{place.netloc}{place.path}"


def _said(body: object) -> str:
    if isinstance(body, str) and body.lstrip().startswith("<"):
        return ""  # a page for a browser
    try:
        return _detail(body)
    except RecursionError:
        return "(its reason is nested too deep to be shown)"


def _detail(body: object) -> str:
    """Return what an error body says: `detail`, or field errors as ``field: text``."""
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


def _advice(status: int, method: str) -> str:
    if status < 500:  # noqa: PLR2004
        return _NEXT.get(status, "")
    return _SERVER_NEXT if method != "GET" else "The server failed; try again later."


def _reason(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return "(no standard status)"


def _timed_out(exc: BaseException) -> bool:
    """Return whether the time was up; urllib3 counts a refused connection as such, we do not."""
    timeouts = (exceptions.Timeout, urllib3_errors.TimeoutError, TimeoutError)
    return any(
        isinstance(each, timeouts) and not isinstance(each, urllib3_errors.NewConnectionError)
        for each in _chain(exc)
    )


def _cause(exc: BaseException) -> str:
    """Return the innermost reason in words; its URL and object addresses help nobody."""
    for each in reversed(_chain(exc)):
        if isinstance(each, urllib3_errors.NameResolutionError | UnicodeError):
            return "the host name is unknown"
        if isinstance(each, OSError) and each.strerror:
            return each.strerror
    text = _cut(str(_chain(exc)[-1]))
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
    """Return as much of `text` as is told, without half surrogates, which nothing can print."""
    shown = text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"
    return shown.encode("utf-8", "replace").decode()
