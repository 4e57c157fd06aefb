"""Pending runs: a local history used while the PostgreSQL server cannot be reached."""

from __future__ import annotations

import hashlib
import threading
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

from vellum_nb.errors import HistoryError, OutOfReachError
from vellum_nb.escaping import warn
from vellum_nb.history import writes
from vellum_nb.history.backends import SqliteStore, Store, Transaction
from vellum_nb.history.merge import merge
from vellum_nb.history.rows import clean
from vellum_nb.models import Run

_SHORTEST_PAUSE_S = 0.05


class PendingRuns:
    """Runs to merge into the history at `url`, given without a password."""

    def __init__(self, url: str) -> None:
        from platformdirs import user_data_path

        digest = hashlib.sha256(url.encode()).hexdigest()[:16]
        self.path: Path = user_data_path("vellum_nb", appauthor=False) / f"pending-{digest}.db"
        self._url = url
        self._lock = threading.RLock()
        self._store: SqliteStore | None = None
        self.may_have_runs = self.path.exists()
        """Whether the local history can contain runs."""
        self._next_try = 0.0

    def record(self, begun: Sequence[Run], ended: Sequence[Run]) -> None:
        """Record runs locally. An ended run that began on the server is stored completely."""

        def change(transaction: Transaction) -> None:
            for run in ended:
                writes.end(transaction, run)
            for run in begun:
                writes.begin(transaction, run)

        with self._lock:
            is_first = not self.may_have_runs
            self.may_have_runs = True
            self._open().write(change)
        if is_first:
            msg = (
                f"The history {self._url} cannot be reached: runs are recorded in {self.path}, and "
                "merged into it when it is back"
            )
            warn(msg, stacklevel=5)

    def has(self, run_id: str) -> bool:
        """Return True if the local history contains the run."""
        with self._lock:
            sql = "SELECT 1 FROM runs WHERE id = :id"
            return self.path.exists() and bool(self._open().read(sql, {"id": clean(run_id)}))

    def merge_into(self, store: Store) -> bool:
        """Merge pending runs into `store` if its server can be reached; return True if merged.

        Other processes that record pending runs are blocked during the merge.
        """
        if not self.may_have_runs:  # without the lock, which can be held during a fork
            return False
        with self._lock:
            began = time.monotonic()
            if began < self._next_try:
                return False
            try:
                store.write(lambda transaction: transaction.read("SELECT 1"))  # does not block
                merged = self._open().write(partial(_merge, store))
            except OutOfReachError:
                now = time.monotonic()  # the pause is as long as the failed attempt
                self._next_try = now + max(_SHORTEST_PAUSE_S, now - began)
                return False
            except HistoryError as exc:
                self.may_have_runs = False  # the next process tries again
                msg = f"Runs in {self.path} cannot be merged into the history {self._url}: {exc}"
                warn(msg, stacklevel=5)
                return False
            self.may_have_runs = False
            return merged

    def close(self) -> None:
        """Close the local history."""
        with self._lock:
            if self._store is not None:
                self._store.close()
                self._store = None

    def _open(self) -> SqliteStore:
        if self._store is None:
            self._store = SqliteStore(self.path)
        return self._store


def _merge(store: Store, transaction: Transaction) -> bool:
    """Merge the local runs into `store`; conflicting runs remain in the local file."""
    pending_ids = {run_id for (run_id,) in transaction.read("SELECT id FROM runs")}
    if not pending_ids:
        return False
    report, _ = merge(store, transaction)
    if report.unreadable:
        raise HistoryError(str(report))
    refused = {conflict.id for conflict in report.conflicts}
    if refused:
        warn(f"Merged runs that were pending: {report}", stacklevel=8)
    if not refused <= pending_ids:  # the runs have other ids on the server
        return True
    merged = {"ids": transaction.dialect.listed(pending_ids - refused)}
    writes.remove_runs(transaction, transaction.dialect.one_of("id", "ids"), merged)
    if not refused:
        transaction.execute("DELETE FROM large_values")
    return True
