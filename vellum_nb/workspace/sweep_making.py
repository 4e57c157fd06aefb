"""How a sweep comes to be: checked, planned, written down, and given what it runs with."""

from __future__ import annotations

import weakref
from collections.abc import Sequence
from functools import partial

from vellum_nb.comparison.comparison import Services
from vellum_nb.errors import AuthenticationError
from vellum_nb.experiments.sweep.reading import Cases, read_table
from vellum_nb.experiments.sweep.sweep import Sweep, SweepOptions
from vellum_nb.models.sweeps import SweepCase, SweepRecord
from vellum_nb.workspace.base import BaseWorkspace
from vellum_nb.workspace.grids import sweep_about
from vellum_nb.workspace.sweep_cases import Releases, checked_cases, recheck
from vellum_nb.workspace.sweep_opening import LateWorker
from vellum_nb.workspace.sweep_options import checked_repeats, checked_tags
from vellum_nb.workspace.sweep_plan import Planned, Wanted
from vellum_nb.workspace.sweep_worker import SweepWorker
from vellum_nb.workspace.tools import tools_of
from vellum_nb.workspace.views import view_sweep
from vellum_nb.workspace.watching import watch

__all__ = ["SweepMaking", "live_sweep"]

_UNDER_WAY = frozenset({"running", "paused", "stopping"})
_LIVE: weakref.WeakValueDictionary[str, Sweep] = weakref.WeakValueDictionary()


class SweepMaking(BaseWorkspace):
    """Makes sweeps, for the methods that users call."""

    def _wanted(
        self, deployment: str, cases: Cases, release_tags: Sequence[str], repeats: int
    ) -> Wanted:
        tags, times = checked_tags(release_tags), checked_repeats(repeats)
        table = read_table(cases)
        releases = {tag: self._runner.resolve(deployment, tag) for tag in tags}
        return Wanted(deployment, releases, checked_cases(table, releases, deployment), times)

    def _kept(self, found: Planned, cases: Sequence[SweepCase], *, twin: bool) -> bool:
        """Write the plan down; return False where another process was quicker."""
        sweeps, record = self.history.sweeps, found.record
        if found.is_new:
            return sweeps.add(record, cases, taken=found.taken, twin=twin)
        token = sweeps.hold(record.id)
        try:
            sweeps.change(record.id, options=record.options)
            if sweeps.cases(record.id) != cases:
                sweeps.renew_cases(record.id, cases)
            if found.taken:
                begun = sweeps.states(record.id)
                sweeps.keep_reused(record.id, found.not_begun(begun))
        finally:
            sweeps.let_go(record.id, token)
        return True

    def _sweep(self, found: Planned, wanted: Wanted, options: SweepOptions) -> Sweep:
        record, cases = found.record, wanted.checked.cases
        worker = self._worker(record, cases, wanted.releases, expand_meta=options.tells_cost)
        sweep = Sweep(
            record,
            history=self.history,
            worker=worker,
            options=options,
            viewer=partial(view_sweep, cases=cases, releases=wanted.releases),
        )
        sweep.plan = found.plan
        sweep.tools = self._tools(record.deployment, sweep_about(record))
        _LIVE[record.id] = sweep
        return sweep

    def _opened(self, record: SweepRecord, options: SweepOptions) -> Sweep:
        """Return an old sweep, which reads its cases and releases only when it goes on."""
        sweep = Sweep(
            record,
            history=self.history,
            worker=LateWorker(partial(self._late, record, options)),
            options=options,
            viewer=self._view_of_old,
        )
        sweep.watch = watch
        sweep.tools = self._tools(record.deployment, sweep_about(record))
        _LIVE[record.id] = sweep
        return sweep

    def _worker(
        self,
        record: SweepRecord,
        cases: Sequence[SweepCase],
        releases: Releases,
        *,
        expand_meta: bool,
    ) -> SweepWorker:
        return SweepWorker(
            self.client,
            self.history,
            sweep=record,
            cases=cases,
            releases=releases,
            look_up=partial(self._runner.resolve, record.deployment),
            deployment_id=self._deployment_id(record.deployment),
            expand_meta=expand_meta,
        )

    def _late(self, record: SweepRecord, options: SweepOptions) -> SweepWorker:
        """Return what an old sweep goes on with: its cases, checked on the releases of now."""
        releases = {
            tag: self._runner.resolve(record.deployment, tag) for tag in record.release_tags
        }
        cases = self.history.sweeps.cases(record.id)
        recheck(cases, releases, record.deployment)
        self.history.sweeps.change(record.id, options=options.kept)
        return self._worker(record, cases, releases, expand_meta=options.tells_cost)

    def _tools(self, deployment: str, about: str) -> Services:
        return tools_of(self, deployment, about=about)  # type: ignore[arg-type]  # it is a whole Workspace

    def _view_of_old(self, sweep: Sweep) -> object:
        return view_sweep(sweep, cases=self.history.sweeps.cases(sweep.id), releases={})

    def _deployment_id(self, deployment: str) -> str | None:
        try:
            return self._lookup.deployment(deployment).id
        except AuthenticationError:  # this key may execute, and not look up
            return None


def live_sweep(sweep_id: str) -> Sweep | None:
    """Return the sweep where it is under way in this process."""
    sweep = _LIVE.get(sweep_id)
    return sweep if sweep is not None and sweep.state in _UNDER_WAY else None
