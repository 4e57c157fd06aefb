"""Several objects, workspaces and processes of one sweep: they reach its driver, or say who has it.

They hide no answer.
"""

import time

import pytest
from counting_server import KEY
from runs_kit import progress_of
from sweep_processes import LONG, wait_until

import vellum_nb as vnb
from vellum_nb.errors import HistoryError, InputError
from vellum_nb.history import Sweeps
from vellum_nb.sweep.sweep import control_of

CASES = [{"text": f"text {number}"} for number in range(12)]
EXPECTING = [case | {"expected.said": f"v2 {case['text']}"} for case in CASES]
BOTH = {"release_tags": ["v1", "v2"], "concurrency": 2, "progress": False}


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs.db"


@pytest.fixture
def connected(counting, path, quick_look_ups):
    return lambda: vnb.connect(counting.url, api_key=KEY, history=path, timeout=(10, 1))


@pytest.fixture
def ws(connected):
    with connected() as ws:
        yield ws


def swept(ws, cases=CASES, **options):
    return ws.sweep("count", cases, release_tags=["v1"], concurrency=1, progress=False, **options)


@pytest.fixture
def running(ws, counting):
    """Return a running sweep, and an object of it that was opened and printed before it ran."""
    sweep = swept(ws, limits={"max_calls": 2})
    opened = ws.open_sweep(sweep.id)
    assert "stopped" in repr(opened)
    counting.held = True
    sweep.resume(limits={"max_calls": 10}, background=True)
    wait_until(lambda: counting.posts == 3)
    yield sweep, opened
    counting.held = False


def test_object_opened_before_a_resume_shows_the_running_sweep(running):
    _, opened = running
    assert (opened.state, progress_of(opened).limit) == ("running", 1)


def test_object_opened_before_a_resume_stops_the_running_sweep(running, counting):
    sweep, opened = running
    opened.stop()
    counting.held = False
    assert sweep.wait(LONG).state == "stopped"
    assert counting.posts == 3


def test_limits_of_an_opened_sweep_reach_the_driver_of_an_earlier_object(running, ws, counting):
    sweep, opened = running
    assert ws.open_sweep(sweep.id, limits={"max_calls": 4}).state == "running"
    counting.held = False
    assert sweep.wait(LONG).state == "stopped"
    assert opened.state == "stopped"
    assert counting.posts == 4


def test_object_opened_before_a_resume_has_its_result_and_limits_afterwards(running, counting):
    sweep, opened = running
    counting.held = False
    sweep.wait(LONG)
    assert progress_of(opened).ended == 10
    assert opened.resume().state == "stopped"  # with the limit of the other object
    assert counting.posts == 10


def test_listener_of_an_idle_object_follows_the_running_sweep(running, counting):
    sweep, opened = running
    states = []
    control_of(opened).subscribe(lambda: states.append(opened.state))
    counting.held = False
    sweep.wait(LONG)
    assert "running" in states


@pytest.fixture
def repaired(ws, connected, counting):
    """Return a sweep whose failed runs were repeated twice by another workspace."""
    counting.script.extend(["answer shape"] * 8)
    sweep = swept(ws, CASES[:4])
    assert progress_of(sweep).failed == 4
    with connected() as other:
        opened = other.open_sweep(sweep.id)
        for _ in range(2):
            opened.retry_failed()
        assert progress_of(opened).failed == 0
    return sweep


def as_stale(sweep, record):
    """Give a sweep the record that it had before another process changed it."""
    control = control_of(sweep)
    control.record = record
    return sweep


def test_stale_object_does_not_set_back_the_round(ws, counting):
    counting.script.extend(["answer shape"] * 8)
    sweep = swept(ws, CASES[:4])
    stale = control_of(sweep).record
    sweep.retry_failed()
    sweep.retry_failed()
    posts = counting.posts
    assert progress_of(as_stale(sweep, stale).retry_failed()).failed == 0
    assert Sweeps(ws.history).every(sweep.id)[0].round == 2
    assert {run.state for run in sweep.runs()} == {"FULFILLED"}
    assert counting.posts == posts


def test_stale_object_does_not_set_back_limits(ws):
    sweep = swept(ws, limits={"max_calls": 2})
    stale, options = control_of(sweep).record, control_of(sweep).options
    sweep.resume(limits={"max_calls": 4})
    control_of(sweep).options = options
    as_stale(sweep, stale).resume(limits={"stop_after_failures": 9})
    options = Sweeps(ws.history).every(sweep.id)[0].options
    assert options == {"concurrency": 1, "max_calls": 4, "stop_after_failures": 9}


def test_object_of_another_workspace_shows_runs_that_were_repaired(repaired):
    assert progress_of(repaired).failed == 0
    assert {run.state for run in repaired.runs()} == {"FULFILLED"}


def test_time_limit_of_a_running_sweep_counts_earlier_sessions(ws, counting):
    sweep = swept(ws, CASES[:3], limits={"max_calls": 1})
    spent = Sweeps(ws.history).seconds(sweep.id)
    counting.held = True
    sweep.resume(limits={"max_calls": None}, background=True)
    wait_until(lambda: counting.posts == 2)
    assert control_of(sweep).driver._seconds == spent > 0
    counting.held = False
    sweep.wait(LONG)


@pytest.fixture
def driven_elsewhere(kernels, ws, counting, path):
    """Return a sweep that another process drives, opened here, and that process."""
    counting.held = True
    kernel = kernels.start(counting.url, path, CASES, options={"concurrency": 1})
    wait_until(lambda: counting.posts == 1)
    yield ws.open_sweep(ws.sweeps()["sweep_id"][0]), kernel
    counting.held = False
    assert kernel.outcome()["state"] == "done"


def test_sweep_that_another_process_drives_is_controlled_by_that_process(driven_elsewhere, ws):
    sweep, kernel = driven_elsewhere
    for method in (sweep.stop, sweep.pause, sweep.wait):
        with pytest.raises(HistoryError, match=rf"is running in process {kernel.pid} on .*stop it"):
            method()
    with pytest.raises(HistoryError, match=rf"is running in process {kernel.pid} on "):
        ws.open_sweep(sweep.id, limits={"max_calls": 5})
    assert Sweeps(ws.history).every(sweep.id)[0].options == {"concurrency": 1}


def test_sweep_that_another_process_completed_is_done(driven_elsewhere, counting):
    sweep, kernel = driven_elsewhere
    assert (sweep.state, progress_of(sweep).ended) == ("running", 0)
    counting.held = False
    assert kernel.outcome()["state"] == "done"
    assert (sweep.state, sweep.wait(LONG).state, progress_of(sweep).ended) == ("done", "done", 12)


def constant(run):
    return 0.0


@pytest.mark.parametrize(
    ("rule", "name"),
    [(None, "stop_when"), (vnb.StopWhen(metric="exact"), "metric of stop_when")],
)
def test_running_sweep_refuses_another_stop_rule(ws, counting, rule, name):
    counting.held = True
    options = BOTH | {"background": True}
    sweep = ws.sweep("count", EXPECTING, stop_when=vnb.StopWhen(metric=constant), **options)
    with pytest.raises(InputError, match=f"running with another {name}; nothing was changed"):
        ws.sweep("count", EXPECTING, stop_when=rule, **options)
    counting.held = False
    sweep.stop()
    sweep.wait(LONG)


def test_cell_with_a_metric_is_executed_again_while_its_sweep_runs(ws, counting):
    counting.held = True
    first, second = (
        ws.sweep(
            "count",
            EXPECTING,
            stop_when=vnb.StopWhen(metric=lambda run: float(len(run.id))),
            background=True,
            **BOTH,
        )
        for _ in range(2)
    )
    assert second is first
    counting.held = False
    first.stop()
    first.wait(LONG)


def test_restart_of_a_running_sweep_is_refused(running, ws, counting):
    sweep, _ = running
    with pytest.raises(InputError, match="would pay for its runs again.*wait until it ends"):
        swept(ws, existing="restart", background=True)
    assert ws.sweeps()["sweep_id"].tolist() == [sweep.id]
    assert counting.posts == 3


def test_closed_workspace_completes_calls_under_way(connected, counting):
    counting.held = True
    with connected() as ws:
        sweep_id = swept(ws, background=True).id
        wait_until(lambda: counting.posts == 1)
        counting.held = False
    with connected() as ws:
        assert ws.history.count(state="STARTED") == 0
        assert ws.open_sweep(sweep_id).resume().state == "done"
    assert set(counting.executed.values()) == {1}


def test_closed_workspace_leaves_long_calls_in_doubt(connected, counting, monkeypatch):
    monkeypatch.setattr("vellum_nb.sweep.sweep._CLOSE_GRACE_S", 0.2)
    counting.held = True
    began = time.monotonic()
    with connected() as ws:
        sweep_id = swept(ws, background=True).id
        wait_until(lambda: counting.posts == 1)
    assert time.monotonic() - began < LONG
    counting.held = False
    with connected() as ws:
        assert ws.sweeps()["why"].tolist() == ["its workspace was closed"]
        assert ws.open_sweep(sweep_id).resume().state == "done"
    assert set(counting.executed.values()) == {1}


def test_closed_workspace_leaves_the_sweeps_of_other_workspaces(connected, counting):
    counting.held = True
    with connected() as ws:
        sweep = swept(ws, background=True)
        wait_until(lambda: counting.posts == 1)
        connected().close()
        assert sweep.state == "running"
        counting.held = False
        assert sweep.wait(LONG).state == "done"


def test_metric_that_fails_on_the_first_cases_stops_the_sweep(ws, counting):
    rule = vnb.StopWhen(metric=lambda run: run.outputs["missing"])
    sweep = ws.sweep("count", EXPECTING, stop_when=rule, **BOTH)
    assert "stop_when cannot decide: the metric metric failed on 5 cases: KeyError" in repr(sweep)
    posts = counting.posts
    assert posts < 2 * len(CASES)
    assert ws.sweep("count", EXPECTING, stop_when=rule, **BOTH).state == "stopped"
    assert counting.posts == posts  # all runs are evaluated again before any is sent


def test_metric_that_fails_sometimes_does_not_stop_the_sweep_but_is_reported(ws):
    def sometimes(run):
        if run.inputs["text"] > "text 1":
            raise ConnectionError("away")
        return 0.0

    rule = vnb.StopWhen(metric=sometimes, seed=1)
    sweep = ws.sweep("count", EXPECTING, stop_when=rule, **BOTH)
    reason = progress_of(sweep).reason
    assert reason.startswith("can no longer be decided by sometimes")
    assert "the metric sometimes failed on" in reason
    assert "ConnectionError: away" in reason


def test_notes_on_limits_are_those_of_the_last_limits(ws):
    sweep = swept(ws, limits={"max_calls": 2})
    assert sweep.notes == ("max_calls=2: it will stop there",)
    sweep.resume(limits={"max_calls": 20})
    assert sweep.notes == ("max_calls=20",)


@pytest.mark.parametrize("mock", [{"node": "x"}, {"node_id": "x"}, "x", {"then_outputs": {}}])
def test_malformed_mocks_are_refused_before_anything_is_sent(ws, counting, mock):
    with pytest.raises(InputError, match=r"mocks.*is not a list of node output mocks, such as"):
        swept(ws, [{"text": "a", "mocks": [mock]}])
    assert counting.posts == 0


def test_id_of_a_sweep_that_is_no_text_is_refused(ws):
    with pytest.raises(InputError, match="sweep_id must be a text, not 5"):
        ws.open_sweep(5)


def test_missing_table_is_reported_without_a_server():
    with (
        vnb.connect("http://127.0.0.1:9", api_key=KEY, history=":memory:") as ws,
        pytest.raises(vnb.VellumNBError, match=r"no-cases\.csv"),
    ):
        swept(ws, "no-cases.csv")
