"""What the registry keeps: deployments, their immutable releases, their release tags."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType
from typing import Any

from vellum_nb.local.refusals import Refused
from vellum_nb.local.workflow import Workflow
from vellum_nb.models import VellumVariable

__all__ = ["LATEST", "Deployment", "Release", "Tag", "WorkflowGoneError", "import_path"]

LATEST = "LATEST"


class WorkflowGoneError(Exception):
    """The code of a release is not there any more."""


@dataclass(frozen=True, slots=True)
class Tag:
    """A release tag: the release it points at, and since when."""

    name: str
    release_id: str
    moved: datetime

    @property
    def source(self) -> str:
        """SYSTEM for LATEST, USER for all others."""
        return "SYSTEM" if self.name == LATEST else "USER"


@dataclass(frozen=True)
class Release:
    """One release: what it froze, and the code behind it.

    `code` is ``module:qualname`` where the callable can be imported again, else an empty string.
    """

    id: str
    version_id: str
    created: datetime
    description: str
    summary: str
    input_variables: tuple[VellumVariable, ...]
    output_variables: tuple[VellumVariable, ...]
    code: str = ""
    loaded: list[Workflow] = field(default_factory=list, compare=False, repr=False)

    def workflow(self) -> Workflow:
        """Return the workflow, imported again after a restart.

        Raises
        ------
        WorkflowGoneError
            When the callable cannot be imported, or has other inputs now.
        """
        if not self.loaded:
            workflow = _workflow(self.code)
            if workflow.input_variables != self.input_variables:
                msg = f"{self.code} has other input variables now"
                raise WorkflowGoneError(msg)
            self.loaded.append(workflow)
        return self.loaded[0]


@dataclass(frozen=True)
class Deployment:
    """A deployment with all its releases, oldest first, and its tags. Replaced, never changed."""

    id: str
    name: str
    label: str
    created: datetime
    releases: tuple[Release, ...] = ()
    tags: Mapping[str, Tag] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def latest(self) -> Release:
        """The newest release."""
        return self.releases[-1]

    def release(self, wanted: str) -> Release | None:
        """Return the release with this tag or id."""
        tag = self.tags.get(wanted)
        id_ = tag.release_id if tag else wanted
        return next((release for release in self.releases if release.id == id_), None)

    def tagged(self, release: Release, *names: str, at: datetime) -> Deployment:
        """Return the deployment with the tags `names` on `release`."""
        moved = {name: Tag(name, release.id, at) for name in names}
        return replace(self, tags=MappingProxyType({**self.tags, **moved}))


def import_path(target: Callable[..., Any]) -> str:
    """Return ``module:qualname`` if importing it gives `target` again, else an empty string.

    Examples
    --------
    >>> import json
    >>> import_path(json.dumps)
    'json:dumps'
    >>> import_path(lambda text: text)
    ''
    """
    module = getattr(target, "__module__", None) or ""
    name = getattr(target, "__qualname__", "")
    if module == "__main__" or module not in sys.modules:
        return ""
    found: Any = sys.modules[module]
    for part in name.split("."):
        found = getattr(found, part, None)
    return f"{module}:{name}" if name and found is target else ""


def _workflow(code: str) -> Workflow:
    try:
        return Workflow(_imported(code))
    except Refused as exc:
        raise WorkflowGoneError(exc.detail) from exc


def _imported(code: str) -> Any:
    if not code:
        msg = "its code was never on disk"
        raise WorkflowGoneError(msg)
    module, _, name = code.partition(":")
    try:
        found: Any = importlib.import_module(module)
        for part in name.split("."):
            found = getattr(found, part)
    except Exception as exc:  # a module may raise anything when it is imported
        msg = f"{code} cannot be imported ({type(exc).__name__}: {exc})"
        raise WorkflowGoneError(msg) from exc
    return found
