"""What a sweep makes its runs with: the releases of its tags, and attempts that send or look up.

An attempt never waits: what needs time is handed back as an outcome, and no thread is held. It may
be made in another process, to which it travels as a pickle.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from vellum_nb.client import Client, ClientSettings
from vellum_nb.errors import APIError, HistoryError, VellumNBError
from vellum_nb.history import History
from vellum_nb.models import Cancellation, Run, RunError, WorkflowDeploymentRelease
from vellum_nb.models.inputs import infer_type, wire_type
from vellum_nb.models.sweeps import SweepCase, SweepRecord
from vellum_nb.sweep.cases import MOCKS, Releases
from vellum_nb.sweep.limits import SweepOptions
from vellum_nb.sweep.plan import PlannedRun
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
from vellum_nb.workspace.executions import run_fields
from vellum_nb.workspace.lookup import ExecutionLookup, NoLookupError
from vellum_nb.workspace.runner import StreamAccumulator, Uploads, send_run

_RENEWED_WITHIN = timedelta(seconds=60)  # as long as a lease lasts
_SHORTEST_LOOKUP_S = 8.0  # however short the read timeout: servers list executions late
_LOOK_EVERY = 5.0  # seconds, at the release tags
_LAST_LOOK = 10.0  # seconds that it may take


class ClientSession(NamedTuple):
    """A client, and the files that it has uploaded."""

    client: Client
    uploads: Uploads


def _new_session(settings: ClientSettings) -> ClientSession:
    client = Client.of(settings)
    return ClientSession(client, Uploads(client))


@lru_cache(maxsize=8)
def _session_of(settings: ClientSettings, process: int) -> ClientSession:  # noqa: ARG001
    """Return this process's session: connections do not survive a fork."""
    return _new_session(settings)


class SweepAttempt:
    """Makes one attempt at a run of a sweep: looks it up where it is in doubt, else sends it.

    Parameters
    ----------
    settings
        What the client of a process is made from; it tries once.
    deployment_id
        Where executions are looked up; None where the key may not read it.
    workspace
        The id of the workspace that the sweep was planned on, where that is known.
    expand_meta
        Whether runs are streamed with their nodes, so that they have tokens and cost.
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
        session = self._own or _session_of(self._settings, os.getpid())
        if prepared.doubt is not None:
            return self._look_up(prepared, session, cancel)
        run = prepared.run
        so_far = StreamAccumulator(run) if self._expand_meta else None
        try:
            inputs = session.uploads.sent(prepared.inputs, cancel)
        except APIError as exc:
            return after_send_error(prepared, exc, upload=True)
        try:
            how = send_run(session.client, run, inputs, cancel, so_far=so_far)
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
            self._own.client.close()

    def __repr__(self) -> str:
        return f"<SweepAttempt to {self._settings.base_url}>"

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_own": None}

    def _look_up(
        self, prepared: PreparedRun, session: ClientSession, cancel: Cancellation | None
    ) -> Outcome:
        lookup = ExecutionLookup(session.client, self._deployment_id)
        try:
            found = lookup.find(str(prepared.run.external_id), cancel)
            if found is LookupStatus.UNKNOWN and self._workspace is not None:
                now = session.client.workspace_identity().id
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

    Parameters
    ----------
    load : callable
        Returns the cases and the releases of now, when the sweep begins or goes on.
    look_up : callable
        Returns the release that a tag points at.
    deployment_id : callable
        Returns where executions are looked up; None where the key may not read it.
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
