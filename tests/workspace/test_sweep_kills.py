"""Sweeps whose process is killed again and again, on a server that fails in every way it can.

``SWEEP_KILLS=300 pytest tests/workspace/test_sweep_kills.py -s`` kills more often. As a program of
its own, which has imported everything, it forks a process that sweeps for each line on its stdin,
``URL KEY HISTORY NAME CALLS``; prints its id, and how it ended.
"""

import json
import os
import random
import select
import signal
import subprocess
import sys
import traceback
import urllib.request
from collections import Counter
from pathlib import Path

import pytest

import vellum_nb as vnb
from vellum_nb.history import Sweeps
from vellum_nb.sweep import retry_policy

KILLS = int(os.environ.get("SWEEP_KILLS", "24"))
CALLS = 500
SEED = int(os.environ.get("SWEEP_SEED", "20261125"))
KEY = "sk-counting-0123456789"
TAGS = ["v1", "v2"]

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the sweeper forks"),
    pytest.mark.slow,
]


def sweep(url, key, history, name, calls):
    # The server lists executions at once; a life that is shorter than the look-ups, 8 s, would
    # come to nothing, and the test take minutes.
    retry_policy.SHORTEST_S = 0.0
    with vnb.connect(url, api_key=key, history=history, timeout=(10, 0.5)) as ws:
        cases = [{"text": f"{name} {n}"} for n in range(int(calls) // len(TAGS))]
        ws.sweep("count", cases, release_tags=TAGS, concurrency=32)


def fork_sweepers():
    vnb.connect  # noqa: B018  (has everything imported)
    for line in sys.stdin:
        pid = os.fork()
        if pid == 0:
            status = 1
            try:
                sweep(*line.split())
                status = 0
            except BaseException:  # noqa: BLE001  (its status says so)
                traceback.print_exc()
            finally:
                os._exit(status)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def program(name, *arguments):
    command = [sys.executable, Path(__file__).with_name(name), *arguments]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


@pytest.fixture
def server_url():
    with program("counting_server.py", str(SEED)) as process:
        yield process.stdout.readline().strip()
        process.stdin.close()


@pytest.fixture
def sweeper():
    with program(Path(__file__).name) as process:
        yield process
        process.stdin.close()


def swept(sweeper, order, seconds):
    """Have it swept for so long; return how the process ended."""
    print(*order, file=sweeper.stdin, flush=True)
    pid = int(sweeper.stdout.readline())
    if not select.select([sweeper.stdout], [], [], seconds)[0]:
        os.kill(pid, signal.SIGKILL)
    return int(sweeper.stdout.readline())


def executed(url):
    request = urllib.request.Request(f"{url}/executed", headers={"X-API-Key": KEY})  # noqa: S310
    with urllib.request.urlopen(request, timeout=20) as reply:  # noqa: S310
        return Counter(json.load(reply))


def ended(path):
    """Return how many sweeps have come to their end."""
    with vnb.History(path) as history:
        return sum(each.ended is not None for each in Sweeps(history).every())


def check(path, name, counts):
    """Check that all of a sweep is there, once and right; return the external ids of its runs."""
    with vnb.History(path) as history:
        runs = [run for run in history.runs() if run.inputs["text"].startswith(f"{name} ")]
    assert len({run.sweep_id for run in runs}) == 1
    assert len(runs) == CALLS, "a planned run is missing, or twice in the history"
    assert {run.state for run in runs} == {"FULFILLED"}
    assert len({(run.release_tag, run.case_id) for run in runs}) == CALLS
    for run in runs:
        assert run.outputs == {"said": f"{run.release_tag} {run.inputs['text']}"}
        assert counts[run.external_id] == 1, "it was executed more than once, or never"
    return {run.external_id for run in runs}


def test_a_sweep_that_is_killed_again_and_again_loses_no_run_and_pays_none_twice(
    server_url, sweeper, tmp_path
):
    chance = random.Random(SEED)
    path = tmp_path / "runs.db"
    kills, number, known = 0, 0, set()
    while kills < KILLS:
        number += 1
        order = (server_url, KEY, path, f"sweep{number}", CALLS)
        # From before the plan is kept to the midst of the last runs. The longest life grows: one
        # that ends before a look-up may conclude that a run never started gets nowhere.
        longest = 0.4
        while (status := swept(sweeper, order, chance.uniform(0, longest))) == -signal.SIGKILL:
            kills += 1
            longest *= 1.05
            if ended(path) == number:  # killed on its way out: another call is another sweep
                break
        assert status == 0 or ended(path) == number
        known |= check(path, f"sweep{number}", executed(server_url))
    counts = executed(server_url)
    assert counts.keys() == known, "something was executed that is not in the history"
    assert set(counts.values()) == {1}
    print(f"{kills} kills, {number} sweeps of {CALLS} calls, each executed once")


if __name__ == "__main__":
    fork_sweepers()
