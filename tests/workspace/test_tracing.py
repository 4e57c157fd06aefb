"""The trace of a run: read once, kept, shown as a frame."""

import pytest

import vellum_nb as vnb
from vellum_nb.local import Faults


def test_nodes_are_read_once_and_kept(server, ws):
    run = ws.run("shout", {"text": "hi"})
    assert run.nodes == ()
    frame = ws.trace(run)
    assert frame["name"].tolist() == ["shout"]
    assert frame["state"].tolist() == ["FULFILLED"]
    assert list(frame.columns) == [
        *("name", "state", "start", "duration_s", "error", "kind", "model"),
        *("tokens_in", "tokens_out", "cost_usd", "depth"),
    ]
    server.stop()
    kept = ws.history.get(run.id)
    assert [node.name for node in kept.nodes] == ["shout"]
    assert ws.trace(kept).equals(frame)
    assert ws.trace(run.execution_id).equals(frame)


def test_a_rejected_node_says_why_and_a_run_without_an_answer_has_no_trace(ws):
    frame = ws.trace(ws.run("refuse", {"text": "beer"}))
    assert frame["state"].tolist() == ["REJECTED"]
    assert "no beer today" in frame["error"].tolist()[0]
    lost = {"id": "lost", "execution_id": None, "external_id": None, "state": "STARTED"}
    ws.history.begin(ws.run("shout", {"text": "x"}).model_copy(update=lost))
    with pytest.raises(vnb.HistoryError, match="has no execution id"):
        ws.trace("lost")


def test_a_run_that_is_under_way_keeps_no_half_a_trace(ws, gate):
    pending = ws.submit("gate", {"text": "x"})
    assert gate.entered.wait(120)
    assert len(ws.trace(pending.run)) <= 1
    assert ws.history.get(pending.run.id).nodes == ()
    gate.open.set()
    assert ws.trace(pending.wait(20, poll=0.01))["state"].tolist() == ["FULFILLED"]


@pytest.mark.parametrize("state", ["FULFILLED", "FAILED"])
def test_the_form_streams_through_the_workspace(ws, server, faucet, state):
    if state == "FAILED":
        server.faults = Faults(truncated_stream=1.0, paths="/v1/execute-workflow-stream")
    faucet.open.set()
    form = ws.form("faucet")
    form.value, form.streaming = {"text": "hello"}, True
    form.submit()
    (run,) = form.wait(120)
    form.close()
    assert run.state == state
    assert ws.history.get(run.id) == run
    if state == "FULFILLED":
        assert run.outputs["reply"] == "hello and that is all"
        assert [node.name for node in run.nodes] == ["workflow"]
