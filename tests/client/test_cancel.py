"""Cancellation of calls, in each of their waits."""

import socket
import sys
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from client_kit import execute

from vellum_nb.client import Client
from vellum_nb.errors import APIConnectionError
from vellum_nb.models import Cancellation

BODY_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n{"
UNTIL_CLOSED = b"HTTP/1.1 200 OK\r\n\r\n{"
PATIENCE_S = 50


@pytest.fixture
def client(server, key):
    with Client(api_key=key, base_url=server.url, timeout=PATIENCE_S) as made:
        yield made


def cut_off(pool, url_or_client, wait, cancel=None):
    """Call, wait, cancel; return the error, which is raised long before the timeout."""
    is_url = isinstance(url_or_client, str)
    client = Client(api_key="k", base_url=url_or_client, timeout=PATIENCE_S) if is_url else None
    cancel = cancel or Cancellation()
    pending = pool.submit(execute, client or url_or_client, cancel=cancel)
    wait()
    cancel.cancel()
    with pytest.raises(APIConnectionError, match="cancelled") as caught:
        pending.result(PATIENCE_S / 2)
    if client:
        client.close()
    return caught.value


def wait_until_stuck_in(function):
    """Return when a thread has stayed on one line of `function` for a while."""
    seen, times = None, 0
    while times < 5:
        frames = sys._current_frames().values()
        lines = [frame.f_lineno for frame in frames if frame.f_code.co_name == function]
        times = times + 1 if lines and lines == seen else 0
        seen = lines
        threading.Event().wait(0.005)


@pytest.mark.parametrize("content", [b"", b"HTTP/1.1 200 OK\r\nX-Half: ", BODY_HEAD, UNTIL_CLOSED])
def test_waiting_call_is_cancelled(server, client, pool, fulfilled, content):
    server.will(server.hang(content), server.reply(200, fulfilled))
    assert cut_off(pool, client, server.arrived.acquire).sent is True
    assert server.hung_up.acquire(timeout=20)
    assert len(server.seen) == 1
    assert execute(client).execution_id == "e-1"


def test_call_that_waits_for_a_connection_is_cancelled(full_url, pool):
    assert cut_off(pool, full_url, lambda: wait_until_stuck_in("_connected")).sent is False


def test_call_that_waits_for_a_tls_handshake_is_cancelled(pool):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        accepted = []

        def wait_for_hello():
            accepted.append(silent.accept()[0])
            accepted[0].recv(1)

        url = f"https://127.0.0.1:{silent.getsockname()[1]}"
        assert cut_off(pool, url, wait_for_hello).sent is False
        accepted[0].close()


def test_call_over_tls_is_cancelled(tls_server, authority, pool, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    tls_server.will(tls_server.hang())
    assert cut_off(pool, tls_server.url, tls_server.arrived.acquire).sent is True


def test_wait_before_a_retry_is_cancelled(server, client, pool):
    class Watched(Cancellation):
        """Sets `waiting` when a retry waits after a request was sent."""

        def wait(self, seconds):
            if server.seen:
                waiting.set()
            return super().wait(seconds)

    server.will(server.reply(429, {}, headers={"Retry-After": "30"}))
    waiting = threading.Event()
    assert cut_off(pool, client, waiting.wait, Watched()).sent is False
    assert len(server.seen) == 1


def test_cancelled_call_sends_nothing(server, client):
    cancel = Cancellation()
    cancel.cancel()
    with pytest.raises(APIConnectionError, match="cancelled; nothing was sent") as caught:
        execute(client, cancel=cancel)
    assert caught.value.sent is False
    assert server.seen == []


def test_cancellation_ends_only_its_own_calls(server, client, pool, fulfilled):
    release = threading.Event()

    def held(sock):
        release.wait(20)
        return server.reply(200, fulfilled)(sock)

    server.will(held)
    spared = pool.submit(execute, client)
    server.arrived.acquire()
    server.will(server.hang())
    cancel = Cancellation()
    ended = [pool.submit(execute, client, cancel=cancel) for _ in range(4)]
    for _ in ended:
        server.arrived.acquire()
    cancel.cancel()
    for pending in ended:
        with pytest.raises(APIConnectionError, match="cancelled"):
            pending.result(PATIENCE_S / 2)
    release.set()
    assert spared.result(20).execution_id == "e-1"


def test_cancelling_a_finished_call_keeps_its_connection(server, client, fulfilled):
    server.will(server.reply(200, fulfilled))
    for _ in range(3):
        cancel = Cancellation()
        execute(client, cancel=cancel)
        cancel.cancel()
    assert len({seen.connection for seen in server.seen}) == 1


def test_many_threads_share_one_client_while_others_cancel(server, client, pool, fulfilled):
    server.will(server.reply(200, fulfilled))

    def often(run):
        return [run() for _ in range(60)]

    def plain():
        return execute(client).execution_id

    def cancelled():
        cancel = Cancellation()
        with ThreadPoolExecutor(1) as side:
            side.submit(cancel.cancel)
            try:
                return execute(client, cancel=cancel).execution_id
            except APIConnectionError as exc:
                return "cut" if "cancelled" in str(exc) else str(exc)

    work = [pool.submit(often, plain) for _ in range(4)]
    cut = [pool.submit(often, cancelled) for _ in range(4)]
    assert {answer for each in work for answer in each.result(60)} == {"e-1"}
    assert {answer for each in cut for answer in each.result(60)} <= {"e-1", "cut"}
