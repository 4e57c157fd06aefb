"""What comparisons are looked at with: widgets, and the history that keeps blind ratings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from vellum_nb.experiments.comparison.looks import Looks
from vellum_nb.models import Run
from vellum_nb.workspace.base import BaseWorkspace

if TYPE_CHECKING:
    from vellum_nb.experiments import Comparison
    from vellum_nb.experiments.blind import BlindSession
    from vellum_nb.experiments.charts import Picture
    from vellum_nb.widgets import BlindView, ChartView

__all__ = ["looks"]

Rate = Callable[[Run, float, Mapping[str, Any]], object]


def looks(workspace: BaseWorkspace | None = None) -> Looks:
    """Return what a comparison is looked at with; without a workspace nothing is kept or sent."""
    rate = None if workspace is None else _rating(workspace)
    ratings = None if workspace is None else workspace.history.blind
    return Looks(partial(_view_blind, rate=rate), _view_chart, ratings)


def _rating(workspace: Any) -> Rate:
    def rate(run: Run, quality: float, metadata: Mapping[str, Any]) -> object:
        return workspace.rate(run, quality=quality, metadata=metadata)

    return rate


def _view_blind(session: BlindSession, *, rate: Rate | None) -> BlindView:
    from vellum_nb.widgets import BlindView

    return BlindView(session, rate=rate)


def _view_chart(comparison: Comparison, drawn: Picture, **options: Any) -> ChartView:
    from vellum_nb.widgets import ChartView

    return ChartView(comparison, drawn, **options)
