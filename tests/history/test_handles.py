"""Handles of a history's file that others in its process close, which drops SQLite's locks."""

from __future__ import annotations

import gc
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing, suppress
from pathlib import Path

import pytest

from vellum_nb import History, HistoryError
from vellum_nb.history.sqlite import holding

pytestmark = pytest.mark.skipif(
    not holding.HELD, reason="only Linux has locks that such a handle does not drop"
)
OPEN = Path("/proc/self/fd")
ANOTHER = "from vellum_nb import History; import sys; History(sys.argv[1]).close()"
COUNT = """
from vellum_nb import History; import sys
with History(sys.argv[1]) as history:
    print(history.count(), history.runs()[0].note)
"""
PLAIN = "import sqlite3, sys; c = sqlite3.connect(sys.argv[1]); c.execute('SELECT 1 FROM runs')"


def run(code, path):
    command = [sys.executable, "-c", code, str(path)]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def copied(path, _):
    shutil.copy(path, path.with_name("copy.db"))


def exported_over(path, history):
    with pytest.raises(HistoryError, match="stays"):
        history.to_csv(path)


def read_as_an_archive(path, history):
    with suppress(HistoryError):
        history.unarchive(path)


@pytest.mark.parametrize("other", [ANOTHER, PLAIN])
@pytest.mark.parametrize("close_a_handle", [copied, exported_over, read_as_an_archive])
def test_runs_are_kept_after_the_file_was_opened_and_closed(
    history, path, record, close_a_handle, other
):
    record()
    close_a_handle(path, history)
    run(other, path)
    record()
    assert history.count() == 2
    assert run(COUNT, path) == "2 None\n"


def test_the_last_one_to_close_clears_up_and_no_handle_stays(path):
    before = set(OPEN.iterdir())
    for _ in range(20):
        with History(path), History(path):
            pass
        assert [each.name for each in path.parent.iterdir()] == [path.name]
    assert set(OPEN.iterdir()) <= before


def test_a_connection_of_ones_own_stays_in_use_when_the_history_is_closed(history, path, record):
    record()
    with closing(sqlite3.connect(path, isolation_level=None)) as own:
        own.execute("PRAGMA user_version").fetchone()
        history.close()
        run(ANOTHER, path)
        own.execute("UPDATE runs SET note = 'mine'")
        assert run(COUNT, path) == "1 mine\n"


def come_and_go(path):
    with History(path) as history:
        history.count()


def test_histories_that_come_and_go_beside_another_leave_no_handles(history, path):
    def left():
        come_and_go(path)
        before = len(list(OPEN.iterdir()))
        for _ in range(20):
            come_and_go(path)
        return len(list(OPEN.iterdir())) - before

    history.count()
    assert left() == 0
    child = os.fork()
    if child == 0:
        os._exit(left())
    assert os.waitpid(child, 0)[1] == 0


def test_a_handle_that_a_history_left_keeps_the_file_in_use_for_the_next_one(path, make_run):
    come_and_go(path)
    with closing(sqlite3.connect(path)) as own:
        own.execute("SELECT 1 FROM runs").fetchall()
        come_and_go(path)
        with History(path) as history:
            history.begin(make_run())
            own.close()
            copied(path, history)
            run(ANOTHER, path)
            history.begin(make_run())
            assert run(COUNT, path) == "2 None\n"


def test_a_history_that_is_collected_while_another_one_closes(path, tmp_path, monkeypatch):
    before = set(OPEN.iterdir())
    lost = [History(tmp_path / "lost.db")]
    looked = holding._open_handles

    def handles():
        lost.clear()
        gc.collect()
        return looked()

    monkeypatch.setattr(holding, "_open_handles", handles)
    come_and_go(path)
    assert set(OPEN.iterdir()) <= before


def test_a_history_closes_although_nobody_can_tell_which_handles_there_are(path, monkeypatch):
    before = set(OPEN.iterdir())
    with monkeypatch.context() as patched:
        patched.setattr(holding, "_OPEN_FILES", path / "nowhere")
        come_and_go(path)
    come_and_go(path)
    assert set(OPEN.iterdir()) <= before


def test_a_fork_that_closes_takes_nothing_from_its_parent(history, path, make_run):
    history.begin(make_run())
    (closed, tell), (ended, end) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        history.begin(make_run(id="of the child"))
        history.close()
        os.close(end)
        os.close(tell)
        os.read(ended, 1)
        os._exit(0)
    os.close(tell)
    os.read(closed, 1)
    copied(path, history)
    run(ANOTHER, path)
    history.begin(make_run(id="afterwards"))
    history.close()
    assert not Path(f"{path}-wal").exists()  # although the child is there
    for each in (end, ended, closed):
        os.close(each)
    assert os.waitpid(child, 0)[1] == 0
    with History(path) as again:
        assert {run.id for run in again.runs()} >= {"of the child", "afterwards"}
