"""`HistoryView`: the runs of a history as a table that loads only what is looked at.

The browser asks for windows of rows by message; Python answers with cells that are cut to size.
Sorting, filtering and counting happen in SQL, so that the length of the history does not matter.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import traitlets

from vellum_nb.errors import HistoryError, InputError, VellumNBError
from vellum_nb.fitting import fitting
from vellum_nb.history import History
from vellum_nb.models import Run
from vellum_nb.widgets.base import Debouncer, ThreadSafeWidget
from vellum_nb.widgets.markup import asset, script
from vellum_nb.widgets.table_answers import Answers
from vellum_nb.widgets.table_protocol import (
    MAX_SELECTED,
    Query,
    ignored,
    read_ids,
    read_int,
    read_query,
    read_window,
    selection,
)
from vellum_nb.widgets.table_source import TableSource

__all__ = ["HistoryView"]

_REFRESH_S = 0.2


@fitting(InputError)
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
        self._pump = Debouncer(self.refresh, name="vellum-nb-history-view", least=_REFRESH_S)
        self._closing: list[Callable[[], None]] = [self._pump.close]
        self._side_by_side = side_by_side
        self._source = TableSource(history, filters)
        self._answers = Answers(
            self._source, send=self.send, taken=self._taken, guarded=self._guarded
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
        self._may_be_gone = False
        unsubscribe = history.subscribe(lambda _run: self._pump.poke(), many=self._many)
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

    def _taken(self, answer: Mapping[str, Any]) -> None:
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
        self._may_be_gone = True
        self._pump.poke()

    def _refresh(self) -> None:
        if self._may_be_gone:
            self._may_be_gone = False
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
            return f"HistoryView({self._source.told(self._query)})"
        except HistoryError:
            return "HistoryView(history closed or unreadable)"

    def _html(self) -> str:
        return self._source.static_html(self._query)
