"""How a sweep ends that is interrupted, or whose process ends."""

import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
from interrupt_kit import Interrupt
from sweep_kit import LONG, Gate, again_later, answered, planned, swept

from vellum_nb import History
from vellum_nb.history import Sweeps
from vellum_nb.sweep.sweep import control_of

HERE = Path(__file__).parent
PLACES = ("sweep/sweep.py", "sweep/driver.py")

on_posix = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="needs POSIX signals")


def interrupt() -> None:
    os.kill(os.getpid(), signal.SIGINT)


@on_posix
@pytest.mark.parametrize(("interrupts", "state"), [(1, "FULFILLED"), (2, "CANCELLED")])
def test_only_a_second_interrupt_cuts_off_what_runs(history, interrupts, state):
    gate = Gate()
    acts = iter([interrupt if interrupts > 1 else gate.open.set])

    def interrupting(task, cancel):
        if task.run.inputs["n"] == 2:
            control_of(sweep).subscribe(
                lambda: next(acts, int)() if sweep.state == "stopping" else None
            )
            interrupt()
        return gate(task, cancel)

    sweep = swept(history, planned(history, 20), interrupting, concurrency=3)
    with pytest.raises(KeyboardInterrupt) as raised:
        sweep.resume()
    assert raised.value.sweep is sweep
    assert repr(sweep) in str(raised.value)
    assert [run.state for run in history.runs()] == [state] * 3
    assert again_later(history, sweep, answered).resume().state == "done"


@pytest.mark.slow
def test_an_interrupt_at_any_line_of_the_start_leaves_a_sweep_that_goes_on():
    for number in range(1, 400):
        with History(":memory:") as history:
            sweep = swept(history, planned(history, 3), answered)
            before, at_line = sys.gettrace(), Interrupt(number, PLACES, signals=False)
            sys.settrace(at_line)
            with suppress(KeyboardInterrupt):
                sweep.resume()
            sys.settrace(before)
            sweep.stop()
            assert sweep.wait(timeout=LONG).state in {"ready", "stopped", "done"}, at_line.place
            assert sweep.resume().state == "done", at_line.place
            assert history.count(state="FULFILLED") == 3, at_line.place
        if not at_line.place:
            break
    assert 30 < number < 399


HEAD = f"""
import os, sys
sys.path.insert(0, {str(HERE)!r})
from sweep_kit import Gate, planned, swept
from vellum_nb import History, HistoryError
history, gate = History("runs.db"), Gate()
sweep = swept(history, planned(history, 10), gate, concurrency=4).resume(background=True)
gate.wait_for(4)
"""


def output_of(script: str, folder: Path) -> str:
    """Return what a script prints whose sweep is under way."""
    command = [sys.executable, "-W", "ignore", "-c", HEAD + script]
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=LONG, cwd=folder, check=True
    )
    assert done.stderr == ""
    return done.stdout


@pytest.mark.slow
def test_an_interpreter_that_ends_cuts_off_what_takes_long(tmp_path):
    assert output_of("", tmp_path) == ""
    with History(tmp_path / "runs.db") as history:
        assert history.count() == history.count(state="CANCELLED") == 4
        record = Sweeps(history).every()[0]
        assert record.why == "the interpreter ended"
        assert swept(history, record, answered).resume().state == "done"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_process_has_no_part_in_it(tmp_path):
    script = """
child = os.fork()
if not child:
    for call in (sweep.stop, sweep.wait, sweep.resume):
        try:
            call()
        except HistoryError as exc:
            print("is running in process" in str(exc), flush=True)
    sys.exit(0)  # with what is done at exit
print(os.waitpid(child, 0)[1], sweep.state, flush=True)
gate.open.set()
print(sweep.wait().state)
"""
    assert output_of(script, tmp_path) == "True\nTrue\nTrue\n0 running\ndone\n"


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_process_forked_while_a_sweep_starts_does_not_wait_for_its_locks(tmp_path):
    script = """
import signal, threading
from vellum_nb.sweep import sweep as module
control, held = module.control_of(sweep), threading.Event()
def hold():
    with module._SHARED_LOCK, control._shared.lock, control._counter._lock:
        held.set()
        gate.open.wait()
threading.Thread(target=hold).start()
held.wait()
child = os.fork()
if not child:
    signal.alarm(30)
    print(repr(sweep), flush=True)
    for begin in (sweep.resume, swept(history, control.record, gate).resume):
        try:
            begin()
        except HistoryError as exc:
            print("is running in process" in str(exc), flush=True)
    sys.exit(0)
print(os.waitpid(child, 0)[1], flush=True)
gate.open.set()
print(sweep.wait().state)
"""
    running = "<Sweep of d on v1: running, 0 of 10 runs>"
    assert output_of(script, tmp_path) == f"{running}\nTrue\nTrue\n0\ndone\n"
