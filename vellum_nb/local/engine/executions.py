"""Executions of a running server: checked, queued, recorded, run in a thread each, and ended."""

from __future__ import annotations

import asyncio
import threading
import time
import weakref
from collections import deque
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from vellum_nb.local.deployments.sources import CodeUnavailableError
from vellum_nb.local.engine.events import (
    NODE_FULFILLED,
    NODE_INITIATED,
    NODE_REJECTED,
    WORKFLOW_FULFILLED,
    WORKFLOW_STREAMING,
    Event,
    Execution,
    Rejection,
    RunContext,
    code_definition,
    describe_exception,
    event_error,
    initiated,
    not_loaded,
    values_by_name,
)
from vellum_nb.local.engine.inputs import ExecutionWithUploads, resolve_uploads
from vellum_nb.local.engine.requests import ExecutionRequest, release_context
from vellum_nb.local.ledger import EventLog, ExecutionRecord, Ledger
from vellum_nb.local.refusals import Refused
from vellum_nb.models import WorkflowEventError

RETRY_AFTER = 1
"""Seconds to wait after a request was refused because of the load."""
_MOST_BYTES = 128 * 1024 * 1024  # of the events of one run, as JSON
_BATCH = 100  # events that a reader gets at once


@dataclass(frozen=True, slots=True)
class Limits:
    """Limits of a server; see `LocalServer`."""

    timeout: float | None = None
    concurrency: int = 64
    queue: int = 256
    grace: float = 0.2
    body_limit: int = 32 * 1024 * 1024
    request_timeout: float = 10.0


@dataclass(eq=False, repr=False)
class LiveExecution:
    """An execution from its request to its end, in its own thread.

    The thread publishes events, which the event loop reads. The first end event or rejection ends
    it; later events are dropped. The thread first calls `prepare`, which checks the request and
    returns the run. An `inner` one is part of another execution, which waits for it.
    """

    record: ExecutionRecord
    _ledger: Ledger
    _prepare: Callable[[], Execution]
    _on_end: Callable[[LiveExecution], None]
    _parent: Mapping[str, Any] | None
    inner: bool

    def __post_init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._changed = asyncio.Event()  # set for a moment whenever something happens
        self._events: list[Event] = []
        self._log = EventLog()
        self._inner_ids: dict[str, list[str]] = {}  # what runs inside of its nodes, by span
        self._execution: Execution | None = None
        self._turn = threading.Event()
        self._clock: asyncio.TimerHandle | None = None
        self._lock = threading.RLock()
        self._recorded = self._ending = self._over = False
        self._refusal: Exception | None = None

    def run(self) -> None:
        """Prepare, wait for the turn, run; in its thread."""
        try:
            self._execution = self._prepare()
            self._begin()
        except Rejection as why:
            self._reject(why)
        except BaseException as exc:  # noqa: BLE001 - raised again for those who wait
            if self._claim_end():  # not recorded
                self._close(exc)
        else:
            self._post(self._wake)
            self._turn.wait()
            if not self._ending:
                self._reject(self._run_code(self._execution))

    def _run_code(self, execution: Execution) -> Rejection:
        """Publish the events of the code; return a rejection for a run without an end event."""
        try:
            if self.record.status == "PENDING":
                with self._lock:
                    if not self._ending:
                        self.record = replace(self.record, status="INITIATED")
                self._ledger.update(self.record)
            for event in execution.events():
                self._publish(event)
        except Rejection as why:
            return why
        except BaseException as exc:  # noqa: BLE001 - rejects only this run
            message = f"The code of the run failed: {describe_exception(exc)}"
            return Rejection(message, "INTERNAL_ERROR")
        return Rejection("The code ended without an outcome", "INTERNAL_ERROR")

    def _begin(self) -> None:
        """Record it once; can be called from any thread."""
        with self._lock:
            if not self._recorded:
                self._ledger.begin(self.record)
                self._recorded = True

    def _claim_end(self) -> bool:
        """Return True to the first caller, which then ends it."""
        with self._lock:
            is_first, self._ending = not self._ending, True
        return is_first

    def _post(self, function: Callable[[], None]) -> None:
        with suppress(RuntimeError):  # the server stopped and the loop is closed
            self._loop.call_soon_threadsafe(function)

    def start(self, timeout: float | None) -> None:
        """Start the run with a time limit; call it on the event loop."""
        if timeout is not None:
            why = f"The run took longer than {timeout:g} seconds"
            self._clock = self._loop.call_later(timeout, self.cancel, why, "WORKFLOW_TIMEOUT")
        self._turn.set()

    def cancel(self, message: str, code: str = "WORKFLOW_CANCELLED") -> asyncio.Future[None]:
        """Reject it, unless it has ended, in a thread to not block the event loop."""
        rejection = Rejection(message, code)
        try:
            return self._loop.run_in_executor(None, self._reject, rejection)
        except RuntimeError:  # the interpreter is ending and starts no threads
            self._reject(rejection)
            done = self._loop.create_future()
            done.set_result(None)
            return done

    def add_inner(self, span_id: str, execution_id: str) -> None:
        """Record that the node with this span runs another execution."""
        self._inner_ids.setdefault(span_id, []).append(execution_id)

    def so_far(self) -> Sequence[Event]:
        """Return the events so far; can be called from any thread."""
        return tuple(self._events)

    async def batches(self) -> AsyncIterator[Sequence[Event]]:
        """Yield all events, in batches."""
        seen = 0

        def is_news() -> bool:
            return len(self._events) > seen or self._over

        while True:
            await self._until(is_news)
            batch = self._events[seen : seen + _BATCH]
            if not batch:
                return
            seen += len(batch)
            yield batch

    async def recorded(self) -> None:
        """Wait until it is recorded; raise if it is refused."""
        await self._until(lambda: self._recorded or self._over)
        if self._refusal is not None:
            raise self._refusal

    async def ended(self) -> None:
        """Wait for the end."""
        await self._until(lambda: self._over)

    async def result(self) -> ExecutionRecord:
        """Wait for the end and return the record; raise if it is refused."""
        await self.ended()
        await self.recorded()
        return self.record

    async def _until(self, condition: Callable[[], bool]) -> None:
        while not condition():
            await self._changed.wait()

    def _wake(self) -> None:
        self._changed.set()
        self._changed.clear()

    def _publish(self, event: Event) -> None:
        if event.ends:
            if self._claim_end():
                self._end([event])
            return
        with self._lock:
            if self._ending:
                return
            event = self._with_inner_ids(event)
            self._events.append(event)
            self._log.add(event)
            if event.name == WORKFLOW_STREAMING and self.record.status != "STREAMING":
                self.record = replace(self.record, status="STREAMING")
        self._post(self._wake)
        if self._log.size > _MOST_BYTES:
            msg = f"The events of the run have more than {_MOST_BYTES:,} bytes; stream less text"
            self._reject(Rejection(msg, "NODE_EXECUTION"))

    def _reject(self, why: Rejection) -> None:
        if self._claim_end():
            self._turn.set()
            if self._execution is not None:
                self._execution.cancel()
            self._end(self._closing_events(why))

    def _end(self, events: Sequence[Event]) -> None:
        try:
            self._begin()
            for event in events:
                self._log.add(event)
            record = _ended(self.record, [*self._events, *events])
            self._ledger.finish(record, self._log)
        except BaseException as exc:  # noqa: BLE001 - raised for those who wait
            if not self._recorded:
                self._close(exc)
                return
            why = f"Its end could not be recorded: {describe_exception(exc)}"
            events = self._closing_events(Rejection(why, "INTERNAL_ERROR"))
            record = _ended(self.record, [*self._events, *events])
            with suppress(Exception):  # an event could be the reason of the failure
                self._ledger.finish(record, EventLog(events))
        self._close(record, events)

    def _close(
        self, outcome: ExecutionRecord | BaseException, events: Sequence[Event] = ()
    ) -> None:
        with self._lock:
            self._events += events
            if isinstance(outcome, ExecutionRecord):
                self.record = outcome
            elif isinstance(outcome, Refused):
                self._refusal = outcome
            else:  # raised by the code, such as a validator of an input
                msg = f"The code could not be prepared to run: {describe_exception(outcome)}"
                self._refusal = Refused(400, msg)
            self._over = True
        self._post(self._finish)

    def _finish(self) -> None:
        if self._clock is not None:
            self._clock.cancel()
        self._wake()
        self._on_end(self)

    def _with_inner_ids(self, event: Event) -> Event:
        inner = self._inner_ids.get(event.span_id)
        if not inner or event.name not in {NODE_FULFILLED, NODE_REJECTED}:
            return event
        return replace(event, execution_ids=event.execution_ids or tuple(inner))

    def _closing_events(self, why: Rejection) -> list[Event]:
        """Return the missing end events of it and its open nodes."""
        record, past = self.record, self._events
        first = []
        if not past:
            code = code_definition(record.version_id, record.deployment_name)
            context = RunContext(record.execution_id, record.trace_id, self._parent)
            first = [initiated(context, code, values_by_name(record.inputs))]
        is_cut_off = why.code in {"WORKFLOW_CANCELLED", "WORKFLOW_TIMEOUT"}
        cause = Rejection(why.message, "NODE_CANCELLED") if is_cut_off else why
        nodes = [event.rejected(cause) for event in _open_nodes(past)]
        return [*first, *map(self._with_inner_ids, nodes), [*past, *first][0].rejected(why)]


@dataclass(eq=False, repr=False)
class Executions:
    """Executions of a running server. Except for `join`, use it on the event loop only."""

    _ledger: Ledger
    _limits: Limits
    _new_context: Callable[..., RunContext] = RunContext

    def __post_init__(self) -> None:
        self._live: dict[str, LiveExecution] = {}
        self._waiting: deque[LiveExecution] = deque()
        self._running = 0
        self._closed = False
        self._threads: weakref.WeakSet[threading.Thread] = weakref.WeakSet()

    async def begin(self, request: ExecutionRequest) -> LiveExecution:
        """Start an execution and wait until it is recorded."""
        live = self.start(request)
        await live.recorded()
        return live

    def start(self, request: ExecutionRequest) -> LiveExecution:
        """Start an execution; its `result` raises if it is refused."""
        record, outer = request.record, None
        context = record.parent
        while context is not None and outer is None:  # the outer execution, if a node sent it
            outer = self._live.get(context["span_id"])
            context = context.get("parent")
        parent = release_context(record)
        prepare = partial(self._prepare, request, parent)
        live = self.submit(record, prepare, parent, inner=outer is not None)
        if outer is not None and record.parent is not None:
            outer.add_inner(record.parent["span_id"], record.execution_id)
        return live

    def live(self, execution_id: str) -> LiveExecution | None:
        """Return an execution that has not ended."""
        return self._live.get(execution_id)

    def has_room(self, *, inner: bool = False) -> bool:
        """Return whether a new execution, or an inner one of another, could run at once."""
        if self._closed:
            raise Refused(503, "The local server is stopping")
        if inner or self._running < self._limits.concurrency:
            return True
        if len(self._waiting) < self._limits.queue:
            return False
        most = self._limits.concurrency + self._limits.queue
        msg = f"{most} executions run or wait already; try again later"
        raise Refused(429, msg, retry_after=RETRY_AFTER)

    def submit(
        self,
        record: ExecutionRecord,
        prepare: Callable[[], Execution],
        parent: Mapping[str, Any] | None = None,
        *,
        inner: bool = False,
    ) -> LiveExecution:
        """Run or queue an execution; see `LiveExecution`."""
        at_once = self.has_room(inner=inner)
        record = record if at_once else replace(record, status="PENDING")
        live = LiveExecution(record, self._ledger, prepare, self._ended, parent, inner)
        thread = threading.Thread(target=live.run, name="vellum_nb-run", daemon=True)
        try:
            thread.start()
        except RuntimeError as exc:
            msg = "This machine starts no more threads now; try again later"
            raise Refused(429, msg, retry_after=RETRY_AFTER) from exc
        self._threads.add(thread)
        self._live[record.execution_id] = live
        if at_once:
            self._start(live)
        else:
            self._waiting.append(live)
        return live

    async def close(self, message: str) -> None:
        """Wait for runs within the grace period, then reject the others."""
        self._closed = True
        with suppress(TimeoutError):
            async with asyncio.timeout(self._limits.grace):
                for live in list(self._live.values()):
                    await live.ended()
        self._waiting.clear()  # do not start them while others are cancelled
        await asyncio.gather(*(live.cancel(message) for live in list(self._live.values())))

    def join(self, seconds: float) -> None:
        """Wait at most `seconds` for the threads of all runs; can be called from any thread."""
        until = time.monotonic() + seconds
        for thread in list(self._threads):
            if thread is not threading.current_thread():
                thread.join(max(0.0, until - time.monotonic()))

    def _start(self, live: LiveExecution) -> None:
        self._running += not live.inner
        live.start(self._limits.timeout)

    def _ended(self, live: LiveExecution) -> None:
        self._live.pop(live.record.execution_id, None)
        if live in self._waiting:
            self._waiting.remove(live)
        elif not live.inner:
            self._running -= 1
            if self._waiting:
                self._start(self._waiting.popleft())

    def _prepare(self, request: ExecutionRequest, parent: Mapping[str, Any]) -> Execution:
        """Check the request and return the run; called in its thread."""
        record = request.record
        previous = self._ledger.record(record.previous_execution_id or "")
        context = self._new_context(
            execution_id=record.execution_id,
            trace_id=record.trace_id,
            parent=parent,
            state=previous and previous.state,
            trigger=request.trigger,
            mocks=request.mocks,
        )
        inputs, addresses = resolve_uploads(record.inputs, self._ledger)
        try:
            execution = request.release.workflow().begin(inputs, context)
        except CodeUnavailableError as exc:
            raise not_loaded(exc) from exc
        return ExecutionWithUploads(execution, addresses) if addresses else execution


def _ended(record: ExecutionRecord, events: Sequence[Event]) -> ExecutionRecord:
    last = events[-1]
    usage = tuple(used for event in events for used in event.usage)
    record = replace(record, end=last.timestamp, usage=usage)
    if last.name == WORKFLOW_FULFILLED:
        state = last.body.get("final_state")
        return replace(record, status="FULFILLED", outputs=last.outputs, state=state)
    return replace(record, status="REJECTED", error=WorkflowEventError(**event_error(last)))


def _open_nodes(events: Sequence[Event]) -> list[Event]:
    """Return the start events of the nodes that have not ended, the innermost first."""
    running: dict[str, Event] = {}
    for event in events:
        if event.name == NODE_INITIATED:
            running[event.span_id] = event
        elif event.name in {NODE_FULFILLED, NODE_REJECTED}:
            running.pop(event.span_id, None)
    return list(reversed(running.values()))
