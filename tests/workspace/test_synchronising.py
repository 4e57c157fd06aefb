"""Executions that were made elsewhere, brought into a history."""

from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime

import pandas as pd
import pytest

import vellum_nb as vnb
from vellum_nb.local import Faults
from vellum_nb.models import case_id

PATIENCE = 20


def execute(ws, text, *, name="shout", tag="v2", **options):
    """Run as production does: past every history."""
    return ws.client.execute_workflow(
        {"text": text}, workflow_deployment_name=name, release_tag=tag, **options
    ).execution_id


@pytest.fixture
def synchronised(ws):
    """Return the execution id of a rated execution, and its synchronised run."""
    id_ = execute(ws, "hi", external_id="theirs", metadata={"who": "them"})
    ws.client.submit_workflow_execution_actuals(
        [{"output_key": "loud", "quality": 0.5, "desired_output_value": "HEY"}], execution_id=id_
    )
    assert ws.sync("shout").added == 1
    (run,) = ws.history.runs()
    return id_, run


def test_synchronised_run_has_the_ids_of_its_execution(synchronised):
    id_, run = synchronised
    assert (run.execution_id, run.external_id, run.metadata) == (id_, "theirs", {"who": "them"})
    assert (run.inputs, run.case_id) == ({"text": "hi"}, case_id({"text": "hi"}))


def test_synchronised_run_has_the_result_of_its_execution(synchronised):
    run = synchronised[1]
    assert (run.release_tag, run.state, run.outputs) == ("v2", "FULFILLED", {"loud": "HI"})
    assert run.latency_s == pytest.approx((run.finished_at - run.timestamp).total_seconds())


def test_synchronised_run_has_the_rating_of_its_execution(synchronised):
    assert (synchronised[1].quality, synchronised[1].desired) == (0.5, {"loud": "HEY"})


def test_synchronised_run_has_the_release_of_its_tag(ws, synchronised):
    run = synchronised[1]
    assert run.release_id == ws.run("shout", {"text": "hi"}, release_tag="v2").release_id
    assert run.environment == "local"


def test_sync_adds_each_execution_once(ws):
    execute(ws, "hi")
    ws.sync("shout")
    before = ws.history.frame()
    again = ws.sync("shout")
    assert (again.added, again.completed, again.updated, again.known) == (0, 0, 0, 1)
    pd.testing.assert_frame_equal(ws.history.frame(), before)


def test_sync_adds_rejected_executions(ws):
    execute(ws, "beer", name="refuse", tag="LATEST")
    ws.sync("refuse")
    (run,) = ws.history.runs(deployment="refuse")
    assert (run.state, run.error.code) == ("REJECTED", "USER_DEFINED_ERROR")


def test_what_still_runs_is_left_for_the_next_time(ws, gate):
    with ThreadPoolExecutor(1) as pool:
        call = pool.submit(execute, ws, "x", name="gate", tag="LATEST")
        assert gate.entered.wait(PATIENCE)
        report = ws.sync("gate")
        assert (report.added, report.running, ws.history.count()) == (0, 1, 0)
        gate.open.set()
        call.result(PATIENCE)
    assert ws.sync("gate").added == 1


def test_a_rating_that_comes_later_is_taken_over(ws):
    run = ws.run("shout", {"text": "x"})
    actual = {"output_key": "loud", "quality": 1.0}
    ws.client.submit_workflow_execution_actuals([actual], execution_id=run.execution_id)
    assert ws.sync("shout").updated == 1
    assert ws.history.get(run.id).quality == 1
    assert ws.sync("shout").known == 1


def test_a_run_whose_answer_was_lost_is_completed_by_its_execution(ws, server):
    server.faults = Faults(reset_after=1.0, paths="/v1/execute-workflow")
    with pytest.raises(vnb.APIConnectionError):
        ws.run("shout", {"text": "x"})
    server.faults = None
    assert [run.error.code for run in ws.history.runs(state="FAILED")] == ["CONNECTION"]
    assert ws.sync("shout").completed == 1
    (run,) = ws.history.runs()
    assert (run.state, run.error, run.outputs) == ("FULFILLED", None, {"loud": "X"})
    assert ws.trace(run.execution_id)["state"].tolist() == ["FULFILLED"]
    assert ws.sync("shout").known == 1


def test_a_run_that_was_refused_is_not_taken_for_the_execution_that_has_its_external_id(ws):
    id_ = execute(ws, "theirs", external_id="same")
    with pytest.raises(vnb.BadRequestError):
        ws.run("shout", {"text": "ours"}, external_id="same")
    assert ws.sync("shout").added == 1
    texts = {run.execution_id: run.inputs["text"] for run in ws.history.runs()}
    assert texts == {id_: "theirs", None: "ours"}
    assert ws.sync("shout").known == 1


@pytest.fixture
def between(ws):
    """Return a time between two executions."""
    execute(ws, "before")
    moment = datetime.now(UTC)
    execute(ws, "after")
    return moment


@pytest.mark.parametrize(("bound", "text"), [("until", "before"), ("since", "after")])
def test_sync_adds_executions_of_a_period(ws, between, bound, text):
    assert ws.sync("shout", **{bound: between}).added == 1
    assert [run.inputs["text"] for run in ws.history.runs()] == [text]


@pytest.mark.usefixtures("between")
@pytest.mark.parametrize(("since", "added"), [("2999-01-01", 0), ("0001-01-01T00:00+14:00", 2)])
def test_sync_takes_any_time(ws, since, added):
    assert ws.sync("shout", since=since).added == added


def test_limit_of_a_sync_takes_the_newest_executions(ws):
    for text in ("one", "two", "three"):
        execute(ws, text)
    assert ws.sync("shout", limit=2).added == 2
    assert [run.inputs["text"] for run in ws.history.runs()] == ["three", "two"]
    assert ws.sync("shout").added == 1


def texts(history):
    return {run.inputs["text"] for run in history.runs()}


def test_sample_of_a_sync_is_random_and_the_same_again(ws):
    for number in range(30):
        execute(ws, f"text {number}")
    assert ws.sync("shout", sample=10).added == 10
    sampled = texts(ws.history)
    assert sampled != {f"text {number}" for number in range(20, 30)}
    report = ws.sync("shout", sample=10)
    assert (report.added, report.known) == (0, 10)
    assert texts(ws.history) == sampled


def test_sample_larger_than_a_period_has_all_executions(ws):
    execute(ws, "hi")
    assert ws.sync("shout", sample=200).added == 1


@pytest.mark.slow
def test_a_kernel_that_was_killed_in_the_middle_leaves_the_rest_for_the_next(
    ws, server, tmp_path, forks
):
    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(lambda n: execute(ws, str(n)), range(230)))
    script = (
        "import os, signal, sys, vellum_nb as vnb\n"
        "url, key, history = sys.argv[1:]\n"
        "ws = vnb.connect(url, api_key=key, history=history)\n"
        "die = lambda: os.kill(os.getpid(), signal.SIGKILL)\n"
        "ws.history.subscribe(print, on_bulk_change=die)\n"
        "ws.sync('shout')\n"
        "print('not killed')\n"
    )
    with forks.code(script, server.url, server.api_key, tmp_path / "runs.db") as kernel:
        assert "not killed" not in kernel.stdout.read()
    report = ws.sync("shout")
    assert (report.known, report.added, ws.history.count()) == (200, 30, 230)
    assert {run.execution_id for run in ws.history.runs()} == ids


def test_kernels_that_synchronise_at_once_add_nothing_twice(ws, server, tmp_path):
    for number in range(20):
        execute(ws, str(number))

    def synchronise(_):
        with vnb.connect(server, history=tmp_path / "shared.db") as kernel:
            return kernel.sync("shout").added

    with ThreadPoolExecutor(4) as pool:
        assert sum(pool.map(synchronise, range(4))) == 20
    with vnb.History(tmp_path / "shared.db") as history:
        assert history.count() == 20


@pytest.mark.parametrize("options", [{"since": "yesterday"}, {"limit": -1}, {"limit": "5"}])
def test_what_cannot_be_meant_is_refused(ws, options):
    ((name, value),) = options.items()
    with pytest.raises(vnb.HistoryError, match=f"{name}.*{value!r}"):
        ws.sync("shout", **options)
