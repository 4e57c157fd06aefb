"""Executions as they are listed, retrieved and continued through the API."""

from __future__ import annotations

import time

import pytest
from execution_kit import NO_ID, detail, read, run, turn


@pytest.fixture
def api(fresh, asking):
    fresh.deploy(turn)
    return asking(fresh)


def test_the_state_of_a_run_is_resolved_with_those_it_continues(api):
    first = run(api, "turn", "one")
    second = run(api, "turn", "two", previous_execution_id=first)
    third = run(api, "turn", "three", previous_execution_id=second)
    states = [api.get(f"/v1/workflows/{id_}/state").json() for id_ in (first, second, third)]
    assert [state["state"]["turns"] for state in states] == [
        ["one"],
        ["one", "two"],
        ["one", "two", "three"],
    ]
    one, two, three = states
    assert [state["span_id"] for state in states] == [first, second, third]
    assert one["previous_span_id"] is one["root_span_id"] is one["root_trace_id"] is None
    assert (two["previous_span_id"], two["root_span_id"]) == (first, first)
    assert (three["previous_span_id"], three["root_span_id"]) == (second, first)
    assert (three["previous_trace_id"], three["root_trace_id"]) == (
        two["trace_id"],
        one["trace_id"],
    )
    assert read(api, "turn", third)["state"] == three["state"]


def test_a_run_that_continues_one_that_is_not_here_is_the_first(api):
    id_ = run(api, "turn", "one", previous_execution_id=NO_ID)
    state = api.get(f"/v1/workflows/{id_}/state").json()
    assert state["state"] == {"turns": ["one"]}
    assert state["previous_span_id"] is state["root_span_id"] is None


def test_a_running_execution_is_in_the_list_without_an_end(fresh, asking, gate):
    fresh.deploy(gate.workflow, name="slow")
    api = asking(fresh)
    answer = api.call(
        "POST",
        "/v1/execute-workflow-async",
        json={
            "workflow_deployment_name": "slow",
            "inputs": [{"name": "text", "type": "STRING", "value": "a"}],
        },
    )
    id_ = answer.json()["execution_id"]
    assert gate.entered.acquire(timeout=20)
    found = read(api, "slow", id_)
    assert found["end"] is found["error"] is found["state"] is None
    assert found["inputs"][0]["value"] == "a"
    assert [span["events"][-1]["name"] for span in found["spans"]] == [
        "workflow.execution.initiated",
        "node.execution.initiated",
    ]
    assert detail(api, id_)["spans"] == found["spans"]
    gate.open.set()
    until = time.monotonic() + 20
    while read(api, "slow", id_)["end"] is None and time.monotonic() < until:
        time.sleep(0.02)
    assert [each["value"] for each in read(api, "slow", id_)["outputs"]] == ["a"]
