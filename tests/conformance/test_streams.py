"""POST /v1/execute-workflow-stream and …/execute-stream, by the official client."""

import uuid

import pytest
from conformance_kit import (
    UUID,
    ApiError,
    BadRequestError,
    NotFoundError,
    json_input,
    run,
    text,
    until,
    v,
)


def stream(client, name, *inputs, **options):
    named = {"inputs": list(inputs), "workflow_deployment_name": name, **options}
    return list(client.execute_workflow_stream(**named))


def told(events, name="output"):
    """Return state, delta and value of the events of one output."""
    outputs = [event.data.output for event in events if event.type == "WORKFLOW"]
    return [(o.state, o.delta, o.value) for o in outputs if o is not None and o.name == name]


def test_events_of_a_text_follow_the_contract(client):
    events = stream(client, "talk", text("hi"))
    assert [event.data.state for event in events] == [
        "INITIATED", *["STREAMING"] * (len(events) - 2), "FULFILLED"
    ]  # fmt: skip
    first, *deltas, last = told(events)
    assert first == ("INITIATED", None, None)
    assert {(state, value) for state, _, value in deltas} == {("STREAMING", None)}
    assert "".join(delta for _, delta, _ in deltas) == "hi"
    assert last == ("FULFILLED", None, "hi")
    assert {o.name: o.value for o in events[-1].data.outputs} == {"output": "hi", "letters": 2.0}


def test_output_that_is_not_text_is_reported_once(client):
    assert told(stream(client, "talk", text("hi")), "letters") == [("FULFILLED", None, 2.0)]


def test_the_first_event_shows_the_inputs(client):
    first, *_ = stream(client, "echo", text("x"), external_id="stream-1")
    assert [(i.name, i.type, i.value) for i in first.data.inputs] == [("text", "STRING", "x")]
    assert first.external_id == "stream-1"


def test_all_events_are_of_one_execution(client):
    events = stream(client, "talk", text("hi"), event_types=["NODE", "WORKFLOW"])
    (execution_id,) = {event.execution_id for event in events}
    uuid.UUID(execution_id)
    assert client.workflows.workflow_execution_status(execution_id).status == "FULFILLED"


def test_two_outputs_are_streamed_in_parallel(client):
    events = stream(client, "duet", text("ab"))
    for name, expected in (("low", "ab"), ("high", "AB")):
        deltas = [delta for state, delta, _ in told(events, name) if state == "STREAMING"]
        assert "".join(deltas) == expected
        assert told(events, name)[-1] == ("FULFILLED", None, expected)


@pytest.mark.parametrize("value", ["a\u2028b\u2029c\u0085d", "🙂 häß", "a\r\nb", '{"a": 1}\n', ""])
def test_special_characters_do_not_break_events(client, value):
    events = stream(client, "talk", text(value))
    assert "".join(d for state, d, _ in told(events) if state == "STREAMING") == value
    assert events[-1].data.outputs[0].value == value if value else events[-1].data.outputs


def test_every_type_of_output_is_in_the_last_event(client):
    events = stream(client, "every-type")
    assert [o.type for o in events[-1].data.outputs] == [
        "STRING", "NUMBER", "JSON", "CHAT_HISTORY", "SEARCH_RESULTS",
        "IMAGE", "AUDIO", "VIDEO", "DOCUMENT",
    ]  # fmt: skip
    streamed = {event.data.output.type for event in events if event.data.output is not None}
    assert streamed == {"STRING", "NUMBER", "JSON", "CHAT_HISTORY", "SEARCH_RESULTS"}


def test_null_outputs_are_reported(client):
    events = stream(client, "every-type", json_input(True, "empty"))  # noqa: FBT003 - a value
    assert told(events, "text")[-1] == ("FULFILLED", None, None)
    assert {o.value for o in events[-1].data.outputs} == {None}


def test_a_rejected_run_ends_its_stream(client):
    events = stream(client, "stumble", text("well"))
    assert "well" in [delta for _, delta, _ in told(events)]
    last = events[-1].data
    assert (last.state, last.error.code) == ("REJECTED", "USER_DEFINED_ERROR")
    assert "lost for words" in last.error.message


def test_events_arrive_during_the_run(client, gate):
    events = client.execute_workflow_stream(inputs=[text("now")], workflow_deployment_name="gate")
    seen = []
    for event in events:
        seen.append(event)
        if event.data.output is not None and event.data.output.delta == "now":
            break
    status = client.workflows.workflow_execution_status(seen[0].execution_id).status
    assert status in {"INITIATED", "STREAMING"}
    gate.open.set()
    assert [event.data.state for event in events][-1] == "FULFILLED"


def test_closed_stream_cancels_the_run(client, gate):
    events = client.execute_workflow_stream(inputs=[text("now")], workflow_deployment_name="gate")
    execution_id = next(events).execution_id
    assert gate.entered.acquire(timeout=20)
    events.close()
    answer = until(client, execution_id, "REJECTED")
    assert answer.error.code == "WORKFLOW_CANCELLED"


def test_node_events_are_sent_on_request(client):
    events = stream(client, "echo", text("x"), event_types=["NODE"])
    assert {event.type for event in events} == {"NODE"}
    assert (events[0].data.state, events[-1].data.state) == ("INITIATED", "FULFILLED")
    assert {event.data.node_id for event in events} == {events[0].data.node_id}
    assert events[0].data.ts <= events[-1].data.ts


def test_node_events_are_inside_workflow_events(client):
    events = stream(client, "echo", text("x"), event_types=["NODE", "WORKFLOW"])
    assert (events[0].type, events[-1].type) == ("WORKFLOW", "WORKFLOW")
    assert {event.type for event in events} == {"NODE", "WORKFLOW"}


def test_rejected_node_has_its_error(client):
    events = stream(client, "refuse", text("x"), event_types=["NODE", "WORKFLOW"])
    (node,) = [e for e in events if e.type == "NODE" and e.data.state == "REJECTED"]
    assert node.data.error.code == "USER_DEFINED_ERROR"
    assert events[-1].data.state == "REJECTED"


def test_expand_meta_is_accepted(client):
    meta = v.WorkflowExpandMetaRequest(usage=True, cost=True, model_name=True)
    events = stream(client, "echo", text("x"), expand_meta=meta, event_types=["NODE", "WORKFLOW"])
    assert events[-1].data.state == "FULFILLED"


def test_release_tag_is_streamed(client):
    (output,) = stream(client, "hällo wörld", text("x"), release_tag="v1")[-1].data.outputs
    assert output.value == "v1: x"


def test_conversation_is_streamed(client):
    first = run(client, "converse", text("a", "message")).execution_id
    last = stream(client, "converse", text("b", "message"), previous_execution_id=first)[-1]
    assert last.data.outputs[0].value == "2: b"


@pytest.mark.parametrize(
    ("name", "options", "error"),
    [
        ("nope", {}, NotFoundError),
        ("echo", {"release_tag": "v9"}, NotFoundError),
        ("echo", {"event_types": ["RIDDLE"]}, BadRequestError),
        ("count", {}, BadRequestError),
    ],
)
def test_invalid_request_is_refused_before_the_first_event(client, name, options, error):
    given = [] if name == "count" else [text("x")]
    with pytest.raises(error) as caught:
        stream(client, name, *given, **options)
    assert set(caught.value.body) == {"detail"}


def test_invalid_key_is_refused_before_the_first_event(server, connect):
    with pytest.raises(ApiError) as caught:
        stream(connect(server, api_key="wrong"), "echo", text("x"))
    assert caught.value.status_code == 403


def envelopes(client, name, **options):
    return list(client.workflow_deployments.execute_stream(name, **options))


def test_envelopes_of_a_run_follow_the_contract(client):
    events = envelopes(client, "talk", inputs={"text": "hi"})
    names = [event.name for event in events]
    assert names[0] == "workflow.execution.initiated"
    assert names[-1] == "workflow.execution.fulfilled"
    assert {"node.execution.initiated", "node.execution.fulfilled"} <= set(names)
    assert events[0].body.inputs == {"text": "hi"}
    assert events[-1].body.outputs == {"output": "hi", "letters": 2}
    assert len({event.trace_id for event in events}) == 1
    assert len({event.id for event in events}) == len(events)
    (execution_id,) = {e.span_id for e in events if e.name.startswith("workflow.")}
    assert client.workflows.workflow_execution_status(execution_id).status == "FULFILLED"


def test_envelopes_have_their_release(client):
    events = envelopes(client, "echo", inputs={"text": "x"}, release_tag="LATEST")
    parent = events[0].parent
    assert (parent.type, parent.deployment_name) == ("WORKFLOW_RELEASE_TAG", "echo")
    (node,) = [e for e in events if e.name == "node.execution.initiated"]
    assert (node.parent.type, node.parent.span_id) == ("WORKFLOW", events[0].span_id)


def test_output_of_envelopes_is_streamed(client):
    events = envelopes(client, "talk", inputs={"text": "hi"})
    bodies = [
        e.body.output.model_dump(exclude_unset=True)
        for e in events
        if e.name == "workflow.execution.streaming" and e.body.output.name == "output"
    ]
    assert bodies[0] == {"name": "output"}
    assert "".join(body.get("delta", "") for body in bodies) == "hi"
    assert bodies[-1] == {"name": "output", "value": "hi"}


@pytest.mark.parametrize("value", [None, "ä", 0, False, [1, {"b": None}], {"x": "\u2028"}])
def test_values_are_sent_without_types(client, value):
    events = envelopes(client, "echo-json", inputs={"value": value})
    assert events[-1].body.outputs == {"value": {"held": value}}


def test_request_without_options_has_no_body(client):
    assert envelopes(client, "echo-json")[-1].body.outputs == {"value": {"held": "default"}}


def test_rejected_run_has_the_codes_of_the_sdk(client):
    last = envelopes(client, "fail", inputs={"text": "x"})[-1]
    assert (last.name, last.body.error.code) == ("workflow.execution.rejected", "NODE_EXECUTION")


def test_deployment_of_envelopes_is_named_by_id_or_name(client):
    id_ = client.workflow_deployments.retrieve("echo").id
    assert envelopes(client, id_, inputs={"text": "x"})[-1].body.outputs == {"output": "x"}
    events = envelopes(client, "hällo wörld", inputs={"text": "x"}, release_tag="v2")
    assert events[-1].body.outputs == {"output": "v2: x"}


@pytest.mark.parametrize(
    ("name", "options", "error"),
    [
        ("nope", {}, NotFoundError),
        (UUID, {}, NotFoundError),
        ("echo", {"inputs": {"text": "x"}, "release_tag": "v9"}, NotFoundError),
        ("echo", {"inputs": {}}, BadRequestError),
        ("echo", {"inputs": {"text": 5}}, BadRequestError),
        ("echo", {"inputs": {"text": "x", "other": 1}}, BadRequestError),
    ],
)
def test_invalid_requests_of_envelopes_are_refused(client, name, options, error):
    with pytest.raises(error) as caught:
        envelopes(client, name, **options)
    assert set(caught.value.body) == {"detail"}
