"""Jobs and events as JSON lines, between the server and the process of a run."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime
from typing import Any

from vellum_nb.local.engine.code import RunContext
from vellum_nb.local.engine.events import Event, Usage
from vellum_nb.models import VellumVariable, WorkflowInput, WorkflowOutput

__all__ = ["context_of", "event_of", "line", "run_job", "told", "variables", "variables_of"]

_PASSED = ("execution_id", "trace_id", "parent", "state", "timeout", "url", "api_key", "trigger")
_COPIED = ("name", "span_id", "trace_id", "body", "parent", "kind", "id", "source_execution_id")


def line(message: Mapping[str, Any]) -> bytes:
    """Return a message as one line."""
    return json.dumps(message, ensure_ascii=True).encode() + b"\n"


def run_job(inputs: Sequence[WorkflowInput], context: RunContext) -> dict[str, Any]:
    """Return what a process has to know of a run."""
    return {
        "inputs": [given.model_dump(mode="json") for given in inputs],
        "context": {name: getattr(context, name) for name in _PASSED},
    }


def context_of(job: Mapping[str, Any]) -> tuple[list[WorkflowInput], RunContext]:
    """Return the inputs and the context of a job."""
    inputs = [WorkflowInput.model_validate(given) for given in job["inputs"]]
    return inputs, RunContext(**job["context"])


def told(event: Event) -> dict[str, Any]:
    """Return an event as JSON knows it.

    Examples
    --------
    >>> event = Event("node.execution.initiated", "span", "trace", {"inputs": {}}, kind="PROMPT")
    >>> event_of(told(event)) == event
    True
    """
    return {
        **{name: getattr(event, name) for name in _COPIED},
        "outputs": [output.model_dump(mode="json") for output in event.outputs],
        "usage": [asdict(used) for used in event.usage],
        "execution_ids": event.execution_ids,
        "timestamp": event.timestamp.isoformat(),
    }


def event_of(message: Mapping[str, Any]) -> Event:
    """Return the event that `told` wrote."""
    return Event(
        **{name: message[name] for name in _COPIED},
        outputs=tuple(WorkflowOutput.model_validate(output) for output in message["outputs"]),
        usage=tuple(Usage(**used) for used in message["usage"]),
        execution_ids=tuple(message["execution_ids"]),
        timestamp=datetime.fromisoformat(message["timestamp"]),
    )


def variables(found: Sequence[VellumVariable]) -> list[dict[str, Any]]:
    """Return variables as JSON knows them."""
    return [variable.model_dump(mode="json", by_alias=True) for variable in found]


def variables_of(message: Sequence[Mapping[str, Any]]) -> tuple[VellumVariable, ...]:
    """Return the variables that `variables` wrote."""
    return tuple(VellumVariable.model_validate(item) for item in message)
