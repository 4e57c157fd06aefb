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
from dataclasses import dataclass
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel, TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticSerializationError, PydanticUndefined

from vellum_nb.local.refusals import bad_request
from vellum_nb.local.types import State, VellumType
from vellum_nb.models import VellumVariable
from vellum_nb.models.deployments import VariableExtensions

__all__ = [
    "ABSENT",
    "Kind",
    "Parameter",
    "inputs_of",
    "kind_of",
    "name_of",
    "outputs_of",
    "parameters",
    "state_of",
    "summary",
    "summary_of",
    "variable_id",
]

_BARE: tuple[dict[str, Any], ...] = ({"type": "string"}, {"type": "number"}, {})


@dataclass(frozen=True, slots=True)
class Kind:
    """What an annotation says.

    Attributes
    ----------
    type : str
        Vellum's type.
    schema : dict or None
        Its JSON schema, where that says more than the type.
    optional : bool
        Whether None is allowed.
    description : str
        From `Annotated`.
    field : FieldInfo or None
        The pydantic field of the annotation, which may hold a default.
    adapter : TypeAdapter or None
        Converts JSON to the annotated type; None where pydantic knows no way.
    problem : str
        Why there is no adapter.
    """

    type: str
    schema: dict[str, Any] | None
    optional: bool
    description: str
    field: FieldInfo | None
    adapter: TypeAdapter[Any] | None
    problem: str = ""


def kind_of(annotation: Any) -> Kind:
    """Return what `annotation` says about a variable.

    Examples
    --------
    >>> from typing import Literal
    >>> kind = kind_of(Literal["free", "pro"] | None)
    >>> kind.type, kind.schema, kind.optional
    ('JSON', {'type': 'string', 'enum': ['free', 'pro']}, True)
    """
    core, metadata, optional = _unwrapped(annotation)
    marker = next((m for m in metadata if isinstance(m, VellumType)), None)
    field = next((m for m in metadata if isinstance(m, FieldInfo)), None)
    rest = tuple(
        m
        for m in metadata
        if not isinstance(m, VellumType | str) and not hasattr(m, "documentation")
    )
    inner: Any = Annotated[(core, *rest)] if rest else core
    description = _description(metadata)
    try:
        adapter: TypeAdapter[Any] = _adapter(inner)
        raw = adapter.json_schema()
        json.dumps(raw, allow_nan=False)
    except (PydanticUserError, ValueError, TypeError) as exc:
        named = marker.name if marker else "JSON"
        problem = str(exc).splitlines()[0]
        return Kind(named, None, optional, description, field, None, problem)
    if marker is not None:
        return Kind(marker.name, None, optional, description, field, adapter)
    schema = _tidy(raw)
    said = None if schema in _BARE else schema
    return Kind(_type_of(schema), said, optional, description, field, adapter)


def _adapter(annotation: Any) -> TypeAdapter[Any]:
    return TypeAdapter(annotation)


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
    """Return a schema with its root in place and without what the variable says elsewhere."""
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
    if "enum" in schema:
        return "JSON"
    return {"string": "STRING", "number": "NUMBER", "integer": "NUMBER"}.get(
        str(schema.get("type")), "JSON"
    )


_HEADER = re.compile(r"^(?P<name>[A-Z][A-Za-z ]+)\n-{3,}[ ]*$", re.MULTILINE)


def summary(doc: str | None) -> str:
    r"""Return the first paragraph on one line.

    Examples
    --------
    >>> summary("Sort a ticket.\n\nMore.")
    'Sort a ticket.'
    """
    first = inspect.cleandoc(doc or "").partition("\n\n")[0]
    return " ".join(first.split())


def parameters(doc: str | None) -> dict[str, str]:
    """Return the descriptions of the parameters.

    Examples
    --------
    >>> parameters('''Sort.
    ...
    ... Parameters
    ... ----------
    ... ticket, mail : str
    ...     What the customer wrote.
    ... ''')
    {'ticket': 'What the customer wrote.', 'mail': 'What the customer wrote.'}
    """
    found: dict[str, str] = {}
    names: list[str] = []
    for line in _section(inspect.cleandoc(doc or ""), "Parameters").splitlines():
        if line[:1].strip():
            names = [name.strip(" *") for name in line.partition(":")[0].split(",")]
            found.update(dict.fromkeys(names, ""))
        else:
            found.update({name: f"{found[name]} {line.strip()}".strip() for name in names})
    return {name: text for name, text in found.items() if text}


def _section(doc: str, wanted: str) -> str:
    heads = list(_HEADER.finditer(doc))
    for head, following in zip(heads, [*heads[1:], None], strict=False):
        if head["name"] == wanted:
            return doc[head.end() : following.start() if following else len(doc)].strip("\n")
    return ""


ABSENT = inspect.Parameter.empty
_UNNAMED = {
    inspect.Parameter.VAR_POSITIONAL: "*",
    inspect.Parameter.VAR_KEYWORD: "**",
}
_STREAMS = (Generator, AsyncGenerator, Iterator, AsyncIterator)
_SPACE = uuid.UUID("6f1c7a52-3f0e-4a57-9b0b-3f2b8f0f6a11")


@dataclasses.dataclass(frozen=True, slots=True)
class Parameter:
    """A parameter of a callable: its variable, and how its value is made."""

    variable: VellumVariable
    kind: Kind
    positional: bool
    fallback: Any = ABSENT  # what is passed when the input is absent; ABSENT: nothing is


def inputs_of(target: Callable[..., Any]) -> tuple[Parameter, ...]:
    """Return the parameters of `target`, in order.

    Raises
    ------
    VellumNBError
        When a parameter cannot be an input variable; the message says why.

    Examples
    --------
    >>> def triage(ticket: str, hours: int = 24): ...
    >>> [(p.variable.key, p.variable.type, p.variable.required) for p in inputs_of(triage)]
    [('ticket', 'STRING', True), ('hours', 'NUMBER', False)]
    """
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
    described = parameters(inspect.getdoc(target))
    return tuple(
        _parameter(p, hints.get(p.name, ABSENT), described.get(p.name, ""), name)
        for p in signature.parameters.values()
        if hints.get(p.name) is not State
    )


def state_of(target: Callable[..., Any]) -> str | None:
    """Return the name of the parameter of `target` that is its `State`, if it has one.

    Raises
    ------
    VellumNBError
        When there are several, or it cannot be given by name.

    Examples
    --------
    >>> def answer(question: str, memory: State) -> str: ...
    >>> state_of(answer)
    'memory'
    """
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
    """Return the output variables that the return annotation of `target` declares.

    Examples
    --------
    >>> def double(n: int) -> float: ...
    >>> [(v.key, v.type) for v in outputs_of(double)]
    [('output', 'NUMBER')]
    """
    returned = _hints(target).get("return", ABSENT)
    declared: dict[str, Any] = {}
    if get_origin(returned) in _STREAMS:
        yielded, returned = _streamed(returned)
        declared.update(yielded)
    declared.update(_fields(returned))
    return tuple(_output(name, annotation) for name, annotation in declared.items())


def name_of(target: Callable[..., Any]) -> str:
    """Return the name of the function behind `target`."""
    while isinstance(target, functools.partial):
        target = target.func
    return str(getattr(target, "__name__", type(target).__name__))


def summary_of(target: Callable[..., Any]) -> str:
    """Return the first sentence of the docstring of `target`."""
    if isinstance(target, functools.partial):
        return summary_of(target.func)
    return summary(inspect.getdoc(target))


def variable_id(direction: str, key: str) -> str:
    """Return the id of a variable: the same in every release."""
    return str(uuid.uuid5(_SPACE, f"{direction}:{key}"))


def _hints(target: Callable[..., Any]) -> dict[str, Any]:
    function: Any = target
    while isinstance(function, functools.partial):
        function = function.func
    if not inspect.isroutine(function):
        function = type(function).__call__
    try:
        return typing.get_type_hints(function, include_extras=True)
    except (NameError, TypeError, SyntaxError, AttributeError) as exc:
        msg = f"an annotation of {name_of(target)} cannot be read: {exc}"
        raise bad_request(msg) from exc


def _parameter(parameter: inspect.Parameter, hint: Any, described: str, where: str) -> Parameter:
    name = parameter.name
    if parameter.kind in _UNNAMED:
        msg = (
            f"{where} takes {_UNNAMED[parameter.kind]}{name}; inputs have names and types, so give "
            "each a parameter of its own"
        )
        raise bad_request(msg)
    default = parameter.default
    kind = _kind(hint, default)
    if kind.adapter is None:
        msg = f"the parameter {name} of {where} cannot come as JSON: {kind.problem}"
        raise bad_request(msg)
    default, fallback = _default(kind, default)
    variable = VellumVariable(
        id=variable_id("input", name),
        key=name,
        type=kind.type,
        required=default is ABSENT and not kind.optional,
        default=_typed_default(kind, default),
        extensions=_extensions(kind.description or described),
        json_schema=kind.schema,
    )
    positional = parameter.kind is inspect.Parameter.POSITIONAL_ONLY
    return Parameter(variable, kind, positional, fallback)


def _kind(hint: Any, default: Any) -> Kind:
    if isinstance(default, FieldInfo):
        return kind_of(typing.Annotated[Any if hint is ABSENT else hint, default])
    if hint is not ABSENT:
        return kind_of(hint)
    plain = type(default) if isinstance(default, str | bool | int | float) else Any
    return kind_of(float if plain is int else plain)


def _default(kind: Kind, default: Any) -> tuple[Any, Any]:
    """Return the parameter's default, and what must be passed when the input is absent."""
    field = kind.field
    if default is ABSENT or isinstance(default, FieldInfo):
        value = field.get_default(call_default_factory=True) if field else PydanticUndefined
        if value is not PydanticUndefined and value is not ...:
            return value, value
        return ABSENT, None if kind.optional else ABSENT
    return default, ABSENT


def _typed_default(kind: Kind, default: Any) -> dict[str, Any] | None:
    if default is ABSENT or default is None or kind.adapter is None:
        return None
    try:
        value = kind.adapter.dump_python(default, mode="json", warnings=False)
        json.dumps(value, allow_nan=False)
    except (PydanticSerializationError, ValueError, TypeError):
        return None  # the callable still has it; it only cannot be shown
    return {"type": kind.type, "value": value}


def _extensions(description: str) -> VariableExtensions | None:
    if not description:
        return None
    return VariableExtensions(color=None, description=description, title=None)


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
        return {name: typing.Annotated[hints[name], field] for name, field in fields}
    if typing.is_typeddict(returned):
        return _without_qualifiers(typing.get_type_hints(returned, include_extras=True))
    if dataclasses.is_dataclass(returned):
        hints = typing.get_type_hints(returned, include_extras=True)
        return {field.name: hints[field.name] for field in dataclasses.fields(returned)}
    return {"output": returned}


def _is_open(returned: Any) -> bool:
    """Return whether `returned` is a dict, whose keys are only known at run time."""
    origin = get_origin(returned) or returned
    return (
        inspect.isclass(origin) and not typing.is_typeddict(origin) and issubclass(origin, Mapping)
    )


def _without_qualifiers(hints: Mapping[str, Any]) -> dict[str, Any]:
    qualifiers = (typing.Required, typing.NotRequired)
    return {
        key: get_args(hint)[0] if get_origin(hint) in qualifiers else hint
        for key, hint in hints.items()
    }


def _output(name: str, annotation: Any) -> VellumVariable:
    kind = kind_of(annotation)
    text = kind.type == "JSON" and (kind.schema or {}).get("type") == "string"
    return VellumVariable(
        id=variable_id("output", name),
        key=name,
        type="STRING" if text else kind.type,
        required=None,
        default=None,
        extensions=_extensions(kind.description),
        json_schema=kind.schema,
    )
