"""Validation of typed inputs, and their conversion to arguments."""

from __future__ import annotations

import base64
import json
import math
import mimetypes
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from pydantic import ValidationError

from vellum_nb.local.callables.signature import ABSENT, Kind, Parameter, variable_id
from vellum_nb.local.engine.events import NODE_INITIATED, WORKFLOW_INITIATED, Event, Execution
from vellum_nb.local.ledger import Ledger, StoredFile
from vellum_nb.local.refusals import Refused
from vellum_nb.models import VellumVariable, WorkflowInput, WorkflowOutput
from vellum_nb.models.base import first_problem
from vellum_nb.models.checks import available
from vellum_nb.models.inputs import plain_type, schema_problem, wire_type
from vellum_nb.models.media import MEDIA_TYPES
from vellum_nb.models.types import value_type

_UPLOAD_PREFIX = "vellum:uploaded-file:"
_MEDIA_TYPE = re.compile(r"[\w.+-]{1,60}/[\w.+-]{1,60}", re.ASCII)
_UNKNOWN_MEDIA = "application/octet-stream"


def wire_problem(value: Any, type_: str) -> str:
    """Return the reason why `value` is invalid for `type_`, or an empty string."""
    properties = value_type(type_)
    if properties.shape is None:
        return ""
    expected = properties.expected
    if isinstance(value, float) and not math.isfinite(value):
        return f"{expected} is expected; JSON has no {value}"
    try:
        properties.shape.validate_python(value, strict=True)
    except ValidationError as exc:
        return f"{expected} is expected: {first_problem(exc)}"
    return ""


def wire_value(value: Any, type_: str) -> Any:
    """Add required keys of the contract to a valid `value`."""
    if type_ == "SEARCH_RESULTS":
        return [{"keywords": [], **result} for result in value]
    return value


def non_finite_path(value: Any, path: str) -> str:
    """Return the path of the first NaN or infinity in `value`, or an empty string."""
    if isinstance(value, float):
        return "" if math.isfinite(value) else path
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    return next(
        (inner_path for k, v in items if (inner_path := non_finite_path(v, f"{path}.{k}"))), ""
    )


def bind_inputs(
    parameters: Mapping[str, Parameter], inputs: Sequence[WorkflowInput]
) -> dict[str, Any]:
    """Return the values of `parameters` by name, without absent ones that lack a fallback."""
    problems: list[str] = []
    values: dict[str, Any] = {}
    for sent in inputs:
        try:
            if sent.name in values:
                problems.append(f"Input {sent.name!r:.160} is given more than once")
            values[sent.name] = _value(sent, parameters)
        except Refused as exc:
            values.setdefault(sent.name, None)
            problems.append(exc.detail)
    problems += [
        f"Missing required input variable: {key!r}"
        for key, parameter in parameters.items()
        if parameter.variable.required and key not in values
    ]
    if problems:
        raise Refused(400, "; ".join(problems))
    bound = {key: values.get(key, parameter.fallback) for key, parameter in parameters.items()}
    return {key: value for key, value in bound.items() if key in values or value is not ABSENT}


def check_inputs(variables: Sequence[VellumVariable], inputs: Sequence[WorkflowInput]) -> None:
    """Check inputs only against variables, for code in another process."""
    bind_inputs(
        {
            v.key: Parameter(v, Kind(v.type, v.json_schema, optional=not v.required))
            for v in variables
        },
        inputs,
    )


def _value(sent: WorkflowInput, parameters: Mapping[str, Parameter]) -> Any:
    parameter = parameters.get(sent.name)
    if parameter is None:
        problem = f"Unknown input variable {sent.name!r:.160}{available(parameters)}"
        raise Refused(400, problem)
    variable, value = parameter.variable, sent.value
    schema = variable.json_schema or {}
    expected = wire_type(variable)
    if schema.get("type") == "boolean" and sent.type == "NUMBER" and value in (0, 1):
        value = bool(value)  # nodes of Vellum's SDK send booleans as numbers
    elif sent.type == "JSON" and (expected in MEDIA_TYPES or value == []):
        pass  # and they send media and empty histories as JSON
    elif sent.type != expected:
        msg = f"Input {sent.name!r} has the type {sent.type}; {expected} is expected"
        raise Refused(400, msg)
    if value is None and parameter.kind.optional:
        return None
    problem = wire_problem(value, variable.type)
    if not problem and parameter.kind.adapter is None:
        problem = schema_problem(value, schema) or ""
    if problem:
        raise Refused(400, f"Input {sent.name!r}: {problem}")
    return _converted(value, parameter)


def _converted(value: Any, parameter: Parameter) -> Any:
    adapter, variable = parameter.kind.adapter, parameter.variable
    if adapter is None:
        return value
    is_integer = (variable.json_schema or {}).get("type") == "integer"
    if isinstance(value, float) and value.is_integer() and is_integer:
        value = int(value)  # the official client sends every NUMBER as a float
    try:
        return adapter.validate_json(json.dumps(value), strict=True)
    except ValidationError as exc:
        errors = exc.errors(include_url=False, include_input=False, include_context=False)
        reasons = "; ".join(f"{_place(error['loc'])}{error['msg']}" for error in errors[:3])
        is_scalar = isinstance(value, str | int | float)
        sent = f" (given: {json.dumps(value):.80})" if is_scalar else ""
        raise Refused(400, f"Input {variable.key!r}: {reasons}{sent}") from None


def _place(loc: tuple[int | str, ...]) -> str:
    return f"{'.'.join(map(str, loc))}: " if loc else ""


def media_type(file: StoredFile) -> str:
    """Return the media type of a file, or guess it from its name."""
    if _MEDIA_TYPE.fullmatch(file.media_type) and file.media_type != _UNKNOWN_MEDIA:
        return file.media_type
    return mimetypes.guess_type(file.name)[0] or _UNKNOWN_MEDIA


def resolve_uploads(
    inputs: Sequence[WorkflowInput], ledger: Ledger
) -> tuple[Sequence[WorkflowInput], Mapping[str, str]]:
    """Replace uploaded files in `inputs` by data URLs; return also their addresses."""
    contents: dict[str, str] = {}

    def content_of(name: str, src: str) -> str:
        if src.startswith(_UPLOAD_PREFIX) and src not in contents:
            id_ = src.removeprefix(_UPLOAD_PREFIX)
            file = ledger.file(id_)
            if file is None:
                msg = f"Input {name!r}: no uploaded file has the id {id_!r:.60}; upload it first"
                raise Refused(400, msg)
            content = base64.b64encode(file.content).decode("ascii")
            contents[src] = f"data:{media_type(file)};base64,{content}"
        return contents.get(src, src)

    resolved = [
        item.model_copy(update={"value": _replaced(item.value, partial(content_of, item.name))})
        if value_type(item.type).has_files
        else item
        for item in inputs
    ]
    return resolved, {content: address for address, content in contents.items()}


@dataclass
class ExecutionWithUploads:
    """Execution that replaces the content of uploaded files in events by their addresses."""

    execution: Execution
    addresses: Mapping[str, str]

    def events(self) -> Iterator[Event]:
        """Run, and yield the events."""
        for event in self.execution.events():
            if event.name in {WORKFLOW_INITIATED, NODE_INITIATED}:
                body = _replaced(event.body, lambda src: self.addresses.get(src, src))
                event = replace(event, body=body)  # noqa: PLW2901 - the same event
            yield event

    def cancel(self) -> None:
        """End it."""
        self.execution.cancel()


def _replaced(value: Any, replacement: Callable[[str], str]) -> Any:
    if isinstance(value, list):
        return [_replaced(item, replacement) for item in value]
    if not isinstance(value, Mapping):
        return value
    return {
        key: replacement(item)
        if key == "src" and isinstance(item, str)
        else _replaced(item, replacement)
        for key, item in value.items()
    }


def typed_output(declared: Mapping[str, VellumVariable], name: str, value: Any) -> WorkflowOutput:
    """Return an output with its declared type, or with that of its value if it does not fit.

    The Workflows SDK does not enforce annotations.
    """
    variable = declared.get(name)
    type_ = variable.type if variable is not None else "JSON"
    if value is not None:
        type_ = plain_type(value) if wire_problem(value, type_) else type_
        value = wire_value(value, type_)
    return output_of(declared, name, type_, value)


def output_of(
    declared: Mapping[str, VellumVariable], name: str, type_: str, value: Any
) -> WorkflowOutput:
    """Return an output with the id of its variable."""
    id_ = declared[name].id if name in declared else variable_id("output", name)
    return WorkflowOutput(id=id_, name=name, type=type_, value=value)
