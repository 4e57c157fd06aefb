"""The life of one run: resolve, check, record, send, record.

Nothing here knows a widget; the form and the command line are handed its methods.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import replace
from datetime import UTC, datetime
from http import HTTPStatus
from typing import TYPE_CHECKING, Any
from uuid import UUID

from pydantic import ValidationError

from vellum_nb.client import Client
from vellum_nb.errors import (
    APIError,
    AuthenticationError,
    HistoryError,
    InputError,
    InputProblem,
    VellumNBError,
)
from vellum_nb.history import History
from vellum_nb.models import (
    Cancellation,
    Run,
    RunRequest,
    SlimWorkflowExecutionRead,
    WorkflowDeploymentRelease,
    WorkflowInput,
)
from vellum_nb.models.inputs import format_value, to_wire
from vellum_nb.sweep.retry_policy import LOOKUP_S, id_was_used, lookup_pause
from vellum_nb.workspace.executions import run_fields
from vellum_nb.workspace.lookup import ExecutionLookup, Lookup, NoLookupError
from vellum_nb.workspace.pending import PendingRun
from vellum_nb.workspace.recording import (
    EVERYTHING,
    Attempt,
    RunRecorder,
    StreamAccumulator,
    UploadError,
    Uploads,
    cancelled,
    send_run,
    started,
    unanswered,
    with_plain_options,
)
from vellum_nb.workspace.streaming import RunStream

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails


_EVENT_TYPES = ("WORKFLOW", "NODE")

Outcome = tuple[Run, VellumNBError | None]


class Runner:
    """Runs one case on one release tag and keeps it.

    Every method checks before anything is sent or recorded, and raises `InputError` where the
    inputs or options do not fit, `NotFoundError` where there is no such deployment or tag.
    `HistoryError`: the run could not be recorded; when its answer had come, it is the error's
    `run`.

    Parameters
    ----------
    client, history
        Where the run goes, and where it is kept.
    lookup
        Resolves release tags.
    """

    def __init__(self, client: Client, history: History, lookup: Lookup) -> None:
        self._client = client
        self._lookup = lookup
        self._uploads = Uploads(client)
        self.recorder = RunRecorder(history)

    def execute(self, request: RunRequest, cancel: Cancellation | None = None) -> Outcome:
        """Run `request`; return the run, and the error when no usable answer came."""
        with self._begun(request) as attempt:
            error: VellumNBError | None = None
            try:
                ended = self._send(attempt, cancel)
            except APIError as exc:
                if self._was_executed(attempt, exc):
                    return self._adopt(attempt, exc, cancel)
                error = exc
                given_up = cancel is not None and cancel.cancelled
                ended = cancelled() if given_up else unanswered(exc)
            run = self._finish(attempt, ended)
        if error is not None:
            error.add_note(_recorded_note(run))
        return run, error

    def stream(
        self,
        request: RunRequest,
        cancel: Cancellation | None = None,
        *,
        event_types: tuple[str, ...] = ("WORKFLOW",),
        expand_meta: bool = False,
    ) -> RunStream:
        """Send `request` and return its events."""
        stream = self._streaming(request, cancel, event_types)
        self._open(stream, cancel, event_types, expand_meta=expand_meta)
        return stream

    def streamed(
        self,
        request: RunRequest,
        cancel: Cancellation | None = None,
        report: Callable[[StreamAccumulator], object] | None = None,
        *,
        expand_meta: bool = True,
    ) -> Outcome:
        """Run `request` with the events of its nodes; have `report` called at each event."""
        event_types = ("WORKFLOW", "NODE")
        stream = self._streaming(request, cancel, event_types)
        try:
            self._open(stream, cancel, event_types, expand_meta=expand_meta)
            for _ in stream:
                if report is not None:
                    report(stream.gathered)
        except APIError as exc:
            return stream.run, exc
        finally:
            stream.close()
        return stream.run, None

    def submit(self, request: RunRequest) -> PendingRun:
        """Hand `request` in; the server works on it by itself."""
        with self._begun(request) as attempt:
            try:
                inputs = self._uploads.sent(attempt.inputs)
                reply = self._client.execute_workflow_async(inputs, **attempt.options)
            except APIError as exc:
                exc.add_note(_recorded_note(self._finish(attempt, unanswered(exc))))
                raise
            self.recorder.release(attempt.run)
        run = self.recorder.set_execution_id(attempt.run, reply.execution_id)
        return self.pending(run, reply.execution_id)

    def pending(self, run: Run, execution_id: str) -> PendingRun:
        """Return what waits for a run that is under way."""
        return PendingRun(self._client, self.recorder, run, execution_id=execution_id)

    def resolve(self, deployment: str, release_tag: str) -> WorkflowDeploymentRelease | None:
        """Return the release the tag points at now, or None where the key may not read it."""
        try:
            return self._lookup.release(deployment, release_tag)
        except AuthenticationError as exc:
            if exc.status_code != HTTPStatus.FORBIDDEN:
                raise
            return None

    def settle(self, lookup: ExecutionLookup, run: Run) -> None:
        """Look up a run in doubt until that is settled, and complete it where it was executed."""
        since = run.finished_at or run.timestamp
        waited = max(0.0, (datetime.now(UTC) - since).total_seconds())
        found = self._look_up(lookup, run, waited, cancel=None)
        if found is not None:
            fields = {"error": None, **run_fields(found)}
            with suppress(HistoryError):  # another process completed it
                self.recorder.finish(run.model_copy(update=fields))

    def _send(self, attempt: Attempt, cancel: Cancellation | None) -> dict[str, Any]:
        try:
            return send_run(self._client, self._uploads, attempt.run, attempt.inputs, cancel)
        except UploadError as exc:
            raise exc.error from None

    def _was_executed(self, attempt: Attempt, exc: APIError) -> bool:
        """Return whether `exc` refuses an external id of our own making: an earlier try used it."""
        return id_was_used(exc) and attempt.run.external_id == attempt.run.id

    def _adopt(self, attempt: Attempt, exc: APIError, cancel: Cancellation | None) -> Outcome:
        """Return the run that an earlier try of the client executed; else leave it in doubt."""
        run = attempt.run
        self.recorder.release(run)  # an interrupt of the look-up leaves it STARTED
        try:
            lookup = ExecutionLookup(self._client, self._lookup.deployment(run.deployment).id)
            found = self._look_up(lookup, run, 0.0, cancel)
        except APIError:
            found = None
        if found is not None:
            return self.recorder.finish(run.model_copy(update=run_fields(found))), None
        exc.add_note(
            f"It was executed by an earlier try, and the server does not list it yet. The run is "
            f"kept in the history as STARTED: {run.id}; "
            f"ws.history.sync({run.deployment!r}) completes it"
        )
        return run, exc

    def _look_up(
        self, lookup: ExecutionLookup, run: Run, waited: float, cancel: Cancellation | None
    ) -> SlimWorkflowExecutionRead | None:
        """Look `run` up in growing pauses, for as long as a sweep does; return it if it ended."""
        _, read = self._client.settings(max_connections=1, max_tries=1).timeout
        most = read or LOOKUP_S
        while True:
            status = None
            with suppress(APIError):
                try:
                    status = lookup.find(str(run.external_id), cancel)
                except NoLookupError:
                    return None
            if isinstance(status, SlimWorkflowExecutionRead):
                return status
            if waited >= most or (cancel is not None and cancel.cancelled):
                return None
            pause = min(lookup_pause(waited), most - waited)
            if cancel is None:
                time.sleep(pause)
            else:
                cancel.wait(pause)
            waited += pause

    @contextmanager
    def _begun(self, request: RunRequest) -> Iterator[Attempt]:
        """Resolve, check and record; what breaks the block ends the run as CANCELLED."""
        request = with_plain_options(request)
        release = self.resolve(request.deployment, request.release_tag)
        inputs = self._check(request, release)
        run = started(request, release, inputs)
        attempt = Attempt(request, run, tuple(inputs))
        try:
            attempt = replace(attempt, run=self.recorder.begin(attempt.run))  # with its author
            yield attempt
        except BaseException:  # an interrupt, most of all
            if self.recorder.has(attempt.run):
                with suppress(HistoryError):  # it may not have begun
                    self._finish(attempt, cancelled())
            raise

    def _check(
        self, request: RunRequest, release: WorkflowDeploymentRelease | None
    ) -> list[WorkflowInput]:
        sent = {k: v for k, v in request.inputs.items() if k not in request.not_sent}
        variables = release.workflow_version.input_variables if release else None
        return to_wire(sent, variables, where=f"{request.deployment} {request.release_tag}")

    def _streaming(
        self, request: RunRequest, cancel: Cancellation | None, event_types: tuple[str, ...]
    ) -> RunStream:
        with self._begun(request) as attempt:
            return RunStream(attempt, self.recorder, cancel=cancel, event_types=event_types)

    def _open(
        self,
        stream: RunStream,
        cancel: Cancellation | None,
        event_types: tuple[str, ...],
        *,
        expand_meta: bool,
    ) -> None:
        attempt = stream.attempt
        stream.open(
            lambda: self._client.execute_workflow_stream(
                self._uploads.sent(attempt.inputs, cancel),
                **attempt.options,
                event_types=sorted({*event_types, "WORKFLOW"}),
                expand_meta=EVERYTHING if expand_meta else None,
                cancel=cancel,
            )
        )

    def _finish(self, attempt: Attempt, how: dict[str, object]) -> Run:
        return self.recorder.finish(attempt.run.model_copy(update=attempt.ended(how)))


def _recorded_note(run: Run) -> str:
    return f"The run is in the history as {run.state}: {run.id}"


def run_request(deployment: str, inputs: Mapping[str, object], **options: Any) -> RunRequest:
    """Return the request of one run.

    Raises
    ------
    InputError
        An option does not fit; each is named.
    """
    given = {name: str(v) if isinstance(v, UUID) else v for name, v in options.items()}
    with suppress(TypeError, ValueError):  # a pandas row, too
        inputs = dict(inputs)
    try:
        return RunRequest(deployment=deployment, inputs=inputs, **given)
    except ValidationError as exc:
        problems = [_problem(found) for found in exc.errors(include_url=False)]
    msg = f"This run of {deployment!r:.60} cannot be; nothing was sent:"
    raise InputError(msg, problems)


def _problem(found: ErrorDetails) -> InputProblem:
    """Return what pydantic says about an option, in our words."""
    where, what = str(found["loc"][0]), found["type"]
    expected = "keys that are text are" if "[key]" in found["loc"] else "text is"
    if what in {"mapping_type", "dict_type"}:
        expected = "a dict is"
    return InputProblem(where, f"{format_value(found['input'])} is given; {expected} expected")


def event_types(names: Sequence[str], *, expand_meta: bool) -> tuple[str, ...]:
    """Return the types of events to ask for; usage comes with those of nodes.

    Raises
    ------
    InputError
        There is no such type.
    """
    types = {names} if isinstance(names, str) else set(names or ())
    unknown = sorted(types - set(_EVENT_TYPES))
    if unknown or not types:
        msg = f"event_types={names!r}: there are {' and '.join(_EVENT_TYPES)}; nothing was sent"
        raise InputError(msg)
    return tuple(sorted(types | ({"NODE"} if expand_meta else set())))
