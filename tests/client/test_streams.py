"""Streams in all framings of servers and gateways, complete or broken."""

import gzip
import json
import threading

import pytest
from client_kit import HEAD, LIMIT, event, stream

from vellum_nb import errors
from vellum_nb.client import Client

CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
ODD = "caf\u00e9 \u2028 \u2029 \u0085 \U0001f600"


def delta(text):
    output = {"name": "answer", "state": "STREAMING", "delta": text, "type": "STRING"}
    return event("STREAMING", output=output)


BEGUN, GROWN = event("INITIATED"), delta(ODD)
ENDED = event("FULFILLED", outputs=[{"id": "2", "name": "answer", "type": "STRING", "value": ODD}])
STATES = ["INITIATED", "STREAMING", "FULFILLED"]


def lines(*events):
    return b"".join(each.rstrip(b"\n") + b"\n" for each in events)


def chunks(pieces, *, last=True):
    found = b"".join(b"%x\r\n%s\r\n" % (len(each), each) for each in pieces)
    return CHUNKED + found + (b"0\r\n\r\n" if last else b"")


def bytewise(body):
    return (body[place : place + 1] for place in range(len(body)))


def states_until_broken(client):
    """Return the states of the events before the error, and the error."""
    states = []
    try:
        states.extend(each.state for each in stream(client))
    except errors.APIError as exc:
        return states, exc
    raise AssertionError(states)


WHOLE = lines(BEGUN, GROWN, ENDED)
FRAMINGS = {
    "bare lines": WHOLE,
    "no line feed at the end": WHOLE[:-1],
    "CRLF": WHOLE.replace(b"\n", b"\r\n"),
    "blank lines and END": b"\n\n" + lines(BEGUN, b"", b"  ", GROWN, b"", ENDED, b"", b"END"),
    "server-sent events": b": hello\n"
    + b"".join(b"event: message\nid: 7\ndata: %s\n" % each for each in (BEGUN, GROWN, ENDED)),
    "server-sent events without spaces": b"".join(
        b"data:%s\r\n" % each.replace(b"\n", b"\r\n") for each in (BEGUN, GROWN, ENDED)
    ),
    "garbage": lines(
        b"<b>", BEGUN, b'{"half": ', b"[1]", b"null", b"\xff\xfe", GROWN, b"{}", ENDED
    ),
    "a byte order mark": b"\xef\xbb\xbf" + WHOLE,
    "events of unknown types": lines(
        BEGUN,
        b'{"execution_id": "e-1", "type": "WORKFLOW", "data": {}}',
        b'{"type": "NODE", "data": {"state": "FULFILLED"}}',
        GROWN,
        ENDED,
    ),
}


@pytest.mark.parametrize("framing", FRAMINGS)
@pytest.mark.parametrize("way", ["length", "until closed", "chunked", "bytewise", "gzip"])
def test_events_are_read_in_any_framing(server, client, framing, way):
    body = FRAMINGS[framing]
    packed = gzip.compress(body)
    server.will(
        server.raw(
            {
                "length": HEAD + b"Content-Length: %d\r\n\r\n" % len(body) + body,
                "until closed": HEAD + b"\r\n" + body,
                "chunked": chunks([body[:100], body[100:]]),
                "bytewise": chunks(bytewise(body)),
                "gzip": chunks(bytewise(packed)).replace(
                    b"\r\n", b"\r\nContent-Encoding: gzip\r\n", 1
                ),
            }[way]
        )
    )
    events = list(stream(client))
    assert [each.state for each in events] == STATES
    assert events[1].delta == ODD
    assert (events[1].output_name, events[0].delta) == ("answer", None)
    assert events[2].outputs[0].value == ODD


LATER = lines(GROWN, ENDED)
WAYS = {
    "chunked": (chunks([lines(BEGUN)], last=False), chunks([LATER]).removeprefix(CHUNKED)),
    "length": (HEAD + b"Content-Length: %d\r\n\r\n" % len(WHOLE) + lines(BEGUN), LATER),
}


@pytest.mark.parametrize("way", WAYS)
def test_event_is_yielded_before_the_run_ends(server, client, way):
    seen = threading.Event()

    def behave(sock):
        sock.sendall(WAYS[way][0])
        assert seen.wait(LIMIT)
        sock.sendall(WAYS[way][1])
        return True

    server.will(behave)
    states = []
    for each in stream(client):
        states.append(each.state)
        seen.set()
    assert states == STATES


def test_unexpected_node_data_is_accepted(server, client):
    strange = [
        {"state": "THINKING", "node_id": 5, "ts": "yesterday", "data": {"type": "NEW", "data": 3}},
        {"state": "FULFILLED", "output_values": None, "data": "text", "error": 7},
        {"state": ["?"], "input_values": {"a": 1}},
        {},
    ]
    nodes = [
        json.dumps({"execution_id": "e-1", "type": "NODE", "data": data}).encode()
        for data in strange
    ]
    news = json.dumps({"execution_id": "e-1", "type": "METRIC", "data": {"state": "x"}}).encode()
    server.will(server.raw(HEAD + b"\r\n" + lines(BEGUN, *nodes, news, ENDED)))
    events = list(stream(client, event_types=("WORKFLOW", "NODE"), expand_meta={"cost": True}))
    assert [each.type for each in events] == ["WORKFLOW", *["NODE"] * 4, "METRIC", "WORKFLOW"]
    assert events[1].state == "THINKING"
    assert [each.ends for each in events] == [*[False] * 6, True]
    assert server.seen[0].json["event_types"] == ["WORKFLOW", "NODE"]
    assert server.seen[0].json["expand_meta"] == {"cost": True}


BROKEN = {
    "closed early": HEAD + b"\r\n" + lines(BEGUN, GROWN),
    "ended early": chunks([lines(BEGUN, GROWN)]),
    "ended in mid-line": chunks([lines(BEGUN, GROWN) + ENDED[:-10]]),
    "closed in mid-chunk": chunks([lines(BEGUN, GROWN)], last=False) + b"fff\r\n{",
    "a chunk without a size": chunks([lines(BEGUN, GROWN)], last=False) + b"zz\r\n{",
    "shorter than it said": HEAD + b"Content-Length: 9999\r\n\r\n" + lines(BEGUN, GROWN),
}


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
@pytest.mark.parametrize("name", BROKEN)
def test_events_before_a_fault_are_yielded(server, client, name, *, reset):
    content = BROKEN[name]
    server.will(server.reset(content) if reset else server.raw(content))
    states, error = states_until_broken(client)
    # A reset may overtake what was sent before it.
    assert states == STATES[:2] or (reset and STATES[: len(states)] == states)
    assert type(error) is errors.APIConnectionError
    assert error.sent is True
    assert "it was not sent again" in str(error)
    assert len(server.seen) == 1


PACKED = gzip.compress(lines(BEGUN, *[GROWN] * 50, ENDED))


@pytest.mark.parametrize("content", [PACKED[:-12], b"this is not packed"], ids=["cut", "invalid"])
def test_broken_compression_is_a_connection_error(server, client, content):
    server.will(server.raw(HEAD + b"Content-Encoding: gzip\r\n\r\n" + content))
    states, error = states_until_broken(client)
    assert states == ["INITIATED", *["STREAMING"] * 50, "FULFILLED"][: len(states)]
    assert isinstance(error, errors.APIConnectionError)


def test_error_of_a_stream_counts_its_events(server, client):
    server.will(server.raw(HEAD + b"\r\n" + lines(BEGUN, b"{}", b"?")))
    _, error = states_until_broken(client)
    assert "ended after 1 events, but the run had not ended." in str(error)
    assert "Lines that are not events: 2 (execution_id: Field required)." in str(error)


@pytest.mark.parametrize("body", [b"<html>Please log in</html>", b'{"detail": "hello"}'])
def test_reply_that_is_not_a_stream_is_an_error(server, client, key, body):
    server.will(server.raw(HEAD + b"\r\n" + body + key.encode()))
    states, error = states_until_broken(client)
    assert states == []
    assert isinstance(error, errors.APIResponseError)
    assert "not a stream of events" in str(error)
    assert body.decode()[:20] in str(error)
    assert key not in str(error)


def test_silent_stream_is_a_timeout(server):
    server.will(server.hang(HEAD + b"\r\n" + lines(BEGUN)))
    with Client(api_key="k", base_url=server.url, timeout=(LIMIT, 0.3)) as client:
        states, error = states_until_broken(client)
    assert states == ["INITIATED"]
    assert isinstance(error, errors.APITimeoutError)
    assert error.sent is True
    assert "no data arrived for 0.3 s" in str(error)


@pytest.mark.parametrize(
    ("status", "detail", "kind", "message"),
    [
        (400, "Missing required input variable: 'foo'", errors.BadRequestError, "'foo'"),
        (500, "boom", errors.ServerError, "check whether the execution ran"),
    ],
)
def test_error_before_the_first_event_is_raised_by_the_call(
    server, client, status, detail, *, kind, message
):
    server.will(server.reply(status, {"detail": detail}))
    with pytest.raises(kind, match=message):
        stream(client)
    assert len(server.seen) == 1


def test_stream_follows_retries_or_redirects(server, client):
    busy = server.reply(429, {}, headers={"Retry-After": "0"})
    moved = server.reply(307, {}, headers={"Location": "/new"})
    server.will(busy, moved, server.raw(chunks([WHOLE])))
    assert [each.state for each in stream(client)] == STATES
    assert server.seen[0].body == server.seen[1].body == server.seen[2].body
    assert [seen.target for seen in server.seen[1:]] == ["/v1/execute-workflow-stream", "/new"]
