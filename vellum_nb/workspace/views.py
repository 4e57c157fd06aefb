"""How a history and a comparison are shown; handed to rooms that know no widget."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from vellum_nb.history import History

if TYPE_CHECKING:
    from vellum_nb.experiments import Comparison
    from vellum_nb.widgets import HistoryView

__all__ = ["render_comparison", "view_history"]


def view_history(history: History, **options: Any) -> HistoryView:
    """Return the interactive table of `history`."""
    from vellum_nb.widgets import HistoryView
    from vellum_nb.widgets.outputs import side_by_side_html

    return HistoryView(history, side_by_side=side_by_side_html, **options)


def render_comparison(comparison: Comparison) -> str:
    """Return `comparison` as HTML."""
    from vellum_nb.widgets.comparison import comparison_html

    return comparison_html(comparison)
