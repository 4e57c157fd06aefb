"""Fork server: a process that has imported what runs need and forks itself for each run.

It is started with a clean environment, so neither it nor its children can read the keys of the
process that started it in ``/proc/PID/environ``. This file is also the program that it executes;
it imports the standard library only, apart from the modules named in its arguments.
"""

from __future__ import annotations

import importlib
import json
import os
import pickle
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

_NUMBER = struct.Struct("i")
_REQUEST = b"f"
_RECEIVED = 4  # descriptors of a request: status, jobs, events, output


class ForkServer:
    """Client of a fork server with this `sys.path`, these imports and environment; thread-safe."""

    def __init__(
        self, path: Sequence[str], modules: Sequence[str], environment: Mapping[str, str]
    ) -> None:
        self._lock = threading.Lock()  # no thread sends while another one closes the connection
        self._connection, theirs = socket.socketpair()
        program = [sys.executable, "-P", str(Path(__file__)), str(theirs.fileno())]
        try:
            self._process = subprocess.Popen(  # noqa: S603 - our own program
                [*program, json.dumps({"path": list(path), "modules": list(modules)})],
                env=dict(environment),
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                start_new_session=True,  # an interrupt of the terminal or the kernel passes it by
            )
        except BaseException:
            self._connection.close()
            raise
        finally:
            theirs.close()

    def fork(self, jobs: int, events: int, output: int) -> tuple[int, int]:
        """Fork a process that reads a pickled job from `jobs` and runs it.

        Return the process id, and a descriptor for `read_number` to read the exit status from;
        raise OSError if the fork server has ended.
        """
        status, writer = os.pipe()
        try:
            try:
                with self._lock:
                    socket.send_fds(self._connection, [_REQUEST], [writer, jobs, events, output])
            finally:
                os.close(writer)
            return read_number(status), status
        except BaseException:
            os.close(status)
            raise

    def close(self) -> None:
        """End the fork server; its children run on."""
        with self._lock:
            self._connection.close()
        self._process.wait()


def read_number(descriptor: int) -> int:
    """Read a number that the fork server wrote; raises OSError if it has ended."""
    content = os.read(descriptor, _NUMBER.size)  # so few bytes are written and read in one piece
    if len(content) < _NUMBER.size:
        msg = "the fork server has ended"
        raise OSError(msg)
    number: int = _NUMBER.unpack(content)[0]
    return number


# In the fork server


def _serve(connection: socket.socket) -> None:
    """Fork a child for each request until the client closes the connection."""
    ended, wakeup = os.pipe()
    for descriptor in (ended, wakeup):
        os.set_blocking(descriptor, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakeup)
    statuses: dict[int, int] = {}
    while True:
        ready = select.select([connection.fileno(), ended], [], [])[0]
        if ended in ready:
            with suppress(BlockingIOError):
                os.read(ended, 65536)
            _reap(statuses)
        if connection.fileno() in ready:
            content, received, _, _ = socket.recv_fds(connection, 1, _RECEIVED)
            if not content:
                return
            _fork(received, statuses, (connection.fileno(), ended, wakeup))


def _fork(received: Sequence[int], statuses: dict[int, int], private: Sequence[int]) -> None:
    """Fork a child that gets the descriptors `received`, except the first one, its status."""
    pid = os.fork() if len(received) == _RECEIVED else -1
    if pid == 0:
        for descriptor in (received[0], *statuses.values(), *private):
            os.close(descriptor)
        _run_job(*received[1:])
    for descriptor in received[1:] if pid > 0 else received:
        os.close(descriptor)
    if pid > 0:
        os.set_inheritable(received[0], False)  # noqa: FBT003 - so named in os
        statuses[pid] = received[0]
        _write_number(received[0], pid)


def _reap(statuses: dict[int, int]) -> None:
    """Write the exit status of each child that has ended."""
    with suppress(ChildProcessError):
        while (ended := os.waitpid(-1, os.WNOHANG))[0]:
            pid, status = ended
            _write_number(statuses[pid], os.waitstatus_to_exitcode(status))
            os.close(statuses.pop(pid))


def _write_number(descriptor: int, number: int) -> None:
    with suppress(BrokenPipeError):  # the client has ended
        os.write(descriptor, _NUMBER.pack(number))


def _run_job(jobs: int, events: int, output: int) -> NoReturn:
    """Read the job and run it in this child; its output is that of the child."""
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        os.setsid()
        os.dup2(output, 1)
        os.dup2(output, 2)
        os.close(output)
        for descriptor in (jobs, events):
            os.set_inheritable(descriptor, False)  # noqa: FBT003 - so named in os
        with open(jobs, "rb", closefd=False) as reader:
            job = pickle.load(reader)  # noqa: S301 - of the process that started this one
        job.run(events, jobs)
    except BaseException:  # noqa: BLE001 - its traceback is the reason that the run gets
        traceback.print_exc()
    finally:
        os._exit(1)


if __name__ == "__main__":
    _options = json.loads(sys.argv[2])
    sys.path[:] = _options["path"]
    for _module in _options["modules"]:
        with suppress(ImportError):  # the child that needs it says so
            importlib.import_module(_module)
    _serve(socket.socket(fileno=int(sys.argv[1])))
