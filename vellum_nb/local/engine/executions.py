"""From an order to an execution: checked, kept before it runs, watched until its end."""

from __future__ import annotations

import functools
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from vellum_nb.local.deployments.registry import Registry
from vellum_nb.local.deployments.releases import Deployment, Release, Tag, WorkflowGoneError
from vellum_nb.local.engine.code import Execution, RunContext
from vellum_nb.local.engine.contexts import release_context
from vellum_nb.local.engine.engine import Engine, Flight
from vellum_nb.local.engine.events import Event, Usage
from vellum_nb.local.engine.live import Live
from vellum_nb.local.engine.telling import Rejection, Teller, definition, values_of
from vellum_nb.local.engine.uploaded import Addressing, contents, resolved
from vellum_nb.local.ledger.ledger import Ledger
from vellum_nb.local.ledger.records import Record
from vellum_nb.models import WorkflowInput

__all__ = ["Executions", "Order"]


@dataclass(frozen=True, slots=True)
class Order:
    """What is to be run, and what is known about it."""

    deployment: Deployment
    tag: Tag
    release: Release
    inputs: tuple[WorkflowInput, ...]
    external_id: str | None = None
    metadata: Mapping[str, Any] | None = None
    previous_execution_id: str | None = None
    trigger: str | None = None
    parent: Mapping[str, Any] | None = None
    trace_id: str = field(default_factory=lambda: str(uuid.uuid4()))


class Executions:
    """The executions of a running server; on its event loop.

    Parameters
    ----------
    engine, ledger, registry
        What runs them, what keeps them, and what used external ids before there was a ledger.
    url, api_key : str
        This server, for nodes that call Vellum.
    usage : callable
        Node span id to what the models that it called used.
    """

    def __init__(
        self,
        engine: Engine,
        ledger: Ledger,
        registry: Registry,
        *,
        url: str = "",
        api_key: str = "",
        usage: Callable[[str], tuple[Usage, ...]] = lambda _: (),
    ) -> None:
        self._engine = engine
        self._ledger = ledger
        self._registry = registry
        self._url = url
        self._api_key = api_key
        self._usage = usage
        self._live: dict[str, Live] = {}

    async def begin(self, order: Order) -> Live:
        """Begin an execution; it is kept when this returns.

        Raises
        ------
        VellumNBError
            When the inputs do not fit, the external id was used, or there is no room: nothing
            runs then.
        """
        live = self.start(order)
        await live.kept()
        return live

    def start(self, order: Order) -> Live:
        """Begin an execution that may be refused yet: its result then raises what `begin` does."""
        outer = [live for live in self._live.values() if live.record.trace_id == order.trace_id]
        inner = bool(outer)
        at_once = self._engine.check(inner=inner)
        record = _record(order, "INITIATED" if at_once else "PENDING")
        parent = release_context(record)
        live = Live(record, self._ledger, parent=parent)
        board = functools.partial(self._board, order, record, parent)
        self._engine.launch(Flight(live, board, inner=inner))
        self._live[record.execution_id] = live
        live.done.add_done_callback(lambda _: self._live.pop(record.execution_id))
        if order.parent is not None:
            for each in outer:
                each.has_inside(order.parent["span_id"], record.execution_id)
        return live

    def live(self, execution_id: str) -> Live | None:
        """Return an execution that has not ended."""
        return self._live.get(execution_id)

    def record(self, execution_id: str) -> Record | None:
        """Return an execution as it is now."""
        live = self._live.get(execution_id)
        return self._ledger.record(execution_id) if live is None else live.record

    def _board(self, order: Order, record: Record, parent: Mapping[str, Any]) -> Execution:
        """Check it and return the run; in the run's thread."""
        previous = order.previous_execution_id
        context = RunContext(
            execution_id=record.execution_id,
            trace_id=order.trace_id,
            parent=parent,
            state=None if previous is None else self._ledger.state(previous),
            timeout=self._engine.timeout,
            url=self._url,
            api_key=self._api_key,
            usage=self._usage,
            trigger=order.trigger,
        )
        try:
            files = contents(order.inputs, self._ledger)
            inputs = resolved(order.inputs, files) if files else order.inputs
            execution: Execution = order.release.workflow().begin(inputs, context)
            if files:
                execution = Addressing(execution, files)
        except WorkflowGoneError as exc:
            execution = _Gone(record, parent, str(exc))
        if order.external_id is not None:
            self._registry.check_external_id(order.external_id)
        return execution


class _Gone:
    """The run of a release whose code is not there any more."""

    def __init__(self, record: Record, parent: Mapping[str, Any], why: str) -> None:
        self._record = record
        self._parent = parent
        self._why = why

    def events(self) -> Iterator[Event]:
        """Tell that it is rejected."""
        record = self._record
        workflow = definition(record.version_id, record.deployment_name)
        teller = Teller(record.execution_id, record.trace_id, workflow, self._parent)
        yield teller.initiated(values_of(record.inputs))
        message = f"The code of this release is not loaded: {self._why}. Deploy it again to run it."
        yield teller.rejected(Rejection("INVALID_WORKFLOW", message))

    def cancel(self) -> None:
        """Do nothing: it ends at once."""


def _record(order: Order, status: str) -> Record:
    return Record(
        execution_id=str(uuid.uuid4()),
        trace_id=order.trace_id,
        deployment_id=order.deployment.id,
        deployment_name=order.deployment.name,
        release_id=order.release.id,
        version_id=order.release.version_id,
        tag=order.tag.name,
        inputs=order.inputs,
        start=datetime.now(UTC),
        external_id=order.external_id,
        metadata=order.metadata,
        previous_execution_id=order.previous_execution_id,
        status=status,
        parent=order.parent,
    )
