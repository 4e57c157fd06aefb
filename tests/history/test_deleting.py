"""Deleting says what goes, and can be taken back until a vacuum."""

import subprocess
import sys

import pytest

from vellum_nb import HistoryError

LONG = "long text " * 4_000


def test_deleting_says_what_went_and_how_to_get_it_back(history, record):
    runs = [record(), record(deployment="other"), record()]
    gone = history.delete([run.id for run in runs[:2]])
    assert (gone.runs, gone.ids) == (2, (runs[0].id, runs[1].id))
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
    assert len(back.runs) == 3
    assert history.runs(ids=[run.id for run in runs]) == runs[::-1]
    assert history.frame().equals(before)
    with pytest.raises(HistoryError, match="nothing to restore"):
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
    with pytest.raises(HistoryError, match=r"no deletion 7; .* lists them: 2"):
        history.undelete(7)


def test_the_ids_of_a_deleted_run_stay_taken_until_a_vacuum(history, record, make_run):
    run = record(external_id="a")
    history.delete([run.id])
    for fields in ({"id": run.id}, {"external_id": "a"}):
        with pytest.raises(HistoryError, match=r"was deleted: undelete\(1\) restores it, vacuum"):
            history.begin(make_run(**fields))
    assert history.undelete().runs == (run.id,)
    history.delete([run.id])
    history.vacuum()
    record(id=run.id, external_id="a")


def test_undoing_an_empty_deletion_restores_nothing(history, record):
    earlier = record()
    history.delete([earlier.id])
    nothing = history.delete(["nobody"])
    back = history.undelete(nothing)
    assert (nothing.number, back.number, back.runs, history.count()) == (None, None, (), 0)
    assert "nothing" in repr(back)


def test_no_number_of_a_deletion_is_given_twice(history, record):
    runs = [record() for _ in range(3)]
    first = history.delete([runs[0].id])
    history.vacuum()
    second = history.delete([runs[1].id])
    history.undelete(second)
    assert history.delete([runs[2].id]).number == 3
    for gone in (first, second):
        with pytest.raises(HistoryError, match=f"no deletion {gone.number}; .* lists them: 3"):
            history.undelete(gone)


def test_a_kill_during_a_deletion_leaves_a_deletion_that_can_be_undone(history, record, path):
    runs = [record() for _ in range(50)]
    child = (
        "import sys; from vellum_nb import History\n"
        "history = History(sys.argv[1])\n"
        "for run_id in sys.argv[2:]:\n"
        "    history.delete([run_id]); print(run_id, flush=True)"
    )
    arguments = [sys.executable, "-c", child, str(path), *(run.id for run in runs)]
    with subprocess.Popen(arguments, stdout=subprocess.PIPE, text=True) as process:
        acknowledged = [process.stdout.readline().strip() for _ in range(10)]
        process.kill()
    gone = set(history.deletions()["deletion"])
    assert history.count(ids=acknowledged) == 0
    assert history.count() == 50 - len(gone)
    for number in gone:
        history.undelete(number)
    assert history.runs() == runs[::-1]


def test_subscribers_hear_once_of_many_runs(history, record, place):
    ids = [record().id for _ in range(3)]
    heard, of_many = [], []
    stop = history.subscribe(heard.append, on_bulk_change=lambda: of_many.append(history.count()))
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
    for wrong in ("", [""], 7, None, [7]):
        with pytest.raises(HistoryError, match="delete needs runs, their ids or a frame of them"):
            history.delete(wrong)
    for nothing in ([], history.frame()["id"][:0], history.frame(until="2020-01-01")):
        assert repr(history.delete(nothing)) == "<Deletion: no run has these ids>"
    with pytest.raises(HistoryError, match="a frame without the column id; it has state"):
        history.delete(history.frame()[["state"]])
    for right in (
        history.frame(),
        history.runs(),
        iter(history.runs()),
        history.frame()["id"],
        {run.id: 1 for run in history.runs()},
    ):
        assert history.delete(right).runs == 3
        history.undelete()
    run, other, _ = history.runs()
    assert history.delete(run).runs == history.delete(other.id).runs == 1
    assert history.count() == 1
