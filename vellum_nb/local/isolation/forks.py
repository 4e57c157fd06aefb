"""Processes that are forked off one which has imported what they need: milliseconds, not seconds.

On Linux only; elsewhere `fork` gives None, and a fresh process has to do.
"""

from __future__ import annotations

import atexit
import os
import signal
import socket
import subprocess
import sys
import threading
from contextlib import suppress

from vellum_nb.local.isolation.fresh import Handle, clean_environment

__all__ = ["fork"]

_SECONDS = 60.0
_FAREWELL = 1.0
_MESSAGE = 64
_LOCK = threading.Lock()
_ORIGINS: dict[bool, Origin] = {}


def fork(jobs: int, events: int, output: int, *, sdk: bool) -> Handle | None:
    """Return a process with three descriptors, or None where there is no forking.

    Parameters
    ----------
    jobs, events, output : int
        For its job, for events, for what it prints.
    sdk : bool
        Whether it is to have the Workflows SDK imported.
    """
    if not sys.platform.startswith("linux"):
        return None
    with _LOCK:
        origin = _ORIGINS.get(sdk)
        if origin is None or not origin.lives():
            if origin is not None:
                origin.close()
            origin = _ORIGINS[sdk] = Origin(sdk=sdk)
    return origin.fork(jobs, events, output)


class Origin:
    """The process that others are forked off; it ends with this one."""

    def __init__(self, *, sdk: bool) -> None:
        self._lock = threading.Lock()
        self._owner = os.getpid()
        self._socket, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._socket.settimeout(_SECONDS)
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603 - our own module, no shell
                [sys.executable, "-P", "-m", "vellum_nb.local.isolation.zygote", str(int(sdk))],
                stdin=theirs.fileno(),
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env=clean_environment(),
                start_new_session=True,
            )
        atexit.register(self.close)
        self._ready = self._answer() == b"ready"

    def lives(self) -> bool:
        """Whether it can be asked: it belongs to this process, and has not died."""
        return self._owner == os.getpid() and self._process.poll() is None

    def fork(self, jobs: int, events: int, output: int) -> Handle | None:
        """Return a new process, or None when none can be had here."""
        if not self._ready:
            return None  # what it imported started threads, or could not be imported
        status, theirs = os.pipe()
        with self._lock:
            try:
                socket.send_fds(self._socket, [b"fork"], [jobs, events, output, theirs])
                answer = self._answer()
            except OSError:
                answer = b""
            finally:
                os.close(theirs)
        if answer.isdigit():
            return _Fork(self, int(answer), status)
        os.close(status)
        if not answer:
            self._process.kill()  # an answer that comes late would be taken for the next one
        return None

    def kill(self, pid: int) -> None:
        """Have it end the group of `pid`, if that is still one that it forked."""
        with self._lock:
            try:
                self._socket.send(b"kill %d" % pid)
            except OSError:  # it was killed, and `pid` with it, but not what that had started
                with suppress(ProcessLookupError, PermissionError):
                    os.killpg(pid, signal.SIGKILL)

    def close(self) -> None:
        """End it, and all that runs in it."""
        atexit.unregister(self.close)
        self._socket.close()
        if self._owner == os.getpid():
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(_FAREWELL)  # it ends what it forked, and then itself
            self._process.kill()
            self._process.wait()

    def _answer(self) -> bytes:
        try:
            return self._socket.recv(_MESSAGE)
        except OSError:
            return b""


class _Fork:
    def __init__(self, origin: Origin, pid: int, status: int) -> None:
        self._origin = origin
        self._pid = pid
        self._status = status

    def kill(self) -> None:
        self._origin.kill(self._pid)

    def wait(self) -> int:
        self._origin.kill(self._pid)
        with os.fdopen(self._status, "rb") as status:
            return int(status.readline() or b"-9")  # nothing: its origin was killed, and it too
