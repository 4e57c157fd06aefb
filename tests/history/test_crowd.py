"""Many processes on one history at once: none is locked out, and no run is lost or doubled."""

import os
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import vellum_nb as vnb
from vellum_nb.history import Sweeps

pytestmark = [
    pytest.mark.slow,
    pytest.mark.usefixtures("folder"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the crowd is made by forks"),
]
CROWD = Path(__file__).with_name("crowd.py")


def test_writers_sweeps_readers_and_long_transactions_lose_no_run(place):
    done = subprocess.run(
        [sys.executable, CROWD, str(place)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert "locked" not in done.stderr
    *lines, last = done.stdout.splitlines()
    others = 9 if str(place).startswith("postgresql:") else 11
    assert last == f"gone {[-signal.SIGKILL] * 2 + [0] * others}", done.stderr
    ended = [line.split()[1] for line in lines if line.startswith("ended")]
    notes = {line.split()[1]: line.split(maxsplit=2)[2] for line in lines if line[:5] == "noted"}
    with vnb.History(place) as history:
        for number in history.deletions()["deletion"]:
            history.undelete(int(number))
        runs = history.runs()
        assert history.search("echo")["id"].is_unique
        assert [sweep.ended is not None for sweep in Sweeps(history).every()] == [True] * 2
    assert Counter(run.id for run in runs).most_common(1)[0][1] == 1
    assert {run.id for run in runs if run.state == "FULFILLED"} >= set(ended)
    assert {run.id: run.note for run in runs if run.note} == notes
    assert notes
    assert sum(run.deployment == "plain" for run in runs) == 4 * 25
    assert sum(run.sweep_id is not None for run in runs) == 2 * 24
    assert sum(run.state == "STARTED" for run in runs) <= 2
    assert any(run.deployment == "victim" for run in runs), "no process was killed while writing"
    if others > 9:
        assert vnb.check_history(place).ok
        assert vnb.check_history(f"{place}.copy").ok
