"""`PendingRun`: a run that the server works on by itself."""

from __future__ import annotations

import threading
import time
from datetime import UTC, datetime
from html import escape
from typing import Any

from vellum_nb.client import Client
from vellum_nb.errors import APIError, NotFoundError
from vellum_nb.models import (
    CheckWorkflowExecutionStatusResponse,
    Run,
    WorkflowExecutionDetail,
    usage_totals,
)
from vellum_nb.workspace.recording import RunRecorder, ended

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
        The run as it is kept.

    Examples
    --------
    >>> import vellum_nb as vnb
    >>> ws = vnb.connect("local", history=":memory:")
    >>> pending = ws.submit("ticket-triage", {"ticket": "I was charged twice"})
    >>> pending.wait().state
    'FULFILLED'
    """

    def __init__(
        self, client: Client, recorder: RunRecorder, run: Run, *, execution_id: str
    ) -> None:
        self.execution_id = execution_id
        self._client = client
        self._recorder = recorder
        self._run = run
        self._since = time.monotonic()
        self._lock = threading.RLock()
        self._waits: set[threading.Event] = set()

    @property
    def run(self) -> Run:
        """The run as it is kept: STARTED while nobody saw it end."""
        return self._run

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
        if self._run.state != "STARTED":
            return self._run.state
        reply = self._client.workflow_execution_status(self.execution_id)
        if reply.ended:
            self._complete(reply)
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
        stop = threading.Event()
        with self._lock:
            self._waits.add(stop)
        try:
            self._wait(stop, _deadline(timeout), max(poll, _SHORTEST_S))
        finally:
            with self._lock:
                self._waits.discard(stop)
        return self._run

    def cancel_waiting(self) -> None:
        """End every `wait` that is under way; the execution itself goes on."""
        with self._lock:
            for stop in self._waits:
                stop.set()

    def _wait(self, stop: threading.Event, until: float | None, pause: float) -> None:
        while not stop.is_set():
            self._ask()
            if self._run.state != "STARTED":
                return
            left = None if until is None else until - time.monotonic()
            if left is not None and left <= 0:
                return
            stop.wait(pause if left is None else min(pause, left))
            pause = min(pause * _GROWTH, max(_LONGEST_S, pause))

    def _ask(self) -> None:
        try:
            self.status()
        except NotFoundError:
            if time.monotonic() - self._since > _UNKNOWN_FOR_S:
                raise

    def _complete(self, reply: CheckWorkflowExecutionStatusResponse) -> None:
        with self._lock:
            if self._run.state == "STARTED":
                update = {
                    "execution_id": self.execution_id,
                    **_status_fields(reply),
                    **self._detail(),
                }
                self._run = self._recorder.finish(self._run.model_copy(update=update))

    def _detail(self) -> dict[str, Any]:
        """Return types, times and cost; an execution has ended without them too."""
        try:
            detail = self._client.retrieve_workflow_execution_detail(self.execution_id)
        except APIError:
            return {"finished_at": datetime.now(UTC)}
        return _detail_fields(detail)

    def __repr__(self) -> str:
        run = self._run
        return f"<PendingRun {run.deployment} {run.release_tag}: {run.state} {self.execution_id}>"

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self)[1:-1])}</p>"


def _deadline(timeout: float | None) -> float | None:
    return None if timeout is None else time.monotonic() + timeout


def _status_fields(reply: CheckWorkflowExecutionStatusResponse) -> dict[str, Any]:
    """Return what the status tells; it has no types of outputs."""
    if reply.status == "FULFILLED":
        return {"state": "FULFILLED", "outputs": dict(reply.outputs or {})}
    return ended(reply.status, (), reply.error)


def _detail_fields(detail: WorkflowExecutionDetail) -> dict[str, Any]:
    found: dict[str, Any] = {"finished_at": detail.end or datetime.now(UTC)}
    if detail.duration_s is not None:
        found["latency_s"] = round(detail.duration_s, 6)
    if detail.outputs and detail.error is None:
        found["outputs"] = {output.name: output.value for output in detail.outputs}
        found["output_types"] = {output.name: output.type for output in detail.outputs}
    return found | usage_totals(detail.usage_results)
