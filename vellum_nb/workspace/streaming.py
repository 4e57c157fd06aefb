"""`RunStream`: one run, event by event, and its row in the history."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from html import escape
from types import MappingProxyType
from typing import Self

from vellum_nb.errors import APIError, HistoryError, InputError, VellumNBError
from vellum_nb.models import Cancellation, Run, RunRequest, WorkflowStreamEvent
from vellum_nb.workspace.runner import Runner, StreamAccumulator, cancelled, open_stream

_EVENT_TYPES = ("WORKFLOW", "NODE")


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
        runner: Runner,
        request: RunRequest,
        cancel: Cancellation | None = None,
        *,
        event_types: Sequence[str] = ("WORKFLOW",),
        expand_meta: bool = False,
    ) -> None:
        self._over = True  # until the stream is open, there is nothing to end
        self._types = _checked_types(event_types, expand_meta=expand_meta)
        self._recorder, self._fail, self._cancel = runner.recorder, runner.fail, cancel
        self._closed = self._iterated = False
        self._lock = threading.RLock()
        with runner.begun(request) as (run, inputs):
            self._run = run
            self._so_far = StreamAccumulator(run)
            try:
                sent = runner.uploads.sent(inputs, cancel)
                types = self._types | {"WORKFLOW"}  # whose last event ends the run
                self._events = open_stream(
                    runner.client, run, sent, cancel, event_types=types, expand_meta=expand_meta
                )
            except APIError as exc:
                runner.fail(run, exc, cancel)
                raise
            self._over = False

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
        return MappingProxyType(self._so_far.texts)

    def close(self) -> None:
        """Hang up at once, from any thread; a run that has not ended is CANCELLED."""
        self._closed = True
        self._events.close()
        self._end()

    def __iter__(self) -> Iterator[WorkflowStreamEvent]:
        if self._iterated:
            msg = "A stream is iterated over once; `run` and `texts` hold what came"
            raise VellumNBError(msg)
        self._iterated = True
        return self._iterate()

    def _iterate(self) -> Iterator[WorkflowStreamEvent]:
        try:
            for event in self._events:
                self._so_far.take(event)
                self._run = self._recorder.set_execution_id(self._run, event.execution_id)
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
            has_ended = self._so_far.end is not None
            try:
                if exc is not None and not has_ended:
                    self._run = self._fail(self._run, exc, self._cancel, self._so_far)
                else:
                    how = self._so_far.fields() | ({} if has_ended else cancelled())
                    self._run = self._recorder.finish(self._run, how)
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

    def __repr__(self) -> str:
        run = self._run
        return f"<RunStream {run.deployment} {run.release_tag}: {run.state}>"

    def _repr_html_(self) -> str:
        return f"<p>{escape(repr(self)[1:-1])}</p>"


def _checked_types(names: Sequence[str], *, expand_meta: bool) -> set[str]:
    """Return the types of events to ask for; usage comes with those of nodes."""
    types = {names} if isinstance(names, str) else set(names or ())
    if not types or types - set(_EVENT_TYPES):
        msg = f"event_types={names!r}: there are {' and '.join(_EVENT_TYPES)}; nothing was sent"
        raise InputError(msg)
    return types | ({"NODE"} if expand_meta else set())
