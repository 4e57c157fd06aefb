"""`HistoryView`: the runs of a history as a table that reads one page of rows at a time.

Sorting, filtering and counting use SQL. Large histories are read outside the kernel's main thread,
one request at a time; a new request of the same page cancels the previous query.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, get_args

import ipywidgets as ipw
import traitlets

from vellum_nb.comparison.actions import Actions
from vellum_nb.errors import HistoryError
from vellum_nb.escaping import printed
from vellum_nb.history import (
    OPTIONAL_COLUMNS,
    RATINGS,
    History,
    OrderedRuns,
    index_for_search,
    ordered_runs,
    recorded_tags,
)
from vellum_nb.models import Run, RunState
from vellum_nb.models.checks import available, cut
from vellum_nb.rendering.format import plural, visible_name
from vellum_nb.widgets.base import Debouncer, SerialExecutor, close_with_cell
from vellum_nb.widgets.outputs import lookup_text, side_by_side_html
from vellum_nb.widgets.table_rows import (
    JOINED,
    column_kind,
    default_columns,
    fitting_rows,
    known_columns,
    static_html,
)
from vellum_nb.widgets.table_run import RunDetail
from vellum_nb.widgets.table_view import (
    MAX_TEXT,
    Format,
    TableView,
    Window,
    offer_case_sets,
    read_int,
    refuse,
)

if TYPE_CHECKING:
    from vellum_nb.widgets.form import RunForm

_MAX_ROWS, _MIN_ROWS = 200, 40
_FIRST = Window("", 0, 0, 40)
_MAX_CELLS = 4_000
_MAX_SELECTED = 1000
_MAX_COLUMNS = 100
_MAX_VIEWS = 16
_LARGE_HISTORY = 20_000  # larger histories are read outside the kernel's main thread
_MAX_COUNTED = 1000  # runs that can be counted without delay
_SAMPLE = 100
_MAX_NAMES = 250  # inputs, and as many outputs
_MAX_OPTIONS, _MAX_OPTION_CHARS = 50, 40  # of a filter
_STATIC_ROWS = 10

OnStart = Callable[[Callable[[], None]], None]


class Counts(NamedTuple):
    """Number of matching and of all runs; lower bounds if `rough`."""

    total: int
    recorded: int
    rough: bool


class HistorySource:
    """Rows of the table: history, filters set in code, and available columns.

    The columns of inputs and outputs are those of the newest runs at first, and of all rows read
    later.
    """

    def __init__(
        self, history: History, filters: Mapping[str, Any], can: Sequence[str] = ()
    ) -> None:
        self.history, self._can = history, list(can)
        self._filters = {key: value for key, value in filters.items() if value is not None}
        self.first_search = str(self._filters.pop("search", ""))
        self._ordered: tuple[str, OrderedRuns] | None = None
        self._counts = "", Counts(0, 0, rough=False)
        self._added: set[str] = set()  # names of filters added in the page
        self._inputs: dict[str, None] = {}
        self._outputs: dict[str, None] = {}
        # values of the filters that can be added in the page, by name
        self._values: dict[str, dict[str, None]] = {"state": dict.fromkeys(get_args(RunState))}
        self._values |= {"release_tag": {}, "deployment": {}, "author": {}}
        self._values["rating"] = dict.fromkeys(RATINGS)
        self._optional: set[str] = set()
        newest = ordered_runs(history, whole=False, limit=_SAMPLE, **self._filters)
        self._meet(newest.runs(offset=0, limit=_SAMPLE))
        deployment = self._filters.get("deployment")
        if isinstance(deployment, str) and not self.is_long:
            self._values["release_tag"] |= dict.fromkeys(recorded_tags(history, deployment))

    @property
    def known(self) -> list[str]:
        """The names of all columns."""
        inputs, outputs = (list(names)[:_MAX_NAMES] for names in (self._inputs, self._outputs))
        return known_columns(inputs, outputs, optional=self._optional)

    def head(self) -> dict[str, Any]:
        """Return the heading of the page: title, chips, columns."""
        deployment = self._filters.get("deployment")
        columns = self.known
        names = {"inputs": len(self._inputs), "outputs": len(self._outputs)}
        many = [f"{count:,} {kind}" for kind, count in names.items() if count > _MAX_NAMES]
        return {
            "title": deployment if isinstance(deployment, str) else ", ".join(deployment or ()),
            "chips": [
                {"name": name, "text": _chip(name, value)}
                for name, value in self._filters.items()
                if name != "deployment" or name in self._added
            ],
            "filters": [
                {"name": name, "values": _options(values)}
                for name, values in self._values.items()
                if len(values) > 1 and name not in self._filters
            ],
            "columns": [
                {"name": name, "kind": column_kind(name), "sortable": name not in JOINED}
                for name in columns
            ],
            "default": default_columns(columns, mixed=len(self._values["deployment"]) > 1),
            "note": f"{' and '.join(many)}; the first {_MAX_NAMES} can be columns" if many else "",
            "can": self._can,
            "formats": [{"name": "csv", "suffix": ".csv", "label": "CSV"}],
        }

    def add(self, name: object, value: object) -> None:
        """Add a filter; `value` is one of those offered."""
        if not (isinstance(name, str) and isinstance(value, str)):
            refuse(f"unknown filter {name!r:.60}")
        if name in self._filters or value not in self._values.get(name, ()):
            refuse(f"{value!r:.60} is not offered as a filter {name!r:.60}")
        self._filters[name] = value
        self._added.add(name)

    def drop(self, name: object) -> None:
        """Remove a filter, except the deployment that was set in code."""
        if name not in self._filters or (name == "deployment" and name not in self._added):
            refuse(f"unknown filter {name!r:.60}")
        del self._filters[str(name)]
        self._added.discard(str(name))

    @property
    def is_long(self) -> bool:
        """True if reading may take long."""
        return self.history.count(limit=_LARGE_HISTORY + 1) > _LARGE_HISTORY

    def rows(
        self, query: Mapping[str, Any], window: Window, on_start: OnStart, *, reread: bool
    ) -> dict[str, Any]:
        """Return the rows of `window`; `on_start` receives the function that cancels a sort."""
        key = repr((self.filters(query), query["order_by"]))
        counted_key, counts = self._counts
        reread = reread or counted_key != key
        runs = self.page(
            query, offset=window.offset, limit=window.limit, reread=reread, on_start=on_start
        )
        if reread or counts.rough:
            seen = max(window.offset + len(runs), counts.total if counted_key == key else 0)
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
        reread: bool = False,
        on_start: OnStart = lambda _cancel: None,
    ) -> list[Run]:
        """Return runs in the order of `query`; an order other than by time is cached."""
        filters = self.filters(query)
        order: dict[str, Any] = {"order_by": query["order_by"], "descending": query["descending"]}
        order["whole"] = "search" in filters  # the match may be far into a large value
        if query["order_by"] == "timestamp":
            runs = ordered_runs(self.history, limit=offset + limit, **order, **filters)
            return runs.runs(offset=offset, limit=limit)
        key = repr((sorted(filters.items()), order))
        if reread or self._ordered is None or self._ordered[0] != key:
            self._ordered = key, ordered_runs(self.history, on_start=on_start, **order, **filters)
        return self._ordered[1].runs(offset=offset, limit=limit)

    def forget_order(self) -> None:
        """Drop the cached order of the runs."""
        self._ordered = None

    def filters(self, query: Mapping[str, Any]) -> dict[str, Any]:
        """Return the filters set in code and the search."""
        return self._filters | ({"search": query["search"]} if query["search"].strip() else {})

    def count(self, query: Mapping[str, Any], seen: int = 0, *, exact: bool) -> Counts:
        """Count the matching and all stored runs, up to a limit."""

        def counted(filters: Mapping[str, Any], at_least: int) -> tuple[int, bool]:
            if exact:
                return self.history.count(**filters), False
            count = self.history.count(**filters, limit=_MAX_COUNTED)
            return max(at_least, count), count >= _MAX_COUNTED

        filters = self.filters(query)
        total, rough = counted(filters, seen)
        if set(filters) <= {"deployment"}:
            return Counts(total, total, rough)
        deployment_filter = {key: value for key, value in filters.items() if key == "deployment"}
        recorded, rougher = counted(deployment_filter, total)
        return Counts(total, recorded, rough or rougher)

    def summary(self, query: Mapping[str, Any]) -> str:
        """Describe the number of runs that match `query`; approximate for large numbers."""
        total = self.history.count(**self.filters(query), limit=_LARGE_HISTORY + 1)
        return f"over {_LARGE_HISTORY:,} runs" if total > _LARGE_HISTORY else plural(total, "run")

    def _meet(self, runs: Sequence[Run]) -> None:
        for run in runs:
            self._inputs.update(dict.fromkeys(run.inputs))
            self._outputs.update(dict.fromkeys(run.outputs))
            for name in ("release_tag", "deployment", "author"):
                if value := getattr(run, name):
                    self._values[name].setdefault(value)
            self._optional |= {name for name in OPTIONAL_COLUMNS if getattr(run, name) is not None}


def _options(values: Iterable[str]) -> list[tuple[str, str]]:
    """Return the values of a filter with their texts."""
    short = [value for value in values if len(value) <= MAX_TEXT]
    return [(value, cut(visible_name(value), _MAX_OPTION_CHARS)) for value in short[:_MAX_OPTIONS]]


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
    """Raised when the page has sent a newer request or is closed."""


class HistoryView(TableView):
    """Interactive table of a history; created by `History.view`.

    Parameters
    ----------
    history : History
        The history to display; the table follows new runs.
    actions : Actions, optional
        Operations of a workspace: ratings, traces and look-ups. Default: an open run is read-only.
    make_form : callable, optional
        Returns the form of a deployment, to run an open run again.
    **filters
        The runs to show, as in `History.runs`.

    Attributes
    ----------
    selected : list of Run
        The selected runs, newest first.
    selected_ids : list of str
        Their ids; can be set.
    search : str
        Text that the runs contain; a trait.
    order_by, descending : str, bool
        Column and direction of the order; traits.
    columns : list of str
        The visible columns: names of the history frame, and ``outputs``; a trait.
    opened : str
        Id of the open run; set with `open_run`.
    total, recorded : int
        Number of matching runs, and of all runs of the deployment; traits.
    export_folder : Path or None
        Folder of exported files; None, the default, for the working directory.

    Examples
    --------
    >>> from vellum_nb import History
    >>> HistoryView(History(":memory:"))
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
    opened = traitlets.Unicode("").tag(sync=True)
    details = traitlets.Instance(ipw.Widget, allow_none=True).tag(
        sync=True, **ipw.widget_serialization
    )
    _side = traitlets.Unicode("").tag(sync=True)

    def __init__(
        self,
        history: History,
        *,
        actions: Actions | None = None,
        make_form: Callable[[str], RunForm] | None = None,
        **filters: Any,
    ) -> None:
        self._closed = False
        self._debouncer = Debouncer(self.refresh, name="vellum-nb-history-view")
        self._executor = SerialExecutor("vellum-nb-history-table")
        self._counting = SerialExecutor("vellum-nb-history-count")
        self._windows: dict[str, Window] = {}
        self._cancel: tuple[Window, Callable[[], None]] | None = None
        self._unsubscribe: Callable[[], None] = lambda: None
        self._forget_order: Callable[[], None] = lambda: None  # if the history cannot be read
        self._actions, self._make_form = actions, make_form
        self._detail: RunDetail | None = None  # made for the first open run
        self._lookups = SerialExecutor("vellum-nb-look-ups")
        can = [] if actions is None else ["look_up", "set"]
        self._source = source = HistorySource(history, filters, can)
        self._forget_order = source.forget_order
        head = source.head()
        super().__init__(
            kind="runs", search=source.first_search, columns=head["default"], _head=head
        )
        self._first = self._read(self.query, _FIRST, reread=True)
        self.actions |= {
            "select_range": self._on_range,
            "side_by_side": self._on_side,
            "look_up": self._on_look_up,
            "close_side": lambda _message: self.set_trait("_side", ""),
            "filter": lambda m: self._filter(source.add, m.get("name"), m.get("value")),
            "drop_filter": lambda message: self._filter(source.drop, message.get("name")),
            "open": lambda message: self.open_run(message.get("id")),
            "close": lambda _message: self.close_run(),
        }
        if actions is not None:
            offer_case_sets(self, actions, self._chosen_runs, self._lookups.submit)
        self.observe(self._on_selected, "selected_ids")
        self._may_be_deleted = False
        poke = self._debouncer.poke
        self._unsubscribe = history.subscribe(lambda _run: poke(), on_bulk_change=self._many)
        close_with_cell(self)

    @property
    def selected(self) -> list[Run]:
        """The selected runs, newest first, without deleted ones."""
        ids, history = list(self.selected_ids), self._source.history
        return history.runs(ids=ids, skip_damaged=True) if ids else []

    @property
    def title(self) -> str:
        """The deployment of the table; empty for all."""
        return str(self._head["title"])

    def selected_html(self) -> str:
        """Return the selected runs side by side as safe HTML; empty without a selection."""
        runs = sorted(self.selected, key=lambda run: (run.release_tag, run.timestamp))
        return side_by_side_html(runs, inputs=True) if runs else ""

    def show_side_by_side(self) -> None:
        """Show the selected runs side by side under the table, like the button."""
        self._side = self.selected_html()

    def open_run(self, run_id: Any) -> None:
        """Open a run next to the table, like a click: inputs, outputs, trace, *Run again…*."""
        run = self._source.history.get(run_id)
        if self._detail is None:
            make_form = None if self._make_form is None else self._new_form
            self._detail = RunDetail(self._actions, make_form, self.close_run)
            self.details = self._detail.widget
        self._detail.show_run(run)
        self.opened = run.id

    def _reopen(self) -> None:
        """Show the current state of the open run, or close it if it was deleted."""
        if self.opened and self._detail is not None:
            runs = self._source.history.runs(ids=[self.opened], skip_damaged=True)
            self._detail.show_run(runs[0]) if runs else self.close_run()

    def close_run(self) -> None:
        """Close the open run; its form keeps what was entered."""
        self.opened = ""
        if self._detail is not None:
            self._detail.hide()

    def _new_form(self, deployment: str) -> RunForm:
        assert self._make_form is not None  # noqa: S101  (the caller checks it)
        form = self._make_form(deployment)
        form.cells = self.cells  # open as long as the table
        return form

    @property
    def busy(self) -> bool:
        """True while an open run is executed again."""
        return self._detail is not None and self._detail.busy

    def refresh(self) -> None:
        """Reload the runs. The table also reloads when a run is recorded."""
        self.guarded("rows", self._refresh)

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until reading, counting and look-ups have finished; return False on a timeout."""
        executors = self._lookups, self._executor, self._counting
        return all(executor.wait(timeout) for executor in executors)

    def close(self) -> None:
        """Close the widget and unsubscribe from the history."""
        self._closed = True
        self._unsubscribe()
        self._cancel_replaced()
        self._debouncer.close()
        if self._detail is not None:
            self._detail.close()
        super().close()
        self._forget_order()

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Apply the traits that the page can set: the selection."""

        def select() -> None:
            super(HistoryView, self).set_state(
                {"selected_ids": _selection(sync_data["selected_ids"])}
            )

        if "selected_ids" in sync_data:
            self.guarded("action", select)

    @property
    def most_rows(self) -> int:
        """The maximum number of rows per message, which depends on the columns."""
        return min(_MAX_ROWS, max(_MIN_ROWS, _MAX_CELLS // max(1, len(self.columns))))

    def submit(self, topic: str, call: Callable[[], None]) -> None:
        """Run `call`, which reads the history; in another thread if that may take long."""
        if self._source.is_long:
            self._executor.submit(lambda: self.guarded(topic, call))
        else:
            self.guarded(topic, call)

    def formats(self) -> dict[str, Format]:
        """Return the export formats."""
        write, filters = self._source.history.to_csv, self._source.filters(self.query)
        return {"csv": Format("CSV", ".csv", partial(write, progress=False, **filters))}

    @property
    def exported_rows(self) -> str:
        """The number of exported runs as text."""
        return plural(self._source.count(self.query, exact=True).total, "run")

    def _on_rows(self, message: Mapping[str, Any]) -> None:
        window = Window.of(message, 1)
        self._windows.pop(window.view, None)
        self._windows[window.view] = window
        while len(self._windows) > _MAX_VIEWS:
            del self._windows[next(iter(self._windows))]
        self._cancel_replaced()
        super()._on_rows(message)

    def show_rows(self, query: dict[str, Any], window: Window, *, reread: bool) -> None:
        """Send the rows of a window, and the counts that are still missing."""
        with suppress(_ReplacedError):
            self._refuse_replaced(window)
            if query["search"].strip():
                index_for_search(self._source.history, partial(self._on_progress, window))
            answer = self._read(query, window, reread=reread)
            self._refuse_replaced(window)
            self.send(answer)
            if answer["rough"]:
                self._counting.submit(partial(self._send_counts, query, window))

    def _read(self, query: dict[str, Any], window: Window, *, reread: bool) -> dict[str, Any]:
        def on_start(cancel: Callable[[], None]) -> None:
            self._cancel = window, cancel
            self._cancel_replaced()

        try:
            answer = self._source.rows(query, window, on_start, reread=reread)
        except HistoryError:
            self._refuse_replaced(window)
            raise
        finally:
            self._cancel = None
        self._take_counts(answer)
        return answer

    def _send_counts(self, query: dict[str, Any], window: Window) -> None:
        with suppress(_ReplacedError, HistoryError):  # the next request for rows reports it
            self._refuse_replaced(window)
            count = self._source.count(query, exact=True)
            self._refuse_replaced(window)
            message = {"total": count.total, "all": count.recorded}
            self._take_counts(message)
            self.send({"kind": "total", **message})

    def _take_counts(self, answer: Mapping[str, Any]) -> None:
        """Update columns and counts from an answer."""
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

    def _refresh(self, *, restart: bool = False) -> None:
        """Reload the runs; `restart` also shows the first page."""
        with self.lock:  # the page opens runs in another thread
            self._reopen()
        if self._may_be_deleted:
            self._may_be_deleted = False
            existing_ids = {run.id for run in self.selected}
            self.selected_ids = [run_id for run_id in self.selected_ids if run_id in existing_ids]
        if self._windows:
            self.send({"kind": "changed", "restart": restart})
        else:
            self._first = self._read(self.query, _FIRST, reread=True)

    def _on_range(self, message: Mapping[str, Any]) -> None:
        """Select rows by position, including rows that were not sent to the browser."""
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
        """Look up the runs in doubt among the given ones, in a separate thread."""
        ids = _selection(message.get("ids"))
        self._lookups.submit(lambda: self.guarded("action", partial(self._look_up_all, ids)))

    def _look_up_all(self, ids: Sequence[str]) -> None:
        actions, history = self._actions, self._source.history
        runs = history.runs(ids=ids, skip_damaged=True) if ids and actions else []
        looked_up: list[Run] = []
        try:
            looked_up.extend(actions.look_up(run) for run in runs if actions and run.in_doubt)
        finally:
            self.send({"kind": "looked_up", "text": lookup_text(looked_up) if looked_up else ""})

    def _chosen_runs(self, message: Mapping[str, Any]) -> tuple[str | None, list[Run]]:
        """Return the deployment of the selected runs, if it is one, and the runs."""
        ids = _selection(message.get("ids"))
        runs = self._source.history.runs(ids=ids) if ids else []
        if not runs:
            refuse("none of the selected runs exists")
        deployments = {run.deployment for run in runs}
        return deployments.pop() if len(deployments) == 1 else None, runs

    def _on_selected(self, _change: object) -> None:
        if self._side:
            self.guarded("action", self.show_side_by_side)

    def _filter(self, change: Callable[..., None], *args: object) -> None:
        change(*args)
        self._head = self._source.head()
        self.submit("rows", partial(self._refresh, restart=True))

    @traitlets.validate("columns", "order_by")
    def _valid_names(self, proposal: Mapping[str, Any]) -> Any:
        name, value, columns = proposal["trait"].name, proposal["value"], self._source.known
        if name == "order_by":
            columns = [column for column in columns if column not in JOINED]
        names = [value] if name == "order_by" else list(dict.fromkeys(value))[:_MAX_COLUMNS]
        if unknown := [column for column in names if column not in columns]:
            noun = "order" if name == "order_by" else "column"
            msg = f"unknown {noun} {', '.join(unknown)}{available(columns)}"
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
    """Return the run ids without duplicates, or raise an error."""
    is_list = isinstance(value, list) and len(value) <= _MAX_SELECTED
    if not is_list or not all(isinstance(part, str) and len(part) <= MAX_TEXT for part in value):  # type: ignore[attr-defined]
        refuse(f"a selection is a list of at most {_MAX_SELECTED:,} run ids")
    return list(dict.fromkeys(value))  # type: ignore[call-overload]
