"""One file held open several times by one process, while other processes come and go.

POSIX takes away all locks that a process has on a file when it closes any handle of that file. A
history that opened its own file past SQLite would let the next process throw away the log under it.
"""

from __future__ import annotations

import subprocess
import sys

from vellum_nb import History

COME_AND_GO = """
import sys
from vellum_nb import History
with History(sys.argv[1]) as history:
    print(history.count())
"""


def count_elsewhere(path) -> int:
    done = subprocess.run(
        [sys.executable, "-c", COME_AND_GO, str(path)], check=True, capture_output=True, text=True
    )
    return int(done.stdout)


def test_a_second_history_in_one_process_leaves_the_locks_of_the_first(history, path, make_run):
    history.begin(make_run())
    with History(path):
        assert count_elsewhere(path) == 1
    assert path.with_name(path.name + "-wal").exists()
    history.begin(make_run())
    assert count_elsewhere(path) == 2
    assert history.count() == 2
    with History(path) as again:
        assert again.count() == 2


def test_a_connect_cell_that_runs_again_loses_no_row(path, make_run):
    cells = []
    for expected in range(1, 5):
        cells.append(History(path))
        cells[-1].begin(make_run())
        cells[0].begin(make_run())
        assert count_elsewhere(path) == 2 * expected
    counts = {each.count() for each in cells}
    for each in cells:
        each.close()
    assert counts == {8}
    assert count_elsewhere(path) == 8


def test_a_link_to_a_file_that_is_not_there_yet_makes_it(path, tmp_path, make_run):
    path.symlink_to(tmp_path / "elsewhere.db")
    with History(path) as history:
        history.begin(make_run())
    assert count_elsewhere(tmp_path / "elsewhere.db") == 1
