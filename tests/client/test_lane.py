"""Many executions from one thread: each is sent, and told, as a call of its own would be."""

from __future__ import annotations

import gzip
import json
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from vellum_nb import errors
from vellum_nb.client import Client
from vellum_nb.client.quick import QuickExecutions, Reply
from vellum_nb.models import Cancellation, ExecuteWorkflowResponse

INPUTS = [{"name": "q", "type": "STRING", "value": "grüße"}]
OPTIONS = {"workflow_deployment_name": "w", "release_tag": "v1", "metadata": {"a": 1}}
DATA = {"id": "1", "state": "FULFILLED", "ts": "2026-01-15T09:30:00Z", "outputs": []}
BODY = json.dumps({"execution_id": "e-1", "data": DATA}).encode()
OK = b"HTTP/1.1 200 OK\r\n"
LENGTH = f"Content-Length: {len(BODY)}\r\n".encode()
CHUNKS = b"".join(b"%x\r\n%s\r\n" % (1, BODY[n : n + 1]) for n in range(len(BODY))) + b"0\r\n\r\n"
LENGTHS = LENGTH + b"Transfer-Encoding: chunked\r\n"
TRAILERS = b"Content-Encoding: gzip\r\nRetry-After: 9\r\n\r\n"
ZIPPED = gzip.compress(BODY)

Quick = Callable[..., QuickExecutions]


@pytest.fixture
def quick() -> Iterator[Quick]:
    """Return a function that makes them, for a client of the arguments."""
    with ExitStack() as stack:

        def make(
            url: str, key: str, cancel: Cancellation | None = None, **options: Any
        ) -> QuickExecutions:
            client = stack.enter_context(Client(api_key=key, base_url=url, max_tries=1, **options))
            crew = stack.enter_context(ThreadPoolExecutor(8))
            made = QuickExecutions.of(client, crew, cancel or Cancellation())
            assert made is not None
            stack.callback(made.close)
            return made

        yield make


def replies(executions: QuickExecutions, number: int = 1) -> list[Reply]:
    """Wait for so many."""
    found: list[Reply] = []
    while len(found) < number:
        found += executions.ended(20)
    return found


def sent(executions: QuickExecutions, key: str = "run") -> Any:
    """Send one, and return what came of it."""
    executions.begin(key, INPUTS, **OPTIONS)
    (reply,) = replies(executions)
    assert reply.key == key
    return reply.result


def called(url: str, key: str, **options: Any) -> Any:
    """Return what came of the same as a call of its own."""
    with Client(api_key=key, base_url=url, max_tries=1, **options) as client:
        try:
            return client.execute_workflow(INPUTS, **OPTIONS)
        except errors.APIError as exc:
            return exc


def test_the_request_is_the_same_as_that_of_a_call(server: Any, quick: Quick, key: str) -> None:
    server.will(server.raw(OK + LENGTH + b"\r\n" + BODY))
    sent(quick(server.url, key))
    called(server.url, key)
    lane, call = server.seen
    assert (lane.method, lane.target, lane.body) == (call.method, call.target, call.body)
    assert lane.headers == call.headers
    assert lane.headers["x-api-key"] == key


ANSWERS = {
    "plain": OK + LENGTH + b"\r\n" + BODY,
    "chunked": OK + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKS,
    "with trailers": OK
    + b"Transfer-Encoding: chunked\r\n\r\n"
    + CHUNKS.removesuffix(b"\r\n")
    + TRAILERS,
    "busy, with trailers": b"HTTP/1.1 429 No\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n" + TRAILERS,
    "in chunks and with a length": OK + LENGTHS + b"\r\n" + CHUNKS,
    "with spaces after the size of a chunk": OK
    + b"Transfer-Encoding: chunked\r\n\r\n"
    + b"%x  \r\n%s\r\n0\r\n\r\n" % (len(BODY), BODY),
    "with plain line ends": (OK + LENGTH + b"\r\n").replace(b"\r\n", b"\n") + BODY,
    "with a header on two lines": OK + b"X-A: one\r\n two\r\n" + LENGTH + b"\r\n" + BODY,
    "with a sign that no header may have": OK + b"X-A: \x01\r\n" + LENGTH + b"\r\n" + BODY,
    "in another version": b"HTTP/1.2 200 OK\r\n" + LENGTH + b"\r\n" + BODY,
    "that offers another protocol": OK
    + b"Upgrade: h2c\r\nConnection: Upgrade, Keep-Alive\r\n"
    + LENGTH
    + b"\r\n"
    + BODY,
    "until the end": b"HTTP/1.0 200 OK\r\n\r\n" + BODY,
    "zipped": OK
    + f"Content-Encoding: gzip\r\nContent-Length: {len(ZIPPED)}\r\n\r\n".encode()
    + ZIPPED,
    "after another": b"HTTP/1.1 100 Continue\r\n\r\n" + OK + LENGTH + b"\r\n" + BODY,
    "busy": b"HTTP/1.1 429 No\r\nRETRY-AFTER: 2.5\r\nContent-Length: 0\r\n\r\n",
    "down": b"HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\n{}",
    "lost by a gateway": b"HTTP/1.1 502 No\r\n\r\n<html>Bad Gateway</html>",
    "a wrong key": b'HTTP/1.1 401 No\r\nContent-Length: 15\r\n\r\n{"detail":"No"}',
    "no content": b"HTTP/1.1 204 No\r\n\r\n",
    "not the contract": OK + b"Content-Length: 13\r\n\r\n<html></html>",
    "sent on elsewhere": b"HTTP/1.1 302 Go\r\nLocation: http://example.invalid/\r\n"
    b"Content-Length: 0\r\n\r\n",
    "wrongly zipped": OK + b"Content-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
    "short": OK + b"Content-Length: 500\r\n\r\n{",
    "a short chunk": OK + b"Transfer-Encoding: chunked\r\n\r\n5\r\n{",
    "a chunk of negative length": OK + b"Transfer-Encoding: chunked\r\n\r\n-5\r\n{}\r\n",
    "a length beyond all memory": OK + b"Content-Length: 99999999999999999999\r\n\r\n" + BODY,
    "no HTTP": b"SSH-2.0-OpenSSH_9.6\r\n",
    "nothing": b"",
}
TOLD_ALIKE = frozenset(ANSWERS) - {
    "wrongly zipped",
    "short",
    "a short chunk",
    "a chunk of negative length",
    "a length beyond all memory",
    "no HTTP",
}
"""Those whose errors say the same; of the others the innermost reason is worded otherwise."""


@pytest.mark.parametrize("name", ANSWERS)
def test_an_answer_is_told_as_that_of_a_call(
    server: Any, quick: Quick, key: str, name: str
) -> None:
    server.will(server.raw(ANSWERS[name]))
    lane, call = sent(quick(server.url, key)), called(server.url, key)
    assert type(lane) is type(call)
    if isinstance(call, errors.APIError):
        assert lane.sent is call.sent is True
        assert getattr(lane, "retry_after", None) == getattr(call, "retry_after", None)
        if name in TOLD_ALIKE:
            assert str(lane) == str(call)
    else:
        assert lane == call


@pytest.mark.parametrize("content", [b"", ANSWERS["short"]])
def test_a_reset_is_told_as_that_of_a_call(
    server: Any, quick: Quick, key: str, content: bytes
) -> None:
    server.will(server.reset(content))
    lane, call = sent(quick(server.url, key)), called(server.url, key)
    assert type(lane) is type(call) is errors.APIConnectionError
    assert lane.sent is call.sent is True
    assert len(server.seen) == 2


def test_a_time_that_is_up_is_told_as_that_of_a_call(server: Any, quick: Quick, key: str) -> None:
    server.will(server.hang(ANSWERS["short"]))
    lane = sent(quick(server.url, key, timeout=(5, 0.2)))
    assert server.hung_up.acquire(timeout=20)
    call = called(server.url, key, timeout=(5, 0.2))
    assert type(lane) is type(call) is errors.APITimeoutError
    assert lane.sent is call.sent is True
    assert str(lane) == str(call)


def test_an_answer_that_drips_is_waited_for(server: Any, quick: Quick, key: str) -> None:
    def drip(sock: socket.socket) -> bool:
        for byte in ANSWERS["plain"]:
            sock.sendall(bytes([byte]))
            time.sleep(0.01)
        return True

    server.will(drip)
    assert sent(quick(server.url, key, timeout=(5, 1.0))).execution_id == "e-1"


def test_what_cannot_connect_was_not_sent(
    dead_url: str, full_url: str, quick: Quick, key: str
) -> None:
    for url in (dead_url, full_url):
        lane, call = sent(quick(url, key, timeout=(0.1, 5))), called(url, key, timeout=(0.1, 5))
        assert type(lane) is type(call)
        assert lane.sent is call.sent is False
        assert str(lane) == str(call)


def test_connections_serve_again_and_one_that_was_closed_loses_nothing(
    server: Any, quick: Quick, key: str
) -> None:
    plain, closed = server.raw(ANSWERS["plain"]), threading.Event()

    def stays(sock: socket.socket) -> bool:
        plain(sock)
        return True

    def closes(sock: socket.socket) -> bool:
        plain(sock)
        sock.shutdown(socket.SHUT_WR)
        closed.set()
        return False

    server.will(stays, closes, stays)
    executions = quick(server.url, key)
    for number in range(3):
        assert sent(executions, str(number)).execution_id == "e-1"
        if number == 1:
            assert closed.wait(20)
    assert [seen.connection for seen in server.seen] == [1, 1, 2]


def test_an_answer_that_nobody_asked_for_is_no_answer_to_the_next(
    server: Any, quick: Quick, key: str
) -> None:
    forged = ANSWERS["plain"].replace(b"e-1", b"e-X")
    written = threading.Event()

    def at_once(sock: socket.socket) -> bool:
        sock.sendall(ANSWERS["plain"] + forged)
        return True

    def after(sock: socket.socket) -> bool:
        sock.sendall(ANSWERS["plain"])
        time.sleep(0.05)
        sock.sendall(forged)
        written.set()
        return True

    server.will(at_once, after, server.raw(ANSWERS["plain"]))
    executions = quick(server.url, key)
    assert sent(executions).execution_id == "e-1"
    assert sent(executions).execution_id == "e-1"
    assert written.wait(20)
    assert sent(executions).execution_id == "e-1"
    assert [seen.connection for seen in server.seen] == [1, 2, 3]


def test_a_change_to_another_protocol_is_no_answer(server: Any, quick: Quick, key: str) -> None:
    head = b"HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: Upgrade\r\n\r\n"
    server.will(server.raw(head + ANSWERS["plain"]))
    error = sent(quick(server.url, key))
    assert type(error) is errors.APIConnectionError
    assert "the server changes to another protocol" in str(error)


def test_a_head_without_end_is_given_up(server: Any, quick: Quick, key: str) -> None:
    server.will(server.raw(OK + b"X: " + b"x" * 2**20))
    error = sent(quick(server.url, key))
    assert type(error) is errors.APIConnectionError
    assert "no end of its headers" in str(error)


def test_a_request_larger_than_what_sockets_hold_arrives_whole(
    server: Any, quick: Quick, key: str
) -> None:
    server.will(server.raw(ANSWERS["plain"]))
    text = "0123456789" * 2_000_000
    executions = quick(server.url, key)
    executions.begin("run", [{"name": "q", "type": "STRING", "value": text}], **OPTIONS)
    (reply,) = replies(executions)
    assert isinstance(reply.result, ExecuteWorkflowResponse)
    assert server.seen[0].json["inputs"][0]["value"] == text


class Echo(BaseHTTPRequestHandler):
    """Answers with the external id, and much else, slowly enough that answers overtake others."""

    protocol_version = "HTTP/1.1"

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        time.sleep(int(asked["external_id"]) % 7 / 100)
        data = DATA | {"ballast": "x" * 200_000}
        body = json.dumps({"execution_id": asked["external_id"], "data": data}).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None: ...


@pytest.mark.parametrize("scheme", ["http", "https"])
def test_many_at_once_get_their_own_answers(
    quick: Quick, key: str, authority: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(authority))
    with ThreadingHTTPServer(("127.0.0.1", 0), Echo) as echo:
        if scheme == "https":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(
                authority.parent / "localhost.pem", authority.parent / "localhost-key.pem"
            )
            echo.socket = context.wrap_socket(echo.socket, server_side=True)
        thread = threading.Thread(target=echo.serve_forever, args=(0.01,))
        thread.start()
        with ExitStack() as stack:
            stack.callback(thread.join)
            stack.callback(echo.shutdown)
            url = f"{scheme}://127.0.0.1:{echo.server_address[1]}"
            executions = quick(url, key)
            for wave in range(3):
                for number in range(30):
                    executions.begin(f"{wave}{number}", INPUTS, external_id=str(number), **OPTIONS)
                found = replies(executions, 30)
                assert {reply.key for reply in found} == {f"{wave}{number}" for number in range(30)}
                for reply in found:
                    assert reply.key == f"{wave}{reply.result.execution_id}"
            executions.close()


def test_a_certificate_that_nobody_vouches_for_is_refused_as_in_a_call(
    tls_server: Any, quick: Quick, key: str
) -> None:
    tls_server.will(tls_server.raw(ANSWERS["plain"]))
    lane, call = sent(quick(tls_server.url, key)), called(tls_server.url, key)
    assert type(lane) is type(call) is errors.APIConnectionError
    assert lane.sent is call.sent is False
    assert "REQUESTS_CA_BUNDLE" in str(lane)
    assert tls_server.seen == []


def test_what_is_under_way_is_cut_off(server: Any, full_url: str, quick: Quick, key: str) -> None:
    server.will(server.hang())
    for url, arrives in ((server.url, True), (full_url, False)):
        cancel = Cancellation()
        executions = quick(url, key, cancel)
        executions.begin("run", INPUTS, **OPTIONS)
        assert executions.ended(0.05) == []
        if arrives:
            while not server.arrived.acquire(blocking=False):
                assert executions.ended(0.05) == []
        cancel.cancel()
        executions.wake()
        (reply,) = replies(executions)
        assert isinstance(reply.result, errors.APIConnectionError)
        assert "cancelled" in str(reply.result)
        assert reply.result.sent is arrives


def test_what_the_same_host_sends_on_is_left_to_a_call(server: Any, quick: Quick, key: str) -> None:
    head = f"HTTP/1.1 307 Go\r\nLocation: {server.url}/new\r\nContent-Length: 0\r\n\r\n"
    server.will(server.raw(head.encode()))
    assert sent(quick(server.url, key)) is None


def test_there_is_no_lane_through_a_proxy_or_for_odd_headers(
    server: Any, key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with ThreadPoolExecutor(1) as crew:
        with Client(api_key=key, base_url=server.url, api_version="1\r\nX-Evil: 1") as client:
            assert QuickExecutions.of(client, crew, Cancellation()) is None
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
        with Client(api_key=key, base_url=server.url) as client:
            assert QuickExecutions.of(client, crew, Cancellation()) is None


def test_the_key_is_in_no_error_and_in_no_answer(server: Any, quick: Quick) -> None:
    key = "sk-secret-0123456789-secret"
    body = json.dumps({"execution_id": key, "data": DATA}).encode()
    server.will(server.reply(200, body), server.reply(400, {"detail": f"no {key}"}), server.reset())
    executions = quick(server.url, key)
    for _ in range(3):
        assert key not in repr(sent(executions))
    assert key not in repr(vars(executions))
