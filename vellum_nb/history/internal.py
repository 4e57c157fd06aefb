"""Functions on a `History` that only the other rooms need: tables, traces, execution ids."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Unpack

from vellum_nb.errors import OutOfReachError
from vellum_nb.history import search, writes
from vellum_nb.history.backends import Transaction
from vellum_nb.history.history import History, recorder_of
from vellum_nb.history.query import Filters, OrderedRuns, ordered_numbers, select
from vellum_nb.history.rows import clean
from vellum_nb.models import NodeRun
from vellum_nb.models.sweeps import IN_DOUBT_SQL


def ordered_runs(
    history: History,
    *,
    order_by: str = "timestamp",
    descending: bool = True,
    whole: bool = True,
    on_start: Callable[[Callable[[], None]], None] | None = None,
    **filters: Unpack[Filters],
) -> OrderedRuns:
    """Sort runs by a column of the frame, with missing values last, to read any range of them.

    Unless `whole`, large values are cut to 1,000 characters. `on_start` is called with a function
    that cancels the query from another thread; the call here then raises a `HistoryError`.
    """
    store = recorder_of(history).store
    selection = select(filters, store)
    if on_start is None:
        numbers = ordered_numbers(store, selection, order_by, descending=descending)
        return OrderedRuns(store, numbers, whole=whole)
    with store.snapshot() as snapshot:
        on_start(snapshot.cancel)
        numbers = ordered_numbers(snapshot, selection, order_by, descending=descending)
    return OrderedRuns(store, numbers, whole=whole)


def index_for_search(history: History, on_progress: Callable[[int, int], None]) -> None:
    """Bring the search index up to date, as `History.search` does."""
    search.catch_up(recorder_of(history).store, on_progress)


def set_execution_id(history: History, run_id: str, execution_id: str) -> None:
    """Set the execution id of a run in doubt, which the server is known to execute."""
    sql = (
        "UPDATE runs SET execution_id = :execution, "
        "doubt = CASE WHEN doubt IS NULL THEN NULL ELSE 'EXECUTED' END "
        f"WHERE id = :id AND {IN_DOUBT_SQL}"
    )
    values = {"execution": clean(execution_id), "id": run_id}
    recorder = recorder_of(history)
    try:
        recorder.store.write(lambda transaction: transaction.execute(sql, values))
    except OutOfReachError:  # the answer contains the id, too
        return
    recorder.notify([run_id])


def set_nodes(history: History, run_id: str, nodes: Sequence[NodeRun]) -> None:
    """Store the trace of a run."""
    rows = [node.model_dump(mode="json", exclude_defaults=True) for node in nodes]
    recorder = recorder_of(history)

    def change(transaction: Transaction) -> None:
        if not writes.update_run(transaction, run_id, {}, {"nodes": rows or None}):
            raise writes.unknown_run(transaction, run_id)

    recorder.store.write(change)
    recorder.notify([run_id])
