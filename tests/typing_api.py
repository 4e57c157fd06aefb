"""The public names as a type checker sees them: checked by mypy, never run."""

from __future__ import annotations

from pathlib import Path
from typing import assert_type

import pandas as pd

import vellum_nb as vnb
from vellum_nb.client import EventStream
from vellum_nb.comparison.decisions import Decisions
from vellum_nb.models import WorkflowEvent, WorkflowStreamEvent


def triage(ticket: str, vip: bool = False) -> dict[str, str]:  # noqa: FBT001, FBT002
    """Sort a ticket."""
    return {"category": ticket if vip else "billing"}


def a_session() -> None:
    """Use every public entry as a user would."""
    with vnb.LocalServer() as server:
        server.deploy(triage, name="triage", release_tags=["v1"])
        server.deploy(Path("project"), isolation="process")
        limited = vnb.Isolation("process", memory_limit=2**31, env=["A_KEY"])
        server.deploy(Path("project"), isolation=limited)
        ws = vnb.connect(server, history=Path("runs.db"))
        assert_type(ws, vnb.Workspace)
        run = ws.run("triage", {"ticket": "x"}, release_tag="v1")
        assert_type(run, vnb.Run)
        assert_type(run.latency_s, float | None)
        assert_type(ws.history, vnb.History)
        assert_type(ws.history.frame(deployment="triage", limit=10), pd.DataFrame)
        assert_type(ws.history.runs(), list[vnb.Run])
        assert_type(ws.history.merge("laptop.db").conflicts[0].fields, tuple[str, ...])
        assert_type(ws.history.merge([]).running, int)
        assert_type(ws.history.delete(["id"]).runs, int)
        assert_type(ws.history.backup("copy.db"), Path)
        assert_type(ws.form("triage"), vnb.RunForm)
        assert_type(ws.compare("triage", release_tags=["v1"]), vnb.Comparison)
        compared = ws.compare(
            "triage",
            metrics=["exact", vnb.metrics.contains("sorry"), vnb.metrics.latency_s],
            cases=["0123456789abcdef"],
        )
        assert_type(ws.judge("grader"), vnb.Metric)
        assert_type(compared.summary(), pd.DataFrame)
        assert_type(compared.regressions("exact", release="v2"), pd.DataFrame)
        assert_type(vnb.compare(ws.history.frame(), by="environment"), vnb.Comparison)
        replay = compared.replay(compared.frame("changed"), release_tag="v3")
        assert_type(replay.frame(), pd.DataFrame)
        assert_type(compared.to_markdown(only=["worse"]), str)
        assert_type(compared.to_html("report.html"), Path)
        found = ws.bisect("triage", {"ticket": "x"}, lambda run: run.outputs["category"])
        assert_type(found.first_changed, str)
        assert_type(found.frame(), pd.DataFrame)
        assert_type(vnb.Metric(lambda run: run.latency_s, name="seconds"), vnb.Metric)
        assert_type(vnb.read_csv("runs.csv"), pd.DataFrame)
        sweep = ws.sweep("triage", [{"ticket": "x"}], release_tags=["v1"], repeats=3)
        assert_type(sweep, vnb.Sweep)
        assert_type(sweep.frame(), pd.DataFrame)
        assert_type(sweep.compare(), vnb.Comparison)
        assert_type(sweep.retry_failed().resume(background=True).wait(60), vnb.Sweep)
        assert_type(ws.sweep("triage", Path("cases.csv"), dry_run=True), vnb.SweepPlan)
        assert_type(ws.sweep("triage", ws.history.frame(), existing="reuse"), vnb.Sweep)
        assert_type(ws.sweeps(), pd.DataFrame)
        assert_type(ws.open_sweep("3f2a"), vnb.Sweep)
        for event in ws.stream("triage", {"ticket": "x"}):
            assert_type(event, WorkflowStreamEvent)
        assert_type(ws.submit("triage", {"ticket": "x"}).wait(), vnb.Run)
        assert_type(ws.rate(run, quality=1, desired={"output": "billing"}), vnb.Run)
        assert_type(ws.trace(run), pd.DataFrame)
        assert_type(ws.code("triage", "v1"), dict[str, str])
        assert_type(ws.code_diff("triage", "v1", "v2").text, str)
        assert_type(ws.sync("triage").added, int)


def a_client() -> None:
    """Use the streams of the client as a user would."""
    with vnb.Client(api_key="k", base_url="http://127.0.0.1:8000") as client:
        events = client.execute_workflow_stream({"q": 1}, workflow_deployment_name="triage")
        assert_type(events, EventStream[WorkflowStreamEvent])
        for event in events:
            assert_type(event.delta, str | None)
        assert_type(client.execute_stream("triage"), EventStream[WorkflowEvent])
        assert_type(client.pull("triage"), bytes)


def a_decision(compared: vnb.Comparison) -> None:
    """Decide between releases."""
    decisions = compared.decide(margin={"exact": 0.05, "latency_s": "10%"})
    assert_type(decisions, Decisions)
    assert_type(decisions["v2"].more, int | None)
    compared.assert_not_worse("exact", margin=0.05, missing="drop", allow_inconclusive=True)


def duels_of(ws: vnb.Workspace, compared: vnb.Comparison) -> None:
    """Run duels and rank releases."""
    duel = ws.duel_judge("grader", inputs={"a": "first.reply", "b": "second.reply"})
    assert_type(compared.duels(duel, max_calls=10).ranking().frame(), pd.DataFrame)
    assert_type(compared.duels(duel, dry_run=True).calls, int)
    assert_type(compared.duels().summary(), pd.DataFrame)
