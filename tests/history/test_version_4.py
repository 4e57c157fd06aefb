"""A history of version 4, the last before case sets: opened, extended and merged."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

import vellum_nb as vnb
from vellum_nb.history import Sweeps, case_sets_of
from vellum_nb.models.sweeps import SweepCase

DATA = Path(__file__).with_name("data")
TEXTS = ["single", "a", "b", "hello", "again"]


@pytest.fixture
def version_4(tmp_path):
    """Return a file of version 4, with a run, a sweep, and a sweep of one conversation."""
    path = tmp_path / "version-4.db"
    with closing(sqlite3.connect(path)) as db:
        db.executescript((DATA / "version-4-sqlite.sql").read_text(encoding="utf-8"))
    return path


def texts(history):
    return [run.inputs["text"] for run in history.runs()[::-1]]


def test_runs_and_sweeps_of_version_4_are_read(version_4):
    with vnb.History(version_4) as history:
        assert texts(history) == TEXTS
        conversation, sweep = Sweeps(history).every()
        assert [case.turn for case in Sweeps(history).cases(conversation.id)] == [1, 2]
        assert (sweep.case_set, sweep.case_set_version) == (None, None)
        assert case_sets_of(history).latest() == []
    assert vnb.check_history(version_4).ok


def test_case_set_is_added_to_a_history_of_version_4(version_4):
    member = (SweepCase(0, "case", {"text": "a"}),)
    with vnb.History(version_4) as history:
        options = {"message": "", "deployment": "echo"}
        case_sets_of(history).commit("suite", lambda _: {"case": member}, **options)
    with vnb.History(version_4) as history:
        assert case_sets_of(history).members("suite") == {"case": member}
    assert vnb.check_history(version_4).ok


def test_version_4_is_merged(version_4, place):
    with vnb.History(place) as history:
        report = history.merge(version_4)
        assert (report.added, report.sweeps, report.case_sets) == (5, 2, 0)
        assert texts(history) == TEXTS
