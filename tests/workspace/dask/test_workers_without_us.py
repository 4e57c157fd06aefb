"""Clusters that cannot import vellum_nb."""

from __future__ import annotations

import subprocess
import sys
from contextlib import contextmanager

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


@contextmanager
def started(program, *options):
    command = [sys.executable, "-m", f"distributed.cli.{program}", *options]
    with subprocess.Popen(command) as process:
        try:
            yield
        finally:
            process.terminate()


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


def test_a_scheduler_needs_nothing_of_us(server, ws, hide, tmp_path):
    options = ["--host", "127.0.0.1", "--no-dashboard"]
    options += ["--scheduler-file", str(tmp_path / "scheduler.json")]
    with (
        started("dask_scheduler", *options, "--port", "0", "--preload", hide),
        started("dask_worker", *options, "--nthreads", "4", "--local-directory", str(tmp_path)),
        Client(scheduler_file=options[-1], timeout=60) as client,
    ):
        sweep = ws.sweep("count", CASES, executor=client.get_executor())
    assert sweep.state == "done"
    assert server.executed == {run.external_id: 1 for run in sweep.runs()}
