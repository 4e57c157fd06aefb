"""From the Inputs and Outputs of a Workflows SDK class to the variables of a release."""

from __future__ import annotations

import inspect
import json
import typing
from collections.abc import Mapping
from typing import Annotated, Any

from pydantic.fields import FieldInfo
from pydantic_core import PydanticUndefined
from vellum.workflows import BaseWorkflow
from vellum.workflows.descriptors.base import BaseDescriptor
from vellum.workflows.inputs import BaseInputs
from vellum.workflows.types.utils import LOCAL_NS
from vellum.workflows.utils.functions import compile_annotation
from vellum.workflows.utils.vellum_variables import primitive_type_to_vellum_variable_type

from vellum_nb.local.callables.signature import (
    ABSENT,
    Kind,
    Parameter,
    description_extension,
    kind_of,
    typed_default,
)
from vellum_nb.local.refusals import bad_request
from vellum_nb.models import VellumVariable

_WITH_SCHEMA = frozenset({"STRING", "NUMBER", "JSON"})


def inputs_of(workflow: type[BaseWorkflow[Any, Any]]) -> tuple[Parameter, ...]:
    """Return the inputs of `workflow` in the order in which they are written, bases first."""
    inputs = workflow.get_inputs_class()
    hints = _hints(inputs)
    return tuple(_parameter(inputs, name, hints[name]) for name in _names(inputs))


def outputs_of(workflow: type[BaseWorkflow[Any, Any]]) -> tuple[VellumVariable, ...]:
    """Return the output variables of `workflow`."""
    found: dict[str, VellumVariable] = {}
    for reference in workflow.Outputs:
        kind = kind_of(_annotation(reference))
        type_ = _type(reference, kind)
        found[reference.name] = VellumVariable(
            id=str(workflow.__output_ids__[reference.name]),
            key=reference.name,
            type=type_,
            json_schema=_schema(type_, kind, reference),
        )
    return tuple(found[name] for name in sorted(found, key=_order(workflow.Outputs)))


def _hints(inputs: type[BaseInputs]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(inputs, localns=dict(LOCAL_NS), include_extras=True)
    except (NameError, TypeError, SyntaxError, AttributeError) as exc:
        msg = f"an annotation of {inputs.__qualname__} cannot be read: {exc}"
        raise bad_request(msg) from exc


def _names(inputs: type[BaseInputs]) -> list[str]:
    """Return the annotated names; iterating the class gives them in no order."""
    names: dict[str, None] = {}
    for base in reversed(inputs.__mro__):
        names.update(dict.fromkeys(vars(base).get("__annotations__", {})))
    return [name for name in names if not name.startswith("_")]


def _order(outputs: type) -> typing.Callable[[str], int]:
    """Return the place of a name among what the classes say, bases first."""
    names: dict[str, None] = {}
    for base in reversed(outputs.__mro__):
        names.update(dict.fromkeys([*vars(base).get("__annotations__", {}), *vars(base)]))
    places = {name: place for place, name in enumerate(names)}
    return lambda name: places.get(name, len(places))


def _parameter(inputs: type[BaseInputs], name: str, hint: Any) -> Parameter:
    reference = _reference(inputs, name, hint)
    default = _default(inputs, name)
    field = default if isinstance(default, FieldInfo) else None
    kind = kind_of(Annotated[hint, field] if field is not None else hint)
    if field is not None:
        default = field.get_default(call_default_factory=True)
        default = ABSENT if default is PydanticUndefined or default is ... else default
    type_ = _type(reference, kind)
    optional = kind.optional or default is None
    description = (field.description if field is not None else None) or kind.description
    variable = VellumVariable(
        id=str(reference.id),
        key=name,
        type=type_,
        required=default is ABSENT and not optional,
        default=None
        if isinstance(default, BaseDescriptor)
        else typed_default(type_, kind, default),
        extensions=description_extension(inspect.cleandoc(description)),
        json_schema=_schema(type_, kind, reference),
    )
    fallback = None if default is ABSENT and optional else default
    return Parameter(variable, kind, fallback=fallback)


def _reference(inputs: type[BaseInputs], name: str, hint: Any) -> Any:
    try:
        return getattr(inputs, name)
    except AttributeError as exc:
        msg = (
            f"the Workflows SDK cannot read {hint}, the annotation of "
            f"{inputs.__qualname__}.{name}; write Optional[...] or Union[...] for types joined by |"
        )
        raise bad_request(msg) from exc


def _default(inputs: type[BaseInputs], name: str) -> Any:
    for base in inputs.__mro__:
        if name in vars(base):
            return vars(base)[name]
    return ABSENT


def _annotation(reference: BaseDescriptor[Any]) -> Any:
    types = tuple(reference.types)
    return typing.Union[types] if types else Any  # noqa: UP007 - built at run time


def _type(reference: BaseDescriptor[Any], kind: Kind) -> str:
    try:
        return str(primitive_type_to_vellum_variable_type(reference))
    except (ValueError, RecursionError):
        return kind.type  # the SDK knows no type for some unions


def _schema(type_: str, kind: Kind, reference: BaseDescriptor[Any]) -> Mapping[str, Any] | None:
    if type_ not in _WITH_SCHEMA:
        return None
    if kind.adapter is not None:
        return kind.schema
    try:
        compiled = compile_annotation(_annotation(reference), {})
    except (ValueError, TypeError, RecursionError):
        return None
    return None if "$ref" in json.dumps(compiled, default=str) else compiled or None
