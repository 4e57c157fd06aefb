"""`RunRecorder`: writes runs to a history, or to a local file if its server is unreachable."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any

from vellum_nb.errors import HistoryError, OutOfReachError
from vellum_nb.escaping import warn
from vellum_nb.history import merge, query, writes
from vellum_nb.history.backends import Store, Transaction, open_backend
from vellum_nb.history.pending import PendingRuns
from vellum_nb.models import Run

Listener = Callable[[Run], None]
BulkListener = Callable[[], None]


class RunRecorder:
    """The open store of a history, pending runs, and subscriptions to changes.

    Attributes
    ----------
    opened : SqliteStore or PostgresStore
        Store, possibly without pending runs.
    author : str or None
        Name of the person for whom runs are recorded.
    """

    def __init__(self, path: Any, *, fsync: bool = False) -> None:
        self.opened: Store = open_backend(path, fsync=fsync)
        is_shared = self.opened.dialect.name != "sqlite"
        self.author = writes.author_here(is_shared=is_shared)
        self._pending = PendingRuns(str(self.opened.path)) if is_shared else None
        self._listeners: list[tuple[Listener | None, BulkListener | None]] = []
        self._merge_pending()

    @property
    def store(self) -> Store:
        """The open store, after pending runs have been merged."""
        self._merge_pending()
        return self.opened

    def _merge_pending(self) -> None:
        if self._pending is not None and self._pending.merge_into(self.opened):
            self.notify_bulk()

    def close(self) -> None:
        """Close the store and the local file."""
        if self._pending is not None:
            self._pending.close()
        self.opened.close()

    def begin(self, run: Run) -> Run:
        """Record a run about to be sent; return it with its author."""
        run = self.with_author(run)
        self._write(partial(writes.begin, run=run), begun=(run,))
        return run

    def finish(self, run: Run) -> None:
        """Complete the row of a run, on the server or in the local file."""
        try:
            problem = self._write(partial(writes.finish, run=run), ended=(run,))
        except HistoryError:
            if self._pending is None or not self._pending.has(run.id):
                raise
            self._pending.record((), (run,))  # the row could not be merged
            return
        if problem is not None:  # the run was deleted; restoring it restores the answer
            raise problem

    def keep_answers(self, runs: Sequence[Run]) -> None:
        """Record answers like imported executions: rows in doubt are completed."""
        try:
            _, changed = merge.merge(self.store, list(runs))
        except OutOfReachError:
            self.keep_ended(runs)
            return
        self.notify(changed)

    def keep_ended(self, runs: Sequence[Run]) -> None:
        """Record ended runs in the local file; raise if the history is itself a file."""
        if self._pending is None:
            msg = f"The history {self.opened.path} cannot be reached"
            raise OutOfReachError(msg)
        self._pending.record((), runs)

    def is_away(self) -> bool:
        """Return True if pending runs exist and the server cannot be reached."""
        self._merge_pending()
        return self._pending is not None and self._pending.may_have_runs

    def with_author(self, run: Run) -> Run:
        """Set the default author of `run` if it has no author."""
        if self.author is None or run.author is not None:
            return run
        return run.model_copy(update={"author": self.author})

    def subscribe(
        self, callback: Listener | None, on_bulk_change: BulkListener | None
    ) -> Callable[[], None]:
        """Call `callback` with each changed run; return a function that unsubscribes.

        Without a `callback`, `on_bulk_change` is called for changed runs, too.
        """
        entry = (callback, on_bulk_change)
        self._listeners.append(entry)

        def unsubscribe() -> None:
            with suppress(ValueError):
                self._listeners.remove(entry)

        return unsubscribe

    def notify(self, run_ids: Iterable[str]) -> None:
        """Call the listeners with changed runs; deleted runs are skipped."""
        listeners = list(self._listeners)
        changed = list(run_ids) if listeners else []
        if changed:
            _call_each(on_change for callback, on_change in listeners if callback is None)
        callbacks = [callback for callback, _ in listeners if callback is not None]
        for run_id in changed if callbacks else ():
            runs: list[Run] = []
            with suppress(HistoryError):  # damaged
                runs = query.read_runs(self.opened, query.select({"ids": [run_id]}, self.opened))
            for run in runs:
                for callback in callbacks:
                    _call(partial(callback, run), f"{callback!r} failed for run {run.id}")

    def notify_bulk(self) -> None:
        """Call the listeners after a bulk change."""
        _call_each(on_change for _, on_change in list(self._listeners))

    def _write(
        self,
        change: Callable[[Transaction], HistoryError | None],
        *,
        begun: Sequence[Run] = (),
        ended: Sequence[Run] = (),
    ) -> HistoryError | None:
        """Write runs to the store, or to the local file if runs are pending."""
        store, pending = self.store, self._pending
        if pending is not None and pending.may_have_runs:  # preserves the order of writes
            pending.record(begun, ended)
            return None
        try:
            problem = store.write(change)
        except OutOfReachError:
            if pending is None:
                raise
            pending.record(begun, ended)
            return None
        self.notify(run.id for run in (*ended, *begun))
        return problem


def _call_each(callbacks: Iterable[BulkListener | None]) -> None:
    for callback in callbacks:
        if callback is not None:
            _call(callback, f"{callback!r} failed")


def _call(callback: Callable[[], None], failed: str) -> None:
    try:
        callback()
    except Exception as exc:  # noqa: BLE001 - a callback must not stop the run
        warn(f"{failed}: {exc!r}", RuntimeWarning, stacklevel=4)
