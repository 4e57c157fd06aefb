"""A request, what came of it, and what follows from that. Nothing here sends."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple
from urllib.parse import urlencode, urljoin, urlsplit

from requests.exceptions import InvalidProxyURL, InvalidURL, SSLError

from vellum_nb.client.failures import connection_error
from vellum_nb.client.live import LiveBody
from vellum_nb.client.retry import (
    TRIES,
    may_resend_after_failure,
    may_resend_after_status,
    pause,
    retry_after,
)
from vellum_nb.client.wire import encoded
from vellum_nb.errors import APIConnectionError, APITimeoutError

__all__ = [
    "REDIRECTS",
    "Answer",
    "Failure",
    "Request",
    "cancelled",
    "failed",
    "is_good",
    "redirected",
    "request_for",
    "wait_before_another",
]

REDIRECTS = frozenset({301, 302, 303, 307, 308})
_KEEP_METHOD = frozenset({307, 308})


class Request(NamedTuple):
    """What is sent; `what` names it in messages, `live` wants the body as it comes."""

    method: str
    url: str
    what: str
    data: bytes | None = None
    content_type: str = "application/json"
    accept: str = "application/json"
    live: bool = False


class Answer(NamedTuple):
    """What came back; `live` is the body that has not been read yet."""

    status: int
    headers: Mapping[str, str]
    content: bytes
    live: LiveBody | None = None

    def __repr__(self) -> str:
        return f"<{self.status}, {len(self.content)} bytes>"  # a server may echo the key


class Failure(NamedTuple):
    """No answer came."""

    error: APIConnectionError
    may_resend: bool


def request_for(
    method: str,
    url: str,
    *,
    query: Mapping[str, object] | None = None,
    body: Mapping[str, Any] | None = None,
) -> Request:
    """Return a request with `body` as JSON; what is None in `query` is left out."""
    wanted = {key: _query(value) for key, value in (query or {}).items() if value is not None}
    full = f"{url}?{urlencode(wanted)}" if wanted else url
    return Request(method, full, f"{method} {url}", None if body is None else encoded(body))


def is_good(status: int) -> bool:
    """Return whether `status` is 2xx."""
    return 200 <= status < 300  # noqa: PLR2004


def wait_before_another(
    method: str, answer: Answer | Failure, attempt: int, tries: int = TRIES
) -> float | None:
    """Return the seconds to wait before another try, or None when there must be none."""
    if attempt >= tries:
        return None
    if isinstance(answer, Failure):
        return pause(attempt) if answer.may_resend else None
    wanted = retry_after(answer.headers.get("Retry-After"))
    if may_resend_after_status(method, answer.status, wanted):
        return pause(attempt, wanted)
    return None


def failed(request: Request, exc: Exception, *, sent: bool, read: float | None) -> Failure:
    """Return what `exc` means for `request`."""
    error = connection_error(request.what, exc, sent=sent, read=read)
    lasting = isinstance(exc, SSLError | InvalidURL | InvalidProxyURL | UnicodeError)
    timed_out = isinstance(error, APITimeoutError)
    again = may_resend_after_failure(request.method, sent=sent, timed_out=timed_out)
    return Failure(error, again and not lasting)


def cancelled(request: Request, *, sent: bool) -> Failure:
    """Return what it means that the caller cancelled."""
    fate = "the server may have received it" if sent else "nothing was sent"
    message = f"{request.what} was cancelled; {fate}."
    return Failure(APIConnectionError(message, sent=sent), may_resend=False)


def redirected(request: Request, answer: Answer) -> str | None:
    """Return where the same host sends the request on to, or None."""
    location = answer.headers.get("Location")
    if answer.status not in REDIRECTS or not location:
        return None
    if request.method != "GET" and answer.status not in _KEEP_METHOD:
        return None
    try:
        target = urljoin(request.url, location)
        old, new = urlsplit(request.url), urlsplit(target)
    except ValueError:
        return None
    same = (old.scheme, old.netloc) == (new.scheme, new.netloc)
    safer = (old.scheme, new.scheme) == ("http", "https") and old.netloc == new.netloc
    return target if same or (safer and old.port is None) else None


def _query(value: object) -> object:
    return str(value).lower() if isinstance(value, bool) else value
