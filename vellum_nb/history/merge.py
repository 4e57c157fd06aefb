"""Merge: runs, sweeps and blind ratings of another history, or a list of runs, come into this one.

A run is known by its id, then by its execution id, then by its external id. One that is STARTED or
in doubt here and has an answer there is completed. Where both have ended, what ours lacks is
added; notes and tags are joined, and a rating that differs becomes a line of the note. Each row
is read as a `Run` first: what cannot be read stays where it is, and is reported. A batch of runs
is one transaction, so that a merge that was interrupted is finished by the next one.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Literal, NamedTuple

from vellum_nb.errors import HistoryError
from vellum_nb.history import large, writes
from vellum_nb.history.blind import BLIND, PAIR, RATING
from vellum_nb.history.plans import CASE, REUSED, SWEEP
from vellum_nb.history.read_files import runs_of_jsonl
from vellum_nb.history.rows import (
    ENDED,
    PAYLOADS,
    SCALARS,
    WHOLE,
    DamagedRunError,
    columns,
    encoded,
    payload_row,
    run_of,
    scalar_row,
    tags_text,
)
from vellum_nb.history.store import Reader, Store, Transaction, insert
from vellum_nb.models import Run
from vellum_nb.models.sweeps import is_in_doubt

Outcome = Literal["added", "completed", "updated", "known", "deleted"]
Values = dict[str, Any]

_BATCH, _BATCH_TEXT = 250, 16_000_000  # runs of a transaction, and characters
_LATE = ("execution_id", "cost_usd", "tokens_in", "tokens_out", "model", "author", "nodes")
_OF_PEOPLE = ("quality", "note", "tags", "desired")
_ANSWER = ("state", "error_code", "error_message", "outputs", "output_types")
_KEYS = ("id", "execution_id", "external_id")
_ROWS = (
    f"SELECT {columns((*WHOLE, 'large'))}, r.deletion "
    "FROM runs r LEFT JOIN payloads p ON p.seq = r.seq"
)
_IDENTITY = ("external_id", "sweep_id", "repeat", "case_id")
_FACTS = tuple(
    name for name in WHOLE if name not in {*_LATE, *_OF_PEOPLE, "id", "external_id", "tag_moved"}
)
_SAME_EXECUTION = ("state", "outputs")  # one that was read from Vellum has times of its own
_REFERENCES = (("sweep_reused", "run"), ("blind_pairs", "first"), ("blind_pairs", "second"))
_TABLES: Mapping[str, tuple[str, Sequence[str]]] = {  # the column of the owner, the others
    "sweeps": ("id", SWEEP),
    "sweep_cases": ("sweep", CASE),
    "sweep_reused": ("sweep", REUSED),
    "blind": ("id", BLIND),
    "blind_pairs": ("session", PAIR),
    "blind_ratings": ("session", RATING),
}
_NUMBERED = frozenset({"sweeps", "blind", "blind_ratings"})
_NAMED = 3


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
        Runs that differ here and there: the `id`, and which `fields`. Ours are kept.
    unreadable : tuple of str
        Ids of damaged runs there, which were left out.
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

    def __str__(self) -> str:
        counts = {
            "still running": self.running,
            "deleted here and left so": self.deleted,
            "sweep(s) added": self.sweeps,
            "blind rating(s) added": self.blind,
        }
        text = (
            f"{self.added:,} added, {self.completed:,} completed, {self.updated:,} updated, "
            f"{self.known:,} known already"
        )
        text += "".join(f", {count:,} {what}" for what, count in counts.items() if count)
        if self.unreadable:
            text += f"; {len(self.unreadable):,} damaged and left out: {_some(self.unreadable)}"
        if self.conflicts:
            named = [f"{each.id} ({', '.join(each.fields)})" for each in self.conflicts]
            text += f"; {len(named):,} differ, ours kept: {_some(named)}"
        return text

    def __repr__(self) -> str:
        return f"<SyncReport: {self}>"


def _some(names: Sequence[str]) -> str:
    more = len(names) - _NAMED
    return ", ".join(names[:_NAMED]) + (f" and {more:,} more" if more > 0 else "")


# ---------------------------------------------------------------- what is merged


@dataclass(slots=True)
class _Tally:
    """What became of the runs so far; `renamed` have another id here."""

    counts: Counter[str] = field(default_factory=Counter)
    conflicts: list[Conflict] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    changed: list[str] = field(default_factory=list)

    def merge(self, store: Store, batch: Sequence[Run]) -> None:
        for theirs, merged in store.write(partial(_merge_batch, batch)):
            self.counts[merged.outcome] += 1
            if merged.conflicts:
                self.conflicts.append(Conflict(merged.run_id, merged.conflicts))
            if theirs != merged.run_id:
                self.renamed[theirs] = merged.run_id
            if merged.outcome in {"completed", "updated"}:
                self.changed.append(merged.run_id)

    def report(self, **more: Any) -> tuple[SyncReport, list[str]]:
        counts: dict[str, Any] = dict(self.counts)
        return SyncReport(**counts, conflicts=tuple(self.conflicts), **more), self.changed


def merge_store(store: Store, other: Reader) -> tuple[SyncReport, list[str]]:
    """Merge another history, which is only read.

    Return the report, and the ids of runs that were here and changed.
    """
    unreadable: list[str] = []
    tally = _Tally()
    for batch in _batches(_readable_runs(other, unreadable)):
        tally.merge(store, batch)
    plans = _merge_plans(store, other, tally.renamed)
    return tally.report(unreadable=tuple(unreadable), **plans)


def merge_jsonl(store: Store, path: Path) -> tuple[SyncReport, list[str]]:
    """Merge the runs of a file that `History.to_jsonl` wrote; return what `merge_store` does."""
    tally = _Tally()
    for batch in _batches((run, 0) for run in runs_of_jsonl(path)):
        tally.merge(store, batch)
    return tally.report()


def merge_runs(store: Store, runs: Sequence[Run]) -> tuple[SyncReport, list[str]]:
    """Merge runs in one transaction; return what `merge_store` does.

    Those that are STARTED are counted as running.
    """
    ended = [run for run in runs if run.state != "STARTED"]
    tally = _Tally()
    tally.merge(store, ended)
    return tally.report(running=len(runs) - len(ended))


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
    numbers = "SELECT seq FROM runs WHERE seq > :last AND deletion IS NULL ORDER BY seq LIMIT :most"
    last = -(2**62)
    while seqs := [seq for (seq,) in other.read(numbers, {"last": last, "most": _BATCH})]:
        last = seqs[-1]
        for seq in seqs:
            try:  # each by itself: the text of one may not even be UTF-8
                for row in other.read(f"{_ROWS} WHERE r.seq = :seq", {"seq": seq}):
                    whole = large.restore(other, [row[:-1]], WHOLE)[0]
                    yield run_of(whole), sum(len(text) for text in whole if isinstance(text, str))
            except HistoryError:  # damaged, or a large value of it is missing
                unreadable.append(_id_of(other, seq))


def _id_of(other: Reader, seq: int) -> str:
    try:
        return str(other.read("SELECT id FROM runs WHERE seq = :seq", {"seq": seq})[0][0])
    except HistoryError:
        return f"row {seq}"


# ---------------------------------------------------------------- runs


class _Merged(NamedTuple):
    """What became of a run: its id here, and which fields differ."""

    outcome: Outcome
    run_id: str
    conflicts: tuple[str, ...] = ()


def _merge_batch(runs: Sequence[Run], tx: Transaction) -> list[tuple[str, _Merged]]:
    """Merge runs; return the id of each there, and what became of it."""
    rows = [scalar_row(run) | payload_row(run) for run in runs]
    known = {name: _known(tx, name, [row[name] for row in rows]) for name in _KEYS}
    found = []
    for run, row in zip(runs, rows, strict=True):
        ours = known["id"].get(row["id"]) or known["execution_id"].get(row["execution_id"])
        same_external = known["external_id"].get(row["external_id"])
        if ours is None and same_external is not None and _is_same(same_external, row):
            ours = same_external
        if ours is None:
            merged = _Merged("added", row["id"])
            external_id = None if same_external is not None else run.external_id
            writes.insert_run(tx, run.model_copy(update={"external_id": external_id}))
            ours = row | {"external_id": external_id, "deletion": None}
        elif ours["deletion"] is not None:
            merged = _Merged("deleted", ours["id"])
            if _completes(ours, row):  # its answer comes back with it
                writes.complete_run(tx, run.model_copy(update={"id": ours["id"]}))
        else:
            merged = _merge_known(tx, ours, row)
            if merged.outcome != "known":
                ours = _known(tx, "id", [merged.run_id])[merged.run_id]
        found.append((row["id"], merged))
        for name in _KEYS:  # the next ones of the batch may be the same run
            known[name] |= {ours[name]: ours} if ours[name] is not None else {}
    return found


def _known(tx: Transaction, name: str, values: Iterable[str | None]) -> dict[Any, Values]:
    """Return rows by a column, their large values in place."""
    present = [value for value in values if value is not None]
    if not present:
        return {}
    sql = f"{_ROWS} WHERE {tx.dialect.one_of(f'r.{name}', 'present')}"
    rows = tx.read(sql, {"present": tx.dialect.listed(present)})
    whole = large.restore(tx, [row[:-1] for row in rows], WHOLE, "mark")
    found = [
        dict(zip(WHOLE, each, strict=True)) | {"deletion": row[-1]}
        for each, row in zip(whole, rows, strict=True)
    ]
    return {row[name]: row for row in found}


def _is_same(ours: Values, theirs: Values) -> bool:
    """Return whether two runs of one external id are one: a refused one never was an execution."""
    both = (ours, theirs)
    refused = any((row["error_code"] or "").startswith("HTTP_4") for row in both)
    has_doubt = any(_is_in_doubt(row) for row in both)
    if refused and has_doubt and ours["external_id"] != ours["id"]:  # an id of the user's own
        has_doubt = ours["case_id"] == theirs["case_id"]
    return (has_doubt or not refused) and any(row["execution_id"] is None for row in both)


def _is_in_doubt(row: Values) -> bool:
    return is_in_doubt(row["state"], row["error_code"], row["error_message"])


def _merge_known(tx: Transaction, ours: Values, theirs: Values) -> _Merged:
    if all(ours[name] == theirs[name] for name in WHOLE):
        return _Merged("known", ours["id"])
    try:
        run_of([ours[name] for name in WHOLE])
    except DamagedRunError:  # check_history lists it
        return _Merged("known", ours["id"])
    completes = _completes(ours, theirs)
    changes = {n: theirs[n] for n in _LATE if ours[n] is None and theirs[n] is not None}
    changes |= _answer(ours, theirs) if completes else {}
    changes |= _people(ours, theirs)
    changes["tag_moved"] = max(ours["tag_moved"], theirs["tag_moved"], changes.get("tag_moved", 0))
    changes |= _identity(tx, ours, theirs)
    changes = {name: value for name, value in changes.items() if ours[name] != value}
    is_same_id = ours["id"] == theirs["id"]
    conflicts = () if completes else _conflicts(ours, theirs, is_same_id=is_same_id)
    if not changes:
        return _Merged("known", ours["id"], conflicts)
    run_id = _change(tx, ours["id"], changes)
    return _Merged("completed" if completes else "updated", run_id, conflicts)


def _completes(ours: Values, theirs: Values) -> bool:
    if ours["state"] == "STARTED":
        return bool(theirs["state"] != "STARTED")
    return _is_in_doubt(ours) and theirs["state"] in {"FULFILLED", "REJECTED"}


def _answer(ours: Values, theirs: Values) -> Values:
    """Return what completes our run."""
    both = {n: theirs[n] if theirs[n] is not None else ours[n] for n in (*ENDED, "nodes")}
    answer = both | {name: theirs[name] for name in _ANSWER}
    releases = {ours["release_id"], theirs["release_id"]} - {None}
    return answer | {"tag_moved": int(len(releases) > 1)}


def _identity(tx: Transaction, ours: Values, theirs: Values) -> Values:
    """Return the place in a sweep that a run has there; ours was read from Vellum."""
    if ours["id"] == theirs["id"] or ours["sweep_id"] or not theirs["sweep_id"]:
        return {}
    same_external = _known(tx, "external_id", [theirs["external_id"]]).values()
    if any(row["id"] != ours["id"] for row in same_external) or _known(tx, "id", [theirs["id"]]):
        return {}
    return {name: theirs[name] for name in ("id", *_IDENTITY)}


def _change(tx: Transaction, run_id: str, changes: Values) -> str:
    """Change columns of a run; return its id, which may be one of them."""
    scalars = {name: value for name, value in changes.items() if name in SCALARS and name != "id"}
    payloads = {
        name: None if value is None else json.loads(value)
        for name, value in changes.items()
        if name in PAYLOADS
    }
    writes.update_run(tx, run_id, scalars, payloads)
    new_id = str(changes.get("id", run_id))
    if new_id != run_id:
        for table, name in (("runs", "id"), *_REFERENCES):
            sql = f"UPDATE {table} SET {name} = :new WHERE {name} = :old"
            tx.execute(sql, {"new": new_id, "old": run_id})
    return new_id


def _conflicts(ours: Values, theirs: Values, *, is_same_id: bool) -> tuple[str, ...]:
    if "STARTED" in (ours["state"], theirs["state"]):
        return ()
    late = [n for n in _LATE if ours[n] is not None and theirs[n] is not None]
    names = [n for n in (*_FACTS, *late) if is_same_id or n in _SAME_EXECUTION]
    found = [n for n in names if not _is_equal(n, ours[n], theirs[n])]
    return tuple(dict.fromkeys([*found, *(name for name, _ in _overruled(ours, theirs))]))


def _is_equal(name: str, ours: Any, theirs: Any) -> bool:
    if ours == theirs or name not in PAYLOADS or None in (ours, theirs):
        return bool(ours == theirs)
    return _sorted_json(json.loads(ours)) == _sorted_json(json.loads(theirs))


def _sorted_json(value: Any) -> str:
    return json.dumps(value, sort_keys=True)


def _people(ours: Values, theirs: Values) -> Values:
    """Return quality, note, tags and desired outputs of both; ours where they differ."""
    mine, others = _loaded(ours["desired"]), _loaded(theirs["desired"])
    overruled = "\n".join(line for _, line in _overruled(ours, theirs))
    desired = theirs["desired"] if ours["desired"] is None else ours["desired"]
    if (both := others | mine).keys() != _loaded(desired).keys():
        desired = encoded(both, "desired", ours["id"])
    return {
        "quality": ours["quality"] if ours["quality"] is not None else theirs["quality"],
        "note": _joined_lines(_joined_lines(ours["note"], theirs["note"]), overruled or None),
        "tags": _joined_tags(ours["tags"], theirs["tags"]),
        "desired": desired,
    }


def _overruled(ours: Values, theirs: Values) -> list[tuple[str, str]]:
    """Return what theirs rates otherwise than ours: the field, and a line for the note."""
    found = []
    if None not in (ours["quality"], theirs["quality"]) and ours["quality"] != theirs["quality"]:
        found.append(("quality", f"merged: quality {theirs['quality']}"))
    mine = _loaded(ours["desired"])
    for name, value in _loaded(theirs["desired"]).items():
        if name in mine and _sorted_json(mine[name]) != _sorted_json(value):
            line = f"merged: desired.{_sorted_json(name)} {_sorted_json(value)}"
            found.append(("desired", line))
    return found


def _loaded(desired: str | None) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(desired or "{}")
    return found


def _joined_lines(ours: str | None, theirs: str | None) -> str | None:
    if not ours or not theirs:
        return ours or theirs or (theirs if ours is None else ours)
    mine, others = ours.splitlines(), theirs.splitlines()
    if set(mine) <= set(others):
        return theirs
    return "\n".join([ours, *(line for line in others if line not in mine)])


def _joined_tags(ours: str | None, theirs: str | None) -> str | None:
    if not theirs or ours == theirs:
        return ours
    return tags_text(list(dict.fromkeys([*json.loads(ours or "[]"), *json.loads(theirs)])))


# ---------------------------------------------------------------- sweeps and blind ratings


def _merge_plans(store: Store, other: Reader, renamed: Mapping[str, str]) -> dict[str, int]:
    """Merge sweeps and blind ratings after the runs; `renamed` have another id here."""
    added: Counter[str] = Counter()
    for sweep in _rows_of(other, "sweeps"):
        added["sweeps"] += store.write(partial(_merge_sweep, other, renamed, sweep))
    for blind in _rows_of(other, "blind"):
        counts = store.write(partial(_merge_blind, other, renamed, blind))
        added["blind"] += counts[0]
        added["ratings"] += counts[1]
    return dict(added)


def _merge_sweep(other: Reader, renamed: Mapping[str, str], sweep: Values, tx: Transaction) -> bool:
    """Merge a sweep with its cases and reused runs; return whether it was not here."""
    is_new = _add(tx, "sweeps", sweep)
    if is_new:
        _copy_children(tx, other, "sweep_cases", sweep["id"], renamed)
    else:
        sql = (
            "UPDATE sweeps SET round = CASE WHEN round < :round THEN :round ELSE round END, "
            "why = CASE WHEN coalesce(ended, :ended) IS NULL THEN why END, "
            "ended = coalesce(ended, :ended) WHERE id = :id"
        )
        tx.execute(sql, {name: sweep[name] for name in ("id", "round", "ended")})
    _copy_children(tx, other, "sweep_reused", sweep["id"], renamed)
    return is_new


def _merge_blind(
    other: Reader, renamed: Mapping[str, str], blind: Values, tx: Transaction
) -> tuple[int, int]:
    """Merge a blind rating and its ratings; return how many of both were not here.

    Where a pair is rated here, the rating from there is stored as one that was taken back.
    """
    is_new = _add(tx, "blind", blind)
    if is_new:
        _copy_children(tx, other, "blind_pairs", blind["id"], renamed)
    else:
        sql = "UPDATE blind SET ended = :ended WHERE id = :id AND ended IS NULL"
        tx.execute(sql, {"ended": blind["ended"], "id": blind["id"]})
    here = {_rating_key(row): row for row in _rows_of(tx, "blind_ratings", blind["id"])}
    theirs = {_rating_key(row): row for row in _rows_of(other, "blind_ratings", blind["id"])}
    sql = (
        "UPDATE blind_ratings SET undone = coalesce(undone, :undone), "
        "sent = coalesce(sent, :sent) WHERE seq = :seq"
    )
    for key in here.keys() & theirs.keys():  # taken back or sent since
        tx.execute(sql, theirs[key] | {"seq": here[key]["seq"]})
    rated = {row["position"] for row in _rows_of(tx, "blind_ratings", blind["id"]) if _counts(row)}
    new = [row for key, row in theirs.items() if key not in here]
    for row in new:
        is_overruled = _counts(row) and row["position"] in rated
        undone = row["rated"] if is_overruled else row["undone"]
        rating = {name: row[name] for name in RATING if name != "seq"} | {"undone": undone}
        _add(tx, "blind_ratings", {"session": blind["id"], **rating})
    return int(is_new), len(new)


def _rating_key(rating: Values) -> tuple[Any, ...]:
    return tuple(rating[name] for name in ("position", "choice", "a_first", "note", "rated"))


def _counts(rating: Values) -> bool:
    return rating["undone"] is None and rating["choice"] != "skip"


def _copy_children(
    tx: Transaction, other: Reader, table: str, owner: str, renamed: Mapping[str, str]
) -> None:
    """Copy the rows of a table that belong to `owner`, with their large values."""
    runs = [name for each, name in _REFERENCES if each == table]
    for row in _rows_of(other, table, owner):
        large.copy_values(tx, other, large.place_hashes(row.get("large")))
        changed = {name: renamed.get(row[name], row[name]) for name in runs}
        _add(tx, table, {_TABLES[table][0]: owner, **row, **changed})


def _rows_of(reader: Reader, table: str, owner: str | None = None) -> list[Values]:
    """Return the rows of a table, all or those that belong to `owner`."""
    column, names = _TABLES[table]
    where = "" if owner is None else f"WHERE {column} = :owner"
    order = "seq" if table in _NUMBERED else "position"
    sql = f"SELECT {', '.join(names)} FROM {table} {where} ORDER BY {order}"
    rows = reader.read(sql, {} if owner is None else {"owner": owner})
    return [dict(zip(names, row, strict=True)) for row in rows]


def _add(tx: Transaction, table: str, row: Values) -> bool:
    """Insert a row unless it is there; return whether it was not."""
    return tx.execute(f"{insert(table, row)} ON CONFLICT DO NOTHING", row) > 0
