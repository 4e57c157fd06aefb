"""A sweep under way: paused, stopped, cut off, limited, broken; and how a later kernel goes on."""

import gc
import sqlite3
import threading
import time
import tracemalloc
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace
from types import SimpleNamespace

import pytest
from runs_kit import progress_of
from sweep_kit import LONG, Gate, again_later, answered, planned, swept

from vellum_nb import Metric
from vellum_nb.clock import Deadline
from vellum_nb.errors import HistoryError, OutOfReachError
from vellum_nb.history import SweepLease, Sweeps
from vellum_nb.history.recorder import RunRecorder
from vellum_nb.models import RunError
from vellum_nb.models.sweeps import planned_id
from vellum_nb.sweep.options import StopWhen
from vellum_nb.sweep.retry_policy import Doubt, InDoubt, Retry, not_sent_in_time
from vellum_nb.sweep.sweep import control_of

FAILURE = {"state": "FAILED", "outputs": {}, "error": RunError(code="HTTP_500")}


def states(history):
    return sorted(run.state for run in history.runs())


def begun(history, runs, at_once, **options):
    """Return a sweep so many of whose calls are under way, and the gate where they wait."""
    gate = Gate()
    sweep = swept(history, planned(history, runs), gate, concurrency=at_once, **options).resume(
        background=True
    )
    gate.wait_for(at_once)
    return sweep, gate


def test_paused_it_begins_nothing_and_goes_on_when_resumed(history):
    sweep, gate = begun(history, 10, 2)
    halted = threading.Event()
    control_of(sweep).subscribe(lambda: halted.set() if progress_of(sweep).at_once == 0 else None)
    sweep.pause()
    gate.open.set()
    assert halted.wait(LONG)
    assert (sweep.state, len(gate.seen), progress_of(sweep).ended) == ("paused", 2, 2)
    assert sweep.wait(timeout=0.3).state == "paused"
    seconds = progress_of(sweep).seconds
    assert progress_of(sweep).seconds == seconds  # its clock stands still
    assert progress_of(sweep).left_s is not None
    assert sweep.resume().state == "done"
    assert len(gate.seen) == 10


def test_stopped_it_ends_what_runs_and_a_later_kernel_makes_the_rest(history):
    sweep, gate = begun(history, 10, 3)
    sweep.stop()
    sweep.resume(background=True)  # takes it back
    assert sweep.state == "running"
    sweep.stop()
    assert sweep.state == "stopping"
    gate.open.set()
    assert sweep.wait().state == "stopped"
    assert repr(sweep) == "<Sweep of d on v1: stopped, 3 of 10 runs>"
    later = again_later(history, sweep, answered)
    assert later.state == "stopped"
    assert progress_of(later.resume()).found == 3
    assert states(history) == ["FULFILLED"] * 10


def test_any_thread_may_do_anything_at_any_time(history):
    sweep = swept(history, planned(history, 400, ("v1", "v2")), answered, concurrency=8)
    control = control_of(sweep)
    doings = [control.start, sweep.pause, sweep.stop, control.progress, sweep.__repr__]
    doings.append(lambda: sweep.stop(now=True))
    doings.append(lambda: sweep.resume(background=True))
    doings.append(lambda: sweep.wait(timeout=0.01))

    def meddle(first: int) -> None:
        for number in range(40):
            doings[(first + number * (first + 1)) % len(doings)]()

    with ThreadPoolExecutor(6) as others:
        for done in [others.submit(meddle, number) for number in range(6)]:
            done.result(timeout=LONG)
    assert sweep.resume().state == "done"
    assert states(history) == ["FULFILLED"] * 800
    now = progress_of(sweep)
    assert (now.left_s, now.at_once, {tag.running for tag in now.tags}) == (None, 0, {0})


def test_an_error_of_an_attempt_stops_the_sweep_and_is_raised_by_every_wait(history):
    def broken(task, cancel):
        if task.run.inputs["n"] == 5:
            raise ZeroDivisionError("a bug")
        return answered(task)

    sweep = swept(history, planned(history, 20), broken, concurrency=1).resume(background=True)
    for _ in range(2):
        with pytest.raises(ZeroDivisionError, match="a bug"):
            sweep.wait()
    assert (sweep.state, progress_of(sweep).why) == ("stopped", "a bug")
    assert states(history) == ["FULFILLED"] * 5 + ["STARTED"]
    assert again_later(history, sweep, answered).resume().state == "done"


def test_a_call_whose_thread_cannot_start_is_not_made(history, monkeypatch):
    start, made = threading.Thread.start, []

    def limited(thread):
        alike = [each for each in threading.enumerate() if each.name == thread.name]
        if thread.name == "vellum-nb-call" and len(alike) == 2:
            msg = "can't start new thread"
            raise RuntimeError(msg)
        start(thread)

    def attempt(task, cancel=None):
        made.append(task.run.id)
        time.sleep(0.05)
        return answered(task, cancel)

    sweep = swept(history, planned(history, 6), attempt, concurrency=4)
    monkeypatch.setattr(threading.Thread, "start", limited)
    with pytest.raises(RuntimeError, match="new thread"):
        sweep.resume()
    monkeypatch.undo()
    assert history.count(state="FULFILLED") == history.count() == len(made) == 2
    assert sweep.resume().state == "done"
    assert len(set(made)) == len(made) == 6


def test_a_listener_that_breaks_is_a_warning(history):
    sweep = swept(history, planned(history, 3), answered)
    control_of(sweep).subscribe(lambda: 1 / 0)
    with pytest.warns(RuntimeWarning, match="failed for sweep"):
        sweep.resume()
    assert sweep.state == "done"


def test_a_driver_that_lost_its_lease_takes_back_no_run_of_the_other(history, monkeypatch):
    monkeypatch.setattr("vellum_nb.sweep.driver._RENEW_INTERVAL_S", 0.5)  # else it takes 10 s
    arrived = threading.Event()

    def refused(task, cancel):
        arrived.set()
        return Retry(replace(task, tries=1), "HTTP 429", 60.0, busy=True)

    sweep = swept(history, planned(history, 3), refused).resume(background=True)
    assert arrived.wait(LONG)
    with closing(sqlite3.connect(history.path)) as db:  # as another host does that takes it over
        db.execute("UPDATE leases SET token = 'other'")
        db.commit()
    with pytest.raises(HistoryError, match="is running"):
        sweep.wait()
    assert states(history) == ["STARTED"] * len(history.runs())
    assert history.runs()
    assert (sweep.state, Sweeps(history).every()[0].why) == ("stopped", None)


def test_a_driver_renews_its_lease_while_paused_and_stops_when_it_lost_it(history, monkeypatch):
    monkeypatch.setattr("vellum_nb.sweep.driver._RENEW_INTERVAL_S", 0.05)
    sweep, gate = begun(history, 10, 2)
    sweep.pause()
    with closing(sqlite3.connect(history.path)) as db:  # as when it expired
        db.execute("DELETE FROM leases")
        db.commit()
    Sweeps(history).acquire(control_of(sweep).record)
    gate.open.set()
    with pytest.raises(HistoryError, match="is running in this process|was released; resume"):
        sweep.wait(timeout=LONG)
    assert (sweep.state, states(history)) == ("stopped", ["FULFILLED"] * 2)


def test_a_deleted_run_whose_answer_never_came_is_not_waited_for(history):
    sweep, _ = begun(history, 2, 2)
    sweep.stop(now=True)
    sweep.wait()
    history.delete(history.runs()[:1])
    later = again_later(history, sweep, answered).resume()
    assert (later.state, states(history)) == ("done", ["FULFILLED"])


CUT_OFF = {"state": "CANCELLED", "outputs": {}, "error": RunError(code="WORKFLOW_CANCELLED")}


def test_a_run_that_is_cut_off_is_made_again_under_another_id(history):
    cut_off = set()

    def cut_off_once(task, cancel):
        if task.run.inputs["n"] < 2 and task.run.inputs["n"] not in cut_off:
            cut_off.add(task.run.inputs["n"])
            return answered(task, **CUT_OFF)
        return answered(task)

    sweep = swept(history, planned(history, 5), cut_off_once).resume()
    assert (sweep.state, progress_of(sweep).done, progress_of(sweep).failed) == ("done", 5, 0)
    assert states(history) == ["CANCELLED"] * 2 + ["FULFILLED"] * 5
    assert [run.state for run in sweep.runs()] == ["FULFILLED"] * 5


def test_a_run_that_is_cut_off_three_times_is_left_to_a_later_session(history):
    def cut_off(task, cancel):
        return answered(task, **CUT_OFF if task.run.inputs["n"] == 0 else {})

    sweep = swept(history, planned(history, 3), cut_off).resume()
    assert sweep.state == "stopped"
    assert progress_of(sweep).why == (
        "1 run cancelled on the server each time: resume repeats them"
    )
    assert states(history) == ["CANCELLED"] * 3 + ["FULFILLED"] * 2
    later = progress_of(again_later(history, sweep, answered).resume())
    assert (later.state, later.done, later.failed, later.found) == ("done", 3, 0, 2)
    assert history.count() == 6


def test_a_run_that_is_cut_off_decides_when_it_is_made_again(history):
    cut_off = set()

    def attempt(task, cancel):
        number = task.run.inputs["n"]
        if task.run.release_tag == "new" and number not in cut_off:
            cut_off.add(number)
            return answered(task, **CUT_OFF)
        return answered(task, outputs={"n": 1 if task.run.release_tag == "new" else 0})

    metric = Metric(lambda run: run.outputs["n"], name="n")
    options = {"stop_when": StopWhen(metric=metric), "concurrency": 2}
    sweep = swept(history, planned(history, 40, ("old", "new")), attempt, **options).resume()
    assert progress_of(sweep).why.startswith("decided by n after ")
    assert "new is better" in progress_of(sweep).why


def test_every_attempt_at_a_run_that_is_cut_off_counts_as_a_call(history):
    def cut_off(task, cancel):
        return answered(task, **CUT_OFF)

    sweep = swept(
        history, planned(history, 5), cut_off, limits={"max_calls": 7}, concurrency=1
    ).resume()
    assert (progress_of(sweep).why, history.count()) == ("max_calls=7 is reached", 7)


def test_calls_that_are_cut_off_here_are_cancelled_and_in_doubt(history):
    sweep, _ = begun(history, 9, 3)
    sweep.stop(now=True)
    sweep.wait()
    runs = history.runs()
    assert {(run.state, run.doubt, run.error.code) for run in runs} == {
        ("CANCELLED", "SENT", "CANCELLED")
    }
    assert all(run.finished_at for run in runs)
    looked_up = []

    def attempt(task, cancel):
        looked_up.append(task.run.id if task.doubt else None)
        return answered(task)

    later = again_later(history, sweep, attempt)
    assert (later.resume().state, states(history)) == ("done", ["FULFILLED"] * 9)
    assert {run.id for run in runs} <= set(looked_up)
    assert {(run.error, run.doubt) for run in history.runs()} == {(None, None)}


def test_a_run_that_the_history_has_by_now_is_not_sent(history):
    seen, record = [], planned(history, 3)
    other = list(record.places())[1]

    def attempt(task, cancel):
        seen.append(task.run.inputs["n"])
        if len(seen) == 1:  # as a synchronisation does, before the second one begins
            fields = {"id": "theirs", "external_id": planned_id(record, other)}
            merged = answered(task).run.model_copy(update={**fields, "sweep_id": None})
            history.merge([merged])
        return answered(task)

    sweep = swept(history, record, attempt, concurrency=1).resume()
    assert (sweep.state, seen) == ("done", [0, 2])
    assert states(history) == ["FULFILLED"] * 3
    assert progress_of(sweep).adopted == 1


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
    noted = threading.Event()
    control_of(sweep).subscribe(
        lambda: noted.set() if "reached" in (progress_of(sweep).note or "") else None
    )
    assert noted.wait(LONG)


def test_nothing_begins_while_the_history_cannot_be_reached(history, out_of_reach):
    sent = []

    def attempt(task, cancel):
        sent.append(task.run.id)
        time.sleep(0.05)
        return (
            Retry(replace(task, tries=1), "HTTP 429", 0.02) if task.tries == 0 else answered(task)
        )

    sweep = swept(history, planned(history, 20), attempt, concurrency=2).resume(background=True)
    out_of_reach.set()
    wait_until_noted(sweep)
    begun_by_then = set(sent)
    time.sleep(0.5)
    assert set(sent) == begun_by_then  # those are retried while the lease lasts
    out_of_reach.clear()
    assert sweep.wait(LONG).state == "done"
    assert progress_of(sweep).note is None
    assert states(history) == ["FULFILLED"] * 20


def test_doubt_that_arises_while_the_history_is_away_is_stored_later(
    history, out_of_reach, monkeypatch
):
    monkeypatch.setattr(RunRecorder, "keep_ended", lambda *_: None)  # as beside PostgreSQL

    def attempt(task, cancel):
        if task.doubt is not None:
            return InDoubt(task, "it is not listed", 0.05)
        out_of_reach.set()
        return InDoubt(replace(task, doubt=Doubt("its id was used", "EXECUTED")), "used")

    sweep = swept(history, planned(history, 1), attempt).resume(background=True)
    wait_until_noted(sweep)
    out_of_reach.clear()
    end = time.monotonic() + LONG
    while [run.doubt for run in history.runs()] != ["EXECUTED"] and time.monotonic() < end:
        time.sleep(0.01)
    assert [run.doubt for run in history.runs()] == ["EXECUTED"]
    sweep.stop(now=True)
    sweep.wait(LONG)


def test_nothing_is_sent_after_the_deadline_of_the_lease(history, out_of_reach):
    sent = []

    def attempt(task, cancel):
        sent.append(task.run.id)
        return Retry(replace(task, tries=task.tries + 1), "refused", 0.01)

    sweep = swept(history, planned(history, 2), attempt, concurrency=2).resume(background=True)
    while len(sent) < 2:
        time.sleep(0.01)
    out_of_reach.set()
    wait_until_noted(sweep)
    control_of(sweep)._lease.deadline = Deadline.after(0.0)
    time.sleep(0.3)
    number = len(sent)
    time.sleep(0.3)
    assert len(sent) == number
    out_of_reach.clear()
    while len(sent) == number:
        time.sleep(0.01)
    sweep.stop()
    sweep.wait(LONG)


def test_an_executor_that_was_shut_down_is_an_error(history):
    with ProcessPoolExecutor(1) as pool:
        pool.shutdown()
        sweep = swept(history, planned(history, 5), answered, executor=pool)
        with pytest.raises(RuntimeError, match="shutdown"):
            sweep.resume()
    assert (sweep.state, history.runs()) == ("stopped", [])
    assert again_later(history, sweep, answered).resume().state == "done"


def test_cut_off_it_does_not_wait_for_calls_that_it_cannot_reach(history):
    gate = Gate()
    with ThreadPoolExecutor(2) as pool:
        sweep = swept(history, planned(history, 9), gate, executor=pool, concurrency=4).resume(
            background=True
        )
        gate.wait_for(2)
        sweep.stop(now=True)
        assert sweep.wait().state == "stopped"
        assert states(history) == ["CANCELLED"] * 4
        gate.open.set()
    assert progress_of(sweep).at_once == 0
    assert len(gate.seen) == 2
    assert again_later(history, sweep, answered).resume().state == "done"


def test_max_calls_holds_to_the_call_over_sessions_and_lets_what_began_end(history):
    refused: set[str] = set()

    def busy_once(task, cancel):
        if task.run.id not in refused:
            refused.add(task.run.id)
            return Retry(replace(task, tries=1), "HTTP 429", 0.0, busy=True)
        return answered(task)

    sweep = swept(history, planned(history, 30), busy_once, limits={"max_calls": 12}).resume()
    assert (sweep.state, progress_of(sweep).why) == ("stopped", "max_calls=12 is reached")
    assert len(refused) == history.count(state="FULFILLED") == 12
    for most, calls in ((12, 12), (15, 15)):
        again_later(history, sweep, answered, limits={"max_calls": most}).resume()
        assert history.count() == calls


def test_runs_in_doubt_are_looked_up_though_max_calls_is_reached(history):
    sweep, _ = begun(history, 30, 5)
    sweep.stop(now=True)
    sweep.wait()
    doubts = []

    def looked_up(task, cancel):
        doubts.append(task.doubt)
        return replace(answered(task), looked_up=True)

    later = progress_of(again_later(history, sweep, looked_up, limits={"max_calls": 5}).resume())
    assert (later.done, later.found, history.count()) == (5, 5, 5)
    assert [doubt.why for doubt in doubts] == ["begun"] * 5


def test_stop_after_failures_forgives_what_is_retried(history):
    failing = [True]

    def fails(task, cancel):
        return answered(task, **FAILURE if failing else {})

    sweep = swept(
        history, planned(history, 20), fails, limits={"stop_after_failures": 3}, concurrency=1
    ).resume()
    assert progress_of(sweep).why == "stop_after_failures=3 is reached"
    assert (progress_of(sweep).failed, progress_of(sweep.resume()).failed) == (3, 3)
    failing.clear()
    assert progress_of(sweep.retry_failed()).done == 20


@pytest.fixture
def takes_a_second(monkeypatch):
    """Return an attempt that advances the clock of the sweep, which otherwise stands still."""
    clock = SimpleNamespace(now=0.0)
    stub = SimpleNamespace(monotonic=lambda: clock.now)
    monkeypatch.setattr("vellum_nb.sweep.progress.time", stub)

    def attempt(task, cancel):
        clock.now += 1.0
        return answered(task)

    return attempt


def test_max_seconds_stops_a_sweep(history, takes_a_second):
    limited = {"limits": {"max_seconds": 4}, "concurrency": 1}
    sweep = swept(history, planned(history, 9), takes_a_second, **limited).resume()
    assert (sweep.state, progress_of(sweep).why) == ("stopped", "max_seconds=4.0 is reached")
    assert states(history) == ["FULFILLED"] * 4


def test_max_seconds_counts_earlier_sessions(history):
    def takes_time(task, cancel):
        time.sleep(0.05)
        return answered(task)

    limited = {"limits": {"max_calls": 3}, "concurrency": 1}
    sweep = swept(history, planned(history, 9), takes_time, **limited).resume()
    assert Sweeps(history).seconds(sweep.id) >= 0.15
    limits = {"max_seconds": 0.1}
    later = again_later(history, sweep, takes_time, limits=limits, concurrency=1).resume()
    assert (later.state, progress_of(later).why) == ("stopped", "max_seconds=0.1 is reached")
    assert states(history) == ["FULFILLED"] * 3


def test_a_server_that_is_gone_ends_the_sweep_and_leaves_no_row(history, monkeypatch):
    monkeypatch.setattr("vellum_nb.sweep.driver._GIVE_UP_AFTER_S", 0.2)

    def gone(task, cancel):
        return Retry(replace(task, tries=task.tries + 1), "connection refused", 0.05)

    sweep = swept(history, planned(history, 50), gone).resume(background=True)
    assert sweep.wait(timeout=LONG).state == "stopped"
    assert progress_of(sweep).why == "no answer for 60 s: connection refused"
    assert history.count() == 0


def test_calls_of_a_worker_whose_clock_is_ahead_are_not_repeated_without_a_pause(history):
    made = []

    def attempt(task, cancel):
        made.append(task.run.id)
        return not_sent_in_time(task)

    sweep = swept(history, planned(history, 2), attempt, concurrency=2).resume(background=True)
    sweep.wait(timeout=1.0)
    sweep.stop(now=True)
    sweep.wait(LONG)
    assert 2 <= len(made) <= 12
    assert history.count() == 0


def test_sweep_whose_calls_all_begin_too_late_ends_with_the_reason(history, monkeypatch):
    monkeypatch.setattr("vellum_nb.sweep.driver._GIVE_UP_AFTER_S", 0.2)
    sweep = swept(history, planned(history, 2), lambda task, _: not_sent_in_time(task)).resume(
        background=True
    )
    assert sweep.wait(timeout=LONG).state == "stopped"
    assert progress_of(sweep).why.endswith("is a worker's clock ahead?")


def test_others_begin_while_lost_calls_wait_to_be_looked_up(history):
    ended = threading.Semaphore(0)

    def first_ones_lost(task, cancel):
        if task.run.inputs["n"] < 8:
            return InDoubt(replace(task, doubt=Doubt("cut off")), "cut off", 10 * LONG)
        ended.release()
        return answered(task)

    sweep = swept(history, planned(history, 20), first_ones_lost, concurrency=2).resume(
        background=True
    )
    try:
        for _ in range(12):
            assert ended.acquire(timeout=LONG)
    finally:
        sweep.stop()
        sweep.wait(timeout=LONG)
    assert {run.state for run in history.runs()} == {"STARTED", "FULFILLED"}


@pytest.mark.slow
def test_a_hundred_thousand_planned_calls_cost_little_memory(history):
    record = planned(history, 50_000, ("v1", "v2"))
    gc.collect()
    tracemalloc.start()
    try:
        sweep = swept(
            history, record, answered, limits={"max_calls": 2_000}, concurrency=128
        ).resume()
        assert sum(tag.to_go for tag in progress_of(sweep).tags) == 98_000
        assert tracemalloc.get_traced_memory()[1] < 8 * 2**20
    finally:
        tracemalloc.stop()
    later = again_later(history, sweep, answered, limits={"max_calls": 2_100})
    assert progress_of(later.resume()).done == 2_100
