"""Sending of requests: retries, redirects, limits of time and size, connections."""

from __future__ import annotations

import json
import math
import os
import random
import socket
import ssl
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from functools import cache
from importlib.metadata import version
from numbers import Integral
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeVar
from urllib.parse import quote, urlencode, urljoin, urlsplit

from pydantic import BaseModel
from requests import PreparedRequest, RequestException
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies
from urllib3 import BaseHTTPResponse, Retry, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import (
    ConnectTimeoutError,
    HTTPError,
    LocationValueError,
    NameResolutionError,
    NewConnectionError,
    SSLError,
)

from vellum_nb.client.failures import (
    bad_reply,
    cancelled_error,
    connection_error,
    decoded,
    late_error,
    status_error,
    too_large_error,
)
from vellum_nb.client.settings import ClientSettings, is_loopback
from vellum_nb.errors import APIConnectionError, APIError, APITimeoutError, InputError
from vellum_nb.escaping import printed
from vellum_nb.models import Cancellation
from vellum_nb.models.base import HIDDEN, SecretMask, read_json
from vellum_nb.models.checks import check_integer, refuse
from vellum_nb.models.inputs import plain

M = TypeVar("M", bound=BaseModel)
_JSON = "application/json"
_version = cache(version)  # which reads a file
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_KEEP_METHOD = frozenset({307, 308})
_MAX_REDIRECTS = 5
_MAX_ERROR_BYTES = 2**20
_READ_BYTES = 2**20
_GOOD = range(200, 300)
_NUMBERS = frozenset({"limit", "offset", "span_limit", "expiry_seconds"})
TRIES = 4
_MAX_PAUSE_S = 30.0
_FIRST_PAUSE_S = 0.25
_JITTER_SHARE = 0.25  # of the pause
CANCELLED, TIMED_OUT = "cancelled", "timed out"
TOO_LATE = "it was too late to send it"
_THREAD = threading.local()
_JOINED_BYTES = 65_536  # a shorter body is sent in one write with its headers
_WATCH_INTERVAL_S = 0.5
_MAX_IDLE_CONNECTIONS = 1000  # a pool allocates a slot for each
_NO_RETRIES = Retry(total=False)
_CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")
_INHERITED: list[RecordingAdapter] = []


class Request(NamedTuple):
    """A request; messages call it `label`. With `stream`, the body of a 2xx answer is not read."""

    method: str
    url: str
    label: str
    data: bytes | None = None
    content_type: str = _JSON
    accept: str = _JSON
    stream: bool = False


class StreamBody(NamedTuple):
    """Unread body of the answer to the request `label`."""

    label: str
    raw: Any
    call: Call
    read_timeout: float | None
    max_line: int | None
    mask: SecretMask


class Answer(NamedTuple):
    """An answer. The API key is masked in `content`; `stream` is an unread body."""

    label: str
    status: int
    headers: Mapping[str, str]
    content: bytes
    mask: SecretMask
    stream: StreamBody | None = None

    @printed
    def __repr__(self) -> str:
        return f"<{self.status}, {len(self.content)} bytes>"

    def parse(self, model: type[M]) -> M:
        """Return the body as a model, or raise `APIResponseError`."""
        parsed = read_json(model, self.content)
        if isinstance(parsed, str):
            raise bad_reply(self.label, self.status, self.content, parsed, self.mask)
        return parsed


class _Failure(NamedTuple):
    """No usable answer. It is a value, so no exception has the request in its context."""

    error: APIError
    may_resend: bool = False


class Session:
    """Sends requests for one client, from any number of threads."""

    def __init__(self, settings: ClientSettings) -> None:
        key = settings.key.get_secret_value()
        connect, read = settings.timeout
        self._settings = settings
        self._mask = SecretMask(key)
        self._headers = _Headers(
            {
                "User-Agent": f"vellum_nb/{_version('vellum-nb')}",
                "Accept-Encoding": "gzip, deflate",
                "X-API-Version": settings.api_version,
                "X-API-KEY": key,
            }
        )
        self._closed = threading.Event()
        self._timeout = Timeout(connect=connect, read=read)
        self._total = None if read is None or connect is None else connect + read
        self._begin()

    def _begin(self) -> None:
        """Start without connections: those inherited by a fork belong to its parent."""
        self._process = os.getpid()
        self._adapter = RecordingAdapter(self._settings.max_connections)
        self._watchdog = Watchdog(self._total)

    def close(self) -> None:
        """Close the idle connections and refuse further requests."""
        self._closed.set()
        self._adapter.close()

    def send(self, request: Request, cancel: Cancellation | None = None) -> Answer:
        """Send a request, with allowed retries; return a 2xx answer or raise the last error."""
        attempt, redirects, wait = 1, 0, 0.0
        if self._process != os.getpid():
            _INHERITED.append(self._adapter)  # a thread could have held its locks
            self._begin()
        while True:
            self._wait(request, cancel, wait)
            outcome = self._attempt(request, cancel)
            if isinstance(outcome, Answer):
                if outcome.status in _GOOD:
                    return outcome
                target = _redirect_target(request, outcome)
                if target is not None and redirects < _MAX_REDIRECTS:
                    request, redirects, wait = request._replace(url=target), redirects + 1, 0.0
                    continue
            requested, may_resend = None, isinstance(outcome, _Failure) and outcome.may_resend
            if isinstance(outcome, Answer):
                requested = retry_after(outcome.headers.get("Retry-After"))
                may_resend = may_resend_after_status(request.method, outcome.status, requested)
            if attempt >= self._settings.max_tries or not may_resend:
                raise self._error(request, outcome)
            attempt, wait = attempt + 1, pause(attempt, requested)

    def _wait(self, request: Request, cancel: Cancellation | None, seconds: float) -> None:
        """Wait before an attempt; raise if the call is cancelled or the client closed."""
        if cancel is None:
            self._closed.wait(seconds)
        elif cancel.wait(seconds):
            raise cancelled_error(request.label, sent=False)
        if self._closed.is_set():
            msg = f"{request.label} was not sent: this client is closed. Make a new one."
            raise APIConnectionError(msg, sent=False)

    def _attempt(self, request: Request, cancel: Cancellation | None) -> Answer | _Failure:
        call = Call(cancel)
        error: Exception | None = None
        self._watchdog.add(call)
        try:
            with call:
                headers = self._headers_of(request)
                response = self._adapter.exchange(request, headers, self._timeout)
                if request.stream and response.status in _GOOD:
                    return self._opened(request, response, call)
                outcome = self._read(request, response)
        except (HTTPError, OSError) as exc:  # OSError: also what `requests` raises
            error = exc
        finally:
            self._watchdog.remove(call)
        cut = call.release()
        if cut == CANCELLED:
            return _Failure(cancelled_error(request.label, sent=call.sent))
        if cut == TIMED_OUT:
            return _Failure(late_error(request.label, sent=call.sent, total=self._total or 0.0))
        return outcome if error is None else self._failed(request, error, sent=call.sent)

    def _read(self, request: Request, response: BaseHTTPResponse) -> Answer | _Failure:
        """Read a whole answer up to the allowed size."""
        good, status = response.status in _GOOD, response.status
        limit = self._settings.max_reply_bytes if good else _MAX_ERROR_BYTES
        content = _content(response, limit, cut=not good)
        if content is None:
            return _Failure(too_large_error(request.label, limit))
        content = self._mask.hide_in_reply(content) if good else self._mask.hide(content)
        return Answer(request.label, status, response.headers, content, self._mask)

    def _opened(self, request: Request, response: BaseHTTPResponse, call: Call) -> Answer:
        """Return a 2xx answer with an unread body, which keeps the call open."""
        call.hold()
        read, limit = self._settings.timeout[1], self._settings.max_reply_bytes
        body = StreamBody(request.label, response, call, read, limit, self._mask)
        return Answer(request.label, response.status, response.headers, b"", self._mask, body)

    def _failed(self, request: Request, exc: Exception, *, sent: bool) -> _Failure:
        read = self._settings.timeout[1]
        error = connection_error(request.label, exc, self._mask, sent=sent, read=read)
        lasting = isinstance(exc, SSLError | LocationValueError | RequestException)
        # A request that was sent could have run; a timeout would repeat.
        may_resend = not sent or (
            request.method == "GET" and not isinstance(error, APITimeoutError)
        )
        return _Failure(error, may_resend=may_resend and not lasting)

    def _headers_of(self, request: Request) -> _Headers:
        headers = self._headers.copy()
        headers["Accept"] = request.accept
        if request.data is not None:
            headers["Content-Type"] = request.content_type
            headers["Content-Length"] = str(len(request.data))
        return headers

    def _error(self, request: Request, outcome: Answer | _Failure) -> APIError:
        if isinstance(outcome, _Failure):
            return outcome.error
        location = outcome.headers.get("Location") if outcome.status in _REDIRECTS else None
        return status_error(
            request.label,
            outcome.status,
            decoded(outcome.content),
            method=request.method,
            location=location and self._mask.hide(location.encode()).decode(),
            wait=retry_after(outcome.headers.get("Retry-After")),
        )


class _Headers(dict[str, str]):
    """Headers that hide the key in their `repr`."""

    @printed
    def __repr__(self) -> str:
        return str({name: HIDDEN if name == "X-API-KEY" else self[name] for name in self})

    def copy(self) -> _Headers:
        """Return a copy that hides the key too."""
        return _Headers(self)


def build_request(
    method: str,
    base: str,
    path: Sequence[str],
    *,
    query: Mapping[str, object] | None = None,
    body: Mapping[str, Any] | None = None,
) -> Request:
    """Return a request with `body` as JSON; None in `query` or `body` is omitted."""
    url = full = "/".join([base, "v1", *map(_segment, path)])
    pairs = [(name, _query_value(name, value)) for name, value in (query or {}).items()]
    if present := [(name, value) for name, value in pairs if value is not None]:
        full = f"{url}?{urlencode(present)}"
    return Request(method, full, f"{method} {url}", None if body is None else _encoded(body))


def may_resend_after_status(method: str, status: int, requested: float | None) -> bool:
    """Return whether a request is retried after an answer with `status`.

    A 429, and a 503 with Retry-After (`requested`), are sent before an execution starts. A 503
    without it can be the answer of a gateway that lost the one of the server.
    """
    if method == "GET":
        return status in {429, 502, 503, 504}
    return status == 429 or (status == 503 and requested is not None)  # noqa: PLR2004


def retry_after(header: str | None) -> float | None:
    """Return the seconds in a Retry-After header, or None."""
    if not header:
        return None
    try:
        seconds = float(header)
    except ValueError:
        try:
            when = parsedate_to_datetime(header)
        except ValueError:
            return None
        when = when if when.tzinfo else when.replace(tzinfo=UTC)
        seconds = (when - datetime.now(UTC)).total_seconds()
    return None if math.isnan(seconds) else max(seconds, 0.0)


def pause(attempt: int, requested: float | None = None) -> float:
    """Return the seconds to wait after an attempt (from 1): at least Retry-After, up to 30 s."""
    jitter = 1 + _JITTER_SHARE * random.random()  # noqa: S311  # jitter, not a secret
    if requested is not None:
        return min(requested, _MAX_PAUSE_S) * jitter
    return _FIRST_PAUSE_S * 2.0 ** (attempt - 1) * jitter


def _segment(name: object) -> str:
    if isinstance(name, str) and name not in {"", ".", ".."}:
        with suppress(UnicodeEncodeError):
            return quote(name, safe="")
    msg = f"{name!r:.60} cannot name a deployment, release, release tag or execution."
    raise InputError(msg)


def _query_value(name: str, value: object) -> str | None:
    if name in _NUMBERS:
        check_integer(name, value, optional=True)
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, Mapping):
        return json.dumps(plain(value), ensure_ascii=False, separators=(",", ":"))
    if isinstance(value, Integral):
        return str(value).lower()
    refuse(name, value, "a text, a whole number, True or False")


def _encoded(body: Mapping[str, Any]) -> bytes:
    """Return `body` as compact JSON in UTF-8."""
    fields = {name: value for name, value in body.items() if value is not None}
    try:
        text = json.dumps(fields, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        return text.encode()
    except (TypeError, ValueError, RecursionError) as exc:
        reason = str(exc)
    msg = f"The request cannot be written as JSON; nothing was sent: {reason}"
    raise InputError(msg)


def _content(raw: Any, limit: int | None, *, cut: bool) -> bytes | None:
    """Read and decode a body. If it exceeds `limit`, return its start (`cut`) or None."""
    most = sys.maxsize if limit is None else limit
    length = raw.length_remaining
    parts, size = [], 0
    try:
        if length is not None and length <= most and "Content-Encoding" not in raw.headers:
            return bytes(raw.read())
        while size <= most and (part := raw.read(_READ_BYTES, decode_content=True)):
            parts.append(part)
            size += len(part)
    except (ValueError, OverflowError, MemoryError) as exc:  # a chunk of a negative length, ...
        raw.close()
        msg = f"the answer cannot be read ({type(exc).__name__})"
        raise ConnectionError(msg) from None
    if size > most:
        raw.close()
    return b"".join(parts) if size <= most or cut else None


def _redirect_target(request: Request, answer: Answer) -> str | None:
    """Return the target of a redirect to the same host, or None."""
    location = answer.headers.get("Location")
    allowed = _REDIRECTS if request.method == "GET" else _KEEP_METHOD
    if answer.status not in allowed or not location:
        return None
    try:
        old, new = urlsplit(request.url), urlsplit(urljoin(request.url, location))
    except ValueError:
        return None
    is_same_origin = (old.scheme, old.netloc) == (new.scheme, new.netloc)
    is_upgrade = (old.scheme, new.scheme) == ("http", "https") and old.netloc == new.netloc
    if is_same_origin or (is_upgrade and old.port is None):
        return new._replace(path=new.path or "/", fragment="").geturl()
    return None


# An adapter of `requests` that records whether a request was sent, and can end a call from another
# thread; urllib3 can do neither. It overrides one private method, `_new_conn`; a test fails if that
# changes.


class Call:
    """An exchange in a thread: its socket, the reason of its end, whether a byte was `sent`."""

    __slots__ = ("_cancel", "_handle", "_held", "_lock", "_over", "_reason", "_socket", "sent")

    def __init__(self, cancel: Cancellation | None = None) -> None:
        self.sent = False
        self._cancel = cancel
        self._reason = ""
        self._held = self._over = False
        self._lock = threading.Lock()
        self._handle: socket.socket | None = None
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        _THREAD.call = self
        if self._cancel is not None:
            self._cancel.add_callback(self.cut)
        return self

    def __exit__(self, *error: object) -> None:
        _THREAD.call = None
        if not self._held or error[0] is not None:
            self.release()

    def hold(self) -> None:
        """Leave the socket open after the block, to read the body, until `release`."""
        self._held = True

    def connecting(self, sock: socket.socket) -> None:
        """Record that `sock` is about to connect, with or without TLS."""
        with self._lock:
            self._begin_step()
            # TLS replaces `sock` by a socket that is not accessible in time.
            self._handle = sock.dup()

    def sending(self, sock: socket.socket | None) -> None:
        """Record that the request is sent through `sock` now."""
        with self._lock:
            self._begin_step()
            self._socket = sock
            self.sent = True
        if self._cancel is not None and not self._cancel.may_send():
            self.sent = False
            raise ConnectionAbortedError(TOO_LATE)

    def cut(self, reason: str = CANCELLED) -> None:
        """Shut the socket down, so the call fails at once."""
        with self._lock:
            if self._over:
                return
            self._reason = self._reason or reason
            sock = self._handle or self._socket
            if sock is not None:
                with suppress(OSError):
                    # Not sock.shutdown(): a TLS socket's own drops its state under the reader.
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def limit_wait(self, seconds: float) -> None:
        """Set the timeout of the next reads."""
        with self._lock:
            if self._socket is not None:
                self._socket.settimeout(seconds)

    def release(self) -> str:
        """Release the socket for other calls; return the reason of a cut, or ``""``."""
        with self._lock:
            if not self._over and self._cancel is not None:
                self._cancel.remove_callback(self.cut)
            self._over = True
            self._close_handle()
            self._socket = None
            return self._reason

    def _close_handle(self) -> None:
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    def _begin_step(self) -> None:
        if self._reason:
            raise ConnectionAbortedError(self._reason)
        self._close_handle()


class Watchdog:
    """Cuts calls that exceed `seconds`, from a thread, without a lock that a fork could inherit."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._deadlines: dict[Call, float] = {}
        self._thread: threading.Thread | None = None

    def add(self, call: Call) -> None:
        """Cut `call` at its deadline, unless it is removed before."""
        if self._seconds is None:
            return
        self._deadlines[call] = time.monotonic() + self._seconds
        if self._thread is None or not self._thread.is_alive():
            # Two threads of one moment start one each: neither starts the other's a second time.
            self._thread = thread = threading.Thread(
                target=self._watch, name="vellum-nb-timeouts", daemon=True
            )
            with suppress(RuntimeError):  # the interpreter ends
                thread.start()

    def remove(self, call: Call) -> None:
        """Remove `call`."""
        self._deadlines.pop(call, None)

    def _watch(self) -> None:
        while True:
            if not self._deadlines:
                self._thread = None  # `add`, which could have seen it alive, starts another
            if not self._deadlines:
                return
            now, wait = time.monotonic(), _WATCH_INTERVAL_S
            for call, deadline in list(self._deadlines.items()):
                if deadline <= now:
                    self.remove(call)
                    call.cut(TIMED_OUT)
                else:
                    wait = min(wait, deadline - now)
            time.sleep(wait)


class _Connection(HTTPConnection):
    """Connection that reports to the `Call` of its thread and sends short requests in one write."""

    _owner: Call | None = None
    _connecting = False
    _joining = False
    _head = b""

    def connect(self) -> None:
        self._connecting = True
        try:
            super().connect()
        finally:
            self._connecting = False

    def request(self, *args: Any, **kwargs: Any) -> None:
        previous, self._owner = self._owner, getattr(_THREAD, "call", None)
        if previous is not None and previous.release() and self.sock is not None:
            msg = "the connection was cut off while idle"
            raise ConnectionAbortedError(msg)
        body = kwargs.get("body")
        self._joining = isinstance(body, bytes) and 0 < len(body) <= _JOINED_BYTES
        self._head = b""
        super().request(*args, **kwargs)

    def send(self, data: Any) -> None:
        if self._joining and not self._connecting:
            if not self._head:
                self._head = data
                return
            data, self._joining = self._head + data, False
        if self.sock is None:
            self.connect()
        if self._owner is not None and not self._connecting:
            # A timeout, which is that of connecting, would wait between the check of `sending` and
            # the system's send, and the process can be suspended there. The watchdog limits both.
            self.sock.settimeout(None)
            self._owner.sending(self.sock)
            self.sock.sendall(data)
        else:
            super().send(data)

    def _new_conn(self) -> socket.socket:
        """Connect like urllib3, but record the socket before it waits."""
        call: Call | None = getattr(_THREAD, "call", None)
        if call is None:
            return super()._new_conn()
        try:
            return self._connected(call)
        except (socket.gaierror, UnicodeError) as exc:  # UnicodeError: a label is too long
            raise NameResolutionError(self.host, self, exc) from exc  # type: ignore[arg-type]
        except TimeoutError as exc:
            raise ConnectTimeoutError(self, f"no connection within {self.timeout} s") from exc
        except OSError as exc:
            raise NewConnectionError(self, str(exc)) from exc

    def _connected(self, call: Call) -> socket.socket:
        failure = OSError("the host has no address")
        kind = socket.SOCK_STREAM
        for family, _, _, _, address in socket.getaddrinfo(self._dns_host, self.port, type=kind):
            self.sock = sock = socket.socket(family, kind)  # urllib3 closes it after Ctrl-C
            try:
                for option in self.socket_options or ():
                    sock.setsockopt(*option)
                sock.settimeout(self.timeout)
                call.connecting(sock)
                sock.connect(address)
            except OSError as exc:
                sock.close()
                failure = exc
            else:
                return sock
        raise failure


class _TLSConnection(_Connection, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


_POOLS = {"http": _Pool, "https": _TLSPool}


class RecordingAdapter(HTTPAdapter):
    """Adapter that selects pools with `requests`, once per host, and sends with urllib3."""

    def __init__(self, connections: int) -> None:
        self._ca = next((os.environ[name] for name in _CA_VARIABLES if os.environ.get(name)), None)
        self._routes: dict[str, tuple[Any, bool]] = {}
        super().__init__(pool_maxsize=min(connections, _MAX_IDLE_CONNECTIONS))

    def exchange(
        self, request: Request, headers: dict[str, str], timeout: Timeout
    ) -> BaseHTTPResponse:
        """Send a request; return the answer with an unread body."""
        url = request.url
        origin = url[: url.find("/", 8)]
        pool, takes_urls = self._routes.get(origin) or self._route(origin)
        answer: BaseHTTPResponse = pool.urlopen(
            request.method,
            url if takes_urls else url[len(origin) :],
            body=request.data,
            headers=headers,
            timeout=timeout,
            retries=_NO_RETRIES,
            redirect=False,
            assert_same_host=False,
            preload_content=False,
            decode_content=False,
        )
        return answer

    def _route(self, origin: str) -> tuple[Any, bool]:
        """Return the pool for a host, and whether it is a proxy that expects absolute URLs."""
        request = PreparedRequest()
        request.method, request.url = "GET", f"{origin}/"
        proxies = {} if is_loopback(origin) else get_environ_proxies(origin)
        pool = self.get_connection_with_tls_context(request, verify=True, proxies=proxies)
        takes_urls = self.request_url(request, proxies) != "/"
        return self._routes.setdefault(origin, (pool, takes_urls))

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Create the pool manager with our connections."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Return the manager for a proxy, with our connections."""
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager

    def build_connection_pool_key_attributes(
        self, request: PreparedRequest, verify: Any, cert: Any = None
    ) -> Any:
        """Return the key of a pool, always with the shared TLS context."""
        host, options = super().build_connection_pool_key_attributes(request, verify, cert)
        if host["scheme"] == "https":
            options = {"cert_reqs": "CERT_REQUIRED", "ssl_context": _tls_context(self._ca)}
        return host, options


@cache
def _tls_context(ca: str | None) -> ssl.SSLContext:
    """Return the shared context for `ca`; loading the certificates takes 8 ms."""
    place = Path(ca or DEFAULT_CA_BUNDLE_PATH)
    if place.is_dir():
        return ssl.create_default_context(capath=place)
    return ssl.create_default_context(cafile=place)
