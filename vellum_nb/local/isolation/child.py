"""The process of one run: does one job, and writes what happens as JSON lines.

What the workflow prints goes elsewhere, where it can break nothing. When the server ends, so do
this process and its group.
"""

from __future__ import annotations

import ctypes
import faulthandler
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, replace
from multiprocessing import forkserver
from pathlib import Path
from typing import Any

from vellum_nb.errors import VellumNBError
from vellum_nb.local.deployments.loading import load
from vellum_nb.local.deployments.sources import CodeUnavailableError, Snapshot
from vellum_nb.local.engine.events import (
    Rejection,
    RunContext,
    describe_exception,
    not_loaded,
    to_json,
)
from vellum_nb.models import WorkflowInput

Send = Callable[[str, Any], None]
_M_ARENA_MAX = -8


@dataclass(frozen=True)
class ForkedChild:
    """A job in the form in which the fork server of `multiprocessing` hands it to a child."""

    job: Mapping[str, Any]

    def _bootstrap(self, parent_sentinel: int) -> int:
        """Do the job, and end the process; `parent_sentinel` is closed when the server is gone."""
        events, output = forkserver.get_inherited_fds()  # type: ignore[misc]
        os.setsid()
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        os.set_inheritable(events, False)  # noqa: FBT003 - so named in os
        os.register_at_fork(after_in_child=lambda: os.close(events))  # else a copy holds it open
        writer = os.fdopen(events, "wb")

        def send(kind: str, content: Any) -> None:
            writer.write(to_json({kind: content}).encode("ascii") + b"\n")
            writer.flush()

        threading.Thread(target=_end_with_server, args=(parent_sentinel,), daemon=True).start()
        status = 1
        try:
            self._set_up()
            self._do(send)
            status = 0
        except BaseException:  # noqa: BLE001 - its traceback is the reason that the run gets
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(status)  # threads that the workflow left behind do not hold it up

    def _set_up(self) -> None:
        import resource

        job = self.job
        os.environ.clear()
        os.environ.update(job["environment"])
        sys.path[:] = job["path"]
        for name, descriptor in (("stdout", 1), ("stderr", 2)):
            # Line by line: the last lines matter when it crashes.
            stream = os.fdopen(descriptor, "w", 1, "utf-8", "backslashreplace", closefd=False)
            setattr(sys, name, stream)
            setattr(sys, f"__{name}__", stream)
        faulthandler.enable(2)
        with suppress(OSError):  # the server's folder may be gone
            os.chdir(job["folder"])
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        if job["memory_limit"] is not None:
            with suppress(AttributeError, OSError):  # each arena takes 64 MiB of addresses
                ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 2)
            resource.setrlimit(resource.RLIMIT_AS, (job["memory_limit"],) * 2)

    def _do(self, send: Send) -> None:
        context = self.job["context"]
        try:
            place, code = load(Snapshot(Path(self.job["snapshot"])), self.job["entry"])
            if context is None:
                variables = code.input_variables, code.output_variables
                send("described", [place, *variables, code.description])
                return
            inputs = [WorkflowInput.model_validate(each) for each in self.job["inputs"]]
            for event in code.begin(inputs, RunContext(**context)).events():
                body = event.body
                if event.name.endswith(".rejected") and (error := body.get("error")):
                    message = self._with_limit(error["message"], body.get("stacktrace"))
                    body = {**body, "error": {**error, "message": message}}
                send("event", replace(event, body=body))
        except CodeUnavailableError as exc:
            self._reject(send, not_loaded(exc) if context else Rejection(str(exc), ""))
        except Rejection as why:
            self._reject(send, why)
        except VellumNBError as exc:
            self._reject(send, Rejection(str(exc), "INVALID_INPUTS"))
        except (MemoryError, RuntimeError) as exc:  # no memory, or no thread can be started
            message = f"The process of the run failed: {describe_exception(exc)}"
            self._reject(send, Rejection(message, "NODE_EXECUTION"))

    def _reject(self, send: Send, why: Rejection) -> None:
        send("rejected", [self._with_limit(why.message, why.stacktrace), why.code, why.stacktrace])

    def _with_limit(self, message: str, stacktrace: str | None) -> str:
        """Return the message of an error, with the limit when memory ran out."""
        limit = self.job["memory_limit"]
        if limit is None or "MemoryError" not in f"{message}{stacktrace}":
            return message
        reason = message or "MemoryError"
        return f"The run needed more than its memory_limit of {limit:,} bytes ({reason})"


def _end_with_server(sentinel: int) -> None:
    with suppress(OSError):
        os.read(sentinel, 1)
    os.killpg(0, signal.SIGKILL)
