"""What is seen in a notebook: form, fields, outputs, tables, comparison, lab panel, sweep.

Widgets take plain functions and values; they know no client and no store. Names are
loaded when they are first used: the static HTML of `outputs` needs no ipywidgets.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from vellum_nb.widgets.blind import BlindView
    from vellum_nb.widgets.form import RunForm
    from vellum_nb.widgets.grid import ComparisonView
    from vellum_nb.widgets.lab import LabPanel
    from vellum_nb.widgets.sweep_view import SweepView
    from vellum_nb.widgets.table import HistoryView

_HOMES = {
    "RunForm": "form",
    "HistoryView": "table",
    "LabPanel": "lab",
    "SweepView": "sweep_view",
    "ComparisonView": "grid",
    "BlindView": "blind",
}

__all__ = [
    "BlindView",
    "ComparisonView",
    "HistoryView",
    "LabPanel",
    "RunForm",
    "SweepView",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        msg = f"module {__name__!r} has no attribute {name!r}; it has: {', '.join(__all__)}"
        raise AttributeError(msg)
    value = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return __all__
