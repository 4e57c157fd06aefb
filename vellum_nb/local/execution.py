"""One run of a callable, in a thread of its own."""

from __future__ import annotations

import asyncio
import inspect
import threading
import traceback
from collections.abc import AsyncGenerator, Callable, Coroutine, Generator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any

from vellum_nb.errors import InputError
from vellum_nb.local.outputs import OutputError, Outputs
from vellum_nb.local.refusals import Reject
from vellum_nb.local.workflow import Workflow
from vellum_nb.models import WorkflowOutput

__all__ = ["Execution", "Rejection"]

_HERE = __file__


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a run has no outputs."""

    code: str
    message: str
    stacktrace: str | None = None


class Execution:
    """Runs a workflow once; `cancel` from any thread ends it where Python can end it.

    An async callable is cancelled at its next ``await``, a generator at its next ``yield``. Any
    other callable runs on to its end, and nobody waits for it any more.
    """

    def __init__(self, workflow: Workflow, args: list[Any], kwargs: dict[str, Any]) -> None:
        self._workflow = workflow
        self._call: Callable[[], Any] = lambda: workflow.target(*args, **kwargs)
        self._cancelled = threading.Event()
        self._abort: Callable[[], object] = lambda: None
        self._lock = threading.Lock()

    def cancel(self) -> None:
        """End the run as soon as Python can."""
        with self._lock:
            self._cancelled.set()
            self._abort()

    def run(self) -> tuple[WorkflowOutput, ...] | Rejection:
        """Return the outputs, or why there are none."""
        try:
            return self._outputs()
        except Reject as exc:
            return Rejection("USER_DEFINED_ERROR", str(exc) or "The workflow rejected the run")
        except (OutputError, InputError) as exc:
            return Rejection("NODE_EXECUTION", _sentence(str(exc)))
        except asyncio.CancelledError:
            return Rejection("WORKFLOW_CANCELLED", "The run was cancelled")
        except BaseException as exc:  # noqa: BLE001 - whatever a callable raises rejects its run
            return Rejection("NODE_EXECUTION", _message(exc), _stacktrace(exc))

    def _outputs(self) -> tuple[WorkflowOutput, ...]:
        outputs = Outputs(self._workflow.output_variables)
        result: Any = self._call()
        if isinstance(result, Generator):
            outputs.finish(self._drained(result, outputs))
        elif isinstance(result, AsyncGenerator):
            outputs.finish(self._awaited(self._drained_async(result, outputs)))
        elif inspect.isawaitable(result):
            outputs.finish(self._awaited(_await(result)))
        else:
            outputs.finish(result)
        return outputs.typed()

    def _drained(self, stream: Generator[Any, None, Any], outputs: Outputs) -> Any:
        try:
            while not self._cancelled.is_set():
                outputs.add(next(stream))
        except StopIteration as end:
            return end.value
        finally:
            stream.close()
        raise asyncio.CancelledError

    async def _drained_async(self, stream: AsyncGenerator[Any, None], outputs: Outputs) -> None:
        try:
            async for item in stream:
                outputs.add(item)
        finally:
            await stream.aclose()

    def _awaited(self, work: Coroutine[Any, Any, Any]) -> Any:
        """Run `work` on an event loop of this thread."""
        with asyncio.Runner() as runner:
            loop = runner.get_loop()
            task = loop.create_task(work)
            with self._lock:
                self._abort = lambda: loop.call_soon_threadsafe(task.cancel)
                if self._cancelled.is_set():
                    task.cancel()
            try:
                return loop.run_until_complete(task)
            finally:
                with self._lock:
                    self._abort = lambda: None


async def _await(result: Any) -> Any:
    return await result


def _message(exc: BaseException) -> str:
    with suppress(Exception):
        text = str(exc)
        return f"{type(exc).__name__}: {text}" if text else type(exc).__name__
    return type(exc).__name__


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
    return "\n".join([*lines, _message(exc)])


def _file(path: str) -> str:
    return "<cell>" if "ipykernel_" in path else PurePath(path).name
