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


def test_a_dry_run_shows_what_there_is_to_do_and_does_nothing(ws, deployed):
    cases = [{**case, "flag": True} for case in CASES]
    limits = {"limits": {"max_calls": 5, "max_seconds": 60}}
    plan = ws.sweep("echo", cases, **BOTH, repeats=2, **limits, dry_run=True)
    assert isinstance(plan, vnb.SweepPlan)
    assert (plan.planned, plan.calls, plan.found) == (12, 12, 0)
    assert (plan.seconds, plan.cost_usd) == (None, None)
    assert repr(plan) == ("<SweepPlan of echo: 3 cases x 2 release tags x 2 repeats = 12 calls>")
    assert plan.notes == (
        "flag: not sent to v1, which knows no such input",
        "max_calls=5: it will stop there",
        "max_seconds=60.0",
    )
    assert "<td>v2</td>" in html_of(plan)
    assert plan.frame()["calls"].tolist() == [6, 6]
    assert deployed.calls == []
    assert ws.sweeps().empty
    assert ws.history.count() == 0


def test_a_plan_estimates_time_and_cost_from_past_runs(ws):
    ws.sweep("echo", CASES, **BOTH)
    with closing(sqlite3.connect(ws.history.path)) as db:
        db.execute("UPDATE runs SET latency_s = 2, cost_usd = 0.5")
        db.commit()
    plan = ws.sweep("echo", CASES, **BOTH, repeats=4, concurrency=8, dry_run=True)
    assert plan.seconds == 24 * 2 / 8
    assert plan.cost_usd == 12
    grows = ws.sweep("echo", CASES, **BOTH, repeats=4, dry_run=True)
    assert ", about 2.00 s at up to 24 at once" in grows.headline
    assert str(plan).endswith("= 24 calls, about 6.00 s at 8 at once, about $12.00")


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


def test_tags_and_sweeps_that_do_not_exist_are_refused(ws, deployed):
    with pytest.raises(NotFoundError, match="; available: "):
        ws.sweep("echo", CASES, release_tags=["v1", "v9"])
    assert deployed.calls == []
    for sweep_id in ("", "no-such"):
        with pytest.raises(HistoryError, match="lists all"):
            ws.open_sweep(sweep_id)


def test_the_same_call_goes_on_with_what_was_stopped(ws, deployed):
    first = ws.sweep("echo", CASES, **BOTH, repeats=2, limits={"max_calls": 5})
    assert repr(first).startswith("<Sweep of echo on v1, v2: stopped (max_calls=5 is reached), 5")
    plan = ws.sweep("echo", CASES, **BOTH, repeats=2, dry_run=True)
    assert (plan.resumes, plan.found, plan.calls) == (first.id, 5, 7)
    assert plan.last_seen is not None
    assert "5 runs found, none of them is sent again" in plan.notes[0]
    second = ws.sweep("echo", CASES, **BOTH, repeats=2)
    assert second.id == first.id
    assert progress_of(second).found == 5
    assert len(deployed.calls) == 12


def test_fulfilled_runs_of_the_same_release_are_taken_over(ws, server, deployed):
    one = ws.run("echo", {"text": "t0"}, release_tag="v2")
    deployed.refused = {"t1"}
    ws.run("echo", {"text": "t1"}, release_tag="v2")
    deployed.refused = set()
    ws.run("echo", {"text": "t2"}, release_tag="v1")
    server.move_tag("echo", "production", "v2")
    deployed.calls.clear()
    tags = {"release_tags": ["production"], "progress": False}
    plan = ws.sweep("echo", CASES, **tags, repeats=2, existing="reuse", dry_run=True)
    assert [(tag.reused, tag.calls) for tag in plan.tags] == [(1, 5)]
    done = ws.sweep("echo", CASES, **tags, repeats=2, existing="reuse")
    assert len(deployed.calls) == 5
    assert progress_of(done).found == 1
    assert one.id in {run.id for run in done.runs()}
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
"""


@pytest.mark.parametrize("stopped", [False, True])
@pytest.mark.slow
def test_two_processes_that_reuse_runs_at_once_place_each_once(ws, server, deployed, path, stopped):
    if stopped:  # the two go on with it, and have new runs to place
        ws.sweep("echo", CASES, **BOTH, repeats=3, limits={"max_calls": 3})
    known = {ws.run("echo", case, release_tag=tag).id for case in TEXTS for tag in ("v1", "v2")}
    deployed.calls.clear()
    command = [sys.executable, "-c", REUSE, server.url, server.api_key, str(path)]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as one, subprocess.Popen(command, **pipes) as other:
        for each in (one, other):
            assert each.stdout.readline() == b"ready\n"
        for each in (one, other):
            each.stdin.write(b"go\n")
            each.stdin.flush()
    assert (one.returncode, other.returncode) == (0, 0)
    [sweep_id] = ws.sweeps()["sweep_id"]
    runs = ws.open_sweep(sweep_id).runs()
    assert len({run.id for run in runs}) == len(runs) == 18
    reused = known & {run.id for run in runs}
    assert len(reused) == 6
    assert len(deployed.calls) == 18 - 6 - 3 * stopped


def test_a_sweep_that_the_history_answers_entirely_sends_nothing(ws, deployed):
    for tag in ("v1", "v2"):
        ws.sweep("echo", CASES, release_tags=[tag], progress=False)
    deployed.calls.clear()
    done = ws.sweep("echo", CASES, **BOTH, existing="reuse")
    assert done.state == "done"
    assert deployed.calls == []
    assert ws.sweeps()["done"].tolist() == [6, 3, 3]
    assert ws.sweeps()["ended"].notna().all()
    ws.history.delete([done.runs()[0].id])
    assert ws.open_sweep(done.id).resume().state == "done"
    assert len(deployed.calls) == 1


def test_failed_runs_are_repeated_and_the_latest_counts(ws, deployed):
    deployed.refused = {"t1"}
    done = ws.sweep("echo", CASES, **BOTH)
    assert repr(done) == "<Sweep of echo on v1, v2: done, 6 of 6 runs, 2 failed>"
    assert done.failed()["input.text"].tolist() == ["t1", "t1"]
    assert set(done.failed()["label.who"]) == {"w1"}
    assert progress_of(done.retry_failed()).failed == 2
    deployed.refused = set()
    again = ws.open_sweep(done.id).retry_failed()
    assert progress_of(again).done == 6
    assert len(again.frame()) == len(again.runs()) == 6
    assert again.failed().empty
    assert ws.sweeps()[["done", "failed", "to_go"]].to_numpy().tolist() == [[6, 0, 0]]
    assert ws.history.count(sweep_id=done.id) == 10
    calls = len(deployed.calls)
    assert again.retry_failed().state == "done"  # nothing had failed
    assert len(deployed.calls) == calls


def test_an_old_sweep_is_read_without_a_server_and_goes_on_with_one(server, path, deployed):
    with vnb.connect(server, history=path) as ws:
        first = ws.sweep("echo", CASES, **BOTH, limits={"max_calls": 4})
    nowhere = "http://127.0.0.1:9"
    with vnb.connect(nowhere, api_key="k", history=path) as ws:
        old = ws.open_sweep(first.id[:8])
        assert old.state == "stopped"
        assert len(old.frame()) == 4
        assert progress_of(old).found == 4
        with pytest.raises(vnb.APIConnectionError):
            old.resume()
        assert ws.sweeps()["state"].tolist() == ["stopped"]  # nobody holds it
    with vnb.connect(server, history=path) as ws:
        assert progress_of(ws.open_sweep(first.id).resume()).why == "max_calls=4 is reached"
        assert ws.open_sweep(first.id, limits={"max_calls": None}).resume().state == "done"
    assert len(deployed.calls) == 6


def test_an_opened_sweep_goes_on_with_its_last_options(ws, server, path):
    limits = {"max_calls": 1, "max_cost_usd": 1.5, "stop_after_failures": 9}
    first = ws.sweep("echo", CASES, **BOTH, limits=limits, concurrency=2)
    with vnb.connect(server, history=path) as later:
        kept = {"concurrency": 2, **limits}
        assert control_of(later.open_sweep(first.id)).record.options == kept
        opened = later.open_sweep(first.id, limits={"max_calls": 3}, expand_meta=True)
        assert progress_of(opened.resume()).ended == 3
        now = progress_of(opened)
        assert (now.limit, now.most, now.max_cost_usd) == (2, 2, 1.5)
    record = Sweeps(ws.history).every(first.id)[0]
    assert record.options == kept | {"max_calls": 3, "expand_meta": True}
    ws.sweep("echo", CASES, **BOTH, limits={"max_calls": 4})
    assert Sweeps(ws.history).every(first.id)[0].options == {"max_calls": 4}
    with pytest.raises(InputError, match="max_calls must be .*, not 0"):
        ws.open_sweep(first.id, limits={"max_calls": 0})


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


def test_a_second_process_is_refused_and_a_killed_one_holds_nothing(ws, path):
    first = ws.sweep("echo", CASES, **BOTH, limits={"max_calls": 2})
    command = [sys.executable, "-c", HOLD, str(path), first.id]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
    with subprocess.Popen(command, **pipes) as other:
        assert other.stdout.readline() == b"held\n"
        with pytest.raises(HistoryError, match=f"running in process {other.pid} on "):
            ws.sweep("echo", CASES, **BOTH)
        with pytest.raises(HistoryError, match="is running"):
            first.resume()
        assert ws.sweeps()["state"].tolist() == ["running"]
        other.kill()
        os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)  # its number is still taken
        [note, *_] = ws.sweep("echo", CASES, **BOTH, dry_run=True).notes
        assert ", its process was lost at " in note
        lost = control_of(ws.open_sweep(first.id)).record.lost
        assert control_of(first).record.created < lost
        done = ws.sweep("echo", CASES, **BOTH)
        assert (done.state, progress_of(done).lost) == ("done", lost)
        assert progress_of(ws.open_sweep(first.id)).lost is None


def test_the_table_of_sweeps_has_its_columns_also_when_empty(ws):
    empty = ws.sweeps()
    ws.sweep("echo", CASES, **BOTH)
    full = ws.sweeps(deployment="echo")
    assert full.dtypes.equals(empty.dtypes)
    assert full["release_tags"].tolist() == ["v1, v2"]
    assert ws.sweeps(deployment="other").empty


def test_the_frame_of_a_sweep_reads_back_from_csv_and_is_cases_again_each_with_its_labels(
    ws, tmp_path
):
    cases = [
        {"text": "a", "expected.output": "one a", "weight": 1.5, "tags": ["x"]},
        {"text": "=b", "expected.output": "", "day": "2026-07-01"},
    ]
    done = ws.sweep("echo", cases, **BOTH)
    frame, names = done.frame(), ["expected.output", "label.weight", "label.tags", "label.day"]
    assert list(frame.columns)[-5:] == ["id", *names]
    pd.testing.assert_frame_equal(vnb.read_csv(done.to_csv(tmp_path / "s.csv")), frame)
    again = ws.sweep("echo", tmp_path / "s.csv", **BOTH)
    key = ["case_id", "release_tag"]
    both = [each.frame().sort_values(key)[names].reset_index(drop=True) for each in (done, again)]
    pd.testing.assert_frame_equal(*both)
    cases = [{"text": "a", "who": "ann"}, {"text": "a", "who": "bob"}]
    frame = ws.sweep("echo", cases, **BOTH).frame()
    found = set(zip(frame["release_tag"], frame["label.who"], strict=True))
    assert found == {(tag, who) for tag in ("v1", "v2") for who in ("ann", "bob")}


def test_a_key_that_may_only_execute_sweeps_too(execute_only, server, path):
    with vnb.connect(execute_only, api_key=server.api_key, history=path) as ws:
        plan = ws.sweep("echo", [{"text": "a"}], **BOTH, dry_run=True)
        assert plan.notes[0].startswith("this key cannot read v1, v2")
        done = ws.sweep("echo", [{"text": "a"}], **BOTH)
        assert progress_of(done).done == 2
        assert done.frame()["release_id"].isna().all()
