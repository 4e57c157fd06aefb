"""The process that the processes of runs are forked off: it imports once, and runs nothing.

It has one thread, and does what its socket says: ``fork`` with four descriptors, ``kill`` with a
process id. When the server goes away, so do it and all that it forked. What a run leaves behind
outside of its group becomes a child of this process, and is killed.
"""

from __future__ import annotations

import ctypes
import faulthandler
import gc
import os
import select
import signal
import socket
import sys
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

from vellum_nb.local.isolation.child import serve

__all__ = ["main"]

_MESSAGE = 64
_PR_SET_PDEATHSIG = 1
_PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    """Import, say that it is ready, and fork until the socket is closed."""
    if sys.argv[1:] == ["1"]:
        import vellum_nb.local.sdk.workflow  # noqa: F401 - so that forks have it
    faulthandler.enable()
    gc.collect()
    gc.freeze()
    orders = socket.socket(fileno=os.dup(0))
    _to_nothing(0)
    threads = len(os.listdir("/proc/self/task"))  # noqa: PTH208 - only their number counts
    orders.send(b"ready" if threads == 1 else b"threads")
    _Zygote(orders, ctypes.CDLL(None)).obey()


class _Zygote:
    def __init__(self, orders: socket.socket, libc: ctypes.CDLL) -> None:
        self._orders = orders
        self._libc = libc
        self._forked: dict[int, int] = {}  # process id to the descriptor that waits for its status
        self._woken, self._waking = os.pipe()
        for end in (self._woken, self._waking):
            os.set_blocking(end, False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._waking, warn_on_full_buffer=False)
        libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)

    def obey(self) -> None:
        """Do what the socket says until it is closed, then end everything."""
        while True:
            ready, _, _ = select.select([self._orders.fileno(), self._woken], [], [])
            if self._woken in ready:
                os.read(self._woken, 4096)
                self._bury()
            if self._orders.fileno() in ready:
                order, descriptors, _, _ = socket.recv_fds(self._orders, _MESSAGE, 4)
                if not order:
                    break
                self._obey(order, descriptors)
        self._forked.clear()
        while self._kill_strays():
            os.wait()
        os._exit(0)

    def _obey(self, order: bytes, descriptors: list[int]) -> None:
        if order == b"fork":
            self._fork(*descriptors)
            return
        pid = int(order.partition(b" ")[2])
        if pid in self._forked:  # not buried yet, so that its id cannot be another's
            _kill_group(pid)

    def _fork(self, jobs: int, events: int, output: int, status: int) -> None:
        try:
            pid = os.fork()
        except OSError:  # no room for another process
            pid = -1
        if pid == 0:
            self._libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
            self._libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)  # while it runs, its strays are its own
            os.close(status)
            self._leave()
            _become(jobs, events, output)
        for descriptor in (jobs, events, output):
            os.close(descriptor)
        if pid < 0:
            os.close(status)
        else:
            self._forked[pid] = status
        self._orders.send(b"%d" % pid)

    def _leave(self) -> None:
        """Give up, in a process just forked, what belongs to the one it was forked off."""
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for descriptor in (self._woken, self._waking, *self._forked.values()):
            os.close(descriptor)
        self._orders.close()

    def _bury(self) -> None:
        """Tell how those ended that have, and end what they left running."""
        while True:
            try:
                ended = os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT)
            except ChildProcessError:
                return
            if ended is None:
                return
            pid = ended.si_pid
            _kill_group(pid)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            self._kill_strays()
            status = self._forked.pop(pid, None)
            if status is None:
                continue  # a stray
            with suppress(BrokenPipeError):
                os.write(status, b"%d\n" % code)
            os.close(status)

    def _kill_strays(self) -> bool:
        """Kill what is a child of this process and was not forked by it; say if there was any."""
        children = Path(f"/proc/self/task/{os.getpid()}/children")
        if not children.exists():
            return False  # a kernel that does not tell
        strays = {int(pid) for pid in children.read_text().split()} - self._forked.keys()
        for pid in strays:
            _kill_group(pid)
        return bool(strays)


def _become(jobs: int, events: int, output: int) -> NoReturn:
    """Do the job in this process, just forked, and end it."""
    os.setsid()
    for descriptor in (jobs, events):
        os.set_inheritable(descriptor, False)  # noqa: FBT003 - as Python names it
    _to_nothing(0)
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    serve(jobs, events)
    os._exit(1)


def _to_nothing(descriptor: int) -> None:
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, descriptor)
    os.close(nothing)


def _kill_group(pid: int) -> None:
    try:
        os.killpg(pid, signal.SIGKILL)
    except ProcessLookupError:  # it was forked a moment ago and leads no group yet
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


if __name__ == "__main__":
    main()
