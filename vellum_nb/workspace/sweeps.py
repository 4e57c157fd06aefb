"""Starting sweeps: check, plan, record; and the worker that makes their runs.

An attempt never waits: what needs time is returned as an outcome, and no thread is held. It may
be made in another process, to which it travels as a pickle.
"""

from __future__ import annotations

import os
import sys
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields, replace
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vellum_nb.client import Client, ClientSettings
from vellum_nb.client.client import client_settings, contains_key, open_client
from vellum_nb.clock import Deadline, uptime
from vellum_nb.comparison import Comparison
from vellum_nb.comparison.metrics import Metrics
from vellum_nb.comparison.report import refuse_key
from vellum_nb.errors import APIError, HistoryError, InputError, VellumNBError
from vellum_nb.history import LeaseHeldError, SweepLease, Sweeps, write_csv_frame
from vellum_nb.models import Cancellation, DoubtKind, Run, RunError
from vellum_nb.models.checks import check_integer
from vellum_nb.models.inputs import infer_type, wire_type
from vellum_nb.models.sweeps import SweepCase, SweepRecord
from vellum_nb.sweep.cases import MOCKS, Cases, Releases, checked_cases, read_table, stored_table
from vellum_nb.sweep.plan import (
    PlannedRun,
    Reused,
    SweepOptions,
    SweepPlan,
    check_seed,
    checked_tags,
    new_sweep,
    plan_sweep,
    with_stop_rule,
    with_stored_seed,
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
    not_sent_in_time,
)
from vellum_nb.sweep.sweep import Sweep, find_sweep
from vellum_nb.workspace import views
from vellum_nb.workspace.lookup import Lookup, NoLookupError, find_execution, run_fields
from vellum_nb.workspace.runner import Runner, StreamAccumulator, Uploads, send_run

if TYPE_CHECKING:
    import pandas as pd

_LOOK_EVERY = 5.0  # seconds, at the release tags, by a client of its own: others may be closed
_TRIES = 3  # of a look
_LAST_LOOK = 10.0  # seconds that it may take
_LOOKUPS = 8  # at once
_POLL_S = 1.0  # between two looks whether another process has ended
_LIVE = weakref.WeakValueDictionary[tuple[object, str], Sweep]()

ClientSession = tuple[Client, Uploads]
Compare = Callable[..., Comparison]  # of a sweep, with options


@lru_cache(maxsize=8)
def _session_of(settings: ClientSettings, process: int) -> ClientSession:  # noqa: ARG001
    """Return this process's session: connections do not survive a fork."""
    client = open_client(settings)
    return client, Uploads(client)


@dataclass
class SweepAttempt:
    """Makes one attempt at a run of a sweep: looks it up where it is in doubt, else sends it.

    `settings` make the client of a process, which tries once; executions of `deployment_id` are
    looked up on the `workspace` that the sweep was planned on, where the key may read the two.
    """

    settings: ClientSettings
    deployment_id: str | None
    workspace: str | None = None
    expand_meta: bool = False
    session: ClientSession | None = field(default=None, repr=False)  # a pickle has none

    def __call__(self, prepared: PreparedRun, cancel: Cancellation | None = None) -> Outcome:
        """Make one attempt."""
        client, uploads = self.session or _session_of(self.settings, os.getpid())
        if prepared.doubt is not None:
            return self._look_up(prepared, client, cancel)
        so_far = StreamAccumulator(prepared.run) if self.expand_meta else None
        try:
            inputs = uploads.sent(prepared.inputs, cancel)
        except APIError as exc:
            return after_send_error(prepared, exc, upload=True)
        if prepared.send_by is not None and prepared.send_by.left <= 0:
            return not_sent_in_time(prepared)
        try:
            with _sent_by(prepared.send_by, cancel) as limited:
                how = send_run(client, prepared.run, inputs, limited, so_far=so_far)
        except APIError as exc:
            return after_send_error(prepared, exc)
        except VellumNBError as exc:
            how = {"state": "FAILED", "error": RunError(code="BAD_REQUEST", message=str(exc))}
        return finished(prepared, how)

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.settings, self.deployment_id, self.workspace, self.expand_meta)

    def _look_up(
        self, prepared: PreparedRun, client: Client, cancel: Cancellation | None
    ) -> Outcome:
        external_id = str(prepared.run.external_id)
        try:
            found = find_execution(client, self.deployment_id, external_id, cancel)
            if found is LookupStatus.UNKNOWN and self.workspace is not None:
                now = client.workspace_identity().id
                if now != self.workspace:  # what it lists says nothing about this sweep
                    why = _other_workspace(self.workspace, now)
                    return InDoubt(prepared, why, answered=False, hopeless=True)
        except NoLookupError as exc:
            return no_lookup(prepared, str(exc))
        except APIError as exc:
            return after_lookup_error(prepared, exc)
        if isinstance(found, LookupStatus):
            return after_lookup(prepared, found)
        return finished(prepared, run_fields(found), found=True)


@contextmanager
def _sent_by(
    deadline: Deadline | None, cancel: Cancellation | None
) -> Iterator[Cancellation | None]:
    """Yield what ends a call when `cancel` does, and lets it begin only before `deadline`.

    The machine may sleep between any two lines of ours.
    """
    if deadline is None:
        yield cancel
        return
    limited = Cancellation(may_send=lambda: deadline.left > 0)
    if cancel is not None:
        cancel.add_callback(limited.cancel)
    try:
        yield limited
    finally:
        if cancel is not None:
            cancel.remove_callback(limited.cancel)


def _other_workspace(planned: str, now: str) -> str:
    return (
        f"the server is another one than the sweep was planned on (workspace {planned}, now {now})"
        ", and does not know what was executed there: connect to that one again, or run all of it "
        "here with restart=True (--restart)"
    )


def _workspace_id(client: Client) -> str | None:
    """Return the id of the server's workspace; None where the key may not read it."""
    with suppress(APIError):
        return client.workspace_identity().id
    return None


class SweepWorker:
    """Makes the runs of one sweep, watches its release tags while it does, and shows it.

    Without `releases`, cases and releases are those of the moment when it goes on.
    """

    watch = staticmethod(views.watch)

    def __init__(
        self,
        runner: Runner,
        compare: Compare,
        sweep: SweepRecord,
        cases: Sequence[SweepCase] = (),
        releases: Releases | None = None,
    ) -> None:
        self._runner, self._history, self._sweep = runner, runner.history, sweep
        self._cases, self._releases = cases, dict(releases or {})
        self._is_fresh = releases is not None
        _, read = client_settings(runner.client).timeout
        self.read_timeout_s = read or LOOKUP_S
        self._doubts: Mapping[str, tuple[DoubtKind, float]] = {}
        self._types: dict[str, Mapping[str, str] | None] = {}
        self._moved: dict[str, None] = {}
        self._stop = threading.Event()
        self._watch: threading.Thread | None = None
        self._attempt: SweepAttempt | None = None
        self.compare = compare

    @property
    def moved(self) -> tuple[str, ...]:
        """The release tags that pointed at more than one release while it ran."""
        return tuple(self._moved)

    def prepare(
        self, planned: PlannedRun, options: SweepOptions, *, retry: bool = False
    ) -> PreparedRun:
        """Return a planned run as it is sent, or as it is looked up where it was begun."""
        case, tag = self._cases[planned.place.position], planned.place.release_tag
        types = self._types[tag]
        inputs = tuple(
            {"name": name, "type": types[name] if types else infer_type(value), "value": value}
            for name, value in case.inputs.items()
            if types is None or name in types
        )
        may_resend = options.resend_in_doubt
        prepared = PreparedRun(
            self._run(case, planned, {item["name"] for item in inputs}),
            inputs,
            planned=planned,
            may_resend=options.resend_in_doubt,
        )
        if planned.state is None:
            return prepared
        run = self._history.get(planned.run_id)
        kind, age = self._doubts.get(run.id, ("SENT", 0.0))
        why = "it was started, and no answer was recorded" if run.error is None else run.error.code
        may_resend = options.resend_in_doubt and (retry or run.state != "FAILED")
        return replace(
            prepared,
            run=run,
            doubt=Doubt(why, kind, since=uptime() - age),
            may_resend=may_resend,
            force=may_resend and run.state == "FAILED",
        )

    def sent_now(self, run: Run) -> Run:
        """Return `run` with the time of now, and the release that its tag points at."""
        now, release = datetime.now(UTC), self._releases[run.release_tag]
        fields = {"timestamp": now, "release_id": release.id if release else None}
        return run.model_copy(update=fields)

    def attempt(self, options: SweepOptions, lease: SweepLease) -> SweepAttempt:
        """Return what sends; read cases, releases and doubts, and watch the tags under `lease`.

        Raises
        ------
        VellumNBError
            The sweep was planned on another server, or the cases no longer fit.
        """
        self.close()  # where an interrupt broke the last start
        sweep, client = self._sweep, self._runner.client
        now = _workspace_id(client)
        if sweep.workspace and now and sweep.workspace != now:
            msg = f"Sweep {sweep.id} stays as it is: {_other_workspace(sweep.workspace, now)}"
            raise VellumNBError(msg)
        last_seen = self._read_releases(lease)
        attempt = SweepAttempt(
            client_settings(client, max_connections=options.at_once, max_tries=1),
            self._runner.lookup.deployment_id(sweep.deployment),
            workspace=sweep.workspace and now,
            expand_meta=options.expands_meta,
        )
        own = open_client(attempt.settings)
        attempt.session = own, Uploads(own)
        self._attempt, self._is_fresh, self._stop = attempt, False, threading.Event()
        began = datetime.now(UTC)  # before any run
        last_seen |= {tag: began for tag, release in self._releases.items() if release}
        lease.change(checked=last_seen)
        name, watch = "vellum-nb-tags", partial(self._watch_tags, last_seen, lease)
        self._watch = threading.Thread(target=watch, name=name, daemon=True)
        self._watch.start()
        return attempt

    def _read_releases(self, lease: SweepLease) -> dict[str, datetime]:
        """Read doubts, and cases and releases unless they are fresh; mark runs of other ones.

        Return when each tag was last seen on its release.
        """
        sweep = self._sweep
        if not self._is_fresh:
            resolve = partial(self._runner.resolve, sweep.deployment)
            self._releases = {tag: resolve(tag) for tag in sweep.release_tags}
            self._cases = self._cases or Sweeps(self._history).cases(sweep.id)
            checked_cases(stored_table(self._cases), self._releases, sweep.deployment)
        self._doubts = Sweeps(self._history).doubts(sweep.id)
        checked = Sweeps(self._history).every(sweep.id)[0].checked
        for tag, release in self._releases.items():
            variables = release.workflow_version.input_variables if release else ()
            types = {variable.key: wire_type(variable) for variable in variables}
            self._types[tag] = types if release else None
            then = sweep.releases.get(tag)  # as it was planned
            if release is not None and tag in checked:
                lease.mark_others(tag, release.id, since=checked[tag])
            if then and release is not None and release.id != then:
                self._moved[tag] = None
        return checked

    def close(self) -> None:
        """Close the connections, after a last look at the tags."""
        self._stop.set()
        if self._watch is not None and self._watch.is_alive():  # an interrupt may break its start
            self._watch.join(_LAST_LOOK)
        if self._attempt is not None and self._attempt.session is not None:
            self._attempt.session[0].close()
        self._watch = self._attempt = None

    def view(self, sweep: Sweep) -> Any:
        """Return the live view of the sweep."""
        from vellum_nb.widgets.sweep_view import SweepView

        cases = self._cases or Sweeps(self._history).cases(sweep.id)
        numbers = {case.case_id: case.position + 1 for case in reversed(cases)}
        tags = {tag: release.release_tags for tag, release in self._releases.items() if release}
        same = {tag: tuple(o.name for o in own if o.name != tag) for tag, own in tags.items()}
        return SweepView(sweep, same=same, numbers=numbers)

    def save(self, path: str | Path, frame: pd.DataFrame) -> Path:
        """Write a frame as CSV, unless it contains the API key."""
        refuse_key(str(path), partial(contains_key, self._runner.client), [frame])
        return write_csv_frame(frame, path)

    def _run(self, case: SweepCase, planned: PlannedRun, sent: set[str]) -> Run:
        place, now = planned.place, datetime.now(UTC)  # before the release, see `_watch_tags`
        release = self._releases[place.release_tag]
        return Run(
            id=planned.run_id,
            external_id=planned.run_id,
            deployment=self._sweep.deployment,
            release_tag=place.release_tag,
            release_id=release.id if release else None,
            environment=self._sweep.environment,
            timestamp=now,
            inputs=dict(case.inputs),
            not_sent=tuple(name for name in case.inputs if name not in sent),
            case_id=case.case_id,
            previous_execution_id=case.previous_execution_id,
            metadata={MOCKS: case.labels["mocks"]} if "mocks" in case.labels else None,
            sweep_id=self._sweep.id,
            repeat=place.repeat,
        )

    def _watch_tags(self, last_seen: dict[str, datetime], lease: SweepLease) -> None:
        """Look at the tags every few seconds, and once more at the end.

        `last_seen` is when each tag was last seen on its release. If it points at another one, the
        runs are marked that began since; at the end again, for those that were about to be recorded
        then.
        """
        settings = client_settings(self._runner.client, max_connections=1, max_tries=_TRIES)
        client = open_client(settings)
        resolve = Runner(client, self._history, Lookup(client)).resolve
        stop, over, marks = self._stop, False, list[Callable[[], None]]()
        while not over:
            over = stop.wait(_LOOK_EVERY)
            for tag, earlier in self._releases.items():
                began = datetime.now(UTC)
                with suppress(APIError, HistoryError):  # the next look may succeed
                    release = resolve(self._sweep.deployment, tag)
                    if release is None:  # the key may not read it
                        continue
                    since, last_seen[tag] = last_seen.get(tag, began), began
                    if earlier is not None and release.id != earlier.id:
                        self._releases[tag], self._moved[tag] = release, None
                        last_seen[tag] = datetime.now(UTC)
                        period = {"since": since, "until": last_seen[tag]}
                        marks.append(partial(lease.mark_moved, tag, earlier.id, **period))
                        marks[-1]()
            with suppress(HistoryError):
                lease.change(checked=last_seen)
        with suppress(HistoryError):
            for mark in marks:
                mark()
        client.close()


def start_sweep(  # noqa: PLR0917  (as `Workspace.sweep` has them)
    runner: Runner,
    compare: Compare,
    deployment: str,
    cases: Cases,
    release_tags: Sequence[str],
    repeats: int,
    options: SweepOptions,
    *,
    metrics: Metrics | None = None,
    mocks: bool = False,
    files: str | Path | None = None,
    dry_run: bool = False,
    restart: bool = False,
    reuse: bool = False,
    background: bool = False,
    progress: bool = True,
    judge: str | None = None,
) -> Sweep | SweepPlan:
    """Check and plan a sweep, then start it, go on with it, or return it if it has ended.

    The runs of a `judge`, a text that names it, are the same in every sweep of it.
    """
    tags = checked_tags(release_tags)
    check_integer("repeats", repeats, least=1)
    if mocks:
        _refuse_mocks_elsewhere(runner.client)
    table = read_table(cases)
    releases = {tag: runner.resolve(deployment, tag) for tag in tags}
    found, notes = checked_cases(table, releases, deployment, mocks=mocks, files=files)
    options = with_stop_rule(options, metrics, tags, found)
    new = new_sweep(
        deployment,
        releases,
        found,
        repeats=int(repeats),
        options=options,
        workspace=_workspace_id(runner.client),
        judge=judge,
    )
    sweeps = Sweeps(runner.history)
    make_plan = partial(plan_sweep, new, found, sweeps, options, notes=notes, restart=restart)
    planned = make_plan(reuse=reuse and dry_run)
    if dry_run:
        return planned[1]
    sweep = _live_sweep(sweeps, planned[0].id)
    if sweep is not None:
        sweep.apply(with_stored_seed(options, sweep.record))
        return sweep.resume(background=background, progress=progress)
    if reuse and planned[1].ended is None:
        _settle_doubts(runner, new, found)
        planned = make_plan(reuse=True)
    record, plan = _store(sweeps, planned, make_plan, found, reuse=reuse)
    options = with_stored_seed(options, record)
    worker = SweepWorker(runner, compare, record, found, releases)
    sweep = Sweep(record, history=runner.history, worker=worker, options=options, plan=plan)
    _LIVE[sweeps.identity, record.id] = sweep
    if plan.ended is None:
        if progress:
            views.announce(plan)
        return _begin(sweep, background=background, progress=progress)
    sys.stderr.write(f"vellum-nb: {deployment}: {plan.notes[0]} (sweep {sweep.id})\n")
    is_same_server = new.workspace in {None, record.workspace}
    if is_same_server and plan.found < plan.planned:
        sweep.resume(background=background, progress=False)
    return sweep


def _begin(sweep: Sweep, *, background: bool, progress: bool) -> Sweep:
    """Start a sweep; one of a judge waits while another process judges with the same judge.

    The answers of that process count for this sweep too.
    """
    is_waiting = sweep.record.judge is not None
    is_announced = not progress
    while is_waiting:
        try:
            sweep.start()
            is_waiting = False
        except LeaseHeldError as exc:
            if not is_announced:
                sys.stderr.write(f"vellum-nb: {exc.holder} is judging; this waits until it ends\n")
            is_announced = True
            time.sleep(_POLL_S)
    return sweep.resume(background=background, progress=progress)


def empty_sweep(runner: Runner, compare: Compare, deployment: str, tags: Sequence[str]) -> Sweep:
    """Return a sweep of no cases, which is in no history."""
    releases = {tag: runner.resolve(deployment, tag) for tag in tags}
    options = SweepOptions()
    record = new_sweep(deployment, releases, [], repeats=1, options=options, workspace=None)
    worker = SweepWorker(runner, compare, record, [], releases)
    return Sweep(record, history=runner.history, worker=worker, options=options)


def open_sweep(
    runner: Runner, compare: Compare, sweep_id: str, changes: Mapping[str, Any]
) -> Sweep:
    """Return a sweep of the history, with other limits; where it is under way, they apply now."""
    sweeps = Sweeps(runner.history)
    record = find_sweep(sweeps, sweep_id)
    unknown = record.options.keys() - {each.name for each in fields(SweepOptions)}
    if unknown:
        msg = f"Sweep {record.id} has unknown options ({', '.join(unknown)}); upgrade vellum_nb"
        raise HistoryError(msg)
    options = SweepOptions(**{**record.options, **changes})
    check_seed(record, options)
    sweep = _live_sweep(sweeps, record.id)
    if sweep is None:
        worker = SweepWorker(runner, compare, record)
        sweep = Sweep(record, history=runner.history, worker=worker, options=options)
        _LIVE[sweeps.identity, record.id] = sweep
    elif changes:
        sweep.apply(options)
    return sweep


def _live_sweep(sweeps: Sweeps, sweep_id: str) -> Sweep | None:
    """Return a sweep of this history if this process is running it."""
    sweep = _LIVE.get((sweeps.identity, sweep_id))
    return sweep if sweep and sweep.state in {"running", "paused", "stopping"} else None


def _store(
    sweeps: Sweeps,
    planned: tuple[SweepRecord, SweepPlan, Reused],
    make_plan: Callable[..., tuple[SweepRecord, SweepPlan, Reused]],
    cases: Sequence[SweepCase],
    *,
    reuse: bool,
) -> tuple[SweepRecord, SweepPlan]:
    """Record the plan, or adopt the sweep of another process that was quicker."""
    record, plan, reused = planned
    while plan.resumes is None and plan.ended is None:
        if sweeps.add(record, cases, reused=reused):
            return record, plan
        record, plan, reused = make_plan(reuse=reuse)
    sweeps.learn(record)
    has_notes = any(stored.notes == record.notes for stored in sweeps.every(record.id))
    if reused or not has_notes or sweeps.cases(record.id) != cases:
        lease = sweeps.acquire(record)
        try:
            lease.update_cases(cases)
            lease.change(notes=record.notes)
            if reused:  # another process may have placed the same runs since
                again, _, reused = make_plan(reuse=True)
                lease.add_reused(reused if again.id == record.id else {})
        finally:
            lease.release()
    return record, plan


def _settle_doubts(runner: Runner, new: SweepRecord, cases: Sequence[SweepCase]) -> None:
    """Look up runs of these cases and releases whose answer never came."""
    releases, held = set(new.releases.values()) - {None}, Sweeps(runner.history).held()
    found = runner.history.runs(
        deployment=new.deployment,
        case_id=[case.case_id for case in cases],
    )
    in_doubt = [
        run
        for run in found
        if run.in_doubt
        and run.release_id in releases
        and run.sweep_id not in held
        and not runner.is_under_way(run)
    ]
    if in_doubt:
        settle = partial(runner.settle, runner.lookup.deployment_id(new.deployment))
        with ThreadPoolExecutor(_LOOKUPS) as pool:
            list(pool.map(settle, in_doubt))


def _refuse_mocks_elsewhere(client: Client) -> None:
    """Raise an `InputError` where the server would run nodes in spite of mocks."""
    name = client.environment_identity().name
    if name != "local":
        msg = (
            f"mocks=True needs a local server, and this is the environment {name!r}: it would "
            "run the nodes. Connect to a local server, or leave mocks out"
        )
        raise InputError(msg)
