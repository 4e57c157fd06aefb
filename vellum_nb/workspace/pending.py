"""`PendingRun`: a run that the server works on by itself."""

from __future__ import annotations

import threading
import time
from contextlib import suppress
from html import escape

from vellum_nb.errors import APIError, NotFoundError
from vellum_nb.models import Run, RunRequest
from vellum_nb.workspace.executions import run_fields
from vellum_nb.workspace.runner import Runner, ended, options_of

_GROWTH = 1.5
_LONGEST_S = 30.0
_SHORTEST_S = 0.01
_UNKNOWN_FOR_S = 20.0  # Vellum may know an execution a little later than it has said its id


class PendingRun:
    """A run that was handed in; made by `Workspace.submit` and `Workspace.resume_pending`.

    Its row in the history is STARTED until somebody sees that it has ended: `status`, `wait`, or
    `Workspace.resume_pending` in a later kernel.

    Attributes
    ----------
    execution_id : str
        Vellum's.
    run : Run
        The run as it is kept: STARTED while nobody saw it end.

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
        self._client = runner.client
        self._recorder = runner.recorder
        self._since = time.monotonic()
        self._lock = threading.RLock()
        self._stop = threading.Event()

    def status(self) -> str:
        """Ask how far it is, and complete its row when it has ended.

        Returns
        -------
        str
            PENDING, INITIATED, STREAMING, FULFILLED or REJECTED.

        Raises
        ------
        NotFoundError
            The server knows no such execution.
        APIError
            No usable answer came; the row stays as it is.
        """
        if self.run.state != "STARTED":
            return self.run.state
        reply = self._client.workflow_execution_status(self.execution_id)
        if not reply.ended:
            return reply.status
        how = ended(reply.status, (), reply.error) | {"outputs": dict(reply.outputs or {})}
        with suppress(APIError):  # an execution has ended without types, times and cost, too
            detail = self._client.retrieve_workflow_execution_detail(self.execution_id)
            how |= run_fields(detail) if detail.status == reply.status else {}
        with self._lock:
            if self.run.state == "STARTED":
                self.run = self._recorder.finish(self.run, how)
        return reply.status

    def wait(self, timeout: float | None = None, *, poll: float = 0.5) -> Run:
        """Wait until it has ended, and return the run.

        Parameters
        ----------
        timeout : float, optional
            Seconds to wait at most. Default: for ever.
        poll : float, default 0.5
            Seconds between the first two questions; they grow by half each time, up to 30 s.

        Returns
        -------
        Run
            It is still STARTED when the time was over, or when `cancel_waiting` was called.

        Raises
        ------
        APIError
            No usable answer came. The run stays STARTED; wait again, or resume it later.
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
            if self.run.state != "STARTED" or left <= 0:
                break
            stop.wait(min(pause, left))
            pause = min(pause * _GROWTH, max(_LONGEST_S, pause))
        return self.run

    def cancel_waiting(self) -> None:
        """End every `wait` that is under way; the execution itself goes on."""
        stop, self._stop = self._stop, threading.Event()
        stop.set()

    def __repr__(self) -> str:
        run = self.run
        return f"<PendingRun {run.deployment} {run.release_tag}: {run.state} {self.execution_id}>"

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self)[1:-1])}</p>"


def submit(runner: Runner, request: RunRequest) -> PendingRun:
    """Hand `request` in; the server works on it by itself."""
    with runner.begun(request) as (run, inputs):
        try:
            sent = runner.uploads.sent(inputs)
            reply = runner.client.execute_workflow_async(sent, **options_of(run))
        except APIError as exc:
            runner.fail(run, exc)
            raise
        runner.recorder.release(run)
    return PendingRun(runner, runner.recorder.set_execution_id(run, reply.execution_id))
