"""Runs releases: each run in a thread of its own, so many at once, each with a time limit."""

from __future__ import annotations

import asyncio
import threading
import uuid
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

from vellum_nb.local.execution import Execution, Rejection
from vellum_nb.local.refusals import Refused
from vellum_nb.local.releases import Release, WorkflowGoneError
from vellum_nb.models import (
    WorkflowEventError,
    WorkflowInput,
    WorkflowOutput,
    WorkflowResult,
)

__all__ = ["Engine"]

Outcome = tuple[WorkflowOutput, ...] | Rejection


class Engine:
    """Executes releases.

    Parameters
    ----------
    timeout : float or None
        Seconds after which a run is rejected with ``WORKFLOW_TIMEOUT``; None is never. The thread
        of a plain callable goes on to its end, as Python cannot stop it.
    slots : int
        How many runs go at once; more wait for their turn.
    """

    def __init__(self, *, timeout: float | None, slots: int = 64) -> None:
        self._timeout = timeout
        self._slots = asyncio.Semaphore(slots)
        self._running: set[_Flight] = set()
        self._closed = False
        self._threads: set[threading.Thread] = set()

    async def execute(
        self,
        release: Release,
        inputs: Sequence[WorkflowInput],
        *,
        claim: Callable[[], None] = lambda: None,
    ) -> WorkflowResult:
        """Run a release once and return how it ended.

        `claim` is called when the inputs are found right, just before the callable runs.

        Raises
        ------
        VellumNBError
            When the inputs do not fit, or `claim` refuses; nothing ran then.
        """
        async with self._slots:
            if self._closed:
                msg = "The local server is stopping"
                raise Refused(503, msg)
            flight = _Flight(release, inputs, claim, asyncio.get_running_loop())
            self._running.add(flight)
            try:
                outcome = await self._outcome(flight)
            finally:
                self._running.discard(flight)
        return _result(outcome)

    async def _outcome(self, flight: _Flight) -> Outcome:
        thread = threading.Thread(
            target=self._fly, args=(flight,), name="vellum_nb-run", daemon=True
        )
        self._threads.add(thread)
        thread.start()
        try:
            async with asyncio.timeout(self._timeout):
                return await asyncio.shield(flight.outcome)
        except TimeoutError:
            if flight.outcome.done():
                return flight.outcome.result()
            flight.cancel()
            return Rejection(
                "WORKFLOW_TIMEOUT", f"The run took longer than {self._timeout:g} seconds"
            )

    def _fly(self, flight: _Flight) -> None:
        try:
            flight.run()
        finally:
            self._threads.discard(threading.current_thread())

    async def close(self, message: str, *, grace: float = 0.2) -> None:
        """Let runs that are about to end do so within `grace` seconds, and reject the others."""
        self._closed = True
        waiting = {flight.outcome for flight in self._running}
        if waiting:
            await asyncio.wait(waiting, timeout=grace)
        for flight in list(self._running):
            flight.cancel()
            flight.settle(Rejection("WORKFLOW_CANCELLED", message))

    def join(self, seconds: float) -> None:
        """Wait at most `seconds` in all for the threads of runs."""
        until = datetime.now(UTC).timestamp() + seconds
        for thread in self._threads - {threading.current_thread()}:
            thread.join(max(0.0, until - datetime.now(UTC).timestamp()))


class _Flight:
    """One run on its way: its thread fills in the outcome, the event loop waits for it."""

    def __init__(
        self,
        release: Release,
        inputs: Sequence[WorkflowInput],
        claim: Callable[[], None],
        loop: asyncio.AbstractEventLoop,
    ) -> None:
        self._release = release
        self._inputs = inputs
        self._claim = claim
        self._loop = loop
        self._execution: Execution | None = None
        self._cancelled = False
        self.outcome: asyncio.Future[Outcome] = loop.create_future()

    def run(self) -> None:
        """Check the inputs, run the callable, hand the outcome to the event loop."""
        try:
            workflow = self._release.workflow()
            self._execution = Execution(workflow, *workflow.bind(self._inputs))
            if self._cancelled:
                self._execution.cancel()
            self._claim()
            outcome: Outcome | BaseException = self._execution.run()
        except WorkflowGoneError as exc:
            outcome = _gone(exc)
        except BaseException as exc:  # noqa: BLE001 - it is raised again where it is waited for
            outcome = exc
        try:
            self._loop.call_soon_threadsafe(self.settle, outcome)
        except RuntimeError:
            return  # the loop is closed: the server stopped, and nobody waits

    def settle(self, outcome: Outcome | BaseException) -> None:
        """Set the outcome, unless it is set already; call it on the event loop."""
        if self.outcome.done():
            return
        if isinstance(outcome, BaseException):
            self.outcome.set_exception(outcome)
            self.outcome.exception()
        else:
            self.outcome.set_result(outcome)

    def cancel(self) -> None:
        """End the callable where Python can."""
        self._cancelled = True
        if self._execution is not None:
            self._execution.cancel()


def _gone(exc: WorkflowGoneError) -> Rejection:
    message = f"The code of this release is not loaded: {exc}. Deploy it again to run it."
    return Rejection("WORKFLOW_INITIALIZATION", message)


def _result(outcome: Outcome) -> WorkflowResult:
    common: dict[str, Any] = {"id": str(uuid.uuid4()), "ts": datetime.now(UTC)}
    if not isinstance(outcome, Rejection):
        return WorkflowResult(**common, state="FULFILLED", outputs=outcome)
    error = WorkflowEventError(
        message=outcome.message, code=outcome.code, raw_data=None, stacktrace=outcome.stacktrace
    )
    return WorkflowResult(**common, state="REJECTED", error=error)
