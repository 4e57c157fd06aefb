"""Files that cannot be used are refused with a sentence and left as they are."""

from __future__ import annotations

import sqlite3
import stat
import sys
from contextlib import closing

import pytest

from vellum_nb import History, HistoryError


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
    assert "upgrade" in message


def test_a_file_of_an_unreleased_version_is_refused_with_the_way(path):
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("PRAGMA application_id = 0x766E6268")
        connection.execute("PRAGMA user_version = 7")
        connection.execute("CREATE TABLE runs (seq INTEGER)")
    assert "vellum-nb history merge runs.jsonl" in refused(path)


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
    assert "not an SQLite file" in refused(path)


def test_an_empty_file_becomes_a_history(path, make_run):
    path.touch()
    with History(path) as history:
        history.begin(make_run())
        assert history.count() == 1


@pytest.mark.parametrize("wrong", [5, 1.5, ["runs.db"]])
def test_what_is_no_path_is_no_history(wrong):
    with pytest.raises(HistoryError, match=r"is not a history; name a file, such as 'runs.db'"):
        History(wrong)


def test_a_path_through_a_file_is_no_history(path):
    path.write_text("x")
    with pytest.raises(HistoryError, match="cannot be opened"):
        History(path / "runs.db")


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such permissions")
def test_file_and_folder_are_private(tmp_path):
    path = tmp_path / "new" / "deep" / "runs.db"
    with History(path) as history:
        assert history.count() == 0
        made = [path, path.with_name("runs.db-wal"), path.parent]
        modes = [stat.S_IMODE(one.stat().st_mode) for one in made]
    assert modes == [0o600, 0o600, 0o700]


def test_two_names_of_one_file_are_refused(closed, tmp_path):
    (tmp_path / "second.db").hardlink_to(closed)
    assert "2 names (hard links)" in refused(closed)


def test_names_that_cannot_be_files_are_refused_in_a_sentence(tmp_path):
    (tmp_path / "loop.db").symlink_to(tmp_path / "loop.db")
    for name in ("loop.db", "x" * 400, "a\0b"):
        with pytest.raises(HistoryError, match="cannot be (used|opened)|is not a history"):
            History(tmp_path / name)


@pytest.mark.parametrize("name", ["a b", "ä%20?#", "'\"$;", "日本", "\n"])
def test_a_file_may_have_any_name(tmp_path, make_run, name):
    with History(tmp_path / name) as history:
        history.begin(make_run())
    with History(tmp_path / name) as history:
        assert history.count() == 1
        assert history.backup(tmp_path / f"{name}2").exists()


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


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("x" * 300, "The copy .* cannot be written: File name too long"),
        ("there/is/no/folder.db", "The copy .* cannot be written: No such file"),
        ("\0", "is not a history; name a file"),
        (7, "is not a history; name a file"),
        (None, "is not a history; name a file"),
    ],
)
def test_a_backup_that_cannot_be_written_names_its_own_place(tmp_path, target, reason):
    with History(tmp_path / "a.db") as history, pytest.raises(HistoryError, match=reason):
        history.backup(target)
