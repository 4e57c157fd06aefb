"""How a sweep comes to be: checked, planned, recorded; and what makes its runs.

An attempt never waits: what needs time is handed back as an outcome, and no thread is held. It may
be made in another process, to which it travels as a pickle.
"""

from __future__ import annotations

import os
import sys
import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from typing import Any

from vellum_nb.client import Client, ClientSettings
from vellum_nb.errors import APIError, AuthenticationError, HistoryError, InputError, VellumNBError
from vellum_nb.history import History
from vellum_nb.models import Cancellation, Run, RunError, WorkflowDeploymentRelease
from vellum_nb.models.checks import check_integer
from vellum_nb.models.inputs import infer_type, wire_type
from vellum_nb.models.sweeps import SweepCase, SweepRecord, is_in_doubt
from vellum_nb.sweep.cases import MOCKS, Cases, Releases, Table, checked_cases, read_table
from vellum_nb.sweep.limits import SweepOptions, checked_tags
from vellum_nb.sweep.plan import (
    PlannedRun,
    PreparedSweep,
    SweepPlan,
    SweepRequest,
    plan_sweep,
)
from vellum_nb.sweep.retry_policy import (
    LOOKUP_S,
    Doubt,
    InDoubt,
    LookupStatus,
    Outcome,
    PreparedRun,
    after_lookup,
    after_lookup_error,
    after_send_error,
    finished,
    no_lookup,
)
from vellum_nb.sweep.sweep import Sweep, SweepActions
from vellum_nb.workspace.executions import run_fields
from vellum_nb.workspace.lookup import Lookup, NoLookupError, find_execution
from vellum_nb.workspace.runner import Runner, StreamAccumulator, Uploads, send_run
from vellum_nb.workspace.views import announce, view_sweep

_RENEWED_WITHIN = timedelta(seconds=60)  # as long as a lease lasts
_SHORTEST_LOOKUP_S = 8.0  # however short the read timeout: servers list executions late
_LOOK_EVERY = 5.0  # seconds, at the release tags
_LAST_LOOK = 10.0  # seconds that it may take
_LOOKUPS = 8  # at once
_LIVE: weakref.WeakValueDictionary[str, Sweep] = weakref.WeakValueDictionary()


ClientSession = tuple[Client, Uploads]


def _new_session(settings: ClientSettings) -> ClientSession:
    client = Client.of(settings)
    return client, Uploads(client)


@lru_cache(maxsize=8)
def _session_of(settings: ClientSettings, process: int) -> ClientSession:  # noqa: ARG001
    """Return this process's session: connections do not survive a fork."""
    return _new_session(settings)


class SweepAttempt:
    """Makes one attempt at a run of a sweep: looks it up where it is in doubt, else sends it.

    `settings` make the client of a process, which tries once; executions of `deployment_id` are
    looked up on the `workspace` that the sweep was planned on, where the key may read the two.
    """

    def __init__(
        self,
        settings: ClientSettings,
        deployment_id: str | None,
        *,
        workspace: str | None = None,
        expand_meta: bool = False,
    ) -> None:
        self._settings = settings
        self._deployment_id = deployment_id
        self._workspace = workspace
        self._expand_meta = expand_meta
        self._own: ClientSession | None = None

    def __call__(self, prepared: PreparedRun, cancel: Cancellation | None = None) -> Outcome:
        """Make one attempt."""
        client, uploads = self._own or _session_of(self._settings, os.getpid())
        if prepared.doubt is not None:
            return self._look_up(prepared, client, cancel)
        run = prepared.run
        so_far = StreamAccumulator(run) if self._expand_meta else None
        try:
            inputs = uploads.sent(prepared.inputs, cancel)
        except APIError as exc:
            return after_send_error(prepared, exc, upload=True)
        try:
            how = send_run(client, run, inputs, cancel, so_far=so_far)
        except APIError as exc:
            return after_send_error(prepared, exc)
        except VellumNBError as exc:
            how = {"state": "FAILED", "error": RunError(code="BAD_REQUEST", message=str(exc))}
        return finished(prepared, how)

    def open(self) -> SweepAttempt:
        """Open connections of its own, which `close` ends; a pickle of it has none."""
        self._own = _new_session(self._settings)
        return self

    def close(self) -> None:
        """Close its own connections."""
        if self._own is not None:
            self._own[0].close()

    def __repr__(self) -> str:
        return f"<SweepAttempt to {self._settings.base_url}>"

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_own": None}

    def _look_up(
        self, prepared: PreparedRun, client: Client, cancel: Cancellation | None
    ) -> Outcome:
        external_id = str(prepared.run.external_id)
        try:
            found = find_execution(client, self._deployment_id, external_id, cancel)
            if found is LookupStatus.UNKNOWN and self._workspace is not None:
                now = client.workspace_identity().id
                if now != self._workspace:  # what it lists says nothing about this sweep
                    why = other_workspace(self._workspace, now)
                    return InDoubt(prepared, why, answered=False, hopeless=True)
        except NoLookupError as exc:
            return no_lookup(prepared, str(exc))
        except APIError as exc:
            return after_lookup_error(prepared, exc)
        if isinstance(found, LookupStatus):
            return after_lookup(prepared, found)
        return finished(prepared, run_fields(found), found=True)


def other_workspace(planned: str, now: str) -> str:
    """Return the sentence for a server that knows nothing of what a sweep has sent."""
    return (
        f"the server is another one than the sweep was planned on (workspace {planned}, now {now})"
        ", and does not know what was executed there: connect to that one again, or run all of it "
        "here with restart=True"
    )


def workspace_id(client: Client) -> str | None:
    """Return the id of the server's workspace; None where the key may not read it."""
    with suppress(APIError):
        return client.workspace_identity().id
    return None


class SweepWorker:
    """Makes the runs of one sweep, and watches its release tags while it does.

    `load` returns the cases and the releases of now, when the sweep begins or goes on.
    """

    def __init__(
        self,
        client: Client,
        history: History,
        *,
        sweep: SweepRecord,
        options: SweepOptions,
        load: Callable[[], tuple[Sequence[SweepCase], Releases]],
        look_up: Callable[[str], WorkflowDeploymentRelease | None],
        deployment_id: Callable[[], str | None],
    ) -> None:
        self._client = client
        self._history = history
        self._sweep = sweep
        self._options = options
        self._load = load
        self._look_up = look_up
        self._deployment_id = deployment_id
        _, read = client.settings(max_connections=1, max_tries=1).timeout
        self._lookup_s = max(read or LOOKUP_S, _SHORTEST_LOOKUP_S)
        self._cases: Sequence[SweepCase] = ()
        self._releases: dict[str, WorkflowDeploymentRelease | None] = {}
        self._types: dict[str, Mapping[str, str] | None] = {}
        self._begun: dict[str, list[str]] = {}
        self._moved: dict[str, None] = {}
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._watch: threading.Thread | None = None
        self._attempt: SweepAttempt | None = None

    @property
    def moved(self) -> tuple[str, ...]:
        """The release tags that pointed at more than one release while it ran."""
        return tuple(self._moved)

    def prepare(self, planned: PlannedRun, *, retry: bool = False) -> PreparedRun:
        """Return a planned run as it is sent, or as it is looked up where it was begun."""
        case, tag = self._cases[planned.place.position], planned.place.release_tag
        types = self._types[tag]
        inputs = tuple(
            {"name": name, "type": types[name] if types else infer_type(value), "value": value}
            for name, value in case.inputs.items()
            if types is None or name in types
        )
        may_resend = self._options.resend_in_doubt
        if planned.state is None:
            run = self._run(case, planned, {item["name"] for item in inputs})
            return PreparedRun(run, inputs, lookup_s=self._lookup_s, may_resend=may_resend)
        run = self._history.get(planned.run_id)
        has_failed = run.state != "STARTED"
        return PreparedRun(
            run,
            inputs,
            doubt=_earlier_doubt(run, self._sweep.lost),
            lookup_s=self._lookup_s,
            may_resend=may_resend and (retry or not has_failed),
            force=has_failed and retry and may_resend,
        )

    def attempt(self, at_once: int) -> SweepAttempt:
        """Return what sends, for so many at once; read cases and releases, and watch the tags.

        Raises
        ------
        VellumNBError
            The sweep was planned on another server, or the cases no longer fit.
        """
        self.close()  # where an interrupt broke the last start
        planned, now = self._sweep.workspace, workspace_id(self._client)
        if planned and now and planned != now:
            msg = f"Sweep {self._sweep.id} stays as it is: {other_workspace(planned, now)}"
            raise VellumNBError(msg)
        self._cases, releases = self._load()
        self._releases = dict(releases)
        self._types = {
            tag: {v.key: wire_type(v) for v in each.workflow_version.input_variables}
            if each is not None
            else None
            for tag, each in releases.items()
        }
        for tag, then in self._sweep.releases.items():  # as it was planned
            release = releases.get(tag)
            if then and release is not None and release.id != then:
                self._moved[tag] = None
        self._begun = {tag: [] for tag in releases}
        attempt = SweepAttempt(
            self._client.settings(max_connections=at_once, max_tries=1),
            self._deployment_id(),
            workspace=planned and now,
            expand_meta=self._options.expands_meta,
        )
        self._attempt = attempt.open()
        self._stop = threading.Event()
        self._watch = threading.Thread(target=self._watch_tags, name="vellum-nb-tags", daemon=True)
        self._watch.start()
        return attempt

    def close(self) -> None:
        """Close the connections, after a last look at the tags."""
        self._stop.set()
        if self._watch is not None:
            self._watch.join(_LAST_LOOK)
        if self._attempt is not None:
            self._attempt.close()
        self._watch = self._attempt = None

    def _run(self, case: SweepCase, planned: PlannedRun, sent: set[str]) -> Run:
        place = planned.place
        with self._lock:
            self._begun[place.release_tag].append(planned.run_id)
            release = self._releases[place.release_tag]
        return Run(
            id=planned.run_id,
            external_id=planned.run_id,
            deployment=self._sweep.deployment,
            release_tag=place.release_tag,
            release_id=release.id if release else None,
            environment=self._sweep.environment,
            timestamp=datetime.now(UTC),
            inputs=dict(case.inputs),
            not_sent=tuple(name for name in case.inputs if name not in sent),
            case_id=case.case_id,
            metadata={MOCKS: case.labels["mocks"]} if "mocks" in case.labels else None,
            sweep_id=self._sweep.id,
            repeat=place.repeat,
        )

    def _watch_tags(self) -> None:
        """Look at the tags every few seconds, and once more at the end."""
        stop, over = self._stop, False
        while not over:
            over = stop.wait(_LOOK_EVERY)
            for tag in self._releases:
                with suppress(APIError, HistoryError):  # the next look may succeed
                    self._look_at(tag)

    def _look_at(self, tag: str) -> None:
        """Mark the runs that began since the last look where `tag` points at another release."""
        sure, known = len(self._begun[tag]), self._releases[tag]
        now = self._look_up(tag)
        with self._lock:
            if now is None or known is None or now.id == known.id:
                del self._begun[tag][:sure]
                return
            self._history.sweeps.mark_moved(self._sweep.id, tag, self._begun[tag])
            self._releases[tag], self._begun[tag] = now, []
            self._moved[tag] = None


def _earlier_doubt(run: Run, lost: datetime | None) -> Doubt:
    """Return the doubt of a run of an earlier session, whose driver was `lost` then.

    The time since it can have been sent last counts as waited: a FAILED one was sent before it was
    recorded so, and a driver that was lost renewed its lease every ten seconds until then.
    """
    sent, executed = None, False
    if run.state != "STARTED" and run.error is not None:
        sent = run.finished_at or run.timestamp
        executed = run.error.code.startswith("HTTP_4")  # its external id was refused as used
    elif lost is not None:
        sent = lost + _RENEWED_WITHIN
    waited = 0.0 if sent is None else (datetime.now(UTC) - sent).total_seconds()
    why = "it was begun, and no answer was seen" if run.error is None else run.error.code
    return Doubt(why, executed=executed, waited_s=max(0.0, waited))


class SweepStarter:
    """Plans and starts the sweeps of a workspace, which gives `actions` to each with its view."""

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
        is_same_server = request.workspace in {None, prepared.record.workspace}
        if is_same_server and self._history.sweeps.in_doubt(sweep.id):
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
            and not self._runner.is_under_way(run)
        ]
        if in_doubt:
            id_ = self._deployment_id(request.deployment)
            with ThreadPoolExecutor(_LOOKUPS) as pool:
                list(pool.map(partial(self._runner.settle, id_), in_doubt))

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
