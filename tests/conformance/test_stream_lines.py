"""No line of a stream is one that the official client would drop without a word."""

import json
import warnings

import pytest
import requests

from vellum_nb.local.samples import deploy_samples

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what it warns about on import is not ours
    from vellum.client.core.pydantic_utilities import parse_obj_as
    from vellum.client.types.workflow_event import WorkflowEvent
    from vellum.client.types.workflow_stream_event import WorkflowStreamEvent

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning")  # the SDK's own
RUNS = {
    "echo": {"text": "häß \u2028"},
    "talk": {"text": "hi"},
    "duet": {"text": "hi"},
    "stumble": {"text": "hi"},
    "fail": {"text": "hi"},
    "every-type": {},
    "converse": {"message": "hi"},
    "feedback-digest": {"comments": ["Late again!", "I love it", "It crashes"]},
}


@pytest.fixture(scope="module", autouse=True)
def samples(server):
    """Deploy the samples too: one of them is a project with a branch, a map and a template."""
    deploy_samples(server)


def lines(server, path, body):
    headers = {"X-API-KEY": server.api_key}
    answer = requests.post(f"{server.url}{path}", json=body, headers=headers, timeout=20)
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-type"] == "application/x-ndjson"
    assert answer.content.isascii()
    assert answer.content.endswith(b"\n")
    return [json.loads(line) for line in answer.content.splitlines()]


def typed(value):
    return "STRING" if isinstance(value, str) else "JSON"


@pytest.mark.parametrize("name", RUNS)
def test_every_line_of_a_stream_is_an_event(server, name):
    inputs = [{"name": k, "type": typed(v), "value": v} for k, v in RUNS[name].items()]
    body = {
        "workflow_deployment_name": name,
        "inputs": inputs,
        "event_types": ["NODE", "WORKFLOW"],
        "expand_meta": {"usage": True, "cost": True, "model_name": True},
    }
    for line in lines(server, "/v1/execute-workflow-stream", body):
        event = parse_obj_as(type_=WorkflowStreamEvent, object_=line)
        assert (event.type, event.data.state) == (line["type"], line["data"]["state"])


@pytest.mark.parametrize("name", RUNS)
def test_every_line_of_envelopes_is_an_event(server, name):
    path = f"/v1/workflow-deployments/{name}/execute-stream"
    for line in lines(server, path, {"inputs": RUNS[name]}):
        event = parse_obj_as(type_=WorkflowEvent, object_=line)
        assert (event.name, event.span_id) == (line["name"], line["span_id"])
