"""Runs whose answer was lost: settled soon, by the database's clock, and never executed twice.

The server executes an external id again, so that each run that is sent twice is counted twice.
"""

import threading
import time
from collections import Counter
from datetime import UTC, datetime

import pytest
from counting_server import KEY, check_all_once
from sweep_processes import LONG, wait_until

import vellum_nb as vnb
from vellum_nb.history.backends import open_backend

CASES = [{"text": f"text {number}"} for number in range(12)]
quick_look_ups = pytest.mark.usefixtures("quick_look_ups")
on_file = pytest.mark.parametrize("place", ["sqlite"], indirect=True)
FOUR = {"options": {"concurrency": 4}}


@pytest.fixture
def connected(counting):
    """Return what opens a workspace on a history, with so many seconds to read an answer."""
    return lambda history, read=LONG: vnb.connect(
        counting.url, api_key=KEY, history=history, timeout=(10, read)
    )


def swept(ws, cases=CASES, **options):
    return ws.sweep("count", cases, release_tags=["v1"], progress=False, **options)


def check_history(counting, place, cases):
    """Check that a history has each planned run, and that each was executed once."""
    with vnb.History(place) as history:
        runs = history.runs()
    assert [run.state for run in runs] == ["FULFILLED"] * len(cases)
    assert dict(counting.executed) == {run.external_id: 1 for run in runs}


@pytest.mark.slow
def test_time_in_doubt_accumulates_over_kernels_that_live_shorter(kernels, counting, place):
    """A kernel lives for less than 2 s, and a run in doubt is sent again after 3 s.

    Each one lives longer than the one before: on a busy machine, a short life achieves nothing,
    and a kernel is killed late.
    """
    counting.script.extend(["reset before"] * 4)
    lives = 0
    while True:
        kernel = kernels.start(counting.url, place, CASES[:4], **FOUR, read=3)
        lives += 1
        if ended_within(kernel, min(2.0, 0.6 + 0.1 * lives)):
            break
        kernel.kill()
        assert lives < 40, "runs in doubt were not sent again"
    assert kernel.outcome()["state"] == "done"
    assert lives > 1
    check_history(counting, place, CASES[:4])


def ended_within(kernel, seconds):
    """Whether a kernel ends within so many seconds of its start to sweep."""
    wait_until(lambda: kernel.is_ready)
    end = time.monotonic() + seconds
    while time.monotonic() < end and not kernel.outcome_exists:
        time.sleep(0.01)
    return kernel.outcome_exists


def test_resume_hours_later_does_not_wait_for_the_read_timeout_again(connected, counting, place):
    counting.held = True
    with connected(place) as ws:
        sweep = swept(ws, CASES[:4], concurrency=4, background=True)
        wait_until(lambda: counting.posts == 4)
        sweep.stop(now=True)
        sweep.wait(LONG)
        states = {(run.state, run.doubt, run.error.code) for run in sweep.runs()}
        assert states == {("CANCELLED", "SENT", "CANCELLED")}
        counting.held = False
        counting.kept.clear()  # they came to nothing
        counting.executed.clear()
        store = open_backend(place)
        hours = "UPDATE runs SET doubt_since = doubt_since - 7200000000 WHERE doubt_since > 0"
        assert store.write(lambda transaction: transaction.execute(hours)) == 4
        store.close()
        began = time.monotonic()
        assert sweep.resume(progress=False).state == "done"
        assert time.monotonic() - began < LONG  # the read timeout
    check_history(counting, place, CASES[:4])


@pytest.mark.slow
def test_wall_clock_that_is_ahead_does_not_hasten_a_resend(kernels, counting, place):
    counting.lag = 3.0
    counting.script.extend(["reset after"] * 4)
    first = kernels.start(counting.url, place, CASES[:4], **FOUR, read=8)
    wait_until(lambda: counting.lookups >= 4)
    first.kill()
    second = kernels.start(counting.url, place, CASES[:4], **FOUR, read=8, ahead_s=600)
    assert second.outcome()["state"] == "done"
    check_history(counting, place, CASES[:4])


@pytest.mark.slow
def test_wall_clock_that_is_behind_does_not_delay_a_resend(kernels, counting, place):
    counting.script.extend(["reset before"] * 4)
    first = kernels.start(counting.url, place, CASES[:4], **FOUR, read=3, ahead_s=600)
    wait_until(lambda: counting.lookups >= 4)
    first.kill()
    second = kernels.start(counting.url, place, CASES[:4], **FOUR, read=3)
    assert second.outcome(10)["state"] == "done"
    check_history(counting, place, CASES[:4])


class Workflows:
    """Two releases of the same workflow; the second waits until it may end."""

    def __init__(self):
        self.entered, self.calls, self.may_end = threading.Semaphore(0), 0, threading.Event()

    def quick(self, text: str) -> str:
        return text.upper()

    def slow(self, text: str) -> str:
        self.calls += 1
        self.entered.release()
        self.may_end.wait(LONG)
        return text.upper()


@pytest.fixture
def workflows():
    made = Workflows()
    yield made
    made.may_end.set()


@pytest.fixture
def local(workflows):
    with vnb.LocalServer() as server:
        server.deploy(workflows.quick, name="shout", release_tags=["v1"])
        server.deploy(workflows.slow, name="shout", release_tags=["v2"])
        yield server
        workflows.may_end.set()


def check_no_release_is_worse(local, place, cases):
    with vnb.connect(local, history=place) as ws:
        (sweep_id,) = ws.sweeps()["sweep_id"]
        sweep = ws.open_sweep(sweep_id)
        assert [run.state for run in sweep.runs()] == ["FULFILLED"] * 2 * len(cases)
        found = sweep.compare(metrics=vnb.metrics.exact("output"), progress=False)
        assert (found.result("v2").worse, found.result("v2").missing) == (0, 0)


@pytest.mark.slow
@on_file
def test_runs_that_a_killed_kernel_cut_off_are_made_again(kernels, local, workflows, place):
    cases = [case | {"expected.output": case["text"].upper()} for case in CASES[:6]]
    order = {"name": "shout", "tags": ["v1", "v2"], "key": local.api_key, **FOUR}
    for _ in range(3):
        kernel = kernels.start(local.url, place, cases, **order)
        for _ in range(4):
            assert workflows.entered.acquire(timeout=LONG)
        kernel.kill()
    workflows.may_end.set()
    assert kernels.start(local.url, place, cases, **order).outcome()["state"] == "done"
    check_no_release_is_worse(local, place, cases)


@on_file
def test_runs_that_were_cut_off_by_hand_are_made_again(local, workflows, place):
    cases = [case | {"expected.output": case["text"].upper()} for case in CASES[:6]]
    with vnb.connect(local, history=place) as ws:
        options = {"release_tags": ["v1", "v2"], "concurrency": 4, "progress": False}
        sweep = ws.sweep("shout", cases, background=True, **options)
        for _ in range(4):
            assert workflows.entered.acquire(timeout=LONG)
        sweep.stop(now=True)
        sweep.wait(LONG)
        workflows.may_end.set()
        assert ws.sweep("shout", cases, **options).state == "done"
    check_no_release_is_worse(local, place, cases)


@pytest.mark.slow
@on_file
def test_runs_of_a_tag_that_moved_before_a_kill_are_attributed_or_marked(kernels, local, place):
    calls, has_moved = Counter(), threading.Event()

    def old(text: str) -> str:
        calls["old"] += 1
        if calls["old"] > 20:
            has_moved.wait(LONG)
        return f"old {text}"

    def new(text: str) -> str:
        calls["new"] += 1
        time.sleep(0.01)
        return f"new {text}"

    releases = {"old": local.deploy(old, name="moving", release_tags=["live"]).id}
    cases = [{"text": str(number)} for number in range(100)]
    order = {"name": "moving", "tags": ["live"], "key": local.api_key, **FOUR}
    kernel = kernels.start(local.url, place, cases, **order)
    wait_until(lambda: calls["old"] == 24)
    releases["new"] = local.deploy(new, name="moving", release_tags=["live"]).id
    has_moved.set()
    wait_until(lambda: calls["new"] >= 20)
    kernel.kill()  # within 5 s: the tag was not looked at since
    assert kernels.start(local.url, place, cases, **order).outcome()["state"] == "done"
    with vnb.History(place) as history:
        runs = history.runs()
    answered = [run for run in runs if run.state != "CANCELLED"]  # the kill may cut some off
    assert sorted(run.inputs["text"] for run in answered) == sorted(map(str, range(100)))
    wrong = [
        run for run in answered if run.release_id != releases[run.outputs["output"].split()[0]]
    ]
    assert [run.outputs for run in wrong if not run.tag_moved] == []


@quick_look_ups
@pytest.mark.parametrize("answer", ["404", "page 404", "page 200"])
@pytest.mark.parametrize("is_listed", [True, False])
@on_file
def test_executed_run_that_a_proxy_answered_is_not_paid_for_again(
    connected, counting, place, answer, is_listed
):
    counting.script.extend([f"executed, then {answer}"] * 6)
    counting.lag = 0.0 if is_listed else 1e6
    with connected(place, 0.5) as ws:
        sweep = swept(ws, CASES[:6], resend_in_doubt=False)
        counting.lag = 0.0
        sweep.retry_failed()
        check_all_once(counting, swept(ws, CASES[:6]), CASES[:6], posts=6)


@quick_look_ups
def test_late_listing_is_measured_before_a_run_is_sent_again(connected, counting, tmp_path):
    """Without the shortest wait, only the measured delay protects a run from a second call."""
    counting.lag = 1.0
    counting.faults = {"reset after": 0.3}
    cases = [{"text": f"text {number}"} for number in range(40)]
    with connected(tmp_path / "runs.db", 20) as ws:
        check_all_once(counting, swept(ws, cases), cases)


@pytest.mark.slow
def test_300_runs_with_lost_answers_are_each_executed_once(counting, tmp_path):
    """With the timeouts that a workspace has by default."""
    counting.latency = 0.018
    counting.faults = {"reset after": 0.15}
    cases = [{"text": f"text {number}"} for number in range(300)]
    with vnb.connect(counting.url, api_key=KEY, history=tmp_path / "runs.db") as ws:
        sweep = swept(ws, cases, background=True)
        check_all_once(counting, sweep.wait(LONG), cases)


@quick_look_ups
def test_refused_external_id_settles_the_doubt_on_a_server_that_never_lists(
    connected, counting, tmp_path
):
    """A refusal proves that the run was executed: it waits, and is not sent a third time."""
    counting.refuses = True
    counting.lag = 1e6
    counting.script.extend(["reset after", ""])
    with connected(tmp_path / "runs.db", 0.5) as ws:
        sweep = swept(ws, CASES[:2], concurrency=1, background=True)
        wait_until(lambda: counting.posts == 3)
        lookups = counting.lookups
        wait_until(lambda: counting.lookups >= lookups + 3)
        counting.lag = 0.0
        check_all_once(counting, sweep.wait(LONG), CASES[:2], posts=3)


def test_time_at_which_a_run_became_doubtful_is_stored(connected, counting, place):
    counting.held = True
    began = datetime.now(UTC).timestamp()
    with connected(place) as ws:
        sweep = swept(ws, CASES[:2], concurrency=2, background=True)
        wait_until(lambda: counting.posts == 2)
        sweep.stop(now=True)
        sweep.wait(LONG)
        store = open_backend(place)
        rows = store.read("SELECT doubt, doubt_since FROM runs")
        store.close()
        assert [doubt for doubt, _ in rows] == ["SENT"] * 2
        assert all(abs(since / 1e6 - began) < LONG for _, since in rows)
        counting.held = False
