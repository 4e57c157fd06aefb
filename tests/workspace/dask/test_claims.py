"""Calls on a Dask cluster that lets go of them, or loses what they returned."""

from __future__ import annotations

import os
import signal
from concurrent.futures import CancelledError
from datetime import UTC, datetime

import pytest
from distributed import Client
from distributed.scheduler import KilledWorker
from piped import Piped

from vellum_nb.models import Run
from vellum_nb.sweep.executors import remote_executor
from vellum_nb.sweep.retry_policy import PreparedRun

LONG = 300  # seconds; waits that end long before

pytestmark = pytest.mark.slow


@pytest.fixture
def pipe(tmp_path):
    """Return what makes pipes; opened to write to, one waits for who reads it."""

    def made(name):
        os.mkfifo(tmp_path / name)
        return tmp_path / name

    return made


@pytest.fixture
def task():
    run = Run(
        id="r-1",
        external_id="r-1",
        deployment="count",
        release_tag="v1",
        timestamp=datetime.now(UTC),
        inputs={},
        case_id="c",
    )
    return PreparedRun(run, ())


def kill(cluster):
    (worker,) = cluster.workers.values()
    os.kill(worker.pid, signal.SIGKILL)


def test_a_call_that_was_given_up_while_its_worker_loaded_it_sends_nothing(
    cluster, pipe, task, until, tmp_path
):
    made = cluster(n_workers=1, threads_per_worker=1)
    calls, others = pipe("calls"), pipe("others")
    first, second = tmp_path / "first", tmp_path / "second"
    with Client(made) as client:
        executor = remote_executor(client.get_executor())
        given_up = executor.submit(Piped(calls, first), task)
        with calls.open("w"):
            given_up.cancel()
            until(lambda: not made.scheduler.tasks)
        other = executor.submit(Piped(others, second), task)
        others.open("w").close()
        assert other.result(LONG) == "done"
        until(lambda: not client.list_datasets())
    assert (first.exists(), second.exists()) == (False, True)


def test_a_call_that_fails_after_its_result_was_lost_is_told(cluster, pipe, task, tmp_path):
    made = cluster({"distributed.scheduler.allowed-failures": 0}, n_workers=1, threads_per_worker=1)
    calls, answers, left = pipe("calls"), pipe("answers"), tmp_path / "left"
    with Client(made) as client:
        future = remote_executor(client.get_executor()).submit(Piped(calls, left, answers), task)
        calls.open("w").close()
        with answers.open("w"):  # its result is read now, and never arrives
            kill(made)
            with calls.open("w"):  # another worker computes it anew
                kill(made)
                with pytest.raises(KilledWorker):
                    future.result(LONG)


def test_an_executor_that_is_shut_down_waits_for_its_calls_and_takes_no_more(
    cluster, pipe, task, tmp_path
):
    made = cluster(n_workers=1, threads_per_worker=1)
    calls, left = pipe("calls"), tmp_path / "left"
    with Client(made) as client:
        with client.get_executor() as executor:
            future = remote_executor(executor).submit(Piped(calls, left), task)
            calls.open("w").close()
        assert left.exists()
        assert future.result(LONG) == "done"
        with pytest.raises(RuntimeError, match="shut down"):
            remote_executor(executor).submit(Piped(calls, left), task)


def test_a_client_that_closes_cancels_its_calls(cluster, pipe, task, tmp_path):
    made = cluster(n_workers=1, threads_per_worker=1)
    calls = pipe("calls")
    with Client(made) as client:
        executor = remote_executor(client.get_executor())
        future = executor.submit(Piped(calls, tmp_path / "left"), task)
        with calls.open("w"):
            client.close()
            with pytest.raises(CancelledError):
                future.result(LONG)
