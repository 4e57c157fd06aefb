"""What happens while old runs move to an archive: a kill, a change, another who moves them."""

import os
import subprocess
import sys
import threading
import time

import pandas as pd
import pytest

from vellum_nb import History
from vellum_nb.history.keeping import archive_files, archiving

NOON_OF_JULY = "2026-07-01T12:00:05Z"


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


def test_a_kill_while_runs_go_shows_none_twice_and_the_next_call_moves_the_rest(history, odd, path):
    before = history.frame()
    child = (
        "import os, sys; from vellum_nb import History\n"
        "from vellum_nb.history.keeping import archive_files, archiving\n"
        "archive_files._GROUP_ROWS, remove, lots = 2, archiving.remove, []\n"
        "archiving.remove = lambda *a: remove(*a) if not lots else os.kill(os.getpid(), 9)\n"
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


@pytest.mark.parametrize("lots", [0, 1])
def test_an_archive_that_is_brought_back_while_runs_go_into_it_loses_none(
    history, odd, archive, monkeypatch, lots
):
    before, moved, done = history.frame(), archiving._moved, []
    monkeypatch.setattr(archive_files, "_GROUP_ROWS", 4)

    def move_and_bring_back(*args):
        if len(done) == lots:
            history.unarchive(history.archives()["path"][0])
        done.append(moved(*args))
        return done[-1]

    with monkeypatch.context() as patch:
        patch.setattr(archiving, "_moved", move_and_bring_back)
        archive("2027-01-01")
    assert len(done) == 3
    assert history.count() == len(before)
    pd.testing.assert_frame_equal(history.frame(archived=True), before)


def test_an_archive_in_the_place_of_one_that_is_brought_back_stays_noted(
    history, odd, archive, monkeypatch
):
    before = history.frame()
    path, joined = archive(NOON_OF_JULY).path, history._joined

    def join_and_archive_again(*args, **kwargs):
        report = joined(*args, **kwargs)
        if len(history.archives()) == 1:
            monkeypatch.undo()
            history.unarchive(path)
            assert history.archive(before=NOON_OF_JULY, path=path).path == path
        return report

    monkeypatch.setattr(history, "_joined", join_and_archive_again)
    history.unarchive(path)
    assert len(history.archives()) == 1
    pd.testing.assert_frame_equal(history.frame(archived=True), before)


KILLED = """
import sys, time
from vellum_nb import History
from vellum_nb.history.keeping import archiving
def slow(path):
    print("written", flush=True)
    time.sleep(60)
archiving.ArchiveFile.at = slow
History(sys.argv[1]).archive(before="2100-01-01", path=sys.argv[2] if len(sys.argv) > 2 else None)
"""


@pytest.mark.parametrize("named", [False, True])
def test_the_next_archive_removes_what_a_killed_one_left(path, make_run, tmp_path, named):
    target = [tmp_path / "old.parquet"] if named else []
    with History(path) as history:
        for _ in range(3):
            history.begin(run := make_run())
            history.finish(run.model_copy(update={"state": "FULFILLED"}))
        command = [sys.executable, "-c", KILLED, path, *target]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as child:
            assert child.stdout.readline() == b"written\n"
            (part,) = tmp_path.glob(".*.part")
            os.utime(part, (time.time() - 100,) * 2)
            history.archive(before="2026-07-01T12:00:01Z", path=target[0] if named else None)
            assert part.exists(), "it is being written"
            child.kill()
        os.utime(part, (time.time() - 100,) * 2)
        if named:
            history.unarchive(target[0])
            target[0].unlink()
        history.archive(before="2026-07-01T12:00:02Z", path=target[0] if named else None)
        assert not part.exists()
        assert history.count(archived=True) == 3
