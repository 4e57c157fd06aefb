"""`RunStream`: one run, event by event, and its row in the history."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from html import escape
from typing import TYPE_CHECKING, Any, Self

from vellum_nb.errors import APIError, HistoryError, VellumNBError
from vellum_nb.models import (
    Cancellation,
    Run,
    WorkflowStreamEvent,
)
from vellum_nb.workspace.recording import (
    Attempt,
    RunRecorder,
    StreamAccumulator,
    cancelled,
    unanswered,
)

if TYPE_CHECKING:
    from vellum_nb.client import EventStream


class RunStream:
    """The events of one run, as they arrive; made by `Workspace.stream`.

    Iterate over it once. Leaving the loop, `close`, or the end of a ``with`` block hangs up: the
    run is then kept as CANCELLED with what had come. When the connection is lost in mid-stream,
    the loop raises, and the run is kept as FAILED with what had come.

    Attributes
    ----------
    run : Run
        The run as it is kept: STARTED until the stream has ended.
    texts : mapping
        Output name to the text that has come so far.
    execution_id : str or None
        Vellum's; known from the first event on.

    Examples
    --------
    >>> import vellum_nb as vnb
    >>> ws = vnb.connect("local", history=":memory:")
    >>> stream = ws.stream("ticket-triage", {"ticket": "I was charged twice"}, release_tag="v2")
    >>> [event.state for event in stream][-1], stream.run.state
    ('FULFILLED', 'FULFILLED')
    """

    def __init__(
        self,
        attempt: Attempt,
        recorder: RunRecorder,
        *,
        cancel: Cancellation | None = None,
        event_types: tuple[str, ...] = ("WORKFLOW",),
    ) -> None:
        self._over = True  # nothing is to be ended before all is there
        self.attempt = attempt
        self._recorder = recorder
        self._cancel = cancel
        self._types = event_types
        self._run = attempt.run
        self._events: EventStream[WorkflowStreamEvent] | None = None
        self._gathered = StreamAccumulator()
        self._lock = threading.RLock()
        self._closed = self._iterated = self._over = False

    @property
    def run(self) -> Run:
        """The run as it is kept."""
        return self._run

    @property
    def execution_id(self) -> str | None:
        """Vellum's id of the execution."""
        return self._run.execution_id

    @property
    def texts(self) -> Mapping[str, str]:
        """Output name to the text that has come so far."""
        return self._gathered.texts

    @property
    def gathered(self) -> StreamAccumulator:
        """All that the events have told so far."""
        return self._gathered

    def open(self, send: Callable[[], EventStream[WorkflowStreamEvent]]) -> None:
        """Send the request; what goes wrong is recorded and raised."""
        try:
            self._events = send()
        except APIError as exc:
            self._fail(exc)
            raise
        finally:
            if self._events is None:
                self.close()

    def close(self) -> None:
        """Hang up at once, from any thread; a run that has not ended is CANCELLED."""
        self._closed = True
        if self._events is not None:
            self._events.close()
        self._end(cancelled())

    def __iter__(self) -> Iterator[WorkflowStreamEvent]:
        if self._events is None or self._iterated:
            msg = "A stream is iterated over once; `run` and `texts` hold what came"
            raise VellumNBError(msg)
        self._iterated = True
        return self._iterate(self._events)

    def _iterate(self, events: EventStream[WorkflowStreamEvent]) -> Iterator[WorkflowStreamEvent]:
        try:
            for event in events:
                self._take(event)
                if event.type in self._types:
                    yield event
        except APIError as exc:
            if not self._closed:  # or else another thread hung up
                self._fail(exc)
                raise
        finally:
            self.close()

    def _take(self, event: WorkflowStreamEvent) -> None:
        if self._run.execution_id is None and event.execution_id:
            self._run = self._recorder.set_execution_id(self._run, event.execution_id)
        self._gathered.take(event)
        if self._gathered.end is not None:
            self._end({})

    def _fail(self, exc: APIError) -> None:
        given_up = self._cancel is not None and self._cancel.cancelled
        if self._end(cancelled() if given_up else unanswered(exc)):
            exc.add_note(f"The run is in the history as {self._run.state}: {self._run.id}")

    def _end(self, how: dict[str, Any]) -> bool:
        """Record how the run ended; only the first call does."""
        with self._lock:
            if self._over:
                return False
            fields = self._gathered.fields()
            if self._gathered.end is None:
                fields |= how
            self._run = self._run.model_copy(update=self.attempt.ended(fields))
            try:
                self._run = self._recorder.finish(self._run)
            except HistoryError:
                self._over = True
                raise
            self._over = True  # not before: an interrupt leaves it to the next call
            return True

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def __del__(self) -> None:
        if not self._over and not sys.is_finalizing():
            with suppress(VellumNBError):
                self.close()

    def __repr__(self) -> str:
        run = self._run
        return f"<RunStream {run.deployment} {run.release_tag}: {run.state}>"

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self)[1:-1])}</p>"
