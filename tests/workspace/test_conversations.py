"""Conversations: a run that continues an execution is a case of its own."""

import sqlite3
from contextlib import closing

import pandas as pd
import pytest
from runs_kit import later_run

import vellum_nb as vnb
from vellum_nb.local import State
from vellum_nb.models import case_id
from vellum_nb.models.sweeps import Place, planned_id
from vellum_nb.sweep.sweep import control_of

INPUTS = {"text": "hi"}
BOTH = {"release_tags": ["v1", "v2"], "progress": False}


def count(message: str, state: State) -> int:
    """Return how many turns the conversation has."""
    state["turns"] = state.get("turns", 0) + 1
    return state["turns"]


@pytest.fixture
def server():
    with vnb.LocalServer() as server:
        for tag in ("v1", "v2"):
            server.deploy(count, name="count", release_tags=[tag])
        yield server


def talk(ws, tag, messages, previous=None):
    """Return the runs of a conversation."""
    runs = []
    for message in messages:
        run = ws.run("count", {"message": message}, release_tag=tag, previous_execution_id=previous)
        previous = run.execution_id
        runs.append(run)
    return runs


def test_the_id_of_a_case_depends_on_the_execution_that_it_continues():
    first = case_id({"ticket": "hello"})
    assert first == case_id({"ticket": "hello"}, None) == "875e347316f5d7a3"  # as in old histories
    ids = {first, case_id({"ticket": "hello"}, "a"), case_id({"ticket": "hello"}, "b")}
    assert len(ids) == 3


def test_turns_of_different_conversations_are_different_cases(ws):
    for _ in range(2):
        for tag in ("v1", "v2"):
            talk(ws, tag, ["hi", "yes", "yes", "bye"])
    cmp = ws.compare("count")
    assert len(cmp.cases) == 1 + 2 * 2 * 3  # they begin alike
    assert max(len(runs) for case in cmp.cases[1:] for runs in case.tries.values()) == 1
    assert len(vnb.compare(ws.history.frame()).cases) == len(cmp.cases)


def test_a_sweep_continues_the_executions_that_its_cases_name(ws, tmp_path):
    ids = [talk(ws, "v1", ["a"] * turns)[-1].execution_id for turns in (1, 3)]
    cases = [{"message": "b", "previous_execution_id": each} for each in ids]
    cases.append({"message": "b"})
    pd.DataFrame(cases).to_csv(tmp_path / "cases.csv", index=False)
    sweep = ws.sweep("count", tmp_path / "cases.csv", **BOTH)
    outputs = {(run.previous_execution_id, run.outputs["output"]) for run in sweep.runs()}
    assert outputs == {(ids[0], 2), (ids[1], 4), (None, 1)}
    assert sweep.notes == ()  # three cases, none twice
    assert [name for name in sweep.frame() if name.startswith("label.")] == []
    assert len(sweep.compare().cases) == 3
    assert ws.sweep("count", cases, **BOTH).id == sweep.id


def test_a_sweep_that_is_resumed_in_another_kernel_continues_the_executions(server, tmp_path):
    with vnb.connect(server, history=tmp_path / "runs.db") as ws:
        previous = talk(ws, "v1", ["a"])[0].execution_id
        cases = [{"message": f"{n}", "previous_execution_id": previous} for n in range(3)]
        stopped = ws.sweep("count", cases, **BOTH, limits={"max_calls": 1}, concurrency=1)
        assert stopped.state == "stopped"
    with vnb.connect(server, history=tmp_path / "runs.db") as ws:
        sweep = ws.open_sweep(stopped.id, limits={"max_calls": None}).resume(progress=False)
        assert [run.outputs["output"] for run in sweep.runs()] == [2] * 6


def test_an_imported_run_that_a_sweep_adopts_continues_the_execution_of_its_case(ws):
    previous = talk(ws, "v1", ["a"])[0].execution_id
    cases = [{"message": "b", "previous_execution_id": previous}]
    sweep = ws.sweep("count", cases, **BOTH, limits={"max_calls": 1}, concurrency=1)
    ws.client.execute_workflow(
        {"message": "b"},
        workflow_deployment_name="count",
        release_tag="v2",
        previous_execution_id=previous,
        external_id=planned_id(control_of(sweep).record, Place(0, "v2", 0)),
    )
    ws.sync("count")
    resumed = ws.open_sweep(sweep.id, limits={"max_calls": None}).resume(progress=False)
    assert resumed.state == "done"
    assert {run.previous_execution_id for run in resumed.runs()} == {previous}
    assert len({run.case_id for run in resumed.runs()}) == 1


@pytest.mark.parametrize("form", ["frame", "runs", "csv"])
def test_stored_runs_of_conversations_are_cases_that_continue_them(ws, tmp_path, form):
    talk(ws, "v1", ["a", "a", "a"])
    cases = {
        "frame": ws.history.frame,
        "runs": ws.history.runs,
        "csv": lambda: ws.history.to_csv(tmp_path / "runs.csv"),
    }[form]()
    sweep = ws.sweep("count", cases, release_tags=["v2"], progress=False)
    assert sorted(run.outputs["output"] for run in sweep.runs()) == [1, 2, 3]


def test_a_replayed_or_bisected_turn_continues_its_conversation(ws):
    last = talk(ws, "v1", ["a", "b", "c"])[-1]
    cmp = ws.compare("count", release_tags=["v1"])
    replay = cmp.replay(last, release_tag="v2", progress=False)
    assert [run.outputs["output"] for run in replay.runs()] == [3]
    (case,) = [each for each in cmp.cases if each.case_id == last.case_id]
    replay = cmp.replay(case, release_tag="v2", progress=False)
    assert [run.outputs["output"] for run in replay.runs()] == [3]
    with pytest.raises(vnb.VellumNBError, match="Nothing changed"):
        ws.bisect("count", last)
    assert {run.outputs["output"] for run in ws.history.runs(case_id=last.case_id)} == {3}


@pytest.mark.parametrize("value", [5, {"a": 1}])
def test_a_previous_execution_is_text(ws, value):
    cases = [{"message": "a", "previous_execution_id": value}]
    with pytest.raises(vnb.InputError, match="the id of an execution is expected, as text"):
        ws.sweep("count", cases, **BOTH)


def test_an_input_of_that_name_stays_an_input(ws, server):
    server.deploy(lambda previous_execution_id: previous_execution_id, name="echo")
    sweep = ws.sweep("echo", [{"previous_execution_id": "x"}], progress=False)
    assert [(r.outputs["output"], r.previous_execution_id) for r in sweep.runs()] == [("x", None)]


def as_version_2(path):
    """Make a history what version 2 of the schema would have written."""
    with closing(sqlite3.connect(path)) as db:
        db.executescript(
            "DROP TABLE case_set_changes; DROP TABLE case_set_versions;"
            "ALTER TABLE sweeps DROP COLUMN case_set;"
            "ALTER TABLE sweeps DROP COLUMN case_set_version;"
            "DROP INDEX runs_of_conversation; ALTER TABLE sweep_cases DROP COLUMN turn;"
            "ALTER TABLE runs DROP COLUMN turn; ALTER TABLE runs DROP COLUMN conversation_id;"
            "ALTER TABLE sweeps DROP COLUMN notes;"
            "ALTER TABLE sweep_cases DROP COLUMN previous_execution_id; PRAGMA user_version = 2"
        )
        db.execute("UPDATE runs SET case_id = ?", (case_id(INPUTS),))
        db.commit()


@pytest.fixture
def old_runs():
    """Return three runs with the same inputs, of which two continue executions."""
    return [
        later_run("v1", INPUTS, {}, previous_execution_id=previous) for previous in (None, "a", "b")
    ]


def test_a_history_of_version_2_is_migrated(old_runs, tmp_path):
    path = tmp_path / "old.db"
    with vnb.History(path) as history:
        history.merge(old_runs)
    as_version_2(path)
    with vnb.History(path) as history:
        ids = {run.previous_execution_id: run.case_id for run in history.runs()}
    assert ids == {each: case_id(INPUTS, each) for each in (None, "a", "b")}


def test_runs_of_version_2_are_merged_as_cases_of_their_own(old_runs, tmp_path):
    path = tmp_path / "old.db"
    with vnb.History(path) as history:
        history.merge(old_runs)
    as_version_2(path)
    with vnb.History(":memory:") as history:
        history.merge(path)
        assert len({run.case_id for run in history.runs()}) == 3
        lines = history.to_jsonl(tmp_path / "old.jsonl").read_text(encoding="utf-8")
    for run in old_runs[1:]:
        own = case_id(run.inputs, run.previous_execution_id)
        assert own in lines
        lines = lines.replace(own, case_id(run.inputs))
    (tmp_path / "old.jsonl").write_text(lines, encoding="utf-8")
    with vnb.History(":memory:") as history:
        history.merge(tmp_path / "old.jsonl")
        assert len({run.case_id for run in history.runs()}) == 3


@pytest.mark.parametrize("nothing", [None, float("nan"), "", " "])
def test_a_first_turn_has_no_previous_execution(ws, nothing):
    rows = [{"message": "hi", "previous_execution_id": nothing}]
    sweep = ws.sweep("count", rows, release_tags=["v1"], progress=False)
    assert [run.previous_execution_id for run in sweep.runs()] == [None]
