"""Deployments, their immutable releases and release tags.

They are stored in memory and, with a folder, in ``registry.db``.
"""

from __future__ import annotations

import inspect
import os
import re
import textwrap
import threading
import uuid
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from pydantic import Field, PlainSerializer, PlainValidator, TypeAdapter

from vellum_nb.errors import VellumNBError
from vellum_nb.local.callables.signature import name_of
from vellum_nb.local.deployments.loading import (
    code_of,
    import_path,
    imported,
    load,
    slow_import_notice,
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
from vellum_nb.local.engine.events import Code, new_id
from vellum_nb.local.isolation.process import ProcessOptions
from vellum_nb.local.isolation.workflow_server import IsolatedCode
from vellum_nb.local.refusals import Refused, StoreError
from vellum_nb.models import contract
from vellum_nb.models.checks import available
from vellum_nb.sqlite import FileFormat, SqliteFile

LATEST = "LATEST"
_MAX_LENGTH = 150
_NAME = re.compile(r"\w(?:[\w .-]*\w)?")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_TAG = re.compile(r"(?!.*\.\.)\w(?:[\w.-]*\w)?")


@dataclass(frozen=True, slots=True)
class Tag:
    """A release tag, its release, and the time of its last move."""

    name: str
    release_id: str
    moved: datetime

    @property
    def source(self) -> str:
        """SYSTEM for LATEST, USER for all others."""
        return "SYSTEM" if self.name == LATEST else "USER"


@dataclass(frozen=True)
class Declared:
    """Declared variables of source, which is then not imported before its first run."""

    input_variables: tuple[contract.VellumVariable, ...]
    output_variables: tuple[contract.VellumVariable, ...]
    summary: str = ""


@dataclass(frozen=True)
class DeclaredProject:
    """A project with declared variables, deployed without importing it."""

    project: os.PathLike[str] | Mapping[str, bytes]
    declared: Declared


@dataclass(frozen=True)
class CellCode:
    """A callable or Workflows SDK class that was defined in a cell, with the text of the cell."""

    target: Callable[..., Any] | type
    source: str


Target: TypeAlias = (
    Callable[..., Any] | type | os.PathLike[str] | Mapping[str, bytes] | DeclaredProject | CellCode
)


# Stored by name; the validation context is the `Snapshots` of the server.
_StoredSnapshot = Annotated[
    Snapshot | None,
    PlainSerializer(lambda snapshot: snapshot and snapshot.package),
    PlainValidator(lambda name, info: name and info.context.get(name)),
]


@dataclass(frozen=True, kw_only=True)
class Release(Declared):
    """A release: its code with its variables.

    `name` is the default name of the deployment. `code` is ``module:qualname`` in the snapshot, or
    in an importable module, or empty. With `process`, runs are isolated.
    """

    name: str
    code: str
    snapshot: _StoredSnapshot = None
    process: ProcessOptions | None = None
    loaded: Annotated[list[Any], Field(exclude=True)] = field(
        default_factory=list, compare=False, repr=False
    )
    id: str = field(default_factory=new_id)
    version_id: str = field(default_factory=new_id)
    created: datetime = field(default_factory=partial(datetime.now, UTC))
    description: str = ""

    def workflow(self) -> Code:
        """Return the code; load it after a restart."""
        if not self.loaded:
            with slow_import_notice():
                code = self._code()
            if code.input_variables != self.input_variables:
                msg = f"{self.code} has other input variables now"
                raise CodeUnavailableError(msg)
            self.loaded.append(code)
        loaded_code: Code = self.loaded[0]
        return loaded_code

    def _code(self) -> Code:
        if self.snapshot is None:
            return imported(self.code)
        if self.process is None:
            return load(self.snapshot, self.code)[1]
        variables = self.input_variables, self.output_variables
        return IsolatedCode(self.snapshot, self.code, self.process, *variables, self.summary)


@dataclass(frozen=True)
class Deployment:
    """A deployment with its releases, oldest first, and its tags."""

    name: str
    label: str
    created: datetime
    id: str = field(default_factory=new_id)
    releases: tuple[Release, ...] = ()
    tags: Mapping[str, Tag] = field(default_factory=dict)

    @property
    def latest(self) -> Release:
        """The newest release."""
        return self.releases[-1]

    def tag(self, name: str) -> Tag:
        """Return a release tag."""
        if name not in self.tags:
            problem = f"{self.name} has no release tag {name!r:.160}{available(self.tags)}"
            raise Refused(404, problem)
        return self.tags[name]

    def release(self, tag_or_id: str) -> Release:
        """Return the release with this tag or id."""
        release = self.find_release(tag_or_id)
        if release is None:
            problem = f"{self.name} has no release {tag_or_id!r:.160}{available(self.tags)}"
            raise Refused(404, problem)
        return release

    def find_release(self, tag_or_id: str) -> Release | None:
        """Return the release with this tag or id; None if it does not exist."""
        tag = self.tags.get(tag_or_id)
        id_ = tag.release_id if tag else tag_or_id
        return next((release for release in self.releases if release.id == id_), None)

    def tagged(self, release: Release, *names: str, at: datetime) -> Deployment:
        """Return the deployment with the tags `names` on `release`."""
        moved = {name: Tag(name, release.id, at) for name in names}
        return replace(self, tags={**self.tags, **moved})


@slow_import_notice()
def build(
    target: Target,
    snapshots: Snapshots,
    process: ProcessOptions | None,
    *,
    entry: str | None = None,
) -> Release:
    """Build a release of `target`; see `LocalServer.deploy`."""
    declared = None
    if isinstance(target, DeclaredProject):
        declared, target = target.declared, target.project
    if isinstance(target, Mapping):
        files, name = check_files(target, "The project"), ""
    elif isinstance(target, os.PathLike):
        path = Path(target).expanduser().resolve()
        files, name = read_source(path), path.name if path.is_dir() else ""
    elif isinstance(target, CellCode):
        name = name_of(target.target)
        entry = f"{MODULE}:{entry or name}"
        files = {f"{MODULE}.py": target.source.encode()}
        if undefined_names(target.source) and process is None:
            return _of_code(code_of(target.target), name, entry, snapshot=snapshots.add(files))
    else:
        name = name_of(target)
        if process is not None:
            msg = (
                f"{name} cannot run in a process of its own: its source is not available. "
                "Deploy the Path of its file or folder, or the cell with %%vellum_deploy"
            )
            raise Refused(400, msg)
        return _of_code(code_of(target), name, import_path(target))
    return _from_source(snapshots.add(files), entry or "", process, name, declared)


def _from_source(
    snapshot: Snapshot,
    place: str,
    process: ProcessOptions | None,
    name: str,
    declared: Declared | None,
) -> Release:
    parts: dict[str, Any] = {"snapshot": snapshot, "process": process}
    if declared is not None:
        name = name or place.rpartition(":")[2]
        return Release(**vars(declared), name=name, code=place, **parts)
    code: Code
    try:
        if process is not None:
            place, code = IsolatedCode.described(snapshot, place, process)
        else:
            place, code = load(snapshot, place)
    except CodeUnavailableError as exc:
        raise Refused(400, f"The source cannot be deployed: {exc}") from exc
    return _of_code(code, name or place.rpartition(":")[2], place, **parts)


def _of_code(code: Code, name: str, place: str, **parts: Any) -> Release:
    declared = Declared(code.input_variables, code.output_variables, code.description)
    return Release(**vars(declared), name=name, code=place, loaded=[code], **parts)


def source_of(deployment: Deployment, release: Release) -> Mapping[str, str]:
    """Return the source of a release: path to text."""
    try:
        if release.snapshot is not None:
            return release.snapshot.texts()
        code: Any = release.workflow()
        text = inspect.getsource(getattr(code, "target", code))
    except (CodeUnavailableError, OSError, TypeError) as exc:
        msg = (
            f"The source of this release of {deployment.name} is not available ({exc}); deploy a "
            "folder, a .py file, or a cell with %%vellum_deploy"
        )
        raise Refused(400, msg) from exc
    return {f"{MODULE}.py": textwrap.dedent(text)}  # the name of a file or a cell


class Registry:
    """Deployments of a server; thread-safe.

    Deployments are frozen; a change replaces them.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._path = None if folder is None else folder / "registry.db"
        self.snapshots = Snapshots(None if folder is None else folder / "sources")
        self._lock = threading.RLock()
        self._stored: dict[str, bytes] = {}  # content of the file, by name of the deployment
        self._deployments: dict[str, Deployment] = {}
        if self._path is not None:
            self._read(self._path)

    def all(self) -> list[Deployment]:
        """Return all deployments, oldest first."""
        return list(self._deployments.values())

    def folders(self) -> list[Path]:
        """Return the folders of the snapshots of all releases."""
        releases = (r for d in self._deployments.values() for r in d.releases)
        return [release.snapshot.folder for release in releases if release.snapshot]

    def get(self, id_or_name: str) -> Deployment:
        """Return a deployment by its id or name."""
        deployments = self._deployments.values()
        deployment = next((d for d in deployments if id_or_name in {d.id, d.name}), None)
        if deployment is None:
            names = available(d.name for d in deployments)
            raise Refused(404, f"No deployment {id_or_name!r:.160} exists{names}")
        return deployment

    def deploy(
        self,
        release: Release,
        *,
        name: str | None,
        release_tags: Sequence[str],
        description: str | None,
        label: str | None,
        release_id: str | None = None,
    ) -> tuple[Deployment, Release]:
        """Add a release and move LATEST and `release_tags` to it."""
        name = _own_name(release) if name is None else name
        _check(name, _NAME, "the name of a deployment: letters, digits, spaces and _ - .")
        tags = _checked_tags(release_tags)
        if label is not None and not 0 < len(label) <= _MAX_LENGTH:
            raise Refused(400, f"a label has 1 to {_MAX_LENGTH} characters; this has {len(label)}")
        id_ = release.id if release_id is None else _uuid(release_id)
        if id_ is None:
            msg = f"release_id {release_id!r:.60} is not a UUID; leave it out for a new one"
            raise Refused(400, msg)
        now = datetime.now(UTC)
        release = replace(release, id=id_, created=now, description=description or "")
        words = name.replace("-", " ").replace("_", " ").strip() or name
        first = Deployment(name, words[:1].upper() + words[1:], now)
        with self._lock:
            if any(r.id == release.id for d in self._deployments.values() for r in d.releases):
                raise Refused(400, f"release_id {release.id} is in use; a release never changes")
            old = self._deployments.get(name, first)
            new = replace(old, label=label or old.label, releases=(*old.releases, release))
            self._save(new.tagged(release, LATEST, *tags, at=now))
            return self._deployments[name], release

    def move_tag(self, name: str, tag: str, release: str) -> Deployment:
        """Move `tag` to the release with the tag or id `release`."""
        with self._lock:
            deployment = self.get(name)
            target = deployment.release(release)
            new = deployment.tagged(target, *_checked_tags([tag]), at=datetime.now(UTC))
            self._save(new)
            return new

    def _save(self, deployment: Deployment) -> None:
        name = deployment.name
        if self._path is not None:
            new = _DEPLOYMENT.dump_json(deployment, exclude_unset=True)
            row = {"name": name, "old": self._stored.get(name), "new": new}
            with closing(SqliteFile(self._path, _FORMAT)) as db:
                if not db.write(lambda tx: tx.execute(_WRITE, row)):
                    msg = (
                        f"Another server with this data folder has deployed {name!r} since this "
                        "one started; make a new LocalServer to continue"
                    )
                    raise VellumNBError(msg)
            self._stored[name] = new
        self._deployments = {**self._deployments, name: deployment}

    def _read(self, path: Path) -> None:
        with closing(SqliteFile(path, _FORMAT)) as db:
            self._stored = dict(db.read("SELECT name, content FROM deployments ORDER BY rowid"))
        try:
            self._deployments = {
                name: _DEPLOYMENT.validate_json(content, context=self.snapshots)
                for name, content in self._stored.items()
            }
        except ValueError as exc:
            msg = f"The registry {path} cannot be read ({exc}); it was not changed"
            raise VellumNBError(msg) from exc


_TABLE = "CREATE TABLE deployments (name TEXT PRIMARY KEY, content BLOB NOT NULL) STRICT"
_FORMAT = FileFormat("registry", 0x766E6272, (lambda tx: tx.execute(_TABLE),), StoreError)
_WRITE = """INSERT INTO deployments VALUES (:name, :new)
    ON CONFLICT (name) DO UPDATE SET content = :new WHERE content = :old"""
_DEPLOYMENT: TypeAdapter[Deployment] = TypeAdapter(Deployment)


def _own_name(release: Release) -> str:
    name = release.name.strip("_").replace("_", "-")
    if "<" in name:
        raise Refused(400, "a lambda has no name; write deploy(..., name='my-workflow')")
    return _HUMP.sub("-", name).lower() if name[:1].isupper() else name  # a class's


def _checked_tags(tags: Sequence[str]) -> list[str]:
    for tag in tags:
        if tag == LATEST:
            raise Refused(400, "LATEST always is the newest release; it cannot be set by hand")
        _check(tag, _TAG, "a release tag: letters, digits and _ - .")
    return list(dict.fromkeys(tags))


def _check(text: str, pattern: re.Pattern[str], expected: str) -> None:
    if len(text) > _MAX_LENGTH or not pattern.fullmatch(text) or _uuid(text):
        limits = f"1 to {_MAX_LENGTH}, with a letter or digit at both ends, and not a UUID"
        raise Refused(400, f"{text!r:.60} cannot be {expected}, {limits}")


def _uuid(text: str) -> str | None:
    with suppress(ValueError):
        return str(uuid.UUID(text))
    return None


# Releases and release tags in the contract

SPACE = uuid.UUID("0f0e3a3c-8a7c-4a5e-9c11-5d1f2b6c7e10")
ENVIRONMENT = contract.ReleaseEnvironment(
    id=str(uuid.uuid5(SPACE, "environment")), name="local", label="Local"
)


def release_read(deployment: Deployment, release: Release) -> contract.WorkflowDeploymentRelease:
    """Return a release with its current tags."""
    process = release.process
    image = {}  # our addition for releases in a container
    if process is not None and process.isolation == "container":
        image = {"container_image": process.digest}
    return contract.WorkflowDeploymentRelease(
        id=release.id,
        created=release.created,
        environment=ENVIRONMENT,
        created_by=None,
        workflow_version=contract.WorkflowVersion(
            id=release.version_id,
            input_variables=release.input_variables,
            output_variables=release.output_variables,
            dependencies=(),
            **image,
        ),
        deployment=contract.ReleaseDeployment(id=deployment.id, name=deployment.name),
        description=release.description,
        release_tags=tuple(
            contract.ReleaseTagName(name=tag.name, source=tag.source)
            for tag in deployment.tags.values()
            if tag.release_id == release.id
        ),
        reviews=(),
    )


def tag_read(deployment: Deployment, tag: Tag) -> contract.WorkflowReleaseTagRead:
    """Return a release tag."""
    created = deployment.release(tag.release_id).created
    ref = contract.ReleaseRef(id=tag.release_id, timestamp=created)
    return contract.WorkflowReleaseTagRead(
        name=tag.name, source=tag.source, history_item=ref, release=ref
    )
