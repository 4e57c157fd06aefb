"""`History`: every run, kept in one SQLite file or in PostgreSQL.

A run is recorded before it is sent and completed when its answer is there. A row that has ended
is never overwritten; note, tags and quality are the reader's and may change.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from vellum_nb.errors import HistoryError
from vellum_nb.history.joining.merge import SyncReport
from vellum_nb.history.methods.exporting import ExportMethods
from vellum_nb.history.methods.keeping import KeepMethods
from vellum_nb.history.methods.reading import ReadMethods
from vellum_nb.history.plans.blind import BlindRatings
from vellum_nb.history.plans.sweeping import Sweeps
from vellum_nb.history.reading import reads
from vellum_nb.history.reading.page import history_html
from vellum_nb.history.rows.rows import run_of
from vellum_nb.history.store.places import guarded
from vellum_nb.history.store.sizes import human

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["History"]

_NEWEST = 10
_TOLD_FROM = 1_000_000  # bytes; below, a size says nothing and is not the same on every machine


class History(ReadMethods, KeepMethods, ExportMethods):
    """Every run of a workspace, in one SQLite file or in PostgreSQL.

    It may be used from many threads, and by many processes at once.

    Parameters
    ----------
    path : str or Path, optional
        The file, made if there is none; ``":memory:"`` keeps runs until it is closed;
        ``"postgresql://user@host/db"`` is one that a team shares (extra ``postgres``). Default:
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
        path = guarded(path)  # before anything can fail: a traceback may show what is here
        super().__init__(path)
        self.viewer = viewer
        self.tracer = None
        self.syncer: Callable[..., SyncReport] | None = None

    @property
    def sweeps(self) -> Sweeps:
        """The sweeps that are kept, for ``ws.sweeps()`` and `vellum_nb.Sweep`."""
        return Sweeps(self._store, self._tell)

    @property
    def blind(self) -> BlindRatings:
        """The blind ratings that are kept, for `vellum_nb.Comparison.view`."""
        return BlindRatings(self._store)

    def blind_ratings(self, deployment: str | None = None) -> pd.DataFrame:
        """Return one row for each blind rating, newest first, also those that were taken back.

        `choice` is A, B, tie or skip. Which release stood where, `preferred` and `seed` are
        missing until the results of that rating have been shown.
        """
        return self.blind.frame(deployment)

    def close(self) -> None:
        """Close the file. Closing it again does nothing."""
        self._store.close()

    def sync(
        self,
        deployment: str,
        *,
        since: datetime | date | str | None = None,
        until: datetime | date | str | None = None,
        limit: int | None = None,
    ) -> SyncReport:
        """Bring executions of `deployment` that were made elsewhere into this history.

        They come with release, cost, tokens, duration and rating. Runs that are STARTED here are
        completed; what is known stays as it is, so a second call adds nothing.

        Parameters
        ----------
        deployment : str
            The deployment's name.
        since, until : datetime or str, optional
            Executions that began from then on, and before then; UTC when no zone is given.
        limit : int, optional
            How many of the newest. Default: all.

        Raises
        ------
        HistoryError
            This history has no workspace to read from.
        NotFoundError
            There is no such deployment; the message lists those there are.
        """
        if self.syncer is None:
            msg = "This history has nowhere to read from: use vnb.connect(...).history.sync(...)"
            raise HistoryError(msg)
        return self.syncer(self, deployment, since=since, until=until, limit=limit)

    def view(self, **options: Any) -> Any:
        """Return the interactive table; `options` are the viewer's."""
        if self.viewer is None:
            msg = "This history came without a table: use vnb.connect(...).history, or frame()"
            raise HistoryError(msg)
        return self.viewer(self, **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __repr__(self) -> str:
        if "_store" not in vars(self):  # as a traceback shows it when it could not be opened
            return "<History: not open>"
        if self._store.closed:
            return f"<History {self.path}: closed>"
        try:
            count = self.count()
        except HistoryError:
            return f"<History {self.path}: cannot be read>"
        size = self.size
        told = f", {human(size)}" if size >= _TOLD_FROM else ""
        return f"<History {self.path}: {count:,} run{'' if count == 1 else 's'}{told}>"

    def _repr_html_(self) -> str:
        if self._store.closed:
            return history_html(repr(self), [])
        try:
            runs = [run_of(row) for row in reads.heads(self._store, _NEWEST)]
        except HistoryError as exc:
            return history_html(str(exc), [])
        return history_html(repr(self), runs)
