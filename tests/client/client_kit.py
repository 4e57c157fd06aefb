"""Calls and parts of streams for the tests of the client."""

import json
from collections.abc import Mapping

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


def texts_of(value):
    """Return the texts that show an object, its parts, theirs, and copies of these."""
    parts = [value, *vars(value).values()]
    dicts = [getattr(part, "__dict__", {}) for part in parts]
    inner = [each for fields in dicts for each in fields.values()]
    copies = [each.copy() for each in inner if isinstance(each, Mapping)]
    return [repr(each) for each in (*parts, *dicts, *inner, *copies)]
