"""Runs that you follow: `RunStream` event by event, `PendingRun` on the server alone."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from functools import cache, partial
from html import escape
from types import MappingProxyType
from typing import Self

from vellum_nb.errors import (
    APIError,
    APIStatusError,
    HistoryError,
    InputError,
    NotFoundError,
    VellumNBError,
)
from vellum_nb.escaping import printed
from vellum_nb.history import Sweeps
from vellum_nb.models import Run, RunRequest, WorkflowStreamEvent
from vellum_nb.workspace.lookup import NoLookupError, ended, run_fields
from vellum_nb.workspace.runner import (
    META,
    Inputs,
    Runner,
    StreamAccumulator,
    options_of,
)

_EVENT_TYPES = ("WORKFLOW", "NODE")


class RunStream:
    """The events of one run, as they arrive; made by `Workspace.stream`.

    Iterate over it once. Leaving the loop, `close`, or the end of a ``with`` block closes the
    connection: the run is then recorded as CANCELLED with what had come. If the connection is lost
    midway, the loop raises, and the run is recorded as FAILED with what had come. Both are in
    doubt: the server may have ended the execution, and ``ws.sync(deployment)`` or
    `Workspace.resume_pending` records how.

    Attributes
    ----------
    run : Run
        The run as recorded: STARTED until the stream has ended.

    Examples
    --------
    >>> import vellum_nb as vnb
    >>> ws = vnb.connect("local", history=":memory:")
    >>> with ws.stream("ticket-triage", {"ticket": "I was charged twice"}) as stream:
    ...     deltas = [event.delta for event in stream if event.delta]
    >>> stream.run.state
    'FULFILLED'
    """

    _over = True  # until the stream is open, there is nothing to end

    def __init__(
        self,
        runner: Runner,
        request: RunRequest,
        *,
        event_types: Sequence[str] = ("WORKFLOW",),
        expand_meta: bool = False,
    ) -> None:
        types = {event_types} if isinstance(event_types, str) else set(event_types or ())
        if not types or types - set(_EVENT_TYPES):
            there_are = " and ".join(_EVENT_TYPES)
            msg = f"event_types={event_types!r}: there are {there_are}; nothing was sent"
            raise InputError(msg)
        self._types = types | ({"NODE"} if expand_meta else set())
        self._runner = runner
        self._closed = False
        self._lock = threading.RLock()

        def send(run: Run, inputs: Inputs) -> None:
            self.run = run
            self._so_far = StreamAccumulator(run)
            try:
                sent = runner.upload(run, inputs)
                self._events = runner.client.execute_workflow_stream(
                    sent,
                    **options_of(run),
                    event_types=sorted(self._types | {"WORKFLOW"}),  # whose last one ends the run
                    expand_meta=META if expand_meta else None,
                )
            except APIError as exc:
                runner.fail(run, exc)
                raise
            self._over = False

        runner.begin(request, send)

    @property
    def execution_id(self) -> str | None:
        """Vellum's id of the execution; known from the first event on."""
        return self.run.execution_id

    @property
    def texts(self) -> Mapping[str, str]:
        """Output name to the text that has come so far."""
        return MappingProxyType(self._so_far.texts)

    def close(self) -> None:
        """Close the connection at once, from any thread.

        A run that has not ended is recorded as CANCELLED, in doubt.
        """
        self._closed = True
        self._events.close()
        self._end()

    def __iter__(self) -> Iterator[WorkflowStreamEvent]:
        try:
            for event in self._events:
                self._so_far.take(event)
                self.run = self._runner.set_execution_id(self.run, event.execution_id)
                if self._so_far.end is not None:
                    self._end()
                if event.type in self._types:
                    yield event
        except APIError as exc:
            if not self._closed:  # or else another thread hung up
                self._end(exc)
                raise
        finally:
            self.close()

    def _end(self, exc: APIError | None = None) -> None:
        """Record how the run ended; only the first call does."""
        with self._lock:
            if self._over:
                return
            so_far = self._so_far
            try:
                if exc is not None and so_far.end is None:
                    self.run = self._runner.fail(self.run, exc, so_far=so_far)
                else:
                    end = so_far.end or self._runner.cancelled(self.run)
                    self.run = self._runner.finish(self.run, {**so_far.fields(), **end})
            except HistoryError:
                self._over = True
                raise
            self._over = True  # not before: an interrupt leaves it to the next call

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._over and not sys.is_finalizing():
            with suppress(VellumNBError):
                self.close()

    @printed
    def __repr__(self) -> str:
        run = self.run
        return f"<RunStream {run.deployment} {run.release_tag}: {run.state}>"

    @printed
    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self)[1:-1])}</p>"


_GROWTH = 1.5
_LONGEST_S = 30.0
_SHORTEST_S = 0.01
_UNKNOWN_FOR_S = 20.0  # Vellum may know an execution a little later than it has said its id


class PendingRun:
    """A submitted run; made by `Workspace.submit` and `Workspace.resume_pending`.

    Its row in the history stays as it is, STARTED for a run that was just submitted, until its end
    is recorded: by `status`, `wait`, `Workspace.sync`, or `Workspace.resume_pending` in a later
    kernel.

    Attributes
    ----------
    execution_id : str
        Vellum's.
    run : Run
        The run as recorded; `Run.in_doubt` until its end was seen.

    Examples
    --------
    >>> import vellum_nb as vnb
    >>> ws = vnb.connect("local", history=":memory:")
    >>> pending = ws.submit("ticket-triage", {"ticket": "I was charged twice"})
    >>> pending.wait().state
    'FULFILLED'
    """

    def __init__(self, runner: Runner, run: Run) -> None:
        self.run = run
        self.execution_id = str(run.execution_id)
        self._runner = runner
        self._since = time.monotonic()
        self._status: str = run.state
        self._lock = threading.RLock()
        self._stop = threading.Event()

    def status(self) -> str:
        """Poll the execution, and complete the row when it has ended.

        Returns
        -------
        str
            The server's word: PENDING, INITIATED, STREAMING, FULFILLED or REJECTED. The run of an
            execution that was cut off (REJECTED, ``WORKFLOW_CANCELLED``) is CANCELLED.

        Raises
        ------
        NotFoundError
            The server knows no such execution. On errors the row stays as it is.
        """
        if not self.run.in_doubt:
            return self._status
        reply = self._runner.client.workflow_execution_status(self.execution_id)
        if not reply.ended:
            return reply.status
        how = ended(reply.status, (), reply.error)
        if reply.outputs or reply.status == "FULFILLED":
            how["outputs"] = dict(reply.outputs or {})
        with suppress(APIError):  # an execution has ended without types, times and cost, too
            detail = self._runner.client.retrieve_workflow_execution_detail(self.execution_id)
            if detail.status == reply.status:
                how |= {name: value for name, value in run_fields(detail).items() if value}
        with self._lock:
            if self.run.in_doubt:
                self.run = self._runner.finish(self.run, how)
                self._status = reply.status
        return reply.status

    def wait(self, timeout: float | None = None, *, poll: float = 0.5) -> Run:
        """Wait until it has ended, and return the run.

        It has not ended when `timeout` seconds are over, after `cancel_waiting`, and after an
        `APIError`: wait again, or resume it later. `poll`: the seconds between the first two
        questions, which grow by half each time, up to 30 s.
        """
        stop, pause = self._stop, max(poll, _SHORTEST_S)
        until = float("inf") if timeout is None else time.monotonic() + timeout
        while not stop.is_set():
            try:
                self.status()
            except NotFoundError:
                if time.monotonic() - self._since > _UNKNOWN_FOR_S:
                    raise
            left = until - time.monotonic()
            if not self.run.in_doubt or left <= 0:
                break
            stop.wait(min(pause, left))
            pause = min(pause * _GROWTH, max(_LONGEST_S, pause))
        return self.run

    def cancel_waiting(self) -> None:
        """End every `wait` that is under way; the execution itself goes on."""
        stop, self._stop = self._stop, threading.Event()
        stop.set()

    @printed
    def __repr__(self) -> str:
        run = self.run
        return f"<PendingRun {run.deployment} {run.release_tag}: {run.state} {self.execution_id}>"

    @printed
    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self)[1:-1])}</p>"


def submit(runner: Runner, request: RunRequest) -> PendingRun:
    """Submit `request`; the server executes it in the background."""

    def send(run: Run, inputs: Inputs) -> PendingRun:
        try:
            sent = runner.upload(run, inputs)
            reply = runner.client.execute_workflow_async(sent, **options_of(run))
        except APIError as exc:
            runner.fail(run, exc)
            raise
        runner.leave(run)
        return PendingRun(runner, runner.set_execution_id(run, reply.execution_id))

    return runner.begin(request, send)


_LOOKUPS = 8  # at once
_ELSEWHERE = frozenset({400, 404, 421})  # an id of another kind, unknown, of another workspace


def resume_pending(runner: Runner) -> list[PendingRun]:
    """Return the runs in doubt whose execution the server knows; complete those that have ended."""
    here = None
    with suppress(APIStatusError):  # this key may not know
        here = runner.client.environment_identity().name
    sweeps = Sweeps(runner.history)
    held, ids = sweeps.held(), sweeps.ids_in_doubt()
    runs = [
        run
        for run in runner.history.runs(ids=ids, skip_damaged=True)
        if (None in {here, run.environment} or run.environment == here)
        and not runner.is_driven(run, held)
    ]
    resumed = partial(_resumed, runner, cache(runner.lookup.deployment_id))
    with ThreadPoolExecutor(_LOOKUPS) as pool:
        return [pending for pending in pool.map(resumed, runs) if pending is not None]


def _resumed(
    runner: Runner, deployment_id: Callable[[str], str | None], run: Run
) -> PendingRun | None:
    """Return a run in doubt as a pending run; None if the server does not know its execution."""
    pending = PendingRun(runner, run)
    try:
        if run.execution_id is not None and _is_known(pending):
            return pending
        run = runner.look_up_once(deployment_id(run.deployment), run)
    except APIStatusError as exc:
        if exc.status_code not in _ELSEWHERE:
            raise
    except NoLookupError:
        pass
    return None if run == pending.run else PendingRun(runner, run)


def _is_known(pending: PendingRun) -> bool:
    """Poll a pending run; return whether the server knows its execution id."""
    try:
        pending.status()
    except APIStatusError as exc:
        if exc.status_code not in _ELSEWHERE:
            raise
        return False
    except InputError:  # the id cannot be part of an address
        return False
    return True
