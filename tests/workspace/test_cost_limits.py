"""Limits of cost and time, on a server whose streams report the cost that the test sets."""

import itertools
import math

import pytest
from counting_server import KEY
from runs_kit import progress_of
from sweep_processes import LONG, wait_until

import vellum_nb as vnb

CASES = [{"text": f"text {number}"} for number in range(200)]


@pytest.fixture
def ws(counting, tmp_path):
    counting.latency = 0.05
    with vnb.connect(
        counting.url, api_key=KEY, history=tmp_path / "runs.db", timeout=(10, LONG)
    ) as workspace:
        yield workspace


def swept(ws, cases=CASES, **options):
    return ws.sweep("count", cases, release_tags=["v1"], progress=False, **options)


@pytest.mark.parametrize("concurrency", [128, None])
def test_cost_exceeds_its_limit_by_one_call_at_most(ws, counting, concurrency):
    counting.cost = lambda: 1.0
    sweep = swept(ws, limits={"max_cost_usd": 5}, concurrency=concurrency)
    assert sweep.state == "stopped"
    assert 5 <= counting.executed.total() <= 6


def test_one_call_that_costs_more_than_the_limit_is_the_only_one(ws, counting):
    counting.cost = lambda: 10.0
    sweep = swept(ws, limits={"max_cost_usd": 0.5}, concurrency=128)
    assert sweep.state == "stopped"
    assert counting.executed.total() == 1


def test_limit_counts_what_earlier_sessions_spent(ws, counting):
    counting.cost = lambda: 1.0
    swept(ws, limits={"max_cost_usd": 5}, concurrency=128)
    sweep = swept(ws, limits={"max_cost_usd": 8}, concurrency=128)
    assert 8 <= counting.executed.total() <= 9
    assert progress_of(sweep).cost_usd == counting.executed.total()


def test_limit_holds_when_some_answers_are_lost(ws, counting):
    counting.cost = lambda: 1.0
    counting.faults = {"reset after": 0.2}
    swept(ws, CASES[:40], limits={"max_cost_usd": 5}, concurrency=16)
    assert counting.executed.total() <= 7


@pytest.mark.parametrize("wrong", [-1e9, math.nan, -math.inf])
def test_cost_that_cannot_be_one_does_not_disable_the_limit(ws, counting, wrong):
    costs = itertools.chain([1.0, wrong], itertools.repeat(1.0))
    counting.cost = lambda: next(costs)
    sweep = swept(ws, limits={"max_cost_usd": 5}, concurrency=8)
    assert sweep.state == "stopped"
    assert counting.executed.total() <= 7
    assert 0 < progress_of(sweep).cost_usd <= 6


def test_cost_that_cannot_be_one_is_noted(ws, counting):
    counting.cost = lambda: -1.0
    sweep = swept(ws, CASES[:4], limits={"max_cost_usd": 5})
    assert "cost" in (progress_of(sweep).cost_problem or "")


def test_calls_run_at_once_when_their_cost_is_known(ws, counting):
    """The limit of 150 USD leaves room for many calls at once."""
    counting.cost, counting.latency = (lambda: 1.0), 0.1
    swept(ws, limits={"max_cost_usd": 150}, concurrency=64)
    assert 150 <= counting.executed.total() <= 151
    times = [(each["start"], each["end"]) for each in counting.kept.values()]
    assert max(sum(a <= start < b for a, b in times) for start, _ in times) > 8


def test_limit_of_seconds_takes_effect_while_calls_are_under_way(ws, counting):
    counting.latency = 0.2
    sweep = swept(ws, limits={"max_seconds": 1}, concurrency=4)
    assert sweep.state == "stopped"
    assert counting.executed.total() < len(CASES) / 2  # 10 s for all of them


def test_limit_of_seconds_begins_no_call_while_one_hangs(ws, counting):
    counting.held = True
    sweep = swept(ws, limits={"max_seconds": 0.5}, concurrency=2, background=True)
    wait_until(lambda: counting.posts == 2)
    wait_until(lambda: sweep.state == "stopping")
    counting.held = False
    sweep.wait(LONG)
    assert counting.executed.total() == 2
