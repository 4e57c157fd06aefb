"""Sweeps: many cases on many release tags."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from concurrent.futures import Executor
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vellum_nb.errors import InputError
from vellum_nb.experiments.sweep.reading import read_table
from vellum_nb.experiments.sweep.sweep import Sweep, SweepOptions
from vellum_nb.models import WorkflowDeploymentRelease, new_run_id
from vellum_nb.models.sweeps import SweepCase, SweepRecord, signature
from vellum_nb.workspace.base import BaseWorkspace
from vellum_nb.workspace.sweep_cases import checked_cases
from vellum_nb.workspace.sweep_worker import SweepWorker
from vellum_nb.workspace.views import render_comparison, view_sweep
from vellum_nb.workspace.watching import watch

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SweepMethods"]


class SweepMethods(BaseWorkspace):
    """Runs many cases on many release tags."""

    def sweep(
        self,
        deployment: str,
        cases: pd.DataFrame | Sequence[Mapping[str, Any]] | str | Path,
        *,
        release_tags: Sequence[str] = ("LATEST",),
        repeats: int = 1,
        concurrency: int | None = None,
        max_concurrency: int = 128,
        max_calls: int | None = None,
        max_seconds: float | None = None,
        max_cost_usd: float | None = None,
        stop_after_failures: int | None = None,
        progress: bool = True,
        background: bool = False,
        fresh: bool = False,
        executor: Executor | None = None,
    ) -> Sweep:
        """Execute `deployment` for every case on every release tag, `repeats` times."""
        if repeats < 1:
            msg = f"repeats={repeats}: a sweep runs every case at least once"
            raise InputError(msg)
        tags = (release_tags,) if isinstance(release_tags, str) else tuple(release_tags)
        releases = {tag: self._runner.resolve(deployment, tag) for tag in tags}
        checked = checked_cases(read_table(cases), releases, deployment).cases
        options = SweepOptions(
            concurrency=concurrency,
            max_concurrency=max_concurrency,
            max_calls=max_calls,
            max_seconds=max_seconds,
            max_cost_usd=max_cost_usd,
            stop_after_failures=stop_after_failures,
            executor=executor,
        )
        record = self._planned(deployment, checked, releases, repeats, fresh=fresh)
        sweep = self._sweep(record, checked, releases, options)
        sweep.watch = watch if progress else None
        return sweep.start() if background else sweep.run()

    def _planned(
        self,
        deployment: str,
        cases: Sequence[SweepCase],
        releases: Mapping[str, WorkflowDeploymentRelease | None],
        repeats: int,
        *,
        fresh: bool,
    ) -> SweepRecord:
        """Return the unfinished sweep of the same plan, or a new one, which is kept."""
        environment = _environment(releases)
        tags = tuple(releases)
        mark = signature(deployment, environment, tags, repeats, [case.case_id for case in cases])
        unfinished = None if fresh else self.history.sweeps.unfinished(mark)
        if unfinished is not None:
            return unfinished
        record = SweepRecord(
            id=new_run_id(),
            deployment=deployment,
            environment=environment,
            release_tags=tags,
            repeats=repeats,
            cases=len(cases),
            signature=mark,
            created=datetime.now(UTC),
        )
        self.history.sweeps.add(record, cases)
        return record

    def _sweep(
        self,
        record: SweepRecord,
        cases: Sequence[SweepCase],
        releases: Mapping[str, WorkflowDeploymentRelease | None],
        options: SweepOptions,
    ) -> Sweep:
        worker = SweepWorker(
            self.client,
            self.history,
            sweep=record,
            cases=cases,
            releases=releases,
            deployment_id=self._lookup.deployment(record.deployment).id,
        )
        return Sweep(
            record,
            history=self.history,
            worker=worker,
            options=options,
            render=render_comparison,
            viewer=partial(view_sweep, cases=cases, releases=releases),
        )


def _environment(releases: Mapping[str, WorkflowDeploymentRelease | None]) -> str | None:
    names = [r.environment.name for r in releases.values() if r is not None and r.environment]
    return names[0] if names else None
