"""Old runs in a Parquet file: the same rows as before, and none is lost on the way there."""

import json
import shutil
from datetime import timedelta

import pandas as pd
import pytest

from vellum_nb import History, HistoryError
from vellum_nb.history.keeping import archive_files
from vellum_nb.history.reading import loading
from vellum_nb.models.blind import BlindPair, BlindRecord
from vellum_nb.models.sweeps import Place, SweepRecord

NOON_OF_JULY = "2026-07-01T12:00:05Z"
LONG = "long text " * 4_000


@pytest.fixture(params=[loading.MANY, 0])
def _many_or_few(request, monkeypatch):
    """Read frames as rows, and through Arrow as those of very many runs."""
    monkeypatch.setattr(loading, "MANY", request.param)


@pytest.mark.usefixtures("_many_or_few")
def test_the_frame_is_the_same_before_and_after(history, odd, archive):
    before = history.frame()
    moved = archive(NOON_OF_JULY)
    assert (moved.runs, moved.stayed) == (5, 0)
    assert history.count() == len(history.frame()) == 5
    pd.testing.assert_frame_equal(history.frame(archived=True), before)
    assert history.count(archived=True) == 10
    assert repr(history.runs(archived=True)) == repr(odd[::-1])
    assert [run.nodes for run in history.runs(archived=True)] == [run.nodes for run in odd]


@pytest.mark.parametrize(
    "filters",
    [
        {"limit": 7},
        {"limit": 2},
        {"state": "REJECTED"},
        {"since": "2026-07-01T12:00:02Z", "until": "2026-07-01T12:00:07Z"},
        {"until": "2026-07-01T12:00:01Z", "limit": 1},
        {"case_id": ["c1", "c8"]},
        {"ids": ["run-2", "run-7"]},
        {"external_id": "e3"},
        {"ids": {"run-2", "run-7"}, "state": ("REJECTED", "FULFILLED"), "author": None},
        {"search": "refund"},
        {"search": "refund", "limit": 2},
        {"search": "refund", "case_id": "c2", "deployment": "ticket-triage"},
    ],
)
@pytest.mark.usefixtures("_many_or_few")
def test_a_filter_means_the_same_in_an_archive(history, odd, path, filters, monkeypatch):
    monkeypatch.setattr(archive_files, "_GROUP_ROWS", 2)
    before = history.frame(**filters)
    history.archive(before=NOON_OF_JULY)
    assert 0 < len(before) < 10
    pd.testing.assert_frame_equal(history.frame(archived=True, **filters), before)
    assert history.count(archived=True, **filters) == len(before)


@pytest.mark.usefixtures("_many_or_few")
def test_several_archives_are_read_together_and_listed(history, odd, tmp_path, path):
    before = history.frame()
    moved = history.archive(before="2026-07-01T12:00:03Z")
    assert moved.path == path.with_name("runs.before-2026-07-01.parquet")
    assert repr(moved).startswith("<Archive runs.before-2026-07-01.parquet: 3 runs, ")
    history.archive(before="2026-07-01T12:00:06Z")
    chosen = tmp_path / "elsewhere" / "last.parquet"
    chosen.parent.mkdir()
    history.archive(before="2026-07-02", path=chosen)
    pd.testing.assert_frame_equal(history.frame(archived=True), before)
    listed = history.archives()
    assert listed["runs"].tolist() == [4, 3, 3]
    assert listed["there"].tolist() == [True] * 3
    assert listed["path"][0] == str(chosen)
    assert listed["path"][1].endswith("runs.before-2026-07-01-2.parquet")
    assert listed["first"][2] == odd[0].timestamp
    assert repr(history.archive(before="2026-07-02")) == "<Archive: nothing to move>"


def test_an_archive_moves_along_with_its_history(history, odd, tmp_path, path):
    before = history.frame()
    history.archive(before=NOON_OF_JULY)
    history.close()
    shutil.copytree(tmp_path, tmp_path / "moved", ignore=shutil.ignore_patterns("moved"))
    with History(tmp_path / "moved" / "runs.db") as moved:
        pd.testing.assert_frame_equal(moved.frame(archived=True), before)


def test_an_archive_that_is_brought_back_leaves_everything_as_it_was(history, odd, archive):
    before = history.frame()
    path = archive("2026-07-02").path
    report = history.unarchive(path)
    assert report.added == 10
    pd.testing.assert_frame_equal(history.frame(), before)
    assert repr(history.runs()) == repr(odd[::-1])
    assert len(history.archives()) == 0
    assert path.exists()
    assert history.unarchive(path).known == 10


def test_what_archive_returned_can_be_brought_back(history, odd, archive):
    moved = archive("2026-07-02")
    assert history.unarchive(moved).added == 10
    with pytest.raises(HistoryError, match="nothing to bring back: <Archive: nothing to move>"):
        history.unarchive(archive("2001-01-01"))


def test_what_is_under_way_stays(history, record, make_run, archive):
    record()
    history.begin(make_run())
    sweep = SweepRecord(
        id="s",
        deployment="d",
        release_tags=("v1",),
        cases=1,
        signature="x",
        created=make_run().timestamp,
    )
    reused, pair = record(), [record(), record()]
    history.sweeps.add(sweep, [], taken={Place(0, "v1", 0): reused.id})
    record(sweep_id="s")
    blind = BlindRecord(
        id="b",
        deployment="d",
        first="v1",
        second="v2",
        seed=1,
        question="?",
        signature="x",
        created=make_run().timestamp,
    )
    history.blind.add(blind, [BlindPair(0, 0, "c", pair[0].id, pair[1].id, same=False)])
    moved = archive("2027-01-01")
    assert (moved.runs, moved.stayed) == (1, 5)
    history.sweeps.change("s", ended=make_run().timestamp)
    history.blind.end("b")
    assert archive("2027-01-01").runs == 4


def test_a_run_can_be_asked_for_wherever_it_is(history, odd, archive):
    archive(NOON_OF_JULY)
    assert repr(history.get(odd[0].id)) == repr(odd[0])
    assert history.get(odd[0].id).nodes == odd[0].nodes
    with pytest.raises(HistoryError, match="has no run 'nobody'"):
        history.get("nobody")
    with pytest.raises(HistoryError, match="until `unarchive` brings it back"):
        history.annotate(odd[0].id, note="new")


def test_a_missing_a_changed_and_a_damaged_archive_are_told(history, odd, archive, tmp_path):
    path = archive(NOON_OF_JULY).path
    kept = path.read_bytes()
    path.unlink()
    with pytest.raises(HistoryError, match=r"0.parquet is not there; put it .*lists those"):
        history.frame(archived=True)
    with pytest.raises(HistoryError, match="is a folder; name the file of an archive"):
        history.unarchive(tmp_path)
    assert history.archives()["there"].tolist() == [False]
    assert len(history.frame()) == 5
    with History(tmp_path / "other.db") as other:
        other.merge(history)
        other.archive(before="2027-01-01", path=path)
    with pytest.raises(HistoryError, match="is not the archive that was written there"):
        history.frame(archived=True)
    path.write_bytes(kept[: len(kept) // 2])
    with pytest.raises(HistoryError, match=r"is damaged, put a backup in its place"):
        history.frame(archived=True)
    middle = 600
    path.write_bytes(kept[:middle] + bytes([kept[middle] ^ 255]) + kept[middle + 1 :])
    with pytest.raises(HistoryError, match="is damaged"):
        history.frame(archived=True)
    pd.DataFrame({"a": [1]}).to_parquet(path)
    with pytest.raises(HistoryError, match="is no archive of a history"):
        history.unarchive(path)


def test_a_file_that_is_there_is_not_replaced(history, odd, archive, tmp_path):
    other = tmp_path / "notes.parquet"
    other.write_text(json.dumps("mine"), encoding="utf-8")
    with pytest.raises(HistoryError, match="is there already; choose another path"):
        history.archive(before=NOON_OF_JULY, path=other)
    path = archive(NOON_OF_JULY).path
    with pytest.raises(HistoryError, match="is an archive of this history already"):
        history.archive(before="2027-01-01", path=path)
    with pytest.raises(
        HistoryError, match="cannot be written: No such file .*no folder.*, make it"
    ):
        history.archive(before="2027-01-01", path=tmp_path / "no folder" / "x.parquet")
    assert history.count() == 5
    assert other.read_text(encoding="utf-8") == '"mine"'


def test_a_history_in_memory_wants_a_path(make_run, tmp_path):
    with History(":memory:") as history:
        run = make_run(state="FULFILLED")
        history.begin(run)
        until = run.timestamp + timedelta(seconds=1)
        with pytest.raises(HistoryError, match=r"give path="):
            history.archive(before=until)
        history.archive(before=until, path=tmp_path / "a.parquet")
        assert history.runs(archived=True) == [run]


@pytest.mark.usefixtures("_many_or_few")
def test_a_run_in_two_archives_counts_once_and_as_in_the_last(history, odd, archive, tmp_path):
    with History(tmp_path / "copy.db") as copy:
        copy.merge(history)
        archive("2027-01-01")
        copy.annotate(odd[0].id, note="newer")
        history.merge(copy)
    assert history.count(archived=True) == 10
    archive(NOON_OF_JULY)
    assert (history.count(), history.count(archived=True)) == (5, 10)
    assert history.get(odd[0].id).note == "newer"
    assert history.count(archived=True, ids=[odd[0].id]) == 1


def test_subscribers_hear_once_that_runs_moved(history, odd, archive):
    of_many = []
    history.subscribe(pytest.fail, many=lambda: of_many.append(history.count()))
    history.unarchive(archive(NOON_OF_JULY).path)
    assert of_many == [5, 10]
