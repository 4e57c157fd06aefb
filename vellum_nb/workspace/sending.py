"""Sends one execution, whole or as a stream, and returns how it ended as fields of `Run`."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from typing import Any

from vellum_nb.client import Client
from vellum_nb.errors import APIConnectionError
from vellum_nb.models import Cancellation, Run, WorkflowInput
from vellum_nb.models.media import DATA_URL_LIMIT, MEDIA_TYPES
from vellum_nb.workspace.gathering import Gathering
from vellum_nb.workspace.outcome import answered
from vellum_nb.workspace.uploads import Uploads

__all__ = ["executed", "has_files", "options_of", "streamed", "with_files"]

Inputs = Sequence[Mapping[str, Any]]
_WITH_FILES = frozenset({*MEDIA_TYPES, "CHAT_HISTORY"})
_EVERYTHING = {"usage": True, "cost": True, "model_name": True}


def executed(
    client: Client, run: Run, inputs: Inputs, cancel: Cancellation | None
) -> dict[str, Any]:
    """Execute `run` and wait for its outputs."""
    clock = time.perf_counter()
    reply = client.execute_workflow(inputs, **options_of(run), cancel=cancel)
    return {"latency_s": round(time.perf_counter() - clock, 6), **answered(reply)}


def streamed(
    client: Client, run: Run, inputs: Inputs, cancel: Cancellation | None
) -> dict[str, Any]:
    """Execute `run` with the events of its nodes, which tell tokens, models and cost."""
    gathered = Gathering()
    execution_id = None
    clock = time.perf_counter()
    with client.execute_workflow_stream(
        inputs,
        **options_of(run),
        event_types=["NODE", "WORKFLOW"],
        expand_meta=_EVERYTHING,
        cancel=cancel,
    ) as events:
        for event in events:
            execution_id = execution_id or event.execution_id
            gathered.take(event)
    if gathered.end is None:
        msg = "The stream was closed before the run had ended; the server may go on with it."
        raise APIConnectionError(msg)
    latency = round(time.perf_counter() - clock, 6)
    return {"execution_id": execution_id, "latency_s": latency, **gathered.fields()}


def with_files(inputs: Inputs, uploads: Uploads, cancel: Cancellation | None) -> Inputs:
    """Return `inputs` as they are sent: files that are too large for it are uploaded first."""
    if not has_files(inputs):
        return inputs
    sent = uploads.sent([WorkflowInput.model_validate(item) for item in inputs], cancel)
    return [{"name": item.name, "type": item.type, "value": item.value} for item in sent]


def has_files(inputs: Inputs) -> bool:
    """Return whether some of `inputs` are to be uploaded."""
    return any(item["type"] in _WITH_FILES and _is_large(item["value"]) for item in inputs)


def _is_large(value: Any) -> bool:
    if isinstance(value, str):
        return len(value) > DATA_URL_LIMIT
    if isinstance(value, Mapping):
        return any(_is_large(each) for each in value.values())
    return isinstance(value, list) and any(_is_large(each) for each in value)


def options_of(run: Run) -> dict[str, Any]:
    """Return what the server is told of `run` beside its inputs."""
    return {
        "workflow_deployment_name": run.deployment,
        "release_tag": run.release_tag,
        "external_id": run.external_id,
        "metadata": run.metadata,
        "previous_execution_id": run.previous_execution_id,
    }
