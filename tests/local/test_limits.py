"""Slow, silent, endless and malformed clients: they are closed, and others are served."""

import select
import socket
import time
from collections.abc import Generator
from contextlib import ExitStack, closing
from http.client import HTTPConnection

import pytest
from execution_kit import connected, events, inputs, raw_post, until
from requests.adapters import HTTPAdapter

from vellum_nb.local import LocalServer

PATH = "/v1/environments/identity"
HEAD = "POST /v1/execute-workflow HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-KEY: {}\r\n"


def echo(text: str) -> str:
    return text


def large(text: str) -> str:
    return text * 8_000_000


@pytest.fixture
def quick():
    """Serve with a time limit of 0.3 s for heads, 1.8 s for bodies and readers."""
    with LocalServer(request_timeout=0.3) as server:
        server.deploy(echo)
        server.deploy(large)
        yield server


def closed(sock, within):
    """Wait until the server closes a connection; return what it sent before."""
    sock.settimeout(within)
    received = b""
    try:
        while part := sock.recv(65536):
            received += part
    except ConnectionResetError:
        pass
    return received


def check_answers(api):
    """Check that others are served."""
    api.session.mount("http://", HTTPAdapter(max_retries=3))  # a busy machine sends its head late
    assert api.get(PATH).status_code == 200


@pytest.mark.parametrize("sent", ["", "GET /v1/environ", HEAD + "Content-Length: 100\r\n\r\n{{"])
def test_unfinished_requests_do_not_keep_others_waiting(sent, asking):
    """The time limit is long: others are answered before the server closes these."""
    with ExitStack() as stack:
        server = stack.enter_context(LocalServer(request_timeout=60))
        opened = [stack.enter_context(connected(server)) for _ in range(100)]
        for sock in opened:
            sock.sendall(sent.format(server.api_key).encode())
        check_answers(asking(server))
        assert select.select(opened, [], [], 0)[0] == []


@pytest.mark.parametrize(
    "sent", [b"", b"GET /v1/environ", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\n"]
)
def test_connections_without_a_whole_head_are_closed(quick, sent):
    with ExitStack() as stack:
        opened = [stack.enter_context(connected(quick)) for _ in range(100)]
        for sock in opened:
            sock.sendall(sent)
        for sock in opened:
            assert closed(sock, 120) == b""


@pytest.mark.slow
def test_a_head_that_drips_is_closed_and_so_is_a_second_one_that_does_not_come(quick):
    with connected(quick) as sock:
        drips = iter(HEAD.format("x") * 10)  # for 35 s
        while not select.select([sock], [], [], 0.05)[0]:
            sock.sendall(next(drips).encode())
    request = f"GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-KEY: {quick.api_key}\r\n\r\n"
    with connected(quick) as sock:
        sock.sendall(request.encode())
        assert sock.recv(65536).startswith(b"HTTP/1.1 200")
        sock.sendall(b"GET /v1")
        assert b"HTTP/1.1" not in closed(sock, 120)


@pytest.mark.slow
def test_a_connection_that_httpx_would_use_again_is_still_open():
    with (
        LocalServer() as server,
        closing(HTTPConnection(server.url.removeprefix("http://"))) as http,
    ):
        for idle in (5.5, 0):  # httpx, and so Vellum's client, uses what was idle for 5 s at most
            http.request("GET", PATH, headers={"X-API-KEY": server.api_key})
            answer, sock = http.getresponse(), http.sock
            assert answer.status == 200
            assert answer.read()
            assert sock is not None
            time.sleep(idle)
            assert not select.select([sock], [], [], 0)[0]  # not closed by the server


def test_bodies_that_do_not_come_are_408(quick):
    with ExitStack() as stack:
        opened = []
        for _ in range(50):
            opened.append(stack.enter_context(connected(quick)))
            head = HEAD.format(quick.api_key) + "Content-Length: 100\r\n\r\n{"
            opened[-1].sendall(head.encode())  # at once: a late head is not answered
        for sock in opened:
            assert b"408" in closed(sock, 120).partition(b"\r\n")[0]


def test_a_request_under_way_has_no_such_limit(tmp_path, asking):
    def slow(text: str) -> str:
        time.sleep(1)
        return text

    with LocalServer(request_timeout=0.2) as server:
        server.deploy(slow)
        answer = asking(server).ask("slow")
    assert answer.json()["data"]["state"] == "FULFILLED"


@pytest.mark.slow
def test_a_client_that_never_reads_is_closed_and_others_are_served(quick, asking):
    body = {"workflow_deployment_name": "large", "inputs": inputs(text=("STRING", "x"))}
    with ExitStack() as stack:
        opened = [stack.enter_context(connected(quick)) for _ in range(5)]
        for sock in opened:
            sock.sendall(raw_post(quick, "/v1/execute-workflow", body))
        for sock in opened:
            assert sock.recv(1, socket.MSG_PEEK)  # its answer has begun
        api = asking(quick)
        end = time.monotonic() + 2  # longer than the limit
        while time.monotonic() < end:
            check_answers(api)
            time.sleep(0.2)
        for sock in opened:
            assert len(closed(sock, 120)) < 8_000_000


@pytest.mark.slow
def test_a_run_whose_stream_nobody_reads_is_cancelled(quick, asking):
    def endless(text: str) -> Generator[str, None, None]:
        while True:
            time.sleep(0.001)
            yield text * 10_000

    quick.deploy(endless)
    body = {"workflow_deployment_name": "endless", "inputs": inputs(text=("STRING", "x"))}
    with connected(quick) as sock:
        sock.sendall(raw_post(quick, "/v1/execute-workflow-stream", body))
        api = asking(quick)
        until(lambda: any(each["end"] for each in events(api, "endless")["results"]))
    (ended,) = events(api, "endless")["results"]
    assert ended["error"]["message"] == "The client hung up"


@pytest.mark.slow
def test_the_events_of_a_run_are_bounded(asking):
    def endless() -> Generator[str, None, None]:
        piece = "x" * 4_000_000
        while True:
            yield piece

    with LocalServer(timeout=15) as server:
        server.deploy(endless)
        error = asking(server).run("endless")["error"]
    assert error["message"].startswith("The events of the run have more than 134,217,728 bytes")


def test_a_stop_does_not_wait_for_unfinished_bodies_and_logs_nothing(caplog):
    with ExitStack() as stack:
        server = LocalServer(request_timeout=10).start()  # 60 s for a body
        opened = [stack.enter_context(connected(server)) for _ in range(20)]
        for sock in opened:
            sock.sendall((HEAD.format(server.api_key) + "Content-Length: 100\r\n\r\n{").encode())
        time.sleep(0.5)
        began = time.monotonic()
        server.stop()
        assert time.monotonic() - began < 40
    assert [record for record in caplog.records if record.levelname == "ERROR"] == []


def test_unfinished_bodies_of_all_clients_together_are_bounded(asking):
    with ExitStack() as stack:
        server = stack.enter_context(LocalServer(body_limit=1000))
        opened = [stack.enter_context(connected(server)) for _ in range(40)]
        head = HEAD.format(server.api_key) + "Content-Length: 1000\r\n\r\n"
        for sock in opened:
            sock.sendall(head.encode() + b" " * 900)
        answered, _, _ = select.select(opened[-3:], [], [], 120)
        assert any(b" 429 " in sock.recv(20) for sock in answered)
        check_answers(asking(server))


def test_a_request_with_two_lengths_is_refused_and_answered_once(quick):
    inner = f"GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-KEY: {quick.api_key}\r\n\r\n"
    body = f"0\r\n\r\n{inner}"
    head = HEAD.format(quick.api_key)
    lengths = f"Content-Length: {len(body)}\r\nTransfer-Encoding: chunked\r\n\r\n"
    with connected(quick) as sock:
        sock.sendall((head + lengths + body).encode())
        received = closed(sock, 120)
    assert received.startswith(b"HTTP/1.1 400")
    assert received.count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(
    "field",
    [
        {"external_id": "x" * 1_000_000},
        {"metadata": {"note": "x" * 1_000_000}},
        {"release_tag": "x" * 1_000_000},
        {"workflow_deployment_name": "x" * 1_000_000},
        {"workflow_deployment_id": "x" * 1_000_000},
        {"previous_execution_id": "x" * 1_000_000},
    ],
    ids=lambda field: next(iter(field)),
)
def test_names_tags_ids_and_metadata_are_bounded(api, field):
    given = inputs(text=("STRING", "hi"))
    answer = api.send(**{"workflow_deployment_name": "echo", "inputs": given, **field})
    assert answer.status_code == 400
    assert len(answer.text) < 1000
    assert next(iter(field)) in answer.json()["detail"]
