"""A process that is started anew for one job."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Protocol

__all__ = ["Fresh", "Handle", "clean_environment", "path"]

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
