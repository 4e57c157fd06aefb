"""`LabPanel`: form, history and comparison of one deployment in one panel."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import ipywidgets
import traitlets

from vellum_nb.errors import VellumNBError
from vellum_nb.escaping import printed
from vellum_nb.rendering.format import plural, visible_name
from vellum_nb.rendering.html import asset, script
from vellum_nb.widgets.base import (
    Readable,
    ThreadSafeWidget,
    button,
    close_tree,
    close_with_cell,
    note,
    set_class,
    styled,
)
from vellum_nb.widgets.form import RunForm
from vellum_nb.widgets.markup import alert_html
from vellum_nb.widgets.table import HistoryView

_TITLES = ("Run", "History", "Compare")
_MIN_SELECTED = 2


class LabHead(ThreadSafeWidget):
    """Heading of the panel with its tabs, accessible by keyboard and screen reader."""

    _esm = traitlets.Unicode(script("lab.js")).tag(sync=True)
    _css = traitlets.Unicode(asset("panel.css", "lab.css")).tag(sync=True)

    heading = traitlets.Unicode("").tag(sync=True)
    source = traitlets.Unicode("").tag(sync=True)
    count = traitlets.Unicode("").tag(sync=True)
    status = traitlets.Unicode("").tag(sync=True)
    tabs = traitlets.List(traitlets.Dict()).tag(sync=True)
    index = traitlets.Int(0).tag(sync=True)

    FROM_PAGE = frozenset({"index"})

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Set the open tab from the page; ignore invalid indices."""
        index = sync_data.get("index")
        if type(index) is int and 0 <= index < len(self.tabs):
            super().set_state({"index": index})


class LabPanel(Readable, ipywidgets.VBox):  # type: ignore[misc]  # ipywidgets is untyped
    """Three tabs, Run, History and Compare, that share one selection; `Workspace.lab` makes it.

    Compare shows the grid of the form's release tags below the runs selected in the history, if
    two or more are selected. The grid is created when the tab is opened and by *Compare again*.

    Parameters
    ----------
    form : RunForm
        The form, under Run.
    history_view : HistoryView
        The table, under History.
    compare : callable
        Returns the grid of the comparison of the form's release tags, a widget.
    source : str, optional
        Short label of the server for the heading.

    Attributes
    ----------
    comparison_view : ComparisonView or None
        The grid, or None before Compare is opened.
    tab : str
        The open tab: "Run", "History" or "Compare"; can be set.

    Examples
    --------
    >>> import vellum_nb as vnb
    >>> lab = vnb.connect("local", history=":memory:").lab("ticket-triage")
    >>> lab.tab = "History"
    >>> lab
    LabPanel('ticket-triage', History)
    """

    tab = traitlets.Enum(_TITLES, "Run")

    def __init__(
        self,
        form: RunForm,
        history_view: HistoryView,
        compare: Callable[[], Any],
        *,
        source: str = "",
    ) -> None:
        super().__init__()
        self.form = form
        self.history_view = history_view
        self.comparison_view: Any = None
        form.cells = history_view.cells = self.cells
        self._make_comparison_view = compare  # `_compare` is a method of ipywidgets
        self._is_outdated = True
        self._selected = note("", "vnb-lab-compare")
        self._notice = note("", "vnb-lab-notice")
        self._again = button("Compare again", "vnb-lab-again", self.compare_again)
        self._head = LabHead(heading=history_view.title or "Lab", source=source, tabs=self._tabs())
        self._panes = tuple(
            styled(ipywidgets.VBox([part]), "vnb-lab-pane")
            for part in (form, history_view, self._selected)
        )
        styled(self, "vnb-lab").children = (self._head, *self._panes)
        self._head.observe(self._on_index, "index")
        self.observe(self._on_tab, "tab")
        history_view.observe(self._show, ["selected_ids"])
        history_view.observe(self._on_runs, ["total", "recorded"])
        form.observe(self._on_runs, ["runs", "release_tags"])
        self._show()
        close_with_cell(self)

    @property
    def busy(self) -> bool:
        """True while the form or an open run of the history executes runs."""
        return bool(self.form.busy or self.history_view.busy)

    def compare_again(self) -> None:
        """Compare the current runs, like the button."""
        former, self.comparison_view = self.comparison_view, None
        if former is not None:
            former.close()
        self._notice.value = ""
        try:
            self.comparison_view = self._make_comparison_view()
            self._is_outdated = False
        except Exception as exc:
            self._notice.value = alert_html(exc)
            if not isinstance(exc, VellumNBError):
                raise
        finally:
            self._show_compare()

    def close(self) -> None:
        """Close the panel with its parts."""
        if self.comm is None:  # ipywidgets closes a collected widget again
            return
        self.form.unobserve(self._on_runs, ["runs", "release_tags"])
        self.history_view.unobserve_all()
        for part in (self.form, self.history_view, self.comparison_view):
            if part is not None:
                part.close()
        for pane in self._panes:
            pane.children = ()
        self.children = ()
        parts = (*self._panes, self._selected, self._notice, self._again, self._head, self.layout)
        for part in parts:
            close_tree(part)
        super().close()

    def _tabs(self) -> list[dict[str, str]]:
        """Return the titles of the tabs with their details."""
        compared = " · ".join(map(visible_name, self.form.release_tags))
        details = ("", f"{self.history_view.total:,}", compared)
        return [{"title": t, "detail": d} for t, d in zip(_TITLES, details, strict=True)]

    def _on_index(self, _change: object) -> None:
        self.tab = _TITLES[self._head.index]

    def _on_tab(self, _change: object) -> None:
        self._head.index = _TITLES.index(self.tab)
        if self.tab == "Compare" and self._is_outdated:
            self.compare_again()
        self._show()

    def _on_runs(self, _change: object) -> None:
        self._is_outdated = True
        self._show()

    def _show(self, _change: object = None) -> None:
        view, head = self.history_view, self._head
        count = len(view.selected_ids)
        head.tabs = self._tabs()
        head.count = plural(view.recorded, "run")
        head.status = f"{count} selected" if count else ""
        for at, pane in enumerate(self._panes):
            set_class(pane, "vnb-lab-hidden", on=at != head.index)
        if self.tab == "Compare":
            self._show_compare()

    def _show_compare(self) -> None:
        view, html = self.history_view, ""
        if len(view.selected_ids) >= _MIN_SELECTED:
            html = f'<h3 class="vnb-lab-heading">Selected runs</h3>{view.selected_html()}'
        self._selected.value = html
        if self.comparison_view is not None:
            text = "Runs or release tags have changed since." if self._is_outdated else ""
            if not text and len(self.form.release_tags) == 1:
                text = "Only one release tag is ticked under Run: tick another to compare them."
            self._notice.value = text and f'<span role="status">{text}</span>'
        grid = [] if self.comparison_view is None else [self.comparison_view]
        buttons = [self._again] if self._is_outdated else []
        children = (self._selected, self._notice, *buttons, *grid)
        if self._panes[-1].children != children:
            self._panes[-1].children = children

    @printed
    def __repr__(self) -> str:
        return f"LabPanel({self._head.heading!r}, {self.tab})"

    def _display_(self) -> Any:
        return self._marimo_html(
            "marimo cannot show this panel. Use ws.run(...), ws.history.view() and ws.compare(...)."
        )

    def _html(self) -> str:
        return self.form.static_html() + self.history_view.static_html()
