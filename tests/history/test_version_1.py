"""Histories of version 1: opened, marked, numbered and merged.

Their statements are in ``data``, as that version wrote them. `write_version_1` is for other tests
as well.
"""

import multiprocessing
import os
import secrets
import sqlite3
from contextlib import closing
from pathlib import Path

import psycopg
import pytest

from vellum_nb import History
from vellum_nb.history import Sweeps

DATA = Path(__file__).with_name("data")
# The input of a single run, and its doubt after the migration.
DOUBTS = {
    "fulfilled": None,
    "used": None,
    "refused": None,
    "unusable": None,
    "forbidden": None,
    "hung up": None,
    "used by another": "EXECUTED",
    "connection": "SENT",
    "timeout": "SENT",
    "gone": "SENT",
    "bad gateway": "SENT",
    "interrupted": "SENT",
    "unknown 0": "SENT",
    "begun": None,
}


def write_version_1(place):
    """Write the history of version 1 to a file, or to an empty database."""
    if isinstance(place, Path):
        with closing(sqlite3.connect(place)) as db:
            db.executescript((DATA / "version-1-sqlite.sql").read_text(encoding="utf-8"))
        return
    with psycopg.connect(place, autocommit=True) as db:
        db.execute((DATA / "version-1-postgresql.sql").read_bytes())


@pytest.fixture
def version_1(place, request):
    """Return a place with a history of version 1."""
    if isinstance(place, Path):
        write_version_1(place)
        yield place
        return
    postgres = request.getfixturevalue("postgres")
    url = postgres.fresh()
    write_version_1(url)
    yield url
    postgres.drop(url)


@pytest.fixture
def migrated(version_1):
    with History(version_1) as history:
        yield history


def test_version_1_is_opened_with_all_of_its_runs(migrated):
    assert migrated.count() == 34
    assert len(Sweeps(migrated).every()) == 7
    assert migrated.blind_ratings.frame().empty


def test_doubts_of_version_1_are_marked(migrated):
    doubts = {run.inputs["text"]: run.doubt for run in migrated.runs()}
    assert {text: doubts[text] for text in DOUBTS} == DOUBTS


def test_answers_of_version_1_are_not_in_doubt(migrated):
    runs = migrated.runs(state="FULFILLED") + migrated.runs(state="REJECTED")
    assert [run for run in runs if run.in_doubt] == []


def test_run_of_version_1_that_was_cut_off_is_cancelled(migrated):
    (run,) = (run for run in migrated.runs() if run.inputs["text"] == "hung up")
    assert (run.state, run.doubt, run.error.code) == ("CANCELLED", None, "WORKFLOW_CANCELLED")


def test_sweeps_of_one_plan_in_version_1_are_numbered_in_their_order(migrated):
    again = [sweep for sweep in Sweeps(migrated).every() if sweep.cases == 2]
    plans = {}
    for sweep in reversed(again):
        plans.setdefault(sweep.signature, []).append(sweep.generation)
    assert sorted(plans.values()) == [[1], [1], [1, 2, 3]]


def test_order_of_a_sweep_of_version_1_that_may_stop_early_stays(migrated):
    (sweep,) = (sweep for sweep in Sweeps(migrated).every() if sweep.options.get("stop_when"))
    order = [run.inputs["text"] for run in reversed(migrated.runs(sweep_id=sweep.id))]
    texts = [case.inputs["text"] for case in Sweeps(migrated).cases(sweep.id)]
    assert [texts[position] for position in sweep.order()][:2] == order[::2]


def test_migrated_history_stores_an_execution_id_of_any_length(migrated, put):
    execution_id = secrets.token_hex(20_000)
    run = put(migrated, execution_id=execution_id)
    assert migrated.runs(execution_id=execution_id) == [run]


def test_opening_a_migrated_history_again_changes_nothing(version_1):
    with History(version_1) as history:
        first = history.runs()
    with History(version_1) as history:
        assert history.runs() == first


def test_version_1_is_merged_into_a_new_history(version_1, tmp_path):
    with History(tmp_path / "new.db") as history:
        report = history.merge(str(version_1) if not isinstance(version_1, Path) else version_1)
        assert report.added == 34
        doubts = {run.inputs["text"]: run.doubt for run in history.runs()}
        assert {text: doubts[text] for text in DOUBTS} == DOUBTS
        assert len(Sweeps(history).every()) == 7


def test_file_of_version_1_is_only_read_by_a_merge(path, tmp_path):
    write_version_1(path)
    path.chmod(0o444)
    before = path.read_bytes()
    with History(tmp_path / "new.db") as history:
        assert history.merge(path).added == 34
    assert path.read_bytes() == before
    assert sorted(each.name for each in tmp_path.iterdir() if each.name.startswith("runs.db")) == [
        "runs.db"
    ]


def test_merging_version_1_into_its_migrated_copy_changes_nothing(path, tmp_path):
    write_version_1(path)
    copy = tmp_path / "copy.db"
    write_version_1(copy)
    with History(path) as history:
        before = history.runs()
        report = history.merge(copy)
        assert (report.added, report.known, report.completed) == (0, 34, 0)
        assert history.runs() == before


def open_history(place, barrier, failures):
    barrier.wait(120)
    try:
        with History(place) as history:
            assert history.count() == 34
    except BaseException as exc:  # noqa: BLE001  (its parent says so)
        failures.put(repr(exc))
    os._exit(0)


def test_processes_that_open_version_1_together_migrate_it_once(version_1):
    fork = multiprocessing.get_context("fork")
    barrier, failures = fork.Barrier(6), fork.SimpleQueue()
    made = [
        fork.Process(target=open_history, args=(version_1, barrier, failures)) for _ in range(6)
    ]
    for process in made:
        process.start()
    for process in made:
        process.join(120)
    assert [process.exitcode for process in made] == [0] * 6
    assert failures.empty(), failures.get()
