"""A release tag that moves while a sweep runs is noticed, and the runs in between are marked."""

from __future__ import annotations

import threading

import pytest

import vellum_nb as vnb
from vellum_nb.errors import APIConnectionError, HistoryError
from vellum_nb.sweep.tag_watch import TagWatch


@pytest.fixture
def server():
    with vnb.LocalServer() as server:
        yield server


@pytest.fixture
def ws(server):
    with vnb.connect(server, history=":memory:") as ws:
        yield ws


class Gate:
    """A workflow that tells when it runs, and waits until it may end."""

    def __init__(self):
        self.runs = threading.Semaphore(0)
        self.may_end = threading.Semaphore(0)

    def __call__(self, text: str) -> str:
        self.runs.release()
        assert self.may_end.acquire(timeout=60)
        return f"old {text}"


def new(text: str) -> str:
    return f"new {text}"


def test_a_tag_that_moves_is_told_and_its_runs_are_marked(ws, server):
    gate = Gate()
    old = server.deploy(gate, name="echo", release_tags=["live", "fixed"])
    cases = [{"text": str(number)} for number in range(4)]
    sweep = ws.sweep("echo", cases, release_tags=["live"], concurrency=1, background=True)
    assert gate.runs.acquire(timeout=60)
    server.deploy(new, name="echo", release_tags=["live"])
    gate.may_end.release(100)
    sweep.wait()
    assert sweep.progress().moved == ("live",)
    assert "moved meanwhile: live" in repr(sweep)
    runs = sweep.runs()
    assert {run.outputs["output"].split()[0] for run in runs} == {"old", "new"}
    assert {run.release_id for run in runs} == {old.id}
    assert all(run.tag_moved for run in runs)
    assert sweep.compare().moved_tags == ("live",)


def test_a_tag_that_stays_is_not_told(ws, server):
    server.deploy(new, name="echo", release_tags=["live"])
    sweep = ws.sweep("echo", [{"text": "a"}], release_tags=["live"])
    assert sweep.progress().moved == ()
    assert not any(run.tag_moved for run in sweep.runs())


def test_a_tag_that_moved_before_a_sweep_went_on_is_told(ws, server):
    server.deploy(new, name="echo", release_tags=["live"])
    cases = [{"text": "a"}, {"text": "b"}]
    ws.sweep("echo", cases, release_tags=["live"], max_calls=1, concurrency=1)
    later = server.deploy(new, name="echo", release_tags=["live"])
    sweep = ws.sweep("echo", cases, release_tags=["live"])
    assert sweep.state == "done"
    assert sweep.progress().moved == ("live",)
    newest, oldest = sweep.runs()
    assert newest.release_id == later.id != oldest.release_id
    assert not newest.tag_moved


def release(ws, tag):
    return ws.client.retrieve_workflow_deployment_release("echo", tag)


def test_runs_after_a_look_carry_the_new_release(ws, server):
    server.deploy(new, name="echo", release_tags=["live"])
    marked = []
    seen = threading.Event()

    def mark(tag, run_ids):
        marked.append((tag, list(run_ids)))
        seen.set()

    first = release(ws, "live")
    watch = TagWatch({"live": first}, lambda tag: release(ws, tag), mark, every=0.01)
    assert watch.begins("live", "before").id == first.id
    later = server.deploy(new, name="echo", release_tags=["live"])
    watch.start()
    assert seen.wait(60)
    assert watch.begins("live", "after").id == later.id
    watch.stop()
    assert marked == [("live", ["before"])]
    assert watch.moved == ("live",)


def test_a_look_that_fails_forgets_no_run(ws, server):
    server.deploy(new, name="echo", release_tags=["live"])
    first = release(ws, "live")
    marked, failed = [], threading.Event()
    down = True

    def look_up(tag):
        if down:
            failed.set()
            raise APIConnectionError("refused", sent=False)
        return release(ws, tag)

    watch = TagWatch({"live": first}, look_up, lambda _, ids: marked.extend(ids), every=0.01)
    watch.begins("live", "a")
    watch.start()
    assert failed.wait(60)
    server.deploy(new, name="echo", release_tags=["live"])
    down = False
    watch.stop()
    assert marked == ["a"]


def test_runs_that_could_not_be_marked_are_marked_by_the_next_look(ws, server):
    server.deploy(new, name="echo", release_tags=["live"])
    first = release(ws, "live")
    marked, failed = [], threading.Event()

    def mark(_, run_ids):
        if not failed.is_set():
            failed.set()
            raise HistoryError("locked")
        marked.extend(run_ids)

    watch = TagWatch({"live": first}, lambda tag: release(ws, tag), mark, every=0.01)
    watch.begins("live", "a")
    server.deploy(new, name="echo", release_tags=["live"])
    watch.start()
    assert failed.wait(60)
    watch.stop()
    assert marked == ["a"]
