"""Exports of runs that are partly in archives: the same files as before."""

from __future__ import annotations

import re
import tempfile

import pandas as pd
import pytest

from vellum_nb import History, HistoryError, read_parquet
from vellum_nb.history.keeping import archive_files
from vellum_nb.history.searching import search

NOON_OF_JULY = "2026-07-01T12:00:0{}Z"
every_text = pytest.mark.parametrize("write", ["to_csv", "to_jsonl"])


@pytest.fixture
def moved(history, odd, archive, monkeypatch):
    """Return what archives most of ten runs, in two files of several lots."""
    monkeypatch.setattr(archive_files, "_GROUP_ROWS", 2)

    def move():
        archive(NOON_OF_JULY.format(3))
        archive(NOON_OF_JULY.format(8))
        assert history.count() == 2

    return move


@every_text
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"limit": 6},
        {"search": "refund", "columns": ["output.a.b", "timestamp", "id"]},
        {"since": NOON_OF_JULY.format(1), "until": NOON_OF_JULY.format(9), "state": "FULFILLED"},
        {"columns": ["id", "tags", "state"], "progress": True},
    ],
    ids=str,
)
def test_the_file_is_the_same_before_and_after(history, moved, tmp_path, write, options):
    before = getattr(history, write)(tmp_path / "before", **options).read_bytes()
    moved()
    path = getattr(history, write)(tmp_path / "after", archived=True, **options)
    assert path.read_bytes() == before
    assert len(getattr(history, write)(path, **options).read_bytes()) < len(before)


def test_parquet_reads_back_to_the_same_frame(history, moved, tmp_path):
    before = history.frame()
    moved()
    path = history.to_parquet(tmp_path / "a.parquet", archived=True)
    pd.testing.assert_frame_equal(read_parquet(path), before)


@every_text
def test_runs_that_came_later_and_in_no_order_are_sorted_in(
    history, record, archive, tmp_path, write
):
    for second in (7, 2, 9, 2, 5, 0, 8):
        record(timestamp=NOON_OF_JULY.format(second), outputs={"n": second})
    before = getattr(history, write)(tmp_path / "before").read_text()
    archive(NOON_OF_JULY.format(3))
    assert getattr(history, write)(tmp_path / "after", archived=True).read_text() == before


def test_no_run_comes_twice_and_none_that_was_deleted(history, moved, tmp_path):
    moved()
    history.unarchive(history.archives()["path"][0])
    history.delete(["run-4"])
    path = history.to_csv(tmp_path / "a.csv", columns="id", archived=True)
    ids = [line.strip('"') for line in path.read_text().split()[1:]]
    assert ids == [f"run-{number}" for number in reversed(range(10)) if number != 4]


def test_a_deployment_that_only_an_archive_knows_is_known(history, moved, tmp_path):
    moved()
    with pytest.warns(UserWarning, match="none has release_tag='v2'; there are: v1$"):
        history.to_csv(tmp_path / "a.csv", archived=True, release_tag="v2")


def test_an_archive_that_is_gone_is_told_and_the_old_file_stays(history, moved, tmp_path):
    moved()
    target = history.to_csv(tmp_path / "a.csv")
    before = target.read_bytes()
    (tmp_path / "0.parquet").unlink()
    with pytest.raises(HistoryError, match=r"0.parquet is not there; put it back"):
        history.to_csv(target, archived=True)
    assert target.read_bytes() == before


def test_what_lies_apart_meanwhile_is_gone_afterwards(history, moved, tmp_path, monkeypatch):
    moved()
    apart = tmp_path / "apart"
    apart.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(apart))
    history.to_csv(tmp_path / "a.csv", archived=True)
    assert list(apart.iterdir()) == []


def test_without_archives_nothing_is_put_apart(make_run, tmp_path):
    with History(":memory:") as history:
        history.begin(make_run())
        plain = history.to_csv(tmp_path / "a.csv").read_text()
        assert history.to_csv(tmp_path / "b.csv", archived=True).read_text() == plain


def test_a_search_that_takes_long_counts_the_runs_there_are(
    history, moved, tmp_path, monkeypatch, capsys
):
    moved()
    for name in ("_MANY", "_GROWS_S", "_MOMENT_S"):
        monkeypatch.setattr(search, name, -1)
    history.to_csv(tmp_path / "a.csv", archived=True, progress=False, search="refund")
    shown = re.findall(r"Comparing ([\d,]+) runs", capsys.readouterr().err)
    assert shown
    assert set(shown) <= {"10", "8", "2"}
