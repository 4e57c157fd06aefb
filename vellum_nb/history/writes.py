"""Writes to runs: begin, end, annotate, delete, restore. Each is one transaction.

Only rows that are STARTED or in doubt are completed: an answer is never overwritten.
"""

from __future__ import annotations

import getpass
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal, TypeAlias

from vellum_nb.clock import from_micros, micros
from vellum_nb.errors import HistoryError
from vellum_nb.escaping import printed
from vellum_nb.history import search
from vellum_nb.history.backends import Reader, Store, Transaction
from vellum_nb.history.frames import frame_of_records, is_time
from vellum_nb.history.query import Ids, ids_of
from vellum_nb.history.rows import (
    clean,
    damaged,
    encoded,
    extract_large,
    large_hashes,
    merge_large,
    payload_row,
    scalar_row,
)
from vellum_nb.history.schema import ENDED, PAYLOADS, SCALARS
from vellum_nb.history.store import Row, assigned, insert
from vellum_nb.lazy import pd
from vellum_nb.models import Run
from vellum_nb.models.checks import cut_list
from vellum_nb.models.contract import END_STATES
from vellum_nb.models.sweeps import IN_DOUBT_SQL

REFERENCES = (("sweep_reused", "run"), ("blind_pairs", "first"), ("blind_pairs", "second"))
"""Columns of other tables that hold ids of runs."""
SETTLED = frozenset({"FULFILLED", "REJECTED", "CANCELLED"})
"""States that settle a doubt."""
_DELETIONS = {  # kinds of the columns of `deletions`
    "deletion": "int",
    "deleted_at": "time",
    "runs": "int",
    "deployments": "text",
    "first": "time",
    "last": "time",
    "why": "text",
}


_INSERT_RUN = f"{insert('runs', SCALARS)} ON CONFLICT DO NOTHING RETURNING seq"
_INSERT_PAYLOAD = insert("payloads", (*PAYLOADS, "large", "seq"))
_FINISH_RUN = (
    f"UPDATE runs SET {assigned(ENDED)}, "
    "doubt_since = CASE WHEN CAST(:doubt AS TEXT) IS NULL THEN NULL "
    "ELSE coalesce(doubt_since, {now}) END, "
    "tag_moved = CASE WHEN :tag_moved = 1 THEN 1 ELSE tag_moved END "
    "WHERE id = :id AND {} RETURNING seq"
)
_DOUBTED = ("state", "error_code", "error_message", "doubt", "finished_at")
_ENDED_SCALARS = (*ENDED, "tag_moved", "id")
_ENDED_PAYLOADS = ("outputs", "output_types", "nodes")
Completion: TypeAlias = Literal["completed", "ended", "missing"]
"""Outcome of completing a row: it has the answer now, had already ended, or does not exist."""


def author_here(*, is_shared: bool) -> str | None:
    """Return ``VELLUM_NB_AUTHOR`` or, for a shared history, the name of the user."""
    named = os.environ.get("VELLUM_NB_AUTHOR")
    if named is not None or not is_shared:
        return (named or "").strip() or None
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):  # in a container, the user may be unnamed
        return None


def finish(transaction: Transaction, run: Run) -> HistoryError | None:
    """Complete the row of `run`, which must be STARTED; return an error if it was deleted."""
    if run.state == "STARTED":
        msg = f"Run {run.id} is still STARTED: finish it with the state that it ended in"
        raise HistoryError(msg)
    is_completed = complete_run(transaction, run) == "completed"
    sql = "SELECT state FROM runs WHERE id = :id AND deletion IS NULL"
    for (state,) in transaction.read(sql, {"id": clean(run.id)}):
        if is_completed:
            return None
        msg = (
            f"Run {run.id} has already ended as {state}, and what is recorded is not "
            "overwritten; record another run under another id"
        )
        raise HistoryError(msg)
    problem = unknown_run(transaction, clean(run.id))
    if is_completed:
        return problem
    raise problem


def begin(transaction: Transaction, run: Run) -> None:
    """Insert the rows of `run`; its ids must be new.

    Each turn of a chat makes its script longer, so the earlier turns get the new `case_id`.
    """
    if not insert_run(transaction, run):
        raise _duplicate(transaction, run)
    if run.turn and run.turn > 1 and run.sweep_id is None:
        sql = (
            "UPDATE runs SET case_id = :case WHERE conversation_id = :id AND case_id <> :case "
            "AND sweep_id IS NULL"  # the case of a sweep is the one that it planned
        )
        transaction.execute(sql, {"case": run.case_id, "id": run.conversation_id})


def end(transaction: Transaction, run: Run) -> None:
    """Complete or insert the row of `run`; a row with an answer does not change."""
    completion = complete_run(transaction, run)
    if completion == "missing" and not insert_run(transaction, run):
        adopt_run(transaction, run)  # the stored run was imported
        completion = complete_run(transaction, run)
    if completion == "ended" and run.state in END_STATES:
        complete_run(transaction, run, where="state IN ('FAILED', 'CANCELLED')")


def insert_run(transaction: Transaction, run: Run) -> bool:
    """Insert the rows of `run`; return False if its id or external id exists."""
    return not insert_runs(transaction, [run])


def insert_runs(transaction: Transaction, runs: Sequence[Run]) -> list[Run]:
    """Insert the rows of `runs`; return the runs with an existing id or external id."""
    existing, new_ids = [], []
    for run in runs:
        row = scalar_row(run)
        inserted = transaction.read(_INSERT_RUN, row)
        if not inserted:
            existing.append(run)
            continue
        new_ids.append(row["id"])
        payload: dict[str, Any] = payload_row(run)
        payload |= {"large": extract_large(transaction, payload), "seq": inserted[0][0]}
        transaction.execute(_INSERT_PAYLOAD, payload)
        if run.doubt is not None:
            transaction.execute(_doubt_since(transaction), {"id": row["id"]})
    if transaction.dialect.name == "postgresql":  # a smaller `seq` can be committed later
        search.mark_changed(transaction, *new_ids)
    return existing


def complete_run(transaction: Transaction, run: Run, *, where: str = IN_DOUBT_SQL) -> Completion:
    """Complete the row of `run` if it is STARTED or, by an answer, if it fulfils `where`.

    An answer completes any row in doubt. Deleted rows are completed, too: restoring them restores
    the answer.
    """
    payloads = payload_row(run, _ENDED_PAYLOADS)
    scalars = scalar_row(run, _ENDED_SCALARS)
    now = transaction.dialect.now
    rows = transaction.read(_FINISH_RUN.format("state = 'STARTED'", now=now), scalars)
    if not rows and run.doubt is None and run.state in SETTLED:
        rows = transaction.read(_FINISH_RUN.format(where, now=now), scalars)
        search.mark_changed(transaction, clean(run.id))
    if not rows:
        exists = transaction.read("SELECT 1 FROM runs WHERE id = :id", {"id": clean(run.id)})
        return "ended" if exists else "missing"
    _set_payloads(transaction, run.id, rows[0][0], payloads)
    return "completed"


def doubt(transaction: Transaction, run: Run, sent_within_s: float = 0.0) -> None:
    """Mark a STARTED run as in doubt, with state, error and start of the doubt."""
    sql = (
        f"UPDATE runs SET {assigned(_DOUBTED)}, doubt_since = coalesce(doubt_since, "
        f"{transaction.dialect.now} + :delay) WHERE id = :id AND state = 'STARTED'"
    )
    row = scalar_row(run, (*_DOUBTED, "id"))
    transaction.execute(sql, {**row, "delay": int(sent_within_s * 1e6)})


def adopt_run(transaction: Transaction, run: Run) -> None:
    """Move the stored run with the external id of `run` into its sweep."""
    sql = "SELECT id FROM runs WHERE external_id = :id"
    for (stored_id,) in transaction.read(sql, {"id": clean(run.id)}):
        fields = {"sweep_id": run.sweep_id, "repeat": run.repeat, "case_id": run.case_id}
        fields["release_tag"] = run.release_tag
        for name in ("previous_execution_id", "conversation_id", "turn"):
            fields[name] = getattr(run, name)
        rename_run(transaction, stored_id, run.id, fields)


def resend(transaction: Transaction, run: Run) -> bool:
    """Reset a run in doubt that is about to be sent again; return False if it is not in doubt."""
    sql = (
        "UPDATE runs SET state = 'STARTED', doubt = NULL, doubt_since = NULL, finished_at = NULL, "
        "error_code = NULL, error_message = NULL, release_id = :release, timestamp = :sent "
        f"WHERE id = :id AND {IN_DOUBT_SQL}"
    )
    row = {"id": clean(run.id), "release": run.release_id, "sent": micros(run.timestamp)}
    return transaction.execute(sql, row) > 0


def _doubt_since(transaction: Transaction) -> str:
    """Return a statement that sets the start of a doubt, or clears it for a settled one."""
    return (
        "UPDATE runs SET doubt_since = CASE WHEN doubt IS NULL THEN NULL "
        f"ELSE coalesce(doubt_since, {transaction.dialect.now}) END WHERE id = :id"
    )


def rename_run(
    transaction: Transaction, run_id: str, new_id: str, scalars: Mapping[str, Any] | None = None
) -> None:
    """Change the id of a run and all references to it, and set columns."""
    for table, name in (("runs", "id"), *REFERENCES):
        sql = f"UPDATE {table} SET {name} = :new WHERE {name} = :old"
        transaction.execute(sql, {"new": new_id, "old": run_id})
    if scalars:
        sql = f"UPDATE runs SET {assigned(scalars)} WHERE id = :id"
        transaction.execute(sql, {**scalars, "id": new_id})


def update_run(
    transaction: Transaction, run_id: str, scalars: Mapping[str, Any], payloads: Mapping[str, Any]
) -> bool:
    """Set columns of a run; `payloads` are plain JSON values. Return False for an unknown id."""
    settings = assigned(scalars) or "id = id"
    sql = f"UPDATE runs SET {settings} WHERE id = :id AND deletion IS NULL RETURNING seq"
    rows = transaction.read(sql, {**scalars, "id": run_id})
    if not rows:
        return False
    if "doubt" in scalars:
        transaction.execute(_doubt_since(transaction), {"id": run_id})
    texts = {name: encoded(value, name, run_id) for name, value in payloads.items()}
    if texts:
        _set_payloads(transaction, run_id, rows[0][0], texts)
    search.mark_changed(transaction, run_id)
    return True


def _set_payloads(tx: Transaction, run_id: str, seq: int, texts: dict[str, str | None]) -> None:
    new = extract_large(tx, texts)
    sql = f"UPDATE payloads SET {assigned(texts)} WHERE seq = :seq RETURNING large"
    ((old,),) = tx.read(sql, texts | {"seq": seq})
    if old or new:
        places = merge_large(run_id, new, old, texts)
        sql = "UPDATE payloads SET large = :large WHERE seq = :seq"
        tx.execute(sql, {"large": places, "seq": seq})


def unknown_run(reader: Reader, run_id: str) -> HistoryError:
    """Return the error for the id of a deleted or unknown run."""
    sql = (
        "SELECT d.number, d.deleted_at FROM runs r JOIN deletions d ON d.number = r.deletion "
        "WHERE r.id = :id"
    )
    for number, at in reader.read(sql, {"id": run_id}):
        when = f" on {from_micros(at):%Y-%m-%d %H:%M} UTC" if is_time(at) else ""  # damaged
        return HistoryError(
            f"Run {run_id} was deleted{when}; history.undelete({number}) restores it"
        )
    return HistoryError(
        f"The history has no run {run_id!r:.100}; `Run.id` and the column `id` of frame() name them"
    )


def _duplicate(reader: Reader, run: Run) -> HistoryError:
    for name in ("id", "external_id"):
        value = getattr(run, name)
        value = clean(value) if isinstance(value, str) else value
        sql = f"SELECT id, state, deletion FROM runs WHERE {name} = :value"
        for run_id, state, deletion in reader.read(sql, {"value": value}):
            advice = "choose another one"
            if deletion is not None:
                advice = f"it was deleted: undelete({deletion}) restores it, vacuum() removes it"
            return HistoryError(
                f"The history already has a run with the {name} {value!r:.200}: {run_id}, "
                f"{state}; it must be unique, {advice}"
            )
    return HistoryError(f"Run {run.id} cannot be recorded: the database refused its row")


@dataclass(frozen=True, slots=True, repr=False)
class Deletion:
    """Result of `History.delete`.

    Attributes
    ----------
    number : int or None
        Number for `History.undelete`; None if no run has these ids.
    runs : int
        Number of deleted runs.
    ids : tuple of str
        Ids of the deleted runs.
    deployments : tuple of str
        Deployments of the runs.
    first, last : datetime or None
        Timestamps of the oldest and the newest run.
    """

    number: int | None = None
    runs: int = 0
    ids: tuple[str, ...] = ()
    deployments: tuple[str, ...] = ()
    first: datetime | None = None
    last: datetime | None = None

    @printed
    def __repr__(self) -> str:
        if self.number is None:
            return "<Deletion: no run has these ids>"
        names = cut_list(self.deployments)
        times = ("?" if at is None else f"{at:%Y-%m-%d %H:%M}" for at in (self.first, self.last))
        return (
            f"<Deletion {self.number}: {counted(self.runs)} of {names}, {' to '.join(times)} UTC; "
            f"undelete({self.number}) restores them, until vacuum()>"
        )


@dataclass(frozen=True, slots=True, repr=False)
class Restored:
    """Result of `History.undelete`.

    Attributes
    ----------
    number : int or None
        Number of the deletion; None if it was empty.
    runs : tuple of str
        Ids of the restored runs.
    """

    number: int | None
    runs: tuple[str, ...] = ()

    @printed
    def __repr__(self) -> str:
        if self.number is None:
            return "<Restored: nothing; that deletion had no runs>"
        return f"<Restored: {counted(len(self.runs))}>"


def counted(runs: int) -> str:
    """Format a number of runs."""
    return f"{runs:,} run{'' if runs == 1 else 's'}"


def delete(store: Store, ids: Ids, why: str) -> Deletion:
    """Mark the runs with these ids as deleted."""
    names = ids_of([ids] if isinstance(ids, str) else ids)
    if not isinstance(names, list) or not all(n and isinstance(n, str) for n in names):
        msg = f"delete needs runs, their ids or a frame of them, not {ids!r:.100}"
        raise HistoryError(msg)
    chosen = f"deletion IS NULL AND {store.dialect.one_of('id', 'ids')}"
    bound = {"ids": store.dialect.listed([clean(name) for name in names])}

    def change(tx: Transaction) -> tuple[int, list[Row]]:
        tx.serialize("deletions")
        if not tx.read(f"SELECT 1 FROM runs WHERE {chosen} LIMIT 1", bound):
            return 0, []
        sql = "INSERT INTO deletions (deleted_at, why) VALUES (:at, :why) RETURNING number"
        row = {"at": micros(datetime.now(UTC)), "why": clean(why)}
        ((number,),) = tx.read(sql, row)
        sql = (
            f"UPDATE runs SET deletion = :number WHERE {chosen} RETURNING id, timestamp, deployment"
        )
        return number, tx.read(sql, bound | {"number": number})

    number, rows = store.write(change)
    if not rows:
        return Deletion()
    rows.sort(key=lambda row: row[1])
    deployments = tuple(sorted({deployment for _, _, deployment in rows}))
    ids_there = tuple(run_id for run_id, _, _ in rows)
    times = [from_micros(at) for _, at, _ in rows if is_time(at)]  # others are damaged
    span = (times[0], times[-1]) if times else ()
    return Deletion(number, len(rows), ids_there, deployments, *span)


def undelete(store: Store, number: int | None) -> Restored:
    """Restore the runs of a deletion, by default the last one."""
    numbers = [n for (n,) in store.read("SELECT number FROM deletions ORDER BY number")]
    if not numbers:
        msg = "There is nothing to restore: no run was deleted since the last vacuum"
        raise HistoryError(msg)
    number = numbers[-1] if number is None else number
    if isinstance(number, bool) or number not in numbers:
        listed = ", ".join(map(str, numbers[-20:]))
        msg = f"There is no deletion {number!r:.100}; history.deletions() lists them: {listed}"
        raise HistoryError(msg)

    def change(tx: Transaction) -> list[Row]:
        tx.serialize("deletions")
        sql = "UPDATE runs SET deletion = NULL WHERE deletion = :number RETURNING id, timestamp"
        rows = tx.read(sql, {"number": number})
        tx.execute("DELETE FROM deletions WHERE number = :number", {"number": number})
        return rows

    rows = sorted(store.write(change), key=lambda row: row[1])
    return Restored(number, tuple(run_id for run_id, _ in rows))


def deletions(reader: Reader) -> pd.DataFrame:
    """Return one row per deletion, newest first."""
    rows = reader.read(
        "SELECT d.number, d.deleted_at, count(*), min(r.timestamp), max(r.timestamp), "
        "nullif(d.why, '') "
        "FROM deletions d JOIN runs r ON r.deletion = d.number "
        "GROUP BY d.number, d.deleted_at, d.why ORDER BY d.number DESC"
    )
    deployments: dict[int, list[str]] = {}
    sql = (
        "SELECT DISTINCT deletion, deployment FROM runs WHERE deletion IS NOT NULL "
        "ORDER BY deletion, deployment"
    )
    for number, deployment in reader.read(sql):
        deployments.setdefault(number, []).append(deployment)
    names = ("deletion", "deleted_at", "runs", "first", "last", "why")
    with damaged("A deletion"):
        records = [dict(zip(names, row, strict=True)) for row in rows]
        for record in records:
            record["deployments"] = ", ".join(deployments[record["deletion"]])
        return frame_of_records(_DELETIONS, records)


@dataclass(frozen=True, slots=True, repr=False)
class Vacuumed:
    """Result of `History.vacuum`.

    Attributes
    ----------
    forgotten : int
        Number of permanently removed runs.
    dropped : int
        Number of removed large values.
    before, after : int
        Size of the history in bytes.
    """

    forgotten: int
    dropped: int
    before: int
    after: int

    @printed
    def __repr__(self) -> str:
        text = f"{format_bytes(self.before)} before, {format_bytes(self.after)} after"
        text += f"; {self.forgotten:,} deleted run(s) removed for good" if self.forgotten else ""
        text += f"; {self.dropped:,} large value(s) dropped" if self.dropped else ""
        return f"<Vacuumed: {text}>"


def vacuum(store: Store) -> Vacuumed:
    """Remove deleted runs and unused values permanently and return the space to the disk."""
    before = store.size()
    forgotten, dropped = store.write(_forget)
    store.vacuum()
    return Vacuumed(forgotten, dropped, before, store.size())


def _forget(tx: Transaction) -> tuple[int, int]:
    """Remove deleted runs and unused large values; return the number of each."""
    tx.serialize("deletions")
    if tx.dialect.name == "postgresql":  # another transaction may insert a reference
        tx.execute("LOCK TABLE payloads, sweep_cases, large_values IN EXCLUSIVE MODE")
    forgotten = remove_runs(tx, "deletion IS NOT NULL", {})
    tx.execute("DELETE FROM deletions")
    if forgotten:
        search.clear(tx)
    needed: set[str] = set()
    runs = "SELECT p.large, r.id FROM payloads p LEFT JOIN runs r ON r.seq = p.seq WHERE {}"
    for sql in (runs, "SELECT large, sweep FROM sweep_cases WHERE {}"):
        rows = tx.read(sql.format("large IS NOT NULL"))
        needed.update(*(large_hashes(text, owner) for text, owner in rows))
    unused = {digest for (digest,) in tx.read("SELECT hash FROM large_values")} - needed
    sql = f"DELETE FROM large_values WHERE {tx.dialect.one_of('hash', 'hashes')}"
    tx.execute(sql, {"hashes": tx.dialect.listed(unused)})
    return forgotten, len(unused)


def remove_runs(tx: Transaction, where: str, values: Mapping[str, Any]) -> int:
    """Remove the rows of runs permanently; return the number of runs."""
    tx.execute(f"DELETE FROM payloads WHERE seq IN (SELECT seq FROM runs WHERE {where})", values)
    return tx.execute(f"DELETE FROM runs WHERE {where}", values)


def format_bytes(size: int) -> str:
    """Format a number of bytes, such as ``3.4 MB``."""
    value, units = float(size), ["bytes", "kB", "MB", "GB"]
    while round(value, 1) >= 1_000 and len(units) > 1:  # noqa: PLR2004
        value /= 1_000
        del units[0]
    return f"{size} bytes" if units[0] == "bytes" else f"{value:.1f} {units[0]}"
