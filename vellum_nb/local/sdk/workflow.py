"""A Workflows SDK class as code that a release runs, and one run of it."""

from __future__ import annotations

import logging
import re
import threading
import traceback
import typing
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from uuid import UUID

from vellum.workflows import BaseWorkflow
from vellum.workflows.context import (
    ExecutionContext,
    monitoring_context_store,
    set_execution_context,
)
from vellum.workflows.events.workflow import WorkflowEvent
from vellum.workflows.exceptions import NodeException, WorkflowInitializationException
from vellum.workflows.inputs import BaseInputs
from vellum.workflows.nodes import BaseNode
from vellum.workflows.nodes.mocks import MockNodeExecution
from vellum.workflows.nodes.utils import cast_to_output_type
from vellum.workflows.resolvers.base import BaseWorkflowResolver
from vellum.workflows.resolvers.types import LoadStateResult
from vellum.workflows.state import BaseState
from vellum.workflows.triggers.base import BaseTrigger
from vellum.workflows.utils.uuids import uuid4_from_hash
from vellum.workflows.workflows.event_filters import all_workflow_event_filter

from vellum_nb.local.callables.signature import summary
from vellum_nb.local.deployments.sources import local_module
from vellum_nb.local.engine.events import Event, Rejection, RunContext, describe_exception
from vellum_nb.local.engine.inputs import bind_inputs
from vellum_nb.local.refusals import bad_request
from vellum_nb.local.sdk.connection import LocalContext
from vellum_nb.local.sdk.patches import fail_with_nodes, share_inputs, with_inner
from vellum_nb.local.sdk.translation import EventTranslator, own_stacktrace
from vellum_nb.local.sdk.variables import inputs_of, outputs_of
from vellum_nb.models import VellumVariable, WorkflowInput

_SPAN = re.compile(r".*:span:([^:]*):.*")
_CANCELLED = "Workflow run cancelled"

# The SDK logs what a node raises; the run's events carry it, and stderr is the notebook's.
logging.getLogger("vellum").addHandler(logging.NullHandler())


class SdkWorkflow:
    """A subclass of ``BaseWorkflow`` with the variables of its Inputs and Outputs.

    The SDK accepts every value for every annotation, so inputs are checked here, as those of
    callables are.
    """

    def __init__(self, target: type[BaseWorkflow[Any, Any]]) -> None:
        share_inputs(target)
        fail_with_nodes(target)
        self.target = target
        self._parameters = {p.variable.key: p for p in inputs_of(target)}
        self.input_variables = tuple(p.variable for p in self._parameters.values())
        self.output_variables = outputs_of(target)
        self.description = summary(target.__doc__)

    def begin(self, inputs: Sequence[WorkflowInput], context: RunContext) -> SdkExecution:
        """Check the inputs and return the run; nothing has run yet.

        With a trigger in `context` the inputs are the trigger's attributes, which the SDK checks.
        """
        given = {each.name: each.value for each in inputs}
        outputs = {variable.key: variable for variable in self.output_variables}
        trigger = None
        if context.trigger not in (None, "manual"):
            trigger = self._trigger(context.trigger, given)
        values = bind_inputs(self._parameters, inputs) if trigger is None else {}
        mocks = _node_mocks(self.target, context.mocks)
        return SdkExecution(
            self.target, given, values, outputs, context, trigger=trigger, mocks=mocks
        )

    def _trigger(self, name: str, given: Mapping[str, Any]) -> BaseTrigger:
        try:
            trigger: BaseTrigger = self.target.deserialize_trigger(name, dict(given))
        except WorkflowInitializationException as exc:
            raise bad_request(exc.message) from exc
        return trigger


class SdkExecution:
    """Runs a workflow once; `cancel` from any thread rejects it within a tenth of a second.

    A node that is at work goes on to its end, as Python cannot stop it, but nobody waits for it,
    and its requests to the server are cut off.
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
        self._translator = EventTranslator(target, outputs, context)
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
        """Run, in the thread that iterates, and yield the events."""
        translator = self._translator
        why = Rejection("The Workflows SDK sent no final event of the run", "INTERNAL_ERROR")
        try:
            yield from self._events()
        except (WorkflowInitializationException, NodeException) as exc:
            why = Rejection(exc.message, exc.code.value)
        except GeneratorExit:
            self.cancel()
            raise
        except BaseException as exc:  # noqa: BLE001 - whatever a workflow raises rejects its run
            stacktrace = own_stacktrace(traceback.format_exc())
            why = Rejection(describe_exception(exc), "INTERNAL_ERROR", stacktrace)
        if self._cancelled.is_set() and not translator.has_begun:
            why = Rejection(_CANCELLED, "WORKFLOW_CANCELLED")
        if not translator.has_begun:
            yield translator.initiated(self._given)
        if translator.rejection is not None or not translator.has_ended:
            raise translator.rejection or why

    def _events(self) -> Iterator[Event]:
        if self._cancelled.is_set():
            return
        # The SDK keeps the context of a run by thread: that of an earlier run is not ours.
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
                yield from self._translator.translate(event)
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
        return None if state is None else [_StoredState(state, self._target.get_state_class())]


class _StoredState(BaseWorkflowResolver):
    """Loads the state that it was made with, whatever execution is asked for.

    What the state class does not know any more is left out; what does not fit its annotation comes
    as it was stored.
    """

    def __init__(self, state: Mapping[str, Any], state_class: type[BaseState]) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._state = state
        self._class = state_class

    def get_latest_execution_events(self) -> Iterator[WorkflowEvent]:
        """Return no events: only the state is stored here."""
        return iter(())

    def get_state_snapshot_history(self) -> Iterator[BaseState]:
        """Return no snapshots: only the final state is stored."""
        return iter(())

    def load_state(self, previous_execution_id: UUID | str | None = None) -> LoadStateResult:
        """Return the state."""
        values = {
            name: _cast(self._state[name], hint)
            for name, hint in typing.get_type_hints(self._class).items()
            if name in self._state and name != "meta"
        }
        previous = str(previous_execution_id)
        return LoadStateResult(self._class(**values), previous, previous, previous, previous)


def _cast(value: Any, hint: Any) -> Any:
    if value is None:
        return None
    try:
        return cast_to_output_type(value, hint)
    except NodeException:
        return value


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
    """Remove what the SDK would hold for ever about each span, some 3 kB a run."""
    contexts: dict[str, Any] = getattr(monitoring_context_store, "_contexts", {})
    for key in list(contexts):
        if _SPAN.sub(r"\1", key) in spans:
            contexts.pop(key, None)


def _node_mocks(
    workflow: type[BaseWorkflow[Any, Any]], mocks: Sequence[Mapping[str, Any]]
) -> list[MockNodeExecution]:
    """Return mocks, in the form that a push gives them, as the SDK's own.

    `node_id` is a node's id in this release, or in the project that was pushed, whose module is
    then in `module`: the SDK makes ids from module paths.
    """
    nodes = [node for inner in with_inner(workflow) for node in inner.get_all_nodes()]
    raw = [_normalized_mock(mock, nodes) for mock in mocks if not mock.get("disabled")]
    try:
        return MockNodeExecution.validate_all(raw, workflow) or []
    except WorkflowInitializationException as exc:
        msg = f"node_output_mocks: {exc.message}"
        raise bad_request(msg) from exc


def _normalized_mock(
    mock: Mapping[str, Any], nodes: Sequence[type[BaseNode[Any]]]
) -> dict[str, Any]:
    module = str(mock.get("module") or "")
    for node in nodes:
        pushed = f"{module}.{local_module(node.__module__)}.{node.__qualname__}"
        if str(mock.get("node_id")) in {str(node.__id__), str(uuid4_from_hash(pushed))}:
            return {
                "type": "NODE_EXECUTION",
                "node_id": str(node.__id__),
                "when_condition": _condition(mock.get("when_condition", True)),
                "then_outputs": mock.get("then_outputs") or {},
            }
    known = ", ".join(sorted({node.__name__ for node in nodes}))
    msg = f"node_output_mocks: no node has the id {mock.get('node_id')!r:.60}; there are: {known}"
    raise bad_request(msg)


def _condition(given: Any) -> Any:
    """Return the value of a constant condition, such as True."""
    if not isinstance(given, Mapping):
        return given
    if given.get("type") != "CONSTANT_VALUE":
        msg = f"node_output_mocks: the when_condition {given.get('type')!r:.60} is not supported"
        raise bad_request(msg)
    value = given.get("value")
    return value.get("value") if isinstance(value, Mapping) else value
