"""Execution events, detail, state and actuals, by the official client."""

import json
from datetime import UTC, datetime, timedelta

import pytest
from conformance_kit import (
    UUID,
    ApiError,
    NotFoundError,
    chat,
    close,
    deploy_all,
    json_input,
    missing,
    official,
    run,
    text,
    v,
)
from execution_kit import condition as where
from execution_kit import group

from vellum_nb.local import LocalServer


@pytest.fixture(scope="module")
def traffic():
    """Return a server with all workflows of the suite."""
    with LocalServer() as server:
        deploy_all(server)
        yield server


@pytest.fixture
def client(traffic, connect):
    return connect(traffic)


@pytest.fixture(scope="module")
def ids(traffic):
    """Execute `count` three times, `refuse` and `converse` twice; return the execution ids."""
    client = official(traffic)
    found = {}
    for n in range(3):
        known = {"external_id": f"count-{n}", "metadata": {"customer": f"c{n}"}}
        found[f"count-{n}"] = run(client, "count", text("a b"), **known).execution_id
    for n in range(2):
        found[f"refuse-{n}"] = run(client, "refuse", text("x")).execution_id
    first = run(client, "converse", text("a", "message")).execution_id
    second = run(client, "converse", text("b", "message"), previous_execution_id=first)
    close(client)
    return found | {"turn-1": first, "turn-2": second.execution_id}


@pytest.fixture
def api(client, ids):
    return client.workflow_deployments


FULFILLED = where("state", "==", "FULFILLED")


def spans(api, name, *, filters=None, **options):
    given = None if filters is None else json.dumps(filters)
    page = api.list_workflow_deployment_event_executions(name, filters=given, **options)
    return [execution.span_id for execution in page.results]


def test_executions_are_listed_newest_first_with_what_ran(api, ids):
    page = api.list_workflow_deployment_event_executions("count")
    assert page.count == 3
    assert [e.span_id for e in page.results] == [ids[f"count-{n}"] for n in (2, 1, 0)]
    newest = page.results[0]
    assert newest.start <= newest.end
    assert [(i.name, i.type, i.value) for i in newest.inputs] == [("text", "STRING", "a b")]
    assert {o.name: o.value for o in newest.outputs} == {"words": 2.0, "tier": "free"}
    assert (newest.error, newest.latest_actual, newest.metric_results) == (None, None, [])


def test_the_parent_context_shows_which_release_ran(api):
    execution = api.list_workflow_deployment_event_executions("count").results[0]
    release = api.retrieve_workflow_deployment_release("count", "LATEST")
    parent = execution.parent_context
    assert (parent.type, parent.deployment_name) == ("WORKFLOW_RELEASE_TAG", "count")
    assert parent.release_tag_name == "LATEST"
    assert parent.deployment_history_item_id == release.id
    assert parent.workflow_version_id == release.workflow_version.id
    assert (parent.external_id, parent.metadata) == ("count-2", {"customer": "c2"})


def test_a_rejected_execution_has_its_error(api):
    execution = api.list_workflow_deployment_event_executions("refuse").results[0]
    assert execution.error.code == "USER_DEFINED_ERROR"
    assert execution.outputs == []


@pytest.mark.parametrize(
    ("options", "expected"),
    [
        ({"limit": 2}, [2, 1]),
        ({"limit": 2, "offset": 2}, [0]),
        ({"offset": 5}, []),
        ({"ordering": "timestamp"}, [0, 1, 2]),
        ({"ordering": "-timestamp"}, [2, 1, 0]),
        ({"ordering": "state,timestamp"}, [0, 1, 2]),
    ],
)
def test_executions_are_paged_in_their_order(api, ids, options, expected):
    assert spans(api, "count", **options) == [ids[f"count-{n}"] for n in expected]
    assert api.list_workflow_deployment_event_executions("count", **options).count == 3


@pytest.mark.parametrize(
    ("filters", "expected"),
    [
        (group(where("external_id", "==", "count-1")), [1]),
        (group(where("external_id", "!=", "count-1")), [2, 0]),
        (group(FULFILLED), [2, 1, 0]),
        (group(where("state", "==", "REJECTED")), []),
        (group(FULFILLED, negated=True), []),
        (group(*(where("external_id", "==", f"count-{n}") for n in "02"), combinator="OR"), [2, 0]),
        (group(FULFILLED, group(where("external_id", "==", "count-1"), negated=True)), [2, 0]),
        (group(where("metadata", "contains", "c2")), [2]),
        (group(), [2, 1, 0]),
    ],
)
def test_executions_are_filtered(api, ids, filters, expected):
    assert spans(api, "count", filters=filters) == [ids[f"count-{n}"] for n in expected]


@pytest.mark.parametrize("operator", [">=", ">", "<=", "<"])
def test_executions_are_filtered_by_time(api, operator):
    hour_ago = (datetime.now(UTC) - timedelta(hours=1)).isoformat()
    expected = 3 if operator.startswith(">") else 0
    filters = group(where("timestamp", operator, hour_ago))
    assert len(spans(api, "count", filters=filters)) == expected


def test_executions_are_filtered_by_their_id(api, ids):
    filters = group(where("execution_id", "==", ids["count-1"]))
    assert spans(api, "count", filters=filters) == [ids["count-1"]]


@pytest.mark.parametrize(
    "filters",
    [
        "no json",
        "[]",
        '{"type": "RIDDLE"}',
        json.dumps(group(where("riddle", "==", "x"))),
        json.dumps(group(where("state", "~~", "x"))),
        json.dumps(group(where("timestamp", ">=", "yesterday"))),
        json.dumps(group(combinator="XOR")),
        json.dumps({**group(), "conditions": 5}),
        "[" * 2000,
    ],
)
def test_invalid_filter_is_refused(api, filters):
    call = api.list_workflow_deployment_event_executions
    assert missing(call, "count", filters=filters) == 400


def test_invalid_ordering_is_refused(api):
    call = api.list_workflow_deployment_event_executions
    assert missing(call, "count", ordering="riddle") == 400


def test_execution_is_retrieved_with_its_spans(api, ids):
    execution = api.workflow_deployment_event_execution(ids["count-0"], "count")
    workflow, node = execution.spans
    assert (workflow.name, workflow.span_id) == ("workflow.execution", ids["count-0"])
    assert (node.name, node.parent_span_id) == ("node.execution", ids["count-0"])
    assert node.attributes.label
    assert workflow.start_ts <= node.start_ts <= node.end_ts <= workflow.end_ts
    names = [event.name for event in node.events]
    assert (names[0], names[-1]) == ("node.execution.initiated", "node.execution.fulfilled")


def test_an_execution_by_another_deployments_name_is_not_found(client, ids):
    with pytest.raises(NotFoundError):
        client.workflow_deployments.workflow_deployment_event_execution(ids["count-0"], "echo")


@pytest.mark.parametrize("execution_id", [UUID, "no-uuid", "ä b"])
def test_unknown_execution_is_not_found(client, execution_id):
    with pytest.raises(NotFoundError):
        client.workflow_deployments.workflow_deployment_event_execution(execution_id, "count")
    with pytest.raises(NotFoundError):
        client.workflow_executions.retrieve_workflow_execution_detail(execution_id)


def test_the_detail_needs_no_deployment(client, ids):
    detail = client.workflow_executions.retrieve_workflow_execution_detail(ids["refuse-0"])
    assert detail.span_id == ids["refuse-0"]
    assert detail.error.code == "USER_DEFINED_ERROR"
    assert detail.parent_context.deployment_name == "refuse"
    assert [span.name for span in detail.spans] == ["workflow.execution", "node.execution"]


def test_spans_of_the_detail_are_paged(client, ids):
    retrieve = client.workflow_executions.retrieve_workflow_execution_detail
    (first,) = retrieve(ids["count-0"], span_limit=1).spans
    (second,) = retrieve(ids["count-0"], span_limit=1, prev_span_id=first.span_id).spans
    assert first.span_id != second.span_id
    assert retrieve(ids["count-0"], prev_span_id=second.span_id).spans == []
    assert missing(retrieve, ids["count-0"], prev_span_id=UUID) == 400
    assert missing(retrieve, ids["count-0"], span_limit=0) == 400


def test_state_is_that_of_the_workflow(client, ids):
    state = client.workflows.retrieve_state(ids["turn-2"])
    assert (state.span_id, state.state) == (ids["turn-2"], {"turns": 2})
    assert state.previous_span_id == ids["turn-1"]
    assert client.workflows.retrieve_state(ids["turn-1"]).state == {"turns": 1}


@pytest.mark.parametrize("span_id", [UUID, "no-uuid"])
def test_missing_state_has_the_message_of_the_contract(client, span_id):
    with pytest.raises(ApiError) as caught:
        client.workflows.retrieve_state(span_id)
    assert caught.value.status_code == 404
    assert caught.value.body == {"detail": "No state found for the given span_id"}


def test_inputs_of_every_kind_are_listed(client):
    message = v.ChatMessageRequest(role="USER", text="hi")
    run(client, "echo-chat", chat(message))
    run(client, "echo-json", json_input([1, None]))
    listed = client.workflow_deployments.list_workflow_deployment_event_executions
    assert listed("echo-chat").results[0].inputs[0].value[0].text == "hi"
    assert listed("echo-json").results[0].inputs[0].value == [1, None]


@pytest.mark.parametrize("name", ["nope", UUID])
def test_executions_of_an_unknown_deployment_are_a_404(api, name):
    assert missing(api.list_workflow_deployment_event_executions, name) == 404
