"""A vacuum forgets what was deleted, drops what no run needs, and gives the space back."""

import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest

from vellum_nb import History, HistoryError

LONG = "long text " * 40_000


def test_a_vacuum_forgets_deletions_and_gives_the_space_back(history, record, path):
    kept = record(inputs={"doc": "x" * 40_000})
    gone = [record(inputs={"doc": LONG + str(n)}) for n in range(8)]
    history.delete([run.id for run in gone])
    done = history.vacuum()
    assert (done.forgotten, done.dropped) == (8, 8)
    assert done.before > 3_000_000
    assert history.size == done.after < 300_000
    assert path.stat().st_size == done.after
    assert history.runs() == [kept]
    with pytest.raises(HistoryError, match="nothing to restore"):
        history.undelete()
    assert repr(done).startswith("<Vacuumed: 3.")
    assert "8 deleted run(s) forgotten for good; 8 large value(s) dropped" in repr(done)


def test_a_vacuum_leaves_no_word_of_deleted_runs_in_the_index(history, record):
    runs = [record(inputs={"q": f"refund {n}"}) for n in range(20)]
    assert history.count(search="refund") == 20
    history.delete([run.id for run in runs[:10]])
    history.vacuum()
    record(inputs={"q": "another"})
    assert history.count(search="refund") == 10


def test_a_vacuum_works_while_another_process_records(history, record, path):
    program = (
        "import sys; from pathlib import Path; sys.path.insert(0, sys.argv[2])\n"
        "import recorder; from vellum_nb.history import History\n"
        "with History(sys.argv[1]) as history:\n"
        "    for n in range(60): recorder.record(history, f'other-{n}', 'd', lambda _: None)\n"
    )
    record(inputs={"doc": LONG})
    folder = str((path.parent / __file__).parent)
    child = subprocess.Popen([sys.executable, "-c", program, str(path), folder])
    while child.poll() is None:
        history.vacuum()
    assert child.returncode == 0
    assert history.count(deployment="d", state="FULFILLED") == 60


def test_the_size_is_told_where_it_says_something(history, record, path):
    record()
    assert repr(history) == f"<History {path}: 1 run>"
    record(inputs={"doc": "".join(chr(0x4E00 + n % 20_000) for n in range(700_000))})
    assert repr(history) == f"<History {path}: 2 runs, {history.size / 1e6:.1f} MB>"
    connection = sqlite3.connect(path)
    pages, size = (connection.execute(f"PRAGMA page_{x}").fetchone()[0] for x in ("count", "size"))
    connection.close()
    assert history.size == pages * size > 2_000_000


def test_tables_of_others_in_the_same_schema_are_left_alone(postgres, postgres_url):
    database = postgres_url.rpartition("/")[2]
    postgres.execute("CREATE TABLE theirs AS SELECT generate_series(1, 1000) AS n", database)
    file = "SELECT relfilenode FROM pg_class WHERE relname = '{}'"
    with History(postgres_url) as history:
        theirs, runs = (
            postgres.execute(file.format(name), database) for name in ("theirs", "runs")
        )
        size = history.size
        postgres.execute("INSERT INTO theirs SELECT generate_series(1, 50000)", database)
        assert history.size == size
        history.vacuum()
    assert postgres.execute(file.format("theirs"), database) == theirs
    assert postgres.execute(file.format("runs"), database) != runs


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
    until = time.monotonic() + 20
    while db.execute(sql).fetchone()[0] < number and time.monotonic() < until:
        time.sleep(0.02)
