"""One request, from a Python body to a model: encoding, trying, redirects, parsing, errors."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple, TypeVar, cast
from urllib.parse import urlencode, urljoin, urlsplit

from pydantic import BaseModel, SecretStr
from requests import PreparedRequest, RequestException, Session
from requests.exceptions import InvalidProxyURL, InvalidURL, SSLError
from requests.structures import CaseInsensitiveDict
from requests.utils import get_environ_proxies
from urllib3.exceptions import HTTPError

from vellum_nb.client.failures import bad_reply, connection_error, decoded, status_error
from vellum_nb.client.retry import (
    TRIES,
    may_resend_after_failure,
    may_resend_after_status,
    pause,
    retry_after,
)
from vellum_nb.client.transport import Call, RecordingAdapter
from vellum_nb.client.wire import HIDDEN, Headers, encoded, read_reply
from vellum_nb.errors import APIConnectionError, APIStatusError, APITimeoutError
from vellum_nb.models import Cancellation

__all__ = ["Sender"]

M = TypeVar("M", bound=BaseModel)
_MOST_REDIRECTS = 5
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_KEEP_METHOD = frozenset({307, 308})


class Sender:
    """Sends requests with one session, from any number of threads.

    Parameters
    ----------
    key, version, agent
        What the headers X-API-KEY, X-API-Version and User-Agent say.
    timeout
        Seconds to connect, seconds to wait for data.
    connections
        How many connections a host keeps open.
    """

    def __init__(
        self,
        key: SecretStr,
        *,
        version: str,
        agent: str,
        timeout: tuple[float | None, float | None],
        connections: int,
    ) -> None:
        self._key = key
        self._timeout = timeout
        self._headers = Headers(
            {
                "User-Agent": agent,
                "Accept": "application/json",
                "Accept-Encoding": "gzip, deflate",
                "Connection": "keep-alive",
                "X-API-Version": version,
                "X-API-KEY": key.get_secret_value(),
            }
        )
        self._proxies: dict[tuple[str, str], dict[str, str]] = {}
        self._closed = threading.Event()
        self._session = Session()
        self._session.trust_env = False
        adapter = RecordingAdapter(connections)
        self._session.mount("https://", adapter)
        self._session.mount("http://", adapter)

    def close(self) -> None:
        """Close the idle connections and refuse further requests."""
        self._closed.set()
        self._session.close()

    def send(
        self,
        method: str,
        url: str,
        reply: type[M],
        *,
        query: Mapping[str, object] | None = None,
        body: Mapping[str, Any] | None = None,
        cancel: Cancellation | None = None,
    ) -> M:
        """Send a request and return its answer as a `reply` model."""
        data = None if body is None else encoded(body)
        wanted = {key: value for key, value in (query or {}).items() if value is not None}
        full = f"{url}?{urlencode(wanted)}" if wanted else url
        answer = self._answer(_Request(method, full, f"{method} {url}", data), cancel)
        if isinstance(answer, _Failure):
            raise answer.error
        return self._parsed(answer, f"{method} {url}", method, reply)

    def _answer(self, request: _Request, cancel: Cancellation | None) -> _Answer | _Failure:
        """Try until there is an answer to keep, or an error that no further try may mend."""
        attempt = 0
        while True:
            attempt += 1
            self._refuse_if_closed(request)
            if cancel is not None and cancel.cancelled:
                return _cancelled(request, sent=False)
            answer = self._follow(request, cancel)
            wait = None if attempt >= TRIES else _wait(request.method, answer, attempt)
            if wait is None or (cancel is not None and cancel.cancelled):
                return answer
            if cancel is None:
                self._closed.wait(wait)
            elif cancel.wait(wait):
                return _cancelled(request, sent=False)

    def _follow(self, request: _Request, cancel: Cancellation | None) -> _Answer | _Failure:
        """Exchange, and again where the same host sends us to."""
        for _ in range(_MOST_REDIRECTS):
            answer = self._exchange(request, cancel)
            if isinstance(answer, _Failure):
                return answer
            target = _redirected(request, answer)
            if target is None:
                return answer
            request = request._replace(url=target)
        return self._exchange(request, cancel)

    def _exchange(self, request: _Request, cancel: Cancellation | None) -> _Answer | _Failure:
        """Send once. Errors are returned, so that none of ours carries one with the request."""
        call = Call()
        watched: AbstractContextManager[None] = (
            cancel.calling(call.cut) if cancel is not None else nullcontext()
        )
        try:
            with call, watched:
                # Not session.send: redirects, cookies, hooks and netrc are a fifth of its time.
                response = self._session.get_adapter(request.url).send(
                    self._prepared(request),
                    stream=True,
                    timeout=cast("Any", self._timeout),
                    proxies=self._proxies_for(request.url),
                )
                content = response.raw.read(decode_content=True)
                if not call.release():
                    return _Answer(response.status_code, response.headers, content)
        except (RequestException, HTTPError, OSError, ValueError) as exc:
            # ValueError: a host name that cannot be, a chunk of negative length
            if not call.release():
                return _failed(request, exc, sent=call.sent, read=self._timeout[1])
        return _cancelled(request, sent=call.sent)

    def _prepared(self, request: _Request) -> PreparedRequest:
        prepared = PreparedRequest()
        prepared.method, prepared.url = request.method, request.url
        headers = Headers(self._headers)
        if request.data is not None:
            headers["Content-Type"] = "application/json"
            headers["Content-Length"] = str(len(request.data))
            prepared.body = request.data
        prepared.headers = cast("CaseInsensitiveDict[str]", headers)
        return prepared

    def _proxies_for(self, url: str) -> dict[str, str]:
        """Return the proxies of the environment for `url`, looked up once a host."""
        parts = urlsplit(url)
        origin = (parts.scheme, parts.netloc)
        if origin not in self._proxies:
            self._proxies[origin] = get_environ_proxies(url)
        return self._proxies[origin]

    def _parsed(self, answer: _Answer, what: str, method: str, reply: type[M]) -> M:
        if not 200 <= answer.status < 300:  # noqa: PLR2004
            raise self._status_error(answer, what, method)
        parsed = read_reply(answer.content, reply)
        if isinstance(parsed, str):
            raise bad_reply(what, answer.status, self._hide(answer.content), parsed)
        return parsed

    def _status_error(self, answer: _Answer, what: str, method: str) -> APIStatusError:
        location = answer.headers.get("Location") if answer.status in _REDIRECTS else None
        return status_error(
            f"{what} answered {answer.status}",
            answer.status,
            decoded(self._hide(answer.content)),
            method=method,
            location=location and location.replace(self._key.get_secret_value(), HIDDEN),
            wait=retry_after(answer.headers.get("Retry-After")),
        )

    def _refuse_if_closed(self, request: _Request) -> None:
        if self._closed.is_set():
            msg = f"{request.what} was not sent: this client is closed. Make a new one."
            raise APIConnectionError(msg, sent=False)

    def _hide(self, content: bytes) -> bytes:
        """Return `content` without the key, should a server echo it."""
        return content.replace(self._key.get_secret_value().encode(), HIDDEN.encode())


class _Request(NamedTuple):
    method: str
    url: str
    what: str
    data: bytes | None


class _Answer(NamedTuple):
    status: int
    headers: Mapping[str, str]
    content: bytes

    def __repr__(self) -> str:
        return f"<{self.status}, {len(self.content)} bytes>"  # a server may echo the key


class _Failure(NamedTuple):
    error: APIConnectionError
    may_resend: bool


def _wait(method: str, answer: _Answer | _Failure, attempt: int) -> float | None:
    """Return the seconds to wait before another try, or None when there must be none."""
    if isinstance(answer, _Failure):
        return pause(attempt) if answer.may_resend else None
    wanted = retry_after(answer.headers.get("Retry-After"))
    if may_resend_after_status(method, answer.status, wanted):
        return pause(attempt, wanted)
    return None


def _failed(request: _Request, exc: Exception, *, sent: bool, read: float | None) -> _Failure:
    error = connection_error(request.what, exc, sent=sent, read=read)
    lasting = isinstance(exc, SSLError | InvalidURL | InvalidProxyURL | UnicodeError)
    timed_out = isinstance(error, APITimeoutError)
    again = may_resend_after_failure(request.method, sent=sent, timed_out=timed_out)
    return _Failure(error, again and not lasting)


def _cancelled(request: _Request, *, sent: bool) -> _Failure:
    fate = "the server may have received it" if sent else "nothing was sent"
    message = f"{request.what} was cancelled; {fate}."
    return _Failure(APIConnectionError(message, sent=sent), may_resend=False)


def _redirected(request: _Request, answer: _Answer) -> str | None:
    """Return where the same host sends the request on to, or None."""
    location = answer.headers.get("Location")
    if answer.status not in _REDIRECTS or not location:
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
