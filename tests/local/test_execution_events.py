"""Executions as they are listed, retrieved and continued through the API."""

from __future__ import annotations

import time
import uuid
from datetime import datetime

import pytest
from execution_kit import NO_ID, boom, by, detail, events, read, run, spell, turn

from vellum_nb.local import LocalServer


@pytest.fixture(scope="module")
def served():
    with LocalServer() as server:
        server.deploy(turn, release_tags=["v1"])
        server.deploy(turn, release_tags=["v2"])
        server.deploy(spell)
        server.deploy(boom)
        yield server


@pytest.fixture
def api(served, asking):
    return asking(served)


def test_a_finished_run_is_in_the_list_with_the_release_that_ran(api):
    external_id = str(uuid.uuid4())
    id_ = run(api, "turn", "hi", release_tag="v1", external_id=external_id, metadata={"user": "ü"})
    deployment = api.get("/v1/workflow-deployments/turn").json()
    release = api.get("/v1/workflow-deployments/turn/releases/v1").json()
    (item,) = events(api, "turn", filters=by("execution_id", "==", id_))["results"]
    context = item["parent_context"]
    assert {name: context[name] for name in context if name not in {"span_id", "parent"}} == {
        "type": "WORKFLOW_RELEASE_TAG",
        "deployment_id": deployment["id"],
        "deployment_name": "turn",
        "deployment_history_item_id": release["id"],
        "release_tag_id": context["release_tag_id"],
        "release_tag_name": "v1",
        "workflow_version_id": release["workflow_version"]["id"],
        "external_id": external_id,
        "metadata": {"user": "ü"},
        "links": None,
    }
    assert context["parent"]["type"] == "API_REQUEST"
    assert item["span_id"] == id_
    assert datetime.fromisoformat(item["start"]) <= datetime.fromisoformat(item["end"])
    (given,) = item["inputs"]
    variable = release["workflow_version"]["input_variables"][0]
    assert given == {"id": variable["id"], "name": "text", "type": "STRING", "value": "hi"}
    assert {each["name"]: each["value"] for each in item["outputs"]} == {"text": "HI", "turns": 1}
    assert item["error"] is item["usage_results"] is item["latest_actual"] is None
    assert item["metric_results"] == []


def test_an_execution_of_another_deployment_or_of_none_is_not_found(api):
    id_ = run(api, "spell", "a")
    path = "/v1/workflow-deployments/turn/execution-events"
    other = api.get(f"{path}/{id_}")
    assert other.status_code == 404
    assert other.json()["detail"] == f"The execution {id_} is one of 'spell', not of 'turn'"
    for wrong in (f"{path}/{NO_ID}", f"{path}/x", f"/v1/workflow-executions/{NO_ID}/detail"):
        assert api.get(wrong).status_code == 404
    assert api.get("/v1/workflow-deployments/nope/execution-events").status_code == 404


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
