"""Start sweeps: check, plan, store; and the worker that makes their runs.

An attempt never sleeps: it returns an outcome, and the driver decides on the next attempt. An
executor can make it in another process, and pickles it.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

from vellum_nb.client import Client, ClientSettings
from vellum_nb.client.client import client_settings, contains_key, open_client
from vellum_nb.clock import Deadline, uptime
from vellum_nb.comparison import Comparison
from vellum_nb.comparison.report import refuse_key
from vellum_nb.errors import APIError, HistoryError, InputError, VellumNBError
from vellum_nb.files import write_file
from vellum_nb.history import LeaseHeldError, SweepLease, Sweeps, case_sets_of, write_csv_frame
from vellum_nb.lazy import pd
from vellum_nb.models import Cancellation, DoubtKind, Run, RunError, case_id
from vellum_nb.models.checks import check_keywords, check_text
from vellum_nb.models.inputs import infer_type, wire_type
from vellum_nb.models.sweeps import (
    Place,
    SweepCase,
    SweepRecord,
    conversation_id,
    is_of_user,
    is_user,
    turn_numbers,
)
from vellum_nb.sweep.case_sets import CaseSet
from vellum_nb.sweep.cases import (
    MOCKS,
    Cases,
    CheckedCases,
    Releases,
    Table,
    case_columns,
    checked_cases,
    columns_html,
    has_turns,
    mocks_metadata,
    read_table,
    stored_table,
)
from vellum_nb.sweep.conversations import Conversation, not_sent, turn_table, with_user_of
from vellum_nb.sweep.driver import AS_BEGUN
from vellum_nb.sweep.options import SweepChanges, SweepOptions, as_limits
from vellum_nb.sweep.plan import (
    PlannedRun,
    Reused,
    SweepPlan,
    check_metric,
    check_restart,
    new_sweep,
    plan_sweep,
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
from vellum_nb.sweep.stop_rule import checked_stop_when
from vellum_nb.sweep.sweep import Sweep, SweepControl, control_of, find_sweep, running_controls
from vellum_nb.sweep.users import SimulatedUser, with_users
from vellum_nb.workspace import views
from vellum_nb.workspace.lookup import Lookup, NoLookupError, listed_execution, run_fields
from vellum_nb.workspace.runner import Runner, StreamAccumulator, Uploads, send_run
from vellum_nb.workspace.scripts import stored_scripts

_TAG_CHECK_INTERVAL_S = 5.0
_TAG_CHECK_TRIES = 3
_LAST_TAG_CHECK_S = 10.0  # maximum duration
_LOOKUP_THREADS = 8
_POLL_S = 1.0  # between attempts to acquire the lease of another process

ClientSession = tuple[Client, Uploads]
Compare = Callable[..., Comparison]  # takes a sweep and options


@lru_cache(maxsize=8)
def _session_of(settings: ClientSettings, process: int) -> ClientSession:  # noqa: ARG001
    """Return the session of this process; a fork cannot use its parent's connections."""
    client = open_client(settings)
    return client, Uploads(client)


@dataclass
class SweepAttempt:
    """One attempt at a run of a sweep: a look-up if the run is in doubt, or a request.

    `settings` are those of the client, which does not retry. Executions of `deployment_id` are
    looked up on the `workspace` that the sweep was planned on, if the key can read both.
    """

    settings: ClientSettings
    deployment_id: str | None
    workspace: str | None = None
    expand_meta: bool = False
    user: tuple[str, str | None] | None = None  # name and id of the user's deployment
    session: ClientSession | None = field(default=None, repr=False)  # not pickled

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
            with _send_only_before(prepared.send_by, cancel) as limited:
                end = send_run(client, prepared.run, inputs, limited, so_far=so_far)
        except APIError as exc:
            return after_send_error(prepared, exc)
        except VellumNBError as exc:
            end = {"state": "FAILED", "error": RunError(code="BAD_REQUEST", message=str(exc))}
        return finished(prepared, end)

    def __reduce__(self) -> tuple[Any, ...]:
        fields = (self.deployment_id, self.workspace, self.expand_meta, self.user)
        return type(self), (self.settings, *fields)

    def _look_up(
        self, prepared: PreparedRun, client: Client, cancel: Cancellation | None
    ) -> Outcome:
        external_id, deployment_id = str(prepared.run.external_id), self.deployment_id
        if self.user is not None and prepared.run.deployment == self.user[0]:
            deployment_id = self.user[1]
        try:
            execution = listed_execution(client, deployment_id, external_id, cancel)
            if execution is None and self.workspace is not None:
                now = client.workspace_identity().id
                if now != self.workspace:  # it does not list executions of this sweep
                    why = _other_workspace(self.workspace, now)
                    return InDoubt(prepared, why, answered=False, hopeless=True)
        except NoLookupError as exc:
            return no_lookup(prepared, str(exc))
        except APIError as exc:
            return after_lookup_error(prepared, exc)
        if execution is None:
            return after_lookup(prepared, LookupStatus.UNKNOWN)
        if execution.status == "INITIATED":
            return after_lookup(prepared, LookupStatus.RUNNING)
        return finished(prepared, run_fields(execution), looked_up=True)


@contextmanager
def _send_only_before(
    deadline: Deadline | None, cancel: Cancellation | None
) -> Iterator[Cancellation | None]:
    """Yield a cancellation that follows `cancel`, and forbids to send after `deadline`.

    The client checks it just before it sends, as the machine can be suspended at any line.
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
        ", and does not list its executions: connect to that one again, or run all cases here "
        "with existing='restart' (--restart)"
    )


def _workspace_id(client: Client) -> str | None:
    """Return the id of the server's workspace, or None if the key cannot read it."""
    with suppress(APIError):
        return client.workspace_identity().id
    return None


class SweepWorker:
    """Prepares and displays the runs of one sweep, and watches its release tags.

    Without `releases`, cases and releases are read when the sweep starts.
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
        self._runner, self.history, self._sweep = runner, runner.history, sweep
        self._cases, self._releases = cases, dict(releases or {})
        self._is_fresh = releases is not None
        _, read = client_settings(runner.client).timeout
        self.read_timeout_s = read or LOOKUP_S
        self._doubts: Mapping[str, tuple[DoubtKind, float]] = {}
        self._user: SimulatedUser | None = None
        self._user_types: Mapping[str, str] | None = None
        self._turn_numbers: Sequence[int] = ()
        self._talks: dict[str, dict[int, Run]] = {}  # answered turns, with a simulated user
        self._types: dict[str, Mapping[str, str] | None] = {}
        self._moved: dict[str, None] = {}
        self._stop = threading.Event()
        self._watch: threading.Thread | None = None
        self._attempt: SweepAttempt | None = None
        self.compare = compare

    @property
    def moved(self) -> tuple[str, ...]:
        """Release tags that moved during the sweep."""
        return tuple(self._moved)

    def prepare(
        self,
        planned: PlannedRun,
        options: SweepOptions,
        before: PlannedRun | Run | None = None,
        *,
        again: Run | None = None,
        retry: bool = False,
    ) -> PreparedRun:
        """Prepare a planned run to be sent, or to be looked up if it was begun.

        A turn that continues a run without an answer has failed.
        """
        is_new, case = planned.state is None, self._cases[planned.place.position]
        if self._user is not None:
            self._learn_turns(planned.place, case, before)
        if again is not None:
            ids = {"id": planned.run_id, "external_id": planned.run_id, "execution_id": None}
            run = self.sent_now(again.model_copy(update={**AS_BEGUN, **ids}))
        elif is_new:
            run = self._run(planned, options, before)
        else:
            run = self.history.get(planned.run_id)
        types = self._user_types if is_user(case) else self._types[planned.place.release_tag]
        inputs = tuple(
            {"name": name, "type": types[name] if types else infer_type(value), "value": value}
            for name, value in run.inputs.items()
            if types is None or name in types
        )
        may_resend = options.resend_in_doubt
        prepared = PreparedRun(run, inputs, planned=planned, may_resend=may_resend)
        if is_new:
            return prepared
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
        """Return `run` with the current time and release of its tag."""
        fields: dict[str, Any] = {"timestamp": datetime.now(UTC)}
        if not is_of_user(run):
            release = self._releases[run.release_tag]
            fields["release_id"] = release.id if release else None
        return run.model_copy(update=fields)

    def attempt(self, options: SweepOptions, lease: SweepLease) -> SweepAttempt:
        """Open a session; read cases, releases and doubts, and watch the tags under `lease`.

        `VellumNBError`: the sweep was planned on another server, or the cases no longer fit.
        """
        self.close()  # after an interrupted start
        sweep, client = self._sweep, self._runner.client
        now = _workspace_id(client)
        if sweep.workspace and now and sweep.workspace != now:
            msg = f"Sweep {sweep.id} cannot run: {_other_workspace(sweep.workspace, now)}"
            raise VellumNBError(msg)
        last_seen, deployment_id = self._read_releases(lease), self._runner.lookup.deployment_id
        self._read_user(None if options.conversation is None else options.conversation.user)
        attempt = SweepAttempt(
            client_settings(client, max_connections=options.most_at_once, max_tries=1),
            deployment_id(sweep.deployment),
            workspace=sweep.workspace and now,
            expand_meta=options.expands_meta,
        )
        if (user := self._user) is not None:
            attempt.user = user.deployment, deployment_id(user.deployment)
        session_client = open_client(attempt.settings)
        attempt.session = session_client, Uploads(session_client)
        self._attempt, self._is_fresh, self._stop = attempt, False, threading.Event()
        began = datetime.now(UTC)  # before any run
        last_seen |= {tag: began for tag, release in self._releases.items() if release}
        lease.change(checked=last_seen)
        name, watch = "vellum-nb-tags", partial(self._watch_tags, last_seen, lease)
        self._watch = threading.Thread(target=watch, name=name, daemon=True)
        self._watch.start()
        return attempt

    def _read_releases(self, lease: SweepLease) -> dict[str, datetime]:
        """Read doubts, cases and releases; mark runs of tags that moved.

        Return the time at which each tag was last seen on its release.
        """
        sweep = self._sweep
        if not self._is_fresh:
            resolve = partial(self._runner.lookup.readable_release, sweep.deployment)
            self._releases = {tag: resolve(tag) for tag in sweep.release_tags}
            self._cases = self._cases or Sweeps(self.history).cases(sweep.id)
            turns = [case for case in self._cases if not is_user(case)]
            checked_cases(stored_table(turns), self._releases, sweep.deployment)
        self._doubts = Sweeps(self.history).doubts(sweep.id)
        checked = Sweeps(self.history).every(sweep.id)[0].checked
        for tag, release in self._releases.items():
            variables = release.workflow_version.input_variables if release else ()
            types = {variable.key: wire_type(variable) for variable in variables}
            self._types[tag] = types if release else None
            planned = sweep.releases.get(tag)
            if release is not None and tag in checked:
                lease.mark_others(tag, release.id, since=checked[tag])
            if planned and release is not None and release.id != planned:
                self._moved[tag] = None
        return checked

    def _read_user(self, user: SimulatedUser | None) -> None:
        """Read the release of a simulated user; a `VellumNBError` if its tag has moved."""
        self._turn_numbers, self._user, self._talks = turn_numbers(self._cases), user, {}
        if user is None:
            return
        release = self._runner.lookup.readable_release(user.deployment, user.release_tag)
        if release is not None and user.release_id not in {None, release.id}:
            msg = (
                f"Sweep {self._sweep.id} cannot continue: its simulated user, {user}, has moved to "
                "another release, which would say something else: make the call of ws.sweep(...) "
                "again to begin a sweep with the new release, or move the tag back"
            )
            raise VellumNBError(msg)
        variables = release.workflow_version.input_variables if release else ()
        self._user_types = {v.key: wire_type(v) for v in variables} if release else None

    def close(self) -> None:
        """Close the connections, after a last check of the tags."""
        self._stop.set()
        if self._watch is not None and self._watch.is_alive():
            self._watch.join(_LAST_TAG_CHECK_S)
        if self._attempt is not None and self._attempt.session is not None:
            self._attempt.session[0].close()
        self._watch = self._attempt = None

    def view(self, sweep: Sweep) -> Any:
        """Return the live view of the sweep."""
        from vellum_nb.widgets.sweep_view import SweepView

        cases = self._cases or Sweeps(self.history).cases(sweep.id)
        starts = [case for case in cases if case.turn <= 1]  # a conversation has one number
        numbers = {case.case_id: number for number, case in reversed([*enumerate(starts, 1)])}
        releases = self._releases.items()
        aliases = {tag: release.other_tags(tag) for tag, release in releases if release}
        roles = columns_html(case_columns(cases))
        return SweepView(sweep, aliases=aliases, numbers=numbers, columns=roles)

    def save(self, path: str | Path, frame: pd.DataFrame) -> Path:
        """Write a frame as CSV, unless it contains the API key."""
        return save_frame(self._runner.client, path, frame)

    def _run(
        self, planned: PlannedRun, options: SweepOptions, before: PlannedRun | Run | None
    ) -> Run:
        place, now = planned.place, datetime.now(UTC)  # before the release is read
        case, release = self._cases[place.position], self._releases[place.release_tag]
        types = self._types[place.release_tag]
        fields: dict[str, Any] = {
            "deployment": self._sweep.deployment,
            "release_tag": place.release_tag,
            "release_id": release.id if release else None,
            "inputs": dict(case.inputs),
            "previous_execution_id": case.previous_execution_id,
            "case_id": case.case_id,
            "turn": self._turn_numbers[place.position] if case.turn else None,
            "metadata": mocks_metadata(case.labels),
        }
        if case.turn and options.conversation is not None:
            continues = before is not None
            if isinstance(before, PlannedRun):  # a deleted run is not among these
                before = next(iter(self.history.runs(ids=[before.run_id])), None)
            fields |= self._of_turn(place, options.conversation, before, now, continues=continues)
        inputs = fields["inputs"]
        sent = self._user_types if is_user(case) else types
        return Run(
            id=planned.run_id,
            external_id=planned.run_id,
            environment=self._sweep.environment,
            timestamp=now,
            not_sent=tuple(name for name in inputs if sent is not None and name not in sent),
            conversation_id=conversation_id(self._sweep, place, case.turn),
            sweep_id=self._sweep.id,
            repeat=place.repeat,
            **fields,
        )

    def _of_turn(
        self,
        place: Place,
        talk: Conversation,
        before: Run | None,
        now: datetime,
        *,
        continues: bool,
    ) -> dict[str, Any]:
        """Return the fields of the run of a turn, or of a message of the simulated user."""
        case, types = self._cases[place.position], self._types[place.release_tag] or {}
        user, has_answer = self._user, before is not None and before.state == "FULFILLED"
        if user is None or not (is_user(case) or (before is not None and is_of_user(before))):
            return talk.continued(case, before, types, now) if continues else {}
        said = self._turns_of(place, case)
        turn = self._turn_numbers[place.position]
        is_whole = len(said) == turn - 1 and (has_answer or not continues)
        fields = {} if is_whole else not_sent(before if not has_answer else None, now)
        if is_user(case):
            inputs = user.request(case, said)
            fields |= {"deployment": user.deployment, "release_tag": user.release_tag}
            fields |= {"release_id": user.release_id, "inputs": inputs, "turn": None}
            return {**fields, "case_id": case_id(inputs), "metadata": None}
        if not is_whole or before is None:
            return fields
        return talk.spoken(case, user.text(before), said[-1] if said else None, types)

    def _turns_of(self, place: Place, case: SweepCase) -> list[Run]:
        """Return the answered turns of a conversation with a simulated user."""
        turns = self._talks.get(conversation_id(self._sweep, place, case.turn) or "", {})
        return [turns[turn] for turn in sorted(turns)]

    def _learn_turns(self, place: Place, case: SweepCase, before: PlannedRun | Run | None) -> None:
        """Read the turns of a conversation that this session continues, or add the last one."""
        name = conversation_id(self._sweep, place, case.turn) or ""
        if name not in self._talks:
            has_begun = case.turn > 1 or not isinstance(before, Run | None)
            runs = self.history.runs(conversation_id=name, state="FULFILLED") if has_begun else ()
            self._talks[name] = {run.turn: run for run in runs if run.turn is not None}
        if isinstance(before, Run) and before.turn is not None and before.state == "FULFILLED":
            self._talks[name][before.turn] = before

    def _watch_tags(self, last_seen: dict[str, datetime], lease: SweepLease) -> None:
        """Check the tags every few seconds, and at the end.

        `last_seen` is the time at which each tag was last seen on its release. If a tag has moved,
        runs that began since are marked, then and at the end, when all of them are recorded.
        """
        tries = _TAG_CHECK_TRIES
        settings = client_settings(self._runner.client, max_connections=1, max_tries=tries)
        client = open_client(settings)
        resolve = Lookup(client).readable_release
        stop, over, marks = self._stop, False, list[Callable[[], None]]()
        while not over:
            over = stop.wait(_TAG_CHECK_INTERVAL_S)
            for tag, earlier in self._releases.items():
                began = datetime.now(UTC)
                with suppress(APIError, HistoryError):  # until the next check
                    release = resolve(self._sweep.deployment, tag)
                    if release is None:  # the key cannot read it
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


def save_frame(client: Client, path: str | Path, frame: pd.DataFrame | str) -> Path:
    """Write a frame as CSV, or a text, unless it contains the API key."""
    if isinstance(frame, str):
        refuse_key(str(path), partial(contains_key, client), [], frame)
        return write_file(frame.encode("utf-8", "backslashreplace"), path)
    checked = frame if "case_id" in frame else frame.reset_index()
    refuse_key(str(path), partial(contains_key, client), [checked])
    return write_csv_frame(frame, path)


def open_case_set(runner: Runner, name: str, deployment: str | None) -> CaseSet:
    """Return the case set `name`, whose new cases are checked on the latest release."""

    def resolve(deployment: str, tag: str = "LATEST") -> Releases:
        return {tag: runner.lookup.readable_release(deployment, tag)}

    return CaseSet(
        case_sets_of(runner.history),
        name,
        deployment,
        resolve=resolve,
        conversation=runner.history.conversation,
        scripts=partial(stored_scripts, runner.history),
        save=partial(save_frame, runner.client),
    )


def start_sweep(
    runner: Runner,
    compare: Compare,
    deployment: str,
    cases: Cases | CaseSet,
    options: SweepOptions,
    *,
    judge: str | None = None,
    pilot: Callable[..., Comparison] | None = None,
) -> Sweep | SweepPlan:
    """Check and plan a sweep, then start it, resume it, or return it if it has ended.

    The runs of a `judge`, named by that text, are the same in all of its sweeps. `pilot` compares
    the stored runs of the releases of a plan.
    """
    table, case_set = _table_of(cases)  # a wrong file fails without a request
    releases = {
        tag: runner.lookup.readable_release(deployment, tag) for tag in options.release_tags
    }
    if options.conversation is not None or has_turns(table, releases):
        table, options = with_turns(table, releases, options)
    checked = checked_cases(table, releases, deployment, files=options.files)
    checked, options = _with_user(runner, checked, options, deployment)
    _check_mocks(runner.client, checked.cases)
    if options.stop_when is not None:
        rule = checked_stop_when(options.stop_when, options.release_tags, checked.cases)
        options = replace(options, stop_when=rule)
    workspace, sweeps = _workspace_id(runner.client), Sweeps(runner.history)
    new = new_sweep(deployment, releases, checked.cases, options, workspace=workspace, judge=judge)
    new = new.model_copy(update=case_set)
    make_plan = partial(plan_sweep, new, checked, sweeps, options)
    reuse = options.existing == "reuse"
    planned = make_plan(reuse=reuse and options.dry_run)
    if options.dry_run:
        stored = pilot and partial(pilot, deployment, releases, checked.cases, options.stop_when)
        return replace(planned[1], _history=stored)
    if (sweep := _changed_live_sweep(sweeps, new, planned[0].id, options)) is not None:
        return sweep.resume(background=options.background, progress=options.progress)
    check_metric(planned[0], options)
    if reuse and planned[1].ended is None:
        _settle_doubts(runner, new, checked.cases)
        planned = make_plan(reuse=True)
    record, plan = _store(sweeps, planned, make_plan, checked.cases, reuse=reuse)
    options = with_stored_seed(options, record)
    worker = SweepWorker(runner, compare, record, checked.cases, releases)
    sweep = Sweep(SweepControl(record, worker, options, plan))
    if plan.ended is None:
        return _begin(sweep, plan, options)
    sys.stderr.write(f"vellum-nb: {deployment}: {plan.notes[0]} (sweep {sweep.id})\n")
    if workspace in {None, record.workspace} and plan.found < plan.planned:
        sweep.resume(background=options.background, progress=False)
    return sweep


def _table_of(cases: Cases | CaseSet) -> tuple[Table, dict[str, str]]:
    """Return the table of the cases, and the fields of a sweep that name their case set."""
    if not isinstance(cases, CaseSet):
        return read_table(cases), {}
    version, table = cases.newest()
    return table, {"case_set": version.name, "case_set_version": version.id}


def with_turns(
    table: Table, releases: Releases, options: SweepOptions
) -> tuple[Table, SweepOptions]:
    """Return the turns of a table of conversations, and the options with how they are sent."""
    problem = "conversation: the cases have no turns" if not has_turns(table, releases) else ""
    if options.stop_when is not None:
        problem = "stop_when: a sweep of conversations runs all cases"
    if options.existing == "reuse":
        problem = "existing='reuse': the runs of conversations are not reused"
    if problem:
        msg = f"{problem}; leave it out"
        raise InputError(msg)
    table, conversation = with_user_of(table, options.conversation, releases)
    conversation = (conversation or Conversation()).resolved(releases)
    return turn_table(table, conversation, releases), replace(options, conversation=conversation)


def _with_user(
    runner: Runner, checked: CheckedCases, options: SweepOptions, deployment: str
) -> tuple[CheckedCases, SweepOptions]:
    """Return the cases with the steps of a simulated user, if any, and the options with it."""
    talk = options.conversation
    if talk is None or talk.user is None:
        return checked, options
    if talk.user.deployment == deployment:
        msg = f"user: {deployment!r} cannot talk to itself; deploy it under another name"
        raise InputError(msg)
    labels = {name for case in checked.cases for name in case.labels}
    release = runner.lookup.readable_release(talk.user.deployment, talk.user.release_tag)
    user, most = talk.user.resolved(release, labels), talk.max_turns or 0
    cases = with_users(checked.cases, user, str(talk.input), most)
    note = f"{user} (release {user.release_id}) writes the messages of the user after the script"
    checked = checked._replace(cases=cases, notes=(*checked.notes, note))
    return checked, replace(options, conversation=replace(talk, user=user))


def _begin(sweep: Sweep, plan: SweepPlan, options: SweepOptions) -> Sweep:
    """Start a sweep; one of a judge waits while another process uses the same judge.

    The answers of that process count for this sweep, too.
    """
    if options.progress:
        views.announce(plan)
    control, is_announced = control_of(sweep), not options.progress
    is_waiting = control.record.judge is not None
    while is_waiting:
        try:
            control.start()
            is_waiting = False
        except LeaseHeldError as exc:
            if not is_announced:
                sys.stderr.write(f"vellum-nb: {exc.holder} is judging; this waits until it ends\n")
            is_announced = True
            time.sleep(_POLL_S)
    return sweep.resume(background=options.background, progress=options.progress)


def empty_sweep(runner: Runner, compare: Compare, deployment: str, tags: Sequence[str]) -> Sweep:
    """Return a sweep without cases, which is not stored."""
    releases = {tag: runner.lookup.readable_release(deployment, tag) for tag in tags}
    options = SweepOptions(release_tags=tags)
    record = new_sweep(deployment, releases, [], options, workspace=None)
    worker = SweepWorker(runner, compare, record, [], releases)
    return Sweep(SweepControl(record, worker, options))


def open_sweep(
    runner: Runner, compare: Compare, sweep_id: str, changes: Mapping[str, Any]
) -> Sweep:
    """Return a sweep of the history, with other options. If it is running, they apply now."""
    check_keywords("open_sweep", changes, SweepChanges.__annotations__)
    if changes.get("stop_when") is not None:
        msg = (
            "stop_when of an opened sweep can only be None: make the same call of ws.sweep(...) "
            "again to resume it with stop_when"
        )
        raise InputError(msg)
    check_text("sweep_id", sweep_id)
    sweeps = Sweeps(runner.history)
    record = find_sweep(sweeps, sweep_id)
    options = SweepOptions.from_stored(record)
    limits = as_limits(changes.get("limits"), options.limits)
    options = replace(options, **{**changes, "limits": limits})
    sweep = _live_sweep(sweeps, record.id)
    if sweep is None:
        if changes and (error := sweeps.held_elsewhere(record)):
            raise error
        return Sweep(SweepControl(record, SweepWorker(runner, compare, record), options))
    if changes:
        control_of(sweep).apply(options)
    return sweep


def _changed_live_sweep(
    sweeps: Sweeps, new: SweepRecord, sweep_id: str, options: SweepOptions
) -> Sweep | None:
    """Apply `options` to the sweep and return it, if this process is running it.

    Raises an `InputError` for ``existing="restart"`` while a sweep with the plan of `new` runs.
    """
    if options.existing == "restart":
        identity = sweeps.identity
        check_restart(new, sweeps, {sweep for of, sweep in running_controls() if of == identity})
    sweep = _live_sweep(sweeps, sweep_id)
    if sweep is not None:
        control = control_of(sweep)
        control.apply(with_stored_seed(options, control.record))
    return sweep


def _live_sweep(sweeps: Sweeps, sweep_id: str) -> Sweep | None:
    """Return the sweep if this process is running it."""
    control = running_controls().get((sweeps.identity, sweep_id))
    return None if control is None else control.sweep


def _store(
    sweeps: Sweeps,
    planned: tuple[SweepRecord, SweepPlan, Reused],
    make_plan: Callable[..., tuple[SweepRecord, SweepPlan, Reused]],
    cases: Sequence[SweepCase],
    *,
    reuse: bool,
) -> tuple[SweepRecord, SweepPlan]:
    """Store the plan, or adopt the same one if another process has just stored it."""
    record, plan, reused = planned
    while plan.resumes is None and plan.ended is None:
        if sweeps.add(record, cases, reused=reused):
            return record, plan
        record, plan, reused = make_plan(reuse=reuse)
    sweeps.learn(record)
    names = ("notes", "case_set", "case_set_version")
    fields = {name: getattr(record, name) for name in names}
    (stored,) = sweeps.every(record.id)
    is_current = all(getattr(stored, name) == value for name, value in fields.items())
    if reused or not is_current or sweeps.cases(record.id) != cases:
        lease = sweeps.acquire(record)
        try:
            lease.update_cases(cases)
            lease.change(**fields)
            if reused:  # another process can have reused the same runs by now
                latest, _, reused = make_plan(reuse=True)
                lease.add_reused(reused if latest.id == record.id else {})
        finally:
            lease.release()
    return record, plan


def _settle_doubts(runner: Runner, new: SweepRecord, cases: Sequence[SweepCase]) -> None:
    """Look up runs in doubt of these cases and releases."""
    releases, held = set(new.releases.values()) - {None}, Sweeps(runner.history).held()
    runs = runner.history.runs(
        deployment=new.deployment,
        case_id=[case.case_id for case in cases],
    )
    in_doubt = [
        run
        for run in runs
        if run.in_doubt and run.release_id in releases and not runner.is_driven(run, held)
    ]
    if in_doubt:
        settle = partial(runner.settle, runner.lookup.deployment_id(new.deployment))
        with ThreadPoolExecutor(_LOOKUP_THREADS) as pool:
            list(pool.map(settle, in_doubt))


def _check_mocks(client: Client, cases: Sequence[SweepCase]) -> None:
    """Raise an `InputError` if cases have mocks that the server would ignore."""
    has_mocks = any(MOCKS in case.labels for case in cases)
    if has_mocks and (name := client.environment_identity().name) != "local":
        msg = (
            f"The column {MOCKS!r} needs a local server, and this is the environment {name!r}: it "
            "would run the nodes. Connect to a local server, or rename or drop the column"
        )
        raise InputError(msg)
