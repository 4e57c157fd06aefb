"""Executions to keep, workflows to run, and ways to read their end."""

import gzip
import json
import os
import socket
import subprocess
import sys
import tarfile
import time
import uuid
import warnings
from collections.abc import Callable, Iterable
from contextlib import contextmanager
from datetime import UTC, datetime
from io import BytesIO
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import httpx

from vellum_nb.local import State
from vellum_nb.local.engine.events import WORKFLOW_FULFILLED, Event
from vellum_nb.local.ledger import ExecutionRecord

NO_ID = "00000000-0000-4000-8000-000000000009"
ACTUALS = "/v1/submit-workflow-execution-actuals"
FLOW_HEAD = """from typing import Optional

from vellum.workflows import BaseWorkflow
from vellum.workflows.inputs import BaseInputs
from vellum.workflows.nodes import BaseNode, MapNode, SubworkflowDeploymentNode
from vellum.workflows.outputs import BaseOutput
from vellum.workflows.state import BaseState

class Inputs(BaseInputs):
    text: str
"""
START = datetime(2026, 1, 31, 12, 0, tzinfo=UTC)


def record(**fields: Any) -> ExecutionRecord:
    id_ = str(uuid.uuid4())
    common: dict[str, Any] = {
        "execution_id": id_,
        "trace_id": str(uuid.uuid4()),
        "deployment_id": "deployment",
        "deployment_name": "triage",
        "release_id": "release",
        "version_id": "version",
        "tag": "LATEST",
        "inputs": (),
        "start": START,
    }
    return ExecutionRecord(**(common | fields))


def event(of: ExecutionRecord, name: str = WORKFLOW_FULFILLED, **fields: Any) -> Event:
    return Event(name, of.execution_id, of.trace_id, fields.pop("body", {}), **fields)


def turn(text: str, memory: State) -> dict[str, Any]:
    """Count the turns of a conversation."""
    memory["turns"] = [*memory.get("turns", []), text]
    return {"text": text.upper(), "turns": len(memory["turns"])}


def boom(text: str) -> str:
    """Fail."""
    raise KeyError(text)


def run(api: Any, name: str, text: str, **more: Any) -> str:
    """Execute and return the execution id."""
    answer = api.ask(name, text, **more)
    assert answer.status_code == 200, answer.text
    return str(answer.json()["execution_id"])


def found_at(api: Any, path: str, **query: Any) -> dict[str, Any]:
    answer = api.get(path, params=query)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return found


def events(api: Any, name: str, **query: Any) -> dict[str, Any]:
    return found_at(api, f"/v1/workflow-deployments/{name}/execution-events", **query)


def read(api: Any, name: str, execution_id: str) -> dict[str, Any]:
    return found_at(api, f"/v1/workflow-deployments/{name}/execution-events/{execution_id}")


def condition(field: str, operator: str, value: Any) -> dict[str, Any]:
    lhs, rhs = ({"type": "STRING", "value": each} for each in (field, value))
    sides = {"lhs_variable": lhs, "operator": operator, "rhs_variable": rhs}
    return {"type": "LOGICAL_CONDITION", **sides}


def group(*conditions: Any, combinator: str = "AND", negated: bool = False) -> dict[str, Any]:
    group = {"combinator": combinator, "negated": negated, "conditions": list(conditions)}
    return {"type": "LOGICAL_CONDITION_GROUP", **group}


def by(field: str, operator: str, value: Any) -> str:
    return json.dumps(group(condition(field, operator, value)))


def inputs(**values: tuple[str, Any]) -> list[dict[str, Any]]:
    """Return typed inputs; each value is a (type, value) pair."""
    return [{"name": n, "type": type_, "value": value} for n, (type_, value) in values.items()]


def outputs(data: dict[str, Any]) -> dict[str, Any]:
    assert data["state"] == "FULFILLED", data
    return {output["name"]: output["value"] for output in data["outputs"]}


def archive(files: dict[str, str], kind: bytes = tarfile.REGTYPE) -> bytes:
    """Return a tar.gz, the same bytes in each process."""
    buffer = BytesIO()
    gz = gzip.GzipFile(fileobj=buffer, mode="wb", mtime=0)
    with gz, tarfile.open(fileobj=gz, mode="w") as tar:
        for name, text in files.items():
            info = tarfile.TarInfo(name)
            info.size, info.type = len(text), kind
            tar.addfile(info, BytesIO(text.encode()))
    return buffer.getvalue()


@contextmanager
def official(server: Any):
    """Yield the official client of a server."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what it warns about on import is not ours
        from vellum import Vellum
        from vellum.environment import VellumEnvironment
    place = VellumEnvironment(**dict.fromkeys(("default", "predict", "documents"), server.url))
    with httpx.Client(timeout=300) as http:  # a new server imports Vellum's SDK, on a busy machine
        yield Vellum(api_key=server.api_key, environment=place, httpx_client=http)


@contextmanager
def serving(*options: str, **environment: str):
    """Run ``vellum-nb serve`` without samples; yield its address, its key, and what kills it."""
    command = [sys.executable, "-m", "vellum_nb", "serve", "--port", "0", "--no-samples", *options]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    with subprocess.Popen(command, **pipes, text=True, env=os.environ | environment) as process:
        try:
            url, key = (process.stdout.readline().strip().partition("=")[2] for _ in range(2))
            yield SimpleNamespace(url=url, api_key=key, kill=process.kill)
        finally:
            process.kill()


def connected(server: Any) -> socket.socket:
    return socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), 120)


def raw_post(server: Any, path: str, body: dict[str, Any]) -> bytes:
    """Return the bytes of a request."""
    content = json.dumps(body).encode()
    head = (
        f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-KEY: {server.api_key}\r\n"
        f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n\r\n"
    )
    return head.encode() + content


def until(condition: Callable[[], Any], seconds: float = 120) -> Any:
    """Wait until `condition` gives something true, and return it."""
    end = time.monotonic() + seconds
    while not (found := condition()):
        assert time.monotonic() < end
        time.sleep(0.02)
    return found


def until_gone(pids: Iterable[int]) -> None:
    until(lambda: not any(map(is_alive, pids)))


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
        stat = Path(f"/proc/{pid}/stat")
        return not stat.exists() or stat.read_text().rpartition(")")[2].split()[0] != "Z"
    except (ProcessLookupError, FileNotFoundError):
        return False
