"""Runs Workflows SDK classes without a server, and reads their events."""

import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vellum_nb.local.engine.events import Event, Rejection, RunContext, initiated
from vellum_nb.local.sdk.workflow import SdkWorkflow
from vellum_nb.models import WorkflowInput

TYPES = {str: "STRING", int: "NUMBER", float: "NUMBER"}


@dataclass
class Result:
    """The events of a run."""

    events: list[Event]

    @property
    def last(self) -> Event:
        return self.events[-1]

    @property
    def outputs(self) -> dict[str, Any]:
        return {output.name: output.value for output in self.last.outputs}

    @property
    def types(self) -> dict[str, str]:
        return {output.name: output.type for output in self.last.outputs}

    @property
    def error(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.last.body["error"]
        return found

    def of(self, name: str) -> list[Event]:
        return [event for event in self.events if event.name == name]


def context(**options: Any) -> RunContext:
    parent = {"type": "WORKFLOW_RELEASE_TAG", "deployment_name": "x", "release_tag_name": "v1"}
    for key in ("external_id", "metadata", "parent", "links"):
        parent[key] = None
    for key in ("span", "deployment", "deployment_history_item", "release_tag", "workflow_version"):
        parent[f"{key}_id"] = str(uuid.uuid4())
    return RunContext(str(uuid.uuid4()), str(uuid.uuid4()), parent, **options)


def execution(workflow: type, values: Mapping[str, Any] | None = None, **options: Any):
    """Begin a run with natural values; a (type, value) pair has its own type."""
    inputs = []
    for name, value in (values or {}).items():
        pair = value if isinstance(value, tuple) else (TYPES.get(type(value), "JSON"), value)
        inputs.append(WorkflowInput(name=name, type=pair[0], value=pair[1]))
    return SdkWorkflow(workflow).begin(inputs, context(**options))


def events_of(execution: Any) -> list[Event]:
    """Return the events of a run; a rejection becomes the event that the engine makes of it."""
    events: list[Event] = []
    try:
        for event in execution.events():
            events += [event]
    except Rejection as why:
        events = events or [initiated(context(), {}, {})]
        events.append(events[0].rejected(why))
    return events


def run(workflow: type, values: Mapping[str, Any] | None = None, **options: Any) -> Result:
    return Result(events_of(execution(workflow, values, **options)))


def text(value: str) -> list[dict[str, str]]:
    return [{"name": "text", "type": "STRING", "value": value}]


def outputs(reply) -> dict[str, object]:
    assert reply.data.state == "FULFILLED", reply.data.error
    return {output.name: output.value for output in reply.data.outputs}
