"""How a sweep comes to be: checked, planned, recorded, and given what it runs with."""

from __future__ import annotations

import sys
import weakref
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from vellum_nb.client import Client
from vellum_nb.errors import AuthenticationError, InputError
from vellum_nb.history import History
from vellum_nb.models import Run
from vellum_nb.models.checks import check_integer
from vellum_nb.models.sweeps import SweepCase, SweepRecord, is_in_doubt
from vellum_nb.sweep.cases import Cases, Releases, Table, checked_cases, read_table
from vellum_nb.sweep.limits import SweepOptions, checked_tags
from vellum_nb.sweep.plan import PreparedSweep, SweepPlan, SweepRequest, plan_sweep, planned_runs
from vellum_nb.sweep.sweep import Sweep, SweepActions
from vellum_nb.workspace.lookup import ExecutionLookup, Lookup
from vellum_nb.workspace.runner import Runner
from vellum_nb.workspace.sweep_worker import SweepWorker, workspace_id
from vellum_nb.workspace.views import announce, view_sweep

_LOOKUPS = 8  # at once
_LIVE: weakref.WeakValueDictionary[str, Sweep] = weakref.WeakValueDictionary()


class SweepStarter:
    """Plans and starts the sweeps of a workspace.

    Parameters
    ----------
    actions : callable
        Returns what a sweep that is shown by this view is given by its workspace.
    """

    def __init__(
        self,
        client: Client,
        history: History,
        lookup: Lookup,
        runner: Runner,
        actions: Callable[[Callable[[Sweep], Any]], SweepActions],
    ) -> None:
        self._client = client
        self._history = history
        self._lookup = lookup
        self._runner = runner
        self._actions = actions

    def request(
        self,
        deployment: str,
        cases: Cases,
        release_tags: Sequence[str],
        repeats: int,
        *,
        mocks: bool = False,
    ) -> SweepRequest:
        """Return what is to be run, checked on the releases of now."""
        tags = checked_tags(release_tags)
        check_integer("repeats", repeats, least=1)
        table = read_table(cases)
        releases = {tag: self._runner.resolve(deployment, tag) for tag in tags}
        checked = checked_cases(table, releases, deployment, mocks=mocks)
        return SweepRequest(deployment, releases, checked, int(repeats), workspace_id(self._client))

    def plan(
        self, request: SweepRequest, options: SweepOptions, *, restart: bool, reuse: bool
    ) -> SweepPlan:
        """Return the plan; nothing is sent or recorded."""
        sweeps = self._history.sweeps
        return plan_sweep(request, sweeps, options, restart=restart, reuse=reuse).plan

    def run(
        self,
        request: SweepRequest,
        options: SweepOptions,
        *,
        restart: bool,
        reuse: bool,
        background: bool,
        progress: bool,
    ) -> Sweep:
        """Start the sweep, go on with it, or return it where it has ended."""
        plan = partial(plan_sweep, request, self._history.sweeps, options, restart=restart)
        prepared = plan(reuse=False)
        sweep = _live_sweep(prepared.record.id)
        if sweep is not None:
            sweep.apply(options)
            return sweep.resume(background=background, progress=progress)
        if prepared.record.ended is not None:
            return self._ended(prepared, request, options)
        if reuse:
            self._settle_doubts(request)
            prepared = plan(reuse=True)
        while not self._add(prepared, request.checked.cases, duplicate=restart):
            prepared = plan(reuse=reuse)
        if progress:
            announce(prepared.plan)
        sweep = self._made(prepared, request, options)
        return sweep.resume(background=background, progress=progress)

    def open(self, record: SweepRecord, options: SweepOptions, *, apply: bool) -> Sweep:
        """Return a sweep of the history; `apply`: where it is under way, with these limits."""
        sweep = _live_sweep(record.id)
        if sweep is not None:
            if apply:
                sweep.apply(options)
            return sweep

        def load() -> tuple[Sequence[SweepCase], Releases]:
            """Return its cases, checked on the releases of now."""
            resolve = partial(self._runner.resolve, record.deployment)
            releases = {tag: resolve(tag) for tag in record.release_tags}
            cases = self._history.sweeps.cases(record.id)
            rows = [{f"input.{k}": v for k, v in case.inputs.items()} for case in cases]
            columns = tuple(dict.fromkeys(name for row in rows for name in row))
            table = Table(rows, columns, "dicts", "the sweep", has_runs=True)
            checked_cases(table, releases, record.deployment)
            self._history.sweeps.change(record.id, options=options.stored)
            return cases, releases

        def view(sweep: Sweep) -> object:
            return view_sweep(sweep, cases=self._history.sweeps.cases(sweep.id), releases={})

        return self._sweep(record, options, load, view)

    def _add(self, prepared: PreparedSweep, cases: Sequence[SweepCase], *, duplicate: bool) -> bool:
        """Record the plan; return False where another process was quicker."""
        sweeps, record, reused = self._history.sweeps, prepared.record, prepared.reused
        if prepared.is_new:
            return sweeps.add(record, cases, reused=reused, allow_duplicate=duplicate)
        token = sweeps.acquire(record.id)
        try:
            sweeps.change(record.id, options=record.options)
            self._update_cases(record, cases)
            if reused:
                states = sweeps.states(record.id)
                planned = planned_runs(record, states, {})
                free = {each.place for each in planned if each.state is None}
                reused = {place: run for place, run in reused.items() if place in free}
                sweeps.add_reused(record.id, reused)
        finally:
            sweeps.release(record.id, token)
        return True

    def _update_cases(self, record: SweepRecord, cases: Sequence[SweepCase]) -> None:
        if self._history.sweeps.cases(record.id) != cases:
            self._history.sweeps.update_cases(record.id, cases)

    def _ended(
        self, prepared: PreparedSweep, request: SweepRequest, options: SweepOptions
    ) -> Sweep:
        """Return a sweep that has ended, as it is; runs in doubt are looked up."""
        self._update_cases(prepared.record, request.checked.cases)
        sweep = self._made(prepared, request, options)
        note = next(iter(prepared.plan.notes))
        sys.stderr.write(f"vellum-nb: {request.deployment}: {note} (sweep {sweep.id})\n")
        if self._history.sweeps.in_doubt(sweep.id):
            sweep.resume(progress=False)
        return sweep

    def _settle_doubts(self, request: SweepRequest) -> None:
        """Look up runs of these cases and releases whose answer never came."""
        releases = {release for release in request.release_ids.values() if release}
        held = self._history.sweeps.held()
        found = self._history.runs(
            deployment=request.deployment,
            state=["STARTED", "FAILED"],
            case_id=[case.case_id for case in request.checked.cases],
        )
        in_doubt = [
            run
            for run in found
            if _is_in_doubt(run)
            and run.release_id in releases
            and run.sweep_id not in held
            and not self._runner.recorder.has(run)
        ]
        if in_doubt:
            lookup = ExecutionLookup(self._client, self._deployment_id(request.deployment))
            with ThreadPoolExecutor(_LOOKUPS) as pool:
                list(pool.map(partial(self._runner.settle, lookup), in_doubt))

    def _made(self, prepared: PreparedSweep, request: SweepRequest, options: SweepOptions) -> Sweep:
        cases, releases = request.checked.cases, request.releases
        view = partial(view_sweep, cases=cases, releases=releases)
        return self._sweep(
            prepared.record, options, lambda: (cases, releases), view, plan=prepared.plan
        )

    def _sweep(
        self,
        record: SweepRecord,
        options: SweepOptions,
        load: Callable[[], tuple[Sequence[SweepCase], Releases]],
        view: Callable[[Sweep], Any],
        *,
        plan: SweepPlan | None = None,
    ) -> Sweep:
        worker = SweepWorker(
            self._client,
            self._history,
            sweep=record,
            options=options,
            load=load,
            look_up=partial(self._runner.resolve, record.deployment),
            deployment_id=partial(self._deployment_id, record.deployment),
        )
        sweep = _LIVE[record.id] = Sweep(
            record,
            history=self._history,
            worker=worker,
            options=options,
            plan=plan,
            actions=self._actions(view),
        )
        return sweep

    def _deployment_id(self, deployment: str) -> str | None:
        try:
            return self._lookup.deployment(deployment).id
        except AuthenticationError:  # this key may execute, and not look up
            return None


def _is_in_doubt(run: Run) -> bool:
    if run.error is None:
        return is_in_doubt(run.state, None, None)
    return is_in_doubt(run.state, run.error.code, run.error.message)


def _live_sweep(sweep_id: str) -> Sweep | None:
    """Return the sweep where it is under way in this process."""
    sweep = _LIVE.get(sweep_id)
    return sweep if sweep and sweep.state in {"running", "paused", "stopping"} else None


def refuse_mocks_elsewhere(client: Client) -> None:
    """Raise an `InputError` where the server would run nodes in spite of mocks."""
    name = client.environment_identity().name
    if name != "local":
        msg = (
            f"mocks=True needs a local server, and this is the environment {name!r}: it would "
            "run the nodes. Connect to a local server, or leave mocks out"
        )
        raise InputError(msg)
