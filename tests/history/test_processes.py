"""Processes that are killed while they record, and processes that write one file at once."""

from __future__ import annotations

import os
import random
import select
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from vellum_nb import History

ROUNDS = 50
THREADS = 3

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="the recorder forks")


@pytest.fixture(scope="module")
def recorder():
    script = Path(__file__).with_name("recorder.py")
    with subprocess.Popen(
        [sys.executable, script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process
        process.stdin.close()


def tell(recorder, *words):
    print(*words, file=recorder.stdin, flush=True)


def lines_until_gone(recorder):
    lines = []
    while True:
        line = recorder.stdout.readline().strip()
        assert line, "the recorder died"
        if line.startswith("gone"):
            return lines, line
        lines.append(line)


@pytest.mark.slow
def test_killing_the_recording_process_loses_no_acknowledged_run(recorder, path):
    chance = random.Random(20260701)  # noqa: S311  (no secret depends on it)
    acknowledged, started = 0, 0
    for number in range(ROUNDS):
        name = f"round{number}"
        tell(recorder, "kill", path, name)
        pid = int(recorder.stdout.readline().split()[1])
        # From before the file is open to the midst of some hundred runs.
        select.select([], [], [], chance.uniform(0, 0.1))
        os.kill(pid, signal.SIGKILL)
        lines, _ = lines_until_gone(recorder)
        began = {line.split()[1] for line in lines if line.startswith("began")}
        ended = {line.split()[1] for line in lines if line.startswith("ended")}
        with History(path) as history:
            runs = {run.id: run for run in history.runs(deployment=name)}
        assert began <= runs.keys()
        assert all(runs[one].state == "FULFILLED" for one in ended)
        assert all(runs[one].outputs == {"reply": one} for one in ended)
        in_flight = [run for run in runs.values() if run.state == "STARTED"]
        assert len(in_flight) <= THREADS
        acknowledged += len(ended)
        started += len(in_flight)
    assert acknowledged > ROUNDS
    assert started > 0, "no kill came in the midst of a run: the test has lost its teeth"


@pytest.mark.slow
def test_eight_processes_open_and_write_one_fresh_file_at_once(recorder, tmp_path):
    for number in range(20):
        path = tmp_path / f"fresh{number}.db"
        tell(recorder, "race", path, 8, 25)
        _, last = lines_until_gone(recorder)
        assert last == f"gone {[0] * 8}"
        with History(path) as history:
            assert history.count(state="FULFILLED") == 8 * 25


def test_two_histories_on_one_file_see_each_others_runs(path, make_run):
    with History(path) as one, History(path) as other:
        one.begin(make_run(id="a"))
        other.begin(make_run(id="b"))
        other.finish(make_run(id="a", state="FULFILLED"))
        assert [run.id for run in one.runs()] == ["b", "a"]
        assert one.get("a").state == "FULFILLED"


def test_a_forked_process_records_into_the_same_file(path):
    code = """
import os, sys, time
from datetime import UTC, datetime
from vellum_nb import History, HistoryError
from vellum_nb.models import Run
def run(name):
    now = datetime.now(UTC)
    return Run(id=name, deployment="d", release_tag="v", timestamp=now, inputs={}, case_id="c")
with History(sys.argv[1]) as history, History(":memory:") as memory:
    history.begin(run("parent"))
    pid = os.fork()
    if pid == 0:
        history.begin(run("child"))
        try:
            memory.count()
        except HistoryError:
            os._exit(0 if history.count() == 2 else 1)
        os._exit(2)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    assert {run.id for run in history.runs()} == {"parent", "child"}
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code, str(path)], check=False, timeout=60
    )
    assert done.returncode == 0


def test_children_that_are_forked_while_threads_write_do_not_hang(path):
    code = """
import os, sys, threading
from datetime import UTC, datetime
from vellum_nb import History
from vellum_nb.models import Run
def run(name):
    now = datetime.now(UTC)
    return Run(id=name, deployment="d", release_tag="v", timestamp=now, inputs={}, case_id="c")
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
        pid = os.fork()
        if pid == 0:
            history.begin(run(f"child-{n}"))
            os._exit(0 if history.count() > n else 1)
        assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 0
    stop.set()
    for thread in threads:
        thread.join()
    ids = {run.id for run in history.runs()}
    assert ids >= {f"child-{n}" for n in range(40)}
"""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", code, str(path)], check=False, timeout=60
    )
    assert done.returncode == 0


def test_reading_much_does_not_hold_up_recording(history, make_run):
    scan = history.scan(chunk_rows=1)
    history.begin(make_run())
    history.begin(make_run())
    next(scan)
    with ThreadPoolExecutor(1) as pool, history._store.snapshot() as snapshot:
        rows = snapshot.stream("SELECT * FROM runs", rows=1)
        next(rows)
        pool.submit(history.begin, make_run()).result(20)
    assert history.count() == 3
