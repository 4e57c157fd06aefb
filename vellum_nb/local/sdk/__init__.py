"""Vellum Workflows SDK classes as code that a release runs.

Nothing in this file imports `vellum`, which takes seconds; the other modules of this folder do,
and are imported when a class or a project is deployed or run. `vellum_ee` is never imported by us.
"""

from __future__ import annotations

from typing import Any, TypeGuard

__all__ = ["is_workflow_class"]


def is_workflow_class(target: object) -> TypeGuard[type[Any]]:
    """Return whether `target` is a subclass of the Workflows SDK's ``BaseWorkflow``.

    Examples
    --------
    >>> is_workflow_class(dict)
    False
    """
    return isinstance(target, type) and any(
        base.__module__ == "vellum.workflows.workflows.base" and base.__name__ == "BaseWorkflow"
        for base in target.__mro__[1:]
    )
