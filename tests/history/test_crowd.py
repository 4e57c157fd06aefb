"""Many processes on one file at once: nobody is told that it is locked, and no run is lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import vellum_nb as vnb

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the crowd is made by forks"),
]
CROWD = Path(__file__).with_name("crowd.py")
WRITERS, SWEEPS, HOLDERS = 4, 2, 3


def test_eight_writers_a_reader_and_long_transactions_lose_no_run(path):
    done = subprocess.run(
        [sys.executable, CROWD, path], capture_output=True, text=True, check=False, timeout=120
    )
    assert done.returncode == 0, done.stderr
    assert "locked" not in done.stderr
    *told, last = done.stdout.splitlines()
    killed = -signal.SIGKILL
    assert last == f"gone {[killed] * 2 + [0] * (WRITERS + SWEEPS + HOLDERS)}", done.stderr
    ended = {line.split()[1] for line in told if line.startswith("ended")}
    with vnb.History(path) as history:
        runs = {run.id: run for run in history.runs()}
        kept = history.sweeps.every()
    assert {name for name in ended if runs[name].state == "FULFILLED"} == ended
    assert sum(run.deployment == "plain" for run in runs.values()) == WRITERS * 25
    assert [sweep.ended is not None for sweep in kept] == [True] * SWEEPS
    assert sum(run.sweep_id is not None for run in runs.values()) == SWEEPS * 24
    victims = [run for run in runs.values() if run.deployment == "victim"]
    assert victims, "nobody was killed in the midst of writing: the test has lost its teeth"
    assert sum(run.state == "STARTED" for run in runs.values()) <= 2
    assert vnb.check_history(path).ok
