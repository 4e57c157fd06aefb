"""What comparisons are handed: widgets, sweeps, the history that keeps blind ratings, the key."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import TYPE_CHECKING, Any

from vellum_nb.comparison.code_diff import CodeDiff
from vellum_nb.comparison.comparison import Services
from vellum_nb.errors import APIError
from vellum_nb.experiments.sweep.reading import Cases
from vellum_nb.models import Run
from vellum_nb.workspace.grids import plain_viewer, viewer

if TYPE_CHECKING:
    from vellum_nb.comparison.blind import BlindSession
    from vellum_nb.widgets import BlindView
    from vellum_nb.workspace.workspace import Workspace

__all__ = ["plain_tools", "tools_of"]

Rate = Callable[[Run, float, Mapping[str, Any]], object]


def tools_of(workspace: Workspace, deployment: str, *, about: str = "") -> Services:
    """Return the tools of a comparison of this workspace's runs; `about` says which."""
    return Services(
        sweep=partial(_sweep, workspace),
        leaks=workspace.client.leaks,
        grid=viewer(workspace, about=about),
        blind=partial(_view_blind, rate=partial(_rate, workspace)),
        ratings=workspace.history.blind,
        code_diff=partial(_code_diff, workspace, deployment),
    )


def plain_tools() -> Services:
    """Return those of a comparison without a workspace: nothing is rated, run or kept."""
    blind = partial(_view_blind, rate=None)
    return Services(grid=plain_viewer, blind=blind)


def _sweep(workspace: Workspace, deployment: str, rows: Cases, options: Mapping[str, Any]) -> Any:
    return workspace.sweep(deployment, rows, **options)


def _code_diff(workspace: Workspace, deployment: str, old: str, new: str) -> CodeDiff | None:
    """Return how the code of two releases differs; None where it cannot be read."""
    try:
        return workspace.code_diff(deployment, old, new)
    except APIError:
        return None


def _rate(workspace: Workspace, run: Run, quality: float, metadata: Mapping[str, Any]) -> object:
    return workspace.rate(run, quality=quality, metadata=metadata)


def _view_blind(session: BlindSession, *, rate: Rate | None) -> BlindView:
    from vellum_nb.widgets import BlindView

    return BlindView(session, rate=rate)
