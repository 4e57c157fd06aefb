"""How a sweep comes to be: checked, planned, written down, and given what it runs with."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vellum_nb.comparison import Comparison
from vellum_nb.errors import AuthenticationError
from vellum_nb.models import Run
from vellum_nb.models.sweeps import SweepCase, SweepRecord, is_in_doubt
from vellum_nb.rendering.files import refuse_key, save_frame
from vellum_nb.sweep.cases import Cases, Releases, checked_cases, read_table, recheck
from vellum_nb.sweep.options import SweepOptions, checked_repeats, checked_tags
from vellum_nb.sweep.plan import PreparedSweep, SweepRequest
from vellum_nb.sweep.sweep import Sweep, SweepActions
from vellum_nb.workspace.asking import asking
from vellum_nb.workspace.base import BaseWorkspace
from vellum_nb.workspace.grids import sweep_about
from vellum_nb.workspace.lookup import ExecutionLookup
from vellum_nb.workspace.sweep_worker import LateWorker, SweepWorker
from vellum_nb.workspace.tools import tools_of
from vellum_nb.workspace.views import render_comparison, view_sweep
from vellum_nb.workspace.watching import watch

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["SweepMaking", "live_sweep"]

_LOOKUPS = 8  # at once
_UNDER_WAY = frozenset({"running", "paused", "stopping"})
_LIVE: weakref.WeakValueDictionary[str, Sweep] = weakref.WeakValueDictionary()


class SweepMaking(BaseWorkspace):
    """Makes sweeps, for the methods that users call."""

    def _sweep_request(
        self, deployment: str, cases: Cases, release_tags: Sequence[str], repeats: int
    ) -> SweepRequest:
        tags, times = checked_tags(release_tags), checked_repeats(repeats)
        table = read_table(cases)
        releases = {tag: self._runner.resolve(deployment, tag) for tag in tags}
        return SweepRequest(deployment, releases, checked_cases(table, releases, deployment), times)

    def _add_sweep(
        self, prepared: PreparedSweep, cases: Sequence[SweepCase], *, duplicate: bool
    ) -> bool:
        """Record the plan; return False where another process was quicker."""
        sweeps, record = self.history.sweeps, prepared.record
        if prepared.is_new:
            return sweeps.add(
                record, cases, reused=prepared.reused, allow_duplicate=duplicate
            )
        token = sweeps.acquire(record.id)
        try:
            sweeps.change(record.id, options=record.options)
            self._renew_cases(record, cases)
            if prepared.reused:
                begun = sweeps.states(record.id)
                sweeps.add_reused(record.id, prepared.not_begun(begun))
        finally:
            sweeps.release(record.id, token)
        return True

    def _renew_cases(self, record: SweepRecord, cases: Sequence[SweepCase]) -> None:
        if self.history.sweeps.cases(record.id) != cases:
            self.history.sweeps.update_cases(record.id, cases)

    def _ended_sweep(
        self, prepared: PreparedSweep, request: SweepRequest, options: SweepOptions
    ) -> Sweep:
        """Return a sweep that has ended, as it is; runs in doubt are looked up."""
        self._renew_cases(prepared.record, request.checked.cases)
        sweep = self._made_sweep(prepared, request, options)
        note = next(iter(prepared.plan.notes))
        sys.stderr.write(f"vellum-nb: {request.deployment}: {note} (sweep {sweep.id})\n")
        if self.history.sweeps.in_doubt(sweep.id):
            sweep.resume(progress=False)
        return sweep

    def _settle_doubts(self, request: SweepRequest) -> None:
        """Look up runs of these cases and releases whose answer never came."""
        releases = {release for release in request.release_ids.values() if release}
        case_ids = [case.case_id for case in request.checked.cases]
        held = self.history.sweeps.held()
        found = self.history.runs(
            deployment=request.deployment, state=["STARTED", "FAILED"], case_id=case_ids
        )
        in_doubt = [
            run
            for run in found
            if _is_in_doubt(run)
            and run.release_id in releases
            and run.sweep_id not in held
            and not self._runner.keeper.holds(run)
        ]
        if in_doubt:
            lookup = ExecutionLookup(self.client, self._deployment_id(request.deployment))
            with ThreadPoolExecutor(_LOOKUPS) as pool:
                list(pool.map(partial(self._runner.settle, lookup), in_doubt))

    def _made_sweep(
        self, prepared: PreparedSweep, request: SweepRequest, options: SweepOptions
    ) -> Sweep:
        record, cases = prepared.record, request.checked.cases
        sweep = Sweep(
            record,
            history=self.history,
            worker=self._worker(record, cases, request.releases, options),
            options=options,
            plan=prepared.plan,
            actions=self._sweep_actions(
                record, partial(view_sweep, cases=cases, releases=request.releases)
            ),
        )
        _LIVE[record.id] = sweep
        return sweep

    def _opened(self, record: SweepRecord, options: SweepOptions) -> Sweep:
        """Return an old sweep, which reads its cases and releases only when it goes on."""
        sweep = Sweep(
            record,
            history=self.history,
            worker=LateWorker(partial(self._late, record, options)),
            options=options,
            actions=self._sweep_actions(record, self._view_of_old),
        )
        _LIVE[record.id] = sweep
        return sweep

    def _sweep_actions(self, record: SweepRecord, view: Callable[[Sweep], object]) -> SweepActions:
        return SweepActions(
            compare=partial(self._compare_sweep, self._tools(sweep_about(record))),
            view=view,
            watch=watch,
            save=self._save_frame,
        )

    def _compare_sweep(self, tools: Tools, sweep: Sweep, **options: Any) -> Comparison:
        comparison = Comparison(
            sweep.summaries(),
            deployment=sweep.record.deployment,
            release_tags=sweep.record.release_tags,
            render=render_comparison,
            cases=self.history.sweeps.cases(sweep.id),
            judging=asking(self),  # type: ignore[arg-type]  # it is a whole Workspace
            **options,
        )
        comparison.tools = tools
        return comparison

    def _save_frame(self, path: str | Path, frame: pd.DataFrame) -> Path:
        refuse_key(str(path), self._tools("").holds_key, [frame])
        return save_frame(path, frame, "csv")

    def _worker(
        self,
        record: SweepRecord,
        cases: Sequence[SweepCase],
        releases: Releases,
        options: SweepOptions,
    ) -> SweepWorker:
        return SweepWorker(
            self.client,
            self.history,
            sweep=record,
            cases=cases,
            releases=releases,
            look_up=partial(self._runner.resolve, record.deployment),
            deployment_id=self._deployment_id(record.deployment),
            expand_meta=options.tells_cost,
            may_resend=options.resend_in_doubt,
        )

    def _late(self, record: SweepRecord, options: SweepOptions) -> SweepWorker:
        """Return what an old sweep goes on with: its cases, checked on the releases of now."""
        releases = {
            tag: self._runner.resolve(record.deployment, tag) for tag in record.release_tags
        }
        cases = self.history.sweeps.cases(record.id)
        recheck(cases, releases, record.deployment)
        self.history.sweeps.change(record.id, options=options.kept)
        return self._worker(record, cases, releases, options)

    def _tools(self, about: str) -> Tools:
        return tools_of(self, about=about)  # type: ignore[arg-type]  # it is a whole Workspace

    def _view_of_old(self, sweep: Sweep) -> object:
        return view_sweep(sweep, cases=self.history.sweeps.cases(sweep.id), releases={})

    def _deployment_id(self, deployment: str) -> str | None:
        try:
            return self._lookup.deployment(deployment).id
        except AuthenticationError:  # this key may execute, and not look up
            return None


def _is_in_doubt(run: Run) -> bool:
    error = run.error
    return is_in_doubt(run.state, error and error.code, error and error.message)


def live_sweep(sweep_id: str) -> Sweep | None:
    """Return the sweep where it is under way in this process."""
    sweep = _LIVE.get(sweep_id)
    return sweep if sweep is not None and sweep.state in _UNDER_WAY else None
