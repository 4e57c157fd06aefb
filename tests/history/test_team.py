"""Many processes on one server at once: no run is lost, and none is there twice."""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

import vellum_nb as vnb

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not hasattr(os, "fork"), reason="the team is made by forks"),
]
TEAM = Path(__file__).with_name("team.py")
SECONDS = os.environ.get("VELLUM_NB_TEAM_SECONDS", "8")


def test_who_records_sweeps_notes_and_deletes_at_once_loses_nothing(
    postgres_url, tmp_path, monkeypatch
):
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    command = [sys.executable, "-W", "error", TEAM, postgres_url, tmp_path, SECONDS]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    *told, last = done.stdout.splitlines()
    assert last == f"gone {[0] * 7}", done.stderr
    ended = [line.split()[1] for line in told if line.startswith("ended")]
    notes = {line.split()[1]: line.split(maxsplit=2)[2] for line in told if line[:5] == "noted"}
    with vnb.History(postgres_url) as history:
        for number in history.deletions()["deletion"]:
            history.undelete(int(number))
        runs = history.runs()
        assert history.search("echo")["id"].is_unique
    assert Counter(run.id for run in runs).most_common(1)[0][1] == 1
    assert {run.id for run in runs if run.state == "FULFILLED"} == set(ended)
    assert {run.id: run.note for run in runs if run.note} == notes
    assert len(ended) > 20  # about 200 where nothing else is going on
    assert notes
