"""An execution on its way: what has happened so far, for any number of readers, and its end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

from vellum_nb.local.engine.endings import ended, stopped
from vellum_nb.local.engine.events import (
    NODE_FULFILLED,
    NODE_REJECTED,
    WORKFLOW_STREAMING,
    Event,
)
from vellum_nb.local.engine.telling import Rejection, Teller, definition, values_of
from vellum_nb.local.engine.words import in_words
from vellum_nb.local.ledger.ledger import Ledger
from vellum_nb.local.ledger.records import Record
from vellum_nb.local.refusals import Refused

__all__ = ["Live"]


class Live:
    """One execution between its beginning and its end.

    Its thread tells events; the event loop reads them. It ends once: with the last event that is
    told, or with `reject`, whichever is first; what is told afterwards is not heard.

    Parameters
    ----------
    record : Record
        The execution as it begins.
    ledger : Ledger
        Keeps it before it runs, and at its end before anybody hears of the end.
    parent : mapping, optional
        The parent context of its events.
    """

    def __init__(
        self, record: Record, ledger: Ledger, *, parent: Mapping[str, Any] | None = None
    ) -> None:
        self.record = record
        self.stop: Callable[[], None] = _nothing
        self._ledger = ledger
        self._parent = parent
        self._loop = asyncio.get_running_loop()
        self.done: asyncio.Future[Record] = self._loop.create_future()
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

    async def result(self) -> Record:
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
        why = f"Its end could not be kept: {in_words(exc)}"
        events = self._cut(Rejection("INTERNAL_ERROR", why))
        record = ended(self.record, [*self._events, *events])
        with suppress(Exception):  # perhaps it was what had been told that could not be kept
            self._ledger.finish(record, events)
        self._close(events, record)

    def _close(self, events: Sequence[Event], outcome: Record | BaseException) -> None:
        with self._lock:
            self._over = True
            self._events += events
            if isinstance(outcome, Record):
                self.record = outcome
            else:
                self._refusal = outcome
            self._wake_readers()
        self._call(self._finish, outcome)

    def _finish(self, outcome: Record | BaseException) -> None:
        if isinstance(outcome, Record):
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
            teller = Teller(*ids, workflow, self._parent)
            nodes = [self._with_inside(event) for event in stopped(told, why)]
            return [*nodes, teller.rejected(why)]
        teller = Teller(*ids, definition(record.version_id, record.deployment_name), self._parent)
        return [teller.initiated(values_of(record.inputs)), teller.rejected(why)]


def _nothing() -> None:
    pass


def _wake(readers: Sequence[asyncio.Future[None]]) -> None:
    for reader in readers:
        if not reader.done():
            reader.set_result(None)
