"""What the end of an execution makes of it, and of its nodes that are at work."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from vellum_nb.local.engine.events import (
    NODE_FULFILLED,
    NODE_INITIATED,
    NODE_REJECTED,
    WORKFLOW_FULFILLED,
    Event,
)
from vellum_nb.local.engine.telling import NodeTeller, Rejection, failure_of
from vellum_nb.local.ledger.records import Record
from vellum_nb.models import WorkflowEventError

__all__ = ["ended", "stopped"]


def stopped(events: Sequence[Event], why: Rejection) -> list[Event]:
    """Return the ends of the nodes that have none."""
    running: dict[str, Event] = {}
    for event in events:
        if event.name == NODE_INITIATED:
            running[event.span_id] = event
        elif event.name in {NODE_FULFILLED, NODE_REJECTED}:
            running.pop(event.span_id, None)
    cancelled = replace(why, code="NODE_CANCELLED")
    return [NodeTeller.of(event).rejected(cancelled) for event in reversed(running.values())]


def ended(record: Record, events: Sequence[Event]) -> Record:
    """Return an execution as it is after `events`, the last of which ended it."""
    last = events[-1]
    usage = tuple(used for event in events for used in event.usage)
    if last.name == WORKFLOW_FULFILLED:
        return replace(
            record,
            status="FULFILLED",
            end=last.timestamp,
            outputs=last.outputs,
            state=last.body.get("final_state"),
            usage=usage,
        )
    error = WorkflowEventError(**failure_of(last))
    return replace(record, status="REJECTED", end=last.timestamp, usage=usage, error=error)
