"""The life of one run: resolve, check, record, send, record.

Nothing here knows a widget; the form and the command line are handed `Runner.execute`.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Any

from vellum_nb.client import Client
from vellum_nb.errors import (
    APIConnectionError,
    APIError,
    APIStatusError,
    APITimeoutError,
    AuthenticationError,
    HistoryError,
    InputError,
    InputProblem,
    VellumNBError,
)
from vellum_nb.history import History
from vellum_nb.models import (
    Cancellation,
    ExecuteWorkflowResponse,
    Run,
    RunError,
    RunRequest,
    WorkflowDeploymentRelease,
    WorkflowInput,
    case_id,
    new_run_id,
)
from vellum_nb.models.inputs import plain, to_wire
from vellum_nb.workspace.lookup import Lookup

__all__ = ["Runner"]


class Runner:
    """Runs one case on one release tag and keeps it.

    Parameters
    ----------
    client, history
        Where the run goes, and where it is kept.
    lookup
        Resolves release tags.
    """

    def __init__(self, client: Client, history: History, lookup: Lookup) -> None:
        self._client = client
        self._history = history
        self._lookup = lookup

    def execute(
        self, request: RunRequest, cancel: Cancellation | None = None
    ) -> tuple[Run, VellumNBError | None]:
        """Run `request`; return the run, and the error when no usable answer came.

        Raises
        ------
        InputError
            The inputs do not fit the release, or JSON cannot say the metadata or an id. Nothing
            was sent or recorded.
        NotFoundError
            There is no such deployment or release tag. Nothing was sent or recorded.
        HistoryError
            The run could not be recorded. When its answer had come, it is the error's `run`.
        """
        request = _with_plain_options(request)
        release = self.resolve(request.deployment, request.release_tag)
        wire = self._check(request, release)
        run = _started(request, release, wire)
        self._history.begin(run)
        clock = time.perf_counter()
        error: VellumNBError | None = None
        try:
            reply = self._client.execute_workflow(
                wire,
                workflow_deployment_name=request.deployment,
                release_tag=request.release_tag,
                external_id=run.external_id,
                metadata=request.metadata,
                previous_execution_id=request.previous_execution_id,
                cancel=cancel,
            )
            ended = _answered(reply)
        except APIError as exc:
            error = exc
            cancelled = cancel is not None and cancel.cancelled
            ended = _cancelled() if cancelled else _unanswered(exc)
        except KeyboardInterrupt:
            self._history.finish(_finished(run, clock, _cancelled()))
            raise
        run = _finished(run, clock, ended)
        self._finish(run)
        if error is not None:
            error.add_note(f"The run is kept in the history as {run.state}: {run.id}")
        return run, error

    def _finish(self, run: Run) -> None:
        """Record how `run` ended; where that fails, its answer goes with the error."""
        try:
            self._history.finish(run)
        except HistoryError as exc:
            exc.run = run
            exc.add_note(f"The run ended as {run.state}; the error's `run` holds what came.")
            raise

    def resolve(self, deployment: str, release_tag: str) -> WorkflowDeploymentRelease | None:
        """Return the release the tag points at now, or None where the key may not read it."""
        try:
            return self._lookup.release(deployment, release_tag)
        except AuthenticationError as exc:
            if exc.status_code != HTTPStatus.FORBIDDEN:
                raise
            return None

    def _check(
        self, request: RunRequest, release: WorkflowDeploymentRelease | None
    ) -> list[WorkflowInput]:
        sent = {k: v for k, v in request.inputs.items() if k not in request.not_sent}
        variables = release.workflow_version.input_variables if release else None
        return to_wire(sent, variables, where=f"{request.deployment} {request.release_tag}")


def _with_plain_options(request: RunRequest) -> RunRequest:
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


def _started(
    request: RunRequest, release: WorkflowDeploymentRelease | None, wire: list[WorkflowInput]
) -> Run:
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


def _finished(run: Run, clock: float, ended: dict[str, Any]) -> Run:
    latency = time.perf_counter() - clock
    return run.model_copy(
        update={"finished_at": datetime.now(UTC), "latency_s": round(latency, 6), **ended}
    )


def _answered(reply: ExecuteWorkflowResponse) -> dict[str, Any]:
    """Return what a reply adds to the run."""
    result = reply.data
    found: dict[str, Any] = {"execution_id": reply.execution_id}
    if result.state == "FULFILLED":
        found["state"] = "FULFILLED"
        found["outputs"] = {output.name: output.value for output in result.outputs}
        found["output_types"] = {output.name: output.type for output in result.outputs}
    elif result.state == "REJECTED":
        found["state"] = "REJECTED"
        why = result.error
        found["error"] = RunError(
            code=why.code if why else "INTERNAL_SERVER_ERROR",
            message=why.message if why else "the server gave no reason",
        )
    else:
        found["state"] = "FAILED"
        message = f"the server answered with the state {result.state!r}, which ends no run"
        found["error"] = RunError(code="BAD_RESPONSE", message=message)
    return found


def _unanswered(exc: APIError) -> dict[str, Any]:
    if isinstance(exc, APITimeoutError):
        code = "TIMEOUT"
    elif isinstance(exc, APIConnectionError):
        code = "CONNECTION"
    elif isinstance(exc, APIStatusError):
        code = f"HTTP_{exc.status_code}"
    else:
        code = "BAD_RESPONSE"
    return {"state": "FAILED", "error": RunError(code=code, message=str(exc))}


def _cancelled() -> dict[str, Any]:
    error = RunError(code="CANCELLED", message="cancelled before an answer came")
    return {"state": "CANCELLED", "error": error}
