"""What the local server keeps of an execution."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from vellum_nb.local.engine.events import Usage
from vellum_nb.models import WorkflowEventError, WorkflowInput, WorkflowOutput

__all__ = ["Actual", "Record"]


@dataclass(frozen=True, slots=True)
class Record:
    """One execution. Replaced, never changed.

    `status` is PENDING (waits for its turn), INITIATED, STREAMING, FULFILLED or REJECTED; `tag`
    the release tag that was asked for; `state` the workflow's final state; `parent` the context
    of the node that asked for it, if it runs inside of another execution.
    """

    execution_id: str
    trace_id: str
    deployment_id: str
    deployment_name: str
    release_id: str
    version_id: str
    tag: str
    inputs: tuple[WorkflowInput, ...]
    start: datetime
    external_id: str | None = None
    metadata: Mapping[str, Any] | None = None
    previous_execution_id: str | None = None
    status: str = "INITIATED"
    end: datetime | None = None
    outputs: tuple[WorkflowOutput, ...] = ()
    error: WorkflowEventError | None = None
    state: Mapping[str, Any] | None = None
    usage: tuple[Usage, ...] = ()
    parent: Mapping[str, Any] | None = None

    @property
    def ended(self) -> bool:
        """Whether it is FULFILLED or REJECTED."""
        return self.status in {"FULFILLED", "REJECTED"}


@dataclass(frozen=True, slots=True)
class Actual:
    """What an output should have been, or how good it was; `body` as it was submitted."""

    execution_id: str
    timestamp: datetime
    body: Mapping[str, Any]
