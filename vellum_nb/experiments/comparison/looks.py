"""What a comparison is handed to be looked at: it knows no widget itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from vellum_nb.history.blind import BlindRatings

__all__ = ["Looks"]


@dataclass(frozen=True, slots=True)
class Looks:
    """What whoever makes a comparison hands to it.

    Attributes
    ----------
    blind : callable, optional
        Makes the widget of a `BlindSession`.
    chart : callable, optional
        Makes the widget of a chart; called with the comparison, its `Picture`, and `on_select`.
    ratings : BlindRatings, optional
        Where blind ratings are kept. Without it they live as long as the comparison.
    """

    blind: Callable[[Any], Any] | None = None
    chart: Callable[..., Any] | None = None
    ratings: BlindRatings | None = None
