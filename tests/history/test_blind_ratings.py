"""Blind ratings in the file: older files take them, and they read back as they were."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime

import pytest

from vellum_nb.history import History
from vellum_nb.history.sqlite.migrations import _STEPS, APPLICATION_ID
from vellum_nb.models.blind import BlindPair, BlindRecord

RECORD = BlindRecord(
    id="b1",
    deployment="triage",
    first="v1",
    second="v2",
    seed=-5,
    question="Which?",
    signature="s",
    created=datetime(2026, 11, 25, tzinfo=UTC),
)
PAIRS = [
    BlindPair(0, 1, "c1", "run-1", "run-2", same=False),
    BlindPair(1, 3, "c3", "run-3", "run-4", same=True),
]


@pytest.mark.parametrize("version", [1, 2, 3])
def test_files_of_older_versions_take_blind_ratings(path, version):
    with closing(sqlite3.connect(path)) as db:
        for step in _STEPS[:version]:
            for statement in step:
                db.execute(statement)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {version}")
        db.commit()
    with History(path) as history:
        history.blind.add(RECORD, PAIRS)
        assert history.blind.rate("b1", 0, "second", a_first=True, note="half \ud83d a pair")
    with History(path) as history:
        assert history.blind.newest("s") == RECORD
        assert history.blind.pairs("b1") == PAIRS
        (rating,) = history.blind.ratings("b1")
        assert (rating.choice, rating.a_first) == ("second", True)
        assert history.blind_ratings()["choice"].tolist() == ["B"]
        history.blind.end("b1")
        frame = history.blind_ratings()
        assert frame["preferred"].tolist() == ["v2"]
        assert frame["run_b"].tolist() == ["run-2"]
        assert frame["seed"].tolist() == [-5]


def test_a_rating_counts_once_and_not_after_the_end(history):
    history.blind.add(RECORD, PAIRS)
    assert history.blind.rate("b1", 0, "tie", a_first=True, note="")
    assert not history.blind.rate("b1", 0, "first", a_first=True, note="")
    assert history.blind.undo("b1", 1).choice == "tie"
    assert history.blind.rate("b1", 0, "first", a_first=False, note="")
    history.blind.end("b1")
    ended = history.blind.get("b1").ended
    history.blind.end("b1")
    assert history.blind.get("b1").ended == ended
    assert history.blind.undo("b1", 2) is None
    assert not history.blind.rate("b1", 1, "first", a_first=False, note="")
    assert history.blind_ratings()["choice"].tolist() == ["B", "tie"]


def test_a_history_without_any_has_the_same_columns(history):
    empty = history.blind_ratings()
    assert empty.empty
    history.blind.add(RECORD, PAIRS)
    history.blind.rate("b1", 0, "tie", a_first=True, note="")
    assert list(empty.columns) == list(history.blind_ratings().columns)
    assert empty["rated"].dtype == history.blind_ratings()["rated"].dtype
