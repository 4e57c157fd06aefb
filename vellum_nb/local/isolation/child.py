"""Child process of one run."""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict
from datetime import datetime
from pathlib import Path
from typing import Any

from vellum_nb.errors import VellumNBError
from vellum_nb.local.deployments.loading import CodeUnavailableError, load
from vellum_nb.local.deployments.sources import Snapshot
from vellum_nb.local.engine.code import RunContext
from vellum_nb.local.engine.events import Event, Usage, describe_exception
from vellum_nb.models import VellumVariable, WorkflowInput, WorkflowOutput

__all__ = [
    "context_of",
    "event_of",
    "line",
    "main",
    "run_job",
    "serve",
    "told",
    "variables",
    "variables_of",
]

_PASSED = ("execution_id", "trace_id", "parent", "state", "timeout", "url", "api_key", "trigger")
_COPIED = ("name", "span_id", "trace_id", "body", "parent", "kind", "id", "source_execution_id")


def line(message: Mapping[str, Any]) -> bytes:
    """Return a message as one line."""
    return json.dumps(message, ensure_ascii=True).encode() + b"\n"


def run_job(inputs: Sequence[WorkflowInput], context: RunContext) -> dict[str, Any]:
    """Return what a process has to know of a run."""
    return {
        "inputs": [given.model_dump(mode="json") for given in inputs],
        "context": {name: getattr(context, name) for name in _PASSED},
    }


def context_of(job: Mapping[str, Any]) -> tuple[list[WorkflowInput], RunContext]:
    """Return the inputs and the context of a job."""
    inputs = [WorkflowInput.model_validate(given) for given in job["inputs"]]
    return inputs, RunContext(**job["context"])


def told(event: Event) -> dict[str, Any]:
    """Return an event as JSON knows it.

    Examples
    --------
    >>> event = Event("node.execution.initiated", "span", "trace", {"inputs": {}}, kind="PROMPT")
    >>> event_of(told(event)) == event
    True
    """
    return {
        **{name: getattr(event, name) for name in _COPIED},
        "outputs": [output.model_dump(mode="json") for output in event.outputs],
        "usage": [asdict(used) for used in event.usage],
        "execution_ids": event.execution_ids,
        "timestamp": event.timestamp.isoformat(),
    }


def event_of(message: Mapping[str, Any]) -> Event:
    """Return the event that `told` wrote."""
    return Event(
        **{name: message[name] for name in _COPIED},
        outputs=tuple(WorkflowOutput.model_validate(output) for output in message["outputs"]),
        usage=tuple(Usage(**used) for used in message["usage"]),
        execution_ids=tuple(message["execution_ids"]),
        timestamp=datetime.fromisoformat(message["timestamp"]),
    )


def variables(found: Sequence[VellumVariable]) -> list[dict[str, Any]]:
    """Return variables as JSON knows them."""
    return [variable.model_dump(mode="json", by_alias=True) for variable in found]


def variables_of(message: Sequence[Mapping[str, Any]]) -> tuple[VellumVariable, ...]:
    """Return the variables that `variables` wrote."""
    return tuple(VellumVariable.model_validate(item) for item in message)


Tell = Callable[[Mapping[str, Any]], object]


def main() -> None:
    """Do the one job that stdin gives, and end."""
    events, jobs = os.dup(1), os.dup(0)
    os.dup2(2, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    faulthandler.enable()
    serve(jobs, events)


def serve(jobs: int, events: int) -> None:
    """Do the job that comes on the descriptor `jobs`, tell on `events`, and end the process."""
    reader, writer = os.fdopen(jobs, "rb"), os.fdopen(events, "wb")

    def tell(message: Mapping[str, Any]) -> None:
        writer.write(line(message))
        writer.flush()

    job = json.loads(reader.readline())
    os.environ.update(job["env"])
    sys.path[:] = job["path"]
    with suppress(OSError):  # the server's folder may be gone
        os.chdir(job["cwd"])
    threading.Thread(target=_end_with_server, args=(reader.fileno(),), daemon=True).start()
    try:
        _limit(job["memory_limit"])
        _DOES[job["do"]](job, tell)
    except CodeUnavailableError as exc:
        tell({"gone": str(exc)})
    except VellumNBError as exc:
        tell({"refused": str(exc)})
    except (MemoryError, RuntimeError) as exc:  # no memory, no thread to be had
        tell({"broken": describe_exception(exc)})
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(0)  # threads that the workflow left behind do not hold it up


def _describe(job: Mapping[str, Any], tell: Tell) -> None:
    place, code = load(Snapshot(Path(job["folder"])), job["entry"])
    tell(
        {
            "entry": place,
            "description": code.description,
            "input_variables": variables(code.input_variables),
            "output_variables": variables(code.output_variables),
        }
    )


def _run(job: Mapping[str, Any], tell: Tell) -> None:
    _, code = load(Snapshot(Path(job["folder"])), job["entry"])
    execution = code.begin(*context_of(job))
    for event in execution.events():
        tell({"event": told(event)})


_DOES: dict[str, Callable[[Mapping[str, Any], Tell], None]] = {"describe": _describe, "run": _run}


def _limit(memory: int | None) -> None:
    if os.name == "nt":
        return
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if memory is not None:
        resource.setrlimit(resource.RLIMIT_AS, (memory, memory))


def _end_with_server(jobs: int) -> None:
    """Wait until the other end of `jobs` is closed, which it is when the server is gone."""
    os.read(jobs, 1)
    if os.name != "nt":
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


if __name__ == "__main__":
    main()
