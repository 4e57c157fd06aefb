"""Merge: runs, sweeps and blind ratings of another history, or a list of runs, come into this one.

What is known stays, what it lacks is added. A batch of runs is one transaction, so that a merge
that was interrupted is finished by the next one.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from vellum_nb.errors import HistoryError
from vellum_nb.escaping import printed
from vellum_nb.history import writes
from vellum_nb.history.backends import Reader, Store, Transaction
from vellum_nb.history.blind import BLIND, PAIR, RATING, blind_of, pairs_of, rating_of
from vellum_nb.history.plan_rows import CASE, REUSED, SWEEP, cases_of, sweep_of
from vellum_nb.history.read_files import runs_of_jsonl
from vellum_nb.history.rows import (
    ENDED,
    PAYLOADS,
    SCALARS,
    WHOLE,
    DamagedRunError,
    columns,
    copy_large,
    encoded,
    large_hashes,
    payload_row,
    restore_large,
    run_of,
    scalar_row,
    tags_text,
)
from vellum_nb.history.store import insert
from vellum_nb.models import Run
from vellum_nb.models.run import continued_case_id

Values = dict[str, Any]
_sorted_json = partial(json.dumps, sort_keys=True)

_BATCH, _BATCH_TEXT = 250, 16_000_000  # runs of a transaction, and characters
_LATE = ("execution_id", "cost_usd", "tokens_in", "tokens_out", "model", "author", "nodes")
_OF_PEOPLE = ("quality", "note", "tags", "desired")
_END = ("state", "error_code", "error_message", "doubt")
_KEYS = ("id", "execution_id", "external_id")
_ROWS = (
    f"SELECT {columns((*WHOLE, 'large'))}, r.deletion "
    "FROM runs r LEFT JOIN payloads p ON p.seq = r.seq WHERE "
)
_FACTS = tuple(
    name for name in WHOLE if name not in {*_LATE, *_OF_PEOPLE, "id", "external_id", "tag_moved"}
)
_SAME_EXECUTION = ("state", "outputs")  # one that was read from Vellum has times of its own
_TABLES: Mapping[str, tuple[str, Sequence[str], str]] = {  # column of the owner, others, order
    "sweeps": ("id", SWEEP, "seq"),
    "sweep_cases": ("sweep", CASE, "position"),
    "sweep_reused": ("sweep", REUSED, "position"),
    "blind": ("id", BLIND, "seq"),
    "blind_pairs": ("session", PAIR, "position"),
    "blind_ratings": ("session", RATING, "seq"),
}
_CHILDREN = {"sweeps": ("sweep_cases", "sweep_reused"), "blind": ("blind_pairs",)}


@dataclass(frozen=True, slots=True)
class Conflict:
    """A run that is another one there: its id here, and the fields that differ."""

    id: str
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True, repr=False)
class SyncReport:
    """What a synchronisation or a merge did.

    Attributes
    ----------
    added, completed, updated, known : int
        Runs that were not here; that were STARTED or in doubt here and have an answer now; that
        got what was missing, such as a rating, a cost or a trace; that were here as they are.
    running : int
        Executions that have not ended; the next synchronisation takes them.
    deleted : int
        Runs that were deleted here, and stay so until a vacuum.
    sweeps, blind, ratings : int
        Sweeps, blind ratings and single ratings of them that were not here.
    conflicts : tuple of Conflict
        Runs that differ here and there: the `id`, and which `fields`. Ours stay.
    unreadable : tuple of str
        Ids of damaged runs and sweeps there, which were left out.
    """

    added: int = 0
    completed: int = 0
    updated: int = 0
    known: int = 0
    running: int = 0
    deleted: int = 0
    sweeps: int = 0
    blind: int = 0
    ratings: int = 0
    conflicts: tuple[Conflict, ...] = ()
    unreadable: tuple[str, ...] = ()

    def __add__(self, other: SyncReport) -> SyncReport:
        names = SyncReport.__slots__
        return SyncReport(*(getattr(self, name) + getattr(other, name) for name in names))

    @printed
    def __str__(self) -> str:
        counts = {
            "still running": self.running,
            "deleted here, and still deleted": self.deleted,
            "sweep(s) added": self.sweeps,
            "blind rating(s) added": self.blind,
        }
        text = (
            f"{self.added:,} added, {self.completed:,} completed, {self.updated:,} updated, "
            f"{self.known:,} already here"
        )
        text += "".join(f", {count:,} {what}" for what, count in counts.items() if count)
        if self.unreadable:
            named = writes.cut_list(self.unreadable)
            text += f"; {len(self.unreadable):,} damaged and left out: {named}"
        if self.conflicts:
            those = [f"{each.id} ({', '.join(each.fields)})" for each in self.conflicts]
            text += f"; {len(those):,} differ, ours stay: {writes.cut_list(those)}"
        return text

    @printed
    def __repr__(self) -> str:
        return f"<SyncReport: {self}>"


def merge(store: Store, other: Reader | Path | list[Run]) -> tuple[SyncReport, list[str]]:
    """Merge another history, which is only read, a JSON lines export, or a list of runs.

    A list is merged in one transaction; its runs that are STARTED are counted as running. Return
    the report, and the ids of runs that were here and changed.
    """
    unreadable: list[str] = []
    counts: Counter[str] = Counter()
    conflicts: list[Conflict] = []
    renamed: dict[str, str] = {}
    changed: list[str] = []
    if isinstance(other, list):
        batches: Iterable[list[Run]] = [[run for run in other if run.state != "STARTED"]]
        counts["running"] = sum(run.state == "STARTED" for run in other)
    elif isinstance(other, Path):
        batches = _batches((run, 0) for run in runs_of_jsonl(other))
    else:
        batches = _batches(_readable_runs(other, unreadable))
    for batch in batches:
        merged = store.write(partial(_merge_runs, batch))
        for run, (outcome, run_id, fields) in zip(batch, merged, strict=True):
            counts[outcome] += 1
            conflicts += [Conflict(run_id, fields)] if fields else []
            renamed |= {run.id: run_id} if run.id != run_id else {}
            changed += [run_id] if outcome in {"completed", "updated"} else []
    if not isinstance(other, list | Path):
        for owner, plan in _readable_plans(other, unreadable):
            counts += store.write(partial(_merge_plan, other, renamed, owner, plan))
    report = SyncReport(**counts, conflicts=tuple(conflicts), unreadable=tuple(unreadable))
    return report, changed


def _batches(runs: Iterable[tuple[Run, int]]) -> Iterator[list[Run]]:
    """Yield runs for one transaction each; a run comes with its number of characters."""
    batch: list[Run] = []
    size = 0
    for run, letters in runs:
        batch.append(run)
        size += letters
        if len(batch) >= _BATCH or size >= _BATCH_TEXT:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _readable_runs(other: Reader, unreadable: list[str]) -> Iterator[tuple[Run, int]]:
    """Yield the runs of another history, oldest row first; note the ids of damaged ones."""
    keys = (
        "SELECT seq, id FROM runs WHERE seq > :last AND deletion IS NULL ORDER BY seq LIMIT :most"
    )
    last = -(2**62)
    while found := other.read(keys, {"last": last, "most": _BATCH}):
        last = found[-1][0]
        for seq, run_id in found:
            try:  # each by itself: the text of one may not even be UTF-8
                for row in other.read(f"{_ROWS} r.seq = :seq", {"seq": seq}):
                    whole = restore_large(other, [row[:-1]], WHOLE)[0]
                    yield run_of(whole), sum(len(text) for text in whole if isinstance(text, str))
            except HistoryError:  # damaged, or a large value of it is missing
                unreadable.append(str(run_id))


def _readable_plans(other: Reader, unreadable: list[str]) -> Iterator[tuple[str, Values]]:
    for owner, plan, problem in plans_of(other):
        if problem is None:
            yield owner, plan
        else:
            unreadable.append(str(plan["id"]))


def plans_of(reader: Reader) -> Iterator[tuple[str, Values, HistoryError | None]]:
    """Yield table and row of each sweep and blind rating, and an error if it is damaged."""
    for owner, check in (("sweeps", _check_sweep), ("blind", _check_blind)):
        for plan in _rows_of(reader, owner):
            problem = None
            try:
                check(reader, plan)
            except HistoryError as exc:
                problem = exc
            yield owner, plan, problem


def _check_sweep(other: Reader, plan: Values) -> None:
    """Raise a HistoryError if a row of a sweep is damaged."""
    sweep_of([*plan.values()])
    cases = [[*row.values()] for row in _rows_of(other, "sweep_cases", plan["id"])]
    for row in cases:
        large_hashes(row[-1], plan["id"])
    cases_of([row[:-1] for row in cases], plan["id"], len(cases))


def _check_blind(other: Reader, plan: Values) -> None:
    """Raise a HistoryError if a row of a blind rating is damaged."""
    blind_of([*plan.values()])
    pairs_of([[*row.values()] for row in _rows_of(other, "blind_pairs", plan["id"])])
    for row in _rows_of(other, "blind_ratings", plan["id"]):
        rating_of([*row.values()])


_Merged = tuple[str, str, tuple[str, ...]]  # field of SyncReport, id here, fields that differ


def _merge_runs(runs: Sequence[Run], tx: Transaction) -> list[_Merged]:
    return [_merge_run(tx, run) for run in runs]


def _merge_run(tx: Transaction, run: Run) -> _Merged:
    theirs: Values = scalar_row(run) | payload_row(run)
    where = " OR ".join(f"r.{name} = :{name}" for name in _KEYS)
    rows = tx.read(_ROWS + where, {name: theirs[name] for name in _KEYS})
    same = [
        dict(zip(WHOLE, each, strict=True)) | {"deletion": row[-1]}
        for row, each in zip(
            rows, restore_large(tx, [row[:-1] for row in rows], WHOLE, "mark"), strict=True
        )
    ]
    ours = _known(same, theirs)
    if ours is None:
        is_used = any(row["external_id"] == theirs["external_id"] for row in same)
        writes.insert_run(tx, run.model_copy(update={"external_id": None}) if is_used else run)
        return "added", theirs["id"], ()
    if ours["deletion"] is not None:
        if _completes(ours, theirs):  # its answer comes back with it
            writes.complete_run(tx, run.model_copy(update={"id": ours["id"]}))
        return "deleted", ours["id"], ()
    try:
        run_of([ours[name] for name in WHOLE])
    except DamagedRunError:  # check_history lists it
        return "known", ours["id"], ()
    overruled = _overruled(ours, theirs)
    changes = _late(ours, theirs) | _people(ours, theirs, [line for _, line in overruled])
    changes |= _place_in_sweep(same, ours, theirs)
    changes = {name: value for name, value in changes.items() if ours[name] != value}
    completes = _completes(ours, theirs)
    fields = () if completes else _conflicts(ours, theirs, [name for name, _ in overruled])
    if not changes:
        return "known", ours["id"], fields
    run_id = _change(tx, ours["id"], changes)
    return "completed" if completes else "updated", run_id, fields


def _known(same: Sequence[Values], theirs: Values) -> Values | None:
    """Return which of the rows that share an id with a run is that run."""
    for name in _KEYS:
        rows = [row for row in same if row[name] == theirs[name] is not None]
        for row in sorted(rows, key=lambda row: row["deletion"] is not None):
            if name != "external_id" or _is_same(row, theirs):
                return row
    return None


def _is_same(ours: Values, theirs: Values) -> bool:
    """Return whether two runs of one external id are one: a refused one never was an execution."""
    both = (ours, theirs)
    never_executed = any(row["state"] == "FAILED" and row["doubt"] is None for row in both)
    if never_executed or all(row["execution_id"] is not None for row in both):
        return False
    is_refused = any(row["doubt"] == "EXECUTED" for row in both)
    is_own = ours["external_id"] != ours["id"]  # it may be that of another run of the user's
    # Vellum does not report the execution that an imported one continues.
    previous = next(filter(None, (row["previous_execution_id"] for row in both)), None)
    ids = ({row["case_id"], continued_case_id(row["case_id"], previous)} for row in both)
    return not set.isdisjoint(*ids) if is_refused and is_own else True


def _is_in_doubt(row: Values) -> bool:
    return row["state"] == "STARTED" or row["doubt"] is not None


def _completes(ours: Values, theirs: Values) -> bool:
    """Return whether theirs settles what is open here."""
    if ours["state"] == "STARTED":
        return bool(theirs["state"] != "STARTED")
    return (
        _is_in_doubt(ours)
        and theirs["doubt"] is None
        and theirs["state"] in {"FULFILLED", "REJECTED", "CANCELLED"}
    )


def _late(ours: Values, theirs: Values) -> Values:
    """Return what our run lacks: an answer, or what is known of it later."""
    changes = {name: theirs[name] for name in _LATE if ours[name] is None}
    moved = max(ours["tag_moved"], theirs["tag_moved"])
    if _completes(ours, theirs):
        there = {name: theirs[name] for name in (*ENDED, "nodes") if theirs[name] is not None}
        has_none = theirs["state"] != "FULFILLED" and theirs["outputs"] == "{}"
        names = _END if has_none else (*_END, "outputs", "output_types")  # what came so far stays
        changes |= there | {name: theirs[name] for name in names}
        moved |= int(len({ours["release_id"], theirs["release_id"]} - {None}) > 1)
    return changes | {"tag_moved": moved}


def _place_in_sweep(same: Sequence[Values], ours: Values, theirs: Values) -> Values:
    """Return the place in a sweep that a run has there, where ours was read from Vellum."""
    external_id = theirs["external_id"]
    is_used = external_id and any(r["external_id"] == external_id for r in same if r is not ours)
    if ours["id"] == theirs["id"] or ours["sweep_id"] or not theirs["sweep_id"] or is_used:
        return {}
    return {n: theirs[n] for n in ("id", "external_id", "sweep_id", "repeat", "case_id")}


def _change(tx: Transaction, run_id: str, changes: Values) -> str:
    """Change columns of a run; return its id, which may be one of them."""
    scalars = {name: value for name, value in changes.items() if name in SCALARS and name != "id"}
    payloads = {n: v and json.loads(v) for n, v in changes.items() if n in PAYLOADS}
    writes.update_run(tx, run_id, scalars, payloads)
    new_id = str(changes.get("id", run_id))
    if new_id != run_id:
        writes.rename_run(tx, run_id, new_id)
    return new_id


def _conflicts(ours: Values, theirs: Values, overruled: Sequence[str]) -> tuple[str, ...]:
    if "STARTED" in (ours["state"], theirs["state"]):
        return ()
    late = [n for n in _LATE if ours[n] is not None and theirs[n] is not None]
    names = (*_FACTS, *late) if ours["id"] == theirs["id"] else _SAME_EXECUTION
    found = []
    for name in names:
        both = [ours[name], theirs[name]]
        if name in PAYLOADS and None not in both:
            both = [_sorted_json(json.loads(text)) for text in both]
        found += [name] if both[0] != both[1] else []
    return tuple(dict.fromkeys([*found, *overruled]))


def _people(ours: Values, theirs: Values, overruled: Sequence[str]) -> Values:
    """Return quality, note, tags and desired outputs of both; ours where they differ."""
    mine, others = (json.loads(row["desired"] or "{}") or {} for row in (ours, theirs))
    changes = {}
    if ours["quality"] is None:
        changes["quality"] = theirs["quality"]
    if ours["desired"] is None:
        changes["desired"] = theirs["desired"]
    elif others.keys() - mine.keys():
        changes["desired"] = encoded(others | mine, "desired", ours["id"])
    if theirs["tags"]:
        both = [*json.loads(ours["tags"] or "[]"), *json.loads(theirs["tags"])]
        changes["tags"] = tags_text(list(dict.fromkeys(both)))
    changes["note"] = _joined_lines(ours["note"], theirs["note"])
    changes["note"] = _joined_lines(changes["note"], "\n".join(overruled) or None)
    return changes


def _overruled(ours: Values, theirs: Values) -> list[tuple[str, str]]:
    """Return what theirs rates otherwise than ours: the field, and a line for the note."""
    found = []
    if None not in (ours["quality"], theirs["quality"]) and ours["quality"] != theirs["quality"]:
        found.append(("quality", f"merged: quality {theirs['quality']}"))
    mine = json.loads(ours["desired"] or "{}") or {}
    for name, value in json.loads(theirs["desired"] or "{}").items():
        if name in mine and _sorted_json(mine[name]) != _sorted_json(value):
            line = f"merged: desired.{_sorted_json(name)} {_sorted_json(value)}"
            found.append(("desired", line))
    return found


def _joined_lines(ours: str | None, theirs: str | None) -> str | None:
    if not ours or not theirs:
        return ours or theirs or (theirs if ours is None else ours)
    mine, others = ours.splitlines(), theirs.splitlines()
    if set(mine) <= set(others):
        return theirs
    return "\n".join([ours, *(line for line in others if line not in mine)])


def _merge_plan(
    other: Reader, renamed: Mapping[str, str], owner: str, plan: Values, tx: Transaction
) -> Counter[str]:
    """Merge a sweep or a blind rating; return how many of them and of its ratings were not here."""
    counts = Counter({owner: _add_plan(tx, owner, plan)})
    for table, (column, _, _) in _TABLES.items():
        if table in _CHILDREN[owner]:
            runs = [name for each, name in writes.REFERENCES if each == table]
            for row in _rows_of(other, table, plan["id"]):
                copy_large(tx, other, large_hashes(row.get("large"), plan["id"]))
                here = {name: renamed.get(row[name], row[name]) for name in runs}
                _add(tx, table, {column: plan["id"], **row, **here})
    if owner == "sweeps":
        sql = (
            "UPDATE sweeps SET round = CASE WHEN round < :round THEN :round ELSE round END, "
            "why = CASE WHEN coalesce(ended, :ended) IS NULL THEN why END, "
            "ended = coalesce(ended, :ended) WHERE id = :id"
        )
        tx.execute(sql, {name: plan[name] for name in ("id", "round", "ended")})
    else:
        sql = "UPDATE blind SET ended = :ended WHERE id = :id AND ended IS NULL"
        tx.execute(sql, {"ended": plan["ended"], "id": plan["id"]})
        counts["ratings"] = _merge_ratings(tx, other, plan["id"])
    return counts


def _add_plan(tx: Transaction, owner: str, plan: Values) -> bool:
    """Insert a plan unless it is here; it gets the next generation if another one has its own."""
    while not _add(tx, owner, plan):
        if tx.read(f"SELECT 1 FROM {owner} WHERE id = :id", plan):
            return False
        sql = f"SELECT max(generation) + 1 FROM {owner} WHERE signature = :signature"
        plan = plan | {"generation": tx.read(sql, plan)[0][0]}
    return True


def _merge_ratings(tx: Transaction, other: Reader, session: str) -> int:
    """Merge ratings; one of a pair that is rated here is stored as one that was undone."""
    ours = {_rating_key(row): row for row in _rows_of(tx, "blind_ratings", session)}
    theirs = {_rating_key(row): row for row in _rows_of(other, "blind_ratings", session)}
    sql = (
        "UPDATE blind_ratings SET undone = coalesce(undone, :undone), "
        "sent = coalesce(sent, :sent) WHERE seq = :seq"
    )
    for key in ours.keys() & theirs.keys():  # undone or sent since
        tx.execute(sql, {**theirs[key], "seq": ours[key]["seq"]})
    rated = {row["position"] for row in _rows_of(tx, "blind_ratings", session) if _counts(row)}
    new = [row for key, row in theirs.items() if key not in ours]
    for row in new:
        is_overruled = _counts(row) and row["position"] in rated
        undone = row["rated"] if is_overruled else row["undone"]
        rating = {name: row[name] for name in RATING if name != "seq"} | {"undone": undone}
        _add(tx, "blind_ratings", {"session": session, **rating})
    return len(new)


def _rating_key(rating: Values) -> tuple[Any, ...]:
    return tuple(rating[name] for name in ("position", "choice", "a_first", "note", "rated"))


def _counts(rating: Values) -> bool:
    return rating["undone"] is None and rating["choice"] != "skip"


def _rows_of(reader: Reader, table: str, owner: str | None = None) -> list[Values]:
    """Return the rows of a table, all or those that belong to `owner`."""
    column, names, order = _TABLES[table]
    where = "" if owner is None else f"WHERE {column} = :owner"
    sql = f"SELECT {', '.join(names)} FROM {table} {where} ORDER BY {order}"
    rows = reader.read(sql, {} if owner is None else {"owner": owner})
    return [dict(zip(names, row, strict=True)) for row in rows]


def _add(tx: Transaction, table: str, row: Values) -> bool:
    """Insert a row unless it is there; return whether it was not."""
    return tx.execute(f"{insert(table, row)} ON CONFLICT DO NOTHING", row) > 0
