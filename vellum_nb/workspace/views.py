"""The views of histories, sweeps and comparisons, in a notebook or a terminal."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from vellum_nb.comparison import Comparison
from vellum_nb.comparison.actions import Actions
from vellum_nb.escaping import printable
from vellum_nb.sweep.plan import SweepPlan
from vellum_nb.sweep.progress import terminal_bar
from vellum_nb.sweep.sweep import Sweep, control_of

if TYPE_CHECKING:
    from vellum_nb.comparison.blind import BlindSession
    from vellum_nb.widgets.blind import BlindView
    from vellum_nb.widgets.grid import ComparisonView


_HINT = "interrupt the kernel to stop: ■ in the toolbar, or I, I"


def in_notebook() -> bool:
    """Return whether this runs in a Jupyter kernel; never imports IPython."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def watch(sweep: Sweep, *, show: bool = True) -> AbstractContextManager[None]:
    """Show the progress of `sweep` while the context is open.

    In a notebook, show its view (`show=False` if it is displayed already); in a terminal, one line
    on standard error.
    """
    if in_notebook():
        return _in_cell(sweep, show=show)
    if sys.stderr is not None and sys.stderr.isatty():
        control = control_of(sweep)
        title = control.record.deployment
        return terminal_bar(control.progress, control.subscribe, title=title)
    return nullcontext()


def announce(plan: SweepPlan) -> None:
    """Print the plan of a sweep in a terminal; notebooks have the view."""
    if not in_notebook() and sys.stderr is not None and sys.stderr.isatty():
        sys.stderr.write(f"{printable(str(plan))}\n")


@contextmanager
def _in_cell(sweep: Sweep, *, show: bool) -> Iterator[None]:
    from IPython.display import display

    view = sweep.view()
    if show and not view.stands_here():
        view.stands_here(displayed=True)
        display(view)  # type: ignore[no-untyped-call]
    view.panel.hint = _HINT
    try:
        yield
    finally:
        view.panel.hint = ""


def show(
    subject: Comparison | BlindSession, *, actions: Actions | None = None, about: str = ""
) -> ComparisonView | BlindView:
    """Return the widget of a comparison or of a blind rating."""
    if isinstance(subject, Comparison):
        from vellum_nb.widgets.grid import ComparisonView

        return ComparisonView(subject, actions, about=about)
    from vellum_nb.widgets.blind import BlindView

    return BlindView(subject, actions)
