"""POST /v1/execute-workflow-async and the status, by the official client."""

import pytest
from conformance_kit import (
    UUID,
    ApiError,
    BadRequestError,
    Gate,
    NotFoundError,
    chat,
    run,
    text,
    until,
    v,
)

from vellum_nb.local import LocalServer


def begin(client, name, *inputs, **options):
    answer = client.execute_workflow_async(
        inputs=list(inputs), workflow_deployment_name=name, **options
    )
    return answer.execution_id


def test_status_follows_the_run(client, gate):
    execution_id = begin(client, "gate", text("x"))
    assert gate.entered.acquire(timeout=20)
    answer = client.workflows.workflow_execution_status(execution_id)
    assert answer.status in {"INITIATED", "STREAMING"}
    assert answer.execution_id == execution_id
    assert (answer.outputs, answer.error) == (None, None)
    gate.open.set()
    assert until(client, execution_id, "FULFILLED").outputs == {"output": "xx"}


def test_outputs_are_plain_values_by_name(client):
    answer = until(client, begin(client, "every-type"), "FULFILLED")
    assert (answer.outputs["number"], answer.outputs["text"]) == (1.5, "häß → 🙂\u2028")
    assert answer.outputs["data"] == {"a": [1, None, True, "\u2029"]}
    assert answer.outputs["image"]["metadata"] == {"n": 1}
    assert answer.error is None


@pytest.mark.parametrize(
    ("name", "code"), [("refuse", "USER_DEFINED_ERROR"), ("fail", "NODE_EXECUTION")]
)
def test_rejected_run_has_its_error(client, name, code):
    answer = until(client, begin(client, name, text("x")), "REJECTED")
    assert answer.error.code == code
    assert answer.error.message
    assert answer.outputs is None


def test_status_of_a_synchronous_run(client):
    execution_id = run(client, "echo", text("x")).execution_id
    answer = client.workflows.workflow_execution_status(execution_id)
    assert (answer.status, answer.outputs) == ("FULFILLED", {"output": "x"})


def test_queued_run_is_pending_until_the_queue_is_full(connect):
    gate = Gate()
    with LocalServer(concurrency=1, queue=1) as server:
        server.deploy(gate.workflow, name="gate")
        client = connect(server)
        running = begin(client, "gate", text("a"))
        assert gate.entered.acquire(timeout=20)
        waiting = begin(client, "gate", text("b"))
        assert client.workflows.workflow_execution_status(waiting).status == "PENDING"
        with pytest.raises(ApiError) as caught:
            begin(client, "gate", text("c"))
        assert caught.value.status_code == 429
        assert int(caught.value.headers["retry-after"]) >= 1
        gate.open.set()
        for execution_id in (running, waiting):
            until(client, execution_id, "FULFILLED")


@pytest.mark.parametrize("execution_id", [UUID, "no-uuid", "a b", "ä"])
def test_status_of_an_unknown_run_is_not_found(client, execution_id):
    with pytest.raises(NotFoundError) as caught:
        client.workflows.workflow_execution_status(execution_id)
    assert set(caught.value.body) == {"detail"}


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"workflow_deployment_name": "nope"}, NotFoundError),
        ({"workflow_deployment_id": UUID}, NotFoundError),
        ({"workflow_deployment_name": "echo", "release_tag": "v9"}, NotFoundError),
        ({"workflow_deployment_name": "echo", "inputs": []}, BadRequestError),
        ({"workflow_deployment_name": "echo", "inputs": [chat(name="text")]}, BadRequestError),
        ({}, BadRequestError),
    ],
)
def test_invalid_requests_are_refused(client, options, error):
    with pytest.raises(error) as caught:
        client.execute_workflow_async(**{"inputs": [text("x")], **options})
    assert set(caught.value.body) == {"detail"}


def test_external_id_is_unique_across_endpoints(client):
    begin(client, "echo", text("x"), external_id="async-once")
    with pytest.raises(BadRequestError):
        begin(client, "echo", text("x"), external_id="async-once")
    with pytest.raises(BadRequestError):
        run(client, "echo", text("x"), external_id="async-once")


def test_conversation_continues(client):
    first = begin(client, "converse", text("a", "message"))
    until(client, first, "FULFILLED")
    second = begin(client, "converse", text("b", "message"), previous_execution_id=first)
    assert until(client, second, "FULFILLED").outputs == {"output": "2: b"}


def test_chat_is_reported_as_plain_json(client):
    message = v.ChatMessageRequest(role="USER", text="hi")
    answer = until(client, begin(client, "echo-chat", chat(message)), "FULFILLED")
    assert answer.outputs["chat"]["messages"][0]["text"] == "hi"
