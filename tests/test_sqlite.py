"""The SQLite store helper: versions, copies, kills; the history's tests cover the rest."""

import os
import random
import signal
import sqlite3
import stat
import subprocess
import sys
import threading
import time
from contextlib import closing

import pytest
from runs_kit import later_run

from vellum_nb import HistoryError
from vellum_nb.history import History
from vellum_nb.history.backends import FORMAT, SqliteStore
from vellum_nb.sqlite import MEMORY, TEMPORARY, FileFormat, SqliteFile

NOW = len(FORMAT.migrations)
BACKUPS = f"runs.db.v{NOW}-backup-*"
UPGRADE = """
import sys
from dataclasses import replace
from pathlib import Path
from vellum_nb.history.backends import FORMAT, SqliteStore

def newest(transaction):
    transaction.execute("ALTER TABLE runs ADD COLUMN colour TEXT")
    transaction.execute("UPDATE runs SET colour = 'red'")
    for n in range(200):
        transaction.execute(f"CREATE TABLE made_up_{n} AS SELECT * FROM runs")

print("ready", flush=True)
store = SqliteStore(Path(sys.argv[1]), replace(FORMAT, migrations=(*FORMAT.migrations, newest)))
print(store.read("SELECT count(*) FROM runs WHERE colour = 'red'")[0][0], flush=True)
"""


@pytest.fixture
def filled(tmp_path):
    path = tmp_path / "runs.db"
    with History(path) as history:
        history.merge([later_run("v1", {"t": "x"}, {}) for _ in range(50)])
    return path


def upgrade(path):
    command = [sys.executable, "-c", UPGRADE, str(path)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def version_of(path):
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute("PRAGMA user_version").fetchone()[0]


def test_newer_version_upgrades_a_file_after_a_copy(filled):
    out, err = upgrade(filled).communicate(timeout=60)
    assert out.split() == ["ready", "50"]
    (copy,) = filled.parent.glob(BACKUPS)
    assert f"is upgraded from version {NOW} to {NOW + 1}; a copy of the old one is {copy}" in err
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    assert (version_of(filled), version_of(copy)) == (NOW + 1, NOW)
    with History(copy) as history:
        assert history.count() == 50
    with pytest.raises(HistoryError, match=rf"newer vellum_nb \(version {NOW + 1}\); upgrade"):
        History(filled)


@pytest.mark.slow
def test_killed_upgrade_can_be_repeated(filled):
    chance = random.Random(7)  # noqa: S311  (no secret depends on it)
    killed = 0
    while version_of(filled) == NOW:
        with upgrade(filled) as child:
            assert child.stdout.readline() == "ready\n"
            time.sleep(chance.uniform(0, 0.02 * (1 + killed)))
            os.kill(child.pid, signal.SIGKILL)
        killed += 1
        with closing(sqlite3.connect(filled)) as connection:
            assert connection.execute("PRAGMA quick_check").fetchone()[0] == "ok"
            assert connection.execute("SELECT count(*) FROM runs").fetchone()[0] == 50
    assert killed > 1
    out, _ = upgrade(filled).communicate(timeout=60)
    assert out.split() == ["ready", "50"]
    whole = [copy for copy in filled.parent.glob(BACKUPS) if copy.stat().st_size]
    assert whole
    for copy in whole:  # one that was begun has another name, or is empty
        assert version_of(copy) == NOW


@pytest.mark.slow
def test_concurrent_processes_upgrade_a_file_once(filled):
    children = [upgrade(filled) for _ in range(4)]
    for child in children:
        assert child.communicate(timeout=60)[0].split() == ["ready", "50"]
    assert len(list(filled.parent.glob(BACKUPS))) == 1


def test_store_without_a_file_has_the_same_interface():
    plain = FileFormat("things", 77, (lambda tx: tx.execute("CREATE TABLE t (x INTEGER)"),))
    for place in (MEMORY, TEMPORARY):
        store = SqliteFile(place, plain)
        store.write(lambda tx: tx.execute_many("INSERT INTO t VALUES (:x)", [{"x": 1}, {"x": 2}]))
        with store.snapshot() as snapshot:
            store.write(lambda tx: tx.execute("DELETE FROM t"))
            rows = [row for rows in snapshot.stream("SELECT x FROM t") for row in rows]
            assert rows == [(1,), (2,)]
        assert store.read("SELECT count(*) FROM t") == [(0,)]
        store.close()


def test_query_of_a_snapshot_is_cancelled_from_another_thread(filled):
    endless = "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n) SELECT max(i) FROM n"
    store = SqliteStore(filled, FORMAT)

    def read_and_cancel():
        with store.snapshot() as snapshot:
            threading.Timer(0.2, snapshot.cancel).start()
            snapshot.read(endless)

    with pytest.raises(HistoryError, match="interrupted"):
        read_and_cancel()
    store.close()
