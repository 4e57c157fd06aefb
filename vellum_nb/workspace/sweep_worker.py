"""What a sweep makes its runs with: the releases of its tags, and attempts that send or look up.

An attempt never waits: what needs time is handed back as an outcome, and no thread is held. It may
be made in another process, to which it travels as a pickle.
"""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any, NamedTuple

from vellum_nb.client import Client, ClientSettings
from vellum_nb.errors import APIError, VellumNBError
from vellum_nb.history import History
from vellum_nb.models import Cancellation, Run, RunError, WorkflowDeploymentRelease
from vellum_nb.models.inputs import infer_type, wire_type
from vellum_nb.models.sweeps import SweepCase, SweepRecord
from vellum_nb.sweep.cases import MOCKS
from vellum_nb.sweep.driver import Attempt
from vellum_nb.sweep.plan import PlannedRun
from vellum_nb.sweep.retry_policy import (
    LOOKUP_S,
    Doubt,
    LookupStatus,
    Outcome,
    PreparedRun,
    after_lookup,
    after_lookup_error,
    after_send_error,
    after_upload_error,
    finished,
    no_lookup,
)
from vellum_nb.sweep.tag_watch import TagWatch
from vellum_nb.workspace.executions import run_fields
from vellum_nb.workspace.lookup import ExecutionLookup, NoLookupError
from vellum_nb.workspace.runner import StreamAccumulator, Uploads, send_run

_RENEWED_WITHIN = timedelta(seconds=60)  # as long as a lease lasts
_SHORTEST_LOOKUP_S = 8.0  # however short the read timeout: servers list executions late


Releases = Mapping[str, WorkflowDeploymentRelease | None]


class ClientSession(NamedTuple):
    """A client, and the files that it has uploaded."""

    client: Client
    uploads: Uploads


_SESSIONS: dict[ClientSettings, ClientSession] = {}
_LOCK = threading.Lock()


def _new_session(settings: ClientSettings) -> ClientSession:
    client = Client.of(settings)
    return ClientSession(client, Uploads(client))


def _session_of(settings: ClientSettings) -> ClientSession:
    """Return this process's client for `settings`; it is closed when the process ends."""
    with _LOCK:
        session = _SESSIONS.get(settings)
        if session is None:
            session = _SESSIONS[settings] = _new_session(settings)
        return session


def _close_all() -> None:
    with _LOCK:
        for session in _SESSIONS.values():
            session.client.close()
        _SESSIONS.clear()


def _forget() -> None:
    """Start empty in a child: connections stay with their process, and a lock with its thread."""
    global _LOCK  # noqa: PLW0603  (the old one may be held for ever)
    _LOCK = threading.Lock()
    _SESSIONS.clear()


atexit.register(_close_all)
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget)


class SweepAttempt:
    """Makes one attempt at a run of a sweep: looks it up where it is in doubt, else sends it.

    Parameters
    ----------
    settings
        What the client of a process is made from; it tries once.
    deployment_id
        Where executions are looked up; None where the key may not read it.
    expand_meta
        Whether runs are streamed with their nodes, so that they have tokens and cost.
    """

    __name__ = "vellum_nb_call"  # the name of its tasks in a cluster

    def __init__(
        self, settings: ClientSettings, deployment_id: str | None, *, expand_meta: bool = False
    ) -> None:
        self._settings = settings
        self._deployment_id = deployment_id
        self._expand_meta = expand_meta
        self._own: ClientSession | None = None

    def __call__(self, prepared: PreparedRun, cancel: Cancellation | None = None) -> Outcome:
        """Make one attempt."""
        session = self._own or _session_of(self._settings)
        if prepared.doubt is not None:
            return self._look_up(prepared, session, cancel)
        return self._send(prepared, session, cancel)

    def open(self) -> SweepAttempt:
        """Open connections of its own, which `close` ends; a pickle of it has none."""
        self._own = _new_session(self._settings)
        return self

    def close(self) -> None:
        """Close its own connections."""
        if self._own is not None:
            self._own.client.close()

    def __repr__(self) -> str:
        return f"<{self.__name__} to {self._settings.base_url}>"

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_own": None}

    def _send(
        self, prepared: PreparedRun, session: ClientSession, cancel: Cancellation | None
    ) -> Outcome:
        client, uploads = session
        run = prepared.run
        try:
            inputs = uploads.sent(prepared.inputs, cancel)
        except APIError as exc:
            return after_upload_error(prepared, exc)
        so_far = StreamAccumulator(run) if self._expand_meta else None
        try:
            how = send_run(client, run, inputs, cancel, so_far=so_far)
        except APIError as exc:
            return after_send_error(prepared, exc)
        except VellumNBError as exc:
            error = RunError(code="BAD_REQUEST", message=str(exc))
            return finished(prepared, {"state": "FAILED", "error": error})
        return finished(prepared, how)

    def _look_up(
        self, prepared: PreparedRun, session: ClientSession, cancel: Cancellation | None
    ) -> Outcome:
        lookup = ExecutionLookup(session.client, self._deployment_id)
        try:
            found = lookup.find(str(prepared.run.external_id), cancel)
        except NoLookupError as exc:
            return no_lookup(prepared, str(exc))
        except APIError as exc:
            return after_lookup_error(prepared, exc)
        if isinstance(found, LookupStatus):
            return after_lookup(prepared, found)
        return finished(prepared, run_fields(found), found=True)


class SweepWorker:
    """Makes the runs of one sweep."""

    def __init__(
        self,
        client: Client,
        history: History,
        *,
        sweep: SweepRecord,
        cases: Sequence[SweepCase],
        releases: Releases,
        look_up: Callable[[str], WorkflowDeploymentRelease | None],
        deployment_id: str | None,
        expand_meta: bool = False,
        may_resend: bool = True,
    ) -> None:
        self._client = client
        self._history = history
        self._sweep = sweep
        self._cases = cases
        self._tags = TagWatch(releases, look_up, self._mark)
        self._before = _moved_before(sweep, releases)
        self._types = {tag: _types(release) for tag, release in releases.items()}
        self._deployment_id = deployment_id
        self._expand_meta = expand_meta
        self._may_resend = may_resend
        _, read = client.settings(max_connections=1, max_tries=1).timeout
        self._lookup_s = max(read or LOOKUP_S, _SHORTEST_LOOKUP_S)
        self._attempt: SweepAttempt | None = None

    @property
    def moved(self) -> tuple[str, ...]:
        """The release tags that pointed at more than one release while it ran."""
        return tuple(dict.fromkeys((*self._before, *self._tags.moved)))

    def prepare(self, planned: PlannedRun, *, retry: bool = False) -> PreparedRun:
        """Return a planned run as it is sent, or as it is looked up where it was begun."""
        case = self._cases[planned.place.position]
        inputs = self._wire(case, planned.place.release_tag)
        if planned.state is None:
            run = self._run(case, planned, inputs)
            return PreparedRun(run, inputs, lookup_s=self._lookup_s, may_resend=self._may_resend)
        run = self._history.get(planned.run_id)
        failed = run.state != "STARTED"
        return PreparedRun(
            run,
            inputs,
            doubt=_earlier_doubt(run, self._sweep.lost),
            lookup_s=self._lookup_s,
            may_resend=self._may_resend and (retry or not failed),
            force=failed and retry and self._may_resend,
        )

    def attempt(self, at_once: int) -> SweepAttempt:
        """Return what sends, for so many at once."""
        settings = self._client.settings(max_connections=at_once, max_tries=1)
        attempt = SweepAttempt(settings, self._deployment_id, expand_meta=self._expand_meta)
        self._attempt = attempt.open()
        self._tags.start()
        return self._attempt

    def close(self) -> None:
        """Close the connections, after a last look at the tags."""
        self._tags.stop()
        if self._attempt is not None:
            self._attempt.close()
            self._attempt = None

    def _run(
        self, case: SweepCase, planned: PlannedRun, inputs: Sequence[Mapping[str, Any]]
    ) -> Run:
        tag = planned.place.release_tag
        release = self._tags.begins(tag, planned.run_id)
        sent = {item["name"] for item in inputs}
        return Run(
            id=planned.run_id,
            external_id=planned.run_id,
            deployment=self._sweep.deployment,
            release_tag=tag,
            release_id=release.id if release else None,
            environment=self._sweep.environment,
            timestamp=datetime.now(UTC),
            inputs=dict(case.inputs),
            not_sent=tuple(name for name in case.inputs if name not in sent),
            case_id=case.case_id,
            metadata={MOCKS: case.labels["mocks"]} if "mocks" in case.labels else None,
            sweep_id=self._sweep.id,
            repeat=planned.place.repeat,
        )

    def _mark(self, tag: str, run_ids: Sequence[str]) -> None:
        self._history.sweeps.mark_moved(self._sweep.id, tag, run_ids)

    def _wire(self, case: SweepCase, tag: str) -> tuple[dict[str, Any], ...]:
        types = self._types[tag]
        return tuple(
            {"name": name, "type": types[name] if types else infer_type(value), "value": value}
            for name, value in case.inputs.items()
            if types is None or name in types
        )


class LateWorker:
    """Makes the runs of an old sweep; reads releases and cases only when it goes on."""

    def __init__(self, make: Callable[[], SweepWorker]) -> None:
        self._make = make
        self._worker: SweepWorker | None = None

    @property
    def moved(self) -> tuple[str, ...]:
        """The release tags that pointed at more than one release while it ran."""
        return () if self._worker is None else self._worker.moved

    def prepare(self, planned: PlannedRun, *, retry: bool = False) -> PreparedRun:
        """Return a planned run as it is sent or looked up."""
        assert self._worker is not None  # noqa: S101  (`attempt` comes first)
        return self._worker.prepare(planned, retry=retry)

    def attempt(self, at_once: int) -> Attempt:
        """Return what sends, for so many at once."""
        self._worker = self._make()
        return self._worker.attempt(at_once)

    def close(self) -> None:
        """Close the connections."""
        if self._worker is not None:
            self._worker.close()


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


def _moved_before(
    sweep: SweepRecord, releases: Mapping[str, WorkflowDeploymentRelease | None]
) -> list[str]:
    """Return the tags that pointed at another release when the sweep was planned."""
    at = {tag: release.id for tag, release in releases.items() if release is not None}
    return [tag for tag, then in sweep.releases.items() if then and at.get(tag, then) != then]


def _types(release: WorkflowDeploymentRelease | None) -> dict[str, str] | None:
    if release is None:
        return None
    return {v.key: wire_type(v) for v in release.workflow_version.input_variables}
