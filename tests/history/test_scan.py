"""A history read in frames of bounded size."""

from __future__ import annotations

import pytest

from vellum_nb import HistoryError

NOON = "2026-07-01T12:00:00Z"


@pytest.fixture
def ids(history, make_run):
    """Return the ids of a history in which many runs have the same time, newest first."""
    for number in range(23):
        fields = {"timestamp": NOON} if number % 3 else {"deployment": "other"}
        history.begin(make_run(outputs={"n": number}, **fields))
    return history.frame()["id"].tolist()


@pytest.mark.parametrize("rows", [1, 5, 22, 23, 1000])
def test_the_frames_of_a_scan_are_the_frame_cut_up(history, ids, rows):
    frames = list(history.scan(chunk_rows=rows))
    assert [len(frame) for frame in frames[:-1]] == [rows] * (len(frames) - 1)
    assert 0 < len(frames[-1]) <= rows
    assert [run for frame in frames for run in frame["id"]] == ids


@pytest.mark.parametrize(
    "filters",
    [{"limit": 0}, {"limit": 7}, {"limit": 15, "deployment": "other"}, {"search": "13"}],
    ids=str,
)
def test_a_scan_takes_the_filters_of_a_frame(history, ids, filters):
    found = [run for frame in history.scan(chunk_rows=5, **filters) for run in frame["id"]]
    assert found == history.frame(**filters)["id"].tolist()


def test_runs_recorded_and_deleted_meanwhile_move_nothing(history, ids, record):
    scan = history.scan(chunk_rows=5)
    seen = next(scan)["id"].tolist()
    record()
    history.delete([seen[-1], ids[5]])
    seen += [run for frame in scan for run in frame["id"]]
    assert seen == [*ids[:5], *ids[6:]]


def test_a_scan_holds_no_lock_between_its_frames(history, ids):
    scan = history.scan(chunk_rows=5)
    next(scan)
    history.vacuum()
    assert len(next(scan)) == 5


@pytest.mark.parametrize("rows", [0, -1, "5", 2.5, None])
def test_frames_of_no_rows_are_refused(history, rows):
    with pytest.raises(HistoryError, match=f"chunk_rows={rows!r} is not a number of rows"):
        next(history.scan(chunk_rows=rows))
