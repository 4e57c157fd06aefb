"""`Runner`, the only way to execute a run: resolve, check, record, send, record.

Streams and submitted runs (`live_runs`) take the same steps.
"""

from __future__ import annotations

import hashlib
import mimetypes
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Any, TypeVar
from urllib.request import DataHandler, Request
from uuid import UUID

from pydantic import ValidationError

from vellum_nb.client import Client
from vellum_nb.client.client import client_settings
from vellum_nb.clock import uptime
from vellum_nb.errors import (
    APIConnectionError,
    APIError,
    APIResponseError,
    APIStatusError,
    HistoryError,
    InputError,
    InputProblem,
    VellumNBError,
)
from vellum_nb.history import History, Sweeps, set_execution_id
from vellum_nb.models import (
    Cancellation,
    Run,
    RunRequest,
    SlimWorkflowExecutionRead,
    WorkflowDeploymentRelease,
    WorkflowExecutionDetail,
    WorkflowInput,
    WorkflowStreamEvent,
    case_id,
    new_run_id,
    nodes_of_stream,
    totals,
)
from vellum_nb.models.contract import (
    END_STATES,
    WorkflowNodeResultEvent,
    WorkflowResultEventOutputData,
)
from vellum_nb.models.inputs import format_value, plain, to_wire
from vellum_nb.models.media import DATA_URL_LIMIT
from vellum_nb.models.types import value_type
from vellum_nb.sweep.retry_policy import LOOKUP_S, cancelled, doubt_after, lookup_pause, run_error
from vellum_nb.workspace.lookup import (
    Lookup,
    NoLookupError,
    case_of,
    ended,
    listed_execution,
    run_fields,
)

Inputs = Sequence[Any]  # WorkflowInput, or dicts with its fields
Outcome = tuple[Run, APIError | None]
_T = TypeVar("_T")
META = {"usage": True, "cost": True, "model_name": True}


@dataclass(slots=True)
class _Call:
    """A call of this workspace that will end its run."""

    began: float
    may_be_sent: bool = False


class Runner:
    """Executes one case on one release tag and records its start, progress and end.

    All methods check their arguments before a run is sent or recorded: `InputError` for invalid
    inputs or options, `NotFoundError` for an unknown deployment or tag. `HistoryError`: the run
    could not be recorded; an answer received before that is in the error's `run`.
    """

    def __init__(self, client: Client, history: History, lookup: Lookup) -> None:
        self.client, self.history, self.lookup = client, history, lookup
        self.uploads = Uploads(client)
        self._calls: dict[str, _Call] = {}  # run id to its call

    def execute(
        self,
        request: RunRequest,
        cancel: Cancellation | None = None,
        *,
        expand_meta: bool = False,
        on_event: Callable[[StreamAccumulator], object] | None = None,
    ) -> Outcome:
        """Run `request`; return the run, and the error without a usable answer.

        With `expand_meta` or `on_event`, stream the run with its nodes, and call `on_event` after
        each event.
        """

        def send(run: Run, inputs: Inputs) -> Outcome:
            so_far = StreamAccumulator(run) if expand_meta or on_event else None

            def follow(so_far: StreamAccumulator) -> None:
                nonlocal run
                run = self.set_execution_id(run, so_far.execution_id)
                if on_event is not None:
                    on_event(so_far)

            try:
                sent = self.upload(run, inputs, cancel)
                outcome = send_run(self.client, run, sent, cancel, so_far=so_far, on_event=follow)
            except APIError as exc:
                failed = self.fail(run, exc, cancel, so_far)
                return failed, None if failed.state in END_STATES else exc
            return self.finish(run, outcome), None

        return self.begin(request, send)

    def begin(self, request: RunRequest, send: Callable[[Run, Inputs], _T]) -> _T:
        """Resolve, check and record, then `send` the run; an interrupt ends it as CANCELLED.

        It is then in doubt if it could have been sent.
        """
        release = self.lookup.readable_release(request.deployment, request.release_tag)
        variables = release.workflow_version.input_variables if release else None
        not_sent = request.not_sent
        if not_sent is None:
            keys = request.inputs if variables is None else {v.key for v in variables}
            not_sent = tuple(name for name in request.inputs if name not in keys)
        sent = {k: v for k, v in request.inputs.items() if k not in not_sent}
        wire = to_wire(sent, variables, where=f"{request.deployment} {request.release_tag}")
        run = _started(request, release, wire, not_sent)
        self._calls[run.id] = _Call(time.perf_counter())
        try:
            try:
                run = self.history.begin(run)  # committed, with its author
            except HistoryError:
                self.leave(run)
                raise
            return send(run, wire)
        except BaseException as exc:  # mostly KeyboardInterrupt
            if self.is_under_way(run):
                with suppress(HistoryError):  # possibly not recorded
                    exc.add_note(_note_on(self.finish(run, self.cancelled(run))))
            raise

    def upload(self, run: Run, inputs: Inputs, cancel: Cancellation | None = None) -> Inputs:
        """Upload the files of `inputs` and return what to send; mark the run as possibly sent."""
        sent = self.uploads.sent(inputs, cancel)
        self._calls[run.id].may_be_sent = True
        return sent

    def cancelled(self, run: Run) -> dict[str, Any]:
        """Return the fields of a running run that is cancelled now."""
        return cancelled("SENT" if self._may_be_sent(run) else None)

    def is_under_way(self, run: Run) -> bool:
        """Return whether a call of this workspace will end `run`."""
        return run.id in self._calls

    def leave(self, run: Run) -> None:
        """Leave the end of `run` to other processes."""
        self._calls.pop(run.id, None)

    def _may_be_sent(self, run: Run) -> bool:
        call = self._calls.get(run.id)
        return call is None or call.may_be_sent

    def set_execution_id(self, run: Run, execution_id: str | None) -> Run:
        """Record the execution id of a run in doubt once it is known."""
        if run.execution_id is not None or not execution_id:
            return run
        _retry_once(partial(set_execution_id, self.history, run.id, execution_id))
        doubt = run.doubt and "EXECUTED"
        return run.model_copy(update={"execution_id": execution_id, "doubt": doubt})

    def finish(self, run: Run, outcome: Mapping[str, Any]) -> Run:
        """Record the outcome of a run and return the run.

        If it was already recorded by another kernel or a synchronisation, return that. On a
        `HistoryError`, the error's `run` has the outcome.
        """
        fields: dict[str, Any] = {"finished_at": datetime.now(UTC)}
        if call := self._calls.get(run.id):
            fields["latency_s"] = round(time.perf_counter() - call.began, 6)
        run = run.model_copy(update={**fields, **outcome})
        try:
            _retry_once(partial(self.history.finish, run))
        except HistoryError as exc:
            self.leave(run)
            with suppress(HistoryError):
                stored = self.history.get(run.id)
                if stored.state != "STARTED" and (run.in_doubt or not stored.in_doubt):
                    return stored
            exc.run = run
            exc.add_note(f"The run ended as {run.state}; the error's `run` has its answer.")
            raise
        self.leave(run)
        return run

    def fail(
        self,
        run: Run,
        exc: APIError,
        cancel: Cancellation | None = None,
        so_far: StreamAccumulator | None = None,
    ) -> Run:
        """Record a run without a usable answer, any partial answer, and whether it is in doubt.

        If the server rejects our own external id as used, an earlier attempt of the client was
        executed: look up the run.
        """
        is_cancelled = cancel is not None and cancel.cancelled
        end = self.cancelled(run) if is_cancelled else {"state": "FAILED", "error": run_error(exc)}
        doubt = doubt_after(exc) if self._may_be_sent(run) else None  # uploads are not executions
        partial_answer = so_far.fields() if so_far else {}
        run = self.finish(run, {**partial_answer, **end, "doubt": doubt})
        if run.doubt == "EXECUTED" and run.external_id == run.id:
            with suppress(APIError):
                run = self.settle(self.lookup.deployment_id(run.deployment), run, cancel=cancel)
        exc.add_note(_note_on(run))
        return run

    def look_up(self, run: Run) -> Run:
        """Look up the execution of a run in doubt once; complete and return the stored run.

        It is still in doubt if the server lists no execution of it, or a running one.
        `VellumNBError`: a call of ours will end it, or executions cannot be looked up.
        """
        run = self.history.get(run.id)
        if not run.in_doubt:
            return run
        if self.is_driven(run, Sweeps(self.history).held()):
            msg = f"Run {run.id} is under way: its answer is recorded when it arrives"
            raise VellumNBError(msg)
        try:
            return self.look_up_once(self.lookup.deployment_id(run.deployment), run)
        except NoLookupError as exc:
            msg = f"Run {run.id} cannot be looked up: {exc}"
            raise VellumNBError(msg) from exc

    def is_driven(self, run: Run, held_sweeps: Collection[str]) -> bool:
        """Return whether a call of this workspace or the driver of a sweep will end `run`."""
        return self.is_under_way(run) or run.sweep_id in held_sweeps

    def settle(
        self, deployment_id: str | None, run: Run, *, cancel: Cancellation | None = None
    ) -> Run:
        """Look up a run in doubt at growing intervals, for at most the read timeout."""
        began = uptime() - Sweeps(self.history).begin_doubt(run.id)
        _, read = client_settings(self.client).timeout
        longest, cancel = read or LOOKUP_S, cancel or Cancellation()
        while True:
            try:
                run = self.look_up_once(deployment_id, run, cancel)
            except NoLookupError:
                return run
            except APIError:
                pass  # retried below
            waited = uptime() - began
            if not run.in_doubt or waited >= longest or cancel.cancelled:
                return run
            cancel.wait(min(lookup_pause(waited), longest - waited))

    def look_up_once(
        self, deployment_id: str | None, run: Run, cancel: Cancellation | None = None
    ) -> Run:
        """Look up the execution of a run in doubt, even if a call or driver could still end it."""
        execution = self._execution_of(deployment_id, run, cancel)
        if execution is None:
            return run
        if execution.status == "INITIATED":
            return self.set_execution_id(run, execution.execution_id)
        fields = run_fields(execution)
        has_moved = None not in {run.release_id, fields.get("release_id")} and (
            run.release_id != fields["release_id"]
        )
        return self.finish(run, {**fields, "tag_moved": run.tag_moved or has_moved})

    def _execution_of(
        self, deployment_id: str | None, run: Run, cancel: Cancellation | None
    ) -> SlimWorkflowExecutionRead | WorkflowExecutionDetail | None:
        if run.execution_id is not None:
            with suppress(APIStatusError, APIResponseError, InputError):  # try the list below
                return self.client.retrieve_workflow_execution_detail(run.execution_id)
        if run.external_id is None:
            return None
        execution = listed_execution(self.client, deployment_id, run.external_id, cancel)
        if execution is not None and run.doubt == "EXECUTED" and run.external_id != run.id:
            # A user's external id that is already in use can belong to another run.
            is_same_case = case_of(execution, run.previous_execution_id) == run.case_id
            return execution if is_same_case else None
        return execution


def _note_on(run: Run) -> str:
    """Return a note on the run of an exception, and how it is completed if in doubt."""
    note = f"The run is in the history as {run.state}: {run.id}"
    if not run.in_doubt:
        return note
    verb = "was executed" if run.doubt == "EXECUTED" else "may have been executed"
    if run.doubt == "EXECUTED" and run.external_id != run.id:
        verb = f"may be the execution that has the external id {run.external_id!r:.80}"
    return (
        f"{note}. It {verb}: ws.sync({run.deployment!r}) or ws.resume_pending() "
        "completes it when the server lists its execution."
    )


def _retry_once(write: Callable[[], None]) -> None:
    """Repeat a write that an interrupt broke, so the answer is not lost."""
    try:
        write()
    except KeyboardInterrupt:
        with suppress(HistoryError):  # the first write succeeded
            write()
        raise


def run_request(  # noqa: PLR0917  (as `Workspace.run` has them)
    deployment: str,
    inputs: Mapping[str, object],
    release_tag: str,
    external_id: str | UUID | None,
    metadata: Mapping[str, Any] | None,
    previous_execution_id: str | UUID | None,
) -> RunRequest:
    """Return the request of one run; an `InputError` lists invalid options."""
    options: dict[str, Any] = {"release_tag": release_tag, "metadata": metadata}
    options |= {"external_id": external_id, "previous_execution_id": previous_execution_id}
    problems = []
    for name, value in sorted(options.items()):
        try:
            options[name] = str(value) if isinstance(value, UUID) else plain(value)
        except InputError as exc:
            problems.append(InputProblem(name, str(exc)))
    with suppress(TypeError, ValueError):  # a pandas row, too
        inputs = dict(inputs)
    try:
        request = RunRequest(deployment=deployment, inputs=inputs, **options)
    except ValidationError as exc:
        for error in exc.errors(include_url=False):
            expected = "keys that are text are" if "[key]" in error["loc"] else "text is"
            if error["type"] in {"mapping_type", "dict_type"}:
                expected = "a dict is"
            message = f"{format_value(error['input'])} is given; {expected} expected"
            problems.append(InputProblem(str(error["loc"][0]), message))
    if problems:
        msg = f"The options of a run of {deployment!r:.60} do not fit; nothing was sent:"
        raise InputError(msg, problems)
    return request


def _started(
    request: RunRequest,
    release: WorkflowDeploymentRelease | None,
    wire: list[WorkflowInput],
    not_sent: tuple[str, ...],
) -> Run:
    """Return the run of `request` before it is sent, with all inputs of its case."""
    run_id = new_run_id()
    values = {item.name: item.value for item in wire}
    values |= {name: plain(request.inputs[name]) for name in not_sent}
    inputs = {name: values[name] for name in request.inputs if name in values}
    return Run(
        id=run_id,
        external_id=request.external_id or run_id,
        deployment=request.deployment,
        release_tag=request.release_tag,
        release_id=release.id if release else None,
        environment=release.environment.name if release and release.environment else None,
        timestamp=datetime.now(UTC),
        inputs=inputs,
        not_sent=not_sent,
        case_id=request.case_id or case_id(inputs, request.previous_execution_id),
        metadata=plain(request.metadata),
        previous_execution_id=request.previous_execution_id,
        conversation_id=request.conversation_id,
        turn=request.turn,
    )


def send_run(
    client: Client,
    run: Run,
    inputs: Inputs,
    cancel: Cancellation | None,
    *,
    so_far: StreamAccumulator | None = None,
    on_event: Callable[[StreamAccumulator], object] | None = None,
) -> dict[str, Any]:
    """Execute `run` with uploaded files and return its outcome, as fields of `Run`.

    With `so_far`, stream it with its nodes, tokens, models and cost. `APIError`: no usable answer.
    """
    clock = time.perf_counter()
    if so_far is None:
        reply = client.execute_workflow(inputs, **options_of(run), cancel=cancel)
        check_external_id(run, reply.external_id)
        outcome = ended(reply.data.state, reply.data.outputs, reply.data.error)
        outcome["execution_id"] = reply.execution_id
    else:
        stream = client.execute_workflow_stream(
            inputs,
            **options_of(run),
            event_types=["NODE", "WORKFLOW"],
            expand_meta=META,
            cancel=cancel,
        )
        with stream:
            for event in stream:
                so_far.take(event)
                if on_event is not None:
                    on_event(so_far)
        outcome = so_far.fields()
    return {"latency_s": round(time.perf_counter() - clock, 6), **outcome}


def options_of(run: Run) -> dict[str, Any]:
    """Return the options of the request that executes `run`."""
    names = ("release_tag", "external_id", "metadata", "previous_execution_id")
    return {"workflow_deployment_name": run.deployment, **{n: getattr(run, n) for n in names}}


def check_external_id(run: Run, external_id: str | None) -> None:
    """Raise if an answer has another external id than `run`."""
    if external_id is not None and external_id != run.external_id:
        msg = (
            f"The answer has the external id {external_id!r:.80}, so it belongs to another run. "
            f"The run sent with {run.external_id!r:.80} may have been executed"
        )
        raise APIConnectionError(msg)


class StreamAccumulator:
    """Accumulates the events of the stream of `run`.

    `end` has the outcome as fields of `Run`, or None before the end. `texts` are the outputs so
    far, `first_s` the seconds until the first text, `nodes_done` the number of nodes that have
    ended.
    """

    def __init__(self, run: Run) -> None:
        self.execution_id: str | None = None
        self.end: dict[str, Any] | None = None
        self.texts: dict[str, str] = {}
        self.first_s: float | None = None
        self.nodes_done = 0
        self._run = run
        self._began = time.perf_counter()
        self._values: dict[str, Any] = {}
        self._types: dict[str, str] = {}
        self._open: dict[str, str] = {}
        self._of_nodes: list[WorkflowStreamEvent] = []

    @property
    def node(self) -> str:
        """Name of the most recent running node; "" if unknown."""
        return next(reversed(self._open.values()), "")

    def take(self, event: WorkflowStreamEvent) -> None:
        """Add an event; raise `APIConnectionError` if it belongs to another run."""
        check_external_id(self._run, event.external_id)
        self.execution_id = self.execution_id or event.execution_id or None
        if isinstance(event.data, WorkflowNodeResultEvent):
            self._of_nodes.append(event)
            key = event.data.node_result_id or event.data.node_id
            if event.state in END_STATES:
                self.nodes_done += 1
                self._open.pop(key, None)
            else:
                self._open[key] = event.data.node_name or self._open.get(key, "")
            return
        if event.data.output is not None:
            self._grow(event.data.output)
        if event.ends:
            self.end = ended(event.state, event.outputs, event.error)
            if not event.outputs:  # the outputs streamed before are complete
                self.end = {k: v for k, v in self.end.items() if not k.startswith("output")}

    def fields(self) -> dict[str, Any]:
        """Return the fields of `Run` so far: outputs, nodes, cost."""
        nodes = nodes_of_stream(self._of_nodes)
        fields: dict[str, Any] = {"nodes": nodes, **totals(nodes)} if nodes else {}
        if self.execution_id is not None:
            fields["execution_id"] = self.execution_id
        values = self.texts | self._values
        outputs = {name: values[name] for name in self._types if name in values}
        return {**fields, "outputs": outputs, "output_types": dict(self._types), **(self.end or {})}

    def _grow(self, output: WorkflowResultEventOutputData) -> None:
        self._types[output.name] = output.type
        if output.state == "FULFILLED":
            self._values[output.name] = output.value
            if isinstance(output.value, str):
                self.texts[output.name] = output.value
        elif output.delta:
            if self.first_s is None:
                self.first_s = time.perf_counter() - self._began
            self.texts[output.name] = self.texts.get(output.name, "") + output.delta


class Uploads:
    """Uploads files to the server, the same content once per client."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._known: dict[str, str] = {}
        self._busy: dict[str, threading.Lock] = {}

    def sent(self, inputs: Inputs, cancel: Cancellation | None = None) -> Inputs:
        """Return `inputs` as sent, with large data URLs replaced by ids of uploaded files.

        `APIError`: a file could not be uploaded; the run was not executed.
        """
        fields = [dict(item) for item in inputs]
        return [
            item | {"value": self._replaced(item["value"], cancel)}
            if value_type(item["type"]).has_files
            else item
            for item in fields
        ]

    def _replaced(self, value: Any, cancel: Cancellation | None) -> Any:
        if isinstance(value, list):
            return [self._replaced(item, cancel) for item in value]
        if not isinstance(value, dict):
            return value
        news = {key: self._replaced(item, cancel) for key, item in value.items()}
        src = value.get("src")
        if isinstance(src, str) and len(src) > DATA_URL_LIMIT and src.startswith("data:"):
            news["src"] = self._uploaded(src, cancel)
        return news

    def _uploaded(self, src: str, cancel: Cancellation | None) -> str:
        key = hashlib.sha256(src.encode("utf-8", "surrogatepass")).hexdigest()
        with self._lock:
            busy = self._busy.setdefault(key, threading.Lock())
        with busy:  # other threads with the same file wait for its id
            if key not in self._known:
                try:
                    with DataHandler().data_open(Request(src)) as file:  # noqa: S310 - data: only
                        content = file.read()
                        ending = mimetypes.guess_extension(file.headers.get_content_type())
                except ValueError:  # sent unchanged; the server decides
                    content, ending = src.encode(), None
                upload = self._client.upload_file(
                    content, filename=f"upload{ending or ''}", cancel=cancel
                )
                self._known[key] = upload.src
            return self._known[key]
