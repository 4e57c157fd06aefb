"""Executing workflows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, TypeAlias

from vellum_nb.client.base import BaseClient
from vellum_nb.models import Cancellation, ExecuteWorkflowResponse, ExpandMeta, WorkflowInput
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
        fields = {
            "inputs": _wire(inputs),
            "expand_meta": _expanded(expand_meta),
            "workflow_deployment_id": workflow_deployment_id,
            "workflow_deployment_name": workflow_deployment_name,
            "release_tag": release_tag,
            "external_id": external_id,
            "metadata": plain(metadata),
            "previous_execution_id": previous_execution_id,
        }
        body = {name: value for name, value in fields.items() if value is not None}
        return self._post(ExecuteWorkflowResponse, "execute-workflow", body=body, cancel=cancel)


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
