"""`LabPanel`: form, history and comparison of one deployment in one panel."""

from __future__ import annotations

from collections.abc import Callable
from html import escape
from typing import Any

import ipywidgets
import traitlets

from vellum_nb.errors import InputError, VellumNBError
from vellum_nb.fitting import fitting
from vellum_nb.widgets.base import Readable, ThreadSafeWidget, static_html
from vellum_nb.widgets.form import RunForm
from vellum_nb.widgets.markup import asset, shown_name
from vellum_nb.widgets.table import HistoryView

__all__ = ["LabPanel"]

_RUN, _HISTORY, _COMPARE = range(3)
_TITLES = ("Run", "History", "Compare")
_FEWEST = 2


class LabHead(ThreadSafeWidget):
    """The heading of the panel and its tabs, as real tabs for keyboard and screen reader."""

    _esm = traitlets.Unicode(asset("hearing.js", "lab.js")).tag(sync=True)
    _css = traitlets.Unicode(asset("colours.css", "lab.css")).tag(sync=True)

    heading = traitlets.Unicode("").tag(sync=True)
    source = traitlets.Unicode("").tag(sync=True)
    count = traitlets.Unicode("").tag(sync=True)
    status = traitlets.Unicode("").tag(sync=True)
    tabs = traitlets.List(traitlets.Dict()).tag(sync=True)
    index = traitlets.Int(0).tag(sync=True)

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take from the browser what it may set: which tab is open."""
        index = sync_data.get("index")
        if type(index) is int and 0 <= index < len(self.tabs):
            super().set_state({"index": index})

    def __repr__(self) -> str:
        return f"LabHead({self.heading!r})"


@fitting(InputError)
class LabPanel(Readable, ipywidgets.VBox):  # type: ignore[misc]  # ipywidgets has no types
    """Three tabs, Run, History and Compare, that share one selection; `Workspace.lab` makes it.

    What the form runs appears in the history; two or more runs selected there stand side by side
    under Compare, above the stored runs of the form's release tags.

    Parameters
    ----------
    form : RunForm
        The form, under Run.
    history_view : HistoryView
        The table, under History.
    compare : callable
        Returns safe HTML of the comparison of the form's release tags.
    source : str, optional
        What runs are sent to, in a word or two, for the heading.

    Attributes
    ----------
    form, history_view
        The parts, as given.
    tab : str
        The open tab: "Run", "History" or "Compare"; set it to open another.

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
        compare: Callable[[], str],
        *,
        source: str = "",
    ) -> None:
        super().__init__()
        self.form = form
        self.history_view = history_view
        self._compare = compare
        self._comparison_html = ipywidgets.HTML()
        self._comparison_html.add_class("vnb-lab-compare")
        self._head = LabHead(heading=history_view.title or "Lab", source=source, tabs=self._tabs())
        self._panes = tuple(
            self._pane(child) for child in (form, history_view, self._comparison_html)
        )
        self.children = (self._head, *self._panes)
        self.add_class("vnb-lab")
        self._head.observe(self._on_index, "index")
        self.observe(self._on_tab, "tab")
        history_view.observe(self._on_change, ["selected_ids", "total", "recorded"])
        form.observe(self._on_change, ["runs", "release_tags"])
        self._show()

    def close(self) -> None:
        """Close the panel and its parts; the table stops following the history."""
        if self.comm is None:  # ipywidgets closes a second time, when it is collected
            return
        self.form.unobserve(self._on_change, ["runs", "release_tags"])
        self.history_view.unobserve(self._on_change, ["selected_ids", "total", "recorded"])
        self.form.close()
        self.history_view.close()
        for widget in (*self._panes, self._comparison_html, self._head):
            widget.close()
        super().close()

    def _pane(self, child: Any) -> Any:
        pane = ipywidgets.VBox([child])
        pane.add_class("vnb-lab-pane")
        return pane

    def _tabs(self) -> list[dict[str, str]]:
        total = f"{self.history_view.total:,}"
        return [
            {"title": title, "detail": detail}
            for title, detail in zip(_TITLES, ("", total, self._compared()), strict=True)
        ]

    def _compared(self) -> str:
        """Return what stands under Compare, in a word or two."""
        count = len(self.history_view.selected_ids)
        if count >= _FEWEST:
            return f"{count} selected"
        return " · ".join(map(shown_name, self.form.release_tags))

    def _on_index(self, _change: object) -> None:
        self.tab = _TITLES[self._head.index]

    def _on_tab(self, _change: object) -> None:
        self._head.index = _TITLES.index(self.tab)
        self._show()

    def _on_change(self, _change: object) -> None:
        self._show()

    def _show(self) -> None:
        view, head = self.history_view, self._head
        count = len(view.selected_ids)
        head.tabs = self._tabs()
        head.count = f"{view.recorded:,} run{'' if view.recorded == 1 else 's'}"
        head.status = f"{count} selected" if count else ""
        for at, pane in enumerate(self._panes):
            (pane.remove_class if at == head.index else pane.add_class)("vnb-lab-hidden")
        if head.index == _COMPARE:
            self._show_comparison()

    def _show_comparison(self) -> None:
        try:
            self._comparison_html.value = self._comparison()
        except VellumNBError as exc:
            self._comparison_html.value = _alert(str(exc))
        except Exception as exc:
            self._comparison_html.value = _alert(f"{type(exc).__name__}: {exc}")
            raise

    def _comparison(self) -> str:
        view = self.history_view
        if len(view.selected_ids) < _FEWEST:
            return self._compare()
        return (
            f"{_heading('Selected runs')}{view.selected_html()}"
            f"{_heading('Stored runs, by case')}{self._compare()}"
        )

    def __repr__(self) -> str:
        return f"LabPanel({self._head.heading!r}, {self.tab})"

    def _html(self) -> str:
        return static_html(self.form) + static_html(self.history_view)


def _heading(text: str) -> str:
    return f'<h3 class="vnb-lab-heading">{escape(text)}</h3>'


def _alert(text: str) -> str:
    return f'<div class="vnb-lab-alert" role="alert">{escape(text)}</div>'
