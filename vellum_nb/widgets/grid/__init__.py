"""The comparison's grid: cases down, releases across; only the rows in sight travel."""

from __future__ import annotations

from vellum_nb.widgets.grid.head import Callbacks
from vellum_nb.widgets.grid.view import ComparisonView

__all__ = ["ComparisonView", "Callbacks"]


def __dir__() -> list[str]:
    return __all__
