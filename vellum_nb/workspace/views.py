"""The views of histories, sweeps and comparisons, in a notebook or a terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING, Any

from vellum_nb.comparison import Comparison
from vellum_nb.escaping import printable
from vellum_nb.history import History
from vellum_nb.models import Run
from vellum_nb.sweep.plan import SweepPlan
from vellum_nb.sweep.progress import terminal_bar
from vellum_nb.sweep.sweep import Sweep

if TYPE_CHECKING:
    from vellum_nb.comparison.blind import BlindSession
    from vellum_nb.widgets.blind import BlindView
    from vellum_nb.widgets.grid import Callbacks, ComparisonView
    from vellum_nb.widgets.table import HistoryView


Rate = Callable[[Run, float, Mapping[str, Any]], object]
_HINT = "interrupt the kernel to stop: ■ in the toolbar, or I, I"


def in_notebook() -> bool:
    """Return whether a Jupyter kernel runs this; never loads IPython to find out."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def watch(sweep: Sweep, *, show: bool = True) -> AbstractContextManager[None]:
    """Show how far `sweep` is while the context is open.

    In a notebook its view (without `show` it stands elsewhere already), in a terminal one line on
    standard error, elsewhere nothing.
    """
    if in_notebook():
        return _in_cell(sweep, show=show)
    if sys.stderr is not None and sys.stderr.isatty():
        return terminal_bar(sweep.progress, sweep.subscribe, title=sweep.record.deployment)
    return nullcontext()


def announce(plan: SweepPlan) -> None:
    """Print in a terminal what is about to happen; a notebook has the view."""
    if not in_notebook() and sys.stderr is not None and sys.stderr.isatty():
        sys.stderr.write(f"{printable(str(plan))}\n")


@contextmanager
def _in_cell(sweep: Sweep, *, show: bool) -> Iterator[None]:
    from IPython.display import display

    view = sweep.view()
    if show and not view.stands_here():
        view.stands_here(here=True)
        display(view)  # type: ignore[no-untyped-call]
    view.hint = _HINT
    try:
        yield
    finally:
        view.hint = ""


def view_history(history: History, **options: Any) -> HistoryView:
    """Return the interactive table of `history`."""
    from vellum_nb.widgets.outputs import side_by_side_html
    from vellum_nb.widgets.table import HistoryView

    return HistoryView(history, side_by_side=side_by_side_html, **options)


def view_grid(comparison: Comparison, callbacks: Callbacks | None = None) -> ComparisonView:
    """Return the grid of a comparison; without `callbacks` nothing is rated, run or stored."""
    from vellum_nb.widgets.grid import ComparisonView

    return ComparisonView(comparison, callbacks)


def view_blind(session: BlindSession, rate: Rate | None = None) -> BlindView:
    """Return the widget of a blind rating."""
    from vellum_nb.widgets.blind import BlindView

    return BlindView(session, rate=rate)
