"""The OpenAPI document, with the bodies that the routes read themselves."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel

from vellum_nb.local.engine.requests import (
    DeploymentExecuteStreamRequest,
    ExecuteBody,
    ExecuteWorkflowStreamRequest,
)
from vellum_nb.local.prompts.wire import ExecutePromptRequest, PromptEvent
from vellum_nb.local.routes.actuals import SubmitActuals
from vellum_nb.local.routes.deployments import ReleaseTagUpdate
from vellum_nb.models import WorkflowEvent, WorkflowStreamEvent

__all__ = ["completed"]

_REF = "#/components/schemas/{model}"
_BODIES: dict[str, type[BaseModel]] = {
    "/v1/execute-workflow": ExecuteBody,
    "/v1/execute-workflow-async": ExecuteBody,
    "/v1/execute-workflow-stream": ExecuteWorkflowStreamRequest,
    "/v1/workflow-deployments/{id}/execute-stream": DeploymentExecuteStreamRequest,
    "/v1/submit-workflow-execution-actuals": SubmitActuals,
    "/v1/workflow-deployments/{id}/release-tags/{name}": ReleaseTagUpdate,
    "/v1/ad-hoc/execute-prompt": ExecutePromptRequest,
    "/v1/ad-hoc/execute-prompt-stream": ExecutePromptRequest,
}
_LINES: dict[str, type[BaseModel]] = {
    "/v1/execute-workflow-stream": WorkflowStreamEvent,
    "/v1/workflow-deployments/{id}/execute-stream": WorkflowEvent,
    "/v1/ad-hoc/execute-prompt-stream": PromptEvent,
}
_NDJSON = "application/x-ndjson"


def completed(document: dict[str, Any]) -> dict[str, Any]:
    """Return FastAPI's document of the routes with their bodies and streams, and the key."""
    schemas = document["components"]["schemas"]
    for path, operation in _operations(document, _BODIES):
        content = {"application/json": {"schema": _reference(schemas, _BODIES[path])}}
        required = any(field.is_required() for field in _BODIES[path].model_fields.values())
        operation["requestBody"] = {"required": required, "content": content}
    for path, operation in _operations(document, _LINES):
        answer = operation["responses"]["200"]
        answer["description"] = "One JSON object a line, as it happens."
        answer["content"] = {_NDJSON: {"schema": _reference(schemas, _LINES[path])}}
        failed = operation["responses"]["default"]["content"]  # FastAPI takes it for lines, too
        operation["responses"]["default"]["content"] = {
            "application/json": next(iter(failed.values()))
        }
    document["components"]["securitySchemes"] = {
        "ApiKey": {"type": "apiKey", "in": "header", "name": "X-API-KEY"}
    }
    document["security"] = [{"ApiKey": []}]
    return document


def _operations(
    document: dict[str, Any], table: dict[str, type[BaseModel]]
) -> list[tuple[str, dict[str, Any]]]:
    paths = document["paths"]
    return [
        (path, operation)
        for path in table
        for method, operation in paths.get(path, {}).items()
        if method in {"post", "patch"}
    ]


def _reference(schemas: dict[str, Any], model: type[BaseModel]) -> dict[str, str]:
    """Return a reference to the schema of `model`, which is put among `schemas`."""
    schema = model.model_json_schema(ref_template=_REF)
    for name, part in schema.pop("$defs", {}).items():
        schemas.setdefault(name, part)
    schemas[schema["title"]] = schema
    return {"$ref": _REF.format(model=schema["title"])}
