"""`History`: every run, kept in one SQLite file.

A run is recorded before it is sent and completed when its answer is there. A row that has ended
is never overwritten; note, tags and quality are the reader's and may change.
"""

from __future__ import annotations

import threading
import warnings
from collections.abc import Callable, Sequence
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, TextIO, Unpack

from vellum_nb.errors import HistoryError
from vellum_nb.history import export, reads, writes
from vellum_nb.history.files import locate
from vellum_nb.history.frames import frame_of_rows
from vellum_nb.history.page import history_html
from vellum_nb.history.query import Filters, PageFilters
from vellum_nb.history.rows import clean, run_of, tags_text
from vellum_nb.history.store import Store
from vellum_nb.models import Run

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["History"]


class _Keep(Enum):
    """Stands for an argument that was not given, where None means something."""

    AS_IS = "as it is"


class History:
    """Every run of a workspace, in one SQLite file.

    It may be used from many threads, and by many processes at once.

    Parameters
    ----------
    path : str or Path, optional
        The file, made if there is none; ``":memory:"`` keeps runs until it is closed. Default:
        the environment's ``VELLUM_NB_HISTORY``, else ``runs.db`` in the user's data directory.
    viewer : callable, optional
        Called as ``viewer(history, **options)`` by `view`. `vellum_nb.connect` gives its table to
        a history that has none.

    Raises
    ------
    HistoryError
        The file is damaged, newer than this version, or not a history. It was left as it is.

    Examples
    --------
    >>> from vellum_nb import History
    >>> with History(":memory:") as history:
    ...     history
    <History :memory:: 0 runs>
    """

    def __init__(
        self, path: str | Path | None = None, *, viewer: Callable[..., Any] | None = None
    ) -> None:
        self._store = Store(locate(path))
        self.viewer = viewer
        self._subscribers: list[Callable[[Run], None]] = []
        self._lock = threading.Lock()

    @property
    def path(self) -> Path | str:
        """The file, or ``":memory:"``."""
        return self._store.path

    def close(self) -> None:
        """Close the file. Closing it again does nothing."""
        self._store.close()

    def begin(self, run: Run) -> None:
        """Record `run`; it is on disk when this returns.

        Raises
        ------
        HistoryError
            The history has a run with this id or external id, or cannot be written.
        """
        writes.begin(self._store, run)
        self._tell(run.id)

    def finish(self, run: Run) -> None:
        """Complete the row that `begin` made: state, outputs, error, times and cost.

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
    ) -> None:
        """Set note, tags or quality of the run `id`; None clears, what is not named stays."""
        given: dict[str, Any] = {}
        if not isinstance(note, _Keep):
            given["note"] = None if note is None else clean(note)
        if not isinstance(tags, _Keep):
            given["tags"] = tags_text([tags] if isinstance(tags, str) else tags or ())
        if not isinstance(quality, _Keep):
            given["quality"] = quality
        writes.update(self._store, id, given)
        self._tell(id)

    def delete(self, ids: Sequence[str]) -> int:
        """Delete the runs with these ids, for good; return how many there were.

        The list must be given and not be empty: nothing is deleted by a filter that was forgotten.
        """
        return writes.delete(self._store, ids)

    def get(self, id: str) -> Run:  # noqa: A002  (the run's own word)
        """Return the run with this `Run.id`."""
        found = reads.row(self._store, id)
        if found is None:
            raise writes.unknown(id)
        return run_of(found)

    def runs(self, **filters: Unpack[Filters]) -> list[Run]:
        """Return runs, newest first.

        Parameters
        ----------
        **filters
            Keywords, joined by "and"; None means all. `deployment`, `release_tag`, `state`,
            `case_id`, `sweep_id` and `ids`: a name or a list of them. `since` (inclusive) and
            `until` (exclusive): a datetime or an ISO text, UTC when no zone is given. `search`: a
            text in inputs, outputs, error, note or tags, case ignored. `limit`: how many.
        """
        return [run_of(row) for row in reads.rows(self._store, filters)]

    def frame(self, **filters: Unpack[Filters]) -> pd.DataFrame:
        """Return runs as a DataFrame, newest first, one row a run; `filters` as in `runs`.

        Text is ``str``, times ``datetime64[us, UTC]``, figures ``float64``, `state` and
        `release_tag` category, tokens ``Int64``. Columns ``input.<name>`` and ``output.<name>``
        hold text, numbers and bools as themselves and everything else as canonical JSON.
        """
        return frame_of_rows(reads.rows(self._store, filters))

    def count(self, **filters: Unpack[Filters]) -> int:
        """Return the number of runs; `filters` as in `runs`."""
        return reads.count(self._store, filters)

    def page(
        self,
        *,
        offset: int = 0,
        limit: int = 100,
        order_by: str = "timestamp",
        descending: bool = True,
        **filters: Unpack[PageFilters],
    ) -> list[Run]:
        """Return `limit` runs from `offset` on, in any order; for tables.

        `order_by` is a column of the frame, ``input.<name>`` and ``output.<name>`` among them;
        runs without a value come last. `filters` as in `runs`.
        """
        found = reads.page(
            self._store,
            filters,
            offset=offset,
            limit=limit,
            order_by=order_by,
            descending=descending,
        )
        return [run_of(row) for row in found]

    def to_csv(self, path: str | Path, **filters: Unpack[Filters]) -> Path:
        """Write the frame as CSV that `read_csv` reads back to the same frame."""
        with export.replacing(path) as file:
            self.write_csv(file, **filters)
        return Path(path)

    def to_jsonl(self, path: str | Path, **filters: Unpack[Filters]) -> Path:
        """Write one run a line, as JSON that ``Run.model_validate_json`` reads back."""
        with export.replacing(path) as file:
            self.write_jsonl(file, **filters)
        return Path(path)

    def to_parquet(self, path: str | Path, **filters: Unpack[Filters]) -> Path:
        """Write the frame as Parquet; needs pyarrow, from the extra ``fast``.

        A column of mixed types is written as JSON text; all others come back as they are.
        """
        return export.write_parquet(self.frame(**filters), Path(path))

    def write_csv(self, file: TextIO, **filters: Unpack[Filters]) -> None:
        """Write what `to_csv` writes to an open file."""
        export.write_csv(self.frame(**filters), file)

    def write_jsonl(self, file: TextIO, **filters: Unpack[Filters]) -> None:
        """Write what `to_jsonl` writes to an open file."""
        export.write_jsonl(self.runs(**filters), file)

    def subscribe(self, callback: Callable[[Run], None]) -> Callable[[], None]:
        """Call `callback` with each run that begins, ends or is annotated; return how to stop.

        It is called after the commit, in the thread that wrote. What it raises becomes a warning:
        a view that breaks must not stop the run that it was to show.
        """
        with self._lock:
            self._subscribers.append(callback)

        def unsubscribe() -> None:
            with self._lock:
                if callback in self._subscribers:
                    self._subscribers.remove(callback)

        return unsubscribe

    def view(self, **options: Any) -> Any:
        """Return the interactive table; `options` are the viewer's."""
        if self.viewer is None:
            msg = "This history came without a table: use vnb.connect(...).history, or frame()"
            raise HistoryError(msg)
        return self.viewer(self, **options)

    def _tell(self, run_id: str) -> None:
        with self._lock:
            subscribers = list(self._subscribers)
        if subscribers:
            run = self.get(run_id)
            for callback in subscribers:
                try:
                    callback(run)
                except Exception as exc:  # noqa: BLE001 - whatever it is, the run goes on
                    told = f"{callback!r} failed for run {run.id}: {exc!r}"
                    warnings.warn(told, RuntimeWarning, stacklevel=3)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        if self._store.closed:
            return f"<History {self.path}: closed>"
        try:
            count = self.count()
        except HistoryError:
            return f"<History {self.path}: cannot be read>"
        return f"<History {self.path}: {count} run{'' if count == 1 else 's'}>"

    def _repr_html_(self) -> str:
        if self._store.closed:
            return history_html(repr(self), [])
        try:
            runs = self.runs(limit=10)
        except HistoryError as exc:
            return history_html(str(exc), [])
        return history_html(repr(self), runs)
