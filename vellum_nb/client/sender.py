"""One request, from a Python body to a model: trying, redirects, parsing, errors."""

from __future__ import annotations

import threading
from contextlib import ExitStack
from typing import Any, TypeVar, cast
from urllib.parse import urlsplit

from pydantic import BaseModel, SecretStr
from requests import PreparedRequest, RequestException, Response, Session
from requests.structures import CaseInsensitiveDict
from requests.utils import get_environ_proxies
from urllib3.exceptions import HTTPError

from vellum_nb.client.exchange import (
    REDIRECTS,
    Answer,
    Failure,
    Request,
    cancelled,
    failed,
    is_good,
    redirected,
    wait_before_another,
)
from vellum_nb.client.failures import bad_reply, decoded, status_error
from vellum_nb.client.live import LiveBody
from vellum_nb.client.retry import TRIES, retry_after
from vellum_nb.client.transport import Call, RecordingAdapter
from vellum_nb.client.wire import HIDDEN, Headers, read_reply
from vellum_nb.errors import APIConnectionError, APIStatusError
from vellum_nb.models import Cancellation

__all__ = ["Sender"]

M = TypeVar("M", bound=BaseModel)
_MOST_REDIRECTS = 5
_SECRET = 16


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
    tries
        How often at most a request is sent.
    """

    def __init__(
        self,
        key: SecretStr,
        *,
        version: str,
        agent: str,
        timeout: tuple[float | None, float | None],
        connections: int,
        tries: int = TRIES,
    ) -> None:
        self._key = key
        self._tries = tries
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
        self._adapter = RecordingAdapter(connections)
        self._session.mount("https://", self._adapter)
        self._session.mount("http://", self._adapter)

    def close(self) -> None:
        """Close the idle connections and refuse further requests."""
        self._closed.set()
        self._session.close()

    def send(self, request: Request, reply: type[M], cancel: Cancellation | None = None) -> M:
        """Send a request and return its answer as a `reply` model."""
        return self.read(request, self._answer(request, cancel), reply)

    def read(self, request: Request, found: Answer | Failure, reply: type[M]) -> M:
        """Return what came of `request` as a `reply` model, or raise what it means."""
        answer = self._checked(request, found)
        parsed = read_reply(self._cleared(answer.content), reply)
        if isinstance(parsed, str):
            raise bad_reply(request.what, answer.status, self._hide(answer.content), parsed)
        return parsed

    def fetch(self, request: Request, cancel: Cancellation | None = None) -> bytes:
        """Send a request and return its answer as it came."""
        return self._good(request, cancel).content

    def open(self, request: Request, cancel: Cancellation | None = None) -> LiveBody:
        """Send a request and return its answer unread, once it is known to be 2xx."""
        live = self._good(request._replace(live=True), cancel).live
        assert live is not None  # noqa: S101  # a good answer to a live request has it
        return live

    def _good(self, request: Request, cancel: Cancellation | None) -> Answer:
        return self._checked(request, self._answer(request, cancel))

    def _checked(self, request: Request, answer: Answer | Failure) -> Answer:
        if isinstance(answer, Failure):
            raise answer.error
        if not is_good(answer.status):
            raise self._status_error(answer, request)
        return answer

    def _answer(self, request: Request, cancel: Cancellation | None) -> Answer | Failure:
        """Try until there is an answer to keep, or an error that no further try may mend."""
        attempt = 0
        while True:
            attempt += 1
            self._refuse_if_closed(request)
            if cancel is not None and cancel.cancelled:
                return cancelled(request, sent=False)
            answer = self._follow(request, cancel)
            wait = wait_before_another(request.method, answer, attempt, self._tries)
            if wait is None or (cancel is not None and cancel.cancelled):
                return answer
            if cancel is None:
                self._closed.wait(wait)
            elif cancel.wait(wait):
                return cancelled(request, sent=False)

    def _follow(self, request: Request, cancel: Cancellation | None) -> Answer | Failure:
        """Exchange, and again where the same host sends us to."""
        for _ in range(_MOST_REDIRECTS):
            answer = self._exchange(request, cancel)
            if isinstance(answer, Failure):
                return answer
            target = redirected(request, answer)
            if target is None:
                return answer
            request = request._replace(url=target)
        return self._exchange(request, cancel)

    def _exchange(self, request: Request, cancel: Cancellation | None) -> Answer | Failure:
        """Send once. Errors are returned, so that none of ours carries one with the request."""
        call = Call()
        with ExitStack() as watch:
            if cancel is not None:
                watch.enter_context(cancel.calling(call.cut))
            try:
                with call:
                    response = self._sent(request)
                    if request.live and is_good(response.status_code):
                        call.hold()
                        return self._live(request, response, call, watch.pop_all())
                    content = response.raw.read(decode_content=True)
                    if not call.release():
                        return Answer(response.status_code, response.headers, content)
            except (RequestException, HTTPError, OSError, ValueError, OverflowError) as exc:
                # ValueError: a host name that cannot be, a chunk of negative length;
                # OverflowError: a length beyond all memory
                if not call.release():
                    return failed(request, exc, sent=call.sent, read=self._timeout[1])
        return cancelled(request, sent=call.sent)

    def _sent(self, request: Request) -> Response:
        # Not session.send: redirects, cookies, hooks and netrc are a fifth of its time.
        return self._session.get_adapter(request.url).send(
            self._prepared(request),
            stream=True,
            timeout=cast("Any", self._timeout),
            proxies=self._proxies_for(request.url),
        )

    def _live(self, request: Request, response: Response, call: Call, watch: ExitStack) -> Answer:
        body = LiveBody(
            request.what,
            response.raw,
            call,
            watch,
            read_timeout=self._timeout[1],
            hide=self._cleared,
        )
        return Answer(response.status_code, response.headers, b"", body)

    def _prepared(self, request: Request) -> PreparedRequest:
        prepared = PreparedRequest()
        prepared.method, prepared.url = request.method, request.url
        headers = Headers(self._headers)
        headers["Accept"] = request.accept
        if request.data is not None:
            headers["Content-Type"] = request.content_type
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

    def _status_error(self, answer: Answer, request: Request) -> APIStatusError:
        location = answer.headers.get("Location") if answer.status in REDIRECTS else None
        return status_error(
            f"{request.what} answered {answer.status}",
            answer.status,
            decoded(self._hide(answer.content)),
            method=request.method,
            location=location and location.replace(self._key.get_secret_value(), HIDDEN),
            wait=retry_after(answer.headers.get("Retry-After")),
        )

    def _refuse_if_closed(self, request: Request) -> None:
        if self._closed.is_set():
            msg = f"{request.what} was not sent: this client is closed. Make a new one."
            raise APIConnectionError(msg, sent=False)

    def _cleared(self, content: bytes) -> bytes:
        """Return a good answer without the key; a short one may be an ordinary word in it."""
        return self._hide(content) if len(self._key) >= _SECRET else content

    def _hide(self, content: bytes) -> bytes:
        """Return `content` without the key, should a server echo it."""
        return content.replace(self._key.get_secret_value().encode(), HIDDEN.encode())
