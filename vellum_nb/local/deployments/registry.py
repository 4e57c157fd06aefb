"""Deployments and releases by name, in memory and, given a store, on disk."""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from vellum_nb.local.deployments.builds import Build
from vellum_nb.local.deployments.releases import LATEST, Deployment, Release
from vellum_nb.local.deployments.sources import Snapshots
from vellum_nb.local.deployments.store import Store
from vellum_nb.local.refusals import bad_request, not_found

__all__ = ["Registry"]

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
