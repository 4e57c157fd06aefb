"""Runs that were sent and have no recorded answer: how they end, and what completes them.

The counting server goes on with an execution whose client has gone; the local server ends it.
"""

import threading

import pytest
from costing_server import KEY, CostingServer
from runs_kit import html_of

import vellum_nb as vnb
from vellum_nb.local import Faults
from vellum_nb.models import Cancellation, RunRequest

PATIENCE = 20
EXECUTE = "/v1/execute-workflow"
EVENTS = "/v1/workflow-deployments/d1/execution-events"


@pytest.fixture
def counting():
    server = CostingServer().start()
    server.held = True
    yield server
    server.held = False
    server.close()


@pytest.fixture
def ws(counting, tmp_path):
    with vnb.connect(counting.url, api_key=KEY, history=tmp_path / "runs.db") as workspace:
        yield workspace


@pytest.fixture
def local_ws(server, tmp_path):
    with vnb.connect(server, history=tmp_path / "local.db") as workspace:
        yield workspace


def call(ws, way, **options):
    return getattr(ws, way)("count", {"text": "x"}, release_tag="v1", **options)


@pytest.fixture
def interrupted(ws, counting, interrupt_after, until):
    """Return how to interrupt a call after its execution has begun; it returns the row."""

    def interrupted(way="run"):
        interrupt_after(lambda: until(lambda: counting.executed))
        with pytest.raises(KeyboardInterrupt) as caught:
            call(ws, way)
        (run,) = ws.history.runs()
        notes = " ".join(caught.value.__notes__)
        assert f"CANCELLED: {run.id}. It may have been executed: ws.sync('count')" in notes
        return run

    return interrupted


def by_sync(ws, _run):
    assert ws.sync("count").completed == 1


def by_resuming(ws, run):
    assert [pending.run.id for pending in ws.resume_pending()] == [run.id]


def by_merging(ws, _run):
    with vnb.connect(ws.client.base_url, api_key=KEY, history=":memory:") as other:
        other.sync("count")
        assert ws.history.merge(other.history).completed == 1


def by_looking_up_in_the_table(ws, run):
    view = ws.history.view()
    view.actions["look_up"]({"ids": [run.id]})
    assert view.wait(PATIENCE)
    assert view.error == ""
    view.close()


def by_reusing(ws, _run):
    sweep = ws.sweep(
        "count", [{"text": "x"}], release_tags=["v1"], existing="reuse", progress=False
    )
    assert sweep.state == "done"


COMPLETERS = (by_resuming, by_merging, by_looking_up_in_the_table, by_reusing)


def look_up(ws, run):
    return ws._runner.look_up(run)  # as the forms and grids of a workspace do


def check_completed(ws, counting, run):
    stored = ws.history.get(run.id)
    assert (stored.state, stored.outputs) == ("FULFILLED", {"said": "v1 x"})
    assert (stored.cost_usd, stored.tokens_in, stored.model) == (0.25, 3, "m")
    assert (stored.error, stored.doubt, stored.in_doubt) == (None, None, False)
    assert stored.execution_id == counting.kept[run.external_id]["span_id"]
    assert dict(counting.executed) == {run.external_id: 1}


@pytest.mark.parametrize("way", ["run", "stream", "submit"])
def test_interrupted_call_is_in_doubt_until_sync_completes_it(ws, counting, interrupted, way):
    run = interrupted(way)
    assert (run.state, run.error.code, run.doubt) == ("CANCELLED", "CANCELLED", "SENT")
    counting.release()
    by_sync(ws, run)
    check_completed(ws, counting, run)


@pytest.mark.parametrize("complete", COMPLETERS)
def test_interrupted_run_is_completed_with_outputs_and_cost(ws, counting, interrupted, complete):
    run = interrupted()
    counting.release()
    complete(ws, run)
    check_completed(ws, counting, run)


def test_cancelled_form_looks_its_run_up(ws, counting, until):
    form = ws.form("count")
    form.value = {"text": "x"}
    form.submit()
    until(lambda: counting.executed)
    form.cancel()
    (run,) = form.wait(PATIENCE)
    assert (run.state, run.doubt) == ("CANCELLED", "SENT")
    assert "Cancelled; it may still have run." in html_of(form)
    bars = form._runs.bars
    look_up_run = bars._events["look up"]
    counting.lag = 1e6
    look_up_run(run, {})
    assert bars.wait(PATIENCE)
    (bar,) = bars.bars
    assert (bar["in_doubt"], bar["problem"]) == (True, "")
    assert bar["looked_up"] == "The server lists no execution of it yet."
    counting.lag = 0.0
    counting.release()
    look_up_run(run, {})
    assert bars.wait(PATIENCE)
    (bar,) = bars.bars
    assert (bar["in_doubt"], bar["looked_up"]) == (False, "Looked up: it ended as FULFILLED.")
    assert "v1 x" in html_of(form)
    assert form.runs[0].cost_usd == 0.25
    assert form.runs[0] == ws.history.get(run.id)
    form.close()


def test_running_execution_is_found_and_its_run_stays_in_doubt(ws, counting, interrupted):
    run = interrupted()
    (pending,) = ws.resume_pending()
    stored = ws.history.get(run.id)
    assert (stored.state, stored.doubt) == ("CANCELLED", "EXECUTED")
    assert stored.execution_id == pending.execution_id == counting.kept[run.id]["span_id"]
    counting.release()
    assert ws.sync("count").completed == 1
    check_completed(ws, counting, run)


def test_run_that_is_not_listed_yet_is_left_as_it_is(ws, counting, interrupted):
    run = interrupted()
    counting.lag = 1e6
    assert ws.resume_pending() == []
    assert ws.history.get(run.id) == run
    counting.lag = 0.0
    counting.release()
    by_resuming(ws, run)


def test_run_under_way_is_neither_resumed_nor_looked_up(ws, counting, until):
    thread = threading.Thread(target=lambda: call(ws, "run"))
    thread.start()
    until(lambda: counting.executed)
    (run,) = ws.history.runs()
    assert ws.resume_pending() == []
    with pytest.raises(vnb.VellumNBError, match="is under way"):
        look_up(ws, run)
    counting.release()
    thread.join(PATIENCE)
    check = ws.history.get(run.id)
    assert (check.state, check.doubt) == ("FULFILLED", None)


def test_run_of_a_sweep_that_is_driven_is_not_resumed(ws, counting, until):
    sweep = ws.sweep("count", [{"text": "x"}], release_tags=["v1"], background=True, progress=False)
    until(lambda: counting.executed)
    assert ws.resume_pending() == []
    counting.release()
    assert sweep.wait(PATIENCE).state == "done"


def test_run_of_an_external_id_of_another_run_is_not_completed_by_it(local_ws):
    answer = local_ws.client.execute_workflow(
        {"text": "theirs"}, workflow_deployment_name="shout", external_id="same"
    )
    with pytest.raises(vnb.BadRequestError) as caught:
        local_ws.run("shout", {"text": "ours"}, external_id="same")
    assert "may be the execution that has the external id 'same'" in caught.value.__notes__[0]
    (run,) = local_ws.history.runs()
    assert look_up(local_ws, run) == run
    assert local_ws.resume_pending() == []
    assert local_ws.sync("shout").added == 1
    assert {each.execution_id for each in local_ws.history.runs()} == {None, answer.execution_id}


def test_turn_of_a_conversation_is_completed_by_the_execution_of_its_external_id(local_ws):
    first = local_ws.run("shout", {"text": "a"})
    turn = {"previous_execution_id": first.execution_id, "external_id": "same"}
    answer = local_ws.client.execute_workflow(
        {"text": "b"}, workflow_deployment_name="shout", **turn
    )
    with pytest.raises(vnb.BadRequestError):
        local_ws.run("shout", {"text": "b"}, **turn)
    run = look_up(local_ws, local_ws.history.runs()[0])
    assert (run.state, run.execution_id) == ("FULFILLED", answer.execution_id)


def test_submit_whose_reply_was_lost_is_resumed(local_ws, server, gate):
    server.faults = Faults(reset_after=1.0, paths="/v1/execute-workflow-async")
    with pytest.raises(vnb.APIConnectionError) as caught:
        local_ws.submit("gate", {"text": "x"})
    server.faults = None
    (run,) = local_ws.history.runs()
    assert (run.state, run.doubt, run.execution_id) == ("FAILED", "SENT", None)
    assert "ws.resume_pending() completes it" in caught.value.__notes__[0]
    assert gate.entered.wait(PATIENCE)
    (pending,) = local_ws.resume_pending()
    assert (pending.run.state, pending.run.doubt) == ("FAILED", "EXECUTED")
    assert pending.status() in {"INITIATED", "STREAMING"}
    gate.open.set()
    run = pending.wait(PATIENCE, poll=0.01)
    assert (run.state, run.outputs, run.error) == ("FULFILLED", {"output": "x"}, None)
    assert local_ws.history.get(run.id) == run
    assert gate.calls == 1


def test_cancelled_before_it_was_sent_is_not_in_doubt(local_ws, monkeypatch):
    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(local_ws._runner.uploads, "sent", interrupt)
    with pytest.raises(KeyboardInterrupt):
        local_ws.run("shout", {"text": "x"})
    (run,) = local_ws.history.runs()
    assert (run.state, run.doubt, run.in_doubt) == ("CANCELLED", None, False)


def test_call_that_is_cancelled_before_it_left_is_not_in_doubt(local_ws):
    cancel = Cancellation()
    cancel.cancel()
    request = RunRequest(deployment="shout", inputs={"text": "x"})
    run, _ = local_ws._runner.execute(request, cancel)
    assert (run.state, run.doubt) == ("CANCELLED", None)
    assert local_ws.history.get(run.id) == run


# Executions that were cut off


def cut_off(**more):
    error = {"message": "The client hung up", "code": "WORKFLOW_CANCELLED"}
    return {"state": "REJECTED", "error": error, **more}


def check_cut_off(run):
    assert (run.state, run.error.code) == ("CANCELLED", "WORKFLOW_CANCELLED")
    assert (run.doubt, run.in_doubt) == (None, False)


@pytest.fixture
def broken(hostile, tmp_path):
    with vnb.connect(hostile.url, api_key="k", history=tmp_path / "broken.db") as ws:
        yield ws


@pytest.mark.parametrize("way", ["sync", "resume_pending"])
def test_text_of_a_closed_stream_stays_when_it_is_settled(local_ws, faucet, way):
    with local_ws.stream("faucet", {"text": "x"}) as stream:
        for event in stream:
            if event.delta:
                break
    outputs = local_ws.history.get(stream.run.id).outputs
    assert outputs == {"reply": "x "}
    assert faucet.left.wait(120)
    settled = stream.run
    while settled.in_doubt:  # the server records the end a moment later
        local_ws.sync("faucet") if way == "sync" else local_ws.resume_pending()
        settled = local_ws.history.get(stream.run.id)
    assert (settled.state, settled.outputs) == ("CANCELLED", outputs)


def test_closed_stream_is_settled_as_cancelled_by_sync(local_ws, faucet):
    with local_ws.stream("faucet", {"text": "hello"}) as stream:
        next(event for event in stream if event.delta)
    run = stream.run
    assert (run.state, run.doubt, run.error.code) == ("CANCELLED", "SENT", "CANCELLED")
    assert faucet.left.wait(PATIENCE)
    while not local_ws.sync("faucet").completed:
        pass
    settled = local_ws.history.get(run.id)
    check_cut_off(settled)
    assert local_ws.resume_pending() == []


def test_execution_that_was_cut_off_elsewhere_is_imported_as_cancelled(local_ws, faucet):
    client = local_ws.client
    with client.execute_workflow_stream(
        {"text": "hello"}, workflow_deployment_name="faucet"
    ) as events:
        next(event for event in events if event.delta)
    assert faucet.left.wait(PATIENCE)
    while not local_ws.sync("faucet").added:
        pass
    (run,) = local_ws.history.runs()
    check_cut_off(run)
    assert local_ws.sync("faucet").known == 1


def test_direct_reply_that_was_cut_off_is_cancelled(hostile, broken):
    hostile.answers[EXECUTE] = {"execution_id": "e", "data": cut_off(id="e")}
    check_cut_off(broken.run("shout", {"text": "x"}))
    check_cut_off(broken.history.runs()[0])


def test_pending_run_that_was_cut_off_is_cancelled_and_its_status_is_the_servers(hostile, broken):
    hostile.answers["/v1/execute-workflow-async"] = {"execution_id": "e"}
    pending = broken.submit("shout", {"text": "x"})
    told = {"status": "REJECTED", "execution_id": "e", "error": cut_off()["error"]}
    hostile.answers["/v1/workflows/executions/e/status"] = told
    assert [pending.status(), pending.status()] == ["REJECTED", "REJECTED"]
    check_cut_off(pending.run)


def test_execution_that_was_cut_off_is_missing_in_a_comparison(hostile, broken):
    hostile.answers[EXECUTE] = {"execution_id": "e", "data": cut_off(id="e")}
    broken.run("shout", {"text": "x"}, release_tag="v2")
    output = {"id": "o", "name": "loud", "type": "STRING", "value": "X"}
    hostile.answers[EXECUTE] = {
        "execution_id": "f",
        "data": {"id": "f", "state": "FULFILLED", "outputs": [output]},
    }
    broken.run("shout", {"text": "x"}, release_tag="v1")
    comparison = broken.compare("shout", release_tags=["v1", "v2"])
    (case,) = comparison.cases
    assert case.status("v2") == "missing"
    assert comparison.summary(columns="all").set_index("release").loc["v2", "rejected"] == 0


# What a proxy answers says nothing about the execution


PAGES = {
    "404 page": (404, b"<html>Not here</html>"),
    "404 JSON": (404, {"detail": "no route"}),
    "400 page": (400, b"<html>Bad</html>"),
    "200 page": (200, b"<html>Please log in</html>"),
    "302 page": (302, b"<html>Moved</html>"),
    "502 page": (502, b"<html>Bad gateway</html>"),
}


@pytest.mark.parametrize("name", PAGES)
def test_page_of_a_proxy_leaves_the_run_in_doubt_and_its_note_names_what_completes_it(
    hostile, broken, name
):
    hostile.answers[EXECUTE] = PAGES[name]
    with pytest.raises(vnb.APIError) as caught:
        broken.run("shout", {"text": "x"})
    (run,) = broken.history.runs()
    assert (run.state, run.doubt) == ("FAILED", "SENT")
    assert "It may have been executed: ws.sync('shout')" in caught.value.__notes__[0]
    times = {"start": "2026-01-15T09:30:00Z", "end": "2026-01-15T09:30:01Z"}
    output = {"id": "o", "name": "loud", "type": "STRING", "value": "X"}
    context = {"external_id": run.external_id}
    event = {"span_id": "e", **times, "inputs": [], "outputs": [output], "parent_context": context}
    hostile.answers[EVENTS] = {"count": 1, "results": [event]}
    assert broken.sync("shout").completed == 1
    stored = broken.history.get(run.id)
    assert (stored.state, stored.outputs, stored.doubt) == ("FULFILLED", {"loud": "X"}, None)


def test_refusal_by_the_server_is_not_in_doubt(hostile, broken):
    hostile.answers[EXECUTE] = (400, {"detail": "text is too long"})
    with pytest.raises(vnb.BadRequestError) as caught:
        broken.run("shout", {"text": "x"})
    (run,) = broken.history.runs()
    assert (run.state, run.doubt) == ("FAILED", None)
    assert caught.value.__notes__ == [f"The run is in the history as FAILED: {run.id}"]


def test_look_up_that_the_key_does_not_allow_raises_an_error_of_ours(hostile, broken):
    hostile.answers = {EXECUTE: PAGES["502 page"]}  # the key may read nothing
    with pytest.raises(vnb.ServerError):
        broken.run("shout", {"text": "x"})
    (run,) = broken.history.runs()
    with pytest.raises(vnb.VellumNBError, match="cannot be looked up: executions cannot be"):
        look_up(broken, run)
    assert broken.resume_pending() == []
    assert broken.history.get(run.id) == run
