from __future__ import annotations

import sqlite3
import threading
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import closing
from dataclasses import replace

import pytest
from sweep_kit import LONG, Gate, Maker, again_later, answered, planned, swept

from vellum_nb.errors import HistoryError
from vellum_nb.models import RunError
from vellum_nb.sweep import driver
from vellum_nb.sweep.retry_policy import Retry


def states(history):
    return sorted(run.state for run in history.runs())


def test_it_runs_to_its_end_and_says_so(history):
    sweep = swept(history, planned(history, 30, ("v1", "v2")), answered).run()
    assert repr(sweep) == "<Sweep of d on v1, v2: done, 60 of 60 runs>"
    assert states(history) == ["FULFILLED"] * 60
    now = sweep.progress()
    assert (now.state, now.left_s, now.at_once, now.tags[0].running) == ("done", None, 0, 0)
    assert history.sweeps.every()[0].ended is not None


def test_paused_it_begins_nothing_and_goes_on_when_resumed(history):
    gate = Gate()
    sweep = swept(history, planned(history, 10), gate, concurrency=2).start()
    gate.wait_for(2)
    sweep.pause()
    gate.open.set()
    halted = threading.Event()

    def look() -> None:
        if sweep.progress().at_once == 0:
            halted.set()

    sweep.subscribe(look)
    assert halted.wait(LONG)
    assert (sweep.state, len(gate.seen), sweep.progress().ended) == ("paused", 2, 2)
    assert sweep.wait(timeout=0.3).state == "paused"
    seconds = sweep.progress().seconds
    assert sweep.progress().seconds == seconds  # its clock stands still
    assert sweep.progress().left_s is not None
    assert sweep.resume().state == "done"
    assert len(gate.seen) == 10


def test_stopped_it_ends_what_runs_and_a_later_kernel_makes_the_rest(history):
    gate = Gate()
    sweep = swept(history, planned(history, 10), gate, concurrency=3).start()
    gate.wait_for(3)
    sweep.stop()
    assert sweep.state == "stopping"
    gate.open.set()
    assert sweep.wait().state == "stopped"
    assert repr(sweep) == "<Sweep of d on v1: stopped, 3 of 10 runs>"
    later = again_later(history, sweep, answered)
    assert later.state == "stopped"
    assert later.run().progress().found == 3
    assert states(history) == ["FULFILLED"] * 10


def test_cut_off_it_leaves_what_runs_in_doubt_to_be_looked_up(history):
    gate = Gate()
    sweep = swept(history, planned(history, 10), gate, concurrency=3).start()
    gate.wait_for(3)
    sweep.cut()
    assert sweep.wait().state == "stopped"
    assert states(history) == ["STARTED"] * 3
    doubts = []

    def looked_up(task, cancel):
        doubts.append(task.doubt)
        return replace(answered(task), found=task.doubt is not None)

    later = again_later(history, sweep, looked_up).run()
    assert doubts.count(None) == 7
    assert [doubt.why for doubt in doubts if doubt] == ["begun"] * 3
    assert later.progress().found == 3


def test_a_stop_is_taken_back_by_resume(history):
    gate = Gate()
    sweep = swept(history, planned(history, 6), gate, concurrency=2).start()
    gate.wait_for(2)
    sweep.stop()
    sweep.resume(background=True)
    assert sweep.state == "running"
    gate.open.set()
    assert sweep.wait().state == "done"


def test_any_thread_may_do_anything_at_any_time(history):
    sweep = swept(history, planned(history, 400, ("v1", "v2")), answered, concurrency=8)
    doings = [sweep.start, sweep.pause, sweep.stop, sweep.cut, sweep.progress, sweep.__repr__]
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
    assert all(tag.running == 0 for tag in sweep.progress().tags)


def test_an_error_of_an_attempt_stops_the_sweep_and_is_raised_by_whoever_waits(history):
    def broken(task, cancel):
        if task.run.inputs["n"] == 5:
            raise ZeroDivisionError("a bug")
        return answered(task)

    sweep = swept(history, planned(history, 20), broken, concurrency=1).start()
    for _ in range(2):
        with pytest.raises(ZeroDivisionError, match="a bug"):
            sweep.wait()
    assert (sweep.state, sweep.progress().why) == ("stopped", "a bug")
    assert states(history) == ["FULFILLED"] * 5 + ["STARTED"]
    assert again_later(history, sweep, answered).run().state == "done"


def test_a_listener_that_breaks_is_a_warning(history):
    sweep = swept(history, planned(history, 3), answered)

    def broken() -> None:
        raise ZeroDivisionError

    unsubscribe = sweep.subscribe(broken)
    with pytest.warns(RuntimeWarning, match="failed for sweep"):
        sweep.run()
    unsubscribe()
    unsubscribe()
    assert sweep.state == "done"


def test_busy_servers_are_tried_again_under_the_same_id(history):
    refused: set[str] = set()

    def busy_once(task, cancel):
        if task.run.id not in refused:
            refused.add(task.run.id)
            return Retry(replace(task, tries=task.tries + 1), "HTTP 429", 0.0, busy=True)
        return answered(task)

    sweep = swept(history, planned(history, 20), busy_once).run()
    assert (sweep.state, len(refused)) == ("done", 20)
    assert {run.id for run in history.runs()} == refused
    assert sweep.progress().note.startswith("lowered after HTTP 429 at ")
    assert sweep.progress().limit < 16


def test_a_wrong_key_stops_it_and_leaves_no_row_behind(history):
    def refused(task, cancel):
        return Retry(replace(task, tries=1), "HTTP 401", hopeless=True)

    sweep = swept(history, planned(history, 20), refused).run()
    assert (sweep.state, sweep.progress().why) == ("stopped", "HTTP 401")
    assert history.runs() == []
    assert sweep.progress().tags[0].to_go == 20


def test_a_driver_that_lost_its_lease_takes_back_no_run_of_the_other(history, monkeypatch):
    monkeypatch.setattr(driver, "_RENEW_EVERY", 0.5)  # private: else the test takes 10 s
    arrived = threading.Event()

    def refused(task, cancel):
        arrived.set()
        return Retry(replace(task, tries=1), "HTTP 429", 60.0, busy=True)

    sweep = swept(history, planned(history, 3), refused).start()
    assert arrived.wait(LONG)
    with closing(sqlite3.connect(history.path)) as db:  # as another host does that takes it over
        db.execute("UPDATE leases SET token = 'other'")
        db.commit()
    with pytest.raises(HistoryError, match="is running"):
        sweep.wait()
    assert states(history) == ["STARTED"] * len(history.runs())
    assert history.runs()
    assert (sweep.state, history.sweeps.every()[0].why) == ("stopped", None)


def test_a_deleted_run_whose_answer_never_came_is_not_waited_for(history):
    record = planned(history, 2)
    gate = Gate()
    sweep = swept(history, record, gate, concurrency=2).start()
    gate.wait_for(2)
    sweep.cut()
    sweep.wait()
    (run, _) = history.runs()
    history.delete([run.id])
    later = again_later(history, sweep, answered).run()
    assert (later.state, states(history)) == ("done", ["FULFILLED"])


def test_failed_runs_are_retried_under_new_ids_when_asked(history):
    failure = {"state": "FAILED", "outputs": {}, "error": RunError(code="HTTP_404")}

    fails = {0, 1, 2}

    def some_fail(task, cancel):
        return answered(task, **failure) if task.run.inputs["n"] in fails else answered(task)

    sweep = swept(history, planned(history, 10), some_fail).run()
    assert (sweep.state, sweep.progress().failed, len(sweep.failed())) == ("done", 3, 3)
    assert sweep.run().progress().failed == 3  # nothing is done twice without being asked
    fails.clear()
    assert sweep.retry_failed().progress().failed == 0
    assert states(history) == ["FAILED"] * 3 + ["FULFILLED"] * 10


def test_a_start_that_fails_leaves_nothing_open_and_holds_nothing_back(history):
    gate = Gate()
    sweep = swept(history, planned(history, 9), gate, concurrency=2).start()
    gate.wait_for(2)
    sweep.cut()
    sweep.wait()
    worker = Maker(history, sweep.record, answered)
    later = swept(history, sweep.record, answered, worker=worker)
    worker.breaks = True
    with pytest.raises(HistoryError, match="just now"):
        later.run()
    assert (worker.opened, worker.closed) == (1, 1)
    worker.breaks = False
    assert later.run().state == "done"


def test_an_executor_that_breaks_leaves_runs_in_doubt_and_is_told(history):
    with ProcessPoolExecutor(1) as pool:
        pool.shutdown()
        sweep = swept(history, planned(history, 5), answered, executor=pool)
        with pytest.raises(RuntimeError, match="shutdown"):
            sweep.run()
    assert sweep.state == "stopped"
    assert history.runs() == []  # nothing was sent
    assert again_later(history, sweep, answered).run().state == "done"


def test_cut_off_it_does_not_wait_for_calls_that_it_cannot_reach(history):
    gate = Gate()
    with ThreadPoolExecutor(2) as pool:
        sweep = swept(history, planned(history, 9), gate, executor=pool, concurrency=4).start()
        gate.wait_for(2)
        sweep.cut()
        assert sweep.wait().state == "stopped"
        assert states(history) == ["STARTED"] * 4
        gate.open.set()
    assert sweep.progress().at_once == 0
    assert again_later(history, sweep, answered).run().state == "done"


def test_a_driver_renews_its_lease_while_paused_and_stops_when_it_lost_it(history, monkeypatch):
    monkeypatch.setattr("vellum_nb.sweep.driver._RENEW_EVERY", 0.05)
    gate = Gate()
    sweep = swept(history, planned(history, 10), gate, concurrency=2).start()
    gate.wait_for(2)
    sweep.pause()
    with closing(sqlite3.connect(history.path)) as db:  # as when it expired
        db.execute("DELETE FROM leases")
        db.commit()
    history.sweeps.acquire(sweep.id)
    gate.open.set()
    with pytest.raises(HistoryError, match=f"Sweep {sweep.id} is running in this process"):
        sweep.wait(timeout=LONG)
    assert sweep.state == "stopped"
    assert states(history) == ["FULFILLED"] * 2


def test_a_history_that_is_closed_meanwhile_is_an_error_not_a_hang(history):
    gate = Gate()
    sweep = swept(history, planned(history, 20), gate, concurrency=2).start()
    gate.wait_for(2)
    history.close()
    gate.open.set()
    with pytest.raises(HistoryError, match="closed"):
        sweep.wait()
