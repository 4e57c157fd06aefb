"""Code that runs in Vellum's workflow server, in a container or another Python environment.

Every custom image of Vellum contains this server, which is used over HTTP. One is started per
release, on first use, and stopped with the local server.
"""

from __future__ import annotations

import http.client
import json
import math
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import socketserver
import subprocess
import tempfile
import threading
import time
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from pydantic import TypeAdapter

from vellum_nb.local.deployments.sources import CodeUnavailableError, Snapshot
from vellum_nb.local.engine.events import Event, Rejection, RunContext
from vellum_nb.local.engine.inputs import check_inputs
from vellum_nb.local.isolation.process import (
    DESCRIBE_S,
    SLOW_IMPORT,
    Isolation,
    ProcessExecution,
    ProcessOptions,
    describe_in_process,
    passed_on,
)
from vellum_nb.local.refusals import Refused
from vellum_nb.local.sdk.translation import EventTranslator
from vellum_nb.models import VellumVariable, WorkflowInput

_VARIABLES: TypeAdapter[tuple[VellumVariable, ...]] = TypeAdapter(tuple[VellumVariable, ...])
_MODULE = "workflow"
_PORT = 8000  # of the workflow server in its container
_READY_S = 120.0
_STOP_S = 5.0
_CANCEL_S = 15.0
_HEALTH_S = 5.0
_THREADS = 72
_UNLIMITED_MB = 1_000_000  # the workflow server counts the memory of all processes
_DOCKER_HOST = "host.docker.internal"
_GATEWAYS = {  # default network of docker and of podman -> template of its gateway
    "bridge": "{{(index .IPAM.Config 0).Gateway}}",
    "podman": "{{(index .Subnets 0).Gateway}}",
}
_MAX_LOG_CHARS = 4000
_DOCKER_SETTING = re.compile(
    "(DOCKER_(?!AUTH_CONFIG)|CONTAINERS?_|PODMAN_|XDG_).*|DBUS_SESSION_BUS_ADDRESS|SSH_AUTH_SOCK"
)
"""Environment variables of docker and podman without keys."""
# Runs a command until it ends or stdin, held open by this process, is closed; then ends its group
# and runs `clean_up`. After a crash, the folder with the log is not removed.
_SUPERVISE = """
end() {{ {clean_up}; kill -9 0; }}
{{ {limit}; "$@" </dev/null; end; }} & cat >/dev/null; rm -rf {folder}; end
"""


def process_options(isolation: Isolation, target: object) -> ProcessOptions | None:
    """Resolve the isolation of `target`; return None if it runs in the kernel's process."""
    if isolation.kind == "kernel":
        return None
    options = ProcessOptions(isolation.memory_limit, tuple(isolation.env), isolation.kind)
    if isolation.kind == "process":
        return options
    if isolation.kind == "container":
        image = isolation.image
        if image is None and isinstance(target, os.PathLike):
            image = image_of_project(Path(target).expanduser().resolve())
        if image:
            return replace(options, digest=_digest(_docker(), image))
        msg = (
            'isolation "container" needs an image: give Isolation("container", image="name:tag"), '
            "or name it in pyproject.toml or vellum.lock.json (container_image_name)"
        )
        raise Refused(400, msg)
    return replace(options, python=_python_with_server(isolation.python))


def _python_with_server(python: str | os.PathLike[str] | None) -> str:
    """Return the path of `python`, an interpreter that can import the workflow server."""
    program = shutil.which(str(python)) if python else None
    if program is None:
        msg = (
            'isolation "environment" needs Isolation("environment", python="/path/to/python"); '
            f"{str(python)!r:.200} is not a program"
        )
        raise Refused(400, msg)
    check = [program, "-c", "import workflow_server, gunicorn"]
    process = subprocess.run(check, capture_output=True, check=False, env=passed_on())  # noqa: S603
    if process.returncode:
        msg = (
            f"Isolation needs Vellum's workflow server in {program}: "
            "pip install vellum-workflow-server there"
        )
        raise Refused(400, msg)
    return program


def image_of_project(path: Path) -> str | None:
    """Return the image of a project, from `vellum.lock.json` or `pyproject.toml`."""
    for folder in (path, path.parent):
        for name in ("vellum.lock.json", "pyproject.toml"):
            with suppress(OSError, ValueError, LookupError, AttributeError, TypeError):
                text = (folder / name).read_text("utf-8")
                is_lock = name.endswith(".json")
                config = json.loads(text) if is_lock else tomllib.loads(text)["tool"]["vellum"]
                for workflow in config["workflows"]:
                    is_this = str(workflow.get("module")).rpartition(".")[2] == path.name
                    if is_this and (image := image_name(workflow)):
                        return image
    return None


def image_name(config: Mapping[str, Any]) -> str | None:
    """Return ``name:tag`` from the config of a workflow or runner; default tag: `latest`."""
    name, tag = config.get("container_image_name"), config.get("container_image_tag")
    return f"{name}:{tag or 'latest'}" if name else None


@dataclass(frozen=True)
class IsolatedCode:
    """A workflow of a snapshot that runs in another process, and is never imported in this one."""

    snapshot: Snapshot
    entry: str
    options: ProcessOptions
    input_variables: tuple[VellumVariable, ...]
    output_variables: tuple[VellumVariable, ...]
    description: str

    @classmethod
    def described(
        cls, snapshot: Snapshot, entry: str, options: ProcessOptions
    ) -> tuple[str, IsolatedCode]:
        """Describe code in its environment; return its place and the code with its variables."""
        describe = describe_in_process if options.isolation == "process" else _describe_in_server
        try:
            place, *variables, description = describe(snapshot, entry, options)
            inputs, outputs = map(_VARIABLES.validate_python, variables)
        except Rejection as exc:
            raise CodeUnavailableError(exc.message) from exc
        except (ValueError, KeyError, TypeError) as exc:
            msg = f"the workflow server gave an invalid answer ({type(exc).__name__})"
            raise CodeUnavailableError(msg) from exc
        return place, cls(snapshot, place, options, inputs, outputs, description)

    def begin(
        self, inputs: Sequence[WorkflowInput], context: RunContext
    ) -> ProcessExecution | ServerExecution:
        """Check the inputs and return the run, which has not started."""
        check_inputs(self.input_variables, inputs)
        if self.options.isolation == "process":
            return ProcessExecution(self.snapshot, self.entry, self.options, inputs, context)
        if context.mocks:
            msg = "node_output_mocks cannot be used with an image or environment; leave them out"
            raise Refused(400, msg)
        return ServerExecution(self, inputs, context, self.snapshot.texts())


def _describe_in_server(
    snapshot: Snapshot, _entry: str, options: ProcessOptions
) -> tuple[str, Any, Any, str]:
    body = {"files": dict(snapshot.texts()), "module": _MODULE}
    server = _server_of(snapshot.folder, options)
    try:
        with server.request("/workflow/serialize", body, timeout=DESCRIBE_S) as answer:
            config = json.loads(answer.read())["exec_config"]
    except Rejection as exc:
        if not isinstance(exc.__cause__, TimeoutError):
            raise
        stop_servers([snapshot.folder])  # its next runs would be forks of a process that hangs
        raise CodeUnavailableError(SLOW_IMPORT) from exc
    place = f"{_MODULE}:{config['workflow_raw_data']['definition']['name']}"
    return place, config["input_variables"], config["output_variables"], ""


@dataclass
class ServerExecution:
    """A run in a workflow server, which polls every 5 s for a cancellation."""

    code: IsolatedCode
    inputs: Sequence[WorkflowInput]
    context: RunContext
    files: Mapping[str, str]
    _until: float = math.inf

    def cancel(self) -> None:
        """End the run soon; disconnect if the server does not."""
        self._until = min(self._until, time.monotonic() + _CANCEL_S)

    def events(self) -> Iterator[Event]:
        """Run and yield the events; raise a `Rejection` if the server crashes or refuses."""
        outputs = {variable.key: variable for variable in self.code.output_variables}
        translator = EventTranslator(outputs, self.context, lambda m: m.partition(".")[2] or m)
        server = _server_of(self.code.snapshot.folder, self.code.options)
        failure: Rejection | None = None
        with server.request("/workflow/stream", self._body(server)) as answer:
            # Read to END: after a disconnect, a thread of the server continues, and the next run,
            # a fork of the server, could inherit a lock and hang.
            for line in answer:
                if time.monotonic() > self._until:
                    return
                if not line.startswith(b"{"):
                    continue  # WAITING or END
                event = json.loads(line)
                if event["name"].startswith("vembda."):
                    failure = _failure(event["body"], self.code.options) or failure
                else:
                    yield from translator.translate(event)
            message = "The workflow server ended the run without a result"
            message += _limit_hint(self.code.options)
            raise translator.rejection or failure or server.rejection(message)

    def _body(self, server: _Server) -> dict[str, Any]:
        context = self.context
        url = server.url_from_inside(context.url)
        names = self.code.options.env
        variables = {name: os.environ[name] for name in names if name in os.environ}
        return {
            "files": dict(self.files),
            "module": _MODULE,
            "inputs": [item.model_dump(mode="json") for item in self.inputs],
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


def _failure(body: Mapping[str, Any], options: ProcessOptions) -> Rejection | None:
    if body.get("timed_out"):
        return Rejection("The run took longer than the workflow server allows", "WORKFLOW_TIMEOUT")
    if not body.get("exit_code"):
        return None
    reason = body.get("stderr") or "it gave no reason"
    message = f"The workflow server could not finish the run: {reason}"
    if "exited abnormally" in reason:
        message += _limit_hint(options)
    return Rejection(message, "NODE_EXECUTION")


def _limit_hint(options: ProcessOptions) -> str:
    if not options.memory_limit:
        return ""
    limit = f"its memory_limit of {options.memory_limit:,} bytes"
    return f", perhaps because it needed more than {limit}"


# Servers


_lock = threading.Lock()
_servers: dict[tuple[Path, ProcessOptions], _Server] = {}


def _server_of(folder: Path, options: ProcessOptions) -> _Server:
    key = (folder, options)
    with _lock:
        server = _servers.get(key)
        if server is None or not server.is_running():
            if server is not None:
                server.stop()
            server = _servers[key] = _Server(options)
    server.wait_until_ready()
    return server


def stop_servers(folders: Sequence[Path]) -> None:
    """Stop the servers of the snapshots in `folders`; they are started again on demand."""
    with _lock:
        servers = [_servers.pop(key) for key in list(_servers) if key[0] in folders]
    for server in servers:
        server.stop()


class _Server:
    """A running workflow server, reachable only on 127.0.0.1 or a socket of this user."""

    def __init__(self, options: ProcessOptions) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="vellum_nb-server-"))
        self._socket = self._folder / "socket"
        self._docker = _docker() if options.isolation == "container" else ""
        self._name = f"vellum-nb-{secrets.token_hex(8)}"
        self._relays: dict[int, socketserver.ThreadingTCPServer | None] = {}
        memory = options.memory_limit
        settings = {
            "FLASK_ENV": "local",
            "CONCURRENCY": str(_THREADS),
            "MEMORY_LIMIT_MB": str(memory // 2**20 if memory and self._docker else _UNLIMITED_MB),
        }
        if self._docker:
            command = self._in_container(options, {**settings, "PORT": str(_PORT)})
            docker, limit = shlex.quote(self._docker), "true"
            clean_up = f"{docker} kill {self._name}; {docker} rm --force {self._name}"
            environment = passed_on(*filter(_DOCKER_SETTING.fullmatch, os.environ))
        else:
            command = [str(options.python), "-m", "gunicorn", "--bind", f"unix:{self._socket}"]
            command += ["--worker-class", "gthread", "--threads", str(_THREADS), "--timeout", "0"]
            command += ["workflow_server.server:app"]
            limit, clean_up = f"ulimit -v {memory // 1024 if memory else 'unlimited'}", "true"
            environment = passed_on() | settings
        folder = shlex.quote(str(self._folder))
        script = _SUPERVISE.format(limit=limit, clean_up=clean_up, folder=folder)
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(  # noqa: S603 - named by the user
                ["/bin/sh", "-c", script, "vellum_nb", *command],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=self._folder,
                start_new_session=True,
            )
        self._is_ready = False

    def _in_container(self, options: ProcessOptions, settings: Mapping[str, str]) -> list[str]:
        return [
            *(self._docker, "run", "--rm", "--name", self._name, "--label", "vellum-nb"),
            *("--publish", f"127.0.0.1::{_PORT}"),
            *("--add-host", f"{_DOCKER_HOST}:host-gateway"),
            *("--security-opt", "no-new-privileges", "--pids-limit", "1024"),
            *(("--memory", str(options.memory_limit)) if options.memory_limit else ()),
            *(f"--env={name}={value}" for name, value in settings.items()),
            str(options.digest),
        ]

    def wait_until_ready(self) -> None:
        until = time.monotonic() + _READY_S
        while not self._is_ready:
            with suppress(Rejection), self.request("/healthz", timeout=_HEALTH_S):
                self._is_ready = True
                return
            if not self.is_running() or time.monotonic() > until:
                why = self.rejection("").stacktrace or "it printed nothing"
                message = f"The workflow server did not start: {why[-600:]}"
                rejection = self.rejection(message)
                self.stop()
                raise rejection
            time.sleep(0.1)

    @contextmanager
    def request(
        self, path: str, body: Mapping[str, Any] | None = None, *, timeout: float | None = None
    ) -> Iterator[http.client.HTTPResponse]:
        """Send a request and yield its answer; `timeout` applies to each read and write."""
        connection = http.client.HTTPConnection("localhost")
        try:
            connection.sock = self._connect()
            connection.sock.settimeout(timeout)
            content = None if body is None else json.dumps(body).encode()
            method = "GET" if body is None else "POST"
            connection.request(method, path, content, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            if answer.status != http.client.OK:
                text = answer.read(100_000).decode("utf-8", "replace")
                with suppress(ValueError, AttributeError):
                    text = json.loads(text).get("detail", text)
                msg = f"The workflow server refused the request ({answer.status}): {text:.600}"
                raise self.rejection(msg)
            yield answer
        except (OSError, http.client.HTTPException) as exc:
            why = str(exc) or type(exc).__name__
            msg = f"The workflow server cannot be reached, or died during the run ({why})"
            raise self.rejection(msg) from exc
        finally:
            connection.close()

    def _connect(self) -> socket.socket:
        if self._docker:
            published = _call(self._docker, "port", self._name, f"{_PORT}/tcp").split()
            address = urlsplit(f"//{published[0]}") if published else None
            return socket.create_connection(("127.0.0.1", (address and address.port) or 0))
        connected = socket.socket(socket.AF_UNIX)
        try:
            connected.connect(str(self._socket))
        except OSError:
            connected.close()
            raise
        return connected

    def is_running(self) -> bool:
        return self._process.poll() is None

    def rejection(self, message: str) -> Rejection:
        """Return a rejection with the last output of the server."""
        with suppress(OSError):
            log = (self._folder / "log").read_text("utf-8", "replace")[-_MAX_LOG_CHARS:]
            return Rejection(message, "NODE_EXECUTION", log or None)
        return Rejection(message, "NODE_EXECUTION")

    def url_from_inside(self, url: str) -> str:
        """Return the address of the local server for the workflow server."""
        if not self._docker:
            return url
        port = int(url.rpartition(":")[2])
        if port not in self._relays:
            self._relays[port] = _relay(self._docker, port)
        relay = self._relays[port]
        return f"http://{_DOCKER_HOST}:{relay.server_address[1] if relay else port}"

    def stop(self) -> None:
        for relay in filter(None, self._relays.values()):
            relay.shutdown()
            relay.server_close()
        if self._process.stdin is not None:
            self._process.stdin.close()
        with suppress(subprocess.TimeoutExpired):
            self._process.wait(3 * _STOP_S if self._docker else _STOP_S)
        with suppress(OSError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)


def _relay(docker: str, port: int) -> socketserver.ThreadingTCPServer | None:
    """Forward connections from the bridge of containers to loopback; None without a bridge."""

    class Forwarding(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            with suppress(OSError), socket.create_connection(("127.0.0.1", port)) as outside:
                back = threading.Thread(target=_forward, args=(outside, self.request), daemon=True)
                back.start()
                _forward(self.request, outside)
                back.join()

    for network, gateway in _GATEWAYS.items():
        with suppress(Rejection, OSError):
            address = _call(docker, "network", "inspect", "--format", gateway, network).strip()
            relay = socketserver.ThreadingTCPServer((address, 0), Forwarding)
            relay.daemon_threads = True
            threading.Thread(target=relay.serve_forever, args=(0.1,), daemon=True).start()
            return relay
    return None


def _forward(source: socket.socket, target: socket.socket) -> None:
    """Copy data until the end, then end the thread of the other direction."""
    with suppress(OSError):
        while part := source.recv(65536):
            target.sendall(part)
    for connected, direction in ((target, socket.SHUT_WR), (source, socket.SHUT_RD)):
        with suppress(OSError):
            connected.shutdown(direction)


def _docker() -> str:
    for name in ("docker", "podman"):
        if program := shutil.which(name):
            return program
    msg = (
        'isolation "container" needs docker or podman, and neither is on the PATH: install one, '
        'or use Isolation("environment", python=...)'
    )
    raise Refused(400, msg)


def _digest(docker: str, image: str) -> str:
    """Return the digest of an image; pull it if it is missing."""
    form = "{{if .RepoDigests}}{{index .RepoDigests 0}}{{else}}{{.Id}}{{end}}"
    inspect = ("image", "inspect", "--format", form, "--", image)
    with suppress(Rejection):
        return _call(docker, *inspect).strip()
    try:
        _call(docker, "pull", "--", image)
        return _call(docker, *inspect).strip()
    except Rejection as exc:
        msg = f"The image {image!r} is not here and cannot be pulled: {exc.message}"
        raise Refused(400, msg) from exc


def _call(docker: str, *arguments: str) -> str:
    try:
        process = subprocess.run(  # noqa: S603 - docker's own command
            [docker, *arguments], capture_output=True, text=True, check=False, timeout=600
        )
    except (OSError, subprocess.TimeoutExpired) as exc:
        raise Rejection(str(exc), "NODE_EXECUTION") from exc
    if process.returncode:
        message = process.stderr.strip()[-600:] or f"{arguments[0]} failed"
        raise Rejection(message, "NODE_EXECUTION")
    return process.stdout
