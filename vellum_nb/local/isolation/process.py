"""Code that runs in a separate process, forked by a `ForkServer`.

The fork server has imported all dependencies, so a process starts in milliseconds. The process
writes its events as JSON lines.
"""

from __future__ import annotations

import atexit
import ctypes
import faulthandler
import json
import os
import pickle
import re
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import KW_ONLY, dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, NoReturn, TypeAlias, get_args

from vellum_nb.errors import VellumNBError
from vellum_nb.local.deployments.loading import load
from vellum_nb.local.deployments.sources import CodeUnavailableError, Snapshot
from vellum_nb.local.engine.events import (
    NODE_FULFILLED,
    Event,
    Rejection,
    RunContext,
    describe_exception,
    no_usage,
    not_loaded,
    own_frames,
    parse_events,
    to_json,
)
from vellum_nb.local.isolation.fork_server import ForkServer, read_number
from vellum_nb.local.refusals import Refused
from vellum_nb.models import WorkflowInput
from vellum_nb.models.checks import available, check_integer, check_text, check_texts, refuse

IsolationKind: TypeAlias = Literal["kernel", "process", "container", "environment"]
_KINDS = get_args(IsolationKind)
DEFAULT_MEMORY_LIMIT = None if os.name == "nt" else 2 * 1024**3
"""Bytes of address space of a run in a separate process."""
_MIN_MEMORY_BYTES = 256 * 1024**2
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
DESCRIBE_S = 60.0
SLOW_IMPORT = f"it took longer than {DESCRIBE_S:g} seconds to import"
_TERMINATE_S = 1.0  # from SIGTERM to SIGKILL
_MAX_OUTPUT_BYTES = 64 * 1024  # of the end of its output
_ERROR_CHARS = 4000
_M_ARENA_MAX = -8
# fmt: off
PASSED_ON = frozenset({
    "CONDA_PREFIX", "DYLD_LIBRARY_PATH", "HOME", "LANG", "LANGUAGE", "LD_LIBRARY_PATH", "LOGNAME",
    "PATH", "SHELL", "SSL_CERT_DIR", "SSL_CERT_FILE", "TEMP", "TMP", "TMPDIR", "TZ", "USER",
    "USERNAME", "VIRTUAL_ENV",
})
"""Environment variables passed to every child."""
# fmt: on
_INTERPRETER = ("PYTHONDONTWRITEBYTECODE", "PYTHONHOME", "PYTHONPYCACHEPREFIX", "PYTHONUTF8")


@dataclass(frozen=True, slots=True)
class Isolation:
    """Isolation of a release on a `LocalServer`.

    Parameters
    ----------
    kind : {"kernel", "process", "container", "environment"}
        ``"kernel"``: each run is a thread of this process. ``"process"``: each run is a forked
        process, so a time limit or a cancellation always ends it, and a crash rejects it.
        ``"container"``, ``"environment"``: a Workflows SDK project runs in Vellum's workflow
        server, in a container or in another Python environment.
    memory_limit : int, optional
        Bytes of address space, including about 200 MiB for Python itself. Default: the
        `memory_limit` of the server; unlimited for ``"environment"``.
    env : sequence of str
        Names of environment variables to pass to the code. It receives no other keys.
    image : str, optional
        ``name:tag`` of the container image. Default: the image that the project names in
        ``vellum.lock.json`` or ``pyproject.toml``.
    python : str or Path, optional
        Python executable of the environment.

    Raises
    ------
    VellumNBError
        If an option is invalid, or has no effect with this kind of isolation.

    Examples
    --------
    >>> Isolation("process", memory_limit=2**30, env=["STRIPE_KEY"]).env
    ('STRIPE_KEY',)
    """

    kind: IsolationKind
    _: KW_ONLY
    memory_limit: int | None = None
    env: Sequence[str] = ()
    image: str | None = None
    python: str | os.PathLike[str] | None = None

    def __post_init__(self) -> None:
        check_integer("memory_limit", self.memory_limit, least=1, optional=True)
        object.__setattr__(self, "env", tuple(check_texts("env", self.env)))
        check_text("image", self.image, optional=True)
        if not isinstance(self.python, str | os.PathLike | None):
            refuse("python", self.python, "the path of a Python executable")
        if problem := self._unsuitable() or self._invalid():
            raise Refused(400, problem)

    def _unsuitable(self) -> str:
        """Describe an option that this kind of isolation does not have."""
        kind = self.kind
        if kind not in _KINDS:
            return f"Unknown isolation {kind!r:.40}{available(_KINDS)}"
        if kind == "kernel" and (self.memory_limit is not None or self.env):
            return 'memory_limit and env need isolation "process", "container" or "environment"'
        if self.image is not None and kind != "container":
            return f'image needs isolation "container", not {kind!r}'
        if self.python is not None and kind != "environment":
            return f'python needs isolation "environment", not {kind!r}'
        if self.python is None and kind == "environment":
            return 'isolation "environment" needs python=, the path of a Python executable'
        return ""

    def _invalid(self) -> str:
        if self.kind != "kernel" and os.name == "nt":
            return f"isolation {self.kind!r} is not available on Windows, which cannot fork"
        if not all(_NAME.fullmatch(name) for name in self.env):
            return f"env must be a list of names of environment variables, not {self.env!r:.60}"
        if self.memory_limit is not None and self.memory_limit < _MIN_MEMORY_BYTES:
            return (
                f"memory_limit={self.memory_limit} is too small: it is in bytes, and Python itself "
                f"needs a part of it; give {_MIN_MEMORY_BYTES} (256 MiB) or more"
            )
        return ""


@dataclass(frozen=True, slots=True)
class ProcessOptions:
    """Resolved and stored options of an `Isolation`."""

    memory_limit: int | None = None  # bytes of address space
    env: tuple[str, ...] = ()  # names of environment variables to pass on
    isolation: str = "process"  # or container, environment
    digest: str | None = None  # of the image
    python: str | None = None


def describe_in_process(
    snapshot: Snapshot, entry: str, options: ProcessOptions
) -> tuple[str, Any, Any, str]:
    """Import the source in a process; return its place, variables and description."""
    try:
        child = _Child(snapshot, entry, options)
    except OSError as exc:
        msg = f"no process could be started to import it: {exc}"
        raise CodeUnavailableError(msg) from exc
    until = time.monotonic() + DESCRIBE_S
    timer = threading.Timer(DESCRIBE_S, child.kill)
    timer.start()
    try:
        kind, content = next(child.messages(), ("", [""]))
    finally:
        timer.cancel()
        ended, output = child.end()
    if kind == "described":
        place, inputs, outputs, description = content
        return place, inputs, outputs, description
    msg = content[0] or f"the process that imported it {ended}{output and f': {output}'}"
    if time.monotonic() > until:
        msg = SLOW_IMPORT
    raise CodeUnavailableError(msg)


@dataclass
class ProcessExecution:
    """A run in a process; `cancel` ends the process and its children."""

    snapshot: Snapshot
    entry: str
    options: ProcessOptions
    inputs: Sequence[WorkflowInput]
    context: RunContext
    _child: _Child | None = None
    _cancelled: threading.Event = field(default_factory=threading.Event)

    def cancel(self) -> None:
        """Kill the process."""
        self._cancelled.set()
        if self._child is not None:
            self._child.kill()

    def events(self) -> Iterator[Event]:
        """Run the process and yield its events; a crash is a `Rejection`."""
        if self._cancelled.is_set():
            return
        child = self._start()
        try:
            for kind, content in child.messages():
                if kind != "event":
                    raise Rejection(*content)
                if content.name == NODE_FULFILLED and content.kind == "PROMPT":
                    usage = content.usage or self.context.usage(content.span_id)
                    content = replace(content, usage=usage)  # noqa: PLW2901 - the same event
                yield content
                if content.ends:
                    return
        finally:
            ended, output = child.end()
        message = f"The process of the run {ended} before the run was over"
        raise Rejection(message, "NODE_EXECUTION", output or None)

    def _start(self) -> _Child:
        try:
            child = _Child(self.snapshot, self.entry, self.options, self.inputs, self.context)
        except CodeUnavailableError as exc:
            raise not_loaded(exc) from exc
        except OSError as exc:
            message = f"No process could be started for the run: {exc}"
            raise Rejection(message, "INTERNAL_ERROR") from exc
        self._child = child
        if self._cancelled.is_set():  # meanwhile
            child.kill()
        return child


class _Child:
    """Process group that runs the code, or, without a context, describes it."""

    def __init__(
        self,
        snapshot: Snapshot,
        entry: str,
        options: ProcessOptions,
        inputs: Sequence[WorkflowInput] = (),
        context: RunContext | None = None,
    ) -> None:
        path = list(dict.fromkeys(str(Path(place or ".").absolute()) for place in sys.path))
        job = Job(
            snapshot,
            entry,
            inputs,
            context and replace(context, usage=no_usage),
            options.memory_limit,
            passed_on(*options.env),
            path,
            str(Path.cwd()),
        )
        self._job = pickle.dumps(job)
        self._lock = threading.Lock()
        self._is_over = False
        self._output = bytearray()
        self._events, events = os.pipe()
        printed, output = os.pipe()
        jobs, self._jobs = os.pipe()
        try:
            self._pid, self._status = _fork(jobs, events, output, path, sdk=snapshot.uses_sdk)
        except BaseException:
            for descriptor in (self._events, printed, self._jobs):
                os.close(descriptor)
            raise
        finally:
            for descriptor in (jobs, events, output):
                os.close(descriptor)
        self._listener = threading.Thread(
            target=self._listen, args=(printed,), name="vellum_nb-run-output", daemon=True
        )
        self._listener.start()

    def messages(self) -> Iterator[tuple[str, Any]]:
        """Send the job, and yield the messages of the process until it has ended."""
        with os.fdopen(self._events, "rb") as reader:
            with suppress(BrokenPipeError), os.fdopen(os.dup(self._jobs), "wb") as writer:
                writer.write(self._job)
            yield from map(_message, reader)

    def kill(self) -> None:
        """Terminate the process group, and kill the remaining processes soon after."""
        self._signal(signal.SIGTERM)
        killer = threading.Timer(_TERMINATE_S, self._signal, (signal.SIGKILL,))
        killer.daemon = True
        killer.start()

    def end(self) -> tuple[str, str]:
        """Kill the process group; return a description of its end and its last output."""
        self._signal(signal.SIGKILL)
        with self._lock:
            self._is_over = True
        os.close(self._jobs)  # also ends a process without a job
        try:
            status = read_number(self._status)
        except OSError:  # the fork server was killed
            status = -signal.SIGKILL
        os.close(self._status)
        self._listener.join(1.0)  # a process that left the group can hold the pipe
        printed = own_frames(self._output.decode(errors="replace").strip())[-_ERROR_CHARS:]
        if status >= 0:
            return f"ended by itself with exit status {status}", printed
        names = {number.value: number.name for number in signal.Signals}
        name = names.get(-status, f"signal {-status}")
        hint = ", perhaps as memory ran out," if name == "SIGKILL" else ""
        return f"was ended by {name}{hint}", printed

    def _signal(self, number: int) -> None:
        with self._lock, suppress(ProcessLookupError, PermissionError):
            if self._is_over:
                return
            try:
                os.killpg(self._pid, number)
            except (ProcessLookupError, PermissionError):  # it has ended, or leads no group yet
                if number == signal.SIGTERM:
                    os.kill(self._pid, number)

    def _listen(self, pipe: int) -> None:
        with os.fdopen(pipe, "rb", buffering=0) as reader:
            while piece := reader.read(4096):
                self._output += piece
                del self._output[:-_MAX_OUTPUT_BYTES]


def passed_on(*names: str) -> dict[str, str]:
    """Return environment variables without keys, and those in `names`, for a child."""
    return {
        name: value
        for name, value in os.environ.items()
        if name in PASSED_ON or name.startswith("LC_") or name in names
    }


def _fork(jobs: int, events: int, output: int, path: list[str], *, sdk: bool) -> tuple[int, int]:
    """Return the id of a new process and the descriptor of its status."""
    for _ in range(3):  # a fork server that was killed is started again
        with _FORK_LOCK:
            server = _fork_servers.get((os.getpid(), sdk))
            if server is None:
                more = ["vellum_nb.local.sdk.workflow"] if sdk else []
                server = ForkServer(path, [__name__, *more], passed_on(*_INTERPRETER))
                _fork_servers[os.getpid(), sdk] = server
        try:
            return server.fork(jobs, events, output)
        except OSError:
            with _FORK_LOCK:
                if _fork_servers.get((os.getpid(), sdk)) is server:
                    del _fork_servers[os.getpid(), sdk]
                    server.close()
    msg = "the fork server does not answer"
    raise OSError(msg)


_FORK_LOCK = threading.Lock()
_fork_servers: dict[tuple[int, bool], ForkServer] = {}  # by process id and use of the SDK


@atexit.register
def _close_fork_servers() -> None:
    """Close the fork servers of this process, but not those inherited from its parent."""
    for (pid, _), server in _fork_servers.items():
        if pid == os.getpid():
            server.close()


def _message(line: bytes) -> tuple[str, Any]:
    """Return kind and content of a line. It is untrusted: the workflow can write it."""
    try:
        ((kind, content),) = json.loads(line).items()
        if kind == "event":
            (content,) = parse_events([content])
        elif kind == "rejected":
            content = [str(content[0]), str(content[1]), content[2] and str(content[2])]
    except (ValueError, TypeError, AttributeError, LookupError):
        message = "The process of the run failed: it wrote something that is not an event"
        return "rejected", [message, "NODE_EXECUTION"]
    return kind, content


# In the child


@dataclass(frozen=True)
class Job:
    """Job that a child unpickles; its process group ends with the server."""

    snapshot: Snapshot
    entry: str
    inputs: Sequence[WorkflowInput]
    context: RunContext | None
    memory_limit: int | None
    environment: Mapping[str, str]
    path: Sequence[str]
    folder: str

    def run(self, events: int, sentinel: int) -> NoReturn:
        """Do the job and end the process; `sentinel` is closed at the end of the server."""
        os.register_at_fork(after_in_child=lambda: os.close(events))  # a copy would hold it open
        writer = os.fdopen(events, "wb")

        def send(kind: str, content: Any) -> None:
            writer.write(to_json({kind: content}).encode("ascii") + b"\n")
            writer.flush()

        threading.Thread(target=_end_with_server, args=(sentinel,), daemon=True).start()
        status = 1
        try:
            self._set_up()
            self._do(send)
            status = 0
        except BaseException:  # noqa: BLE001 - the reason of the rejection
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)  # do not wait for threads of the workflow

    def _set_up(self) -> None:
        import resource

        os.environ.clear()
        os.environ.update(self.environment)
        sys.path[:] = self.path
        for name, descriptor in (("stdout", 1), ("stderr", 2)):
            # Line by line: the last lines matter when it crashes.
            stream = os.fdopen(descriptor, "w", 1, "utf-8", "backslashreplace", closefd=False)
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
        faulthandler.enable(2)
        with suppress(OSError):  # the folder can be missing
            os.chdir(self.folder)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if self.memory_limit is not None:
            with suppress(AttributeError, OSError):  # each arena takes 64 MiB of addresses
                ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)
            resource.setrlimit(resource.RLIMIT_AS, (self.memory_limit,) * 2)

    def _do(self, send: Callable[[str, Any], None]) -> None:
        try:
            place, code = load(self.snapshot, self.entry)
            if self.context is None:
                variables = code.input_variables, code.output_variables
                send("described", [place, *variables, code.description])
            else:
                for event in code.begin(self.inputs, self.context).events():
                    send("event", self._limited(event))
        except CodeUnavailableError as exc:
            why = not_loaded(exc) if self.context else Rejection(str(exc), "")
        except Rejection as exc:
            why = exc
        except VellumNBError as exc:
            why = Rejection(str(exc), "INVALID_INPUTS")
        except (MemoryError, RuntimeError) as exc:  # no memory, or no thread can be started
            message = f"The process of the run failed: {describe_exception(exc)}"
            why = Rejection(message, "NODE_EXECUTION")
        else:
            return
        send("rejected", [self._with_limit(why.message, why.stacktrace), why.code, why.stacktrace])

    def _limited(self, event: Event) -> Event:
        error = event.body.get("error")
        if not error or not event.name.endswith(".rejected"):
            return event
        message = self._with_limit(error["message"], event.body.get("stacktrace"))
        return replace(event, body={**event.body, "error": {**error, "message": message}})

    def _with_limit(self, message: str, stacktrace: str | None) -> str:
        """Add the limit to the message of an out-of-memory error."""
        if self.memory_limit is None or "MemoryError" not in f"{message}{stacktrace}":
            return message
        limit = f"its memory_limit of {self.memory_limit:,} bytes"
        return f"The run needed more than {limit} ({message or 'MemoryError'})"


def _end_with_server(sentinel: int) -> None:
    with suppress(OSError):
        os.read(sentinel, 1)
    os.killpg(0, signal.SIGKILL)
