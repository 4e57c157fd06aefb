"""A release tag that moves while a sweep runs is noticed, and the runs in between are marked."""

import threading
import time
from datetime import UTC, datetime

import pytest
from runs_kit import progress_of

import vellum_nb as vnb
from vellum_nb.history import Sweeps
from vellum_nb.local import Faults
from vellum_nb.models import new_run_id
from vellum_nb.sweep.options import SweepOptions
from vellum_nb.sweep.plan import PlannedRun, planned_runs
from vellum_nb.sweep.sweep import control_of
from vellum_nb.workspace import sweeps
from vellum_nb.workspace.lookup import Lookup
from vellum_nb.workspace.runner import Runner


@pytest.fixture
def ws():
    with vnb.LocalServer() as server, vnb.connect(server, history=":memory:") as ws:
        yield ws


class Gate:
    """A workflow that signals when it runs, and waits until it may end."""

    def __init__(self):
        self.runs = threading.Semaphore(0)
        self.may_end = threading.Semaphore(0)

    def __call__(self, text: str) -> str:
        self.runs.release()
        assert self.may_end.acquire(timeout=60)
        return f"old {text}"


def new(text: str) -> str:
    return f"new {text}"


def test_a_tag_that_moves_is_named_and_its_runs_are_marked(ws):
    gate = Gate()
    old = ws.server.deploy(gate, name="echo", release_tags=["live", "fixed"])
    cases = [{"text": str(number)} for number in range(4)]
    sweep = ws.sweep("echo", cases, release_tags=["live"], concurrency=1, background=True)
    assert gate.runs.acquire(timeout=60)
    ws.server.deploy(new, name="echo", release_tags=["live"])
    gate.may_end.release(100)
    sweep.wait()
    assert progress_of(sweep).moved == ("live",)
    assert "moved during the sweep: live" in repr(sweep)
    runs = sweep.runs()
    assert {run.outputs["output"].split()[0] for run in runs} == {"old", "new"}
    assert {run.release_id for run in runs} == {old.id}
    assert all(run.tag_moved for run in runs)
    assert sweep.compare().moved_tags == ("live",)


def test_a_tag_that_moves_is_noticed_while_the_workspace_is_closed(ws):
    gate = Gate()
    ws.server.deploy(gate, name="echo", release_tags=["live"])
    with vnb.connect(ws.server, history=ws.history) as closed:
        sweep = closed.sweep("echo", [{"text": "a"}], release_tags=["live"], background=True)
        assert gate.runs.acquire(timeout=60)
        ws.server.deploy(new, name="echo", release_tags=["live"])
        gate.may_end.release(100)
    assert (sweep.state, progress_of(sweep).moved) == ("done", ("live",))
    assert sweep.runs()[0].tag_moved


@pytest.mark.parametrize("way", ["the same call", "resume"])
def test_a_tag_that_moved_before_a_sweep_went_on_is_named(ws, way):
    ws.server.deploy(new, name="echo", release_tags=["live"])
    cases = [{"text": "a"}, {"text": "b"}]
    sweep = ws.sweep("echo", cases, release_tags=["live"], limits={"max_calls": 1}, concurrency=1)
    later = ws.server.deploy(new, name="echo", release_tags=["live"])
    if way == "resume":
        sweep.resume(limits={"max_calls": None})
    else:
        sweep = ws.sweep("echo", cases, release_tags=["live"])
    assert sweep.state == "done"
    assert progress_of(sweep).moved == ("live",)
    newest, oldest = sweep.runs()
    assert newest.release_id == later.id != oldest.release_id
    assert not newest.tag_moved


@pytest.mark.parametrize("fault", [None, Faults(rate_500=1.0, paths="/releases/")])
def test_runs_after_a_look_carry_the_new_release_and_no_earlier_one_is_forgotten(
    ws, monkeypatch, until, fault
):
    monkeypatch.setattr(sweeps, "_TAG_CHECK_INTERVAL_S", 0.02)  # private: else it takes 5 s
    gate, server = Gate(), ws.server
    server.deploy(gate, name="echo", release_tags=["live"])
    cases = [{"text": str(number)} for number in range(3)]
    sweep = ws.sweep("echo", cases, release_tags=["live"], concurrency=1, background=True)
    assert gate.runs.acquire(timeout=60)
    server.faults = fault
    time.sleep(0.1)
    later = server.deploy(new, name="echo", release_tags=["live"])
    server.faults = None
    until(lambda: progress_of(sweep).moved == ("live",))
    gate.may_end.release(100)
    sweep.wait()
    *others, first = sweep.runs()
    assert first.tag_moved
    assert {run.release_id for run in others} == {later.id}
    assert not any(run.tag_moved for run in others)


def test_a_run_that_was_prepared_before_its_tag_moved_and_recorded_after_is_marked(
    ws, monkeypatch, until
):
    monkeypatch.setattr(sweeps, "_TAG_CHECK_INTERVAL_S", 0.02)  # private: else it takes 5 s
    ws.server.deploy(new, name="echo", release_tags=["live"])
    sweep = ws.sweep("echo", [{"text": "a"}], release_tags=["live"], progress=False)
    [place] = control_of(sweep).record.places()
    runner = Runner(ws.client, ws.history, Lookup(ws.client))
    worker = sweeps.SweepWorker(runner, ws.compare, control_of(sweep).record)
    lease = Sweeps(ws.history).acquire(control_of(sweep).record)
    worker.attempt(SweepOptions(), lease)
    run = worker.prepare(PlannedRun(place, new_run_id(), None), SweepOptions()).run
    ws.server.deploy(new, name="echo", release_tags=["live"])
    until(lambda: worker.moved == ("live",))
    lease.record(begun=[run])
    worker.close()
    assert ws.history.get(run.id).tag_moved


def test_runs_between_the_last_look_and_a_kill_are_marked_when_the_sweep_goes_on(ws):
    ws.server.deploy(new, name="echo", release_tags=["live"])
    cases = [{"text": "a"}, {"text": "b"}, {"text": "c"}]
    sweep = ws.sweep("echo", cases, release_tags=["live"], limits={"max_calls": 1}, progress=False)
    [first] = sweep.runs()
    planned = list(planned_runs(control_of(sweep).record, {first.id: "FULFILLED"}, {}))[1]
    fields = {"id": planned.run_id, "external_id": planned.run_id, "timestamp": datetime.now(UTC)}
    unseen = first.model_copy(update={**fields, "execution_id": None})
    lease = Sweeps(ws.history).acquire(control_of(sweep).record)  # as a driver that is killed then
    lease.record(ended=[unseen])
    lease.release()
    ws.server.deploy(new, name="echo", release_tags=["live"])
    ws.open_sweep(sweep.id, limits={"max_calls": None}).resume()
    marked = {run.id for run in sweep.runs() if run.tag_moved}
    assert marked == {unseen.id}
