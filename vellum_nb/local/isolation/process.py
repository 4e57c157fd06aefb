"""Code that runs in a fresh process each time."""

from __future__ import annotations

import json
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any

from vellum_nb.local.callables.signature import variable_id
from vellum_nb.local.deployments.loading import WorkflowGoneError
from vellum_nb.local.deployments.sources import Snapshot
from vellum_nb.local.engine.code import RunContext
from vellum_nb.local.engine.events import NODE_FULFILLED, NODE_INITIATED, NODE_REJECTED, Event
from vellum_nb.local.engine.telling import NodeTeller, Rejection, Teller, definition, values_of
from vellum_nb.local.isolation import codec
from vellum_nb.local.isolation.checks import check_inputs
from vellum_nb.local.isolation.launch import Child, Ending
from vellum_nb.local.isolation.options import Process
from vellum_nb.models import VellumVariable, WorkflowInput

__all__ = ["ProcessCode", "ProcessExecution"]

_DESCRIBE_SECONDS = 60.0


class ProcessCode:
    """A workflow of a snapshot; each run is a process, and none of it is imported here."""

    def __init__(
        self,
        snapshot: Snapshot,
        entry: str,
        process: Process,
        *,
        input_variables: tuple[VellumVariable, ...],
        output_variables: tuple[VellumVariable, ...],
        description: str,
    ) -> None:
        self._snapshot = snapshot
        self._entry = entry
        self._process = process
        self.input_variables = input_variables
        self.output_variables = output_variables
        self.description = description

    @classmethod
    def described(cls, snapshot: Snapshot, entry: str, process: Process) -> tuple[str, ProcessCode]:
        """Have a process import the source, and return what it found and where.

        Raises
        ------
        WorkflowGoneError
            When it cannot be imported; the message says why.
        """
        found = _described(snapshot, entry, process)
        code = cls(
            snapshot,
            found["entry"],
            process,
            input_variables=codec.variables_of(found["input_variables"]),
            output_variables=codec.variables_of(found["output_variables"]),
            description=found["description"],
        )
        return found["entry"], code

    def begin(self, inputs: Sequence[WorkflowInput], context: RunContext) -> ProcessExecution:
        """Check the inputs and return the run; nothing has run yet.

        Raises
        ------
        VellumNBError
            Names every input that is missing, unknown, given twice or does not fit.
        """
        check_inputs(inputs, self.input_variables)
        job = _job("run", self._snapshot, self._entry) | codec.run_job(inputs, context)
        return ProcessExecution(
            job, self._process, context, self._teller(context), sdk=self._uses_sdk
        )

    @cached_property
    def _uses_sdk(self) -> bool:
        return self._snapshot.uses_sdk

    def _teller(self, context: RunContext) -> Teller:
        name = self._entry.rpartition(":")[2]
        workflow = definition(variable_id("workflow", self._entry), name)
        return Teller(context.execution_id, context.trace_id, workflow, context.parent)


class ProcessExecution:
    """One run in a process; `cancel` kills it."""

    def __init__(
        self,
        job: Mapping[str, Any],
        process: Process,
        context: RunContext,
        teller: Teller,
        *,
        sdk: bool,
    ) -> None:
        self._job = job
        self._process = process
        self._sdk = sdk
        self._context = context
        self._teller = teller
        self._begun = self._ended = False
        self._open: dict[str, Event] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._child: Child | None = None

    def cancel(self) -> None:
        """Kill the process, whatever it does."""
        with self._lock:
            self._stopped.set()
            if self._child is not None:
                self._child.kill()

    def events(self) -> Iterator[Event]:
        """Run the process and tell what it tells; a crash is a rejection."""
        try:
            child = self._start()
        except OSError as exc:
            message = f"No process could be started for the run: {exc}"
            yield from self._rejected(Rejection("INTERNAL_ERROR", message))
            return
        if child is None:
            yield from self._rejected(_CANCELLED)
            return
        try:
            why = yield from self._told(child)
        finally:
            ending = child.end()
        if not self._ended:
            yield from self._rejected(why or self._crash(ending))

    def _told(self, child: Child) -> Generator[Event, None, Rejection | None]:
        for line in child.lines():
            message = _message(line)
            if "event" not in message:
                return _why(message)
            event = self._heard(message["event"])
            self._ended = event.ends
            yield event
            if event.ends:
                break
        return None

    def _start(self) -> Child | None:
        if self._stopped.is_set():
            return None
        child = Child(self._job, self._process, sdk=self._sdk)
        with self._lock:
            self._child = child
            if self._stopped.is_set():  # meanwhile, when there was nothing to kill yet
                child.kill()
        return child

    def _heard(self, event: Event) -> Event:
        """Keep in mind what an event begins and ends, and add what the process cannot know."""
        self._begun = True
        if event.name == NODE_INITIATED:
            self._open[event.span_id] = event
        elif event.name in {NODE_FULFILLED, NODE_REJECTED}:
            self._open.pop(event.span_id, None)
        if event.name == NODE_FULFILLED and event.kind == "PROMPT":
            return replace(event, usage=event.usage or self._context.usage(event.span_id))
        return self._with_limit(event) if event.name.endswith(".rejected") else event

    def _with_limit(self, event: Event) -> Event:
        """Say what the limit was in a rejection for want of memory."""
        limit, error = self._process.memory_limit, event.body["error"]
        told = f"{error['message']}{event.body.get('stacktrace')}"
        if limit is None or "MemoryError" not in told:
            return event
        reason = error["message"] or "MemoryError"
        message = f"The run needed more than its memory_limit of {limit:,} bytes ({reason})"
        return replace(event, body={**event.body, "error": {**error, "message": message}})

    def _rejected(self, why: Rejection) -> Iterator[Event]:
        if not self._begun:
            inputs = [WorkflowInput.model_validate(given) for given in self._job["inputs"]]
            yield self._teller.initiated(values_of(inputs))
        for event in reversed(self._open.values()):
            yield self._with_limit(NodeTeller.of(event).rejected(why))
        yield self._with_limit(self._teller.rejected(why))

    def _crash(self, ending: Ending) -> Rejection:
        if self._stopped.is_set():
            return _CANCELLED
        limit = self._process.memory_limit
        hint = "" if limit is None else f" (its memory_limit is {limit:,} bytes)"
        message = f"The process of the run {ending.told} before the run was over{hint}"
        return Rejection("NODE_EXECUTION", message, ending.said or None)


_CANCELLED = Rejection("WORKFLOW_CANCELLED", "The run was cancelled")


def _described(snapshot: Snapshot, entry: str, process: Process) -> dict[str, Any]:
    child = Child(_job("describe", snapshot, entry), process, sdk=snapshot.uses_sdk)
    timer = threading.Timer(_DESCRIBE_SECONDS, child.kill)
    timer.start()
    found: dict[str, Any] = {}
    try:
        found = next((_message(line) for line in child.lines()), {})
    finally:
        late = not timer.is_alive()
        timer.cancel()
        timer.join()
        ending = child.end()
    if "entry" in found:
        return found
    reason = found.get("gone") or found.get("refused") or found.get("broken")
    if late:
        reason = f"it took longer than {_DESCRIBE_SECONDS:g} seconds to import"
    said = f": {ending.said}" if ending.said else ""
    raise WorkflowGoneError(reason or f"the process that imported it {ending.told}{said}")


def _job(what: str, snapshot: Snapshot, entry: str) -> dict[str, Any]:
    return {"do": what, "folder": str(snapshot.folder), "entry": entry}


def _message(line: bytes) -> dict[str, Any]:
    try:
        message: dict[str, Any] = dict(json.loads(line))
        if "event" in message:
            message["event"] = codec.event_of(message["event"])
    except (ValueError, KeyError, TypeError):
        return {"broken": "it wrote what is no event where events are told"}
    return message


def _why(message: Mapping[str, Any]) -> Rejection:
    """Return why a process could not run its job."""
    if "refused" in message:
        return Rejection("INVALID_INPUTS", message["refused"])
    if "gone" in message:
        text = f"The code of this release is not loaded: {message['gone']}"
        return Rejection("INVALID_WORKFLOW", f"{text}. Deploy it again to run it.")
    reason = message.get("broken", "it told nothing that is known")
    return Rejection("NODE_EXECUTION", f"The process of the run failed: {reason}")
