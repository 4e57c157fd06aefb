"""Sweeps in a history file: older files, leases, and rows that are begun, ended, withdrawn."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from vellum_nb import History, check_history, repair_history
from vellum_nb.errors import HistoryError
from vellum_nb.history.plans import leases
from vellum_nb.history.plans.leases import process_start
from vellum_nb.history.sqlite.migrations import _STEPS, APPLICATION_ID
from vellum_nb.models.sweeps import Place, SweepCase, SweepRecord, planned_id, signature

CASES = [SweepCase(0, "c0", {"a": 1}, {"b": 2}, {"who": "ann"}), SweepCase(1, "c1", {"a": None})]


def a_sweep(**fields) -> SweepRecord:
    usual = {
        "id": "3f2a0000-0000-0000-0000-000000000001",
        "deployment": "echo",
        "environment": "production",
        "release_tags": ("v1", "v2"),
        "repeats": 2,
        "cases": 2,
        "signature": signature("echo", "production", ("v1", "v2"), 2, ["c0", "c1"]),
        "created": datetime(2026, 7, 1, tzinfo=UTC),
        "releases": {"v1": "r1", "v2": None},
        "options": {"max_calls": 7},
    }
    return SweepRecord(**usual | fields)


@pytest.fixture
def sweep(history):
    made = a_sweep()
    history.sweeps.add(made, CASES)
    return made


@pytest.mark.parametrize("version", [1, 2, 3])
def test_files_of_older_versions_take_sweeps_and_keep_their_runs(path, version):
    with closing(sqlite3.connect(path)) as db:
        for step in _STEPS[:version]:
            for statement in step:
                db.execute(statement)
        db.execute(f"PRAGMA application_id = {APPLICATION_ID}")
        db.execute(f"PRAGMA user_version = {version}")
        db.execute(
            "INSERT INTO runs (id, deployment, release_tag, timestamp, state, case_id, repeat, "
            "tag_moved) VALUES ('old', 'd', 'v1', 0, 'FULFILLED', 'c', 0, 0)"
        )
        db.execute(
            "INSERT INTO payloads (seq, inputs, outputs, output_types, not_sent) "
            "VALUES (1, '{\"a\":1}', '{}', '{}', '[]')"
        )
        db.commit()
    with History(path) as history:
        assert history.get("old").inputs == {"a": 1}
        history.sweeps.add(a_sweep(), CASES)
        assert history.count() == 1
    with History(path) as history:
        assert history.sweeps.every() == [a_sweep()]


def test_plan_and_cases_read_back_as_they_were(history, sweep):
    assert history.sweeps.every() == [sweep]
    assert history.sweeps.every("3f2a") == [sweep]
    assert history.sweeps.every("%") == []
    assert history.sweeps.cases(sweep.id) == CASES
    assert history.sweeps.unfinished(sweep.signature) == sweep
    history.sweeps.change(sweep.id, ended=datetime.now(UTC))
    assert history.sweeps.unfinished(sweep.signature) is None


def test_a_sweep_that_is_not_there_is_told(history):
    with pytest.raises(HistoryError, match="no sweep 'x'"):
        history.sweeps.change("x", why=None)
    with pytest.raises(HistoryError, match="no sweep 'x'"):
        history.sweeps.hold("x")


def test_runs_begin_and_end_together_and_those_never_sent_go(history, sweep, make_run):
    begun = [make_run(sweep_id=sweep.id) for _ in range(3)]
    told = []
    history.subscribe(lambda run: told.append((run.id, run.state)))
    history.sweeps.record(begun=begun)
    ended = begun[0].model_copy(update={"state": "FULFILLED"})
    history.sweeps.record(ended=[ended], begun=[make_run(id="late", sweep_id=sweep.id)])
    history.sweeps.withdraw([*begun[:2], make_run(id="unknown")])
    assert history.sweeps.states(sweep.id) == {
        begun[0].id: "FULFILLED",
        begun[2].id: "STARTED",
        "late": "STARTED",
    }
    assert told[-2:] == [(begun[0].id, "FULFILLED"), ("late", "STARTED")]


def test_a_run_that_ended_meanwhile_stays_as_it_is(history, sweep, make_run):
    run = make_run(sweep_id=sweep.id, external_id="x")
    history.sweeps.record(begun=[run])
    history.merge([make_run(external_id="x", execution_id="e", state="FULFILLED")])
    history.sweeps.record(ended=[run.model_copy(update={"state": "FAILED"})])
    kept = history.get(run.id)
    assert (kept.state, kept.execution_id, kept.sweep_id) == ("FULFILLED", "e", sweep.id)


def test_a_run_that_is_taken_over_is_shown_where_it_stands(history, sweep, record):
    run = record(release_tag="production", repeat=7)
    place = Place(1, "v2", 1)
    history.sweeps.keep_reused(sweep.id, {place: run.id})
    assert history.sweeps.reused(sweep.id) == {place: run.id}
    frame = history.sweeps.frame(sweep.id)
    assert frame[["id", "release_tag", "repeat"]].to_numpy().tolist() == [[run.id, "v2", 1]]
    history.delete([run.id])
    assert history.sweeps.reused(sweep.id) == {}
    assert history.sweeps.frame(sweep.id).empty


def test_planned_ids_are_all_different_and_never_change():
    sweep = a_sweep()
    ids = {planned_id(sweep.id, place, number) for place in sweep.places() for number in range(3)}
    assert len(ids) == sweep.planned * 3
    assert planned_id(sweep.id, Place(1, "v2", 1), 2) == "4327f4b0-d0f9-5487-b330-10d93ca35e91"


def test_a_sweep_is_held_once_in_a_process_too(history, sweep):
    token = history.sweeps.hold(sweep.id)
    assert history.sweeps.held() == {sweep.id}
    with pytest.raises(HistoryError, match="in this kernel already"):
        history.sweeps.hold(sweep.id)
    history.sweeps.let_go(sweep.id, "another one's")
    assert history.sweeps.held() == {sweep.id}
    history.sweeps.let_go(sweep.id, token)
    assert history.sweeps.held() == set()
    history.sweeps.let_go(sweep.id, history.sweeps.hold(sweep.id))


def held_by(history, sweep, **changed):
    """Write another holder down, and return whether it holds the sweep."""
    holder = leases._myself() | {"token": "t", "since": 0} | changed
    with history._store.write() as db:
        db.execute("UPDATE sweeps SET holder = ? WHERE id = ?", (json.dumps(holder), sweep.id))
    return history.sweeps.held() == {sweep.id}


def test_a_process_of_the_same_number_is_another_one(history, sweep):
    assert not held_by(history, sweep, pid=os.getppid(), started="long ago")
    assert held_by(history, sweep, pid=os.getppid(), started=process_start(os.getppid()))


def test_a_holder_on_another_host_is_given_up_when_it_is_silent(history, sweep, make_run):
    assert not held_by(history, sweep, host="elsewhere")
    now = datetime.now(UTC)
    history.begin(make_run(sweep_id=sweep.id, timestamp=now - timedelta(minutes=1)))
    assert held_by(history, sweep, host="elsewhere")
    with pytest.raises(HistoryError, match="under way in process"):
        history.sweeps.hold(sweep.id)


def test_a_process_that_ended_has_no_start_even_before_its_parent_notices():
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        assert process_start(child.pid) is not None
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert process_start(child.pid) is None
    assert process_start(child.pid) is None


def test_a_large_input_is_kept_once_for_runs_and_cases(history, record, tmp_path):
    document = "a long document, \u00fc " * 4_000
    record(inputs={"doc": document, "n": 1})
    record()
    cases = [
        SweepCase(0, "c0", {"doc": document, "pages": [document, "short"]}, {"b": document}),
        SweepCase(1, "c1", {"doc": "\ud800" * 40_000}),
    ]
    for number in (1, 2):
        history.sweeps.add(a_sweep(id=f"s{number}", signature=f"{number}"), cases)
    sizes = "SELECT max(length(inputs)) FROM sweep_cases WHERE position = 0"
    assert history._store.read(sizes)[0][0] < 5_000
    assert history._store.read("SELECT count(*) FROM large_values") == [(1,)]
    history.delete(["run-0"])
    history.vacuum()
    assert history.sweeps.cases("s1") == history.sweeps.cases("s2") == cases
    with History(tmp_path / "copy.db") as copy:
        copy.merge(history)
        assert copy.sweeps.cases("s2") == cases
    assert check_history(tmp_path / "copy.db").ok
    with History(repair_history(tmp_path / "copy.db").path) as repaired:
        assert repaired.sweeps.cases("s1") == cases
