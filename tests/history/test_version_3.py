"""Histories of version 3, the last before conversations: opened, merged and exported."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from vellum_nb import History, read_jsonl
from vellum_nb.history import Sweeps

DATA = Path(__file__).with_name("data")
TEXTS = ["hello", "again", "a", "a", "rejected", "rejected", "part 0", "part 1"]


@pytest.fixture
def version_3(tmp_path):
    """Return a file of version 3, with single runs, a finished sweep and an unfinished one."""
    path = tmp_path / "version-3.db"
    with closing(sqlite3.connect(path)) as db:
        db.executescript((DATA / "version-3-sqlite.sql").read_text(encoding="utf-8"))
    return path


def facts(history):
    """Return the runs, oldest first, without conversations."""
    runs = history.runs()[::-1]
    assert {(run.conversation_id, run.turn) for run in runs} == {(None, None)}
    return [(run.id, run.case_id, run.state, run.inputs["text"], run.outputs) for run in runs]


def test_runs_and_sweeps_of_version_3_are_read(version_3):
    with History(version_3) as history:
        assert [text for *_, text, _ in facts(history)] == TEXTS
        assert {"conversation_id", "turn"}.isdisjoint(history.frame())
        continued = history.runs()[-2]
        assert continued.previous_execution_id == history.runs()[-1].execution_id
        first, last = Sweeps(history).every()[::-1]
        assert (first.ended is None, last.ended is None, last.cases) == (False, True, 3)
        assert [case.turn for case in Sweeps(history).cases(first.id)] == [0, 0]


def test_version_3_is_merged(version_3, place):
    with History(place) as history:
        report = history.merge(version_3)
        assert report.added == len(TEXTS)
        assert len(Sweeps(history).every()) == 2
        merged = facts(history)
    with History(version_3) as history:
        assert merged == facts(history)


def test_version_3_is_exported_with_the_same_runs(version_3, tmp_path):
    with History(version_3) as history:
        frame = read_jsonl(history.to_jsonl(tmp_path / "runs.jsonl"))
        assert frame.equals(history.frame())
