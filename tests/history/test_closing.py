"""A history that is closed, from where and when that may be."""

from __future__ import annotations

import gc
import sqlite3
import threading

import pytest

from vellum_nb import History, HistoryError


def test_a_closed_history_says_so_and_closes_twice(path, make_run):
    history = History(path)
    history.close()
    history.close()
    assert repr(history) == f"<History {path}: closed>"
    with pytest.raises(HistoryError, match="was closed"):
        history.begin(make_run())


def test_a_history_that_is_dropped_closes_its_file(path):
    history = History(path)
    connection = history._store._writer.open()
    del history
    gc.collect()
    with pytest.raises(sqlite3.ProgrammingError, match="closed"):
        connection.execute("SELECT 1")


def test_a_history_can_be_closed_from_another_thread(path, make_run):
    history = History(path)
    history.begin(make_run())
    assert history.count() == 1
    thread = threading.Thread(target=history.close)
    thread.start()
    thread.join()
    assert not path.with_name("runs.db-wal").exists()
