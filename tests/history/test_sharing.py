"""Another process holds the file: writers wait, and lose nothing."""

import gc
import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import pytest
from runs_kit import html_of

from vellum_nb import History, HistoryError, read_csv, read_parquet, sqlite

HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""
COUNT = "import sys; from vellum_nb import History; print(History(sys.argv[1]).count())"


@contextmanager
def held(path):
    """Hold the write lock in another process; yield it."""
    command = [sys.executable, "-c", HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout.readline() == b"held\n"
        try:
            yield child
        finally:
            child.stdin.close()


def test_an_answer_waits_for_a_long_transaction(history, path, make_run):
    run = make_run()
    history.begin(run)
    ended = run.model_copy(update={"state": "FULFILLED", "outputs": {"reply": "paid for"}})
    with held(path) as child, ThreadPoolExecutor(1) as pool:
        done = pool.submit(history.finish, ended)
        time.sleep(0.3)
        assert not done.done()
        child.stdin.close()
        done.result()
    assert history.get(run.id) == ended


@pytest.mark.parametrize("call", [lambda h: h.vacuum(), lambda h: h.annotate("x", note="y")])
def test_a_lock_that_never_ends_is_an_error_after_the_wait(history, path, monkeypatch, call):
    monkeypatch.setattr(sqlite, "WAIT_S", 0.2)  # 30 s otherwise
    with held(path):
        with pytest.raises(HistoryError, match="another program has locked it"):
            call(history)
        assert history.count() == 0


def test_a_write_within_a_write_raises_at_once(history, place, make_run):
    def nested(run):
        with pytest.raises(HistoryError, match="began within another write"):
            history._store.write(lambda _: None)  # no public method nests writes
        seen.append(run.id)

    seen = []
    history._store.write(lambda _: nested(make_run()))
    assert seen == ["run-0"]


def test_a_closed_history_says_so_and_one_that_is_dropped_closes_its_file(path, make_run):
    history = History(path)
    history.close()
    history.close()
    assert repr(history) == f"<History {path}: closed>"
    with pytest.raises(HistoryError, match="was closed"):
        history.begin(make_run())
    history = History(path)
    connection = history._store._writer.open()
    del history
    gc.collect()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")


ON_POSIX = pytest.mark.skipif(sys.platform == "win32", reason="Windows keeps open files in place")
GONE = "was deleted, moved or replaced"


@ON_POSIX
def test_a_deleted_or_replaced_file_is_not_written_to(history, path, make_run, tmp_path):
    history.begin(make_run())
    path.unlink()
    for call in (lambda: history.begin(make_run()), history.frame):
        with pytest.raises(HistoryError, match=GONE):
            call()
    assert not path.exists()
    assert repr(history) == f"<History {path}: cannot be read>"
    assert GONE in html_of(history)
    with History(tmp_path / "other.db"):
        pass
    (tmp_path / "other.db").replace(path)
    with pytest.raises(HistoryError, match=GONE):
        history.begin(make_run())


@pytest.fixture
def count_elsewhere(forks):
    """Return what counts the runs of a history in another process."""

    def count_elsewhere(path):
        with forks.code(COUNT, path) as process:
            return int(process.stdout.read())

    return count_elsewhere


def test_a_second_history_in_one_process_leaves_the_locks_of_the_first(
    history, path, make_run, count_elsewhere
):
    history.begin(make_run())
    with History(path):
        assert count_elsewhere(path) == 1
    assert path.with_name(path.name + "-wal").exists()
    history.begin(make_run())
    assert count_elsewhere(path) == 2
    assert history.count() == 2
    with History(path) as again:
        assert again.count() == 2


def test_a_link_to_a_file_that_is_not_there_yet_makes_it(path, tmp_path, make_run, count_elsewhere):
    path.symlink_to(tmp_path / "elsewhere.db")
    with History(path) as history:
        history.begin(make_run())
    assert count_elsewhere(tmp_path / "elsewhere.db") == 1


def test_what_several_people_say_of_a_run_at_once_is_all_kept(place, put, tmp_path):
    authors = ["ann", "a:b", "a_b", "a", "a@b:0.5", "\x1b[1m\n'\"<b>", "é" * 2_000, "ann:1"]
    with History(place) as history:
        run = put(history)

        def rate(author):
            with History(place) as own:
                seen = f"seen by {author}"
                own.annotate(run.id, quality=0.25, author=author, tags=lambda all_: [*all_, seen])

        with ThreadPoolExecutor(8) as pool:
            list(pool.map(rate, authors * 2))
        stored = history.get(run.id)
        assert stored.ratings == dict.fromkeys(authors, 0.25)
        assert sorted(each for each in stored.tags if each[:4] == "seen") == sorted(
            f"seen by {author}" for author in authors * 2
        )
        history.annotate(run.id, quality=None, author="a")
        assert history.get(run.id).ratings.keys() == set(authors) - {"a"}
        tags = history.frame()["tags"].tolist()
        assert read_csv(history.to_csv(tmp_path / "a.csv"))["tags"].tolist() == tags
        assert read_parquet(history.to_parquet(tmp_path / "a.parquet"))["tags"].tolist() == tags
        history.to_jsonl(tmp_path / "a.jsonl")
        with pytest.raises(HistoryError, match="must be a text, not 7"):
            history.annotate(run.id, tags=lambda _: [7])
        with History(":memory:") as other:
            other.merge(tmp_path / "a.jsonl")
            assert other.get(run.id).tags == history.get(run.id).tags
