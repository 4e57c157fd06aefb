"""Ends of a stream: by the run, the loop, the caller or another thread."""

import gc
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest
from client_kit import HEAD, LIMIT, event, execute, stream, texts_of

from vellum_nb import errors
from vellum_nb.client import Client
from vellum_nb.models import Cancellation

OPEN = HEAD + b"\r\n"


BEGUN, GROWN, ENDED = event("INITIATED"), event("STREAMING"), event("FULFILLED")


def whole(*events):
    body = b"".join(events)
    return HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body


def test_connection_of_a_finished_stream_is_reused(server, client):
    server.will(server.raw(whole(BEGUN, ENDED, b"END\n"), keep=True))
    for _ in range(3):
        cancel = Cancellation()
        assert len(list(stream(client, cancel=cancel))) == 2
        cancel.cancel()  # has no effect: the stream has ended
    assert [seen.connection for seen in server.seen] == [1, 1, 1]


def test_data_after_the_last_event_is_ignored(server, client):
    stopped = threading.Event()

    def drip(sock):
        sock.sendall(OPEN + ENDED)
        try:
            while not stopped.wait(0.02):
                sock.sendall(b"\n")
        except OSError:
            server.hung_up.release()
        return False

    server.will(drip)
    try:
        assert [each.state for each in stream(client)] == ["FULFILLED"]
        assert server.hung_up.acquire(timeout=LIMIT)
    finally:
        stopped.set()


def test_fault_after_the_last_event_is_ignored(server, client):
    broken = server.raw(HEAD + b"Content-Length: 9999\r\n\r\n" + BEGUN + ENDED)
    server.will(broken, server.hang(OPEN + BEGUN + ENDED))
    for _ in range(2):
        assert [each.state for each in stream(client)] == ["INITIATED", "FULFILLED"]
    assert server.hung_up.acquire(timeout=LIMIT)


def leave(client):
    for _ in stream(client):
        break


def fail(client):
    with suppress(ZeroDivisionError):
        for _ in stream(client):
            raise ZeroDivisionError


def close(client):
    with stream(client) as events:
        assert events
    assert list(events) == []


def drop(client):
    stream(client)
    gc.collect()


@pytest.mark.parametrize("way", [leave, fail, close, drop])
def test_unread_stream_is_closed(server, client, way):
    server.will(server.hang(OPEN + BEGUN))
    way(client)
    assert server.hung_up.acquire(timeout=LIMIT)


@pytest.mark.parametrize("content", [OPEN, OPEN + BEGUN, OPEN + BEGUN + GROWN[:20]])
def test_stream_is_closed_from_another_thread(server, client, pool, content):
    server.will(server.hang(content))
    events = stream(client)
    reading = pool.submit(list, events)
    events.close()
    assert len(reading.result(LIMIT)) <= 1
    assert server.hung_up.acquire(timeout=LIMIT)
    assert len(server.seen) == 1


def test_stream_is_read_only_once(server, client):
    server.will(server.raw(whole(BEGUN, ENDED), keep=True))
    events = stream(client)
    assert len(list(events)) == 2
    with pytest.raises(errors.VellumNBError, match="only once"):
        list(events)


def test_closing_a_finished_stream_keeps_its_connection(server, client, fulfilled):
    server.will(server.raw(whole(BEGUN, ENDED), keep=True), server.reply(200, fulfilled))
    events = stream(client)
    list(events)
    events.close()
    reply = execute(client)
    events.close()
    assert reply.execution_id == "e-1"
    assert execute(client) == reply
    assert {seen.connection for seen in server.seen} == {1}


def cut_by(cancel, pool, events):
    """Cancel once the first event is there; return the states until the error."""
    states = []
    begun = threading.Event()

    def read():
        for each in events:
            states.append(each.state)
            begun.set()

    reading = pool.submit(read)
    assert begun.wait(LIMIT)
    cancel.cancel()
    with pytest.raises(errors.APIConnectionError, match="was cancelled") as caught:
        reading.result(LIMIT)
    assert caught.value.sent is True
    return states


@pytest.mark.parametrize("content", [OPEN, HEAD + b"Content-Length: 9999\r\n\r\n"])
def test_waiting_stream_is_cancelled(server, client, pool, content):
    server.will(server.hang(content + BEGUN))
    cancel = Cancellation()
    assert cut_by(cancel, pool, stream(client, cancel=cancel)) == ["INITIATED"]
    assert server.hung_up.acquire(timeout=LIMIT)
    assert len(server.seen) == 1


def test_stream_over_tls_is_cancelled(tls_server, authority, pool, monkeypatch):
    monkeypatch.setenv("SSL_CERT_FILE", str(authority))
    tls_server.will(tls_server.hang(OPEN + BEGUN))
    with Client(api_key="k", base_url=tls_server.url) as client:
        cancel = Cancellation()
        assert cut_by(cancel, pool, stream(client, cancel=cancel)) == ["INITIATED"]
    assert tls_server.hung_up.acquire(timeout=LIMIT)


def test_stream_can_be_read_after_its_client_is_closed(server, key):
    server.will(server.raw(whole(BEGUN, ENDED), keep=True))
    with Client(api_key=key, base_url=server.url, timeout=LIMIT) as closed:
        events = stream(closed)
    assert len(list(events)) == 2


def test_key_is_in_no_text_of_a_stream(server, key, client):
    server.will(server.hang(OPEN + BEGUN))
    with stream(client) as events:
        assert repr(events) == f"<EventStream of POST {server.url}/v1/execute-workflow-stream>"
        texts = texts_of(events)
    assert [text for text in texts if key in text] == []


def test_many_threads_stream_while_others_hang_up(server, client, pool):
    server.will(server.raw(whole(BEGUN, *[GROWN] * 50, ENDED), keep=True))

    def read():
        return {len(list(stream(client))) for _ in range(30)}

    def leave():
        found = set()
        for _ in range(30):
            events = stream(client)
            with ThreadPoolExecutor(1) as side:
                side.submit(events.close)
                found.add(len(list(events)))
        return found

    work = [pool.submit(read) for _ in range(4)]
    left = [pool.submit(leave) for _ in range(4)]
    assert set().union(*(each.result(120) for each in work)) == {52}
    assert max(set().union(*(each.result(120) for each in left))) <= 52
