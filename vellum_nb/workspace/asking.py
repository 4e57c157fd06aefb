"""How the judges among metrics are asked: the history first, then a sweep."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from vellum_nb.errors import InputError
from vellum_nb.experiments.metrics.judges import Judging
from vellum_nb.models import Run
from vellum_nb.sweep import Sweep

if TYPE_CHECKING:
    from vellum_nb.workspace.sweeping import SweepMethods

__all__ = ["asking"]

Cases = Sequence[Mapping[str, Any]]


def asking(workspace: SweepMethods) -> Judging:
    """Return how judges of `workspace` are asked."""
    return Judging(partial(_found, workspace), partial(_run, workspace))


def _found(
    workspace: SweepMethods, deployment: str, release_tag: str, case_ids: Sequence[str]
) -> list[Run]:
    return workspace.history.runs(
        deployment=deployment, release_tag=release_tag, state="FULFILLED", case_id=case_ids
    )


def _run(
    workspace: SweepMethods, deployment: str, release_tag: str, cases: Cases
) -> list[Run | str]:
    """Run each case; one whose inputs do not fit gets the reason, and the others are run."""
    rows = [{f"input.{name}": value for name, value in case.items()} for case in cases]

    def sweep(rows: list[dict[str, Any]]) -> Sweep:
        return workspace.sweep(
            deployment, rows, release_tags=[release_tag], restart=True, reuse=True, progress=False
        )

    unfit: dict[int, str] = {}
    try:
        done = sweep(rows)
    except InputError as exc:
        for problem in exc.problems:
            if problem.row is not None:
                reason = f"cannot be asked: {problem.variable}: {problem.message}"
                unfit.setdefault(problem.row - 1, reason)
        if not unfit or len(unfit) == len(rows):  # it is not the answers that do not fit
            raise
        done = sweep([row for at, row in enumerate(rows) if at not in unfit])
    made: dict[str, Run | str] = {run.case_id: run for run in done.runs()}
    planned = iter(workspace.history.sweeps.cases(done.id))
    stopped = "was not asked: its sweep stopped"
    return [
        unfit[at] if at in unfit else made.get(next(planned).case_id, stopped)
        for at in range(len(rows))
    ]
