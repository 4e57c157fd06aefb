"""Runs that the server works on by itself: handed in, waited for, taken up by a later kernel."""

import json
import threading

import pytest
from runs_kit import html_of

import vellum_nb as vnb

PATIENCE = 20


@pytest.fixture
def later(server, tmp_path):
    """Return a workspace of a later kernel on the same history."""
    with vnb.connect(server, history=tmp_path / "runs.db") as workspace:
        yield workspace


def test_submit_returns_while_the_run_is_executed(ws, gate):
    pending = ws.submit("gate", {"text": "x"}, external_id="mine", metadata={"n": 1})
    kept = ws.history.get(pending.run.id)
    assert (kept.state, kept.execution_id) == ("STARTED", pending.execution_id)
    assert repr(pending) == f"<PendingRun gate LATEST: STARTED {pending.execution_id}>"
    assert pending.execution_id in html_of(pending)
    assert gate.entered.wait(PATIENCE)
    assert pending.status() in {"INITIATED", "STREAMING"}


def test_wait_returns_the_completed_run(ws, gate):
    pending = ws.submit("gate", {"text": "x"}, external_id="mine", metadata={"n": 1})
    gate.open.set()
    run = pending.wait(PATIENCE, poll=0.01)
    assert (run.state, run.outputs) == ("FULFILLED", {"output": "x"})
    assert run.output_types == {"output": "STRING"}
    assert (run.external_id, run.metadata) == ("mine", {"n": 1})
    assert run.latency_s > 0
    assert run.finished_at >= run.timestamp
    assert ws.history.get(run.id) == run == pending.run
    assert pending.status() == "FULFILLED"
    assert gate.calls == 1


def test_waiting_can_be_given_up_from_another_thread(ws, gate):
    pending = ws.submit("gate", {"text": "x"})
    runs = []
    waiting = threading.Thread(target=lambda: runs.append(pending.wait(poll=60)))
    waiting.start()
    assert gate.entered.wait(PATIENCE)
    while waiting.is_alive():
        pending.cancel_waiting()
        waiting.join(0.05)
    assert [run.state for run in runs] == ["STARTED"]


def test_an_interrupt_of_the_wait_leaves_the_run_under_way(ws, gate, interrupt_after):
    pending = ws.submit("gate", {"text": "x"})
    with pytest.raises(KeyboardInterrupt):  # noqa: PT012  (it may come at once)
        interrupt_after(lambda: gate.entered.wait(PATIENCE))
        pending.wait(PATIENCE)
    assert ws.history.get(pending.run.id).state == "STARTED"
    gate.open.set()
    assert pending.wait(PATIENCE, poll=0.01).state == "FULFILLED"


def test_a_later_kernel_completes_what_has_ended_and_waits_for_the_rest(ws, later, gate):
    quick = ws.submit("shout", {"text": "x"})
    slow = ws.submit("gate", {"text": "y"})
    while ws.client.workflow_execution_status(quick.execution_id).status != "FULFILLED":
        pass
    found = {pending.execution_id: pending for pending in later.resume_pending()}
    assert set(found) == {quick.execution_id, slow.execution_id}
    assert later.history.get(quick.run.id).outputs == {"loud": "X"}
    assert found[slow.execution_id].run.state == "STARTED"
    gate.open.set()
    assert found[slow.execution_id].wait(PATIENCE, poll=0.01).outputs == {"output": "y"}
    assert later.resume_pending() == []


def test_two_kernels_may_see_the_same_run_end(ws, later, gate):
    first = ws.submit("gate", {"text": "x"})
    (second,) = later.resume_pending()
    gate.open.set()
    runs = [pending.wait(PATIENCE, poll=0.01) for pending in (second, first)]
    assert runs[0] == runs[1] == ws.history.get(first.run.id)


@pytest.mark.parametrize(
    "other",
    [{"execution_id": id_} for id_ in ("not a uuid", "..", "0" * 32)] + [{"environment": "other"}],
)
def test_runs_of_another_environment_or_kind_do_not_change(ws, other):
    run = ws.submit("shout", {"text": "x"}).run
    ws.history.begin(run.model_copy(update={"id": "o", "external_id": None, **other}))
    assert [pending.run.id for pending in ws.resume_pending()] == [run.id]


def test_a_stream_of_this_kernel_is_not_taken_up(ws, later, faucet):
    with ws.stream("faucet", {"text": "x"}) as stream:
        for event in stream:
            if event.delta:
                break_off = ws.resume_pending()
                (elsewhere,) = later.resume_pending()
                faucet.open.set()
        assert break_off == []
        assert elsewhere.run.id == stream.run.id
        assert stream.run.state == "FULFILLED"
    assert elsewhere.wait(PATIENCE, poll=0.01) == stream.run


def test_a_run_that_a_synchronisation_completed_first_keeps_its_answer(ws, later, gate):
    runs = []
    thread = threading.Thread(target=lambda: runs.append(ws.run("gate", {"text": "x"})))
    thread.start()
    assert gate.entered.wait(PATIENCE)
    (row,) = later.history.runs()
    later.history.finish(row.model_copy(update={"state": "FULFILLED", "outputs": {"a": 1}}))
    gate.open.set()
    thread.join(PATIENCE)
    assert [run.outputs for run in runs] == [{"a": 1}]


@pytest.mark.slow
def test_a_kernel_that_was_killed_after_submitting_loses_nothing(
    server, later, gate, tmp_path, forks
):
    script = (
        "import json, sys, vellum_nb as vnb\n"
        "url, key, history = sys.argv[1:]\n"
        "ws = vnb.connect(url, api_key=key, history=history)\n"
        "pending = ws.submit('gate', {'text': 'x'})\n"
        "print(json.dumps(pending.execution_id), flush=True)\n"
        "sys.stdin.read()\n"
    )
    with forks.code(script, server.url, server.api_key, tmp_path / "runs.db") as kernel:
        execution_id = json.loads(kernel.stdout.readline())
    (pending,) = later.resume_pending()
    assert pending.execution_id == execution_id
    gate.open.set()
    assert pending.wait(PATIENCE, poll=0.01).outputs == {"output": "x"}
    assert gate.calls == 1
