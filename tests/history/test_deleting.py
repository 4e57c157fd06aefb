"""Deleting says what goes, and can be taken back until a vacuum."""

import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

import pytest

from vellum_nb import History, HistoryError
from vellum_nb.history.keeping import deleting, undeleting

LONG = "long text " * 4_000


def test_deleting_says_what_went_and_how_to_get_it_back(history, record):
    runs = [record(), record(deployment="other"), record()]
    gone = history.delete([run.id for run in runs[:2]])
    assert gone == 2
    assert repr(gone) == (
        "<Deletion 1: 2 runs of other, ticket-triage, 2026-07-01 12:00 to 2026-07-01 12:00 UTC; "
        "undelete(1) brings them back, until vacuum()>"
    )
    assert gone.first == runs[0].timestamp
    assert repr(history.delete(["nobody"])) == "<Deletion: no run has these ids>"


def test_what_was_deleted_comes_back_as_it_was(history, record):
    runs = [record(inputs={"doc": LONG}, note="keep", external_id=f"e{n}") for n in range(3)]
    before = history.frame()
    history.delete([run.id for run in runs])
    assert history.count() == 0
    back = history.undelete()
    assert (len(back.runs), back.taken) == (3, {})
    assert history.runs(ids=[run.id for run in runs]) == runs[::-1]
    assert history.frame().equals(before)
    with pytest.raises(HistoryError, match="nothing to bring back"):
        history.undelete()


def test_each_deletion_is_listed_and_can_be_chosen(history, record):
    runs = [record() for _ in range(3)]
    first = history.delete([runs[0].id], why="a test")
    history.delete([runs[1].id, runs[2].id])
    listed = history.deletions()
    assert listed["deletion"].tolist() == [2, 1]
    assert listed["runs"].tolist() == [2, 1]
    assert listed["why"].tolist()[1] == "a test"
    assert listed["deployments"].tolist() == ["ticket-triage", "ticket-triage"]
    assert listed["first"][1] == runs[0].timestamp
    history.undelete(first)
    assert [run.id for run in history.runs()] == [runs[0].id]
    assert history.deletions()["deletion"].tolist() == [2]
    with pytest.raises(HistoryError, match=r"no deletion 7; .* there are: 2"):
        history.undelete(7)


def test_without_deletions_the_list_has_its_columns(history):
    listed = history.deletions()
    assert len(listed) == 0
    assert str(listed["deleted_at"].dtype) == "datetime64[us, UTC]"


def test_a_place_that_was_taken_meanwhile_is_reported_and_nothing_is_lost(history, record):
    runs = [record(external_id="a"), record(external_id="b"), record()]
    history.delete([run.id for run in runs])
    other = record(external_id="a")
    record(id=runs[1].id, external_id="c")
    back = history.undelete()
    assert back.runs == (runs[2].id,)
    assert back.taken == {
        runs[0].id: f"its external_id 'a' was taken by run {other.id}",
        runs[1].id: "a run with this id was recorded meanwhile",
    }
    assert repr(back).startswith(f"<Restored: 1 run back; {runs[0].id} stays deleted: its external")
    history.delete([other.id])
    assert history.undelete(1).runs == (runs[0].id,)


def test_asking_for_a_deleted_run_says_where_it_went(history, record):
    run = record()
    history.delete([run.id])
    with pytest.raises(HistoryError, match=r"was deleted on .* history.undelete\(1\) brings it"):
        history.get(run.id)
    with pytest.raises(HistoryError, match="was deleted on"):
        history.annotate(run.id, note="x")
    with pytest.raises(HistoryError, match="was deleted on"):
        history.finish(run)


def test_a_deletion_can_be_taken_back_by_another_process(history, record, path):
    run = record()
    history.delete([run.id])
    with History(path) as other:
        other.undelete()
    assert history.get(run.id) == run


def test_no_number_of_a_deletion_is_given_twice(history, record):
    runs = [record() for _ in range(3)]
    first = history.delete([runs[0].id])
    history.vacuum()
    second = history.delete([runs[1].id])
    history.undelete(second)
    assert history.delete([runs[2].id]).number == 3
    for gone in (first, second):
        with pytest.raises(HistoryError, match=f"no deletion {gone.number}; .* there are: 3"):
            history.undelete(gone)


def test_many_runs_go_and_come_back_in_lots(history, record, monkeypatch):
    for module in (deleting, undeleting):
        monkeypatch.setattr(module, "_AT_ONCE", 2)
    runs = [record(deployment=name) for name in "bcbad"]
    stays = record()
    gone = history.delete([run.id for run in runs])
    assert (int(gone), gone.number, gone.deployments) == (5, 1, ("a", "b", "c", "d"))
    assert (gone.first, gone.last) == (runs[0].timestamp, runs[-1].timestamp)
    assert history.deletions()["runs"].tolist() == [5]
    assert history.runs() == [stays]
    assert history.undelete() == undeleting.Restored(tuple(run.id for run in runs), {})
    assert history.runs() == [stays, *runs[::-1]]
    assert history.deletions().empty


def test_what_lost_its_place_stays_deleted_and_the_rest_of_its_lot_comes_back(history, record):
    runs = [record(external_id=f"e{n}") for n in range(6)]
    history.delete([run.id for run in runs])
    record(id=runs[1].id, external_id="other")
    taker = record(external_id="e4")
    back = history.undelete()
    assert back.runs == tuple(runs[n].id for n in (0, 2, 3, 5))
    assert back.taken == {
        runs[1].id: "a run with this id was recorded meanwhile",
        runs[4].id: f"its external_id 'e4' was taken by run {taker.id}",
    }
    assert [history.get(run_id) for run_id in back.runs] == [runs[n] for n in (0, 2, 3, 5)]
    assert history.deletions()["runs"].tolist() == [2]


def test_what_another_takes_back_in_mid_deletion_loses_no_run(history, record, place, monkeypatch):
    for module in (deleting, undeleting):
        monkeypatch.setattr(module, "_AT_ONCE", 1)
    ids = [record().id for _ in range(60)]
    with History(place) as other, ThreadPoolExecutor(1) as pool:
        deletion = pool.submit(history.delete, ids)
        back = []
        while not deletion.done():
            with suppress(HistoryError):
                back += other.undelete().runs
        assert deletion.result() == 60
    assert back, "nothing was taken back in the midst: the test has lost its teeth"
    while not history.deletions().empty:
        history.undelete()
    assert history.count() == 60


def test_a_kill_in_mid_deletion_leaves_what_went_to_be_taken_back(history, record, path):
    runs = [record() for _ in range(5)]
    child = (
        "import os, sys; from vellum_nb import History\n"
        "from vellum_nb.history.keeping import deleting\n"
        "deleting._AT_ONCE, move, lots = 2, deleting._move_aside, []\n"
        "def move_or_die(*args):\n"
        "    os.kill(os.getpid(), 9) if lots else lots.append(move(*args))\n"
        "deleting._move_aside = move_or_die\n"
        "History(sys.argv[1]).delete(sys.argv[2:])"
    )
    arguments = [sys.executable, "-c", child, str(path), *(run.id for run in runs)]
    assert subprocess.run(arguments, check=False).returncode == -9
    assert history.runs() == runs[:1:-1]
    assert history.deletions()["runs"].tolist() == [2]
    assert history.undelete().runs == (runs[0].id, runs[1].id)
    assert history.runs() == runs[::-1]


def test_subscribers_hear_once_of_many_runs(history, record, place):
    ids = [record().id for _ in range(3)]
    heard, of_many = [], []
    stop = history.subscribe(heard.append, many=lambda: of_many.append(history.count()))
    history.delete(ids)
    history.undelete()
    stop()
    history.delete(ids)
    assert (heard, of_many) == ([], [0, 3])


def test_an_answer_that_comes_after_its_run_was_deleted_comes_back_with_the_run(history, make_run):
    run = make_run(inputs={"doc": LONG})
    history.begin(run)
    history.delete([run.id])
    ended = run.model_copy(update={"state": "FULFILLED", "outputs": {"doc": LONG + "!", "n": 1}})
    with pytest.raises(HistoryError, match=r"was deleted on .*undelete\(1\) brings it back"):
        history.finish(ended)
    history.undelete()
    assert history.get(run.id) == ended


def test_ids_come_in_whatever_holds_them_and_nothing_else_will_do(history, record):
    record(), record(), record()
    for wrong in ([], "", [""], 7, None, [7], history.frame()["id"][:0], history.frame()[:0]):
        with pytest.raises(HistoryError, match="with at least one in it, not |does not fit: give"):
            history.delete(wrong)
    with pytest.raises(HistoryError, match="a frame without the column id; it has state"):
        history.delete(history.frame()[["state"]])
    for right in (
        history.frame(),
        history.runs(),
        iter(history.runs()),
        history.frame()["id"],
        {run.id: 1 for run in history.runs()},
    ):
        assert history.delete(right) == 3
        history.undelete()
    run, other, _ = history.runs()
    assert history.delete(run) == history.delete(other.id) == 1
    assert history.count() == 1
