"""How a history, a comparison and a sweep are shown; handed to rooms that know no widget."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vellum_nb.history import History
from vellum_nb.models import WorkflowDeploymentRelease
from vellum_nb.models.sweeps import SweepCase

if TYPE_CHECKING:
    from vellum_nb.experiments.sweep.sweep import Sweep
    from vellum_nb.widgets import HistoryView, SweepView

__all__ = ["view_history", "view_sweep"]


def view_history(history: History, **options: Any) -> HistoryView:
    """Return the interactive table of `history`."""
    from vellum_nb.widgets import HistoryView
    from vellum_nb.widgets.outputs import side_by_side_html

    return HistoryView(history, side_by_side=side_by_side_html, **options)


def view_sweep(
    sweep: Sweep,
    *,
    cases: Sequence[SweepCase],
    releases: Mapping[str, WorkflowDeploymentRelease | None],
) -> SweepView:
    """Return the live view of `sweep`."""
    from vellum_nb.widgets import SweepView

    numbers = {case.case_id: case.position + 1 for case in reversed(cases)}
    return SweepView(sweep, same=_same(releases), numbers=numbers)


def _same(
    releases: Mapping[str, WorkflowDeploymentRelease | None],
) -> dict[str, tuple[str, ...]]:
    """Return for each release tag the others that are on the same release."""
    names = {tag: [each.name for each in r.release_tags] for tag, r in releases.items() if r}
    return {tag: tuple(name for name in own if name != tag) for tag, own in names.items()}
