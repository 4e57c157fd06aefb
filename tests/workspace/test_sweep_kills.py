"""Sweeps whose process is killed again and again, on a server that fails in every way it can.

``SWEEP_KILLS=300 pytest tests/workspace/test_sweep_kills.py -s`` kills more often.
"""

import json
import os
import random
import select
import subprocess
import sys
import urllib.request
from collections import Counter
from pathlib import Path

import pytest
from fork_kit import say

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
    say("done")


@pytest.fixture
def server_url():
    command = [sys.executable, Path(__file__).with_name("counting_server.py"), str(SEED)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen(command, **pipes) as process:
        yield process.stdout.readline().strip()
        process.stdin.close()


def swept(forks, order, seconds):
    """Have it swept for so long; return whether the process was done before it was killed."""
    with forks.process(__file__, "sweep", *order) as process:
        has_ended = select.select([process.stdout], [], [], seconds)[0]
        assert not has_ended or process.stdout.readline() == "done\n"
        return bool(has_ended)


def executed(url):
    request = urllib.request.Request(f"{url}/executed", headers={"X-API-Key": KEY})  # noqa: S310
    with urllib.request.urlopen(request, timeout=120) as reply:  # noqa: S310
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
    server_url, forks, tmp_path
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
        while not swept(forks, order, chance.uniform(0, longest)):
            kills += 1
            longest *= 1.05
            if ended(path) == number:  # killed on its way out: another call is another sweep
                break
        known |= check(path, f"sweep{number}", executed(server_url))
    counts = executed(server_url)
    assert counts.keys() == known, "something was executed that is not in the history"
    assert set(counts.values()) == {1}
    print(f"{kills} kills, {number} sweeps of {CALLS} calls, each executed once")
