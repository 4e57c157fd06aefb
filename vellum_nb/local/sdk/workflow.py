"""A Workflows SDK class as code that a release runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from vellum.workflows import BaseWorkflow
from vellum.workflows.exceptions import WorkflowInitializationException
from vellum.workflows.triggers.base import BaseTrigger

from vellum_nb.local.callables.signature import summary
from vellum_nb.local.engine.events import RunContext
from vellum_nb.local.engine.inputs import bind_inputs
from vellum_nb.local.refusals import bad_request
from vellum_nb.local.sdk.ending import end_with_nodes
from vellum_nb.local.sdk.execution import SdkExecution
from vellum_nb.local.sdk.mocks import node_mocks
from vellum_nb.local.sdk.sharing import share_inputs
from vellum_nb.local.sdk.variables import inputs_of, outputs_of
from vellum_nb.models import WorkflowInput

__all__ = ["SdkWorkflow"]

_MANUAL = (None, "manual")


class SdkWorkflow:
    """A subclass of ``BaseWorkflow`` with what its Inputs and Outputs say.

    The SDK takes every value for every annotation, so inputs are checked here, as those of
    callables are.
    """

    def __init__(self, target: type[BaseWorkflow[Any, Any]]) -> None:
        share_inputs(target)
        end_with_nodes(target)
        self.target = target
        self._parameters = {p.variable.key: p for p in inputs_of(target)}
        self.input_variables = tuple(p.variable for p in self._parameters.values())
        self.output_variables = outputs_of(target)
        self.description = summary(target.__doc__)

    def begin(self, inputs: Sequence[WorkflowInput], context: RunContext) -> SdkExecution:
        """Check the inputs and return the run; nothing has run yet.

        With a trigger in `context` the inputs are the trigger's attributes, which the SDK checks.

        Raises
        ------
        VellumNBError
            Names every input that is missing, unknown, given twice or does not fit.
        """
        given = {one.name: one.value for one in inputs}
        outputs = {variable.key: variable for variable in self.output_variables}
        trigger = self._trigger(context.trigger, given)
        values = bind_inputs(self._parameters, inputs) if trigger is None else {}
        mocks = node_mocks(self.target, context.mocks)
        return SdkExecution(
            self.target, given, values, outputs, context, trigger=trigger, mocks=mocks
        )

    def _trigger(self, name: str | None, given: Mapping[str, Any]) -> BaseTrigger | None:
        if name in _MANUAL:
            return None
        try:
            trigger: BaseTrigger = self.target.deserialize_trigger(name, dict(given))
        except WorkflowInitializationException as exc:
            raise bad_request(exc.message) from exc
        return trigger
