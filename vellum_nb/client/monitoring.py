"""Executions that run or have run: how far they are, what they did, what they were worth."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from pydantic import ValidationError

from vellum_nb.client.base import BaseClient
from vellum_nb.client.deployments import walk
from vellum_nb.client.exchange import request_for
from vellum_nb.errors import InputError
from vellum_nb.models import (
    ActualRequest,
    Cancellation,
    CheckWorkflowExecutionStatusResponse,
    Page,
    SlimWorkflowExecutionRead,
    WorkflowEventExecutionRead,
    WorkflowExecutionDetail,
    WorkflowResolvedState,
)
from vellum_nb.models.inputs import plain

__all__ = ["MonitoringMethods"]

Filters: TypeAlias = Mapping[str, Any] | str
_EXECUTIONS = Page[SlimWorkflowExecutionRead]


class MonitoringMethods(BaseClient):
    """The methods that watch and judge executions."""

    def workflow_execution_status(self, execution_id: str) -> CheckWorkflowExecutionStatusResponse:
        """Return how far an execution is, and its outputs once it has ended."""
        path = ("workflows", "executions", execution_id, "status")
        return self._get(CheckWorkflowExecutionStatusResponse, *path, predict=True)

    def submit_workflow_execution_actuals(
        self,
        actuals: Sequence[ActualRequest | Mapping[str, Any]],
        *,
        execution_id: str | None = None,
        external_id: str | None = None,
    ) -> None:
        """Say what outputs of an execution were worth, and what they should have been.

        Name the execution by one of `execution_id` and `external_id`.
        """
        fields = {
            "actuals": [_actual(each) for each in actuals],
            "execution_id": execution_id,
            "external_id": external_id,
        }
        body = {name: value for name, value in fields.items() if value is not None}
        url = self._url("submit-workflow-execution-actuals", predict=True)
        self._sender.fetch(request_for("POST", url, body=body))

    def list_workflow_deployment_event_executions(
        self,
        id: str,  # noqa: A002
        *,
        filters: Filters | None = None,
        limit: int | None = None,
        offset: int | None = None,
        ordering: str | None = None,
        cancel: Cancellation | None = None,
    ) -> Page[SlimWorkflowExecutionRead]:
        """Return one page of a deployment's executions, of all releases and callers.

        Parameters
        ----------
        id
            The deployment's id or name.
        filters
            A group of conditions as the API has it, as a dict or as JSON text.
        limit, offset
            How many, and after how many.
        ordering
            ``timestamp``, ``-timestamp``, ``state`` or ``-state``.
        cancel
            Ends the call from another thread, with an `APIConnectionError`.
        """
        query = {
            "filters": _filters(filters),
            "limit": limit,
            "offset": offset,
            "ordering": ordering,
        }
        path = ("workflow-deployments", id, "execution-events")
        return self._get(_EXECUTIONS, *path, query=query, cancel=cancel)

    def iter_workflow_deployment_event_executions(
        self,
        id: str,  # noqa: A002
        *,
        filters: Filters | None = None,
        limit: int | None = None,
        ordering: str | None = None,
    ) -> Iterator[SlimWorkflowExecutionRead]:
        """Walk all executions of a deployment, `limit` a page."""
        return walk(
            lambda offset: self.list_workflow_deployment_event_executions(
                id, filters=filters, limit=limit, offset=offset, ordering=ordering
            )
        )

    def workflow_deployment_event_execution(
        self,
        id: str,  # noqa: A002
        execution_id: str,
    ) -> WorkflowEventExecutionRead:
        """Return one execution of a deployment, with its spans."""
        path = ("workflow-deployments", id, "execution-events", execution_id)
        return self._get(WorkflowEventExecutionRead, *path)

    def retrieve_workflow_execution_detail(
        self,
        execution_id: str,
        *,
        prev_span_id: str | None = None,
        span_limit: int | None = None,
    ) -> WorkflowExecutionDetail:
        """Return one execution, with at most `span_limit` spans that follow `prev_span_id`."""
        query = {"prev_span_id": prev_span_id, "span_limit": span_limit}
        path = ("workflow-executions", execution_id, "detail")
        return self._get(WorkflowExecutionDetail, *path, query=query)

    def retrieve_state(self, span_id: str) -> WorkflowResolvedState:
        """Return what the workflow with this execution id remembered when it ended."""
        return self._get(WorkflowResolvedState, "workflows", span_id, "state", predict=True)


def _filters(filters: Filters | None) -> str | None:
    if filters is None or isinstance(filters, str):
        return filters
    return json.dumps(plain(filters), ensure_ascii=False, separators=(",", ":"))


def _actual(actual: ActualRequest | Mapping[str, Any]) -> dict[str, Any]:
    """Return an actual as sent; what is None stays absent."""
    if not isinstance(actual, ActualRequest):
        try:
            actual = ActualRequest.model_validate(plain(actual))
        except ValidationError as exc:
            found = exc.errors(include_url=False, include_context=False)[0]
            place = ".".join(str(step) for step in found["loc"])
            msg = f"An actual cannot be {found['input']!r:.60} in {place}: {found['msg']}."
        else:
            return _actual(actual)
        raise InputError(msg)
    given = {name: getattr(actual, name) for name in ActualRequest.model_fields}
    return {name: plain(value) for name, value in given.items() if value is not None}
