"""The process of one run: does one job, and writes what happens as JSON lines.

What the workflow prints goes elsewhere, where it can break nothing. When the server ends, so do
this process and its group.
"""

from __future__ import annotations

import ctypes
import faulthandler
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing import forkserver
from pathlib import Path
from typing import Any, TextIO

from vellum_nb.errors import VellumNBError
from vellum_nb.local.deployments.loading import load
from vellum_nb.local.deployments.sources import CodeUnavailableError, Snapshot, Snapshots
from vellum_nb.local.engine.events import Rejection, RunContext, describe_exception, to_json
from vellum_nb.models import WorkflowInput

Send = Callable[[str, Any], None]
_M_ARENA_MAX = -8


@dataclass(frozen=True)
class ForkedChild:
    """A job in the form in which the fork server of `multiprocessing` hands it to a child."""

    job: Mapping[str, Any]

    def _bootstrap(self, parent_sentinel: int) -> int:
        descriptors: Any = forkserver.get_inherited_fds()
        events, output = descriptors
        os.setsid()
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        serve(self.job, events, parent_sentinel)
        return 0


def serve(job: Mapping[str, Any], events: int, sentinel: int) -> None:
    """Do a job, write messages to the descriptor `events`, and end the process.

    `sentinel` is a descriptor that is closed at the other end when the server is gone.
    """
    writer = os.fdopen(os.dup(events), "wb")
    os.close(events)
    if hasattr(os, "register_at_fork"):  # a copy of this process must not hold the pipe open
        os.register_at_fork(after_in_child=lambda: os.close(writer.fileno()))

    def send(kind: str, content: Any) -> None:
        writer.write(to_json({kind: content}).encode("ascii") + b"\n")
        writer.flush()

    threading.Thread(target=_end_with_server, args=(sentinel,), daemon=True).start()
    status = 1
    try:
        _set_up(job)
        _do(job, send)
        status = 0
    except BaseException:  # noqa: BLE001 - its traceback is the reason that the run gets
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)  # threads that the workflow left behind do not hold it up


def _do(job: Mapping[str, Any], send: Send) -> None:
    try:
        _JOBS[job["do"]](job, send)
    except CodeUnavailableError as exc:
        send("unavailable", str(exc))
    except Rejection as exc:
        send("rejected", [exc.code, exc.message, exc.stacktrace])
    except VellumNBError as exc:
        send("refused", str(exc))
    except (MemoryError, RuntimeError) as exc:  # no memory, or no thread can be started
        send("broken", describe_exception(exc))


def _set_up(job: Mapping[str, Any]) -> None:
    os.environ.clear()
    os.environ.update(job["environment"])
    sys.path[:] = job["path"]
    sys.stdout, sys.stderr = _text_stream(1), _text_stream(2)
    for name in ("stdout", "stderr"):
        setattr(sys, f"__{name}__", getattr(sys, name))
    faulthandler.enable(2)
    with suppress(OSError):  # the server's folder may be gone
        os.chdir(job["folder"])
    if os.name != "nt":
        import resource

        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if job["memory_limit"] is not None:
            with suppress(AttributeError, OSError):  # each arena takes 64 MiB of addresses
                ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)
            resource.setrlimit(resource.RLIMIT_AS, (job["memory_limit"],) * 2)


def _text_stream(descriptor: int) -> TextIO:
    """Return a stream that is written line by line: the last lines matter when it crashes."""
    return open(
        descriptor, "w", buffering=1, encoding="utf-8", errors="backslashreplace", closefd=False
    )


def _describe(job: Mapping[str, Any], send: Send) -> None:
    place, code = load(_snapshot(job), job["entry"])
    variables = code.input_variables, code.output_variables
    send("described", [place, *variables, code.description])


def _run(job: Mapping[str, Any], send: Send) -> None:
    _, code = load(_snapshot(job), job["entry"])
    inputs = [WorkflowInput.model_validate(each) for each in job["inputs"]]
    for event in code.begin(inputs, RunContext(**job["context"])).events():
        send("event", event)


_JOBS: dict[str, Callable[[Mapping[str, Any], Send], None]] = {"describe": _describe, "run": _run}


def _snapshot(job: Mapping[str, Any]) -> Snapshot:
    folder = Path(job["snapshot"])
    return Snapshots(folder.parent).get(folder.name)


def _end_with_server(sentinel: int) -> None:
    with suppress(OSError):
        os.read(sentinel, 1)
    if os.name != "nt":
        os.killpg(0, signal.SIGKILL)
    os._exit(1)


def _main() -> None:
    """Do the job that comes as a JSON line on stdin; messages go to what was stdout."""
    events, jobs = os.dup(1), os.dup(0)
    os.dup2(2, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    reader = os.fdopen(jobs, "rb")
    serve(json.loads(reader.readline()), events, reader.fileno())


if __name__ == "__main__":
    _main()
