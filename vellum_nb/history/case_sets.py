"""Stored case sets: versions, and the cases that each version adds, updates or removes."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple
from uuid import uuid4

from vellum_nb.errors import HistoryError
from vellum_nb.history.backends import Reader, Transaction
from vellum_nb.history.history import History, recorder_of
from vellum_nb.history.rows import clean, column_value, damaged, encoded, fields_of
from vellum_nb.history.store import insert
from vellum_nb.models.case_sets import CaseSetVersion, Member
from vellum_nb.models.sweeps import SweepCase

VERSION = tuple(CaseSetVersion.model_fields)
CHANGE = ("position", "case_id", "content")
_SELECT = f"SELECT {', '.join(VERSION)} FROM case_set_versions"
_ADD_VERSION = insert("case_set_versions", VERSION)
_ADD_CHANGE = insert("case_set_changes", ("version", *CHANGE))
Changes = Mapping[str, Member | None]
"""New content by case id; None removes the case."""


class VersionCounts(NamedTuple):
    """Number of cases of a version, and of those that it changed."""

    cases: int
    added: int
    updated: int
    removed: int


class CaseSets:
    """The case sets of a history; see `vellum_nb.CaseSet`."""

    def __init__(self, history: History) -> None:
        self._recorder = recorder_of(history)
        self._store = self._recorder.store

    def latest(self, name: str | None = None) -> list[CaseSetVersion]:
        """Return the newest version of each set, by name, or of the set `name`."""
        return _latest(self._store, name)

    def versions(self, name: str) -> dict[CaseSetVersion, VersionCounts]:
        """Return the versions of a set, newest first, with their numbers of cases."""
        with self._store.snapshot() as reader:
            versions = _versions(reader, name)
            counts = _counts(versions, _changes(reader, name))
        return {version: counts[version.id] for version in reversed(versions)}

    def members(self, name: str, number: int | None = None) -> dict[str, Member]:
        """Return the cases of a version by id, in the order in which they were added."""
        with self._store.snapshot() as reader:
            versions = _versions(reader, name)
            chosen = [v for v in versions if number in {None, v.number}]
            if number is not None and not chosen:
                msg = f"Case set {name!r} has no version {number}; versions() lists them"
                raise HistoryError(msg)
            return members_of(reader, name, versions, chosen[-1].id) if chosen else {}

    def commit(
        self,
        name: str,
        change: Callable[[dict[str, Member]], Changes],
        *,
        message: str,
        deployment: str | None,
    ) -> CaseSetVersion | None:
        """Store the next version of a set, or return None if nothing changes.

        `change` gets the newest cases and returns the changes. Writers wait for each other, so two
        changes at the same time both apply, and each is a version.
        """

        def write(tx: Transaction) -> CaseSetVersion | None:
            tx.serialize(f"case set {name}")
            versions = _versions(tx, name)
            parent = versions[-1] if versions else None
            changes = change(members_of(tx, name, versions, parent.id) if parent else {})
            if not changes:
                return None
            version = CaseSetVersion(
                id=str(uuid4()),
                name=name,
                number=parent.number + 1 if parent else 1,
                parent=parent and parent.id,
                deployment=(parent and parent.deployment) or deployment,
                author=self._recorder.author,
                message=clean(message),
                created=datetime.now(UTC),
            )
            add_version(tx, version, changes)
            return version

        return self._store.write(write)


def add_version(tx: Transaction, version: CaseSetVersion, changes: Changes) -> None:
    """Store a version with its changes."""
    tx.execute(_ADD_VERSION, {name: column_value(getattr(version, name)) for name in VERSION})
    rows = [
        {"version": version.id, "position": at, "case_id": case, "content": content_of(member)}
        for at, (case, member) in enumerate(changes.items())
    ]
    tx.execute_many(_ADD_CHANGE, rows)


def _latest(reader: Reader, name: str | None = None) -> list[CaseSetVersion]:
    newest = "(SELECT max(number) FROM case_set_versions o WHERE o.name = v.name)"
    where = "" if name is None else "AND name = :name"
    sql = f"{_SELECT} v WHERE number = {newest} {where} ORDER BY name"
    return [version_of(row) for row in reader.read(sql, {} if name is None else {"name": name})]


def _versions(reader: Reader, name: str) -> list[CaseSetVersion]:
    """Return the versions of a set, oldest first."""
    rows = reader.read(f"{_SELECT} WHERE name = :name ORDER BY number", {"name": name})
    return [version_of(row) for row in rows]


_Texts = dict[str, str | None]  # stored content by case id


def _changes(reader: Reader, name: str) -> dict[str, _Texts]:
    """Return the changes of each version of a set by the id of the version."""
    sql = (
        "SELECT c.version, c.case_id, c.content FROM case_set_changes c "
        "JOIN case_set_versions v ON v.id = c.version WHERE v.name = :name "
        "ORDER BY c.version, c.position"
    )
    changes: dict[str, _Texts] = {}
    for version, case_id, content in reader.read(sql, {"name": name}):
        changes.setdefault(version, {})[case_id] = content
    return changes


def _applied(texts: _Texts, changes: _Texts) -> _Texts:
    """Return the stored cases after the changes of a version. Updated cases keep their place."""
    after = texts | changes
    return {case_id: text for case_id, text in after.items() if text is not None}


def _counts(
    versions: Iterable[CaseSetVersion], changes: Mapping[str, _Texts]
) -> dict[str, VersionCounts]:
    counts, cases = dict[str, VersionCounts](), dict[str | None, _Texts]()
    for version in versions:
        before, changed = cases.get(version.parent, {}), changes.get(version.id, {})
        cases[version.id] = _applied(before, changed)
        removed = sum(text is None for text in changed.values())
        added = len(changed.keys() - before.keys())
        numbers = (added, len(changed) - added - removed, removed)
        counts[version.id] = VersionCounts(len(cases[version.id]), *numbers)
    return counts


def members_of(
    reader: Reader, name: str, versions: Sequence[CaseSetVersion], version_id: str
) -> dict[str, Member]:
    """Return the cases of a version by id."""
    parents = {version.id: version.parent for version in versions}
    changes = _changes(reader, name)
    chain: list[str] = []
    current: str | None = version_id
    with damaged(f"Case set {name!r:.100}"):
        while current is not None:
            chain.append(current)
            current = parents.pop(current)  # fails for a missing version, and for a cycle
    texts: _Texts = {}
    for changed in reversed(chain):
        texts = _applied(texts, changes.get(changed, {}))
    return {case_id: member_of(name, case_id, text) for case_id, text in texts.items() if text}


def version_of(row: Sequence[Any]) -> CaseSetVersion:
    """Return the version of a row of `VERSION`; raise a `HistoryError` if it is damaged."""
    with damaged(f"A version of case set {row[1]!r:.100}"):
        return CaseSetVersion(**fields_of(VERSION, row))


def content_of(member: Member | None) -> str | None:
    """Return a case as JSON text: the list of its turns, without empty fields."""
    if member is None:
        return None
    turns = [
        {name: value for name in _CONTENT if (value := getattr(turn, name))} for turn in member
    ]
    return encoded(turns, "content", f"case {member[0].case_id}")


_CONTENT = ("inputs", "expected", "labels", "previous_execution_id", "turn")


def member_of(name: str, case_id: str, content: str) -> Member:
    """Return the case of a stored text; raise a `HistoryError` if it is damaged."""
    with damaged(f"Case {case_id!r:.100} of case set {name!r:.100}"):
        make = partial(SweepCase, 0, case_id)
        turns = [make(**{"inputs": {}, **turn}) for turn in json.loads(content)]
        if not turns or not all(isinstance(turn.inputs, dict) for turn in turns):
            msg = "it has no inputs"
            raise ValueError(msg)
        return tuple(turns)
