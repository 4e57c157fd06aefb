"""Calls that meet faults, and answers that never came: the row, and how often it was executed.

The server is a real one that breaks HTTP on purpose; it executes an external id at most once, loses
answers and lists its executions late. Times are scaled down.
"""

import _thread
import itertools
import multiprocessing
import os
import threading
import time
from collections import deque
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import pytest
from counting_server import FAULTS, KEY, READ_FAULTS, CountingServer, check_all_once
from ports_kit import free_port
from runs_kit import progress_of

import vellum_nb as vnb
from vellum_nb.client.client import client_settings
from vellum_nb.clock import Deadline
from vellum_nb.models import RunError
from vellum_nb.sweep.retry_policy import PreparedRun, Retry
from vellum_nb.sweep.sweep import control_of
from vellum_nb.workspace.sweeps import SweepAttempt

SCALE = float(os.environ.get("SWEEP_LAG", "0.4"))  # seconds; 40 in the real case
CASES = [{"text": f"text {number}"} for number in range(20)]
COSTLY = {"limits": {"max_cost_usd": 1.0}}
ONE = CASES[:1]
LONG = 120  # seconds; waits that end long before
NEW = {"id": "new", "external_id": "new", "state": "STARTED", "execution_id": None}
quick_look_ups = pytest.mark.usefixtures("quick_look_ups")


@pytest.fixture
def server():
    made = CountingServer(seed=3, latency=0.001).start(free_port())
    yield made
    made.held = False
    made.close()


@pytest.fixture
def connected(server, tmp_path):
    """Return what opens a workspace with so many seconds to read an answer."""
    return lambda read: vnb.connect(
        server.url, api_key=KEY, history=tmp_path / "runs.db", timeout=(5, read)
    )


@pytest.fixture
def ws(connected):
    with connected(0.5) as workspace:
        yield workspace


@pytest.fixture
def lossy(server, connected):
    """Return a workspace on a server that loses half of its answers, and lists them late."""
    server.faults, server.lag = {"reset after": 0.5}, SCALE
    with connected(3 * SCALE) as workspace:
        yield workspace


def swept(ws, cases, **options):
    return ws.sweep("count", cases, release_tags=["v1"], progress=False, **options)


@quick_look_ups
def test_what_may_have_run_and_did_not_is_looked_up_and_sent_again(server, ws):
    server.script.extend(["503", "500", "504", "reset before"])
    sweep = swept(ws, CASES[:4])
    check_all_once(server, sweep, CASES[:4], posts=8)
    assert server.lookups >= 4  # one per run; how many more depends on the load
    assert (progress_of(sweep).adopted, progress_of(sweep).resent) == (0, 4)


@quick_look_ups
@pytest.mark.parametrize(
    ("fault", "posts", "is_looked_up"),
    [
        ("429", 2, False),  # a busy server did nothing
        ("503 with Retry-After", 2, False),
        ("drip", 1, False),
        ("reset while running", 1, True),  # it ran, its answer was lost
        ("reset after", 1, True),
        ("502 after", 1, True),
        ("truncated", 1, True),
        ("garbage", 1, True),
        ("answer another", 1, True),  # another's external id
        ("hang", 1, True),
    ],
)
def test_one_fault_costs_as_many_calls_as_it_must(server, ws, fault, posts, is_looked_up):
    server.script.append(fault)
    check_all_once(server, swept(ws, ONE), ONE, posts)
    assert (server.lookups > 0) == is_looked_up


@pytest.mark.parametrize(
    ("fault", "code", "message"),
    [
        ("answer digits", "BAD_RESPONSE", "It begins with '{"),
        ("answer levels", "BAD_RESPONSE", "It begins with '{"),
        ("answer shape", "BAD_RESPONSE", "It begins with '{"),
    ],
)
def test_an_answer_that_cannot_be_used_fails_at_once(server, ws, fault, code, message):
    server.script.append(fault)
    (run,) = swept(ws, ONE).runs()
    assert (run.state, run.error.code, server.posts, server.lookups) == ("FAILED", code, 1, 0)
    assert message in run.error.message


@quick_look_ups
@pytest.mark.parametrize("fault", ["404", "page 404", "page 400"])
def test_a_refusal_that_may_be_of_a_proxy_fails_after_look_ups_and_stays_in_doubt(
    server, ws, fault
):
    server.script.append(fault)
    (run,) = swept(ws, ONE).runs()
    assert (run.state, run.error.code, run.doubt) == ("FAILED", f"HTTP_{fault[-3:]}", "SENT")
    assert server.posts == 1
    assert server.lookups > 1


@quick_look_ups
@pytest.mark.parametrize("way", ["resume", "retry_failed"])
def test_a_failed_run_that_may_have_been_executed_is_not_paid_again(server, ws, way):
    server.script.append("executed, then 404")
    server.lag = 1e9
    sweep = swept(ws, ONE)
    assert [run.state for run in sweep.runs()] == ["FAILED"]
    server.lag = 0.0
    getattr(sweep, way)()
    check_all_once(server, sweep, ONE, posts=1)


def test_a_login_page_stops_the_sweep_and_leaves_the_run_in_doubt(server, ws):
    server.script.append("executed, then page 401")
    sweep = swept(ws, ONE)
    assert (sweep.state, [run.doubt for run in sweep.runs()]) == ("stopped", ["SENT"])
    check_all_once(server, sweep.resume(), ONE, posts=1)


@quick_look_ups
def test_what_was_cut_off_is_looked_up_and_not_sent_again(server, ws, until):
    server.held = True
    sweep = swept(ws, CASES, concurrency=4, background=True)
    until(lambda: server.posts == 4)
    sweep.stop(now=True)
    sweep.wait(LONG)
    assert (sweep.state, ws.history.count(state="CANCELLED")) == ("stopped", 4)
    server.held = False
    check_all_once(server, sweep.resume(), CASES, posts=len(CASES))


def test_an_execution_that_still_runs_is_waited_for(server, ws, until):
    server.held = True
    sweep = swept(ws, ONE, background=True)
    until(lambda: server.lookups >= 2)
    assert [run.state for run in sweep.runs()] == ["STARTED"]
    server.held = False
    check_all_once(server, sweep.wait(LONG), ONE, posts=1)


@pytest.mark.parametrize("fault", ["reset before", "reset after"])
def test_where_nothing_can_be_looked_up_a_lost_answer_is_failed(server, ws, fault):
    server.can_look_up = False
    server.script.append(fault)
    (run,) = swept(ws, ONE).runs()
    assert (run.state, run.error.code) == ("FAILED", "UNKNOWN_FATE")
    assert "the server cannot look it up" in run.error.message
    assert (server.executed.total(), server.posts) == (int(fault == "reset after"), 1)


def test_an_attempt_that_begins_after_its_deadline_sends_nothing(server, ws):
    run = ws.history.begin(swept(ws, ONE).runs()[0].model_copy(update=NEW))
    attempt = SweepAttempt(client_settings(ws.client, max_connections=1, max_tries=1), "d-1")
    prepared = PreparedRun(run, (), send_by=Deadline.after(-0.1))
    outcome = attempt(prepared)
    assert (type(outcome), outcome.prepared.tries, server.posts) == (Retry, 0, 1)


def test_a_key_that_is_refused_stops_the_sweep_and_leaves_no_row(server, connected):
    server.script.extend(["401"] * 4)
    with connected(LONG) as ws:
        sweep = swept(ws, CASES, concurrency=4)
        assert sweep.state == "stopped"
        assert "Check the API key" in progress_of(sweep).why
        assert [run.state for run in sweep.runs()] == ["FULFILLED"] * server.executed.total()
        again = swept(ws, CASES)
        assert again.id == sweep.id
        check_all_once(server, again, CASES)


def test_a_refused_connection_is_tried_again_until_somebody_listens(server, ws, until):
    """The server goes while three calls wait, and comes back when it was missed."""
    server.script.extend(["429 for 0.3 s"] * 3)
    sweep = swept(ws, CASES[:3], background=True)
    until(lambda: server.posts == 3)
    server.hang_up()
    time.sleep(1.0)  # they are refused once at least
    server.listen(server.port)
    check_all_once(server, sweep.wait(LONG), CASES[:3])


def test_when_one_has_to_wait_all_wait(server, ws):
    """A new call starts when the longest time is up that the server named, and none before."""
    cases = [{"text": str(number)} for number in range(100)]
    server.script.extend(["", "", "429 for 1.2 s", "429 for 0.1 s"])
    sweep = swept(ws, cases)
    check_all_once(server, sweep, cases)
    began = sorted(run.timestamp.timestamp() for run in sweep.runs())
    longest = max(after - before for before, after in itertools.pairwise(began))
    assert longest >= 1.0
    assert progress_of(sweep).note.startswith("lowered after HTTP 429 at ")


@pytest.mark.parametrize("seconds", ["86400", "inf"])
def test_a_server_that_asks_to_come_back_tomorrow_ends_the_sweep_for_now(server, ws, seconds):
    server.script.append(f"429 for {seconds} s")
    sweep = swept(ws, ONE)
    assert (sweep.state, sweep.runs()) == ("stopped", [])
    assert "HTTP 429: wait" in progress_of(sweep).why
    check_all_once(server, sweep.resume(), ONE, posts=2)


@quick_look_ups
@pytest.mark.parametrize("own_executor", [False, True])
@pytest.mark.parametrize("fault", FAULTS)
def test_whatever_fails_each_run_is_executed_once(server, ws, fault, own_executor):
    server.script.extend(["", fault, fault, "", fault, *[""] * 200])
    server.read_script.extend([*READ_FAULTS] * 2)
    with ThreadPoolExecutor(4) as pool:
        executor = pool if own_executor else None
        check_all_once(server, swept(ws, CASES, concurrency=4, executor=executor), CASES)


@pytest.mark.slow
@quick_look_ups
def test_processes_that_are_killed_in_mid_sweep_lose_nothing_and_double_nothing(server, ws, until):
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(2, mp_context=spawn) as executor:
        server.script.extend(["", "", ""])
        sweep = swept(ws, CASES, concurrency=2, executor=executor, background=True)
        until(lambda: server.posts >= 3)
        server.held = True
        for process in multiprocessing.active_children():
            process.kill()
        with pytest.raises(BrokenProcessPool):
            sweep.wait()
    assert 0 < progress_of(sweep).ended < len(CASES)
    server.held = False
    with ProcessPoolExecutor(2, mp_context=spawn) as executor:
        again = swept(ws, CASES, executor=executor, concurrency=2)
    assert again.id == sweep.id
    check_all_once(server, again, CASES, posts=len(CASES))


@pytest.mark.parametrize("refuses", [True, False])
def test_answers_that_are_lost_and_listed_late_are_all_taken_and_paid_once(server, lossy, refuses):
    server.refuses = refuses
    check_all_once(server, swept(lossy, CASES), CASES)
    assert server.lookups > 0


MANY = [{"text": f"text {number}"} for number in range(40)]


@pytest.mark.slow
@pytest.mark.parametrize("lag", [0.0, 3.0])
def test_a_server_that_executes_ids_again_and_lists_late_executes_each_run_once(
    server, connected, lag
):
    server.refuses, server.lag = False, lag
    server.script.extend(["", *["reset before", "reset after", ""] * 5])
    with connected(120) as ws:
        check_all_once(server, swept(ws, MANY, concurrency=8), MANY)


@quick_look_ups
@pytest.mark.usefixtures("lossy")
def test_a_refused_external_id_is_looked_up_until_it_is_listed(server, connected, until):
    """The server lists runs only after one is sent again, and refused.

    No call is answered before, so that its delay cannot be measured.
    """
    server.lag = 1e9
    server.script.extend(["reset after"] * len(CASES))
    with connected(3 * SCALE) as ws:
        sweep = swept(ws, CASES, background=True)
        until(lambda: server.posts > len(CASES))
        server.lag = SCALE
        sweep.wait()
        check_all_once(server, sweep, CASES, resends=True)


@quick_look_ups
def test_without_resending_a_run_is_left_in_doubt_and_resume_takes_it(server, connected):
    server.lag, server.script = 1e9, deque(["reset after", "", "reset before"])
    with connected(0.5) as ws:
        sweep = swept(ws, CASES[:3], concurrency=1, resend_in_doubt=False)
        assert (sweep.state, server.posts) == ("stopped", 3)
        assert "2 runs in doubt" in progress_of(sweep).why
        assert ws.history.count(state="STARTED") == 2
        server.lag = 0.0
        assert progress_of(ws.open_sweep(sweep.id).resume()).done == 2
        assert server.posts == 3
        again = ws.open_sweep(sweep.id, resend_in_doubt=True).resume()
        check_all_once(server, again, CASES[:3], posts=4)


@pytest.fixture
def failed(ws):
    """Return a sweep of earlier days: executed, and given up as failed in different ways."""
    sweep = swept(ws, CASES[:5])
    runs = sweep.runs()
    used = f"external_id {runs[0].external_id} already exists"
    errors = [("HTTP_400", used), ("UNKNOWN_FATE", "no"), ("TIMEOUT", "no"), ("CONNECTION", "")]
    lost = {"state": "FAILED", "outputs": {}, "output_types": {}, "execution_id": None}
    ws.history.delete(runs[:4])
    ws.history.vacuum()
    for run, (code, message) in zip(runs, errors, strict=False):
        error = RunError(code=code, message=message)
        doubt = "EXECUTED" if code == "HTTP_400" else "SENT"
        ws.history.begin(run.model_copy(update=lost | {"state": "STARTED"}))
        ws.history.finish(run.model_copy(update=lost | {"error": error, "doubt": doubt}))
    assert ws.history.count(state="FAILED") == 4
    return ws.open_sweep(sweep.id)


@pytest.mark.parametrize("way", ["resume", "retry_failed", "same call", "reuse", "sync"])
def test_failed_runs_that_were_executed_are_looked_up_by_every_way_on(server, ws, failed, way):
    if way in {"resume", "retry_failed"}:
        getattr(failed, way)()
    elif way == "sync":
        assert ws.sync("count").completed == 4
        failed = ws.open_sweep(failed.id)
    else:
        options = {"existing": "reuse"} if way == "reuse" else {}
        cases = CASES[4::-1] if way == "reuse" else CASES[:5]  # another plan
        failed = swept(ws, cases, **options)
    check_all_once(server, failed, CASES[:5], posts=5)
    assert ws.history.count() == 5


@quick_look_ups
def test_what_is_not_listed_is_sent_again_only_when_asked_and_under_its_old_id(
    server, failed, connected
):
    lost = {run.external_id: run.error.code for run in failed.runs() if run.state == "FAILED"}
    server.kept.clear()
    server.executed.clear()
    with connected(0.5) as later:
        again = later.open_sweep(failed.id)
        assert progress_of(again.resume()).failed == 4
        assert not server.executed
        assert progress_of(again.retry_failed()).failed == 1
    # The one whose external id was refused is known to have been executed: it is not sent again.
    assert dict(server.executed) == {run: 1 for run in lost if lost[run] != "HTTP_400"}


@pytest.mark.parametrize("fault", ["503 with Retry-After", "429"])
def test_a_single_run_that_a_busy_answer_hid_is_found(server, ws, fault):
    server.lag, server.script = 0.2, deque([f"executed, then {fault}"])
    run = ws.run("count", {"text": "one"}, release_tag="v1")
    assert (run.state, run.outputs) == ("FULFILLED", {"said": "v1 one"})
    assert dict(server.executed) == {run.external_id: 1}


@pytest.mark.parametrize("is_interrupted", [False, True])
def test_a_single_run_that_is_not_listed_stays_in_doubt_and_sync_completes_it(
    server, ws, is_interrupted, until
):
    server.lag, server.script = 1e9, deque(["executed, then 429"])

    def interrupt():
        until(lambda: server.lookups >= 2)
        _thread.interrupt_main()

    if is_interrupted:
        threading.Thread(target=interrupt).start()
    with pytest.raises(KeyboardInterrupt if is_interrupted else vnb.BadRequestError) as raised:
        ws.run("count", {"text": "one"}, release_tag="v1")
    assert is_interrupted or "ws.sync('count')" in raised.value.__notes__[0]
    assert [run.doubt for run in ws.history.runs()] == ["EXECUTED"]
    assert ws.sync("count").completed == 1
    assert [run.outputs for run in ws.history.runs()] == [{"said": "v1 one"}]


def test_a_server_that_became_another_one_ends_the_sweep_before_anything_is_sent_again(
    server, ws, until
):
    server.lag, server.script = 1e9, deque(["reset after"] * 2)
    sweep = swept(ws, CASES[:4], concurrency=2, background=True)
    until(lambda: server.lookups >= 3)
    server.kept.clear()
    server.workspace = "w-2"
    sweep.wait(LONG)
    assert (sweep.state, server.posts) == ("stopped", 4)
    assert "the server is another one" in progress_of(sweep).why
    assert ws.history.count(state="STARTED") == 2
    with pytest.raises(vnb.VellumNBError, match="workspace w-1, now w-2"):
        ws.open_sweep(sweep.id).resume()
    assert server.posts == 4
    assert swept(ws, CASES[:4]).id != sweep.id  # there it is another sweep


def test_the_same_sweep_that_has_ended_is_returned_and_says_so(server, ws, capsys):
    first = swept(ws, CASES)
    assert swept(ws, CASES).id == first.id
    assert "this sweep ended at " in capsys.readouterr().err
    assert server.posts == len(CASES)
    assert swept(ws, CASES, existing="restart").id != first.id
    assert server.posts == 2 * len(CASES)


def test_a_sweep_under_way_takes_other_limits(server, connected, until):
    server.held = True
    with connected(LONG) as ws:
        first = swept(ws, CASES, concurrency=2, background=True)
        until(lambda: server.posts >= 2)
        assert swept(ws, CASES, limits={"max_calls": 3}, background=True) is first
        assert ws.open_sweep(first.id) is first
        assert ws.sweeps()["state"].tolist() == ["running"]
        for options, name in (({"concurrency": 5}, "concurrency"), (COSTLY, "max_cost_usd")):
            with pytest.raises(vnb.VellumNBError, match=f"another .*{name}"):
                swept(ws, CASES, **options, background=True)
        server.held = False
        assert progress_of(first.wait(LONG)).why == "max_calls=3 is reached"
        assert server.executed.total() == 3
        assert control_of(ws.open_sweep(first.id)).record.options["max_calls"] == 3
