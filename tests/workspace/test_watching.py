"""What is shown to whoever waits for a sweep: a line in a terminal, nothing elsewhere."""

from __future__ import annotations

import io
import os
import pty
import re
import subprocess
import sys
import termios
import threading

import pytest

import vellum_nb as vnb
from vellum_nb.sweep.progress import Progress, TagProgress, facts, terminal_bar

PATIENCE = 60
SCRIPT = """
import sys
import vellum_nb as vnb
with vnb.connect("local", history=":memory:") as ws:
    cases = [{"ticket": f"ticket {n}"} for n in range(5)]
    sweep = ws.sweep("ticket-triage", cases, release_tags=["v1", "v2"])
print(sweep, "IPython" in sys.modules)
"""


@pytest.fixture
def ws():
    with vnb.connect("local", history=":memory:") as ws:
        yield ws


def in_terminal(script):
    """Run a script whose standard error is a terminal; return its output, and what that saw."""
    master, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 100))
    seen = []

    def read():
        while True:
            try:
                piece = os.read(master, 4096)
            except OSError:  # the other end was closed
                return
            if not piece:
                return
            seen.append(piece)

    reader = threading.Thread(target=read)
    reader.start()
    try:
        command = [sys.executable, "-c", script]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, stderr=terminal, timeout=PATIENCE, check=True
        )
    finally:
        os.close(terminal)
        reader.join(PATIENCE)
        os.close(master)
    return done.stdout.decode(), b"".join(seen).decode()


def test_in_a_terminal_one_line_counts_up_below_the_plan():
    out, line = in_terminal(SCRIPT)
    assert out == "<Sweep of ticket-triage on v1, v2: done, 10 of 10 runs> False\n"
    last = re.sub(r" +", " ", line.rstrip().split("\r")[-1])
    assert last.startswith("ticket-triage: 100%|")
    assert "| 10/10 [" in last
    assert line.startswith("5 cases")
    assert line.count("\n") == 2


def test_where_nobody_sees_it_nothing_is_written(tmp_path):
    command = [sys.executable, "-c", SCRIPT]
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE, check=True)
    assert done.stderr == b""


def test_the_line_says_how_a_sweep_stopped_and_leaves_no_thread(ws):
    file = io.StringIO()
    before = set(threading.enumerate())
    cases = [{"ticket": f"ticket {n}"} for n in range(9)]
    sweep = ws.sweep("ticket-triage", cases, max_calls=4, progress=False)
    with terminal_bar(sweep.progress, sweep.subscribe, title="ticket-triage", file=file):
        pass
    assert "| 4/9 [" in file.getvalue()
    assert "stopped: max_calls=4 is reached]" in file.getvalue()
    assert {t for t in set(threading.enumerate()) - before if t.name == "tqdm_monitor"} == set()


def test_the_facts_tell_what_matters_in_each_state():
    tags = (TagProgress("v1", 10, 4, 1, 2, 1.0, 0.5),)
    assert facts(Progress("running", tags, rate=0.5)) == (
        "0.5 runs/s, about 10.0 s left, 1 failed, $0.50"
    )
    assert facts(Progress("paused", tags)) == "paused, 1 failed, $0.50"
    assert facts(Progress("stopped", tags, why="no answer for a minute")) == (
        "stopped: no answer for a minute, 1 failed, $0.50"
    )
    assert facts(Progress("done", (TagProgress("v1", 1, 1, 0, 0, 1.0, None),))) == ""
