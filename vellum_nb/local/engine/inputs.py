"""Checks typed inputs and converts them to the values that code takes."""

from __future__ import annotations

import base64
import json
import math
import mimetypes
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from vellum_nb.local.callables.signature import ABSENT, Parameter
from vellum_nb.local.engine.code import Execution
from vellum_nb.local.engine.events import NODE_INITIATED, WORKFLOW_INITIATED, Event
from vellum_nb.local.ledger.ledger import Ledger, StoredFile
from vellum_nb.local.refusals import Refused, bad_request
from vellum_nb.models import VellumVariable, WorkflowInput
from vellum_nb.models.media import MEDIA_TYPES
from vellum_nb.models.schema import schema_problem

__all__ = [
    "Addressing",
    "SearchResult",
    "WIRE_TYPES",
    "bind_inputs",
    "check_inputs",
    "media_type",
    "non_finite_path",
    "resolve_uploads",
    "uploaded_contents",
    "wire_problem",
    "wire_value",
]

WIRE_TYPES = frozenset(
    {"STRING", "NUMBER", "JSON", "CHAT_HISTORY", "IMAGE", "AUDIO", "VIDEO", "DOCUMENT"}
)


class _Open(BaseModel):
    model_config = ConfigDict(extra="allow", strict=True)


class _Media(_Open):
    src: Annotated[str, Field(min_length=1)]
    metadata: dict[str, Any] | None = None


class _Content(_Open):
    type: Literal["STRING", "FUNCTION_CALL", "ARRAY", "AUDIO", "VIDEO", "IMAGE", "DOCUMENT"]
    value: Any


class _Message(_Open):
    role: Literal["SYSTEM", "ASSISTANT", "USER", "FUNCTION"]
    text: str | None = None
    content: _Content | None = None
    source: str | None = None
    metadata: dict[str, Any] | None = None


class _ResultDocument(_Open):
    label: str
    id: str | None = None
    external_id: str | None = None
    metadata: dict[str, Any] | None = None


class SearchResult(_Open):
    """One search result; `keywords` may be left out."""

    text: str
    score: float
    keywords: list[str] = Field(default_factory=list)
    document: _ResultDocument
    meta: dict[str, Any] | None = None


_SHAPES: dict[str, TypeAdapter[Any]] = {
    "STRING": TypeAdapter(str),
    "NUMBER": TypeAdapter(float),
    "CHAT_HISTORY": TypeAdapter(list[_Message]),
    "SEARCH_RESULTS": TypeAdapter(list[SearchResult]),
    **dict.fromkeys(("IMAGE", "AUDIO", "VIDEO", "DOCUMENT"), TypeAdapter(_Media)),
}
_EXPECTED = {
    "STRING": "text is expected",
    "NUMBER": "a number is expected",
    "CHAT_HISTORY": "a list of messages with role and text is expected",
    "SEARCH_RESULTS": "a list of results with text, score and document is expected",
    **dict.fromkeys(("IMAGE", "AUDIO", "VIDEO", "DOCUMENT"), 'an object with "src" is expected'),
}


def wire_problem(value: Any, type_: str) -> str:
    """Return why `value` is no value of `type_`, or an empty string.

    Examples
    --------
    >>> wire_problem("7", "NUMBER")
    'a number is expected: Input should be a valid number'
    """
    shape = _SHAPES.get(type_)
    if shape is None:
        return ""
    if isinstance(value, float) and not math.isfinite(value):
        return f"{_EXPECTED.get(type_, 'a value')}; JSON has no {value}"
    try:
        shape.validate_python(value, strict=True)
    except ValidationError as exc:
        error = exc.errors(include_url=False, include_input=False, include_context=False)[0]
        place = ".".join(map(str, error["loc"]))
        return f"{_EXPECTED[type_]}: {place and f'{place}: '}{error['msg']}"
    return ""


def wire_value(value: Any, type_: str) -> Any:
    """Return a valid `value` with the keys that the contract requires."""
    if type_ == "SEARCH_RESULTS":
        return [{"keywords": [], **result} for result in value]
    return value


def non_finite_path(value: Any, place: str) -> str:
    """Return where `value`, which is at `place`, holds NaN or infinity; empty when nowhere.

    Examples
    --------
    >>> non_finite_path({"scores": [1.0, float("nan")]}, "result")
    'result.scores.1'
    """
    if isinstance(value, float):
        return "" if math.isfinite(value) else place
    items: Any = ()
    if isinstance(value, dict):
        items = value.items()
    elif isinstance(value, list | tuple):
        items = enumerate(value)
    return next((found for k, v in items if (found := non_finite_path(v, f"{place}.{k}"))), "")


def bind_inputs(
    parameters: Mapping[str, Parameter], inputs: Sequence[WorkflowInput]
) -> dict[str, Any]:
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


_PREFIX = "vellum:uploaded-file:"
_HOLDERS = frozenset({"IMAGE", "AUDIO", "VIDEO", "DOCUMENT", "CHAT_HISTORY"})
_MEDIA_TYPE = re.compile(r"[\w.+-]{1,60}/[\w.+-]{1,60}", re.ASCII)
_UNKNOWN = "application/octet-stream"


def media_type(file: StoredFile) -> str:
    """Return the media type of a file: as it was sent, or as its name tells."""
    if _MEDIA_TYPE.fullmatch(file.media_type) and file.media_type != _UNKNOWN:
        return file.media_type
    return mimetypes.guess_type(file.name)[0] or _UNKNOWN


def uploaded_contents(inputs: Sequence[WorkflowInput], ledger: Ledger) -> dict[str, str]:
    """Return the uploaded files that inputs name: address to content, as a data URL.

    Raises
    ------
    VellumNBError
        When a file is not there; names the input.
    """
    found: dict[str, str] = {}
    for each in inputs:
        for src in _addresses(each.value) if each.type in _HOLDERS else ():
            if src not in found:
                found[src] = _data_url(src.removeprefix(_PREFIX), each.name, ledger)
    return found


def resolve_uploads(
    inputs: Sequence[WorkflowInput], files: Mapping[str, str]
) -> tuple[WorkflowInput, ...]:
    """Return `inputs` with the content of `files` in the place of their addresses."""
    return tuple(
        each.model_copy(update={"value": _swapped(each.value, files)})
        if each.type in _HOLDERS
        else each
        for each in inputs
    )


class Addressing:
    """A run whose events tell the addresses of its uploaded files, not their content again."""

    def __init__(self, execution: Execution, files: Mapping[str, str]) -> None:
        self._execution = execution
        self._addresses = {content: address for address, content in files.items()}

    def events(self) -> Iterator[Event]:
        """Run, and tell what happens."""
        for event in self._execution.events():
            if event.name in {WORKFLOW_INITIATED, NODE_INITIATED}:
                yield replace(event, body=_swapped(event.body, self._addresses))
            else:
                yield event

    def cancel(self) -> None:
        """End it."""
        self._execution.cancel()


def _addresses(value: Any) -> Iterator[str]:
    if isinstance(value, Mapping):
        src = value.get("src")
        if isinstance(src, str) and src.startswith(_PREFIX):
            yield src
        value = list(value.values())
    if isinstance(value, list):
        for item in value:
            yield from _addresses(item)


def _swapped(value: Any, texts: Mapping[str, str]) -> Any:
    """Return `value` with each ``src`` that is one of `texts` exchanged."""
    if isinstance(value, list):
        return [_swapped(item, texts) for item in value]
    if not isinstance(value, Mapping):
        return value
    found = {key: _swapped(item, texts) for key, item in value.items()}
    src = found.get("src")
    if isinstance(src, str) and src in texts:
        found["src"] = texts[src]
    return found


def _data_url(id_: str, name: str, ledger: Ledger) -> str:
    file = ledger.file(id_)
    if file is None:
        msg = f"Input {name!r}: no uploaded file has the id {id_!r:.60}; upload it first"
        raise bad_request(msg)
    content = base64.b64encode(file.content).decode("ascii")
    return f"data:{media_type(file)};base64,{content}"
