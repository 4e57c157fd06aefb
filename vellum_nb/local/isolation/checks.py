"""Inputs against the variables of a release whose code is not in this process."""

from __future__ import annotations

from collections.abc import Sequence

from vellum_nb.local.engine.wire_values import WIRE_TYPES, wire_problem
from vellum_nb.local.refusals import bad_request
from vellum_nb.models import VellumVariable, WorkflowInput
from vellum_nb.models.schema import schema_problem

__all__ = ["check_inputs"]


def check_inputs(inputs: Sequence[WorkflowInput], variables: Sequence[VellumVariable]) -> None:
    """Refuse inputs that do not fit.

    Raises
    ------
    VellumNBError
        Names every input that is missing, unknown, given twice or does not fit.

    Examples
    --------
    >>> variables = [VellumVariable(key="n", type="NUMBER", required=True)]
    >>> check_inputs([WorkflowInput(name="n", type="NUMBER", value=3)], variables)
    >>> check_inputs([], variables)
    Traceback (most recent call last):
    vellum_nb.local.refusals.Refused: Missing required input variable: 'n'
    """
    known = {variable.key: variable for variable in variables}
    seen: set[str] = set()
    problems: list[str] = []
    for given in inputs:
        if given.name in seen:
            problems.append(f"Input {given.name!r} is given more than once")
        seen.add(given.name)
        problem = _problem(given, known)
        if problem:
            problems.append(problem)
    problems += [
        f"Missing required input variable: {key!r}"
        for key, variable in known.items()
        if variable.required and key not in seen
    ]
    if problems:
        raise bad_request("; ".join(problems))


def _problem(given: WorkflowInput, known: dict[str, VellumVariable]) -> str:
    variable = known.get(given.name)
    if variable is None:
        names = ", ".join(known) or "none"
        return f"Unknown input variable {given.name!r}; known are: {names}"
    expected = variable.type if variable.type in WIRE_TYPES else "JSON"
    empty = expected == "CHAT_HISTORY" and given.type == "JSON" and given.value == []
    if given.type != expected and not empty:
        return f"Input {given.name!r} has the type {given.type}; {expected} is expected"
    if given.value is None and not variable.required:
        return ""
    problem = wire_problem(given.value, given.type)
    if not problem and variable.json_schema:
        problem = schema_problem(given.value, variable.json_schema) or ""
    return f"Input {given.name!r}: {problem}" if problem else ""
