"""Deployments, their immutable releases and their release tags; building and exporting one."""

from __future__ import annotations

import inspect
import io
import json
import os
import textwrap
import uuid
import zipfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from vellum_nb.local.callables.signature import name_of
from vellum_nb.local.deployments.loading import (
    code_of,
    import_path,
    imported,
    load,
)
from vellum_nb.local.deployments.sources import (
    MODULE,
    CodeUnavailableError,
    Snapshot,
    Snapshots,
    check_files,
    read_source,
    undefined_names,
)
from vellum_nb.local.engine.events import Code
from vellum_nb.local.isolation.process import ProcessCode, ProcessOptions, process_options
from vellum_nb.local.isolation.workflow_server import (
    ServerCode,
    image_of_project,
    server_options,
)
from vellum_nb.local.refusals import bad_request
from vellum_nb.models import VellumVariable, WorkflowDeploymentRelease, WorkflowReleaseTagRead
from vellum_nb.models.contract import (
    ReleaseDeployment,
    ReleaseEnvironment,
    ReleaseRef,
    ReleaseTagName,
    WorkflowVersion,
)

LATEST = "LATEST"
_IN_SERVERS = frozenset({"container", "environment"})
Target = Callable[..., Any] | type | os.PathLike[str] | Mapping[str, bytes]
_DATE = (1980, 1, 1, 0, 0, 0)  # the same code is the same archive


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


@dataclass(frozen=True, slots=True)
class Declared:
    """Variables of source that are known, so that it is not imported before its first run."""

    input_variables: tuple[VellumVariable, ...]
    output_variables: tuple[VellumVariable, ...]
    summary: str = ""


@dataclass(frozen=True)
class Build:
    """Code of a release with its variables.

    `name` is the deployment's if none is given. `code` is ``module:qualname``: in the snapshot if
    there is one, else where the callable can be imported again; or empty. With `process`, each run
    gets a process of its own.
    """

    name: str
    code: str
    summary: str
    input_variables: tuple[VellumVariable, ...]
    output_variables: tuple[VellumVariable, ...]
    snapshot: Snapshot | None = None
    process: ProcessOptions | None = None
    loaded: list[Code] = field(default_factory=list, compare=False, repr=False)


@dataclass(frozen=True, kw_only=True)
class Release(Build):
    """One release of a deployment."""

    id: str
    version_id: str
    created: datetime
    description: str

    @property
    def source(self) -> Mapping[str, str] | None:
        """The text files it was deployed from, path to text; None where there are none."""
        return self.snapshot.texts() if self.snapshot else None

    def workflow(self) -> Code:
        """Return the code, imported again after a restart."""
        if not self.loaded:
            code = self._load()
            if code.input_variables != self.input_variables:
                msg = f"{self.code} has other input variables now"
                raise CodeUnavailableError(msg)
            self.loaded.append(code)
        elif self.snapshot is not None:
            _ = self.snapshot.folder  # what it imports while it runs is there again
        return self.loaded[0]

    def _load(self) -> Code:
        if self.snapshot is None:
            return imported(self.code)
        if self.process is None:
            return load(self.snapshot, self.code)[1]
        return _code_kind(self.process)(
            self.snapshot,
            self.code,
            self.process,
            self.input_variables,
            self.output_variables,
            self.summary,
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

    def release(self, tag_or_id: str) -> Release | None:
        """Return the release with this tag or id."""
        tag = self.tags.get(tag_or_id)
        id_ = tag.release_id if tag else tag_or_id
        return next((release for release in self.releases if release.id == id_), None)

    def tagged(self, release: Release, *names: str, at: datetime) -> Deployment:
        """Return the deployment with the tags `names` on `release`."""
        moved = {name: Tag(name, release.id, at) for name in names}
        return replace(self, tags=MappingProxyType({**self.tags, **moved}))


def _code_kind(options: ProcessOptions) -> type[ProcessCode | ServerCode]:
    return ServerCode if options.isolation in _IN_SERVERS else ProcessCode


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
    image: str | None = None,
    python: str | os.PathLike[str] | None = None,
) -> Build:
    """Return the code of a release of `target`; see `LocalServer.deploy`."""
    if isolation in _IN_SERVERS:
        if isolation == "container" and image is None and isinstance(target, os.PathLike):
            image = image_of_project(Path(target).expanduser().resolve())
        limits: dict[str, Any] = {"memory_limit": memory_limit, "env": env}
        process: ProcessOptions | None = server_options(
            isolation, image=image, python=python, **limits
        )
    else:
        process = process_options(isolation, memory_limit=memory_limit, env=env)
    if isinstance(target, Mapping):
        snapshot = snapshots.add(check_files(target, "The project"))
        return _from_source(snapshot, entry or "", process, name="", declared=declared)
    if isinstance(target, os.PathLike):
        path = Path(target).expanduser().resolve()
        snapshot = snapshots.add(read_source(path))
        name = path.name if path.is_dir() else ""
        return _from_source(snapshot, entry or "", process, name=name, declared=declared)
    if source is not None:
        return _from_cell(target, snapshots, source, entry or name_of(target), process)
    live = code_of(target)
    if process is not None:
        msg = (
            f"{name_of(target)} cannot run in a process of its own: its source is not known. "
            "Deploy the Path of its file or folder, or the cell with %%vellum_deploy"
        )
        raise bad_request(msg)
    return _of_code(live, name_of(target), import_path(target), loaded=[live])


def _from_cell(
    target: Callable[..., Any],
    snapshots: Snapshots,
    source: str,
    entry: str,
    process: ProcessOptions | None,
) -> Build:
    try:
        needs_others = undefined_names(source)
    except SyntaxError as exc:
        msg = f"The source is not valid Python: {exc}"
        raise bad_request(msg) from exc
    snapshot = snapshots.add({f"{MODULE}.py": source.encode()})
    code = f"{MODULE}:{entry}"
    if process is not None or not needs_others:
        return _from_source(snapshot, code, process, name=name_of(target))
    live = code_of(target)
    return _of_code(live, name_of(target), code, snapshot=snapshot, loaded=[live])


def _from_source(
    snapshot: Snapshot,
    entry: str,
    process: ProcessOptions | None,
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
    code: Code
    try:
        if process is not None:
            place, code = _code_kind(process).described(snapshot, entry, process)
        else:
            place, code = load(snapshot, entry)
    except CodeUnavailableError as exc:
        msg = f"The source cannot be deployed: {exc}"
        raise bad_request(msg) from exc
    name = name or place.rpartition(":")[2]
    loaded = [code]
    return _of_code(code, name, place, snapshot=snapshot, process=process, loaded=loaded)


def _of_code(code: Code, name: str, place: str, **more: Any) -> Build:
    return Build(name, place, code.description, code.input_variables, code.output_variables, **more)


def source_of(deployment: Deployment, release: Release) -> Mapping[str, str]:
    """Return the source of a release: path to text."""
    try:
        source = release.source
        if source is not None:
            return source
        code: Any = release.workflow()
        text = inspect.getsource(getattr(code, "target", code))
    except (CodeUnavailableError, OSError, TypeError) as exc:
        msg = (
            f"The source of this release of {deployment.name} is not available ({exc}); deploy a "
            "folder, a .py file, or a cell with %%vellum_deploy"
        )
        raise bad_request(msg) from exc
    return {f"{MODULE}.py": textwrap.dedent(text)}  # as a file or a cell would be called


def release_definition(deployment: Deployment, release: Release) -> str:
    """Return the variables of a release as JSON text."""
    inputs, outputs = (
        [v.model_dump(mode="json", by_alias=True) for v in variables]
        for variables in (release.input_variables, release.output_variables)
    )
    content = {
        "name": deployment.name,
        "label": deployment.label,
        "release_id": release.id,
        "description": release.description,
        "input_variables": inputs,
        "output_variables": outputs,
    }
    return json.dumps(content, indent=2) + "\n"


def as_zip(files: Mapping[str, str]) -> bytes:
    """Return files as a zip archive, the same bytes for the same files."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for path, text in sorted(files.items()):
            info = zipfile.ZipInfo(path, date_time=_DATE)
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, text.encode("utf-8", "surrogatepass"))
    return buffer.getvalue()


def as_text(files: Mapping[str, str]) -> str:
    """Return files as one text, each under a line with its path."""
    return "\n".join(f"# {path}\n{text}" for path, text in sorted(files.items()))


# Releases and release tags as the contract has them

SPACE = uuid.UUID("0f0e3a3c-8a7c-4a5e-9c11-5d1f2b6c7e10")
ENVIRONMENT = ReleaseEnvironment(
    id=str(uuid.uuid5(SPACE, "environment")), name="local", label="Local"
)


def release_read(deployment: Deployment, release: Release) -> WorkflowDeploymentRelease:
    """Return a release with the tags that are on it now."""
    return WorkflowDeploymentRelease(
        id=release.id,
        created=release.created,
        environment=ENVIRONMENT,
        created_by=None,
        workflow_version=WorkflowVersion(
            id=release.version_id,
            input_variables=release.input_variables,
            output_variables=release.output_variables,
            dependencies=(),
            **_container_image(release),
        ),
        deployment=ReleaseDeployment(id=deployment.id, name=deployment.name),
        description=release.description,
        release_tags=tuple(
            ReleaseTagName(name=tag.name, source=tag.source)
            for tag in deployment.tags.values()
            if tag.release_id == release.id
        ),
        reviews=(),
    )


def tag_read(deployment: Deployment, tag: Tag) -> WorkflowReleaseTagRead:
    """Return a release tag."""
    release = deployment.release(tag.release_id)
    created = release.created if release else tag.moved
    ref = ReleaseRef(id=tag.release_id, timestamp=created)
    return WorkflowReleaseTagRead(name=tag.name, source=tag.source, history_item=ref, release=ref)


def _container_image(release: Release) -> dict[str, str | None]:
    """Return an addition of ours, of releases that run in a container."""
    process = release.process
    if process is None or process.isolation != "container":
        return {}
    return {"container_image": process.digest}
