"""The official `vellum-ai` client, unmodified, drives the local server."""

from __future__ import annotations

import warnings

import pytest

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what it warns about on import is not ours
    from vellum import (
        ChatMessageRequest,
        StringChatMessageContentRequest,
        VellumDocumentRequest,
        VellumImageRequest,
        WorkflowRequestChatHistoryInputRequest,
        WorkflowRequestDocumentInputRequest,
        WorkflowRequestImageInputRequest,
        WorkflowRequestJsonInputRequest,
        WorkflowRequestNumberInputRequest,
        WorkflowRequestStringInputRequest,
    )
    from vellum.client import AsyncVellum, Vellum
    from vellum.client.core.api_error import ApiError
    from vellum.client.errors.bad_request_error import BadRequestError
    from vellum.client.errors.not_found_error import NotFoundError
    from vellum.environment import VellumEnvironment


def place(server):
    return VellumEnvironment(default=server.url, predict=server.url, documents=server.url)


@pytest.fixture(scope="module")
def vellum(server):
    vellum = Vellum(api_key=server.api_key, environment=place(server))
    yield vellum
    vellum._client_wrapper.httpx_client.httpx_client.close()


def text(value):
    return WorkflowRequestStringInputRequest(name="text", value=value)


def run(vellum, name, *inputs, **options):
    return vellum.execute_workflow(inputs=list(inputs), workflow_deployment_name=name, **options)


def outputs(answer):
    return {output.name: output.value for output in answer.data.outputs}


def test_execute_workflow_is_fulfilled(vellum):
    answer = run(vellum, "echo", text("hällo"), external_id="official-1", metadata={"a": [1]})
    assert answer.data.state == "FULFILLED"
    assert answer.external_id == "official-1"
    assert outputs(answer) == {"output": "hällo"}


def test_numbers_are_sent_as_floats_and_arrive_as_whole_numbers(vellum):
    times = WorkflowRequestNumberInputRequest(name="times", value=2)
    answer = run(vellum, "count", text("a b"), times, release_tag="LATEST")
    assert outputs(answer) == {"text": "a b a b", "words": 4.0}


@pytest.mark.parametrize("value", [True, {"a": [1, None]}, "pro", None])
def test_json_is_sent_as_it_is(vellum, value):
    name = {bool: "flag", str: "tier"}.get(type(value), "data")
    answer = run(vellum, "typed", WorkflowRequestJsonInputRequest(name=name, value=value))
    assert repr(value) in outputs(answer)[name]


def test_every_output_type_is_parsed(vellum):
    message = ChatMessageRequest(
        role="USER", content=StringChatMessageContentRequest(value="hi"), text="hi"
    )
    chat = WorkflowRequestChatHistoryInputRequest(name="chat", value=[message])
    answer = run(vellum, "every-type", chat)
    types = [output.type for output in answer.data.outputs]
    assert types == [
        "STRING",
        "NUMBER",
        "JSON",
        "CHAT_HISTORY",
        "SEARCH_RESULTS",
        "IMAGE",
        "AUDIO",
        "VIDEO",
        "DOCUMENT",
    ]
    found = outputs(answer)
    assert found["text"] == "häß → 🙂\u2028"
    assert found["chat"][0].content.value == "hi"
    assert found["found"][0].document.label == "Doc"
    assert found["image"].src.startswith("data:")


def test_media_inputs_come_through(vellum):
    image = WorkflowRequestImageInputRequest(
        name="image", value=VellumImageRequest(src="https://example.org/a.png")
    )
    document = WorkflowRequestDocumentInputRequest(
        name="document", value=VellumDocumentRequest(src="data:,x", metadata={"n": 1})
    )
    found = outputs(run(vellum, "media", image, document))
    assert found["image"]["src"] == "https://example.org/a.png"
    assert found["document"]["metadata"] == {"n": 1}


@pytest.mark.parametrize(
    ("name", "code"), [("refuse", "USER_DEFINED_ERROR"), ("fail", "NODE_EXECUTION")]
)
def test_a_rejected_run_is_parsed(vellum, name, code):
    answer = run(vellum, name, text("x"))
    assert (answer.data.state, answer.data.error.code) == ("REJECTED", code)
    assert answer.data.error.message


def test_bad_inputs_are_a_bad_request_error(vellum):
    with pytest.raises(BadRequestError) as caught:
        run(vellum, "echo")
    assert caught.value.body == {"detail": "Missing required input variable: 'text'"}


def test_an_unknown_deployment_or_tag_is_a_not_found_error(vellum):
    with pytest.raises(NotFoundError) as caught:
        run(vellum, "nope", text("x"))
    assert "'nope'" in caught.value.body["detail"]
    with pytest.raises(NotFoundError):
        run(vellum, "echo", text("x"), release_tag="v9")


def test_an_unknown_deployment_is_an_api_error_where_none_is_declared(vellum):
    with pytest.raises(ApiError) as caught:
        vellum.workflow_deployments.retrieve("nope")
    assert caught.value.status_code == 404
    assert set(caught.value.body) == {"detail"}


def test_a_wrong_key_is_an_api_error(server):
    vellum = Vellum(api_key="wrong", environment=place(server))
    with pytest.raises(ApiError) as caught:
        vellum.workflow_deployments.list()
    vellum._client_wrapper.httpx_client.httpx_client.close()
    assert caught.value.status_code == 403


def test_deployments_are_listed_and_retrieved(vellum):
    page = vellum.workflow_deployments.list(limit=3, offset=1, ordering="name", status="ACTIVE")
    assert page.count >= 10
    assert len(page.results) == 3
    assert page.next
    for slim in page.results:
        full = vellum.workflow_deployments.retrieve(slim.id)
        assert full.name == slim.name
        assert full.last_deployed_history_item_id
    typed = vellum.workflow_deployments.retrieve("typed")
    schemas = {v.key: (v.model_extra or {}).get("schema") for v in typed.input_variables}
    assert schemas["tier"] == {"type": "string", "enum": ["free", "pro"]}
    assert {v.key: v.default.value for v in typed.input_variables if v.default}["colour"] == "red"


def test_tags_releases_and_history_are_parsed(vellum):
    deployments = vellum.workflow_deployments
    (tag,) = deployments.list_workflow_release_tags("echo", source="SYSTEM").results
    assert tag.name == "LATEST"
    assert deployments.retrieve_workflow_release_tag("echo", "LATEST") == tag
    (release,) = deployments.list_workflow_deployment_releases("echo", ordering="-created").results
    assert release.id == tag.release.id
    assert deployments.retrieve_workflow_deployment_release("echo", "LATEST") == release
    assert deployments.retrieve_workflow_deployment_release("echo", release.id) == release
    item = deployments.workflow_deployment_history_item_retrieve("LATEST", "echo")
    assert item.id == release.id


def test_identity_is_parsed(vellum):
    assert vellum.environments.environment_identity().name == "local"
    assert vellum.workspaces.workspace_identity().name == "local"
    assert vellum.organizations.organization_identity().name == "Local"


def test_the_asynchronous_client_works_too(server):
    import asyncio

    async def ask():
        vellum = AsyncVellum(api_key=server.api_key, environment=place(server))
        try:
            return await vellum.execute_workflow(
                inputs=[text("a")], workflow_deployment_name="echo"
            )
        finally:
            await vellum._client_wrapper.httpx_client.httpx_client.aclose()

    assert outputs(asyncio.run(ask())) == {"output": "a"}
