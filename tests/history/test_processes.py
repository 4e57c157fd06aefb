"""Processes that are killed while they record, and processes that write one file at once."""

import os
import random
import subprocess
import sys
import time
from contextlib import ExitStack

import pytest
import recorder

from vellum_nb import History

THREADS = 3

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the recorder forks")


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_killing_the_recording_process_loses_no_acknowledged_run(forks, place):
    chance = random.Random(20260701)  # noqa: S311  (no secret depends on it)
    is_server = str(place).startswith("postgresql:")
    rounds = 6 if is_server else 50
    acknowledged, started = 0, 0
    for number in range(rounds):
        name = f"round{number}"
        with forks.process(recorder.__file__, "record_for_ever", place, name) as process:
            # From before the history is open, by time, to the midst of some runs, by their number.
            by_number = is_server or number % 2
            most = chance.randrange(40) if by_number else 0
            lines = [process.stdout.readline().split() for _ in range(most)]
            time.sleep(0 if by_number else chance.uniform(0, 0.1))
            assert process.is_alive
            process.kill()
            lines += [line.split() for line in process.stdout]
        began = {run_id for word, run_id in lines if word == "began"}
        ended = {run_id for word, run_id in lines if word == "ended"}
        with History(place) as history:
            runs = {run.id: run for run in history.runs(deployment=name)}
        assert began <= runs.keys()
        assert all(runs[one].state == "FULFILLED" for one in ended)
        assert all(runs[one].outputs == {"reply": one} for one in ended)
        in_flight = [run for run in runs.values() if run.state == "STARTED"]
        assert len(in_flight) <= THREADS
        acknowledged += len(ended)
        started += len(in_flight)
    assert acknowledged > rounds
    assert started > 0, "no kill came in the midst of a run: the test has lost its teeth"


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_eight_processes_open_and_write_one_fresh_history_at_once(forks, request, tmp_path):
    places = [tmp_path / f"fresh{number}.db" for number in range(15)]
    for place in (*places, request.getfixturevalue("postgres").fresh()):
        with ExitStack() as stack:
            racers = [
                stack.enter_context(forks.process(recorder.__file__, "race", place, 10))
                for _ in range(8)
            ]
            assert [racer.stdout.readline() for racer in racers] == ["ready\n"] * 8
            for racer in racers:
                racer.write_line()
            assert [racer.stdout.readline() for racer in racers] == ["done\n"] * 8
        with History(place) as history:
            assert history.count(state="FULFILLED") == 8 * 10


FORKED = """
import os, sys, threading
from datetime import UTC, datetime
from vellum_nb import History, HistoryError
from vellum_nb.models import Run
def run(name):
    now = datetime.now(UTC)
    return Run(id=name, deployment="d", release_tag="v", timestamp=now, inputs={}, case_id="c")
def fork(work):
    pid = os.fork()
    if pid == 0:
        os._exit(0 if work() else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
"""


def forked(place, code):
    command = [sys.executable, "-W", "ignore", "-c", FORKED + code, str(place)]
    assert subprocess.run(command, check=False, timeout=60).returncode == 0


@pytest.mark.slow
@pytest.mark.usefixtures("folder")
def test_a_forked_process_records_into_the_same_history(place):
    code = """
with History(sys.argv[1]) as history, History(":memory:") as memory:
    history.begin(run("parent"))
    def child():
        history.begin(run("child"))
        try:
            memory.count()
        except HistoryError:
            return history.count() == 2
    fork(child)
    history.begin(run("after"))
    assert {run.id for run in history.runs()} == {"parent", "child", "after"}
"""
    forked(place, code)


@pytest.mark.slow
def test_children_that_are_forked_while_threads_write_do_not_hang(path):
    code = """
stop = threading.Event()
def work(history, thread):
    number = 0
    while not stop.is_set():
        number += 1
        history.begin(run(f"{thread}-{number}"))
        history.count()
with History(sys.argv[1]) as history:
    threads = [threading.Thread(target=work, args=(history, n)) for n in range(4)]
    for thread in threads:
        thread.start()
    for n in range(40):
        fork(lambda: history.begin(run(f"child-{n}")) and history.count() > n)
    stop.set()
    for thread in threads:
        thread.join()
    assert {run.id for run in history.runs()} >= {f"child-{n}" for n in range(40)}
"""
    forked(path, code)
