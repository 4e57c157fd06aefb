"""Histories of version 2, whose cases did not depend on the execution that they continue."""

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import psycopg

from vellum_nb import History
from vellum_nb.models import case_id
from vellum_nb.models.blind import BlindPair, BlindRecord, blind_signature

_INPUTS = ({"text": "a"}, {"text": "b"})
_OLD, _NEW = (
    [case_id(inputs, previous) for inputs, previous in zip(_INPUTS, previous, strict=True)]
    for previous in ((None, None), ("execution", None))
)
_BACK = (
    "DROP TABLE case_set_changes",
    "DROP TABLE case_set_versions",
    "ALTER TABLE sweeps DROP COLUMN case_set",
    "ALTER TABLE sweeps DROP COLUMN case_set_version",
    "DROP INDEX runs_of_conversation",
    "ALTER TABLE runs DROP COLUMN turn",
    "ALTER TABLE runs DROP COLUMN conversation_id",
    "ALTER TABLE sweep_cases DROP COLUMN turn",
    "ALTER TABLE sweeps DROP COLUMN notes",
    "ALTER TABLE sweep_cases DROP COLUMN previous_execution_id",
    f"UPDATE runs SET case_id = '{_OLD[0]}' WHERE case_id = '{_NEW[0]}'",
)


def make_version_2(place):
    if isinstance(place, Path):
        with closing(sqlite3.connect(place)) as db:
            db.executescript(";".join((*_BACK, "PRAGMA user_version = 2")))
        return
    with psycopg.connect(place, autocommit=True) as db:
        db.execute(";".join((*_BACK, "UPDATE vnb_version SET version = 2")))


def plan(cases):
    return blind_signature("ticket-triage", "v1", "v2", "Which?", cases)


def test_blind_ratings_of_conversations_are_found_after_the_migration(place, make_run):
    previous = ("execution", None)
    pairs = []
    with History(place) as history:
        for number, (inputs, before, case) in enumerate(zip(_INPUTS, previous, _OLD, strict=True)):
            runs = [
                make_run(
                    inputs=inputs,
                    release_tag=tag,
                    previous_execution_id=before,
                    case_id=case_id(inputs, before),
                )
                for tag in ("v1", "v2")
            ]
            for run in runs:
                history.begin(run)
            pairs.append(BlindPair(number, number, case, *(run.id for run in runs), same=False))
        record = BlindRecord(
            id="session",
            deployment="ticket-triage",
            first="v1",
            second="v2",
            seed=1,
            question="Which?",
            signature=plan(_OLD),
            created=datetime(2026, 7, 1, tzinfo=UTC),
        )
        history.blind_ratings.add(record, pairs)
        history.blind_ratings.rate("session", 0, "first", a_first=True, note="")
    make_version_2(place)
    with History(place) as history:
        assert {run.case_id for run in history.runs()} == set(_NEW)
        assert history.blind_ratings.newest(plan(_NEW)).id == "session"
        assert [pair.case_id for pair in history.blind_ratings.pairs("session")] == _NEW
        assert history.blind_ratings.frame()["case_id"].tolist() == _NEW[:1]
