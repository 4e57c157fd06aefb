"""Workflows SDK classes as code of a release: variables and runs."""

from __future__ import annotations

import functools
import inspect
import logging
import re
import socket
import ssl
import sys
import threading
import traceback
import typing
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC
from functools import cached_property
from io import StringIO
from typing import Annotated, Any
from uuid import UUID

import httpx
from pydantic.fields import FieldInfo
from pydantic_core import PydanticSerializationError
from vellum import Vellum
from vellum.client.environment import VellumEnvironment
from vellum.workflows import BaseWorkflow
from vellum.workflows.context import (
    ExecutionContext,
    monitoring_context_store,
    set_execution_context,
)
from vellum.workflows.descriptors.base import BaseDescriptor
from vellum.workflows.errors import WorkflowErrorCode
from vellum.workflows.events.types import WorkflowDeploymentParentContext
from vellum.workflows.exceptions import NodeException, WorkflowInitializationException
from vellum.workflows.inputs import BaseInputs
from vellum.workflows.loaders.base import BaseWorkflowFinder
from vellum.workflows.nodes import BaseNode
from vellum.workflows.nodes.mocks import MockNodeExecution
from vellum.workflows.nodes.utils import cast_to_output_type
from vellum.workflows.state import BaseState
from vellum.workflows.state.context import WorkflowContext
from vellum.workflows.types.definition import serialize_type_encoder_with_id
from vellum.workflows.types.utils import LOCAL_NS
from vellum.workflows.utils.uuids import uuid4_from_hash
from vellum.workflows.utils.vellum_variables import primitive_type_to_vellum_variable_type
from vellum.workflows.workflows.event_filters import all_workflow_event_filter

from vellum_nb.local.callables.signature import (
    ABSENT,
    Kind,
    Parameter,
    hints_of,
    input_parameter,
    kind_of,
    summary,
    variable,
)
from vellum_nb.local.deployments.sources import local_module
from vellum_nb.local.engine.events import (
    WORKFLOW_FULFILLED,
    Event,
    Rejection,
    RunContext,
    describe_exception,
    values_by_name,
)
from vellum_nb.local.engine.inputs import bind_inputs, non_finite_path
from vellum_nb.local.ledger import storable
from vellum_nb.local.refusals import Refused
from vellum_nb.local.sdk.translation import EventTranslator, own_stacktrace
from vellum_nb.models import VellumVariable, WorkflowInput
from vellum_nb.models.checks import available
from vellum_nb.models.types import value_type

_SPAN = re.compile(r".*:span:([^:]*):.*")
_NOWHERE = "http://127.0.0.1:9"  # a run without a server must not call the cloud
_NODE_KINDS = {
    "BaseInlinePromptNode": "PROMPT",
    "BasePromptDeploymentNode": "PROMPT",
    "BasePromptNode": "PROMPT",
    "ToolCallingNode": "PROMPT",
    "TemplatingNode": "TEMPLATING",
    "CodeExecutionNode": "CODE_EXECUTION",
    "ConditionalNode": "CONDITIONAL",
    "BaseSearchNode": "SEARCH",
    "BaseAPINode": "API",
    "FinalOutputNode": "TERMINAL",
    "MergeNode": "MERGE",
    "MapNode": "MAP",
    "InlineSubworkflowNode": "SUBWORKFLOW",
    "SubworkflowDeploymentNode": "SUBWORKFLOW",
    "GuardrailNode": "METRIC",
}

# The SDK logs exceptions of nodes, which the events contain; keep them out of the notebook.
logging.getLogger("vellum").addHandler(logging.NullHandler())


class SdkWorkflow:
    """A subclass of ``BaseWorkflow`` with the variables of its Inputs and Outputs.

    The SDK does not check inputs against annotations, so they are checked here.
    """

    def __init__(self, target: type[BaseWorkflow[Any, Any]]) -> None:
        share_inputs(target)
        fail_with_nodes(target)
        self.target = target
        self._parameters = {p.variable.key: p for p in _inputs_of(target)}
        self.input_variables = tuple(p.variable for p in self._parameters.values())
        self.output_variables = _outputs_of(target)
        self.description = summary(target.__doc__)

    def begin(self, inputs: Sequence[WorkflowInput], context: RunContext) -> SdkExecution:
        """Check the inputs and return the run, which has not started.

        With a trigger in `context`, the inputs are its attributes, which the SDK checks.
        """
        arguments: dict[str, Any] = {"node_output_mocks": _node_mocks(self.target, context.mocks)}
        if context.trigger in (None, "manual"):
            arguments["inputs"] = bind_inputs(self._parameters, inputs)
        else:
            try:
                values = values_by_name(inputs)
                arguments["trigger"] = self.target.deserialize_trigger(context.trigger, values)
            except WorkflowInitializationException as exc:
                raise Refused(400, exc.message) from exc
        outputs = {variable.key: variable for variable in self.output_variables}
        return SdkExecution(self.target, arguments, outputs, context)


@dataclass
class SdkExecution:
    """A run of a workflow. `cancel`, from any thread, rejects it within 0.1 s.

    Python cannot stop a node that is running, but its requests to the server are cut off.
    """

    target: type[BaseWorkflow[Any, Any]]
    arguments: Mapping[str, Any]
    outputs: Mapping[str, VellumVariable]
    context: RunContext

    def __post_init__(self) -> None:
        self._translator = EventTranslator(self.outputs, self.context)
        self._cancelled = threading.Event()
        # The SDK stores the context of a run by thread: discard that of an earlier run.
        set_execution_context(ExecutionContext())
        self._local = LocalContext(self.context)

    def cancel(self) -> None:
        """Cancel the run."""
        self._cancelled.set()
        self._local.cut()

    def events(self) -> Iterator[Event]:
        """Run in the iterating thread and yield the events."""
        if self._cancelled.is_set():
            return
        try:
            yield from self._events()
        except (WorkflowInitializationException, NodeException) as exc:
            raise Rejection(exc.message, exc.code.value) from exc
        except GeneratorExit:
            self.cancel()
            raise
        except BaseException as exc:
            stacktrace = own_stacktrace(traceback.format_exc())
            raise Rejection(describe_exception(exc), "INTERNAL_ERROR", stacktrace) from exc
        if self._translator.rejection is not None:
            raise self._translator.rejection

    def _events(self) -> Iterator[Event]:
        context = self.context
        set_execution_context(ExecutionContext())
        spans = {context.execution_id, (context.parent or {}).get("span_id", "")}
        try:
            arguments = dict(self.arguments)
            if context.state is not None:
                arguments["state"] = _stored(context.state, self.target.get_state_class())
            if "inputs" in arguments:
                inputs = self.target.get_inputs_class()
                arguments["inputs"] = _filled(inputs, arguments["inputs"])
            workflow = self.target(context=self._local)
            stream = workflow.stream(
                **arguments,
                event_filter=all_workflow_event_filter,
                execution_id=UUID(context.execution_id),
                cancel_signal=self._cancelled,
            )
            for event in stream:  # drained, so the threads of the SDK end
                spans.add(str(event.span_id))
                yield from self._translator.translate(_as_json(event))
            if not self._cancelled.is_set():
                workflow.join()
        finally:
            set_execution_context(ExecutionContext())
            _forget(spans)


class LocalContext(WorkflowContext):
    """Context of the nodes of a run; its Vellum client calls the local server."""

    def __init__(self, context: RunContext) -> None:
        parent: Any = None
        if context.parent is not None:
            fields = {"external_id": None, "metadata": None, **context.parent}
            parent = WorkflowDeploymentParentContext.model_validate(fields)
        spans = ExecutionContext(trace_id=UUID(context.trace_id), parent_context=parent)
        super().__init__(execution_context=spans)
        self._run = context
        self._sockets: list[socket.socket] = []
        self._is_cut = False

    @cached_property
    def vellum_client(self) -> Vellum:
        """The client for nodes."""
        url = self._run.url or _NOWHERE
        hooks: Any = {"request": [lambda request: request.extensions.update(trace=self._traced)]}
        http = httpx.Client(
            timeout=self._run.timeout,
            trust_env=False,
            verify=_tls(),
            limits=httpx.Limits(max_keepalive_connections=0),
            event_hooks=hooks,
        )
        environment = VellumEnvironment(default=url, predict=url, documents=url)
        return Vellum(api_key=self._run.api_key, environment=environment, httpx_client=http)

    def cut(self) -> None:
        """Cut off current and future requests of nodes; can be called from any thread."""
        self._is_cut = True
        for connected in list(self._sockets):
            with suppress(OSError):
                connected.shutdown(socket.SHUT_RDWR)

    def _traced(self, event: str, info: dict[str, Any]) -> None:
        if event == "connection.connect_tcp.complete":
            self._sockets.append(info["return_value"].get_extra_info("socket"))
            if self._is_cut:
                self.cut()


@functools.cache
def _tls() -> ssl.SSLContext:
    """Return a shared context; creating one loads the certificates of the system."""
    return ssl.create_default_context()


def _as_json(event: Any) -> dict[str, Any]:
    """Return an event of the SDK as JSON, without values of nodes that JSON cannot represent."""
    raw: dict[str, Any]
    is_node = event.name.startswith("node.")
    try:
        raw = event.model_dump(mode="json")
    except (PydanticSerializationError, TypeError, ValueError, RecursionError):
        key = f"{event.name.partition('.')[0]}_definition"
        parent = event.parent and event.parent.model_dump(mode="json")
        body = {key: serialize_type_encoder_with_id(getattr(event.body, key))}
        if is_node:
            body |= {"inputs": {}, "outputs": {}, "output": {"name": ""}}
        raw = {"name": event.name, "parent": parent, "body": body}
        raw |= {"id": str(event.id), "span_id": str(event.span_id)}
        raw["timestamp"] = event.timestamp.astimezone(UTC).isoformat()  # the SDK's is local
    if event.name == WORKFLOW_FULFILLED:  # in JSON those numbers are null
        places = (non_finite_path(value, name.name) for name, value in event.outputs)
        raw["non_finite"] = next(filter(None, places), "")
    if is_node:
        bases = event.node_definition.__mro__
        sdk_bases = (b for b in bases if b.__module__.startswith("vellum.workflows.nodes."))
        raw["kind"] = next((k for b in sdk_bases if (k := _NODE_KINDS.get(b.__name__))), "")
    return raw


def _stored(state: Mapping[str, Any], kind: type[BaseState]) -> BaseState:
    """Return a stored state, without unknown fields, converted to the annotations if possible."""
    values: dict[str, Any] = {}
    for name, hint in typing.get_type_hints(kind).items():
        if name in state and name != "meta":
            values[name] = state[name]
            with suppress(NodeException):
                values[name] = state[name] and cast_to_output_type(state[name], hint)
    return kind(**values)


def _filled(inputs: type[BaseInputs], values: Mapping[str, Any]) -> BaseInputs:
    """Create the inputs from checked, complete `values`.

    The SDK itself refuses None for ``Optional`` in ``Annotated`` or with ``from __future__ import
    annotations``, and ignores inputs of base classes.
    """
    if inputs.__init__ is not BaseInputs.__init__:
        return inputs(**values)
    filled = inputs.__new__(inputs)
    for name, value in values.items():
        setattr(filled, name, value)
    return filled


def _forget(spans: set[str]) -> None:
    """Remove data that the SDK stores about spans forever, some 3 kB per run."""
    contexts: dict[str, Any] = getattr(monitoring_context_store, "_contexts", {})
    for key in list(contexts):
        if _SPAN.sub(r"\1", key) in spans:
            contexts.pop(key, None)


def _node_mocks(
    workflow: type[BaseWorkflow[Any, Any]], mocks: Sequence[Mapping[str, Any]]
) -> list[MockNodeExecution] | None:
    """Convert mocks from the form of a push to that of the SDK.

    `node_id` is the id of a node in this release, or in the pushed project with the module
    `module`: the SDK derives ids from module paths.
    """
    if not mocks:
        return None
    nodes = [node for inner in with_inner(workflow) for node in inner.get_all_nodes()]
    raw = [_normalized_mock(mock, nodes) for mock in mocks if not mock.get("disabled")]
    try:
        return MockNodeExecution.validate_all(raw, workflow)
    except WorkflowInitializationException as exc:
        raise Refused(400, f"node_output_mocks: {exc.message}") from exc


def _normalized_mock(
    mock: Mapping[str, Any], nodes: Sequence[type[BaseNode[Any]]]
) -> dict[str, Any]:
    module, condition = str(mock.get("module") or ""), mock.get("when_condition", True)
    if isinstance(condition, Mapping):  # a constant, such as True
        if condition.get("type") != "CONSTANT_VALUE":
            kind = condition.get("type")
            msg = f"node_output_mocks: the when_condition {kind!r:.60} is not supported"
            raise Refused(400, msg)
        value = condition.get("value")
        condition = value.get("value") if isinstance(value, Mapping) else value
    for node in nodes:
        pushed = storable(f"{module}.{local_module(node.__module__)}.{node.__qualname__}")
        if str(mock.get("node_id")) in {str(node.__id__), str(uuid4_from_hash(pushed))}:
            return {
                "type": "NODE_EXECUTION",
                "node_id": str(node.__id__),
                "when_condition": condition,
                "then_outputs": mock.get("then_outputs") or {},
            }
    names = available(sorted({node.__name__ for node in nodes}))
    msg = f"node_output_mocks: no node has the id {mock.get('node_id')!r:.60}{names}"
    raise Refused(400, msg)


# Variables


def _inputs_of(workflow: type[BaseWorkflow[Any, Any]]) -> tuple[Parameter, ...]:
    """Return the inputs of `workflow` in order of definition, base classes first."""
    inputs = workflow.get_inputs_class()
    hints = hints_of(inputs, inputs.__qualname__, dict(LOCAL_NS))
    names: dict[str, None] = {}  # iteration of the class has no order
    for base in reversed(inputs.__mro__):
        names.update(dict.fromkeys(vars(base).get("__annotations__", {})))
    return tuple(
        _parameter(inputs, name, hints[name]) for name in names if not name.startswith("_")
    )


def _outputs_of(workflow: type[BaseWorkflow[Any, Any]]) -> tuple[VellumVariable, ...]:
    """Return the output variables of `workflow` in order of definition."""
    variables: dict[str, VellumVariable] = {}
    for reference in workflow.Outputs:
        kind = _as_vellum_has_it(kind_of(_annotation(reference)), reference)
        id_ = str(workflow.__output_ids__[reference.name])
        variables[reference.name] = variable(id_, reference.name, kind)
    names: dict[str, None] = {}
    for base in reversed(workflow.Outputs.__mro__):
        names.update(dict.fromkeys([*vars(base).get("__annotations__", {}), *vars(base)]))
    return tuple(
        variables[name] for name in (*names, *(variables.keys() - names)) if name in variables
    )


def _parameter(inputs: type[BaseInputs], name: str, hint: Any) -> Parameter:
    try:
        reference = getattr(inputs, name)
    except AttributeError as exc:
        msg = (
            f"the Workflows SDK cannot read {hint}, the annotation of "
            f"{inputs.__qualname__}.{name}; write Optional[...] or Union[...] for types joined by |"
        )
        raise Refused(400, msg) from exc
    default = next((vars(base)[name] for base in inputs.__mro__ if name in vars(base)), ABSENT)
    kind = kind_of(Annotated[hint, default] if isinstance(default, FieldInfo) else hint)
    return input_parameter(str(reference.id), name, _as_vellum_has_it(kind, reference), default)


def _annotation(reference: BaseDescriptor[Any]) -> Any:
    types = tuple(reference.types)
    return typing.Union[types] if types else Any  # noqa: UP007 - built at run time


def _as_vellum_has_it(kind: Kind, reference: BaseDescriptor[Any]) -> Kind:
    """Return `kind` with the type from the SDK, and its schema if that type can have one."""
    type_ = kind.type
    with suppress(ValueError, RecursionError):  # the SDK knows no type for some unions
        type_ = str(primitive_type_to_vellum_variable_type(reference))
    return replace(kind, type=type_, schema=kind.schema if value_type(type_).has_schema else None)


# Patches of the SDK: shared inputs, stable ids, nodes that end their thread


class _Namespace(BaseWorkflowFinder):
    """Finder that removes the package of a snapshot from ids and messages of the SDK."""

    def __init__(self, namespace: str) -> None:
        self.namespace = namespace

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> None:
        """Return None: modules are ordinary files."""

    def format_error_message(self, error_message: str) -> str:
        """Remove the package from a message."""
        return error_message.replace(f"{self.namespace}.", "")

    def virtual_open(self, file_path: str) -> StringIO | None:  # noqa: ARG002 - the SDK names it
        """Return None: files are ordinary files."""
        return None


class _UsersOfInputs(type(BaseWorkflow)):  # type: ignore[misc]
    """Metaclass of a class that equals every workflow with certain inputs."""

    inputs: type[BaseInputs]

    def __eq__(cls, value: object) -> bool:
        is_workflow = isinstance(value, type) and issubclass(value, BaseWorkflow)
        return cls is value or (is_workflow and issubclass(value.get_inputs_class(), cls.inputs))  # type: ignore[attr-defined]

    __hash__ = type.__hash__


def leave_out_of_ids(package: str) -> None:
    """Make the SDK ignore `package` in module paths, from which it derives ids.

    Each release of a project is loaded as a separate package. Call it before the import.
    """
    if not any(getattr(finder, "namespace", "") == package for finder in sys.meta_path):
        sys.meta_path.append(_Namespace(package))


def with_inner(workflow: type[BaseWorkflow[Any, Any]]) -> list[type[BaseWorkflow[Any, Any]]]:
    """Return `workflow` and the distinct workflows in its nodes, at any depth."""
    workflows = [workflow]
    for outer in workflows:  # it grows
        for node in outer.get_all_nodes():
            inner = [reference.instance for reference in node]
            workflows += [
                kind
                for kind in dict.fromkeys(i for i in inner if isinstance(i, type))
                if issubclass(kind, BaseWorkflow) and kind not in workflows
            ]
    return workflows


def share_inputs(workflow: type[BaseWorkflow[Any, Any]]) -> None:
    """Make inputs resolve in all workflows that share them, including inner ones.

    The SDK resolves ``Inputs.text`` only in ``Inputs.__parent_class__``, the first workflow with
    these inputs: a second release in the same notebook would miss its inputs, and a second map
    those of ``MapNode.SubworkflowInputs``. The ids of the inputs do not change.
    """
    for inner in with_inner(workflow):
        for inputs in inner.get_inputs_class().__mro__:
            first: Any = getattr(inputs, "__parent_class__", object)
            if inputs is BaseInputs or isinstance(first, _UsersOfInputs):
                continue
            if issubclass(inputs, BaseInputs) and issubclass(first, BaseWorkflow):
                names = ("__module__", "__qualname__")
                body = {name: getattr(first, name) for name in names}
                body |= {"Outputs": type("Outputs", (), {}), "inputs": inputs}
                users = _UsersOfInputs(first.__name__, (BaseWorkflow,), body)
                users.__id__ = first.__id__
                inputs.__parent_class__ = users


def fail_with_nodes(workflow: type[BaseWorkflow[Any, Any]]) -> None:
    """Make nodes of `workflow` fail if they raise a BaseException.

    The SDK catches only ``Exception``: after ``sys.exit()`` or ``CancelledError`` in a node, it
    would wait forever for a thread that has ended.
    """
    for inner in with_inner(workflow):
        for base in {base for node in inner.get_all_nodes() for base in node.__mro__}:
            run: Any = vars(base).get("run")
            is_own = inspect.isfunction(run) and not base.__module__.startswith("vellum.")
            if is_own and not hasattr(run, "__guarded__"):
                base.run = _guarded(run)  # type: ignore[attr-defined]


def _guarded(run: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(run)
    def stream(*args: Any, **kwargs: Any) -> Iterator[Any]:
        with _as_node_error():
            yield from run(*args, **kwargs)

    guarded: Any = stream if inspect.isgeneratorfunction(run) else _as_node_error()(run)
    guarded.__guarded__ = True
    return guarded  # type: ignore[no-any-return]


@contextmanager
def _as_node_error() -> Iterator[None]:
    try:
        yield
    except (Exception, GeneratorExit):
        raise
    except BaseException as exc:
        raise NodeException(describe_exception(exc), code=WorkflowErrorCode.NODE_EXECUTION) from exc
