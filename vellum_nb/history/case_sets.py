"""Stored case sets: versions, and the cases that each version adds, updates or removes.

A merge adds the versions of another history. If both histories changed a set since their last
common version, it also adds a version with the changes of both, which is the same in each history.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from typing import Any, NamedTuple, TypeAlias
from uuid import NAMESPACE_OID, uuid4, uuid5

from vellum_nb.errors import HistoryError
from vellum_nb.history.backends import Reader, Store, Transaction
from vellum_nb.history.rows import clean, column_value, damaged, encoded, fields_of
from vellum_nb.history.store import insert
from vellum_nb.models.sweeps import CaseSetVersion, Member, SweepCase

VERSION = tuple(CaseSetVersion.model_fields)
CHANGE = ("position", "case_id", "content")
_SELECT = f"SELECT {', '.join(VERSION)} FROM case_set_versions"
_ADD_VERSION = insert("case_set_versions", VERSION)
_ADD_CHANGE = insert("case_set_changes", ("version", *CHANGE))
_Texts: TypeAlias = dict[str, str | None]  # stored content by case id
Changes: TypeAlias = Mapping[str, Member | None]
"""New content by case id; None removes the case."""


class VersionCounts(NamedTuple):
    """Number of cases of a version, and of those that it changed."""

    cases: int
    added: int
    updated: int
    removed: int


class CaseSets:
    """The case sets of a history; see `vellum_nb.CaseSet`."""

    def __init__(self, store: Store, author: str | None = None) -> None:
        self._store, self._author = store, author

    def newest(self, name: str) -> tuple[CaseSetVersion | None, dict[str, Member]]:
        """Return the newest version of a set and its cases; None and no cases for a new set."""
        with self._store.snapshot() as reader:
            versions = _versions(reader, name)
            version = versions[-1] if versions else None
            return version, members_of(reader, name, versions, version.id) if version else {}

    def latest(self, name: str | None = None) -> list[CaseSetVersion]:
        """Return the newest version of each set, by name, or of the set `name`."""
        return _latest(self._store, name)

    def numbers(self) -> dict[str, int]:
        """Return the numbers of the versions of all sets by id."""
        return dict(self._store.read("SELECT id, number FROM case_set_versions"))

    def versions(self, name: str) -> dict[CaseSetVersion, VersionCounts]:
        """Return the versions of a set, newest first, with their numbers of cases."""
        with self._store.snapshot() as reader:
            versions = _versions(reader, name)
            counts = _counts(versions, _changes(reader, name))
        with damaged(f"Case set {name!r:.100}"):
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
                author=self._author,
                message=clean(message),
                created=datetime.now(UTC),
            )
            add_version(tx, version, changes)
            return version

        return self._store.write(write)


def add_version(tx: Transaction, version: CaseSetVersion, changes: Changes) -> None:
    """Store a version with its changes."""
    _add_texts(tx, version, {case: content_of(member) for case, member in changes.items()})


def _add_texts(tx: Transaction, version: CaseSetVersion, texts: _Texts) -> None:
    tx.execute(_ADD_VERSION, {name: column_value(getattr(version, name)) for name in VERSION})
    rows = [
        {"version": version.id, "position": at, "case_id": case, "content": text}
        for at, (case, text) in enumerate(texts.items())
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


def _counts(
    versions: Iterable[CaseSetVersion], changes: Mapping[str, _Texts]
) -> dict[str, VersionCounts]:
    """Return the counts of the versions that descend from a first one, in one pass over them."""
    children: dict[str | None, list[CaseSetVersion]] = {}
    for version in versions:
        children.setdefault(version.parent, []).append(version)
    counts, cases = dict[str, VersionCounts](), set[str]()  # cases: of the current version
    steps: list[CaseSetVersion | set[str]] = [*children.get(None, ())]
    while steps:
        step = steps.pop()
        if isinstance(step, set):  # all versions after this one are counted: go back
            cases ^= step
            continue
        changed = changes.get(step.id, {})
        removed = {case_id for case_id, text in changed.items() if text is None}
        added = changed.keys() - cases - removed
        cases ^= (differing := added | (removed & cases))
        numbers = (len(added), len(changed) - len(added) - len(removed), len(removed))
        counts[step.id] = VersionCounts(len(cases), *numbers)
        steps += [differing, *children.get(step.id, ())]
    return counts


def members_of(
    reader: Reader, name: str, versions: Sequence[CaseSetVersion], version_id: str
) -> dict[str, Member]:
    """Return the cases of a version by id."""
    texts = _texts_of(_changes(reader, name), name, versions, version_id)
    return {case_id: member_of(name, case_id, text) for case_id, text in texts.items() if text}


def _texts_of(
    changes: Mapping[str, _Texts], name: str, versions: Sequence[CaseSetVersion], version_id: str
) -> _Texts:
    """Return the stored cases of a version by id, by the changes of each version."""
    parents = {version.id: version.parent for version in versions}
    chain: list[str] = []
    current: str | None = version_id
    with damaged(f"Case set {name!r:.100}"):
        while current is not None:
            chain.append(current)
            current = parents.pop(current)  # fails for a missing version, and for a cycle
    texts: _Texts = {}  # an updated case keeps its place
    for changed in reversed(chain):
        for case_id, text in changes.get(changed, {}).items():
            texts[case_id] = text
            if text is None:
                del texts[case_id]
    return texts


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


def check_case_set(reader: Reader, name: str) -> None:
    """Read all versions of a set; raise a `HistoryError` if it is damaged."""
    versions, changes = _versions(reader, name), _changes(reader, name)
    counts = _counts(versions, changes)
    for version in versions:
        with damaged(f"Version {version.number} of case set {name!r:.100}"):
            counts[version.id]  # fails for a version without its parent
            if not changes.get(version.id) and version.merged is None:
                msg = "its changes are missing"
                raise ValueError(msg)
        for case_id, text in changes.get(version.id, {}).items():
            if text is not None:
                member_of(name, case_id, text)


def case_set_names(reader: Reader) -> list[str]:
    """Return the names of all sets."""
    sql = "SELECT DISTINCT name FROM case_set_versions ORDER BY name"
    return [name for (name,) in reader.read(sql)]


class CaseSetMerge(NamedTuple):
    """Result of a merge of a set: the number of new versions, and conflicts by case id."""

    versions: int = 0
    conflicts: Mapping[str, tuple[str, ...]] = {}


def merge_case_set(source: Reader, name: str, tx: Transaction) -> CaseSetMerge:
    """Add the versions of a set of another history, and merge the newest versions of both."""
    tx.serialize(f"case set {name}")
    ours, theirs = _versions(tx, name), _versions(source, name)
    our_ids, their_changes = {version.id for version in ours}, _changes(source, name)
    new = [version for version in theirs if version.id not in our_ids]
    number = ours[-1].number if ours else 0
    for number, version in enumerate(new, number + 1):  # noqa: B020  (continues the numbers)
        numbered = version.model_copy(update={"number": number})
        _add_texts(tx, numbered, their_changes.get(version.id, {}))
    conflicts: dict[str, tuple[str, ...]] = {}
    all_versions = {version.id: version for version in (*ours, *new)}
    if new and ours and ours[-1].id not in _ancestors(all_versions, theirs[-1].id):
        merged, texts, conflicts = _merged_version(tx, all_versions, ours[-1], theirs[-1])
        _add_texts(tx, merged.model_copy(update={"number": number + 1}), texts)
    return CaseSetMerge(len(new), conflicts)


def _ancestors(versions: Mapping[str, CaseSetVersion], version_id: str) -> dict[str, None]:
    """Return the ids of a version and of all versions before it."""
    ids: dict[str, None] = {}
    remaining: list[str | None] = [version_id]
    while remaining:
        current = remaining.pop()
        if current is not None and current not in ids:
            ids[current] = None
            remaining += [versions[current].parent, versions[current].merged]
    return ids


def _merged_version(
    reader: Reader,
    versions: Mapping[str, CaseSetVersion],
    ours: CaseSetVersion,
    theirs: CaseSetVersion,
) -> tuple[CaseSetVersion, _Texts, dict[str, tuple[str, ...]]]:
    """Return the version that merges two, with its changes, and the conflicts.

    It does not depend on the history that merges: the older version is its parent.
    """

    def age(version: CaseSetVersion) -> tuple[datetime, str]:
        return version.created, version.id

    name = ours.name
    older, newer = sorted((ours, theirs), key=age)
    common = _ancestors(versions, older.id).keys() & _ancestors(versions, newer.id).keys()
    changes = _changes(reader, name)
    texts_of = partial(_texts_of, changes, name, [*versions.values()])
    base = texts_of(max((versions[i] for i in common), key=age).id) if common else {}
    old, new = texts_of(older.id), texts_of(newer.id)
    merged: _Texts = {}
    conflicts: dict[str, tuple[str, ...]] = {}
    for case_id in dict.fromkeys([*old, *new]):
        sides = base.get(case_id), old.get(case_id), new.get(case_id)
        text, fields = _merged_text(name, case_id, sides)
        if text != old.get(case_id):
            merged[case_id] = text
        if fields:
            conflicts[case_id] = fields
    version = CaseSetVersion(
        id=str(uuid5(NAMESPACE_OID, f"{older.id}/{newer.id}")),
        name=name,
        number=1,
        parent=older.id,
        merged=newer.id,
        deployment=older.deployment or newer.deployment,
        message="merged",
        created=newer.created,
    )
    return version, merged, conflicts


def _merged_text(
    name: str, case_id: str, sides: tuple[str | None, str | None, str | None]
) -> tuple[str | None, tuple[str, ...]]:
    """Return the content of a case that two versions changed, and the fields that conflict.

    An update prevails over a removal, and the newer of two values over the older.
    """
    base, old, new = sides
    if new in (old, base):
        return old, ()
    if old == base or old is None or new is None:
        return (new if old == base or old is None else old), ()
    before, first, second = (text and member_of(name, case_id, text) for text in sides)
    fields: list[str] = []
    turns = []
    for at, (one, other) in enumerate(zip(first or (), second or (), strict=True)):
        values: dict[str, Any] = {}
        for side in ("expected", "labels"):
            earlier = getattr(before[at], side) if before else {}
            values[side], differing = _merged_values(
                earlier, getattr(one, side), getattr(other, side)
            )
            fields += [f"{side.removesuffix('s')}.{key}" for key in differing]
        turns.append(replace(one, **values))
    return content_of(tuple(turns)), tuple(fields)


_MISSING = object()


def _merged_values(
    base: Mapping[str, Any], old: Mapping[str, Any], new: Mapping[str, Any]
) -> tuple[dict[str, Any], list[str]]:
    """Return the values of a three-way merge, and the names of which both sides changed."""
    merged, conflicts = dict[str, Any](), []
    for key in dict.fromkeys([*old, *new]):
        before, first, second = (side.get(key, _MISSING) for side in (base, old, new))
        value = first if second == before else second
        if first not in (before, second) and second != before:
            conflicts.append(key)
            value = first if second is _MISSING else second
        if value is not _MISSING:
            merged[key] = value
    return merged, conflicts
