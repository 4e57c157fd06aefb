"""Sweeps whose calls are made in other processes."""

from __future__ import annotations

import multiprocessing
import threading
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

import pytest

import vellum_nb as vnb

CASES = [{"text": str(number)} for number in range(12)]


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
    calls, reached, may_end = [], threading.Event(), threading.Event()

    def count(text: str) -> str:
        calls.append(text)
        if text == "3":
            reached.set()
            assert may_end.wait(60)
        return text.upper()

    ws.server.deploy(count, name="count", release_tags=["v1"])
    options = {"release_tags": ["v1"], "concurrency": 2}
    with pool() as executor:
        sweep = ws.sweep("count", CASES, executor=executor, background=True, **options)
        assert reached.wait(60)
        for process in multiprocessing.active_children():
            process.kill()
        with pytest.raises(BrokenProcessPool):
            sweep.wait()
    assert 0 < sweep.progress().ended < len(CASES)
    may_end.set()
    with pool() as executor:
        again = ws.sweep("count", CASES, executor=executor, **options)
    assert (again.id, again.state) == (sweep.id, "done")
    texts = sorted(case["text"] for case in CASES)
    assert sorted(calls) == sorted(run.inputs["text"] for run in again.runs()) == texts
