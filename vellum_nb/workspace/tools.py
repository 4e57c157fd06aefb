"""What comparisons are handed: widgets, sweeps, the history that keeps blind ratings, the key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from vellum_nb.experiments.comparison.tools import Tools
from vellum_nb.models import Run
from vellum_nb.sweep.cases import Cases
from vellum_nb.workspace.grids import plain_viewer, viewer

if TYPE_CHECKING:
    from vellum_nb.experiments import Comparison
    from vellum_nb.experiments.blind import BlindSession
    from vellum_nb.experiments.charts import Picture
    from vellum_nb.widgets import BlindView, ChartView
    from vellum_nb.workspace.workspace import Workspace

__all__ = ["plain_tools", "tools_of"]

Rate = Callable[[Run, float, Mapping[str, Any]], object]


def tools_of(workspace: Workspace, *, about: str = "") -> Tools:
    """Return the tools of a comparison of this workspace's runs; `about` says which."""
    return Tools(
        sweep=partial(_sweep, workspace),
        leaks=workspace.client.leaks,
        grid=viewer(workspace, about=about),
        blind=partial(_view_blind, rate=partial(_rate, workspace)),
        chart=_view_chart,
        ratings=workspace.history.blind,
    )


def plain_tools() -> Tools:
    """Return those of a comparison without a workspace: nothing is rated, run or kept."""
    blind = partial(_view_blind, rate=None)
    return Tools(grid=plain_viewer, blind=blind, chart=_view_chart)


def _sweep(workspace: Workspace, deployment: str, rows: Cases, options: Mapping[str, Any]) -> Any:
    return workspace.sweep(deployment, rows, **options)


def _rate(workspace: Workspace, run: Run, quality: float, metadata: Mapping[str, Any]) -> object:
    return workspace.rate(run, quality=quality, metadata=metadata)


def _view_blind(session: BlindSession, *, rate: Rate | None) -> BlindView:
    from vellum_nb.widgets import BlindView

    return BlindView(session, rate=rate)


def _view_chart(comparison: Comparison, drawn: Picture, **options: Any) -> ChartView:
    from vellum_nb.widgets import ChartView

    return ChartView(comparison, drawn, **options)
