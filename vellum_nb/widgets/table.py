"""`HistoryView`: the runs of a history as a table that reads only the page of rows it shows.

Sorting, filtering and counting happen in SQL. A long history is read outside the kernel's own
thread, one request after the other; a request that its page has replaced by another is not
answered, and its query is cancelled.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import Any, NamedTuple

import traitlets

from vellum_nb.errors import HistoryError
from vellum_nb.escaping import printed
from vellum_nb.history import (
    OPTIONAL_COLUMNS,
    History,
    OrderedRuns,
    index_for_search,
    ordered_runs,
)
from vellum_nb.models import Run
from vellum_nb.rendering.format import lookup_text, plural
from vellum_nb.widgets.base import Debouncer, SerialExecutor, close_with_cell
from vellum_nb.widgets.table_rows import (
    JOINED,
    column_kind,
    default_columns,
    fitting_rows,
    known_columns,
    static_html,
)
from vellum_nb.widgets.table_view import MAX_TEXT, Format, TableView, Window, read_int, refuse

_MAX_ROWS, _FEWEST_ROWS = 200, 40
_FIRST = Window("", 0, 0, 40)
_MAX_CELLS = 4_000
_MAX_SELECTED = 1000
_MAX_COLUMNS = 100
_MAX_VIEWS = 16
_LONG = 20_000  # histories of more runs are read outside the kernel's own thread
_COUNTED = 1000  # that many are counted in no time
_SAMPLE = 100
_MOST_NAMES = 250  # of inputs, and of outputs
_STATIC_ROWS = 10
_REFRESH_S = 0.2

OnStart = Callable[[Callable[[], None]], None]


class Counts(NamedTuple):
    """How many runs are found, and how many there are; where `rough`, at least so many."""

    total: int
    recorded: int
    rough: bool


class HistorySource:
    """The rows of a table: a history, the filters given in code, and what columns there are.

    Inputs and outputs become columns as they are met: those of the newest runs at first, then
    those of every row that was looked at.
    """

    def __init__(
        self, history: History, filters: Mapping[str, Any], can: Sequence[str] = ()
    ) -> None:
        self.history, self._can = history, list(can)
        self._filters = {key: value for key, value in filters.items() if value is not None}
        self.first_search = str(self._filters.pop("search", ""))
        self._ordered: tuple[str, OrderedRuns] | None = None
        self._counts = "", Counts(0, 0, rough=False)
        self._inputs: dict[str, None] = {}
        self._outputs: dict[str, None] = {}
        self._deployments: set[str] = set()
        self._optional: set[str] = set()
        newest = ordered_runs(history, whole=False, limit=_SAMPLE, **self._filters)
        self._meet(newest.runs(offset=0, limit=_SAMPLE))

    @property
    def known(self) -> list[str]:
        """The names of all columns."""
        inputs, outputs = (list(each)[:_MOST_NAMES] for each in (self._inputs, self._outputs))
        return known_columns(inputs, outputs, optional=self._optional)

    def head(self) -> dict[str, Any]:
        """Return what the browser must know beside the rows: title, chips, columns."""
        deployment = self._filters.get("deployment")
        known = self.known
        names = {"inputs": len(self._inputs), "outputs": len(self._outputs)}
        many = [f"{count:,} {kind}" for kind, count in names.items() if count > _MOST_NAMES]
        return {
            "title": deployment if isinstance(deployment, str) else ", ".join(deployment or ()),
            "chips": [
                {"name": name, "text": _chip(name, value)}
                for name, value in self._filters.items()
                if name != "deployment"
            ],
            "columns": [
                {"name": name, "kind": column_kind(name), "sortable": name not in JOINED}
                for name in known
            ],
            "default": default_columns(known, mixed=len(self._deployments) > 1),
            "note": f"{' and '.join(many)}; the first {_MOST_NAMES} can be columns" if many else "",
            "can": self._can,
            "formats": [{"name": "csv", "suffix": ".csv", "label": "CSV"}],
        }

    def drop(self, name: object) -> None:
        """Take a filter away."""
        if name not in self._filters or name == "deployment":
            refuse(f"there is no filter {name!r:.60} to remove")
        del self._filters[str(name)]

    @property
    def is_long(self) -> bool:
        """Whether answers may take more than a moment."""
        return self.history.count(limit=_LONG + 1) > _LONG

    def rows(
        self, query: Mapping[str, Any], window: Window, on_start: OnStart, *, again: bool
    ) -> dict[str, Any]:
        """Return the rows of `window`; `on_start` is called with what cancels a sort."""
        key = repr((self.filters(query), query["order_by"]))
        known, counts = self._counts
        again = again or known != key
        runs = self.page(
            query, offset=window.offset, limit=window.limit, again=again, on_start=on_start
        )
        if again or counts.rough:
            seen = max(window.offset + len(runs), counts.total if known == key else 0)
            counts = self.count(query, seen, exact=not self.is_long)
        self._counts = key, counts
        self._meet(runs)
        rows = fitting_rows(runs, query["columns"], search=query["search"])
        columns = {"columns": query["columns"], "rough": counts.rough}
        return window.message(rows, counts.total, counts.recorded) | columns

    def page(
        self,
        query: Mapping[str, Any],
        *,
        offset: int,
        limit: int,
        again: bool = False,
        on_start: OnStart = lambda _cancel: None,
    ) -> list[Run]:
        """Return runs in the order of `query`; one of another column than time is sorted once."""
        filters = self.filters(query)
        order: dict[str, Any] = {"order_by": query["order_by"], "descending": query["descending"]}
        order["whole"] = "search" in filters  # a match may be far into a large value
        if query["order_by"] == "timestamp":
            runs = ordered_runs(self.history, limit=offset + limit, **order, **filters)
            return runs.runs(offset=offset, limit=limit)
        key = repr((sorted(filters.items()), order))
        if again or self._ordered is None or self._ordered[0] != key:
            self._ordered = key, ordered_runs(self.history, on_start=on_start, **order, **filters)
        return self._ordered[1].runs(offset=offset, limit=limit)

    def forget_order(self) -> None:
        """Drop the sorted ids of the runs."""
        self._ordered = None

    def filters(self, query: Mapping[str, Any]) -> dict[str, Any]:
        """Return the filters given in code, and what is searched for."""
        return self._filters | ({"search": query["search"]} if query["search"].strip() else {})

    def count(self, query: Mapping[str, Any], seen: int = 0, *, exact: bool) -> Counts:
        """Return how many runs are found and stored: counted, or, of many, at least so many."""

        def counted(filters: Mapping[str, Any], at_least: int) -> tuple[int, bool]:
            if exact:
                return self.history.count(**filters), False
            found = self.history.count(**filters, limit=_COUNTED)
            return max(at_least, found), found >= _COUNTED

        filters = self.filters(query)
        total, rough = counted(filters, seen)
        if set(filters) <= {"deployment"}:
            return Counts(total, total, rough)
        every = {key: value for key, value in filters.items() if key == "deployment"}
        recorded, rougher = counted(every, total)
        return Counts(total, recorded, rough or rougher)

    def summary(self, query: Mapping[str, Any]) -> str:
        """Return how many runs `query` finds, in words; of very many only that they are."""
        total = self.history.count(**self.filters(query), limit=_LONG + 1)
        return f"over {_LONG:,} runs" if total > _LONG else plural(total, "run")

    def _meet(self, runs: Sequence[Run]) -> None:
        for run in runs:
            self._inputs.update(dict.fromkeys(run.inputs))
            self._outputs.update(dict.fromkeys(run.outputs))
            self._deployments.add(run.deployment)
            self._optional |= {name for name in OPTIONAL_COLUMNS if getattr(run, name) is not None}


def _chip(name: str, value: Any) -> str:
    if name == "ids":
        return f"{len(list(value))} chosen runs"
    if name in {"since", "until"}:
        with suppress(ValueError):
            at = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
            clock = f" {at:%H:%M}" if (at.hour, at.minute) != (0, 0) else ""
            return f"{name} {at.day} {at:%b %Y}{clock}"
    words = ", ".join(map(str, value)) if isinstance(value, list | tuple | set) else str(value)
    return f"{name} {words}"


class _ReplacedError(Exception):
    """The page asks for something else by now, or is closed."""


class HistoryView(TableView):
    """The interactive table of a history; `History.view` makes it.

    Parameters
    ----------
    history : History
        Where the runs are; the table follows what is recorded.
    side_by_side : callable
        Makes safe HTML of the selected runs.
    look_up : callable, optional
        Looks up a run in doubt, and returns it as it is then.
    **filters
        The runs to show, as in `History.runs`.

    Attributes
    ----------
    selected : list of Run
        The selected runs, newest first.
    selected_ids : list of str
        Their ids; set it to select.
    search : str
        Only runs with this text; a trait.
    order_by, descending : str, bool
        The column that is sorted by, and which way; traits.
    columns : list of str
        The visible columns: names of the history frame, and ``outputs``; a trait.
    total, recorded : int
        How many runs the filters find, and how many of the deployment there are; traits.
    export_folder : Path or None
        Where Export writes its files; None, the default: the working directory.

    Examples
    --------
    >>> from vellum_nb import History
    >>> HistoryView(History(":memory:"), side_by_side=lambda runs: "")
    HistoryView(0 runs)
    """

    QUERY = ("search", "order_by", "descending", "columns")
    FROM_PAGE = frozenset({"selected_ids"})

    selected_ids = traitlets.List(traitlets.Unicode()).tag(sync=True)
    order_by = traitlets.Unicode("timestamp").tag(sync=True)
    descending = traitlets.Bool(True).tag(sync=True)  # noqa: FBT003
    columns = traitlets.List(traitlets.Unicode()).tag(sync=True)
    total = traitlets.Int(0)
    recorded = traitlets.Int(0)
    _side = traitlets.Unicode("").tag(sync=True)

    def __init__(
        self,
        history: History,
        *,
        side_by_side: Callable[[Sequence[Run]], str],
        look_up: Callable[[Run], Run] | None = None,
        **filters: Any,
    ) -> None:
        self._closed = False
        self._debouncer = Debouncer(self.refresh, name="vellum-nb-history-view", least=_REFRESH_S)
        self._executor = SerialExecutor("vellum-nb-history-table")
        self._counting = SerialExecutor("vellum-nb-history-count")
        self._windows: dict[str, Window] = {}
        self._cancel: tuple[Window, Callable[[], None]] | None = None
        self._unsubscribe: Callable[[], None] = lambda: None
        self._forget_order: Callable[[], None] = lambda: None  # if the history cannot be read
        self._side_by_side = side_by_side
        self._look_up = look_up
        self._lookups = SerialExecutor("vellum-nb-look-ups")
        can = [] if look_up is None else ["look_up"]
        self._source = source = HistorySource(history, filters, can)
        self._forget_order = source.forget_order
        head = source.head()
        super().__init__(
            kind="runs", search=source.first_search, columns=head["default"], _head=head
        )
        self._first = self._read(self.query, _FIRST, again=True)
        self.actions |= {
            "select_range": self._on_range,
            "side_by_side": self._on_side,
            "look_up": self._on_look_up,
            "close_side": lambda _message: self.set_trait("_side", ""),
            "drop_filter": self._on_drop_filter,
        }
        self.observe(self._on_selected, "selected_ids")
        self._may_be_deleted = False
        poke = self._debouncer.poke
        self._unsubscribe = history.subscribe(lambda _run: poke(), on_bulk_change=self._many)
        close_with_cell(self)

    @property
    def selected(self) -> list[Run]:
        """The selected runs, newest first; those that are no longer there are left out."""
        ids, history = list(self.selected_ids), self._source.history
        return history.runs(ids=ids, skip_damaged=True) if ids else []

    @property
    def title(self) -> str:
        """The deployment that the table is about; empty for all."""
        return str(self._head["title"])

    def selected_html(self) -> str:
        """Return the selected runs side by side as safe HTML; empty when none is selected."""
        runs = sorted(self.selected, key=lambda run: (run.release_tag, run.timestamp))
        return self._side_by_side(runs) if runs else ""

    def show_side_by_side(self) -> None:
        """Show the selected runs side by side under the table, as the button does."""
        self._side = self.selected_html()

    def refresh(self) -> None:
        """Read the runs again. The table does so by itself when one is recorded."""
        self.guarded("rows", self._refresh)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until reading, counting and look-ups have ended; return whether they have."""
        executors = self._lookups, self._executor, self._counting
        return all(executor.wait(timeout) for executor in executors)

    def close(self) -> None:
        """Close the widget and stop following the history."""
        self._closed = True
        self._unsubscribe()
        self._cancel_replaced()
        self._debouncer.close()
        super().close()
        self._forget_order()

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take from the page what it may set: the selection."""

        def select() -> None:
            super(HistoryView, self).set_state(
                {"selected_ids": _selection(sync_data["selected_ids"])}
            )

        if "selected_ids" in sync_data:
            self.guarded("action", select)

    @property
    def most_rows(self) -> int:
        """How many rows may travel at once: the fewer, the more columns they have."""
        return min(_MAX_ROWS, max(_FEWEST_ROWS, _MAX_CELLS // max(1, len(self.columns))))

    def submit(self, topic: str, call: Callable[[], None]) -> None:
        """Make a call that reads the history; of a long one not in the kernel's own thread."""
        if self._source.is_long:
            self._executor.submit(lambda: self.guarded(topic, call))
        else:
            self.guarded(topic, call)

    def formats(self) -> dict[str, Format]:
        """Return what Export can write."""
        write, filters = self._source.history.to_csv, self._source.filters(self.query)
        return {"csv": Format("CSV", ".csv", partial(write, progress=False, **filters))}

    @property
    def exported_rows(self) -> int:
        """How many runs an export has."""
        return self._source.count(self.query, exact=True).total

    def _on_rows(self, message: Mapping[str, Any]) -> None:
        window = Window.of(message, 1)
        self._windows.pop(window.view, None)
        self._windows[window.view] = window
        while len(self._windows) > _MAX_VIEWS:
            del self._windows[next(iter(self._windows))]
        self._cancel_replaced()
        super()._on_rows(message)

    def show_rows(self, query: dict[str, Any], window: Window, *, again: bool) -> None:
        """Send the rows of a window, and count what was not counted."""
        with suppress(_ReplacedError):
            self._refuse_replaced(window)
            if query["search"].strip():
                index_for_search(self._source.history, partial(self._on_progress, window))
            answer = self._read(query, window, again=again)
            self._refuse_replaced(window)
            self.send(answer)
            if answer["rough"]:
                self._counting.submit(partial(self._send_counts, query, window))

    def _read(self, query: dict[str, Any], window: Window, *, again: bool) -> dict[str, Any]:
        def on_start(cancel: Callable[[], None]) -> None:
            self._cancel = window, cancel
            self._cancel_replaced()

        try:
            answer = self._source.rows(query, window, on_start, again=again)
        except HistoryError:
            self._refuse_replaced(window)
            raise
        finally:
            self._cancel = None
        self._take_counts(answer)
        return answer

    def _send_counts(self, query: dict[str, Any], window: Window) -> None:
        with suppress(_ReplacedError, HistoryError):  # the next request for rows says it
            self._refuse_replaced(window)
            found = self._source.count(query, exact=True)
            self._refuse_replaced(window)
            message = {"total": found.total, "all": found.recorded}
            self._take_counts(message)
            self.send({"kind": "total", **message})

    def _take_counts(self, answer: Mapping[str, Any]) -> None:
        """Take from an answer what there is to know beside its rows."""
        head, before = self._source.head(), self._head
        with self.lock:
            self.total, self.recorded = answer["total"], answer["all"]
            if head != before:
                self._head = head
                if self.columns == before["default"]:
                    self.columns = head["default"]

    def _on_progress(self, window: Window, done: int, total: int) -> None:
        self._refuse_replaced(window)
        self.send({"kind": "progress", "view": window.view, "reach": (done, total)})

    def _is_replaced(self, window: Window) -> bool:
        return self._closed or self._windows.get(window.view, window).seq != window.seq

    def _refuse_replaced(self, window: Window) -> None:
        if self._is_replaced(window):
            raise _ReplacedError

    def _cancel_replaced(self) -> None:
        running = self._cancel
        if running is not None and self._is_replaced(running[0]):
            running[1]()

    def _many(self) -> None:
        self._may_be_deleted = True
        self._debouncer.poke()

    def _refresh(self) -> None:
        if self._may_be_deleted:
            self._may_be_deleted = False
            here = {run.id for run in self.selected}
            self.selected_ids = [run_id for run_id in self.selected_ids if run_id in here]
        if self._windows:
            self.send({"kind": "changed"})
        else:
            self._first = self._read(self.query, _FIRST, again=True)

    def _on_range(self, message: Mapping[str, Any]) -> None:
        """Select rows by position, also those that never travelled to the browser."""
        keep = _selection(message.get("keep"))
        ends = [read_int(message.get(name), 0, 2**53) for name in ("from", "to")]
        offset, limit, query = min(ends), max(ends) - min(ends) + 1, self.query
        room = _MAX_SELECTED - len(keep)

        def select() -> None:
            runs = self._source.page(query, offset=offset, limit=min(limit, room))
            self.selected_ids = list(dict.fromkeys([*keep, *(run.id for run in runs)]))
            if min(limit, self.total - offset) > room:
                msg = f"At most {_MAX_SELECTED:,} runs can be selected here; these are the first."
                raise HistoryError(msg)

        self.submit("action", select)

    def _on_side(self, message: Mapping[str, Any]) -> None:
        if "ids" in message:
            self.selected_ids = _selection(message["ids"])
        self.show_side_by_side()

    def _on_look_up(self, message: Mapping[str, Any]) -> None:
        """Look up those of some runs that are in doubt, in a thread of their own."""
        ids = _selection(message.get("ids"))
        self._lookups.submit(lambda: self.guarded("action", partial(self._look_up_all, ids)))

    def _look_up_all(self, ids: Sequence[str]) -> None:
        look_up, history = self._look_up, self._source.history
        runs = history.runs(ids=ids, skip_damaged=True) if ids and look_up else []
        looked_up: list[Run] = []
        try:
            looked_up.extend(look_up(run) for run in runs if look_up and run.in_doubt)
        finally:
            self.send({"kind": "looked_up", "text": lookup_text(looked_up) if looked_up else ""})

    def _on_selected(self, _change: object) -> None:
        if self._side:
            self.guarded("action", self.show_side_by_side)

    def _on_drop_filter(self, message: Mapping[str, Any]) -> None:
        self._source.drop(message.get("name"))
        self._head = self._source.head()
        self.submit("rows", self._refresh)

    @traitlets.validate("columns", "order_by")
    def _valid_names(self, proposal: Mapping[str, Any]) -> Any:
        name, value, known = proposal["trait"].name, proposal["value"], self._source.known
        if name == "order_by":
            known = [each for each in known if each not in JOINED]
        names = [value] if name == "order_by" else list(dict.fromkeys(value))[:_MAX_COLUMNS]
        if unknown := [each for each in names if each not in known]:
            what = "order" if name == "order_by" else "column"
            msg = f"there is no {what} {', '.join(unknown)}; there are: {', '.join(known)}"
            raise traitlets.TraitError(msg)
        return value if name == "order_by" else names

    @printed
    def __repr__(self) -> str:
        try:
            return f"HistoryView({self._source.summary(self.query)})"
        except HistoryError:
            return "HistoryView(history closed or unreadable)"

    def _html(self) -> str:
        try:
            runs = self._source.page(self.query, offset=0, limit=_STATIC_ROWS)
            return static_html(runs, self._source.summary(self.query), self.columns)
        except HistoryError:
            return "<p>The history is closed or unreadable.</p>"


def _selection(value: object) -> list[str]:
    """Return a list of run ids without repeats, or raise."""
    is_list = isinstance(value, list) and len(value) <= _MAX_SELECTED
    if not is_list or not all(isinstance(each, str) and len(each) <= MAX_TEXT for each in value):  # type: ignore[attr-defined]
        refuse(f"a selection is a list of at most {_MAX_SELECTED:,} run ids")
    return list(dict.fromkeys(value))  # type: ignore[call-overload]
