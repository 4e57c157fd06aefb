"""What `max_cost_usd` lets begin: every run under way reserves what it is expected to cost."""

import math
import threading
import time

import pytest
from runs_kit import progress_of
from sweep_kit import LONG, Gate, again_later, answered, planned, swept

from vellum_nb.sweep.progress import facts


def costing(cost, seconds=0.005):
    """Return an attempt that takes a moment, and reports its cost."""

    def attempt(task, cancel=None):
        time.sleep(seconds)
        return answered(task, cost_usd=cost(task) if callable(cost) else cost)

    return attempt


def limited(history, attempt, cases=300, tags=("v1",), limit=5.0):
    record = planned(history, cases, tags)
    return swept(history, record, attempt, concurrency=128, limits={"max_cost_usd": limit})


def later(history, first, attempt, limit):
    """Return the sweep as a later kernel has it, with another limit."""
    options = {"concurrency": 128, "limits": {"max_cost_usd": limit}}
    return again_later(history, first, attempt, **options)


def let_through(gate, number):
    """Let the runs under way go on once there are so many, and no more for two turns."""
    gate.wait_for(number)
    assert not gate.arrived.acquire(timeout=0.6)
    gate.open.set()


@pytest.mark.parametrize(("limit", "calls"), [(5.0, 5), (4.5, 5), (0.5, 1)])
def test_no_more_runs_begin_than_the_limit_pays_for(history, limit, calls):
    sweep = limited(history, costing(1.0), limit=limit).resume()
    assert progress_of(sweep).why == f"max_cost_usd={limit} is reached"
    assert history.count() == calls


def test_the_overshoot_of_several_releases_is_at_most_one_call(history):
    cost = {"v1": 1.0, "v2": 3.0}
    attempt = costing(lambda task: cost[task.run.release_tag])
    sweep = limited(history, attempt, tags=("v1", "v2"), limit=20.0).resume()
    assert 20.0 <= progress_of(sweep).cost_usd <= 23.0


def test_runs_begin_one_at_a_time_until_a_cost_is_known(history):
    gate = Gate()
    sweep = limited(history, gate, tags=("v1", "v2")).resume(background=True)
    let_through(gate, 1)
    assert sweep.wait(LONG).state == "done"  # no run reports its cost: that limits nothing
    assert progress_of(sweep).cost_problem.startswith("no run reports its cost")


def test_a_run_that_fails_shows_no_cost(history):
    at_once, most, lock = 0, 0, threading.Lock()

    def failing(task, cancel=None):
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        time.sleep(0.005)
        with lock:
            at_once -= 1
        return answered(task, state="FAILED", outputs={})

    limited(history, failing, cases=20).resume()
    assert most == 1


def test_past_runs_of_a_deployment_show_what_the_first_ones_will_cost(history):
    first = limited(history, costing(1.0), limit=3.0).resume()
    assert history.count() == 3
    gate = Gate()
    again = later(history, first, gate, 10.0).resume(background=True)
    let_through(gate, 7)
    again.stop()
    again.wait(LONG)


@pytest.mark.parametrize("wrong", [-1000.0, -math.inf, math.nan])
def test_a_negative_cost_or_nan_is_noted_as_ignored(history, wrong):
    attempt = costing(lambda task: wrong if task.run.inputs["n"] == 1 else 1.0)
    sweep = limited(history, attempt).resume()
    now = progress_of(sweep)
    assert (now.cost_usd, now.why) == (5.0, "max_cost_usd=5.0 is reached")
    assert "1 cost that is negative or not a number: ignored" in facts(now)


@pytest.mark.parametrize("first", [-1.0, math.nan, math.inf, None, 0.0])
def test_first_cost_that_is_wrong_or_missing_does_not_disable_the_limit(history, first):
    attempt = costing(lambda task: 1.0 if task.run.inputs["n"] else first)
    limited(history, attempt, limit=5.0).resume()
    assert history.count() == 6


def test_first_run_that_is_rejected_without_a_cost_does_not_disable_the_limit(history):
    def attempt(task, cancel=None):
        fields = {"cost_usd": 1.0} if task.run.inputs["n"] else {"state": "REJECTED", "outputs": {}}
        return answered(task, **fields)

    limited(history, attempt, limit=5.0).resume()
    assert history.count() == 6


def test_cost_that_is_shown_late_exceeds_the_limit_by_no_more_runs_than_had_none(history):
    attempt = costing(lambda task: None if task.run.inputs["n"] < 4 else 1.0, seconds=0.05)
    limited(history, attempt, limit=1.0).resume()
    assert history.count() <= 4 + 4


def test_runs_without_a_cost_become_more_at_once(history):
    gate = Gate()

    def attempt(task, cancel=None):
        return answered(task) if task.run.inputs["n"] < 3 else gate(task, cancel)

    sweep = limited(history, attempt).resume(background=True)
    let_through(gate, 3)
    assert sweep.wait(LONG).state == "done"


def test_wrong_cost_of_an_earlier_session_does_not_hide_what_was_spent(history):
    attempt = costing(lambda task: -1e6 if task.run.inputs["n"] == 2 else 1.0)
    first = limited(history, attempt, limit=5.0).resume()
    assert history.count() == 6
    again = later(history, first, costing(1.0), 8.0).resume()
    assert (history.count(), progress_of(again).cost_usd) == (9, 8.0)


def test_wrong_cost_of_an_earlier_session_is_noted(history):
    first = limited(history, costing(-1.0), cases=2).resume()
    assert progress_of(again_later(history, first, costing(1.0))).ignored_costs == 2


def test_a_higher_limit_goes_on_where_the_lower_one_stopped(history):
    first = limited(history, costing(1.0)).resume()
    later(history, first, costing(1.0), 8.0).resume()
    assert history.count() == 8
