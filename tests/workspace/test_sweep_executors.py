"""Sweeps whose calls are made in other processes."""

from __future__ import annotations

import multiprocessing
import pickle
import threading
from collections import Counter
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import pytest

import vellum_nb as vnb
from vellum_nb.workspace.sweeps import SweepAttempt

CASES = [{"text": str(number)} for number in range(12)]


class Counting:
    """Counts what it is asked; the fourth waits until it may end."""

    def __init__(self):
        self.asked = Counter()
        self.lock = threading.Lock()
        self.reached = threading.Event()
        self.may_end = threading.Event()

    def __call__(self, text: str) -> str:
        with self.lock:
            self.asked[text] += 1
        if text == "3":
            self.reached.set()
            assert self.may_end.wait(60)
        return text.upper()


@pytest.fixture
def ws(tmp_path):
    with (
        vnb.LocalServer() as server,
        vnb.connect(server, history=tmp_path / "runs.db", timeout=(10, 3)) as ws,
    ):
        yield ws


def pool():
    return ProcessPoolExecutor(2, mp_context=multiprocessing.get_context("spawn"))


@pytest.mark.slow
@pytest.mark.usefixtures("quick_look_ups")
def test_a_process_that_is_killed_in_mid_sweep_loses_nothing_and_doubles_nothing(ws):
    counting = Counting()
    ws.server.deploy(counting, name="count", release_tags=["v1"])
    options = {"release_tags": ["v1"], "concurrency": 2}
    with pool() as executor:
        sweep = ws.sweep("count", CASES, executor=executor, background=True, **options)
        assert counting.reached.wait(60)
        for process in multiprocessing.active_children():
            process.kill()
        with pytest.raises(BrokenProcessPool):
            sweep.wait()
    assert 0 < sweep.progress().ended < len(CASES)
    counting.may_end.set()
    with pool() as executor:
        again = ws.sweep("count", CASES, executor=executor, **options)
    assert again.id == sweep.id
    assert again.state == "done"
    assert counting.asked == Counter(case["text"] for case in CASES)
    ran = sorted(run.inputs["text"] for run in again.runs())
    assert ran == sorted(case["text"] for case in CASES)


def test_the_key_travels_as_a_secret(ws):
    caller = SweepAttempt(
        ws.client.settings(max_connections=2, max_tries=1), "id", expand_meta=False
    )
    key = ws.server.api_key
    assert key not in repr(caller)
    assert key not in str(vars(caller))
    there = pickle.loads(pickle.dumps(caller))  # noqa: S301  (our own)
    assert key not in repr(there)
