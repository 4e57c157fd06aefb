from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from sweep_kit import LONG, Gate, again_later, answered, planned, swept

from vellum_nb.models import RunError
from vellum_nb.sweep.retry_policy import Doubt, InDoubt, Retry

FAILURE = {"state": "FAILED", "outputs": {}, "error": RunError(code="HTTP_500")}


def test_max_calls_is_kept_to_the_call_and_over_sessions(history):
    sweep = swept(history, planned(history, 30), answered, max_calls=12).run()
    assert (sweep.state, sweep.progress().why) == ("stopped", "max_calls=12 is reached")
    assert history.count() == 12
    again_later(history, sweep, answered, max_calls=12).run()
    assert history.count() == 12
    again_later(history, sweep, answered, max_calls=15).run()
    assert history.count() == 15


def test_runs_in_doubt_are_looked_up_though_max_calls_is_reached(history):
    gate = Gate()
    sweep = swept(history, planned(history, 30), gate, concurrency=5).start()
    gate.wait_for(5)
    sweep.cut()
    sweep.wait()
    later = again_later(history, sweep, answered, max_calls=5).run()
    assert (later.progress().done, history.count()) == (5, 5)


def test_stop_after_failures_forgives_what_is_retried(history):
    failing = [True]

    def fails(task, cancel):
        return answered(task, **FAILURE if failing else {})

    record = planned(history, 20)
    sweep = swept(history, record, fails, stop_after_failures=3, concurrency=1).run()
    assert sweep.progress().why == "stop_after_failures=3 is reached"
    assert (sweep.progress().failed, sweep.run().progress().failed) == (3, 3)
    failing.clear()
    assert sweep.retry_failed().progress().done == 20


def test_max_seconds_leaves_pauses_out_and_counts_earlier_sessions(history):
    record = planned(history, 100)
    slow = threading.Event()

    def takes_time(task, cancel):
        slow.wait(0.05)
        return answered(task)

    sweep = swept(history, record, takes_time, max_seconds=0.3, concurrency=1).run()
    assert (sweep.state, sweep.progress().why) == ("stopped", "max_seconds=0.3 is reached")
    assert history.sweeps.seconds(sweep.id) == pytest.approx(0.3, rel=0.7)
    done = history.count()
    assert 0 < done <= 7
    again_later(history, sweep, takes_time, max_seconds=0.1, concurrency=1).run()
    assert history.count() == done


def test_a_server_that_is_gone_ends_the_sweep_and_leaves_no_row(history, monkeypatch):
    monkeypatch.setattr("vellum_nb.sweep.driver._FAILING", 0.2)

    def gone(task, cancel):
        return Retry(replace(task, tries=task.tries + 1), "connection refused", 0.05)

    sweep = swept(history, planned(history, 50), gone).start()
    assert sweep.wait(timeout=LONG).state == "stopped"
    assert sweep.progress().why == "no answer for 60 s: connection refused"
    assert history.count() == 0


def test_others_begin_while_lost_calls_wait_to_be_looked_up(history):
    ended = threading.Semaphore(0)

    def first_ones_lost(task, cancel):
        if task.run.inputs["n"] < 8:
            lost = replace(task, doubt=Doubt("cut off"))
            return InDoubt(lost, "cut off", 10 * LONG)
        ended.release()
        return answered(task)

    sweep = swept(history, planned(history, 20), first_ones_lost, concurrency=2).start()
    try:
        for _ in range(12):
            assert ended.acquire(timeout=LONG)
    finally:
        sweep.stop()
        sweep.wait(timeout=LONG)
    assert {run.state for run in history.runs()} == {"STARTED", "FULFILLED"}


def test_what_max_calls_let_begin_is_tried_again_until_it_ends(history):
    refused: set[str] = set()

    def busy_once(task, cancel):
        if task.run.id not in refused:
            refused.add(task.run.id)
            return Retry(replace(task, tries=1), "HTTP 429", 0.0, busy=True)
        return answered(task)

    sweep = swept(history, planned(history, 30), busy_once, max_calls=5).run()
    assert (sweep.progress().done, len(refused)) == (5, 5)
