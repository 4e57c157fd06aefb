"""Runs whose answer never came: looked up under their old external ids, never executed twice.

The server executes, loses answers and lists its executions late; times are scaled down.
"""

from __future__ import annotations

import _thread
import os
import threading
import time
from collections import deque

import pytest
from counting_server import KEY, CountingServer

import vellum_nb as vnb
from vellum_nb.models import RunError

SCALE = float(os.environ.get("SWEEP_LAG", "0.4"))  # seconds; 40 in the real case
CASES = [{"text": f"text {number}"} for number in range(20)]
SWEEP = {"release_tags": ["v1"], "progress": False}
LONG = 30  # seconds; waits that end long before


@pytest.fixture
def server():
    made = CountingServer({"reset after": 0.5}, seed=3, lag=SCALE).start()
    yield made
    made.held = False
    made.close()


def connected(server, path, read=3 * SCALE):
    return vnb.connect(server.url, api_key=KEY, history=path, timeout=(5, read))


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs.db"


@pytest.fixture
def ws(server, path):
    with connected(server, path) as workspace:
        yield workspace


def check_all_once(server, sweep, cases=CASES):
    assert {run.state for run in sweep.runs()} == {"FULFILLED"}
    assert {run.inputs["text"]: run.outputs["said"] for run in sweep.runs()} == {
        case["text"]: f"v1 {case['text']}" for case in cases
    }
    assert set(server.executed.values()) == {1}
    assert len(server.executed) == len(cases)


@pytest.mark.parametrize("refuses", [True, False])
def test_answers_that_are_lost_and_listed_late_are_all_taken_and_paid_once(server, ws, refuses):
    server.refuses = refuses
    check_all_once(server, ws.sweep("count", CASES, **SWEEP))
    assert server.lookups > 0


@pytest.mark.usefixtures("quick_look_ups")
def test_a_refused_external_id_is_looked_up_until_it_is_listed(server, path):
    """The server lists later than runs are looked up for: they are sent again, and refused."""
    with connected(server, path, read=SCALE / 4) as ws:
        server.latency = 0.001
        check_all_once(server, ws.sweep("count", CASES, **SWEEP))
        assert server.posts > len(CASES)


@pytest.mark.usefixtures("quick_look_ups")
def test_without_resending_a_run_is_left_in_doubt_and_resume_takes_it(server, path):
    server.lag = 1e9
    server.faults, server.script = {}, deque(["reset after", "", "reset before"])
    with connected(server, path, read=0.2) as ws:
        sweep = ws.sweep("count", CASES[:3], **SWEEP, concurrency=1, resend_in_doubt=False)
        assert (sweep.state, server.posts) == ("stopped", 3)
        assert "2 runs are in doubt" in sweep.progress().why
        assert ws.history.count(state="STARTED") == 2
        server.lag = 0.0
        assert ws.open_sweep(sweep.id).resume().progress().done == 2
        assert server.posts == 3
        assert ws.open_sweep(sweep.id, resend_in_doubt=True).resume().state == "done"
    assert set(server.executed.values()) == {1}


@pytest.fixture
def failed(server, ws):
    """Return a sweep of earlier days: executed, and given up as failed in different ways."""
    server.faults, server.lag = {}, 0.0
    sweep = ws.sweep("count", CASES[:5], **SWEEP)
    runs = sweep.runs()
    refused = f"external_id {runs[0].external_id} already exists"
    errors = [("HTTP_400", refused), ("UNKNOWN_FATE", "no"), ("TIMEOUT", "no"), ("CONNECTION", "")]
    with vnb.History(":memory:") as copy:
        for run, (code, message) in zip(runs, errors, strict=False):
            lost = {"state": "FAILED", "outputs": {}, "output_types": {}, "execution_id": None}
            error = RunError(code=code, message=message)
            copy.merge([run.model_copy(update={**lost, "error": error})])
        lost_runs = copy.runs()
    ws.history.delete([run.id for run in lost_runs])
    ws.history.vacuum()
    for run in lost_runs:
        ws.history.begin(run.model_copy(update={"state": "STARTED", "error": None}))
        ws.history.finish(run)
    assert ws.history.count(state="FAILED") == 4
    return ws.open_sweep(sweep.id)


@pytest.mark.parametrize("way", ["resume", "retry_failed", "same call", "reuse", "sync"])
def test_failed_runs_that_were_executed_are_looked_up_by_every_way_on(server, ws, failed, way):
    posts = server.posts
    if way == "resume":
        failed.resume()
    elif way == "retry_failed":
        failed.retry_failed()
    elif way == "same call":
        failed = ws.sweep("count", CASES[:5], **SWEEP)
    elif way == "reuse":
        failed = ws.sweep("count", CASES[:5], **SWEEP, restart=True, reuse=True)
    else:
        assert ws.history.sync("count").completed == 4
    assert server.posts == posts
    check_all_once(server, failed, CASES[:5])
    assert ws.history.count() == 5


@pytest.mark.usefixtures("quick_look_ups")
def test_what_is_not_listed_is_sent_again_only_when_asked_and_under_its_old_id(
    server, failed, path
):
    runs = failed.runs()
    lost = {run.external_id: run.error.code for run in runs if run.state == "FAILED"}
    server.kept.clear()
    server.executed.clear()
    with connected(server, path, read=0.2) as later:
        again = later.open_sweep(failed.id)
        assert again.resume().progress().failed == 4
        assert not server.executed
        assert again.retry_failed().progress().failed == 1
    # The one whose external id was refused is known to have been executed: it is not sent again.
    assert dict(server.executed) == {run: 1 for run in lost if lost[run] != "HTTP_400"}


@pytest.mark.parametrize("fault", ["503 with Retry-After", "429"])
def test_a_single_run_that_a_busy_answer_hid_is_found(server, ws, fault):
    server.faults, server.lag = {}, 0.3
    server.script = deque([f"executed, then {fault}"])
    run = ws.run("count", {"text": "one"}, release_tag="v1")
    assert (run.state, run.outputs) == ("FULFILLED", {"said": "v1 one"})
    assert dict(server.executed) == {run.external_id: 1}


def test_a_single_run_that_is_not_listed_stays_started_and_sync_completes_it(server, path):
    server.faults, server.lag = {}, 1e9
    server.script = deque(["executed, then 429"])
    with connected(server, path, read=0.3) as ws:
        with pytest.raises(vnb.BadRequestError, match="was used") as raised:
            ws.run("count", {"text": "one"}, release_tag="v1")
        assert "history.sync('count') completes it" in raised.value.__notes__[0]
        assert [run.state for run in ws.history.runs()] == ["STARTED"]
        assert ws.history.sync("count").completed == 1
        assert [run.outputs for run in ws.history.runs()] == [{"said": "v1 one"}]


def test_an_interrupt_of_the_look_up_leaves_an_executed_run_started(server, ws):
    server.faults, server.lag, server.script = {}, 1e9, deque(["executed, then 429"])

    def interrupt():
        while server.lookups < 2:
            time.sleep(0.01)
        _thread.interrupt_main()

    threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt):
        ws.run("count", {"text": "one"}, release_tag="v1")
    assert [run.state for run in ws.history.runs()] == ["STARTED"]
    assert ws.history.sync("count").completed == 1


def forget(server):
    """Come back as another server, as one without a memory does."""
    server.kept.clear()
    server.workspace = "w-2"


def test_a_server_that_became_another_one_ends_the_sweep_before_anything_is_sent_again(server, ws):
    server.faults, server.lag, server.script = {}, 1e9, deque(["reset after"] * 2)
    sweep = ws.sweep("count", CASES[:4], **SWEEP, concurrency=2, background=True)
    while server.lookups < 3:
        time.sleep(0.01)
    forget(server)
    sweep.wait(LONG)
    assert (sweep.state, server.posts) == ("stopped", 4)
    assert "the server is another one" in sweep.progress().why
    assert ws.history.count(state="STARTED") == 2
    with pytest.raises(vnb.VellumNBError, match="workspace w-1, now w-2"):
        ws.sweep("count", CASES[:4], **SWEEP)
    assert server.posts == 4
    assert ws.sweep("count", CASES[:4], **SWEEP, restart=True).state == "done"
    server.workspace = "w-1"


@pytest.mark.parametrize("body", ["digits", "levels", "shape"])
def test_an_answer_that_cannot_be_used_fails_at_once_with_its_text(server, ws, body):
    server.faults, server.script = {}, deque([f"answer {body}"])
    began = time.monotonic()
    sweep = ws.sweep("count", CASES[:1], **SWEEP)
    (run,) = sweep.runs()
    assert (run.state, run.error.code, server.lookups) == ("FAILED", "BAD_RESPONSE", 0)
    assert "It begins with '{" in run.error.message
    assert time.monotonic() - began < LONG / 2


def test_an_answer_with_another_external_id_is_not_taken(server, ws):
    server.faults, server.lag, server.script = {}, 0.0, deque(["answer another"])
    (run,) = ws.sweep("count", CASES[:1], **SWEEP).runs()
    assert run.outputs == {"said": "v1 text 0"}
    assert server.lookups == 1


def test_the_same_sweep_that_has_ended_is_returned_and_says_so(server, ws, capsys):
    server.faults = {}
    first = ws.sweep("count", CASES, **SWEEP)
    posts = server.posts
    assert ws.sweep("count", CASES, **SWEEP).id == first.id
    said = capsys.readouterr().err
    assert "the same sweep ended at " in said
    assert "restart=True runs it again" in said
    assert server.posts == posts
    assert ws.sweep("count", CASES, **SWEEP, restart=True).id != first.id
    assert server.posts == 2 * posts


def test_a_sweep_under_way_takes_other_limits(server, ws):
    server.faults, server.held = {}, True
    first = ws.sweep("count", CASES, **SWEEP, concurrency=2, background=True)
    until = time.monotonic() + LONG
    while server.posts < 2:
        assert time.monotonic() < until
        time.sleep(0.01)
    again = ws.sweep("count", CASES, **SWEEP, max_calls=3, background=True)
    assert again is first
    with pytest.raises(vnb.VellumNBError, match="under way with another concurrency"):
        ws.sweep("count", CASES, **SWEEP, concurrency=5, background=True)
    with pytest.raises(vnb.VellumNBError, match="max_cost_usd"):
        ws.sweep("count", CASES, **SWEEP, max_cost_usd=1.0, background=True)
    server.held = False
    assert first.wait(LONG).progress().why == "max_calls=3 is reached"
    assert server.executed.total() == 3
    assert ws.open_sweep(first.id).record.options["max_calls"] == 3
