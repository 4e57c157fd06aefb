"""Every recorded pair of the contract, replayed by a real server on loopback."""

import json
import re
from datetime import datetime
from pathlib import Path
from urllib.parse import parse_qsl, urlsplit

import pytest

from vellum_nb import errors
from vellum_nb.client import Client, EventStream
from vellum_nb.models import contract as models
from vellum_nb.models.inputs import default_of

EXAMPLES = json.loads((Path(__file__).parents[1] / "examples.json").read_text("utf-8"))
DEPLOYMENT = r"/v1/workflow-deployments/([^/]+)"
ENDPOINTS = [
    (r"POST /v1/execute-workflow", Client.execute_workflow),
    (r"POST /v1/execute-workflow-async", Client.execute_workflow_async),
    (r"POST /v1/execute-workflow-stream", Client.execute_workflow_stream),
    (rf"POST {DEPLOYMENT}/execute-stream", Client.execute_stream),
    (r"POST /v1/submit-workflow-execution-actuals", Client.submit_workflow_execution_actuals),
    (r"GET /v1/workflows/executions/([^/]+)/status", Client.workflow_execution_status),
    (r"GET /v1/workflows/([^/]+)/state", Client.retrieve_state),
    (r"GET /v1/workflow-deployments", Client.list_workflow_deployments),
    (rf"GET {DEPLOYMENT}", Client.retrieve_workflow_deployment),
    (rf"GET {DEPLOYMENT}/release-tags", Client.list_workflow_release_tags),
    (rf"GET {DEPLOYMENT}/release-tags/([^/]+)", Client.retrieve_workflow_release_tag),
    (rf"PATCH {DEPLOYMENT}/release-tags/([^/]+)", Client.update_workflow_release_tag),
    (rf"GET {DEPLOYMENT}/releases", Client.list_workflow_deployment_releases),
    (rf"GET {DEPLOYMENT}/releases/([^/]+)", Client.retrieve_workflow_deployment_release),
    (rf"GET {DEPLOYMENT}/history/([^/]+)", Client.workflow_deployment_history_item_retrieve),
    (rf"GET {DEPLOYMENT}/execution-events", Client.list_workflow_deployment_event_executions),
    (rf"GET {DEPLOYMENT}/execution-events/([^/]+)", Client.workflow_deployment_event_execution),
    (r"GET /v1/workflow-executions/([^/]+)/detail", Client.retrieve_workflow_execution_detail),
    (r"POST /v1/workflow-sandboxes/([^/]+)/deploy", Client.deploy_workflow),
    (r"GET /v1/uploaded-files/([^/]+)", Client.retrieve_uploaded_file),
    (r"GET /v1/environments/identity", Client.environment_identity),
    (r"GET /v1/workspaces/identity", Client.workspace_identity),
    (r"GET /v1/organizations/identity", Client.organization_identity),
]
REPLY_MODELS = {
    "CheckWorkflowExecutionStatusResponse": models.CheckWorkflowExecutionStatusResponse,
    "EnvironmentRead": models.EnvironmentRead,
    "ExecuteWorkflowAsyncResponse": models.ExecuteWorkflowAsyncResponse,
    "ExecuteWorkflowResponse": models.ExecuteWorkflowResponse,
    "OrganizationRead": models.OrganizationRead,
    "PaginatedSlimWorkflowDeploymentList": models.Page[models.SlimWorkflowDeployment],
    "PaginatedWorkflowDeploymentReleaseList": models.Page[models.WorkflowDeploymentRelease],
    "PaginatedWorkflowReleaseTagReadList": models.Page[models.WorkflowReleaseTagRead],
    "UploadedFileRead": models.UploadedFileRead,
    "WorkflowDeploymentEventExecutionsResponse": models.Page[models.SlimWorkflowExecutionRead],
    "WorkflowDeploymentHistoryItem": models.WorkflowDeploymentHistoryItem,
    "WorkflowDeploymentRead": models.WorkflowDeploymentRead,
    "WorkflowDeploymentRelease": models.WorkflowDeploymentRelease,
    "WorkflowEvent": models.WorkflowEvent,
    "WorkflowEventExecutionRead": models.WorkflowEventExecutionRead,
    "WorkflowExecutionDetail": models.WorkflowExecutionDetail,
    "WorkflowReleaseTagRead": models.WorkflowReleaseTagRead,
    "WorkflowResolvedState": models.WorkflowResolvedState,
    "WorkflowStreamEvent": models.WorkflowStreamEvent,
    "WorkspaceRead": models.WorkspaceRead,
}
ERRORS = {
    400: errors.BadRequestError,
    403: errors.AuthenticationError,
    404: errors.NotFoundError,
    429: errors.RateLimitError,
    500: errors.ServerError,
}
ENDLESS = {"execute_workflow_stream.docs_example_event"}


def call_of(example):
    """Return the call of ours that makes the recorded request."""
    request = example["request"]
    if request["path"] == "/v1/uploaded-files":
        return lambda client: client.upload_file(b"hello", filename="a.txt")
    asked = parse_qsl(request["query"] or "")
    options = (request["json"] or {}) | {n: int(v) if v.isdigit() else v for n, v in asked}
    for pattern, method in ENDPOINTS:
        match = re.fullmatch(pattern, f"{request['method']} {request['path']}")
        if match:
            return lambda client, method=method: method(client, *match.groups(), **options)
    raise LookupError(example["id"])


def recorded_body(response):
    if "ndjson" not in response:
        return b"" if response["json"] is None else json.dumps(response["json"]).encode()
    lines = (line if isinstance(line, str) else json.dumps(line) for line in response["ndjson"])
    return "".join(f"{line}\n" for line in lines).encode()


def recorded_objects(response):
    if "ndjson" not in response:
        return [response["json"]]
    return [
        json.loads(line.removeprefix("data: ")) if isinstance(line, str) else line
        for line in response["ndjson"]
        if line
    ]


def selected(*, ok):
    return [
        pytest.param(example, id=example["id"])
        for example in EXAMPLES
        if (example["response"]["status"] < 300) is ok
    ]


@pytest.fixture
def hosts(server, key):
    """Yield a client with two hosts that differ in their path."""
    default, predict = f"{server.url}/default", f"{server.url}/predict"
    with Client(api_key=key, base_url=default, predict_url=predict, timeout=20) as made:
        yield made


def replayed(server, client, example):
    """Answer with the recorded reply, without its wait; return the objects that were read."""
    recorded = example["response"]
    headers = recorded["headers"] | ({"Retry-After": "0"} if recorded["status"] == 429 else {})
    server.will(server.reply(recorded["status"], recorded_body(recorded), headers=headers))
    found = call_of(example)(client)
    return read(found, example) if isinstance(found, EventStream) else [found]


def read(stream, example):
    events = []
    try:
        events.extend(stream)
        ended = True
    except errors.APIConnectionError:
        ended = False
    assert ended is (example["id"] not in ENDLESS)
    return events


def assert_same_request(sent, example, key):
    recorded = example["request"]
    target = urlsplit(sent.target)
    assert (sent.method, target.path) == (
        recorded["method"],
        f"/{example['base']}{recorded['path']}",
    )
    assert parse_qsl(target.query) == parse_qsl(recorded["query"] or "")
    assert sent.headers["x-api-key"] == key
    assert sent.headers["x-api-version"] == recorded["headers"]["X-API-Version"]
    assert sent.headers["user-agent"].startswith("vellum_nb/")
    if "__multipart__" in (recorded["json"] or {}):
        assert_same_multipart(sent, recorded["json"]["__multipart__"])
        return
    assert (json.loads(sent.body) if sent.body else None) == recorded["json"]
    assert sent.headers.get("content-type") == recorded["headers"].get("content-type")


def assert_same_multipart(sent, recorded):
    """Compare the parts, with any boundary between them."""
    kind, _, boundary = sent.headers["content-type"].partition("; boundary=")
    assert kind == "multipart/form-data"
    assert sent.body.decode() == recorded.replace(recorded[2:].partition("\r\n")[0], boundary)


def assert_kept(kept, recorded):
    """Compare the fields of a model with those of the reply."""
    if isinstance(kept, dict) and isinstance(recorded, dict):
        for name in kept.keys() & recorded.keys():
            if recorded[name] is not None:
                assert_kept(kept[name], recorded[name])
    elif isinstance(kept, list):
        assert len(kept) == len(recorded)
        for one, other in zip(kept, recorded, strict=True):
            assert_kept(one, other)
    elif kept != recorded:
        assert datetime.fromisoformat(kept) == datetime.fromisoformat(recorded)


@pytest.mark.parametrize("example", selected(ok=True))
def test_recorded_exchange_is_replayed(server, hosts, key, example):
    objects = replayed(server, hosts, example)
    (sent,) = server.seen
    assert_same_request(sent, example, key)
    if example["official_response_type"] is None:
        assert objects == [None]
        return
    kept = [each.model_dump(mode="json", by_alias=True) for each in objects]
    assert_kept(kept, recorded_objects(example["response"]))


@pytest.mark.parametrize("example", selected(ok=False))
def test_recorded_error_is_raised_with_its_detail(server, hosts, key, example):
    recorded = example["response"]
    with pytest.raises(ERRORS[recorded["status"]]) as caught:
        replayed(server, hosts, example)
    assert_same_request(server.seen[0], example, key)
    assert caught.value.status_code == recorded["status"]
    assert caught.value.body == recorded["json"]
    assert recorded["json"]["detail"].rstrip(".") in str(caught.value)


def test_all_recorded_pairs_are_replayed():
    assert len(EXAMPLES) == 60
    assert len(selected(ok=True)) + len(selected(ok=False)) == 60


REQUIRED = {"id", "name", "key", "execution_id", "data", "state", "status", "span_id"}


def with_one_less(value, *, absent):
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
def test_only_required_fields_are_needed(example, *, absent):
    model = REPLY_MODELS.get(example["official_response_type"])
    for recorded in recorded_objects(example["response"]) if model else []:
        for changed in with_one_less(recorded, absent=absent):
            model.model_validate_json(json.dumps(changed | {"unknown": 1}))


@pytest.mark.parametrize(
    ("wire", "default"), [(3, 3), ("a", "a"), ([1], [1]), ({"type": "NULL", "value": None}, None)]
)
def test_default_without_its_type_is_read(wire, default):
    variable = models.VellumVariable.model_validate({"key": "x", "default": wire, "schema": True})
    assert default_of(variable) == default
    assert variable.json_schema is None
