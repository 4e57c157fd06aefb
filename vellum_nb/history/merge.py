"""Merge another history (runs, sweeps, blind ratings, case sets) or a list of runs into a history.

Existing values do not change; missing values are added. Each batch of runs is one transaction:
after an interruption, the next merge completes the work.
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
from vellum_nb.history.case_sets import case_set_names, check_case_set, merge_case_set
from vellum_nb.history.read_files import runs_of_jsonl
from vellum_nb.history.rows import (
    CASE,
    REUSED,
    SWEEP,
    DamagedRunError,
    cases_of,
    columns,
    copy_large,
    encoded,
    large_hashes,
    payload_row,
    restore_large,
    run_of,
    scalar_row,
    sweep_of,
    tags_text,
)
from vellum_nb.history.schema import COLUMNS, ENDED, PAYLOADS, SCALARS, WHOLE
from vellum_nb.history.store import insert
from vellum_nb.models import Run
from vellum_nb.models.checks import cut_list
from vellum_nb.models.run import continued_case_id

Values = dict[str, Any]
_sorted_json = partial(json.dumps, sort_keys=True)

_BATCH_RUNS, _BATCH_CHARACTERS = 250, 16_000_000  # of a transaction
_LATE_COLUMNS = (*(name for name, column in COLUMNS.items() if column.is_late), "nodes")
_ANNOTATIONS = (*(n for n, column in COLUMNS.items() if column.set_by == "annotate"), "desired")
_END_COLUMNS = ("state", "error_code", "error_message", "doubt")
_ID_COLUMNS = ("id", "execution_id", "external_id")
_SELECT_ROWS = (
    f"SELECT {columns((*WHOLE, 'large'))}, r.deletion "
    "FROM runs r LEFT JOIN payloads p ON p.seq = r.seq WHERE "
)
_COMPARED_COLUMNS = tuple(
    name
    for name in WHOLE
    if name not in {*_LATE_COLUMNS, *_ANNOTATIONS, "id", "external_id", "tag_moved"}
)
_SAME_EXECUTION = ("state", "outputs")  # the times of an imported execution differ
_TABLES: Mapping[str, tuple[str, Sequence[str], str]] = {  # owner's column, columns, order
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
    """A run, or a case of a set, that differs in the other history: its id here, and the fields."""

    id: str
    fields: tuple[str, ...]


@dataclass(frozen=True, slots=True, repr=False)
class SyncReport:
    """Result of `History.merge` or `vellum_nb.Workspace.sync`.

    Attributes
    ----------
    added : int
        Number of new runs.
    completed : int
        Number of STARTED runs and runs in doubt that received an answer.
    updated : int
        Number of runs with added values, such as a rating, a cost or a trace.
    known : int
        Number of unchanged runs.
    running : int
        Number of executions that have not ended; a later synchronisation imports them.
    deleted : int
        Number of runs that are deleted in this history, and remain so.
    sweeps, blind, ratings, case_sets : int
        Number of new sweeps, blind ratings, single ratings of these, and versions of case sets.
    conflicts : tuple of Conflict
        Runs that differ: `id` and `fields`. They do not change in this history.
    unreadable : tuple of str
        Ids of damaged runs and sweeps in the other history, which are skipped.
    authorless : int
        Number of new runs of another history without an author.
    case_conflicts : tuple of Conflict
        Cases of case sets of which both histories changed the same field. The newer value is used.
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
    authorless: int = 0
    case_sets: int = 0
    case_conflicts: tuple[Conflict, ...] = ()

    def __add__(self, other: SyncReport) -> SyncReport:
        names = SyncReport.__slots__
        return SyncReport(*(getattr(self, name) + getattr(other, name) for name in names))

    @printed
    def __str__(self) -> str:
        counts = {
            "still running": self.running,
            "deleted here, and still deleted": self.deleted,
        }
        text = (
            f"{self.added:,} added, {self.completed:,} completed, {self.updated:,} updated, "
            f"{self.known:,} already here"
        )
        text += "".join(f", {count:,} {label}" for label, count in counts.items() if count)
        added = {"sweep": self.sweeps, "blind rating": self.blind}
        added |= {"case set version": self.case_sets}
        text += "".join(
            f", {count:,} {noun}{'' if count == 1 else 's'} added"
            for noun, count in added.items()
            if count
        )
        if self.unreadable:
            named = cut_list(self.unreadable)
            text += f"; {len(self.unreadable):,} damaged and left out: {named}"
        if self.conflicts:
            differing = [f"{run.id} ({', '.join(run.fields)})" for run in self.conflicts]
            text += f"; {len(differing):,} differ, ours stay: {cut_list(differing)}"
        if self.case_conflicts:
            differing = [f"{case.id} ({', '.join(case.fields)})" for case in self.case_conflicts]
            text += f"; {len(differing):,} cases differ, the newer stay: {cut_list(differing)}"
        if self.authorless:
            have = "has" if self.authorless == 1 else "have"
            text += (
                f"; {self.authorless:,} of the added runs {have} no author: set VELLUM_NB_AUTHOR "
                "before running"
            )
        return text

    @printed
    def __repr__(self) -> str:
        return f"<SyncReport: {self}>"


def merge(store: Store, source: Reader | Path | list[Run]) -> tuple[SyncReport, list[str]]:
    """Merge another history, a JSON lines export, or a list of runs into `store`.

    A list is merged in one transaction, and its STARTED runs are counted as running. Return the
    report and the ids of changed runs.
    """
    unreadable: list[str] = []
    counts: Counter[str] = Counter()
    conflicts, case_conflicts = list[Conflict](), list[Conflict]()
    renamed: dict[str, str] = {}
    changed: list[str] = []
    is_history = not isinstance(source, list)
    if isinstance(source, list):
        batches: Iterable[list[Run]] = [[run for run in source if run.state != "STARTED"]]
        counts["running"] = sum(run.state == "STARTED" for run in source)
    elif isinstance(source, Path):
        batches = _batches((run, 0) for run in runs_of_jsonl(source))
    else:
        batches = _batches(_readable_runs(source, unreadable))
    for batch in batches:
        merged = store.write(partial(_merge_runs, batch))
        for run, (outcome, run_id, fields) in zip(batch, merged, strict=True):
            counts[outcome] += 1
            counts["authorless"] += outcome == "added" and run.author is None and is_history
            conflicts += [Conflict(run_id, fields)] if fields else []
            renamed |= {run.id: run_id} if run.id != run_id else {}
            changed += [run_id] if outcome in {"completed", "updated"} else []
    if not isinstance(source, list | Path):
        for owner, plan, problem in plans_of(source):
            if problem is None:
                counts += store.write(partial(_merge_plan, source, renamed, owner, plan))
            else:
                unreadable.append(str(plan["id"]))
        case_conflicts = _merge_case_sets(store, source, counts, unreadable)
    report = SyncReport(
        **counts,
        conflicts=tuple(conflicts),
        unreadable=tuple(unreadable),
        case_conflicts=tuple(case_conflicts),
    )
    return report, changed


def _merge_case_sets(
    store: Store, source: Reader, counts: Counter[str], unreadable: list[str]
) -> list[Conflict]:
    """Merge the case sets of another history; return the conflicts."""
    conflicts: list[Conflict] = []
    for name in case_set_names(source):
        try:
            check_case_set(source, name)
        except HistoryError:
            unreadable.append(f"case set {name}")
            continue
        merged = store.write(partial(merge_case_set, source, name))
        counts["case_sets"] += merged.versions
        conflicts += [Conflict(case_id, fields) for case_id, fields in merged.conflicts.items()]
    return conflicts


def _batches(runs: Iterable[tuple[Run, int]]) -> Iterator[list[Run]]:
    """Group runs, given with their number of characters, into batches for one transaction."""
    batch: list[Run] = []
    size = 0
    for run, characters in runs:
        batch.append(run)
        size += characters
        if len(batch) >= _BATCH_RUNS or size >= _BATCH_CHARACTERS:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _readable_runs(source: Reader, unreadable: list[str]) -> Iterator[tuple[Run, int]]:
    """Yield the runs of another history in the order of rows; collect ids of damaged ones."""
    keys = (
        "SELECT seq, id FROM runs WHERE seq > :last AND deletion IS NULL ORDER BY seq LIMIT :most"
    )
    last = -(2**62)
    while rows := source.read(keys, {"last": last, "most": _BATCH_RUNS}):
        last = rows[-1][0]
        for seq, run_id in rows:
            try:  # one query per run: a damaged text may not be UTF-8
                for row in source.read(f"{_SELECT_ROWS} r.seq = :seq", {"seq": seq}):
                    restored = restore_large(source, [row[:-1]], WHOLE)[0]
                    size = sum(len(text) for text in restored if isinstance(text, str))
                    yield run_of(restored), size
            except HistoryError:  # damaged, or without one of its large values
                unreadable.append(str(run_id))


def plans_of(reader: Reader) -> Iterator[tuple[str, Values, HistoryError | None]]:
    """Yield table and row of each sweep and blind rating, with an error if it is damaged."""
    for owner, check in (("sweeps", _check_sweep), ("blind", _check_blind)):
        for plan in _rows_of(reader, owner):
            problem = None
            try:
                check(reader, plan)
            except HistoryError as exc:
                problem = exc
            yield owner, plan, problem


def _check_sweep(source: Reader, plan: Values) -> None:
    sweep_of([*plan.values()])
    cases = [[*row.values()] for row in _rows_of(source, "sweep_cases", plan["id"])]
    for row in cases:
        large_hashes(row[-1], plan["id"])
    cases_of([row[:-1] for row in cases], plan["id"], len(cases))


def _check_blind(source: Reader, plan: Values) -> None:
    blind_of([*plan.values()])
    pairs_of([[*row.values()] for row in _rows_of(source, "blind_pairs", plan["id"])])
    for row in _rows_of(source, "blind_ratings", plan["id"]):
        rating_of([*row.values()])


_Merged = tuple[str, str, tuple[str, ...]]  # field of SyncReport, id, differing fields


def _merge_runs(runs: Sequence[Run], tx: Transaction) -> list[_Merged]:
    return [_merge_run(tx, run) for run in runs]


def _merge_run(tx: Transaction, run: Run) -> _Merged:
    theirs: Values = scalar_row(run) | payload_row(run)
    where = " OR ".join(f"r.{name} = :{name}" for name in _ID_COLUMNS)
    rows = tx.read(_SELECT_ROWS + where, {name: theirs[name] for name in _ID_COLUMNS})
    candidates = [
        dict(zip(WHOLE, restored, strict=True)) | {"deletion": row[-1]}
        for row, restored in zip(
            rows, restore_large(tx, [row[:-1] for row in rows], WHOLE, "mark"), strict=True
        )
    ]
    ours = _same_run(candidates, theirs)
    if ours is None:
        is_used = any(row["external_id"] == theirs["external_id"] for row in candidates)
        writes.insert_run(tx, run.model_copy(update={"external_id": None}) if is_used else run)
        return "added", theirs["id"], ()
    if ours["deletion"] is not None:
        if _completes(ours, theirs):  # restoring the run restores the answer
            writes.complete_run(tx, run.model_copy(update={"id": ours["id"]}))
        return "deleted", ours["id"], ()
    try:
        run_of([ours[name] for name in WHOLE])
    except DamagedRunError:  # reported by check_history
        return "known", ours["id"], ()
    overruled = _overruled(ours, theirs)
    changes = _late_values(ours, theirs)
    changes |= _annotations(ours, theirs, [line for _, line in overruled])
    changes |= _place_in_sweep(candidates, ours, theirs)
    changes = {name: value for name, value in changes.items() if ours[name] != value}
    completes = _completes(ours, theirs)
    fields = () if completes else _conflicts(ours, theirs, [name for name, _ in overruled])
    if not changes:
        return "known", ours["id"], fields
    run_id = _change(tx, ours["id"], changes)
    return "completed" if completes else "updated", run_id, fields


def _same_run(candidates: Sequence[Values], theirs: Values) -> Values | None:
    """Return the row of the same run among the rows that share an id with it."""
    for name in _ID_COLUMNS:
        rows = [row for row in candidates if row[name] == theirs[name] is not None]
        for row in sorted(rows, key=lambda row: row["deletion"] is not None):
            if name != "external_id" or _is_same(row, theirs):
                return row
    return None


def _is_same(ours: Values, theirs: Values) -> bool:
    """Return True if two runs with the same external id are one run.

    A refused request with this external id is a different run.
    """
    both = (ours, theirs)
    never_executed = any(row["state"] == "FAILED" and row["doubt"] is None for row in both)
    if never_executed or all(row["execution_id"] is not None for row in both):
        return False
    is_refused = any(row["doubt"] == "EXECUTED" for row in both)
    is_chosen = ours["external_id"] != ours["id"]  # users can choose an id twice
    # Vellum does not report the execution that an imported one continues.
    previous = next(filter(None, (row["previous_execution_id"] for row in both)), None)
    ids = ({row["case_id"], continued_case_id(row["case_id"], previous)} for row in both)
    return not set.isdisjoint(*ids) if is_refused and is_chosen else True


def _completes(ours: Values, theirs: Values) -> bool:
    """Return True if theirs has the answer that ours lacks."""
    if ours["state"] == "STARTED":
        return bool(theirs["state"] != "STARTED")
    has_answer = theirs["doubt"] is None and theirs["state"] in writes.SETTLED
    return has_answer and ours["doubt"] is not None


def _late_values(ours: Values, theirs: Values) -> Values:
    """Return values missing from our run: the answer, and columns that are set later."""
    changes = {name: theirs[name] for name in _LATE_COLUMNS if ours[name] is None}
    moved = max(ours["tag_moved"], theirs["tag_moved"])
    if _completes(ours, theirs):
        answer = {name: theirs[name] for name in (*ENDED, "nodes") if theirs[name] is not None}
        names: tuple[str, ...] = (*_END_COLUMNS, "outputs", "output_types")
        if theirs["state"] != "FULFILLED" and theirs["outputs"] == "{}":  # keep partial outputs
            names = _END_COLUMNS
        changes |= answer | {name: theirs[name] for name in names}
        moved |= int(len({ours["release_id"], theirs["release_id"]} - {None}) > 1)
    return changes | {"tag_moved": moved}


_PLACE_COLUMNS = ("id", "external_id", "sweep_id", "repeat", "case_id", "conversation_id", "turn")


def _place_in_sweep(candidates: Sequence[Values], ours: Values, theirs: Values) -> Values:
    """Return ids and place in the sweep for our run if it was imported without a sweep."""
    external_id = theirs["external_id"]
    is_used = external_id and any(
        r["external_id"] == external_id for r in candidates if r is not ours
    )
    if ours["id"] == theirs["id"] or ours["sweep_id"] or not theirs["sweep_id"] or is_used:
        return {}
    return {name: theirs[name] for name in _PLACE_COLUMNS}


def _change(tx: Transaction, run_id: str, changes: Values) -> str:
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
    late = [n for n in _LATE_COLUMNS if ours[n] is not None and theirs[n] is not None]
    names = (*_COMPARED_COLUMNS, *late) if ours["id"] == theirs["id"] else _SAME_EXECUTION
    differing = []
    for name in names:
        both = [ours[name], theirs[name]]
        if name in PAYLOADS and None not in both:
            both = [_sorted_json(json.loads(text)) for text in both]
        differing += [name] if both[0] != both[1] else []
    return tuple(dict.fromkeys([*differing, *overruled]))


def _annotations(ours: Values, theirs: Values, overruled: Sequence[str]) -> Values:
    """Combine quality, note, tags and desired outputs of both; ours take precedence."""
    our_desired, their_desired = (json.loads(r["desired"] or "{}") or {} for r in (ours, theirs))
    changes = {}
    if ours["quality"] is None:
        changes["quality"] = theirs["quality"]
    if ours["desired"] is None:
        changes["desired"] = theirs["desired"]
    elif their_desired.keys() - our_desired.keys():
        changes["desired"] = encoded(their_desired | our_desired, "desired", ours["id"])
    if theirs["tags"]:
        both = [*json.loads(ours["tags"] or "[]"), *json.loads(theirs["tags"])]
        changes["tags"] = tags_text(list(dict.fromkeys(both)))
    changes["note"] = _joined_lines(ours["note"], theirs["note"])
    changes["note"] = _joined_lines(changes["note"], "\n".join(overruled) or None)
    return changes


def _overruled(ours: Values, theirs: Values) -> list[tuple[str, str]]:
    """Return field and note line for each rating that differs from ours."""
    overruled = []
    if None not in (ours["quality"], theirs["quality"]) and ours["quality"] != theirs["quality"]:
        overruled.append(("quality", f"merged: quality {theirs['quality']}"))
    our_desired = json.loads(ours["desired"] or "{}") or {}
    for name, value in json.loads(theirs["desired"] or "{}").items():
        if name in our_desired and _sorted_json(our_desired[name]) != _sorted_json(value):
            line = f"merged: desired.{_sorted_json(name)} {_sorted_json(value)}"
            overruled.append(("desired", line))
    return overruled


def _joined_lines(ours: str | None, theirs: str | None) -> str | None:
    if not ours or not theirs:
        return ours or theirs or (theirs if ours is None else ours)
    our_lines, their_lines = ours.splitlines(), theirs.splitlines()
    if set(our_lines) <= set(their_lines):
        return theirs
    return "\n".join([ours, *(line for line in their_lines if line not in our_lines)])


def _merge_plan(
    source: Reader, renamed: Mapping[str, str], owner: str, plan: Values, tx: Transaction
) -> Counter[str]:
    """Merge a sweep or a blind rating; return the numbers of added plans and ratings."""
    counts = Counter({owner: _add_plan(tx, owner, plan)})
    for table, (column, _, _) in _TABLES.items():
        if table in _CHILDREN[owner]:
            run_columns = [name for child, name in writes.REFERENCES if child == table]
            for row in _rows_of(source, table, plan["id"]):
                copy_large(tx, source, large_hashes(row.get("large"), plan["id"]))
                run_ids = {name: renamed.get(row[name], row[name]) for name in run_columns}
                _add(tx, table, {column: plan["id"], **row, **run_ids})
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
        counts["ratings"] = _merge_ratings(tx, source, plan["id"])
    return counts


def _add_plan(tx: Transaction, owner: str, plan: Values) -> bool:
    """Insert a plan if its id is new, with the next free generation; return True if inserted."""
    while not _add(tx, owner, plan):
        if tx.read(f"SELECT 1 FROM {owner} WHERE id = :id", plan):
            return False
        sql = f"SELECT max(generation) + 1 FROM {owner} WHERE signature = :signature"
        plan = plan | {"generation": tx.read(sql, plan)[0][0]}
    return True


def _merge_ratings(tx: Transaction, source: Reader, session: str) -> int:
    """Merge ratings; a second rating of a pair is stored as undone."""
    ours = {_rating_key(row): row for row in _rows_of(tx, "blind_ratings", session)}
    theirs = {_rating_key(row): row for row in _rows_of(source, "blind_ratings", session)}
    sql = (
        "UPDATE blind_ratings SET undone = coalesce(undone, :undone), "
        "sent = coalesce(sent, :sent) WHERE seq = :seq"
    )
    for key in ours.keys() & theirs.keys():  # undone or sent in the meantime
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
    column, names, order = _TABLES[table]
    where = "" if owner is None else f"WHERE {column} = :owner"
    sql = f"SELECT {', '.join(names)} FROM {table} {where} ORDER BY {order}"
    rows = reader.read(sql, {} if owner is None else {"owner": owner})
    return [dict(zip(names, row, strict=True)) for row in rows]


def _add(tx: Transaction, table: str, row: Values) -> bool:
    return tx.execute(f"{insert(table, row)} ON CONFLICT DO NOTHING", row) > 0
