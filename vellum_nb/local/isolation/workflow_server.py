"""Code that runs in Vellum's workflow server: in a container, or in another Python environment.

The workflow server is what every custom image of Vellum contains. It is spoken to over HTTP only.
One is started for each release, at its first use, and stopped with the local server.
"""

from __future__ import annotations

import http.client
import json
import os
import secrets
import shutil
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from pydantic import TypeAdapter, ValidationError

from vellum_nb.local.deployments.sources import CodeUnavailableError, Snapshot
from vellum_nb.local.engine.events import (
    NODE_FULFILLED,
    WORKFLOW_FULFILLED,
    WORKFLOW_STREAMING,
    Event,
    Rejection,
    RunContext,
)
from vellum_nb.local.engine.inputs import check_inputs, typed_output
from vellum_nb.local.isolation.process import ProcessOptions
from vellum_nb.local.refusals import bad_request
from vellum_nb.models import VellumVariable, WorkflowInput, WorkflowOutput

_MODULE = "workflow"
_PORT = 8000  # of the workflow server in its container
_READY_S = 120.0
_STOP_S = 5.0
_HEALTH_S = 5.0
_THREADS = 72
_UNLIMITED_MB = 1_000_000  # the workflow server counts the memory of everything around it
_DOCKER_HOST = "host.docker.internal"
_LOG = 4000
_LAUNCHER = """
import os, runpy, signal, sys, threading
def end_with_parent():
    os.read(0, 1)
    os.killpg(0, signal.SIGKILL)
threading.Thread(target=end_with_parent, daemon=True).start()
sys.argv = ["gunicorn", *sys.argv[1:]]
runpy.run_module("gunicorn", run_name="__main__")
"""
_LEFT_OUT = frozenset({"initial_state", "display_context", "workflow_version_exec_config"})
_PASSED_ON = ("PATH", "HOME", "LANG", "TZ", "TMPDIR", "SSL_CERT_FILE", "SSL_CERT_DIR")
_VARIABLES: TypeAdapter[tuple[VellumVariable, ...]] = TypeAdapter(tuple[VellumVariable, ...])
_NO_SERVER = (
    "isolation={0!r} needs Vellum's workflow server in {1}: pip install vellum-workflow-server "
    "there"
)


def server_options(
    isolation: str,
    *,
    image: str | None,
    python: str | os.PathLike[str] | None,
    memory_limit: int | None,
    env: Sequence[str],
) -> ProcessOptions:
    """Return the options of a release that runs in a workflow server."""
    if isolation == "container":
        if not image:
            msg = (
                'isolation="container" needs an image: give image="name:tag", or name it in '
                "pyproject.toml or vellum.lock.json (container_image_name)"
            )
            raise bad_request(msg)
        digest = _digest(_docker(), image)
        return ProcessOptions(memory_limit, tuple(env), isolation, image, digest)
    if python is None:
        msg = 'isolation="environment" needs python="/path/to/python" of that environment'
        raise bad_request(msg)
    found = shutil.which(str(python))
    if found is None:
        msg = f"python={str(python)!r:.200} is not a program"
        raise bad_request(msg)
    check = [found, "-c", "import workflow_server, gunicorn"]
    if subprocess.run(check, capture_output=True, check=False).returncode:  # noqa: S603
        raise bad_request(_NO_SERVER.format(isolation, found))
    return ProcessOptions(memory_limit, tuple(env), isolation, python=found)


def image_of_project(path: Path) -> str | None:
    """Return the image that a project names: in `vellum.lock.json`, else in `pyproject.toml`."""
    for folder in (path, path.parent):
        for name, read in (("vellum.lock.json", _lock_file), ("pyproject.toml", _pyproject)):
            with suppress(OSError, ValueError, AttributeError, TypeError):
                for workflow in read((folder / name).read_text("utf-8")):
                    is_this = str(workflow.get("module")).rpartition(".")[2] == path.name
                    if is_this and image_name(workflow):
                        return image_name(workflow)
    return None


def image_name(config: Mapping[str, Any]) -> str | None:
    """Return ``name:tag`` of a workflow's or runner's config; a missing tag is `latest`."""
    name, tag = config.get("container_image_name"), config.get("container_image_tag")
    return f"{name}:{tag or 'latest'}" if name else None


def _lock_file(text: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(text).get("workflows", [])
    return found


def _pyproject(text: str) -> list[dict[str, Any]]:
    import tomllib

    found: list[dict[str, Any]] = tomllib.loads(text)["tool"]["vellum"].get("workflows", [])
    return found


@dataclass(frozen=True)
class ServerCode:
    """A workflow of a snapshot that a workflow server runs; none of it is imported here."""

    snapshot: Snapshot
    entry: str
    options: ProcessOptions
    input_variables: tuple[VellumVariable, ...]
    output_variables: tuple[VellumVariable, ...]
    description: str

    @classmethod
    def described(
        cls,
        snapshot: Snapshot,
        entry: str,  # noqa: ARG003 - the server runs the one workflow of workflow.py
        options: ProcessOptions,
    ) -> tuple[str, ServerCode]:
        """Have the server read the code, and return its place and the code with its variables."""
        body = {"files": dict(snapshot.texts()), "module": _MODULE}
        try:
            with _server_of(snapshot.package, options).post("/workflow/serialize", body) as answer:
                content = json.loads(answer.read())
            config = content["exec_config"]
            definition = config["workflow_raw_data"]["definition"]["name"]
            inputs = _VARIABLES.validate_python(config["input_variables"])
            outputs = _VARIABLES.validate_python(config["output_variables"])
            place = f"{_MODULE}:{definition}"
            return place, cls(snapshot, place, options, inputs, outputs, "")
        except _ServerError as exc:
            raise CodeUnavailableError(str(exc)) from exc
        except (ValueError, KeyError, TypeError, ValidationError) as exc:
            msg = f"the workflow server answered with something unknown ({type(exc).__name__})"
            raise CodeUnavailableError(msg) from exc

    def begin(self, inputs: Sequence[WorkflowInput], context: RunContext) -> ServerExecution:
        """Check the inputs and return the run; nothing has run yet."""
        check_inputs(self.input_variables, inputs)
        if context.mocks:
            msg = "node_output_mocks cannot be used with an image or environment; leave them out"
            raise bad_request(msg)
        return ServerExecution(self, inputs, context)


class ServerExecution:
    """One run in a workflow server; `cancel` ends it at once, and the server soon after."""

    def __init__(
        self, code: ServerCode, inputs: Sequence[WorkflowInput], context: RunContext
    ) -> None:
        self._code = code
        self._inputs = inputs
        self._context = context
        self._outputs = {variable.key: variable for variable in code.output_variables}
        self._lock = threading.Lock()
        self._cancelled = False
        self._answer: _Answer | None = None

    def cancel(self) -> None:
        """End the run: hang up. The server asks now and then whether a run is cancelled."""
        with self._lock:
            self._cancelled = True
            if self._answer is not None:
                self._answer.cut()

    def events(self) -> Iterator[Event]:
        """Run, and yield the events; a crash or a refusal of the server is a `Rejection`."""
        try:
            server = _server_of(self._code.snapshot.package, self._code.options)
            with server.post("/workflow/stream", self._body(server)) as answer:
                with self._lock:
                    self._answer = answer
                    if self._cancelled:
                        answer.cut()
                yield from self._events(answer)
        except _ServerError as exc:
            if self._cancelled:
                message = "The run was cancelled"
                raise Rejection(message, "WORKFLOW_CANCELLED") from exc
            raise Rejection(str(exc), "NODE_EXECUTION", exc.log or None) from exc

    def _body(self, server: _Server) -> dict[str, Any]:
        context = self._context
        url = server.url_from_inside(context.url)
        variables = {
            name: os.environ[name] for name in self._code.options.env if name in os.environ
        }
        return {
            "files": dict(self._code.snapshot.texts()),
            "module": _MODULE,
            "inputs": [each.model_dump(mode="json") for each in self._inputs],
            "state": None if context.state is None else dict(context.state),
            "execution_id": context.execution_id,
            "workflow_span_id": context.execution_id,
            "execution_context": {
                "trace_id": context.trace_id,
                "parent_context": context.parent and dict(context.parent),
            },
            "environment_api_key": context.api_key,
            "environment_variables": {
                "VELLUM_API_URL": url,
                "VELLUM_API_KEY": context.api_key,
                **variables,
            },
            "vembda_public_url": url,
            "timeout": int(context.timeout or 0) + 1 if context.timeout else 86_400,
            "trigger_id": context.trigger,
            "event_filter": "ALL",
        }

    def _events(self, answer: _Answer) -> Iterator[Event]:
        for line in answer.lines():
            if line == b"END":
                break
            try:
                content = json.loads(line)
            except ValueError:
                continue  # WAITING, while nothing happens
            name = str(content.get("name", ""))
            if name.startswith("vembda."):
                self._check_end(content.get("body") or {})
            elif event := self._event(name, content):
                yield event
                if event.ends:
                    return
        message = "The workflow server ended the run without a result"
        raise Rejection(message, "NODE_EXECUTION", answer.server.log() or None)

    def _check_end(self, body: Mapping[str, Any]) -> None:
        if body.get("timed_out"):
            message = "The run took longer than the workflow server allows"
            raise Rejection(message, "WORKFLOW_TIMEOUT")
        if body.get("exit_code"):
            reason = body.get("stderr") or "it gave no reason"
            message = f"The workflow server could not finish the run: {reason}"
            raise Rejection(message, "NODE_EXECUTION")

    def _event(self, name: str, content: Mapping[str, Any]) -> Event | None:
        """Return one of the server's events as ours; None for those that the contract lacks."""
        is_node, span = name.startswith("node."), str(content["span_id"])
        if name.endswith(".snapshotted") or not (is_node or span == self._context.execution_id):
            return None
        body = {k: v for k, v in content["body"].items() if k not in _LEFT_OUT}
        outputs: tuple[WorkflowOutput, ...] = ()
        if name == WORKFLOW_STREAMING and "name" in (output := body.get("output") or {}):
            outputs = (typed_output(self._outputs, output["name"], output.get("value")),)
        elif name == WORKFLOW_FULFILLED:
            values = body.get("outputs") or {}
            outputs = tuple(typed_output(self._outputs, key, values[key]) for key in values)
        usage = self._context.usage(span) if name == NODE_FULFILLED else ()
        return Event(
            name=name,
            span_id=span,
            trace_id=self._context.trace_id,
            body=body,
            parent=content.get("parent") if is_node else self._context.parent,
            outputs=outputs,
            kind="PROMPT" if usage else "",
            usage=usage,
            id=str(content["id"]),
            timestamp=_utc(str(content["timestamp"])),
        )


def _utc(text: str) -> datetime:
    when = datetime.fromisoformat(text)
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when.astimezone(UTC)


# Servers


class _ServerError(Exception):
    """A workflow server did not start, refused a request, or died; `log` is what it printed."""

    def __init__(self, message: str, log: str = "") -> None:
        super().__init__(message)
        self.log = log


_lock = threading.Lock()
_servers: dict[tuple[str, ProcessOptions], _Server] = {}
_starting: dict[tuple[str, ProcessOptions], threading.Lock] = {}


def _server_of(package: str, options: ProcessOptions) -> _Server:
    """Return the server of a release, started if none is running."""
    key = (package, options)
    with _lock:
        starting = _starting.setdefault(key, threading.Lock())
    with starting:
        with _lock:
            server = _servers.get(key)
        if server is not None and server.is_running():
            return server
        if server is not None:
            server.stop()
        server = _Container(options) if options.isolation == "container" else _Process(options)
        try:
            server.wait_until_ready()
        except BaseException:
            server.stop()
            raise
        with _lock:
            _servers[key] = server
        return server


def stop_servers(packages: Sequence[str]) -> None:
    """Stop the servers of these snapshots' packages; they start again when they are needed."""
    with _lock:
        keys = [key for key in _servers if key[0] in packages]
        servers = [_servers.pop(key) for key in keys]
    for server in servers:
        server.stop()


class _Server:
    """A running workflow server."""

    def connect(self) -> socket.socket:
        raise NotImplementedError

    def is_running(self) -> bool:
        raise NotImplementedError

    def stop(self) -> None:
        raise NotImplementedError

    def log(self) -> str:
        """Return what it printed last."""
        raise NotImplementedError

    def url_from_inside(self, url: str) -> str:
        """Return the address of the local server as the workflow server reaches it."""
        return url

    def post(self, path: str, body: Mapping[str, Any]) -> _Answer:
        """Send a request; the answer is a context manager."""
        return _Answer(self, "POST", path, json.dumps(body).encode())

    def wait_until_ready(self) -> None:
        until = time.monotonic() + _READY_S
        while True:
            with suppress(_ServerError), _Answer(self, "GET", "/healthz"):
                return
            if not self.is_running() or time.monotonic() > until:
                log = self.log()
                msg = f"The workflow server did not start: {log[-600:] or 'it printed nothing'}"
                raise _ServerError(msg, log)
            time.sleep(0.1)


class _Answer:
    """An answer of a workflow server, read line by line."""

    def __init__(self, server: _Server, method: str, path: str, body: bytes | None = None) -> None:
        self.server = server
        self._connection = http.client.HTTPConnection("localhost")
        try:
            self._connection.sock = server.connect()
            self._connection.sock.settimeout(_HEALTH_S if body is None else None)
            headers = {"Content-Type": "application/json"}
            self._connection.request(method, path, body, headers)
            self._response = self._connection.getresponse()
            if self._response.status == http.client.OK:
                return
            text = self._response.read(100_000).decode("utf-8", "replace")
        except (OSError, http.client.HTTPException) as exc:
            self._connection.close()
            msg = f"The workflow server cannot be reached ({str(exc) or type(exc).__name__})"
            raise _ServerError(msg, server.log()) from exc
        self._connection.close()
        with suppress(ValueError, AttributeError):
            text = json.loads(text).get("detail", text)
        msg = f"The workflow server refused the request ({self._response.status}): {text:.600}"
        raise _ServerError(msg, server.log())

    def read(self) -> bytes:
        return self._response.read()

    def lines(self) -> Iterator[bytes]:
        """Yield the lines that are not empty."""
        try:
            yield from filter(None, map(bytes.strip, self._response))
        except (OSError, http.client.HTTPException, ValueError, AttributeError) as exc:
            msg = "The workflow server died during the run"
            raise _ServerError(msg, self.server.log()) from exc

    def cut(self) -> None:
        """End the connection; from any thread."""
        with suppress(OSError, AttributeError):
            self._connection.sock.shutdown(socket.SHUT_RDWR)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._response.close()
        self._connection.close()


class _Process(_Server):
    """A workflow server in a Python environment, at a socket in a folder of this user's only."""

    def __init__(self, options: ProcessOptions) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="vellum_nb-server-"))
        self._socket = self._folder / "socket"
        environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
        environment |= {"FLASK_ENV": "local", "MEMORY_LIMIT_MB": str(_UNLIMITED_MB)}
        environment |= {"CONCURRENCY": str(_THREADS)}
        arguments = ["--bind", f"unix:{self._socket}", "--worker-class", "gthread"]
        arguments += ["--threads", str(_THREADS), "--workers", "1", "--timeout", "0"]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - the Python that the user named
                [str(options.python), "-c", _LAUNCHER, *arguments, "workflow_server.server:app"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self._folder,
                start_new_session=True,
                preexec_fn=_limited(options.memory_limit),  # noqa: PLW1509 - sets a limit only
            )

    def connect(self) -> socket.socket:
        connected = socket.socket(socket.AF_UNIX)
        try:
            connected.connect(str(self._socket))
        except BaseException:
            connected.close()
            raise
        return connected

    def is_running(self) -> bool:
        return self._process.poll() is None

    def log(self) -> str:
        with suppress(OSError):
            return (self._folder / "log").read_text("utf-8", "replace")[-_LOG:]
        return ""

    def stop(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()  # its launcher then kills the group
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(_STOP_S)
        with suppress(OSError):
            os.killpg(self._process.pid, 9)
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def _limited(memory_limit: int | None) -> Any:
    """Return what limits the memory of a new process and of each run that it forks."""
    if memory_limit is None:
        return None
    import resource

    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_AS, (memory_limit, memory_limit))

    return limit


class _Container(_Server):
    """A workflow server in a container, published on 127.0.0.1 only."""

    def __init__(self, options: ProcessOptions) -> None:
        self._docker = _docker()
        self._name = f"vellum-nb-{secrets.token_hex(8)}"
        megabytes = (options.memory_limit or _UNLIMITED_MB * 2**20) // 2**20
        settings = {
            "PORT": str(_PORT),
            "FLASK_ENV": "local",
            "MEMORY_LIMIT_MB": str(megabytes),
            "CONCURRENCY": str(_THREADS),
        }
        arguments = ["run", "--detach", "--rm", "--name", self._name]
        arguments += ["--label", "vellum-nb", "--publish", f"127.0.0.1::{_PORT}"]
        arguments += ["--add-host", f"{_DOCKER_HOST}:host-gateway"]
        arguments += ["--security-opt", "no-new-privileges", "--pids-limit", "1024"]
        if options.memory_limit is not None:
            arguments += ["--memory", str(options.memory_limit)]
        arguments += [f"--env={name}={value}" for name, value in settings.items()]
        # It removes the container when this process ends, however it ends.
        self._watch = subprocess.Popen(  # noqa: S603 - docker's own command
            ["/bin/sh", "-c", 'cat; exec "$0" rm --force "$1"', self._docker, self._name],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        self._relays: dict[int, _Relay | None] = {}
        try:
            _call(self._docker, *arguments, options.digest or str(options.image))
            published = _call(self._docker, "port", self._name, f"{_PORT}/tcp").split()
            self._port = int(published[0].rpartition(":")[2])
        except (_ServerError, IndexError, ValueError) as exc:
            self.stop()
            msg = f"The container of {options.image} did not start: {exc}"
            raise _ServerError(msg) from exc

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self._port))

    def is_running(self) -> bool:
        with suppress(_ServerError):
            state = "{{.State.Running}}"
            return "true" in _call(self._docker, "inspect", "--format", state, self._name)
        return False

    def log(self) -> str:
        with suppress(_ServerError):
            return _call(self._docker, "logs", "--tail", "50", self._name)[-_LOG:]
        return ""

    def url_from_inside(self, url: str) -> str:
        port = int(url.rpartition(":")[2])
        if port not in self._relays:
            self._relays[port] = self._relay(port)
        relay = self._relays[port]
        return f"http://{_DOCKER_HOST}:{port if relay is None else relay.port}"

    def _relay(self, port: int) -> _Relay | None:
        """Listen where containers reach this machine; Docker Desktop reaches loopback itself."""
        form = "{{(index .IPAM.Config 0).Gateway}}"
        with suppress(_ServerError, OSError):
            gateway = _call(self._docker, "network", "inspect", "--format", form, "bridge").strip()
            return _Relay(gateway, port)
        return None

    def stop(self) -> None:
        for relay in filter(None, self._relays.values()):
            relay.close()
        if self._watch.stdin is not None:
            self._watch.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._watch.wait(3 * _STOP_S)


class _Relay:
    """Forwards connections from the bridge of containers to the local server on loopback."""

    def __init__(self, address: str, port: int) -> None:
        self._to = ("127.0.0.1", port)
        self._listener = socket.create_server((address, 0))
        self.port: int = self._listener.getsockname()[1]
        self._run(self._accept)

    def close(self) -> None:
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with suppress(OSError):  # it was closed
            while True:
                inside, _ = self._listener.accept()
                self._run(self._forward, inside)

    def _forward(self, inside: socket.socket) -> None:
        with inside, suppress(OSError), socket.create_connection(self._to) as outside:
            back = self._run(_pump, outside, inside)
            _pump(inside, outside)
            back.join()

    def _run(self, function: Callable[..., None], *arguments: Any) -> threading.Thread:
        thread = threading.Thread(target=function, args=arguments, daemon=True)
        thread.start()
        return thread


def _pump(source: socket.socket, target: socket.socket) -> None:
    """Copy what comes until the end; the thread that copies the other way then ends, too."""
    with suppress(OSError):
        while part := source.recv(65536):
            target.sendall(part)
    with suppress(OSError):
        target.shutdown(socket.SHUT_WR)
    with suppress(OSError):
        source.shutdown(socket.SHUT_RD)


def _docker() -> str:
    for name in ("docker", "podman"):
        if found := shutil.which(name):
            return found
    msg = (
        'isolation="container" needs docker or podman, and neither is on the PATH: install one, '
        'or run in a Python environment with isolation="environment", python=...'
    )
    raise bad_request(msg)


def _digest(docker: str, image: str) -> str:
    """Return the digest of an image, which is pulled if it is not here."""
    form = "{{if .RepoDigests}}{{index .RepoDigests 0}}{{else}}{{.Id}}{{end}}"
    inspect = ("image", "inspect", "--format", form, "--", image)
    try:
        return _call(docker, *inspect).strip()
    except _ServerError:
        pass
    try:
        _call(docker, "pull", "--", image)
        return _call(docker, *inspect).strip()
    except _ServerError as exc:
        msg = f"The image {image!r} is not here and cannot be pulled: {exc}"
        raise bad_request(msg) from exc


def _call(docker: str, *arguments: str) -> str:
    """Return what a command of docker prints."""
    try:
        done = subprocess.run(  # noqa: S603 - docker's own command
            [docker, *arguments], capture_output=True, text=True, check=False, timeout=600
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise _ServerError(str(exc)) from exc
    if done.returncode:
        raise _ServerError(done.stderr.strip()[-600:] or f"{arguments[0]} failed")
    return done.stdout + (done.stderr if arguments[0] == "logs" else "")
