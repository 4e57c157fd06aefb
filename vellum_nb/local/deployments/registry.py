"""Registry of deployments, in memory or in a SQLite file."""

from __future__ import annotations

import json
import re
import sqlite3
import threading
import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from types import MappingProxyType

from vellum_nb.errors import VellumNBError
from vellum_nb.local.deployments.releases import LATEST, Build, Deployment, Release, Tag
from vellum_nb.local.deployments.sources import Snapshots
from vellum_nb.local.isolation.process import Process
from vellum_nb.local.refusals import bad_request, not_found
from vellum_nb.models import VellumVariable

__all__ = ["Registry", "Store"]

_FIRST = """
CREATE TABLE deployments (
    id TEXT PRIMARY KEY, name TEXT NOT NULL UNIQUE, label TEXT NOT NULL, created TEXT NOT NULL
) STRICT;
CREATE TABLE releases (
    id TEXT PRIMARY KEY, deployment_id TEXT NOT NULL REFERENCES deployments,
    number INTEGER NOT NULL,
    version_id TEXT NOT NULL, created TEXT NOT NULL, description TEXT NOT NULL,
    summary TEXT NOT NULL, inputs TEXT NOT NULL, outputs TEXT NOT NULL, code TEXT NOT NULL
) STRICT;
CREATE TABLE tags (
    deployment_id TEXT NOT NULL REFERENCES deployments, name TEXT NOT NULL,
    release_id TEXT NOT NULL REFERENCES releases, moved TEXT NOT NULL,
    PRIMARY KEY (deployment_id, name)
) STRICT;
CREATE TABLE external_ids (id TEXT PRIMARY KEY) STRICT, WITHOUT ROWID;
"""
_SOURCES = """
ALTER TABLE releases ADD COLUMN snapshot TEXT;
ALTER TABLE releases ADD COLUMN process TEXT;
"""
_VERSIONS = (_FIRST, _SOURCES)  # append only: the number of those done is the file's version


class Store:
    """The file ``registry.db`` in a folder; one transaction a write, one connection a transaction.

    Parameters
    ----------
    folder : Path
        Made when it is not there. Its folder ``sources`` keeps the source of releases.

    Raises
    ------
    VellumNBError
        When the file cannot be opened, is none of ours, or is newer than we are.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "registry.db"
        self.snapshots = Snapshots(folder / "sources")
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with self._transaction() as db:
                self._prepare(db)
        except (sqlite3.DatabaseError, OSError, ValueError) as exc:  # a NUL in its name
            msg = f"The registry {self._path} cannot be opened ({exc}); it was left as it is"
            raise VellumNBError(msg) from exc

    def deployments(self) -> list[Deployment]:
        """Return every deployment with its releases and tags.

        Raises
        ------
        VellumNBError
            When the file is damaged.
        """
        try:
            return self._deployments()
        except (sqlite3.DatabaseError, ValueError, KeyError, TypeError) as exc:
            msg = f"The registry {self._path} cannot be read ({exc}); it was left as it is"
            raise VellumNBError(msg) from exc

    def save(self, deployment: Deployment) -> None:
        """Write a deployment: its label, its tags, and the releases that are new.

        Raises
        ------
        VellumNBError
            When another server has made one of this name.
        """
        with self._transaction() as db:
            query = "SELECT 1 FROM deployments WHERE name = ? AND id != ?"
            if db.execute(query, (deployment.name, deployment.id)).fetchone():
                msg = (
                    f"Another server of this folder has deployed {deployment.name!r} meanwhile; "
                    "make a new LocalServer, which knows of it"
                )
                raise VellumNBError(msg)
            db.execute(
                "INSERT INTO deployments VALUES (?, ?, ?, ?) "
                "ON CONFLICT (id) DO UPDATE SET label = excluded.label",
                (deployment.id, deployment.name, deployment.label, str(deployment.created)),
            )
            db.executemany(
                "INSERT OR IGNORE INTO releases VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
                [_row(deployment.id, n, r) for n, r in enumerate(deployment.releases)],
            )
            db.executemany(
                "INSERT INTO tags VALUES (?, ?, ?, ?) ON CONFLICT (deployment_id, name) "
                "DO UPDATE SET release_id = excluded.release_id, moved = excluded.moved",
                [
                    (deployment.id, t.name, t.release_id, str(t.moved))
                    for t in deployment.tags.values()
                ],
            )

    def external_ids(self) -> frozenset[str]:
        """Return the external ids that were used up before there was a ledger."""
        with self._transaction() as db:
            return frozenset(row["id"] for row in db.execute("SELECT id FROM external_ids"))

    def _deployments(self) -> list[Deployment]:
        with self._transaction() as db:
            releases = db.execute("SELECT * FROM releases ORDER BY number").fetchall()
            tags = db.execute("SELECT * FROM tags ORDER BY rowid").fetchall()
            rows = db.execute("SELECT * FROM deployments ORDER BY created").fetchall()
        return [
            Deployment(
                id=row["id"],
                name=row["name"],
                label=row["label"],
                created=datetime.fromisoformat(row["created"]),
                releases=tuple(
                    self._release(r) for r in releases if r["deployment_id"] == row["id"]
                ),
                tags=MappingProxyType(
                    {t["name"]: _tag(t) for t in tags if t["deployment_id"] == row["id"]}
                ),
            )
            for row in rows
        ]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=10, isolation_level=None)) as db:
            db.row_factory = sqlite3.Row
            db.execute("PRAGMA synchronous = NORMAL")
            db.execute("PRAGMA foreign_keys = ON")
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
            except BaseException:
                db.execute("ROLLBACK")
                raise
            db.execute("COMMIT")

    def _prepare(self, db: sqlite3.Connection) -> None:
        version = db.execute("PRAGMA user_version").fetchone()[0]
        if version > len(_VERSIONS):
            msg = f"The registry {self._path} was written by a newer vellum_nb; upgrade to read it"
            raise VellumNBError(msg)
        for script in _VERSIONS[version:]:
            for statement in script.strip().removesuffix(";").split(";\n"):
                db.execute(statement)
        db.execute(f"PRAGMA user_version = {len(_VERSIONS)}")

    def _release(self, row: sqlite3.Row) -> Release:
        process = row["process"]
        return Release(
            id=row["id"],
            version_id=row["version_id"],
            created=datetime.fromisoformat(row["created"]),
            description=row["description"],
            summary=row["summary"],
            input_variables=_read(row["inputs"]),
            output_variables=_read(row["outputs"]),
            code=row["code"],
            snapshot=self.snapshots.get(row["snapshot"]) if row["snapshot"] else None,
            process=Process.loads(process) if process else None,
        )


def _row(deployment_id: str, number: int, release: Release) -> tuple[object, ...]:
    return (
        release.id,
        deployment_id,
        number,
        release.version_id,
        str(release.created),
        release.description,
        release.summary,
        _dumped(release.input_variables),
        _dumped(release.output_variables),
        release.code,
        release.snapshot.package if release.snapshot else None,
        release.process.dumps() if release.process else None,
    )


def _tag(row: sqlite3.Row) -> Tag:
    return Tag(row["name"], row["release_id"], datetime.fromisoformat(row["moved"]))


def _dumped(variables: tuple[VellumVariable, ...]) -> str:
    return json.dumps([v.model_dump(mode="json", by_alias=True) for v in variables])


def _read(text: str) -> tuple[VellumVariable, ...]:
    return tuple(VellumVariable.model_validate(item) for item in json.loads(text))


_LONGEST = 150
_NAME = re.compile(r"\w(?:[\w .-]*\w)?")
_HUMP = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_TAG = re.compile(r"\w(?:[\w.-]*\w)?")


class Registry:
    """Every deployment of a server. Any thread may use it.

    Readers get frozen deployments; a change replaces them, one at a time.

    Attributes
    ----------
    snapshots : Snapshots
        The source of releases that have any.
    """

    def __init__(self, store: Store | None = None) -> None:
        self._store = store
        self.snapshots = store.snapshots if store else Snapshots()
        self._lock = threading.RLock()
        self._deployments = {d.name: d for d in store.deployments()} if store else {}
        self._external_ids = store.external_ids() if store else frozenset()

    def all(self) -> list[Deployment]:
        """Return all deployments, oldest first."""
        return list(self._deployments.values())

    def named(self, name: str) -> Deployment:
        """Return a deployment by its name."""
        deployments = self._deployments
        if name not in deployments:
            msg = f"No deployment {name!r} is here; there are: {_known(deployments)}"
            raise not_found(msg)
        return deployments[name]

    def with_id(self, id_: str) -> Deployment:
        """Return a deployment by its id."""
        deployments = self._deployments
        for deployment in deployments.values():
            if deployment.id == id_:
                return deployment
        msg = f"No deployment has the id {id_!r}; there are: {_known(deployments)}"
        raise not_found(msg)

    def get(self, id_or_name: str) -> Deployment:
        """Return a deployment by its id or name."""
        return self.with_id(id_or_name) if _is_uuid(id_or_name) else self.named(id_or_name)

    def release(self, deployment: Deployment, tag_or_id: str) -> Release:
        """Return a release of `deployment` by a tag on it or its id."""
        release = deployment.release(tag_or_id)
        if release is None:
            known = ", ".join(deployment.tags)
            msg = f"{deployment.name} has no release {tag_or_id!r}; its release tags: {known}"
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
        name = name if name is not None else _own_name(build)
        _check_name(name)
        tags = _checked_tags(release_tags)
        if label is not None and not 0 < len(label) <= _LONGEST:
            msg = f"a label has 1 to {_LONGEST} characters; this has {len(label)}"
            raise bad_request(msg)
        now = datetime.now(UTC)
        release = _release(build, description or "", now, release_id)
        with self._lock:
            self._check_new(release.id)
            old = self._deployments.get(name) or Deployment(
                str(uuid.uuid4()), name, _label(name), now
            )
            new = replace(old, label=label or old.label, releases=(*old.releases, release))
            self._keep(new.tagged(release, LATEST, *tags, at=now))
            return self._deployments[name], release

    def move_tag(self, name: str, tag: str, release: str) -> Deployment:
        """Put `tag` on the release with the tag or id `release`."""
        with self._lock:
            deployment = self.named(name)
            found = self.release(deployment, release)
            (checked,) = _checked_tags([tag])
            new = deployment.tagged(found, checked, at=datetime.now(UTC))
            self._keep(new)
            return new

    def check_external_id(self, external_id: str) -> None:
        """Refuse an external id that was used up before executions were kept in a ledger."""
        if external_id in self._external_ids:
            msg = f"external_id {external_id!r} was used before; it must be unique in the workspace"
            raise bad_request(msg)

    def _check_new(self, release_id: str) -> None:
        if any(r.id == release_id for d in self._deployments.values() for r in d.releases):
            msg = f"release_id {release_id} is taken; a release never changes"
            raise bad_request(msg)

    def _keep(self, deployment: Deployment) -> None:
        if self._store is not None:
            self._store.save(deployment)
        self._deployments = {**self._deployments, deployment.name: deployment}


def _release(build: Build, description: str, now: datetime, release_id: str | None) -> Release:
    if release_id is not None and not _is_uuid(release_id):
        msg = f"release_id {release_id!r:.60} is no UUID; leave it out for a new one"
        raise bad_request(msg)
    return Release(
        id=str(uuid.UUID(release_id) if release_id else uuid.uuid4()),
        version_id=str(uuid.uuid4()),
        created=now,
        description=description,
        summary=build.summary,
        input_variables=build.input_variables,
        output_variables=build.output_variables,
        code=build.code,
        snapshot=build.snapshot,
        process=build.process,
        loaded=[] if build.loaded is None else [build.loaded],
    )


def _own_name(build: Build) -> str:
    name = build.name.strip("_").replace("_", "-")
    if "<" in name:
        msg = "a lambda has no name; say deploy(..., name='my-workflow')"
        raise bad_request(msg)
    return _HUMP.sub("-", name).lower() if name[:1].isupper() else name  # a class's


def _label(name: str) -> str:
    words = name.replace("-", " ").replace("_", " ").strip() or name
    return words[:1].upper() + words[1:]


def _check_name(name: str) -> None:
    if len(name) <= _LONGEST and _NAME.fullmatch(name) and not _is_uuid(name):
        return
    msg = (
        f"{name!r:.60} is no name for a deployment: 1 to {_LONGEST} letters, digits, spaces and "
        "_ - . that begin and end with a letter or digit, and no UUID"
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
        if len(tag) > _LONGEST or not _TAG.fullmatch(tag) or ".." in tag or _is_uuid(tag):
            msg = (
                f"{tag!r:.60} is no release tag: 1 to {_LONGEST} letters, digits and _ - . that "
                "begin and end with a letter or digit, without '..', and no UUID"
            )
            raise bad_request(msg)
    return list(dict.fromkeys(tags))


def _known(deployments: Mapping[str, Deployment]) -> str:
    return ", ".join(deployments) or "none"


def _is_uuid(text: str) -> bool:
    try:
        uuid.UUID(text)
    except ValueError:
        return False
    return True
