"""Another process holds the file: writers wait, say for whom, and lose nothing."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager

import pytest

from vellum_nb import History, HistoryError
from vellum_nb.history.sqlite import waiting

HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""


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


def waits_for(capsys, child, call):
    """Return what `call` returns, which waits for `child`; let that go as soon as this is told."""
    with ThreadPoolExecutor(1) as pool:
        done = pool.submit(call)
        told = ""
        while not told and not done.done():
            time.sleep(0.01)
            told = capsys.readouterr().err
        child.stdin.close()
        result = done.result()
    assert f"is locked by process {child.pid} (python" in told
    assert capsys.readouterr().err == "", "it was told twice"
    return result


@pytest.fixture(autouse=True)
def _told_soon(monkeypatch):
    monkeypatch.setattr(waiting, "_TOLD_AFTER_S", 0.1)


def test_an_answer_waits_for_a_long_transaction_and_says_whose(history, path, make_run, capsys):
    run = make_run()
    history.begin(run)
    ended = run.model_copy(update={"state": "FULFILLED", "outputs": {"reply": "paid for"}})
    with held(path) as child:
        waits_for(capsys, child, lambda: history.finish(ended))
    assert history.get(run.id) == ended


def test_opening_waits_too(path, capsys):
    History(path).close()
    with held(path) as child:
        waits_for(capsys, child, lambda: History(path)).close()


@pytest.mark.parametrize("call", [lambda h: h.vacuum(), lambda h: h.annotate("x", note="y")])
def test_a_lock_that_never_ends_is_told_after_the_wait(history, path, monkeypatch, call):
    monkeypatch.setattr(waiting, "PATIENCE_S", 0.2)
    with held(path) as child:
        with pytest.raises(HistoryError, match=rf"kept it locked .*; process {child.pid} "):
            call(history)
        assert history.count() == 0


def test_a_lock_of_this_process_past_us_is_told_as_well(history, path, make_run, monkeypatch):
    monkeypatch.setattr(waiting, "PATIENCE_S", 0.1)
    with closing(sqlite3.connect(path, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(HistoryError, match="another program has kept it locked"):
            history.begin(make_run())
        other.execute("ROLLBACK")
    history.begin(make_run())
    assert history.count() == 1
