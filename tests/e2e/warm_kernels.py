"""Kernels that need not import anything first: forked off a process that has done so once.

Each is a process of its own, as any other kernel is, and lives as long as the process that
JupyterLab started for it (`stand_for`): that one passes on its signals and ends as it ends.
Starting Python and importing IPython, pandas and vellum_nb took half of the time of the tests.
"""

import gc
import importlib
import json
import os
import select
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

WARM = "warm"
IMPORTED = ["ipykernel.kernelapp", "ipykernel.ipkernel", "altair", "pandas", "rapidfuzz.distance"]
IMPORTED += ["rapidfuzz.fuzz", "scipy.stats"]
IMPORTED += [f"vellum_nb.{name}" for name in ("sweep.driver", "local.serving", "widgets.grid")]
IMPORTED += ["vellum_nb.workspace.comparing"]


@contextmanager
def warm_kernels(folder, env, *, python):
    """Let JupyterLab start such kernels; yield the environment in which it does."""
    address = folder / "kernels.socket"
    spec = folder / "share" / "kernels" / WARM / "kernel.json"
    spec.parent.mkdir(parents=True)
    start = [python, "-ISE", __file__, "stand_for", str(address), "{connection_file}"]
    told = {"argv": start, "display_name": "Warm Python 3", "language": "python"}
    spec.write_text(json.dumps(told), encoding="utf-8")
    with socket.socket(socket.AF_UNIX) as door, (folder / "kernels.log").open("wb") as log:
        door.bind(str(address))
        door.listen()
        process = subprocess.Popen(
            [python, "-P", __file__, "fork", str(door.fileno())],
            pass_fds=[door.fileno()],
            stdin=subprocess.DEVNULL,
            stderr=log,
            env=env,
        )
    try:
        yield env | {"JUPYTER_PATH": str(spec.parents[2])}
    finally:
        process.terminate()
        process.wait()


def stand_for(address, connection_file):
    """Ask for a kernel, pass signals on to it, and end as it ends."""
    wish = {"file": connection_file, "folder": str(Path.cwd()), "env": dict(os.environ)}
    with socket.socket(socket.AF_UNIX) as link:
        link.connect(address)
        socket.send_fds(link, [b"."], [0, 1, 2])
        with link.makefile("rw", encoding="utf-8") as file:
            file.write(json.dumps(wish) + "\n")
            file.flush()
            pid = int(file.readline())  # fails without a parent; JupyterLab reports it
            for number in (signal.SIGINT, signal.SIGTERM):
                signal.signal(number, lambda number, _: os.kill(pid, number))
            status = int(file.readline() or 0)
    sys.exit(os.waitstatus_to_exitcode(status) % 256)


def fork(door):
    """Fork a kernel for each request; return, in the kernel, its request."""
    links = {}  # by a descriptor of the kernel's process
    while True:
        asking = {link.fileno(): kernel for kernel, (link, _) in links.items()}
        ready, _, _ = select.select([door, *links, *asking], [], [])
        for one in ready:
            if one is door:
                link, _ = door.accept()
                wish = _wish(link)
                pid = os.fork()
                if not pid:
                    return wish
                for number in wish["ends"]:
                    os.close(number)
                link.sendall(f"{pid}\n".encode())
                links[os.pidfd_open(pid)] = link, pid
            elif one in links:
                link, pid = links.pop(one)
                os.close(one)
                _, status = os.waitpid(pid, 0)
                with link, suppress(ConnectionError):
                    link.sendall(f"{status}\n".encode())
            elif asking[one] in links:  # JupyterLab has killed who stands for it
                os.kill(links[asking[one]][1], signal.SIGKILL)


def _wish(link):
    _, ends, _, _ = socket.recv_fds(link, 1, 3)
    with link.makefile(encoding="utf-8") as file:
        return json.loads(file.readline()) | {"ends": ends}


def be_kernel(wish):
    """Run a kernel like `python -m ipykernel_launcher`."""
    os.setsid()
    for number, end in enumerate(wish["ends"]):
        os.dup2(end, number)
        os.close(end)
    os.chdir(wish["folder"])
    os.environ.clear()
    os.environ.update(wish["env"])
    sys.argv = ["ipykernel_launcher", "-f", wish["file"]]
    from ipykernel.kernelapp import launch_new_instance

    launch_new_instance()


if __name__ == "__main__":
    if sys.argv[1] == "stand_for":
        stand_for(*sys.argv[2:])
    else:
        for name in IMPORTED:
            importlib.import_module(name)
        gc.freeze()
        with socket.socket(fileno=int(sys.argv[2])) as door:
            wish = fork(door)
        be_kernel(wish)
