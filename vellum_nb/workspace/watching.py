"""Showing the progress of a sweep to whoever waits for it: a view, a line, or nothing."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

from vellum_nb.experiments.sweep.terminal import terminal_bar
from vellum_nb.rendering.marks import printable

if TYPE_CHECKING:
    from vellum_nb.experiments.sweep.plan import SweepPlan
    from vellum_nb.experiments.sweep.sweep import Sweep

__all__ = ["announce", "in_notebook", "watch"]

_HINT = "interrupt the kernel to stop: ■ in the toolbar, or I, I"


def in_notebook() -> bool:
    """Return whether a Jupyter kernel runs this; never loads IPython to find out."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return getattr(shell, "kernel", None) is not None


def watch(sweep: Sweep) -> AbstractContextManager[None]:
    """Show how far `sweep` is while the context is open.

    In a notebook its view, in a terminal one line on standard error, elsewhere nothing.
    """
    if in_notebook():
        return _in_cell(sweep)
    if sys.stderr is not None and sys.stderr.isatty():
        return terminal_bar(sweep, title=sweep.record.deployment)
    return nullcontext()


def announce(plan: SweepPlan) -> None:
    """Say in a terminal what is about to happen; a notebook has the view."""
    if not in_notebook() and sys.stderr is not None and sys.stderr.isatty():
        sys.stderr.write(f"{printable(str(plan))}\n")


@contextmanager
def _in_cell(sweep: Sweep) -> Iterator[None]:
    from IPython.display import display

    view = sweep.view()
    if not view.stands_here():
        view.stands_here(here=True)
        display(view)  # type: ignore[no-untyped-call]
    view.hint = _HINT
    try:
        yield
    finally:
        view.hint = ""
