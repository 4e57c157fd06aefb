"""Executing workflows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from vellum_nb.client.base import BaseClient
from vellum_nb.client.exchange import Request, request_for
from vellum_nb.client.streaming import EventStream
from vellum_nb.models import (
    Cancellation,
    ExecuteWorkflowAsyncResponse,
    ExecuteWorkflowResponse,
    ExpandMeta,
    WorkflowEvent,
    WorkflowInput,
    WorkflowStreamEvent,
)
from vellum_nb.models.inputs import plain, to_wire

__all__ = ["ExecutionMethods"]

Inputs: TypeAlias = Mapping[str, object] | Sequence[WorkflowInput | Mapping[str, Any]]


class ExecutionMethods(BaseClient):
    """The methods that execute workflows."""

    def execute_workflow(
        self,
        inputs: Inputs,
        *,
        workflow_deployment_name: str | None = None,
        workflow_deployment_id: str | None = None,
        release_tag: str | None = None,
        external_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        previous_execution_id: str | None = None,
        expand_meta: ExpandMeta | Mapping[str, Any] | None = None,
        cancel: Cancellation | None = None,
    ) -> ExecuteWorkflowResponse:
        """Execute a deployed workflow and wait for its outputs.

        Parameters
        ----------
        inputs
            Typed inputs, as models or dicts; or a dict of natural values, whose types are inferred.
        workflow_deployment_name, workflow_deployment_id
            Which deployment: one of the two.
        release_tag
            Which release; the server's default is LATEST.
        external_id
            Your own id of this execution, unique in the workspace.
        metadata, previous_execution_id, expand_meta
            As the API has them.
        cancel
            Ends the call from another thread, with an `APIConnectionError`.

        Returns
        -------
        ExecuteWorkflowResponse
            Also when the workflow was rejected: look at ``data.state``.

        Raises
        ------
        InputError
            The request cannot be written; nothing was sent.
        APIError
            No usable answer came.
        """
        request = self._execution(
            inputs,
            expand_meta=_expanded(expand_meta),
            workflow_deployment_id=workflow_deployment_id,
            workflow_deployment_name=workflow_deployment_name,
            release_tag=release_tag,
            external_id=external_id,
            metadata=metadata,
            previous_execution_id=previous_execution_id,
        )
        return self._sender.send(request, ExecuteWorkflowResponse, cancel)

    def _execution(self, inputs: Inputs, **options: Any) -> Request:
        """Return the request that executes a workflow and waits for its outputs."""
        body = {"inputs": _wire(inputs), **options, "metadata": plain(options.get("metadata"))}
        url = self._url("execute-workflow", predict=True)
        return request_for("POST", url, body=_given(body))

    def execute_workflow_stream(
        self,
        inputs: Inputs,
        *,
        workflow_deployment_name: str | None = None,
        workflow_deployment_id: str | None = None,
        release_tag: str | None = None,
        external_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        previous_execution_id: str | None = None,
        expand_meta: ExpandMeta | Mapping[str, Any] | None = None,
        event_types: Sequence[str] | None = None,
        cancel: Cancellation | None = None,
    ) -> EventStream[WorkflowStreamEvent]:
        """Execute a deployed workflow and return its events as they arrive.

        It is sent at once. `event_types` are WORKFLOW (the default) and NODE, whose events tell
        what `expand_meta` asks for; the rest is as in `execute_workflow`.
        """
        body = {
            "inputs": _wire(inputs),
            "expand_meta": _expanded(expand_meta),
            "workflow_deployment_id": workflow_deployment_id,
            "workflow_deployment_name": workflow_deployment_name,
            "release_tag": release_tag,
            "external_id": external_id,
            "metadata": plain(metadata),
            "previous_execution_id": previous_execution_id,
            "event_types": None if event_types is None else list(event_types),
        }
        path, given = "execute-workflow-stream", _given(body)
        return self._stream(WorkflowStreamEvent, path, body=given, cancel=cancel)

    def execute_workflow_async(
        self,
        inputs: Inputs,
        *,
        workflow_deployment_name: str | None = None,
        workflow_deployment_id: str | None = None,
        release_tag: str | None = None,
        external_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        previous_execution_id: str | None = None,
        cancel: Cancellation | None = None,
    ) -> ExecuteWorkflowAsyncResponse:
        """Have a deployed workflow executed and return its execution id, without waiting for it.

        `workflow_execution_status` tells how far it is; the rest is as in `execute_workflow`.
        """
        body = {
            "inputs": _wire(inputs),
            "workflow_deployment_id": workflow_deployment_id,
            "workflow_deployment_name": workflow_deployment_name,
            "release_tag": release_tag,
            "external_id": external_id,
            "metadata": plain(metadata),
            "previous_execution_id": previous_execution_id,
        }
        path, given = "execute-workflow-async", _given(body)
        return self._post(ExecuteWorkflowAsyncResponse, path, body=given, cancel=cancel)

    def execute_stream(
        self,
        id: str,  # noqa: A002
        *,
        inputs: Mapping[str, object] | None = None,
        trigger: str | None = None,
        release_tag: str | None = None,
        external_id: str | None = None,
        metadata: Mapping[str, Any] | None = None,
        previous_execution_id: str | None = None,
        cancel: Cancellation | None = None,
    ) -> EventStream[WorkflowEvent]:
        """Execute a deployment and return all events of it and its nodes as they arrive.

        `inputs` are natural values by name, sent without types. `trigger` is the name or id of
        what is said to have started it.
        """
        body = {
            "inputs": plain(inputs),
            "trigger": trigger,
            "release_tag": release_tag,
            "external_id": external_id,
            "metadata": plain(metadata),
            "previous_execution_id": previous_execution_id,
        }
        path = ("workflow-deployments", id, "execute-stream")
        return self._stream(WorkflowEvent, *path, body=_given(body), cancel=cancel)


def _given(body: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if value is not None}


def _wire(inputs: Inputs) -> list[dict[str, Any]]:
    if isinstance(inputs, Mapping):
        return [_fields(item) for item in to_wire(inputs, None)]
    return [_fields(item) for item in inputs]


def _fields(item: WorkflowInput | Mapping[str, Any]) -> dict[str, Any]:
    """Return an input as sent; a value that was never set stays absent."""
    if not isinstance(item, WorkflowInput):
        return dict(item)
    return {
        name: getattr(item, name)
        for name in ("name", "type", "value")
        if name in item.model_fields_set
    }


def _expanded(expand_meta: ExpandMeta | Mapping[str, Any] | None) -> Any:
    if isinstance(expand_meta, ExpandMeta):
        return expand_meta.model_dump(exclude_none=True)
    return plain(expand_meta)
