"""Files that cannot be used are refused with a sentence and left as they are."""

from __future__ import annotations

import sqlite3
import stat
import sys
from contextlib import closing

import pytest

from vellum_nb import History, HistoryError
from vellum_nb.history.sqlite.migrations import SCHEMA_VERSION


def refused(path):
    before = path.read_bytes()
    with pytest.raises(HistoryError) as caught:
        History(path)
    assert path.read_bytes() == before
    assert str(path) in str(caught.value)
    return str(caught.value)


@pytest.fixture
def closed(path, make_run):
    """Make a history with some runs, closed again."""
    with History(path) as history:
        for _ in range(50):
            history.begin(make_run(inputs={"long": "x" * 900}))
    return path


def test_a_newer_file_is_refused_with_both_versions(closed):
    with closing(sqlite3.connect(closed)) as connection:
        connection.execute("PRAGMA user_version = 99")
    message = refused(closed)
    assert "version 99" in message
    assert f"up to {SCHEMA_VERSION}" in message
    assert "update vellum_nb" in message


@pytest.mark.parametrize("mode", ["wal", "delete"])
def test_the_database_of_another_program_is_refused(path, mode):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(f"PRAGMA journal_mode = {mode}")
        connection.execute("CREATE TABLE theirs (x)")
    assert "another program" in refused(path)


def test_a_database_that_only_has_another_mark_is_refused(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA application_id = 7")
    assert "another program" in refused(path)


@pytest.mark.parametrize("content", [b"name,age\n", b"x", b"SQLite format 2\0" + b"\0" * 99])
def test_a_file_that_is_not_sqlite_is_refused(path, content):
    path.write_bytes(content)
    told = refused(path)
    assert "not an SQLite file" in told
    assert "vellum-nb history repair FILE" in told  # it may be one whose first page is lost


def test_a_truncated_file_is_refused(closed):
    content = closed.read_bytes()
    closed.write_bytes(content[: len(content) // 2])
    assert "damaged" in refused(closed)


@pytest.mark.parametrize("at", [100, 2048, 5 * 2048, 2 * 2048 + 8])
def test_a_file_with_overwritten_pages_is_refused(closed, at):
    with closed.open("r+b") as file:
        file.seek(at)
        file.write(b"\xa5" * 64)
    assert "damaged" in refused(closed)


def test_a_file_of_only_the_header_is_refused(path):
    path.write_bytes(b"SQLite format 3\0" + b"\xff" * 500)
    assert "left as it is" in refused(path)


def test_an_empty_file_becomes_a_history(path, make_run):
    path.touch()
    with History(path) as history:
        history.begin(make_run())
        assert history.count() == 1


def test_a_folder_is_no_history(tmp_path):
    with pytest.raises(HistoryError, match="cannot be opened"):
        History(tmp_path)


@pytest.mark.parametrize("wrong", [5, 1.5, ["runs.db"]])
def test_what_is_no_path_is_no_history(wrong):
    with pytest.raises(HistoryError, match=r"is no history; name a file, such as 'runs.db'"):
        History(wrong)


def test_a_path_through_a_file_is_no_history(path):
    path.write_text("x")
    with pytest.raises(HistoryError, match="choose another file"):
        History(path / "runs.db")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_file_and_folder_are_private(tmp_path):
    path = tmp_path / "new" / "deep" / "runs.db"
    with History(path) as history:
        assert history.count() == 0
        made = [path, path.with_name("runs.db-wal"), path.parent]
        modes = [stat.S_IMODE(one.stat().st_mode) for one in made]
    assert modes == [0o600, 0o600, 0o700]


def test_a_database_that_cannot_be_written_says_so_and_reads_on(history, path, make_run):
    history.begin(make_run(id="before"))
    with history._store.write() as connection:
        pass
    connection.execute("PRAGMA query_only = ON")
    with pytest.raises(HistoryError, match="cannot be written"):
        history.begin(make_run(id="after"))
    assert [run.id for run in history.runs()] == ["before"]


def test_the_environment_names_the_default_file(tmp_path, monkeypatch):
    monkeypatch.setenv("VELLUM_NB_HISTORY", str(tmp_path / "mine.db"))
    with History() as history:
        assert history.path == tmp_path / "mine.db"


def test_without_it_the_file_is_in_the_users_data_directory(tmp_path, monkeypatch):
    monkeypatch.delenv("VELLUM_NB_HISTORY")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    from platformdirs import user_data_dir

    with History() as history:
        assert str(history.path.parent) == user_data_dir("vellum_nb", appauthor=False)
        assert history.path.name == "runs.db"


def test_a_path_may_start_at_home(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("USERPROFILE", str(tmp_path))
    with History("~/runs.db") as history:
        assert history.path == tmp_path / "runs.db"
