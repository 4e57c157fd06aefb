"""The record of one run: written before it is sent, completed by what came back."""

from __future__ import annotations

import base64
import binascii
import hashlib
import mimetypes
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import partial
from types import MappingProxyType
from typing import Any
from urllib.parse import unquote_to_bytes

from vellum_nb.client import Client
from vellum_nb.errors import APIConnectionError, APIError, HistoryError, InputError, InputProblem
from vellum_nb.history import History
from vellum_nb.models import (
    Cancellation,
    ExecuteWorkflowResponse,
    Run,
    RunError,
    RunRequest,
    WorkflowDeploymentRelease,
    WorkflowEventError,
    WorkflowInput,
    WorkflowOutput,
    WorkflowResultEvent,
    WorkflowResultEventOutputData,
    WorkflowStreamEvent,
    case_id,
    new_run_id,
    nodes_of_stream,
    totals,
)
from vellum_nb.models.contract import WorkflowNodeResultEvent
from vellum_nb.models.inputs import plain
from vellum_nb.models.media import DATA_URL_LIMIT, MEDIA_TYPES
from vellum_nb.sweep.retry_policy import run_error


def with_plain_options(request: RunRequest) -> RunRequest:
    """Return `request` with its options as they are sent."""
    sent: dict[str, Any] = {}
    problems = []
    for name in ("external_id", "metadata", "previous_execution_id"):
        try:
            sent[name] = plain(getattr(request, name))
        except InputError as exc:
            problems.append(InputProblem(name, str(exc)))
    if problems:
        msg = f"The options of this run of {request.deployment} do not fit; nothing was sent:"
        raise InputError(msg, problems)
    return request.model_copy(update=sent)


def started(
    request: RunRequest, release: WorkflowDeploymentRelease | None, wire: list[WorkflowInput]
) -> Run:
    """Return the run of `request` as it is recorded before it is sent."""
    run_id = new_run_id()
    inputs = _case(request, wire)
    return Run(
        id=run_id,
        external_id=request.external_id or run_id,
        deployment=request.deployment,
        release_tag=request.release_tag,
        release_id=release.id if release else None,
        environment=release.environment.name if release and release.environment else None,
        timestamp=datetime.now(UTC),
        inputs=inputs,
        not_sent=request.not_sent,
        case_id=case_id(inputs),
        metadata=dict(request.metadata) if request.metadata is not None else None,
        previous_execution_id=request.previous_execution_id,
    )


def _case(request: RunRequest, wire: list[WorkflowInput]) -> dict[str, Any]:
    """Return the whole case in plain values: what is sent, and what this release does not know."""
    sent = {item.name: item.value for item in wire}
    not_sent = {name: plain(request.inputs[name]) for name in request.not_sent}
    return {
        name: (sent | not_sent)[name] for name in request.inputs if name in sent or name in not_sent
    }


def answered(reply: ExecuteWorkflowResponse) -> dict[str, Any]:
    """Return what a reply adds to the run."""
    result = reply.data
    found = ended(result.state, result.outputs, result.error)
    return {"execution_id": reply.execution_id, **found}


def ended(
    state: str, outputs: Iterable[WorkflowOutput], error: WorkflowEventError | None
) -> dict[str, Any]:
    """Return what an end, as the server tells it, adds to the run."""
    if state == "FULFILLED":
        outputs = tuple(outputs)
        return {
            "state": "FULFILLED",
            "outputs": {output.name: output.value for output in outputs},
            "output_types": {output.name: output.type for output in outputs},
        }
    if state == "REJECTED":
        code = error.code if error else "INTERNAL_SERVER_ERROR"
        message = error.message if error else "the server gave no reason"
        return {"state": "REJECTED", "error": RunError(code=code, message=message)}
    message = f"the server answered with the state {state!r}, which ends no run"
    return {"state": "FAILED", "error": RunError(code="BAD_RESPONSE", message=message)}


def unanswered(exc: APIError) -> dict[str, Any]:
    """Return what an error of the API adds to the run."""
    return {"state": "FAILED", "error": run_error(exc)}


def cancelled() -> dict[str, Any]:
    """Return what giving up adds to the run."""
    error = RunError(code="CANCELLED", message="cancelled before an answer came")
    return {"state": "CANCELLED", "error": error}


Inputs = Sequence[Any]  # of WorkflowInput, or of dicts as they are sent
EVERYTHING = {"usage": True, "cost": True, "model_name": True}
"""What `expand_meta` asks of nodes."""


def send_run(
    client: Client,
    uploads: Uploads,
    run: Run,
    inputs: Inputs,
    cancel: Cancellation | None,
    *,
    expand_meta: bool = False,
) -> dict[str, Any]:
    """Upload the files of `run`, execute it and return how it ended, as fields of `Run`.

    With `expand_meta` it is streamed with its nodes, which have tokens, models and cost.

    Raises
    ------
    UploadError
        A file could not be uploaded: nothing was executed.
    APIError
        No usable answer came.
    """
    try:
        inputs = uploads.sent(inputs, cancel)
    except APIError as exc:
        raise UploadError(exc) from exc
    clock = time.perf_counter()
    if expand_meta:
        how = _streamed(client, run, inputs, cancel)
    else:
        reply = client.execute_workflow(inputs, **options_of(run), cancel=cancel)
        check_external_id(run, reply.external_id)
        how = answered(reply)
    return {"latency_s": round(time.perf_counter() - clock, 6), **how}


def _streamed(
    client: Client, run: Run, inputs: Inputs, cancel: Cancellation | None
) -> dict[str, Any]:
    gathered = StreamAccumulator()
    execution_id = None
    options: dict[str, Any] = {"expand_meta": EVERYTHING, "cancel": cancel}
    with client.execute_workflow_stream(
        inputs, **options_of(run), event_types=["NODE", "WORKFLOW"], **options
    ) as events:
        for event in events:
            check_external_id(run, event.external_id)
            execution_id = execution_id or event.execution_id
            gathered.take(event)
    if gathered.end is None:
        msg = "The stream was closed before the run had ended; the server may go on with it."
        raise APIConnectionError(msg)
    return {"execution_id": execution_id, **gathered.fields()}


class UploadError(Exception):
    """A file of a run could not be uploaded, because of `error`."""

    def __init__(self, error: APIError) -> None:
        super().__init__(str(error))
        self.error = error


_ENDS = frozenset({"FULFILLED", "REJECTED"})


class StreamAccumulator:
    """Takes the events of one stream, in their order.

    Attributes
    ----------
    end : dict or None
        How the run ended, as fields of `Run`; None while it goes on.
    first_s : float or None
        Seconds from the beginning to the first text.
    node : str
        The name of the node that began last and has not ended; "" when it is not known.
    nodes_done : int
        How many nodes have ended.
    """

    def __init__(self) -> None:
        self.end: dict[str, Any] | None = None
        self.first_s: float | None = None
        self.nodes_done = 0
        self._began = time.perf_counter()
        self._texts: dict[str, str] = {}
        self._values: dict[str, Any] = {}
        self._types: dict[str, str] = {}
        self._open: dict[str, str] = {}
        self._of_nodes: list[WorkflowStreamEvent] = []

    @property
    def texts(self) -> Mapping[str, str]:
        """Output name to the text that has come so far."""
        return MappingProxyType(self._texts)

    @property
    def node(self) -> str:
        """The name of the node that is under way."""
        return next(reversed(self._open.values()), "")

    def take(self, event: WorkflowStreamEvent) -> None:
        """Take the next event."""
        if isinstance(event.data, WorkflowResultEvent):
            if event.data.output is not None:
                self._grow(event.data.output)
            if event.ends:
                self.end = ended(event.state, event.outputs, event.error)
                if not event.outputs:  # then the outputs that came one by one are all there are
                    self.end = {k: v for k, v in self.end.items() if not k.startswith("output")}
        else:
            self._of_nodes.append(event)
            self._follow(event.data)

    def fields(self) -> dict[str, Any]:
        """Return what came so far as fields of `Run`: outputs, nodes, cost."""
        nodes = nodes_of_stream(self._of_nodes)
        found: dict[str, Any] = {"nodes": nodes, **totals(nodes)} if nodes else {}
        known = self._texts | self._values
        outputs = {name: known[name] for name in self._types if name in known}
        return {**found, "outputs": outputs, "output_types": dict(self._types), **(self.end or {})}

    def _grow(self, output: WorkflowResultEventOutputData) -> None:
        self._types[output.name] = output.type
        if output.state == "FULFILLED":
            self._values[output.name] = output.value
            if isinstance(output.value, str):
                self._texts[output.name] = output.value
        elif output.delta:
            if self.first_s is None:
                self.first_s = time.perf_counter() - self._began
            self._texts[output.name] = self._texts.get(output.name, "") + output.delta

    def _follow(self, node: WorkflowNodeResultEvent) -> None:
        key = node.node_result_id or node.node_id
        if node.state in _ENDS:
            self.nodes_done += 1
            self._open.pop(key, None)
        else:
            self._open[key] = node.node_name or self._open.get(key, "")


def check_external_id(run: Run, external_id: str | None) -> None:
    """Refuse an answer that has another external id than `run`.

    Raises
    ------
    APIConnectionError
        It is the answer to another run.
    """
    if external_id is not None and external_id != run.external_id:
        msg = (
            f"The answer has the external id {external_id!r:.80}, which is not that of this run, "
            f"{run.external_id!r:.80}: it is another run's. This one may have been executed."
        )
        raise APIConnectionError(msg)


def options_of(run: Run) -> dict[str, Any]:
    """Return the options of the request that executes `run`."""
    return {
        "workflow_deployment_name": run.deployment,
        "release_tag": run.release_tag,
        "external_id": run.external_id,
        "metadata": run.metadata,
        "previous_execution_id": run.previous_execution_id,
    }


@dataclass(frozen=True, slots=True)
class Attempt:
    """A run that is recorded and about to be sent; `inputs` as they are sent."""

    request: RunRequest
    run: Run
    inputs: tuple[WorkflowInput, ...]
    clock: float = field(default_factory=time.perf_counter)

    @property
    def options(self) -> dict[str, Any]:
        """The options of the request."""
        return options_of(self.run)

    def ended(self, how: dict[str, Any]) -> dict[str, Any]:
        """Return `how` it ended with the time that it took."""
        latency = round(time.perf_counter() - self.clock, 6)
        return {"finished_at": datetime.now(UTC), "latency_s": latency, **how}


class RunRecorder:
    """Records how runs begin, get on and end."""

    def __init__(self, history: History) -> None:
        self._history = history
        self._under_way: set[str] = set()

    def has(self, run: Run) -> bool:
        """Whether a call of this workspace is about to end `run`."""
        return run.id in self._under_way

    def begin(self, run: Run) -> Run:
        """Record `run`; it is on disk when this returns."""
        self._under_way.add(run.id)
        try:
            return self._history.begin(run)
        except HistoryError:
            self.release(run)
            raise

    def release(self, run: Run) -> None:
        """Leave the end of `run` to others."""
        self._under_way.discard(run.id)

    def set_execution_id(self, run: Run, execution_id: str) -> Run:
        """Record the execution id of a run that is under way."""
        _retry_once(partial(self._history.set_execution_id, run.id, execution_id))
        return run.model_copy(update={"execution_id": execution_id})

    def finish(self, run: Run) -> Run:
        """Record how `run` ended; where that fails, its answer goes with the error.

        Another kernel, or a synchronisation, may have seen it end first: then that stands.
        """
        try:
            _retry_once(partial(self._history.finish, run))
        except HistoryError as exc:
            self.release(run)
            ended = self._ended_elsewhere(run)
            if ended is not None:
                return ended
            exc.run = run
            exc.add_note(f"The run ended as {run.state}; the error's `run` holds what came.")
            raise
        self.release(run)
        return run

    def _ended_elsewhere(self, run: Run) -> Run | None:
        try:
            stored = self._history.get(run.id)
        except HistoryError:
            return None
        return None if stored.state == "STARTED" else stored


def _retry_once(write: Callable[[], None]) -> None:
    """Write once more when an interrupt broke it: the answer came, and would be lost."""
    try:
        write()
    except KeyboardInterrupt:
        with suppress(HistoryError):  # the first time did it
            write()
        raise


_WITH_FILES = frozenset({*MEDIA_TYPES, "CHAT_HISTORY"})


class Uploads:
    """Puts files where the server finds them; the same content once a client."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._lock = threading.Lock()
        self._known: dict[str, str] = {}
        self._busy: dict[str, threading.Lock] = {}

    def sent(self, inputs: Inputs, cancel: Cancellation | None = None) -> Inputs:
        """Return `inputs` as they are sent: large data URLs as ids of uploaded files.

        Raises
        ------
        APIError
            A file could not be uploaded.
        """
        found = [self._input(each, cancel) for each in inputs]
        return inputs if all(a is b for a, b in zip(found, inputs, strict=True)) else found

    def _input(self, item: Any, cancel: Cancellation | None) -> Any:
        is_model = isinstance(item, WorkflowInput)
        type_, value = (item.type, item.value) if is_model else (item["type"], item["value"])
        news = self._replaced(value, cancel) if type_ in _WITH_FILES else value
        if news is value:
            return item
        changed = {"value": news}
        return item.model_copy(update=changed) if is_model else {**item, **changed}

    def _replaced(self, value: Any, cancel: Cancellation | None) -> Any:
        """Return `value` itself where nothing in it is too large."""
        if isinstance(value, list):
            items = [self._replaced(item, cancel) for item in value]
            return items if any(a is not b for a, b in zip(items, value, strict=True)) else value
        if not isinstance(value, dict):
            return value
        news = {key: self._replaced(item, cancel) for key, item in value.items()}
        src = value.get("src")
        if isinstance(src, str) and len(src) > DATA_URL_LIMIT and src.startswith("data:"):
            news["src"] = self._uploaded(src, cancel)
        return news if any(news[key] is not value[key] for key in value) else value

    def _uploaded(self, src: str, cancel: Cancellation | None) -> str:
        key = hashlib.sha256(src.encode("utf-8", "surrogatepass")).hexdigest()
        with self._lock:
            busy = self._busy.setdefault(key, threading.Lock())
        with busy:  # a second thread with the same file waits for the first one's id
            if key not in self._known:
                content, filename = _file(src)
                upload = self._client.upload_file
                self._known[key] = upload(content, filename=filename, cancel=cancel).src
            return self._known[key]


def _file(src: str) -> tuple[bytes, str]:
    """Return content and a name for the data URL `src`."""
    head, _, data = src.partition(",")
    mime, *marks = head.removeprefix("data:").split(";")
    content = unquote_to_bytes(data)
    if "base64" in (mark.strip().lower() for mark in marks):
        try:
            content = base64.b64decode(content)
        except binascii.Error:  # not ours to judge: sent as it is written
            return src.encode(), "upload"
    return content, f"upload{mimetypes.guess_extension(mime.lower()) or ''}"
