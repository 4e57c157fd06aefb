"""Sweeps on a Dask cluster whose workers are killed."""

from __future__ import annotations

import os
import signal

import pytest
from distributed import Client, Status

from vellum_nb.errors import InputError

CASES = [{"text": str(number)} for number in range(30)]
TAGS = ["v1", "v2"]
PLANNED = len(CASES) * len(TAGS)

pytestmark = pytest.mark.slow


def kill_one(cluster, killed, until):
    """Kill a worker that is up; Dask would give up one that is killed while it starts."""

    def up():
        processes = [each.process for each in cluster.workers.values()]
        return {each.pid for each in processes if each.status is Status.running} - {None, *killed}

    until(up)
    killed.append(up().pop())
    os.kill(killed[-1], signal.SIGKILL)


def all_is_once(sweep, server):
    runs = sweep.runs()
    assert len({(run.release_tag, run.inputs["text"]) for run in runs}) == len(runs) == PLANNED
    for run in runs:
        assert run.state == "FULFILLED"
        assert run.outputs == {"said": f"{run.release_tag} {run.inputs['text']}"}
    return server.executed == {run.external_id: 1 for run in runs}


@pytest.mark.usefixtures("quick_look_ups")
@pytest.mark.parametrize("allowed_failures", [0, 3])  # 3: as Dask comes, which runs calls again
def test_killed_workers_lose_no_run_and_double_none(cluster, server, ws, until, allowed_failures):
    made = cluster({"distributed.scheduler.allowed-failures": allowed_failures})
    killed = []
    with Client(made) as client:
        server.held = True
        options = {"release_tags": TAGS, "concurrency": 16, "background": True}
        sweep = ws.sweep("count", CASES, executor=client.get_executor(), **options)
        until(lambda: server.posts == 16)
        kill_one(made, killed, until)
        server.held = False
        for number in (1, 2):
            until(lambda number=number: server.posts > 18 * number)
            kill_one(made, killed, until)
        sweep.wait(300)
        assert sweep.state == "done", sweep
        assert all_is_once(sweep, server)
        assert made.scheduler.task_prefixes["vellum_nb_call"].suspicious >= 8
        until(lambda: not client.list_datasets())


def test_options_that_let_dask_repeat_or_share_calls_are_overruled(cluster, server, ws):
    made = cluster(n_workers=1, threads_per_worker=4)
    with Client(made) as client:
        executor = client.get_executor(pure=True, retries=5)
        sweep = ws.sweep("count", CASES, release_tags=TAGS, executor=executor, concurrency=4)
        assert sweep.state == "done"
        assert all_is_once(sweep, server)


def test_a_cluster_within_this_process_does_as_well(cluster, server, ws):
    with Client(cluster(processes=False, n_workers=1, host=None)) as client:
        sweep = ws.sweep("count", CASES, release_tags=TAGS, executor=client.get_executor())
    assert all_is_once(sweep, server)


def test_a_client_is_no_executor_and_the_message_says_what_is(cluster, ws):
    made = cluster(n_workers=1, threads_per_worker=1)
    with Client(made) as client, pytest.raises(InputError, match=r"\.get_executor\(\)"):
        ws.sweep("count", CASES, executor=client)
