"""Streams of typed events."""

from __future__ import annotations

import io
import threading
import time
from collections.abc import Iterator, Sequence
from typing import Generic, Self, TypeVar

from urllib3.exceptions import HTTPError

from vellum_nb.client.failures import bad_reply, cancelled_error, interrupted_error, too_large_error
from vellum_nb.client.session import StreamBody
from vellum_nb.errors import APIConnectionError, VellumNBError
from vellum_nb.escaping import printed
from vellum_nb.models import WorkflowEvent, WorkflowStreamEvent
from vellum_nb.models.base import read_json

E = TypeVar("E", WorkflowStreamEvent, WorkflowEvent)
_CHUNK_BYTES = 65_536
_LINGER_S = 0.5  # wait for the end of the connection after the last event


class EventStream(Generic[E]):
    """The events of one execution, as they arrive.

    It can be iterated once. Leaving the loop or the context, or `close` from any thread, closes the
    connection; a server can treat that as a cancellation.

    Blank lines, a final ``END``, ``data:`` framing and lines that are not events are skipped.

    Raises
    ------
    APITimeoutError
        While iterating, if no data arrives in time.
    APIConnectionError
        While iterating, after the last event, if the stream is cut off, cancelled, or incomplete.
    APIResponseError
        While iterating, if the body is not a stream of events, or a line is too long.

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

    def __init__(self, body: StreamBody, kind: type[E], *, has_end: bool = True) -> None:
        self._body = body
        self._kind: type[E] = kind
        self._has_end = has_end
        self._reading = threading.Lock()
        self._closed = self._started = False
        self._root = ""
        self._count = self._invalid = 0
        self._deadline: float | None = None
        self._reason = ""
        self._start = b""

    @printed
    def __repr__(self) -> str:
        return f"<{type(self).__name__} of {self._body.label}>"

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def __del__(self) -> None:
        self.close()

    def __iter__(self) -> Iterator[E]:
        if self._started:
            msg = f"The events of {self._body.label} can be read only once; keep them in a list."
            raise VellumNBError(msg)
        self._started = True
        return self._events()

    def close(self) -> None:
        """Close the connection at once, from any thread; a loop over the events then ends."""
        self._closed = True
        self._body.call.cut()
        self._release()

    def _release(self) -> None:
        """Close the connection. A thread that reads is woken by the cut and closes it itself."""
        if self._reading.acquire(blocking=False):
            try:
                self._body.call.release()
                self._body.raw.close()
            finally:
                self._reading.release()

    def _read(self) -> bytes | APIConnectionError:
        """Wait for data and return it, or no bytes at the end, or the error that ended it.

        The error is returned, not raised: its context would contain the request.
        """
        label, raw, call, read_timeout = self._body[:4]
        data: bytes | APIConnectionError
        with self._reading:
            try:
                data = raw.read1(_CHUNK_BYTES, decode_content=True) or b""
            except (HTTPError, OSError, ValueError) as exc:  # ValueError: closed, a bad chunk
                data = interrupted_error(label, exc, self._body.mask, read=read_timeout)
            if not isinstance(data, bytes) or not data:
                was_cut = call.release()
                raw.close()
                if was_cut and not self._closed:
                    data = cancelled_error(label, sent=True)
            elif raw.closed:
                call.release()  # another call can use the connection now
        if self._closed:
            self._release()
        return data

    def _events(self) -> Iterator[E]:
        line, limit = io.BytesIO(), self._body.max_line  # its repr hides an echoed key
        try:
            while self._deadline is None or time.monotonic() <= self._deadline:
                data = self._read()
                if not isinstance(data, bytes) or not data:
                    yield from self._parsed([line.getvalue()])
                    self._check_end(data)
                    return
                yield from self._parsed(_complete_lines(line, data))
                if limit is not None and line.tell() > limit:
                    raise too_large_error(self._body.label, limit)
        finally:
            self.close()

    def _parsed(self, lines: Sequence[bytes]) -> Iterator[E]:
        for line in lines:
            text = self._body.mask.hide_in_reply(line).strip().removeprefix(b"data:").strip()
            if not text or text == b"END":
                continue
            event = read_json(self._kind, text)
            if isinstance(event, str):
                self._invalid += 1
                self._reason = self._reason or event
                self._start = self._start or text[:4_000]
                continue
            self._count += 1
            # Span of the workflow of the event: workflows can be nested.
            is_own = getattr(event, "name", "").startswith("workflow.")
            root = getattr(event, "span_id", "") if is_own else ""
            self._root = self._root or root
            if event.ends and root == self._root and self._deadline is None:
                # Limit the time that the server keeps the connection open.
                self._deadline = time.monotonic() + _LINGER_S
                self._body.call.limit_wait(_LINGER_S)
            yield event

    def _check_end(self, last: bytes | APIConnectionError) -> None:
        """Raise unless the last event of the run arrived or the caller closed the stream."""
        if self._deadline is not None or self._closed:
            return
        if isinstance(last, APIConnectionError):
            raise last
        label = self._body.label
        if self._invalid and not self._count:
            why = f"not a stream of events: {self._reason}"
            raise bad_reply(label, 200, self._start, why, self._body.mask)
        if self._has_end:
            message = f"{label} ended after {self._count} events, but the run had not ended."
            if self._invalid:
                message += f" Lines that are not events: {self._invalid} ({self._reason})."
            message += " The server may continue it; it was not sent again."
            raise APIConnectionError(message, sent=True)


def _complete_lines(buffer: io.BytesIO, data: bytes) -> list[bytes]:
    """Add `data` and return the lines it completes; only line feeds end lines."""
    buffer.write(data)
    if b"\n" not in data:
        return []
    *lines, remainder = buffer.getvalue().split(b"\n")
    buffer.seek(0)
    buffer.truncate()
    buffer.write(remainder)
    return lines
