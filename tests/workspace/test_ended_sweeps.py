"""Sweeps that have ended: what the same call, `resume` and `retry_failed` still run of them."""

import sqlite3
from contextlib import closing

import pytest
from counting_server import KEY
from runs_kit import progress_of
from sweep_processes import LONG, wait_until

import vellum_nb as vnb
from vellum_nb.history import Sweeps
from vellum_nb.sweep.sweep import control_of

CASES = [{"text": f"text {number}"} for number in range(4)]
TWO = CASES[:2]


@pytest.fixture
def ws(counting, tmp_path, quick_look_ups):
    with vnb.connect(
        counting.url, api_key=KEY, history=tmp_path / "runs.db", timeout=(10, 1)
    ) as workspace:
        yield workspace


def swept(ws, cases=CASES, **options):
    return ws.sweep("count", cases, release_tags=["v1"], progress=False, **options)


def change_run(tmp_path, run_id, assignments):
    """Change the row of a run."""
    with closing(sqlite3.connect(tmp_path / "runs.db")) as db:
        assert db.execute(f"UPDATE runs SET {assignments} WHERE id = ?", (run_id,)).rowcount == 1
        db.commit()


@pytest.fixture
def cut_off(ws, tmp_path):
    """Return an ended sweep of which an earlier version had counted a cut off run as answered."""
    sweep = swept(ws)
    cancelled = "state = 'CANCELLED', error_code = 'WORKFLOW_CANCELLED'"
    change_run(tmp_path, sweep.runs()[0].id, cancelled)
    return sweep


def test_cut_off_run_of_an_ended_sweep_is_run_again_by_the_same_call(ws, counting, cut_off):
    again = swept(ws)
    assert (again.id, again.state, progress_of(again).done) == (cut_off.id, "done", len(CASES))
    assert counting.posts == len(CASES) + 1


@pytest.mark.usefixtures("cut_off")
def test_same_call_in_the_background_does_not_wait_for_what_an_ended_sweep_lacks(ws, counting):
    counting.held = True
    again = swept(ws, background=True)
    wait_until(lambda: counting.posts == len(CASES) + 1)
    assert again.state == "running"
    counting.held = False
    assert again.wait(LONG).state == "done"


@pytest.fixture
def retried(ws, counting, tmp_path):
    """Return a sweep of two failed runs after `retry_failed`.

    One was in doubt; the retry resolved that: it was sent again under its old id, and failed.
    """
    counting.script.extend(["answer shape"] * 2)
    sweep = swept(ws, TWO, concurrency=1)
    change_run(tmp_path, sweep.runs()[0].id, "doubt = 'SENT', doubt_since = 1")
    counting.kept.clear()
    counting.script.extend(["answer shape", ""])
    ws.open_sweep(sweep.id, concurrency=1).retry_failed()
    now = progress_of(ws.open_sweep(sweep.id))
    assert (now.done, now.failed, counting.posts) == (1, 1, 4)
    return sweep


def test_run_in_doubt_that_failed_when_it_was_retried_counts_as_ended(ws, retried):
    reopened = ws.open_sweep(retried.id)
    assert repr(reopened) == "<Sweep of count on v1: done, 2 of 2 runs, 1 failed>"


@pytest.mark.parametrize("way", ["resume", "same call"])
def test_run_in_doubt_that_failed_when_it_was_retried_is_not_sent_again(ws, counting, retried, way):
    again = ws.open_sweep(retried.id).resume() if way == "resume" else swept(ws, TWO)
    assert (again.state, counting.posts) == ("done", 4)


def test_run_in_doubt_that_failed_when_it_was_retried_is_repeated_by_the_next_retry(
    ws, counting, retried
):
    again = ws.open_sweep(retried.id).retry_failed()
    assert (progress_of(again).done, control_of(again).record.round, counting.posts) == (2, 2, 5)


def test_retry_on_another_server_leaves_the_sweep_as_it_was(ws, counting):
    counting.script.append("answer shape")
    sweep = swept(ws, TWO)
    counting.workspace = "w-2"
    with pytest.raises(vnb.VellumNBError, match="cannot run: the server is another one"):
        sweep.retry_failed()
    (record,) = Sweeps(ws.history).every(sweep.id)
    assert (record.round, record.ended) == (0, control_of(sweep).record.ended)
    assert record.ended is not None
