"""Deleting says what goes, and can be taken back until a vacuum."""

import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing

import psycopg
import pytest

from vellum_nb import History, HistoryError

on_file = pytest.mark.usefixtures("path")  # one database is enough
LONG = "long text " * 4_000


def test_repr_of_a_deletion_says_how_to_restore_it(history, record):
    runs = [record(), record(deployment="other"), record()]
    deletion = history.delete([run.id for run in runs[:2]])
    assert (deletion.runs, deletion.ids) == (2, (runs[0].id, runs[1].id))
    assert deletion.first == runs[0].timestamp
    assert repr(deletion) == (
        "<Deletion 1: 2 runs of other, ticket-triage, 2026-07-01 12:00 to 2026-07-01 12:00 UTC; "
        "undelete(1) restores them, until vacuum()>"
    )


def test_repr_of_a_deletion_without_runs(history):
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


@pytest.fixture
def twice(history, record):
    """Return three runs of two deletions, and the first deletion."""
    runs = [record() for _ in range(3)]
    first = history.delete([runs[0].id], why="a test")
    history.delete([runs[1].id, runs[2].id])
    return runs, first


def test_each_deletion_is_listed(history, twice):
    listed = history.deletions()
    assert listed["deletion"].tolist() == [2, 1]
    assert listed["runs"].tolist() == [2, 1]
    assert listed["why"].tolist()[1] == "a test"
    assert listed["deployments"].tolist() == ["ticket-triage", "ticket-triage"]
    assert listed["first"][1] == twice[0][0].timestamp


def test_an_earlier_deletion_is_restored(history, twice):
    runs, first = twice
    history.undelete(first)
    assert [run.id for run in history.runs()] == [runs[0].id]
    assert history.deletions()["deletion"].tolist() == [2]


@pytest.mark.usefixtures("twice")
def test_an_unknown_deletion_is_refused_with_the_list(history):
    with pytest.raises(HistoryError, match=r"no deletion 7; .* lists them: 1, 2"):
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


def test_an_empty_deletion_restores_nothing(history, record):
    run = record()
    history.delete([run.id])
    nothing = history.delete(["nobody"])
    back = history.undelete(nothing)
    assert (nothing.number, back.number, back.runs, history.count()) == (None, None, (), 0)
    assert "nothing" in repr(back)


def test_no_number_of_a_deletion_is_used_twice(history, record):
    runs = [record() for _ in range(3)]
    first = history.delete([runs[0].id])
    history.vacuum()
    second = history.delete([runs[1].id])
    history.undelete(second)
    assert history.delete([runs[2].id]).number == 3
    for deletion in (first, second):
        with pytest.raises(HistoryError, match=f"no deletion {deletion.number}; .* lists them: 3"):
            history.undelete(deletion)


def test_a_kill_during_a_deletion_leaves_a_deletion_that_can_be_undone(
    history, record, path, forks
):
    runs = [record() for _ in range(50)]
    child = (
        "import sys; from vellum_nb import History\n"
        "history = History(sys.argv[1])\n"
        "for run_id in sys.argv[2:]:\n"
        "    history.delete([run_id]); print(run_id, flush=True)"
    )
    with forks.code(child, path, *(run.id for run in runs)) as process:
        acknowledged = [process.stdout.readline().strip() for _ in range(10)]
    gone = set(history.deletions()["deletion"])
    assert history.count(ids=acknowledged) == 0
    assert history.count() == 50 - len(gone)
    for number in gone:
        history.undelete(number)
    assert history.runs() == runs[::-1]


def test_an_answer_that_comes_after_its_run_was_deleted_comes_back_with_the_run(history, make_run):
    run = make_run(inputs={"doc": LONG})
    history.begin(run)
    history.delete([run.id])
    ended = run.model_copy(update={"state": "FULFILLED", "outputs": {"doc": LONG + "!", "n": 1}})
    with pytest.raises(HistoryError, match=r"was deleted on .*undelete\(1\) restores it"):
        history.finish(ended)
    history.undelete()
    assert history.get(run.id) == ended


@pytest.fixture
def three(history, record):
    return [record(), record(), record()]


@on_file
@pytest.mark.usefixtures("three")
@pytest.mark.parametrize("wrong", ["", [""], 7, None, [7]])
def test_delete_refuses_what_has_no_ids(history, wrong):
    with pytest.raises(HistoryError, match="delete needs runs, their ids or a frame of them"):
        history.delete(wrong)
    assert history.count() == 3


@pytest.mark.usefixtures("three")
def test_delete_takes_empty_selections(history):
    for nothing in ([], history.frame()["id"][:0], history.frame(until="2020-01-01")):
        assert repr(history.delete(nothing)) == "<Deletion: no run has these ids>"


@on_file
@pytest.mark.usefixtures("three")
def test_delete_refuses_a_frame_without_ids(history):
    with pytest.raises(HistoryError, match="a frame without the column id; it has state"):
        history.delete(history.frame()[["state"]])


@on_file
@pytest.mark.parametrize(
    "select",
    [
        lambda history: history.frame(),
        lambda history: history.runs(),
        lambda history: iter(history.runs()),
        lambda history: history.frame()["id"],
        lambda history: {run.id: 1 for run in history.runs()},
    ],
    ids=["frame", "runs", "iterator", "column", "mapping"],
)
def test_delete_takes_ids_from_any_collection(history, three, select):
    assert history.delete(select(history)).runs == len(three)
    assert history.count() == 0


def test_delete_takes_a_single_run(history, three):
    assert history.delete(three[0]).runs == history.delete(three[1].id).runs == 1
    assert history.runs() == three[2:]


@pytest.fixture
def vacuumed(history, record):
    """Return the report of a vacuum after eight of nine runs were deleted."""
    record(id="remaining", inputs={"doc": "x" * 40_000})
    deleted = [record(inputs={"doc": LONG * 10 + str(n)}) for n in range(8)]
    history.delete([run.id for run in deleted])
    return history.vacuum()


def test_a_vacuum_frees_space(history, vacuumed, path):
    assert vacuumed.before > 3_000_000
    assert history.size == vacuumed.after < 300_000
    assert path.stat().st_size == vacuumed.after


def test_a_vacuum_makes_deletions_final(history, vacuumed):
    assert (vacuumed.forgotten, vacuumed.dropped) == (8, 8)
    assert [run.id for run in history.runs()] == ["remaining"]
    with pytest.raises(HistoryError, match="nothing to restore"):
        history.undelete()


@pytest.mark.usefixtures("path")
def test_repr_of_a_vacuum(vacuumed):
    assert repr(vacuumed).startswith("<Vacuumed: 3.")
    assert "8 deleted run(s) removed for good; 8 large value(s) dropped" in repr(vacuumed)


@pytest.mark.slow
def test_a_vacuum_works_while_another_process_records(history, record, path):
    program = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2])\n"
        "import recorder; from vellum_nb.history import History\n"
        "with History(sys.argv[1]) as history:\n"
        "    for n in range(60): recorder.record(history, f'other-{n}', 'd', lambda _: None)\n"
    )
    record(inputs={"doc": LONG * 10})
    folder = str((path.parent / __file__).parent)
    child = subprocess.Popen([sys.executable, "-c", program, str(path), folder])
    while child.poll() is None:
        history.vacuum()
    assert child.returncode == 0
    assert history.count(deployment="d", state="FULFILLED") == 60


def test_the_size_is_reported_where_it_says_something(history, record, path):
    record()
    assert repr(history) == f"<History {path}: 1 run>"
    record(inputs={"doc": "".join(chr(0x4E00 + n % 20_000) for n in range(700_000))})
    assert repr(history) == f"<History {path}: 2 runs, {history.size / 1e6:.1f} MB>"
    with closing(sqlite3.connect(path)) as db:
        pages, size = (db.execute(f"PRAGMA page_{x}").fetchone()[0] for x in ("count", "size"))
    assert history.size == pages * size > 2_000_000


def test_tables_of_others_in_the_same_schema_are_left_alone(postgres, postgres_url):
    database = postgres_url.rpartition("/")[2]
    postgres.execute("CREATE TABLE theirs AS SELECT generate_series(1, 1000) AS n", database)
    file = "SELECT relfilenode FROM pg_class WHERE relname = '{}'"
    with History(postgres_url) as history:
        before = [postgres.execute(file.format(name), database) for name in ("theirs", "runs")]
        size = history.size
        postgres.execute("INSERT INTO theirs SELECT generate_series(1, 50000)", database)
        assert history.size == size
        history.vacuum()
    after = [postgres.execute(file.format(name), database) for name in ("theirs", "runs")]
    assert [now == then for now, then in zip(after, before, strict=True)] == [True, False]


def test_a_vacuum_while_runs_are_restored_leaves_none_without_its_values(postgres_url, make_run):
    run = make_run()
    with (
        History(postgres_url) as history,
        History(postgres_url) as other,
        psycopg.connect(postgres_url) as blocker,
        ThreadPoolExecutor(2) as pool,
    ):
        history.begin(run)
        history.delete([run.id])
        blocker.execute("SELECT 1 FROM runs FOR UPDATE")
        restored = pool.submit(history.undelete)
        wait_for_waiting(blocker, 1)
        vacuumed = pool.submit(other.vacuum)
        wait_for_waiting(blocker, 2)
        blocker.rollback()
        assert (restored.result().runs, vacuumed.result().forgotten) == ((run.id,), 0)
        assert history.get(run.id).inputs == run.inputs


def wait_for_waiting(db, number):
    """Wait until so many sessions wait for a lock."""
    sql = (
        "SELECT count(*) FROM pg_stat_activity "
        "WHERE wait_event_type = 'Lock' AND datname = current_database()"
    )
    until = time.monotonic() + 120
    while db.execute(sql).fetchone()[0] < number and time.monotonic() < until:
        time.sleep(0.02)
