"""What the grid is handed: functions it calls and words it shows. It knows no client, no store."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from vellum_nb.experiments.cases import Case
from vellum_nb.models import Run
from vellum_nb.widgets.grid.hearing import Subscribe
from vellum_nb.widgets.judging import Rate, Trace

__all__ = ["Hands"]


@dataclass(frozen=True, slots=True)
class Hands:
    """What a grid can do beside showing; what is None is not offered.

    Attributes
    ----------
    rate : callable, optional
        Called with a run, a quality and desired outputs; returns the run as it is then.
    trace : callable, optional
        Reads the nodes of a run.
    replay : callable, optional
        Called with a case and a release tag; runs the case there and returns the run.
    blind : callable, optional
        Called with the comparison and two of its releases; returns the widget of their blind
        rating.
    subscribe : callable, optional
        Calls back with each run that is rated elsewhere; as `History.subscribe`.
    about : str
        What the comparison is of, in a word or two, for the heading.
    same : mapping
        Release to the other tags that are on it.
    """

    rate: Rate | None = None
    trace: Trace | None = None
    replay: Callable[[Case, str], Run] | None = None
    blind: Callable[[Any, tuple[str, str]], Any] | None = None
    subscribe: Subscribe | None = None
    about: str = ""
    same: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
