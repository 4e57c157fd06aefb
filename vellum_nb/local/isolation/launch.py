"""Starts processes for runs, reads what they tell, ends them for certain."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from vellum_nb.local.isolation import codec
from vellum_nb.local.isolation.options import Process

__all__ = ["Child", "Ending"]

# fmt: off
_KEPT = frozenset({
    "APPDATA", "COMSPEC", "CONDA_PREFIX", "DYLD_LIBRARY_PATH", "HOME", "LANG", "LANGUAGE",
    "LD_LIBRARY_PATH", "LOCALAPPDATA", "LOGNAME", "PATH", "PATHEXT", "SHELL", "SSL_CERT_DIR",
    "SSL_CERT_FILE", "SYSTEMDRIVE", "SYSTEMROOT", "TEMP", "TMP", "TMPDIR", "TZ", "USER",
    "USERNAME", "USERPROFILE", "VIRTUAL_ENV", "WINDIR",
})
# fmt: on
_PIECE = 4096
_TAIL = 64  # pieces that are kept of what the process said last
_LAST = 4000
_FOLDERS = re.compile(r'(File ")[^"\n]*[/\\](?=[^"/\\\n]+")')


class Child:
    """A process that does one job.

    It leads a group of its own, so that whatever it starts ends with it.
    """

    def __init__(self, job: Mapping[str, Any], process: Process) -> None:
        self._job = codec.line({**job, "memory_limit": process.memory_limit})
        self._lock = threading.Lock()
        self._over = False
        self._said: deque[bytes] = deque(maxlen=_TAIL)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "vellum_nb.local.isolation.child"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            bufsize=0,
            env=_environment(process),
            start_new_session=True,
        )
        self._listener = threading.Thread(
            target=self._listen, args=(_taken(self._process.stderr),), daemon=True
        )
        self._listener.start()

    def lines(self) -> Iterator[bytes]:
        """Give it its job and return each line that it tells, until it says no more."""
        with os.fdopen(_taken(self._process.stdout), "rb") as reader:
            with suppress(BrokenPipeError):  # it ended before it read all; its end says why
                _write(_fileno(self._process.stdin), self._job)
            yield from reader

    def kill(self) -> None:
        """End it and all that it started, now; it may have ended."""
        with self._lock:
            if not self._over:
                self._kill()

    def end(self) -> Ending:
        """Kill what is left of it, tidy up, and return how it ended."""
        with self._lock:  # not waited for yet, so that its id cannot be another's
            self._over = True
            self._kill()
        status = self._process.wait()
        _close(self._process.stdin)
        self._listener.join(1.0)  # who left the group may hold the pipe for ever
        return Ending(status, _shown(b"".join(self._said)))

    def _kill(self) -> None:
        if os.name == "nt":
            self._process.kill()
            return
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)

    def _listen(self, pipe: int) -> None:
        with os.fdopen(pipe, "rb", buffering=0) as reader:
            while piece := reader.read(_PIECE):
                self._said.append(piece)


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


def _environment(process: Process) -> dict[str, str]:
    """Return what the process sees of our environment: no keys but those that are asked for."""
    kept = _KEPT.union(process.env)
    found = {k: v for k, v in os.environ.items() if k.upper() in kept or k.startswith("LC_")}
    paths = [str(Path(path or ".").absolute()) for path in sys.path]
    found["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
    found["PYTHONIOENCODING"] = "utf-8:backslashreplace"
    if process.memory_limit is not None:
        found["MALLOC_ARENA_MAX"] = "2"  # each arena takes 64 MiB of address space
    return found


def _taken(pipe: IO[bytes] | None) -> int:
    """Return a descriptor of our own for a pipe, and close the pipe."""
    own = os.dup(_fileno(pipe))
    _close(pipe)
    return own


def _fileno(pipe: IO[bytes] | None) -> int:
    assert pipe is not None  # noqa: S101 - all three were asked for
    return pipe.fileno()


def _close(pipe: IO[bytes] | None) -> None:
    if pipe is not None:
        pipe.close()


def _write(pipe: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(pipe, view) :]


def _shown(said: bytes) -> str:
    """Return text by file name only: folders are this machine's business."""
    text = said[-_LAST:].decode(errors="replace").strip()
    return _FOLDERS.sub(r"\1", text)
