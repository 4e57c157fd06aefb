"""What the tests of the client share: calls, and the parts of streams."""

from __future__ import annotations

import json
from typing import Any

import pytest

from vellum_nb import errors
from vellum_nb.client import Client, EventStream
from vellum_nb.models import WorkflowStreamEvent

LIMIT = 20
IDENTITY = {"name": "production", "label": "Production"}
HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: application/x-ndjson\r\n"


def execute(client: Client, **options: Any) -> Any:
    return client.execute_workflow({"q": "hi"}, workflow_deployment_name="w", **options)


def failure(client: Client) -> errors.APIError:
    with pytest.raises(errors.APIError) as caught:
        execute(client)
    return caught.value


def stream(client: Client, **options: Any) -> EventStream[WorkflowStreamEvent]:
    return client.execute_workflow_stream({"q": "hi"}, workflow_deployment_name="w", **options)


def event(state: str, **data: Any) -> bytes:
    data = {"id": "1", "state": state, "ts": "2026-01-15T09:30:00Z"} | data
    whole = {"execution_id": "e-1", "type": "WORKFLOW", "data": data}
    return json.dumps(whole, ensure_ascii=False).encode() + b"\n"
