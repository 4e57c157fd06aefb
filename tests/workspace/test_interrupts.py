"""Ctrl-C at any line of ours: the row says whether it was sent, and the history stays usable."""

import sys

import pytest
from interrupt_kit import Interrupt

import vellum_nb as vnb

PLACES = (
    "history/backends.py",
    "workspace/runner.py",
    "workspace/live_runs.py",
    "workspace/sweeps.py",
    "sweep/sweep.py",
    "sweep/driver.py",
)


def run(ws):
    return ws.run("shout", {"text": "a"})


def stream(ws):
    with ws.stream("shout", {"text": "a"}) as events:
        list(events)
    return events


def sweep(ws):
    return ws.sweep("shout", [{"text": "a"}, {"text": "b"}], progress=False)


def interrupted(call, ws, at):
    """Return the run, or None when an interrupt came."""
    before = sys.gettrace()
    sys.settrace(Interrupt(at, PLACES))
    try:
        return call(ws)
    except KeyboardInterrupt:
        return None
    finally:
        sys.settrace(before)


@pytest.mark.slow
@pytest.mark.parametrize(("call", "step"), [(run, 3), (stream, 7)])
def test_no_interrupt_leaves_a_row_under_way_or_the_history_locked(server, call, step):
    with vnb.connect(server, history=":memory:") as ws:
        at = 1
        while interrupted(call, ws, at) is None:
            assert ws.history.count(state="STARTED") == 0, at
            ws.history.merge([])  # a write, which finds the history unlocked
            at += step
    assert at > 50


@pytest.mark.slow
@pytest.mark.parametrize(("call", "step"), [(run, 7), (stream, 13)])
def test_interrupted_run_is_in_doubt_if_it_was_executed_and_sync_settles_it(server, call, step):
    with vnb.connect(server, history=":memory:") as ws:
        at = 1
        while interrupted(call, ws, at) is None:
            at += step
        before = {run.external_id: run for run in ws.history.runs()}
        ws.sync("shout")
        executed = {run.external_id: run for run in ws.history.runs() if run.execution_id}
        assert len(executed) < len(before)
        assert executed.keys() <= before.keys()
        for external_id, run in executed.items():
            assert (run.in_doubt, run.state in {"FULFILLED", "CANCELLED"}) == (False, True)
            was = before[external_id]
            assert was.doubt == "SENT" or was.state == "FULFILLED", was


@pytest.mark.slow
def test_the_same_sweep_goes_on_at_once_after_an_interrupt_at_any_line(server):
    at, done = 1, None
    while done is None:
        with vnb.connect(server, history=":memory:") as ws:
            done = interrupted(sweep, ws, at)
            assert sweep(ws).state == "done", at  # no lease is left behind
            assert ws.history.count(state="FULFILLED") == 2, at
        at += 11
    assert at > 50


@pytest.mark.parametrize("way", ["run", "stream"])
def test_an_answer_that_came_is_kept_when_recording_it_is_interrupted(ws, way):
    def interrupt(run):
        if run.state == "FULFILLED":
            raise KeyboardInterrupt

    ws.history.subscribe(interrupt)
    with pytest.raises(KeyboardInterrupt):
        list(ws.stream("shout", {"text": "a"})) if way == "stream" else run(ws)
    (kept,) = ws.history.runs()
    assert (kept.state, kept.outputs) == ("FULFILLED", {"loud": "A"})
