"""What the grid of a comparison is handed: ratings, traces and runs of the workspace."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from vellum_nb.comparison import Comparison
from vellum_nb.comparison.cases import Case
from vellum_nb.errors import APIError
from vellum_nb.models import Cancellation, Run, RunRequest
from vellum_nb.models.sweeps import SweepRecord

if TYPE_CHECKING:
    from vellum_nb.widgets.grid import ComparisonView
    from vellum_nb.workspace.workspace import Workspace

__all__ = ["plain_viewer", "sweep_about", "viewer"]


def sweep_about(record: SweepRecord) -> str:
    """Return a sweep in a few words, by when it began on the clock of this machine."""
    when = record.created.astimezone()
    return f"sweep of {when.day} {when:%b %H:%M}"


def viewer(workspace: Workspace, *, about: str = "") -> Callable[[Comparison], ComparisonView]:
    """Return what makes the grid of a comparison of this workspace's runs."""

    def view(comparison: Comparison) -> ComparisonView:
        from vellum_nb.widgets.grid import ComparisonView, Hands

        hands = Hands(
            rate=workspace._rate_kept,  # noqa: SLF001  (as the form's)
            trace=workspace._nodes,  # noqa: SLF001
            replay=_replay(workspace, comparison.deployment),
            blind=lambda comparison, pair: comparison.view(blind=True, pair=pair),
            subscribe=workspace.history.subscribe,
            again=lambda ids: workspace.history.records(archived=True, ids=list(ids)),
            about=about,
            same=_same(workspace, comparison),
        )
        return ComparisonView(comparison, hands)

    return view


def plain_viewer(comparison: Comparison) -> ComparisonView:
    """Return the grid of a comparison without a workspace: nothing is rated or run there."""
    from vellum_nb.widgets.grid import ComparisonView

    return ComparisonView(comparison)


def _replay(workspace: Workspace, deployment: str) -> Callable[[Case, str], Run]:
    def replay(case: Case, tag: str) -> Run:
        release = workspace._runner.resolve(deployment, tag)  # noqa: SLF001  (of this package)
        known = None if release is None else release.workflow_version.input_variables
        names = {each.key for each in known} if known is not None else set(case.inputs)
        request = RunRequest(
            deployment=deployment,
            inputs=dict(case.inputs),
            release_tag=tag,
            not_sent=tuple(name for name in case.inputs if name not in names),
        )
        return workspace._runner.execute(request, Cancellation())[0]  # noqa: SLF001

    return replay


def _same(workspace: Workspace, comparison: Comparison) -> Mapping[str, tuple[str, ...]]:
    """Return for each release tag the others on the same release; {} where that is not told."""
    found: dict[str, tuple[str, ...]] = {}
    for tag in comparison.release_tags if comparison.by == "release_tag" else ():
        try:
            release = workspace._runner.resolve(comparison.deployment, tag)  # noqa: SLF001
        except APIError:
            return {}
        if release is not None and tag in comparison.releases:
            found[tag] = tuple(each.name for each in release.release_tags if each.name != tag)
    return found
