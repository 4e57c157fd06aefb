"""What an executor does with calls that it was handed before a sweep was cut off."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import Future
from pathlib import Path

import pytest
from sweep_kit import LONG

from vellum_nb.models import Cancellation
from vellum_nb.sweep.executors import CutMark, call_unless_cut

HERE = Path(__file__).parent


def made(mark):
    """Return whether an attempt is made."""
    calls = []
    call_unless_cut(mark.path, calls.append, None)
    return bool(calls)


def test_a_call_that_waits_when_the_sweep_is_cut_off_is_not_made(monkeypatch):
    mark, cancel, waiting = CutMark(), Cancellation(), Future()
    mark.watch(waiting, cancel)
    assert made(mark)
    cancel.cancel()
    monkeypatch.setattr("vellum_nb.sweep.executors.not_sent_in_time", lambda _: None)
    assert not made(mark)
    waiting.set_result(None)
    assert not mark.path.exists()


KERNEL = f"""
import multiprocessing, sys, time
sys.path.insert(0, {str(HERE)!r})
from concurrent.futures import ProcessPoolExecutor
from test_executors import slow
if __name__ == "__main__":
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        for name in ("first", "second"):
            pool.submit(slow, name)
        time.sleep({LONG})
"""


def slow(name):
    """Be a call of an executor: the first one waits until its kernel has died."""
    from vellum_nb.sweep import executors

    executors.not_sent_in_time = lambda _: Path(f"{name}-not-sent").touch()
    if name == "first":
        Path("first-began").touch()
        while not Path("died").exists():
            time.sleep(0.01)
    call_unless_cut(Path("no-cut"), lambda _: Path(f"{name}-sent").touch(), None)
    if name == "second":
        os._exit(0)  # nobody else ends this process


@pytest.mark.skipif(not hasattr(os, "kill"), reason="needs SIGKILL")
def test_a_call_that_waits_when_its_kernel_dies_is_not_made(tmp_path):
    (tmp_path / "kernel.py").write_text(KERNEL)
    kernel = subprocess.Popen([sys.executable, "kernel.py"], cwd=tmp_path)
    until = time.monotonic() + LONG
    while not (tmp_path / "first-began").exists():
        assert time.monotonic() < until
        time.sleep(0.01)
    kernel.send_signal(signal.SIGKILL)
    kernel.wait()
    (tmp_path / "died").touch()
    while not list(tmp_path.glob("second-*sent")):  # sent, or not sent
        assert time.monotonic() < until
        time.sleep(0.01)
    assert not (tmp_path / "first-sent").exists()
    assert not (tmp_path / "second-sent").exists()
