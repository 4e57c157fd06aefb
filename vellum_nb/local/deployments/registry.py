"""Registry of deployments by name, in memory and, given a folder, in ``registry.db``."""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Sequence
from contextlib import closing, suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from pydantic import TypeAdapter

from vellum_nb.errors import VellumNBError
from vellum_nb.local.deployments.releases import LATEST, Deployment, Release
from vellum_nb.local.deployments.sources import Snapshots
from vellum_nb.local.refusals import Refused, StoreError
from vellum_nb.sqlite import FileFormat, SqliteFile

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
        self._stored: dict[str, bytes] = {}  # each deployment, by name, as it is in the file
        self._deployments: dict[str, Deployment] = {}
        if self._path is not None:
            self._read(self._path)

    def all(self) -> list[Deployment]:
        """Return all deployments, oldest first."""
        return list(self._deployments.values())

    def folders(self) -> list[Path]:
        """Return the folders of all snapshots that releases run from."""
        releases = (r for d in self._deployments.values() for r in d.releases)
        return [release.snapshot.folder for release in releases if release.snapshot]

    def get(self, id_or_name: str) -> Deployment:
        """Return a deployment by its id or name."""
        found = self._deployments.values()
        deployment = next((d for d in found if id_or_name in {d.id, d.name}), None)
        if deployment is None:
            names = ", ".join(each.name for each in found) or "none"
            raise Refused(404, f"No deployment {id_or_name!r:.160} exists; there are: {names}")
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
        """Put `tag` on the release with the tag or id `release`."""
        with self._lock:
            deployment = self.get(name)
            found = deployment.release(release)
            new = deployment.tagged(found, *_checked_tags([tag]), at=datetime.now(UTC))
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
    if isinstance(tags, str):
        raise Refused(400, f"release_tags is a list of tags: [{tags!r}], not {tags!r}")
    for tag in tags:
        if tag == LATEST:
            raise Refused(400, "LATEST always is the newest release; it cannot be set by hand")
        _check(tag, _TAG, "a release tag: letters, digits and _ - .")
    return list(dict.fromkeys(tags))


def _check(text: str, pattern: re.Pattern[str], what: str) -> None:
    if len(text) > _MAX_LENGTH or not pattern.fullmatch(text) or _uuid(text):
        limits = f"1 to {_MAX_LENGTH}, with a letter or digit at both ends, and not a UUID"
        raise Refused(400, f"{text!r:.60} cannot be {what}, {limits}")


def _uuid(text: str) -> str | None:
    with suppress(ValueError):
        return str(uuid.UUID(text))
    return None
