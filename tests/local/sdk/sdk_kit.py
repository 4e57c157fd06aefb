"""Runs Workflows SDK classes without a server, and looks at what they tell."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from vellum_nb.local.engine.events import Event, Rejection, RunContext, initiated
from vellum_nb.local.sdk.workflow import SdkWorkflow
from vellum_nb.models import WorkflowInput

TYPES = {str: "STRING", int: "NUMBER", float: "NUMBER"}


@dataclass
class Told:
    """What a run told."""

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

    def names(self, *, node: str | None = None) -> list[str]:
        """Return the names of the events, of all or of one node."""
        return [
            event.name
            for event in self.events
            if node is None or event.body.get("node_definition", {}).get("name") == node
        ]

    def of(self, name: str) -> list[Event]:
        return [event for event in self.events if event.name == name]


def context(**options: Any) -> RunContext:
    ids = {
        key: str(uuid.uuid4())
        for key in (
            "span_id",
            "deployment_id",
            "deployment_history_item_id",
            "release_tag_id",
            "workflow_version_id",
        )
    }
    parent = {
        "type": "WORKFLOW_RELEASE_TAG",
        "deployment_name": "under-test",
        "release_tag_name": "v1",
        "external_id": None,
        "metadata": None,
        "parent": None,
        "links": None,
        **ids,
    }
    return RunContext(
        execution_id=str(uuid.uuid4()), trace_id=str(uuid.uuid4()), parent=parent, **options
    )


def typed(values: Mapping[str, Any]) -> list[WorkflowInput]:
    """Return natural values as typed inputs; a (type, value) pair says its own type."""
    found = []
    for name, value in values.items():
        if isinstance(value, tuple):
            type_, value = value  # noqa: PLW2901 - the pair's parts
        else:
            type_ = TYPES.get(type(value), "JSON")
        found.append(WorkflowInput(name=name, type=type_, value=value))
    return found


def execution(workflow: type, values: Mapping[str, Any] | None = None, **options: Any):
    return SdkWorkflow(workflow).begin(typed(values or {}), context(**options))


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


def run(workflow: type, values: Mapping[str, Any] | None = None, **options: Any) -> Told:
    return Told(events_of(execution(workflow, values, **options)))


def in_thread(workflow: type, values: Mapping[str, Any] | None = None, **options: Any):
    """Begin a run in a thread; return what cancels it and what waits for its end."""
    begun = execution(workflow, values, **options)
    told: list[Event] = []
    thread = threading.Thread(target=lambda: told.extend(events_of(begun)), daemon=True)
    thread.start()

    def wait() -> Told:
        thread.join(20)
        assert not thread.is_alive()
        return Told(told)

    return begun.cancel, wait


def text(value: str) -> list[dict[str, str]]:
    return [{"name": "text", "type": "STRING", "value": value}]


def outputs(reply) -> dict[str, object]:
    assert reply.data.state == "FULFILLED", reply.data.error
    return {output.name: output.value for output in reply.data.outputs}
