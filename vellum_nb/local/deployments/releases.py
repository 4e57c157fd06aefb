"""What the registry keeps: deployments, their immutable releases, their release tags."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime
from types import MappingProxyType

from vellum_nb.local.deployments.loading import WorkflowGoneError, imported, load
from vellum_nb.local.deployments.sources import Snapshot, SourceError
from vellum_nb.local.engine.code import Code
from vellum_nb.local.isolation import Process, ProcessCode
from vellum_nb.models import VellumVariable

__all__ = ["LATEST", "Deployment", "Release", "Tag", "WorkflowGoneError"]

LATEST = "LATEST"


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

    `code` is ``module:qualname``: in the snapshot if there is one, else where the callable can be
    imported again; or empty. With `process`, each run gets a process of its own.
    """

    id: str
    version_id: str
    created: datetime
    description: str
    summary: str
    input_variables: tuple[VellumVariable, ...]
    output_variables: tuple[VellumVariable, ...]
    code: str = ""
    snapshot: Snapshot | None = None
    process: Process | None = None
    loaded: list[Code] = field(default_factory=list, compare=False, repr=False)

    @property
    def source(self) -> Mapping[str, str] | None:
        """The text files it was deployed from, path to text; None where there are none.

        Raises
        ------
        WorkflowGoneError
            When they are gone or were changed.
        """
        try:
            return self.snapshot.texts() if self.snapshot else None
        except SourceError as exc:
            raise WorkflowGoneError(str(exc)) from exc

    def workflow(self) -> Code:
        """Return the code, imported again after a restart.

        Raises
        ------
        WorkflowGoneError
            When it cannot be imported, or has other inputs now.
        """
        if not self.loaded:
            code = self._loaded()
            if code.input_variables != self.input_variables:
                msg = f"{self.code} has other input variables now"
                raise WorkflowGoneError(msg)
            self.loaded.append(code)
        return self.loaded[0]

    def _loaded(self) -> Code:
        if self.snapshot is None:
            return imported(self.code)
        if self.process is None:
            return load(self.snapshot, self.code)[1]
        return ProcessCode(
            self.snapshot,
            self.code,
            self.process,
            input_variables=self.input_variables,
            output_variables=self.output_variables,
            description=self.summary,
        )


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
