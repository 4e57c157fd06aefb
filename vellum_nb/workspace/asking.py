"""Judges are run as sweeps: those that the history has are found, the others run with limits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vellum_nb.errors import InputError
from vellum_nb.experiments.sweep import Sweep
from vellum_nb.models import Run

if TYPE_CHECKING:
    from vellum_nb.workspace.sweeping import SweepMethods

__all__ = ["WorkspaceJudges"]


class WorkspaceJudges:
    """Finds and makes the runs of judges in a workspace; a `JudgeService`."""

    def __init__(self, workspace: SweepMethods) -> None:
        self._workspace = workspace

    def find(self, deployment: str, release_tag: str, case_ids: Sequence[str]) -> list[Run]:
        """Return the fulfilled runs of these cases that the history has."""
        return self._workspace.history.runs(
            deployment=deployment, release_tag=release_tag, state="FULFILLED", case_id=case_ids
        )

    def run(
        self,
        deployment: str,
        release_tag: str,
        cases: Sequence[Mapping[str, Any]],
        *,
        max_calls: int | None,
        max_cost_usd: float | None,
        progress: bool,
    ) -> list[Run | str]:
        """Run each case; one whose inputs do not fit gets the reason, and the others are run."""
        rows = [{f"input.{name}": value for name, value in case.items()} for case in cases]

        def sweep(rows: list[dict[str, Any]]) -> Sweep:
            return self._workspace.sweep(
                deployment,
                rows,
                release_tags=[release_tag],
                reuse=True,
                max_calls=max_calls,
                max_cost_usd=max_cost_usd,
                progress=progress,
            )

        unfit: dict[int, str] = {}
        try:
            done = sweep(rows)
        except InputError as exc:
            for problem in exc.problems:
                if problem.row is not None:
                    reason = f"cannot be run: {problem.variable}: {problem.message}"
                    unfit.setdefault(problem.row - 1, reason)
            if not unfit or len(unfit) == len(rows):  # it is not the answers that do not fit
                raise
            done = sweep([row for at, row in enumerate(rows) if at not in unfit])
        made: dict[str, Run | str] = {run.case_id: run for run in done.runs()}
        planned = iter(self._workspace.history.sweeps.cases(done.id))
        stopped = "was not called: its sweep stopped"
        return [
            unfit[at] if at in unfit else made.get(next(planned).case_id, stopped)
            for at in range(len(rows))
        ]
