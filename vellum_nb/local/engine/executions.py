"""Runs executions: queue, thread a run, recording, live events, end."""

from __future__ import annotations

import asyncio
import functools
import threading
import time
import uuid
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from vellum_nb.local.deployments.loading import CodeUnavailableError
from vellum_nb.local.deployments.registry import Registry
from vellum_nb.local.engine.code import Execution, RunContext
from vellum_nb.local.engine.events import (
    NODE_FULFILLED,
    NODE_INITIATED,
    NODE_REJECTED,
    WORKFLOW_FULFILLED,
    WORKFLOW_STREAMING,
    Event,
    EventBuilder,
    NodeEventBuilder,
    Rejection,
    Usage,
    code_definition,
    describe_exception,
    event_error,
    values_by_name,
)
from vellum_nb.local.engine.inputs import Addressing, resolve_uploads, uploaded_contents
from vellum_nb.local.engine.requests import ExecutionRequest, release_context
from vellum_nb.local.ledger.ledger import ExecutionRecord, Ledger
from vellum_nb.local.refusals import Refused
from vellum_nb.models import WorkflowEventError

__all__ = ["Engine", "ExecutionRequest", "Executions", "Job", "LiveExecution", "ended", "stopped"]


def stopped(events: Sequence[Event], why: Rejection) -> list[Event]:
    """Return the ends of the nodes that have none."""
    running: dict[str, Event] = {}
    for event in events:
        if event.name == NODE_INITIATED:
            running[event.span_id] = event
        elif event.name in {NODE_FULFILLED, NODE_REJECTED}:
            running.pop(event.span_id, None)
    cancelled = replace(why, code="NODE_CANCELLED")
    return [NodeEventBuilder.of(event).rejected(cancelled) for event in reversed(running.values())]


def ended(record: ExecutionRecord, events: Sequence[Event]) -> ExecutionRecord:
    """Return an execution as it is after `events`, the last of which ended it."""
    last = events[-1]
    usage = tuple(used for event in events for used in event.usage)
    if last.name == WORKFLOW_FULFILLED:
        return replace(
            record,
            status="FULFILLED",
            end=last.timestamp,
            outputs=last.outputs,
            state=last.body.get("final_state"),
            usage=usage,
        )
    error = WorkflowEventError(**event_error(last))
    return replace(record, status="REJECTED", end=last.timestamp, usage=usage, error=error)


class LiveExecution:
    """One execution between its beginning and its end.

    Its thread tells events; the event loop reads them. It ends once: with the last event that is
    told, or with `reject`, whichever is first; what is told afterwards is not heard.

    Parameters
    ----------
    record : ExecutionRecord
        The execution as it begins.
    ledger : Ledger
        Keeps it before it runs, and at its end before anybody hears of the end.
    parent : mapping, optional
        The parent context of its events.
    """

    def __init__(
        self, record: ExecutionRecord, ledger: Ledger, *, parent: Mapping[str, Any] | None = None
    ) -> None:
        self.record = record
        self.stop: Callable[[], None] = _nothing
        self._ledger = ledger
        self._parent = parent
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[ExecutionRecord] = self._loop.create_future()
        self._lock = threading.Lock()
        self._events: list[Event] = []
        self._readers: list[asyncio.Future[None]] = []
        self._inside: dict[str, list[str]] = {}
        self._kept = False
        self._ending = False
        self._over = False
        self._refusal: BaseException | None = None

    def keep(self) -> None:
        """Keep it, unless it has ended already; from its thread."""
        with self._lock:
            if not self._ending:
                self._ledger.begin(self.record)
                self._kept = True
                self._wake_readers()

    def refuse(self, why: BaseException) -> None:
        """End it before it was kept, as if it had never been; from its thread."""
        with self._lock:
            if self._ending:
                return
            self._ending = True
        self._close([], why)

    def turn(self) -> None:
        """Note that its turn has come; from its thread."""
        with self._lock:
            if not self._ending:
                self.record = replace(self.record, status="INITIATED")
                self._ledger.update(self.record)

    def has_inside(self, span_id: str, execution_id: str) -> None:
        """Note that one of its nodes, with this span, runs another execution."""
        with self._lock:
            self._inside.setdefault(span_id, []).append(execution_id)

    def tell(self, event: Event) -> None:
        """Add what happened; from its thread."""
        with self._lock:
            if self._ending:
                return
            if not event.ends:
                self._add([self._with_inside(event)])
                return
            self._ending = True
        self._end([event])

    def reject(self, code: str, message: str) -> None:
        """End it, unless it has ended; from any thread."""
        with self._lock:
            if self._ending:
                return
            self._ending = True
        self.stop()
        self._end(self._cut(Rejection(code, message)))

    def cancel(self, message: str) -> None:
        """End it as cancelled."""
        self.reject("WORKFLOW_CANCELLED", message)

    def so_far(self) -> Sequence[Event]:
        """Return what has happened so far; from any thread."""
        with self._lock:
            return tuple(self._events)

    async def events(self) -> AsyncIterator[Event]:
        """Give every event from the first to the last, as it comes."""
        async for batch in self.batches():
            for event in batch:
                yield event

    async def batches(self) -> AsyncIterator[Sequence[Event]]:
        """Give every event, those together that are there together."""
        seen = 0
        while batch := await self._after(seen):
            seen += len(batch)
            yield batch

    async def kept(self) -> None:
        """Wait until it is kept.

        Raises
        ------
        VellumNBError
            When it was refused.
        """
        while True:
            with self._lock:
                if self._refusal is not None:
                    raise self._refusal
                if self._kept or self._over:
                    return
                reader = self._reader()
            await reader

    async def result(self) -> ExecutionRecord:
        """Wait for the end.

        Raises
        ------
        VellumNBError
            When it was refused.
        """
        return await asyncio.shield(self.done)

    async def _after(self, seen: int) -> Sequence[Event]:
        while True:
            with self._lock:
                if len(self._events) > seen or self._over:
                    return self._events[seen:]
                reader = self._reader()
            await reader

    def _reader(self) -> asyncio.Future[None]:
        reader: asyncio.Future[None] = self._loop.create_future()
        self._readers.append(reader)
        return reader

    def _with_inside(self, event: Event) -> Event:
        inside = self._inside.get(event.span_id)
        if not inside or event.name not in {NODE_FULFILLED, NODE_REJECTED}:
            return event
        return replace(event, execution_ids=event.execution_ids or tuple(inside))

    def _add(self, events: Sequence[Event]) -> None:
        self._events += events
        if events[-1].name == WORKFLOW_STREAMING and self.record.status != "STREAMING":
            self.record = replace(self.record, status="STREAMING")
        self._wake_readers()

    def _wake_readers(self) -> None:
        if self._readers:
            readers, self._readers = self._readers, []
            self._call(_wake, readers)

    def _end(self, events: Sequence[Event]) -> None:
        """Keep the end, and then tell it."""
        told = [*self._events, *events]
        record = ended(self.record, told)
        try:
            if not self._kept:
                self._ledger.begin(self.record)
            self._ledger.finish(record, told)
        except Refused as exc:
            self._close([], exc)
        except BaseException as exc:  # noqa: BLE001 - those who wait must hear of it
            if self._kept:
                self._close_unkept(exc)
            else:
                self._close([], exc)
        else:
            self._close(events, record)

    def _close_unkept(self, exc: BaseException) -> None:
        why = f"Its end could not be kept: {describe_exception(exc)}"
        events = self._cut(Rejection("INTERNAL_ERROR", why))
        record = ended(self.record, [*self._events, *events])
        with suppress(Exception):  # perhaps it was what had been told that could not be kept
            self._ledger.finish(record, events)
        self._close(events, record)

    def _close(self, events: Sequence[Event], outcome: ExecutionRecord | BaseException) -> None:
        with self._lock:
            self._over = True
            self._events += events
            if isinstance(outcome, ExecutionRecord):
                self.record = outcome
            else:
                self._refusal = outcome
            self._wake_readers()
        self._call(self._finish, outcome)

    def _finish(self, outcome: ExecutionRecord | BaseException) -> None:
        if isinstance(outcome, ExecutionRecord):
            self.done.set_result(outcome)
        else:
            self.done.set_exception(outcome)
            self.done.exception()  # it may be that nobody waits for it

    def _call(self, function: Callable[..., object], argument: object) -> None:
        try:
            self._loop.call_soon_threadsafe(function, argument)
        except RuntimeError:
            return  # the loop is closed: the server stopped, and nobody waits

    def _cut(self, why: Rejection) -> list[Event]:
        """Return the events that end it where its code does not."""
        record, told = self.record, self._events
        ids = record.execution_id, record.trace_id
        if told:
            workflow = told[0].body.get("workflow_definition", {})
            teller = EventBuilder(*ids, workflow, self._parent)
            nodes = [self._with_inside(event) for event in stopped(told, why)]
            return [*nodes, teller.rejected(why)]
        teller = EventBuilder(
            *ids, code_definition(record.version_id, record.deployment_name), self._parent
        )
        return [teller.initiated(values_by_name(record.inputs)), teller.rejected(why)]


def _nothing() -> None:
    pass


def _wake(readers: Sequence[asyncio.Future[None]]) -> None:
    for reader in readers:
        if not reader.done():
            reader.set_result(None)


_RETRY_AFTER = 1


class Engine:
    """Lets flights go: `concurrency` at once, `queue` more wait for their turn.

    It is used on one event loop; only `join` may be called from other threads.

    Parameters
    ----------
    timeout : float or None
        Seconds after which a run is rejected with ``WORKFLOW_TIMEOUT``; None is never. The thread
        of a plain callable goes on to its end, as Python cannot stop it.
    concurrency, queue : int
        How many go at once, and how many more are let in.
    """

    def __init__(self, *, timeout: float | None, concurrency: int = 64, queue: int = 256) -> None:
        self.timeout = timeout
        self._concurrency = concurrency
        self._queue = queue
        self._going = 0
        self._flights: set[Job] = set()
        self._line: deque[Job] = deque()
        self._closed = False
        self._threads: set[threading.Thread] = set()

    def check(self, *, inner: bool = False) -> bool:
        """Return whether a flight that came now could go at once.

        An inner one always can: what it is a part of waits for it, and has had its turn.

        Raises
        ------
        VellumNBError
            When the server is stopping, or the queue is full.
        """
        if self._closed:
            raise Refused(503, "The local server is stopping")
        if inner or self._going < self._concurrency:
            return True
        if len(self._line) < self._queue:
            return False
        most = self._concurrency + self._queue
        msg = f"{most} executions run or wait already; try again later"
        raise Refused(429, msg, retry_after=_RETRY_AFTER)

    def launch(self, flight: Job) -> None:
        """Let a flight go when its turn comes.

        Raises
        ------
        VellumNBError
            As `check` does, or when there is no thread to be had; it does not go then.
        """
        at_once = self.check(inner=flight.inner)
        self._flights.add(flight)
        flight.live.done.add_done_callback(lambda _: self._landed(flight))
        if at_once:
            self._let(flight)
        else:
            self._line.append(flight)
        thread = threading.Thread(
            target=self._fly, args=(flight,), name="vellum_nb-run", daemon=True
        )
        self._threads.add(thread)
        try:
            thread.start()
        except RuntimeError as exc:
            self._threads.discard(thread)
            self._landed(flight)
            msg = "This machine starts no more threads now; try again later"
            raise Refused(503, msg, retry_after=_RETRY_AFTER) from exc

    async def close(self, message: str, *, grace: float) -> None:
        """Let runs end within `grace` seconds, and reject the others."""
        self._closed = True
        waiting = {flight.live.done for flight in self._flights}
        if waiting:
            await asyncio.wait(waiting, timeout=grace)
        for flight in list(self._flights):
            flight.live.reject("WORKFLOW_CANCELLED", message)

    def join(self, seconds: float) -> None:
        """Wait at most `seconds` in all for the threads of runs."""
        until = time.monotonic() + seconds
        for thread in self._threads - {threading.current_thread()}:
            thread.join(max(0.0, until - time.monotonic()))

    def _landed(self, flight: Job) -> None:
        if flight not in self._flights:
            return
        self._flights.discard(flight)
        flight.land()
        if flight in self._line:
            self._line.remove(flight)
        elif not flight.inner:
            self._going -= 1
            if self._line:
                self._let(self._line.popleft())

    def _let(self, flight: Job) -> None:
        self._going += not flight.inner
        flight.go(self.timeout)

    def _fly(self, flight: Job) -> None:
        try:
            flight.run()
        finally:
            self._threads.discard(threading.current_thread())


class Job:
    """One run on its way, in a thread of its own.

    Parameters
    ----------
    live : LiveExecution
        Where it tells what happens.
    board : callable
        Called in the thread at once: checks all that can be refused, and returns the run.
    inner : bool
        Whether it is a part of another one that is on its way.
    """

    def __init__(
        self, live: LiveExecution, board: Callable[[], Execution], *, inner: bool = False
    ) -> None:
        self.live = live
        self.inner = inner
        self._board = board
        self._turn = threading.Event()
        self._execution: Execution | None = None
        self._stopped = False
        self._clock: asyncio.TimerHandle | None = None
        live.stop = self.stop

    def go(self, limit: float | None) -> None:
        """Let it run, for at most `limit` seconds; on the event loop."""
        if limit is not None:
            why = "WORKFLOW_TIMEOUT", f"The run took longer than {limit:g} seconds"
            loop = asyncio.get_running_loop()
            self._clock = loop.call_later(limit, self.live.reject, *why)
        self._turn.set()

    def land(self) -> None:
        """Stop its clock, and let go of it; on the event loop."""
        if self._clock is not None:
            self._clock.cancel()
        self.live.stop = _nothing

    def stop(self) -> None:
        """End the code where that can be done; from any thread."""
        self._stopped = True
        self._turn.set()
        if self._execution is not None:
            self._execution.cancel()

    def run(self) -> None:
        """Board, wait for its turn, run; in its thread."""
        try:
            self._execution = self._board()
            self.live.keep()
        except BaseException as exc:  # noqa: BLE001 - it is raised again where it is waited for
            self.live.refuse(_raisable(exc))
            return
        self._turn.wait()
        if self._stopped:
            return
        self._tell(self._execution)

    def _tell(self, execution: Execution) -> None:
        try:
            if self.live.record.status == "PENDING":
                self.live.turn()
            for event in execution.events():
                self.live.tell(event)
        except BaseException as exc:  # noqa: BLE001 - whatever happens here rejects this run alone
            why = f"The code of the run failed: {describe_exception(exc)}"
        else:
            why = "The code ended without an outcome"
        self.live.reject("INTERNAL_ERROR", why)  # not heard when it has ended


def _raisable(exc: BaseException) -> Exception:
    """Return `exc` as something that may be raised on an event loop without ending it."""
    if isinstance(exc, Exception) and not isinstance(exc, StopIteration):
        return exc
    return Refused(500, f"The code could not be made ready to run: {describe_exception(exc)}")


class Executions:
    """The executions of a running server; on its event loop.

    Parameters
    ----------
    engine, ledger, registry
        What runs them, what keeps them, and what used external ids before there was a ledger.
    url, api_key : str
        This server, for nodes that call Vellum.
    usage : callable
        Node span id to what the models that it called used.
    """

    def __init__(
        self,
        engine: Engine,
        ledger: Ledger,
        registry: Registry,
        *,
        url: str = "",
        api_key: str = "",
        usage: Callable[[str], tuple[Usage, ...]] = lambda _: (),
    ) -> None:
        self._engine = engine
        self._ledger = ledger
        self._registry = registry
        self._url = url
        self._api_key = api_key
        self._usage = usage
        self._live: dict[str, LiveExecution] = {}

    async def begin(self, order: ExecutionRequest) -> LiveExecution:
        """Begin an execution; it is kept when this returns.

        Raises
        ------
        VellumNBError
            When the inputs do not fit, the external id was used, or there is no room: nothing
            runs then.
        """
        live = self.start(order)
        await live.kept()
        return live

    def start(self, order: ExecutionRequest) -> LiveExecution:
        """Begin an execution that may be refused yet: its result then raises what `begin` does."""
        outer = [live for live in self._live.values() if live.record.trace_id == order.trace_id]
        inner = bool(outer)
        at_once = self._engine.check(inner=inner)
        record = _record(order, "INITIATED" if at_once else "PENDING")
        parent = release_context(record)
        live = LiveExecution(record, self._ledger, parent=parent)
        board = functools.partial(self._board, order, record, parent)
        self._engine.launch(Job(live, board, inner=inner))
        self._live[record.execution_id] = live
        live.done.add_done_callback(lambda _: self._live.pop(record.execution_id))
        if order.parent is not None:
            for each in outer:
                each.has_inside(order.parent["span_id"], record.execution_id)
        return live

    def live(self, execution_id: str) -> LiveExecution | None:
        """Return an execution that has not ended."""
        return self._live.get(execution_id)

    def record(self, execution_id: str) -> ExecutionRecord | None:
        """Return an execution as it is now."""
        live = self._live.get(execution_id)
        return self._ledger.record(execution_id) if live is None else live.record

    def _board(
        self, order: ExecutionRequest, record: ExecutionRecord, parent: Mapping[str, Any]
    ) -> Execution:
        """Check it and return the run; in the run's thread."""
        previous = order.previous_execution_id
        context = RunContext(
            execution_id=record.execution_id,
            trace_id=order.trace_id,
            parent=parent,
            state=None if previous is None else self._ledger.state(previous),
            timeout=self._engine.timeout,
            url=self._url,
            api_key=self._api_key,
            usage=self._usage,
            trigger=order.trigger,
        )
        try:
            files = uploaded_contents(order.inputs, self._ledger)
            inputs = resolve_uploads(order.inputs, files) if files else order.inputs
            execution: Execution = order.release.workflow().begin(inputs, context)
            if files:
                execution = Addressing(execution, files)
        except CodeUnavailableError as exc:
            execution = _Gone(record, parent, str(exc))
        if order.external_id is not None:
            self._registry.check_external_id(order.external_id)
        return execution


class _Gone:
    """The run of a release whose code is not there any more."""

    def __init__(self, record: ExecutionRecord, parent: Mapping[str, Any], why: str) -> None:
        self._record = record
        self._parent = parent
        self._why = why

    def events(self) -> Iterator[Event]:
        """Tell that it is rejected."""
        record = self._record
        workflow = code_definition(record.version_id, record.deployment_name)
        teller = EventBuilder(record.execution_id, record.trace_id, workflow, self._parent)
        yield teller.initiated(values_by_name(record.inputs))
        message = f"The code of this release is not loaded: {self._why}. Deploy it again to run it."
        yield teller.rejected(Rejection("INVALID_WORKFLOW", message))

    def cancel(self) -> None:
        """Do nothing: it ends at once."""


def _record(order: ExecutionRequest, status: str) -> ExecutionRecord:
    return ExecutionRecord(
        execution_id=str(uuid.uuid4()),
        trace_id=order.trace_id,
        deployment_id=order.deployment.id,
        deployment_name=order.deployment.name,
        release_id=order.release.id,
        version_id=order.release.version_id,
        tag=order.tag.name,
        inputs=order.inputs,
        start=datetime.now(UTC),
        external_id=order.external_id,
        metadata=order.metadata,
        previous_execution_id=order.previous_execution_id,
        status=status,
        parent=order.parent,
    )
