"""Sweeps planned, resumed, reused, retried, opened again; each driven by one process only."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing

import pandas as pd
import pytest
from runs_kit import html_of, progress_of

import vellum_nb as vnb
from vellum_nb.errors import HistoryError, InputError, NotFoundError
from vellum_nb.history import Sweeps
from vellum_nb.local import Faults
from vellum_nb.sweep.sweep import control_of

CASES = [{"text": f"t{number}", "who": f"w{number}"} for number in range(3)]
TEXTS = [{"text": case["text"]} for case in CASES]
BOTH = {"release_tags": ["v1", "v2"], "progress": False}


class Deployment:
    """A workflow that refuses some texts."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        self.refused: set[str] = set()

    def first(self, text: str) -> str:
        self.calls.append(text)
        if text in self.refused:
            raise vnb.Reject("not today")
        return f"one {text}"

    def second(self, text: str, flag: bool = False) -> str:  # noqa: FBT001, FBT002
        return f"two {self.first(text)[4:]} {flag}"


@pytest.fixture
def deployed():
    return Deployment()


@pytest.fixture
def server(deployed):
    with vnb.LocalServer() as server:
        server.deploy(deployed.first, name="echo", release_tags=["v1"])
        server.deploy(deployed.second, name="echo", release_tags=["v2"])
        yield server


@pytest.fixture
def path(tmp_path):
    return tmp_path / "runs.db"


@pytest.fixture
def ws(server, path):
    with vnb.connect(server, history=path) as workspace:
        yield workspace


@pytest.fixture
def plan(ws):
    """Return the plan of a sweep whose column `flag` one release does not know."""
    cases = [{**case, "flag": True} for case in CASES]
    limits = {"max_calls": 5, "max_seconds": 60}
    return ws.sweep("echo", cases, **BOTH, repeats=2, limits=limits, dry_run=True)


def test_plan_counts_its_calls(plan):
    assert (plan.planned, plan.calls, plan.found) == (12, 12, 0)
    assert plan.frame()["calls"].tolist() == [6, 6]
    assert repr(plan) == "<SweepPlan of echo: 3 cases x 2 release tags x 2 repeats = 12 calls>"
    assert "<td>v2</td>" in html_of(plan)


def test_plan_without_past_runs_estimates_nothing(plan):
    assert (plan.seconds, plan.cost_usd) == (None, None)


def test_plan_notes_its_limits_and_inputs_that_are_not_sent(plan):
    assert plan.notes == (
        "flag: not sent to v1, which knows no such input",
        "max_calls=5: it will stop there",
        "max_seconds=60.0",
    )


def test_dry_run_changes_nothing(ws, deployed, plan):
    assert isinstance(plan, vnb.SweepPlan)
    assert (deployed.calls, ws.sweeps().empty, ws.history.count()) == ([], True, 0)


def test_plan_is_estimated_from_past_runs(ws):
    ws.sweep("echo", CASES, **BOTH)
    with closing(sqlite3.connect(ws.history.path)) as db:
        db.execute("UPDATE runs SET latency_s = 2, cost_usd = 0.5")
        db.commit()
    plan = ws.sweep("echo", CASES, **BOTH, repeats=4, concurrency=8, dry_run=True)
    assert plan.seconds == 24 * 2 / 8
    assert plan.cost_usd == 12
    grows = ws.sweep("echo", CASES, **BOTH, repeats=4, dry_run=True)
    assert ", about 2.00 s at up to 24 at once" in grows.headline
    assert plan.headline.endswith("= 24 calls, about 6.00 s at 8 at once, about $12.00")


@pytest.mark.parametrize(
    "options",
    [
        {"repeats": True},
        {"release_tags": []},
        {"release_tags": [3]},
        {"concurrency": 0},
    ],
)
def test_options_that_cannot_be_are_refused_by_name(ws, options):
    with pytest.raises(InputError, match=f"{next(iter(options))} must be "):
        ws.sweep("echo", CASES, **options)


def test_unknown_release_tag_is_refused_before_any_call(ws, deployed):
    with pytest.raises(NotFoundError, match="; available: "):
        ws.sweep("echo", CASES, release_tags=["v1", "v9"])
    assert deployed.calls == []


@pytest.mark.parametrize("sweep_id", ["", "no-such"])
def test_unknown_sweep_is_refused(ws, sweep_id):
    with pytest.raises(HistoryError, match="lists all"):
        ws.open_sweep(sweep_id)


@pytest.fixture
def stopped(ws):
    return ws.sweep("echo", CASES, **BOTH, repeats=2, limits={"max_calls": 5})


def test_repr_of_a_stopped_sweep_has_the_reason(stopped):
    assert repr(stopped).startswith("<Sweep of echo on v1, v2: stopped (max_calls=5 is reached), 5")


def test_plan_of_the_same_call_names_the_sweep_that_it_resumes(ws, stopped):
    plan = ws.sweep("echo", CASES, **BOTH, repeats=2, dry_run=True)
    assert (plan.resumes, plan.found, plan.calls) == (stopped.id, 5, 7)
    assert plan.last_seen is not None
    assert "5 runs are stored and not sent again" in plan.notes[0]


def test_the_same_call_resumes_a_stopped_sweep(ws, deployed, stopped):
    again = ws.sweep("echo", CASES, **BOTH, repeats=2)
    assert (again.id, progress_of(again).found, len(deployed.calls)) == (stopped.id, 5, 12)


def test_note_of_a_resume_names_the_other_unfinished_sweep_of_a_merged_history(
    server, ws, tmp_path, stopped
):
    path = tmp_path / "laptop.db"
    with vnb.connect(server, history=path) as laptop:
        other = laptop.sweep("echo", CASES, **BOTH, repeats=2, limits={"max_calls": 1})
    ws.history.merge(path)
    plan = ws.sweep("echo", CASES, **BOTH, repeats=2, dry_run=True)
    assert plan.resumes == other.id
    assert plan.notes[1] == (
        "the history has 2 unfinished sweeps of this plan; "
        f"ws.open_sweep(id) opens the others: {stopped.id}"
    )
    reusing = ws.sweep("echo", CASES, **BOTH, repeats=2, existing="reuse", dry_run=True)
    assert (reusing.resumes, reusing.found, reusing.calls) == (other.id, 6, 6)


REUSING = {"release_tags": ["production"], "repeats": 2, "existing": "reuse", "progress": False}


@pytest.fixture
def reusable(ws, server, deployed):
    """Return the only run of three that a sweep of `production` can reuse."""
    run = ws.run("echo", {"text": "t0"}, release_tag="v2")
    deployed.refused = {"t1"}
    ws.run("echo", {"text": "t1"}, release_tag="v2")
    deployed.refused = set()
    ws.run("echo", {"text": "t2"}, release_tag="v1")
    server.move_tag("echo", "production", "v2")
    deployed.calls.clear()
    return run


@pytest.mark.usefixtures("reusable")
def test_plan_counts_the_runs_that_it_reuses(ws):
    plan = ws.sweep("echo", CASES, **REUSING, dry_run=True)
    assert [(tag.reused, tag.calls) for tag in plan.tags] == [(1, 5)]


def test_fulfilled_run_of_the_same_release_is_reused(ws, deployed, reusable):
    done = ws.sweep("echo", CASES, **REUSING)
    assert (len(deployed.calls), progress_of(done).found) == (5, 1)
    assert reusable.id in {run.id for run in done.runs()}


@pytest.mark.usefixtures("reusable")
def test_frame_of_a_sweep_has_a_reused_run_in_its_place(ws):
    done = ws.sweep("echo", CASES, **REUSING)
    frame = done.frame()
    assert len(frame) == len(done.runs()) == 6
    assert set(frame["release_tag"]) == {"production"}
    assert frame.groupby(["case_id", "repeat"]).size().tolist() == [1] * 6
    assert set(frame["label.who"]) == {"w0", "w1", "w2"}
    assert done.compare().frame()["answers@production"].tolist() == [2, 2, 2]


REUSE = """
import sys
import vellum_nb as vnb
url, key, path = sys.argv[1:]
with vnb.connect(url, api_key=key, history=path) as ws:
    cases = [{"text": f"t{number}"} for number in range(3)]
    print("ready", flush=True)
    sys.stdin.readline()
    try:
        ws.sweep("echo", cases, release_tags=["v1", "v2"], repeats=3, existing="reuse")
    except vnb.HistoryError as exc:
        assert "is running in process" in str(exc), exc
print("done", flush=True)
"""


@pytest.mark.parametrize("stopped", [False, True])
@pytest.mark.slow
def test_run_that_two_processes_reuse_at_once_is_placed_once(ws, server, deployed, forks, stopped):
    if stopped:  # the two go on with it, and have new runs to place
        ws.sweep("echo", CASES, **BOTH, repeats=3, limits={"max_calls": 3})
    known = {ws.run("echo", case, release_tag=tag).id for case in TEXTS for tag in ("v1", "v2")}
    deployed.calls.clear()
    program = REUSE, server.url, server.api_key, ws.history.path
    with forks.code(*program) as one, forks.code(*program) as other:
        for process in (one, other):
            assert process.stdout.readline() == "ready\n"
        for process in (one, other):
            process.write_line("go")
        assert [process.stdout.readline() for process in (one, other)] == ["done\n"] * 2
    [sweep_id] = ws.sweeps()["sweep_id"]
    runs = ws.open_sweep(sweep_id).runs()
    assert len({run.id for run in runs}) == len(runs) == 18
    reused = known & {run.id for run in runs}
    assert len(reused) == 6
    assert len(deployed.calls) == 18 - 6 - 3 * stopped


@pytest.fixture
def answered(ws, deployed):
    """Return a sweep whose runs are all reused."""
    for tag in ("v1", "v2"):
        ws.sweep("echo", CASES, release_tags=[tag], progress=False)
    deployed.calls.clear()
    return ws.sweep("echo", CASES, **BOTH, existing="reuse")


def test_sweep_that_the_history_answers_entirely_sends_nothing(ws, deployed, answered):
    assert (answered.state, deployed.calls) == ("done", [])
    assert ws.sweeps()["done"].tolist() == [6, 3, 3]
    assert ws.sweeps()["ended"].notna().all()


def test_reused_run_that_was_deleted_is_made_again(ws, deployed, answered):
    ws.history.delete([answered.runs()[0].id])
    assert ws.open_sweep(answered.id).resume().state == "done"
    assert len(deployed.calls) == 1


@pytest.fixture
def failed(ws, deployed):
    """Return a sweep that has done four of its six runs."""
    deployed.refused = {"t1"}
    return ws.sweep("echo", CASES, **BOTH)


def test_failed_runs_are_counted(failed):
    assert repr(failed) == "<Sweep of echo on v1, v2: done, 6 of 6 runs, 2 failed>"


def test_frame_of_failed_runs_has_their_labels(failed):
    assert failed.failed()["input.text"].tolist() == ["t1", "t1"]
    assert set(failed.failed()["label.who"]) == {"w1"}


def test_run_that_fails_again_stays_failed(failed):
    assert progress_of(failed.retry_failed()).failed == 2


@pytest.fixture
def retried(ws, deployed, failed):
    """Return the sweep after a retry that failed, and one that did not."""
    failed.retry_failed()
    deployed.refused = set()
    return ws.open_sweep(failed.id).retry_failed()


def test_latest_of_repeated_runs_counts(ws, retried):
    assert progress_of(retried).done == 6
    assert len(retried.frame()) == len(retried.runs()) == 6
    assert retried.failed().empty
    assert ws.sweeps()[["done", "failed", "to_go"]].to_numpy().tolist() == [[6, 0, 0]]


def test_history_has_every_repeated_run(ws, retried):
    assert ws.history.count(sweep_id=retried.id) == 10


def test_retry_without_failed_runs_sends_nothing(deployed, retried):
    calls = len(deployed.calls)
    assert retried.retry_failed().state == "done"
    assert len(deployed.calls) == calls


@pytest.fixture
def old(server, path):
    """Return the id of a sweep that an earlier session stopped after four runs."""
    with vnb.connect(server, history=path) as ws:
        return ws.sweep("echo", CASES, **BOTH, limits={"max_calls": 4}).id


@pytest.fixture
def offline(path):
    with vnb.connect("http://127.0.0.1:9", api_key="k", history=path) as ws:
        yield ws


def test_old_sweep_is_read_without_a_server(old, offline):
    sweep = offline.open_sweep(old[:8])
    assert (sweep.state, len(sweep.frame()), progress_of(sweep).found) == ("stopped", 4, 4)


def test_resume_without_a_server_leaves_the_sweep_stopped(old, offline):
    with pytest.raises(vnb.APIConnectionError):
        offline.open_sweep(old).resume()
    assert offline.sweeps()["state"].tolist() == ["stopped"]


def test_old_sweep_is_resumed_under_its_limits(old, ws):
    assert progress_of(ws.open_sweep(old).resume()).why == "max_calls=4 is reached"


def test_old_sweep_is_resumed_without_a_limit(old, ws, deployed):
    assert ws.open_sweep(old, limits={"max_calls": None}).resume().state == "done"
    assert len(deployed.calls) == 6


LIMITS = {"max_calls": 1, "max_cost_usd": 1.5, "stop_after_failures": 9}


@pytest.fixture
def limited(ws):
    return ws.sweep("echo", CASES, **BOTH, limits=LIMITS, concurrency=2)


@pytest.fixture
def later(server, path, limited):
    """Return a later session on the history of the limited sweep."""
    with vnb.connect(server, history=path) as later:
        yield later


def test_opened_sweep_has_its_last_options(later, limited):
    assert control_of(later.open_sweep(limited.id)).record.options == {"concurrency": 2, **LIMITS}


def test_opened_sweep_takes_changed_options_beside_the_stored_ones(ws, later, limited):
    opened = later.open_sweep(limited.id, limits={"max_calls": 3}, expand_meta=True)
    now = progress_of(opened.resume())
    assert (now.ended, now.limit, now.most, now.max_cost_usd) == (3, 2, 2, 1.5)
    changed = {"max_calls": 3, "expand_meta": True, "concurrency": 2}
    assert Sweeps(ws.history).every(limited.id)[0].options == LIMITS | changed


def test_the_same_call_replaces_the_stored_options(ws, limited):
    ws.sweep("echo", CASES, **BOTH, limits={"max_calls": 4})
    assert Sweeps(ws.history).every(limited.id)[0].options == {"max_calls": 4}


@pytest.mark.parametrize("options", [{"expand_meta": True}, {"limits": {"max_cost_usd": 5}}])
def test_an_opened_sweep_asks_for_the_cost_where_it_did(server, path, options):
    server.faults = Faults(rate_500=1.0, paths="/v1/execute-workflow")  # streams have the cost
    with vnb.connect(server, history=path) as ws:
        limits = {"max_calls": 1} | options.get("limits", {})
        first = ws.sweep("echo", CASES, **BOTH, **options | {"limits": limits})
        assert progress_of(first).done == 1
    with vnb.connect(server, history=path) as ws:
        assert progress_of(ws.open_sweep(first.id, limits={"max_calls": None}).resume()).done == 6


def test_old_cases_that_fit_no_longer_are_refused_before_any_call(ws, server, deployed):
    first = ws.sweep("echo", CASES, **BOTH, limits={"max_calls": 2})
    deployed.calls.clear()

    def strict(text: int) -> str:
        return str(text)

    server.deploy(strict, name="echo", release_tags=["v2"])
    with pytest.raises(InputError, match="on v2"):
        ws.open_sweep(first.id).resume()
    assert deployed.calls == []


HOLD = """
import sys, vellum_nb as vnb
from vellum_nb.history import Sweeps
with vnb.History(sys.argv[1]) as history:
    (sweep,) = Sweeps(history).every(sys.argv[2])
    Sweeps(history).acquire(sweep)
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def held(ws, path):
    """Return a stopped sweep, and another process that holds its lease."""
    sweep = ws.sweep("echo", CASES, **BOTH, limits={"max_calls": 2})
    command = [sys.executable, "-c", HOLD, str(path), sweep.id]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as other:
        assert other.stdout.readline() == b"held\n"
        yield sweep, other
        other.kill()


def test_sweep_of_another_process_cannot_be_resumed(ws, held):
    sweep, other = held
    with pytest.raises(HistoryError, match=f"running in process {other.pid} on "):
        ws.sweep("echo", CASES, **BOTH)
    with pytest.raises(HistoryError, match="is running"):
        sweep.resume()
    assert ws.sweeps()["state"].tolist() == ["running"]


def test_sweep_of_a_killed_process_is_resumed_with_a_note(ws, held):
    sweep, other = held
    other.kill()
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)  # its number is still taken
    [note, *_] = ws.sweep("echo", CASES, **BOTH, dry_run=True).notes
    assert " UTC (process lost at " in note
    lost = control_of(ws.open_sweep(sweep.id)).record.lost
    assert control_of(sweep).record.created < lost
    done = ws.sweep("echo", CASES, **BOTH)
    assert (done.state, progress_of(done).lost) == ("done", lost)
    assert progress_of(ws.open_sweep(sweep.id)).lost is None


def test_the_table_of_sweeps_has_its_columns_also_when_empty(ws):
    empty = ws.sweeps()
    ws.sweep("echo", CASES, **BOTH)
    full = ws.sweeps(deployment="echo")
    assert full.dtypes.equals(empty.dtypes)
    assert full["release_tags"].tolist() == ["v1, v2"]
    assert ws.sweeps(deployment="other").empty


@pytest.fixture
def labelled(ws):
    cases = [
        {"text": "a", "expected.output": "one a", "weight": 1.5, "tags": ["x"]},
        {"text": "=b", "expected.output": "", "day": "2026-07-01"},
    ]
    return ws.sweep("echo", cases, **BOTH)


LABELS = ["expected.output", "label.weight", "label.tags", "label.day"]


def test_frame_of_a_sweep_has_its_labels_in_front_of_the_ids(labelled):
    names = list(labelled.frame().columns)
    assert names[names.index("case_id") - 4 : names.index("case_id")] == LABELS


def test_short_view_of_a_sweep_has_its_labels(labelled):
    assert list(labelled.frame(columns="short"))[-6:] == [*LABELS, "case_id", "id"]
    assert list(labelled.failed(columns="short")) == list(labelled.frame(columns="short"))


def test_short_view_is_neither_run_nor_compared(ws, labelled, tmp_path):
    short = labelled.frame(columns="short")
    short.to_csv(tmp_path / "short.csv", index=False)
    for cases in (short, ws.history.frame(columns="short"), tmp_path / "short.csv"):
        with pytest.raises(InputError, match="executions and releases: give columns='all'"):
            ws.sweep("echo", cases, dry_run=True)
    with pytest.raises(InputError, match="executions and releases: give columns='all'"):
        vnb.compare(short)


def test_frame_of_a_sweep_reads_back_from_csv(labelled, tmp_path):
    stored = vnb.read_csv(labelled.to_csv(tmp_path / "s.csv"))
    pd.testing.assert_frame_equal(stored, labelled.frame())


def test_csv_of_a_sweep_is_a_table_of_cases_with_their_labels(ws, labelled, tmp_path):
    again = ws.sweep("echo", labelled.to_csv(tmp_path / "s.csv"), **BOTH)
    frames = [
        sweep.frame().sort_values(["case_id", "release_tag"])[LABELS].reset_index(drop=True)
        for sweep in (labelled, again)
    ]
    pd.testing.assert_frame_equal(*frames)


def test_cases_with_the_same_inputs_have_their_own_labels(ws):
    cases = [{"text": "a", "who": "ann"}, {"text": "a", "who": "bob"}]
    frame = ws.sweep("echo", cases, **BOTH).frame()
    labels = set(zip(frame["release_tag"], frame["label.who"], strict=True))
    assert labels == {(tag, who) for tag in ("v1", "v2") for who in ("ann", "bob")}


def test_a_key_that_may_only_execute_sweeps_too(execute_only, server, path):
    with vnb.connect(execute_only, api_key=server.api_key, history=path) as ws:
        plan = ws.sweep("echo", [{"text": "a"}], **BOTH, dry_run=True)
        assert plan.notes[0].startswith("this key cannot read v1, v2")
        done = ws.sweep("echo", [{"text": "a"}], **BOTH)
        assert progress_of(done).done == 2
        assert done.frame()["release_id"].isna().all()
