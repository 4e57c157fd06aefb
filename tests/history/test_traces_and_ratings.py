"""Nodes, corrected outputs, and runs that were made elsewhere."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pandas as pd
import pytest

from vellum_nb import History, HistoryError
from vellum_nb.history import trace_frame
from vellum_nb.models import NodeRun

NOON = datetime(2026, 7, 1, 12, tzinfo=UTC)
NODES = (
    NodeRun(
        name="inner",
        span_id="b",
        parent_span_id="a",
        state="REJECTED",
        start=NOON + timedelta(seconds=1),
        end=NOON + timedelta(seconds=1.5),
        error="no \ud83d",
    ),
    NodeRun(name="outer", span_id="a", parent_span_id="e", start=NOON, model="m", tokens_in=3),
)


def test_the_trace_of_a_run_is_a_frame_in_the_order_of_time(history, record):
    frame = history.trace(record(nodes=NODES))
    assert frame["name"].tolist() == ["outer", "inner"]
    assert frame["depth"].tolist() == [0, 1]
    assert frame["duration_s"].tolist()[1] == 0.5
    assert frame["start"][0] == pd.Timestamp(NOON)
    assert frame["error"].tolist()[1] == "no \ufffd"
    assert trace_frame([]).dtypes.to_dict() == frame.dtypes.to_dict()
    assert str(frame["tokens_in"].dtype) == "Int64"


def test_parents_in_a_circle_do_not_hang_the_trace(history, record):
    circle = [NodeRun(name=n, span_id=n, parent_span_id=p) for n, p in ("ab", "ba", "cc")]
    assert history.trace(record(nodes=circle))["depth"].tolist() == [2, 2, 1]


def test_nodes_are_read_once_where_there_are_none(history, record):
    run = record()
    with pytest.raises(HistoryError, match=r"use ws\.trace\(run\)"):
        history.trace(run)
    asked = []
    connected = history.with_callbacks(trace=lambda run: asked.append(run.id) or NODES)
    assert len(connected.trace(run)) == len(connected.trace(run.id)) == 2
    assert asked == [run.id]
    history.set_nodes(run.id, NODES[1:])
    assert len(history.trace(run.id)) == 1


def test_corrected_outputs_are_columns_after_the_outputs(history, record):
    run = record(outputs={"category": "account", "score": 1}, latency_s=1)
    record(outputs={"category": "billing"})
    assert not [name for name in history.frame().columns if name.startswith("desired.")]
    history.annotate(run.id, desired={"category": "billing", "score": 2}, quality=0)
    frame = history.frame()
    names = list(frame.columns)
    assert names[6:11] == [
        "input.ticket",
        "output.category",
        "output.score",
        "desired.category",
        "desired.score",
    ]
    assert frame["desired.score"].tolist() == [pd.NA, 2]
    assert history.get(run.id).desired == {"category": "billing", "score": 2}
    assert history.page(order_by="desired.score")[0].id == run.id


def test_an_execution_id_is_stored_while_the_run_is_under_way(history, path, make_run):
    run = make_run()
    history.begin(run)
    history.set_execution_id(run.id, "exec-1")
    with History(path) as other:
        (found,) = other.runs(execution_id="exec-1")
        assert (found.id, found.state) == (run.id, "STARTED")
    history.finish(run.model_copy(update={"state": "FULFILLED", "execution_id": "exec-1"}))
    history.set_execution_id(run.id, "exec-2")
    assert history.get(run.id).execution_id == "exec-1"


def test_a_started_run_is_completed_by_its_execution_id_or_external_id(history, make_run):
    one = make_run(external_id="x1", release_id="r1", inputs={"sent": 1})
    two = make_run(external_id="x2", execution_id="e2")
    history.begin(one)
    history.begin(two)
    ended = {"state": "FULFILLED", "outputs": {"a": 1}, "quality": 1.0, "desired": {"a": 2}}
    report = history.merge(
        [
            make_run(external_id="x1", execution_id="e1", release_id="r2", **ended),
            make_run(execution_id="e2", **ended),
        ]
    )
    assert (report.completed, history.count()) == (2, 2)
    found = history.get(one.id)
    assert (found.execution_id, found.inputs, found.tag_moved) == ("e1", {"sent": 1}, True)
    assert (found.outputs, found.quality, found.desired) == ({"a": 1}, 1.0, {"a": 2})
    assert not history.get(two.id).tag_moved
