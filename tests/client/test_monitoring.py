"""Status, actuals and events of executions."""

import json
from urllib.parse import parse_qsl, urlsplit

import pytest

from vellum_nb import errors
from vellum_nb.models import ActualRequest

EXECUTION = {"span_id": "e-1", "start": "2026-01-15T09:30:00Z", "inputs": [], "outputs": []}
ENDED = EXECUTION | {"end": "2026-01-15T09:30:02.5Z"}


def sent_query(server):
    return dict(parse_qsl(urlsplit(server.seen[-1].target).query))


@pytest.mark.parametrize(
    ("execution", "status", "seconds"),
    [
        (EXECUTION, "INITIATED", None),
        (ENDED, "FULFILLED", 2.5),
        (ENDED | {"error": {"code": "X", "message": "no"}}, "REJECTED", 2.5),
    ],
)
def test_status_follows_from_end_or_error(server, client, execution, status, seconds):
    server.will(server.reply(200, execution))
    for found in (
        client.workflow_deployment_event_execution("w", "e-1"),
        client.retrieve_workflow_execution_detail("e-1"),
    ):
        assert (found.execution_id, found.status, found.duration_s) == ("e-1", status, seconds)


def test_filters_are_a_dict_or_text(server, client):
    filters = {
        "type": "LOGICAL_CONDITION",
        "lhs_variable": {"type": "STRING", "value": "external_id"},
        "operator": "==",
        "rhs_variable": {"type": "STRING", "value": "caf\u00e9 & co"},
    }
    server.will(server.reply(200, {"count": 0, "results": []}))
    client.list_workflow_deployment_event_executions("w", filters=filters)
    assert json.loads(sent_query(server)["filters"]) == filters
    client.list_workflow_deployment_event_executions("w", filters="{}", limit=3)
    assert sent_query(server) == {"filters": "{}", "limit": "3"}


def test_desired_outputs_are_sent_in_natural_values(server, client):
    server.will(server.reply(200, b""))
    chat = ActualRequest(
        output_type="CHAT_HISTORY", output_key="chat", desired_output_value=[("user", "hello")]
    )
    nothing = {"output_type": "JSON", "output_key": "j", "desired_output_value": {"a": None}}
    client.submit_workflow_execution_actuals([chat, nothing, {"quality": 0}], external_id="mine")
    assert server.seen[0].json == {
        "actuals": [
            {
                "output_type": "CHAT_HISTORY",
                "output_key": "chat",
                "desired_output_value": [{"role": "USER", "text": "hello"}],
            },
            nothing,
            {"output_type": "STRING", "quality": 0},
        ],
        "external_id": "mine",
    }


@pytest.mark.parametrize(
    ("actual", "said"),
    [
        ({"quality": 1.5}, "1.5 in quality"),
        ({"output_type": "NUMBER"}, "'NUMBER' in output_type"),
        ({"output_key": ""}, "'' in output_key"),
        ({"desired_output_value": float("nan")}, "NaN"),
    ],
)
def test_invalid_actual_is_not_sent(server, client, actual, said):
    with pytest.raises(errors.InputError, match=said):
        client.submit_workflow_execution_actuals([actual], execution_id="e-1")
    assert server.seen == []


def envelope(name, span="e-1", **body):
    fields = {"name": name, "span_id": span, "trace_id": "t", "id": "1", "body": body}
    return json.dumps(fields | {"timestamp": "2026-01-15T09:30:00Z"}).encode() + b"\n"


HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n\r\n"
BEGUN = envelope("workflow.execution.initiated", inputs={})
INNER = [
    envelope("workflow.execution.initiated", "inner"),
    envelope("workflow.execution.fulfilled", "inner", outputs={"x": 1}),
]


def test_inner_workflow_does_not_end_the_stream(server, client):
    error = {"code": "NODE_EXECUTION", "message": "boom"}
    last = envelope("workflow.execution.rejected", error=error)
    grown = envelope("workflow.execution.streaming", output={"name": "answer", "delta": "He"})
    server.will(server.raw(HEAD + b"".join([BEGUN, *INNER, grown, last])))
    events = list(client.execute_stream("w", inputs={"q": "hi"}))
    states = ["INITIATED", "INITIATED", "FULFILLED", "STREAMING", "REJECTED"]
    assert [event.state for event in events] == states
    assert events[2].outputs == {"x": 1}
    assert (events[3].output_name, events[3].delta) == ("answer", "He")
    assert events[4].error.message == "boom"


def test_stream_without_the_end_of_the_outer_workflow_is_an_error(server, client):
    server.will(server.raw(HEAD + b"".join([BEGUN, *INNER])))
    with pytest.raises(errors.APIConnectionError, match="ended after 3 events"):
        list(client.execute_stream("w"))


def test_paused_workflow_ends_the_stream(server, client):
    server.will(server.raw(HEAD + BEGUN + envelope("workflow.execution.paused")))
    assert [event.ends for event in client.execute_stream("w")] == [False, True]


def test_unknown_events_are_kept(server, client):
    strange = [
        envelope("workflow.execution.pondering", thought=3),
        envelope("node.execution.streaming", "n", output=7, node_definition="x", error=5),
    ]
    done = envelope("workflow.execution.fulfilled", outputs=None)
    server.will(server.raw(HEAD + b"".join([BEGUN, *strange, done])))
    events = list(client.execute_stream("w"))
    assert events[1].body == {"thought": 3}
    assert (events[2].delta, events[2].error, events[2].definition.name) == (None, None, "")
    assert events[3].outputs == {}


def test_natural_inputs_of_a_deployment_are_sent_without_types(server, client):
    server.will(server.raw(HEAD + BEGUN + envelope("workflow.execution.fulfilled")))
    inputs = {"chat": [("user", "hello")], "n": 3, "none": None}
    list(client.execute_stream("a b", inputs=inputs, trigger="chat", external_id="mine"))
    assert server.seen[0].target == "/v1/workflow-deployments/a%20b/execute-stream"
    assert server.seen[0].json == {
        "inputs": {"chat": [{"role": "USER", "text": "hello"}], "n": 3, "none": None},
        "trigger": "chat",
        "external_id": "mine",
    }
