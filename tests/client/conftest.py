"""A real server on loopback with scripted answers and faults."""

import json
import os
import socket
import ssl
import struct
import sys
import threading
from collections import defaultdict, deque
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from vellum_nb.client import Client

sys.path.insert(0, str(Path(__file__).parent))  # for `client_kit`
KEY = "sk-test-0123456789"
DATA = Path(__file__).parent / "data"


@dataclass(frozen=True)
class Seen:
    """One request as it arrived."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes
    connection: int

    @property
    def json(self):
        return json.loads(self.body)


class ScriptedServer:
    """Answers requests with the given behaviours in order; the last one is repeated.

    A behaviour writes to the socket and returns whether the connection stays open.
    """

    def __init__(self, tls=None, *, listening=True):
        self.seen = []
        self.arrived = threading.Semaphore(0)
        self.hung_up = threading.Semaphore(0)
        self.closed = defaultdict(threading.Event)  # by the number of the connection
        self._script = deque()
        self._closing = threading.Event()
        self._lock = threading.Lock()
        self._sockets = []
        self._tls = tls
        self._listener = socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        scheme = "https" if tls else "http"
        self.host = f"127.0.0.1:{self._listener.getsockname()[1]}"
        self.url = f"{scheme}://{self.host}"
        self._threads = []
        if listening:
            self.listen()

    def listen(self):
        """Accept connections from now on; before, they are refused."""
        self._listener.listen()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def will(self, *behaviours):
        """Set the behaviours for the next requests."""
        self._script = deque(behaviours)

    @staticmethod
    def reply(status=200, body=None, *, headers=None, keep=True):
        """Answer with `body`, a JSON value or raw bytes."""
        raw = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = {"Content-Type": "application/json", "Content-Length": str(len(raw))}
        lines |= headers or {}
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())

        def behave(sock):
            sock.sendall(f"HTTP/1.1 {status} Because\r\n{head}\r\n".encode() + raw)
            return keep

        return behave

    @staticmethod
    def raw(content, *, keep=False):
        """Write `content` and close, or keep the connection for the next request."""

        def behave(sock):
            sock.sendall(content)
            return keep

        return behave

    @staticmethod
    def reset(content=b""):
        """Write `content`, then reset the connection."""

        def behave(sock):
            sock.sendall(content)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return False

        return behave

    def hang(self, content=b""):
        """Write `content`, then wait until the client hangs up."""

        def behave(sock):
            with suppress(OSError):
                sock.sendall(content)
                sock.recv(1)
            self.hung_up.release()
            return False

        return behave

    def close(self):
        """Stop, and wait for every thread."""
        self._closing.set()
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._lock:
            for sock in self._sockets:
                with suppress(OSError):
                    socket.socket.shutdown(sock, socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()

    def _accept(self):
        while not self._closing.is_set():
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            with self._lock:
                self._sockets.append(sock)
                thread = threading.Thread(target=self._serve, args=(sock, len(self._sockets)))
                self._threads.append(thread)
            thread.start()

    def _serve(self, plain, number):
        with suppress(OSError):
            sock = self._tls.wrap_socket(plain, server_side=True) if self._tls else plain
            with self._lock:
                self._sockets[number - 1] = sock
            with sock, sock.makefile("rb") as stream:
                while (seen := _read(stream, number)) is not None:
                    self.seen.append(seen)
                    behaviour = self._script.popleft() if len(self._script) > 1 else self._script[0]
                    self.arrived.release()
                    if not behaviour(sock):
                        break
        plain.close()
        self.closed[number].set()


def _read(stream, number):
    first = stream.readline().decode()
    if not first:
        return None
    method, target, _ = first.split()
    headers = {}
    while line := stream.readline().decode("latin-1").strip():
        name, _, value = line.partition(":")
        headers[name.lower()] = value.strip()
    body = stream.read(int(headers.get("content-length", 0)))
    return Seen(method, target, headers, body, number)


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch):
    """Unset every variable that a client reads."""
    exact = {"REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"}
    for name in list(os.environ):
        if name in exact or name.lower().endswith("_proxy") or name.startswith("VELLUM_"):
            monkeypatch.delenv(name)


@pytest.fixture
def server():
    scripted = ScriptedServer()
    yield scripted
    scripted.close()


@pytest.fixture
def tls_server():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(DATA / "localhost.pem", DATA / "localhost-key.pem")
    scripted = ScriptedServer(context)
    yield scripted
    scripted.close()


@pytest.fixture
def authority():
    """Return the certificate authority of `tls_server`."""
    return DATA / "authority.pem"


@pytest.fixture
def key():
    return KEY


@pytest.fixture
def client(server):
    with Client(api_key=KEY, base_url=server.url, timeout=5) as made:
        yield made


@pytest.fixture
def pool():
    with ThreadPoolExecutor(8) as made:
        yield made


@pytest.fixture
def fulfilled():
    """Return the smallest reply of an execution."""
    data = {"id": "1", "state": "FULFILLED", "ts": "2026-01-15T09:30:00Z", "outputs": []}
    return {"execution_id": "e-1", "data": data}


@pytest.fixture
def late_server():
    """Return a server that refuses connections until `listen` is called."""
    scripted = ScriptedServer(listening=False)
    yield scripted
    scripted.close()


@pytest.fixture
def full_url():
    """Return an address that never accepts connections."""
    with socket.socket() as full, ExitStack() as fillers:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        for _ in range(3):  # more than the backlog holds
            filler = fillers.enter_context(socket.socket())
            filler.settimeout(0)
            with suppress(BlockingIOError):
                filler.connect(full.getsockname())
        yield f"http://127.0.0.1:{full.getsockname()[1]}"


@pytest.fixture
def dead_url(late_server):
    """Return an address that refuses connections."""
    return late_server.url
