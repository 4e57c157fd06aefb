"""The contract as frozen pydantic models, and a run as the history keeps it."""

from __future__ import annotations

from vellum_nb.models.cancel import Cancellation
from vellum_nb.models.deployments import (
    EnvironmentRead,
    OrganizationRead,
    Page,
    SlimWorkflowDeployment,
    VellumVariable,
    WorkflowDeploymentRead,
    WorkflowDeploymentRelease,
    WorkflowReleaseTagRead,
    WorkspaceRead,
)
from vellum_nb.models.execution import (
    ExecuteWorkflowRequest,
    ExecuteWorkflowResponse,
    ExpandMeta,
    WorkflowEventError,
    WorkflowInput,
    WorkflowOutput,
    WorkflowResult,
)
from vellum_nb.models.run import (
    Run,
    RunError,
    RunRequest,
    RunState,
    canonical_json,
    case_id,
    new_run_id,
)
from vellum_nb.models.trace import NodeRun

__all__ = [
    "Cancellation",
    "EnvironmentRead",
    "ExecuteWorkflowRequest",
    "ExecuteWorkflowResponse",
    "ExpandMeta",
    "NodeRun",
    "OrganizationRead",
    "Page",
    "Run",
    "RunError",
    "RunRequest",
    "RunState",
    "SlimWorkflowDeployment",
    "VellumVariable",
    "WorkflowDeploymentRead",
    "WorkflowDeploymentRelease",
    "WorkflowEventError",
    "WorkflowInput",
    "WorkflowOutput",
    "WorkflowReleaseTagRead",
    "WorkflowResult",
    "WorkspaceRead",
    "canonical_json",
    "case_id",
    "new_run_id",
]
