"""Where the key of a sweep on a Dask cluster may not be: everywhere that somebody looks."""

from __future__ import annotations

import pickle
import re
import urllib.error
import urllib.request

import cloudpickle
import pytest
from counting_server import KEY
from distributed import Client

from vellum_nb.sweep.executors import sealed
from vellum_nb.workspace.sweeps import SweepAttempt

CASES = [{"text": str(number)} for number in range(12)]
DEBUG = {"logging": {"distributed": "debug"}, "distributed.admin.log-length": 100_000}

pytestmark = pytest.mark.slow


def fetched(url):
    try:
        with urllib.request.urlopen(url, timeout=20) as reply:  # noqa: S310
            return reply.read().decode(errors="replace")
    except urllib.error.HTTPError as exc:
        return exc.read().decode(errors="replace")


def crawled(roots):
    """Return every page that can be reached within the dashboards, by its address."""
    pages, todo = {}, list(roots)
    while todo:
        url = todo.pop()
        if url not in pages:
            pages[url] = fetched(url)
            links = re.findall(r'(?:href|src)="([^"#]+)"', pages[url])
            links = (urllib.request.urljoin(url, link) for link in links)
            todo += [each for each in links if each.startswith("http://127.0.0.1")]
    return pages


def dashboards(made):
    paths = (
        "status", "info/main/workers.html", "info/logs.html", "json/index.html", "metrics",
        "json/identity.json", "json/counts.json", "sitemap.json", "info/exceptions.html",
    )  # fmt: skip
    for url in [made.scheduler.services["dashboard"].port, *worker_ports(made)]:
        for path in paths:
            yield f"http://127.0.0.1:{url}/{path}"


def worker_ports(made):
    return [state.services["dashboard"] for state in made.scheduler.workers.values()]


def test_the_key_is_on_no_page_and_in_no_log(cluster, server, ws, until, capfd):
    made = cluster(DEBUG)
    with Client(made) as client:
        server.held = True
        executor = client.get_executor()
        options = {"release_tags": ["v1"], "concurrency": 6, "background": True}
        sweep = ws.sweep("count", CASES, executor=executor, **options)
        until(lambda: server.posts == 6)
        keys = list(made.scheduler.tasks)
        tasks = [
            f"http://127.0.0.1:{made.scheduler.services['dashboard'].port}/info/{kind}/{key}.html"
            for key in keys
            for kind in ("task", "call-stack")
        ]
        pages = crawled([*dashboards(made), *tasks])
        dump = str(client.sync(made.scheduler.get_cluster_state, exclude=[]))
        server.held = False
        assert sweep.wait(60).state == "done"
        caller = SweepAttempt(ws.client.settings(max_connections=2, max_tries=1), "id")
        broken = client.submit(sealed(caller, "no task"), key="vellum_nb_call-broken")
        error = broken.exception(timeout=60)
        pages |= crawled(dashboards(made))
        pages["exception"] = repr(error) + str(vars(error)) + repr(broken.traceback())
        pages["log of the scheduler"] = str(made.scheduler.get_logs(start=0))
        pages["logs of workers"] = str(client.get_worker_logs())
        pages["logs of nannies"] = str(client.get_worker_logs(nanny=True))
        pages["events"] = str(client.get_events())
    pages["outputs"] = "".join(capfd.readouterr())
    assert len(keys) == 6
    assert all(key.startswith("vellum_nb_call-") for key in keys)
    assert keys[0] in pages[tasks[0]], "the crawler saw no page of a task"
    assert "Compute Failed" in pages["outputs"], "nothing was logged"
    assert "vellum_nb_call-broken" in dump + pages["logs of workers"]
    assert keys[0] in dump
    where = [name for name, text in {**pages, "dump": dump}.items() if KEY in text]
    assert where == []


def test_the_pickle_holds_the_key_and_no_repr_of_it_does(ws):
    """It travels to the workers, who send it: TLS is what keeps it on the way."""
    attempt = SweepAttempt(ws.client.settings(max_connections=2, max_tries=1), "id")
    wire = pickle.dumps(attempt)
    assert KEY.encode() in wire
    task = sealed(attempt, "no task")
    assert KEY.encode() in cloudpickle.dumps(task)
    assert KEY not in repr(task) + str(vars(task))
    there = pickle.loads(wire)  # noqa: S301  (our own)
    assert KEY not in repr(there) + str(vars(there)) + repr(attempt)
