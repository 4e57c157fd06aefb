"""A callable as a workflow: typed inputs in, typed outputs out."""

from __future__ import annotations

import copy
import functools
import json
import math
import uuid
from collections.abc import Callable, Sequence
from typing import Any

from pydantic import ValidationError

from vellum_nb.local.code import RunContext
from vellum_nb.local.execution import FunctionExecution
from vellum_nb.local.outputs import Outputs
from vellum_nb.local.refusals import Refused, bad_request
from vellum_nb.local.signature import (
    ABSENT,
    Parameter,
    inputs_of,
    name_of,
    outputs_of,
    state_of,
    summary_of,
    variable_id,
)
from vellum_nb.local.telling import NodeTeller, Teller, definition, values_of
from vellum_nb.local.types import State
from vellum_nb.local.wire_values import WIRE_TYPES, wire_problem
from vellum_nb.models import VellumVariable, WorkflowInput

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
        name, module = name_of(self.target), getattr(self.target, "__module__", "") or ""
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
        problems: list[str] = []
        values: dict[str, Any] = {}
        for given in inputs:
            try:
                if given.name in values:
                    problems.append(f"Input {given.name!r} is given more than once")
                values[given.name] = self._value(given)
            except Refused as exc:
                values.setdefault(given.name, None)
                problems.append(exc.detail)
        problems += [
            f"Missing required input variable: {key!r}"
            for key, parameter in self._parameters.items()
            if parameter.variable.required and key not in values
        ]
        if problems:
            raise bad_request("; ".join(problems))
        return self._arguments(values)

    def _value(self, given: WorkflowInput) -> Any:
        parameter = self._parameters.get(given.name)
        if parameter is None:
            known = ", ".join(self._parameters) or "none"
            msg = f"Unknown input variable {given.name!r}; known are: {known}"
            raise bad_request(msg)
        wrong = _type_problem(given, parameter.variable)
        if wrong:
            msg = f"Input {given.name!r} {wrong}"
            raise bad_request(msg)
        if given.value is None and parameter.kind.optional:
            return None
        wrong = wire_problem(given.value, given.type)
        if wrong:
            msg = f"Input {given.name!r}: {wrong}"
            raise bad_request(msg)
        return _converted(given.value, parameter)

    def _arguments(self, values: dict[str, Any]) -> tuple[list[Any], dict[str, Any]]:
        args: list[Any] = []
        kwargs: dict[str, Any] = {}
        for key, parameter in self._parameters.items():
            value = values.get(key, parameter.fallback)
            if key not in values and value is ABSENT:
                continue
            if parameter.positional:
                args.append(value)
            else:
                kwargs[key] = value
        return args, kwargs


def _type_problem(given: WorkflowInput, variable: VellumVariable) -> str:
    expected = variable.type if variable.type in WIRE_TYPES else "JSON"
    if given.type == expected:
        return ""
    if expected == "CHAT_HISTORY" and given.type == "JSON" and given.value == []:
        return ""  # Vellum's own SDK sends an empty history as JSON
    return f"has the type {given.type}; {expected} is expected"


def _converted(value: Any, parameter: Parameter) -> Any:
    adapter, key = parameter.kind.adapter, parameter.variable.key
    if adapter is None:
        return value
    if isinstance(value, float) and value.is_integer() and _is_whole(parameter):
        value = int(value)  # the official client sends every NUMBER as a float
    try:
        return adapter.validate_json(json.dumps(value), strict=True)
    except ValidationError as exc:
        found = exc.errors(include_url=False, include_input=False, include_context=False)
        reasons = "; ".join(f"{_place(error['loc'])}{error['msg']}" for error in found[:3])
        msg = f"Input {key!r}: {reasons}{_given(value)}"
        raise bad_request(msg) from None


def _is_whole(parameter: Parameter) -> bool:
    return (parameter.variable.json_schema or {}).get("type") == "integer"


def _place(loc: tuple[int | str, ...]) -> str:
    return f"{'.'.join(map(str, loc))}: " if loc else ""


def _given(value: Any) -> str:
    scalar = isinstance(value, str | int | float) and not (
        isinstance(value, float) and not math.isfinite(value)
    )
    return f" (given: {json.dumps(value):.80})" if scalar else ""
