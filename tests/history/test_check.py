"""Looking at a history that may be damaged, written to at the same time, or not a history."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime

import pytest

import vellum_nb as vnb
from vellum_nb import History, HistoryError


def test_what_is_not_a_history_is_not_called_a_damaged_one(tmp_path):
    file = tmp_path / "runs.csv"
    file.write_text("a,b\n1,2\n")
    assert "file is not a database" in vnb.check_history(file).problems[0]
    with pytest.raises(HistoryError, match="There is no history"):
        vnb.check_history(tmp_path / "nothing.db")


def test_an_empty_file_is_reported(tmp_path):
    file = tmp_path / "runs.db"
    file.touch()
    assert "not a history" in vnb.check_history(file).problems[0]


def test_a_check_reports_runs_that_have_been_started_for_long(path, make_run):
    with History(path) as history:
        history.begin(make_run())
        history.begin(make_run(timestamp=datetime.now(UTC)))
        found = vnb.check_history(path)
    assert found.ok
    assert found.runs == 2
    assert found.notes[0].startswith("1 run(s) have been STARTED for more than a day")


@pytest.mark.parametrize(
    ("sql", "problem"),
    [
        ("DELETE FROM payloads WHERE seq = 1", "1 run(s) without payloads"),
        ("DELETE FROM runs WHERE seq = 1", "1 payload(s) without a run"),
        ("UPDATE payloads SET inputs = '{\"torn' WHERE seq = 1", "Run 'run-0' in the history is"),
        (
            "UPDATE runs SET timestamp = timestamp | (1 << 62)",
            "Run 'run-0' in the history is damaged",
        ),
        ("DELETE FROM large_values", "1 large value(s) of runs or cases are missing"),
        ("INSERT INTO sweep_cases VALUES (9, 0, 'c', '{}', '{}', '{}', NULL)", "without a sweep"),
    ],
)
def test_what_does_not_fit_together_is_a_problem(path, make_run, sql, problem):
    with History(path) as history:
        history.begin(make_run(inputs={"doc": "long text " * 4_000}))
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        connection.execute(sql)
    found = vnb.check_history(path)
    assert any(problem in each for each in found.problems), found
    assert ".recover" in str(found)
