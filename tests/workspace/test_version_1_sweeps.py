"""Sweeps of a history of version 1 go on with this version."""

import sqlite3
import sys
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from counting_server import KEY

import vellum_nb as vnb

sys.path.append(str(Path(__file__).parents[1] / "history"))

from test_version_1 import write_version_1

from vellum_nb.sweep.sweep import control_of

CASES = [{"text": f"text {number}"} for number in range(8)]
EARLY = [{"text": f"early {n}", "expected.said": f"v1 early {n}"} for n in range(10)]


@pytest.fixture
def version_1(request, tmp_path):
    """Return where the history lies, in version 1."""
    place = tmp_path / "runs.db"
    if request.param == "postgresql":
        place = request.getfixturevalue("postgres").fresh()
    write_version_1(place)
    if request.param == "sqlite":  # its clock continues at the newest time stored in the file
        with closing(sqlite3.connect(place)) as db:
            db.execute("UPDATE leases SET expires_at = 0")
            db.commit()
    yield place
    if request.param == "postgresql":
        request.getfixturevalue("postgres").drop(place)


@pytest.fixture
def ws(version_1, counting, quick_look_ups):
    """Return a workspace on the history, and have the server know what it had executed."""
    with vnb.connect(counting.url, api_key=KEY, history=version_1, timeout=(5, 1)) as workspace:
        for run in workspace.history.runs():
            if run.external_id and run.error is None and run.inputs["text"] != "begun":
                remember(counting, run)
        yield workspace


def remember(counting, run):
    text = run.inputs["text"]
    ended = datetime.now(UTC) - timedelta(hours=1)
    counting.executed[run.external_id] += 1
    counting.kept[run.external_id] = {
        "span_id": f"old-{run.id}",
        "start": ended - timedelta(seconds=1),
        "end": ended,
        "external_id": run.external_id,
        "tag": run.release_tag,
        "value": f"{run.release_tag} {text}",
        "inputs": [{"name": "text", "type": "STRING", "value": text}],
        "cost": None,
    }


both = pytest.mark.parametrize("version_1", ["sqlite", "postgresql"], indirect=True)


@both
def test_unfinished_sweep_of_version_1_is_resumed_by_the_same_call(ws, counting):
    frame = ws.sweeps()
    (unfinished,) = frame[frame["planned"] == 8]["sweep_id"]
    sweep = ws.sweep("count", CASES, release_tags=["v1"], progress=False)
    assert (sweep.id, sweep.state) == (unfinished, "done")
    assert {run.outputs["said"] for run in sweep.runs()} == {f"v1 text {n}" for n in range(8)}
    assert {counting.executed[run.external_id] for run in sweep.runs()} == {1}
    assert counting.posts == 2  # the two that had not begun


@both
def test_sweep_of_version_1_that_may_stop_early_goes_on_in_its_order(ws, counting):
    options = {"release_tags": ["v1", "v2"], "stop_when": "decided", "progress": False}
    frame = ws.sweeps()
    (unfinished,) = frame[frame["planned"] == 20]["sweep_id"]
    before = control_of(ws.open_sweep(unfinished, stop_when=None)).record.order()
    sweep = ws.sweep("count", EARLY, **options | {"stop_when": vnb.StopWhen(seed=7)})
    assert (sweep.id, control_of(sweep).record.order()) == (unfinished, before)
    assert {counting.executed[run.external_id] for run in sweep.runs()} == {1}


@both
def test_another_seed_of_a_sweep_of_version_1_is_refused(ws, counting):
    options = {"release_tags": ["v1", "v2"], "stop_when": "decided", "progress": False}
    with pytest.raises(vnb.InputError, match="seed"):
        ws.sweep("count", EARLY, **options | {"stop_when": vnb.StopWhen(seed=8)})
    assert counting.posts == 0


@both
def test_unfinished_sweep_of_version_1_goes_on_before_ended_ones_are_returned(ws, counting):
    cases = [{"text": "again 0"}, {"text": "again 1"}]
    sweeps = [ws.sweep("count", cases, release_tags=["v1"], progress=False) for _ in range(2)]
    assert [sweep.state for sweep in sweeps] == ["done", "done"]
    assert [control_of(sweep).record.generation for sweep in sweeps] == [1, 3]
    assert counting.posts == 1


@both
def test_runs_of_version_1_in_doubt_are_completed_by_sync(ws, counting):
    doubtful = [run for run in ws.history.runs() if run.doubt is not None]
    for run in doubtful:
        remember(counting, run)
    assert ws.sync("count").completed >= len(doubtful)
    ids = [run.id for run in doubtful]
    assert {run.state for run in ws.history.runs(ids=ids)} == {"FULFILLED"}
