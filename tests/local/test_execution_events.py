"""Executions as they are listed, retrieved and continued through the API."""

from __future__ import annotations

import time
import uuid
from datetime import datetime
from typing import Any

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


def test_a_rejected_run_tells_its_error(api):
    id_ = run(api, "boom", "no")
    found = read(api, "boom", id_)
    assert found["error"]["code"] == "NODE_EXECUTION"
    assert "KeyError" in found["error"]["message"]
    assert found["outputs"] == []
    assert found["end"] is not None
    assert [span["events"][-1]["name"] for span in found["spans"]] == [
        "workflow.execution.rejected",
        "node.execution.rejected",
    ]


def test_the_list_is_paged_counted_ordered_and_filtered(fresh, asking):
    fresh.deploy(spell)
    fresh.deploy(boom, name="spell")
    api = asking(fresh)
    ids = [run(api, "spell", str(n), external_id=f"job-{n}") for n in range(5)]
    assert events(api, "spell", limit=2)["count"] == 5
    pages = [events(api, "spell", limit=2, offset=offset)["results"] for offset in (0, 2, 4, 6)]
    assert [[item["span_id"] for item in page] for page in pages] == [
        [ids[4], ids[3]],
        [ids[2], ids[1]],
        [ids[0]],
        [],
    ]
    oldest = events(api, "spell", ordering="timestamp")["results"]
    assert [item["span_id"] for item in oldest] == ids
    found = events(api, "spell", filters=by("external_id", "==", "job-2"))
    assert (found["count"], found["results"][0]["span_id"]) == (1, ids[2])
    assert events(api, "spell", filters=by("state", "==", "FULFILLED"))["count"] == 0
    assert events(api, "spell", filters=by("state", "==", "REJECTED"))["count"] == 5


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ("filters=%7B", "filters: not valid JSON"),
        ("filters=%5B%5D", "filters: Input should be a valid"),
        ("ordering=cost", "ordering: 'cost' is not known; use timestamp, -timestamp"),
        ("limit=0", "limit: Input should be greater than or equal to 1"),
        ("offset=x", "offset: Input should be a valid integer"),
    ],
)
def test_a_query_that_makes_no_sense_is_refused(api, query, reason):
    answer = api.get(f"/v1/workflow-deployments/turn/execution-events?{query}")
    assert answer.status_code == 400
    assert answer.json()["detail"].startswith(reason)


def test_an_execution_of_another_deployment_or_of_none_is_not_found(api):
    id_ = run(api, "spell", "a")
    path = "/v1/workflow-deployments/turn/execution-events"
    other = api.get(f"{path}/{id_}")
    assert other.status_code == 404
    assert other.json()["detail"] == f"The execution {id_} is one of 'spell', not of 'turn'"
    for wrong in (f"{path}/{NO_ID}", f"{path}/x", f"/v1/workflow-executions/{NO_ID}/detail"):
        assert api.get(wrong).status_code == 404
    assert api.get("/v1/workflow-deployments/nope/execution-events").status_code == 404


def test_spans_hold_the_events_of_the_workflow_and_of_its_node(api):
    id_ = run(api, "spell", "abc")
    found = read(api, "spell", id_)
    workflow, node = found["spans"]
    assert (workflow["name"], node["name"]) == ("workflow.execution", "node.execution")
    assert workflow["span_id"] == id_
    assert workflow["parent_span_id"] is None
    assert node["parent_span_id"] == id_
    assert set(node["attributes"]) == {"label", "filepath", "node_id", "kind"}
    assert set(workflow["attributes"]) == {"label", "workflow_id"}
    for span in (workflow, node):
        names = [event["name"].rpartition(".")[2] for event in span["events"]]
        assert names[0] == "initiated"
        assert names[-1] == "fulfilled"
        assert span["start_ts"] == span["events"][0]["timestamp"]
        assert span["end_ts"] == span["events"][-1]["timestamp"]
        assert {event["span_id"] for event in span["events"]} == {span["span_id"]}
    deltas = [
        event["body"]["output"].get("delta", "")
        for event in workflow["events"]
        if event["name"] == "workflow.execution.streaming"
    ]
    assert "".join(deltas) == "abc"


def test_detail_gives_spans_page_by_page(api):
    id_ = run(api, "spell", "abc")
    whole = detail(api, id_)
    assert set(whole) == {
        *("span_id", "parent_context", "start", "end", "inputs", "outputs", "error"),
        *("usage_results", "spans", "state"),
    }
    assert whole["spans"] == read(api, "spell", id_)["spans"]
    paged: list[Any] = []
    cursor: dict[str, str] = {}
    while page := detail(api, id_, span_limit=1, **cursor)["spans"]:
        assert len(page) == 1
        paged += page
        cursor = {"prev_span_id": page[-1]["span_id"]}
    assert paged == whole["spans"]


def test_a_cursor_that_is_no_span_of_the_execution_is_refused(api):
    id_ = run(api, "spell", "abc")
    answer = api.get(f"/v1/workflow-executions/{id_}/detail?prev_span_id={NO_ID}")
    assert answer.status_code == 400
    assert answer.json()["detail"] == f"prev_span_id: the execution has no span {NO_ID!r}"


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


def test_a_run_without_a_state_has_none(api):
    for id_ in (run(api, "boom", "x"), NO_ID, "x"):
        answer = api.get(f"/v1/workflows/{id_}/state")
        assert answer.status_code == 404
        assert answer.json() == {"detail": "No state found for the given span_id"}


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


def test_a_release_tag_is_moved_through_the_api(fresh, asking):
    first, second = fresh.deploy(spell, release_tags=["production"]), fresh.deploy(spell)
    api = asking(fresh)
    path = "/v1/workflow-deployments/spell/release-tags/production"
    still = api.call("PATCH", path)
    assert (still.status_code, still.json()["release"]["id"]) == (200, first.id)
    assert api.call("PATCH", path, json={"history_item_id": None}).json() == still.json()
    moved = api.call("PATCH", path, json={"history_item_id": second.id})
    assert moved.status_code == 200
    assert moved.json()["release"]["id"] == moved.json()["history_item"]["id"] == second.id
    assert api.get(path).json() == moved.json()
    id_ = run(api, "spell", "a", release_tag="production")
    (item,) = events(api, "spell", filters=by("execution_id", "==", id_))["results"]
    assert item["parent_context"]["deployment_history_item_id"] == second.id


def test_a_release_tag_that_cannot_be_moved_stays(fresh, asking):
    release = fresh.deploy(spell, release_tags=["production"])
    api = asking(fresh)
    path = "/v1/workflow-deployments/spell/release-tags"
    for name, item, status, reason in (
        ("LATEST", release.id, 400, "LATEST always is the newest release; it cannot be moved"),
        ("nope", release.id, 404, "spell has no release tag 'nope'; it has: LATEST, production"),
        ("production", NO_ID, 404, f"spell has no release {NO_ID!r}"),
        ("production", "LATEST", 400, "history_item_id: Input should be a valid UUID"),
    ):
        answer = api.call("PATCH", f"{path}/{name}", json={"history_item_id": item})
        assert answer.status_code == status
        assert answer.json()["detail"].startswith(reason)
    assert api.get(f"{path}/production").json()["release"]["id"] == release.id
