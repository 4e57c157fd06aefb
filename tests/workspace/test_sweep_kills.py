"""Sweeps whose process is killed again and again, on a server that fails in every way it can.

``SWEEP_KILLS=300 pytest tests/workspace/test_sweep_kills.py -s`` kills more often.
"""

from __future__ import annotations

import json
import os
import random
import select
import signal
import subprocess
import sys
import urllib.request
from collections import Counter
from pathlib import Path

import pytest

from vellum_nb import History

KILLS = int(os.environ.get("SWEEP_KILLS", "24"))
CALLS = 500
SEED = int(os.environ.get("SWEEP_SEED", "20261125"))
KEY = "sk-counting-0123456789"
HERE = Path(__file__).parent

pytestmark = [
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the sweeper forks"),
    pytest.mark.slow,
]


def program(name, *arguments):
    return subprocess.Popen(
        [sys.executable, HERE / name, *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.fixture
def server_url():
    with program("counting_server.py", str(SEED)) as process:
        yield process.stdout.readline().strip()
        process.stdin.close()


@pytest.fixture
def sweeper():
    with program("sweeper.py") as process:
        yield process
        process.stdin.close()


def read(sweeper, word):
    while True:
        line = sweeper.stdout.readline()
        assert line, "the sweeper died"
        if line.startswith(word):
            return line.split(maxsplit=1)[1].strip()


def swept(sweeper, order, seconds):
    """Have it swept for so long; return how the process ended."""
    print(*order, file=sweeper.stdin, flush=True)
    pid = int(read(sweeper, "pid"))
    ready, _, _ = select.select([sweeper.stdout], [], [], seconds)
    if not ready:
        os.kill(pid, signal.SIGKILL)
    return int(read(sweeper, "gone"))


def executed(url):
    request = urllib.request.Request(f"{url}/executed", headers={"X-API-Key": KEY})  # noqa: S310
    with urllib.request.urlopen(request, timeout=20) as reply:  # noqa: S310
        return Counter(json.load(reply))


def ended(path):
    """Return how many sweeps have come to their end."""
    with History(path) as history:
        return sum(each.ended is not None for each in history.sweeps.every())


def check(path, name, counts):
    """Check that all of a sweep is there, once and right; return the external ids of its runs."""
    with History(path) as history:
        sweeps = [each for each in history.sweeps.every() if history.sweeps.states(each.id)]
        runs = [run for run in history.runs() if run.inputs["text"].startswith(f"{name} ")]
    assert len({run.sweep_id for run in runs}) == 1
    assert len(runs) == CALLS, "a planned run is missing, or twice in the history"
    assert {run.state for run in runs} == {"FULFILLED"}
    assert len({(run.release_tag, run.case_id) for run in runs}) == CALLS
    for run in runs:
        assert run.outputs == {"said": f"{run.release_tag} {run.inputs['text']}"}
        assert counts[run.external_id] == 1, "it was executed more than once, or never"
    assert sweeps
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
