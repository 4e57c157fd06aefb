"""Keeps the registry in one SQLite file, so that a restart forgets nothing."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import datetime
from pathlib import Path
from types import MappingProxyType

from vellum_nb.errors import VellumNBError
from vellum_nb.local.deployments.releases import Deployment, Release, Tag
from vellum_nb.local.deployments.sources import Snapshots
from vellum_nb.local.isolation import Process
from vellum_nb.models import VellumVariable

__all__ = ["Store"]

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
