"""The blind rating that is opened from a grid: in its place, since the grid would tell all."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import ipywidgets as ipw

from vellum_nb.errors import InputError
from vellum_nb.experiments import Comparison

if TYPE_CHECKING:
    from vellum_nb.widgets.grid.table import GridTable

__all__ = ["BlindPlace", "pair_of"]


def pair_of(comparison: Comparison, release: str) -> tuple[str, str]:
    """Return the baseline and `release`; the first other one where it is none of those.

    Raises
    ------
    InputError
        There is one release only.
    """
    others = comparison.others
    if not others:
        msg = "A blind rating is of two releases, and this comparison has one"
        raise InputError(msg)
    return comparison.baseline, release if release in others else others[0]


class BlindPlace:
    """Where the blind rating stands; the grid is out of sight as long as it does.

    Parameters
    ----------
    grid : GridTable
        Is told when the reader comes back.
    case : Widget
        The case in full under it.
    """

    def __init__(self, grid: GridTable, case: Any) -> None:
        self._grid = grid
        self._case = case
        self._back = ipw.Button(description="Back to the grid", icon="arrow-left")
        self._back.add_class("vnb-grid-back")
        self._back.on_click(lambda _button: self.close())
        self.widget = ipw.VBox([])
        self.parts = [self._back]  # to be closed, also while they are not shown

    def open(self, rating: Any) -> None:
        """Show the widget of a blind rating."""
        self.widget.children = (self._back, rating)
        if rating not in self.parts:
            self.parts.append(rating)
        self._hide("none")

    def close(self) -> None:
        """Show the grid again; the rating goes on when it is opened next."""
        self._hide(None)
        self.widget.children = ()
        self._grid.tell(kind="back")

    def _hide(self, display: str | None) -> None:
        for each in (self._grid, self._case):
            each.layout.display = display
