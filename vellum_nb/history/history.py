"""`History`: every run, in one SQLite file or in PostgreSQL."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from functools import partial
from html import escape
from pathlib import Path
from types import EllipsisType
from typing import TYPE_CHECKING, Any, Self, TextIO, Unpack

from vellum_nb.errors import HistoryError
from vellum_nb.escaping import printed
from vellum_nb.history import export, merge, query, search, writes
from vellum_nb.history.backends import (
    Store,
    Transaction,
    file_location,
    open_backend,
    parse_location,
)
from vellum_nb.history.blind import BlindRatings
from vellum_nb.history.merge import SyncReport
from vellum_nb.history.query import Filters, Ids
from vellum_nb.history.recorder import Listener, RunRecorder
from vellum_nb.history.rows import clean, damaged, run_of, tags_text
from vellum_nb.history.store import DatabaseUrl
from vellum_nb.models import Run
from vellum_nb.models.base import key_finder
from vellum_nb.models.run import with_rating

if TYPE_CHECKING:
    import pandas as pd

_NEWEST = 10
_LARGE_FILE = 1_000_000  # bytes; below, a size is not of interest and differs between machines

TagEdit = Callable[[list[str]], "Sequence[str] | None"]
View = Callable[..., Any]


class History:
    """Every run of a workspace, in one SQLite file or in PostgreSQL.

    Many threads and many processes may use it at once.

    Parameters
    ----------
    path : str or Path, optional
        The file, made if it does not exist; ``":memory:"`` holds runs until it is closed;
        ``"postgresql://user@host/db"`` is one that a team shares (extra ``postgres``). Default:
        the environment's ``VELLUM_NB_HISTORY``, else ``runs.db`` in the user's data directory.
    fsync : bool, default False
        Whether each write waits until the disk has it, so that a recorded run survives a power
        failure, and not only the end of its process. Recording is slower then.

    Raises
    ------
    HistoryError
        The file is damaged, newer than this version, or not a history. It was not changed.

    Examples
    --------
    >>> from vellum_nb import History
    >>> with History(":memory:") as history:
    ...     history
    <History :memory:: 0 runs>
    """

    def __init__(self, path: str | Path | None = None, *, fsync: bool = False) -> None:
        path = parse_location(path)  # before anything can fail: a traceback may show it
        self._recorder = RunRecorder(path, fsync=fsync)
        self._view: View | None = None
        self._find_key = key_finder()

    @property
    def path(self) -> Path | str:
        """The file, ``":memory:"``, or the URL without its password."""
        return self._recorder.opened.path

    @property
    def size(self) -> int:
        """Bytes of the history, without what is still in SQLite's log."""
        return self._store.size()

    @property
    def author(self) -> str | None:
        """Who runs are recorded for; None: nobody."""
        return self._recorder.author

    @property
    def blind_ratings(self) -> BlindRatings:
        """The blind ratings that are stored; ``blind_ratings.frame()`` lists them."""
        return BlindRatings(self._store)

    def begin(self, run: Run) -> Run:
        """Record `run`, with its author, before it is sent.

        When this returns, the row survives the end of this process; with ``History(fsync=True)``
        also a power failure.

        Raises
        ------
        HistoryError
            The history has a run with this id or external id, or cannot be written.
        """
        return self._recorder.begin(run)

    def finish(self, run: Run) -> None:
        """Complete the row that `begin` made: state, outputs, error, times, cost and nodes.

        Inputs do not change; notes and tags that were written since stay.

        Raises
        ------
        HistoryError
            The run was never begun, has already ended, or is still STARTED.
        """
        self._recorder.finish(run)

    def annotate(
        self,
        id: str,  # noqa: A002  (the run's own word)
        *,
        note: str | EllipsisType | None = ...,
        tags: Sequence[str] | TagEdit | EllipsisType | None = ...,
        quality: float | EllipsisType | None = ...,
        desired: Mapping[str, Any] | EllipsisType | None = ...,
        author: str | None = None,
    ) -> None:
        """Set note, tags, quality or desired outputs of the run `id`.

        None clears a value; values that are not named do not change. `tags` may be a function of
        the tags that the run has, as ``lambda tags: [*tags, "seen"]``: what others add at the same
        time stays. A tag has who rated it: `author`, or who runs are recorded for; one rating an
        author, see `Run.ratings`.

        Raises
        ------
        HistoryError
            There is no such run, or a value has another type; nothing was changed.
        """
        scalars: dict[str, Any] = {}
        if not isinstance(note, EllipsisType):
            scalars["note"] = None if note is None else clean(_checked(str, "note", note))
        edits: list[TagEdit] = []
        if not isinstance(tags, EllipsisType):
            edits.append(tags if callable(tags) else lambda _: tags)
        if not isinstance(quality, EllipsisType):
            rated: Any = quality
            if rated is not None and not (isinstance(rated, int | float) and 0 <= rated <= 1):
                msg = f"quality={quality!r:.60} is not a number from 0 (bad) to 1 (good)"
                raise HistoryError(msg)
            scalars["quality"] = None if quality is None else float(quality)
        payloads = {}
        if not isinstance(desired, EllipsisType):
            payloads["desired"] = desired and dict(_checked(Mapping, "desired", desired))
        rater = clean(_checked(str, "author", author or self._recorder.author or ""))
        if rater and "quality" in scalars:
            edits.append(partial(with_rating, author=rater, quality=scalars["quality"]))
        self._update(_checked(str, "id", id), scalars, payloads, edits)

    def get(self, id: str) -> Run:  # noqa: A002  (the run's own word)
        """Return the run with this `Run.id`."""
        store, selection = self._selected({"ids": [_checked(str, "id", id)]})
        rows = query.read_rows(store, selection)
        if not rows:
            raise writes.unknown_run(store, id)
        return run_of(rows[0])

    def runs(self, **filters: Unpack[Filters]) -> list[Run]:
        """Return runs, newest first.

        Parameters
        ----------
        **filters
            Joined by "and"; None means all. `deployment`, `release_tag`, `state`, `case_id`,
            `sweep_id`, `execution_id`, `external_id`, `author` and `ids`: a name or a list of
            them, `ids` also runs or a frame of them. `since` (inclusive) and `until` (exclusive): a
            datetime or an ISO text, UTC when no zone is given. `search`: words, as in `search`.
            `limit`: how many. `skip_damaged`: leave out runs whose row is damaged; else they raise.
        """
        return query.read_runs(*self._selected(filters))

    def frame(self, **filters: Unpack[Filters]) -> pd.DataFrame:
        """Return runs as a DataFrame, newest first, one row per run; arguments as in `runs`.

        Text is ``str``, times ``datetime64[us, UTC]``, figures ``float64``, `state` and
        `release_tag` category, tokens ``Int64``. Columns ``input.<name>`` and ``output.<name>``
        hold text, numbers and bools as themselves and everything else as canonical JSON; where runs
        were corrected, ``desired.<name>`` too.
        """
        return query.read_frame(*self._selected(filters))

    def scan(
        self, *, chunk_rows: int = 50_000, **filters: Unpack[Filters]
    ) -> Iterator[pd.DataFrame]:
        """Yield the runs of `frame`, newest first, in frames of at most `chunk_rows` rows.

        Only one of them is in memory at a time, and nothing is locked between them: a run that is
        recorded in between is left out; one that changes is returned in its state at that moment.
        Each frame has the columns and dtypes of its own runs.
        """
        yield from query.scan_frames(*self._selected(filters), chunk_rows)

    def search(self, text: str, **filters: Unpack[Filters]) -> pd.DataFrame:
        """Return the runs in which all words of `text` are found, newest first.

        The frame is that of `frame`, and its last column `match` shows where: the column and the
        words around. A search first indexes the runs that are new since the last one.

        Each word matches the beginning of a word in inputs, outputs, error, note or tags:
        ``refund`` finds "refunds". ``"in quotes"`` finds whole words that follow each other. Case
        and accents do not matter. Scripts without spaces are found anywhere. `filters` as in
        `runs`.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> run = ws.run("ticket-triage", {"ticket": "May I have a refund?"}, release_tag="v1")
        >>> ws.history.search("REFUND")["match"].tolist()
        ['input.ticket: May I have a refund?']
        """
        words = _checked(str, "text", text)
        found = self.frame(**{**filters, "search": words})
        found["match"] = search.match_column(words, found)
        return found

    def count(self, **filters: Unpack[Filters]) -> int:
        """Return the number of runs; arguments as in `runs`."""
        return query.count(*self._selected(filters))

    def release_tags(self, deployment: str) -> dict[str, int]:
        """Return the release tags of the runs of `deployment`, and how many runs each has."""
        sql = (
            "SELECT release_tag, count(*) FROM runs WHERE deployment = :deployment "
            "AND deletion IS NULL GROUP BY release_tag ORDER BY release_tag"
        )
        return dict(self._store.read(sql, {"deployment": deployment}))

    def to_csv(
        self,
        path: str | Path | TextIO,
        *,
        columns: str | Sequence[str] | None = None,
        progress: bool | None = None,
        **filters: Unpack[Filters],
    ) -> Path | None:
        r"""Write the frame as CSV that `vellum_nb.read_csv` reads back to the same frame.

        The file has the runs that were there when the export began, and replaces an old one when it
        is complete. Exports need little memory, however many runs there are.

        Parameters
        ----------
        path : str, Path or text file
            Where to; an open file is written to and stays open, and None is returned.
        columns : str or sequence of str, optional
            Which columns, in this order. Default: all, as in `frame`.
        progress : bool, optional
            Whether to show the progress on standard error. Default: where it takes long.
        **filters
            Which runs; as in `runs`. A deployment, release tag or author that no run has warns.

        Raises
        ------
        HistoryError
            The file cannot be written, is named after another format (``.jsonl``, ``.parquet``),
            would contain the API key, or there is no such column. The old file stays.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> with vnb.History(":memory:") as history:
        ...     path = history.to_csv("runs.csv", columns=["release_tag", "state"])
        >>> path.read_text()
        '"release_tag","state"\n'
        """
        path = parse_location(path)  # before anything can fail: a traceback may show it
        options = {"columns": columns, "progress": progress, "finds_key": self._find_key}
        return export.to_csv(self._store, path, filters, **options)

    def to_jsonl(
        self,
        path: str | Path | TextIO,
        *,
        columns: str | Sequence[str] | None = None,
        progress: bool | None = None,
        **filters: Unpack[Filters],
    ) -> Path | None:
        """Write one run per line, as JSON that ``Run.model_validate_json`` reads back.

        With `columns`, a line is an object of these columns in this order, with null where the
        run has no value, and structured values as they are. `vellum_nb.read_jsonl` reads both to
        the same frame. All else is as in `to_csv`.
        """
        path = parse_location(path)
        options = {"columns": columns, "progress": progress, "finds_key": self._find_key}
        return export.to_jsonl(self._store, path, filters, **options)

    def to_parquet(
        self,
        path: str | Path,
        *,
        columns: str | Sequence[str] | None = None,
        progress: bool | None = None,
        **filters: Unpack[Filters],
    ) -> Path:
        """Write the frame as Parquet; needs pyarrow, from the extra ``parquet``.

        A column of mixed types is written as JSON text, which `vellum_nb.read_parquet` reads back
        to the same values; other columns are the same in any reader. All else is as in `to_csv`.
        """
        path = parse_location(path)
        options = {"columns": columns, "progress": progress, "finds_key": self._find_key}
        return export.to_parquet(self._store, path, filters, **options)

    def delete(self, ids: Ids, *, why: str = "") -> writes.Deletion:
        """Delete the runs with these ids.

        Runs may be given as well, or a frame of them with its column `id`; an empty one deletes
        nothing. `undelete` restores them until `vacuum` is called. `why` is for `deletions`.
        """
        try:
            return writes.delete(self._store, ids, _checked(str, "why", why))
        finally:
            self._recorder.notify_bulk()

    def undelete(self, deletion: writes.Deletion | int | None = None) -> writes.Restored:
        """Restore the runs of a deletion: the last one, or the one of this number.

        A deletion that deleted nothing restores nothing.
        """
        if isinstance(deletion, writes.Deletion):
            if deletion.number is None:
                return writes.Restored(None)
            deletion = deletion.number
        try:
            return writes.undelete(self._store, deletion)
        finally:
            self._recorder.notify_bulk()

    def deletions(self) -> pd.DataFrame:
        """Return one row for each deletion that `undelete` can restore, newest first.

        Columns: `deletion` (its number), `deleted_at`, `runs`, `deployments`, `first` and `last`
        (when its runs were sent), `why`.
        """
        return writes.deletions(self._store)

    def vacuum(self) -> writes.Vacuumed:
        """Remove deletions for good, drop values that no run needs, and make the file smaller.

        Other processes may have the history open; it waits for writers. It needs as much free
        space as the history has; on a server only the owner of the tables gets space back.
        """
        return writes.vacuum(self._store)

    def backup(self, path: str | Path) -> Path:
        """Copy the history, while others may write to it, to a new file that its owner can read.

        Use it instead of a copy of the open file. A history in PostgreSQL is backed up by
        ``pg_dump``.
        """
        path = parse_location(path)  # before anything can fail: a traceback may show it
        target = file_location(path or "")
        copy_to = getattr(self._recorder.opened, "backup", None)
        if copy_to is None:
            msg = f"The history {self.path} is on a server: back it up with pg_dump"
            raise HistoryError(msg)
        if not isinstance(target, Path) or os.path.lexists(target):
            msg = f"{target} exists; a backup never overwrites a file; choose another name"
            raise HistoryError(msg)
        copy_to(target)
        return target

    def merge(self, other: str | Path | History | Iterable[Run]) -> SyncReport:
        """Merge another history into this one; merging again changes nothing.

        The same run is found by its id, then by execution id and external id. One that is STARTED
        here and has ended there is completed. Notes and tags are combined, a rating that differs
        becomes a line of the note. A run that differs otherwise does not change here, and is
        reported; so is a damaged row. Sweeps and blind ratings are merged, too.

        `other` is a file, a URL or a History, which is only read; a ``.jsonl`` export of runs; or a
        list of runs, of which those that have ended are added in one transaction and those that
        are STARTED are counted as running.
        """
        other = parse_location(other)  # before anything can fail: a traceback may show it
        changed: Sequence[str] = ()
        try:
            if isinstance(other, str | Path) and str(other).lower().endswith(".jsonl"):
                report, changed = merge.merge(self._store, Path(other).expanduser())
            elif isinstance(other, str | Path | DatabaseUrl):
                with closing(open_backend(other, read_only=True)) as source:
                    report, changed = merge.merge(self._store, source)
            else:
                runs = other._store if isinstance(other, History) else _checked_runs(other)  # noqa: SLF001
                report, changed = merge.merge(self._store, runs)
        finally:
            self._recorder.notify_bulk()
        self._recorder.notify(changed)
        return report

    def view(self, **options: Any) -> Any:
        """Return the interactive table; `options` are filters and those of the table."""
        if self._view is None:
            msg = "This history has no interactive table: use vnb.connect(...).history, or frame()"
            raise HistoryError(msg)
        return self._view(self, **options)

    def subscribe(
        self, callback: Listener, *, on_bulk_change: Callable[[], None] | None = None
    ) -> Callable[[], None]:
        """Call `callback` with each run that begins, ends or is annotated.

        `on_bulk_change` is called once after each call that adds or removes many runs: `delete`,
        `undelete`, `merge`, `sync`. Both are called after the commit, in the thread that wrote.
        An error in one becomes a warning: it must not stop a run. Returns a
        function that unsubscribes.
        """
        return self._recorder.subscribe(callback, on_bulk_change)

    def close(self) -> None:
        """Close the file. Closing it again does nothing."""
        self._recorder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @printed
    def __repr__(self) -> str:
        if "_recorder" not in vars(self):  # as a traceback shows it when it could not be opened
            return "<History: not open>"
        if self._recorder.opened.closed:
            return f"<History {self.path}: closed>"
        try:
            count, size = self.count(), self.size
        except HistoryError:
            return f"<History {self.path}: cannot be read>"
        text = f", {writes.format_bytes(size)}" if size >= _LARGE_FILE else ""
        return f"<History {self.path}: {count:,} run{'' if count == 1 else 's'}{text}>"

    @printed
    def _repr_html_(self) -> str:
        import pandas as pd

        names = ["execution_id", "release_tag", "timestamp", "deployment", "state", "latency_s"]
        try:
            newest_runs = query.ordered_runs(self._store, whole=False, limit=_NEWEST)
            runs = newest_runs.runs(offset=0, limit=_NEWEST)
        except HistoryError as exc:
            return f"<p>{escape(repr(self) if self._recorder.opened.closed else str(exc))}</p>"
        if not runs:
            return f"<p>{escape(repr(self))}</p>"
        newest = pd.DataFrame([{name: getattr(run, name) for name in names} for run in runs])
        table = newest.to_html(index=False, border=0, na_rep="", float_format="{:.3f}".format)
        return f"<p>{escape(repr(self))}; the newest {len(runs)}:</p>{table}"

    @property
    def _store(self) -> Store:
        """The open store, after runs that waited for its server were merged into it."""
        return self._recorder.store

    def _selected(self, filters: Filters) -> tuple[Store, query.Selection]:
        store = self._store
        return store, query.select(filters, store)

    def _update(
        self, run_id: str, scalars: Any, payloads: Any, edits: Sequence[TagEdit] = ()
    ) -> None:
        def change(transaction: Transaction) -> None:
            if not writes.update_run(transaction, run_id, scalars, payloads):
                raise writes.unknown_run(transaction, run_id)
            sql = "SELECT tags FROM runs WHERE id = :id"  # nobody else changes them now
            for edit in edits:
                ((text,),) = transaction.read(sql, {"id": run_id})
                with damaged(f"Run {run_id!r:.100}"):
                    old_tags = _tags(json.loads(text or "[]"))
                tags = _tags(edit(old_tags))
                writes.update_run(transaction, run_id, {"tags": tags_text(tags)}, {})

        self._store.write(change)
        self._recorder.notify([run_id])


def recorder_of(history: History) -> RunRecorder:
    """Return the recorder of `history`, through which the package reads and writes."""
    return history._recorder  # noqa: SLF001


def connected(history: History, *, view: View, leaks: Callable[[str], bool]) -> History:
    """Return a `History` on the same open store with the callbacks of a workspace.

    `leaks` returns True for text that contains the API key: an export of it is refused.
    """
    copied = copy.copy(history)
    copied._view, copied._find_key = view, key_finder(leaks)  # noqa: SLF001
    return copied


def _checked(kind: type[Any], name: str, value: Any) -> Any:
    if not isinstance(value, kind):
        what = {"str": "text", "Mapping": "a dict"}.get(kind.__name__, "a list of texts")
        msg = f"{name}={value!r:.60} is not {what}"
        raise HistoryError(msg)
    return value


def _tags(tags: Any) -> list[str]:
    some = [tags] if isinstance(tags, str) else _checked(Iterable, "tags", tags or ())
    return [_checked(str, "tags", each) for each in some]


def _checked_runs(runs: Any) -> list[Run]:
    some = list(runs) if isinstance(runs, Iterable) else [runs]
    if wrong := [each for each in some if not isinstance(each, Run)]:
        msg = (
            "merge needs another history (its file, its URL or a History) or a list of Run, "
            f"not {wrong[0]!r:.100}"
        )
        raise HistoryError(msg)
    return some
