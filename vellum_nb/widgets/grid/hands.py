"""What the grid is handed: functions it calls and words it shows. It knows no client, no store."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from vellum_nb.experiments import Comparison
from vellum_nb.experiments.cases import Case
from vellum_nb.history.reading.records import Record
from vellum_nb.models import Run
from vellum_nb.widgets.results import Rate, Trace

__all__ = ["Hands", "Subscribe"]


class Subscribe(Protocol):
    """Takes what is called with each run that changes, and once after many; as a history does."""

    def __call__(
        self, callback: Callable[[Run], None], /, *, many: Callable[[], None] | None = None
    ) -> Callable[[], None]:
        """Return how to stop that."""


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
        Calls back with each run that is rated elsewhere, and once after many; as
        `History.subscribe`.
    again : callable, optional
        Called with ids; returns the runs that there are of these, as they are now.
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
    again: Callable[[Collection[str]], list[Record]] | None = None
    about: str = ""
    same: Mapping[str, tuple[str, ...]] = field(default_factory=dict)

    def replayed(self, comparison: Comparison) -> frozenset[str]:
        """Return the releases on which a case can be run: those that a tag names alone."""
        if self.replay is None or comparison.by != "release_tag":
            return frozenset()
        tags = set(comparison.release_tags) - set(comparison.moved_tags)
        return frozenset(tags & set(comparison.releases))
