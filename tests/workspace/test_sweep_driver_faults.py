"""A sweep whose threads, executor, lease, history or server fail: the real worker and a server."""

import sqlite3
import threading
import time
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import pytest
from counting_server import KEY, check_all_once
from runs_kit import progress_of
from sweep_processes import LONG, wait_until

import vellum_nb as vnb
from vellum_nb.clock import Deadline
from vellum_nb.errors import HistoryError, OutOfReachError
from vellum_nb.history import SweepLease, Sweeps, leases
from vellum_nb.history.recorder import RunRecorder
from vellum_nb.sweep.sweep import control_of

CASES = [{"text": f"text {number}"} for number in range(30)]
CUT_OFF = "answer cancelled"


@pytest.fixture
def ws(counting, tmp_path):
    with vnb.connect(
        counting.url, api_key=KEY, history=tmp_path / "runs.db", timeout=(5, LONG)
    ) as workspace:
        yield workspace


def swept(ws, number, **options):
    return ws.sweep("count", CASES[:number], release_tags=["v1"], progress=False, **options)


def begun(ws, counting, number, at_once, **options):
    """Return a sweep with `at_once` calls under way, which do not end until they are let go."""
    counting.held = True
    sweep = swept(ws, number, concurrency=at_once, background=True, **options)
    wait_until(lambda: counting.posts == at_once)
    return sweep


def states(ws):
    return sorted(run.state for run in ws.history.runs())


class WrappingExecutor(ThreadPoolExecutor):
    """Executor that makes an attempt by calling `wrapper(attempt, prepared)`."""

    def __init__(self, wrapper):
        super().__init__(2)
        self.wrapper = wrapper

    def submit(self, attempt, prepared):
        return super().submit(self.wrapper, attempt, prepared)


def broken(attempt, prepared):
    if prepared.run.inputs == CASES[5]:
        raise ZeroDivisionError("a bug")
    return attempt(prepared)


@pytest.fixture
def stopped_by_a_bug(ws):
    with WrappingExecutor(broken) as executor:
        sweep = swept(ws, 20, concurrency=1, executor=executor, background=True)
        with pytest.raises(ZeroDivisionError, match="a bug"):
            sweep.wait(LONG)
        yield sweep


def test_exception_of_an_attempt_stops_the_sweep(ws, stopped_by_a_bug):
    assert (stopped_by_a_bug.state, progress_of(stopped_by_a_bug).why) == ("stopped", "a bug")
    assert states(ws) == ["FULFILLED"] * 5 + ["STARTED"]


def test_exception_of_an_attempt_is_raised_by_every_wait(stopped_by_a_bug):
    with pytest.raises(ZeroDivisionError, match="a bug"):
        stopped_by_a_bug.wait(LONG)


@pytest.mark.usefixtures("quick_look_ups")
def test_sweep_that_an_exception_stopped_is_resumed(ws, counting, stopped_by_a_bug):
    again = swept(ws, 20)
    assert again.id == stopped_by_a_bug.id
    check_all_once(counting, again, CASES[:20], posts=20)


def test_call_whose_thread_cannot_start_is_not_made(ws, counting, monkeypatch):
    start = threading.Thread.start

    def limited(thread):
        alike = [each for each in threading.enumerate() if each.name == thread.name]
        if thread.name == "vellum-nb-call" and len(alike) == 2:
            msg = "can't start new thread"
            raise RuntimeError(msg)
        start(thread)

    counting.latency = 0.05
    monkeypatch.setattr(threading.Thread, "start", limited)
    with pytest.raises(RuntimeError, match="new thread"):
        swept(ws, 6, concurrency=4)
    monkeypatch.undo()
    assert ws.history.count(state="FULFILLED") == ws.history.count() == counting.posts == 2
    check_all_once(counting, swept(ws, 6), CASES[:6], posts=6)


def test_executor_that_was_shut_down_is_an_error(ws, counting):
    with ProcessPoolExecutor(1) as executor:
        executor.shutdown()
        with pytest.raises(RuntimeError, match="shutdown"):
            swept(ws, 5, executor=executor)
    assert (ws.sweeps()["state"].tolist(), ws.history.runs()) == (["stopped"], [])
    check_all_once(counting, swept(ws, 5), CASES[:5], posts=5)


@pytest.fixture
def halted_executor(ws, counting):
    """Return a stopped sweep, of whose four runs two wait in the queue of its executor."""
    with ThreadPoolExecutor(2) as executor:
        counting.held = True
        sweep = swept(ws, 9, executor=executor, concurrency=4, background=True)
        wait_until(lambda: counting.posts == 2)
        sweep.stop(now=True)
        sweep.wait(LONG)
        yield sweep
        counting.held = False


def test_stop_does_not_wait_for_calls_of_an_executor(ws, halted_executor):
    assert (halted_executor.state, progress_of(halted_executor).at_once) == ("stopped", 0)
    assert states(ws) == ["CANCELLED"] * 4


def test_stopped_sweep_begins_no_call_that_waits_in_its_executor(counting, halted_executor):
    counting.held = False
    wait_until(lambda: not counting.busy)
    time.sleep(0.1)
    assert counting.posts == 2


@pytest.fixture
def short_lease(monkeypatch):
    """Have leases end after two seconds: until then, executors may send what is in their queues."""
    monkeypatch.setattr(leases, "LEASE_S", 2.0)
    monkeypatch.setattr(leases, "_LENGTH_US", 2_000_000)
    monkeypatch.setattr(leases, "_MARGIN_S", 0.5)
    monkeypatch.setattr("vellum_nb.sweep.driver._RENEW_INTERVAL_S", 0.3)


@pytest.mark.usefixtures("quick_look_ups", "short_lease")
def test_calls_that_were_cut_off_in_an_executor_are_made_by_the_next_session(
    ws, counting, halted_executor
):
    counting.held = False
    again = swept(ws, 9)
    assert again.id == halted_executor.id
    check_all_once(counting, again, CASES[:9], posts=9)


@pytest.fixture
def clock_ahead():
    """Return the executor of workers that begin every call too late, and a list of the calls."""
    calls = []

    def late(attempt, prepared):
        calls.append(prepared.run.id)
        return attempt(replace(prepared, send_by=Deadline.after(-1.0)))

    with WrappingExecutor(late) as executor:
        yield executor, calls


def test_calls_that_all_begin_too_late_are_repeated_after_pauses_until_the_sweep_stops(
    ws, counting, clock_ahead, monkeypatch
):
    monkeypatch.setattr("vellum_nb.sweep.driver._GIVE_UP_AFTER_S", 2.0)
    executor, calls = clock_ahead
    sweep = swept(ws, 2, concurrency=2, executor=executor)
    assert 2 < len(calls) <= 30
    assert (sweep.state, ws.history.count(), counting.posts) == ("stopped", 0, 0)
    assert progress_of(sweep).why.endswith("is a worker's clock ahead?")


def test_driver_that_lost_its_lease_withdraws_no_run_of_its_successor(ws, counting, monkeypatch):
    monkeypatch.setattr("vellum_nb.sweep.driver._RENEW_INTERVAL_S", 0.5)  # else it takes 10 s
    counting.script.extend(["429 for 30 s"] * 3)
    sweep = swept(ws, 3, concurrency=3, background=True)
    wait_until(lambda: counting.posts == 3)
    with closing(sqlite3.connect(ws.history.path)) as db:  # as a driver on another machine does
        db.execute("UPDATE leases SET token = 'other'")
        db.commit()
    with pytest.raises(HistoryError, match="is running"):
        sweep.wait(LONG)
    assert states(ws) == ["STARTED"] * 3
    assert (sweep.state, Sweeps(ws.history).every()[0].why) == ("stopped", None)


def test_paused_driver_whose_lease_was_lost_stops(ws, counting, monkeypatch):
    monkeypatch.setattr("vellum_nb.sweep.driver._RENEW_INTERVAL_S", 0.05)
    sweep = begun(ws, counting, 10, 2)
    sweep.pause()
    with closing(sqlite3.connect(ws.history.path)) as db:  # as if it had expired
        db.execute("DELETE FROM leases")
        db.commit()
    Sweeps(ws.history).acquire(control_of(sweep).record)
    counting.held = False
    with pytest.raises(HistoryError, match="is running in this process|was released; resume"):
        sweep.wait(LONG)
    assert (sweep.state, states(ws)) == ("stopped", ["FULFILLED"] * 2)


@pytest.fixture
def cut_off(ws, counting):
    """Return a sweep of nine runs, three of whose calls were cut off by a stop."""
    sweep = begun(ws, counting, 9, 3)
    sweep.stop(now=True)
    sweep.wait(LONG)
    counting.held = False
    return sweep


def test_call_that_is_cut_off_by_a_stop_is_cancelled_with_a_doubt(ws, cut_off):
    runs = ws.history.runs()
    assert [(run.state, run.doubt, run.error.code) for run in runs] == [
        ("CANCELLED", "SENT", "CANCELLED")
    ] * 3
    assert all(run.finished_at for run in runs)


def test_run_that_was_cut_off_has_no_error_after_its_look_up(ws, counting, cut_off):
    check_all_once(counting, cut_off.resume(), CASES[:9], posts=9)
    assert {(run.error, run.doubt) for run in ws.history.runs()} == {(None, None)}


def test_deleted_run_that_was_cut_off_is_not_made_again(ws, counting, cut_off):
    ws.history.delete(ws.history.runs()[:1])
    assert cut_off.resume().state == "done"
    assert (states(ws), counting.posts) == (["FULFILLED"] * 8, 9)


def test_run_that_was_cut_off_is_looked_up_though_max_calls_is_reached(ws, counting, cut_off):
    later = progress_of(cut_off.resume(limits={"max_calls": 3}))
    assert (later.done, ws.history.count(), counting.posts) == (3, 3, 3)


def test_run_that_the_server_cancelled_is_made_again_under_another_id(ws, counting):
    counting.script.extend([CUT_OFF] * 2)
    sweep = swept(ws, 5, concurrency=2)
    assert (sweep.state, progress_of(sweep).done, progress_of(sweep).failed) == ("done", 5, 0)
    assert states(ws) == ["CANCELLED"] * 2 + ["FULFILLED"] * 5
    assert [run.state for run in sweep.runs()] == ["FULFILLED"] * 5
    assert set(counting.executed.values()) == {1}


@pytest.fixture
def cancelled_three_times(ws, counting):
    counting.script.extend([CUT_OFF] * 3)
    return swept(ws, 1)


def test_run_that_the_server_cancelled_three_times_stops_the_sweep(ws, cancelled_three_times):
    assert (cancelled_three_times.state, progress_of(cancelled_three_times).why) == (
        "stopped",
        "1 run cancelled on the server each time: resume repeats them",
    )
    assert states(ws) == ["CANCELLED"] * 3


def test_run_that_the_server_cancelled_three_times_is_made_again_by_resume(
    ws, cancelled_three_times
):
    now = progress_of(cancelled_three_times.resume())
    assert (now.state, now.done, now.failed, ws.history.count()) == ("done", 1, 0, 4)


def test_every_attempt_at_a_run_that_the_server_cancelled_counts_as_a_call(ws, counting):
    counting.faults = {CUT_OFF: 1.0}
    sweep = swept(ws, 5, limits={"max_calls": 7}, concurrency=1)
    assert (progress_of(sweep).why, ws.history.count()) == ("max_calls=7 is reached", 7)


def test_call_that_a_busy_server_refused_does_not_count_for_max_calls(ws, counting):
    counting.script.extend(["429 for 0 s"] * 12)
    sweep = swept(ws, 30, limits={"max_calls": 12})
    assert (sweep.state, progress_of(sweep).why) == ("stopped", "max_calls=12 is reached")
    assert (ws.history.count(state="FULFILLED"), counting.posts) == (12, 24)


def test_sweep_ends_without_a_row_when_its_server_is_gone(ws, counting, monkeypatch):
    monkeypatch.setattr("vellum_nb.sweep.driver._GIVE_UP_AFTER_S", 0.2)
    counting.script.extend(["429 for 0.3 s"] * 3)
    sweep = swept(ws, 3, concurrency=3, background=True)
    wait_until(lambda: counting.posts == 3)
    counting.hang_up()
    assert sweep.wait(LONG).state == "stopped"
    assert progress_of(sweep).why.startswith("no answer for 60 s: ")
    assert ws.history.count() == 0


def test_other_runs_begin_while_lost_calls_wait_for_their_look_ups(ws, counting):
    counting.lag = 1e9
    counting.script.extend(["reset after"] * 8)
    sweep = swept(ws, 20, concurrency=2, background=True)
    wait_until(lambda: ws.history.count(state="FULFILLED") == 12)
    sweep.stop()
    sweep.wait(LONG)
    assert states(ws) == ["FULFILLED"] * 12 + ["STARTED"] * 8


@pytest.fixture
def out_of_reach(monkeypatch):
    """Return an event; while it is set, the history cannot be reached under a lease."""
    away, write = threading.Event(), SweepLease.write

    def write_if_there(lease, change):
        if away.is_set():
            raise OutOfReachError
        return write(lease, change)

    monkeypatch.setattr(SweepLease, "write", write_if_there)
    monkeypatch.setattr("vellum_nb.sweep.driver._RENEW_INTERVAL_S", 0.2)
    monkeypatch.setattr("vellum_nb.sweep.driver._DATABASE_RETRY_S", 0.05)
    return away


def wait_until_noted(sweep):
    """Wait until a sweep notes that it cannot reach its history."""
    wait_until(lambda: "reached" in (progress_of(sweep).note or ""))


def test_no_run_begins_while_the_history_cannot_be_reached(ws, counting, out_of_reach):
    counting.latency, counting.faults = 0.05, {"429 for 0.02 s": 0.5}
    sweep = swept(ws, 20, concurrency=2, background=True)
    out_of_reach.set()
    wait_until_noted(sweep)
    begun_by_then = {run.external_id for run in ws.history.runs()}
    time.sleep(0.5)
    assert counting.executed.keys() <= begun_by_then  # those are retried while the lease lasts
    out_of_reach.clear()
    check_all_once(counting, sweep.wait(LONG), CASES[:20])
    assert "reached" not in (progress_of(sweep).note or "")


def test_doubt_that_arises_while_the_history_is_away_is_stored_later(
    ws, counting, out_of_reach, monkeypatch
):
    monkeypatch.setattr(RunRecorder, "keep_ended", lambda *_: None)  # as beside PostgreSQL
    counting.refuses, counting.lag = True, 1e9
    counting.script.append("executed, then 429 for 0.5 s")
    sweep = swept(ws, 1, background=True)
    wait_until(lambda: counting.posts == 1)
    out_of_reach.set()
    wait_until_noted(sweep)
    wait_until(lambda: counting.lookups > 0)
    assert [run.doubt for run in ws.history.runs()] == [None]
    out_of_reach.clear()
    wait_until(lambda: [run.doubt for run in ws.history.runs()] == ["EXECUTED"])
    sweep.stop(now=True)
    sweep.wait(LONG)


def test_nothing_is_sent_after_the_deadline_of_the_lease(ws, counting, out_of_reach):
    counting.faults = {"429 for 0.01 s": 1.0}
    sweep = swept(ws, 2, concurrency=2, background=True)
    wait_until(lambda: counting.posts >= 2)
    out_of_reach.set()
    wait_until_noted(sweep)
    control_of(sweep)._lease.deadline = Deadline.after(0.0)
    time.sleep(0.3)
    number = counting.posts
    time.sleep(0.3)
    assert counting.posts == number
    out_of_reach.clear()
    wait_until(lambda: counting.posts > number)
    sweep.stop()
    sweep.wait(LONG)
