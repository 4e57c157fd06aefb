"""Limits of size and time of replies, streams and lists."""

import gzip
import itertools
import json
import socket
import threading
import time
import tracemalloc
from contextlib import suppress

import pytest
from client_kit import HEAD, execute, stream

from vellum_nb import errors
from vellum_nb.client import Client

MEGABYTE = 10**6
ZEROS = gzip.compress(bytes(10 * MEGABYTE))
BOMB = ZEROS * 30  # 300 MB in 300 kB
NESTED_BOMB = gzip.compress(ZEROS * 300)  # 3 GB, packed twice
LATE_S = 0.4  # to connect, and to read: 0.8 in all


@pytest.fixture
def small(server):
    with Client(api_key="k", base_url=server.url, timeout=20, max_reply_bytes=MEGABYTE) as made:
        yield made


@pytest.fixture
def hurried(server):
    with Client(api_key="k", base_url=server.url, timeout=LATE_S) as made:
        yield made


def endless(head, part, pause=0.0):
    """Write `part` again and again until the client hangs up."""

    def behave(sock):
        with suppress(OSError):
            sock.sendall(head)
            while True:
                sock.sendall(part)
                threading.Event().wait(pause)
        return False

    return behave


@pytest.mark.slow
@pytest.mark.parametrize(
    ("body", "encoding"), [(BOMB, "gzip"), (NESTED_BOMB, "gzip, gzip")], ids=["once", "twice"]
)
def test_compressed_reply_above_256_mb_is_dropped(server, client, body, encoding):
    server.will(server.reply(200, body, headers={"Content-Encoding": encoding}))
    tracemalloc.start()
    try:
        with pytest.raises(errors.APIResponseError, match="more than 256 MB") as caught:
            execute(client)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "Raise max_reply_bytes" in str(caught.value)
    assert peak < 400 * MEGABYTE


@pytest.mark.parametrize(
    "behaviour",
    [
        endless(HEAD + b"\r\n", b"x" * 65536),
        endless(HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"8000\r\n%b\r\n" % (b"x" * 0x8000)),
        endless(HEAD + b"Content-Length: 99999999999\r\n\r\n", b"x" * 65536),
    ],
    ids=["until closed", "chunked", "length"],
)
def test_endless_reply_is_dropped(server, small, behaviour):
    server.will(behaviour)
    for call in (lambda: execute(small), lambda: list(stream(small))):
        with pytest.raises(errors.APIResponseError, match="more than 1 MB"):
            call()
    assert len(server.seen) == 2


def test_endless_error_keeps_its_status(server, client):
    server.will(endless(b"HTTP/1.1 404 Not Found\r\n\r\nno such workflow ", b"x" * 65536))
    with pytest.raises(errors.NotFoundError, match="no such workflow"):
        execute(client)


@pytest.mark.parametrize("is_limited", [True, False])
def test_reply_of_the_maximum_size_is_read(server, fulfilled, *, is_limited):
    server.will(server.reply(200, fulfilled))
    limit = len(json.dumps(fulfilled)) if is_limited else None
    with Client(api_key="k", base_url=server.url, max_reply_bytes=limit) as limited:
        assert execute(limited).execution_id == "e-1"


def test_reply_above_the_maximum_size_is_an_error(server, fulfilled):
    server.will(server.reply(200, fulfilled))
    limit = len(json.dumps(fulfilled)) - 1
    with (
        Client(api_key="k", base_url=server.url, max_reply_bytes=limit) as limited,
        pytest.raises(errors.APIResponseError),
    ):
        execute(limited)


@pytest.mark.parametrize(
    "behaviour",
    [
        endless(HEAD + b"\r\n", b" ", 0.05),
        endless(HEAD + b"X-Odd: ", b"x", 0.05),
        endless(b"", b"HTTP/1.1 100 Continue\r\n\r\n", 0.05),
        endless(HEAD + b"Content-Length: 99999\r\n\r\n", b" ", 0.05),
    ],
    ids=["body", "header", "100 Continue", "length"],
)
def test_slow_reply_is_a_timeout(server, hurried, behaviour):
    server.will(behaviour)
    start = time.monotonic()
    with pytest.raises(errors.APITimeoutError, match=r"no complete answer within 0\.8 s") as caught:
        execute(hurried)
    assert 2 * LATE_S <= time.monotonic() - start < 20
    assert caught.value.sent is True
    assert len(server.seen) == 1


def test_stream_can_outlast_the_timeout_of_a_reply(server, hurried):
    event = b'{"execution_id": "e", "type": "WORKFLOW", "data": {"state": "%b"}}\n'

    def slow(sock):
        sock.sendall(HEAD + b"\r\n")
        for _ in range(10):
            threading.Event().wait(LATE_S / 4)
            sock.sendall(event % b"STREAMING")
        sock.sendall(event % b"FULFILLED")
        return False

    server.will(slow)
    assert len(list(stream(hurried))) == 11


def test_large_request_has_the_read_timeout(server):
    """The time to connect is not the time to send: a slow line takes longer than that."""
    listener = socket.create_server(("127.0.0.1", 0))
    body = b'{"id": "f-1"}'

    def read_late():
        sock, _ = listener.accept()
        threading.Event().wait(1)
        with sock:
            received = b""
            while not received.endswith(b"--\r\n"):
                received = (received + sock.recv(2**20))[-10:]
            sock.sendall(HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body)

    thread = threading.Thread(target=read_late)
    thread.start()
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        with Client(api_key="k", base_url=url, timeout=(0.3, 20)) as client:
            assert client.upload_file(bytes(16 * MEGABYTE)).id == "f-1"
    finally:
        thread.join()
        listener.close()


@pytest.mark.parametrize("counted", [True, False])
def test_endless_list_is_an_error(server, client, monkeypatch, *, counted):
    monkeypatch.setattr("vellum_nb.client.client._MAX_PAGES", 50)  # for the test's time only
    numbers = itertools.count(1)

    def page(sock):
        number = next(numbers)
        body = {"results": [{"id": str(number), "name": "w"}], "next": "more"}
        return bool(server.reply(200, body | ({"count": 10**9} if counted else {}))(sock))

    server.will(page)
    found = []
    with pytest.raises(errors.APIResponseError, match="The list has no end: 50 items in 50 pages"):
        found.extend(client.iter_workflow_deployments())
    assert len(server.seen) == 50
