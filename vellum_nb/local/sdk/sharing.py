"""Lets several workflows use one Inputs class, which the SDK binds to the first one."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from vellum.workflows import BaseWorkflow
from vellum.workflows.inputs import BaseInputs

__all__ = ["share_inputs", "with_inner"]


class _UsersOfInputs(type(BaseWorkflow)):  # type: ignore[misc]
    """The type of a class that is equal to every workflow with certain inputs."""

    inputs: type[BaseInputs]

    def __eq__(cls, other: object) -> bool:
        if cls is other:
            return True
        return (
            isinstance(other, type)
            and issubclass(other, BaseWorkflow)
            and issubclass(other.get_inputs_class(), cls.inputs)
        )

    __hash__ = type.__hash__


def share_inputs(workflow: type[BaseWorkflow[Any, Any]]) -> None:
    """Make what `workflow`, and those inside of it, take resolve in all that take the same.

    The SDK resolves ``Inputs.text`` only in the workflow that ``Inputs.__parent_class__`` names,
    which is the first one: a second release in the same notebook would miss its inputs, and a
    second map those of ``MapNode.SubworkflowInputs``. The ids of the inputs are made from that
    first workflow's id and stay as they are.
    """
    for inner in with_inner(workflow):
        for inputs in inner.get_inputs_class().__mro__:
            if issubclass(inputs, BaseInputs) and inputs is not BaseInputs:
                _share(inputs)


def with_inner(workflow: type[BaseWorkflow[Any, Any]]) -> Iterator[type[BaseWorkflow[Any, Any]]]:
    """Yield `workflow` and the workflows in its nodes, however deep, each once."""
    yield from _with_inner(workflow, set())


def _with_inner(
    workflow: type[BaseWorkflow[Any, Any]], seen: set[type]
) -> Iterator[type[BaseWorkflow[Any, Any]]]:
    seen.add(workflow)
    yield workflow
    for node in workflow.get_all_nodes():
        for reference in node:
            inner = reference.instance
            if isinstance(inner, type) and issubclass(inner, BaseWorkflow) and inner not in seen:
                yield from _with_inner(inner, seen)


def _share(inputs: type[BaseInputs]) -> None:
    first = inputs.__parent_class__
    if not issubclass(first, BaseWorkflow) or isinstance(first, _UsersOfInputs):
        return
    users = _UsersOfInputs(
        first.__name__,
        (BaseWorkflow,),
        {
            "Outputs": type("Outputs", (), {}),
            "inputs": inputs,
            "__module__": first.__module__,
            "__qualname__": first.__qualname__,
        },
    )
    users.__id__ = first.__id__
    inputs.__parent_class__ = users
