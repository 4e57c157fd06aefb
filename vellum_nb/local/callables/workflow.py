"""A callable as a workflow: typed inputs in, events and typed outputs out."""

from __future__ import annotations

import asyncio
import copy
import dataclasses
import functools
import inspect
import threading
import traceback
from collections import deque
from collections.abc import (
    AsyncGenerator,
    Awaitable,
    Callable,
    Generator,
    Iterator,
    Mapping,
    Sequence,
)
from dataclasses import dataclass, field
from typing import Any

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
    Rejection,
    RunContext,
    code_definition,
    describe_exception,
    initiated,
    own_frames,
    values_by_name,
)
from vellum_nb.local.engine.inputs import (
    bind_inputs,
    non_finite_path,
    output_of,
    wire_problem,
    wire_value,
)
from vellum_nb.local.refusals import Refused, Reject
from vellum_nb.local.types import State
from vellum_nb.models import VellumVariable, WorkflowInput, WorkflowOutput
from vellum_nb.models.inputs import plain_type
from vellum_nb.models.media import MEDIA_TYPES, media_dict, media_type_of

_SINGLE = "output"


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
        """Check the inputs and return the run, which has not started."""
        name, module = name_of(self.target), module_of(self.target)
        if context.trigger not in (None, "manual"):
            raise Refused(400, f"{name} has no trigger {context.trigger!r:.160}; leave it out")
        if context.mocks:
            raise Refused(400, f"{name} has no nodes to mock; leave node_output_mocks out")
        kwargs = bind_inputs(self._parameters, inputs)
        positional = [key for key in kwargs if self._parameters[key].positional]
        args = [kwargs.pop(key) for key in positional]
        state = None
        if self._state is not None:
            state = kwargs[self._state] = State(copy.deepcopy(dict(context.state or {})))
        workflow, node = (
            code_definition(variable_id(kind, f"{module}:{name}"), name, module)
            for kind in ("workflow", "node")
        )
        values = values_by_name(inputs)
        first = initiated(context, workflow, values)
        return FunctionExecution(
            functools.partial(self.target, *args, **kwargs),
            {variable.key: variable for variable in self.output_variables},
            first,
            first.node_initiated(node, "CODE_EXECUTION", values),
            state,
        )


@dataclass
class FunctionExecution:
    """A run of a callable; `cancel` can be called from any thread.

    An async callable is cancelled at its next ``await``, a generator at its next ``yield``. Python
    cannot stop other callables.
    """

    _call: Callable[[], Any]
    _declared: Mapping[str, VellumVariable]
    _workflow: Event
    _node: Event
    _state: Mapping[Any, Any] | None
    _returned: Any = None
    _arrived: deque[Any] = field(default_factory=deque)
    _cancelled: threading.Event = field(default_factory=threading.Event)
    _abort: Callable[[], object] = bool
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def cancel(self) -> None:
        """Cancel the run as soon as possible."""
        with self._lock:
            self._cancelled.set()
            self._abort()

    def events(self) -> Iterator[Event]:
        """Run and yield events; raise a `Rejection` if it fails."""
        try:
            yield from self._events()
        except (Rejection, GeneratorExit):
            raise
        except Reject as exc:
            message = str(exc) or "The workflow rejected the run"
            raise Rejection(message, "USER_DEFINED_ERROR") from None
        except InputError as exc:
            message = str(exc)[:1].upper() + str(exc)[1:]
            raise Rejection(message, "INVALID_OUTPUTS") from None
        except BaseException as exc:  # noqa: BLE001 - any exception rejects the run
            frames = "".join(traceback.format_tb(exc.__traceback__))
            message = describe_exception(exc)
            stacktrace = f"Traceback (most recent call last):\n{own_frames(frames)}\n{message}"
            raise Rejection(message, "NODE_EXECUTION", stacktrace) from None

    def _events(self) -> Iterator[Event]:
        yield self._workflow
        yield self._node
        texts: dict[str, list[str]] = {}
        streamed: dict[str, WorkflowOutput] = {}
        for item in self._run():
            is_pair = isinstance(item, tuple) and len(item) == 2  # noqa: PLR2004
            name, text = item if is_pair else (_SINGLE, item)
            if not isinstance(name, str) or not isinstance(text, str) or not name:
                msg = f"The generator yielded {_preview(item)}; text or (name, text) is expected"
                raise Rejection(msg, "INVALID_OUTPUTS")
            if name not in texts:
                texts[name], streamed[name] = [], output_of(self._declared, name, "STRING", None)
                yield self._workflow.streaming(streamed[name])
            texts[name].append(text)
            yield self._workflow.streaming(streamed[name], delta=text)
        outputs, state = self._ended(texts)
        for output in outputs:
            yield self._workflow.streaming(output, value=output.value)
        yield self._node.fulfilled(outputs)
        yield self._workflow.fulfilled(outputs, state)

    def _run(self) -> Iterator[Any]:
        """Call it and yield its items; store its result in `_returned`."""
        if self._cancelled.is_set():
            raise asyncio.CancelledError
        result: Any = self._call()
        if isinstance(result, Generator):
            result = yield from self._drained(result)
        elif isinstance(result, AsyncGenerator):
            result = yield from self._awaited(self._drained_async(result))
        elif inspect.isawaitable(result):
            result = yield from self._awaited(result)
        self._returned = result

    def _drained(self, stream: Generator[Any, None, Any]) -> Generator[Any, None, Any]:
        try:
            while not self._cancelled.is_set():
                yield next(stream)
        except StopIteration as end:
            return end.value
        finally:
            stream.close()
        raise asyncio.CancelledError

    async def _drained_async(self, stream: AsyncGenerator[Any, None]) -> None:
        loop = asyncio.get_running_loop()
        try:
            async for item in stream:
                self._arrived.append(item)
                loop.stop()  # `_awaited` yields it before the next one
                await asyncio.sleep(0)
        finally:
            await stream.aclose()

    def _awaited(self, work: Awaitable[Any]) -> Generator[Any, None, Any]:
        """Run `work` as a task on an event loop of this thread, which stops for each item."""
        with asyncio.Runner() as runner:
            loop = runner.get_loop()
            task = asyncio.ensure_future(work, loop=loop)
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
                    self._abort = bool

    def _ended(
        self, texts: Mapping[str, Sequence[str]]
    ) -> tuple[list[WorkflowOutput], dict[str, Any] | None]:
        values: dict[str, Any] = {name: "".join(parts) for name, parts in texts.items()}
        if self._returned is not None or not texts:
            values |= _named(self._returned)
        outputs = []
        for name, value in values.items():
            declared = self._declared.get(name)
            type_, plain = _typed(name, value, declared.type if declared else None)
            outputs.append(output_of(self._declared, name, type_, plain))
        if self._state is None:
            return outputs, None
        _check_names(self._state, "The state has the key {!r}; its keys must be text")
        return outputs, {key: _plain(key, value, "state") for key, value in self._state.items()}


def _named(returned: Any) -> dict[str, Any]:
    if isinstance(returned, Mapping):
        _check_names(returned, "The returned dict has the key {!r}; outputs are named by text")
        return dict(returned)
    if isinstance(returned, BaseModel):
        return {name: getattr(returned, name) for name in type(returned).model_fields}
    if dataclasses.is_dataclass(returned) and not isinstance(returned, type):
        return {f.name: getattr(returned, f.name) for f in dataclasses.fields(returned)}
    return {_SINGLE: returned}


def _check_names(values: Mapping[Any, Any], message: str) -> None:
    for key in values:
        if not isinstance(key, str) or not key:
            raise Rejection(message.format(key), "INVALID_OUTPUTS")


def _typed(name: str, value: Any, declared: str | None) -> tuple[str, Any]:
    if declared in MEDIA_TYPES or (declared is None and isinstance(value, bytes)):
        if isinstance(value, str):
            value = {"src": value}
        elif value is not None and not isinstance(value, Mapping):
            value = media_dict(value, declared)
        declared = declared or media_type_of(value)
    plain = _plain(name, value, "output")
    type_ = declared or plain_type(plain)
    if plain is None:
        return type_, None
    problem = wire_problem(plain, type_)
    if problem:
        msg = f"The output {name!r} is {_preview(plain)}, but {problem}"
        raise Rejection(msg, "INVALID_OUTPUTS")
    return type_, wire_value(plain, type_)


def _plain(name: str, value: Any, noun: str) -> Any:
    try:
        plain = to_jsonable_python(value, fallback=_foreign, inf_nan_mode="constants")
    except (PydanticSerializationError, ValueError, RecursionError) as exc:
        reason = str(exc).removeprefix("Error calling function `<unknown>`: ")
        msg = f"The {noun} {name!r} is {_preview(value)}, which JSON cannot represent: {reason}"
        raise Rejection(msg, "INVALID_OUTPUTS") from exc
    where = non_finite_path(plain, name)
    if where:
        msg = (
            f"The {noun} {where} is not a finite number (NaN or infinite): JSON cannot represent it"
        )
        raise Rejection(msg, "INVALID_OUTPUTS")
    return plain


def _foreign(value: Any) -> Any:
    """Convert NumPy and pandas values, recognised by their methods, to Python values."""
    if hasattr(value, "to_dict") and hasattr(value, "columns"):
        return value.to_dict(orient="records")
    if hasattr(value, "dtype") and hasattr(value, "tolist"):
        return value.tolist()
    msg = f"a {type(value).__name__} has no JSON form"
    raise ValueError(msg)


def _preview(value: Any) -> str:
    kind = type(value).__name__
    simple = isinstance(value, str | int | float | bool | list | dict | tuple)
    return f"{kind} {value!r:.60}" if simple else f"a {kind}"
