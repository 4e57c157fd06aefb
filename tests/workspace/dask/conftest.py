"""Dask clusters of real processes, and a server that executes whatever it is sent, also twice."""

import sys
from pathlib import Path

import pytest

import vellum_nb as vnb

sys.path.insert(0, str(Path(__file__).parent))  # for what the workers load
sys.path.insert(0, str(Path(__file__).parents[1]))  # for the counting server

from counting_server import KEY, CountingServer

LONG = 300.0  # seconds; waits that end long before


@pytest.fixture
def server():
    server = CountingServer(latency=0.02)
    server.refuses = False
    yield server.start()
    server.close()


@pytest.fixture
def ws(server, tmp_path):
    with vnb.connect(server.url, api_key=KEY, history=tmp_path / "runs.db", timeout=(20, 6)) as ws:
        yield ws


@pytest.fixture
def cluster(tmp_path):
    """Return what starts clusters, with Dask's configuration as keyword."""
    import dask  # here: it takes a second, in each process that collects the tests
    from distributed import LocalCluster

    opened = []

    def start(config=(), **options):
        with dask.config.set({"temporary-directory": str(tmp_path), **dict(config)}):
            defaults = {"n_workers": 2, "threads_per_worker": 8, "host": "127.0.0.1"}
            made = LocalCluster(dashboard_address="127.0.0.1:0", **{**defaults, **options})
        opened.append(made)
        return made

    config = {"distributed.deploy.lost-worker-timeout": LONG}  # else it is 15 s
    config["distributed.worker.multiprocessing-method"] = "forkserver"  # has imported Dask already
    # The profiler of a worker can hang it on Python 3.11: dask/distributed#8616.
    config["distributed.worker.profile.enabled"] = False
    with dask.config.set(config):
        yield start
        for each in opened:
            each.close(timeout=LONG)
