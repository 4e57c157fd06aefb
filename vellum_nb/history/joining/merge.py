"""Runs that were made elsewhere come into the history; what is known already stays as it is.

A run of an id that is here is joined to that one, as those of another history are. Else it is known
by its execution id, or by the external id it was sent with. One that is under way here is
completed; one that has ended here takes over only what it has not: the execution id, where its
answer was lost, cost, tokens, rating.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

from vellum_nb.history.joining.joined_runs import Conflict, Joined, RunJoiner, told
from vellum_nb.history.keeping.archive_notes import bring_in
from vellum_nb.history.keeping.writes import (
    change_payloads,
    complete,
    insert,
    with_free_external_id,
)
from vellum_nb.history.rows.rows import (
    PAYLOADS,
    SCALARS,
    clean,
    encoded,
    payload_row,
    run_of,
    scalar_row,
)
from vellum_nb.history.store import large
from vellum_nb.history.store.store import Connection, Store
from vellum_nb.models import Run
from vellum_nb.models.sweeps import IN_DOUBT_SQL, is_in_doubt

__all__ = ["SyncReport", "merge"]

_LATE = ("execution_id", "cost_usd", "tokens_in", "tokens_out", "model", "quality")
_MAY_BE_IT = (  # a run that the server refused, but for its external id, never was an execution
    "r.execution_id IS NULL AND r.external_id = ? "
    f"AND (coalesce(r.error_code, '') NOT LIKE 'HTTP_4%' OR {IN_DOUBT_SQL})"
)


@dataclass(frozen=True, slots=True)
class SyncReport:
    """What a synchronisation did.

    Attributes
    ----------
    added : int
        Runs that the history did not know.
    completed : int
        Runs that it knew as STARTED, and that have ended.
    updated : int
        Runs that had ended here, and got a rating, a cost, or the execution id that never came.
    known : int
        Runs that it knew as they are.
    running : int
        Executions that have not ended; the next synchronisation takes them.
    conflicts : tuple of Conflict
        Runs of a list for `History.merge` that differ from those of the same id here: the `id`,
        and which `fields`. Ours are kept.
    """

    added: int = 0
    completed: int = 0
    updated: int = 0
    known: int = 0
    running: int = 0
    conflicts: tuple[Conflict, ...] = ()

    def __add__(self, other: SyncReport) -> SyncReport:
        sums = {each.name: getattr(self, each.name) + getattr(other, each.name) for each in _FIELDS}
        return SyncReport(**sums)

    def __str__(self) -> str:
        return (
            f"{self.added} added, {self.completed} completed, {self.updated} updated, "
            f"{self.known} known already, {self.running} still running{told(self.conflicts)}"
        )


_FIELDS = fields(SyncReport)


def merge(store: Store, runs: Sequence[Run], columns: str) -> list[Joined]:
    """Take over `runs` in one transaction; those that are STARTED still are "running", and stay.

    `columns` is the list of columns that `rows.run_of` reads.
    """
    with store.write() as connection:
        merged = [_merge(connection, run, columns) for run in runs]
        if any(one.fate == "added" for one in merged):
            bring_in(connection)
    return merged


def _merge(connection: Connection, run: Run, columns: str) -> Joined:
    if run.state == "STARTED":
        return Joined(run.id, run.id, "running")
    here = "SELECT 1 FROM runs WHERE id = ?"
    if connection.execute(here, (clean(run.id),)).fetchone():
        row = scalar_row(run) | payload_row(run) | {"large": None}
        return RunJoiner(connection, large.within(connection)).join([row])[0]
    known = _known(connection, run, columns)
    if known is None:
        insert(connection, with_free_external_id(connection, run))
        return Joined(run.id, run.id, "added")
    if is_in_doubt(known):
        ended = run.model_copy(
            update={
                "id": known.id,
                "release_id": run.release_id or known.release_id,
                "environment": run.environment or known.environment,
                "tag_moved": _moved(known, run),
            }
        )
        complete(connection, ended)
        _fill(connection, known, run)
        return Joined(run.id, known.id, "completed")
    return Joined(run.id, known.id, "updated" if _fill(connection, known, run) else "known")


def _moved(known: Run, run: Run) -> bool:
    both = known.release_id is not None and run.release_id is not None
    return both and known.release_id != run.release_id


def _known(connection: Connection, run: Run, columns: str) -> Run | None:
    found = _find(connection, columns, "r.execution_id = ?", run.execution_id)
    if found is None and run.external_id is not None:
        found = _find(connection, columns, _MAY_BE_IT, run.external_id)
        if found is not None and _is_anothers(found, run):
            return None
    return found


def _is_anothers(known: Run, run: Run) -> bool:
    """Return whether an external id of the user's own was refused because another run had it."""
    refused = known.error is not None and known.error.code.startswith("HTTP_4")
    return refused and known.external_id != known.id and known.inputs != run.inputs


def _find(connection: Connection, columns: str, where: str, value: Any) -> Run | None:
    sql = f"SELECT {columns} FROM runs r JOIN payloads p ON p.seq = r.seq WHERE {where}"
    row = connection.execute(f"{sql} LIMIT 1", (value,)).fetchone()
    if row is None:
        return None
    return run_of(large.restored(large.within(connection), [row], (*SCALARS, *PAYLOADS))[0])


def _fill(connection: Connection, known: Run, run: Run) -> bool:
    """Set what the row has not; return whether that changed anything."""
    changed = 0
    given = {name: getattr(run, name) for name in _LATE if getattr(run, name) is not None}
    if given:
        kept = ", ".join(f"{name} = coalesce({name}, :{name})" for name in given)
        missing = " OR ".join(f"{name} IS NULL" for name in given)
        sql = f"UPDATE runs SET {kept} WHERE id = :id AND ({missing})"
        changed += connection.execute(sql, {**given, "id": known.id}).rowcount
    if run.desired is not None and known.desired is None:
        desired = encoded(run.desired, "desired", known.id)
        change_payloads(connection, known.id, {"desired": desired})
        changed += 1
    return changed > 0
