"""The sockets: a `requests` adapter that knows what was sent and can cut a call off.

`urllib3` gives no way to end a call that waits for headers, and does not tell whether anything
was written before it failed. The connections here record both on the `Call` of their thread.
"""

from __future__ import annotations

import os
import socket
import ssl
import threading
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import Any, Self

from requests import PreparedRequest, Response
from requests.adapters import HTTPAdapter
from requests.utils import DEFAULT_CA_BUNDLE_PATH, select_proxy
from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.connectionpool import HTTPConnectionPool, HTTPSConnectionPool
from urllib3.exceptions import ConnectTimeoutError, NameResolutionError, NewConnectionError

__all__ = ["Call", "RecordingAdapter"]

_THREAD = threading.local()
_JOINED = 65536  # bytes; a body up to this leaves with its head: each write may wake threads
_MOST_KEPT = 1000  # connections; a pool makes a place for each at once
_CA_VARIABLES = ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE")


class Call:
    """One exchange under way in one thread.

    Attributes
    ----------
    sent : bool
        Whether any byte of the request was handed to the network.
    """

    __slots__ = ("_cut", "_handle", "_held", "_lock", "_over", "_socket", "sent")

    def __init__(self) -> None:
        self.sent = False
        self._held = False
        self._cut = False
        self._over = False
        self._lock = threading.Lock()
        self._handle: socket.socket | None = None
        self._socket: socket.socket | None = None

    def __enter__(self) -> Self:
        _THREAD.call = self
        return self

    def __exit__(self, *_: object) -> None:
        _THREAD.call = None
        if not self._held:
            self.release()

    def hold(self) -> None:
        """Keep the socket when the block ends, for a body that is read later; then `release` it."""
        self._held = True

    def opening(self, sock: socket.socket) -> None:
        """Note that `sock` is about to connect, and perhaps to be wrapped in TLS, for this call."""
        with self._lock:
            self._stop_if_cut()
            self._drop_handle()
            self._handle = sock.dup()  # TLS takes `sock` away, and shows its own too late

    def sending(self, sock: socket.socket | None) -> None:
        """Note that the request leaves through `sock` now."""
        with self._lock:
            self._stop_if_cut()
            self._drop_handle()
            self._socket = sock
            self.sent = True

    def cut(self) -> None:
        """End the call: whatever it waits for, it waits no longer."""
        with self._lock:
            if self._over:
                return
            self._cut = True
            sock = self._handle or self._socket
            if sock is not None:
                with suppress(OSError):
                    # Not sock.shutdown(): a TLS socket's own drops its state under the reader.
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)

    def hurry(self, seconds: float) -> None:
        """Let what waits for data wait no longer than `seconds` from now on."""
        with self._lock:
            if self._socket is not None:
                self._socket.settimeout(seconds)

    def release(self) -> bool:
        """Let go of the socket, which may serve another call now; return whether it was cut."""
        with self._lock:
            self._over = True
            self._drop_handle()
            self._socket = None
            return self._cut

    def _drop_handle(self) -> None:
        if self._handle is not None:
            self._handle.close()
            self._handle = None

    def _stop_if_cut(self) -> None:
        if self._cut:
            msg = "cancelled"
            raise ConnectionAbortedError(msg)


class _Connection(HTTPConnection):
    _owner: Call | None = None
    _opening = False
    _joining = False
    _head = b""

    def connect(self) -> None:
        self._opening = True
        try:
            super().connect()
        finally:
            self._opening = False

    def request(self, *args: Any, **kwargs: Any) -> None:
        previous, self._owner = self._owner, _current()
        if previous is not None and previous.release() and self.sock is not None:
            msg = "the connection was cut off while idle"
            raise ConnectionAbortedError(msg)
        body = kwargs.get("body")
        self._joining, self._head = isinstance(body, bytes) and 0 < len(body) <= _JOINED, b""
        super().request(*args, **kwargs)

    def _new_conn(self) -> socket.socket:
        """Connect as urllib3 does, but show the socket to the call before it waits."""
        call = _current()
        if call is None:
            return super()._new_conn()
        try:
            return self._connected(call)
        except socket.gaierror as exc:
            raise NameResolutionError(self.host, self, exc) from exc
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
                call.opening(sock)
                sock.connect(address)
            except OSError as exc:
                sock.close()
                failure = exc
            else:
                return sock
        raise failure

    def send(self, data: Any) -> None:
        if self._joining and not self._opening:
            if not self._head:
                self._head = data
                return
            data, self._joining = self._head + data, False
        if self.sock is None:
            self.connect()
        if self._owner is not None and not self._opening:
            self._owner.sending(self.sock)
        super().send(data)


class _TLSConnection(_Connection, HTTPSConnection):
    pass


class _Pool(HTTPConnectionPool):
    ConnectionCls = _Connection


class _TLSPool(HTTPSConnectionPool):
    ConnectionCls = _TLSConnection


_POOLS = {"http": _Pool, "https": _TLSPool}


class RecordingAdapter(HTTPAdapter):
    """Sends without retries of its own, over connections that record on the thread's `Call`.

    Parameters
    ----------
    connections
        How many connections a host keeps open.
    """

    def __init__(self, connections: int) -> None:
        super().__init__(pool_maxsize=min(connections, _MOST_KEPT))
        self._found: dict[tuple[str, str, str | None], Any] = {}
        self._ca = next((os.environ[name] for name in _CA_VARIABLES if os.environ.get(name)), None)

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Make the pool manager, with our connections."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> Any:
        """Return the manager for a proxy, with our connections."""
        manager = super().proxy_manager_for(proxy, **kwargs)
        manager.pool_classes_by_scheme = _POOLS
        return manager

    def get_connection_with_tls_context(
        self, request: PreparedRequest, verify: Any, proxies: Any = None, cert: Any = None
    ) -> Any:
        """Return the pool for the request's host; finding it anew costs as much as sending."""
        scheme, _, rest = (request.url or "").partition("://")
        origin = (scheme, rest.partition("/")[0], select_proxy(request.url or "", proxies))
        pool = self._found.get(origin)
        if pool is None:
            pool = super().get_connection_with_tls_context(request, verify, proxies, cert)
            self._found[origin] = pool
        return pool

    def build_response(self, req: PreparedRequest, resp: Any) -> Response:
        """Return a response without cookies, of which the API has none."""
        response = Response()
        response.status_code = resp.status
        response.headers = resp.headers
        response.raw = resp
        response.request = req
        return response

    def close(self) -> None:
        """Close the connections."""
        self._found.clear()
        super().close()

    def build_connection_pool_key_attributes(
        self, request: PreparedRequest, verify: Any, cert: Any = None
    ) -> Any:
        """Return what tells pools apart: always the one TLS context."""
        host, options = super().build_connection_pool_key_attributes(request, verify, cert)
        if host["scheme"] == "https":
            options = {"cert_reqs": "CERT_REQUIRED", "ssl_context": _tls_context(self._ca)}
        return host, options

    def cert_verify(self, conn: Any, url: str, verify: Any, cert: Any) -> None:
        """Do nothing: the TLS context verifies, and has loaded the certificates already."""


def _current() -> Call | None:
    call: Call | None = getattr(_THREAD, "call", None)
    return call


@cache
def _tls_context(ca: str | None) -> ssl.SSLContext:
    """Return the process's one context for `ca`: loading the certificates costs 8 ms."""
    place = Path(ca or DEFAULT_CA_BUNDLE_PATH)
    if place.is_dir():
        return ssl.create_default_context(capath=place)
    return ssl.create_default_context(cafile=place)
