"""One run of a Workflows SDK class."""

from __future__ import annotations

import logging
import re
import threading
import traceback
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from vellum.workflows import BaseWorkflow
from vellum.workflows.context import (
    ExecutionContext,
    monitoring_context_store,
    set_execution_context,
)
from vellum.workflows.exceptions import NodeException, WorkflowInitializationException
from vellum.workflows.inputs import BaseInputs
from vellum.workflows.nodes.mocks import MockNodeExecution
from vellum.workflows.triggers.base import BaseTrigger
from vellum.workflows.workflows.event_filters import all_workflow_event_filter

from vellum_nb.local.engine.events import Event, RunContext, describe_exception
from vellum_nb.local.sdk.connection import LocalContext
from vellum_nb.local.sdk.stacktraces import own_frames
from vellum_nb.local.sdk.state import KeptState
from vellum_nb.local.sdk.telling import Teller
from vellum_nb.models import VellumVariable

__all__ = ["SdkExecution"]

_SPAN = re.compile(r".*:span:([^:]*):.*")

# The SDK logs what a node raises; the run tells it, and stderr is the notebook's.
logging.getLogger("vellum").addHandler(logging.NullHandler())


class SdkExecution:
    """Runs a workflow once; `cancel` from any thread rejects it within a tenth of a second.

    A node that is at work goes on to its end, as Python cannot stop it, but nobody waits for it,
    and what it asks the server for is cut off.
    """

    def __init__(
        self,
        target: type[BaseWorkflow[Any, Any]],
        given: Mapping[str, Any],
        values: Mapping[str, Any],
        outputs: Mapping[str, VellumVariable],
        context: RunContext,
        *,
        trigger: BaseTrigger | None = None,
        mocks: Sequence[MockNodeExecution] = (),
    ) -> None:
        self._target = target
        self._given = given
        self._values = values
        self._context = context
        self._trigger = trigger
        self._mocks = mocks
        self._teller = Teller(target, outputs, context)
        self._cancelled = threading.Event()
        self._lock = threading.Lock()
        self._local: LocalContext | None = None

    def cancel(self) -> None:
        """End the run."""
        self._cancelled.set()
        with self._lock:
            local = self._local
        if local is not None:
            local.cut()

    def events(self) -> Iterator[Event]:
        """Run, in the thread that iterates, and tell what happens."""
        teller = self._teller
        failure: tuple[str, str, str | None]
        try:
            yield from self._told()
        except (WorkflowInitializationException, NodeException) as exc:
            failure = (exc.code.value, exc.message, None)
        except GeneratorExit:
            self.cancel()
            raise
        except BaseException as exc:  # noqa: BLE001 - whatever a workflow raises rejects its run
            failure = (
                "INTERNAL_ERROR",
                describe_exception(exc),
                own_frames(traceback.format_exc()),
            )
        else:
            failure = ("INTERNAL_ERROR", "The Workflows SDK told no end of the run", None)
        if not teller.begun:
            yield teller.begin(self._given)
        if not teller.ended:
            yield teller.reject(*failure)

    def _told(self) -> Iterator[Event]:
        if self._cancelled.is_set():
            yield self._teller.begin(self._given)
            yield self._teller.reject("WORKFLOW_CANCELLED", "Workflow run cancelled")
            return
        # The context of a run is kept by thread: what an earlier run left there is not ours.
        set_execution_context(ExecutionContext())
        local = LocalContext(self._context)
        with self._lock:
            self._local = local
        if self._cancelled.is_set():
            local.cut()
        spans = {self._context.execution_id, (self._context.parent or {}).get("span_id", "")}
        try:
            workflow = self._target(context=local, resolvers=self._resolvers())
            # To be drained to its end: that is when the SDK's threads end.
            for event in workflow.stream(**self._arguments()):
                spans.add(str(event.span_id))
                yield from self._teller.tell(event)
            if not self._cancelled.is_set():
                workflow.join()
        finally:
            local.close()
            set_execution_context(ExecutionContext())
            _forget(spans)

    def _arguments(self) -> dict[str, Any]:
        context = self._context
        inputs = None
        if self._trigger is None:
            inputs = _filled(self._target.get_inputs_class(), self._values)
        return {
            "inputs": inputs,
            "trigger": self._trigger,
            "node_output_mocks": self._mocks or None,
            "event_filter": all_workflow_event_filter,
            "execution_id": UUID(context.execution_id),
            "previous_execution_id": None if context.state is None else context.execution_id,
            "cancel_signal": self._cancelled,
        }

    def _resolvers(self) -> list[Any] | None:
        state = self._context.state
        return None if state is None else [KeptState(state, self._target.get_state_class())]


def _filled(inputs: type[BaseInputs], values: Mapping[str, Any]) -> BaseInputs:
    """Return the inputs with `values`, which are checked and complete.

    The SDK's own way refuses None for ``Optional`` in ``Annotated`` or behind ``from __future__
    import annotations``, and leaves out what a base class declares.
    """
    if inputs.__init__ is not BaseInputs.__init__:
        return inputs(**values)
    filled = inputs.__new__(inputs)
    for name, value in values.items():
        setattr(filled, name, value)
    return filled


def _forget(spans: set[str]) -> None:
    """Remove what the SDK keeps for ever about each span, some 3 kB a run."""
    kept: dict[str, Any] = getattr(monitoring_context_store, "_contexts", {})
    for key in list(kept):
        if _SPAN.sub(r"\1", key) in spans:
            kept.pop(key, None)
