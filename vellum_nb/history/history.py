"""`History`: the public interface to recorded runs, in an SQLite file or in PostgreSQL."""

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
from typing import Any, Self, TextIO, Unpack

from vellum_nb.errors import HistoryError, OutOfReachError
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
from vellum_nb.history.case_sets import CaseSets
from vellum_nb.history.frames import short_view
from vellum_nb.history.merge import SyncReport
from vellum_nb.history.query import Filters, Ids
from vellum_nb.history.recorder import Listener, RunRecorder
from vellum_nb.history.rows import clean, damaged, run_of, tags_text
from vellum_nb.history.schema import FrameView, check_view
from vellum_nb.history.store import DatabaseUrl
from vellum_nb.lazy import pd
from vellum_nb.models import NodeRun, Run
from vellum_nb.models.base import key_finder
from vellum_nb.models.checks import refuse
from vellum_nb.models.run import with_rating
from vellum_nb.models.sweeps import IN_DOUBT_SQL

_LISTED_RUNS = 10  # in the HTML representation
_LARGE_FILE = 1_000_000  # bytes; the repr omits smaller sizes, which differ between machines

TagEdit = Callable[[list[str]], "Sequence[str] | None"]
View = Callable[..., Any]


class History:
    """Every run of a workspace, in one SQLite file or in PostgreSQL.

    Threads and processes can share a history.

    Parameters
    ----------
    path : str or Path, optional
        File to open or create. ``":memory:"`` stores runs until the history is closed, and
        ``"postgresql://user@host/db"`` opens a database shared by a team (extra ``postgres``).
        Default: the environment variable ``VELLUM_NB_HISTORY``, otherwise ``runs.db`` in the
        user's data directory.
    fsync : bool, default False
        Whether each write waits for the disk. A recorded run then survives a power failure as
        well as the end of its process, but recording is slower.

    Raises
    ------
    HistoryError
        The file is damaged, was written by a newer version, or is not a history. It was not
        changed.

    Examples
    --------
    >>> from vellum_nb import History
    >>> with History(":memory:") as history:
    ...     history
    <History :memory:: 0 runs>
    """

    def __init__(self, path: str | Path | None = None, *, fsync: bool = False) -> None:
        path = parse_location(path)  # hides the password of a URL from tracebacks
        self._recorder = RunRecorder(path, fsync=fsync)
        self._view: View | None = None
        self._find_key = key_finder()

    @property
    def path(self) -> Path | str:
        """File, ``":memory:"``, or URL without the password."""
        return self._recorder.opened.path

    @property
    def size(self) -> int:
        """Size in bytes, without SQLite's write-ahead log."""
        return self._store.size()

    @property
    def author(self) -> str | None:
        """Name of the person for whom runs are recorded, if any."""
        return self._recorder.author

    @property
    def blind_ratings(self) -> BlindRatings:
        """Stored blind ratings; ``blind_ratings.frame()`` lists them."""
        return BlindRatings(self._store, on_change=self._recorder.notify_bulk)

    def begin(self, run: Run) -> Run:
        """Record `run`, with its author, before it is sent.

        Once recorded, the row survives the end of this process; with ``History(fsync=True)`` it
        also survives a power failure.

        Raises
        ------
        HistoryError
            The history already has a run with this id or external id, or cannot be written.
        """
        return self._recorder.begin(_checked(Run, "run", run))

    def finish(self, run: Run) -> None:
        """Complete the row written by `begin`: state, outputs, error, times, cost and nodes.

        Inputs, notes and tags do not change.

        Raises
        ------
        HistoryError
            The run was never begun, has already ended, or is still STARTED.
        """
        self._recorder.finish(_checked(Run, "run", run))

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
        """Set note, tags, quality or desired outputs of a run.

        Parameters
        ----------
        id : str
            `Run.id`.
        note : str, optional
            New note; None clears it.
        tags : sequence of str or callable, optional
            New tags, or a function from the current tags to the new ones, such as
            ``lambda tags: [*tags, "seen"]``, which preserves concurrent changes. None clears them.
        quality : float, optional
            Rating from 0 (bad) to 1 (good); None clears it.
        desired : mapping, optional
            Desired outputs by name; None clears them.
        author : str, optional
            Name of the rater, by default `History.author`. It is stored with the rating as a tag,
            one rating per author; see `Run.ratings`.

        Raises
        ------
        HistoryError
            The run does not exist or a value has the wrong type. Nothing was changed.
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
            Conditions that all apply; None means no condition.

            - `deployment`, `release_tag`, `state`, `case_id`, `sweep_id`, `conversation_id`,
              `execution_id`, `external_id`, `author`, `ids`: a value or a list of values. `ids`
              also accepts runs or a frame with the column `id`.
            - `rating`: ``rated``, ``unrated``, ``good`` or ``bad`` (quality above or below 0.5).
            - `since` (inclusive), `until` (exclusive): datetime or ISO text, UTC by default.
            - `search`: words, as in `search`.
            - `limit`: maximum number of runs.
            - `skip_damaged`: skip damaged rows instead of raising an error.
        """
        return query.read_runs(*self._selected(filters))

    def conversation(self, id: str) -> list[Run]:  # noqa: A002  (as in `get`)
        """Return the runs of a conversation, by turn, with failed attempts that were repeated.

        Parameters
        ----------
        id : str
            A `Run.conversation_id`.

        Raises
        ------
        HistoryError
            The history has no run of this conversation.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> ws = vnb.connect("local", history=":memory:")
        >>> run = ws.converse("support-bot", ["Hello", "My order A-1234 is broken"])[0]
        >>> [run.outputs["status"] for run in ws.history.conversation(run.conversation_id)]
        ['asks for order', 'asks for wish']
        >>> ws.close()
        """
        runs = self.runs(conversation_id=_checked(str, "id", id))
        runs = [run for run in runs if run.turn is not None]  # without those of a simulated user
        if not runs:
            msg = f"The history has no conversation {id!r:.100}"
            raise HistoryError(msg)
        return sorted(runs, key=lambda run: (run.turn or 0, run.timestamp))

    def frame(self, *, columns: FrameView = "all", **filters: Unpack[Filters]) -> pd.DataFrame:
        """Return runs as a DataFrame, newest first, one row per run.

        Dtypes: text ``str``, times ``datetime64[us, UTC]``, figures ``float64``, `state` and
        `release_tag` category, tokens ``Int64``. The columns ``input.<name>``, ``output.<name>``
        and, for corrected runs, ``desired.<name>`` contain scalars unchanged and structured values
        as canonical JSON text.

        Parameters
        ----------
        columns : {"all", "short"}, default "all"
            ``"short"`` for reading on a screen: no ids except those of case and run, and no
            technical details. Exports and `read_csv` have all columns.
        **filters
            Runs to return, as in `runs`.
        """
        check_view(columns)
        return short_view(query.read_frame(*self._selected(filters)), columns)

    def scan(
        self, *, chunk_rows: int = 50_000, **filters: Unpack[Filters]
    ) -> Iterator[pd.DataFrame]:
        """Yield the runs of `frame`, newest first, in frames of at most `chunk_rows` rows.

        Only one frame is in memory at a time, and the history is not locked between frames. Runs
        recorded during the scan are skipped; changed runs are returned in their current state.
        Columns and dtypes of a frame depend on its runs.
        """
        yield from query.scan_frames(*self._selected(filters), chunk_rows)

    def search(self, text: str, **filters: Unpack[Filters]) -> pd.DataFrame:
        """Return the runs that contain all words of `text`, newest first.

        The result is a frame as in `frame` with an additional last column `match`: the matching
        column and an excerpt. New runs are indexed before the search.

        A word matches the beginning of a word in inputs, outputs, error, note or tags: ``refund``
        finds "refunds". ``"in quotes"`` finds a phrase of complete words. Case and accents are
        ignored. Text in a script without spaces matches at any position. `filters` are those of
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
        frame = self.frame(**{**filters, "search": words})
        frame["match"] = search.match_column(words, frame)
        return frame

    def count(self, **filters: Unpack[Filters]) -> int:
        """Return the number of runs that match `filters`, which are those of `runs`."""
        return query.count(*self._selected(filters))

    def to_csv(
        self,
        path: str | Path | TextIO,
        *,
        columns: str | Sequence[str] | None = None,
        progress: bool | None = None,
        **filters: Unpack[Filters],
    ) -> Path | None:
        r"""Export runs to CSV. `vellum_nb.read_csv` restores an identical DataFrame.

        The export contains the runs at the time of the call and replaces an existing file only
        when it is complete. Memory use does not depend on the number of runs.

        Parameters
        ----------
        path : str, Path or text file
            Destination. An open file stays open, and None is returned.
        columns : str or sequence of str, optional
            Columns to write, in this order. Default: all, as in `frame`.
        progress : bool, optional
            Whether to show the progress on standard error. Default: only for long exports.
        **filters
            Runs to export, as in `runs`. Names of deployments, release tags or authors that do not
            occur cause a warning.

        Raises
        ------
        HistoryError
            The file cannot be written, has the suffix of another format (``.jsonl``,
            ``.parquet``) or would contain the API key, or a column does not exist. An existing
            file is not changed.

        Examples
        --------
        >>> import vellum_nb as vnb
        >>> with vnb.History(":memory:") as history:
        ...     path = history.to_csv("runs.csv", columns=["release_tag", "state"])
        >>> path.read_text()
        '"release_tag","state"\n'
        """
        path = parse_location(path)  # hides the password of a URL from tracebacks
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
        """Export runs as JSON lines, which ``Run.model_validate_json`` and `read_jsonl` read.

        With `columns`, a line is an object with these columns in this order; missing values are
        null, and structured values are nested JSON. `vellum_nb.read_jsonl` restores an identical
        DataFrame. Parameters and errors are those of `to_csv`.
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
        """Export runs to Parquet; needs pyarrow, from the extra ``parquet``.

        Columns of mixed types are stored as JSON text, which `vellum_nb.read_parquet` converts
        back. Parameters and errors are those of `to_csv`.
        """
        path = parse_location(path)
        options = {"columns": columns, "progress": progress, "finds_key": self._find_key}
        return export.to_parquet(self._store, path, filters, **options)

    def delete(self, ids: Ids, *, why: str = "") -> writes.Deletion:
        """Delete runs. `undelete` restores them until `vacuum` is called.

        Parameters
        ----------
        ids : str, Run, sequence or DataFrame
            Ids, runs, or a frame with the column `id`. An empty sequence deletes no runs.
        why : str
            Reason, for `deletions`.
        """
        try:
            return writes.delete(self._store, ids, _checked(str, "why", why))
        finally:
            self._recorder.notify_bulk()

    def undelete(self, deletion: writes.Deletion | int | None = None) -> writes.Restored:
        """Restore the runs of a deletion, given as the object or its number; default: the last."""
        if isinstance(deletion, writes.Deletion):
            if deletion.number is None:
                return writes.Restored(None)
            deletion = deletion.number
        try:
            return writes.undelete(self._store, deletion)
        finally:
            self._recorder.notify_bulk()

    def deletions(self) -> pd.DataFrame:
        """Return one row per deletion that `undelete` can restore, newest first.

        Columns: `deletion` (number), `deleted_at`, `runs`, `deployments`, `first` and `last`
        (timestamps of the oldest and newest run), `why`.
        """
        return writes.deletions(self._store)

    def vacuum(self) -> writes.Vacuumed:
        """Remove deleted runs and unused values permanently and shrink the file.

        Other processes can have the history open; writers are waited for. The disk needs as much
        free space as the size of the history. On a server, only the owner of the tables can
        reclaim space.
        """
        return writes.vacuum(self._store)

    def backup(self, path: str | Path) -> Path:
        """Copy the open history to a new file with permissions for its owner only.

        Other processes can write during the backup. Do not copy an open file in another way. Use
        ``pg_dump`` for a history in PostgreSQL.
        """
        path = parse_location(path)  # hides the password of a URL from tracebacks
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
        """Merge another history, including sweeps, blind ratings and case sets, into this one.

        Runs are matched by id, then by execution id and external id. A STARTED run is completed
        if it has ended in `other`. Notes and tags are combined; a different rating becomes a line
        of the note. Other differences and damaged rows are reported, and the run in this history
        does not change. Case sets get the versions of both histories; if both changed a set, a new
        version has the changes of both. A second merge has no effect.

        Parameters
        ----------
        other : str, Path, History or iterable of Run
            History to read: a file, a URL, an open history or a ``.jsonl`` export; or runs. In a
            list of runs, those that have ended are merged in one transaction, and STARTED ones
            are counted as running.
        """
        other = parse_location(other)  # hides the password of a URL from tracebacks
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
        """Return an interactive table; `options` are filters and options of `HistoryView`."""
        if self._view is None:
            msg = "This history has no interactive table: use vnb.connect(...).history, or frame()"
            raise HistoryError(msg)
        return self._view(self, **options)

    def subscribe(
        self, callback: Listener | None, *, on_bulk_change: Callable[[], None] | None = None
    ) -> Callable[[], None]:
        """Call `callback` with each run that begins, ends or is annotated.

        Callbacks run after the commit, in the thread of the write. An exception in a callback is
        reported as a warning.

        Parameters
        ----------
        callback : callable or None
            Function of a run. Without it, runs are not read, and `on_bulk_change` is called for
            their changes, too.
        on_bulk_change : callable, optional
            Function without arguments, called once after each `delete`, `undelete`, `merge` or
            `vellum_nb.Workspace.sync`.

        Returns
        -------
        callable
            Function that unsubscribes.
        """
        for name, value in (("callback", callback), ("on_bulk_change", on_bulk_change)):
            if value is not None and not callable(value):
                refuse(name, value, "a function", HistoryError)
        return self._recorder.subscribe(callback, on_bulk_change)

    def close(self) -> None:
        """Close the history; a second call has no effect."""
        self._recorder.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @printed
    def __repr__(self) -> str:
        if "_recorder" not in vars(self):  # in a traceback, after opening failed
            return "<History: not open>"
        if self._recorder.opened.closed:
            return f"<History {self.path}: closed>"
        try:
            count, size = self.count(), self.size
        except HistoryError:
            return f"<History {self.path}: cannot be read>"
        text = f", {writes.format_bytes(size)}" if size >= _LARGE_FILE else ""
        return f"<History {self.path}: {writes.counted(count)}{text}>"

    @printed
    def _repr_html_(self) -> str:
        names = ["release_tag", "timestamp", "deployment", "state", "latency_s", "execution_id"]
        try:
            store, selection = self._selected({"limit": _LISTED_RUNS})
            numbers = query.ordered_numbers(store, selection, "timestamp", descending=True)
            runs = query.runs_of(query.rows_at(store, numbers, whole=False), skip_damaged=True)
        except HistoryError as exc:
            return f"<p>{escape(repr(self) if self._recorder.opened.closed else str(exc))}</p>"
        if not runs:
            return f"<p>{escape(repr(self))}</p>"
        newest = pd.DataFrame([{name: getattr(run, name) for name in names} for run in runs])
        table = newest.to_html(index=False, border=0, na_rep="", float_format="{:.3f}".format)
        return f"<p>{escape(repr(self))}; the newest {len(runs)}:</p>{table}"

    @property
    def _store(self) -> Store:
        """The open store, with pending runs merged."""
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
            sql = "SELECT tags FROM runs WHERE id = :id"  # locked by the update above
            for edit in edits:
                ((text,),) = transaction.read(sql, {"id": run_id})
                with damaged(f"Run {run_id!r:.100}"):
                    old_tags = _tags(json.loads(text or "[]"))
                tags = _tags(edit(old_tags))
                writes.update_run(transaction, run_id, {"tags": tags_text(tags)}, {})

        self._store.write(change)
        self._recorder.notify([run_id])


# Parts of a history that the other rooms use


def recorder_of(history: History) -> RunRecorder:
    """Return the recorder of `history`, through which the package reads and writes."""
    return history._recorder  # noqa: SLF001


def case_sets_of(history: History) -> CaseSets:
    """Return the case sets of `history`."""
    recorder = recorder_of(history)
    return CaseSets(recorder.store, recorder.author)


def connected(history: History, *, view: View, leaks: Callable[[str], bool]) -> History:
    """Return a `History` on the same open store with the callbacks of a workspace.

    `leaks` returns True for text that contains the API key: an export of it is refused.
    """
    copied = copy.copy(history)
    copied._view, copied._find_key = view, key_finder(leaks)  # noqa: SLF001
    return copied


def ordered_runs(
    history: History,
    *,
    order_by: str = "timestamp",
    descending: bool = True,
    whole: bool = True,
    on_start: Callable[[Callable[[], None]], None] | None = None,
    **filters: Unpack[Filters],
) -> query.OrderedRuns:
    """Sort runs by a column of the frame, with missing values last, to read any range of them.

    Unless `whole`, large values are cut to 1,000 characters. `on_start` is called with a function
    that cancels the query from another thread; the call here then raises a `HistoryError`.
    """
    store = recorder_of(history).store
    selection = query.select(filters, store)
    if on_start is None:
        numbers = query.ordered_numbers(store, selection, order_by, descending=descending)
        return query.OrderedRuns(store, numbers, whole=whole)
    with store.snapshot() as snapshot:
        on_start(snapshot.cancel)
        numbers = query.ordered_numbers(snapshot, selection, order_by, descending=descending)
    return query.OrderedRuns(store, numbers, whole=whole)


def recorded_tags(history: History, deployment: str) -> list[str]:
    """Return the release tags with runs of `deployment`, sorted."""
    sql = (
        "SELECT DISTINCT release_tag FROM runs WHERE deployment = :deployment AND deletion IS NULL"
    )
    rows = recorder_of(history).store.read(sql, {"deployment": deployment})
    return sorted(tag for (tag,) in rows)


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
    history._update(run_id, {}, {"nodes": rows or None})  # noqa: SLF001


def _checked(kind: type[Any], name: str, value: Any) -> Any:
    if not isinstance(value, kind):
        names = {"str": "a text", "Mapping": "a dict", "Run": "a Run"}
        refuse(name, value, names.get(kind.__name__, "a list of texts"), HistoryError)
    return value


def _tags(tags: Any) -> list[str]:
    values = [tags] if isinstance(tags, str) else _checked(Iterable, "tags", tags or ())
    return [_checked(str, "tags", tag) for tag in values]


def _checked_runs(runs: Any) -> list[Run]:
    values = list(runs) if isinstance(runs, Iterable) else [runs]
    if invalid := [value for value in values if not isinstance(value, Run)]:
        msg = (
            "merge needs another history (its file, its URL or a History) or a list of Run, "
            f"not {invalid[0]!r:.100}"
        )
        raise HistoryError(msg)
    return values
