"""From the Inputs and Outputs of a Workflows SDK class to the variables of a release."""

from __future__ import annotations

import typing
from contextlib import suppress
from dataclasses import replace
from typing import Annotated, Any

from pydantic.fields import FieldInfo
from vellum.workflows import BaseWorkflow
from vellum.workflows.descriptors.base import BaseDescriptor
from vellum.workflows.inputs import BaseInputs
from vellum.workflows.types.utils import LOCAL_NS
from vellum.workflows.utils.vellum_variables import primitive_type_to_vellum_variable_type

from vellum_nb.local.callables.signature import (
    ABSENT,
    Kind,
    Parameter,
    hints_of,
    input_parameter,
    kind_of,
    variable,
)
from vellum_nb.local.refusals import Refused
from vellum_nb.models import VellumVariable

_WITH_SCHEMA = frozenset({"STRING", "NUMBER", "JSON"})


def inputs_of(workflow: type[BaseWorkflow[Any, Any]]) -> tuple[Parameter, ...]:
    """Return the inputs of `workflow` in the order in which they are written, bases first."""
    inputs = workflow.get_inputs_class()
    hints = hints_of(inputs, inputs.__qualname__, dict(LOCAL_NS))
    names: dict[str, None] = {}  # iterating the class gives them in no order
    for base in reversed(inputs.__mro__):
        names.update(dict.fromkeys(vars(base).get("__annotations__", {})))
    return tuple(
        _parameter(inputs, name, hints[name]) for name in names if not name.startswith("_")
    )


def outputs_of(workflow: type[BaseWorkflow[Any, Any]]) -> tuple[VellumVariable, ...]:
    """Return the output variables of `workflow`, in the order in which they are written."""
    found: dict[str, VellumVariable] = {}
    for reference in workflow.Outputs:
        kind = _as_vellum_has_it(kind_of(_annotation(reference)), reference)
        id_ = str(workflow.__output_ids__[reference.name])
        found[reference.name] = variable(id_, reference.name, kind)
    names: dict[str, None] = {}
    for base in reversed(workflow.Outputs.__mro__):
        names.update(dict.fromkeys([*vars(base).get("__annotations__", {}), *vars(base)]))
    return tuple(found[name] for name in (*names, *(found.keys() - names)) if name in found)


def _parameter(inputs: type[BaseInputs], name: str, hint: Any) -> Parameter:
    try:
        reference = getattr(inputs, name)
    except AttributeError as exc:
        msg = (
            f"the Workflows SDK cannot read {hint}, the annotation of "
            f"{inputs.__qualname__}.{name}; write Optional[...] or Union[...] for types joined by |"
        )
        raise Refused(400, msg) from exc
    default = next((vars(base)[name] for base in inputs.__mro__ if name in vars(base)), ABSENT)
    kind = kind_of(Annotated[hint, default] if isinstance(default, FieldInfo) else hint)
    return input_parameter(str(reference.id), name, _as_vellum_has_it(kind, reference), default)


def _annotation(reference: BaseDescriptor[Any]) -> Any:
    types = tuple(reference.types)
    return typing.Union[types] if types else Any  # noqa: UP007 - built at run time


def _as_vellum_has_it(kind: Kind, reference: BaseDescriptor[Any]) -> Kind:
    """Return `kind` with the type that the SDK gives, and its schema where that adds to it."""
    type_ = kind.type
    with suppress(ValueError, RecursionError):  # the SDK knows no type for some unions
        type_ = str(primitive_type_to_vellum_variable_type(reference))
    return replace(kind, type=type_, schema=kind.schema if type_ in _WITH_SCHEMA else None)
