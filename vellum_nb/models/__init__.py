"""The contract as frozen pydantic models, and a run as the history keeps it."""

from __future__ import annotations

from vellum_nb.models.base import canonical_json
from vellum_nb.models.contract import (
    ActualRequest,
    ExpandMeta,
    Page,
    SlimWorkflowDeployment,
    SlimWorkflowExecutionRead,
    UploadedFileRead,
    VellumSpan,
    VellumVariable,
    WorkflowDeploymentRead,
    WorkflowDeploymentRelease,
    WorkflowEvent,
    WorkflowEventError,
    WorkflowExecutionDetail,
    WorkflowInput,
    WorkflowOutput,
    WorkflowReleaseTagRead,
    WorkflowStreamEvent,
)
from vellum_nb.models.run import (
    Cancellation,
    DoubtKind,
    Run,
    RunError,
    RunRequest,
    RunState,
    case_id,
    new_run_id,
)
from vellum_nb.models.trace import NodeRun, nodes_of_spans, nodes_of_stream, totals, usage_totals

__all__ = [
    "ActualRequest",
    "Cancellation",
    "DoubtKind",
    "ExpandMeta",
    "NodeRun",
    "Page",
    "Run",
    "RunError",
    "RunRequest",
    "RunState",
    "SlimWorkflowDeployment",
    "SlimWorkflowExecutionRead",
    "UploadedFileRead",
    "VellumSpan",
    "VellumVariable",
    "WorkflowDeploymentRead",
    "WorkflowDeploymentRelease",
    "WorkflowEvent",
    "WorkflowEventError",
    "WorkflowExecutionDetail",
    "WorkflowInput",
    "WorkflowOutput",
    "WorkflowReleaseTagRead",
    "WorkflowStreamEvent",
    "canonical_json",
    "case_id",
    "new_run_id",
    "nodes_of_spans",
    "nodes_of_stream",
    "totals",
    "usage_totals",
]
