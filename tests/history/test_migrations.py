"""Old files are copied before they are brought up to date; a kill at any moment loses nothing."""

from __future__ import annotations

import json
import os
import random
import shutil
import sqlite3
import stat
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from vellum_nb import History, HistoryError
from vellum_nb.history.sqlite.migrations import SCHEMA_VERSION

FILES = Path(__file__).with_name("files")
OLD = [f"v{version}" for version in range(1, SCHEMA_VERSION)]


@pytest.fixture
def old(path):
    shutil.copy(FILES / "v3.db", path)
    return path


@pytest.fixture(scope="module")
def migrator():
    if not hasattr(os, "fork"):
        pytest.skip("the migrator forks")
    script = Path(__file__).with_name("migrator.py")
    with subprocess.Popen(
        [sys.executable, script],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    ) as process:

        def ask(*words):
            print(*words, file=process.stdin, flush=True)
            return process.stdout.readline().strip()

        yield ask
        process.stdin.close()


def backups(path):
    return sorted(path.parent.glob(f"{path.name}.v*-backup-*"))


def dump(path):
    with closing(sqlite3.connect(path)) as db:
        return [db.execute("PRAGMA user_version").fetchone()[0], *db.iterdump()]


def test_an_old_history_is_copied_first_and_one_sentence_says_where(old, capsys):
    before = dump(old)
    with History(old):
        pass
    (copy,) = backups(old)
    assert copy.name.startswith("runs.db.v3-backup-20")
    assert dump(copy) == before
    assert stat.S_IMODE(copy.stat().st_mode) == 0o600
    told = capsys.readouterr().err
    assert told.count("\n") == 1
    assert f"from version 3 to {SCHEMA_VERSION}" in told
    assert str(copy) in told
    with History(old):
        pass
    assert capsys.readouterr().err == ""
    assert backups(old) == [copy]


def test_a_copy_has_what_was_only_in_the_log(old):
    script = (
        "import os, sqlite3, sys; db = sqlite3.connect(sys.argv[1]); "
        "db.execute(\"UPDATE runs SET note = 'in the log' WHERE id = 'started'\"); db.commit(); "
        "os._exit(0)"
    )
    subprocess.run([sys.executable, "-c", script, old], check=True)
    assert old.with_name("runs.db-wal").stat().st_size > 0
    with History(old):
        pass
    with closing(sqlite3.connect(backups(old)[0])) as db:
        assert db.execute("SELECT note FROM runs WHERE id = 'started'").fetchone() == (
            "in the log",
        )


def test_a_copy_opens_as_a_history(old):
    with History(old) as history:
        count = history.count()
    with History(backups(old)[0]) as history:
        assert history.count() == count


def test_an_older_copy_is_never_overwritten(old):
    shutil.copy(old, old.with_name("kept"))
    with History(old):
        pass
    (first,) = backups(old)
    first.write_bytes(b"somebody's")
    for expected in (2, 2):  # the third opening finds the second copy to be the same
        shutil.copy(old.with_name("kept"), old)
        with History(old):
            pass
        assert len(backups(old)) == expected
    assert first.read_bytes() == b"somebody's"


def test_a_history_without_runs_and_a_new_one_need_no_copy(old, path, tmp_path, capsys):
    with closing(sqlite3.connect(old)) as db:
        db.execute("DELETE FROM runs")
        db.commit()
    for file in (old, tmp_path / "new.db"):
        with History(file):
            pass
        assert backups(file) == []
    assert capsys.readouterr().err == ""


def test_copies_go_to_the_folder_that_the_environment_names(old, tmp_path, monkeypatch):
    monkeypatch.setenv("VELLUM_NB_BACKUPS", str(tmp_path / "deep" / "copies"))
    with History(old):
        pass
    assert backups(old) == []
    assert [file.name[:17] for file in (tmp_path / "deep" / "copies").iterdir()] == [
        "runs.db.v3-backup"
    ]


def test_without_a_copy_nothing_is_changed(old, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("VELLUM_NB_BACKUPS", str(tmp_path / "file"))
    before = old.read_bytes()
    with pytest.raises(HistoryError, match="was left as it is.*VELLUM_NB_BACKUPS") as caught:
        History(old)
    assert str(old) in str(caught.value)
    assert old.read_bytes() == before
    monkeypatch.delenv("VELLUM_NB_BACKUPS")
    with History(old) as history:
        assert history.count() > 0


def runs_in(path):
    with closing(sqlite3.connect(path)) as db:
        return db.execute("SELECT count(*) FROM runs").fetchone()[0]


@pytest.mark.slow
@pytest.mark.parametrize("name", OLD)
def test_a_kill_before_any_statement_leaves_a_file_that_opens(migrator, name, tmp_path):
    contents = dump(FILES / f"{name}.db")
    for number in range(200):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = shutil.copy(FILES / f"{name}.db", folder / "runs.db")
        end = migrator("after", number, path)
        with closing(sqlite3.connect(path)) as db:
            assert db.execute("PRAGMA user_version").fetchone()[0] in {contents[0], SCHEMA_VERSION}
        with History(path) as history:
            assert history.count() == runs_in(FILES / f"{name}.db")
        (copy,) = backups(path)
        assert dump(copy) == contents
        assert list(folder.glob("*.part")) == []
        if end == "done":
            break
        assert end == "killed"
        shutil.rmtree(folder)
    assert number > 15, "nothing was interrupted: the test has lost its teeth"


@pytest.mark.slow
def test_a_kill_at_any_time_leaves_a_file_that_opens(migrator, tmp_path):
    chance = random.Random(20261125)  # noqa: S311  (no secret depends on it)
    killed = 0
    for number in range(40):
        folder = tmp_path / str(number)
        folder.mkdir()
        old = FILES / f"{chance.choice(OLD)}.db"
        path = shutil.copy(old, folder / "runs.db")
        killed += migrator("within", chance.randint(1, 20), path) == "killed"
        with History(path) as history:
            assert history.count() == runs_in(old)
        assert len(backups(path)) == 1
        shutil.rmtree(folder)
    assert killed > 5, "no kill came in time: the test has lost its teeth"


def test_of_processes_that_open_an_old_file_at_once_one_makes_the_copy(migrator, tmp_path):
    for number in range(5):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = Path(shutil.copy(FILES / "v2.db", folder / "runs.db"))
        *ends, told = json.loads(migrator("race", 4, path))
        assert ends == [0] * 4
        assert told.count("it is kept as it was in") == 1
        assert len(backups(path)) == 1
