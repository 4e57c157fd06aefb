"""A sweep that is paused, stopped, limited or decided, and resumed by a later kernel."""

import gc
import threading
import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from runs_kit import progress_of
from sweep_kit import LONG, Gate, again_later, answered, planned, swept

from vellum_nb import Metric
from vellum_nb.history import Sweeps
from vellum_nb.models import RunError
from vellum_nb.models.sweeps import planned_id
from vellum_nb.sweep.options import StopWhen
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


@pytest.fixture
def paused(history):
    """Return a paused sweep of ten runs whose two calls under way have ended, and its gate."""
    sweep, gate = begun(history, 10, 2)
    halted = threading.Event()
    control_of(sweep).subscribe(lambda: halted.set() if progress_of(sweep).at_once == 0 else None)
    sweep.pause()
    gate.open.set()
    assert halted.wait(LONG)
    return sweep, gate


def test_paused_sweep_begins_no_run(paused):
    sweep, gate = paused
    assert sweep.wait(timeout=0.3).state == "paused"
    assert (len(gate.seen), progress_of(sweep).ended) == (2, 2)


def test_clock_of_a_paused_sweep_stands_still(paused):
    before = progress_of(paused[0])
    time.sleep(0.02)
    after = progress_of(paused[0])
    assert (after.seconds, after.left_s is None) == (before.seconds, False)


def test_paused_sweep_is_resumed(paused):
    sweep, gate = paused
    assert sweep.resume().state == "done"
    assert len(gate.seen) == 10


def test_resume_takes_back_a_stop(history):
    sweep, gate = begun(history, 10, 3)
    sweep.stop()
    sweep.resume(background=True)
    assert sweep.state == "running"
    gate.open.set()
    assert sweep.wait().state == "done"


@pytest.fixture
def stopped(history):
    """Return a sweep of ten runs that was stopped while three of them were under way."""
    sweep, gate = begun(history, 10, 3)
    sweep.stop()
    assert sweep.state == "stopping"
    gate.open.set()
    return sweep.wait()


def test_stopped_sweep_has_recorded_the_runs_that_were_under_way(history, stopped):
    assert repr(stopped) == "<Sweep of d on v1: stopped, 3 of 10 runs>"
    assert states(history) == ["FULFILLED"] * 3


def test_later_kernel_makes_the_remaining_runs_of_a_stopped_sweep(history, stopped):
    later = again_later(history, stopped, answered)
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


def test_a_listener_that_breaks_is_a_warning(history):
    sweep = swept(history, planned(history, 3), answered)
    control_of(sweep).subscribe(lambda: 1 / 0)
    with pytest.warns(RuntimeWarning, match="failed for sweep"):
        sweep.resume()
    assert sweep.state == "done"


CUT_OFF = {"state": "CANCELLED", "outputs": {}, "error": RunError(code="WORKFLOW_CANCELLED")}


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


def test_max_calls_counts_the_calls_of_earlier_sessions(history):
    limits = {"max_calls": 12}
    sweep = swept(history, planned(history, 30), answered, limits=limits).resume()
    for most, calls in ((12, 12), (15, 15)):
        again_later(history, sweep, answered, limits={"max_calls": most}).resume()
        assert history.count() == calls


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


@pytest.mark.slow
def test_twenty_thousand_planned_calls_cost_little_memory(history):
    record = planned(history, 10_000, ("v1", "v2"))
    gc.collect()
    tracemalloc.start()
    try:
        sweep = swept(history, record, answered, limits={"max_calls": 200}, concurrency=64).resume()
        assert sum(tag.to_go for tag in progress_of(sweep).tags) == 19_800
        assert tracemalloc.get_traced_memory()[1] < 2.5 * 2**20  # a list of the ids has 1.8
    finally:
        tracemalloc.stop()
    later = again_later(history, sweep, answered, limits={"max_calls": 240})
    assert progress_of(later.resume()).done == 240
