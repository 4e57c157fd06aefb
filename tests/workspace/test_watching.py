"""What is shown while a sweep is waited for: a line in a terminal, nothing elsewhere."""

import os
import pty
import re
import subprocess
import sys
import termios
import threading
from contextlib import suppress

import pytest

from vellum_nb.sweep.progress import Progress, TagProgress, facts, terminal_bar
from vellum_nb.sweep.sweep import control_of

TAGS = (TagProgress("v1", 10, 4, 1, running=2, median_s=1.0, cost_usd=0.5),)
SCRIPT = """
import sys
import vellum_nb as vnb
with vnb.connect("local", history=":memory:") as ws:
    cases = [{"ticket": f"ticket {n}"} for n in range(5)]
    sweep = ws.sweep("ticket-triage", cases, release_tags=["v1", "v2"])
print(sweep, "IPython" in sys.modules)
"""


def in_terminal(script):
    """Run a script whose standard error is a terminal; return its output, and what that saw."""
    master, terminal = pty.openpty()
    termios.tcsetwinsize(terminal, (24, 100))
    command, seen = [sys.executable, "-c", script], b""
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=terminal, text=True) as process:
        os.close(terminal)
        with suppress(OSError):  # the other end was closed
            while piece := os.read(master, 4096):
                seen += piece
        os.close(master)
        return process.stdout.read(), seen.decode()


@pytest.mark.slow
def test_in_a_terminal_one_line_counts_up_below_the_plan():
    out, line = in_terminal(SCRIPT)
    assert out == "<Sweep of ticket-triage on v1, v2: done, 10 of 10 runs> False\n"
    last = re.sub(r" +", " ", line.rstrip().split("\r")[-1])
    assert last.startswith("ticket-triage: 100%|")
    assert "| 10/10 [" in last
    assert line.startswith("5 cases")
    assert "\r\n  inputs: ticket\r\n" in line
    assert line.count("\n") == 3


def test_nothing_is_written_elsewhere(ws, capsys):
    ws.sweep("shout", [{"text": "a"}], release_tags=["v2"])
    assert capsys.readouterr() == ("", "")


def test_the_line_says_how_a_sweep_stopped_and_leaves_no_thread(ws, capsys):
    before = set(threading.enumerate())
    sweep = ws.sweep(
        "shout", [{"text": f"{n}"} for n in range(9)], limits={"max_calls": 4}, progress=False
    )
    control = control_of(sweep)
    with terminal_bar(control.progress, control.subscribe, title="shout"):
        pass
    line = capsys.readouterr().err
    assert "| 4/9 [" in line
    assert "stopped: max_calls=4 is reached]" in line
    assert {t for t in set(threading.enumerate()) - before if t.name == "tqdm_monitor"} == set()


@pytest.mark.parametrize(
    ("now", "line"),
    [
        (Progress("running", TAGS, rate=0.5), "0.5 runs/s, about 10.0 s left, 1 failed, $0.50"),
        (Progress("running", TAGS, rate=0.05), "3.0 runs/min, about 1 min 40 s left, 1 failed"),
        (Progress("paused", TAGS), "paused, 1 failed, $0.50"),
        (Progress("stopped", TAGS, why="no answer"), "stopped: no answer, 1 failed, $0.50"),
        (Progress("done", (TagProgress("v1", 1, 1),)), ""),
    ],
)
def test_the_line_shows_what_matters_in_each_state(now, line):
    assert facts(now).startswith(line)
