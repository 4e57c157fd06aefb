"""The process of one run: reads a job from stdin, tells events on what was its stdout.

What the workflow prints goes to stderr, where it can break nothing. When the server goes away,
this process ends too.
"""

from __future__ import annotations

import faulthandler
import json
import os
import signal
import sys
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from vellum_nb.errors import VellumNBError
from vellum_nb.local.deployments.loading import WorkflowGoneError, load
from vellum_nb.local.deployments.sources import Snapshot
from vellum_nb.local.engine.words import in_words
from vellum_nb.local.isolation import codec

__all__ = ["main", "serve"]

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
        writer.write(codec.line(message))
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
    except WorkflowGoneError as exc:
        tell({"gone": str(exc)})
    except VellumNBError as exc:
        tell({"refused": str(exc)})
    except (MemoryError, RuntimeError) as exc:  # no memory, no thread to be had
        tell({"broken": in_words(exc)})
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
            "input_variables": codec.variables(code.input_variables),
            "output_variables": codec.variables(code.output_variables),
        }
    )


def _run(job: Mapping[str, Any], tell: Tell) -> None:
    _, code = load(Snapshot(Path(job["folder"])), job["entry"])
    execution = code.begin(*codec.context_of(job))
    for event in execution.events():
        tell({"event": codec.told(event)})


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
