"""What a run leaves outside of its group of processes ends with the run all the same."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from vellum_nb.local.deployments.sources import Snapshots
from vellum_nb.local.engine.code import RunContext
from vellum_nb.local.isolation.process import Process, ProcessCode
from vellum_nb.models import WorkflowInput

pytestmark = pytest.mark.skipif(
    not Path(f"/proc/self/task/{os.getpid()}/children").exists(),
    reason="only where a process can be asked for its children",
)

SOURCE = """
import os, pathlib, subprocess, sys, time

def flow(how: str, place: str) -> str:
    file = pathlib.Path(place)
    if how == "forked":
        if os.fork() == 0:
            os.setsid()
            file.write_text(f"{os.getpid()}.")
            time.sleep(600)
        while not file.exists() or not file.read_text().endswith("."):
            time.sleep(0.01)
        os._exit(5)
    child = subprocess.Popen(
        [sys.executable, "-c", "import time; time.sleep(600)"], start_new_session=True
    )
    file.write_text(f"{child.pid}.")
    if how == "hangs":
        time.sleep(600)
    return "done"
"""
PROGRAM = """
import pathlib, sys
from vellum_nb.local.deployments.sources import Snapshots
from vellum_nb.local.engine.code import RunContext
from vellum_nb.local.isolation import Process, ProcessCode
from vellum_nb.models import WorkflowInput

source, place, folder = sys.argv[1:]
kept = Snapshots(pathlib.Path(folder)).keep({"workflow.py": source.encode()})
code = ProcessCode.described(kept, "flow", Process())[1]
given = {"how": "hangs", "place": place}
inputs = [WorkflowInput(name=n, type="STRING", value=v) for n, v in given.items()]
list(code.begin(inputs, RunContext("execution", "trace")).events())
"""


@pytest.fixture
def place(tmp_path):
    return tmp_path / "pid"


@pytest.fixture
def run(tmp_path, place):
    """Return a run of the workflow."""
    snapshot = Snapshots(tmp_path / "sources").keep({"workflow.py": SOURCE.encode()})
    code = ProcessCode.described(snapshot, "flow", Process())[1]

    def begin(how):
        given = {"how": how, "place": str(place)}
        inputs = [WorkflowInput(name=n, type="STRING", value=v) for n, v in given.items()]
        return code.begin(inputs, RunContext("execution", "trace"))

    return begin


def wait_until(is_so, what):
    until = time.monotonic() + 30
    while not is_so():
        assert time.monotonic() < until, what
        time.sleep(0.02)


def stray_in(place):
    def written():
        return place.exists() and place.read_text().endswith(".")

    wait_until(written, "the run never began")
    return int(place.read_text().removesuffix("."))


def gone(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


def test_what_left_the_group_ends_with_the_run(run, place):
    *_, last = run("returns").events()
    assert last.name == "workflow.execution.fulfilled"
    pid = stray_in(place)
    wait_until(lambda: gone(pid), "it outlived the run")


def test_what_left_the_group_ends_when_the_run_is_cancelled(run, place):
    execution = run("hangs")
    thread = threading.Thread(target=lambda: list(execution.events()))
    thread.start()
    pid = stray_in(place)
    assert not gone(pid)
    execution.cancel()
    thread.join(30)
    wait_until(lambda: gone(pid), "it outlived the run")


def test_a_crash_is_told_though_a_copy_of_the_process_holds_its_pipes(run, place):
    events = []
    thread = threading.Thread(target=lambda: events.extend(run("forked").events()), daemon=True)
    thread.start()
    thread.join(30)
    assert "exit status 5" in events[-1].body["error"]["message"]
    pid = stray_in(place)
    wait_until(lambda: gone(pid), "it outlived the run")


@pytest.mark.slow
def test_what_left_the_group_ends_with_a_killed_server(tmp_path, place):
    command = [sys.executable, "-c", PROGRAM, SOURCE, str(place), str(tmp_path / "sources")]
    with subprocess.Popen(command) as server:
        try:
            pid = stray_in(place)
        finally:
            server.send_signal(signal.SIGKILL)
    wait_until(lambda: gone(pid), "it outlived the server")
