"""`HistoryView`: the runs of a history as a table that reads only the page of rows it shows.

The page asks for rows by message, and everything in a message is untrusted: numbers are clipped,
names are looked up, and what cannot be understood is left out and named in an error. Sorting,
filtering and counting happen in SQL. A long history is read outside the kernel's own thread, one
request after the other; a request that its page has replaced by another is not answered, and its
query is cancelled.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import traitlets

from vellum_nb.errors import HistoryError, VellumNBError
from vellum_nb.history import History, OrderedRuns
from vellum_nb.models import Run
from vellum_nb.widgets.base import Debouncer, SerialExecutor, ThreadSafeWidget, export_target
from vellum_nb.widgets.markup import asset, script
from vellum_nb.widgets.table_rows import (
    JOINED,
    column_kind,
    default_columns,
    fitting_rows,
    known_columns,
    static_html,
)

__all__ = [
    "Counts",
    "HistoryView",
    "LONG",
    "MAX_ROWS",
    "MAX_SELECTED",
    "Query",
    "TableReader",
    "TableSource",
    "Window",
    "ignored",
    "read_ids",
    "read_int",
    "read_query",
    "read_window",
    "selection",
]

MAX_ROWS = 200
_FEWEST_ROWS = 40  # what is in sight, and as much again
_MAX_CELLS = 4_000
MAX_SELECTED = 1000
_MAX_TEXT = 500
_MAX_COLUMNS = 100
_MAX_OFFSET = 2**53


@dataclass(frozen=True)
class Query:
    """Which runs are shown, in which order, with which columns."""

    search: str
    order_by: str
    descending: bool
    columns: tuple[str, ...]


@dataclass(frozen=True)
class Window:
    """Which rows of the result are wanted, and which view on the page wants them."""

    view: str
    seq: int
    offset: int
    limit: int


def read_query(
    content: Mapping[str, Any], present: Query, *, known: Collection[str], order: Collection[str]
) -> tuple[Query, list[str]]:
    """Return the query of a message, and what in it was not understood.

    What is missing or not understood stays as it is at `present`.

    Examples
    --------
    >>> now = Query("", "timestamp", True, ("state",))
    >>> query, problems = read_query(
    ...     {"order_by": "1; DROP TABLE runs"}, now, known=["state"], order=["timestamp"]
    ... )
    >>> query.order_by, problems
    ('timestamp', ["cannot sort by '1; DROP TABLE runs'"])
    """
    problems: list[str] = []
    search = content.get("search", present.search)
    if not isinstance(search, str):
        problems.append("the text to filter by is no text")
        search = present.search
    order_by = content.get("order_by", present.order_by)
    if not isinstance(order_by, str) or order_by not in order:
        problems.append(f"cannot sort by {_short(order_by)}")
        order_by = present.order_by
    descending = content.get("descending", present.descending)
    columns = _columns(content.get("columns"), known, problems) or present.columns
    return Query(search[:_MAX_TEXT], order_by, descending is True, columns), problems


def _columns(value: object, known: Collection[str], problems: list[str]) -> tuple[str, ...]:
    if value is None:
        return ()
    if not isinstance(value, list):
        problems.append("the columns are no list")
        return ()
    unknown = [name for name in value if not isinstance(name, str) or name not in known]
    problems.extend(f"there is no column {_short(name)}" for name in unknown[:3])
    good = [name for name in value if isinstance(name, str) and name in known]
    return tuple(dict.fromkeys(good))[:_MAX_COLUMNS]


def read_window(content: Mapping[str, Any], columns: int = 1) -> Window:
    """Return the rows that a message asks for, clipped to what may travel at once.

    Examples
    --------
    >>> read_window({"offset": -5, "limit": 10**9, "view": "a"})
    Window(view='a', seq=0, offset=0, limit=200)
    >>> read_window({"limit": 10**9}, columns=50).limit
    80
    """
    most = min(MAX_ROWS, max(_FEWEST_ROWS, _MAX_CELLS // max(1, columns)))
    view = content.get("view")
    return Window(
        view=view[:40] if isinstance(view, str) else "",
        seq=read_int(content.get("seq"), 0, _MAX_OFFSET),
        offset=read_int(content.get("offset"), 0, _MAX_OFFSET),
        limit=read_int(content.get("limit"), 1, most),
    )


def read_int(value: object, low: int, high: int) -> int:
    """Return `value` between `low` and `high`; what is no whole number is `low`."""
    if isinstance(value, bool) or not isinstance(value, int):
        return low
    return max(low, min(value, high))


def read_ids(value: object) -> list[str] | None:
    """Return a list of run ids without repeats, or None when it is none or too long.

    Examples
    --------
    >>> read_ids(["b", "a", "b"]), read_ids("ab"), read_ids([1])
    (['b', 'a'], None, None)
    """
    if not isinstance(value, list) or len(value) > MAX_SELECTED:
        return None
    if not all(isinstance(item, str) and len(item) <= _MAX_TEXT for item in value):
        return None
    return list(dict.fromkeys(value))


def selection(value: object) -> list[str]:
    """Return the run ids of a selection, or raise what the table then says."""
    ids = read_ids(value)
    if ids is None:
        ignored(f"a selection is a list of at most {MAX_SELECTED:,} run ids")
    return ids


def ignored(why: str) -> NoReturn:
    """Raise what the table says of a message that it could not use."""
    msg = f"The table left something out: {why}."
    raise HistoryError(msg)


def _short(value: object) -> str:
    return repr(value)[:60]


LONG = 20_000
"""Histories of more runs are read outside the kernel's own thread."""
_COUNTED = 1000  # that many are counted in no time

_FILTERS = [
    "deployment",
    "release_tag",
    "state",
    "since",
    "until",
    "case_id",
    "sweep_id",
    "author",
    "ids",
    "search",
]
_SAMPLE = 100
_MOST_NAMES = 250  # of inputs, and of outputs
_STATIC_ROWS = 10


class Counts(NamedTuple):
    """How many runs are found, and how many there are; where `rough`, at least so many."""

    total: int
    recorded: int
    rough: bool


class TableSource:
    """The rows of a table: a history, the filters given in code, and what columns there are.

    Inputs and outputs become columns as they are met: those of the newest runs at first, then
    those of every row that was looked at.

    Raises
    ------
    TypeError
        A filter has an unknown name.
    """

    def __init__(self, history: History, filters: Mapping[str, Any]) -> None:
        unknown = sorted(set(filters) - set(_FILTERS))
        if unknown:
            msg = f"There is no filter {', '.join(unknown)}; there are: {', '.join(_FILTERS)}"
            raise TypeError(msg)
        self._history = history
        self._lock = threading.RLock()
        self._key: tuple[str, str] | None = None
        self._ordered: OrderedRuns | None = None
        self._filters = {key: value for key, value in filters.items() if value is not None}
        self.first_search = str(self._filters.pop("search", ""))
        self._counts = Counts(0, 0, rough=False)
        self._counted = ""
        self._inputs: dict[str, None] = {}
        self._outputs: dict[str, None] = {}
        self._deployments: set[str] = set()
        self._signed = False
        self._meet(history.page(limit=_SAMPLE, whole=False, skip_damaged=True, **self._filters))
        self.default_columns = self._defaults()

    @property
    def known(self) -> list[str]:
        """The names of all columns."""
        inputs, outputs = (islice(each, _MOST_NAMES) for each in (self._inputs, self._outputs))
        return known_columns(inputs, outputs, signed=self._signed)

    @property
    def sortable(self) -> list[str]:
        """The columns that runs can be ordered by."""
        return [name for name in self.known if name not in JOINED]

    def head(self) -> dict[str, Any]:
        """Return what the browser must know beside the rows: title, chips, columns."""
        known = self.known
        # Before the first run nobody could know the inputs: the first one joins the default.
        self.default_columns = self._defaults()
        deployment = self._filters.get("deployment")
        title = deployment if isinstance(deployment, str) else ", ".join(deployment or ())
        chips = [
            {"name": name, "text": _chip(name, value)}
            for name, value in self._filters.items()
            if name != "deployment"
        ]
        columns = [
            {"name": name, "kind": column_kind(name), "sortable": name not in JOINED}
            for name in known
        ]
        return {
            "title": title,
            "chips": chips,
            "columns": columns,
            "default": self.default_columns,
            "note": self._note(),
        }

    def _note(self) -> str:
        """Return that there are more inputs or outputs than can be columns."""
        kinds = {"inputs": len(self._inputs), "outputs": len(self._outputs)}
        many = [f"{count:,} {kind}" for kind, count in kinds.items() if count > _MOST_NAMES]
        return f"{' and '.join(many)}; the first {_MOST_NAMES} can be columns" if many else ""

    def drop(self, name: object) -> bool:
        """Take a filter away; return whether there was one that may go."""
        if name not in self._filters or name == "deployment":
            return False
        del self._filters[str(name)]
        return True

    @property
    def is_long(self) -> bool:
        """Whether answers may take more than a moment."""
        return self._history.count(limit=LONG + 1) > LONG

    def rows(
        self,
        query: Query,
        window: Window,
        *,
        counting: str,
        on_start: Callable[[Callable[[], None]], None] = lambda _cancel: None,
    ) -> dict[str, Any]:
        """Return the rows of `window`, and how many there are in all.

        `counting` is ``quick``, ``exact``, or ``no``: as it was, while only the window moves.
        `on_start` is called with a function that cancels a sort from another thread.
        """
        if self._counted != (key := repr((self._with(query), query.order_by))):
            self._counted, counting = key, counting.replace("no", "quick")
        again = counting != "no"
        runs = self._window(query, window.offset, window.limit, again=again, on_start=on_start)
        seen = window.offset + len(runs)
        if counting != "no":
            self._counts = self._count(query, seen, exact=counting == "exact")
        elif self._counts.rough:
            self._counts = self._count(query, max(seen, self._counts.total), exact=False)
        self._meet(runs)
        return {
            "view": window.view,
            "seq": window.seq,
            "offset": window.offset,
            "limit": window.limit,
            "total": self._counts.total,
            "all": self._counts.recorded,
            "rough": self._counts.rough,
            "columns": list(query.columns),
            "search": query.search,
            "rows": fitting_rows(runs, query.columns, search=query.search),
        }

    def index(self, on_progress: Callable[[int, int], None]) -> None:
        """Bring the search index up to date."""
        self._history.index_for_search(on_progress)

    def counts(self, query: Query, *, exact: bool) -> Counts:
        """Return how many runs `query` finds, and how many there are: counted, or as known."""
        return self._count(query, 0, exact=exact)

    def page(self, query: Query, *, offset: int, limit: int) -> list[Run]:
        """Return runs in the order of `query`."""
        return self._window(query, offset, limit)

    def ids(self, query: Query, *, offset: int, limit: int) -> list[str]:
        """Return the ids of rows by their position."""
        return [run.id for run in self.page(query, offset=offset, limit=max(0, limit))]

    def summary(self, query: Query) -> str:
        """Return how many runs `query` finds, in words; of very many only that they are."""
        total = self._history.count(**self._with(query), limit=LONG + 1)
        return f"over {LONG:,} runs" if total > LONG else f"{total:,} run{'s'[: total != 1]}"

    def runs(self, ids: Sequence[str]) -> list[Run]:
        """Return the runs with these ids, newest first."""
        return self._history.runs(ids=list(ids), skip_damaged=True) if ids else []

    def static_html(self, query: Query) -> str:
        """Return the first rows for where no widget can live."""
        try:
            runs = self.page(query, offset=0, limit=_STATIC_ROWS)
            return static_html(runs, self.summary(query), query.columns)
        except HistoryError:
            return "<p>The history is closed or unreadable.</p>"

    def export(self, query: Query, name: object, folder: Path | None) -> dict[str, Any]:
        """Write all runs that `query` finds to a new file; return the message about it."""
        try:
            path = export_target(name, ".csv", folder)
            self._history.to_csv(path, progress=False, **self._with(query))
            return {"path": str(path), "count": self.counts(query, exact=True).total}
        except (OSError, VellumNBError) as exc:
            return {"error": str(exc)}

    def _with(self, query: Query) -> dict[str, Any]:
        search = {"search": query.search} if query.search.strip() else {}
        return self._filters | search

    def _window(
        self,
        query: Query,
        offset: int,
        limit: int,
        *,
        again: bool = False,
        on_start: Callable[[Callable[[], None]], None] = lambda _cancel: None,
    ) -> list[Run]:
        """Return the runs of a window; an order of another column is determined once."""
        filters = self._with(query)
        order: dict[str, Any] = {"order_by": query.order_by, "descending": query.descending}
        order["whole"] = "search" in filters  # a match may be far into a large value
        if query.order_by == "timestamp":
            page = self._history.page
            return page(offset=offset, limit=limit, skip_damaged=True, **order, **filters)
        with self._lock:
            key = (repr(sorted(filters.items())), repr(order))
            if again or key != self._key or self._ordered is None:
                self._ordered = self._history.ordered(on_start=on_start, **order, **filters)
                self._key = key
            ordered = self._ordered
        return ordered.runs(offset=offset, limit=limit)

    def _count(self, query: Query, seen: int, *, exact: bool) -> Counts:
        total, rough = self._counted_with(self._with(query), seen, exact=exact)
        deployment = self._filters.get("deployment")
        if not query.search and set(self._filters) <= {"deployment"}:
            return Counts(total, total, rough=rough)
        of_all = {} if deployment is None else {"deployment": deployment}
        recorded, rougher = self._counted_with(of_all, total, exact=exact)
        return Counts(total, recorded, rough=rough or rougher)

    def _counted_with(
        self, filters: Mapping[str, Any], at_least: int, *, exact: bool
    ) -> tuple[int, bool]:
        """Return how many runs there are, and whether there may be more."""
        if exact or not self.is_long:
            return self._history.count(**filters), False
        counted = self._history.count(**filters, limit=_COUNTED)
        return max(at_least, counted), counted >= _COUNTED

    def _meet(self, runs: Sequence[Run]) -> None:
        for run in runs:
            self._inputs.update(dict.fromkeys(run.inputs))
            self._outputs.update(dict.fromkeys(run.outputs))
            self._deployments.add(run.deployment)
            self._signed = self._signed or run.author is not None

    def _defaults(self) -> list[str]:
        return default_columns(self.known, mixed=len(self._deployments) > 1)


def _chip(name: str, value: Any) -> str:
    if name in {"since", "until"}:
        return f"{name} {_day(value)}"
    if name == "ids":
        return f"{len(list(value))} chosen runs"
    words = value if isinstance(value, str) else ", ".join(str(item) for item in value)
    return f"{name} {words}"


def _day(value: Any) -> str:
    try:
        moment = value if isinstance(value, datetime) else datetime.fromisoformat(str(value))
    except ValueError:
        return str(value)
    clock = f" {moment:%H:%M}" if (moment.hour, moment.minute) != (0, 0) else ""
    return f"{moment.day} {moment:%b %Y}{clock}"


_FIRST_ROWS = 40
_MAX_VIEWS = 16
_PAYLOADS = ("input.", "output.", "desired.", "metadata")


class _ReplacedError(Exception):
    """The page asks for something else by now, or is closed."""


class TableReader:
    """Answers the requests of the pages of one table.

    Parameters
    ----------
    source : TableSource
        Where the rows are.
    send : callable
        Sends a message to the pages.
    on_answer : callable
        Called with the message that answers a window before it is sent.
    guarded : callable
        Makes a call that may fail, and shows how.
    """

    def __init__(
        self,
        source: TableSource,
        *,
        send: Callable[[dict[str, Any]], object],
        on_answer: Callable[[dict[str, Any]], None],
        guarded: Callable[[str, Callable[[], None]], None],
    ) -> None:
        self._source, self._send = source, send
        self._on_answer, self._guarded = on_answer, guarded
        self._executor = SerialExecutor("vellum-nb-history-table")
        self._counting = SerialExecutor("vellum-nb-history-count")
        self._lock = threading.RLock()
        self._windows: dict[str, tuple[Query, Window]] = {}
        self._cancel: tuple[Window, Callable[[], None]] | None = None
        self._closed = False

    def soon(self, topic: str, call: Callable[[], None]) -> None:
        """Make a call that reads the history; of a long one not in the kernel's own thread."""
        if self._source.is_long:
            self._executor.submit(lambda: self._guarded(topic, call))
        else:
            call()

    def wait(self, timeout: float | None = None) -> bool:
        """Wait until nothing is under way; return whether that is so."""
        return self._executor.wait(timeout) and self._counting.wait(timeout)

    def close(self) -> None:
        """Answer no request any more."""
        self._closed = True
        self._cancel_replaced()

    def look(self, query: Query, window: Window) -> None:
        """Take a window as what its page shows from now on."""
        with self._lock:
            self._windows.pop(window.view, None)
            self._windows[window.view] = query, window
            if len(self._windows) > _MAX_VIEWS:
                del self._windows[next(iter(self._windows))]
        self._cancel_replaced()

    def first(self, query: Query, *, counting: str = "quick") -> dict[str, Any]:
        """Return the message with which a page begins."""
        return self._answer(query, Window("", 0, 0, _FIRST_ROWS), counting)

    def again(self, query: Query) -> bool:
        """Send each page its window once more; return whether there was one."""
        with self._lock:
            windows = list(self._windows.values())
        for _, window in windows:
            self.soon("rows", partial(self.give, query, window, counting="exact"))
        return bool(windows)

    def give(self, query: Query, window: Window, *, counting: str) -> None:
        """Send the rows of a window, and count what was not counted."""
        with suppress(_ReplacedError):
            self._refuse_replaced(window)
            if query.search.strip():
                self._source.index(partial(self._progress, window, "searched"))
            if query.order_by.startswith(_PAYLOADS) and counting != "no" and self._source.is_long:
                total = self._source.counts(query, exact=True).total
                self._progress(window, "sorted", 0, total)
            answer = self._answer(query, window, counting)
            self._refuse_replaced(window)
            self._send({"kind": "rows", **answer})
            if answer["rough"]:
                self._counting.submit(partial(self._send_counts, query, window))

    def _answer(self, query: Query, window: Window, counting: str) -> dict[str, Any]:
        def on_start(cancel: Callable[[], None]) -> None:
            with self._lock:
                self._cancel = window, cancel
            self._cancel_replaced()

        try:
            answer = self._source.rows(query, window, counting=counting, on_start=on_start)
        except HistoryError:
            self._refuse_replaced(window)
            raise
        finally:
            with self._lock:
                self._cancel = None
        answer["reach"] = None
        self._on_answer(answer)
        return answer

    def _send_counts(self, query: Query, window: Window) -> None:
        with suppress(_ReplacedError, HistoryError):  # the next request for rows says it
            self._refuse_replaced(window)
            found = self._source.counts(query, exact=True)
            self._refuse_replaced(window)
            message = {"total": found.total, "all": found.recorded}
            self._on_answer(message)
            self._send({"kind": "total", **message})

    def _progress(self, window: Window, what: str, done: int, total: int) -> None:
        self._refuse_replaced(window)
        about = {"view": window.view, "what": what, "reach": (done, total)}
        self._send({"kind": "progress", **about})

    def _refuse_replaced(self, window: Window) -> None:
        if self._is_replaced(window):
            raise _ReplacedError

    def _is_replaced(self, window: Window) -> bool:
        _, now = self._windows.get(window.view, (None, window))
        return self._closed or now is not window

    def _cancel_replaced(self) -> None:
        with self._lock:
            if self._cancel is not None and self._is_replaced(self._cancel[0]):
                self._cancel[1]()


_REFRESH_S = 0.2


class HistoryView(ThreadSafeWidget):
    """The interactive table of a history; `History.view` makes it.

    Parameters
    ----------
    history : History
        Where the runs are; the table follows what is recorded.
    side_by_side : callable
        Makes safe HTML of the selected runs.
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
        The columns that are shown: names of the history frame, and ``outputs``; a trait.
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

    _esm = traitlets.Unicode(script("view.js")).tag(sync=True)
    _css = traitlets.Unicode(asset("colours.css", "view.css")).tag(sync=True)

    kind = traitlets.Unicode("runs").tag(sync=True)
    selected_ids = traitlets.List(traitlets.Unicode()).tag(sync=True)
    search = traitlets.Unicode("").tag(sync=True)
    order_by = traitlets.Unicode("timestamp").tag(sync=True)
    descending = traitlets.Bool(True).tag(sync=True)  # noqa: FBT003
    columns = traitlets.List(traitlets.Unicode()).tag(sync=True)
    error = traitlets.Unicode("").tag(sync=True)
    total = traitlets.Int(0)
    recorded = traitlets.Int(0)
    _head = traitlets.Dict().tag(sync=True)
    _first = traitlets.Dict().tag(sync=True)
    _side = traitlets.Unicode("").tag(sync=True)

    def __init__(
        self, history: History, *, side_by_side: Callable[[Sequence[Run]], str], **filters: Any
    ) -> None:
        self._lock = threading.RLock()
        self.export_folder: Path | None = None
        self._topic = ""
        self._debouncer = Debouncer(self.refresh, name="vellum-nb-history-view", least=_REFRESH_S)
        self._closing: list[Callable[[], None]] = [self._debouncer.close]
        self._side_by_side = side_by_side
        self._source = TableSource(history, filters)
        self._answers = TableReader(
            self._source, send=self.send, on_answer=self._on_answer, guarded=self._guarded
        )
        super().__init__(
            search=self._source.first_search,
            columns=self._source.default_columns,
            _head=self._source.head(),
        )
        self._first = self._answers.first(self._query)
        self._kinds: dict[str, Callable[[Mapping[str, Any]], None]] = {
            "rows": self._on_rows,
            "select_range": self._on_range,
            "side_by_side": self._on_side,
            "close_side": lambda _content: self.set_trait("_side", ""),
            "drop_filter": self._on_drop_filter,
            "export": self._on_export,
        }
        self.on_msg(self._on_message)
        self.observe(self._on_selected, "selected_ids")
        self._may_be_deleted = False
        unsubscribe = history.subscribe(
            lambda _run: self._debouncer.poke(), on_bulk_change=self._many
        )
        self._closing += [self._answers.close, unsubscribe]

    @property
    def selected(self) -> list[Run]:
        """The selected runs, newest first; those that are no longer there are left out."""
        return self._source.runs(self.selected_ids)

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
        self._guarded("rows", self._refresh)

    def close(self) -> None:
        """Close the widget and stop following the history."""
        for close in reversed(self._closing):
            close()
        super().close()

    FROM_PAGE = frozenset({"selected_ids"})

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take from the page what it may set: the selection."""
        if "selected_ids" in sync_data:
            ids = sync_data["selected_ids"]
            self._guarded(
                "selection",
                lambda: super(HistoryView, self).set_state({"selected_ids": selection(ids)}),
            )

    @traitlets.validate("columns")
    def _valid_columns(self, proposal: Mapping[str, Any]) -> list[str]:
        self._refuse_unknown("column", proposal["value"], self._source.known)
        return list(dict.fromkeys(proposal["value"]))

    @traitlets.validate("order_by")
    def _valid_order(self, proposal: Mapping[str, Any]) -> str:
        self._refuse_unknown("order", [proposal["value"]], self._source.sortable)
        return str(proposal["value"])

    def _refuse_unknown(self, what: str, names: Sequence[str], known: Sequence[str]) -> None:
        unknown = [name for name in names if name not in known]
        if unknown:
            msg = f"no {what} is called {', '.join(unknown)}; there are: {', '.join(known)}"
            raise traitlets.TraitError(msg)

    @property
    def _query(self) -> Query:
        return Query(self.search, self.order_by, self.descending, tuple(self.columns))

    def _on_answer(self, answer: Mapping[str, Any]) -> None:
        """Take from an answer what there is to know beside its rows."""
        with self._lock:
            self.total, self.recorded = answer["total"], answer["all"]
            self._update_head()

    def _update_head(self) -> None:
        head, before = self._source.head(), self._head
        if head != before:
            self._head = head
            if self.columns == before["default"]:
                self.columns = head["default"]

    def _many(self) -> None:
        self._may_be_deleted = True
        self._debouncer.poke()

    def _refresh(self) -> None:
        if self._may_be_deleted:
            self._may_be_deleted = False
            here = {run.id for run in self.selected}
            self.selected_ids = [run_id for run_id in self.selected_ids if run_id in here]
        if not self._answers.again(self._query):
            self._first = self._answers.first(self._query, counting="exact")

    def _on_message(self, _widget: object, content: object, _buffers: object) -> None:
        self._guarded(*self._handler(content))

    def _handler(self, content: object) -> tuple[str, Callable[[], None]]:
        """Return what a message is about, and what to do with it."""
        message = content if isinstance(content, dict) else {}
        kind = message.get("kind")
        handler = self._kinds.get(kind) if isinstance(kind, str) else None
        if handler is None:
            return "message", lambda: ignored(f"it does not know the message {kind!r:.60}")
        topic = "rows" if kind in {"rows", "drop_filter"} else "selection"
        return topic, lambda: handler(message)

    def _guarded(self, topic: str, call: Callable[[], None]) -> None:
        """Show in the table what goes wrong: what a callback raises is seen nowhere else."""
        try:
            call()
        except VellumNBError as exc:
            self._say(topic, str(exc))
        except Exception as exc:
            self._say(topic, f"{type(exc).__name__}: {exc}")
            raise
        else:
            if self._topic == topic:
                self._say("", "")

    def _say(self, topic: str, text: str) -> None:
        with self._lock:
            self._topic, self.error = topic, text

    def _on_rows(self, content: Mapping[str, Any]) -> None:
        before, source = self._query, self._source
        query, problems = read_query(content, before, known=source.known, order=source.sortable)
        window = read_window(content, len(query.columns))
        with self._lock, self.hold_sync():
            self.search, self.order_by = query.search, query.order_by
            self.descending, self.columns = query.descending, list(query.columns)
            self._answers.look(query, window)
        moved_only = query == before and content.get("scroll") is True

        def answer() -> None:
            self._answers.give(query, window, counting="no" if moved_only else "quick")
            if problems:
                ignored("; ".join(problems))

        self._answers.soon("rows", answer)

    def _on_range(self, content: Mapping[str, Any]) -> None:
        """Select rows by position, also those that never travelled to the browser."""
        keep = read_ids(content.get("keep")) or []
        first = read_int(content.get("from"), 0, 2**53)
        last = read_int(content.get("to"), 0, 2**53)
        offset, limit = min(first, last), abs(last - first) + 1
        room, query = MAX_SELECTED - len(keep), self._query

        def select() -> None:
            found = self._source.ids(query, offset=offset, limit=min(limit, room))
            self.selected_ids = list(dict.fromkeys([*keep, *found]))
            if min(limit, self.total - offset) > room:
                msg = f"At most {MAX_SELECTED:,} runs can be selected here; these are the first."
                raise HistoryError(msg)

        self._answers.soon("selection", select)

    def _on_side(self, content: Mapping[str, Any]) -> None:
        if "ids" in content:
            self.selected_ids = selection(content["ids"])
        self.show_side_by_side()

    def _on_drop_filter(self, content: Mapping[str, Any]) -> None:
        if not self._source.drop(content.get("name")):
            ignored(f"there is no filter {content.get('name')!r:.60} to take away")
        self._answers.soon("rows", self._refresh)

    def _on_export(self, content: Mapping[str, Any]) -> None:
        query, name = self._query, content.get("path")

        def export() -> None:
            self.send({"kind": "exported", **self._source.export(query, name, self.export_folder)})

        self._answers.soon("selection", export)

    def _on_selected(self, _change: object) -> None:
        if self._side:
            self._guarded("selection", self.show_side_by_side)

    def __repr__(self) -> str:
        try:
            return f"HistoryView({self._source.summary(self._query)})"
        except HistoryError:
            return "HistoryView(history closed or unreadable)"

    def _html(self) -> str:
        return self._source.static_html(self._query)
