"""Limits of cost and time, on a server whose streams report the cost that the test sets."""

import pytest
from counting_server import KEY
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


def test_limit_holds_when_some_answers_are_lost(ws, counting):
    counting.cost = lambda: 1.0
    counting.faults = {"reset after": 0.2}
    swept(ws, CASES[:40], limits={"max_cost_usd": 5}, concurrency=16)
    assert counting.executed.total() <= 7


def test_limit_of_seconds_begins_no_call_while_one_hangs(ws, counting):
    counting.held = True
    sweep = swept(ws, limits={"max_seconds": 0.5}, concurrency=2, background=True)
    wait_until(lambda: counting.posts == 2)
    wait_until(lambda: sweep.state == "stopping")
    counting.held = False
    sweep.wait(LONG)
    assert counting.executed.total() == 2
