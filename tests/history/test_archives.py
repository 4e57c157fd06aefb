"""Old runs in a Parquet file: the same rows as before, and none is lost on the way there."""

import itertools
import json
import shutil
import subprocess
import sys
import threading
from datetime import timedelta

import pandas as pd
import pytest

from vellum_nb import History, HistoryError
from vellum_nb.history.keeping import archive_files, archived, archiving
from vellum_nb.history.reading import reads
from vellum_nb.models import NodeRun
from vellum_nb.models.blind import BlindPair, BlindRecord
from vellum_nb.models.sweeps import Place, SweepRecord

NOON_OF_JULY = "2026-07-01T12:00:05Z"
LONG = "long text " * 4_000


@pytest.fixture
def archive(history, tmp_path):
    """Return what archives to a file of its own; beside a database there is no place for one."""
    numbers = itertools.count()

    def archive(before, one=history):
        return one.archive(before=before, path=tmp_path / f"{next(numbers)}.parquet")

    return archive


@pytest.fixture
def odd(record):
    """Ten runs a second apart with all that a run can hold."""

    def of(number):
        return record(
            external_id=f"e{number}" if number % 2 else None,
            inputs={
                "n": 2**70 + number,
                "t": "\ud800 \x00 é" + " refund" * (number % 3),
                "doc": LONG,
                "x": [1.5, None, {}],
            },
            case_id=f"c{number}",
            outputs={} if number == 3 else {"a.b": number, "nan": float("nan"), "l": [LONG]},
            state="REJECTED" if number == 3 else "FULFILLED",
            error={"code": "E", "message": ""} if number == 3 else None,
            quality=0.1 * number,
            note="" if number else None,
            tags=["a", "b"],
            metadata={"k": number},
            cost_usd=1e-9,
            tokens_in=number,
            tag_moved=bool(number % 2),
            not_sent=("z",),
            finished_at=None,
            nodes=(NodeRun(name="n", error="e"),),
        )

    return [of(number) for number in range(10)]


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
        {"search": "refund"},
    ],
)
def test_a_filter_means_the_same_in_an_archive(history, odd, path, filters, monkeypatch):
    monkeypatch.setattr(archive_files, "_GROUP_ROWS", 2)
    before = history.frame(**filters)
    history.archive(before=NOON_OF_JULY)
    assert 0 < len(before) < 10
    pd.testing.assert_frame_equal(history.frame(archived=True, **filters), before)
    assert history.count(archived=True, **filters) == len(before)


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


def test_a_kill_before_the_note_is_kept_leaves_both_and_the_next_call_mends_it(history, odd, path):
    child = (
        "import os, sys; from vellum_nb import History\n"
        "from vellum_nb.history.keeping import archiving\n"
        "archiving.note = lambda *_: os.kill(os.getpid(), 9)\n"
        "History(sys.argv[1]).archive(before=sys.argv[2])"
    )
    arguments = [sys.executable, "-c", child, str(history.path), NOON_OF_JULY]
    assert subprocess.run(arguments, check=False).returncode == -9
    assert history.count() == history.count(archived=True) == 10
    left = history.path.with_name("runs.before-2026-07-01.parquet")
    assert left.exists()
    assert history.archive(before=NOON_OF_JULY).path == left
    assert (history.count(), history.count(archived=True)) == (5, 10)


def test_a_run_that_changes_meanwhile_stays_as_it_is_now(history, odd, archive, monkeypatch):
    written = archiving._written

    def write_and_annotate(*args):
        file = written(*args)
        history.annotate(odd[0].id, note="new")
        return file

    monkeypatch.setattr(archiving, "_written", write_and_annotate)
    assert archive(NOON_OF_JULY).stayed == 1
    assert history.count() == 6
    assert history.count(archived=True) == 10
    assert [run.note for run in history.runs(archived=True, ids=[odd[0].id])] == ["new"]


def test_a_run_can_be_asked_for_wherever_it_is(history, odd, archive):
    archive(NOON_OF_JULY)
    assert repr(history.get(odd[0].id)) == repr(odd[0])
    assert history.get(odd[0].id).nodes == odd[0].nodes
    with pytest.raises(HistoryError, match="has no run 'nobody'"):
        history.get("nobody")
    with pytest.raises(HistoryError, match="until `unarchive` brings it back"):
        history.annotate(odd[0].id, note="new")


def test_two_who_archive_at_once_make_one_archive(history, odd, archive, monkeypatch, place):
    before = history.frame()
    both, written = threading.Barrier(2), archiving._written

    def write_together(*args):
        file = written(*args)
        both.wait()
        return file

    monkeypatch.setattr(archiving, "_written", write_together)
    done = []
    with History(place) as other:
        calls = [
            threading.Thread(target=lambda one=one: done.append(archive("2027-01-01", one)))
            for one in (history, other)
        ]
        for call in calls:
            call.start()
        for call in calls:
            call.join()
    assert sorted(each.runs for each in done) == [0, 10]
    assert len(history.archives()) == 1
    pd.testing.assert_frame_equal(history.frame(archived=True), before)


def test_a_missing_a_changed_and_a_damaged_archive_are_told(history, odd, archive, tmp_path):
    path = archive(NOON_OF_JULY).path
    kept = path.read_bytes()
    path.unlink()
    with pytest.raises(HistoryError, match=r"0.parquet is not there; put it"):
        history.frame(archived=True)
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
    with pytest.raises(HistoryError, match="cannot be written"):
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


def test_a_kill_while_runs_go_shows_none_twice_and_the_next_call_moves_the_rest(history, odd, path):
    before = history.frame()
    child = (
        "import os, sys; from vellum_nb import History\n"
        "from vellum_nb.history.keeping import archive_files, archiving\n"
        "archive_files._GROUP_ROWS, remove, lots = 2, archiving._remove, []\n"
        "archiving._remove = lambda *a: remove(*a) if not lots else os.kill(os.getpid(), 9)\n"
        "moved = archiving._moved\n"
        "archiving._moved = lambda *a: (moved(*a), lots.append(1))[0]\n"
        "History(sys.argv[1]).archive(before=sys.argv[2])"
    )
    arguments = [sys.executable, "-c", child, str(path), "2027-01-01"]
    assert subprocess.run(arguments, check=False).returncode == -9
    assert history.count() == 8
    pd.testing.assert_frame_equal(history.frame(archived=True), before)
    assert history.archive(before="2027-01-01").runs == 8
    assert history.count() == 0
    assert len(history.archives()) == 2
    pd.testing.assert_frame_equal(history.frame(archived=True), before)


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


def test_runs_that_go_while_an_archive_is_written_are_not_in_it(history, odd, archive, monkeypatch):
    free, gone = archiving._free, []

    def free_and_delete(*args):
        gone.append(gone or history.delete([odd[0].id]))
        return free(*args)

    monkeypatch.setattr(archiving, "_free", free_and_delete)
    moved = archive("2027-01-01")
    assert (moved.runs, history.count(archived=True), len(history.archives())) == (9, 9, 1)


def test_runs_that_are_deleted_while_they_are_archived_stay_deleted(
    history, odd, archive, monkeypatch
):
    moved = archiving._moved

    def delete_and_move(*args):
        history.delete([odd[0].id, odd[1].id])
        return moved(*args)

    with monkeypatch.context() as patch:
        patch.setattr(archiving, "_moved", delete_and_move)
        archive("2027-01-01")
    others = {run.id for run in odd[2:]}
    assert {run.id for run in history.runs(archived=True)} == others
    assert history.undelete().runs == (odd[0].id, odd[1].id)
    assert history.count(archived=True) == len(odd)
    history.delete([odd[0].id])
    history.vacuum()
    assert {run.id for run in history.runs(archived=True)} == others | {odd[1].id}
    history.unarchive(history.archives()["path"][0])
    assert {run.id for run in history.runs()} == others | {odd[1].id}
    assert history._store.read("SELECT name FROM settings WHERE name LIKE 'deleted%'") == []


def test_a_run_that_is_archived_while_it_is_read_is_read_once(history, record, archive):
    runs = [record() for _ in range(3)]

    def fetch(store, filters):
        found = reads.rows(store, filters)
        if store is history._store:
            archive("2100-01-01")
        return found

    found = archived.with_archived(history._store, {}, fetch)
    assert [row[0] for row in found] == [run.id for run in reversed(runs)]
