"""The writes: a run begins, is under way, ends, and is judged. Each is one transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from vellum_nb.errors import HistoryError
from vellum_nb.history.keeping.deleting import where_gone
from vellum_nb.history.rows.rows import (
    ENDED,
    PAYLOADS,
    SCALARS,
    clean,
    encoded,
    payload_row,
    scalar_row,
)
from vellum_nb.history.store import large
from vellum_nb.history.store.later import later
from vellum_nb.history.store.store import Connection, Store
from vellum_nb.models import Run
from vellum_nb.models.sweeps import IN_DOUBT_SQL

__all__ = [
    "begin",
    "change_payloads",
    "complete",
    "complete_again",
    "finish",
    "identify",
    "insert",
    "insert_again",
    "unknown",
    "update",
    "with_free_external_id",
]


def _insert(table: str, names: Sequence[str]) -> str:
    values = ", ".join("?" * len(names))
    return f"INSERT INTO {table} ({', '.join(names)}) VALUES ({values}) ON CONFLICT DO NOTHING"


def _settings(names: Sequence[str]) -> str:
    return ", ".join(f"{name} = ?" for name in names)


_BEGIN_RUN = _insert("runs", SCALARS)
_BEGIN_PAYLOAD = _insert("payloads", (*PAYLOADS, "large", "seq"))
_END = (
    f"SET {_settings(ENDED)}, tag_moved = CASE WHEN ? = 1 THEN 1 ELSE tag_moved END "
    f"WHERE id = ? AND {IN_DOUBT_SQL} AND (state = 'STARTED' OR ? IN ('FULFILLED', 'REJECTED'))"
)
_FINISH_RUN, _FINISH_DELETED = f"UPDATE runs {_END}", f"UPDATE deleted_runs {_END}"
_ENDED_SCALARS = (*ENDED, "tag_moved", "id")
_ENDED_PAYLOADS = ("outputs", "output_types", "nodes")
_SEQ = "(SELECT seq FROM runs WHERE id = ?)"
_HERE = f"payloads WHERE seq = {_SEQ}"
_DELETED = (
    "deleted_payloads WHERE (batch, seq) = "
    "(SELECT batch, seq FROM deleted_runs WHERE id = ? ORDER BY batch DESC LIMIT 1)"
)
_FINISH_PAYLOAD = (
    f"UPDATE payloads SET {_settings((*_ENDED_PAYLOADS, 'large'))} "
    f"WHERE seq = {_SEQ} AND large IS NULL"
)


def insert_again(connection: Connection, run: Run) -> None:
    """Add the rows of `run` where they are not there; its external id only where it is free."""
    if (
        not _inserted(connection, run)
        and not connection.execute("SELECT 1 FROM runs WHERE id = ?", (clean(run.id),)).fetchone()
    ):
        insert(connection, with_free_external_id(connection, run))


def with_free_external_id(connection: Connection, run: Run) -> Run:
    """Return `run` without its external id where another execution has the same one here."""
    sql = "SELECT 1 FROM runs WHERE external_id = ?"
    taken = connection.execute(sql, (run.external_id and clean(run.external_id),)).fetchone()
    return run.model_copy(update={"external_id": None}) if taken else run


def _begin_again(store: Store, run: Run) -> None:
    with store.write() as connection:
        insert_again(connection, run)


def _finish_again(store: Store, run: Run) -> None:
    with store.write() as connection:
        complete_again(connection, run)


@later(_begin_again)
def begin(store: Store, run: Run) -> None:
    """Add the rows of `run`."""
    with store.write() as connection:
        insert(connection, run)


def insert(connection: Connection, run: Run) -> None:
    """Add the rows of `run` in the caller's transaction."""
    if not _inserted(connection, run):
        raise _taken(connection, run)


def _inserted(connection: Connection, run: Run) -> bool:
    payloads = payload_row(run)
    done = connection.execute(_BEGIN_RUN, (*scalar_row(run).values(),))
    if done.rowcount == 0:
        return False
    places = large.merged(large.keep(connection, payloads))
    connection.execute(_BEGIN_PAYLOAD, (*payloads.values(), places, done.lastrowid))
    return True


@later()
def identify(store: Store, run_id: str, execution_id: str) -> None:
    """Set the execution id of a run that is under way; one that has ended keeps what it has."""
    sql = "UPDATE runs SET execution_id = ? WHERE id = ? AND state = 'STARTED'"
    with store.write() as connection:
        connection.execute(sql, (execution_id, run_id))


@later(_finish_again)
def finish(store: Store, run: Run) -> None:
    """Complete the row of `run`; only a STARTED one, so that no answer is ever overwritten."""
    if run.state == "STARTED":
        msg = f"Run {run.id} is still STARTED: finish it with the state that it ended in"
        raise HistoryError(msg)
    with store.write() as connection:
        problem = None if complete(connection, run) else _not_under_way(connection, clean(run.id))
    if problem is not None:
        raise problem


def complete(connection: Connection, run: Run) -> bool:
    """Complete a STARTED row in the caller's transaction; return whether there was one.

    A FAILED one that is in doubt is completed by an answer that came after all.

    One that was deleted meanwhile is completed where it is, so that its answer comes back with it.
    """
    payloads = payload_row(run, _ENDED_PAYLOADS)
    scalars = (*scalar_row(run, _ENDED_SCALARS).values(),)
    run_id = str(scalars[-1])
    bound = (*scalars, run.state)
    if connection.execute(_FINISH_RUN, bound).rowcount == 0:
        if connection.execute(_FINISH_DELETED, bound).rowcount:
            change_payloads(connection, run_id, payloads, _DELETED)
        return False
    places = large.keep(connection, payloads)
    row = (*payloads.values(), large.merged(places), run_id)
    if connection.execute(_FINISH_PAYLOAD, row).rowcount == 0:  # its inputs are large
        _set_payloads(connection, run_id, payloads, places, _HERE)
    return True


def complete_again(connection: Connection, run: Run) -> None:
    """Complete a row, which may have been done; add one that the server forgot."""
    if (
        not complete(connection, run)
        and where_gone(large.within(connection), clean(run.id)) is None
    ):
        insert_again(connection, run)


def change_payloads(
    connection: Connection, run_id: str, texts: dict[str, str | None], where: str = _HERE
) -> None:
    """Set columns of a run's payloads in the caller's transaction."""
    _set_payloads(connection, run_id, texts, large.keep(connection, texts), where)


def _set_payloads(
    connection: Connection,
    run_id: str,
    texts: dict[str, str | None],
    places: Sequence[large.Place],
    where: str,
) -> None:
    old = connection.execute(f"SELECT large FROM {where}", (run_id,)).fetchone()
    row = texts | {"large": large.merged(places, old and old[0], texts)}
    table, _, chosen = where.partition(" ")
    sql = f"UPDATE {table} SET {_settings(list(row))} {chosen}"
    connection.execute(sql, (*row.values(), run_id))


@later()
def update(store: Store, run_id: str, given: dict[str, Any], payloads: dict[str, Any]) -> None:
    """Set columns of the run's two rows; `payloads` are plain JSON values."""
    texts = {name: encoded(value, name, run_id) for name, value in payloads.items()}
    sql = f"UPDATE runs SET {_settings(list(given)) or 'id = id'} WHERE id = ?"
    with store.write() as connection:
        if connection.execute(sql, (*given.values(), run_id)).rowcount == 0:
            raise unknown(run_id, where_gone(large.within(connection), run_id))
        if texts:
            change_payloads(connection, run_id, texts)


def unknown(run_id: str, gone: str | None) -> HistoryError:
    """Return the error for an id that no run has; `gone` tells that it was deleted."""
    return HistoryError(
        gone
        or f"The history has no run {run_id!r}; `Run.id` and the column `id` of frame() name them, "
        "and one in an archive is only read until `unarchive` brings it back"
    )


def _not_under_way(connection: Connection, run_id: str) -> HistoryError:
    found = connection.execute("SELECT state FROM runs WHERE id = ?", (run_id,)).fetchone()
    if found is None:
        return unknown(run_id, where_gone(large.within(connection), run_id))
    return HistoryError(
        f"Run {run_id} has ended already as {found[0]}, and what is recorded is not overwritten; "
        "record another run under another id"
    )


def _taken(connection: Connection, run: Run) -> HistoryError:
    for name in ("id", "external_id"):
        value = getattr(run, name)
        value = clean(value) if isinstance(value, str) else value
        sql = f"SELECT id, state FROM runs WHERE {name} = ?"
        found = connection.execute(sql, (value,)).fetchone()
        if found:
            return HistoryError(
                f"The history has a run with the {name} {value!r} already: {found[0]}, "
                f"{found[1]}; choose another one, it must be unique"
            )
    return HistoryError(f"Run {run.id} cannot be recorded: the database refused its row")
