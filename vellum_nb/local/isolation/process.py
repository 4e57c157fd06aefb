"""Code that runs in a process of its own, forked by a fork server of `multiprocessing`.

The fork server has imported what runs need, so that a process is there in milliseconds. Where
there is no forking, or it fails, a new Python does the job.
"""

from __future__ import annotations

import functools
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import forkserver, reduction
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from vellum_nb.local.deployments.sources import CodeUnavailableError, Snapshot
from vellum_nb.local.engine.events import (
    NODE_FULFILLED,
    Event,
    Rejection,
    RunContext,
    events_from_json,
    to_json,
)
from vellum_nb.local.engine.inputs import check_inputs
from vellum_nb.local.isolation.child import ForkedChild
from vellum_nb.local.refusals import bad_request
from vellum_nb.models import VellumVariable, WorkflowInput

DEFAULT_MEMORY_LIMIT = None if os.name == "nt" else 2 * 1024**3
"""Bytes of address space of a run in a process of its own."""
_LEAST_MEMORY = 256 * 1024**2
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_DESCRIBE_S = 60.0
_TERMINATE_S = 1.0  # from SIGTERM to SIGKILL
_OUTPUT = 64 * 1024  # bytes that are kept of what the process printed last
_ERROR_CHARS = 4000
_OURS = (f'File "{Path(__file__).parent.parent}{os.sep}', 'File "<frozen runpy>"')
_FOLDERS = re.compile(r'(File ")[^"\n]*[/\\](?=[^"/\\\n]+")')
# fmt: off
_PASSED_ON = frozenset({
    "APPDATA", "COMSPEC", "CONDA_PREFIX", "DYLD_LIBRARY_PATH", "HOME", "LANG", "LANGUAGE",
    "LD_LIBRARY_PATH", "LOCALAPPDATA", "LOGNAME", "PATH", "PATHEXT", "SHELL", "SSL_CERT_DIR",
    "SSL_CERT_FILE", "SYSTEMDRIVE", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "TZ", "USER",
    "USERNAME", "USERPROFILE", "VIRTUAL_ENV", "WINDIR",
})
# fmt: on


@dataclass(frozen=True, slots=True)
class ProcessOptions:
    """Options of the process of each run."""

    memory_limit: int | None = None  # bytes of address space, some 200 MiB of Python's included
    env: tuple[str, ...] = ()  # names of environment variables that are passed on
    isolation: str = "process"  # or where Vellum's workflow server runs: container, environment
    image: str | None = None
    digest: str | None = None
    python: str | None = None


def process_options(
    isolation: str, *, memory_limit: int | None, env: Sequence[str]
) -> ProcessOptions | None:
    """Return the options of a process, or None when runs stay in the kernel's process."""
    problem = ""
    if isolation == "kernel":
        if memory_limit is None and not env:
            return None
        problem = 'memory_limit and env are for runs in a process: say isolation="process"'
    elif isolation != "process":
        known = "kernel, process, container, environment"
        problem = f"isolation={isolation!r:.40} is not known; it is one of: {known}"
    elif isinstance(env, str) or not all(_NAME.fullmatch(name) for name in env):
        problem = f"env is a list of names of environment variables, not {env!r:.60}"
    elif memory_limit is not None and os.name == "nt":
        problem = "memory_limit cannot be enforced on Windows; leave it out"
    elif memory_limit is not None and memory_limit < _LEAST_MEMORY:
        problem = (
            f"memory_limit={memory_limit} is too small: it is in bytes, and Python itself needs "
            f"a part of it; give {_LEAST_MEMORY} (256 MiB) or more"
        )
    if problem:
        raise bad_request(problem)
    return ProcessOptions(memory_limit, tuple(env))


@dataclass(frozen=True)
class ProcessCode:
    """A workflow of a snapshot; each run is a process, and none of it is imported here."""

    snapshot: Snapshot
    entry: str
    options: ProcessOptions
    input_variables: tuple[VellumVariable, ...]
    output_variables: tuple[VellumVariable, ...]
    description: str

    @classmethod
    def described(
        cls, snapshot: Snapshot, entry: str, options: ProcessOptions
    ) -> tuple[str, ProcessCode]:
        """Import the source in a process, and return its place and the code with its variables."""
        try:
            child = _Child(_job("describe", snapshot, entry, options), sdk=snapshot.uses_sdk)
        except OSError as exc:
            msg = f"no process could be started to import it: {exc}"
            raise CodeUnavailableError(msg) from exc
        timer = threading.Timer(_DESCRIBE_S, child.kill)
        timer.start()
        kind: str = ""
        content: Any = ""
        try:
            kind, content = next(child.messages(), ("", ""))
        finally:
            is_late = not timer.is_alive()
            timer.cancel()
            status, output = child.end()
        if kind == "described":
            place, inputs, outputs, description = content
            variables = _VARIABLES.validate_python(inputs), _VARIABLES.validate_python(outputs)
            return place, cls(snapshot, place, options, *variables, description)
        if is_late:
            content = f"it took longer than {_DESCRIBE_S:g} seconds to import"
        ended = f"the process that imported it {_how_ended(status)}{output and f': {output}'}"
        raise CodeUnavailableError(content or ended)

    def begin(self, inputs: Sequence[WorkflowInput], context: RunContext) -> ProcessExecution:
        """Check the inputs and return the run; nothing has run yet."""
        check_inputs(self.input_variables, inputs)
        names = ("execution_id", "trace_id", "parent", "state", "timeout", "url", "api_key")
        job = _job("run", self.snapshot, self.entry, self.options)
        job["inputs"] = [each.model_dump(mode="json") for each in inputs]
        job["context"] = {name: getattr(context, name) for name in (*names, "trigger", "mocks")}
        start = functools.partial(_Child, job, sdk=self.snapshot.uses_sdk)
        return ProcessExecution(start, context, self.options.memory_limit)


class ProcessExecution:
    """One run in a process; `cancel` ends it with all that it started."""

    def __init__(
        self, start: Callable[[], _Child], context: RunContext, memory_limit: int | None
    ) -> None:
        self._start = start
        self._context = context
        self._memory_limit = memory_limit
        self._lock = threading.Lock()
        self._cancelled = False
        self._child: _Child | None = None

    def cancel(self) -> None:
        """End the process, whatever it does."""
        with self._lock:
            self._cancelled = True
            if self._child is not None:
                self._child.kill()

    def events(self) -> Iterator[Event]:
        """Run the process and yield its events; a crash is a `Rejection`."""
        child = self._started()
        try:
            for kind, content in child.messages():
                if kind != "event":
                    raise self._rejection(kind, content)
                yield self._completed(content)
                if content.ends:
                    return
        finally:
            status, output = child.end()
        if self._cancelled:
            raise Rejection(_CANCELLED, "WORKFLOW_CANCELLED")
        limit = self._memory_limit
        is_limited = limit is not None and status < 0  # want of memory ends by a signal
        hint = f" (its memory_limit is {limit:,} bytes)" if is_limited else ""
        message = f"The process of the run {_how_ended(status)} before the run was over{hint}"
        raise Rejection(message, "NODE_EXECUTION", output or None)

    def _started(self) -> _Child:
        with self._lock:
            if self._cancelled:
                raise Rejection(_CANCELLED, "WORKFLOW_CANCELLED")
        try:
            child = self._start()
        except OSError as exc:
            message = f"No process could be started for the run: {exc}"
            raise Rejection(message, "INTERNAL_ERROR") from exc
        with self._lock:
            self._child = child
            is_cancelled: bool = self._cancelled
        if is_cancelled:  # since it was looked at
            child.kill()
        return child

    def _completed(self, event: Event) -> Event:
        """Return an event with what the process cannot know."""
        if event.name == NODE_FULFILLED and event.kind == "PROMPT":
            return replace(event, usage=event.usage or self._context.usage(event.span_id))
        error = event.body.get("error")
        if not event.name.endswith(".rejected") or not error:
            return event
        why = self._with_limit(error["message"], event.body.get("stacktrace"))
        return replace(event, body={**event.body, "error": {**error, "message": why}})

    def _rejection(self, kind: str, content: Any) -> Rejection:
        if kind == "rejected":
            code, message, stacktrace = content
            return Rejection(self._with_limit(message, stacktrace), code, stacktrace)
        if kind == "refused":
            return Rejection(content, "INVALID_INPUTS")
        if kind == "unavailable":
            text = f"The code of this release is not loaded: {content}"
            return Rejection(f"{text}. Deploy it again to run it.", "INVALID_WORKFLOW")
        reason = self._with_limit(content, None)
        return Rejection(f"The process of the run failed: {reason}", "NODE_EXECUTION")

    def _with_limit(self, message: str, stacktrace: str | None) -> str:
        """Return the message of an error, with the limit when memory ran out."""
        limit = self._memory_limit
        if limit is None or "MemoryError" not in f"{message}{stacktrace}":
            return message
        reason = message or "MemoryError"
        return f"The run needed more than its memory_limit of {limit:,} bytes ({reason})"


_CANCELLED = "The run was cancelled"
_VARIABLES: TypeAdapter[tuple[VellumVariable, ...]] = TypeAdapter(tuple[VellumVariable, ...])


class _Child:
    """A process that does one job; it leads a group, so that what it starts ends with it."""

    def __init__(self, job: Mapping[str, Any], *, sdk: bool) -> None:
        self._lock = threading.Lock()
        self._is_over = False
        self._killer: threading.Timer | None = None
        self._output = bytearray()
        self._events, events = os.pipe()
        printed, output = os.pipe()
        try:
            self._process = _fork(job, events, output, sdk=sdk) or _Fresh(job, events, output)
        except BaseException:
            os.close(self._events)
            os.close(printed)
            raise
        finally:
            os.close(events)
            os.close(output)
        self._listener = threading.Thread(
            target=self._listen, args=(printed,), name="vellum_nb-run-output", daemon=True
        )
        self._listener.start()

    def messages(self) -> Iterator[tuple[str, Any]]:
        """Yield the messages of the process until it has ended."""
        with os.fdopen(self._events, "rb") as reader:
            self._process.send_job()
            yield from map(_message, reader)

    def kill(self) -> None:
        """Terminate it and its group, and kill what is left soon after; it may have ended."""
        with self._lock:
            if self._is_over or self._killer is not None:
                return
            self._process.signal(signal.SIGTERM)
            self._killer = threading.Timer(_TERMINATE_S, self._kill)
            self._killer.daemon = True
            self._killer.start()

    def end(self) -> tuple[int, str]:
        """Kill what is left of its group; return its exit status and what it printed last."""
        self._kill()
        with self._lock:
            self._is_over = True
            if self._killer is not None:
                self._killer.cancel()
        status = self._process.wait()
        self._listener.join(1.0)  # a process that left the group may hold the pipe
        return status, _without_our_frames(bytes(self._output))

    def _kill(self) -> None:
        with self._lock:
            if not self._is_over:
                self._process.signal(_SIGKILL)

    def _listen(self, pipe: int) -> None:
        with os.fdopen(pipe, "rb", buffering=0) as reader:
            while piece := reader.read(4096):
                self._output += piece
                del self._output[:-_OUTPUT]


class _Forked:
    """A process of the fork server."""

    def __init__(self, job: Mapping[str, Any], status: int, jobs: int) -> None:
        self._job = job
        self._status = status
        self._jobs = jobs
        self._pid: int = forkserver.read_signed(status)

    def send_job(self) -> None:
        with suppress(BrokenPipeError), os.fdopen(os.dup(self._jobs), "wb") as writer:
            # Without a path of the main module: the user's script must not be imported again.
            reduction.dump({"name": "vellum_nb-run", "sys_path": self._job["path"]}, writer)
            reduction.dump(ForkedChild(self._job), writer)

    def signal(self, number: int) -> None:
        try:
            os.killpg(self._pid, number)
        except (ProcessLookupError, PermissionError):  # it has ended, or leads no group yet
            if number != _SIGKILL:
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(self._pid, number)

    def wait(self) -> int:
        try:
            return int(forkserver.read_signed(self._status))
        except EOFError:  # the fork server was killed
            return -_SIGKILL
        finally:
            os.close(self._status)
            os.close(self._jobs)


class _Fresh:
    """A new Python."""

    def __init__(self, job: Mapping[str, Any], events: int, output: int) -> None:
        self._job = job
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "vellum_nb.local.isolation.child"],
            stdin=subprocess.PIPE,
            stdout=events,
            stderr=output,
            env={**job["environment"], "PYTHONPATH": os.pathsep.join(job["path"])},
            start_new_session=True,
        )

    def send_job(self) -> None:
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        with suppress(BrokenPipeError):
            self._process.stdin.write(to_json(self._job).encode("ascii") + b"\n")
            self._process.stdin.flush()

    def signal(self, number: int) -> None:
        if os.name == "nt":
            self._process.kill()
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, number)

    def wait(self) -> int:
        status = self._process.wait()
        assert self._process.stdin is not None  # noqa: S101 - it is a pipe
        with suppress(BrokenPipeError):
            self._process.stdin.close()
        return status


def _fork(job: Mapping[str, Any], events: int, output: int, *, sdk: bool) -> _Forked | None:
    """Return a process of the fork server, or None where there is no forking or it fails."""
    if os.name == "nt":
        return None
    try:
        status, jobs = _fork_server(os.getpid(), sdk=sdk).connect_to_new_process([events, output])
    except OSError:
        return None
    try:
        return _Forked(job, status, jobs)
    except EOFError:  # it was killed
        os.close(status)
        os.close(jobs)
        return None


@functools.cache
def _fork_server(_: int, *, sdk: bool) -> forkserver.ForkServer:
    """Return the fork server of this process for runs with or without the Workflows SDK.

    It is not the one behind ``multiprocessing.get_context("forkserver")``, which is the user's:
    that one would import the user's script again, and has the user's preloaded modules.
    """
    server = forkserver.ForkServer()
    more = ["vellum_nb.local.sdk.workflow"] if sdk else []
    server.set_forkserver_preload(["vellum_nb.local.isolation.child", *more])
    return server


_SIGKILL = getattr(signal, "SIGKILL", signal.SIGTERM)


def _job(what: str, snapshot: Snapshot, entry: str, options: ProcessOptions) -> dict[str, Any]:
    environment = {
        name: value
        for name, value in os.environ.items()
        if name.upper() in _PASSED_ON or name.startswith("LC_") or name in options.env
    }
    return {
        "do": what,
        "snapshot": str(snapshot.folder),
        "entry": entry,
        "environment": environment,
        "memory_limit": options.memory_limit,
        "path": list(dict.fromkeys(str(Path(place or ".").absolute()) for place in sys.path)),
        "folder": str(Path.cwd()),
    }


def _message(line: bytes) -> tuple[str, Any]:
    """Return the kind and the content of a line; what the workflow wrote there is not trusted."""
    try:
        ((kind, content),) = json.loads(line).items()
        if kind == "event":
            (content,) = events_from_json(json.dumps([content]))
    except (ValueError, TypeError, AttributeError):
        return "broken", "it wrote something that is not an event where events are written"
    return kind, content


def _how_ended(status: int) -> str:
    if status >= 0:
        return f"ended by itself with exit status {status}"
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    hint = ", perhaps as memory ran out," if name == "SIGKILL" else ""
    return f"was ended by {name}{hint}"


def _without_our_frames(printed: bytes) -> str:
    """Return the end of what was printed; of tracebacks only frames that are not ours.

    Files are shown by name only: folders are not shown.
    """
    lines = printed.decode(errors="replace").strip().splitlines()
    theirs = [line for line in lines if not line.lstrip().startswith(_OURS)]
    return _FOLDERS.sub(r"\1", "\n".join(theirs))[-_ERROR_CHARS:]
