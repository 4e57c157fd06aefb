"""What writes to a history, and who is told of it."""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from enum import Enum
from functools import partial
from pathlib import Path
from typing import Any

from vellum_nb.errors import HistoryError
from vellum_nb.history.doors import open_store
from vellum_nb.history.keeping import deleting, writes
from vellum_nb.history.keeping.archived import with_archived
from vellum_nb.history.keeping.authors import author_here
from vellum_nb.history.reading import reads
from vellum_nb.history.reading.damaged import told
from vellum_nb.history.rows.rows import clean, run_of, tags_text
from vellum_nb.history.store.places import DatabaseUrl
from vellum_nb.models import NodeRun, Run

__all__ = ["RecordMethods"]


class _Keep(Enum):
    """Stands for an argument that was not given, where None means something."""

    AS_IS = "as it is"


class RecordMethods:
    """The writing half of `vellum_nb.History`."""

    def __init__(self, path: str | Path | DatabaseUrl | None) -> None:
        self._store = open_store(path)
        self._author = author_here(is_shared=self._store.journal is not None)
        self._subscribers: list[tuple[Callable[[Run], None], Callable[[], None] | None]] = []
        self._lock = threading.Lock()

    @property
    def path(self) -> Path | str:
        """The file, or ``":memory:"``."""
        return self._store.path

    def begin(self, run: Run) -> None:
        """Record `run`; it is on disk when this returns.

        Raises
        ------
        HistoryError
            The history has a run with this id or external id, or cannot be written.
        """
        writes.begin(self._store, self.signed(run))
        self._tell(run.id)

    def signed(self, run: Run) -> Run:
        """Return `run` with who makes it, where that is to be kept and it does not say so."""
        if self._author is None or run.author is not None:
            return run
        return run.model_copy(update={"author": self._author})

    def identify(self, id: str, execution_id: str) -> None:  # noqa: A002  (the run's own word)
        """Set the execution id of a run that is under way, as soon as it is known.

        A later kernel can then ask what became of it. A run that has ended stays as it is.
        """
        writes.identify(self._store, id, execution_id)
        self._tell(id)

    def finish(self, run: Run) -> None:
        """Complete the row that `begin` made: state, outputs, error, times, cost and nodes.

        Its inputs stay as they were sent, note and tags as they were written meanwhile.

        Raises
        ------
        HistoryError
            The run was never begun, has ended already, or is still STARTED.
        """
        writes.finish(self._store, run)
        self._tell(run.id)

    def annotate(
        self,
        id: str,  # noqa: A002  (the run's own word)
        *,
        note: str | _Keep | None = _Keep.AS_IS,
        tags: Sequence[str] | _Keep | None = _Keep.AS_IS,
        quality: float | _Keep | None = _Keep.AS_IS,
        desired: Mapping[str, Any] | _Keep | None = _Keep.AS_IS,
    ) -> None:
        """Set note, tags, quality or desired outputs of the run `id`.

        None clears, what is not named stays.

        Raises
        ------
        HistoryError
            There is no such run, or a value of another type; nothing was changed.
        """
        _check(quality)
        given: dict[str, Any] = {}
        if not isinstance(note, _Keep):
            given["note"] = None if note is None else clean(note)
        if not isinstance(tags, _Keep):
            many = () if tags is None else tags
            given["tags"] = tags_text([many] if isinstance(many, str) else list(many))
        if not isinstance(quality, _Keep):
            given["quality"] = None if quality is None else float(quality)
        payloads = {} if isinstance(desired, _Keep) else {"desired": desired and dict(desired)}
        writes.update(self._store, id, given, payloads)
        self._tell(id)

    def keep_nodes(self, id: str, nodes: Sequence[NodeRun]) -> None:  # noqa: A002  (as above)
        """Keep the trace of the run `id`."""
        kept = [node.model_dump(mode="json", exclude_defaults=True) for node in nodes]
        writes.update(self._store, id, {}, {"nodes": kept or None})

    @told
    def get(self, id: str) -> Run:  # noqa: A002  (the run's own word)
        """Return the run with this `Run.id`."""
        found = reads.row(self._store, id)
        if found is None:
            moved = with_archived(self._store, {"ids": [id]}, reads.WHOLE)
            found = moved[0] if moved else None
        if found is None:
            raise writes.unknown(id, deleting.where_gone(self._store.read, id))
        return self._run(found)

    def subscribe(
        self, callback: Callable[[Run], None], *, many: Callable[[], None] | None = None
    ) -> Callable[[], None]:
        """Call `callback` with each run that begins, ends or is annotated; return how to stop.

        `many` is called, with nothing, once after each call that brings runs or takes some away:
        `delete`, `undelete`, `archive`, `unarchive`, `merge`, `sync`, `retry_refused`.

        Both are called after the commit, in the thread that wrote. What they raise becomes a
        warning: a view that breaks must not stop the run that it was to show.
        """
        both = (callback, many)
        with self._lock:
            self._subscribers.append(both)

        def unsubscribe() -> None:
            with self._lock:
                if both in self._subscribers:
                    self._subscribers.remove(both)

        return unsubscribe

    def _run(self, row: Sequence[Any]) -> Run:
        return run_of(row)

    def _tell(self, run_id: str) -> None:
        if not self._subscribers:
            return
        try:
            run = self.get(run_id)
        except HistoryError:  # deleted meanwhile, or what was written waits in the journal
            return
        with self._lock:
            callbacks = [callback for callback, _ in self._subscribers]
        for callback in callbacks:
            _call(partial(callback, run), f"{callback!r} failed for run {run.id}")

    @contextmanager
    def _telling(self) -> Iterator[None]:
        """Tell subscribers after the block that runs came or went, also where it was broken off."""
        try:
            yield
        finally:
            with self._lock:
                callbacks = [many for _, many in self._subscribers if many is not None]
            for many in callbacks:
                _call(many, f"{many!r} failed")


def _call(callback: Callable[[], None], failed: str) -> None:
    try:
        callback()
    except Exception as exc:  # noqa: BLE001 - whatever it is, the run goes on
        warnings.warn(f"{failed}: {exc!r}", RuntimeWarning, stacklevel=4)


def _check(quality: float | _Keep | None) -> None:
    if not isinstance(quality, _Keep | None) and not 0 <= quality <= 1:
        msg = f"quality={quality!r:.60} does not fit: give a number from 0 (bad) to 1 (good)"
        raise HistoryError(msg)
