"""What a comparison is handed to act with and to be shown by: it knows no server, no widget."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from vellum_nb.history.plans.blind import BlindRatings
from vellum_nb.models.secret import stands_in

__all__ = ["Tools"]


@dataclass(frozen=True, slots=True)
class Tools:
    """What whoever makes a comparison hands to it.

    Attributes
    ----------
    sweep : callable or None
        Runs cases: called with the deployment's name, rows as of stored runs, and the options of
        `vellum_nb.Workspace.sweep`; returns the sweep.
    leaks : callable or None
        Returns whether the API key stands in a text.
    grid : callable or None
        Makes the grid of a comparison.
    blind : callable or None
        Makes the widget of a `BlindSession`.
    chart : callable or None
        Makes the widget of a chart; called with the comparison, its `Picture`, and `on_select`.
    ratings : BlindRatings or None
        Where blind ratings are kept. Without it they live as long as the comparison.
    """

    sweep: Callable[[str, Any, Mapping[str, Any]], Any] | None = None
    leaks: Callable[[str], bool] | None = None
    grid: Callable[[Any], Any] | None = None
    blind: Callable[[Any], Any] | None = None
    chart: Callable[..., Any] | None = None
    ratings: BlindRatings | None = None

    def holds_key(self, text: str) -> bool:
        """Whether the API key stands in `text`, or that of ``VELLUM_API_KEY``."""
        if self.leaks is not None and self.leaks(text):
            return True
        return stands_in(os.environ.get("VELLUM_API_KEY", ""), text)
