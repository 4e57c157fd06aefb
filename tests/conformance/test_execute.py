"""POST /v1/execute-workflow, by the official client."""

import asyncio
import uuid

import pytest
from conformance_kit import (
    UUID,
    ApiError,
    AsyncVellum,
    BadRequestError,
    NotFoundError,
    json_input,
    number,
    outputs,
    place,
    run,
    text,
    v,
)

from vellum_nb.local import Faults


def test_answer_has_the_ids_of_the_run(client):
    answer = run(client, "echo", text("x"), external_id="conformance-1", metadata={"a": [1]})
    uuid.UUID(answer.execution_id)
    uuid.UUID(answer.data.id)
    assert answer.external_id == "conformance-1"
    assert answer.data.ts.tzinfo is not None


def test_deployment_is_addressed_by_its_id(client):
    id_ = client.workflow_deployments.retrieve("echo").id
    answer = client.execute_workflow(inputs=[text("x")], workflow_deployment_id=id_)
    assert outputs(answer) == {"output": "x"}


def test_id_can_be_given_with_its_name(client):
    id_ = client.workflow_deployments.retrieve("echo").id
    assert outputs(run(client, "echo", text("x"), workflow_deployment_id=id_))
    with pytest.raises(BadRequestError) as caught:
        run(client, "count", text("x"), workflow_deployment_id=id_)
    assert "give one of the two" in caught.value.body["detail"]


def test_request_without_id_or_name_is_refused(client):
    with pytest.raises(BadRequestError) as caught:
        client.execute_workflow(inputs=[])
    assert "workflow_deployment_name" in caught.value.body["detail"]


def test_null_counts_as_absent(client):
    names = "workflow_deployment_id release_tag external_id metadata previous_execution_id"
    answer = run(client, "echo", text("x"), **dict.fromkeys([*names.split(), "expand_meta"]))
    assert outputs(answer) == {"output": "x"}


@pytest.mark.parametrize(
    "address",
    [
        {"workflow_deployment_name": "nope"},
        {"workflow_deployment_name": "ECHO"},
        {"workflow_deployment_id": UUID},
        {"workflow_deployment_name": "echo", "release_tag": "v9"},
    ],
)
def test_unknown_deployment_or_release_is_not_found(client, address):
    with pytest.raises(NotFoundError) as caught:
        client.execute_workflow(inputs=[text("x")], **address)
    assert set(caught.value.body) == {"detail"}


@pytest.mark.parametrize(
    ("tag", "said"),
    [("v1", "v1: x"), ("v2", "v2: x"), ("production", "v2: x"), ("LATEST", "v3: x"),
     (None, "v3: x")],
)  # fmt: skip
def test_release_tag_selects_the_release(client, tag, said):
    assert outputs(run(client, "hällo wörld", text("x"), release_tag=tag)) == {"output": said}


@pytest.mark.parametrize(
    ("name", "inputs", "words"),
    [
        ("echo", [], "Missing required input variable: 'text'"),
        ("echo", [text("x", "other"), text("x")], "other"),
        ("echo", [text("x"), text("y")], "text"),
        ("echo", [json_input({"a": 1}, "text")], "text"),
        ("echo-number", [text("seven", "number")], "number"),
        ("count", [text("x"), number(9, "times")], "times"),
        ("count", [text("x"), number(1.5, "times")], "times"),
        ("count", [text("x"), text("gold", "tier")], "tier"),
        ("echo", [{"name": "text", "type": "RIDDLE", "value": "x"}], "RIDDLE"),
        ("echo", [{"name": "", "type": "STRING", "value": "x"}], "name"),
        ("echo", [{"type": "STRING", "value": "x"}], "name"),
    ],
)
def test_invalid_inputs_are_a_bad_request(client, name, inputs, words):
    with pytest.raises(BadRequestError) as caught:
        run(client, name, *inputs)
    assert words in caught.value.body["detail"]


def test_external_id_is_unique(client):
    run(client, "echo", text("x"), external_id="conformance-once")
    with pytest.raises(BadRequestError) as caught:
        run(client, "echo", text("x"), external_id="conformance-once")
    assert "conformance-once" in caught.value.body["detail"]


def test_bad_request_uses_no_external_id(client):
    with pytest.raises(BadRequestError):
        run(client, "echo", external_id="conformance-spared")
    assert run(client, "echo", text("x"), external_id="conformance-spared")


@pytest.mark.parametrize(
    "options", [{"external_id": ""}, {"release_tag": ""}, {"workflow_deployment_name": ""}]
)
def test_empty_text_is_a_bad_request(client, options):
    given = {"inputs": [text("x")], "workflow_deployment_name": "echo", **options}
    with pytest.raises(BadRequestError):
        client.execute_workflow(**given)


def test_conversation_continues_from_the_given_execution(client):
    first = run(client, "converse", text("a", "message"))
    second = run(client, "converse", text("b", "message"), previous_execution_id=first.execution_id)
    assert outputs(second) == {"output": "2: b"}
    again = run(client, "converse", text("c", "message"), previous_execution_id=first.execution_id)
    assert outputs(again) == {"output": "2: c"}


def test_unknown_fields_are_ignored(client):
    more = {"execution_context": {"trace_id": UUID, "parent_context": None}, "surprise": [1]}
    answer = run(client, "echo", text("x"), request_options={"additional_body_parameters": more})
    assert outputs(answer) == {"output": "x"}


def test_expand_meta_is_accepted(client):
    meta = v.WorkflowExpandMetaRequest(usage=True, cost=True, model_name=True)
    assert outputs(run(client, "echo", text("x"), expand_meta=meta)) == {"output": "x"}


@pytest.mark.parametrize("version", [None, "2024-10-25", "2025-07-30", "2099-01-01"])
def test_any_api_version_is_accepted(server, connect, version):
    client = connect(server, api_version=version)
    assert outputs(run(client, "echo", text("x"))) == {"output": "x"}


@pytest.mark.parametrize("key", ["wrong", "", None])
def test_invalid_key_is_refused(server, connect, key):
    client = connect(server, api_key=key)
    with pytest.raises(ApiError) as caught:
        run(client, "echo", text("x"))
    assert caught.value.status_code == 403
    assert set(caught.value.body) == {"detail"}


def test_client_retries_only_if_configured(server, connect):
    client = connect(server)
    first_one_fails = Faults(rate_503=0.5, retry_after_s=1, seed=1, paths="/v1/execute-workflow")
    try:
        server.faults = first_one_fails
        with pytest.raises(ApiError) as caught:
            run(client, "echo", text("x"))
        server.faults = first_one_fails  # restarts its random numbers
        answer = run(client, "echo", text("x"), request_options={"max_retries": 3})
    finally:
        server.faults = None
    assert (caught.value.status_code, caught.value.headers["retry-after"]) == (503, "1")
    assert outputs(answer) == {"output": "x"}


def test_asynchronous_client_is_served(server):
    async def ask():
        client = AsyncVellum(api_key=server.api_key, environment=place(server))
        try:
            answer = await client.execute_workflow(
                inputs=[text("a")], workflow_deployment_name="echo"
            )
            events = client.execute_workflow_stream(
                inputs=[text("ab")], workflow_deployment_name="talk"
            )
            return answer, [event.data.state async for event in events]
        finally:
            await client._client_wrapper.httpx_client.httpx_client.aclose()

    answer, states = asyncio.run(ask())
    assert outputs(answer) == {"output": "a"}
    assert (states[0], states[-1]) == ("INITIATED", "FULFILLED")
