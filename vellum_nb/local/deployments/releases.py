"""Deployments, releases and release tags: how they are built, loaded and exported."""

from __future__ import annotations

import inspect
import io
import json
import os
import textwrap
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from vellum_nb.local.callables.signature import name_of
from vellum_nb.local.deployments.loading import (
    CodeUnavailableError,
    code_of,
    import_path,
    imported,
    load,
)
from vellum_nb.local.deployments.sources import (
    MODULE,
    Snapshot,
    Snapshots,
    SourceError,
    read_source,
    undefined_names,
)
from vellum_nb.local.engine.code import Code
from vellum_nb.local.isolation.process import Process, ProcessCode, process_for
from vellum_nb.local.refusals import bad_request
from vellum_nb.models import VellumVariable

__all__ = [
    "Build",
    "CodeUnavailableError",
    "Declared",
    "Deployment",
    "LATEST",
    "Release",
    "Tag",
    "Target",
    "as_text",
    "as_zip",
    "build",
    "release_definition",
    "source_of",
]

Target = Callable[..., Any] | type | os.PathLike[str]


@dataclass(frozen=True, slots=True)
class Declared:
    """What source declares, where it is known: it is not imported then before its first run."""

    input_variables: tuple[VellumVariable, ...]
    output_variables: tuple[VellumVariable, ...]
    summary: str = ""


@dataclass(frozen=True, slots=True)
class Build:
    """What a release is made of; `name` is the deployment's if none is given."""

    name: str
    code: str
    summary: str
    input_variables: tuple[VellumVariable, ...]
    output_variables: tuple[VellumVariable, ...]
    snapshot: Snapshot | None = None
    process: Process | None = None
    loaded: Code | None = None


def build(
    target: Target,
    snapshots: Snapshots,
    *,
    entry: str | None = None,
    isolation: str = "kernel",
    memory_limit: int | None = None,
    env: Sequence[str] = (),
    source: str | None = None,
    declared: Declared | None = None,
) -> Build:
    """Return what a release of `target` is made of; see `LocalServer.deploy`.

    Raises
    ------
    VellumNBError
        When it cannot be deployed; the message says why.
    """
    process = process_for(isolation, memory_limit=memory_limit, env=env)
    if isinstance(target, os.PathLike):
        path = Path(target).expanduser().resolve()
        snapshot = snapshots.keep(read_source(path))
        name = path.name if path.is_dir() else ""
        return _from_source(snapshot, entry or "", process, name=name, declared=declared)
    if source is None:
        live = code_of(target)
        if process is not None:
            msg = (
                f"{name_of(target)} cannot run in a process of its own: its source is not known. "
                "Deploy the Path of its file or folder, or the cell with %%vellum_deploy"
            )
            raise bad_request(msg)
        return _described(name_of(target), import_path(target), live, loaded=live)
    snapshot = snapshots.keep({f"{MODULE}.py": source.encode()})
    code = f"{MODULE}:{entry or name_of(target)}"
    if process is not None or not _lacks(source):
        return _from_source(snapshot, code, process, name=name_of(target))
    live = code_of(target)
    return _described(name_of(target), code, live, snapshot=snapshot, loaded=live)


def _lacks(source: str) -> list[str]:
    try:
        return undefined_names(source)
    except SyntaxError as exc:
        msg = f"The source is no Python: {exc}"
        raise bad_request(msg) from exc


def _from_source(
    snapshot: Snapshot,
    entry: str,
    process: Process | None,
    *,
    name: str,
    declared: Declared | None = None,
) -> Build:
    if declared is not None:
        return Build(
            name or entry.rpartition(":")[2],
            entry,
            declared.summary,
            declared.input_variables,
            declared.output_variables,
            snapshot,
            process,
        )
    try:
        if process is not None:
            code, made = ProcessCode.described(snapshot, entry, process)
            return _described(name or _last(code), code, made, snapshot=snapshot, process=process)
        code, loaded = load(snapshot, entry)
    except CodeUnavailableError as exc:
        msg = f"The source cannot be deployed: {exc}"
        raise bad_request(msg) from exc
    return _described(name or _last(code), code, loaded, snapshot=snapshot, loaded=loaded)


def _last(code: str) -> str:
    return code.rpartition(":")[2]


def _described(
    name: str,
    place: str,
    code: Code,
    *,
    snapshot: Snapshot | None = None,
    process: Process | None = None,
    loaded: Code | None = None,
) -> Build:
    return Build(
        name,
        place,
        code.description,
        code.input_variables,
        code.output_variables,
        snapshot,
        process,
        loaded,
    )


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
        CodeUnavailableError
            When they are gone or were changed.
        """
        try:
            return self.snapshot.texts() if self.snapshot else None
        except SourceError as exc:
            raise CodeUnavailableError(str(exc)) from exc

    def workflow(self) -> Code:
        """Return the code, imported again after a restart.

        Raises
        ------
        CodeUnavailableError
            When it cannot be imported, or has other inputs now.
        """
        if not self.loaded:
            code = self._loaded()
            if code.input_variables != self.input_variables:
                msg = f"{self.code} has other input variables now"
                raise CodeUnavailableError(msg)
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


_DATE = (1980, 1, 1, 0, 0, 0)  # the same code is the same archive


def source_of(deployment: Deployment, release: Release) -> Mapping[str, str]:
    """Return the source of a release: path to text.

    Raises
    ------
    VellumNBError
        When it cannot be had; says why.
    """
    try:
        source = release.source
        if source is not None:
            return source
        code: Any = release.workflow()
        text = inspect.getsource(getattr(code, "target", code))
    except (CodeUnavailableError, OSError, TypeError) as exc:
        msg = (
            f"The source of this release of {deployment.name} cannot be had ({exc}); deploy a "
            "folder, a .py file, or a cell with %%vellum_deploy"
        )
        raise bad_request(msg) from exc
    return {f"{MODULE}.py": textwrap.dedent(text)}  # as a file or a cell would be called


def release_definition(deployment: Deployment, release: Release) -> str:
    """Return what a release takes and gives, as JSON text."""
    content = {
        "name": deployment.name,
        "label": deployment.label,
        "release_id": release.id,
        "description": release.description,
        "input_variables": [
            v.model_dump(mode="json", by_alias=True) for v in release.input_variables
        ],
        "output_variables": [
            v.model_dump(mode="json", by_alias=True) for v in release.output_variables
        ],
    }
    return json.dumps(content, indent=2) + "\n"


def as_zip(files: Mapping[str, str]) -> bytes:
    """Return files as a zip archive, the same bytes for the same files.

    Examples
    --------
    >>> as_zip({"workflow.py": "x = 1"}) == as_zip({"workflow.py": "x = 1"})
    True
    """
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in sorted(files.items()):
            info = zipfile.ZipInfo(path, date_time=_DATE)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, text.encode("utf-8", "surrogatepass"))
    return buffer.getvalue()


def as_text(files: Mapping[str, str]) -> str:
    """Return files as one text, each under a line with its path.

    Examples
    --------
    >>> print(as_text({"a.py": "x = 1"}))
    # a.py
    x = 1
    """
    return "\n".join(f"# {path}\n{text}" for path, text in sorted(files.items()))
