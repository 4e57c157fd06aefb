"""The contract as frozen pydantic models, and a run as the history keeps it."""

from __future__ import annotations

from vellum_nb.models.cancel import Cancellation
from vellum_nb.models.deployments import (
    EnvironmentRead,
    OrganizationRead,
    Page,
    SlimWorkflowDeployment,
    VellumVariable,
    WorkflowDeploymentHistoryItem,
    WorkflowDeploymentRead,
    WorkflowDeploymentRelease,
    WorkflowReleaseTagRead,
    WorkspaceRead,
)
from vellum_nb.models.events import (
    ParentContext,
    VellumCodeResourceDefinition,
    VellumSpan,
    WorkflowEvent,
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
from vellum_nb.models.executions import (
    ActualRequest,
    CheckWorkflowExecutionStatusResponse,
    ExecuteWorkflowAsyncResponse,
    SlimWorkflowExecutionRead,
    UploadedFileRead,
    WorkflowEventExecutionRead,
    WorkflowExecutionActual,
    WorkflowExecutionDetail,
    WorkflowResolvedState,
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
from vellum_nb.models.stream import (
    WorkflowNodeResultEvent,
    WorkflowResultEvent,
    WorkflowResultEventOutputData,
    WorkflowStreamEvent,
)
from vellum_nb.models.trace import NodeRun
from vellum_nb.models.tracing import nodes_of_spans, nodes_of_stream, totals, usage_totals
from vellum_nb.models.usage import (
    MlModelUsage,
    MlModelUsageWrapper,
    Price,
    WorkflowExecutionUsageResult,
)

__all__ = [
    "ActualRequest",
    "Cancellation",
    "CheckWorkflowExecutionStatusResponse",
    "EnvironmentRead",
    "ExecuteWorkflowAsyncResponse",
    "ExecuteWorkflowRequest",
    "ExecuteWorkflowResponse",
    "ExpandMeta",
    "MlModelUsage",
    "MlModelUsageWrapper",
    "NodeRun",
    "OrganizationRead",
    "Page",
    "ParentContext",
    "Price",
    "Run",
    "RunError",
    "RunRequest",
    "RunState",
    "SlimWorkflowDeployment",
    "SlimWorkflowExecutionRead",
    "UploadedFileRead",
    "VellumCodeResourceDefinition",
    "VellumSpan",
    "VellumVariable",
    "WorkflowDeploymentHistoryItem",
    "WorkflowDeploymentRead",
    "WorkflowDeploymentRelease",
    "WorkflowEvent",
    "WorkflowEventError",
    "WorkflowEventExecutionRead",
    "WorkflowExecutionActual",
    "WorkflowExecutionDetail",
    "WorkflowExecutionUsageResult",
    "WorkflowInput",
    "WorkflowNodeResultEvent",
    "WorkflowOutput",
    "WorkflowReleaseTagRead",
    "WorkflowResolvedState",
    "WorkflowResult",
    "WorkflowResultEvent",
    "WorkflowResultEventOutputData",
    "WorkflowStreamEvent",
    "WorkspaceRead",
    "canonical_json",
    "case_id",
    "new_run_id",
    "nodes_of_spans",
    "nodes_of_stream",
    "totals",
    "usage_totals",
]
