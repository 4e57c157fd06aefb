"""Every recorded pair of the contract that belongs to an endpoint we have, replayed."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from vellum_nb import errors, models
from vellum_nb.client import Client
from vellum_nb.models.inputs import default_of

EXAMPLES = json.loads((Path(__file__).parents[1] / "examples.json").read_text("utf-8"))
ID = r"/v1/workflow-deployments/([^/]+)"
GETS: list[tuple[str, Callable[..., Any]]] = [
    (r"/v1/workflow-deployments", Client.list_workflow_deployments),
    (ID, Client.retrieve_workflow_deployment),
    (f"{ID}/release-tags", Client.list_workflow_release_tags),
    (f"{ID}/release-tags/([^/]+)", Client.retrieve_workflow_release_tag),
    (f"{ID}/releases", Client.list_workflow_deployment_releases),
    (f"{ID}/releases/([^/]+)", Client.retrieve_workflow_deployment_release),
    (r"/v1/environments/identity", Client.environment_identity),
    (r"/v1/workspaces/identity", Client.workspace_identity),
    (r"/v1/organizations/identity", Client.organization_identity),
]
REPLY_MODELS = {
    "ExecuteWorkflowResponse": models.ExecuteWorkflowResponse,
    "PaginatedSlimWorkflowDeploymentList": models.Page[models.SlimWorkflowDeployment],
    "PaginatedWorkflowReleaseTagReadList": models.Page[models.WorkflowReleaseTagRead],
    "PaginatedWorkflowDeploymentReleaseList": models.Page[models.WorkflowDeploymentRelease],
    "WorkflowDeploymentRead": models.WorkflowDeploymentRead,
    "WorkflowReleaseTagRead": models.WorkflowReleaseTagRead,
    "WorkflowDeploymentRelease": models.WorkflowDeploymentRelease,
    "EnvironmentRead": models.EnvironmentRead,
    "WorkspaceRead": models.WorkspaceRead,
    "OrganizationRead": models.OrganizationRead,
}
ERRORS = {
    400: errors.BadRequestError,
    403: errors.AuthenticationError,
    404: errors.NotFoundError,
    429: errors.RateLimitError,
    500: errors.ServerError,
}


def call_of(example: dict[str, Any]) -> Callable[[Client], Any] | None:
    """Return the call of ours that makes the recorded request, if we have its endpoint."""
    request = example["request"]
    if (request["method"], request["path"]) == ("POST", "/v1/execute-workflow"):
        options = dict(request["json"])
        inputs = options.pop("inputs")
        return lambda client: client.execute_workflow(inputs, **options)
    for pattern, method in GETS:
        match = re.fullmatch(pattern, request["path"])
        if match and request["method"] == "GET":
            query = dict(parse_qsl(request["query"] or ""))
            return lambda client, method=method: method(client, *match.groups(), **query)
    return None


def selected(*, ok: bool) -> list[Any]:
    return [
        pytest.param(example, id=example["id"])
        for example in EXAMPLES
        if call_of(example) and (example["response"]["status"] < 300) is ok
    ]


def replayed(server: Any, client: Client, example: dict[str, Any]) -> Any:
    """Answer with the recorded reply, at once where it asks to wait."""
    recorded = example["response"]
    headers = recorded["headers"] | ({"Retry-After": "0"} if recorded["status"] == 429 else {})
    server.will(server.reply(recorded["status"], recorded["json"], headers=headers))
    call = call_of(example)
    assert call is not None
    return call(client)


def assert_same_request(sent: Any, example: dict[str, Any], key: str) -> None:
    recorded = example["request"]
    target = urlsplit(sent.target)
    assert (sent.method, target.path) == (recorded["method"], recorded["path"])
    assert parse_qsl(target.query) == parse_qsl(recorded["query"] or "")
    assert (json.loads(sent.body) if sent.body else None) == recorded["json"]
    assert sent.headers["x-api-key"] == key
    assert sent.headers["x-api-version"] == recorded["headers"]["X-API-Version"]
    assert sent.headers.get("content-type") == recorded["headers"].get("content-type")
    assert sent.headers["user-agent"].startswith("vellum_nb/")


def assert_kept(kept: Any, recorded: Any) -> None:
    """Whatever the model knows of a reply, it says as the reply did."""
    if isinstance(kept, dict) and isinstance(recorded, dict):
        for name in kept.keys() & recorded.keys():
            if recorded[name] is not None:
                assert_kept(kept[name], recorded[name])
    elif isinstance(kept, list):
        assert len(kept) == len(recorded)
        for one, other in zip(kept, recorded, strict=True):
            assert_kept(one, other)
    else:
        assert kept == recorded


@pytest.mark.parametrize("example", selected(ok=True))
def test_a_recorded_exchange_is_replayed(
    server: Any, client: Client, key: str, example: dict[str, Any]
) -> None:
    reply = replayed(server, client, example)
    (sent,) = server.seen
    assert_same_request(sent, example, key)
    assert_kept(reply.model_dump(mode="json", by_alias=True), example["response"]["json"])


@pytest.mark.parametrize("example", selected(ok=False))
def test_a_recorded_error_is_raised_with_its_detail(
    server: Any, client: Client, key: str, example: dict[str, Any]
) -> None:
    recorded = example["response"]
    with pytest.raises(ERRORS[recorded["status"]]) as caught:
        replayed(server, client, example)
    assert_same_request(server.seen[0], example, key)
    assert caught.value.status_code == recorded["status"]
    assert caught.value.body == recorded["json"]
    assert recorded["json"]["detail"].rstrip(".") in str(caught.value)


def test_every_endpoint_of_ours_has_a_recorded_exchange() -> None:
    names = {example["id"].partition(".")[0] for example in EXAMPLES if call_of(example)}
    identities = {"environment", "workspace", "organization"}
    assert names == {"execute_workflow", "deployments", "release_tags", "releases"} | identities


@pytest.mark.parametrize(
    "example",
    [
        pytest.param(example, id=example["id"])
        for example in EXAMPLES
        if example["official_response_type"] in REPLY_MODELS and example["response"]["status"] < 300
    ],
)
def test_recorded_replies_of_all_endpoints_fit_their_models(example: dict[str, Any]) -> None:
    recorded = example["response"]["json"]
    model = REPLY_MODELS[example["official_response_type"]]
    kept = model.model_validate_json(json.dumps(recorded))
    assert_kept(kept.model_dump(mode="json", by_alias=True), recorded)


REQUIRED = {"id", "name", "key", "execution_id", "data", "state"}


def with_one_less(value: Any, *, absent: bool) -> Iterator[Any]:
    """Yield copies of `value` in which one field that is not required is absent, or null."""
    items = value.items() if isinstance(value, dict) else enumerate(value)
    for place, item in items:
        if isinstance(value, dict) and place not in REQUIRED:
            kept = {key: each for key, each in value.items() if key != place}
            yield kept if absent else kept | {place: None}
        if isinstance(item, dict | list):
            for changed in with_one_less(item, absent=absent):
                copy = dict(value) if isinstance(value, dict) else list(value)
                copy[place] = changed
                yield copy


@pytest.mark.parametrize("absent", [True, False], ids=["absent", "null"])
@pytest.mark.parametrize("example", selected(ok=True))
def test_no_field_but_the_required_ones_is_needed(example: dict[str, Any], *, absent: bool) -> None:
    model = REPLY_MODELS[example["official_response_type"]]
    changes = list(with_one_less(example["response"]["json"], absent=absent))
    assert changes
    for changed in changes:
        model.model_validate_json(json.dumps(changed | {"unknown": 1}))


@pytest.mark.parametrize(
    ("wire", "default"), [(3, 3), ("a", "a"), ([1], [1]), ({"type": "NULL", "value": None}, None)]
)
def test_a_default_without_its_type_is_read(wire: Any, default: Any) -> None:
    variable = models.VellumVariable.model_validate({"key": "x", "default": wire, "schema": True})
    assert default_of(variable) == default
    assert variable.json_schema is None
