"""`RunStream`, a run as a stream of events, and `PendingRun`, a run in the background."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
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
from vellum_nb.models.checks import check_texts, refuse
from vellum_nb.workspace.lookup import NoLookupError, ended, run_fields
from vellum_nb.workspace.runner import META, Inputs, Runner, StreamAccumulator, options_of

_EVENT_TYPES = ("WORKFLOW", "NODE")


class RunStream:
    """The events of one run, as they arrive. Made by `Workspace.stream`.

    Iterate over it once. Leaving the loop, `close`, or the end of a ``with`` block closes the
    connection and records the run as CANCELLED. If the connection is lost, the loop raises, and the
    run is recorded as FAILED. Both records include the partial answer, and both runs are in doubt,
    since the server can complete the execution: ``ws.sync(deployment)`` or
    `Workspace.resume_pending` records its outcome.

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

    _over = True  # until the stream is open

    def __init__(
        self,
        runner: Runner,
        request: RunRequest,
        *,
        event_types: Sequence[str] = ("WORKFLOW",),
        expand_meta: bool = False,
    ) -> None:
        names = [event_types] if isinstance(event_types, str) else event_types
        types = set(check_texts("event_types", names))
        if not types or types - set(_EVENT_TYPES):
            refuse("event_types", event_types, "'WORKFLOW', 'NODE' or both")
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
                    # The last WORKFLOW event ends the run.
                    event_types=sorted(self._types | {"WORKFLOW"}),
                    expand_meta=META if expand_meta else None,
                )
            except APIError as exc:
                runner.fail(run, exc)
                raise
            self._over = False

        runner.begin(request, send)

    @property
    def execution_id(self) -> str | None:
        """Vellum's id of the execution, known after the first event."""
        return self.run.execution_id

    @property
    def texts(self) -> Mapping[str, str]:
        """Partial text by output name."""
        return MappingProxyType(self._so_far.texts)

    def close(self) -> None:
        """Close the connection at once, from any thread.

        An unfinished run is recorded as CANCELLED, in doubt.
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
            if not self._closed:  # by another thread
                self._end(exc)
                raise
        finally:
            self.close()

    def _end(self, exc: APIError | None = None) -> None:
        """Record the outcome of the run, once."""
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
            self._over = True  # after the write: the next call repeats an interrupted one

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


_POLL_GROWTH_FACTOR = 1.5
_LONGEST_S = 30.0
_SHORTEST_S = 0.01
_UNKNOWN_FOR_S = 20.0  # a new execution can be unknown for a moment


class PendingRun:
    """A submitted run. Made by `Workspace.submit` and `Workspace.resume_pending`.

    Its row in the history is unchanged (STARTED after `submit`) until its outcome is recorded by
    `status`, `wait`, `Workspace.sync`, or by `Workspace.resume_pending` in a later kernel.

    Attributes
    ----------
    execution_id : str
        Vellum's id of the execution.
    run : Run
        The run as recorded; `Run.in_doubt` until its outcome is known.

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
        """Poll the execution, and complete the row if it has ended.

        Returns
        -------
        str
            The server's status: PENDING, INITIATED, STREAMING, FULFILLED or REJECTED. The run of an
            aborted execution (REJECTED, ``WORKFLOW_CANCELLED``) is CANCELLED.

        Raises
        ------
        NotFoundError
            The server does not know this execution. Errors leave the row unchanged.
        """
        if not self.run.in_doubt:
            return self._status
        reply = self._runner.client.workflow_execution_status(self.execution_id)
        if not reply.ended:
            return reply.status
        outcome = ended(reply.status, (), reply.error)
        if reply.outputs or reply.status == "FULFILLED":
            outcome["outputs"] = dict(reply.outputs or {})
        with suppress(APIError):  # types, times and cost are optional
            detail = self._runner.client.retrieve_workflow_execution_detail(self.execution_id)
            if detail.status == reply.status:
                outcome |= {name: value for name, value in run_fields(detail).items() if value}
        with self._lock:
            if self.run.in_doubt:
                self.run = self._runner.finish(self.run, outcome)
                self._status = reply.status
        return reply.status

    def wait(self, timeout: float | None = None, *, poll: float = 0.5) -> Run:
        """Wait until the execution has ended, and return the run.

        Returns early after `timeout` seconds or `cancel_waiting`; an `APIError` also ends it. You
        can wait again. `poll` is the first interval between requests in seconds; it grows by half
        each time, up to 30 s.
        """
        stop, pause = self._stop, max(poll, _SHORTEST_S)
        until = float("inf") if timeout is None else time.monotonic() + timeout
        while not stop.is_set():
            try:
                self.status()
            except NotFoundError:
                if time.monotonic() - self._since > _UNKNOWN_FOR_S:
                    raise
            remaining = until - time.monotonic()
            if not self.run.in_doubt or remaining <= 0:
                break
            stop.wait(min(pause, remaining))
            pause = min(pause * _POLL_GROWTH_FACTOR, max(_LONGEST_S, pause))
        return self.run

    def cancel_waiting(self) -> None:
        """End every running `wait`; the execution continues."""
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


_CONCURRENT_LOOKUPS = 8
_ELSEWHERE = frozenset({400, 404, 421})  # malformed or unknown id, id of another workspace


def resume_pending(runner: Runner) -> list[PendingRun]:
    """Return runs in doubt with an execution known to the server; complete those that ended."""
    environment = None
    with suppress(APIStatusError):  # not readable with this key
        environment = runner.client.environment_identity().name
    sweeps = Sweeps(runner.history)
    held, ids = sweeps.held(), sweeps.ids_in_doubt()
    runs = [
        run
        for run in runner.history.runs(ids=ids, skip_damaged=True)
        if (None in {environment, run.environment} or run.environment == environment)
        and not runner.is_driven(run, held)
    ]
    resumed = partial(_resumed, runner, cache(runner.lookup.deployment_id))
    with ThreadPoolExecutor(_CONCURRENT_LOOKUPS) as pool:
        return [pending for pending in pool.map(resumed, runs) if pending is not None]


def _resumed(
    runner: Runner, deployment_id: Callable[[str], str | None], run: Run
) -> PendingRun | None:
    """Return a run in doubt as a pending run, or None if the server does not know it."""
    pending = PendingRun(runner, run)
    with _unknown_ignored():
        if run.execution_id is not None:
            pending.status()
            return pending
    with _unknown_ignored():
        run = runner.look_up_once(deployment_id(run.deployment), run)
    return None if run == pending.run else PendingRun(runner, run)


@contextmanager
def _unknown_ignored() -> Iterator[None]:
    """Suppress the errors of a look-up that mean that the server does not know the run."""
    try:
        yield
    except (NoLookupError, InputError):  # `InputError`: an id does not fit in a URL
        pass
    except APIStatusError as exc:
        if exc.status_code not in _ELSEWHERE:
            raise
