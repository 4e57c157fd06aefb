"""Processes that need not import anything first: forked off a program that has done so once.

The program imports the module whose function a process calls, forks, and answers with the pid.
Starting Python and importing vellum_nb and pandas takes up to a second.
"""

import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from contextlib import contextmanager, suppress
from pathlib import Path


class ForkServer:
    """Starts processes that call a function."""

    def __init__(self):
        self._link, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-W", "ignore", __file__, str(theirs.fileno())]
            env = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
            self._program = subprocess.Popen(command, env=env, pass_fds=[theirs.fileno()])
        self._replies = self._link.makefile()

    def start(self, file, function, *arguments, stdin=None, stdout=None):
        """Have a process call a function of the module in `file`; return its pid.

        `stdin` and `stdout` are file descriptors, by default of the null device. The environment,
        the folder and the path of imports are those of the test.
        """
        module = Path(file)
        order = {"path": [str(module.parent), *sys.path], "module": module.stem}
        order |= {"function": function, "arguments": [*map(_as_json, arguments)]}
        order |= {"environment": dict(os.environ), "folder": str(Path.cwd())}
        with Path(os.devnull).open("r+b") as null:
            standard = [null.fileno() if fd is None else fd for fd in (stdin, stdout)]
            socket.send_fds(self._link, [b"."], standard)
            self._link.sendall(f"{json.dumps(order)}\n".encode())
            return int(self._replies.readline())

    @contextmanager
    def process(self, file, function, *arguments):
        """Start a process with pipes; kill it at the end."""
        (child_in, ours), (theirs, child_out) = os.pipe(), os.pipe()
        try:
            pid = self.start(file, function, *arguments, stdin=child_in, stdout=child_out)
        finally:
            os.close(child_in)
            os.close(child_out)
        with os.fdopen(ours, "w") as stdin, os.fdopen(theirs) as stdout:
            process = Forked(pid, stdin, stdout)
            try:
                yield process
            finally:
                process.kill()
                with suppress(BrokenPipeError):
                    stdin.close()

    def code(self, text, *arguments):
        """Start a process as `python -c` does."""
        return self.process(__file__, "run_code", text, *arguments)

    def close(self):
        self._replies.close()
        self._link.close()
        self._program.wait()


class Forked:
    """A process with pipes."""

    def __init__(self, pid, stdin, stdout):
        self.pid, self.stdin, self.stdout = pid, stdin, stdout

    def write_line(self, line=""):
        print(line, file=self.stdin, flush=True)

    @property
    def is_alive(self):
        return is_alive(self.pid)

    def kill(self):
        kill(self.pid)


def say(*words):
    """Write a line for the test, in a process with pipes."""
    sys.stdout.write(" ".join(map(str, words)) + "\n")
    sys.stdout.flush()


def run_code(text, *arguments):
    """Run a program, in a process."""
    sys.argv = ["-c", *arguments]
    exec(compile(text, "<code of a test>", "exec"), {"__name__": "__main__"})  # noqa: S102


def is_alive(pid):
    """Whether a forked process runs: its parent leaves no zombies."""
    with suppress(ProcessLookupError):
        os.kill(pid, 0)
        return True
    return False


def kill(pid):
    """Kill a forked process, and wait until it is gone."""
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)
    while is_alive(pid):
        time.sleep(0.002)


def _as_json(value):
    return str(value) if isinstance(value, Path) else value


def main(link):
    """Fork a process for each order."""
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # ended children leave at once
    lines = link.makefile()
    while True:
        dot, standard, _, _ = socket.recv_fds(link, 1, 2)
        if not dot:
            return
        order = json.loads(lines.readline())
        sys.path[:] = order["path"]
        module = importlib.import_module(order["module"])
        pid = os.fork()
        if pid == 0:
            os.close(link.fileno())
            run(module, order, standard)
        for fd in standard:
            os.close(fd)
        link.sendall(f"{pid}\n".encode())


def run(module, order, standard):
    """Call the function of an order, and end."""
    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.default_int_handler)
        for number, fd in enumerate(standard):
            os.dup2(fd, number)
            os.close(fd)
        sys.stdin, sys.stdout = os.fdopen(0), os.fdopen(1, "w")
        os.environ.clear()
        os.environ.update(order["environment"])
        os.chdir(order["folder"])
        getattr(module, order["function"])(*order["arguments"])
        sys.stdout.flush()
        status = 0
    except BaseException:  # noqa: BLE001  (there is nobody else to say it)
        traceback.print_exc()
    finally:
        os._exit(status)


if __name__ == "__main__":
    import psycopg  # noqa: F401  (has everything imported)

    import vellum_nb
    import vellum_nb.history.postgres_store

    vellum_nb.connect  # noqa: B018
    with socket.socket(fileno=int(sys.argv[1])) as inherited:
        main(inherited)
