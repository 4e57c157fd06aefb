"""Registry of deployments by name, in memory and, given a folder, in ``registry.db``."""

from __future__ import annotations

import json
import re
import threading
import uuid
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from vellum_nb.errors import VellumNBError
from vellum_nb.local.deployments.releases import LATEST, Deployment, Release, Tag
from vellum_nb.local.deployments.sources import Snapshots
from vellum_nb.local.engine.events import to_json
from vellum_nb.local.isolation.process import ProcessOptions
from vellum_nb.local.refusals import StoreError, bad_request, not_found
from vellum_nb.models import VellumVariable
from vellum_nb.sqlite import FileFormat, SqliteFile, Transaction

_MAX_LENGTH = 150
_NAME = re.compile(r"\w(?:[\w .-]*\w)?")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_TAG = re.compile(r"(?!.*\.\.)\w(?:[\w.-]*\w)?")


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

    def get(self, id_or_name: str) -> Deployment:
        """Return a deployment by its id or name."""
        found = self._deployments.values()
        deployment = next((d for d in found if id_or_name in {d.id, d.name}), None)
        if deployment is None:
            names = ", ".join(each.name for each in found) or "none"
            msg = f"No deployment {id_or_name!r:.160} exists; there are: {names}"
            raise not_found(msg)
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
        """Add a release; LATEST and `release_tags` move to it."""
        name = _own_name(release) if name is None else name
        _check(name, _NAME, "the name of a deployment: letters, digits, spaces and _ - .")
        tags = _checked_tags(release_tags)
        if label is not None and not 0 < len(label) <= _MAX_LENGTH:
            msg = f"a label has 1 to {_MAX_LENGTH} characters; this has {len(label)}"
            raise bad_request(msg)
        if release_id is not None and not _is_uuid(release_id):
            msg = f"release_id {release_id!r:.60} is not a UUID; leave it out for a new one"
            raise bad_request(msg)
        id_ = str(uuid.UUID(release_id)) if release_id else release.id
        now = datetime.now(UTC)
        release = replace(release, id=id_, created=now, description=description or "")
        words = name.replace("-", " ").replace("_", " ").strip() or name
        first = Deployment(name, words[:1].upper() + words[1:], now)
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
            deployment = self.get(name)
            found = deployment.release(release)
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
                parts = created, id_, tuple(releases[id_]), tags
                found[name] = Deployment(name, content["label"], *parts)
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
    content: dict[str, Any] = {"label": deployment.label, "created": deployment.created}
    tx.execute(
        "INSERT INTO deployments VALUES (:id, :name, :content) "
        "ON CONFLICT (id) DO UPDATE SET content = excluded.content",
        {**row, "content": to_json({**content, "tags": tags})},
    )
    for release in deployment.releases:
        content = {k: v for k, v in vars(release).items() if k not in {"id", "loaded"}}
        for key in ("input_variables", "output_variables"):
            content[key] = [each.model_dump(exclude_unset=True) for each in content[key]]
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


def _own_name(release: Release) -> str:
    name = release.name.strip("_").replace("_", "-")
    if "<" in name:
        msg = "a lambda has no name; say deploy(..., name='my-workflow')"
        raise bad_request(msg)
    return _HUMP.sub("-", name).lower() if name[:1].isupper() else name  # a class's


def _checked_tags(tags: Sequence[str]) -> list[str]:
    if isinstance(tags, str):
        msg = f"release_tags is a list of tags: [{tags!r}], not {tags!r}"
        raise bad_request(msg)
    for tag in tags:
        if tag == LATEST:
            msg = "LATEST always is the newest release; it cannot be set by hand"
            raise bad_request(msg)
        _check(tag, _TAG, "a release tag: letters, digits and _ - .")
    return list(dict.fromkeys(tags))


def _check(text: str, pattern: re.Pattern[str], what: str) -> None:
    if len(text) > _MAX_LENGTH or not pattern.fullmatch(text) or _is_uuid(text):
        limits = f"1 to {_MAX_LENGTH}, with a letter or digit at both ends, and not a UUID"
        msg = f"{text!r:.60} cannot be {what}, {limits}"
        raise bad_request(msg)


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
