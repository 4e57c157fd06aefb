"""The routes that execute workflows: from a request's body to an order, and its answer."""

from __future__ import annotations

import json
import uuid
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from typing import Annotated, Any, Literal

from fastapi import Request, Response
from pydantic import AfterValidator, Field

from vellum_nb.local.deployments.registry import Registry
from vellum_nb.local.deployments.releases import LATEST, Deployment
from vellum_nb.local.engine.events import Event, values_by_name
from vellum_nb.local.engine.executions import LiveExecution
from vellum_nb.local.engine.inputs import WIRE_TYPES
from vellum_nb.local.engine.requests import ExecutionRequest, outer_context
from vellum_nb.local.ledger.ledger import ExecutionRecord
from vellum_nb.local.refusals import bad_request, not_found
from vellum_nb.local.routes.common import (
    STREAM_RESPONSES,
    Body,
    LineResponse,
    Named,
    Served,
    json_line,
    new_router,
    on_hang_up,
    reply,
    tag_of,
)
from vellum_nb.local.routes.stream_lines import WorkflowStream
from vellum_nb.models import (
    CheckWorkflowExecutionStatusResponse,
    ExecuteWorkflowAsyncResponse,
    ExecuteWorkflowResponse,
    WorkflowEvent,
    WorkflowEventError,
    WorkflowInput,
    WorkflowResult,
    WorkflowStreamEvent,
)
from vellum_nb.models import ExecuteWorkflowRequest as ExecuteWorkflowBody
from vellum_nb.models.base import Model

__all__ = ["router"]

router = new_router()
_HUNG_UP = "The client hung up"
_MOST_METADATA = 64 * 1024


def _small(metadata: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    if metadata and len(json.dumps(metadata)) > _MOST_METADATA:
        msg = f"more than {_MOST_METADATA:,} characters of JSON"
        raise ValueError(msg)
    return metadata


Text = Annotated[str, Field(max_length=1000)]
NonEmpty = Annotated[str, Field(min_length=1, max_length=1000)]
Metadata = Annotated[Mapping[str, Any] | None, AfterValidator(_small)]


class ExecuteWorkflowRequest(ExecuteWorkflowBody):
    """What every request to execute a workflow has; `execution_context` is sent by nodes."""

    workflow_deployment_id: Text | None = None
    workflow_deployment_name: NonEmpty | None = None
    release_tag: NonEmpty | None = None
    external_id: NonEmpty | None = None
    metadata: Metadata = None
    previous_execution_id: Text | None = None
    execution_context: Mapping[str, Any] | None = None


class ExecuteWorkflowStreamRequest(ExecuteWorkflowRequest):
    """Body of POST /v1/execute-workflow-stream."""

    event_types: tuple[Literal["NODE", "WORKFLOW"], ...] = ("WORKFLOW",)


class DeploymentExecuteStreamRequest(Model):
    """Body of POST /v1/workflow-deployments/{id}/execute-stream."""

    inputs: Mapping[NonEmpty, Any] = Field(default_factory=dict)
    trigger: NonEmpty | None = None
    release_tag: NonEmpty | None = None
    external_id: NonEmpty | None = None
    metadata: Metadata = None
    previous_execution_id: Text | None = None


_NO_VALUES = DeploymentExecuteStreamRequest()


@router.post("/v1/execute-workflow", response_model=ExecuteWorkflowResponse)
async def execute_workflow(
    request: Request, state: Served, body: Body[ExecuteWorkflowRequest]
) -> Response:
    """Run a release and answer when it has ended; a client that hangs up cancels the run."""
    live = state.executions.start(_order(state.registry, body))
    with on_hang_up(request.receive, lambda: live.cancel(_HUNG_UP)):
        record = await live.result()
    return reply(
        ExecuteWorkflowResponse(
            execution_id=record.execution_id,
            external_id=record.external_id,
            run_id=None,
            data=_result(record),
        )
    )


@router.post(
    "/v1/execute-workflow-stream",
    response_class=LineResponse,
    status_code=200,
    response_model=WorkflowStreamEvent,
    responses=STREAM_RESPONSES,
)
async def execute_workflow_stream(
    state: Served, body: Body[ExecuteWorkflowStreamRequest]
) -> Response:
    """Run a release and send its events as they happen."""
    live = await state.executions.begin(_order(state.registry, body))
    stream = WorkflowStream(
        live.record, event_types=body.event_types or ("WORKFLOW",), expand_meta=body.expand_meta
    )
    return _streamed(live, stream.lines)


@router.post("/v1/execute-workflow-async", response_model=ExecuteWorkflowAsyncResponse)
async def execute_workflow_async(state: Served, body: Body[ExecuteWorkflowRequest]) -> Response:
    """Begin to run a release and answer at once."""
    live = await state.executions.begin(_order(state.registry, body))
    return reply(ExecuteWorkflowAsyncResponse(execution_id=live.record.execution_id))


@router.get(
    "/v1/workflows/executions/{execution_id}/status",
    response_model=CheckWorkflowExecutionStatusResponse,
)
async def workflow_execution_status(state: Served, execution_id: str) -> Response:
    """Return the state of an execution, with its outputs or its error."""
    record = state.executions.record(execution_id)
    if record is None:
        msg = f"No execution {execution_id!r:.60} is here"
        raise not_found(msg)
    error = record.error
    return reply(
        CheckWorkflowExecutionStatusResponse(
            status=record.status,
            execution_id=record.execution_id,
            outputs=values_by_name(record.outputs) if record.status == "FULFILLED" else None,
            error=error and WorkflowEventError(message=error.message, code=error.code),
            execution_detail_url=None,
        )
    )


@router.post(
    "/v1/workflow-deployments/{id}/execute-stream",
    response_class=LineResponse,
    status_code=200,
    response_model=WorkflowEvent,
    responses=STREAM_RESPONSES,
)
async def execute_stream(
    state: Served, deployment: Named, body: Body[DeploymentExecuteStreamRequest] = _NO_VALUES
) -> Response:
    """Run a release with plain values, and send its events in their envelopes."""
    live = await state.executions.begin(_order_of_values(state.registry, deployment, body))
    return _streamed(live, lambda event: iter((event.envelope(),)))


def _result(record: ExecutionRecord) -> WorkflowResult:
    common: dict[str, Any] = {"id": str(uuid.uuid4()), "ts": record.end}
    if record.error is None:
        return WorkflowResult(**common, state="FULFILLED", outputs=record.outputs)
    return WorkflowResult(**common, state="REJECTED", error=record.error)


def _streamed(live: LiveExecution, lines: Callable[[Event], Iterator[dict[str, Any]]]) -> Response:
    async def chunks() -> AsyncIterator[bytes]:
        async for batch in live.batches():
            text = b"".join(json_line(each) for event in batch for each in lines(event))
            if text:
                yield text

    return LineResponse(chunks(), hung_up=lambda: live.cancel(_HUNG_UP))


def _order(registry: Registry, body: ExecuteWorkflowRequest) -> ExecutionRequest:
    deployment = _addressed(registry, body)
    tag = tag_of(deployment, body.release_tag or LATEST)
    context = body.execution_context or {}
    return ExecutionRequest(
        deployment=deployment,
        tag=tag,
        release=registry.release(deployment, tag.release_id),
        inputs=body.inputs,
        external_id=body.external_id,
        metadata=body.metadata,
        previous_execution_id=body.previous_execution_id,
        parent=outer_context(context.get("parent_context")),
        trace_id=_trace_id(context.get("trace_id")),
    )


def _order_of_values(
    registry: Registry, deployment: Deployment, body: DeploymentExecuteStreamRequest
) -> ExecutionRequest:
    """Return the order of a request with plain values; the input variables give their types."""
    tag = tag_of(deployment, body.release_tag or LATEST)
    release = registry.release(deployment, tag.release_id)
    types = {v.key: v.type for v in release.input_variables if v.type in WIRE_TYPES}
    return ExecutionRequest(
        deployment=deployment,
        tag=tag,
        release=release,
        inputs=tuple(
            WorkflowInput(name=name, type=types.get(name, "JSON"), value=value)
            for name, value in body.inputs.items()
        ),
        external_id=body.external_id,
        metadata=body.metadata,
        previous_execution_id=body.previous_execution_id,
        trigger=body.trigger,
    )


def _addressed(registry: Registry, body: ExecuteWorkflowRequest) -> Deployment:
    """Return the deployment that a request names."""
    id_, name = body.workflow_deployment_id, body.workflow_deployment_name
    if id_ is None and name is None:
        msg = "Give either workflow_deployment_id or workflow_deployment_name"
        raise bad_request(msg)
    if id_ is None:
        return registry.named(str(name))
    deployment = registry.with_id(id_)
    if name is not None and name != deployment.name:
        msg = (
            f"workflow_deployment_id belongs to {deployment.name!r}, "
            f"but workflow_deployment_name is {name!r}; give one of the two"
        )
        raise bad_request(msg)
    return deployment


def _trace_id(given: Any) -> str:
    """Return the trace of a workflow that runs inside another one, or a new one."""
    try:
        return str(uuid.UUID(given)) if isinstance(given, str) else str(uuid.uuid4())
    except ValueError:
        return str(uuid.uuid4())
