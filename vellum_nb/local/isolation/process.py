"""Code that runs in a process of its own."""

from __future__ import annotations

import atexit
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from itertools import chain
from pathlib import Path
from typing import Any, Protocol

from vellum_nb.local.callables.signature import variable_id
from vellum_nb.local.deployments.loading import CodeUnavailableError
from vellum_nb.local.deployments.sources import Snapshot
from vellum_nb.local.engine.code import RunContext
from vellum_nb.local.engine.events import (
    NODE_FULFILLED,
    NODE_INITIATED,
    NODE_REJECTED,
    Event,
    EventBuilder,
    NodeEventBuilder,
    Rejection,
    code_definition,
    values_by_name,
)
from vellum_nb.local.engine.inputs import check_inputs
from vellum_nb.local.isolation import child as codec
from vellum_nb.local.refusals import bad_request
from vellum_nb.models import VellumVariable, WorkflowInput

__all__ = [
    "Child",
    "Ending",
    "Fresh",
    "Handle",
    "Process",
    "ProcessCode",
    "ProcessExecution",
    "clean_environment",
    "fork",
    "path",
    "process_for",
]

_MIB = 1024 * 1024
_LEAST = 256 * _MIB
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Process:
    """What the process of each run may have.

    Attributes
    ----------
    memory_limit : int, optional
        Bytes of address space, Python's own part of about 200 MiB included.
    env : tuple of str
        Names of environment variables that the run needs and gets.
    """

    memory_limit: int | None = None
    env: tuple[str, ...] = ()

    def dumps(self) -> str:
        """Return it as text."""
        return json.dumps(asdict(self))

    @classmethod
    def loads(cls, text: str) -> Process:
        """Return what `dumps` wrote."""
        found: dict[str, Any] = json.loads(text)
        return cls(found["memory_limit"], tuple(found["env"]))


def process_for(isolation: str, *, memory_limit: int | None, env: Sequence[str]) -> Process | None:
    """Return the process of each run, or None when runs stay in the kernel's process.

    Raises
    ------
    VellumNBError
        When the options make no sense, alone or together.

    Examples
    --------
    >>> process_for("process", memory_limit=None, env=["OPENAI_API_KEY"])
    Process(memory_limit=None, env=('OPENAI_API_KEY',))
    """
    if isolation == "kernel":
        if memory_limit is not None or env:
            msg = 'memory_limit and env are for runs in a process: say isolation="process"'
            raise bad_request(msg)
        return None
    if isolation != "process":
        msg = f'isolation={isolation!r:.40} is not known; it is "kernel" or "process"'
        raise bad_request(msg)
    if isinstance(env, str) or not all(_NAME.fullmatch(name) for name in env):
        msg = f"env is a list of names of environment variables, not {env!r:.60}"
        raise bad_request(msg)
    if memory_limit is not None:
        _check_limit(memory_limit)
    return Process(memory_limit, tuple(env))


def _check_limit(memory_limit: int) -> None:
    if os.name == "nt":
        msg = "memory_limit cannot be kept on Windows; leave it out"
        raise bad_request(msg)
    if memory_limit < _LEAST:
        msg = (
            f"memory_limit={memory_limit} cannot be kept: it is in bytes, and Python itself needs "
            f"a part of it; give {_LEAST} (256 MiB) or more"
        )
        raise bad_request(msg)


# fmt: off
_KEPT = frozenset({
    "APPDATA", "COMSPEC", "CONDA_PREFIX", "DYLD_LIBRARY_PATH", "HOME", "LANG", "LANGUAGE",
    "LD_LIBRARY_PATH", "LOCALAPPDATA", "LOGNAME", "PATH", "PATHEXT", "SHELL", "SSL_CERT_DIR",
    "SSL_CERT_FILE", "SYSTEMDRIVE", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "TZ", "USER",
    "USERNAME", "USERPROFILE", "VIRTUAL_ENV", "WINDIR",
})
# fmt: on


class Handle(Protocol):
    """A process that leads a group of its own."""

    def kill(self) -> None:
        """End it and its group, from any thread; it may have ended."""

    def wait(self) -> int:
        """Kill what is left of its group, and return its exit status: < 0 for a signal."""


class Fresh:
    """A new Python with three descriptors: for its job, for events, for what it prints."""

    def __init__(self, jobs: int, events: int, output: int) -> None:
        self._lock = threading.Lock()
        self._over = False
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "vellum_nb.local.isolation.child"],
            stdin=jobs,
            stdout=events,
            stderr=output,
            env=clean_environment(),
            start_new_session=True,
        )

    def kill(self) -> None:
        """End it and its group."""
        with self._lock:
            if not self._over:
                self._kill()

    def wait(self) -> int:
        """Kill what is left of its group, and return its exit status."""
        with self._lock:  # not waited for yet, so that its id cannot be another's
            self._over = True
            self._kill()
        return self._process.wait()

    def _kill(self) -> None:
        if os.name == "nt":
            self._process.kill()
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)


def path() -> list[str]:
    """Return where modules are looked for, as a process elsewhere can use it."""
    return list(dict.fromkeys(str(Path(place or ".").absolute()) for place in sys.path))


def clean_environment() -> dict[str, str]:
    """Return what a process sees of our environment: no keys of any kind."""
    found = {k: v for k, v in os.environ.items() if k.upper() in _KEPT or k.startswith("LC_")}
    return found | {
        "PYTHONPATH": os.pathsep.join(path()),
        "PYTHONIOENCODING": "utf-8:backslashreplace",
        "MALLOC_ARENA_MAX": "2",  # each takes 64 MiB of the address space that may be limited
    }


_SECONDS = 60.0
_FAREWELL = 1.0
_MESSAGE = 64
_LOCK = threading.Lock()
_ORIGINS: dict[bool, Origin] = {}


def fork(jobs: int, events: int, output: int, *, sdk: bool) -> Handle | None:
    """Return a process with three descriptors, or None where there is no forking.

    Parameters
    ----------
    jobs, events, output : int
        For its job, for events, for what it prints.
    sdk : bool
        Whether it is to have the Workflows SDK imported.
    """
    if not sys.platform.startswith("linux"):
        return None
    with _LOCK:
        origin = _ORIGINS.get(sdk)
        if origin is None or not origin.lives():
            if origin is not None:
                origin.close()
            origin = _ORIGINS[sdk] = Origin(sdk=sdk)
    return origin.fork(jobs, events, output)


class Origin:
    """The process that others are forked off; it ends with this one."""

    def __init__(self, *, sdk: bool) -> None:
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(_SECONDS)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
                [sys.executable, "-P", "-m", "vellum_nb.local.isolation.zygote", str(int(sdk))],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=clean_environment(),
                start_new_session=True,
            )
        atexit.register(self.close)
        self._ready = self._answer() == b"ready"

    def lives(self) -> bool:
        """Whether it can be asked: it belongs to this process, and has not died."""
        return self._owner == os.getpid() and self._process.poll() is None

    def fork(self, jobs: int, events: int, output: int) -> Handle | None:
        """Return a new process, or None when none can be had here."""
        if not self._ready:
            return None  # what it imported started threads, or could not be imported
        status, theirs = os.pipe()
        with self._lock:
            try:
                socket.send_fds(self._socket, [b"fork"], [jobs, events, output, theirs])
                answer = self._answer()
            except OSError:
                answer = b""
            finally:
                os.close(theirs)
        if answer.isdigit():
            return _Fork(self, int(answer), status)
        os.close(status)
        if not answer:
            self._process.kill()  # an answer that comes late would be taken for the next one
        return None

    def kill(self, pid: int) -> None:
        """Have it end the group of `pid`, if that is still one that it forked."""
        with self._lock:
            try:
                self._socket.send(b"kill %d" % pid)
            except OSError:  # it was killed, and `pid` with it, but not what that had started
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)

    def close(self) -> None:
        """End it, and all that runs in it."""
        atexit.unregister(self.close)
        self._socket.close()
        if self._owner == os.getpid():
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_FAREWELL)  # it ends what it forked, and then itself
            self._process.kill()
            self._process.wait()

    def _answer(self) -> bytes:
        try:
            return self._socket.recv(_MESSAGE)
        except OSError:
            return b""


class _Fork:
    def __init__(self, origin: Origin, pid: int, status: int) -> None:
        self._origin = origin
        self._pid = pid
        self._status = status

    def kill(self) -> None:
        self._origin.kill(self._pid)

    def wait(self) -> int:
        self._origin.kill(self._pid)
        with os.fdopen(self._status, "rb") as status:
            return int(status.readline() or b"-9")  # nothing: its origin was killed, and it too


_PIECE = 4096
_TAIL = 64 * 1024  # bytes that are kept of what the process said last
_LAST = 4000
_OURS = (f'File "{Path(__file__).parent.parent}{os.sep}', 'File "<frozen runpy>"')
_FOLDERS = re.compile(r'(File ")[^"\n]*[/\\](?=[^"/\\\n]+")')


class Child:
    """A process that does one job.

    It leads a group of its own, so that whatever it starts ends with it.
    """

    def __init__(self, job: Mapping[str, Any], process: Process, *, sdk: bool = False) -> None:
        more = {
            "memory_limit": process.memory_limit,
            "env": {name: os.environ[name] for name in process.env if name in os.environ},
            "path": path(),
            "cwd": str(Path.cwd()),
        }
        self._job = codec.line({**job, **more})
        self._said = bytearray()
        (given, self._jobs), (self._events, events), (said, output) = pipes = _pipes()
        try:
            self._process = fork(given, events, output, sdk=sdk) or Fresh(given, events, output)
        except BaseException:
            for descriptor in chain(*pipes):
                os.close(descriptor)
            raise
        for descriptor in (given, events, output):
            os.close(descriptor)
        self._listener = threading.Thread(
            target=self._listen, args=(said,), name="vellum_nb-run-output", daemon=True
        )
        self._listener.start()

    def lines(self) -> Iterator[bytes]:
        """Give it its job and return each line that it tells, until it says no more."""
        with os.fdopen(self._events, "rb") as reader:
            with suppress(BrokenPipeError):  # it ended before it read all; its end says why
                _write(self._jobs, self._job)
            yield from reader

    def kill(self) -> None:
        """End it and all that it started, now; it may have ended."""
        self._process.kill()

    def end(self) -> Ending:
        """Kill what is left of it, tidy up, and return how it ended; after its lines."""
        status = self._process.wait()
        os.close(self._jobs)
        self._listener.join(1.0)  # who left the group may hold the pipe for ever
        return Ending(status, _shown(bytes(self._said)))

    def _listen(self, pipe: int) -> None:
        with os.fdopen(pipe, "rb", buffering=0) as reader:
            while piece := reader.read(_PIECE):
                self._said += piece
                del self._said[:-_TAIL]


@dataclass(frozen=True, slots=True)
class Ending:
    """How a process ended: its exit status, less than 0 for a signal, and what it said last."""

    status: int
    said: str

    @property
    def told(self) -> str:
        """How it ended, in words."""
        if self.status >= 0:
            return f"ended by itself with exit status {self.status}"
        try:
            name = signal.Signals(-self.status).name
        except ValueError:
            name = f"signal {-self.status}"
        hint = ", perhaps as memory ran out," if name == "SIGKILL" else ""
        return f"was ended by {name}{hint}"


def _pipes() -> list[tuple[int, int]]:
    made: list[tuple[int, int]] = []
    try:
        made.extend(os.pipe() for _ in range(3))
    except OSError:
        for descriptor in chain(*made):
            os.close(descriptor)
        raise
    return made


def _write(pipe: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(pipe, view) :]


def _shown(said: bytes) -> str:
    """Return the end of what was said; of a traceback only frames that are not ours.

    Files are told by name only: folders are this machine's business.
    """
    lines = said.decode(errors="replace").strip().splitlines()
    theirs = [line for line in lines if not line.lstrip().startswith(_OURS)]
    return _FOLDERS.sub(r"\1", "\n".join(theirs))[-_LAST:]


_DESCRIBE_SECONDS = 60.0


class ProcessCode:
    """A workflow of a snapshot; each run is a process, and none of it is imported here."""

    def __init__(
        self,
        snapshot: Snapshot,
        entry: str,
        process: Process,
        *,
        input_variables: tuple[VellumVariable, ...],
        output_variables: tuple[VellumVariable, ...],
        description: str,
    ) -> None:
        self._snapshot = snapshot
        self._entry = entry
        self._process = process
        self.input_variables = input_variables
        self.output_variables = output_variables
        self.description = description

    @classmethod
    def described(cls, snapshot: Snapshot, entry: str, process: Process) -> tuple[str, ProcessCode]:
        """Have a process import the source, and return what it found and where.

        Raises
        ------
        CodeUnavailableError
            When it cannot be imported; the message says why.
        """
        found = _described(snapshot, entry, process)
        code = cls(
            snapshot,
            found["entry"],
            process,
            input_variables=codec.variables_of(found["input_variables"]),
            output_variables=codec.variables_of(found["output_variables"]),
            description=found["description"],
        )
        return found["entry"], code

    def begin(self, inputs: Sequence[WorkflowInput], context: RunContext) -> ProcessExecution:
        """Check the inputs and return the run; nothing has run yet.

        Raises
        ------
        VellumNBError
            Names every input that is missing, unknown, given twice or does not fit.
        """
        check_inputs(inputs, self.input_variables)
        job = _job("run", self._snapshot, self._entry) | codec.run_job(inputs, context)
        return ProcessExecution(
            job, self._process, context, self._teller(context), sdk=self._uses_sdk
        )

    @cached_property
    def _uses_sdk(self) -> bool:
        return self._snapshot.uses_sdk

    def _teller(self, context: RunContext) -> EventBuilder:
        name = self._entry.rpartition(":")[2]
        workflow = code_definition(variable_id("workflow", self._entry), name)
        return EventBuilder(context.execution_id, context.trace_id, workflow, context.parent)


class ProcessExecution:
    """One run in a process; `cancel` kills it."""

    def __init__(
        self,
        job: Mapping[str, Any],
        process: Process,
        context: RunContext,
        teller: EventBuilder,
        *,
        sdk: bool,
    ) -> None:
        self._job = job
        self._process = process
        self._sdk = sdk
        self._context = context
        self._teller = teller
        self._begun = self._ended = False
        self._open: dict[str, Event] = {}
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self._child: Child | None = None

    def cancel(self) -> None:
        """Kill the process, whatever it does."""
        with self._lock:
            self._stopped.set()
            if self._child is not None:
                self._child.kill()

    def events(self) -> Iterator[Event]:
        """Run the process and tell what it tells; a crash is a rejection."""
        try:
            child = self._start()
        except OSError as exc:
            message = f"No process could be started for the run: {exc}"
            yield from self._rejected(Rejection("INTERNAL_ERROR", message))
            return
        if child is None:
            yield from self._rejected(_CANCELLED)
            return
        try:
            why = yield from self._told(child)
        finally:
            ending = child.end()
        if not self._ended:
            yield from self._rejected(why or self._crash(ending))

    def _told(self, child: Child) -> Generator[Event, None, Rejection | None]:
        for line in child.lines():
            message = _message(line)
            if "event" not in message:
                return _why(message)
            event = self._heard(message["event"])
            self._ended = event.ends
            yield event
            if event.ends:
                break
        return None

    def _start(self) -> Child | None:
        if self._stopped.is_set():
            return None
        child = Child(self._job, self._process, sdk=self._sdk)
        with self._lock:
            self._child = child
            if self._stopped.is_set():  # meanwhile, when there was nothing to kill yet
                child.kill()
        return child

    def _heard(self, event: Event) -> Event:
        """Keep in mind what an event begins and ends, and add what the process cannot know."""
        self._begun = True
        if event.name == NODE_INITIATED:
            self._open[event.span_id] = event
        elif event.name in {NODE_FULFILLED, NODE_REJECTED}:
            self._open.pop(event.span_id, None)
        if event.name == NODE_FULFILLED and event.kind == "PROMPT":
            return replace(event, usage=event.usage or self._context.usage(event.span_id))
        return self._with_limit(event) if event.name.endswith(".rejected") else event

    def _with_limit(self, event: Event) -> Event:
        """Say what the limit was in a rejection for want of memory."""
        limit, error = self._process.memory_limit, event.body["error"]
        told = f"{error['message']}{event.body.get('stacktrace')}"
        if limit is None or "MemoryError" not in told:
            return event
        reason = error["message"] or "MemoryError"
        message = f"The run needed more than its memory_limit of {limit:,} bytes ({reason})"
        return replace(event, body={**event.body, "error": {**error, "message": message}})

    def _rejected(self, why: Rejection) -> Iterator[Event]:
        if not self._begun:
            inputs = [WorkflowInput.model_validate(given) for given in self._job["inputs"]]
            yield self._teller.initiated(values_by_name(inputs))
        for event in reversed(self._open.values()):
            yield self._with_limit(NodeEventBuilder.of(event).rejected(why))
        yield self._with_limit(self._teller.rejected(why))

    def _crash(self, ending: Ending) -> Rejection:
        if self._stopped.is_set():
            return _CANCELLED
        limit = self._process.memory_limit
        hint = "" if limit is None else f" (its memory_limit is {limit:,} bytes)"
        message = f"The process of the run {ending.told} before the run was over{hint}"
        return Rejection("NODE_EXECUTION", message, ending.said or None)


_CANCELLED = Rejection("WORKFLOW_CANCELLED", "The run was cancelled")


def _described(snapshot: Snapshot, entry: str, process: Process) -> dict[str, Any]:
    child = Child(_job("describe", snapshot, entry), process, sdk=snapshot.uses_sdk)
    timer = threading.Timer(_DESCRIBE_SECONDS, child.kill)
    timer.start()
    found: dict[str, Any] = {}
    try:
        found = next((_message(line) for line in child.lines()), {})
    finally:
        late = not timer.is_alive()
        timer.cancel()
        timer.join()
        ending = child.end()
    if "entry" in found:
        return found
    reason = found.get("gone") or found.get("refused") or found.get("broken")
    if late:
        reason = f"it took longer than {_DESCRIBE_SECONDS:g} seconds to import"
    said = f": {ending.said}" if ending.said else ""
    raise CodeUnavailableError(reason or f"the process that imported it {ending.told}{said}")


def _job(what: str, snapshot: Snapshot, entry: str) -> dict[str, Any]:
    return {"do": what, "folder": str(snapshot.folder), "entry": entry}


def _message(line: bytes) -> dict[str, Any]:
    try:
        message: dict[str, Any] = dict(json.loads(line))
        if "event" in message:
            message["event"] = codec.event_of(message["event"])
    except (ValueError, KeyError, TypeError):
        return {"broken": "it wrote what is no event where events are told"}
    return message


def _why(message: Mapping[str, Any]) -> Rejection:
    """Return why a process could not run its job."""
    if "refused" in message:
        return Rejection("INVALID_INPUTS", message["refused"])
    if "gone" in message:
        text = f"The code of this release is not loaded: {message['gone']}"
        return Rejection("INVALID_WORKFLOW", f"{text}. Deploy it again to run it.")
    reason = message.get("broken", "it told nothing that is known")
    return Rejection("NODE_EXECUTION", f"The process of the run failed: {reason}")
