"""What reads a history: runs, frames, searches, pages of a table."""

from __future__ import annotations

from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Unpack

from vellum_nb.errors import HistoryError
from vellum_nb.history.keeping import archived as archived_runs
from vellum_nb.history.keeping.archived import with_archived
from vellum_nb.history.keeping.archived_places import Files, among
from vellum_nb.history.keeping.archived_records import archived_records
from vellum_nb.history.keeping.archived_tags import KnownTags, known_tags
from vellum_nb.history.keeping.choosing import Choice
from vellum_nb.history.keeping.one_state import in_one_state
from vellum_nb.history.methods.recording import RecordMethods
from vellum_nb.history.reading import pages, reads, sorting
from vellum_nb.history.reading.damaged import reading, told
from vellum_nb.history.reading.light import light_records
from vellum_nb.history.reading.loading import load, scan
from vellum_nb.history.reading.ordered import Ordered
from vellum_nb.history.reading.query import (
    Filters,
    OtherFilters,
    PageFilters,
    Selection,
    select,
    words,
)
from vellum_nb.history.reading.records import Record
from vellum_nb.history.rows.rows import run_of
from vellum_nb.history.rows.traces import trace_frame
from vellum_nb.history.searching import index
from vellum_nb.history.searching.search import matches
from vellum_nb.history.store.store import Row, Snapshot
from vellum_nb.models import NodeRun, Run

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ReadMethods"]


class ReadMethods(RecordMethods):
    """The reading half of `vellum_nb.History`."""

    tracer: Callable[[Any, Run], Sequence[NodeRun]] | None

    @told
    def runs(self, *, archived: bool = False, **filters: Unpack[Filters]) -> list[Run]:
        """Return runs, newest first.

        Parameters
        ----------
        archived
            Whether runs in archives are meant as well.
        **filters
            Keywords, joined by "and"; None means all. `deployment`, `release_tag`, `state`,
            `case_id`, `sweep_id`, `execution_id`, `external_id`, `author` and `ids`: a name or a
            list of them, `ids` also runs or a frame of them. `since` (inclusive) and `until`
            (exclusive): a datetime or an ISO text, UTC when no zone is given. `search`: words, as
            in `search`. `limit`: how many.
        """
        if archived:
            rows = with_archived(self._store, filters, reads.WHOLE)
        else:
            rows = reads.rows(self._store, filters)
        return [self._run(row) for row in rows]

    @told
    def records(self, *, archived: bool = False, **filters: Unpack[Filters]) -> list[Record]:
        """Return runs as light rows, newest first, for comparisons; arguments as in `runs`.

        They know what runs are counted by; inputs and outputs are read when they are asked for.
        """
        store, trace = self._store, self._trace_of_light
        if not archived:
            return light_records(store, store, select(filters, store), trace)

        def read(snapshot: Snapshot, chosen: Selection, files: Files) -> list[Record] | None:
            files = among(snapshot, files, filters)
            if files and Choice(filters).is_searched:
                return None
            found = light_records(store, snapshot, chosen, trace)
            if files:
                found += archived_records(snapshot, files, filters, trace)
                found.sort(key=lambda each: each.micros, reverse=True)
            return found[: chosen.limit]

        found = in_one_state(store, filters, read)
        if found is None:
            return [Record.of_run(run) for run in self.runs(archived=True, **filters)]
        return found

    @told
    def frame(self, *, archived: bool = False, **filters: Unpack[Filters]) -> pd.DataFrame:
        """Return runs as a DataFrame, newest first, one row a run; arguments as in `runs`.

        Text is ``str``, times ``datetime64[us, UTC]``, figures ``float64``, `state` and
        `release_tag` category, tokens ``Int64``. Columns ``input.<name>`` and ``output.<name>``
        hold text, numbers and bools as themselves and everything else as canonical JSON; where runs
        were corrected, ``desired.<name>`` too.
        """
        if archived:
            return archived_runs.frame(self._store, filters)
        return load(self._store, filters)

    def scan(
        self, *, chunk_rows: int = 50_000, **filters: Unpack[Filters]
    ) -> Iterator[pd.DataFrame]:
        """Yield the runs of `frame`, newest first, in frames of at most `chunk_rows` rows.

        Only one of them is in memory at a time, and nothing is locked between them. What is
        recorded meanwhile is newer and does not come; a run that ends or is annotated meanwhile
        comes as it is when its turn has come. Each frame has the columns and dtypes of its own
        runs: an input or output that none of them has is no column there, and integers without a
        gap are ``int64`` where with one they are ``Int64``.

        Examples
        --------
        >>> from vellum_nb import History
        >>> with History(":memory:") as history:
        ...     sum(len(frame) for frame in history.scan(chunk_rows=1_000))
        0
        """
        with reading(self):
            yield from scan(self._store, filters, chunk_rows)

    @told
    def search(
        self, text: str, *, archived: bool = False, **filters: Unpack[OtherFilters]
    ) -> pd.DataFrame:
        """Return the runs in which all words of `text` are found, newest first.

        The frame is that of `frame`, and its last column `match` shows where: the column and the
        words around.

        Parameters
        ----------
        text : str
            Words; each matches the beginning of a word in inputs, outputs, error, note or tags:
            ``refund`` finds "refunds". ``"in quotes"`` finds whole words that follow each other.
            Case and accents do not matter. Scripts without spaces are found anywhere.
        archived, **filters
            As in `runs`; `limit`: how many of the newest.

        Examples
        --------
        >>> from datetime import UTC, datetime
        >>> from vellum_nb import History, Run
        >>> history = History(":memory:")
        >>> history.begin(
        ...     Run(
        ...         id="1",
        ...         deployment="ticket-triage",
        ...         release_tag="v1",
        ...         timestamp=datetime(2026, 11, 25, tzinfo=UTC),
        ...         inputs={"ticket": "May I have a refund?"},
        ...         case_id="c",
        ...     )
        ... )
        >>> history.search("refunds")["match"].tolist()
        []
        >>> history.search("REFUND")["match"].tolist()
        ['input.ticket: May I have a refund?']
        """
        found = self.frame(archived=archived, search=words(text), **filters)
        found["match"] = matches(text, found)
        return found

    def count(self, *, archived: bool = False, **filters: Unpack[Filters]) -> int:
        """Return the number of runs; arguments as in `runs`."""
        if archived:
            return archived_runs.count(self._store, filters)
        return reads.count(self._store, filters)

    def known_tags(self, deployment: str) -> KnownTags:
        """Return on which release tags the deployment has runs, here and in archives."""
        return known_tags(self._store, deployment)

    @told
    def page(
        self,
        *,
        offset: int = 0,
        limit: int = 100,
        order_by: str = "timestamp",
        descending: bool = True,
        whole: bool = True,
        told: Callable[[int, int, Callable[[], list[Run]]], None] | None = None,
        **filters: Unpack[PageFilters],
    ) -> list[Run]:
        """Return `limit` runs from `offset` on, in any order; for tables.

        `order_by` is a column of the frame, ``input.<name>`` and ``output.<name>`` among them;
        runs without a value come last. Unless `whole`, of a large value there are only the first
        1,000 characters. Where an order takes long, `told` hears how many runs were read of how
        many, and how to get the page of those; what it raises ends it. `filters` as in `runs`.
        """

        def heard(done: int, total: int, found: Callable[[], list[Row]]) -> None:
            if told is not None:
                told(done, total, lambda: [self._run(row) for row in found()])

        found = pages.page(
            self._store,
            filters,
            offset=offset,
            limit=limit,
            order_by=order_by,
            descending=descending,
            whole=whole,
            told=heard,
        )
        return [self._run(row) for row in found]

    def ordered(
        self,
        *,
        order_by: str = "timestamp",
        descending: bool = True,
        whole: bool = True,
        first: int | None = None,
        told: Callable[[int, int, Callable[[], Ordered]], None] | None = None,
        **filters: Unpack[PageFilters],
    ) -> Ordered:
        """Return the runs in an order, to be read stretch by stretch; arguments as in `page`.

        Where only so many as `first` are wanted they are found sooner, and `told` hears of that.
        """

        def fetch(some: Sequence[int]) -> list[Run]:
            return [self._run(row) for row in pages.at(self._store, some, whole=whole)]

        def heard(done: int, total: int, found: Callable[[], list[int]]) -> None:
            if told is not None:
                told(done, total, lambda: Ordered(array("q", found()), fetch))

        seqs = pages.ordered(
            self._store,
            filters,
            order_by=order_by,
            descending=descending,
            first=first,
            told=heard,
        )
        return Ordered(seqs, fetch)

    def prepare(self, *, search: str = "", order_by: str = "") -> Iterator[tuple[int, int]]:
        """Do by and by what a search or an order of very many runs needs once; for tables.

        It yields how many runs are read of how many before each step, and nothing where all is
        done. Whoever asks for no more leaves the rest for later.
        """
        if search:
            yield from index.steps(self._store)
        if order_by:
            yield from sorting.steps(self._store, order_by)

    def has_many(self, number: int) -> bool:
        """Return whether more than `number` runs were recorded; those deleted since may count."""
        return reads.longest_number(self._store) > number

    def traced(self, run: Run) -> Run:
        """Return the same `run` as the history gives runs: its `trace` is read here."""
        return run

    def _run(self, row: Sequence[Any]) -> Run:
        return self.traced(run_of(row))

    def _trace(self, run: Run) -> pd.DataFrame:
        nodes: Sequence[NodeRun] = run.nodes
        if not nodes:
            if self.tracer is None:
                msg = f"The nodes of run {run.id} are not in the history: use ws.trace(run)"
                raise HistoryError(msg)
            nodes = self.tracer(self, run)
        return trace_frame(nodes)

    def _trace_of_light(self, run: Run) -> pd.DataFrame:
        return self._trace(self.get(run.id))
