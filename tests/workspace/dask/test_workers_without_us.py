"""Clusters that cannot import vellum_nb."""

from __future__ import annotations

import subprocess
import sys

import pytest
from distributed import Client

CASES = [{"text": str(number)} for number in range(20)]
HIDE = """
import importlib.abc, sys
class Hide(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "vellum_nb":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hide())
"""

pytestmark = pytest.mark.slow


@pytest.fixture
def hide(tmp_path):
    path = tmp_path / "hide.py"
    path.write_text(HIDE)
    return str(path)


def stopped_with_advice(ws, client, server):
    sweep = ws.sweep("count", CASES, executor=client.get_executor())
    assert sweep.state == "stopped"
    told = " ".join(repr(sweep).split())
    assert "a worker of the executor cannot import vellum_nb" in told
    assert "install" in told
    assert "Traceback" not in told
    assert server.posts == 0
    assert sweep.runs() == []
    return sweep


def test_a_sweep_stops_with_advice_and_goes_on_where_workers_have_it(
    cluster, server, ws, hide, tmp_path
):
    with Client(cluster({"distributed.worker.preload": [hide]})) as client:
        sweep = stopped_with_advice(ws, client, server)
    with Client(cluster()) as client:
        again = ws.sweep("count", CASES, executor=client.get_executor())
    assert (again.id, again.state) == (sweep.id, "done")
    assert server.executed == {run.external_id: 1 for run in again.runs()}


def test_a_scheduler_without_it_is_told_as_well(server, ws, hide, tmp_path):
    where = tmp_path / "scheduler.json"
    options = ["--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--preload", hide]
    command = [sys.executable, "-m", "distributed.cli.dask_scheduler", *options]
    with subprocess.Popen([*command, "--scheduler-file", where]) as process:
        try:
            with Client(scheduler_file=str(where), timeout=60) as client:
                stopped_with_advice(ws, client, server)
        finally:
            process.terminate()
