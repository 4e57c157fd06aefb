"""Registry of deployments by name, in memory and, given a folder, in ``registry.db``."""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Mapping, Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType
from typing import Any

from pydantic import TypeAdapter

from vellum_nb.errors import VellumNBError
from vellum_nb.local.deployments.releases import LATEST, Build, Deployment, Release, Tag
from vellum_nb.local.deployments.sources import Snapshots
from vellum_nb.local.engine.events import to_json
from vellum_nb.local.isolation.process import ProcessOptions
from vellum_nb.local.refusals import StoreError, bad_request, not_found
from vellum_nb.models import VellumVariable
from vellum_nb.sqlite import FileFormat, SqliteFile, Transaction

_MAX_LENGTH = 150
_NAME = re.compile(r"\w(?:[\w .-]*\w)?")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_TAG = re.compile(r"\w(?:[\w.-]*\w)?")


class Registry:
    """Every deployment of a server. Any thread may use it.

    Readers get frozen deployments; a change replaces them, one at a time.
    """

    def __init__(self, folder: Path | None = None) -> None:
        self._path = None if folder is None else folder / "registry.db"
        self.snapshots = Snapshots(None if folder is None else folder / "sources")
        self._lock = threading.RLock()
        self._deployments: dict[str, Deployment] = {}
        if self._path is not None:
            self._deployments = self._read(self._path)

    def all(self) -> list[Deployment]:
        """Return all deployments, oldest first."""
        return list(self._deployments.values())

    def packages(self) -> list[str]:
        """Return the packages of all snapshots that releases run from."""
        releases = (r for d in self._deployments.values() for r in d.releases)
        return [release.snapshot.package for release in releases if release.snapshot]

    def named(self, name: str) -> Deployment:
        """Return a deployment by its name."""
        deployments = self._deployments
        if name not in deployments:
            msg = f"No deployment {name!r:.160} exists; there are: {_names(deployments)}"
            raise not_found(msg)
        return deployments[name]

    def with_id(self, id_: str) -> Deployment:
        """Return a deployment by its id."""
        deployments = self._deployments
        found = next((each for each in deployments.values() if each.id == id_), None)
        if found is None:
            msg = f"No deployment has the id {id_!r:.160}; there are: {_names(deployments)}"
            raise not_found(msg)
        return found

    def get(self, id_or_name: str) -> Deployment:
        """Return a deployment by its id or name."""
        return self.with_id(id_or_name) if _is_uuid(id_or_name) else self.named(id_or_name)

    def release(self, deployment: Deployment, tag_or_id: str) -> Release:
        """Return a release of `deployment` by a tag on it or its id."""
        release = deployment.release(tag_or_id)
        if release is None:
            known = ", ".join(deployment.tags)
            msg = f"{deployment.name} has no release {tag_or_id!r:.160}; its release tags: {known}"
            raise not_found(msg)
        return release

    def deploy(
        self,
        build: Build,
        *,
        name: str | None,
        release_tags: Sequence[str],
        description: str | None,
        label: str | None,
        release_id: str | None = None,
    ) -> tuple[Deployment, Release]:
        """Make a release of `build`; LATEST and `release_tags` move to it."""
        name = _checked_name(_own_name(build) if name is None else name)
        tags = _checked_tags(release_tags)
        if label is not None and not 0 < len(label) <= _MAX_LENGTH:
            msg = f"a label has 1 to {_MAX_LENGTH} characters; this has {len(label)}"
            raise bad_request(msg)
        if release_id is not None and not _is_uuid(release_id):
            msg = f"release_id {release_id!r:.60} is not a UUID; leave it out for a new one"
            raise bad_request(msg)
        now = datetime.now(UTC)
        release = Release(
            **vars(build),
            id=str(uuid.UUID(release_id) if release_id else uuid.uuid4()),
            version_id=str(uuid.uuid4()),
            created=now,
            description=description or "",
        )
        words = name.replace("-", " ").replace("_", " ").strip() or name
        first = Deployment(str(uuid.uuid4()), name, words[:1].upper() + words[1:], now)
        with self._lock:
            if any(r.id == release.id for d in self._deployments.values() for r in d.releases):
                msg = f"release_id {release.id} is taken; a release never changes"
                raise bad_request(msg)
            old = self._deployments.get(name, first)
            new = replace(old, label=label or old.label, releases=(*old.releases, release))
            self._save(new.tagged(release, LATEST, *tags, at=now))
            return self._deployments[name], release

    def move_tag(self, name: str, tag: str, release: str) -> Deployment:
        """Put `tag` on the release with the tag or id `release`."""
        with self._lock:
            deployment = self.named(name)
            found = self.release(deployment, release)
            new = deployment.tagged(found, *_checked_tags([tag]), at=datetime.now(UTC))
            self._save(new)
            return new

    def close(self) -> None:
        """Remove temporary files; they are made again when they are needed."""
        self.snapshots.close()

    def _save(self, deployment: Deployment) -> None:
        if self._path is not None:
            with closing(SqliteFile(self._path, _FORMAT)) as db:
                db.write(lambda tx: _write(tx, deployment))
        self._deployments = {**self._deployments, deployment.name: deployment}

    def _read(self, path: Path) -> dict[str, Deployment]:
        with closing(SqliteFile(path, _FORMAT)) as db:
            stored = db.read("SELECT id, deployment_id, content FROM releases ORDER BY number")
            rows = db.read("SELECT id, name, content FROM deployments ORDER BY rowid")
        found: dict[str, Deployment] = {}
        releases: dict[str, list[Release]] = {}
        try:
            for id_, deployment_id, text in stored:
                releases.setdefault(deployment_id, []).append(self._release(id_, json.loads(text)))
            for id_, name, text in rows:
                content = json.loads(text)
                tags = {tag: Tag(tag, to, _time(moved)) for tag, to, moved in content["tags"]}
                created = _time(content["created"])
                parts = content["label"], created, tuple(releases[id_]), MappingProxyType(tags)
                found[name] = Deployment(id_, name, *parts)
        except (ValueError, KeyError, TypeError) as exc:
            msg = f"The registry {path} cannot be read ({exc}); it was left as it is"
            raise VellumNBError(msg) from exc
        return found

    def _release(self, id_: str, content: dict[str, Any]) -> Release:
        for key in ("input_variables", "output_variables"):
            content[key] = _VARIABLES.validate_python(content[key])
        content["created"] = _time(content["created"])
        if content["snapshot"]:
            content["snapshot"] = self.snapshots.get(content["snapshot"])
        if content["process"]:
            content["process"] = _PROCESS.validate_python(content["process"])
        return Release(id=id_, **content)


def _make_tables(tx: Transaction) -> None:
    for statement in (
        """CREATE TABLE deployments (
            id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, content TEXT NOT NULL
        ) STRICT""",
        """CREATE TABLE releases (
            number INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE,
            deployment_id TEXT NOT NULL, content TEXT NOT NULL
        ) STRICT""",
    ):
        tx.execute(statement)


def _write(tx: Transaction, deployment: Deployment) -> None:
    """Write a deployment: its label, its tags, and the releases that are new."""
    row = {"id": deployment.id, "name": deployment.name}
    if tx.read("SELECT 1 FROM deployments WHERE name = :name AND id != :id", row):
        msg = (
            f"Another server with this data folder has deployed {deployment.name!r} since this one "
            "started; make a new LocalServer to continue"
        )
        raise VellumNBError(msg)
    tags = [(tag.name, tag.release_id, tag.moved) for tag in deployment.tags.values()]
    content = {"label": deployment.label, "created": deployment.created, "tags": tags}
    tx.execute(
        "INSERT INTO deployments VALUES (:id, :name, :content) "
        "ON CONFLICT (id) DO UPDATE SET content = excluded.content",
        {**row, "content": to_json(content)},
    )
    for release in deployment.releases:
        content = {k: v for k, v in vars(release).items() if k not in {"id", "loaded"}}
        content["snapshot"] = release.snapshot and release.snapshot.package
        tx.execute(
            "INSERT OR IGNORE INTO releases (id, deployment_id, content) "
            "VALUES (:release, :id, :content)",
            {**row, "release": release.id, "content": to_json(content)},
        )


_FORMAT = FileFormat("registry", 0x766E6272, (_make_tables,), StoreError)  # "vnbr"
_time = datetime.fromisoformat
_VARIABLES: TypeAdapter[tuple[VellumVariable, ...]] = TypeAdapter(tuple[VellumVariable, ...])
_PROCESS: TypeAdapter[ProcessOptions] = TypeAdapter(ProcessOptions)


def _own_name(build: Build) -> str:
    name = build.name.strip("_").replace("_", "-")
    if "<" in name:
        msg = "a lambda has no name; say deploy(..., name='my-workflow')"
        raise bad_request(msg)
    return _HUMP.sub("-", name).lower() if name[:1].isupper() else name  # a class's


def _checked_name(name: str) -> str:
    if len(name) <= _MAX_LENGTH and _NAME.fullmatch(name) and not _is_uuid(name):
        return name
    msg = (
        f"{name!r:.60} cannot be the name of a deployment: 1 to {_MAX_LENGTH} letters, digits, "
        "spaces and _ - . that begin and end with a letter or digit, and not a UUID"
    )
    raise bad_request(msg)


def _checked_tags(tags: Sequence[str]) -> list[str]:
    if isinstance(tags, str):
        msg = f"release_tags is a list of tags: [{tags!r}], not {tags!r}"
        raise bad_request(msg)
    for tag in tags:
        if tag == LATEST:
            msg = "LATEST always is the newest release; it cannot be set by hand"
            raise bad_request(msg)
        if len(tag) > _MAX_LENGTH or not _TAG.fullmatch(tag) or ".." in tag or _is_uuid(tag):
            msg = (
                f"{tag!r:.60} cannot be a release tag: 1 to {_MAX_LENGTH} letters, digits and "
                "_ - . that begin and end with a letter or digit, without '..', and not a UUID"
            )
            raise bad_request(msg)
    return list(dict.fromkeys(tags))


def _names(deployments: Mapping[str, Deployment]) -> str:
    return ", ".join(deployments) or "none"


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
