"""A callable as a workflow: typed inputs in, events and typed outputs out."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import functools
import inspect
import traceback
import uuid
from collections import deque
from collections.abc import (
    AsyncGenerator,
    Callable,
    Coroutine,
    Generator,
    Iterator,
    Mapping,
    Sequence,
)
from pathlib import PurePath
from threading import Event as Flag
from threading import Lock
from typing import Any, NamedTuple

from pydantic import BaseModel
from pydantic_core import PydanticSerializationError, to_jsonable_python

from vellum_nb.errors import InputError
from vellum_nb.local.callables.signature import (
    inputs_of,
    name_of,
    outputs_of,
    state_of,
    summary_of,
    variable_id,
)
from vellum_nb.local.deployments.sources import module_of
from vellum_nb.local.engine.events import (
    Event,
    EventBuilder,
    Rejection,
    RunContext,
    code_definition,
    describe_exception,
    values_by_name,
)
from vellum_nb.local.engine.inputs import (
    bind_inputs,
    non_finite_path,
    plain_type,
    wire_problem,
    wire_value,
)
from vellum_nb.local.refusals import Reject, bad_request
from vellum_nb.local.types import State
from vellum_nb.models import VellumVariable, WorkflowInput, WorkflowOutput
from vellum_nb.models.media import MEDIA_TYPES, media_dict, media_type_of

_SINGLE = "output"
_HERE = __file__


class Workflow:
    """A callable with the variables of its signature."""

    def __init__(self, target: Callable[..., Any]) -> None:
        self.target = target
        self._state = state_of(target)
        self._parameters = {p.variable.key: p for p in inputs_of(target)}
        self.input_variables = tuple(p.variable for p in self._parameters.values())
        self.output_variables = outputs_of(target)
        self.description = summary_of(target)

    def begin(self, inputs: Sequence[WorkflowInput], context: RunContext) -> FunctionExecution:
        """Check the inputs and return the run; nothing has run yet."""
        if context.trigger not in (None, "manual"):
            msg = f"{name_of(self.target)} has no trigger {context.trigger!r:.160}; leave it out"
            raise bad_request(msg)
        if context.mocks:
            msg = f"{name_of(self.target)} has no nodes to mock; leave node_output_mocks out"
            raise bad_request(msg)
        args, kwargs = self.bind(inputs)
        state = None
        if self._state is not None:
            state = kwargs[self._state] = State(copy.deepcopy(dict(context.state or {})))
        return FunctionExecution(
            functools.partial(self.target, *args, **kwargs),
            Outputs(self.output_variables),
            self._event_builders(context),
            inputs=values_by_name(inputs),
            state=state,
        )

    def bind(self, inputs: Sequence[WorkflowInput]) -> tuple[list[Any], dict[str, Any]]:
        """Return `inputs` as the arguments of the callable; raises as `begin` does."""
        values = bind_inputs(self._parameters, inputs)
        positional = {key for key in values if self._parameters[key].positional}
        args = [value for key, value in values.items() if key in positional]
        return args, {key: value for key, value in values.items() if key not in positional}

    def _event_builders(self, context: RunContext) -> tuple[EventBuilder, EventBuilder]:
        name, module = name_of(self.target), module_of(self.target)
        workflow, node = (
            code_definition(variable_id(what, f"{module}:{name}"), name, module)
            for what in ("workflow", "node")
        )
        builder = EventBuilder(context.execution_id, context.trace_id, workflow, context.parent)
        return builder, builder.node(node, "CODE_EXECUTION", str(uuid.uuid4()))


class OutputError(Exception):
    """A callable returned a value that cannot be an output."""


class Chunk(NamedTuple):
    """Text that a generator yielded for an output."""

    name: str
    text: str
    first: bool


class Outputs:
    """The outputs of one run as they come in."""

    def __init__(self, declared: Sequence[VellumVariable]) -> None:
        self._declared = {variable.key: variable for variable in declared}
        self._chunks: dict[str, list[str]] = {}
        self._values: dict[str, Any] = {}

    def add(self, yielded: Any) -> Chunk:
        """Add what a generator yields: text, or a (name, text) pair."""
        name, text = _SINGLE, yielded
        if isinstance(yielded, tuple) and len(yielded) == 2 and _is_name(yielded[0]):  # noqa: PLR2004
            name, text = yielded
        if not isinstance(text, str):
            msg = f"the generator yielded {_preview(yielded)}; text or (name, text) is expected"
            raise OutputError(msg)
        self._values.setdefault(name, None)  # keeps the order of arrival
        chunks = self._chunks.setdefault(name, [])
        chunks.append(text)
        return Chunk(name, text, first=len(chunks) == 1)

    def outline(self, name: str) -> WorkflowOutput:
        """Return an output that is still coming, without a value."""
        return WorkflowOutput(id=self._id(name), name=name, type="STRING", value=None)

    def finish(self, returned: Any) -> None:
        """Add what the callable returned; a generator may return nothing."""
        if returned is None and self._chunks:
            return
        for name, value in _named(returned).items():
            self._chunks.pop(name, None)
            self._values[name] = value

    def typed(self) -> tuple[WorkflowOutput, ...]:
        """Return the outputs with their types."""
        return tuple(self._output(name) for name in self._values)

    def _output(self, name: str) -> WorkflowOutput:
        chunks = self._chunks.get(name)
        value = self._values[name] if chunks is None else "".join(chunks)
        declared = self._declared.get(name)
        type_, value = _typed(name, value, declared.type if declared else None)
        return WorkflowOutput(id=self._id(name), name=name, type=type_, value=value)

    def _id(self, name: str) -> str:
        declared = self._declared.get(name)
        return declared.id if declared else variable_id("output", name)


_Chunks = Generator[Chunk, None, Any]


class FunctionExecution:
    """Runs a callable once; `cancel` from any thread ends it where Python can end it.

    An async callable is cancelled at its next ``await``, a generator at its next ``yield``. Any
    other callable runs on to its end, and nobody waits for it any more.
    """

    def __init__(
        self,
        call: Callable[[], Any],
        outputs: Outputs,
        builders: tuple[EventBuilder, EventBuilder],
        *,
        inputs: Mapping[str, Any],
        state: Mapping[str, Any] | None = None,
    ) -> None:
        self._call = call
        self._outputs = outputs
        self._workflow, self._node = builders
        self._inputs = inputs
        self._state = state
        self._arrived: deque[Chunk] = deque()
        self._cancelled = Flag()
        self._abort: Callable[[], object] = lambda: None
        self._lock = Lock()

    def cancel(self) -> None:
        """End the run as soon as Python can."""
        with self._lock:
            self._cancelled.set()
            self._abort()

    def events(self) -> Iterator[Event]:
        """Run, and yield what happens as it happens; raises a `Rejection` when it fails."""
        yield self._workflow.initiated(self._inputs)
        yield self._node.initiated(self._inputs)
        chunks = self._run()
        while (chunk := self._step(lambda: next(chunks, None))) is not None:
            output = self._outputs.outline(chunk.name)
            if chunk.first:
                yield self._workflow.streaming(output)
            yield self._workflow.streaming(output, delta=chunk.text)
        outputs, state = self._step(lambda: (self._outputs.typed(), final_state(self._state)))
        for output in outputs:
            yield self._workflow.streaming(output, value=output.value)
        yield self._node.fulfilled(outputs)
        yield self._workflow.fulfilled(outputs, state)

    def _step(self, work: Callable[[], Any]) -> Any:
        """Return what `work` returns; whatever it raises becomes a `Rejection`."""
        try:
            return work()
        except Reject as exc:
            code, message = "USER_DEFINED_ERROR", str(exc) or "The workflow rejected the run"
        except (OutputError, InputError) as exc:
            code, message = "INVALID_OUTPUTS", str(exc)[:1].upper() + str(exc)[1:]
        except asyncio.CancelledError:
            code, message = "WORKFLOW_CANCELLED", "The run was cancelled"
        except BaseException as exc:  # noqa: BLE001 - whatever a callable raises rejects its run
            raise Rejection(describe_exception(exc), "NODE_EXECUTION", _stacktrace(exc)) from None
        raise Rejection(message, code)

    def _run(self) -> _Chunks:
        if self._cancelled.is_set():
            raise asyncio.CancelledError
        result: Any = self._call()
        if isinstance(result, Generator):
            result = yield from self._drained(result)
        elif isinstance(result, AsyncGenerator):
            result = yield from self._awaited(self._drained_async(result))
        elif inspect.isawaitable(result):
            result = yield from self._awaited(_await(result))
        self._outputs.finish(result)

    def _drained(self, stream: Generator[Any, None, Any]) -> _Chunks:
        try:
            while not self._cancelled.is_set():
                yield self._outputs.add(next(stream))
        except StopIteration as end:
            return end.value
        finally:
            stream.close()
        raise asyncio.CancelledError

    async def _drained_async(self, stream: AsyncGenerator[Any, None]) -> None:
        loop = asyncio.get_running_loop()
        try:
            async for item in stream:
                self._arrived.append(self._outputs.add(item))
                loop.stop()  # so that `_awaited` yields it before the next one is made
                await asyncio.sleep(0)
        finally:
            await stream.aclose()

    def _awaited(self, work: Coroutine[Any, Any, Any]) -> _Chunks:
        """Run `work` as one task on an event loop of this thread, stopping for each chunk."""
        with asyncio.Runner() as runner:
            loop = runner.get_loop()
            task = loop.create_task(work)
            task.add_done_callback(lambda _: loop.stop())
            with self._lock:
                self._abort = lambda: loop.call_soon_threadsafe(task.cancel)
                if self._cancelled.is_set():
                    task.cancel()
            try:
                while not task.done():
                    loop.run_forever()
                    while self._arrived:
                        yield self._arrived.popleft()
                return task.result()
            finally:
                with self._lock:
                    self._abort = lambda: None


def final_state(state: Mapping[Any, Any] | None) -> dict[str, Any] | None:
    """Return what a run left in its state, as plain JSON."""
    if state is None:
        return None
    wrong = [key for key in state if not isinstance(key, str)]
    if wrong:
        msg = f"the state has the key {wrong[0]!r}; its keys must be text"
        raise OutputError(msg)
    return {key: _plain(key, value, what="state") for key, value in state.items()}


async def _await(result: Any) -> Any:
    return await result


def _is_name(name: Any) -> bool:
    return isinstance(name, str) and bool(name)


def _named(returned: Any) -> dict[str, Any]:
    """Return the values of a returned object by output name."""
    if isinstance(returned, Mapping):
        wrong = [key for key in returned if not _is_name(key)]
        if wrong:
            msg = f"the returned dict has the key {wrong[0]!r}; outputs are named by text"
            raise OutputError(msg)
        return dict(returned)
    if isinstance(returned, BaseModel):
        return {name: getattr(returned, name) for name in type(returned).model_fields}
    if dataclasses.is_dataclass(returned) and not isinstance(returned, type):
        return {f.name: getattr(returned, f.name) for f in dataclasses.fields(returned)}
    return {_SINGLE: returned}


def _typed(name: str, value: Any, declared: str | None) -> tuple[str, Any]:
    if declared in MEDIA_TYPES or (declared is None and isinstance(value, bytes)):
        if isinstance(value, str):
            value = {"src": value}
        elif value is not None and not isinstance(value, Mapping):
            value = media_dict(value, declared)
        declared = declared or media_type_of(value)
    plain = _plain(name, value)
    type_ = declared or plain_type(plain)
    if plain is None:
        return type_, None
    problem = wire_problem(plain, type_)
    if problem:
        msg = f"the output {name!r} is {_preview(plain)}, but {problem}"
        raise OutputError(msg)
    return type_, wire_value(plain, type_)


def _plain(name: str, value: Any, *, what: str = "output") -> Any:
    """Return `value` as plain JSON."""
    try:
        plain = to_jsonable_python(value, fallback=_foreign, inf_nan_mode="constants")
    except (PydanticSerializationError, ValueError, RecursionError) as exc:
        reason = str(exc).removeprefix("Error calling function `<unknown>`: ")
        msg = f"the {what} {name!r} is {_preview(value)}, which JSON cannot carry: {reason}"
        raise OutputError(msg) from exc
    where = non_finite_path(plain, name)
    if where:
        msg = (
            f"the {what} {where} is not a finite number (NaN or infinite), which JSON cannot carry"
        )
        raise OutputError(msg)
    return plain


def _foreign(value: Any) -> Any:
    """Return NumPy and pandas values as Python's; they are recognised by their methods."""
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        return value.to_dict(orient="records")
    for name in ("tolist", "item"):
        if hasattr(value, "dtype") and hasattr(value, name):
            return getattr(value, name)()
    msg = f"a {type(value).__name__} has no JSON form"
    raise ValueError(msg)


def _preview(value: Any) -> str:
    kind = type(value).__name__
    simple = isinstance(value, str | int | float | bool | list | dict | tuple)
    return f"{kind} {value!r:.60}" if simple else f"a {kind}"


def _stacktrace(exc: BaseException) -> str:
    """Return the callable's own frames, with file names only: folders are not shown."""
    frames = traceback.extract_tb(exc.__traceback__)
    ours = max((n for n, frame in enumerate(frames) if frame.filename == _HERE), default=-1)
    lines = ["Traceback (most recent call last):"]
    lines += [
        f'  File "{_file(f.filename)}", line {f.lineno}, in {f.name}' for f in frames[ours + 1 :]
    ]
    return "\n".join([*lines, describe_exception(exc)])


def _file(path: str) -> str:
    return "<cell>" if "ipykernel_" in path else PurePath(path).name
