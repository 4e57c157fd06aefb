"""Event model of an execution: events, their construction, and protocols for code.

Every kind of code (callable, Workflows SDK class, child process) yields these events. Streams,
status, spans and the ledger are derived only from them.

Source: https://docs.vellum.ai/developers/client-sdk/workflows/execute-workflow-stream
"""

from __future__ import annotations

import json
import math
import re
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field, fields, is_dataclass
from datetime import UTC, datetime
from pathlib import PurePath
from types import MappingProxyType
from typing import Any, Protocol

from pydantic import BaseModel, TypeAdapter

from vellum_nb.local.deployments.sources import strip_packages
from vellum_nb.models import VellumVariable, WorkflowInput, WorkflowOutput

WORKFLOW_INITIATED = "workflow.execution.initiated"
WORKFLOW_STREAMING = "workflow.execution.streaming"
WORKFLOW_FULFILLED = "workflow.execution.fulfilled"
WORKFLOW_REJECTED = "workflow.execution.rejected"
NODE_INITIATED = "node.execution.initiated"
NODE_STREAMING = "node.execution.streaming"
NODE_FULFILLED = "node.execution.fulfilled"
NODE_REJECTED = "node.execution.rejected"

# Error code of an event (Vellum's SDK) -> error code of the execution, if it differs.
_EXECUTION_CODES: Mapping[str, str] = MappingProxyType(
    {
        "INVALID_WORKFLOW": "WORKFLOW_INITIALIZATION",
        "INVALID_OUTPUTS": "NODE_EXECUTION",
        "INVALID_STATE": "NODE_EXECUTION",
        "INVALID_CODE": "NODE_EXECUTION",
        "INTERNAL_ERROR": "INTERNAL_SERVER_ERROR",
        "PROVIDER_ERROR": "LLM_PROVIDER",
    }
)
MOST_LEVELS = 200
"""Limit of nesting in the JSON of a request."""
_FRAME = re.compile(r'  File "(?P<file>[^"]*)"(?P<rest>.*)')
_OURS = re.compile(r"[\\/]vellum_nb[\\/]local[\\/](callables|engine|isolation|sdk)[\\/]|^<frozen")
_LIBRARY = re.compile(r"[\\/](site-packages|dist-packages|python\d\.\d+|Lib)[\\/]|^<unknown")


def new_id() -> str:
    """Return a new UUID as text."""
    return str(uuid.uuid4())


@dataclass(frozen=True, slots=True)
class Usage:
    """Usage of a model call; `cost_usd` is None if the price is unknown.

    With `estimated`, tokens are estimated from the length of the text.
    """

    model: str
    tokens_in: int | None = None
    tokens_out: int | None = None
    cost_usd: float | None = None
    estimated: bool = False

    @staticmethod
    def total(usage: Sequence[Usage], figure: str) -> float | None:
        """Return the sum of a figure; None if a value is unknown."""
        figures = [getattr(entry, figure) for entry in usage]
        return None if None in figures else sum(figures)


@dataclass(frozen=True, slots=True)
class Event:
    """One event of an execution, with the keys of Vellum's ``WorkflowEvent``, as plain JSON."""

    name: str  # such as node.execution.fulfilled
    span_id: str  # of the node; of the workflow's own events it is the execution id
    trace_id: str
    body: Mapping[str, Any]
    parent: Mapping[str, Any] | None = None
    outputs: tuple[WorkflowOutput, ...] = ()  # streaming: one; fulfilled: all
    kind: str = ""  # of a node: PROMPT, TEMPLATING and so on, as node results name them
    usage: tuple[Usage, ...] = ()  # of a fulfilled prompt node
    execution_ids: tuple[str, ...] = ()  # of an ended node: executions inside it, in order
    source_execution_id: str | None = None  # of a node inside another: the inner workflow's
    id: str = field(default_factory=new_id)
    timestamp: datetime = field(default_factory=lambda: datetime.now(UTC))

    @property
    def ends(self) -> bool:
        """Whether it is the last event of the whole execution."""
        return self.name in {WORKFLOW_FULFILLED, WORKFLOW_REJECTED}

    def node_initiated(
        self, definition: Mapping[str, Any], kind: str, inputs: Mapping[str, Any]
    ) -> Event:
        """Return the event of the start of a node in the workflow of this event."""
        parent = {
            "type": "WORKFLOW",
            "span_id": self.span_id,
            "workflow_definition": self.body["workflow_definition"],
            "parent": self.parent,
            "links": None,
        }
        body = {"node_definition": definition, "inputs": dict(inputs)}
        span_id = new_id()
        return Event(NODE_INITIATED, span_id, self.trace_id, body, parent, kind=kind)

    def streaming(self, output: WorkflowOutput, **part: Any) -> Event:
        """Return the event of an output: its start, a `delta` of its text, or its `value`."""
        return self._next("streaming", {"output": {"name": output.name, **part}}, (output,))

    def fulfilled(
        self, outputs: Sequence[WorkflowOutput], state: Mapping[str, Any] | None = None
    ) -> Event:
        """Return the event of the end."""
        more: dict[str, Any] = {"final_state": state, "server_metadata": None}
        if self.name.startswith("node."):
            more = {"invoked_ports": None, "mocked": False}
        body = {"outputs": values_by_name(outputs), **more}
        return self._next("fulfilled", body, tuple(outputs))

    def rejected(self, why: Rejection) -> Event:
        """Return the event of a rejection."""
        error = {"message": why.message, "code": why.code, "raw_data": None}
        return self._next("rejected", {"error": error, "stacktrace": why.stacktrace})

    def _next(
        self, state: str, body: Mapping[str, Any], outputs: tuple[WorkflowOutput, ...] = ()
    ) -> Event:
        subject = self.name.partition(".")[0]
        definition = f"{subject}_definition"
        return Event(
            name=f"{subject}.execution.{state}",
            span_id=self.span_id,
            trace_id=self.trace_id,
            body={definition: self.body.get(definition, {}), **body},
            parent=self.parent,
            outputs=outputs,
            kind=self.kind,
            source_execution_id=self.source_execution_id,
        )

    def envelope(self) -> dict[str, Any]:
        """Return the event in the form of ``execute-stream`` and spans."""
        return {
            "name": self.name,
            "body": dict(self.body),
            "id": self.id,
            "timestamp": self.timestamp.isoformat(),
            "api_version": "2025-07-30",
            "trace_id": self.trace_id,
            "span_id": self.span_id,
            "parent": None if self.parent is None else dict(self.parent),
            "links": None,
        }


class Rejection(Exception):  # noqa: N818 - the outcome of a run, not an error of ours
    """Raised by the events of an execution to reject it; `code` is an error code of events."""

    def __init__(self, message: str, code: str, stacktrace: str | None = None) -> None:
        super().__init__(message, code, stacktrace)
        self.message = message
        self.code = code
        self.stacktrace = stacktrace


def not_loaded(reason: object) -> Rejection:
    """Return the rejection of a run of a release without code."""
    message = f"The code of this release is not loaded: {reason}. Deploy it again to run it."
    return Rejection(message, "INVALID_WORKFLOW")


def no_usage(_span_id: str) -> tuple[Usage, ...]:
    """Return no usage, for nodes that run in another process."""
    return ()


@dataclass(frozen=True, slots=True)
class RunContext:
    """Context of one run: its ids, its limits and the server it belongs to."""

    execution_id: str
    trace_id: str
    parent: Mapping[str, Any] | None = None  # the WORKFLOW_RELEASE_TAG context of its events
    state: Mapping[str, Any] | None = None  # of the execution that this one continues
    timeout: float | None = None  # for code that can stop itself; the engine enforces it anyway
    url: str = field(default="", repr=False)  # the server, for nodes that call Vellum
    api_key: str = field(default="", repr=False)
    usage: Callable[[str], tuple[Usage, ...]] = field(default=no_usage, repr=False)  # by span
    trigger: str | None = None
    mocks: Sequence[Mapping[str, Any]] = ()  # nodes of a Workflows SDK class that do not run


class Execution(Protocol):
    """One run that has not started yet."""

    def events(self) -> Iterator[Event]:
        """Run in the iterating thread and yield the events.

        The last event is *fulfilled* or *rejected*. The engine adds the missing events after a
        `Rejection` or a cancellation. The iterator is always drained.
        """

    def cancel(self) -> None:
        """End it as soon as possible. Can be called from any thread, at any time, repeatedly."""


class Code(Protocol):
    """Code that a release runs."""

    @property
    def input_variables(self) -> tuple[VellumVariable, ...]:
        """The input variables, in order."""

    @property
    def output_variables(self) -> tuple[VellumVariable, ...]:
        """The declared output variables, in order."""

    @property
    def description(self) -> str:
        """The summary of its docstring."""

    def begin(self, inputs: Sequence[WorkflowInput], context: RunContext) -> Execution:
        """Check the inputs and return the run, which has not started."""


def initiated(
    context: RunContext, definition: Mapping[str, Any], inputs: Mapping[str, Any]
) -> Event:
    """Return the start event of a workflow, from which its other events are derived."""
    body = {"workflow_definition": definition, "inputs": dict(inputs), "trigger": None}
    return Event(WORKFLOW_INITIATED, context.execution_id, context.trace_id, body, context.parent)


def code_definition(id_: str, name: str, module: str = "") -> dict[str, Any]:
    """Return the definition of a workflow or node for events."""
    return {"id": id_, "name": name, "module": module.split(".") if module else []}


def values_by_name(typed: Iterable[WorkflowInput | WorkflowOutput]) -> dict[str, Any]:
    """Return typed values by name."""
    return {item.name: item.value for item in typed}


def event_error(event: Event) -> dict[str, Any]:
    """Return the error of a rejected event, with the codes of executions."""
    error = event.body.get("error") or {}
    code = error.get("code", "INTERNAL_ERROR")
    return {
        "message": error.get("message", ""),
        "code": _EXECUTION_CODES.get(code, code),
        "raw_data": error.get("raw_data"),
        "stacktrace": event.body.get("stacktrace"),
    }


def describe_exception(exc: BaseException) -> str:
    """Return type and message of an exception, even if its ``__str__`` raises."""
    text = ""
    with suppress(BaseException):
        text = str(exc)
    return f"{type(exc).__name__}: {text}" if text else type(exc).__name__


def own_frames(text: str, *, libraries: bool = True) -> str:
    """Remove our frames from a stack trace or printed text.

    Paths are reduced to file names, and packages of releases are removed.
    """
    lines: list[str] = []
    is_own = True
    for line in text.splitlines():
        frame = _FRAME.fullmatch(line)
        if frame is not None:
            file = frame["file"]
            is_own = not _OURS.search(file) and (libraries or not _LIBRARY.search(file))
            name = "<cell>" if "ipykernel_" in file else PurePath(file).name
            lines += [f'  File "{name}"{frame["rest"]}'] if is_own else []
        elif is_own or not line.startswith("    "):
            is_own = True
            lines.append(line)
    return strip_packages("\n".join(lines))


def to_json(value: Any) -> str:
    """Return plain values, models and dataclasses as ASCII JSON; NaN and infinity become null."""
    try:
        return json.dumps(value, allow_nan=False, separators=(",", ":"), default=_plain)
    except ValueError:
        text = json.dumps(value, default=_plain)
    return json.dumps(json.loads(text, parse_constant=lambda _: None), separators=(",", ":"))


def from_json(text: bytes | str) -> Any:
    """Parse JSON text; NaN, infinity, deep nesting and malformed text raise a `ValueError`."""
    try:
        value = json.loads(text, parse_constant=_finite, parse_float=_finite)
        is_too_deep = _is_nested_deeper(value, MOST_LEVELS)
    except RecursionError:
        is_too_deep = True
    if is_too_deep:
        msg = f"it is nested too deeply; at most {MOST_LEVELS} levels are allowed"
        raise ValueError(msg)
    return value


def _is_nested_deeper(value: Any, levels: int) -> bool:
    containers = [value] if isinstance(value, dict | list) else []
    for _ in range(levels):
        if not containers:
            return False
        containers = [
            item
            for container in containers
            for item in (container.values() if isinstance(container, dict) else container)
            if isinstance(item, dict | list)
        ]
    return bool(containers)


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        msg = f"JSON has no {text:.40}: it is not a number, or too large"
        raise ValueError(msg)
    return value


def parse_events(raw: Any) -> list[Event]:
    """Parse events from the JSON of `to_json`."""
    return list(_EVENTS.validate_python(raw))


def _plain(value: Any) -> Any:
    """Convert the top level of a model, dataclass, time or mapping for JSON."""
    if isinstance(value, BaseModel):
        return dict(value)
    if is_dataclass(value):
        return {field_.name: getattr(value, field_.name) for field_ in fields(value)}
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    msg = f"{type(value).__name__} has no JSON form"
    raise TypeError(msg)


_EVENTS: TypeAdapter[tuple[Event, ...]] = TypeAdapter(tuple[Event, ...])
