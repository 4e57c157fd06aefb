"""What becomes of a run whose call meets a fault: the row, and how often the server executed it.

The server is a real one that breaks HTTP as it is told; it executes an external id at most once.
"""

from __future__ import annotations

import itertools
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from counting_server import FAULTS, KEY, CountingServer

import vellum_nb as vnb

CASES = [{"text": "one"}]
LONG = 30  # seconds; waits that end long before


@pytest.fixture
def counting():
    server = CountingServer(latency=0.001).start()
    yield server
    server.close()


@pytest.fixture
def ws(counting, tmp_path):
    with vnb.connect(
        counting.url, api_key=KEY, history=tmp_path / "runs.db", timeout=(5, 0.5)
    ) as workspace:
        yield workspace


def swept(ws, cases=CASES, **options):
    return ws.sweep("count", cases, release_tags=["v1"], concurrency=4, progress=False, **options)


def wait_for(condition):
    until = time.monotonic() + LONG
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.005)


def only(sweep):
    """Return its one run."""
    (run,) = sweep.runs()
    return run


def check(counting, sweep, state, *, executed, posts, lookups):
    """Check the one row, and what the server saw of it."""
    run = only(sweep)
    assert run.state == state
    assert dict(counting.executed) == ({run.external_id: executed} if executed else {})
    assert (counting.posts, counting.lookups) == (posts, lookups)
    if state == "FULFILLED":
        assert run.outputs == {"said": "v1 one"}
        assert run.execution_id == "e-0"
    return run


@pytest.mark.usefixtures("quick_look_ups")
def test_what_may_have_run_and_did_not_is_looked_up_and_sent_again(counting, ws):
    faults = ["503", "500", "504", "reset before"]
    counting.script.extend(faults)
    sweep = swept(ws, [{"text": fault} for fault in faults])
    assert {run.state for run in sweep.runs()} == {"FULFILLED"}
    assert dict(counting.executed) == {run.external_id: 1 for run in sweep.runs()}
    assert counting.posts == 8
    assert counting.lookups >= 16


@pytest.mark.usefixtures("quick_look_ups")
@pytest.mark.parametrize(
    ("fault", "expected", "is_looked_up"),
    [
        ("429", ("FULFILLED", 1, 2), False),  # a busy server did nothing
        ("503 with Retry-After", ("FULFILLED", 1, 2), False),
        ("404", ("FAILED", 0, 1), False),
        ("drip", ("FULFILLED", 1, 1), False),
        ("reset meanwhile", ("FULFILLED", 1, 1), True),  # it ran, its answer was lost
        ("reset after", ("FULFILLED", 1, 1), True),
        ("502 after", ("FULFILLED", 1, 1), True),
        ("truncated", ("FULFILLED", 1, 1), True),
        ("garbage", ("FULFILLED", 1, 1), True),
    ],
)
def test_one_fault_costs_as_many_calls_as_it_must(counting, ws, fault, expected, is_looked_up):
    counting.script.append(fault)
    sweep = swept(ws)
    state, executed, posts = expected
    assert (counting.lookups > 0) == is_looked_up
    check(counting, sweep, state, executed=executed, posts=posts, lookups=counting.lookups)


@pytest.mark.usefixtures("quick_look_ups")
def test_what_was_cut_off_is_looked_up_and_not_sent_again(counting, ws):
    counting.held = True
    cases = [{"text": f"text {number}"} for number in range(12)]
    sweep = swept(ws, cases, background=True)
    wait_for(lambda: counting.posts == 4)
    sweep.cut()
    sweep.wait(LONG)
    assert (sweep.state, ws.history.count(state="STARTED")) == ("stopped", 4)
    counting.held = False
    assert sweep.resume().state == "done"
    assert counting.posts == len(cases)
    assert dict(counting.executed) == {run.external_id: 1 for run in sweep.runs()}


def test_a_call_that_hangs_is_given_up_in_time_and_its_end_adopted(counting, ws):
    counting.script.append("hang")
    check(counting, swept(ws), "FULFILLED", executed=1, posts=1, lookups=1)


def test_an_execution_that_still_runs_is_waited_for(counting, ws):
    counting.held = True
    sweep = swept(ws, background=True)
    wait_for(lambda: counting.lookups >= 2)
    assert only(sweep).state == "STARTED"
    counting.held = False
    sweep.wait(LONG)
    check(counting, sweep, "FULFILLED", executed=1, posts=1, lookups=counting.lookups)


@pytest.mark.parametrize("fault", ["reset before", "reset after"])
def test_a_server_that_can_tell_nothing_leaves_it_failed_with_that_reason(counting, ws, fault):
    counting.can_look_up = False
    counting.script.append(fault)
    ran = int(fault == "reset after")
    sweep = swept(ws)
    run = only(sweep)
    assert (run.state, run.error.code) == ("FAILED", "UNKNOWN_FATE")
    assert "the server cannot look it up" in run.error.message
    assert sum(counting.executed.values()) == ran
    assert counting.posts == 1


def test_a_key_that_is_refused_stops_the_sweep_and_leaves_no_row(counting, ws):
    counting.script.extend(["401"] * 4)
    sweep = swept(ws, [{"text": str(number)} for number in range(8)])
    assert sweep.state == "stopped"
    assert "Check the API key" in sweep.progress().why
    assert [run.state for run in sweep.runs()] == ["FULFILLED"] * counting.executed.total()
    again = swept(ws, [{"text": str(number)} for number in range(8)])
    assert (again.id, again.state) == (sweep.id, "done")
    assert set(counting.executed.values()) == {1}
    assert len(counting.executed) == 8


def test_a_refused_connection_is_tried_again_until_somebody_listens(counting, ws):
    """The server goes while three calls wait, and comes back when it was missed."""
    cases = [{"text": str(number)} for number in range(3)]
    counting.script.extend(["429 for 0.3 s"] * 3)
    sweep = swept(ws, cases, background=True)
    wait_for(lambda: counting.posts == 3)
    counting.hang_up()
    time.sleep(1.0)  # they are refused once at least
    counting.listen(counting.port)
    sweep.wait(LONG)
    assert sweep.state == "done"
    assert {run.state for run in sweep.runs()} == {"FULFILLED"}
    assert dict(counting.executed) == {run.external_id: 1 for run in sweep.runs()}


def test_when_one_is_told_to_wait_all_wait(counting, ws):
    """A new call starts when the time is up that the server named, and none before."""
    cases = [{"text": str(number)} for number in range(40)]
    counting.script.extend(["", "", "429 for 1.2 s"])
    sweep = swept(ws, cases)
    began = sorted(run.timestamp.timestamp() for run in sweep.runs())
    longest = max(after - before for before, after in itertools.pairwise(began))
    assert longest >= 1.0
    assert counting.executed.total() == len(counting.executed) == 40


@pytest.mark.parametrize("seconds", ["86400", "inf"])
def test_a_server_that_asks_to_come_back_tomorrow_ends_the_sweep_for_now(counting, ws, seconds):
    counting.script.append(f"429 for {seconds} s")
    sweep = swept(ws, background=True)
    sweep.wait(LONG)
    assert sweep.state == "stopped"
    assert "HTTP 429: the server asks to wait" in sweep.progress().why
    assert sweep.runs() == []
    assert sweep.resume().state == "done"
    check(counting, sweep, "FULFILLED", executed=1, posts=2, lookups=0)


@pytest.mark.usefixtures("quick_look_ups")
@pytest.mark.parametrize("own_executor", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_fails_each_run_is_executed_once(counting, ws, fault, own_executor):
    counting.script.extend(["", fault, fault, "", fault, *[""] * 200])
    cases = [{"text": f"text {number}"} for number in range(24)]
    with ThreadPoolExecutor(4) as executor:
        sweep = swept(ws, cases, executor=executor if own_executor else None)
    assert sweep.state == "done"
    assert {run.inputs["text"]: run.outputs["said"] for run in sweep.runs()} == {
        case["text"]: f"v1 {case['text']}" for case in cases
    }
    assert dict(counting.executed) == {run.external_id: 1 for run in sweep.runs()}
