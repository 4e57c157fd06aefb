"""Streams: events as they arrive, and a row that ends as the stream does."""

import gc
import json
from contextlib import closing

import pytest
from runs_kit import html_of

import vellum_nb as vnb

PATIENCE = 20


def row(ws):
    (run,) = ws.history.runs()
    return run


def until_first_words(stream, events):
    for event in events:
        if event.delta:
            return event
    raise AssertionError(stream)


def test_events_arrive_before_the_run_ends(ws, faucet):
    stream = ws.stream("faucet", {"text": "hello"}, metadata={"who": "me"})
    events = iter(stream)
    assert next(events).state == "INITIATED"
    until_first_words(stream, events)
    assert not faucet.left.is_set()
    assert stream.texts == {"reply": "hello "}
    begun = row(ws)
    assert (begun.state, begun.execution_id) == ("STARTED", stream.execution_id)
    assert begun.metadata == {"who": "me"}
    assert stream.run.state == "STARTED"


def test_run_of_a_stream_is_stored_when_it_ends(ws, faucet):
    stream = ws.stream("faucet", {"text": "hello"})
    faucet.open.set()
    events = iter(stream)
    assert [event.state for event in events][-1] == "FULFILLED"
    assert stream.run == row(ws)
    assert stream.run.outputs == {"reply": "hello and that is all", "score": 7}
    assert stream.run.output_types == {"reply": "STRING", "score": "NUMBER"}
    assert (stream.run.latency_s > 0, stream.run.error) == (True, None)
    assert stream.texts["reply"] == stream.run.outputs["reply"]


@pytest.mark.parametrize("block", [True, False])
def test_leaving_the_loop_or_block_hangs_up_and_the_row_keeps_what_came(ws, faucet, block):
    stream = ws.stream("faucet", {"text": "hello"})
    events = iter(stream)
    with stream if block else closing(events):
        until_first_words(stream, events)
    assert faucet.left.wait(PATIENCE)
    assert (row(ws).state, row(ws).error.code) == ("CANCELLED", "CANCELLED")
    assert row(ws).outputs == {"reply": "hello "}
    assert stream.run == row(ws)


def test_a_stream_that_nobody_keeps_hangs_up(ws, faucet):
    stream = ws.stream("faucet", {"text": "hello"})
    assert faucet.said.wait(PATIENCE)
    del stream
    gc.collect()
    assert faucet.left.wait(PATIENCE)
    assert row(ws).state == "CANCELLED"


def test_leaving_at_the_last_event_keeps_the_run_as_it_ended(ws):
    for event in ws.stream("shout", {"text": "hi"}):
        if event.ends:
            break
    assert (row(ws).state, row(ws).outputs) == ("FULFILLED", {"loud": "HI"})


def test_node_events_bring_the_nodes(ws):
    stream = ws.stream("shout", {"text": "hi"}, event_types=["NODE", "WORKFLOW"], release_tag="v2")
    assert repr(stream) == "<RunStream shout v2: STARTED>"
    assert {event.type for event in stream} == {"NODE", "WORKFLOW"}
    assert html_of(stream) == "<p>RunStream shout v2: FULFILLED</p>"
    with pytest.raises(vnb.VellumNBError, match="only once"):
        list(stream)
    assert [node.state for node in row(ws).nodes] == ["FULFILLED"]
    assert ws.trace(stream.run)["name"].tolist() == ["shout"]
    alone = ws.stream("shout", {"text": "hi"}, event_types="NODE")
    assert {event.type for event in alone} == {"NODE"}
    assert alone.run.state == "FULFILLED"


def test_what_does_not_fit_is_refused_before_anything_is_recorded(ws):
    with pytest.raises(vnb.InputError, match="must be 'WORKFLOW', 'NODE' or both"):
        ws.stream("shout", {"text": "hi"}, event_types=["TOKENS"])
    with pytest.raises(vnb.InputError, match="volume"):
        ws.stream("shout", {"text": "hi", "volume": 3})
    assert ws.history.count() == 0


def workflow(state, **data):
    return {"execution_id": "e1", "type": "WORKFLOW", "data": {"id": "e1", "state": state, **data}}


def words(state, **output):
    return workflow("STREAMING", output={"type": "STRING", "state": state, **output})


def prompt(node, state, **meta):
    data = {"type": "PROMPT", "data": {"execution_meta": meta or None}}
    ids = {"id": node, "node_id": node, "node_result_id": node}
    return {"execution_id": "e1", "type": "NODE", "data": {**ids, "state": state, "data": data}}


CUT = (
    workflow("INITIATED"),
    words("STREAMING", name="reply", delta="half "),
    words("FULFILLED", name="title", value="whole"),
    words("STREAMING", name="reply", delta="a word"),
)
USED = {"usage": {"input_token_count": 11, "output_token_count": 7}}
SPENDING = (
    workflow("INITIATED"),
    prompt("one", "INITIATED"),
    prompt("one", "FULFILLED", **USED, cost={"value": 0.25, "unit": "USD"}, model_name="m1"),
    prompt("two", "INITIATED"),
    prompt("two", "FULFILLED", usage={"input_token_count": 1}, model_name="m2"),
    workflow("FULFILLED", outputs=[{"id": "o", "name": "reply", "type": "STRING", "value": "x"}]),
)


@pytest.fixture
def breaking(hostile, tmp_path):
    """Return a function that connects to a server which streams these events, then hangs up."""
    with vnb.connect(hostile.url, api_key="k", history=tmp_path / "runs.db") as ws:

        def connect(*events, status=200):
            body = b"".join(json.dumps(event).encode() + b"\n" for event in events)
            hostile.answers["/v1/execute-workflow-stream"] = (status, body)
            return ws

        yield connect


@pytest.mark.parametrize("way", ["stream", "run"])
def test_a_stream_that_is_cut_raises_and_the_row_keeps_what_came(breaking, way):
    ws = breaking(*CUT)
    with pytest.raises(vnb.APIConnectionError, match="had not ended") as caught:  # noqa: PT012
        if way == "run":
            ws.run("shout", {"text": "x"}, expand_meta=True)
        list(ws.stream("shout", {"text": "x"}))
    assert caught.value.sent
    kept = row(ws)
    assert kept.id in caught.value.__notes__[0]
    assert (kept.state, kept.error.code) == ("FAILED", "CONNECTION")
    assert kept.outputs == {"reply": "half a word", "title": "whole"}
    assert kept.execution_id == "e1"


def test_an_error_before_the_first_event_is_raised_at_once(breaking):
    ws = breaking({"detail": "out of order"}, status=500)
    with pytest.raises(vnb.ServerError, match="out of order") as caught:
        ws.stream("shout", {"text": "x"})
    assert (row(ws).state, row(ws).error.code) == ("FAILED", "HTTP_500")
    assert row(ws).id in caught.value.__notes__[0]


def test_expand_meta_brings_cost_tokens_and_models_of_all_prompt_nodes(breaking):
    ws = breaking(*SPENDING)
    run = ws.run("shout", {"text": "x"}, expand_meta=True)
    assert (run.cost_usd, run.tokens_in, run.tokens_out, run.model) == (0.25, 12, 7, "m1, m2")
    assert [node.kind for node in run.nodes] == ["PROMPT", "PROMPT"]
    assert run.outputs == {"reply": "x"}
    assert row(ws) == run
    assert ws.history.frame()["tokens_in"].tolist() == [12]
