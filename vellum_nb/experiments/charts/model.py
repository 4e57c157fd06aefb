"""What a chart is before it is drawn."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import altair as alt

__all__ = ["Chart", "Ink", "Picture", "Point"]

Chart = Literal["metric", "latency", "wins", "scatter"]


@dataclass(frozen=True, slots=True)
class Ink:
    """The colours of text and lines: those of a picture on white, or of the page's theme."""

    text: str = "#222222"
    line: str = "#c8c8c8"
    page: str = "#ffffff"
    width: int = 560


@dataclass(frozen=True, slots=True)
class Point:
    """A place in a scatter, and the cases that stand there."""

    x: float
    y: float
    verdict: str
    case_ids: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Picture:
    """A chart that is not drawn yet.

    Attributes
    ----------
    draw : callable
        Called with an `Ink`; returns the Altair chart.
    text : str
        What it shows, in words.
    points : tuple of Point
        Those of a scatter.
    """

    draw: Callable[[Ink], alt.LayerChart]
    text: str
    points: tuple[Point, ...] = ()
