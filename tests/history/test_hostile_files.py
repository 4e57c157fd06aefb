"""Hostile and damaged files: each reader reads on, or raises one of our errors, within 10 s."""

import shutil
import sqlite3
from contextlib import closing, contextmanager

import hypothesis.strategies as st
import pytest
from hostile_files import (
    CLOSED_READERS,
    DAMAGE,
    DEEP,
    FILE_READERS,
    FILES,
    HARM,
    LIMIT_S,
    READERS,
    outcome_of,
    set_any,
    spoil,
    write_history,
)
from hypothesis import given, settings

import vellum_nb as vnb
from vellum_nb import History, HistoryError, VellumNBError, sqlite
from vellum_nb.history import Sweeps
from vellum_nb.history.schema import TABLES

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning")  # of values that are missing


@pytest.fixture(scope="module")
def content(tmp_path_factory):
    """Return the bytes of a history that has a row in every table."""
    path = tmp_path_factory.mktemp("whole") / "runs.db"
    write_history(path)
    return path.read_bytes()


def failures(readers, *arguments):
    """Return what readers did that none may do."""
    found = {}
    for name, read in readers.items():
        error, seconds = outcome_of(read, *arguments)
        if error is not None and not isinstance(error, VellumNBError):
            found[name] = repr(error)
        if seconds > LIMIT_S:
            found[name] = f"{seconds:.0f} s"
    return found


def failures_of_history(path):
    problems = failures(CLOSED_READERS, path)
    with closing_if_open(path) as history:
        return problems | ({} if history is None else failures(READERS, history))


@contextmanager
def closing_if_open(path):
    """Yield the open history, or None if it is refused."""
    try:
        history = History(path)
    except VellumNBError:
        yield None
        return
    with history:
        yield history


@pytest.mark.slow
@pytest.mark.parametrize("kind", DAMAGE)
def test_damaged_history_is_read_or_refused_with_our_errors(kind, content, path):
    path.write_bytes(content)
    DAMAGE[kind](path)
    assert failures_of_history(path) == {}


@pytest.mark.parametrize("kind", HARM)
@pytest.mark.parametrize("name", ["open", "merge"])
def test_history_with_foreign_definitions_is_refused_unchanged(name, kind, content, path):
    path.write_bytes(content)
    HARM[kind](path)
    before = path.read_bytes()
    error, seconds = outcome_of(CLOSED_READERS[name], path)
    assert isinstance(error, HistoryError)
    assert seconds < LIMIT_S
    assert path.read_bytes() == before
    error, seconds = outcome_of(lambda path: vnb.check_history(path).problems[0], path)
    assert error is None
    assert seconds < LIMIT_S


@pytest.mark.parametrize(
    "content",
    [
        b"\n" * 5_000_000,
        b"\r\n" * 3_000_000,
        b"a,b\n" + b"\n" * 2_000_000,
        b"a\n" + b"1\n" * 1_500_000,
        b'a\n"' + b'""' * 3_000_000 + b'"',
        b"a\n" + b"," * 2_000_000,
    ],
    ids=["empty lines", "CRLF", "a header and empty lines", "rows", "quotes", "separators"],
)
@pytest.mark.parametrize("name", ["read_csv", "cases"])
@pytest.mark.slow
def test_a_csv_of_very_many_lines_or_cells_is_read_or_refused_in_time(name, content, path):
    path = path.with_suffix(".csv")
    path.write_bytes(content)
    assert failures({name: FILE_READERS[name]}, path) == {}


@pytest.mark.slow
def test_a_csv_of_too_many_rows_is_refused_with_the_remedy(path):
    path.write_bytes(b"a\n" + b"1\n" * 1_048_577)
    with pytest.raises(HistoryError, match=r"more than 1,048,576 rows or .*; split it, or use Par"):
        vnb.read_csv(path)


def test_the_row_of_an_error_is_counted_with_empty_lines(path):
    path.write_bytes(b'\n\na,b\n1,2\n\r\n\n3,"4"\n\n5\n')
    with pytest.raises(HistoryError, match="row 9 has 1 cells, the header has 2"):
        vnb.read_csv(path)


def test_the_message_names_the_definition_and_the_remedy(content, path):
    path.write_bytes(content)
    HARM["a trigger that deletes"](path)
    message = "defines 'CREATE TRIGGER t AFTER INSERT .*which no history has.*remove this"
    with pytest.raises(HistoryError, match=message):
        History(path)
    assert "CREATE TRIGGER t" in vnb.check_history(path).problems[0]


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE TABLE mine (a, b TEXT)",
        "CREATE TABLE mine (a TEXT DEFAULT 'as', -- AS it is, CHECK it\n b /* GENERATED */)",
        'CREATE TABLE "my check" ("as" TEXT, [generated] UNIQUE, `check` COLLATE NOCASE)',
        "CREATE TABLE mine (a, b); CREATE UNIQUE INDEX one ON mine (a COLLATE NOCASE, b)",
        "CREATE INDEX mine ON runs (model, author DESC)",
        'CREATE INDEX "mine too" ON runs ("model" COLLATE NOCASE, [author] DESC) -- AS',
        "ANALYZE",
        "DROP INDEX runs_newest",
    ],
)
def test_own_tables_indexes_and_statistics_are_accepted(sql, content, path):
    path.write_bytes(content)
    spoil(path, *sql.split(";"))
    with History(path) as history:
        assert history.count() == 5
    assert vnb.check_history(path).ok


@pytest.mark.parametrize(
    "sql",
    [
        "CREATE UNIQUE INDEX mine ON runs (model)",
        "CREATE INDEX mine ON runs (model) WHERE note LIKE '%x'",
        'CREATE TABLE mine ("a"CHECK(length("a") > 1))',
        "CREATE TABLE mine (a /* ' */ CHECK (a > ' /* '))",
        "CREATE TABLE mine (a DEFAULT 'it''s', b AS (a || '--'))",
    ],
)
def test_definitions_that_are_executed_or_hinder_our_writes_are_refused(sql, content, path):
    path.write_bytes(content)
    spoil(path, sql)
    with pytest.raises(HistoryError, match="which no history has"):
        History(path)


def test_a_changed_table_is_named_and_the_advice_undoes_it(content, path):
    path.write_bytes(content)
    spoil(path, "ALTER TABLE runs ADD COLUMN mine TEXT")
    with pytest.raises(HistoryError, match="its table runs was changed.*DROP COLUMN") as caught:
        History(path)
    assert "damaged" not in str(caught.value)
    assert "its table runs was changed" in vnb.check_history(path).problems[0]
    spoil(path, "ALTER TABLE runs DROP COLUMN mine")
    with History(path) as history:
        assert history.count() == 5


def test_a_sweep_of_many_rounds_is_read(content, path):
    path.write_bytes(content)
    spoil(path, "UPDATE sweeps SET round = 1500")
    with History(path) as history:
        assert [sweep.round for sweep in Sweeps(history).every()] == [1500]


def test_an_unfinished_transaction_of_a_copied_history_is_left_alone(content, path, tmp_path):
    whole, log = tmp_path / "whole.db", path.with_name("runs.db-journal")
    whole.write_bytes(content)
    with closing(sqlite3.connect(whole, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode = DELETE")
        db.execute("PRAGMA cache_size = 1")  # changed pages go to the file before the commit
        db.execute("BEGIN")
        db.execute("UPDATE runs SET note = hex(zeroblob(20000))")
        shutil.copy(whole, path)
        shutil.copy(f"{whole}-journal", log)
        db.execute("ROLLBACK")
    before = path.read_bytes(), log.read_bytes()
    with History(":memory:") as ours:
        for read in (vnb.check_history, ours.merge):
            outcome_of(read, path)
            assert (path.read_bytes(), log.read_bytes()) == before
    spoil(path, "SELECT 1 FROM runs")  # SQLite itself undoes it
    assert not log.exists()
    assert path.read_bytes() != before[0]


VALUES = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.sampled_from(["", "{}", "[]", "null", '{"a":', "[[]]", "\x1b[2J", "NaN", DEEP]),
    st.text(max_size=20),
    st.binary(max_size=20),
)


@pytest.fixture(scope="module")
def columns(content, tmp_path_factory):
    """Return table and name of every column but the keys."""
    path = tmp_path_factory.mktemp("columns") / "runs.db"
    path.write_bytes(content)
    with closing(sqlite3.connect(path)) as db:
        sql = "SELECT name FROM pragma_table_info(?) WHERE pk = 0 AND name <> 'seq'"
        return [(table, name) for table in TABLES for (name,) in db.execute(sql, (table,))]


@pytest.mark.slow
@given(data=st.data())
@settings(max_examples=15)
def test_any_value_in_any_column_is_read_or_refused_with_our_errors(
    data, content, columns, tmp_path, monkeypatch
):
    monkeypatch.setattr(sqlite, "_CHECKED_BYTES", 0)  # as in a file that is too large to check
    table, column = data.draw(st.sampled_from(columns))
    value = data.draw(VALUES)
    folder = tmp_path / "some"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    path = folder / "runs.db"
    path.write_bytes(content)
    try:
        set_any(path, table, column, value)
    except sqlite3.IntegrityError:  # the same in all rows of a unique index
        return
    assert failures_of_history(path) == {}


@pytest.mark.slow
@pytest.mark.parametrize(("ending", "kind"), [(e, kind) for e in FILES for kind in FILES[e]])
def test_damaged_export_is_read_or_refused_with_our_errors(ending, kind, tmp_path):
    content = FILES[ending][kind]
    path = tmp_path / f"file{ending}"
    path.write_bytes(content() if callable(content) else content)
    names = {f"read_{ending[1:]}", "cases", *(["merge"] if ending == ".jsonl" else [])}
    assert failures({name: FILE_READERS[name] for name in names}, path) == {}


def test_reading_leaves_no_log_beside_a_file_and_an_existing_one_stays(content, path, tmp_path):
    path.write_bytes(content)
    before = path.stat().st_mtime_ns
    with History(tmp_path / "ours.db") as ours:
        ours.merge(path)
        assert vnb.check_history(path).ok
        assert path.stat().st_mtime_ns == before
        assert [file.name for file in path.parent.glob("runs.db*")] == ["runs.db"]
        with History(path) as other:
            other.annotate("run-0", note="in the log")
            log = path.with_name("runs.db-wal")
            assert log.stat().st_size > 0
            assert ours.merge(path).updated == 1
            assert vnb.check_history(path).ok
            assert log.stat().st_size > 0
            other.annotate("run-0", note="still written")
            assert ours.merge(path).updated == 1
