"""From a request to the run that is recorded, and from what came back to how it ended. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from vellum_nb.errors import APIError, InputError, InputProblem
from vellum_nb.models import (
    ExecuteWorkflowResponse,
    Run,
    RunError,
    RunRequest,
    WorkflowDeploymentRelease,
    WorkflowEventError,
    WorkflowInput,
    WorkflowOutput,
    case_id,
    new_run_id,
)
from vellum_nb.models.inputs import plain
from vellum_nb.sweep.retry_policy import run_error

__all__ = ["answered", "cancelled", "ended", "started", "unanswered", "with_plain_options"]


def with_plain_options(request: RunRequest) -> RunRequest:
    """Return `request` with its options as they are sent."""
    sent: dict[str, Any] = {}
    problems = []
    for name in ("external_id", "metadata", "previous_execution_id"):
        try:
            sent[name] = plain(getattr(request, name))
        except InputError as exc:
            problems.append(InputProblem(name, str(exc)))
    if problems:
        msg = f"The options of this run of {request.deployment} do not fit; nothing was sent:"
        raise InputError(msg, problems)
    return request.model_copy(update=sent)


def started(
    request: RunRequest, release: WorkflowDeploymentRelease | None, wire: list[WorkflowInput]
) -> Run:
    """Return the run of `request` as it is recorded before it is sent."""
    run_id = new_run_id()
    inputs = _case(request, wire)
    return Run(
        id=run_id,
        external_id=request.external_id or run_id,
        deployment=request.deployment,
        release_tag=request.release_tag,
        release_id=release.id if release else None,
        environment=release.environment.name if release and release.environment else None,
        timestamp=datetime.now(UTC),
        inputs=inputs,
        not_sent=request.not_sent,
        case_id=case_id(inputs),
        metadata=dict(request.metadata) if request.metadata is not None else None,
        previous_execution_id=request.previous_execution_id,
    )


def _case(request: RunRequest, wire: list[WorkflowInput]) -> dict[str, Any]:
    """Return the whole case in plain values: what is sent, and what this release does not know."""
    sent = {item.name: item.value for item in wire}
    kept = {name: plain(request.inputs[name]) for name in request.not_sent}
    return {name: (sent | kept)[name] for name in request.inputs if name in sent or name in kept}


def answered(reply: ExecuteWorkflowResponse) -> dict[str, Any]:
    """Return what a reply adds to the run."""
    result = reply.data
    found = ended(result.state, result.outputs, result.error)
    return {"execution_id": reply.execution_id, **found}


def ended(
    state: str, outputs: Iterable[WorkflowOutput], error: WorkflowEventError | None
) -> dict[str, Any]:
    """Return what an end, as the server tells it, adds to the run."""
    if state == "FULFILLED":
        outputs = tuple(outputs)
        return {
            "state": "FULFILLED",
            "outputs": {output.name: output.value for output in outputs},
            "output_types": {output.name: output.type for output in outputs},
        }
    if state == "REJECTED":
        code = error.code if error else "INTERNAL_SERVER_ERROR"
        message = error.message if error else "the server gave no reason"
        return {"state": "REJECTED", "error": RunError(code=code, message=message)}
    message = f"the server answered with the state {state!r}, which ends no run"
    return {"state": "FAILED", "error": RunError(code="BAD_RESPONSE", message=message)}


def unanswered(exc: APIError) -> dict[str, Any]:
    """Return what an error of the API adds to the run."""
    return {"state": "FAILED", "error": run_error(exc)}


def cancelled() -> dict[str, Any]:
    """Return what giving up adds to the run."""
    error = RunError(code="CANCELLED", message="cancelled before an answer came")
    return {"state": "CANCELLED", "error": error}
