"""A sweep is whole, wherever its runs are: here, in an archive, or deleted."""

import pandas as pd
import pytest

import vellum_nb as vnb

CASES = [{"text": text} for text in ("a", "b", "c")]


@pytest.fixture
def ws(server, tmp_path):
    with vnb.connect(server, history=tmp_path / "runs.db") as ws:
        yield ws


def swept(ws, **options):
    return ws.sweep("shout", CASES, release_tags=["LATEST"], progress=False, **options)


def test_a_sweep_whose_runs_are_in_an_archive_shows_and_compares_as_before(ws):
    sweep = swept(ws, repeats=2)
    frame, runs, listed = sweep.frame(), sweep.runs(), ws.sweeps()
    assert ws.history.archive(before="2100-01-01").runs == 6
    again = ws.open_sweep(sweep.id)
    pd.testing.assert_frame_equal(again.frame(), frame)
    assert again.runs() == runs
    assert repr(again) == repr(sweep)
    pd.testing.assert_frame_equal(ws.sweeps(), listed)
    assert again.compare().frame().equals(sweep.compare().frame())


def test_nothing_in_an_archive_is_paid_for_again(ws):
    sweep = swept(ws)
    moved = ws.history.archive(before="2100-01-01").path
    ws.open_sweep(sweep.id).resume()
    assert ws.history.count() == 0
    moved.unlink()
    with pytest.raises(vnb.HistoryError, match="is not there; put it back"):
        ws.open_sweep(sweep.id).frame()
    later = swept(ws, restart=True)
    assert len(later.frame()) == 3


def test_a_sweep_says_how_many_of_its_runs_were_deleted(ws):
    sweep = swept(ws)
    ws.history.delete([sweep.runs()[0].id])
    assert repr(ws.open_sweep(sweep.id)).endswith(
        "2 of 3 runs; 1 deleted, see history.deletions()>"
    )
    ws.history.undelete()
    assert repr(ws.open_sweep(sweep.id)).endswith("3 of 3 runs>")
