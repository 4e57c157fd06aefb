"""One run of a callable, told as events."""

from __future__ import annotations

import asyncio
import inspect
import threading
import traceback
from collections import deque
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator, Iterator, Mapping
from pathlib import PurePath
from typing import Any

from vellum_nb.errors import InputError
from vellum_nb.local.callables.outputs import Chunk, OutputError, Outputs, final_state
from vellum_nb.local.engine.events import Event
from vellum_nb.local.engine.telling import NodeTeller, Rejection, Teller
from vellum_nb.local.engine.words import in_words
from vellum_nb.local.refusals import Reject
from vellum_nb.models import WorkflowOutput

__all__ = ["FunctionExecution"]

_HERE = __file__
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
        tellers: tuple[Teller, NodeTeller],
        *,
        inputs: Mapping[str, Any],
        state: Mapping[str, Any] | None = None,
    ) -> None:
        self._call = call
        self._outputs = outputs
        self._workflow, self._node = tellers
        self._inputs = inputs
        self._state = state
        self._arrived: deque[Chunk] = deque()
        self._cancelled = threading.Event()
        self._abort: Callable[[], object] = lambda: None
        self._lock = threading.Lock()

    def cancel(self) -> None:
        """End the run as soon as Python can."""
        with self._lock:
            self._cancelled.set()
            self._abort()

    def events(self) -> Iterator[Event]:
        """Run, and tell what happens as it happens."""
        yield self._workflow.initiated(self._inputs)
        yield self._node.initiated(self._inputs)
        chunks = self._run()
        while isinstance(step := self._step(chunks), Chunk):
            yield from self._told(step)
        if isinstance(step, Rejection):
            yield self._node.rejected(step)
            yield self._workflow.rejected(step)
            return
        outputs, state = step
        for output in outputs:
            yield self._workflow.complete(output)
        yield self._node.fulfilled(outputs)
        yield self._workflow.fulfilled(outputs, state)

    def _told(self, chunk: Chunk) -> Iterator[Event]:
        output = self._outputs.outline(chunk.name)
        if chunk.first:
            yield self._workflow.begun(output)
        yield self._workflow.grown(output, chunk.text)

    def _step(
        self, chunks: _Chunks
    ) -> Chunk | Rejection | tuple[tuple[WorkflowOutput, ...], Mapping[str, Any] | None]:
        """Return what comes next, the outputs at the end, or why there are none."""
        try:
            chunk = next(chunks, None)
            if chunk is not None:
                return chunk
            return self._outputs.typed(), final_state(self._state)
        except Reject as exc:
            return Rejection("USER_DEFINED_ERROR", str(exc) or "The workflow rejected the run")
        except (OutputError, InputError) as exc:
            return Rejection("INVALID_OUTPUTS", _sentence(str(exc)))
        except asyncio.CancelledError:
            return Rejection("WORKFLOW_CANCELLED", "The run was cancelled")
        except BaseException as exc:  # noqa: BLE001 - whatever a callable raises rejects its run
            return Rejection("NODE_EXECUTION", in_words(exc), _stacktrace(exc))

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
                loop.stop()  # so that `_awaited` tells it before the next one is made
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


async def _await(result: Any) -> Any:
    return await result


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:]


def _stacktrace(exc: BaseException) -> str:
    """Return the callable's own frames, by file name only: folders are this machine's business."""
    frames = traceback.extract_tb(exc.__traceback__)
    ours = max((n for n, frame in enumerate(frames) if frame.filename == _HERE), default=-1)
    lines = ["Traceback (most recent call last):"]
    lines += [
        f'  File "{_file(f.filename)}", line {f.lineno}, in {f.name}' for f in frames[ours + 1 :]
    ]
    return "\n".join([*lines, in_words(exc)])


def _file(path: str) -> str:
    return "<cell>" if "ipykernel_" in path else PurePath(path).name
