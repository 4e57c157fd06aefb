"""Runs of another history come into this one.

A run is known by its id, then by its execution id, then by its external id. One that is STARTED
here and has ended there is completed. Where both have ended, what ours has not is taken over;
notes and tags are put together, and a rating that differs goes into the note: nothing is lost.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from vellum_nb.history.joining.joined_notes import outvoted, read_by_people
from vellum_nb.history.rows.rows import ENDED, PAYLOADS, SCALARS
from vellum_nb.history.store import large
from vellum_nb.history.store.large import Read
from vellum_nb.history.store.store import Connection

__all__ = ["COLUMNS", "JOINED", "Conflict", "Joined", "RunJoiner", "told"]

COLUMNS = (*SCALARS, *PAYLOADS, "large")
JOINED = ", ".join(f"{'r' if name in SCALARS else 'p'}.{name}" for name in COLUMNS)
_LATE = ("execution_id", "cost_usd", "tokens_in", "tokens_out", "model", "author", "nodes")
_OF_ANSWER = ("outputs", "output_types", "nodes")
_OF_PEOPLE = ("quality", "note", "tags", "desired")
_OF_PLACE = ("id", "external_id", "tag_moved", "large")
_FACTS = tuple(n for n in COLUMNS if n not in {*_LATE, *_OF_PEOPLE, *_OF_PLACE})
_SAME_EXECUTION = ("state", "outputs")  # one that was read from Vellum has times of its own
_SHOWN = 3
_IDENTITY = ("id", "external_id", "sweep_id", "repeat", "case_id")

Fate = Literal["added", "completed", "updated", "known", "deleted", "running"]
Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Conflict:
    """A run that is another one there: its id here, and the fields that differ."""

    id: str
    fields: tuple[str, ...]


def told(conflicts: Sequence[Conflict]) -> str:
    """Return what a report ends with."""
    if not conflicts:
        return ""
    count = len(conflicts)
    named = "; ".join(f"{c.id} ({', '.join(c.fields)})" for c in conflicts[:_SHOWN])
    more = f"; and {count - _SHOWN:,} more" if count > _SHOWN else ""
    return f"; {count:,} differ{'s' if count == 1 else ''}, ours kept: {named}{more}"


@dataclass(frozen=True, slots=True)
class Joined:
    """What became of the run that is called `theirs` there."""

    theirs: str
    run_id: str
    fate: Fate
    conflicts: tuple[str, ...] = ()


class RunJoiner:
    """Takes over runs in the transaction of `connection`; `read` reads the other history."""

    def __init__(self, connection: Connection, read: Read) -> None:
        self._connection = connection
        self._read = read

    def join(self, lot: Sequence[Mapping[str, Any]]) -> list[Joined]:
        """Take over a lot of runs."""
        known = self._known("id", [run["id"] for run in lot])
        new = [run for run in lot if run["id"] not in known]
        gone = self._deleted([run["id"] for run in new])
        by_execution = self._known("execution_id", [run["execution_id"] for run in new])
        by_external = self._known("external_id", [run["external_id"] for run in new])
        done: list[Joined] = []
        for run in lot:
            ours = known.get(run["id"]) or by_execution.get(run["execution_id"])
            twin = by_external.get(run["external_id"])
            if ours is None and twin is not None and _may_be_one(twin, run):
                ours = twin
            if ours is not None:
                done.append(self._joined(ours, dict(run)))
            elif run["id"] in gone:
                done.append(Joined(run["id"], run["id"], "deleted"))
            else:
                self._insert(dict(run) | ({"external_id": None} if twin else {}))
                done.append(Joined(run["id"], run["id"], "added"))
        return done

    def _known(self, name: str, values: Sequence[str | None]) -> dict[Any, Values]:
        wanted = [value for value in values if value is not None]
        sql = (
            f"SELECT {JOINED} FROM runs r JOIN payloads p ON p.seq = r.seq "
            f"WHERE r.{name} IN ({large.marks(wanted)})"
        )
        rows = self._connection.execute(sql, tuple(wanted)).fetchall()
        found = [dict(zip(COLUMNS, row, strict=True)) for row in rows]
        return {row[name]: row for row in found}

    def _deleted(self, ids: Sequence[str]) -> set[str]:
        sql = f"SELECT id FROM deleted_runs WHERE id IN ({large.marks(ids)})"
        return {run_id for (run_id,) in self._connection.execute(sql, tuple(ids)).fetchall()}

    def _insert(self, run: Values) -> None:
        if run["large"] is None:
            run["large"] = large.merged(large.keep(self._connection, run))
        else:
            large.copied(self._connection, self._read, large.hashes(run["large"]))
        done = self._connection.execute(_INSERT_RUN, {name: run[name] for name in SCALARS})
        payload = {name: run[name] for name in (*PAYLOADS, "large")} | {"seq": done.lastrowid}
        self._connection.execute(_INSERT_PAYLOAD, payload)

    def _joined(self, ours: Values, theirs: Values) -> Joined:
        same_id = ours["id"] == theirs["id"]
        if all(ours[name] == theirs[name] for name in COLUMNS):
            return Joined(theirs["id"], ours["id"], "known")
        ours = self._whole(ours, large.within(self._connection))
        theirs = self._whole(theirs, self._read)
        completes = ours["state"] == "STARTED" != theirs["state"]
        changes = _answer(ours, theirs) if completes else {}
        late = {n: theirs[n] for n in _LATE if ours[n] is None and theirs[n] is not None}
        changes = late | changes | read_by_people(ours, theirs)
        changes["tag_moved"] = max(ours["tag_moved"], theirs["tag_moved"])
        changes |= self._identity(ours, theirs)
        changes = {name: value for name, value in changes.items() if ours[name] != value}
        conflicts = () if completes else _conflicts(ours, theirs, same_id=same_id)
        if not changes:
            return Joined(theirs["id"], ours["id"], "known", conflicts)
        self._change(ours, changes)
        fate: Fate = "completed" if completes else "updated"
        return Joined(theirs["id"], str(changes.get("id", ours["id"])), fate, conflicts)

    def _whole(self, run: Values, read: Read) -> Values:
        names = COLUMNS[:-1]
        row = large.restored(read, [tuple(run[name] for name in COLUMNS)], names)[0]
        return dict(zip(names, row, strict=True))

    def _identity(self, ours: Values, theirs: Values) -> Values:
        """Return the place in a sweep that a run has there; here it was read from Vellum."""
        if ours["id"] == theirs["id"] or ours["sweep_id"] or not theirs["sweep_id"]:
            return {}
        taken = self._known("external_id", [theirs["external_id"]])
        if any(row["id"] != ours["id"] for row in taken.values()):
            return {}
        for table, name in (
            ("sweep_reused", "run"),
            ("blind_pairs", "first"),
            ("blind_pairs", "second"),
        ):
            sql = f"UPDATE {table} SET {name} = ? WHERE {name} = ?"
            self._connection.execute(sql, (theirs["id"], ours["id"]))
        return {name: theirs[name] for name in _IDENTITY}

    def _change(self, ours: Values, changes: Values) -> None:
        run = {name: (ours | changes)[name] for name in COLUMNS[:-1]}
        where = " WHERE seq = (SELECT seq FROM runs WHERE id = :was)"
        given = {"was": ours["id"]}
        if changes.keys() & set(PAYLOADS):
            run["large"] = large.merged(large.keep(self._connection, run))
            names = (*PAYLOADS, "large")
            sql = f"UPDATE payloads SET {_settings(names)}{where}"
            self._connection.execute(sql, {name: run[name] for name in names} | given)
        changed = [name for name in SCALARS if name in changes]
        if changed:
            sql = f"UPDATE runs SET {_settings(changed)}{where}"
            self._connection.execute(sql, {name: run[name] for name in changed} | given)


def _settings(names: Sequence[str]) -> str:
    return ", ".join(f"{name} = :{name}" for name in names)


def _insert(table: str, names: Sequence[str]) -> str:
    values = ", ".join(f":{name}" for name in names)
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({values})"


_INSERT_RUN = _insert("runs", SCALARS)
_INSERT_PAYLOAD = _insert("payloads", ("seq", *PAYLOADS, "large"))


def _answer(ours: Values, theirs: Values) -> Values:
    """Return what completes our run."""
    names = (*ENDED, *_OF_ANSWER)
    return {n: theirs[n] if theirs[n] is not None else ours[n] for n in names}


def _may_be_one(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> bool:
    """Return whether two runs of one external id are one; a refused one never was an execution."""
    both = (ours, theirs)
    refused = any((run["error_code"] or "").startswith("HTTP_4") for run in both)
    return not refused and any(run["execution_id"] is None for run in both)


def _conflicts(ours: Values, theirs: Values, *, same_id: bool) -> tuple[str, ...]:
    if "STARTED" in (ours["state"], theirs["state"]):
        return ()
    late = [n for n in _LATE if ours[n] is not None and theirs[n] is not None]
    names = [n for n in (*_FACTS, *late) if same_id or n in _SAME_EXECUTION]
    found = [n for n in names if not _same(n, ours[n], theirs[n])]
    return tuple(dict.fromkeys([*found, *(name for name, _ in outvoted(ours, theirs))]))


def _same(name: str, ours: Any, theirs: Any) -> bool:
    if ours == theirs or name not in PAYLOADS or None in (ours, theirs):
        return bool(ours == theirs)
    return _sorted(ours) == _sorted(theirs)


def _sorted(text: str) -> str:
    return json.dumps(json.loads(text), sort_keys=True)
