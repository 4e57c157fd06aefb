"""Handles of a history's file that others in its process close, which drops SQLite's locks."""

from __future__ import annotations

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
