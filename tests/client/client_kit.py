"""What the tests of the client share: calls, and the parts of streams."""

import json

import pytest

from vellum_nb import errors

LIMIT = 20
IDENTITY = {"name": "production", "label": "Production"}
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n"


def execute(client, **options):
    return client.execute_workflow({"q": "hi"}, workflow_deployment_name="w", **options)


def failure(client):
    with pytest.raises(errors.APIError) as caught:
        execute(client)
    return caught.value


def stream(client, **options):
    return client.execute_workflow_stream({"q": "hi"}, workflow_deployment_name="w", **options)


def event(state, **data):
    data = {"id": "1", "state": state, "ts": "2026-01-15T09:30:00Z"} | data
    whole = {"execution_id": "e-1", "type": "WORKFLOW", "data": data}
    return json.dumps(whole, ensure_ascii=False).encode() + b"\n"
