"""A node inside of another one: streams and spans agree on what is inside of what."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from vellum_nb.local.engine.events import Event
from vellum_nb.local.ledger.ledger import ExecutionRecord
from vellum_nb.local.routes.executions import spans_of
from vellum_nb.local.routes.stream_lines import WorkflowStream
from vellum_nb.models import (
    VellumSpan,
    WorkflowStreamEvent,
    nodes_of_spans,
    nodes_of_stream,
)

RUN: dict[str, Any] = {"type": "WORKFLOW", "span_id": "e-1", "parent": None}
OUTER: dict[str, Any] = {"type": "WORKFLOW_NODE", "span_id": "outer", "parent": RUN}
INNER: dict[str, Any] = {"type": "WORKFLOW", "span_id": "inner", "parent": OUTER}


def told(name: str, span: str, parent: dict[str, Any] | None, kind: str = "") -> Event:
    part = name.partition(".")[0]
    body = {f"{part}_definition": {"id": f"{span}-id", "name": span.title()}, "outputs": {}}
    return Event(name, span, "t", body, parent, kind=kind)


def test_streams_and_spans_agree_on_what_is_inside_of_what() -> None:
    events = [
        told("workflow.execution.initiated", "e-1", None),
        told("node.execution.initiated", "outer", RUN),
        told("workflow.execution.initiated", "inner", OUTER),
        told("node.execution.initiated", "deep", INNER),
        told("node.execution.fulfilled", "deep", INNER, "TEMPLATING"),
        told("workflow.execution.fulfilled", "inner", OUTER),
        told("node.execution.fulfilled", "outer", RUN, "SUBWORKFLOW"),
    ]
    where = {"deployment_id": "d", "deployment_name": "w", "release_id": "r", "version_id": "v"}
    record = ExecutionRecord("e-1", "t", **where, tag="v1", inputs=(), start=datetime.now(UTC))
    stream = WorkflowStream(record, event_types={"NODE"})
    lines = [line for event in events for line in stream.lines(event)]
    of_stream = nodes_of_stream(map(WorkflowStreamEvent.model_validate, lines))
    of_spans = nodes_of_spans([VellumSpan.model_validate(span) for span in spans_of(events)])
    assert of_stream == of_spans
    assert [(node.name, node.kind, node.parent_span_id) for node in of_spans] == [
        ("Outer", "SUBWORKFLOW", "e-1"),
        ("Deep", "TEMPLATING", "outer"),
    ]
