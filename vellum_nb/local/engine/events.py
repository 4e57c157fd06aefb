"""What happens in an execution, as events in Vellum's own terms.

Every kind of code (callable, Workflows SDK class, process of its own) tells its run as these, and
everything that shows a run (streams, status, spans, the ledger) is made from them.

Source: https://docs.vellum.ai/developers/client-sdk/workflows/execute-workflow-stream
"""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from vellum_nb.models import WorkflowOutput

__all__ = [
    "NODE_FULFILLED",
    "NODE_INITIATED",
    "NODE_REJECTED",
    "NODE_STREAMING",
    "WORKFLOW_FULFILLED",
    "WORKFLOW_INITIATED",
    "WORKFLOW_REJECTED",
    "WORKFLOW_STREAMING",
    "Event",
    "Usage",
]

WORKFLOW_INITIATED = "workflow.execution.initiated"
WORKFLOW_STREAMING = "workflow.execution.streaming"
WORKFLOW_FULFILLED = "workflow.execution.fulfilled"
WORKFLOW_REJECTED = "workflow.execution.rejected"
NODE_INITIATED = "node.execution.initiated"
NODE_STREAMING = "node.execution.streaming"
NODE_FULFILLED = "node.execution.fulfilled"
NODE_REJECTED = "node.execution.rejected"


@dataclass(frozen=True, slots=True)
class Usage:
    """What one call of a model used; `cost_usd` is None where the price is not known.

    `estimated`: the model did not count, the tokens are guessed from the length of the text.
    """

    model: str
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost_usd: float | None = None
    estimated: bool = False


@dataclass(frozen=True, slots=True)
class Event:
    """One thing that happened, with the keys of Vellum's ``WorkflowEvent``.

    Attributes
    ----------
    name : str
        Such as ``node.execution.fulfilled``.
    span_id : str
        Of the node; for the workflow's own events it is the execution id.
    body : mapping
        Plain JSON, with the keys that the contract gives to this name.
    parent : mapping, optional
        The parent context, plain JSON.
    outputs : tuple of WorkflowOutput
        Typed outputs: of a workflow's streaming event the one it tells of (with a value when it
        is complete), of its fulfilled event all.
    kind : str
        Of a node: PROMPT, TEMPLATING, CODE_EXECUTION and so on, as node results are called.
    usage : tuple of Usage
        Of a fulfilled prompt node: what it used.
    execution_ids : tuple of str
        Of a node that has ended: the executions that ran inside of it, in order.
    source_execution_id : str, optional
        Of a node inside of another one: the execution of the inner workflow.
    """

    name: str
    span_id: str
    trace_id: str
    body: Mapping[str, Any]
    parent: Mapping[str, Any] | None = None
    outputs: tuple[WorkflowOutput, ...] = ()
    kind: str = ""
    usage: tuple[Usage, ...] = ()
    execution_ids: tuple[str, ...] = ()
    source_execution_id: str | None = None
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    timestamp: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def ends(self) -> bool:
        """Whether it is the last one of the whole execution."""
        return self.name in {WORKFLOW_FULFILLED, WORKFLOW_REJECTED}

    def envelope(self) -> dict[str, Any]:
        """Return it as ``execute-stream`` and spans carry it."""
        return {
            "name": self.name,
            "body": dict(self.body),
            "id": self.id,
            "timestamp": self.timestamp.isoformat(),
            "api_version": "2025-07-30",
            "trace_id": self.trace_id,
            "span_id": self.span_id,
            "parent": None if self.parent is None else dict(self.parent),
            "links": None,
        }
