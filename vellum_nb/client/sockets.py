"""A `requests` adapter that records what was sent, and can end a call from another thread.

urllib3 can do neither. One private method of it is overridden, `_new_conn`; a test fails when it
changes.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Self

from requests import PreparedRequest
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies
from urllib3 import BaseHTTPResponse, Retry, Timeout
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

from vellum_nb.client.settings import is_loopback
from vellum_nb.models import Cancellation

CANCELLED, TIMED_OUT = "cancelled", "timed out"
_THREAD = threading.local()
_JOINED = 65536  # bytes; a body up to this is sent with its head: each write may wake threads
_WATCH_INTERVAL = 0.5  # seconds
_MAX_IDLE = 1000  # connections; a pool makes a place for each at once
_NO_RETRIES = Retry(total=False)
_CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


class Call:
    """One exchange in one thread: its socket, why it was cut off, whether any byte was `sent`."""

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
        """Keep the socket after the block, for a body that is read later; then `release` it."""
        self._held = True

    def connecting(self, sock: socket.socket) -> None:
        """Record that `sock` is about to connect, and perhaps to be wrapped in TLS."""
        with self._lock:
            self._begin_step()
            self._handle = sock.dup()  # TLS detaches `sock`, and makes its own known too late

    def sending(self, sock: socket.socket | None) -> None:
        """Record that the request leaves through `sock` now."""
        with self._lock:
            self._begin_step()
            self._socket = sock
            self.sent = True

    def cut(self, reason: str = CANCELLED) -> None:
        """End the call: whatever it waits for fails at once."""
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
        """Set how long the next reads wait for data."""
        with self._lock:
            if self._socket is not None:
                self._socket.settimeout(seconds)

    def release(self) -> str:
        """Drop the socket, which may serve another call; return why it was cut, or ``""``."""
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
    """Cuts calls that take too long, from a thread while there are any; no lock outlives a fork."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._deadlines: dict[Call, float] = {}
        self._thread: threading.Thread | None = None

    def add(self, call: Call) -> None:
        """Cut `call` when its time is up, unless it is removed before."""
        if self._seconds is None:
            return
        self._deadlines[call] = time.monotonic() + self._seconds
        if self._thread is None or not self._thread.is_alive():
            self._thread = threading.Thread(
                target=self._watch, name="vellum-nb-timeouts", daemon=True
            )
            with suppress(RuntimeError):  # while the interpreter ends: then nothing watches
                self._thread.start()

    def remove(self, call: Call) -> None:
        """Forget `call`."""
        self._deadlines.pop(call, None)

    def _watch(self) -> None:
        while True:
            if not self._deadlines:
                self._thread = None  # `add` starts another now; it may have seen this one alive
            if not self._deadlines:
                return
            now, wait = time.monotonic(), _WATCH_INTERVAL
            for call, deadline in list(self._deadlines.items()):
                if deadline <= now:
                    self.remove(call)
                    call.cut(TIMED_OUT)
                else:
                    wait = min(wait, deadline - now)
            time.sleep(wait)


class _Connection(HTTPConnection):
    """A connection that records on the `Call` of its thread, and sends short requests at once."""

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
        self._joining, self._head = isinstance(body, bytes) and 0 < len(body) <= _JOINED, b""
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
            self._owner.sending(self.sock)
            if len(data) > _JOINED:
                self.sock.settimeout(None)  # it is the time to connect; the watchdog has the whole
        super().send(data)

    def _new_conn(self) -> socket.socket:
        """Connect as urllib3 does, but record the socket before it waits."""
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
            sock = socket.socket(family, kind)
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
    """Sends without retries of its own, over connections that record on the thread's `Call`.

    `requests` finds the pool, proxy and certificates of a host, once; urllib3 then sends faster.
    """

    def __init__(self, connections: int) -> None:
        self._ca = next((os.environ[name] for name in _CA_VARIABLES if os.environ.get(name)), None)
        self._routes: dict[str, tuple[Any, bool]] = {}
        super().__init__(pool_maxsize=min(connections, _MAX_IDLE))

    def exchange(
        self, method: str, url: str, headers: dict[str, str], body: bytes | None, timeout: Timeout
    ) -> BaseHTTPResponse:
        """Send a request; return the answer, whose body is still to be read."""
        origin = url[: url.find("/", 8)]
        pool, takes_urls = self._routes.get(origin) or self._route(origin)
        answer: BaseHTTPResponse = pool.urlopen(
            method,
            url if takes_urls else url[len(origin) :],
            body=body,
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
        """Return the pool for a host, and whether it is a proxy's that is sent whole URLs."""
        request = PreparedRequest()
        request.method, request.url = "GET", f"{origin}/"
        proxies = {} if is_loopback(origin) else get_environ_proxies(origin)
        pool = self.get_connection_with_tls_context(request, verify=True, proxies=proxies)
        takes_urls = self.request_url(request, proxies) != "/"
        return self._routes.setdefault(origin, (pool, takes_urls))

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pool manager, with our connections."""
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
        """Return what separates pools from each other: always the one TLS context."""
        host, options = super().build_connection_pool_key_attributes(request, verify, cert)
        if host["scheme"] == "https":
            options = {"cert_reqs": "CERT_REQUIRED", "ssl_context": _tls_context(self._ca)}
        return host, options


@cache
def _tls_context(ca: str | None) -> ssl.SSLContext:
    """Return the process's one context for `ca`: loading the certificates costs 8 ms."""
    place = Path(ca or DEFAULT_CA_BUNDLE_PATH)
    if place.is_dir():
        return ssl.create_default_context(capath=place)
    return ssl.create_default_context(cafile=place)
