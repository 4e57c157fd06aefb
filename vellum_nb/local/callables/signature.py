"""Variables of a release from a callable's signature, annotations and docstring."""

from __future__ import annotations

import dataclasses
import functools
import inspect
import json
import re
import types
import typing
import uuid
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Generator, Iterator, Mapping
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticSerializationError, PydanticUndefined

from vellum_nb.local.refusals import bad_request
from vellum_nb.local.types import State, VellumType
from vellum_nb.models import VellumVariable
from vellum_nb.models.contract import VariableExtensions

ABSENT = inspect.Parameter.empty
_PLAIN_SCHEMAS: tuple[dict[str, Any], ...] = ({"type": "string"}, {"type": "number"}, {})
_VARIADIC = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
_STREAMS = (Generator, AsyncGenerator, Iterator, AsyncIterator)
_ID_SPACE = uuid.UUID("6f1c7a52-3f0e-4a57-9b0b-3f2b8f0f6a11")
_PARAMETERS = re.compile(
    r"^Parameters\n-{3,}[ ]*\n(?P<text>.*?)(?=^[A-Z][A-Za-z ]+\n-{3,}[ ]*$|\Z)",
    re.MULTILINE | re.DOTALL,
)


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """Kind of value that an annotation declares."""

    type: str  # Vellum's
    schema: Mapping[str, Any] | None  # where that says more than the type
    optional: bool  # whether None is allowed
    description: str = ""
    field: FieldInfo | None = None  # of the annotation; it may hold a default
    adapter: TypeAdapter[Any] | None = None  # converts JSON to it; None where pydantic cannot
    problem: str = ""  # why there is no adapter


@dataclasses.dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a callable: its variable, and how its value is made."""

    variable: VellumVariable
    kind: Kind
    positional: bool = False
    fallback: Any = ABSENT  # passed when the input is absent; ABSENT: nothing is passed


def kind_of(annotation: Any) -> Kind:
    """Return the kind of value that `annotation` declares."""
    core, metadata, optional = _unwrapped(annotation)
    marker = next((m for m in metadata if isinstance(m, VellumType)), None)
    field = next((m for m in metadata if isinstance(m, FieldInfo)), None)
    rest = tuple(
        m
        for m in metadata
        if not isinstance(m, VellumType | str) and not hasattr(m, "documentation")
    )
    description = _description(metadata)
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(Annotated[(core, *rest)] if rest else core)
        raw = adapter.json_schema()
        json.dumps(raw, allow_nan=False)
    except (PydanticUserError, ValueError, TypeError) as exc:
        type_ = marker.name if marker else "JSON"
        return Kind(type_, None, optional, description, field, problem=str(exc).splitlines()[0])
    if marker is not None:
        return Kind(marker.name, None, optional, description, field, adapter)
    schema = _tidy(raw)
    more = None if schema in _PLAIN_SCHEMAS else schema
    return Kind(_type_of(schema), more, optional, description, field, adapter)


def inputs_of(target: Callable[..., Any]) -> tuple[Parameter, ...]:
    """Return the parameters of `target`, in order."""
    name = name_of(target)
    if inspect.isclass(target):
        msg = f"{name} is a class; deploy a function, or an instance that can be called"
        raise bad_request(msg)
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError) as exc:
        msg = f"{name} has no signature that Python can read; wrap it in a function of your own"
        raise bad_request(msg) from exc
    hints = _hints(target)
    described = parameter_descriptions(inspect.getdoc(target))
    return tuple(
        _parameter(p, hints.get(p.name, ABSENT), described.get(p.name, ""), name)
        for p in signature.parameters.values()
        if hints.get(p.name) is not State
    )


def state_of(target: Callable[..., Any]) -> str | None:
    """Return the name of the parameter of `target` that is its `State`, if it has one."""
    found = [name for name, hint in _hints(target).items() if hint is State and name != "return"]
    if len(found) > 1:
        msg = f"{name_of(target)} has the states {', '.join(found)}; one is enough"
        raise bad_request(msg)
    if not found:
        return None
    parameter = inspect.signature(target).parameters[found[0]]
    if parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
        msg = f"the state {found[0]} of {name_of(target)} must not be positional-only"
        raise bad_request(msg)
    return found[0]


def outputs_of(target: Callable[..., Any]) -> tuple[VellumVariable, ...]:
    """Return the output variables that the return annotation of `target` declares."""
    returned = _hints(target).get("return", ABSENT)
    declared: dict[str, Any] = {}
    if get_origin(returned) in _STREAMS:
        yielded, returned = _streamed(returned)
        declared.update(yielded)
    declared.update(_fields(returned))
    return tuple(_output(name, annotation) for name, annotation in declared.items())


def name_of(target: Callable[..., Any]) -> str:
    """Return the name of the function behind `target`."""
    target = _unwrap_partial(target)
    return str(getattr(target, "__name__", type(target).__name__))


def summary_of(target: Callable[..., Any]) -> str:
    """Return the first paragraph of the docstring of `target`."""
    return summary(inspect.getdoc(_unwrap_partial(target)))


def summary(doc: str | None) -> str:
    """Return the first paragraph on one line."""
    return " ".join(inspect.cleandoc(doc or "").partition("\n\n")[0].split())


def parameter_descriptions(doc: str | None) -> dict[str, str]:
    """Return the descriptions of parameters in a numpy docstring."""
    section = _PARAMETERS.search(inspect.cleandoc(doc or ""))
    found: dict[str, str] = {}
    names: list[str] = []
    for line in section["text"].splitlines() if section else ():
        if line[:1].strip():
            names = [name.strip(" *") for name in line.partition(":")[0].split(",")]
            found.update(dict.fromkeys(names, ""))
        else:
            found.update({name: f"{found[name]} {line.strip()}".strip() for name in names})
    return {name: text for name, text in found.items() if text}


def variable_id(direction: str, key: str) -> str:
    """Return the id of a variable: the same in every release."""
    return str(uuid.uuid5(_ID_SPACE, f"{direction}:{key}"))


def typed_default(type_: str, kind: Kind, default: Any) -> dict[str, Any] | None:
    """Return a default as a variable carries it; None where JSON cannot carry it."""
    if default is ABSENT or default is None:
        return None
    try:
        value = default
        if kind.adapter is not None:
            value = kind.adapter.dump_python(default, mode="json", warnings=False)
        json.dumps(value, allow_nan=False)
    except (PydanticSerializationError, ValueError, TypeError):
        return None  # the code still has it; it only cannot be shown
    return {"type": type_, "value": value}


def description_extension(description: str) -> VariableExtensions | None:
    """Return a description as a variable carries it."""
    if not description:
        return None
    return VariableExtensions(color=None, description=description, title=None)


def _unwrapped(annotation: Any) -> tuple[Any, list[Any], bool]:
    """Take `Annotated` and ``| None`` off, however they are nested."""
    metadata: list[Any] = []
    optional = False
    while True:
        origin = get_origin(annotation)
        if origin is Annotated:
            annotation, *more = get_args(annotation)
            metadata = [*more, *metadata]
        elif origin in (Union, types.UnionType) and type(None) in get_args(annotation):
            kinds = tuple(kind for kind in get_args(annotation) if kind is not type(None))
            annotation, optional = Union[kinds], True  # noqa: UP007 - built at run time
        else:
            return annotation, metadata, optional


def _description(metadata: list[Any]) -> str:
    for item in reversed(metadata):
        if isinstance(item, FieldInfo) and item.description:
            return item.description
        if isinstance(doc := getattr(item, "documentation", None), str):
            return doc  # PEP 727, as FastAPI and others use it
        if isinstance(item, str):
            return item
    return ""


def _tidy(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Return a schema with its root in place, without what the variable has elsewhere."""
    schema = dict(raw)
    definitions = schema.get("$defs", {})
    while (ref := schema.pop("$ref", None)) is not None:
        schema = {**definitions[ref.removeprefix("#/$defs/")], **schema}
    schema = {k: v for k, v in schema.items() if k not in {"title", "description", "default"}}
    if definitions and "$ref" not in str({k: v for k, v in schema.items() if k != "$defs"}):
        schema.pop("$defs", None)
    if "const" in schema:
        schema["enum"] = [schema.pop("const")]
    branches = [branch.get("type") for branch in schema.get("anyOf", ())]
    if branches and set(branches) <= {"integer", "number"}:
        schema = {**{k: v for k, v in schema.items() if k != "anyOf"}, "type": "number"}
    front = {"type": schema["type"]} if "type" in schema else {}
    return {**front, **schema}


def _type_of(schema: Mapping[str, Any]) -> str:
    types_ = {"string": "STRING", "number": "NUMBER", "integer": "NUMBER"}
    return "JSON" if "enum" in schema else types_.get(str(schema.get("type")), "JSON")


def _unwrap_partial(target: Any) -> Any:
    while isinstance(target, functools.partial):
        target = target.func
    return target


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    function = _unwrap_partial(target)
    if not inspect.isroutine(function):
        function = type(function).__call__
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError, SyntaxError, AttributeError) as exc:
        msg = f"an annotation of {name_of(target)} cannot be read: {exc}"
        raise bad_request(msg) from exc


def _parameter(parameter: inspect.Parameter, hint: Any, described: str, where: str) -> Parameter:
    name = parameter.name
    if parameter.kind in _VARIADIC:
        msg = (
            f"{where} takes {_VARIADIC[parameter.kind]}{name}; inputs have names and types, so "
            "give each a parameter of its own"
        )
        raise bad_request(msg)
    kind = _kind(hint, parameter.default)
    if kind.adapter is None:
        msg = f"the parameter {name} of {where} cannot come as JSON: {kind.problem}"
        raise bad_request(msg)
    default, fallback = _default(kind, parameter.default)
    variable = VellumVariable(
        id=variable_id("input", name),
        key=name,
        type=kind.type,
        required=default is ABSENT and not kind.optional,
        default=typed_default(kind.type, kind, default),
        extensions=description_extension(kind.description or described),
        json_schema=kind.schema,
    )
    positional = parameter.kind is inspect.Parameter.POSITIONAL_ONLY
    return Parameter(variable, kind, positional, fallback)


def _kind(hint: Any, default: Any) -> Kind:
    if isinstance(default, FieldInfo):
        return kind_of(Annotated[Any if hint is ABSENT else hint, default])
    if hint is not ABSENT:
        return kind_of(hint)
    plain = type(default) if isinstance(default, str | bool | int | float) else Any
    return kind_of(float if plain is int else plain)


def _default(kind: Kind, default: Any) -> tuple[Any, Any]:
    """Return the parameter's default, and what must be passed when the input is absent."""
    if default is not ABSENT and not isinstance(default, FieldInfo):
        return default, ABSENT
    field = kind.field
    value = field.get_default(call_default_factory=True) if field else PydanticUndefined
    if value is PydanticUndefined or value is ...:
        return ABSENT, None if kind.optional else ABSENT
    return value, value


def _streamed(returned: Any) -> tuple[dict[str, Any], Any]:
    """Return what a generator yields by name, and the annotation of what it returns."""
    yielded, *rest = get_args(returned) or (Any,)
    returned = rest[1] if get_origin(returned) is Generator and len(rest) > 1 else None
    if yielded is str:
        return {"output": str}, returned
    names = get_args(yielded)[:1] if get_origin(yielded) is tuple else ()
    literal = names and get_origin(names[0]) is Literal
    return (dict.fromkeys(get_args(names[0]), str) if literal else {}), returned


def _fields(returned: Any) -> Mapping[str, Any]:
    if returned in (ABSENT, None, type(None), Any) or _is_open(returned):
        return {}
    if inspect.isclass(returned) and issubclass(returned, BaseModel):
        hints = typing.get_type_hints(returned, include_extras=True)
        fields = returned.model_fields.items()
        return {name: Annotated[hints[name], field] for name, field in fields}
    if typing.is_typeddict(returned):
        qualifiers = (typing.Required, typing.NotRequired)
        return {
            key: get_args(hint)[0] if get_origin(hint) in qualifiers else hint
            for key, hint in typing.get_type_hints(returned, include_extras=True).items()
        }
    if dataclasses.is_dataclass(returned):
        hints = typing.get_type_hints(returned, include_extras=True)
        return {field.name: hints[field.name] for field in dataclasses.fields(returned)}
    return {"output": returned}


def _is_open(returned: Any) -> bool:
    """Return whether `returned` is a dict, whose keys are only known at run time."""
    kind = get_origin(returned) or returned
    return inspect.isclass(kind) and not typing.is_typeddict(kind) and issubclass(kind, Mapping)


def _output(name: str, annotation: Any) -> VellumVariable:
    kind = kind_of(annotation)
    text = kind.type == "JSON" and (kind.schema or {}).get("type") == "string"
    return VellumVariable(
        id=variable_id("output", name),
        key=name,
        type="STRING" if text else kind.type,
        required=None,
        default=None,
        extensions=description_extension(kind.description),
        json_schema=kind.schema,
    )
