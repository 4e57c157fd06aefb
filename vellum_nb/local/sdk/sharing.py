"""Lets several workflows use one Inputs class, which the SDK binds to the first one."""

from __future__ import annotations

from typing import Any

from vellum.workflows import BaseWorkflow
from vellum.workflows.inputs import BaseInputs

__all__ = ["share_inputs"]


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
    """Make what `workflow` takes resolve in every workflow that takes the same.

    The SDK resolves ``Inputs.text`` only in the workflow that ``Inputs.__parent_class__`` names,
    which is the first one: a second release in the same notebook would miss its inputs. The ids of
    the inputs are made from that workflow's id and stay as they are.
    """
    for inputs in workflow.get_inputs_class().__mro__:
        if not issubclass(inputs, BaseInputs) or inputs is BaseInputs:
            continue
        first = inputs.__parent_class__
        if not issubclass(first, BaseWorkflow) or isinstance(first, _UsersOfInputs):
            continue
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
