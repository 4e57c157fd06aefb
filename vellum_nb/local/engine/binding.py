"""From typed inputs to the values that code takes, checked against its parameters."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import ValidationError

from vellum_nb.local.callables.signature import ABSENT, Parameter
from vellum_nb.local.engine.wire_values import WIRE_TYPES, wire_problem
from vellum_nb.local.refusals import Refused, bad_request
from vellum_nb.models import VellumVariable, WorkflowInput
from vellum_nb.models.media import MEDIA_TYPES

__all__ = ["bound"]


def bound(parameters: Mapping[str, Parameter], inputs: Sequence[WorkflowInput]) -> dict[str, Any]:
    """Return the values of `parameters` by name; one that is absent and has no fallback is not in.

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
            values[given.name] = _value(given, parameters)
        except Refused as exc:
            values.setdefault(given.name, None)
            problems.append(exc.detail)
    problems += [
        f"Missing required input variable: {key!r}"
        for key, parameter in parameters.items()
        if parameter.variable.required and key not in values
    ]
    if problems:
        raise bad_request("; ".join(problems))
    found = {key: values.get(key, parameter.fallback) for key, parameter in parameters.items()}
    return {key: value for key, value in found.items() if key in values or value is not ABSENT}


def _value(given: WorkflowInput, parameters: Mapping[str, Parameter]) -> Any:
    parameter = parameters.get(given.name)
    if parameter is None:
        known = ", ".join(parameters) or "none"
        msg = f"Unknown input variable {given.name!r}; known are: {known}"
        raise bad_request(msg)
    value = _flag(given) if _is_flag(given, parameter.variable) else given.value
    expected = _expected(given, parameter.variable)
    if value is None and parameter.kind.optional:
        return None
    wrong = wire_problem(value, expected)
    if wrong:
        msg = f"Input {given.name!r}: {wrong}"
        raise bad_request(msg)
    return _converted(value, parameter)


def _expected(given: WorkflowInput, variable: VellumVariable) -> str:
    """Return the type that the value must be of, as it may be sent in more ways than one."""
    expected = variable.type if variable.type in WIRE_TYPES else "JSON"
    if given.type == expected or _is_flag(given, variable):
        return variable.type
    if given.type == "JSON" and (expected in MEDIA_TYPES or _is_no_turns(given, expected)):
        return expected  # nodes of Vellum's SDK send media and empty histories as JSON
    msg = f"Input {given.name!r} has the type {given.type}; {expected} is expected"
    raise bad_request(msg)


def _is_no_turns(given: WorkflowInput, expected: str) -> bool:
    return expected == "CHAT_HISTORY" and given.value == []


def _is_flag(given: WorkflowInput, variable: VellumVariable) -> bool:
    """Return whether a boolean comes as nodes of Vellum's SDK send it: as the number 0 or 1."""
    boolean = (variable.json_schema or {}).get("type") == "boolean"
    return boolean and given.type == "NUMBER" and given.value in (0, 1)


def _flag(given: WorkflowInput) -> bool:
    return bool(given.value)


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
