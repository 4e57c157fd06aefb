"""Starts processes for runs, reads what they tell, ends them for certain."""

from __future__ import annotations

import os
import re
import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

from vellum_nb.local.isolation import codec
from vellum_nb.local.isolation.forks import fork
from vellum_nb.local.isolation.fresh import Fresh, path
from vellum_nb.local.isolation.options import Process

__all__ = ["Child", "Ending"]

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
