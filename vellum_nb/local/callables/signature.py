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

from vellum_nb.local.refusals import Refused
from vellum_nb.local.types import State, VellumType
from vellum_nb.models import VellumVariable
from vellum_nb.models.contract import VariableExtensions

ABSENT = inspect.Parameter.empty
_PLAIN_SCHEMAS: tuple[dict[str, Any], ...] = ({"type": "string"}, {"type": "number"}, {})
_VARIADIC = {inspect.Parameter.VAR_POSITIONAL: "*", inspect.Parameter.VAR_KEYWORD: "**"}
_STREAMS = (Generator, AsyncGenerator, Iterator, AsyncIterator)
_ID_SPACE = uuid.UUID("6f1c7a52-3f0e-4a57-9b0b-3f2b8f0f6a11")
_SECTION = re.compile(
    r"^Parameters\n-{3,} *\n(.*?)(?:^[A-Z][A-Za-z ]+\n-{3,} *$|\Z)", re.DOTALL | re.MULTILINE
)
_DESCRIBED = re.compile(r"^([*\w][^:\n]*).*\n((?:[ \t]+.*(?:\n|\Z)|\n)+)", re.MULTILINE)


@dataclasses.dataclass(frozen=True, slots=True)
class Kind:
    """Kind of value that an annotation declares."""

    type: str  # Vellum's
    schema: Mapping[str, Any] | None  # if it adds to the type
    optional: bool  # whether None is allowed
    description: str = ""
    default: Any = ABSENT  # of a `Field` in the annotation
    adapter: TypeAdapter[Any] | None = None  # converts JSON; None if pydantic cannot
    problem: str = ""  # reason of a missing adapter


@dataclasses.dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a callable: its variable, and the conversion of its value."""

    variable: VellumVariable
    kind: Kind
    positional: bool = False
    fallback: Any = ABSENT  # argument for an absent input; ABSENT: none


def kind_of(annotation: Any) -> Kind:
    """Return the kind of value that `annotation` declares."""
    core, metadata, optional = _unwrapped(annotation)
    marker, description = "", ""
    default: Any = ABSENT
    other_metadata = []
    for item in metadata:
        if isinstance(item, VellumType):
            marker = item.name
        elif isinstance(item, str):
            description = item
        else:
            other_metadata.append(item)
        if isinstance(item, FieldInfo):
            description = item.description or description
            value = item.get_default(call_default_factory=True)
            default = ABSENT if value in (PydanticUndefined, ...) else value
    kind = Kind(marker or "JSON", None, optional, description, default)
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(
            Annotated[(core, *other_metadata)] if other_metadata else core
        )
        schema = _tidy(adapter.json_schema())
        json.dumps(schema, allow_nan=False)
    except (PydanticUserError, ValueError, TypeError) as exc:
        return dataclasses.replace(kind, problem=str(exc).splitlines()[0])
    if marker:
        return dataclasses.replace(kind, adapter=adapter)
    types_ = {"string": "STRING", "number": "NUMBER", "integer": "NUMBER"}
    type_ = "JSON" if "enum" in schema else types_.get(str(schema.get("type")), "JSON")
    more = None if schema in _PLAIN_SCHEMAS else schema
    return dataclasses.replace(kind, type=type_, schema=more, adapter=adapter)


def input_parameter(
    id_: str, key: str, kind: Kind, default: Any, *, description: str = "", positional: bool = False
) -> Parameter:
    """Return the parameter for an input of `kind`, whose default applies if `default` is ABSENT."""
    if default is ABSENT or isinstance(default, FieldInfo):
        default = kind.default
    optional = kind.optional or default is None
    made = variable(
        id_,
        key,
        kind,
        description,
        required=default is ABSENT and not optional,
        default=_typed_default(kind, default),
    )
    fallback = None if default is ABSENT and optional else default
    return Parameter(made, kind, positional, fallback)


def inputs_of(target: Callable[..., Any]) -> tuple[Parameter, ...]:
    """Return the parameters of `target`, in order."""
    name = name_of(target)
    if inspect.isclass(target):
        msg = f"{name} is a class; deploy a function, or an instance that can be called"
        raise Refused(400, msg)
    try:
        signature = inspect.signature(target)
    except (TypeError, ValueError) as exc:
        msg = f"{name} has no signature that Python can read; wrap it in a function of your own"
        raise Refused(400, msg) from exc
    hints = _hints(target)
    described = parameter_descriptions(inspect.getdoc(target))
    return tuple(
        _parameter(p, hints.get(p.name, ABSENT), described.get(p.name, ""), name)
        for p in signature.parameters.values()
        if hints.get(p.name) is not State
    )


def state_of(target: Callable[..., Any]) -> str | None:
    """Return the name of the `State` parameter of `target`, or None."""
    names = [name for name, hint in _hints(target).items() if hint is State and name != "return"]
    if not names:
        return None
    parameter = inspect.signature(target).parameters[names[0]]
    if len(names) > 1 or parameter.kind is inspect.Parameter.POSITIONAL_ONLY:
        msg = f"{name_of(target)} must have one state, which can be passed by name: {names[0]}"
        raise Refused(400, msg)
    return names[0]


def outputs_of(target: Callable[..., Any]) -> tuple[VellumVariable, ...]:
    """Return the output variables that the return annotation of `target` declares."""
    returned = _hints(target).get("return", ABSENT)
    declared: dict[str, Any] = {}
    if get_origin(returned) in _STREAMS:
        yielded, *sent_and_returned = get_args(returned) or (Any,)
        returned = (
            sent_and_returned[1]
            if get_origin(returned) is Generator and len(sent_and_returned) > 1
            else None
        )
        names = get_args(yielded)[:1] if get_origin(yielded) is tuple else ()
        if yielded is str:
            declared["output"] = str
        elif names and get_origin(names[0]) is Literal:
            declared.update(dict.fromkeys(get_args(names[0]), str))
    declared.update(_fields(returned))
    variables = []
    for name, annotation in declared.items():
        kind = kind_of(annotation)
        if kind.type == "JSON" and (kind.schema or {}).get("type") == "string":
            kind = dataclasses.replace(kind, type="STRING")
        variables.append(variable(variable_id("output", name), name, kind))
    return tuple(variables)


def variable(id_: str, key: str, kind: Kind, description: str = "", **more: Any) -> VellumVariable:
    """Return the variable for an output of `kind`, or, with `more` fields, for an input."""
    text = inspect.cleandoc(kind.description or description)
    return VellumVariable(
        id=id_,
        key=key,
        type=kind.type,
        extensions=VariableExtensions(color=None, description=text, title=None) if text else None,
        json_schema=kind.schema,
        **more,
    )


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
    section = _SECTION.search(inspect.cleandoc(doc or ""))
    return {
        name.strip(" *"): " ".join(text.split())
        for names, text in _DESCRIBED.findall(section[1] if section else "")
        for name in names.split(",")
    }


def variable_id(direction: str, key: str) -> str:
    """Return the id of a variable, which is the same in every release."""
    return str(uuid.uuid5(_ID_SPACE, f"{direction}:{key}"))


def _typed_default(kind: Kind, default: Any) -> dict[str, Any] | None:
    """Return a default for a variable; None if JSON cannot represent it."""
    if default is ABSENT or default is None:
        return None
    try:
        value = default
        if kind.adapter is not None:
            value = kind.adapter.dump_python(default, mode="json", warnings=False)
        json.dumps(value, allow_nan=False)
    except (PydanticSerializationError, ValueError, TypeError):
        return None  # the code has it, but it cannot be displayed
    return {"type": kind.type, "value": value}


def _unwrapped(annotation: Any) -> tuple[Any, list[Any], bool]:
    """Remove `Annotated` and ``| None``, at any depth."""
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


def _tidy(raw: Mapping[str, Any]) -> dict[str, Any]:
    """Inline the root of a schema, and remove properties stored in the variable."""
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


def _unwrap_partial(target: Any) -> Any:
    return target.func if isinstance(target, functools.partial) else target


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    function = _unwrap_partial(target)
    if not inspect.isroutine(function):
        function = type(function).__call__
    return hints_of(function, name_of(target))


def hints_of(owner: Any, name: str, namespace: dict[str, Any] | None = None) -> dict[str, Any]:
    """Return the annotations of a function or class, evaluated with `namespace`."""
    try:
        return typing.get_type_hints(owner, localns=namespace, include_extras=True)
    except (NameError, TypeError, SyntaxError, AttributeError) as exc:
        raise Refused(400, f"an annotation of {name} cannot be read: {exc}") from exc


def _parameter(parameter: inspect.Parameter, hint: Any, described: str, where: str) -> Parameter:
    name = parameter.name
    if parameter.kind in _VARIADIC:
        msg = (
            f"{where} takes {_VARIADIC[parameter.kind]}{name}; inputs have names and types, so "
            "give each a parameter of its own"
        )
        raise Refused(400, msg)
    default = parameter.default
    if hint is ABSENT:
        types_of_defaults = {str: str, bool: bool, int: float, float: float}
        hint = types_of_defaults.get(type(default), Any)
    kind = kind_of(Annotated[hint, default] if isinstance(default, FieldInfo) else hint)
    if kind.adapter is None:
        raise Refused(
            400, f"the parameter {name} of {where} cannot be read from JSON: {kind.problem}"
        )
    return input_parameter(
        variable_id("input", name),
        name,
        kind,
        default,
        description=described,
        positional=parameter.kind is inspect.Parameter.POSITIONAL_ONLY,
    )


def _fields(returned: Any) -> Mapping[str, Any]:
    """Return the outputs declared by a return annotation; empty if they are unknown."""
    kind = get_origin(returned) or returned
    if returned in (ABSENT, None, type(None), Any):
        return {}
    if typing.is_typeddict(kind):
        qualifiers = (typing.Required, typing.NotRequired)
        return {
            key: get_args(hint)[0] if get_origin(hint) in qualifiers else hint
            for key, hint in typing.get_type_hints(returned, include_extras=True).items()
        }
    if inspect.isclass(kind) and issubclass(kind, BaseModel):
        hints = typing.get_type_hints(returned, include_extras=True)
        return {name: Annotated[hints[name], field] for name, field in kind.model_fields.items()}
    if dataclasses.is_dataclass(kind):
        hints = typing.get_type_hints(returned, include_extras=True)
        return {field.name: hints[field.name] for field in dataclasses.fields(returned)}
    is_open = inspect.isclass(kind) and issubclass(kind, Mapping)
    return {} if is_open else {"output": returned}
