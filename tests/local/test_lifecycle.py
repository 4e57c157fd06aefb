"""Starting and stopping: nothing is left behind, in whatever surroundings."""

import asyncio
import gc
import itertools
import math
import signal
import socket
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest
import requests
from execution_kit import connected, raw_post
from ports_kit import free_port

from vellum_nb.errors import VellumNBError
from vellum_nb.local import LocalServer


def echo(text: str) -> str:
    return text


def say(server, text="a"):
    inputs = [{"name": "text", "type": "STRING", "value": text}]
    return requests.post(
        f"{server.url}/v1/execute-workflow",
        json={"workflow_deployment_name": "echo", "inputs": inputs},
        headers={"X-API-KEY": server.api_key},
        timeout=120,
    )


def python(code):
    command = [sys.executable, "-W", "error", "-c", code]
    return subprocess.run(command, capture_output=True, check=False, text=True, timeout=120)


def open_sockets():
    """Return the descriptor and the inode of each open socket of this process."""
    gc.collect()
    sockets = set()
    for path in Path("/dev/fd").iterdir():
        with suppress(OSError):  # it was closed in the meantime
            if path.is_socket():
                sockets.add((path.name, path.stat().st_ino))
    return sockets


@pytest.mark.slow
def test_stopping_leaves_no_thread_and_no_socket():
    threads, sockets = set(threading.enumerate()), open_sockets()
    server = LocalServer()
    server.deploy(echo)
    for _ in range(3):
        with server:
            assert say(server).status_code == 200
            port = int(server.url.rpartition(":")[2])
        assert set(threading.enumerate()) <= threads
        assert open_sockets() <= sockets
        with pytest.raises(ConnectionRefusedError):
            socket.create_connection(("127.0.0.1", port), timeout=5)


def test_idle_connections_do_not_hold_the_stop_up():
    with LocalServer(request_timeout=60) as server:
        server.deploy(echo)
        assert repr(server).startswith(f"<LocalServer {server.url}: echo")
        with connected(server) as connection:
            started = time.monotonic()
            server.stop()
            assert time.monotonic() - started < 30
            assert connection.recv(1) == b""


@pytest.mark.slow
def test_stopping_closes_a_connection_whose_client_does_not_read_the_answer():
    def much() -> str:
        return "x" * 20_000_000

    sockets = open_sockets()
    with LocalServer() as server:
        server.deploy(much)
        body = {"workflow_deployment_name": "much", "inputs": []}
        with connected(server) as connection:
            connection.sendall(raw_post(server, "/v1/execute-workflow", body))
            assert connection.recv(1) == b"H"
            server.stop()
    assert open_sockets() <= sockets


def test_start_and_stop_may_be_called_twice_and_by_many_threads():
    server = LocalServer()
    assert server.start() is server.start()
    url = server.url
    assert server.start().url == url
    server.stop()
    server.stop()
    with pytest.raises(VellumNBError, match="is not running; start"):
        _ = server.url
    assert repr(server) == "<LocalServer not running: no deployments>"
    server = LocalServer()
    with ThreadPoolExecutor(8) as pool:
        assert len({s.url for s in pool.map(lambda _: server.start(), range(8))}) == 1
    server.stop()


def test_it_works_inside_a_running_event_loop():
    async def cell():
        with LocalServer() as server:
            server.deploy(echo)
            return (await asyncio.to_thread(say, server)).status_code

    assert asyncio.run(cell()) == 200


def is_interrupted(call, at):
    """Return whether `call` had so many lines of starts and stops that it was interrupted."""
    left, before = at, sys.gettrace()
    names = {"start", "stop", "finish"}

    def trace(frame, event, _):
        nonlocal left
        code = frame.f_code
        if "/vellum_nb/local/serv" not in code.co_filename or code.co_name not in names:
            return None
        left -= event == "line"
        if left == 0:
            raise KeyboardInterrupt
        return trace

    sys.settrace(trace)
    try:
        call()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


@pytest.mark.filterwarnings("ignore:unclosed:ResourceWarning")
@pytest.mark.slow
def test_an_interrupt_at_any_line_of_start_and_stop_leaves_nothing_behind(tmp_path):
    threads, sockets = set(threading.enumerate()), open_sockets()
    server = LocalServer(port=free_port(), data=tmp_path)
    server.deploy(echo)
    for at in itertools.count(1):
        came = is_interrupted(lambda: server.start().stop(), at)
        with server:
            assert say(server).status_code == 200
        assert set(threading.enumerate()) <= threads
        if not came:
            break
    assert at > 20
    assert open_sockets() <= sockets


def test_a_callable_may_stop_its_own_server():
    server = LocalServer().start()

    def echo(text: str) -> str:
        server.stop()
        return text

    server.deploy(echo)
    assert say(server).json()["data"]["state"] == "REJECTED"


SERVE = """
from vellum_nb.local import LocalServer
server = LocalServer()
server.run_forever(lambda: print(server.url, flush=True))
print("stopped", flush=True)
"""


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_run_forever_ends_cleanly_on_a_signal(number):
    with subprocess.Popen(
        [sys.executable, "-W", "error", "-c", SERVE],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        url = process.stdout.readline().strip()
        assert requests.get(f"{url}/openapi.json", timeout=120).status_code == 200
        process.send_signal(number)
        out, err = process.communicate(timeout=120)
    assert (out, err, process.returncode) == ("stopped\n", "", 0)


@pytest.mark.slow
def test_the_end_of_the_process_stops_a_running_server():
    code = (
        "import time\n"
        "from vellum_nb.local import LocalServer\n"
        "server = LocalServer().start()\n"
        "server.deploy(lambda: time.sleep(60), name='sleep')\n"
    )
    done = python(code)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.slow
def test_the_room_loads_no_web_framework_and_without_fastapi_a_sentence_says_what_to_install():
    code = (
        "import sys\n"
        "sys.modules['fastapi'] = None\n"
        "from vellum_nb.local import LocalServer\n"
        "LocalServer().start()\n"
    )
    sentence = 'VellumNBError: The local server needs more packages: pip install "vellum-nb[local]"'
    assert sentence in python(code).stderr
    code = (
        "import sys, vellum_nb.local; print({'fastapi', 'uvicorn', 'starlette'} & set(sys.modules))"
    )
    assert python(code).stdout == "set()\n"


@pytest.mark.parametrize(
    "options", [{"timeout": 0}, {"timeout": math.nan}, {"request_timeout": 0}, {"concurrency": 0}]
)
def test_limits_that_make_no_sense_are_refused(options):
    with pytest.raises(VellumNBError, match="must be a (whole )?number"):
        LocalServer(**options)


@pytest.mark.parametrize("option", ["name", "label", "description", "release_id", "entry"])
def test_a_deployment_refuses_an_option_of_a_wrong_type_by_name(option):
    server = LocalServer()
    with pytest.raises(VellumNBError, match=f"{option} must be a text or None, not 5"):
        server.deploy(echo, **{option: 5})
    for tags in (5, "v1"):
        with pytest.raises(
            VellumNBError, match=f"release_tags must be a list of texts, not {tags!r}"
        ):
            server.deploy(echo, release_tags=tags)
    assert server.names() == ()
