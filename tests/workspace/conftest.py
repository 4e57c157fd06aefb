"""A real local server and a workspace on it."""

import gc
import json
import signal
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import requests

import vellum_nb as vnb
from vellum_nb.sweep import retry_policy

sys.path.insert(0, str(Path(__file__).parent))  # for the counting server
sys.path.append(str(Path(__file__).parents[1] / "local"))  # for the execution kit

import counting_server
import sweep_processes


def shout_softly(text: str) -> dict[str, object]:
    """Say it as it is."""
    return {"loud": text}


def shout(text: str, times: int = 1) -> dict[str, object]:
    """Say it loudly."""
    return {"loud": " ".join([text.upper()] * times)}


def refuse(text: str) -> str:
    """Refuse everything."""
    raise vnb.Reject(f"no {text} today")


class Gate:
    """A workflow that waits until the test lets it go."""

    def __init__(self) -> None:
        self.entered = threading.Event()
        self.open = threading.Event()
        self.calls = 0

    def workflow(self, text: str) -> str:
        self.calls += 1
        self.entered.set()
        self.open.wait(20)
        return text


class Faucet:
    """A workflow that says one word, and the rest when the test lets it go."""

    def __init__(self) -> None:
        self.said = threading.Event()
        self.open = threading.Event()
        self.left = threading.Event()

    def workflow(self, text: str):
        try:
            yield "reply", f"{text} "
            self.said.set()
            while not self.open.wait(0.02):
                yield "reply", ""
            yield "reply", "and that is all"
            return {"score": 7}
        finally:
            self.left.set()


@pytest.fixture
def faucet():
    faucet = Faucet()
    yield faucet
    faucet.open.set()


@pytest.fixture
def gate():
    gate = Gate()
    yield gate
    gate.open.set()


@pytest.fixture
def server(gate, faucet):
    with vnb.LocalServer() as server:
        server.deploy(shout_softly, name="shout", release_tags=["v1"])
        server.deploy(shout, name="shout", release_tags=["v2"])
        server.deploy(refuse, name="refuse")
        server.deploy(gate.workflow, name="gate")
        server.deploy(faucet.workflow, name="faucet")
        yield server
        gate.open.set()  # what waits for it would keep the server from its end


@pytest.fixture
def ws(server, tmp_path):
    with vnb.connect(server, history=tmp_path / "runs.db") as workspace:
        yield workspace


@pytest.fixture
def interrupt_after():
    """Return a function that sends Ctrl-C to the main thread when what it is given has ended."""
    main = threading.main_thread().ident
    with ThreadPoolExecutor(1) as pool:

        def after(wait):
            pool.submit(lambda: (wait(), signal.pthread_kill(main, signal.SIGINT)))

        yield after
    gc.collect()


def pytest_collection_modifyitems(items):
    """Allow interrupted sockets: http.client cannot close one that it just wraps.

    An interrupt in `socket.__init__` or `makefile` leaves it to the garbage collector.
    """
    marks = [
        "ignore:unclosed:ResourceWarning",
        "ignore:.*<socket:pytest.PytestUnraisableExceptionWarning",
    ]
    for item in items:
        if "interrupt_after" in getattr(item, "fixturenames", ()):
            for mark in marks:
                item.add_marker(pytest.mark.filterwarnings(mark))


@pytest.fixture
def until():
    def wait(condition):
        end = time.monotonic() + 300
        while not condition():
            assert time.monotonic() < end, "it never came"
            time.sleep(0.01)

    return wait


@pytest.fixture
def quick_look_ups(monkeypatch):
    """Have a sweep look a run in doubt up for as long as the read timeout, and no longer.

    For servers that list executions at once; the 8 s are for those that list them late.
    """
    monkeypatch.setattr(retry_policy, "SHORTEST_S", 0.0)


_DEPLOYMENT = (
    {"id": "d1", "name": "shout", "label": "Shout", "last_deployed_history_item_id": "h1"}
    | dict.fromkeys(("created", "last_deployed_on"), "2026-01-15T09:30:00Z")
    | {"input_variables": [], "output_variables": []}
)


class Hostile(ThreadingHTTPServer):
    """Answers each path with what the test set for it: a body, (status, body), or a function.

    Other paths are answered with 403: the key may execute, and read nothing.
    """

    daemon_threads = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Answering)
        self.answers = {"/v1/workflow-deployments/shout": _DEPLOYMENT}
        self.asked: list[str] = []
        self.url = f"http://127.0.0.1:{self.server_address[1]}"


class Answering(BaseHTTPRequestHandler):
    def answer(self) -> None:
        self.body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.server.asked.append(urlsplit(self.path).path)
        found = self.server.answers.get(self.server.asked[-1], (403, "no"))
        if callable(found):
            found(self)
            return
        self.reply(*(found if isinstance(found, tuple) else (200, found)))

    def reply(self, status: int, found: object) -> None:
        body = found if isinstance(found, bytes) else json.dumps(found).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = do_PATCH = answer  # noqa: N815  (the names that http.server wants)

    def log_message(self, *_: object) -> None: ...


@pytest.fixture
def hostile():
    with Hostile() as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def execute_only(server, hostile):
    """Return the URL of a gateway whose key may execute, and read nothing.

    It fails what is to run on the release tag "broken".
    """

    def forward(handler: Answering) -> None:
        if b'"release_tag":"broken"' in handler.body:
            handler.reply(500, {"detail": "out of order \x1b[2J"})
            return
        names = ("X-API-KEY", "X-API-Version", "Content-Type")
        headers = {name: handler.headers[name] for name in names}
        url = f"{server.url}{handler.path}"
        answer = requests.post(url, handler.body, headers=headers, timeout=120)
        handler.reply(answer.status_code, answer.content)

    hostile.answers = {"/v1/execute-workflow": forward}
    return hostile.url


@pytest.fixture
def kernels(forks, tmp_path, monkeypatch):
    """Return what starts processes that sweep; they end with the test."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))  # of pending runs
    made = sweep_processes.Kernels(forks, tmp_path)
    yield made
    made.close()


@pytest.fixture
def counting():
    """Return a server that counts executions, and executes an external id again."""
    made = counting_server.CountingServer(seed=3, latency=0.01).start()
    made.refuses = False
    yield made
    made.held = False
    made.close()
