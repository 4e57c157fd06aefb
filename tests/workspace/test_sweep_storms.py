"""Sweeps on a server that fails in every way it can: each run is executed once, and recorded so."""

from __future__ import annotations

import http.client
import threading
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import urlsplit

import counting_server
import pytest

import vellum_nb as vnb

CASES = [{"text": f"text {number}"} for number in range(24)]
OPTIONS = {"release_tags": ["v1"], "concurrency": 8, "progress": False}

pytestmark = pytest.mark.usefixtures("quick_look_ups")


@pytest.fixture
def server():
    made = counting_server.CountingServer().start()
    yield made
    made.held = False
    made.close()


@pytest.fixture
def ws(server, tmp_path):
    history = tmp_path / "runs.db"
    with vnb.connect(
        server.url, api_key=counting_server.KEY, history=history, timeout=(5, 1)
    ) as ws:
        yield ws


def check(server, sweep):
    runs = list(sweep.runs())
    assert sweep.state == "done"
    assert {run.state for run in runs} == {"FULFILLED"}
    assert {run.inputs["text"]: run.outputs["said"] for run in runs} == {
        case["text"]: f"v1 {case['text']}" for case in CASES
    }
    assert {run.external_id for run in runs} == set(server.executed)
    assert set(server.executed.values()) == {1}


@pytest.mark.parametrize("fault", counting_server.FAULTS)
def test_whatever_fails_each_run_is_executed_once(ws, server, fault):
    server.script = deque(["", fault, fault, "", fault, *[""] * 200])
    check(server, ws.sweep("count", CASES, **OPTIONS))


def test_faults_of_all_kinds_and_look_ups_that_fail_too(ws, server):
    server.script = deque([*counting_server.FAULTS, *[""] * 200])
    server.read_script = deque([*counting_server.READ_FAULTS] * 2)
    check(server, ws.sweep("count", CASES, **OPTIONS))


def test_an_answer_that_repeats_its_length_is_read(ws, server):
    server.script = deque(["length twice"] * 200)
    check(server, ws.sweep("count", CASES, **OPTIONS))
    assert (server.posts, server.lookups) == (len(CASES), 0)


def test_what_was_cut_off_is_looked_up_and_not_sent_again(ws, server):
    server.held = True
    sweep = ws.sweep("count", CASES, **OPTIONS, background=True)
    while server.posts < 8:
        assert sweep.state == "running"
    sweep.cut()
    sweep.wait()
    assert sweep.state == "stopped"
    assert ws.history.count(state="STARTED") == 8
    server.held = False
    check(server, sweep.resume())
    assert server.posts == len(CASES)


def test_an_executor_of_ones_own_fares_alike(ws, server):
    server.script = deque(["429", "reset after", "503", "", "truncated", *[""] * 200])
    with ThreadPoolExecutor(8) as executor:
        check(server, ws.sweep("count", CASES, executor=executor, **OPTIONS))


@pytest.fixture
def moved(server) -> Iterator[str]:
    """Return the URL of a gateway that has moved all executions to another path of its own."""
    upstream = urlsplit(server.url).netloc

    class Gateway(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.passed_on(None)

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.path.startswith("/new"):
                self.passed_on(body)
                return
            self.send_response(307)
            self.send_header("Location", f"/new{self.path}")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def passed_on(self, body: bytes | None) -> None:
            headers = {"X-API-Key": self.headers["X-API-Key"]}
            connection = http.client.HTTPConnection(upstream, timeout=20)
            try:
                connection.request(self.command, self.path.removeprefix("/new"), body, headers)
                reply = connection.getresponse()
                content = reply.read()
            finally:
                connection.close()
            self.send_response(reply.status)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Gateway) as gateway, ExitStack() as stack:
        thread = threading.Thread(target=gateway.serve_forever, args=(0.01,))
        thread.start()
        stack.callback(thread.join)
        stack.callback(gateway.shutdown)
        yield f"http://127.0.0.1:{gateway.server_address[1]}"


def test_executions_that_the_host_sends_on_are_sent_on(moved, server, tmp_path):
    history = tmp_path / "runs.db"
    with vnb.connect(moved, api_key=counting_server.KEY, history=history) as ws:
        check(server, ws.sweep("count", CASES, **OPTIONS))
