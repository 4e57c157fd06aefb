"""Streams of events: from bytes in any portions to typed events."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Generic, Self, TypeVar

from vellum_nb.client.failures import bad_reply
from vellum_nb.client.live import LiveBody
from vellum_nb.client.wire import read_reply
from vellum_nb.errors import APIConnectionError, APIError, VellumNBError
from vellum_nb.models import WorkflowEvent, WorkflowStreamEvent

__all__ = ["EventStream"]

E = TypeVar("E", WorkflowStreamEvent, WorkflowEvent)
_LINGER = 0.5


class EventStream(Generic[E]):
    """The events of one execution, as they arrive.

    Iterate it once. Leaving the loop closes the connection, and so does `close`, from any thread;
    as a context manager it is closed in any case. A server may take that as a wish to cancel.

    Blank lines, a final ``END``, ``data:`` framing and what is no event are passed over.

    Raises
    ------
    APITimeoutError
        While iterating: nothing more came in time.
    APIConnectionError
        While iterating, after everything that came: it was cut off, cancelled, or ended before the
        run did.
    APIResponseError
        While iterating: what came is no stream of events.

    Examples
    --------
    >>> from vellum_nb import Client, LocalServer
    >>> def greet(name: str) -> Iterator[str]:
    ...     yield from ("Hello ", name)
    >>> with LocalServer() as server:
    ...     release = server.deploy(greet, name="greet", release_tags=["v1"])
    ...     with Client(api_key=server.api_key, base_url=server.url) as client:
    ...         events = client.execute_workflow_stream(
    ...             {"name": "Ada"}, workflow_deployment_name="greet"
    ...         )
    ...         print("".join(event.delta or "" for event in events))
    Hello Ada
    """

    def __init__(self, body: LiveBody, kind: type[E], *, tells_end: bool = True) -> None:
        self._body = body
        self._tells_end = tells_end
        self._kind: type[E] = kind
        self._begun = False
        self._whole = ""
        self._count = 0
        self._deadline: float | None = None
        self._strange = 0
        self._why = ""
        self._start = b""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._body.what}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def __iter__(self) -> Iterator[E]:
        if self._begun:
            msg = f"The events of {self._body.what} can be read only once; keep them in a list."
            raise VellumNBError(msg)
        self._begun = True
        return self._events()

    @property
    def closed(self) -> bool:
        """Whether it was closed; no more events come then."""
        return self._body.closed

    def close(self) -> None:
        """Close the connection at once, from any thread; a loop over the events then ends."""
        self._body.close()

    def _events(self) -> Iterator[E]:
        lines = _Lines()
        try:
            while not self._is_late():
                came = self._body.read()
                if not isinstance(came, bytes) or not came:
                    yield from self._understood([lines.rest()])
                    self._check_end(came)
                    return
                yield from self._understood(lines.take(came))
        finally:
            self.close()

    def _understood(self, lines: Sequence[bytes]) -> Iterator[E]:
        for line in lines:
            text = self._body.hide(line).strip().removeprefix(b"data:").strip()
            if not text or text == b"END":
                continue
            event = read_reply(text, self._kind)
            if isinstance(event, str):
                self._strange += 1
                self._why = self._why or event
                self._start = self._start or text[:200]
                continue
            self._note(event)
            yield event

    def _note(self, event: E) -> None:
        """Remember what came; after the last event the server may linger only for a moment."""
        self._count += 1
        self._whole = self._whole or _whole(event)
        if event.ends and _whole(event) == self._whole and self._deadline is None:
            self._deadline = time.monotonic() + _LINGER
            self._body.hurry(_LINGER)

    def _is_late(self) -> bool:
        return self._deadline is not None and time.monotonic() > self._deadline

    def _check_end(self, last: bytes | APIConnectionError) -> None:
        """Raise unless the run's last event came, or the caller closed the stream."""
        if self._deadline is not None or self._body.closed:
            return
        if isinstance(last, APIConnectionError):
            raise last
        if self._tells_end or (self._strange and not self._count):
            raise self._broken()

    def _broken(self) -> APIError:
        what = self._body.what
        if not self._count and self._strange:
            return bad_reply(what, 200, self._start, f"no stream of events: {self._why}")
        strange = (
            f" Lines that were no events: {self._strange} ({self._why})." if self._strange else ""
        )
        message = (
            f"{what} ended after {self._count} events, but the run had not ended.{strange} "
            "The server may go on with it; it was not sent again."
        )
        return APIConnectionError(message, sent=True)


class _Lines:
    """Cuts bytes at line feeds alone: other line separators may stand inside of JSON text."""

    def __init__(self) -> None:
        self._parts: list[bytes] = []

    def take(self, came: bytes) -> list[bytes]:
        """Return the lines that are complete now."""
        first, *more = came.split(b"\n")
        self._parts.append(first)
        if not more:
            return []
        line = b"".join(self._parts)
        self._parts = [more.pop()]
        return [line, *more]

    def rest(self) -> bytes:
        """Return what follows the last line feed."""
        return b"".join(self._parts)


def _whole(event: WorkflowStreamEvent | WorkflowEvent) -> str:
    """Return which workflow an event is of: one may run inside of another."""
    if isinstance(event, WorkflowEvent) and event.name.startswith("workflow."):
        return event.span_id
    return ""
