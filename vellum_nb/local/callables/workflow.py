"""A callable as a workflow: typed inputs in, typed outputs out."""

from __future__ import annotations

import copy
import functools
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from vellum_nb.local.callables.execution import FunctionExecution
from vellum_nb.local.callables.outputs import Outputs
from vellum_nb.local.callables.signature import (
    inputs_of,
    name_of,
    outputs_of,
    state_of,
    summary_of,
    variable_id,
)
from vellum_nb.local.deployments.sources import module_of
from vellum_nb.local.engine.binding import bound
from vellum_nb.local.engine.code import RunContext
from vellum_nb.local.engine.telling import NodeTeller, Teller, definition, values_of
from vellum_nb.local.refusals import bad_request
from vellum_nb.local.types import State
from vellum_nb.models import WorkflowInput

__all__ = ["Workflow"]

_MANUAL = (None, "manual")


class Workflow:
    """A callable with what its signature says.

    Examples
    --------
    >>> def double(n: int) -> int:
    ...     return 2 * n
    >>> workflow = Workflow(double)
    >>> args, kwargs = workflow.bind([WorkflowInput(name="n", type="NUMBER", value=3.0)])
    >>> workflow.target(*args, **kwargs)
    6
    """

    def __init__(self, target: Callable[..., Any]) -> None:
        self.target = target
        self._state = state_of(target)
        self._parameters = {p.variable.key: p for p in inputs_of(target)}
        self.input_variables = tuple(p.variable for p in self._parameters.values())
        self.output_variables = outputs_of(target)
        self.description = summary_of(target)

    def begin(self, inputs: Sequence[WorkflowInput], context: RunContext) -> FunctionExecution:
        """Check the inputs and return the run; nothing has run yet.

        Raises
        ------
        VellumNBError
            Names every input that is missing, unknown, given twice or does not fit.
        """
        if context.trigger not in _MANUAL:
            msg = f"{name_of(self.target)} has no trigger {context.trigger!r}; leave it out"
            raise bad_request(msg)
        args, kwargs = self.bind(inputs)
        state = None if self._state is None else State(copy.deepcopy(dict(context.state or {})))
        if self._state is not None:
            kwargs[self._state] = state
        return FunctionExecution(
            functools.partial(self.target, *args, **kwargs),
            Outputs(self.output_variables),
            self._tellers(context),
            inputs=values_of(inputs),
            state=state,
        )

    def _tellers(self, context: RunContext) -> tuple[Teller, NodeTeller]:
        name, module = name_of(self.target), module_of(self.target)
        workflow = definition(variable_id("workflow", f"{module}:{name}"), name, module)
        node = definition(variable_id("node", f"{module}:{name}"), name, module)
        teller = Teller(context.execution_id, context.trace_id, workflow, context.parent)
        return teller, teller.node(node, "CODE_EXECUTION", str(uuid.uuid4()))

    def bind(self, inputs: Sequence[WorkflowInput]) -> tuple[list[Any], dict[str, Any]]:
        """Return `inputs` as the arguments of the callable.

        Raises
        ------
        VellumNBError
            Names every input that is missing, unknown, given twice or does not fit.
        """
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for key, value in bound(self._parameters, inputs).items():
            if self._parameters[key].positional:
                args.append(value)
            else:
                kwargs[key] = value
        return args, kwargs
