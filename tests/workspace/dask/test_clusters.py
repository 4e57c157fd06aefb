"""Sweeps on a Dask cluster: workers are killed, cannot import us, and never show the key."""

import os
import pickle
import re
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from contextlib import contextmanager

import cloudpickle
import pytest
from counting_server import KEY, check_all_once
from runs_kit import progress_of

from vellum_nb.client.client import client_settings
from vellum_nb.errors import InputError
from vellum_nb.sweep.executors import sealed
from vellum_nb.workspace.sweeps import SweepAttempt

CASES = [{"text": str(number)} for number in range(30)]
TAGS = ["v1", "v2"]
LONG = 60
DEBUG = {
    "logging": {"distributed": "debug"},
    "distributed.admin.log-length": 100_000,
    "distributed.worker.multiprocessing-method": "spawn",  # its standard error is the test's
}
HIDE = """
import importlib.abc, sys
class Hide(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "vellum_nb":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Hide())
"""

pytestmark = pytest.mark.slow


def dask_client(*arguments, **options):
    from distributed import Client  # as in conftest.py

    return Client(*arguments, **options)


def kill_one(cluster, killed, until):
    """Kill a worker that is up; Dask would give up one that is killed while it starts."""

    def up():
        processes = [each.process for each in cluster.workers.values()]
        return {each.pid for each in processes if each.status.name == "running"} - {None, *killed}

    until(up)
    killed.append(up().pop())
    os.kill(killed[-1], signal.SIGKILL)


@pytest.mark.usefixtures("quick_look_ups")
@pytest.mark.parametrize("allowed_failures", [0, 3])  # 3: as Dask comes, which runs calls again
def test_killed_workers_lose_no_run_and_double_none(cluster, server, ws, until, allowed_failures):
    failures = {"distributed.scheduler.allowed-failures": allowed_failures}
    made = cluster(failures, threads_per_worker=16)  # a worker can get more than half of the calls
    killed = []
    with dask_client(made) as client:
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
        check_all_once(server, sweep, CASES, tags=TAGS)
        assert made.scheduler.task_prefixes["vellum_nb_call"].suspicious >= 8
        until(lambda: not client.list_datasets())


@pytest.mark.parametrize(
    ("options", "repeats"),
    [
        ({"n_workers": 1, "threads_per_worker": 4}, {"pure": True, "retries": 5}),  # overruled
        ({"n_workers": 1, "processes": False, "host": None}, {}),
    ],
)
def test_every_call_is_made_once_on_any_cluster(cluster, server, ws, options, repeats):
    with dask_client(cluster(**options)) as client:
        with pytest.raises(InputError, match=r"\.get_executor\(\)"):
            ws.sweep("count", CASES, executor=client)
        executor = client.get_executor(**repeats)
        sweep = ws.sweep("count", CASES, release_tags=TAGS, executor=executor, concurrency=4)
    check_all_once(server, sweep, CASES, tags=TAGS)


@pytest.mark.usefixtures("quick_look_ups")
def test_a_sweep_ends_whose_client_is_closed_under_it(cluster, server, ws, until):
    with dask_client(cluster(n_workers=1, processes=False, host=None)) as client:
        options = {"release_tags": TAGS, "concurrency": 4, "background": True}
        sweep = ws.sweep("count", CASES, executor=client.get_executor(), **options)
        until(lambda: server.posts > 8)
    with pytest.raises(Exception, match="clos"):
        sweep.wait(LONG)
    assert sweep.state == "stopped"
    check_all_once(server, ws.sweep("count", CASES, release_tags=TAGS), CASES, tags=TAGS)


@pytest.fixture
def hide(tmp_path):
    path = tmp_path / "hide.py"
    path.write_text(HIDE)
    return str(path)


def test_where_workers_cannot_import_us_a_sweep_stops_with_advice(cluster, server, ws, hide):
    with dask_client(cluster({"distributed.worker.preload": [hide]}, n_workers=1)) as client:
        sweep = ws.sweep("count", CASES, release_tags=TAGS, executor=client.get_executor())
    advice = "a worker of the executor cannot import vellum_nb: install"
    assert (sweep.state, progress_of(sweep).why.startswith(advice)) == ("stopped", True)
    assert (server.posts, sweep.runs()) == (0, [])
    with dask_client(cluster(n_workers=1)) as client:
        again = ws.sweep("count", CASES, release_tags=TAGS, executor=client.get_executor())
    assert again.id == sweep.id
    check_all_once(server, again, CASES, tags=TAGS)


@contextmanager
def started(program, *options):
    command = [sys.executable, "-m", f"distributed.cli.{program}", *options]
    with subprocess.Popen(command) as process:
        try:
            yield
        finally:
            process.terminate()


def test_a_scheduler_needs_nothing_of_us(server, ws, hide, tmp_path):
    options = ["--host", "127.0.0.1", "--no-dashboard"]
    options += ["--scheduler-file", str(tmp_path / "scheduler.json")]
    with (
        started("dask_scheduler", *options, "--port", "0", "--preload", hide),
        started("dask_worker", *options, "--nthreads", "4", "--local-directory", str(tmp_path)),
        dask_client(scheduler_file=options[-1], timeout=60) as client,
    ):
        sweep = ws.sweep("count", CASES, release_tags=TAGS, executor=client.get_executor())
    check_all_once(server, sweep, CASES, tags=TAGS)


def crawled(roots):
    """Return every page that can be reached within the dashboards, by its address."""
    pages, todo = {}, list(roots)
    while todo:
        url = todo.pop()
        if url not in pages:
            try:
                reply = urllib.request.urlopen(url, timeout=120)  # noqa: S310
            except urllib.error.HTTPError as exc:
                reply = exc
            with reply:
                pages[url] = reply.read().decode(errors="replace")
            links = re.findall(r'(?:href|src)="([^"#]+)"', pages[url])
            links = (urllib.request.urljoin(url, link) for link in links)
            todo += [each for each in links if each.startswith("http://127.0.0.1")]
    return pages


def dashboards(made):
    paths = (
        "status", "info/main/workers.html", "info/logs.html", "json/index.html", "metrics",
        "json/identity.json", "json/counts.json", "sitemap.json", "info/exceptions.html",
    )  # fmt: skip
    workers = made.scheduler.workers.values()
    services = [made.scheduler.services["dashboard"].port]
    services += [each.services["dashboard"] for each in workers]
    return [f"http://127.0.0.1:{port}/{path}" for port in services for path in paths]


def test_the_key_is_on_no_page_and_in_no_log(cluster, server, ws, until, capfd):
    made = cluster(DEBUG)
    with dask_client(made) as client:
        server.held = True
        options = {"concurrency": 6, "background": True}
        sweep = ws.sweep("count", CASES[:12], executor=client.get_executor(), **options)
        until(lambda: server.posts == 6)
        keys = list(made.scheduler.tasks)
        port = made.scheduler.services["dashboard"].port
        kinds = ("task", "call-stack")
        tasks = [f"http://127.0.0.1:{port}/info/{k}/{key}.html" for key in keys for k in kinds]
        pages = crawled([*dashboards(made), *tasks])
        pages["dump"] = str(client.sync(made.scheduler.get_cluster_state, exclude=[]))
        server.held = False
        assert sweep.wait(60).state == "done"
        attempt = SweepAttempt(client_settings(ws.client, max_connections=2, max_tries=1), "id")
        broken = client.submit(sealed(attempt, "no task"), key="vellum_nb_call-broken")
        error = broken.exception(timeout=60)
        pages |= crawled(dashboards(made))
        pages["exception"] = repr(error) + str(vars(error)) + repr(broken.traceback())
        pages["log of the scheduler"] = str(made.scheduler.get_logs(start=0))
        pages["logs of workers"] = str(client.get_worker_logs())
        pages["logs of nannies"] = str(client.get_worker_logs(nanny=True))
        pages["events"] = str(client.get_events())
    pages["outputs"] = "".join(capfd.readouterr())
    assert len(keys) >= 6  # a slow call is looked up, too
    # After five seconds, `bool` is called to see whether the client is open.
    assert all(key.startswith(("vellum_nb_call-", "bool-")) for key in keys)
    assert keys[0] in pages[tasks[0]], "the crawler saw no page of a task"
    assert "Compute Failed" in pages["outputs"], "nothing was logged"
    assert "vellum_nb_call-broken" in pages["dump"] + pages["logs of workers"]
    assert [name for name, text in pages.items() if KEY in text] == []


def test_the_pickle_holds_the_key_and_no_repr_of_it_does(ws):
    """It travels to the workers, who send it: TLS is what keeps it on the way."""
    attempt = SweepAttempt(client_settings(ws.client, max_connections=2, max_tries=1), "id")
    wire, task = pickle.dumps(attempt), sealed(attempt, "no task")
    assert KEY.encode() in wire
    assert KEY.encode() in cloudpickle.dumps(task)
    there = pickle.loads(wire)  # noqa: S301  (our own)
    reprs = [repr(each) + str(vars(each)) for each in (task, attempt, there)]
    assert KEY not in "".join(reprs)
